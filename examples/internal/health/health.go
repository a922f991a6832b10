// Package health checks whether an app responds to HTTP requests.
package health

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/herokubuild/herokubuild"
)

const (
	// attemptTimeout bounds one request. A dyno may need most of that to boot.
	attemptTimeout = 30 * time.Second
	firstDelay     = time.Second
	maxDelay       = 5 * time.Second
)

// Apps looks up apps. It is implemented by herokubuild.AppsService.
type Apps interface {
	Get(ctx context.Context, app string, opts ...herokubuild.RequestOption) (*herokubuild.App, error)
}

// Verify returns a function for RolloutPolicy.Verify. It requests path on the web
// URL of the app until the app responds with a 2xx status, and fails when that has
// not happened within the timeout. Redirects are not followed, because the page of
// a login responds with 200, too.
//
// The function cannot distinguish a new dyno from an old one that still runs. A path
// that responds with the version of the code can: compare it in a Verify of your own.
func Verify(apps Apps, path string, timeout time.Duration) func(ctx context.Context, app string, r *herokubuild.Release) error {
	client := &http.Client{
		Timeout:       attemptTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return func(ctx context.Context, name string, _ *herokubuild.Release) error {
		app, err := apps.Get(ctx, name)
		if err != nil {
			return err
		}
		target, err := resolve(app.WebURL, path)
		if err != nil {
			return err
		}
		return poll(ctx, client, target, timeout)
	}
}

// CheckPath returns an error if path is not the path of a URL, which may have a
// query.
func CheckPath(path string) error {
	u, err := url.Parse(path)
	if err != nil || !strings.HasPrefix(path, "/") || u.Host != "" || u.Fragment != "" {
		return errors.New("must be a path that begins with one slash, such as /health")
	}
	return nil
}

func resolve(webURL, path string) (*url.URL, error) {
	if err := CheckPath(path); err != nil {
		return nil, err
	}
	base, err := url.Parse(webURL)
	if err != nil || base.Host == "" {
		return nil, errors.New("the app has no web URL")
	}
	return base.Parse(path)
}

// poll requests a URL until the response has a 2xx status.
func poll(ctx context.Context, client *http.Client, target *url.URL, timeout time.Duration) error {
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	// The query may contain a secret.
	shown := url.URL{Scheme: target.Scheme, Host: target.Host, Path: target.Path}
	last := errors.New("no response")
	for delay := firstDelay; ; delay = min(2*delay, maxDelay) {
		err := attempt(limited, client, target)
		if err == nil {
			return nil
		}
		// The error of a request that was cut short by the timeout says nothing
		// about the app.
		if limited.Err() == nil {
			last = err
		}
		select {
		case <-limited.Done():
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return fmt.Errorf("GET %s: %w, after polling for %v", shown.String(), last, timeout)
		case <-time.After(delay):
		}
	}
}

// attempt sends one request. Its error does not contain the URL.
func attempt(ctx context.Context, client *http.Client, target *url.URL) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return errors.New("invalid URL")
	}
	resp, err := client.Do(req)
	var failed *url.Error
	if errors.As(err, &failed) {
		return failed.Err
	}
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("status %d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	}
	return nil
}
