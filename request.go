package herokubuild

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/herokubuild/herokubuild/internal/jsonlimit"
	"github.com/herokubuild/herokubuild/internal/transport"
)

// This file builds a request to the API and turns its failure into an error.

// acceptHeader requests the version of the API that this package supports.
const acceptHeader = "application/vnd.heroku+json; version=3"

// apiClient sends requests: to the API with the API key, to storage and stream hosts
// without it. The services of a [Client] share one.
type apiClient struct {
	// base is the URL of the API, without a slash at its end.
	base      string
	token     TokenSource
	userAgent string
	log       *slog.Logger
	retry     RetryOptions
	// timeout is that of WithAttemptTimeout.
	timeout    time.Duration
	poll       Backoff
	settleTime time.Duration
	rate       *rateLimit
	// wire sends all requests but those for output streams, for which storage is.
	// Only requests to the API have the API key.
	wire    transport.Client
	storage *http.Client
	packers *packers
}

// check refuses the services of a zero Client.
func (c *apiClient) check() error {
	if c == nil {
		return errNoClient()
	}
	return nil
}

func errNoClient() error {
	return &ArgumentError{Name: "Client", Reason: "was not created by NewClient"}
}

// apiCall is one request to the API.
type apiCall struct {
	method string
	// path starts with a slash; its segments are escaped.
	path  string
	query string
	// variant is appended to the version in the Accept header.
	variant string
	header  http.Header
	// body is sent as JSON unless it is nil.
	body any
	// secrets are those of the body.
	secrets []string
	// repeatable is set if a POST may be sent twice.
	repeatable bool
	// mayBeEmpty accepts a response without a body.
	mayBeEmpty bool
	// limits are those of the response; the zero value is that of a single resource.
	limits jsonlimit.Limits
	// whole refuses the first page of a list.
	whole bool
}

func (a *apiCall) idempotent() bool {
	switch a.method {
	case http.MethodGet, http.MethodHead, http.MethodPut, http.MethodDelete:
		return true
	}
	return a.repeatable
}

// fetch sends a call whose response is a T.
func fetch[T any](ctx context.Context, c *apiClient, a apiCall, opts ...RequestOption) (*T, error) {
	out := new(T)
	if _, err := c.call(ctx, a, out, opts...); err != nil {
		return nil, err
	}
	return out, nil
}

// call sends an apiCall and decodes the body of its response into out, unless that is
// nil. No other function attaches the API key to a request.
func (c *apiClient) call(ctx context.Context, a apiCall, out any, opts ...RequestOption) (apiResponse, error) {
	if err := c.check(); err != nil {
		return apiResponse{}, err
	}
	o, err := newRequestOptions(opts)
	if err != nil {
		return apiResponse{}, err
	}
	x := &apiExchange{call: a, rate: c.rate}
	if x.call.limits.Bytes == 0 {
		x.call.limits = objectLimits()
	}
	request, err := x.request(ctx, c, o)
	if err != nil {
		return apiResponse{}, err
	}
	resp, failed := c.wire.Do(request)
	if failed != nil {
		return apiResponse{}, x.failure(ctx, failed)
	}
	got := apiResponse{exchange: x, status: resp.StatusCode, header: resp.Header, attempts: resp.Attempts}
	if out != nil {
		if err := x.call.decode(got, resp.Content, out); err != nil {
			return apiResponse{}, got.unexpected(err)
		}
	}
	if o.into != nil {
		*o.into = got.metadata()
	}
	return got, nil
}

// request builds the request of an exchange with the API, and gets the key for it.
func (x *apiExchange) request(ctx context.Context, c *apiClient, o requestOptions) (transport.Request, error) {
	a := &x.call
	body, err := encodeBody(a.body)
	if err != nil {
		return transport.Request{}, err
	}
	plain := c.base + a.path
	full := plain
	if a.query != "" {
		full += "?" + a.query
	}
	req, err := http.NewRequestWithContext(ctx, a.method, full, nil)
	if err != nil {
		return transport.Request{}, &ArgumentError{Name: "request", Reason: "the method or path cannot be sent"}
	}
	token, err := c.token.Token(ctx)
	if err != nil {
		return transport.Request{}, withClean(fmt.Errorf("getting the API key: %w", withoutEOF(err)))
	}
	if err := checkToken("token", token); err != nil {
		return transport.Request{}, err
	}
	x.exchange = exchange{
		log: c.log, method: a.method, url: plain, requestID: transport.NewRequestID(),
		secrets: newRedactor(token).and(secretsOfQuery(a.query)...).and(a.secrets...).and(secretsOfHeader(o.header)...),
	}
	r := transport.Request{
		HTTP: req, Idempotent: a.idempotent(), MaxBytes: a.limits.Bytes,
		Timeout: c.timeout, Policy: transport.Policy(c.retry), Observer: x, Before: o.before,
	}
	if o.timeout > 0 {
		r.Timeout = o.timeout
	}
	if o.attempts > 0 {
		r.Policy.MaxAttempts = o.attempts
	}
	maps.Copy(req.Header, o.header)
	maps.Copy(req.Header, a.header)
	setHeaders(req.Header, [][2]string{
		{"Accept", acceptHeader + a.variant},
		{"Authorization", "Bearer " + token},
		{"User-Agent", c.userAgent},
		{requestIDHeader, x.requestID},
	})
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
		r.Size = int64(len(body))
		r.Body = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	}
	return r, nil
}

// encodeBody encodes the body of a call, and returns nil for none.
func encodeBody(v any) ([]byte, error) {
	if v == nil {
		return nil, nil
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	// "&" is in every signed URL, and not every server decodes it where it is escaped.
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, &ArgumentError{Name: "DoOptions.Body", Reason: "cannot be encoded as JSON", Err: err}
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}

// setHeaders sets headers whose names are in their canonical form. One array holds
// the values of all.
func setHeaders(header http.Header, lines [][2]string) {
	values := make([]string, len(lines))
	for i, line := range lines {
		values[i] = line[1]
		header[line[0]] = values[i : i+1 : i+1]
	}
}

// exchange is what the log lines and errors about one request have in common.
type exchange struct {
	log    *slog.Logger
	method string
	// url has no secrets.
	url string
	// requestID is the Request-Id header of all attempts; empty for requests to other
	// hosts than the API's.
	requestID string
	// secrets hides those of the request, hide also those of the URLs that led to the
	// latest response.
	secrets, hide redactor
}

// Observe logs an attempt.
func (x *exchange) Observe(ctx context.Context, a transport.Attempt) {
	x.hide = x.secrets.after(a.Response)
	attemptLog{
		method: x.method, url: x.url, requestID: x.requestID, attempt: a.Number, started: a.Started,
		again: a.Retry, wait: a.Wait, hide: x.hide,
	}.write(ctx, x.log, a.Response, a.Err)
}

// requestError returns the error of a request without a response that can be used. last
// is the error of the response before.
func (x *exchange) requestError(ctx context.Context, f *transport.Failure, last error) error {
	e := &RequestError{
		Method: x.method, URL: x.url, RequestID: x.requestID, Attempts: f.Attempts,
		Err: withoutEOF(cleanURLError(x.hide.err(f.Err))), Last: last, MaybeApplied: f.Ambiguous,
	}
	if ctx.Err() != nil {
		// The error matches the context's error and the cause that the caller gave it.
		e.Err = withoutEOF(contextError(ctx))
	}
	return e
}

// apiExchange is an exchange with the API.
type apiExchange struct {
	exchange
	call apiCall
	rate *rateLimit
}

// Observe logs an attempt and notes the rate limit of its response.
func (x *apiExchange) Observe(ctx context.Context, a transport.Attempt) {
	x.exchange.Observe(ctx, a)
	if a.Err == nil {
		x.rate.note(a.Response.Header)
	}
}

// failure returns the error of a request to the API that failed.
func (x *apiExchange) failure(ctx context.Context, f *transport.Failure) error {
	switch {
	case f == nil:
		return nil
	case errors.Is(f.Err, transport.ErrTooLarge) && f.Response != nil:
		return x.unexpected(f.Response.StatusCode, f.Response.Header, transport.ErrTooLarge)
	case f.Err != nil:
		return x.requestError(ctx, f, x.failure(ctx, f.Last))
	}
	e := newAPIError(x.method, x.call.path, f.Response.StatusCode, f.Response.Header, f.Body, x.secrets.after(f.Response))
	e.RequestID = x.responseID(f.Response.Header)
	e.Attempts, e.RetryAfter, e.MaybeApplied = f.Attempts, f.RetryAfter, f.Ambiguous
	return e
}

// unexpected returns the error of a successful response that cannot be used.
func (x *apiExchange) unexpected(status int, header http.Header, err error) error {
	return &ResponseError{
		Method: x.method, Path: x.call.path, StatusCode: status,
		RequestID: x.responseID(header), Err: x.hide.err(err), MaybeApplied: !x.call.idempotent(),
	}
}

// responseID is the id by which Heroku's support can find a response: its own, or that
// of the request if it has none.
func (x *apiExchange) responseID(header http.Header) string {
	if id := x.hide.header(header, requestIDHeader); id != "" {
		return id
	}
	return x.requestID
}

// apiResponse is a successful response, without its body.
type apiResponse struct {
	exchange *apiExchange
	status   int
	header   http.Header
	attempts int
}

// unexpected returns the error of a response that turns out to be unusable.
func (r apiResponse) unexpected(err error) error {
	return r.exchange.unexpected(r.status, r.header, err)
}

// apiPath escapes and joins the segments of a path.
func apiPath(segments ...string) string {
	var b strings.Builder
	b.Grow(128) // one allocation for nearly all of them
	for _, s := range segments {
		b.WriteByte('/')
		b.WriteString(url.PathEscape(s))
	}
	return b.String()
}

func (r apiResponse) metadata() Response {
	m := Response{
		StatusCode: r.status, Header: r.header.Clone(),
		RequestID: r.exchange.responseID(r.header), RateLimitRemaining: -1,
		NextRange: r.header.Get(nextRangeHeader), Attempts: r.attempts,
	}
	if n, ok := rateRemaining(r.header); ok {
		m.RateLimitRemaining = max(n, 0)
	}
	return m
}

// decode decodes the content of a successful response into out, and validates it.
func (a *apiCall) decode(resp apiResponse, content []byte, out any) error {
	if a.whole && resp.header.Get(nextRangeHeader) != "" {
		return ErrPartialList
	}
	switch trimmed := bytes.TrimSpace(content); {
	case len(trimmed) == 0 && a.mayBeEmpty:
		return nil
	case len(trimmed) == 0:
		return errors.New("the response has no body")
	case bytes.Equal(trimmed, []byte("null")):
		return errors.New("the response is null")
	}
	if err := a.limits.Check(content); err != nil {
		return err
	}
	if err := json.Unmarshal(content, out); err != nil {
		return err
	}
	return validate(out)
}

// attemptLog is one attempt of a request, for the log.
type attemptLog struct {
	method string
	// url has no secrets.
	url string
	// requestID is the one that was sent, if any.
	requestID string
	attempt   int
	started   time.Time
	// again is set if there will be another attempt, after wait.
	again bool
	wait  time.Duration
	// hide hides the secrets of the request.
	hide redactor
}

// write logs an attempt that ended with resp or err, and a warning in resp if there is one.
func (a attemptLog) write(ctx context.Context, log *slog.Logger, resp *http.Response, err error) {
	level, text := slog.LevelDebug, "herokubuild: request"
	if a.again {
		level, text = slog.LevelInfo, "herokubuild: retrying request"
	}
	if log.Enabled(ctx, level) {
		log.LogAttrs(ctx, level, text, a.attrs(resp, err)...)
	}
	if err == nil && log.Enabled(ctx, slog.LevelWarn) {
		a.warn(ctx, log, resp.Header)
	}
}

func (a attemptLog) attrs(resp *http.Response, err error) []slog.Attr {
	attrs := append(make([]slog.Attr, 0, 10), a.request()...)
	attrs = append(attrs, slog.Duration("duration", time.Since(a.started)), slog.Int("attempt", a.attempt))
	if err != nil {
		attrs = append(attrs, slog.String("error", clip(cleanURLError(a.hide.err(err)).Error(), maxErrorText)))
	} else {
		attrs = append(attrs, slog.Int("status", resp.StatusCode))
	}
	if err == nil && resp.Header.Get(requestIDHeader) != "" {
		attrs = a.header(attrs, "request_id", resp.Header, requestIDHeader)
	} else if a.requestID != "" {
		attrs = append(attrs, slog.String("request_id", a.requestID))
	}
	if err == nil {
		if left, ok := rateRemaining(resp.Header); ok {
			attrs = append(attrs, slog.Int("rate_remaining", left))
		}
	}
	if a.again {
		attrs = append(attrs, slog.Duration("wait", a.wait))
	}
	return attrs
}

func (a attemptLog) request() []slog.Attr {
	host, path := "", a.url
	if u, err := url.Parse(a.url); err == nil {
		host, path = u.Host, u.EscapedPath()
	}
	return []slog.Attr{slog.String("method", a.method), slog.String("host", host), slog.String("path", path)}
}

// warn logs a warning from Heroku, such as that an endpoint will be removed. Both headers
// are in use.
func (a attemptLog) warn(ctx context.Context, log *slog.Logger, header http.Header) {
	for _, name := range []string{"Warning-Message", "X-Heroku-Warning"} {
		if header.Get(name) == "" {
			continue
		}
		attrs := a.header(a.request(), "warning", header, name)
		attrs = a.header(attrs, "warning_id", header, "Warning-Id")
		log.LogAttrs(ctx, slog.LevelWarn, "herokubuild: warning from Heroku", attrs...)
	}
}

// header adds the value of a header, unless it is empty.
func (a attemptLog) header(attrs []slog.Attr, key string, header http.Header, name string) []slog.Attr {
	if v := a.hide.header(header, name); v != "" {
		attrs = append(attrs, slog.String(key, v))
	}
	return attrs
}
