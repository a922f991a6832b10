package herokubuild

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"runtime"
	"slices"
	"time"

	"github.com/herokubuild/herokubuild/internal/check"
	"github.com/herokubuild/herokubuild/internal/clean"
	"github.com/herokubuild/herokubuild/internal/git"
	"github.com/herokubuild/herokubuild/internal/netrc"
	"github.com/herokubuild/herokubuild/internal/redact"
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
// level warn it receives warnings from Heroku, and that the output of a build or release is
// incomplete. Failures are returned as errors and are not logged in addition.
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
	// before is called before each attempt that may change something; nil for none.
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

// RequestBefore sets a function that is called before each attempt of each request of a call
// that may change something, which is any but GET and HEAD: to check, for example, that no
// other process has taken over. With its error that attempt is certainly not sent and the
// call ends: its error matches [ErrNotSent] and the function's. See
// [BuildAndReleaseOptions].BeforeChange, which is the same for a deploy.
func RequestBefore(before func(ctx context.Context) error) RequestOption {
	return func(o *requestOptions) error {
		if before == nil {
			return &ArgumentError{Name: "RequestBefore", Reason: "the function is nil"}
		}
		o.before = func(ctx context.Context) error {
			if err := before(ctx); err != nil {
				return &notSentError{&callbackError{err: err}}
			}
			return nil
		}
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

// TokenSource supplies the API key. Token is called once for each request to the API (not
// for each attempt), possibly by several goroutines at once; a source that fetches the key
// should cache it. An error of it ends the call and is wrapped in the call's error.
type TokenSource interface {
	Token(ctx context.Context) (string, error)
}

// TokenSourceFunc is a function as a [TokenSource].
type TokenSourceFunc func(ctx context.Context) (string, error)

// Token calls the function.
func (f TokenSourceFunc) Token(ctx context.Context) (string, error) { return f(ctx) }

// staticToken keeps the key in a closure, because fmt prints the unexported fields of a
// struct, and so those of a client.
func staticToken(token string) TokenSource {
	return TokenSourceFunc(func(context.Context) (string, error) { return token, nil })
}

// apiKey gets the key of one request.
func apiKey(ctx context.Context, source TokenSource) (string, error) {
	token, err := source.Token(ctx)
	if err != nil {
		return "", redact.CleanError(fmt.Errorf("getting the API key: %w", withoutEOF(err)))
	}
	return token, invalid("token", check.Token(token))
}

// tokenFromEnvironment reads the key from the places that the Heroku CLI and "curl -n" use:
// HEROKU_API_KEY, then the entry of the API's host in the netrc file.
func tokenFromEnvironment(host string) (TokenSource, error) {
	if token := os.Getenv("HEROKU_API_KEY"); token != "" {
		if err := invalid("HEROKU_API_KEY", check.Token(token)); err != nil {
			return nil, err
		}
		return staticToken(token), nil
	}
	files := netrc.Files(runtime.GOOS == "windows", os.Getenv)
	if len(files) == 0 {
		return nil, noCredential("HEROKU_API_KEY is not set and there is no home directory that could have a netrc file")
	}
	token, err := tokenFromNetrc(files, host)
	if err != nil {
		return nil, err
	}
	return staticToken(token), nil
}

// maxNetrc is far more than the size of any real file.
const maxNetrc = 1 << 20

// tokenFromNetrc reads the first of the files that exists.
func tokenFromNetrc(files []string, host string) (string, error) {
	path := files[0]
	content, err := readSmallFile(path, maxNetrc)
	switch {
	case errors.Is(err, fs.ErrNotExist) && len(files) > 1:
		return tokenFromNetrc(files[1:], host)
	case errors.Is(err, fs.ErrNotExist):
		return "", noCredential("HEROKU_API_KEY is not set and there is no netrc file at " + path)
	case err != nil:
		return "", &ArgumentError{Name: "netrc", Reason: "cannot read " + path, Err: err}
	}
	password, err := netrc.Password(content, host)
	switch {
	case err != nil:
		return "", &ArgumentError{Name: "netrc", Reason: path + " is not a netrc file", Err: err}
	case password == "":
		return "", noCredential("HEROKU_API_KEY is not set and " + path + " has no password for " + host)
	}
	if err := invalid("netrc ("+path+")", check.Token(password)); err != nil {
		return "", err
	}
	return password, nil
}

// readSmallFile reads a regular file. A pipe or device might block without an end.
func readSmallFile(path string, most int64) ([]byte, error) {
	if path == os.DevNull {
		return nil, nil // the usual way to configure that there is no such file
	}
	f, _, err := git.OpenFile(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(b)) > most {
		err = fmt.Errorf("it is larger than %d bytes", most)
	}
	return b, err
}

// noCredential is the error of an environment without an API key. It is not an invalid
// argument of the caller.
func noCredential(reason string) error {
	return redact.CleanError(fmt.Errorf("%w: %s", ErrNoCredential, reason))
}

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

func newResponse(r *wire.Response) Response {
	m := Response{
		StatusCode: r.Status, Header: r.Header.Clone(), RequestID: r.RequestID(), RateLimitRemaining: -1,
		NextRange: r.NextRange(), Attempts: r.Attempts,
	}
	if n, ok := wire.RateRemaining(r.Header); ok {
		m.RateLimitRemaining = max(n, 0)
	}
	return m
}

// Format prints the response without the header's values, for every verb.
func (r Response) Format(f fmt.State, _ rune) {
	names := slices.Sorted(maps.Keys(r.Header))
	_, _ = fmt.Fprintf(f, "{StatusCode:%d Header:%q RequestID:%q RateLimitRemaining:%d NextRange:%q Attempts:%d}",
		r.StatusCode, names, r.RequestID, r.RateLimitRemaining, r.NextRange, r.Attempts)
}

// LogValue implements slog.LogValuer. It omits the header's values, as Format does.
func (r Response) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(r)) }

// Backoff returns the delay before the next poll of something pending. polls is the
// number of polls so far, and 1 in the first call. A delay of 0 or less is treated
// as a millisecond.
type Backoff func(polls int) time.Duration

// DefaultPollBackoff starts with 0.1 s, doubles to 0.5 s, which it keeps for some
// seconds, and then grows by half each time up to 5 s. Each delay is up to a quarter
// shorter at random. A build's status usually follows the end of its output within
// a fraction of a second, and sometimes within a minute.
func DefaultPollBackoff(polls int) time.Duration {
	const (
		first  = 100 * time.Millisecond
		steady = 500 * time.Millisecond
		quick  = 12
		most   = 5 * time.Second
	)
	d := steady
	if polls < 4 {
		d = min(d, first<<max(polls-1, 0))
	}
	for n := quick; n < polls && d < most; n++ {
		d = min(d+d/2, most)
	}
	return d - rand.N(d/4)
}
