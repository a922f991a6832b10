// Package wire sends the requests of the library by Heroku's conventions: to the API with
// the API key, and without it to storage and stream hosts, whose URLs are signed. It sets
// the headers, logs every attempt, notes the rate limit, and bounds and decodes the
// responses of the API.
//
// A request that fails is an [*Error], from which the library builds its own errors.
package wire

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/herokubuild/herokubuild/internal/jsonlimit"
	"github.com/herokubuild/herokubuild/internal/redact"
	"github.com/herokubuild/herokubuild/internal/transport"
)

// Header names, in their canonical form, for lookups that allocate nothing.
const (
	RequestIDHeader = "Request-Id"
	rateHeader      = "Ratelimit-Remaining"
	nextRangeHeader = "Next-Range"
)

// Config sets up a Client. Every field but Streams is required.
type Config struct {
	// Base is the URL of the API, without a slash at its end.
	Base string
	// Token returns the API key, which must be valid in a header.
	Token     func(context.Context) (string, error)
	UserAgent string
	Log       *slog.Logger
	Policy    transport.Policy
	// Timeout is the time limit of an attempt, or of each wait for the network of an
	// upload, unless the request has its own.
	Timeout   time.Duration
	Transport http.RoundTripper
	// Streams sends those for output streams. The default is Transport.
	Streams http.RoundTripper
}

// Client sends requests. It is safe for concurrent use.
type Client struct {
	config  Config
	sender  transport.Client
	streams *http.Client
	// Rate is the account's rate limit as the responses report it.
	Rate RateLimit
}

// New returns a client.
func New(config Config) *Client {
	return &Client{
		config: config, sender: transport.Client{RoundTripper: config.Transport},
		streams: transport.NewStreamClient(cmp.Or(config.Streams, config.Transport)),
	}
}

// Call is one request to the API.
type Call struct {
	Method string
	// Path starts with a slash; its segments are escaped.
	Path  string
	Query string
	// Variant is appended to the version in the Accept header.
	Variant string
	// Header is that of the call. UserHeader has the headers that the user adds; their
	// values are secret.
	Header, UserHeader http.Header
	// Body is sent as JSON unless it is nil.
	Body any
	// Secrets are those of the body.
	Secrets []string
	// Repeatable is set if a POST may be sent twice.
	Repeatable bool
	// MayBeEmpty accepts a response without a body.
	MayBeEmpty bool
	// Limits are those of the response; the zero value is that of a single resource.
	Limits jsonlimit.Limits
	// Partial is the error of a response that is only the first page of a list; nil
	// accepts it.
	Partial error
	// Validate checks what was decoded. It may be nil.
	Validate func(out any) error
	// Timeout and MaxAttempts replace those of the client unless they are 0.
	Timeout     time.Duration
	MaxAttempts int
	// Before is called before each attempt; nil for none. With its error the call ends,
	// and that attempt has certainly not been sent.
	Before func(context.Context) error
}

func (a *Call) idempotent() bool {
	switch a.Method {
	case http.MethodGet, http.MethodHead, http.MethodPut, http.MethodDelete:
		return true
	}
	return a.Repeatable
}

// Do sends a call to the API and decodes the body of its response into out, unless that
// is nil. No other function attaches the API key to a request. The error is an [*Error].
func (c *Client) Do(ctx context.Context, call Call, out any) (*Response, error) {
	if call.Limits.Bytes == 0 {
		call.Limits = objectLimits()
	}
	x := &callExchange{call: call, rate: &c.Rate}
	request, err := x.request(ctx, c)
	if err != nil {
		return nil, err
	}
	got, failed := c.sender.Do(request)
	if failed != nil {
		return nil, x.failure(failed)
	}
	resp := &Response{Status: got.StatusCode, Header: got.Header, Attempts: got.Attempts, exchange: x}
	if out != nil {
		if err := x.call.decode(resp, got.Content, out); err != nil {
			return nil, resp.Unusable(err)
		}
	}
	return resp, nil
}

// Response is a successful response of the API, without its body.
type Response struct {
	Status   int
	Header   http.Header
	Attempts int
	exchange *callExchange
}

// RequestID is the id by which Heroku's support can find the request.
func (r *Response) RequestID() string { return r.exchange.responseID(r.Header) }

// NextRange is the range of the next page of a list; empty after the last one.
func (r *Response) NextRange() string { return r.Header.Get(nextRangeHeader) }

// Date is when Heroku sent the response, by its own clock, or by the local clock if the
// response has no date.
func (r *Response) Date() time.Time {
	if date, err := http.ParseTime(r.Header.Get("Date")); err == nil {
		return date
	}
	return time.Now()
}

// Unusable returns the [*Error] of a response that turns out to be unusable.
func (r *Response) Unusable(err error) error { return r.exchange.unusable(r.Status, r.Header, err) }

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
	secrets, hide redact.Redactor
}

// Observe logs an attempt.
func (x *exchange) Observe(ctx context.Context, a transport.Attempt) {
	x.hide = x.secrets.After(a.Response)
	attemptLog{
		method: x.method, url: x.url, requestID: x.requestID, attempt: a.Number, started: a.Started,
		again: a.Retry, wait: a.Wait, hide: x.hide,
	}.write(ctx, x.log, a.Response, a.Err)
}

// noResponse returns the error of a request without a response. last is that of the
// response before, if any.
func (x *exchange) noResponse(f *transport.Failure, last *Error) *Error {
	return &Error{
		Kind: NoResponse, Method: x.method, URL: x.url, RequestID: x.requestID, Attempts: f.Attempts,
		Err: x.hide.Error(f.Err), Last: last, MaybeApplied: f.Ambiguous,
	}
}
