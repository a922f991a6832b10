package herokubuild

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/herokubuild/herokubuild/internal/check"
	"github.com/herokubuild/herokubuild/internal/clean"
	"github.com/herokubuild/herokubuild/internal/transport"
	"github.com/herokubuild/herokubuild/internal/wire"
)

// Option configures a [Client]. A nil Option is skipped.
type Option func(*config) error

type config struct {
	token      TokenSource
	baseURL    string
	baseField  string
	transport  http.RoundTripper
	timeout    time.Duration
	userAgent  string
	log        *slog.Logger
	retry      RetryOptions
	poll       Backoff
	settleTime time.Duration
}

// WithToken sets the API key, instead of HEROKU_API_KEY and the netrc file.
func WithToken(token string) Option {
	return func(c *config) error {
		if err := invalid("WithToken", check.Token(token)); err != nil {
			return err
		}
		c.token = staticToken(token)
		return nil
	}
}

// WithTokenSource sets the source of the API key, for keys that change while the program
// runs.
func WithTokenSource(source TokenSource) Option {
	return func(c *config) error {
		if source == nil {
			return &ArgumentError{Name: "WithTokenSource", Reason: "the source is nil"}
		}
		// A method value hides the source's fields from fmt, as in staticToken.
		c.token = TokenSourceFunc(source.Token)
		return nil
	}
}

// WithBaseURL sets the URL of the API, instead of the variable HEROKU_API_URL or
// [DefaultBaseURL]. It must be https, or http on a loopback address, and have no query.
func WithBaseURL(rawURL string) Option {
	return func(c *config) error {
		c.baseURL, c.baseField = rawURL, "WithBaseURL"
		return nil
	}
}

// WithTransport sets what sends all HTTP requests, instead of a copy of
// http.DefaultTransport: to add a proxy, certificates, tracing, or responses for tests.
// It sees complete requests, secrets included.
func WithTransport(rt http.RoundTripper) Option {
	return func(c *config) error {
		if rt == nil {
			return &ArgumentError{Name: "WithTransport", Reason: "the transport is nil"}
		}
		c.transport = rt
		return nil
	}
}

const (
	defaultAttemptTimeout = time.Minute
	defaultSettleTime     = 30 * time.Second
)

// WithAttemptTimeout sets how long one attempt of an API call may take, and how long an
// upload may make no progress. Default: one minute.
func WithAttemptTimeout(d time.Duration) Option {
	return func(c *config) error {
		if d <= 0 {
			return &ArgumentError{Name: "WithAttemptTimeout", Reason: "the timeout is not positive"}
		}
		c.timeout = d
		return nil
	}
}

// WithUserAgent puts a product, such as "shop-ci/1.4", before this package's own in the
// User-Agent header.
func WithUserAgent(product string) Option {
	return func(c *config) error {
		if product == "" || !clean.IsPrintable(product) {
			return &ArgumentError{Name: "WithUserAgent", Reason: quote(product) + " is empty or has characters that a header cannot contain"}
		}
		c.userAgent = product
		return nil
	}
}

// WithLogger sets a logger. At level debug it receives a line for every attempt of a
// request, connections to output streams included, with these attributes: method, host,
// path, status or error, duration (until the response has been read; of downloads and
// streams, until it begins), attempt (from 1), request_id (of requests to the API: that
// of the response or, without one, of the request), and rate_remaining if the response
// contains it. At level info it receives retries (with wait), reconnected streams, builds
// and releases that were found after a lost response, and waits for the rate limit. At
// level warn it receives warnings from Heroku. Failures are returned as errors and are
// not logged in addition.
//
// The context is that of the call, so that a handler can add a trace ID. The API key and
// the queries of signed URLs are never logged. Default: nothing is logged.
func WithLogger(log *slog.Logger) Option {
	return func(c *config) error {
		if log == nil {
			return &ArgumentError{Name: "WithLogger", Reason: "the logger is nil"}
		}
		c.log = log
		return nil
	}
}

// WithRetry sets the number of attempts and the backoff. Which requests are retried is
// not configurable: see the package documentation, Retries.
func WithRetry(opts RetryOptions) Option {
	return func(c *config) error {
		if err := invalid("WithRetry", transport.Policy(opts).Check()); err != nil {
			return err
		}
		c.retry = opts
		return nil
	}
}

// WithSettleTime sets how long [Client.BuildAndRelease] and [Client.Rollout] search for
// the effect of a request whose response was lost, before they treat it as certain that
// there is none and send the request again. Heroku's router gives up a request after
// 30 s: with less than that, a slow request can take effect twice. Default 30 s.
func WithSettleTime(d time.Duration) Option {
	return func(c *config) error {
		if d <= 0 {
			return &ArgumentError{Name: "WithSettleTime", Reason: fmt.Sprintf("%v is not positive", d)}
		}
		c.settleTime = d
		return nil
	}
}

// WithPollBackoff sets the polling interval for pending builds and releases, and the
// delay before reconnecting an output stream that delivers nothing. Default:
// [DefaultPollBackoff].
func WithPollBackoff(poll Backoff) Option {
	return func(c *config) error {
		if poll == nil {
			return &ArgumentError{Name: "WithPollBackoff", Reason: "the function is nil"}
		}
		c.poll = poll
		return nil
	}
}

// RetryOptions sets how failed requests are retried; see [WithRetry] and the package
// documentation, Retries. A zero field means its default.
type RetryOptions struct {
	// MaxAttempts is how often a request is sent at most, the first attempt included.
	// Default 5; 1 turns retries off.
	MaxAttempts int
	// MinWait is the wait before the second attempt; it doubles with every further one.
	// Each wait is shortened at random by up to a half, so that many clients do not
	// retry at the same time. Default 500 ms.
	MinWait time.Duration
	// MaxWait is the longest wait between two attempts. Default 30 s.
	MaxWait time.Duration
	// MaxRetryAfter caps the wait that a Retry-After header requests. Default 2 min.
	MaxRetryAfter time.Duration
}

// RequestOption changes one call. [Client.Do], [List], and the methods of the services that
// correspond to one endpoint accept any number of them; a nil RequestOption is skipped. Where
// a method sends several requests, as a list does for its pages, they apply to each.
type RequestOption func(*requestOptions) error

type requestOptions struct {
	header  http.Header
	timeout time.Duration
	// attempts is 0 for those of the client.
	attempts int
	into     *Response
	// before is called before each attempt; nil for none.
	before func(context.Context) error
}

// newRequestOptions applies the options of a call.
func newRequestOptions(opts []RequestOption) (requestOptions, error) {
	if len(opts) == 0 {
		return requestOptions{}, nil
	}
	var o requestOptions
	for _, opt := range opts {
		if opt == nil {
			continue
		}
		if err := opt(&o); err != nil {
			return requestOptions{}, err
		}
	}
	return o, nil
}

// RequestHeader adds a header to the requests of a call, or replaces it. Headers that
// this package sets itself, such as Authorization, Accept and Content-Type, are an
// [*ArgumentError], as is Range in a call that reads a list. The value is treated as a
// secret: no error and no log line repeats it.
func RequestHeader(name, value string) RequestOption {
	return func(o *requestOptions) error {
		if err := invalid("RequestHeader", check.Header(http.Header{name: {value}},
			"Accept", "Accept-Encoding", "Authorization", "Content-Encoding", "Content-Type", "Cookie", "Expect",
			"Keep-Alive", "Proxy-Authorization", "Proxy-Connection", wire.RequestIDHeader, "Te", "Trailer", "Upgrade", "User-Agent",
		)); err != nil {
			return err
		}
		if o.header == nil {
			o.header = http.Header{}
		}
		o.header.Set(name, value)
		return nil
	}
}

// RequestAttemptTimeout sets how long one attempt of a call may take, instead of the client's
// [WithAttemptTimeout]. For the whole of a call use its context.
func RequestAttemptTimeout(d time.Duration) RequestOption {
	return func(o *requestOptions) error {
		if d <= 0 {
			return &ArgumentError{Name: "RequestAttemptTimeout", Reason: "the timeout is not positive"}
		}
		o.timeout = d
		return nil
	}
}

// RequestMaxAttempts sets how often each request of a call is sent at most, instead of
// the client's [RetryOptions].MaxAttempts. 1 turns retries off.
func RequestMaxAttempts(n int) RequestOption {
	return func(o *requestOptions) error {
		if n < 1 {
			return &ArgumentError{Name: "RequestMaxAttempts", Reason: fmt.Sprintf("%d is less than one attempt", n)}
		}
		o.attempts = n
		return nil
	}
}

// ResponseInto stores the metadata of a call's last successful response in r. r stays
// unchanged if there is none.
func ResponseInto(r *Response) RequestOption {
	return func(o *requestOptions) error {
		if r == nil {
			return &ArgumentError{Name: "ResponseInto", Reason: "the response is nil"}
		}
		o.into = r
		return nil
	}
}
