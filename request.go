package herokubuild

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/herokubuild/herokubuild/internal/gate"
	"github.com/herokubuild/herokubuild/internal/ioutil"
	"github.com/herokubuild/herokubuild/internal/jsonlimit"
	"github.com/herokubuild/herokubuild/internal/pace"
	"github.com/herokubuild/herokubuild/internal/redact"
	"github.com/herokubuild/herokubuild/internal/wire"
)

// apiClient is what the services of a [Client] share.
type apiClient struct {
	wire       *wire.Client
	log        *slog.Logger
	retry      RetryOptions
	poll       Backoff
	settleTime time.Duration
	packers    *packers
	// transport and userAgent are for requests to apps.
	transport http.RoundTripper
	userAgent string
	// lookups bounds the connections that many deploys open for the lookup of their apps.
	lookups *gate.Gate
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
	// body is sent as JSON unless it is nil, and secrets are its secrets.
	body    any
	secrets []string
	// repeatable is set if a POST may be sent twice.
	repeatable bool
	// mayBeEmpty accepts a response without a body.
	mayBeEmpty bool
	// limits are those of the response; the zero value is that of a single resource.
	limits jsonlimit.Limits
	// partial is the error of a response that is only the first page of a list; nil
	// accepts it.
	partial error
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
// nil.
func (c *apiClient) call(ctx context.Context, a apiCall, out any, opts ...RequestOption) (*wire.Response, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	o, err := newRequestOptions(opts)
	if err != nil {
		return nil, err
	}
	if a.method == http.MethodGet || a.method == http.MethodHead {
		o.before = nil
	}
	got, err := c.wire.Do(ctx, wire.Call{
		Method: a.method, Path: a.path, Query: a.query, Variant: a.variant, Header: a.header, UserHeader: o.header,
		Body: a.body, Secrets: a.secrets, Repeatable: a.repeatable, MayBeEmpty: a.mayBeEmpty, Limits: a.limits,
		Partial: a.partial, Validate: validate,
		Timeout: o.timeout, MaxAttempts: o.attempts, Before: o.before,
	}, out)
	if err != nil {
		return nil, requestFailure(ctx, err)
	}
	if o.into != nil {
		*o.into = newResponse(got)
	}
	return got, nil
}

// requestFailure converts an error of package wire.
func requestFailure(ctx context.Context, err error) error {
	var e *wire.Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.Kind {
	case wire.Invalid:
		return &ArgumentError{Name: e.Field, Reason: e.Reason, Err: e.Err}
	case wire.NoResponse:
		failed := &RequestError{
			Method: e.Method, URL: e.URL, RequestID: e.RequestID, Attempts: e.Attempts,
			Err: ioutil.WithoutEOF(redact.WithoutURL(e.Err)), MaybeApplied: e.MaybeApplied,
		}
		if ctx.Err() != nil {
			// The error matches the context's error and the cause that the caller gave it.
			failed.Err = ioutil.WithoutEOF(contextError(ctx))
		}
		if e.Last != nil {
			failed.Last = requestFailure(ctx, e.Last)
		}
		return failed
	case wire.Unusable:
		return &ResponseError{
			Method: e.Method, Path: e.Path, StatusCode: e.Status, RequestID: e.RequestID, Err: e.Err, MaybeApplied: e.MaybeApplied,
		}
	case wire.Refused:
		d := e.Document
		return &APIError{
			Method: e.Method, Path: e.Path, StatusCode: e.Status, ID: d.ID, Message: d.Message, URL: d.URL, Resource: d.Resource, Body: d.Body,
			RequestID: e.RequestID, RetryAfter: e.RetryAfter, Attempts: e.Attempts, MaybeApplied: e.MaybeApplied,
		}
	case wire.RefusedByStorage:
		d := e.Document
		return &StorageError{
			Method: e.Method, URL: SecretURL(e.URL), StatusCode: e.Status, Code: d.ID, Message: d.Message, Body: d.Body, Attempts: e.Attempts,
		}
	case wire.NotSent:
	}
	return e.Err
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

func (c *apiClient) rateLimitRemaining(ctx context.Context, opts ...RequestOption) (int, error) {
	var out struct {
		Remaining *int `json:"remaining"`
	}
	resp, err := c.call(ctx, apiCall{method: http.MethodGet, path: apiPath("account", "rate-limits")}, &out, opts...)
	if err != nil {
		return 0, err
	}
	if out.Remaining == nil {
		// As a 0 it would be waited for without an end.
		return 0, requestFailure(ctx, resp.Unusable(errors.New("the response has no remaining")))
	}
	left := max(*out.Remaining, 0)
	c.wire.Rate.Set(left)
	return left, nil
}

// pacer delays requests that would use up the account's rate limit.
type pacer struct{ *pace.Pacer }

// newPacer returns a pacer that leaves reserve requests unused.
func newPacer(c *apiClient, reserve int) *pacer {
	return &pacer{pace.New(pace.Config{
		Reserve: reserve, Left: c.wire.Rate.Left,
		Poll: func(ctx context.Context) (int, error) { return c.rateLimitRemaining(ctx) },
		OnWait: func(ctx context.Context, left int, wait time.Duration) {
			c.log.LogAttrs(ctx, slog.LevelInfo, "herokubuild: waiting for the account's rate limit",
				slog.Int("rate_remaining", left), slog.Duration("wait", wait))
		},
	})}
}

// wait returns once there is a request to spare, or after about an hour.
func (p *pacer) wait(ctx context.Context) error {
	err := p.Wait(ctx)
	if errors.Is(err, pace.ErrInterrupted) {
		return contextError(ctx)
	}
	return err
}

// checked is a response that can be validated.
type checked interface{ validate() error }

// validate checks a value that was decoded from a response, so that later calls cannot
// fail with an [ArgumentError] about a value that the API chose.
func validate(v any) error {
	if c, ok := v.(checked); ok {
		return c.validate()
	}
	return nil
}
