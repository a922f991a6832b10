package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
)

var (
	// ErrAttemptTimeout reports that an attempt of a Call took longer than its time
	// limit.
	ErrAttemptTimeout = errors.New("no complete response")
	// ErrUploadStalled reports that the network accepted no more of an upload for
	// longer than its time limit, or that no response followed it.
	ErrUploadStalled = errors.New("upload stalled: no progress and no response")
	// ErrIdle reports that nothing was received for longer than the time limit.
	ErrIdle = errors.New("no data received")
	// ErrEarlySuccess reports a successful response to an upload before all of its
	// body was sent.
	ErrEarlySuccess = errors.New("success was reported before the whole body was sent")
	// ErrRedirect reports a redirect that is not followed.
	ErrRedirect = errors.New("redirect refused")
)

// NewRoundTripper returns the default RoundTripper. It keeps as many connections as a
// rollout has requests in flight, and bounds the size of response headers. It has no time
// limit of its own, which would cap the longer one of a request.
func NewRoundTripper() http.RoundTripper { return newRoundTripper(0) }

// NewStreamRoundTripper returns the RoundTripper for output streams, which arrive in
// chunks: with the default buffer each chunk costs a system call.
func NewStreamRoundTripper() http.RoundTripper { return newRoundTripper(32 << 10) }

// newRoundTripper returns a RoundTripper whose connections have a read buffer of the given
// size, 0 for the default. A thousand connections with large ones would take 64 MB.
func newRoundTripper(readBuffer int) http.RoundTripper {
	t, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		// The program has replaced it on purpose: to trace requests, or to forbid them.
		return http.DefaultTransport
	}
	t = t.Clone()
	t.MaxIdleConnsPerHost = 32
	t.ReadBufferSize = readBuffer
	t.MaxResponseHeaderBytes = 256 << 10
	return t
}

// NewStreamClient returns a client for responses without an end. It follows redirects
// by the rules of a Download; it neither retries nor has a time limit.
func NewStreamClient(next http.RoundTripper) *http.Client {
	return &http.Client{Transport: next, CheckRedirect: checkRedirect}
}

// RoundTrip sends one attempt, or one step of a chain of redirects.
func (l *loop) RoundTrip(req *http.Request) (*http.Response, error) {
	if len(l.request.OriginHeader) > 0 && l.toOrigin(req) {
		req = withHeader(req, l.request.OriginHeader)
	}
	switch l.request.Kind {
	case Upload:
		return l.upload(req)
	case Download:
		return idleRoundTrip(l.next, req, l.request.Timeout)
	default:
		if err := l.before(req); err != nil {
			return nil, err
		}
		return l.call(req)
	}
}

// before calls the request's Before. Whoever sends a request closes its body.
func (l *loop) before(req *http.Request) error {
	if l.request.Before == nil {
		return nil
	}
	err := l.request.Before(req.Context())
	if err == nil {
		return nil
	}
	if req.Body != nil {
		_ = req.Body.Close()
	}
	return &heldBackError{err}
}

func (l *loop) toOrigin(req *http.Request) bool {
	return req.URL.Scheme == l.origin.Scheme && strings.EqualFold(req.URL.Host, l.origin.Host)
}

// withHeader returns a copy of a request with more headers. A copy, because a
// redirect repeats the header of the original.
func withHeader(req *http.Request, header http.Header) *http.Request {
	req = req.Clone(req.Context())
	for name, values := range header {
		req.Header[http.CanonicalHeaderKey(name)] = values
	}
	return req
}

// call sends a Call and reads its response.
func (l *loop) call(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	defer cancel(nil)
	timer := newIdleTimer(l.request.Timeout, cancel, ErrAttemptTimeout)
	defer timer.stop()
	resp, err := checked(l.next.RoundTrip(req.WithContext(ctx))) //nolint:bodyclose // read below
	if err == nil {
		err = l.readCall(timer, req.Method, resp)
	}
	if err != nil {
		return nil, timer.errorOf(ctx, err)
	}
	return resp, nil
}

func (l *loop) readCall(timer *idleTimer, method string, resp *http.Response) (err error) {
	if resp.StatusCode >= 300 {
		// The status is what counts; a part of the body is enough.
		l.content = ReadErrorBody(resp)
		return nil
	}
	l.head = resp
	size := resp.ContentLength
	if method == http.MethodHead {
		// It is the length of the body that a GET would have.
		size = 0
	}
	timer.hold(resp.Body)
	l.content, err = readBody(resp.Body, size, l.request.MaxBytes)
	resp.Body = http.NoBody
	return err
}

// upload sends an Upload and reads its response.
func (l *loop) upload(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	defer cancel(nil)
	timer := newIdleTimer(l.request.Timeout, cancel, ErrUploadStalled)
	defer timer.stop()
	resp, err := checked(l.next.RoundTrip(withTimedBody(req.WithContext(ctx), timer)))
	if err != nil {
		return nil, timer.errorOf(ctx, err)
	}
	// Storage hosts respond with a few lines, which are read before ctx ends.
	l.content = ReadErrorBody(resp)
	if resp.StatusCode >= 200 && resp.StatusCode < 300 && !l.sentAll() {
		return nil, ErrEarlySuccess
	}
	return resp, nil
}

func (l *loop) sentAll() bool {
	body := l.sent.Load()
	return body != nil && body.read.Load() == l.request.Size
}

// checked accepts what net/http accepts of a RoundTripper, and turns the rest into
// errors.
func checked(resp *http.Response, err error) (*http.Response, error) {
	switch {
	case err != nil:
		return nil, err
	case resp == nil:
		return nil, errors.New("transport returned neither a response nor an error")
	case resp.Body == nil:
		resp.Body = http.NoBody
	}
	return resp, nil
}

// useRedirect is the CheckRedirect that follows none.
func useRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// maxHops is how many requests a chain of redirects may take.
const maxHops = 5

// checkRedirect follows redirects, but not from https to a weaker scheme, nor to http on
// another machine.
func checkRedirect(req *http.Request, via []*http.Request) error {
	first := via[0]
	switch {
	case len(via) >= maxHops:
		return fmt.Errorf("%w: after %d requests in a row", ErrRedirect, len(via))
	case req.Method != first.Method:
		return fmt.Errorf("%w: it turns a %s into a %s", ErrRedirect, first.Method, req.Method)
	case !asSafe(req, first) && first.URL.Scheme == "http" && req.URL.Scheme == "http":
		return fmt.Errorf("%w: to http on a host that is not this machine", ErrRedirect)
	case !asSafe(req, first):
		return fmt.Errorf("%w: from %s to %s", ErrRedirect, first.URL.Scheme, req.URL.Scheme)
	}
	// The host must not receive the signed URL that led to it.
	req.Header.Del("Referer")
	return nil
}

func asSafe(req, first *http.Request) bool {
	return req.URL.Scheme == "https" || req.URL.Scheme == "http" && first.URL.Scheme == "http" && IsLoopback(req.URL.Hostname())
}

// IsLoopback reports whether a host is this machine.
func IsLoopback(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
