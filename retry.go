package herokubuild

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-retryablehttp"
)

// RetryOptions sets how failed requests are tried again; see [WithRetry] and
// the package documentation's section on retries. A zero field means its
// default.
type RetryOptions struct {
	// MaxAttempts is how often one request is sent at the most, the first try
	// included. Default 5; 1 turns retries off.
	MaxAttempts int
	// MinWait is the wait before the second attempt; it doubles with every
	// further one. Each wait is shortened at random by up to a half, so that
	// many clients do not come back at once. Default 500 ms.
	MinWait time.Duration
	// MaxWait is the longest wait between two attempts. Default 30 s.
	MaxWait time.Duration
	// MaxRetryAfter is the longest wait that a Retry-After header of the
	// platform is followed for; a longer one is cut to it. Default 2 min.
	MaxRetryAfter time.Duration
	// SettleTime is how long [Client.BuildAndRelease] and
	// [ReleasesService.ReleaseToApps] look for what a POST without an answer may
	// have started, before they take it for certain that there is nothing and
	// send it again. The platform's router gives a request up after 30 s: with
	// less than that, a request that was slow, and lost, can have its effect
	// twice. Default 30 s.
	SettleTime time.Duration
}

func (o RetryOptions) check() error {
	switch {
	case o.MaxAttempts < 0:
		return &ArgumentError{Name: "WithRetry", Reason: "MaxAttempts is negative"}
	case o.MinWait < 0 || o.MaxWait < 0 || o.MaxRetryAfter < 0 || o.SettleTime < 0:
		return &ArgumentError{Name: "WithRetry", Reason: "a time is negative"}
	}
	if o = o.withDefaults(); o.MinWait > o.MaxWait {
		return &ArgumentError{Name: "WithRetry", Reason: fmt.Sprintf("MinWait (%v) is longer than MaxWait (%v)", o.MinWait, o.MaxWait)}
	}
	return nil
}

func (o RetryOptions) withDefaults() RetryOptions {
	if o.MaxAttempts == 0 {
		o.MaxAttempts = 5
	}
	if o.MinWait == 0 {
		o.MinWait = 500 * time.Millisecond
	}
	if o.MaxWait == 0 {
		o.MaxWait = 30 * time.Second
	}
	if o.MaxRetryAfter == 0 {
		o.MaxRetryAfter = 2 * time.Minute
	}
	if o.SettleTime == 0 {
		o.SettleTime = 30 * time.Second
	}
	return o
}

// wait is the jittered exponential back-off after the nth attempt (from 1).
func (o RetryOptions) wait(n int) time.Duration {
	d := o.MaxWait
	// A shift beyond this overflows before it could be capped.
	if shift := n - 1; shift < 32 && o.MinWait<<shift>>shift == o.MinWait {
		d = min(d, o.MinWait<<shift)
	}
	return d - rand.N(d/2+1)
}

// retrier sends one request as often as the retry rules allow. It is made anew
// for each call: it counts the call's attempts and remembers how the last one
// ended.
//
// The decision is made in one place, check. go-retryablehttp rewinds the body,
// waits and repeats; its own policy would send a POST five times.
type retrier struct {
	opts RetryOptions
	log  *slog.Logger

	// method and url are for the log; url has no secrets.
	method, url string
	// idempotent says that sending the request twice is as good as once.
	idempotent bool
	// success reports which statuses are those of success; nil is for all below 300.
	success func(status int) bool
	// answered turns an answer that is not a success into the error that the
	// caller gets.
	answered func(r *retrier, status int, header http.Header, body []byte) error
	// secrets knows those of the request, and hide also those of the URL that
	// the latest answer came from.
	secrets, hide redactor
	// path, rate and bounds are those of a call to the API, requestID is the
	// Request-Id header of all its attempts.
	path      string
	rate      *rateLimit
	bounds    bounds
	requestID string

	client   retryablehttp.Client
	attempts int
	// started is when the current attempt was sent, wait what comes before the
	// next.
	started time.Time
	wait    time.Duration
	// last is what the latest attempt failed with, where that was an answer.
	last error
	// unsure says that the latest attempt changes something and may have
	// reached the platform without an answer.
	unsure bool
	// gone is the error that ends the call before its attempts are used up.
	gone error
}

// do sends req and returns the answer, or the error that its last attempt
// ended with: what answered made of it, or a *RequestError.
func (r *retrier) do(ctx context.Context, hc *http.Client, req *retryablehttp.Request) (*http.Response, error) {
	r.client = retryablehttp.Client{
		HTTPClient: hc,
		// check counts; this only must not end the loop before it does.
		RetryMax:     r.opts.MaxAttempts,
		CheckRetry:   r.check,
		Backoff:      func(_, _ time.Duration, _ int, _ *http.Response) time.Duration { return r.wait },
		ErrorHandler: retryablehttp.PassthroughErrorHandler,
	}
	r.started = time.Now()
	resp, err := r.client.Do(req)
	switch {
	case r.gone != nil:
		closeBody(resp)
		return nil, r.gone
	case err != nil:
		closeBody(resp)
		return nil, r.requestError(ctx, err)
	case r.last != nil:
		closeBody(resp)
		return nil, r.last
	}
	return resp, nil
}

func closeBody(resp *http.Response) {
	if resp != nil && resp.Body != nil {
		_ = resp.Body.Close()
	}
}

// check is go-retryablehttp's CheckRetry: it sees every attempt's end, decides
// whether there is to be another, and sets the wait before it.
func (r *retrier) check(ctx context.Context, resp *http.Response, err error) (bool, error) {
	r.attempts++
	r.hide = r.secrets.after(resp)
	again := r.decide(ctx, resp, err)
	attemptLog{
		method: r.method, url: r.url, requestID: r.requestID, attempt: r.attempts, started: r.started,
		// The context may end before it comes to that.
		again: again && !endsWithin(ctx, r.wait), wait: r.wait, hide: r.hide,
	}.write(ctx, r.log, resp, err)
	if again {
		r.started = time.Now().Add(r.wait)
	}
	// go-retryablehttp keeps err; what it is told here is only whether to go on.
	return again, nil
}

func (r *retrier) decide(ctx context.Context, resp *http.Response, err error) bool {
	if err != nil {
		r.unsure = !r.idempotent && !neverSent(err)
		may := ctx.Err() == nil && r.mayRepeatError(ctx, err)
		if ctx.Err() == nil {
			r.last = nil
		}
		return r.again(ctx, may, 0)
	}
	r.unsure = false
	if r.succeeded(resp.StatusCode) {
		r.last = nil
		return false
	}
	body := readErrorBody(resp)
	r.last = r.answered(r, resp.StatusCode, resp.Header, body)

	asked, ok := parseRetryAfter(resp.Header.Get("Retry-After"), time.Now())
	if !ok {
		return r.again(ctx, r.mayRepeatStatus(resp.StatusCode), 0)
	}
	return r.again(ctx, r.mayRepeatStatus(resp.StatusCode), min(asked, r.opts.MaxRetryAfter))
}

func (r *retrier) succeeded(status int) bool {
	if r.success != nil {
		return r.success(status)
	}
	return status >= 200 && status < 300
}

// again sets the wait before the next attempt; it is false if there is none.
func (r *retrier) again(ctx context.Context, may bool, atLeast time.Duration) bool {
	if !may || r.attempts >= r.opts.MaxAttempts {
		return false
	}
	r.wait = max(r.opts.wait(r.attempts), atLeast)
	if atLeast > 0 && endsWithin(ctx, r.wait) {
		// Waiting would only turn this answer into a bare "deadline exceeded".
		if !errors.Is(r.last, ErrRateLimited) {
			return false
		}
		r.gone = r.last
		return false
	}
	return true
}

// endsWithin says that the context's deadline comes before d has passed.
func endsWithin(ctx context.Context, d time.Duration) bool {
	deadline, ok := ctx.Deadline()
	return ok && time.Until(deadline) < d
}

// mayRepeatStatus says which answers are worth another attempt: 429 always,
// since a rate-limited request was not acted on; a 5xx only where repeating
// does no harm.
func (r *retrier) mayRepeatStatus(status int) bool {
	switch {
	case status == http.StatusTooManyRequests:
		return true
	case status >= 500 && status != http.StatusNotImplemented:
		return r.idempotent
	}
	return false
}

// mayRepeatError says which failures without an answer are worth another
// attempt.
func (r *retrier) mayRepeatError(ctx context.Context, err error) bool {
	for _, lasting := range []error{errTooLarge, ErrArchiveChanged, ErrInvalidArgument, errRedirect, errPanicked} {
		if errors.Is(err, lasting) {
			return false
		}
	}
	// Certificates, schemes and malformed headers do not mend themselves; the
	// library knows them.
	if may, _ := retryablehttp.ErrorPropagatedRetryPolicy(ctx, nil, err); !may {
		return false
	}
	return r.idempotent || neverSent(err)
}

// neverSent says that the platform cannot have seen the request.
func neverSent(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && (op.Op == "dial" || op.Op == "proxyconnect")
}

// requestError makes the caller's error of a failure without an answer.
func (r *retrier) requestError(ctx context.Context, err error) error {
	e := &RequestError{
		Method: r.method, URL: r.url, RequestID: r.requestID, Attempts: r.attempts,
		Err: withoutEOF(cleanURLError(r.hide.err(err))), Last: r.last,
		MaybeApplied: r.unsure,
	}
	if ctx.Err() != nil {
		// Both are wanted: context.Canceled or DeadlineExceeded to test for,
		// and the cause that the caller gave the context.
		e.Err = withoutEOF(contextError(ctx))
	}
	return e
}

// contextError is why a context ended: its error, and its cause where that
// says more.
func contextError(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if cause == nil || errors.Is(cause, err) {
		return cause
	}
	if errors.Is(cause, ErrWaitTimeout) {
		return &timeoutError{cause: cause, ctx: err}
	}
	return fmt.Errorf("%w: %w", err, cause)
}

// readErrorBody takes what is worth keeping of a failed answer and leaves
// nothing for go-retryablehttp to drain: a body that never ends would hold the
// call until its context does.
func readErrorBody(resp *http.Response) []byte {
	// Closing is what wakes a Read that waits for the network.
	body := resp.Body
	timer := time.AfterFunc(errorBodyTimeout, func() { _ = body.Close() })
	defer timer.Stop()
	content, _ := readBody(body, resp.ContentLength, maxErrorBody)
	resp.Body = http.NoBody
	return content
}

const (
	maxErrorBody     = 1 << 20
	errorBodyTimeout = 5 * time.Second
)

// readBody reads and closes a body of which size is what the host says, -1 if it
// does not. What was read is returned with the error too.
func readBody(body io.ReadCloser, size, most int64) ([]byte, error) {
	defer func() { _ = body.Close() }()
	if size > most {
		size = -1
	}
	if size > 0 {
		// A buffer that grows costs some allocations more, and the bytes twice.
		b := make([]byte, size)
		n, err := io.ReadFull(body, b)
		return b[:n], err
	}
	b, err := io.ReadAll(io.LimitReader(body, most+1))
	if int64(len(b)) > most {
		return b[:most], errTooLarge
	}
	return b, err
}

// parseRetryAfter understands the three forms that have been seen of a
// Retry-After header: seconds (a fraction too), an HTTP date, and the epoch
// second at which to come back. A time in the past is a wait of 0. It is false
// for anything else.
func parseRetryAfter(value string, now time.Time) (time.Duration, bool) {
	value = strings.TrimSpace(value)
	if value == "" {
		return 0, false
	}
	if seconds, err := strconv.ParseFloat(value, 64); err == nil {
		// No wait is this many seconds (31 years); as an epoch second it is 2001.
		const epoch = 1e9
		if seconds >= epoch {
			seconds -= float64(now.Unix())
		}
		switch {
		case seconds != seconds:
			return 0, false
		case seconds <= 0:
			return 0, true
		case seconds > maxRetryAfterSeconds:
			return maxRetryAfterSeconds * time.Second, true
		}
		return time.Duration(seconds * float64(time.Second)), true
	}
	for _, layout := range []string{http.TimeFormat, time.RFC1123, time.RFC1123Z, time.RFC850, time.ANSIC, time.RFC3339} {
		if t, err := time.Parse(layout, value); err == nil {
			return min(max(t.Sub(now), 0), maxRetryAfterSeconds*time.Second), true
		}
	}
	return 0, false
}

// maxRetryAfterSeconds keeps the arithmetic within time.Duration; what a call
// really waits is bounded by RetryOptions.
const maxRetryAfterSeconds = 24 * 60 * 60
