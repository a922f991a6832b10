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
	"os"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/go-querystring/query"
	"github.com/hashicorp/go-retryablehttp"
)

// Version is this package's version, as its User-Agent names it.
const Version = "0.1.0"

// DefaultBaseURL is where Heroku serves its Platform API.
const DefaultBaseURL = "https://api.heroku.com"

// Client talks to the Platform API. Make one with [NewClient] and share it: it
// is safe for use by any number of goroutines.
//
// The services are its resources. A call on the services of a zero Client
// returns an error that matches [ErrInvalidArgument].
type Client struct {
	Apps     AppsService
	Builds   BuildsService
	Sources  SourcesService
	Slugs    SlugsService
	Releases ReleasesService

	// base is the API's address, without a slash at its end.
	base      string
	token     TokenSource
	userAgent string
	log       *slog.Logger
	retry     RetryOptions
	poll      Backoff
	rate      *rateLimit
	// api sends requests with the API key; storage never does.
	api, storage *http.Client
}

// Option sets something about a [Client]; see the With functions. A nil Option
// is skipped.
type Option func(*config) error

type config struct {
	token      TokenSource
	baseURL    string
	baseField  string
	httpClient *http.Client
	userAgent  string
	log        *slog.Logger
	retry      RetryOptions
	poll       Backoff
}

// WithBaseURL sets where the API is, instead of the variable HEROKU_API_URL or
// [DefaultBaseURL]. It must be https, or http on a loopback address, and has
// no query.
func WithBaseURL(rawURL string) Option {
	return func(c *config) error {
		c.baseURL, c.baseField = rawURL, "WithBaseURL"
		return nil
	}
}

// WithHTTPClient sets the HTTP client whose Transport (and, for the API,
// cookie jar) is used. The client is copied, never changed. Its CheckRedirect is
// not used: redirects of the API are refused and those of storage and stream
// hosts followed, without credentials. Its Timeout bounds an attempt of an API
// call, and how long an upload makes no headway, as the default of a minute does;
// uploads, downloads and streams have no total limit.
func WithHTTPClient(hc *http.Client) Option {
	return func(c *config) error {
		if hc == nil {
			return &ArgumentError{Name: "WithHTTPClient", Reason: "the client is nil"}
		}
		c.httpClient = hc
		return nil
	}
}

// WithUserAgent puts a product, such as "shop-ci/1.4", before the package's own
// in the User-Agent header.
func WithUserAgent(product string) Option {
	return func(c *config) error {
		if product == "" || strings.ContainsFunc(product, func(r rune) bool { return r < ' ' || r > '~' }) {
			return &ArgumentError{Name: "WithUserAgent", Reason: quote(product) + " is empty or has characters that a header cannot carry"}
		}
		c.userAgent = product
		return nil
	}
}

// WithLogger sets where the package logs. At level debug that is a line for every
// attempt of a request, connections to output streams included, with these
// attributes: method, host, path, status or error, duration (until the answer
// has come; of uploads, the whole; of downloads and streams, its beginning),
// attempt (from 1), request_id (of requests to the API: that of the response, or
// the one that was sent), and where the platform sent it rate_remaining. At level info it is what the package does about trouble: the
// line of an attempt that is followed by another (with wait), streams that are
// connected again, lost answers whose build or release was found, and waits for
// the rate limit. At level warn it is what the platform warns of. Failures are
// errors, and not logged besides.
//
// The context is the call's, so that a handler can add a trace id. The API key
// and the queries of signed URLs are never logged. Default: nothing is logged.
func WithLogger(log *slog.Logger) Option {
	return func(c *config) error {
		if log == nil {
			return &ArgumentError{Name: "WithLogger", Reason: "the logger is nil"}
		}
		c.log = log
		return nil
	}
}

// WithRetry sets how often and after what waits a failed request is sent
// again. What may be sent again is not an option: see the package
// documentation.
func WithRetry(opts RetryOptions) Option {
	return func(c *config) error {
		if err := opts.check(); err != nil {
			return err
		}
		c.retry = opts
		return nil
	}
}

// WithPollBackoff sets the waits between two looks at a pending build or
// release, and before another connection to an output stream that brings
// nothing. Default: [DefaultPollBackoff].
func WithPollBackoff(poll Backoff) Option {
	return func(c *config) error {
		if poll == nil {
			return &ArgumentError{Name: "WithPollBackoff", Reason: "the function is nil"}
		}
		c.poll = poll
		return nil
	}
}

// NewClient returns a client of the Platform API. With no options it is the one
// that the Heroku CLI would be: the API key from HEROKU_API_KEY or the netrc
// file, the base URL from HEROKU_API_URL or [DefaultBaseURL].
//
// It checks what it is given and reads the environment and the netrc file; it
// sends nothing. The error is an [*ArgumentError], or matches
// [ErrNoCredential] where there is no API key.
func NewClient(opts ...Option) (*Client, error) {
	cfg := config{log: slog.New(slog.DiscardHandler), poll: DefaultPollBackoff}
	for _, opt := range opts {
		if opt == nil {
			continue
		}
		if err := opt(&cfg); err != nil {
			return nil, err
		}
	}
	if cfg.baseField == "" {
		cfg.baseURL, cfg.baseField = DefaultBaseURL, "base URL"
		if v := os.Getenv("HEROKU_API_URL"); v != "" {
			cfg.baseURL, cfg.baseField = v, "HEROKU_API_URL"
		}
	}
	base, err := checkBaseURL(cfg.baseField, cfg.baseURL)
	if err != nil {
		return nil, err
	}
	if cfg.token == nil {
		if cfg.token, err = tokenFromEnvironment(base.Hostname()); err != nil {
			return nil, err
		}
	}

	c := &Client{
		base: base.String(), token: cfg.token, log: cfg.log, poll: cfg.poll,
		rate:      new(rateLimit),
		retry:     cfg.retry.withDefaults(),
		userAgent: strings.TrimLeft(cfg.userAgent+" herokubuild/"+Version+" ("+runtime.Version()+"; "+runtime.GOOS+"/"+runtime.GOARCH+")", " "),
	}
	c.api, c.storage = newHTTPClients(cfg.httpClient)
	c.Apps, c.Builds, c.Sources = AppsService{c}, BuildsService{c}, SourcesService{c}
	c.Slugs, c.Releases = SlugsService{c}, ReleasesService{c}
	return c, nil
}

func checkBaseURL(field, raw string) (*url.URL, error) {
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

// attemptTimeout bounds one attempt of an API call, headers and body. The
// platform's router gives up after 30 s.
const attemptTimeout = time.Minute

// newHTTPClients makes the two clients that everything goes through. They
// share connections, not rules.
func newHTTPClients(given *http.Client) (api, storage *http.Client) {
	var transport http.RoundTripper
	limit := attemptTimeout
	var jar http.CookieJar
	if given != nil {
		transport, jar = given.Transport, given.Jar
		if given.Timeout > 0 {
			limit = given.Timeout
		}
	}
	if transport == nil {
		transport = newTransport()
	}
	api = &http.Client{
		Transport:     &answerTransport{next: transport, limit: limit},
		Jar:           jar,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	storage = &http.Client{
		Transport:     &storageTransport{next: transport, limit: limit},
		CheckRedirect: checkStorageRedirect,
	}
	return api, storage
}

// newTransport is the default transport, with as many kept connections as a
// release to a fleet has calls under way, and with headers bounded.
func newTransport() http.RoundTripper {
	t, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		// Somebody has replaced it on purpose: to trace, or to forbid.
		return http.DefaultTransport
	}
	t = t.Clone()
	t.MaxIdleConnsPerHost = 32
	// Output comes in chunks: with less of a buffer, each costs a system call.
	t.ReadBufferSize = 64 << 10
	t.ResponseHeaderTimeout = attemptTimeout
	t.MaxResponseHeaderBytes = 256 << 10
	return t
}

// answerTransport reads the whole of an answer within the attempt, so that one
// that breaks off in its middle is a failed attempt like any other, and bounds
// it in size and time.
type answerTransport struct {
	next  http.RoundTripper
	limit time.Duration
}

var errAttemptTimeout = errors.New("no answer within the time limit of one attempt")

func (t *answerTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	defer cancel(nil)
	a := &attempt{cancel: cancel}
	timer := time.AfterFunc(t.limit, a.expire)
	defer timer.Stop()
	resp, err := checkedAnswer(t.next.RoundTrip(req.WithContext(ctx))) //nolint:bodyclose // read below
	switch {
	case err == nil && resp.StatusCode >= 300:
		// The status is what counts; as much of the body as comes is enough.
		resp.Body = newAnswer(readErrorBody(resp))
	case err == nil:
		a.holds(resp.Body)
		size := resp.ContentLength
		if req.Method == http.MethodHead {
			// It is that of the body that a GET would have.
			size = 0
		}
		var body []byte
		body, err = readBody(resp.Body, size, maxResponse(req.Context()))
		resp.Body = newAnswer(body)
	}
	if err != nil {
		if req.Context().Err() == nil && ctx.Err() != nil {
			err = fmt.Errorf("%w (%v)", errAttemptTimeout, t.limit)
		}
		return nil, err
	}
	return resp, nil
}

// responseBounds is the context's key for the retrier of a request, which holds the
// bounds of the response.
type responseBounds struct{}

func maxResponse(ctx context.Context) int64 {
	if r, ok := ctx.Value(responseBounds{}).(*retrier); ok {
		return r.bounds.bytes
	}
	return maxObjectBytes
}

// attempt is one try of a request, which a timer ends.
type attempt struct {
	cancel context.CancelCauseFunc

	mu   sync.Mutex
	body io.Closer
	over bool
}

func (a *attempt) expire() {
	a.cancel(errAttemptTimeout)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.over = true
	// Not every transport ends a read with the context.
	if a.body != nil {
		_ = a.body.Close()
	}
}

func (a *attempt) holds(body io.Closer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.body = body; a.over {
		_ = body.Close()
	}
}

// answer is a body that has been read.
type answer struct {
	bytes.Reader
	content []byte
}

func newAnswer(content []byte) *answer {
	a := &answer{content: content}
	a.Reset(content)
	return a
}

func (a *answer) Close() error { return nil }

// answerContent does not read again what has been read.
func answerContent(body io.Reader) ([]byte, error) {
	if a, ok := body.(*answer); ok {
		return a.content, nil
	}
	return io.ReadAll(body)
}

// storageTransport bounds how long an upload makes no headway: neither a transport
// that was handed in nor the default one does. Requests without a body have
// readers that take care of themselves.
//
// It also hides the transport's CloseIdleConnections, which go-retryablehttp
// calls whenever a call fails: one refusal would cost all others their
// connections.
type storageTransport struct {
	next  http.RoundTripper
	limit time.Duration
}

var errUploadStalled = errors.New("the storage host neither took more of the upload nor answered")

func (t *storageTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body == nil || req.Body == http.NoBody {
		return t.next.RoundTrip(req)
	}
	ctx, cancel := context.WithCancelCause(req.Context())
	defer cancel(nil)
	w := &watch{limit: t.limit, timer: time.AfterFunc(t.limit, func() { cancel(errUploadStalled) })}
	defer w.end()
	out := req.WithContext(ctx)
	out.Body = &watchedBody{req.Body, w}
	if again := req.GetBody; again != nil {
		// The network library takes another one where a kept connection turns out
		// to be dead.
		out.GetBody = func() (io.ReadCloser, error) {
			body, err := again()
			return &watchedBody{body, w}, err
		}
	}
	resp, err := checkedAnswer(t.next.RoundTrip(out))
	if err != nil {
		if errors.Is(context.Cause(ctx), errUploadStalled) {
			err = fmt.Errorf("%w for %v", errUploadStalled, t.limit)
		}
		return nil, err
	}
	// Storage hosts answer in a few lines. With them read, ctx may end.
	resp.Body = newAnswer(readErrorBody(resp))
	return resp, nil
}

// watch is a timer that runs while the network has the next turn.
type watch struct {
	limit time.Duration

	mu    sync.Mutex
	timer *time.Timer
	over  bool
}

func (w *watch) pause() { w.timer.Stop() }

func (w *watch) goOn() {
	w.mu.Lock()
	defer w.mu.Unlock()
	// The network library may still be reading when an early refusal has been
	// answered.
	if !w.over {
		w.timer.Reset(w.limit)
	}
}

func (w *watch) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = true
	w.timer.Stop()
}

// watchedBody starts the watch anew whenever the network has taken more of it. The
// time that the body itself takes does not count.
type watchedBody struct {
	io.ReadCloser
	watch *watch
}

func (b *watchedBody) Read(p []byte) (int, error) {
	b.watch.pause()
	defer b.watch.goOn()
	return b.ReadCloser.Read(p)
}

// checkedAnswer forgives transports, as those of tests, what the standard library
// does, and turns the rest into errors.
func checkedAnswer(resp *http.Response, err error) (*http.Response, error) {
	switch {
	case err != nil:
		return nil, err
	case resp == nil:
		return nil, errors.New("the transport returned neither an answer nor an error")
	case resp.Body == nil:
		resp.Body = http.NoBody
	}
	return resp, nil
}

var errRedirect = errors.New("redirect refused")

// checkStorageRedirect lets a storage or stream host send us on, but not from
// https to anything weaker.
func checkStorageRedirect(req *http.Request, via []*http.Request) error {
	first := via[0]
	switch {
	case len(via) >= 5:
		return fmt.Errorf("%w: more than %d in a row", errRedirect, len(via))
	case req.Method != first.Method:
		return fmt.Errorf("%w: it turns a %s into a %s", errRedirect, first.Method, req.Method)
	case req.URL.Scheme == "https" || req.URL.Scheme == "http" && first.URL.Scheme == "http" && isLoopback(req.URL.Hostname()):
	default:
		return fmt.Errorf("%w: from %s to %s", errRedirect, first.URL.Scheme, req.URL.Scheme)
	}
	// The signed URL that we came from is nobody else's business.
	req.Header.Del("Referer")
	return nil
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
	// repeatable says that a POST may be sent twice.
	repeatable bool
	// mayBeEmpty says that an answer without a body is one, too.
	mayBeEmpty bool
	// bounds limits the response; the zero value is that of a single resource.
	bounds bounds
	// whole says that the first page of a list is not a response.
	whole bool
}

// call sends an apiCall and decodes the answer's body into out unless out is
// nil. It is the one place that builds a request to the API, and the only one
// that attaches the key.
func (c *Client) call(ctx context.Context, a apiCall, out any) (got apiResponse, err error) {
	if c == nil || c.base == "" {
		return got, &ArgumentError{Name: "Client", Reason: "the client was not made by NewClient"}
	}
	var body any
	if a.body != nil {
		b, err := encodeJSON(a.body)
		if err != nil {
			return got, &ArgumentError{Name: "body", Reason: "cannot be encoded as JSON", Err: err}
		}
		body = b
	}
	if a.bounds.bytes == 0 {
		a.bounds = objectBounds()
	}
	address := c.base + a.path
	r := &retrier{
		opts: c.retry, log: c.log, method: a.method, url: address, path: a.path, rate: c.rate, answered: refusal,
		idempotent: a.repeatable || slices.Contains([]string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodDelete}, a.method),
		bounds:     a.bounds, requestID: newRequestID(),
	}
	u := address
	if a.query != "" {
		u += "?" + a.query
	}
	ctx = context.WithValue(ctx, responseBounds{}, r)
	req, err := retryablehttp.NewRequestWithContext(ctx, a.method, u, body)
	if err != nil {
		return got, &ArgumentError{Name: "request", Reason: "the method or path cannot be sent"}
	}
	token, err := c.token.Token(ctx)
	if err != nil {
		return got, withClean(fmt.Errorf("herokubuild: getting the API key: %w", withoutEOF(err)))
	}
	if err := checkToken("token", token); err != nil {
		return got, err
	}
	maps.Copy(req.Header, a.header)
	setHeaders(req.Header, [][2]string{
		{"Accept", acceptHeader + a.variant},
		{"Authorization", "Bearer " + token},
		{"User-Agent", c.userAgent},
		{requestIDHeader, r.requestID},
	})
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}

	r.secrets = newRedactor(token).and(secretsOfQuery(a.query)...).and(a.secrets...)
	resp, err := r.do(ctx, c.api, req)
	if errors.Is(err, errTooLarge) {
		return got, r.unexpected(http.StatusOK, nil, errTooLarge)
	}
	if err != nil {
		return got, err
	}
	defer func() { _ = resp.Body.Close() }()
	c.rate.note(resp.Header)
	got = apiResponse{call: r, status: resp.StatusCode, header: resp.Header}
	if out == nil {
		return got, nil
	}
	if err := a.read(resp, out); err != nil {
		return apiResponse{}, got.unexpected(err)
	}
	return got, nil
}

// apiResponse is a response of success, without its body.
type apiResponse struct {
	call   *retrier
	status int
	header http.Header
}

// unexpected makes the error of a response that turns out to be of no use.
func (r apiResponse) unexpected(err error) error {
	return r.call.unexpected(r.status, r.header, err)
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

// read decodes a response of success into out, and checks that it is one.
func (a apiCall) read(resp *http.Response, out any) error {
	if a.whole && resp.Header.Get(nextRangeHeader) != "" {
		return ErrPartialList
	}
	content, err := answerContent(resp.Body)
	if err != nil {
		return err
	}
	switch trimmed := bytes.TrimSpace(content); {
	case len(trimmed) == 0 && a.mayBeEmpty:
		return nil
	case len(trimmed) == 0:
		return errEmptyResponse
	case bytes.Equal(trimmed, []byte("null")):
		return errors.New("the response is null")
	}
	if err := a.bounds.check(content); err != nil {
		return err
	}
	if err := json.Unmarshal(content, out); err != nil {
		return err
	}
	return validate(out)
}

// unexpected makes the error of a response of success that cannot be used.
func (r *retrier) unexpected(status int, header http.Header, err error) error {
	return &ResponseError{
		Method: r.method, Path: r.path, StatusCode: status,
		RequestID: r.responseID(header), Err: r.hide.err(err), MaybeApplied: !r.idempotent,
	}
}

// refusal makes the error of an answer that is not a success.
func refusal(r *retrier, status int, header http.Header, body []byte) error {
	r.rate.note(header)
	e := newAPIError(r.method, r.path, status, header, body, r.hide)
	e.Attempts = r.attempts
	e.RequestID = r.responseID(header)
	e.MaybeApplied = !r.idempotent && (status >= 500 || status < 200)
	return e
}

// encodeJSON leaves "&" alone: it is in every signed URL, and escaping it has
// been seen to break on the other side.
func encodeJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}

// acceptHeader asks for the version of the API that this package knows.
const acceptHeader = "application/vnd.heroku+json; version=3"

var errEmptyResponse = errors.New("the response has no body")

// fetch is call for endpoints that answer with a T.
func fetch[T any](ctx context.Context, c *Client, a apiCall) (*T, error) {
	out := new(T)
	if _, err := c.call(ctx, a, out); err != nil {
		return nil, err
	}
	return out, nil
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

// Do calls any endpoint of the API, for those that have no method of their own
// in this package. Authentication, retries and errors are the same.
//
// The path starts with a slash and is sent as it is: escape what you put into
// it with [url.PathEscape]. query is nil, a [url.Values], or a struct that
// [go-querystring] encodes by its `url` tags. body is nil or anything that
// encoding/json encodes; a [SecretURL] in it is refused, as JSON has only a part
// of it. The response is decoded into out, which is nil or a pointer, unless the
// response is empty. It may have 8 MiB, 64 levels, and 10,000 elements in each
// array and object.
//
// Do does not read lists page by page. Where the response is only the first page of
// a list and out is not nil, the error matches [ErrPartialList] and out is left as
// it was; [List] reads all pages.
//
// Errors: an [*ArgumentError] before anything is sent, [*APIError],
// [*RequestError], [*ResponseError].
//
// [go-querystring]: https://pkg.go.dev/github.com/google/go-querystring/query
func (c *Client) Do(ctx context.Context, method, path string, query, body, out any) error {
	if err := checkPath(path); err != nil {
		return err
	}
	if method == "" {
		return &ArgumentError{Name: "method", Reason: "a method such as GET is needed"}
	}
	if err := checkOut(out); err != nil {
		return err
	}
	if holdsSecretURL(reflect.ValueOf(body)) {
		return &ArgumentError{Name: "body", Reason: "has a SecretURL, of which JSON has no query: give its Reveal"}
	}
	encoded, err := encodeQuery(query)
	if err != nil {
		return err
	}
	_, err = c.call(ctx, apiCall{
		method: method, path: path, query: encoded, body: body,
		mayBeEmpty: true, whole: true, bounds: anyBounds(),
	}, out)
	return err
}

// checkOut refuses what encoding/json cannot decode into, before a request is sent
// whose response would then be lost.
func checkOut(out any) error {
	if out == nil {
		return nil
	}
	bad := func(reason string) error {
		return &ArgumentError{Name: "out", Reason: fmt.Sprintf("%T %s", out, reason)}
	}
	v := reflect.ValueOf(out)
	switch {
	case v.Kind() != reflect.Pointer:
		return bad("is not a pointer")
	case v.IsNil():
		return bad("is a nil pointer")
	}
	if _, ok := out.(json.Unmarshaler); ok {
		return nil
	}
	if !decodable(v.Type().Elem()) {
		return bad("is not a type that JSON can be decoded into")
	}
	return nil
}

func decodable(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Chan, reflect.Func, reflect.Complex64, reflect.Complex128, reflect.UnsafePointer:
		return false
	case reflect.Interface:
		return t.NumMethod() == 0
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return decodable(t.Elem())
	default:
		return true
	}
}

// checkPath refuses a path that would leave the API's host or climb out of the
// base URL's path.
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
		return bad("has a query, fragment or backslash: the query is an argument of its own")
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
		return "", &ArgumentError{Name: "query", Reason: "is neither a url.Values nor a struct", Err: err}
	}
	return values.Encode(), nil
}

// cleanURLError takes the URL out of an error of net/http. A transport that is a
// client itself adds another one.
func cleanURLError(err error) error {
	var ue *url.Error
	for errors.As(err, &ue) && ue.Err != nil {
		err = ue.Err
	}
	return err
}
