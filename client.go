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
	api := &apiClient{
		base: base.String(), token: cfg.token, log: cfg.log, poll: cfg.poll,
		rate: new(rateLimit), retry: cfg.retry.withDefaults(), timeout: cfg.timeout, settleTime: cfg.settleTime,
		userAgent: strings.TrimLeft(cfg.userAgent+" "+product, " "),
		wire:      transport.Client{RoundTripper: cfg.transport},
		storage:   transport.NewStreamClient(streams),
		packers:   newPackers(),
	}
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
	if c == nil || c.api == nil {
		return errNoClient()
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
	if err := checkOut(o.Out); err != nil {
		return err
	}
	if _, ok := o.Body.([]byte); ok {
		return &ArgumentError{Name: "DoOptions.Body", Reason: "is a []byte, which JSON encodes as base64: use json.RawMessage"}
	}
	if holdsSecretURL(reflect.ValueOf(o.Body)) {
		return &ArgumentError{Name: "DoOptions.Body", Reason: "has a SecretURL, whose query JSON does not contain: use its Reveal"}
	}
	if strings.ContainsFunc(o.Variant, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_' }) {
		return &ArgumentError{Name: "DoOptions.Variant", Reason: quote(o.Variant) + " is not a variant such as \"cancel-build\""}
	}
	return nil
}

// Format prints the types of the fields, for every verb: their values may be secret.
func (o DoOptions) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "{Query:%T Body:%T Out:%T}", o.Query, o.Body, o.Out)
}

// LogValue implements slog.LogValuer. It omits the values of the fields, as Format does.
func (o DoOptions) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(o)) }

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
	if err := c.check(); err != nil {
		return nil, err
	}
	if err := checkPath(path); err != nil {
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
		mayBeEmpty: true, whole: true, limits: anyLimits(),
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
	if err := checkPath(path); err != nil {
		return failed[T](err)
	}
	if !decodable(reflect.TypeFor[T]()) {
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
