package herokubuild

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"iter"
	"sync/atomic"
	"time"
)

// StreamOptions sets how an output stream is read. nil and the zero value are
// the defaults.
type StreamOptions struct {
	// IdleTimeout is the silence, without output or heartbeat, after which
	// the connection is taken for dead and replaced. The platform sends a
	// heartbeat every 10 s. Default 60 s.
	IdleTimeout time.Duration
	// FinalTimeout bounds how long output may keep coming after the status has
	// become final. Only the time that the stream takes counts, and not the
	// reader's. Output that comes at 4 MiB a second or faster may take longer,
	// up to 1 GiB, and so may output whose length the stream host has
	// announced, at 4 KiB a second or faster. Default 15 s.
	FinalTimeout time.Duration
	// Offset is how many bytes of the output to leave out at the start:
	// [OutputStream.Offset] of a stream that was read earlier. They are
	// transferred and passed over, because the stream host counts NULs that the
	// output itself has, and Offset does not. Default 0.
	Offset int64
	// OnHeartbeat, if not nil, is called while a read waits and the platform
	// has sent a heartbeat and no output: the build or release phase is alive.
	// It is called at most once a second, however many heartbeats arrive. quiet
	// is the time since output last came, or since the stream was first
	// connected. Default: none.
	OnHeartbeat func(quiet time.Duration)

	// backoff, if not nil, is in the place of the client's.
	backoff Backoff
}

func (o *StreamOptions) withDefaults() (StreamOptions, error) {
	var d StreamOptions
	if o != nil {
		d = *o
	}
	switch {
	case d.IdleTimeout < 0:
		return d, &ArgumentError{Name: "StreamOptions.IdleTimeout", Reason: "is negative"}
	case d.FinalTimeout < 0:
		return d, &ArgumentError{Name: "StreamOptions.FinalTimeout", Reason: "is negative"}
	case d.Offset < 0:
		return d, &ArgumentError{Name: "StreamOptions.Offset", Reason: "is negative"}
	}
	if d.IdleTimeout == 0 {
		d.IdleTimeout = time.Minute
	}
	if d.FinalTimeout == 0 {
		d.FinalTimeout = 15 * time.Second
	}
	return d, nil
}

// OutputStream reads the output of a build or of a release phase: its bytes as
// they were written, each once and in order, without the NUL heartbeats that
// keep the connection open. A byte is handed on as soon as it has arrived.
//
// Connections that break, stall or end too early are replaced, and addresses
// that have expired renewed; see the package documentation's section on
// streaming. The end of the stream (io.EOF) is the end of the output. It is not
// the outcome: ask for that with Wait.
//
// Read, WriteTo and Lines are for one goroutine at a time. Close, Offset and
// LastActivity may be called from any.
type OutputStream struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	opts   StreamOptions
	name   string
	resume resumption

	conn *streamConn
	err  error

	// position is how much output has been received. pending, a part of buf,
	// is the end of that: what the caller has not been given yet.
	position     int64
	buf, pending []byte

	// offset is how much output the caller has been given.
	offset   atomic.Int64
	activity atomic.Int64
}

var errStreamClosed = errors.New("herokubuild: the output stream is closed")

// String names the stream by its address without the signature.
func (s *OutputStream) String() string { return s.name }

// Offset returns how many bytes of output the caller has been given, those left
// out by [StreamOptions].Offset included: what Read has returned, what the writer
// of WriteTo has accepted, and the lines that Lines has yielded, with their ends.
// A stream that is opened with this as its Offset continues with the next byte.
// Heartbeats do not count.
func (s *OutputStream) Offset() int64 { return s.offset.Load() }

// LastActivity returns when output or a heartbeat last arrived; zero before the
// first. Activity without output is a sign that a quiet build is alive.
func (s *OutputStream) LastActivity() time.Time {
	if ns := s.activity.Load(); ns != 0 {
		return time.Unix(0, ns)
	}
	return time.Time{}
}

// Close ends the stream; a read that waits returns at once.
func (s *OutputStream) Close() error {
	// Everything that a read can wait for hangs on the context, the
	// connection's body included.
	s.cancel(errStreamClosed)
	return nil
}

// Read reads output. It returns 0 bytes only with an error or for an empty p.
//
// Errors: io.EOF at the end of the output, and never otherwise; the context's
// error; and a [*StreamError] where the output cannot be read on, which matches
// [ErrOutputTruncated] if the platform no longer has what was read so far.
func (s *OutputStream) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if len(s.pending) > 0 {
		n := copy(p, s.pending)
		s.give(n)
		return n, nil
	}
	n, err := s.receive(p)
	s.offset.Add(int64(n))
	return n, err
}

// give takes the first n bytes of what is pending as given to the caller.
func (s *OutputStream) give(n int) []byte {
	given := s.pending[:n]
	s.pending = s.pending[n:]
	s.offset.Add(int64(n))
	return given
}

// receive reads output from the network into p, which is not empty.
func (s *OutputStream) receive(p []byte) (int, error) {
	r := &s.resume
	for s.err == nil {
		if s.conn == nil {
			s.conn, s.err = s.connect()
			continue
		}
		var began time.Time
		if r.over {
			began = time.Now()
		}
		finite := s.conn.finite()
		n, err := s.conn.read(p)
		now := time.Now()
		if n > 0 {
			s.activity.Store(now.UnixNano())
		}
		text := dropNULs(p[:n])
		r.nuls += int64(n - text)
		switch {
		case text > 0:
			s.conn.moved = now
		case n > 0:
			s.heartbeat(now)
		}
		if n, err = s.conn.check(p[:text], err); n > 0 {
			s.delivered(p[:n], now)
		}
		switch {
		case err != nil:
		case n > 0:
			s.watch(now)
		default:
			err = s.quiet()
		}
		if !began.IsZero() {
			r.late.pending += now.Sub(began)
		}
		if text > 0 && !began.IsZero() && !r.late.came(text, n, finite, s.opts.FinalTimeout) {
			err = errEndless
		}
		if err != nil {
			s.conn.close()
			s.ended(err)
			s.conn = nil
		}
		if n > 0 {
			return n, nil
		}
	}
	s.cancel(errStreamClosed)
	return 0, s.err
}

// Large enough that asking the kernel costs little against copying.
const copyBuffer = 128 << 10

// WriteTo writes the output to w as it comes, until its end, which is no error.
// It implements io.WriterTo, so that io.Copy needs no buffer of its own. What w
// did not accept is not lost: it is what the next Read, WriteTo or Lines begins
// with.
func (s *OutputStream) WriteTo(w io.Writer) (int64, error) {
	var written int64
	for {
		if len(s.pending) > 0 {
			n, err := writeAll(w, s.pending)
			s.give(n)
			written += int64(n)
			if err != nil {
				return written, err
			}
		}
		if len(s.buf) < copyBuffer {
			s.buf = make([]byte, copyBuffer)
		}
		n, err := s.receive(s.buf)
		s.pending = s.buf[:n]
		if isEOF(err) {
			return written, nil
		}
		if err != nil {
			return written, err
		}
	}
}

var errInvalidWrite = errors.New("herokubuild: the writer returned an invalid count")

// writeAll makes an error of a write that was not complete.
func writeAll(w io.Writer, p []byte) (int, error) {
	n, err := w.Write(p)
	switch {
	case n < 0 || n > len(p):
		n = 0
		if err == nil {
			err = errInvalidWrite
		}
	case n < len(p) && err == nil:
		err = io.ErrShortWrite
	}
	return n, err
}

// maxLine bounds the length of a line, longLine that with its end.
const (
	maxLine  = 64 << 10
	longLine = maxLine + len("\r\n")
)

// Lines iterates over the lines of the output, without their ends ("\n" or
// "\r\n"). A line is yielded when it is complete; one longer than 64 KiB in
// several parts. An error ends the iteration; it comes with an empty line. The
// end of the output is none.
//
// A loop over Lines that was left can be continued by another one, or by Read or
// WriteTo: it begins with the line after the last one that was yielded.
func (s *OutputStream) Lines() iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for {
			line, err := s.line()
			if len(line) > 0 {
				text, whole := bytes.CutSuffix(line, []byte("\n"))
				if whole {
					text = bytes.TrimSuffix(text, []byte("\r"))
				}
				if !yield(string(text), nil) {
					return
				}
			}
			if isEOF(err) {
				return
			}
			if err != nil {
				yield("", err)
				return
			}
		}
	}
}

// line returns the next line with its end, or what there is of it and why there
// is no more.
func (s *OutputStream) line() ([]byte, error) {
	searched := 0
	for {
		within := s.pending[:min(len(s.pending), longLine)]
		if i := bytes.IndexByte(within[searched:], '\n'); i >= 0 {
			return s.give(searched + i + 1), nil
		}
		if len(within) == longLine {
			return s.give(longLine), nil
		}
		searched = len(within)
		if err := s.more(); err != nil {
			return s.give(len(s.pending)), err
		}
	}
}

// more receives output in addition to what is pending, which is less than a long
// line.
func (s *OutputStream) more() error {
	if len(s.buf) < longLine {
		s.buf = append(make([]byte, 0, longLine), s.pending...)[:longLine]
		s.pending = s.buf[:len(s.pending)]
	}
	if cap(s.pending) < longLine {
		// It lies too far back in the buffer.
		s.pending = s.buf[:copy(s.buf, s.pending)]
	}
	have := len(s.pending)
	n, err := s.receive(s.pending[have:cap(s.pending)])
	s.pending = s.pending[:have+n]
	return err
}

// DropHeartbeats returns a reader of r without its NUL bytes, the platform's
// heartbeats. It does not buffer, and never returns 0 bytes without an error,
// however many heartbeats there are. Where r returns nothing and no error again
// and again, the error is io.ErrNoProgress.
func DropHeartbeats(r io.Reader) io.Reader { return &heartbeatFilter{r: r} }

type heartbeatFilter struct {
	r        io.Reader
	progress progress
}

func (f *heartbeatFilter) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		n, err := f.r.Read(p)
		err = f.progress.check(n, err)
		if n = dropNULs(p[:n]); n > 0 || err != nil {
			return n, err
		}
	}
}

// dropNULs moves the bytes of p that are not NUL to its front and returns how
// many there are.
func dropNULs(p []byte) int {
	kept := bytes.IndexByte(p, 0)
	if kept < 0 {
		return len(p)
	}
	for src := p[kept+1:]; len(src) > 0; {
		// Where every second byte is a NUL, and no other, 16 at once.
		for len(src) >= 16 && alternate(src) {
			binary.LittleEndian.PutUint64(p[kept:kept+8:kept+8], squeeze(src)|squeeze(src[8:16])<<32)
			kept += 8
			src = src[16:]
		}
		// Between two heartbeats there is mostly a long run of text, which is
		// found and copied fastest as a whole.
		const long, block = 32, 64
		run := bytes.IndexByte(src, 0)
		if run < 0 {
			run = len(src)
		}
		if run >= long {
			kept += copy(p[kept:], src[:run])
			src = src[min(run+1, len(src)):]
			continue
		}
		// Where the runs are short, a branch that nobody can predict costs more
		// than all else: every byte is copied, and counts or not.
		n := min(block, len(src))
		for _, c := range src[:n] {
			p[kept] = c
			kept += int((uint(c) + 255) >> 8)
		}
		if src = src[n:]; len(src) > 0 && src[0] == 0 {
			src = src[1:]
		}
	}
	return kept
}

// alternate says whether the first 16 bytes of p are 8 times a byte and a NUL.
func alternate(p []byte) bool {
	const first, second, carry = 0x00ff00ff00ff00ff, 0xff00ff00ff00ff00, 0x0100010001000100
	a, b := binary.LittleEndian.Uint64(p), binary.LittleEndian.Uint64(p[8:16])
	// Adding 255 to a byte that is not NUL carries into its neighbour.
	return (a|b)&second == 0 && (a+first)&(b+first)&carry == carry
}

// squeeze returns the first, third, fifth and seventh byte of p next to each
// other. The others are NUL.
func squeeze(p []byte) uint64 {
	w := binary.LittleEndian.Uint64(p)
	w |= w >> 8
	return w&0xffff | w>>16&0xffff0000
}
