package herokubuild

import (
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"
)

// Header names, in their canonical form, for lookups that allocate nothing.
const (
	requestIDHeader = "Request-Id"
	rateHeader      = "Ratelimit-Remaining"
	nextRangeHeader = "Next-Range"
)

// Response describes a successful response of the API. [Client.Do] returns one, and
// [ResponseInto] stores that of any other method.
type Response struct {
	// StatusCode is the HTTP status.
	StatusCode int
	// Header is a copy of the response's header, as it was received. Its values are not
	// printed, logged or encoded as JSON.
	Header http.Header `json:"-"`
	// RequestID is the Request-Id header of the response, or of the request if the
	// response has none. Heroku's support can find the request by it.
	RequestID string
	// RateLimitRemaining is how many requests the account had left after this one,
	// or -1 if the response does not contain it.
	RateLimitRemaining int
	// NextRange is the Next-Range header of a list that has more pages: the Cursor of
	// [ListOptions].
	NextRange string
	// Attempts is how often the request was sent.
	Attempts int
}

// Format prints the response without the header's values, for every verb.
func (r Response) Format(f fmt.State, _ rune) {
	names := slices.Sorted(maps.Keys(r.Header))
	_, _ = fmt.Fprintf(f, "{StatusCode:%d Header:%q RequestID:%q RateLimitRemaining:%d NextRange:%q Attempts:%d}",
		r.StatusCode, names, r.RequestID, r.RateLimitRemaining, r.NextRange, r.Attempts)
}

// LogValue implements slog.LogValuer. It omits the header's values, as Format does.
func (r Response) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(r)) }

// rateLimit is the latest known state of the account's rate limit.
type rateLimit struct {
	// remaining is one more than the requests that are left, so that zero means
	// "not known".
	remaining atomic.Int64
}

func (l *rateLimit) note(header http.Header) {
	if n, ok := rateRemaining(header); ok {
		l.set(n)
	}
}

// rateRemaining returns what a response has of the account's rate limit.
func rateRemaining(header http.Header) (int, bool) {
	value := header.Get(rateHeader)
	if value == "" {
		return 0, false
	}
	n, err := strconv.Atoi(value)
	return n, err == nil
}

func (l *rateLimit) set(remaining int) { l.remaining.Store(int64(max(remaining, 0)) + 1) }

func (l *rateLimit) left() (n int, known bool) {
	n = int(l.remaining.Load())
	return n - 1, n > 0
}
