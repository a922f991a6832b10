package herokubuild

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-querystring/query"

	"github.com/herokubuild/herokubuild/internal/transport"
)

// Version is the version of this package, which its User-Agent contains.
const Version = "0.1.0"

// DefaultBaseURL is the URL of Heroku's Platform API.
const DefaultBaseURL = "https://api.heroku.com"

// Client calls the Platform API. Create one with [NewClient] and reuse it; it is safe
// for concurrent use.
//
// Its fields are the services, one per resource. A call on the services of a zero
// Client returns an error that matches [ErrInvalidArgument].
type Client struct {
	Apps     AppsService
	Builds   BuildsService
	Sources  SourcesService
	Slugs    SlugsService
	Releases ReleasesService

	// base is the URL of the API, without a slash at its end.
	base      string
	token     TokenSource
	userAgent string
	log       *slog.Logger
	retry     RetryOptions
	// timeout is that of WithAttemptTimeout.
	timeout time.Duration
	poll    Backoff
	rate    *rateLimit
	// wire sends all requests but those for output streams, for which storage is.
	// Only requests to the API have the API key.
	wire    transport.Client
	storage *http.Client
}

// NewClient returns a client of the Platform API. With no options it is configured
// like the Heroku CLI: the API key is that of the variable HEROKU_API_KEY or the
// netrc file, the base URL that of HEROKU_API_URL or [DefaultBaseURL].
//
// It checks its options and reads the environment and the netrc file; it sends
// nothing. The error is an [*ArgumentError], or matches [ErrNoCredential] where there
// is no API key.
func NewClient(opts ...Option) (*Client, error) {
	cfg := config{log: slog.New(slog.DiscardHandler), poll: DefaultPollBackoff, timeout: defaultAttemptTimeout}
	for _, opt := range opts {
		if opt == nil {
			continue
		}
		if err := opt(&cfg); err != nil {
			return nil, err
		}
	}
	base, err := cfg.base()
	if err != nil {
		return nil, err
	}
	if cfg.token == nil {
		if cfg.token, err = tokenFromEnvironment(base.Hostname()); err != nil {
			return nil, err
		}
	}
	if cfg.transport == nil {
		cfg.transport = transport.NewRoundTripper()
	}
	product := fmt.Sprintf("herokubuild/%s (%s; %s/%s)", Version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	c := &Client{
		base: base.String(), token: cfg.token, log: cfg.log, poll: cfg.poll,
		rate: new(rateLimit), retry: cfg.retry.withDefaults(), timeout: cfg.timeout,
		userAgent: strings.TrimLeft(cfg.userAgent+" "+product, " "),
		wire:      transport.Client{RoundTripper: cfg.transport},
		storage:   transport.NewStreamClient(cfg.transport),
	}
	c.Apps, c.Builds, c.Sources = AppsService{c}, BuildsService{c}, SourcesService{c}
	c.Slugs, c.Releases = SlugsService{c}, ReleasesService{c}
	return c, nil
}

// base returns the base URL, by default that of the environment.
func (cfg *config) base() (*url.URL, error) {
	field, raw := cfg.baseField, cfg.baseURL
	if field == "" {
		field, raw = "base URL", DefaultBaseURL
		if v := os.Getenv("HEROKU_API_URL"); v != "" {
			field, raw = "HEROKU_API_URL", v
		}
	}
	u, err := checkWebURL(field, raw)
	if err != nil {
		return nil, err
	}
	if u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return nil, &ArgumentError{Name: field, Reason: quote(redactURL(raw)) + " must have neither user, query nor fragment"}
	}
	base := *u
	base.Path, base.RawPath = strings.TrimRight(u.Path, "/"), strings.TrimRight(u.RawPath, "/")
	return &base, nil
}

// check refuses a client that NewClient did not return.
func (c *Client) check() error {
	if c == nil || c.base == "" {
		return &ArgumentError{Name: "Client", Reason: errNoClient.Error()}
	}
	return nil
}

// DoOptions is what [Client.Do] sends and where it stores the response. Every field
// is optional.
type DoOptions struct {
	// Query is a [url.Values], or a struct that [go-querystring] encodes by its `url`
	// tags.
	//
	// [go-querystring]: https://pkg.go.dev/github.com/google/go-querystring/query
	Query any
	// Body is encoded as JSON. A [SecretURL] in it is an error, because JSON contains
	// only a part of it.
	Body any
	// Out is a pointer to what the JSON of the response is decoded into. It stays
	// unchanged if the response is empty.
	Out any
}

// Format prints the types of the fields, for every verb: their values may be secret.
func (o DoOptions) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "{Query:%T Body:%T Out:%T}", o.Query, o.Body, o.Out)
}

// LogValue implements slog.LogValuer. It omits the values of the fields, as Format does.
func (o DoOptions) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(o)) }

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

// Do calls any endpoint of the API, for those that have no method of their own in this
// package. Authentication, retries and errors are the same. opts may be nil.
//
// The path starts with a slash and is sent as it is: escape what you put into it with
// [url.PathEscape]. A response may have 8 MiB, 64 levels, and 10,000 elements in each
// array and object.
//
// Do does not read lists page by page. Where the response is only the first page of a
// list and Out is set, the error matches [ErrPartialList] and Out stays unchanged;
// [List] reads all pages.
//
// Errors: an [*ArgumentError] before anything is sent, [*APIError], [*RequestError],
// [*ResponseError]. The Response is nil with an error.
func (c *Client) Do(ctx context.Context, method, path string, opts *DoOptions, requestOpts ...RequestOption) (*Response, error) {
	var o DoOptions
	if opts != nil {
		o = *opts
	}
	if err := checkPath(path); err != nil {
		return nil, err
	}
	if method == "" {
		return nil, &ArgumentError{Name: "method", Reason: "a method such as GET is required"}
	}
	if err := checkOut(o.Out); err != nil {
		return nil, err
	}
	if holdsSecretURL(reflect.ValueOf(o.Body)) {
		return nil, &ArgumentError{Name: "DoOptions.Body", Reason: "has a SecretURL, whose query JSON does not contain: use its Reveal"}
	}
	encoded, err := encodeQuery(o.Query)
	if err != nil {
		return nil, err
	}
	got, err := c.call(ctx, apiCall{
		method: method, path: path, query: encoded, body: o.Body,
		mayBeEmpty: true, whole: true, bounds: anyBounds(),
	}, o.Out, requestOpts...)
	if err != nil {
		return nil, err
	}
	response := got.metadata()
	return &response, nil
}

// checkPath refuses a path that would leave the API's host or climb out of the base
// URL's path.
func checkPath(path string) error {
	bad := func(reason string) error {
		return &ArgumentError{Name: "path", Reason: quote(redactURL(path)) + " " + reason}
	}
	switch {
	case !strings.HasPrefix(path, "/"):
		return bad("does not start with a slash")
	case strings.HasPrefix(path, "//"):
		return bad("starts with two slashes")
	case strings.ContainsAny(path, "?#\\"):
		return bad("has a query, fragment or backslash: the query belongs in DoOptions")
	}
	u, err := url.Parse(path)
	if err != nil {
		return bad("is not a path")
	}
	for _, s := range strings.Split(u.Path, "/") {
		if s == "." || s == ".." {
			return bad("contains the segment " + quote(s))
		}
	}
	return nil
}

func encodeQuery(q any) (string, error) {
	switch q := q.(type) {
	case nil:
		return "", nil
	case url.Values:
		return q.Encode(), nil
	}
	values, err := query.Values(q)
	if err != nil {
		return "", &ArgumentError{Name: "DoOptions.Query", Reason: "is neither a url.Values nor a struct", Err: err}
	}
	return values.Encode(), nil
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
	if n, err := strconv.Atoi(r.header.Get(rateHeader)); err == nil {
		m.RateLimitRemaining = max(n, 0)
	}
	return m
}
