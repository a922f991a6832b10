package logstream

import "time"

// Once the status is final, output may continue beyond the timeout if it arrives at
// finalRate bytes a second, as that of a stored log does, or at finalKnownRate if its
// length is known. The platform keeps 300 MB of a log; maxFinalOutput is more.
const (
	finalRate      = 4 << 20
	finalKnownRate = 4 << 10
	maxFinalOutput = 1 << 30
)

// afterFinal measures what is received after the status has become final.
type afterFinal struct {
	timeout time.Duration
	// pending is the time that the network has taken since the last output.
	pending time.Duration
	// open counts output without a known end, known that with one.
	open, known volume
	output      int64
}

type volume struct {
	time  time.Duration
	bytes int64
}

// within reports whether the time is at most timeout plus bytes/rate seconds.
func (v volume) within(timeout time.Duration, rate int64) bool {
	return v.time <= timeout || (v.time-timeout).Seconds() <= float64(v.bytes)/float64(rate)
}

// add counts n bytes, of which output are new, and reports whether more may follow.
// finite means that the bytes have a known end.
func (l *afterFinal) add(n, output int, finite bool) bool {
	of := &l.open
	if finite {
		of = &l.known
	}
	of.time += l.pending
	of.bytes += int64(n)
	l.pending = 0
	l.output += int64(output)
	return l.open.within(l.timeout, finalRate) && l.known.within(l.timeout, finalKnownRate) && (finite || l.output <= maxFinalOutput)
}
