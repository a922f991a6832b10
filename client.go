package herokubuild

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"net/url"
	"os"
	"reflect"
	"runtime"
	"strings"

	"github.com/google/go-querystring/query"

	"github.com/herokubuild/herokubuild/internal/check"
	"github.com/herokubuild/herokubuild/internal/gate"
	"github.com/herokubuild/herokubuild/internal/redact"
	"github.com/herokubuild/herokubuild/internal/transport"
	"github.com/herokubuild/herokubuild/internal/wire"
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

	// api is what the services share.
	api *apiClient
}

// NewClient returns a client of the Platform API. With no options it is configured
// like the Heroku CLI: the API key is that of the variable HEROKU_API_KEY or the
// netrc file, the base URL that of HEROKU_API_URL or [DefaultBaseURL].
//
// It checks its options and reads the environment and the netrc file; it sends
// nothing. The error is an [*ArgumentError], or matches [ErrNoCredential] where there
// is no API key.
func NewClient(opts ...Option) (*Client, error) {
	cfg := config{log: slog.New(slog.DiscardHandler), poll: DefaultPollBackoff, timeout: defaultAttemptTimeout, settleTime: defaultSettleTime}
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
	streams := cfg.transport
	if cfg.transport == nil {
		cfg.transport, streams = transport.NewRoundTripper(), transport.NewStreamRoundTripper()
	}
	product := fmt.Sprintf("herokubuild/%s (%s; %s/%s)", Version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	userAgent := strings.TrimLeft(cfg.userAgent+" "+product, " ")
	api := &apiClient{
		log: cfg.log, poll: cfg.poll, retry: RetryOptions(transport.Policy(cfg.retry).WithDefaults()), settleTime: cfg.settleTime,
		packers: newPackers(), lookups: gate.New(maxLookups, gatePatience),
		transport: cfg.transport, userAgent: userAgent,
	}
	api.wire = wire.New(wire.Config{
		Base: base.String(), Token: func(ctx context.Context) (string, error) { return apiKey(ctx, cfg.token) },
		UserAgent: userAgent, Log: cfg.log,
		Policy: transport.Policy(api.retry), Timeout: cfg.timeout, Transport: cfg.transport, Streams: streams,
	})
	return &Client{
		Apps: AppsService{api}, Builds: BuildsService{api}, Sources: SourcesService{api},
		Slugs: SlugsService{api}, Releases: ReleasesService{api},
		api: api,
	}, nil
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
	u, reason := check.BaseURL(raw)
	return u, invalid(field, reason)
}

// check refuses a client that NewClient did not return.
func (c *Client) check() error {
	if c == nil || c.api == nil {
		return errNoClient()
	}
	return nil
}

// DoOptions is what [Client.Do] sends and where it stores the response. Every field
// is optional, and nil is the default.
type DoOptions struct {
	// Query is a [url.Values], or a struct that [go-querystring] encodes by its `url`
	// tags.
	//
	// [go-querystring]: https://pkg.go.dev/github.com/google/go-querystring/query
	Query any
	// Body is encoded as JSON; use [json.RawMessage] for JSON that is encoded already. A
	// [SecretURL] in it is an error, because JSON contains only a part of it.
	Body any
	// Variant is a variant of the API's version, such as "cancel-build", for the Accept
	// header. Default: none.
	Variant string
	// Out is a pointer to what the JSON of the response is decoded into. It stays
	// unchanged if the response is empty.
	Out any
}

func (o DoOptions) check() error {
	reason := ""
	if o.Out != nil {
		reason = wire.Undecodable(o.Out)
	}
	if reason != "" {
		return &ArgumentError{Name: "DoOptions.Out", Reason: fmt.Sprintf("%T %s", o.Out, reason)}
	}
	if _, ok := o.Body.([]byte); ok {
		return &ArgumentError{Name: "DoOptions.Body", Reason: "is a []byte, which JSON encodes as base64: use json.RawMessage"}
	}
	if redact.Holds(o.Body, SecretURL.redacts) {
		return &ArgumentError{Name: "DoOptions.Body", Reason: "has a SecretURL, whose query JSON does not contain: use its Reveal"}
	}
	return invalid("DoOptions.Variant", check.Variant(o.Variant))
}

// Format prints the types of the fields, for every verb: their values may be secret.
func (o DoOptions) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "{Query:%T Body:%T Out:%T}", o.Query, o.Body, o.Out)
}

// LogValue implements slog.LogValuer. It omits the values of the fields, as Format does.
func (o DoOptions) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(o)) }

// Do calls any endpoint of the API, for those that have no method of their own in this
// package. Authentication, retries and errors are the same.
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
	if err := c.check(); err != nil {
		return nil, err
	}
	if err := invalid("path", check.Path(path)); err != nil {
		return nil, err
	}
	if method == "" {
		return nil, &ArgumentError{Name: "method", Reason: "a method such as GET is required"}
	}
	o := orZero(opts)
	if err := o.check(); err != nil {
		return nil, err
	}
	encoded, err := encodeQuery(o.Query)
	if err != nil {
		return nil, err
	}
	variant := o.Variant
	if variant != "" {
		variant = "." + variant
	}
	got, err := c.api.call(ctx, apiCall{
		method: method, path: path, query: encoded, body: o.Body, variant: variant,
		mayBeEmpty: true, partial: ErrPartialList, limits: wire.AnyLimits(),
	}, o.Out, requestOpts...)
	if err != nil {
		return nil, err
	}
	response := newResponse(got)
	return &response, nil
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

// List iterates over any list endpoint of the API, page by page as needed. It is for
// endpoints that have no method in this package:
//
//	type addon struct{ ID, Name string }
//	for a, err := range herokubuild.List[addon](ctx, client, "/apps/my-app/addons", nil) {
//
// The path is as for [Client.Do], and each item is decoded into a T. An error ends the
// iteration; it is yielded with a nil item. The ID of an item is its field ID, or the key
// "id" of a map; items without one are not compared.
//
// Every iteration ends. A page without new items that is not the last one, or that is
// not in the requested order, is a [*ResponseError], and so is a list of more than 10,000
// pages. An item whose ID has been yielded before is skipped: a list that is sorted by an
// attribute that changes, such as updated_at, can have it twice.
//
// Errors: [*ArgumentError], [*APIError], [*RequestError], [*ResponseError].
func List[T any](ctx context.Context, c *Client, path string, opts *ListOptions, requestOpts ...RequestOption) iter.Seq2[*T, error] {
	if err := c.check(); err != nil {
		return failed[T](err)
	}
	if err := invalid("path", check.Path(path)); err != nil {
		return failed[T](err)
	}
	if !wire.Decodable(reflect.TypeFor[T]()) {
		return failed[T](&ArgumentError{Name: "T", Reason: reflect.TypeFor[T]().String() + " is not a type that JSON can be decoded into"})
	}
	return list[T](ctx, c.api, path, opts, requestOpts...)
}

// RateLimitRemaining returns how many requests the account may still make. Heroku gives
// each account a pool of 4500 requests, to which it adds 75 a minute. This request does
// not count.
//
// Endpoint: GET /account/rate-limits (schema: rate-limit, Info). Errors:
// [*APIError], [*RequestError], [*ResponseError].
func (c *Client) RateLimitRemaining(ctx context.Context, requestOpts ...RequestOption) (int, error) {
	if err := c.check(); err != nil {
		return 0, err
	}
	return c.api.rateLimitRemaining(ctx, requestOpts...)
}
