package wire

import (
	"net/http"
	"strconv"
	"sync/atomic"
)

// RateLimit is the latest known state of the account's rate limit. The zero value is that
// of one that is not known.
type RateLimit struct {
	// remaining is one more than the requests that are left, so that zero means
	// "not known".
	remaining atomic.Int64
}

func (l *RateLimit) note(header http.Header) {
	if n, ok := RateRemaining(header); ok {
		l.Set(n)
	}
}

// Set stores how many requests are left.
func (l *RateLimit) Set(remaining int) { l.remaining.Store(int64(max(remaining, 0)) + 1) }

// Left returns how many requests are left, if that is known.
func (l *RateLimit) Left() (n int, known bool) {
	n = int(l.remaining.Load())
	return n - 1, n > 0
}

// RateRemaining returns what the header of a response has of the account's rate limit.
func RateRemaining(header http.Header) (int, bool) {
	value := header.Get(rateHeader)
	if value == "" {
		return 0, false
	}
	n, err := strconv.Atoi(value)
	return n, err == nil
}
