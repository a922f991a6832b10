package logstream

import "time"

// Once the status is final, output may come for longer than the timeout if it comes
// at lateRate bytes a second, as a stored log does, or at lateKnownRate where its
// length is known. The platform keeps 300 MB of a log; maxLateOutput is more.
const (
	lateRate      = 4 << 20
	lateKnownRate = 4 << 10
	maxLateOutput = 1 << 30
)

// late measures what is received after the status has become final.
type late struct {
	timeout time.Duration
	// pending is the time that the network has taken since output last came.
	pending time.Duration
	// open is what came without a known end, known what came with one.
	open, known volume
	output      int64
}

type volume struct {
	time  time.Duration
	bytes int64
}

// within reports whether no more time has passed than timeout, and a second for
// each rate bytes.
func (v volume) within(timeout time.Duration, rate int64) bool {
	return v.time <= timeout || (v.time-timeout).Seconds() <= float64(v.bytes)/float64(rate)
}

// came counts n bytes, of which output are new, and reports whether more may come.
// finite means that the bytes have a known end.
func (l *late) came(n, output int, finite bool) bool {
	of := &l.open
	if finite {
		of = &l.known
	}
	of.time += l.pending
	of.bytes += int64(n)
	l.pending = 0
	l.output += int64(output)
	return l.open.within(l.timeout, lateRate) && l.known.within(l.timeout, lateKnownRate) && (finite || l.output <= maxLateOutput)
}
