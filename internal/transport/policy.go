package transport

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-retryablehttp"
)

// Policy is how often a request is sent, and how long the waits between the attempts
// are. Every field must be set.
type Policy struct {
	// MaxAttempts includes the first attempt.
	MaxAttempts int
	// MinWait is the wait before the second attempt, which doubles with every
	// further one up to MaxWait.
	MinWait, MaxWait time.Duration
	// MaxRetryAfter caps the wait that a response requests.
	MaxRetryAfter time.Duration
}

// Wait returns the wait after the nth attempt (from 1). It is shortened at random by
// up to a half, so that many clients do not retry at the same time.
func (p Policy) Wait(n int) time.Duration {
	d := p.MaxWait
	// A larger shift overflows.
	if shift := n - 1; shift < 32 && p.MinWait<<shift>>shift == p.MinWait {
		d = min(d, p.MinWait<<shift)
	}
	return d - rand.N(d/2+1)
}

// next decides whether there is another attempt after the nth one, and after which
// wait. deadline is the time that is left.
func (p Policy) next(n int, end outcome, idempotent bool, retryAfter, deadline time.Duration) (wait time.Duration, again bool) {
	if n >= p.MaxAttempts || !end.retryable(idempotent) {
		return 0, false
	}
	retryAfter = min(retryAfter, p.MaxRetryAfter)
	wait = max(p.Wait(n), retryAfter)
	if retryAfter > 0 && wait > deadline {
		// A wait would only replace this response by the context's error.
		return 0, false
	}
	return wait, true
}

// outcome classifies the end of an attempt.
type outcome int

const (
	succeeded outcome = iota
	// rejected is a response that another attempt would get again.
	rejected
	// rateLimited is a response to a request that was not acted on.
	rateLimited
	// serverFailed is a 5xx that may not last.
	serverFailed
	// notSent is an error before there was a connection.
	notSent
	// lost is an error of the network after that.
	lost
	// permanent is an error that another attempt would get again.
	permanent
	// canceled means that the context has ended.
	canceled
)

// retryable reports whether another attempt may help and cannot do harm.
func (o outcome) retryable(idempotent bool) bool {
	switch o {
	case rateLimited, notSent:
		return true
	case serverFailed, lost:
		return idempotent
	default:
		return false
	}
}

func (r *Request) classify(ctx context.Context, resp *http.Response, err error) outcome {
	switch {
	case err != nil:
		return classifyError(ctx, err)
	case r.succeeded(resp.StatusCode):
		return succeeded
	}
	return classifyStatus(resp.StatusCode)
}

func classifyStatus(status int) outcome {
	switch {
	case status == http.StatusTooManyRequests:
		return rateLimited
	case status >= 500 && status != http.StatusNotImplemented:
		return serverFailed
	}
	return rejected
}

func classifyError(ctx context.Context, err error) outcome {
	if ctx.Err() != nil {
		return canceled
	}
	var marked *permanentError
	var held *heldBackError
	if errors.As(err, &marked) || errors.As(err, &held) || errors.Is(err, ErrTooLarge) || errors.Is(err, ErrRedirect) {
		return permanent
	}
	// go-retryablehttp recognizes bad certificates, schemes and headers.
	if again, _ := retryablehttp.ErrorPropagatedRetryPolicy(ctx, nil, err); !again {
		return permanent
	}
	if neverSent(err) {
		return notSent
	}
	return lost
}

// mayHaveActed reports whether the host may have acted on a request that ended so.
func mayHaveActed(resp *http.Response, err error) bool {
	if err != nil {
		return !neverSent(err)
	}
	return resp.StatusCode >= 500 || resp.StatusCode < 200
}

// neverSent reports that the host cannot have received the request.
func neverSent(err error) bool {
	var held *heldBackError
	if errors.As(err, &held) {
		return true
	}
	var op *net.OpError
	return errors.As(err, &op) && (op.Op == "dial" || op.Op == "proxyconnect")
}

// Permanent marks an error of a request's body as one that another attempt would get
// again. Its text and what it matches stay the same.
func Permanent(err error) error { return &permanentError{err} }

type permanentError struct{ err error }

func (e *permanentError) Error() string { return e.err.Error() }

func (e *permanentError) Unwrap() error { return e.err }

// heldBackError is the error of a Before.
type heldBackError struct{ err error }

func (e *heldBackError) Error() string { return e.err.Error() }

func (e *heldBackError) Unwrap() error { return e.err }

// RetryAfter parses the three forms of a Retry-After header that are in use: seconds
// (also a fraction), an HTTP date, and the epoch second at which to come back. A time
// in the past is a wait of 0, and a day is the longest. It returns false for anything
// else.
func RetryAfter(value string, now time.Time) (time.Duration, bool) {
	value = strings.TrimSpace(value)
	if value == "" {
		return 0, false
	}
	if seconds, err := strconv.ParseFloat(value, 64); err == nil {
		return retryAfterSeconds(seconds, now)
	}
	for _, layout := range []string{http.TimeFormat, time.RFC1123, time.RFC1123Z, time.RFC850, time.ANSIC, time.RFC3339} {
		if t, err := time.Parse(layout, value); err == nil {
			return min(max(t.Sub(now), 0), maxRetryAfter), true
		}
	}
	return 0, false
}

// maxRetryAfter keeps the arithmetic within the range of time.Duration.
const maxRetryAfter = 24 * time.Hour

func retryAfterSeconds(seconds float64, now time.Time) (time.Duration, bool) {
	// No wait has this many seconds (31 years); as an epoch second it is in 2001.
	const epoch = 1e9
	if seconds >= epoch {
		seconds -= float64(now.Unix())
	}
	switch {
	case seconds != seconds: // not a number
		return 0, false
	case seconds <= 0:
		return 0, true
	case seconds > maxRetryAfter.Seconds():
		return maxRetryAfter, true
	}
	return time.Duration(seconds * float64(time.Second)), true
}

// WithDefaults returns the policy with the default of every field that is 0.
func (p Policy) WithDefaults() Policy {
	p.MaxAttempts = cmp.Or(p.MaxAttempts, 5)
	p.MinWait = cmp.Or(p.MinWait, 500*time.Millisecond)
	p.MaxWait = cmp.Or(p.MaxWait, 30*time.Second)
	p.MaxRetryAfter = cmp.Or(p.MaxRetryAfter, 2*time.Minute)
	return p
}

// Check returns why a policy is not valid; empty if it is. Fields that are 0 have their
// defaults.
func (p Policy) Check() string {
	switch {
	case p.MaxAttempts < 0:
		return "MaxAttempts is negative"
	case p.MinWait < 0 || p.MaxWait < 0 || p.MaxRetryAfter < 0:
		return "a time is negative"
	}
	if p = p.WithDefaults(); p.MinWait > p.MaxWait {
		return fmt.Sprintf("MinWait (%v) is longer than MaxWait (%v)", p.MinWait, p.MaxWait)
	}
	return ""
}
