package herokubuild

import (
	"net/http"
	"strconv"
	"sync/atomic"
)

// This file tracks the account's rate limit and makes requests wait for it.

// rateLimit is the latest known state of the account's rate limit.
type rateLimit struct {
	// remaining is one more than the requests that are left, so that zero means
	// "not known".
	remaining atomic.Int64
}

func (l *rateLimit) note(header http.Header) {
	if values := header[rateHeader]; len(values) > 0 {
		if n, err := strconv.Atoi(values[0]); err == nil {
			l.set(n)
		}
	}
}

func (l *rateLimit) set(remaining int) { l.remaining.Store(int64(max(remaining, 0)) + 1) }

func (l *rateLimit) left() (n int, known bool) {
	n = int(l.remaining.Load())
	return n - 1, n > 0
}
