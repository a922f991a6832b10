package herokubuild

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/herokubuild/herokubuild/internal/check"
	"github.com/herokubuild/herokubuild/internal/health"
	"github.com/herokubuild/herokubuild/internal/redact"
)

// HealthCheckOptions sets how [Client.HealthCheck] checks an app. nil is the default.
type HealthCheckOptions struct {
	// Timeout is how long an app may take to become healthy. Default 2 minutes.
	Timeout time.Duration
}

const (
	healthCheckTimeout = 2 * time.Minute
	// healthLookupDelay is the delay before an app is looked up again.
	healthLookupDelay = 10 * time.Second
)

// HealthCheck returns a function for [RolloutPolicy].Verify. It sends a GET request for the
// path, which may have a query, to the app's web URL and repeats it, with delays of 1 to
// 5 s, until the response has a 2xx status. Redirects are not followed, because the page of
// a login responds with 200, too.
//
// Dynos restart after a release, so that the first responses may be errors, or those of
// the release before: the function cannot tell them apart. A path that responds with the
// version of the code can; compare it in a function of your own.
//
// The requests are sent by the client's transport and without the API key, after one of
// the API for the web URL, GET /apps/{app}, which is repeated within the Timeout, too.
//
// The error of HealthCheck is an [*ArgumentError]. The function returns a
// [*HealthCheckError] for an app that is not healthy in time, the context's error, and
// the errors of [AppsService.Get].
func (c *Client) HealthCheck(path string, opts *HealthCheckOptions) (func(ctx context.Context, app string, r *Release) error, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	o := orZero(opts)
	if o.Timeout < 0 {
		return nil, &ArgumentError{Name: "HealthCheckOptions.Timeout", Reason: "is negative"}
	}
	relative, reason := check.WebPath(path)
	if err := invalid("path", reason); err != nil {
		return nil, err
	}
	h := healthCheck{client: c, path: relative, check: health.Check{
		Transport: c.api.transport, UserAgent: c.api.userAgent, Timeout: cmp.Or(o.Timeout, healthCheckTimeout),
	}}
	return h.verify, nil
}

// HealthCheckError reports that an app was not healthy in time. The error of its
// [AppResult] wraps it and matches [ErrVerifyFailed].
type HealthCheckError struct {
	// URL is what was requested, its secrets removed.
	URL string
	// StatusCode is the status of the last response, or 0 if there was none.
	StatusCode int
	// Timeout is how long the app had.
	Timeout time.Duration
	// Err is why the last request had no response; nil if it had one.
	Err error
}

// Error implements error.
func (e *HealthCheckError) Error() string {
	last := strings.TrimSpace(fmt.Sprintf("status %d %s", e.StatusCode, http.StatusText(e.StatusCode)))
	if e.Err != nil {
		last = redactText(e.Err.Error())
	}
	return errorLine(fmt.Sprintf("GET %s: %s, after polling for %v", e.URL, last, e.Timeout), false)
}

// Unwrap returns Err.
func (e *HealthCheckError) Unwrap() error { return withoutEOF(e.Err) }

// healthCheck requests a path of apps.
type healthCheck struct {
	client *Client
	path   *url.URL
	check  health.Check
}

// verify is a RolloutPolicy.Verify.
func (h healthCheck) verify(ctx context.Context, app string, r *Release) error {
	identity := app
	if r != nil {
		identity = cmp.Or(r.App.ID, app) // The app may have been renamed.
	}
	found, err := h.lookUp(ctx, identity)
	if err != nil {
		return err
	}
	base, err := url.Parse(found.WebURL)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return fmt.Errorf("the web URL of %s, %s, cannot be requested", quote(app), quote(redact.URL(found.WebURL)))
	}
	target := below(base, h.path).String()
	err = h.check.Poll(ctx, target)
	var failure *health.Failure
	if errors.As(err, &failure) {
		result := &HealthCheckError{URL: clip(redact.URL(target), maxErrorText), StatusCode: failure.StatusCode, Timeout: h.check.Timeout}
		if failure.Err != nil {
			result.Err = redact.New(redact.OfURL(target)...).Error(failure.Err)
		}
		return result
	}
	if err != nil {
		return contextError(ctx)
	}
	return nil
}

// lookUp returns the app. It repeats the request for as long as the app may take to become
// healthy, because a check that fails may roll the app back.
func (h healthCheck) lookUp(ctx context.Context, app string) (*App, error) {
	end := time.Now().Add(h.check.Timeout)
	for {
		found, err := h.client.Apps.Get(ctx, app)
		if err == nil || !Retryable(err) || ctx.Err() != nil || !time.Now().Before(end) {
			return found, err
		}
		if err := sleep(ctx, min(healthLookupDelay, time.Until(end))); err != nil {
			return nil, err
		}
	}
}

// below is a path of an app, whose own URL may have a path.
func below(base, path *url.URL) *url.URL {
	u := &url.URL{Scheme: base.Scheme, User: base.User, Host: base.Host, RawQuery: path.RawQuery}
	u.Path = strings.TrimSuffix(base.Path, "/") + path.Path
	u.RawPath = strings.TrimSuffix(base.EscapedPath(), "/") + path.EscapedPath()
	return u
}
