// Package transport sends HTTP requests, retries them by fixed rules, and bounds
// what they cost in time and memory. It depends neither on Heroku's API nor on the errors of
// the library: a request that fails is a [Failure], from which the library builds
// its own errors.
package transport

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-retryablehttp"
)

// Kind is how the bodies of a request and of its response are handled, and whether
// redirects are followed.
type Kind int

const (
	// Call is a request with a small body. The whole response is read within the
	// attempt, so that one that breaks off is a failed attempt. Redirects are not
	// followed: a response with one is returned as it is.
	Call Kind = iota
	// Upload is a request with a large body. Its time limit applies to the waits
	// for the network, not to the whole. Redirects are followed.
	Upload
	// Download is a request for a large body, which the caller reads and closes.
	// Its time limit applies to each wait for the network. Redirects are followed.
	Download
)

// Request is one request, which may be sent several times.
type Request struct {
	// HTTP has the method, URL, header and context. It has no body, and belongs to
	// this package from then on.
	HTTP *http.Request
	// OriginHeader is sent to the scheme and host of the URL only, never to where a
	// redirect leads.
	OriginHeader http.Header
	// Body opens the body for each attempt, and once before the first one to check
	// that it can be opened. It is nil for a request without a body.
	Body func() (io.ReadCloser, error)
	// Size is the length of the body.
	Size int64

	Kind Kind
	// Idempotent is set if sending the request twice has the effect of sending it
	// once.
	Idempotent bool
	// Success are the statuses of success; empty means 200 to 299.
	Success []int
	// MaxBytes bounds the content of a Call's successful response.
	MaxBytes int64

	// Timeout bounds a whole attempt of a Call, and each wait for the network of an
	// Upload or Download.
	Timeout time.Duration
	Policy  Policy
	// Observer may be nil.
	Observer Observer
	// Before is called before each attempt of a Call; nil for none. With its error the
	// request ends, and that attempt has certainly not been sent.
	Before func(context.Context) error
}

// Observer receives every attempt at its end, before the wait for the next.
type Observer interface {
	Observe(context.Context, Attempt)
}

// Attempt is how one attempt ended.
type Attempt struct {
	// Number counts the attempts of a request from 1.
	Number  int
	Started time.Time
	// Response is nil if none arrived. Where Err is set too, it is that of a
	// redirect that was refused.
	Response *http.Response
	Err      error
	// Retry is set if there will be another attempt, after Wait.
	Retry bool
	Wait  time.Duration
}

// Response is a successful response.
type Response struct {
	// Response has a Body for a Download only.
	*http.Response
	// Content is the body of a response to a Call, and the beginning of the body of
	// a response to an Upload.
	Content  []byte
	Attempts int
}

// Failure is a request that did not succeed.
type Failure struct {
	// Attempts is how often the request was sent. It is 0 for a request whose body
	// cannot be opened.
	Attempts int
	// Response is the response that the last attempt ended with, if any. Its body
	// has been read.
	Response *http.Response
	// Body is the beginning of the response's body.
	Body []byte
	// Err is why there is no response, or none that can be used. It is nil where
	// the response's status is the failure.
	Err error
	// Ambiguous is set if the request is not idempotent and that the host may have
	// acted on the last attempt.
	Ambiguous bool
	// RetryAfter is the wait that the response requested.
	RetryAfter time.Duration
	// Last is the response to the attempt before, where the context ended during
	// the wait after it or during the next attempt.
	Last *Failure
}

// Client sends requests through a RoundTripper. It has no connections of its own.
type Client struct{ RoundTripper http.RoundTripper }

// Do sends a request until it succeeds or the policy ends it. The Response is empty with a
// Failure.
func (c Client) Do(request Request) (Response, *Failure) {
	l := &loop{request: request, next: c.RoundTripper}
	req, err := l.prepare()
	if err != nil {
		return Response{}, &Failure{Err: err}
	}
	l.started = time.Now()
	resp, err := l.retrying.Do(req) //nolint:bodyclose // the caller closes it, or it has been read
	switch {
	case err != nil && (l.again || l.attempts == 0):
		// The wait for the next attempt was cut short, or the body could not be
		// opened again.
		return Response{}, l.interrupted(err)
	case l.failure != nil:
		return Response{}, l.failure
	}
	return Response{Response: resp, Content: l.content, Attempts: l.attempts}, nil
}

// loop sends one request. It is all that go-retryablehttp is used for, which opens
// the body again, waits and repeats; its own policy would repeat a POST.
//
// Three workarounds for that library are here:
//   - it closes the idle connections of the whole transport whenever a request fails,
//     also those of other requests; loop has no CloseIdleConnections method, so that
//     it cannot;
//   - it reads the rest of a response before it repeats a request, without a time
//     limit; check reads responses itself and leaves nothing;
//   - it returns a response without an error when CheckRetry ends the loop; check keeps
//     the failure.
type loop struct {
	request  Request
	next     http.RoundTripper
	retrying retryablehttp.Client
	client   http.Client
	// origin is the request's URL as it was before any redirect.
	origin *url.URL

	attempts int
	// started is when the current attempt began.
	started time.Time
	// again is what check decided last.
	again bool
	// failure is that of the latest attempt, nil if it succeeded.
	failure *Failure
	// content is the body of the latest response that was read within its attempt,
	// head that response.
	content []byte
	head    *http.Response
	// sent is the latest body that was opened.
	sent atomic.Pointer[sentBody]
}

func (l *loop) prepare() (*retryablehttp.Request, error) {
	r := &l.request
	l.origin = r.HTTP.URL
	req, err := retryablehttp.FromRequest(r.HTTP)
	if err != nil {
		return nil, err
	}
	if r.Body != nil {
		if err := req.SetBody(retryablehttp.ReaderFunc(l.open)); err != nil {
			return nil, err
		}
		// Without a length the body is sent in chunks, which storage hosts refuse.
		req.ContentLength = r.Size
	}
	l.client = http.Client{Transport: l, CheckRedirect: checkRedirect}
	if r.Kind == Call {
		l.client.CheckRedirect = useRedirect
	}
	l.retrying = retryablehttp.Client{
		HTTPClient: &l.client,
		// check counts the attempts; this limit only must not be lower.
		RetryMax:     r.Policy.MaxAttempts,
		CheckRetry:   l.check,
		Backoff:      backoff,
		ErrorHandler: retryablehttp.PassthroughErrorHandler,
	}
	return req, nil
}

func (l *loop) open() (io.Reader, error) {
	body, err := l.request.Body()
	if err != nil {
		return nil, err
	}
	b := &sentBody{ReadCloser: body}
	l.sent.Store(b)
	return b, nil
}

// backoff is go-retryablehttp's Backoff. check has put the wait into RetryWaitMin.
func backoff(wait, _ time.Duration, _ int, _ *http.Response) time.Duration { return wait }

// check is go-retryablehttp's CheckRetry. It is called at the end of each attempt.
func (l *loop) check(ctx context.Context, resp *http.Response, err error) (bool, error) {
	l.attempts++
	end := l.request.classify(ctx, resp, err)
	l.failure = l.fail(ctx, resp, err, end)
	var wait time.Duration
	if l.again = false; l.failure != nil {
		wait, l.again = l.request.Policy.next(l.attempts, end, l.request.Idempotent, l.failure.RetryAfter, untilDeadline(ctx))
	}
	if l.request.Observer != nil {
		l.request.Observer.Observe(ctx, Attempt{
			Number: l.attempts, Started: l.started, Response: resp, Err: err,
			// The context may end during the wait.
			Retry: l.again && wait <= untilDeadline(ctx), Wait: wait,
		})
	}
	l.retrying.RetryWaitMin, l.started = wait, time.Now().Add(wait)
	return l.again, nil
}

func (r *Request) succeeded(status int) bool {
	if len(r.Success) > 0 {
		return slices.Contains(r.Success, status)
	}
	return status >= 200 && status < 300
}

// fail describes an attempt, unless it succeeded.
func (l *loop) fail(ctx context.Context, resp *http.Response, err error, end outcome) *Failure {
	if end == succeeded {
		return nil
	}
	f := &Failure{Attempts: l.attempts, Response: resp, Err: err, Ambiguous: !l.request.Idempotent && mayHaveActed(resp, err)}
	switch {
	case err == nil:
		if l.request.Kind == Download {
			l.content = ReadErrorBody(resp)
		}
		f.Body = l.content
		f.RetryAfter, _ = RetryAfter(resp.Header.Get("Retry-After"), time.Now())
	case ctx.Err() != nil:
		f.Last = l.failure.response()
	}
	if errors.Is(err, ErrTooLarge) {
		f.Response = l.head
	}
	return f
}

// interrupted is the failure of a request that ended between two attempts.
func (l *loop) interrupted(err error) *Failure {
	f := &Failure{Attempts: l.attempts, Err: err, Last: l.failure.response()}
	if l.failure != nil {
		f.Ambiguous = l.failure.Ambiguous
	}
	return f
}

// response returns f if it is a response, and nil otherwise.
func (f *Failure) response() *Failure {
	if f != nil && f.Err == nil {
		return f
	}
	return nil
}

// untilDeadline returns how long it is until the context's deadline.
func untilDeadline(ctx context.Context) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return 1<<63 - 1
	}
	return time.Until(deadline)
}
