package logstream

import (
	"bytes"
	"errors"
	"hash/crc32"
	"io"
)

// A response is believed only if it proves where it starts. A request begins a
// little before the offset reached, and the repeated bytes, the overlap, have
// to be the same as before.
//
// A response that does not name its offset is either the part that was requested or
// the whole log. Its first bytes decide which, and a whole log is compared up to
// the offset and dropped. If the first bytes do not decide, the next request is for
// the whole log; if that differs from what was delivered, the host has lost the
// beginning of the log.

const (
	// overlapBytes is the length of the overlap, headBytes how much of the
	// beginning of the log is kept to recognize it.
	overlapBytes = 256
	headBytes    = 1 << 10
)

// place is where a connection is in relation to the offset reached.
type place int

const (
	// atOffset: everything that arrives is new.
	atOffset place = iota
	// inOverlap: the overlap has to arrive first.
	inOverlap
	// inEither: the response starts with the overlap or with the whole log.
	inEither
	// inReplay: the log up to the offset has to arrive first.
	inReplay
)

// splicer turns what the connections deliver into one log.
//
// The host's offsets count the NULs that the log itself has. Those of the splicer
// do not, because nothing distinguishes such a NUL from a heartbeat.
type splicer struct {
	// position is how much of the log has been delivered or skipped, skipped how
	// much of that was never seen.
	position, skipped int64
	// sum is the checksum of what has been delivered; head and tail are its first
	// and last bytes.
	sum        uint32
	head, tail []byte
	// nuls counts the NULs of all connections.
	nuls int64

	// fromStart demands a request for the log from its beginning, and noOffsets one without
	// an offset.
	fromStart, noOffsets bool

	// What follows belongs to one connection.
	place place
	// overlap is what is left of the overlap, beginning what the whole log has
	// instead; matched is how many bytes of both have arrived.
	overlap, beginning []byte
	matched            int
	replay             replay
	// mismatch is what a replay that differs means.
	mismatch error
	// total is the length of the whole log, or Unknown, and connNULs counts the
	// NULs of the connection, some of which may count in total.
	total, connNULs int64
}

// replay is the part of the log up to the offset, which is sent once more.
type replay struct {
	// left is how much of it is outstanding, and unseen how much of that cannot
	// be compared.
	left, unseen int64
	// head and sum are compared with what arrives.
	head []byte
	sum  uint32
}

func newSplicer(offset int64) *splicer { return &splicer{position: offset, skipped: offset} }

// from returns the offset for the next request. plain prefers a request without an
// offset, for the beginning of the log.
func (s *splicer) from(plain bool) int64 {
	from := s.position - int64(len(s.tail))
	switch {
	case s.noOffsets, plain && s.position == 0:
		return All
	case s.fromStart, from > 0 && !s.overlapProves():
		// Where offsets are honored, the response announces the total length.
		return 0
	}
	return from
}

// overlapProves reports whether a response that repeats the tail certainly begins
// there. It may begin up to nuls bytes earlier, and repeats the tail nevertheless if
// the text repeats itself with such a period, as a line of dots does.
func (s *splicer) overlapProves() bool {
	return len(s.tail) > 0 && int64(period(s.tail)) > s.nuls
}

// period returns the least number of bytes after which p repeats itself, len(p) if
// it does not. It is the last step of the failure function of Knuth, Morris and
// Pratt.
func period(p []byte) int {
	border := make([]int, len(p)+1)
	for i, k := 1, 0; i < len(p); i++ {
		for k > 0 && p[k] != p[i] {
			k = border[k]
		}
		if p[k] == p[i] {
			k++
		}
		border[i+1] = k
	}
	return len(p) - border[len(p)]
}

// refused notes that the host does not accept a request from an offset.
func (s *splicer) refused(from int64, err error) error {
	if e := (*Error)(nil); from < 0 || !errors.As(err, &e) || e.Kind != Unsupported {
		return err
	}
	s.noOffsets = true
	return errUnproven
}

// begin prepares for a response to a request from an offset. final reports whether
// the log is complete.
func (s *splicer) begin(from int64, resp *Response, final bool) error {
	s.place, s.overlap, s.beginning, s.matched = atOffset, nil, nil, 0
	s.total, s.connNULs = Unknown, 0
	if resp.Gzip && from > 0 && resp.Content != Nothing {
		// A part cannot be decompressed.
		return errUnproven
	}
	switch resp.Content {
	case Whole:
		return s.beginWhole(from)
	case Part:
		return s.beginPart(from, resp, final)
	case Nothing:
	}
	return s.beginNothing(from, resp.Total)
}

func (s *splicer) beginWhole(from int64) error {
	if from <= 0 {
		s.startReplay(ErrTruncated)
		return nil
	}
	if s.skipped > 0 || len(s.tail) == 0 || bytes.Equal(s.tail, s.head[:len(s.tail)]) {
		// The beginning of the log is not known, or equals the overlap.
		return errUnproven
	}
	s.place, s.overlap, s.beginning = inEither, bytes.Clone(s.tail), s.head[:len(s.tail)]
	return nil
}

func (s *splicer) beginPart(from int64, resp *Response, final bool) error {
	switch {
	case from < 0:
		return &Error{Kind: Permanent, Status: resp.Status, Err: errors.New("the stream host sends a part that was not requested")}
	case resp.Start != from:
		// Only a request without an offset demands less than one from 0.
		s.noOffsets = s.noOffsets || from == 0
		return errUnproven
	}
	s.total = resp.Total
	if resp.Gzip {
		s.total = Unknown
	}
	switch {
	case final && s.total >= 0 && s.total < s.position:
		return ErrTruncated
	case from == 0:
		s.startReplay(ErrTruncated)
	case len(s.tail) > 0:
		s.place, s.overlap = inOverlap, bytes.Clone(s.tail)
	}
	return nil
}

// beginNothing handles a response that has nothing from the requested offset.
func (s *splicer) beginNothing(from, total int64) error {
	switch {
	case total >= 0 && total < s.position:
		return ErrTruncated
	case from > 0 && len(s.tail) > 0:
		// The host should have the overlap, at least.
		return errUnproven
	case total > s.position && from >= 0:
		// It has more, but not for a request from an offset.
		s.fromStart, s.noOffsets = true, true
		return errUnproven
	case max(from, 0) < s.position:
		return errors.New("the stream host no longer has the output already read")
	}
	return errComplete
}

func (s *splicer) startReplay(mismatch error) {
	s.mismatch = mismatch
	s.replay = replay{left: s.position, unseen: s.skipped, head: s.head}
	if s.place = atOffset; s.position > 0 {
		s.place = inReplay
	}
}

// finite reports whether the remaining bytes of the connection have a known end:
// the offset reached, or the length of the whole log.
func (s *splicer) finite() bool {
	return s.place == inOverlap || s.place == inEither || s.place == inReplay || s.total > s.position
}

// feed processes what has arrived over the connection. It returns the new part of it,
// which is a part of p, and how many bytes of p were no NULs. An error means that
// the connection does not continue the log.
func (s *splicer) feed(p []byte) (fresh []byte, text int, err error) {
	text = DropNULs(p)
	nuls := int64(len(p) - text)
	s.nuls += nuls
	s.connNULs += nuls
	fresh = p[:text]
	for len(fresh) > 0 && s.place != atOffset && err == nil {
		switch s.place {
		case inEither:
			fresh, err = s.decide(fresh)
		case inOverlap:
			fresh, err = s.matchOverlap(fresh)
		case inReplay:
			fresh, err = s.matchReplay(fresh)
		case atOffset:
		}
	}
	if err != nil {
		return nil, text, err
	}
	s.deliver(fresh)
	return fresh, text, nil
}

// decide compares with the overlap and with the beginning of the log, as long as
// these are the same. They differ in some byte, which decides.
func (s *splicer) decide(p []byte) ([]byte, error) {
	for len(p) > 0 && s.overlap[s.matched] == s.beginning[s.matched] {
		if p[0] != s.overlap[s.matched] {
			return nil, errUnproven
		}
		p = p[1:]
		s.matched++
	}
	switch {
	case len(p) == 0:
	case p[0] == s.beginning[s.matched]:
		s.startReplay(errUnproven)
		_, err := s.matchReplay(s.beginning[:s.matched])
		return p, err
	default:
		s.place, s.overlap = inOverlap, s.overlap[s.matched:]
	}
	return p, nil
}

func (s *splicer) matchOverlap(p []byte) ([]byte, error) {
	n := min(len(s.overlap), len(p))
	if !bytes.Equal(s.overlap[:n], p[:n]) {
		return nil, errUnproven
	}
	if s.overlap = s.overlap[n:]; len(s.overlap) == 0 {
		s.place = atOffset
	}
	return p[n:], nil
}

// matchReplay compares with the log up to the offset.
func (s *splicer) matchReplay(p []byte) ([]byte, error) {
	r := &s.replay
	unseen := min(r.unseen, int64(len(p)))
	seen := p[unseen:min(r.left, int64(len(p)))]
	r.unseen -= unseen
	r.left -= unseen + int64(len(seen))
	// The first bytes show a difference at once, the checksum only at the end.
	k := min(len(r.head), len(seen))
	if !bytes.Equal(r.head[:k], seen[:k]) {
		return nil, s.mismatch
	}
	r.head = r.head[k:]
	r.sum = checksum(r.sum, seen)
	if r.left > 0 {
		return nil, nil
	}
	if r.sum != s.sum {
		return nil, s.mismatch
	}
	s.place = atOffset
	return p[int(unseen)+len(seen):], nil
}

// deliver notes that p is new.
func (s *splicer) deliver(p []byte) {
	s.position += int64(len(p))
	s.sum = checksum(s.sum, p)
	if room := headBytes - len(s.head); room > 0 {
		s.head = append(s.head, p[:min(room, len(p))]...)
	}
	if len(p) >= overlapBytes {
		s.tail = append(s.tail[:0], p[len(p)-overlapBytes:]...)
		return
	}
	s.tail = append(s.tail, p...)
	if over := len(s.tail) - overlapBytes; over > 0 {
		s.tail = s.tail[:copy(s.tail, s.tail[over:])]
	}
}

// end returns what it means that the connection ended properly now.
func (s *splicer) end() error {
	switch {
	case s.place != atOffset, s.total > s.position+s.connNULs:
		// It ended before any new output, or before its own end.
		return io.ErrUnexpectedEOF
	case s.total == s.position:
		return errComplete
	}
	return errClean
}

// checksum is CRC-32C, which processors compute as fast as they read.
func checksum(sum uint32, p []byte) uint32 {
	return crc32.Update(sum, crc32.MakeTable(crc32.Castagnoli), p)
}
