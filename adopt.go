package herokubuild

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// This file is where a deploy makes sure that there is one build, and one
// release an app, although the answer to the request that started it was lost.

// once sends a request that must not be acted on twice. Where its outcome is
// not known it looks for the result, adopts it if there is one, and sends again
// only if there is certainly none.
func once[T any](ctx context.Context, c *Client, send func() (*T, error), look func(context.Context) (*T, error)) (*T, error) {
	for attempt := 1; ; attempt++ {
		v, err := send()
		if err == nil || !errors.Is(err, ErrMaybeApplied) {
			return v, err
		}
		if ctx.Err() != nil {
			return nil, err
		}
		found, lookErr := settle(ctx, c.retry.SettleTime, look)
		switch {
		case lookErr != nil:
			// Not certain: that is what the caller has to know.
			return nil, fmt.Errorf("%w (looking for its effect: %w)", err, lookErr)
		case found != nil:
			c.log.InfoContext(ctx, "herokubuild: found what a request without an answer had started")
			return found, nil
		case attempt >= c.retry.MaxAttempts || errors.Is(err, ErrUnexpectedAnswer):
			// An answer of success that cannot be read is still one.
			return nil, err
		}
	}
}

// settle looks for some time, since a request that got no answer may still be
// under way. How often is not the caller's to say (WithPollBackoff): it is what
// makes certain that there is nothing.
func settle[T any](ctx context.Context, limit time.Duration, look func(context.Context) (*T, error)) (*T, error) {
	end := time.Now().Add(limit)
	for n := 1; ; n++ {
		// The last look is one at the end, not before it.
		last := !time.Now().Before(end)
		v, err := look(ctx)
		if v != nil || err != nil || last {
			return v, err
		}
		if err := sleep(ctx, min(DefaultPollBackoff(n), time.Until(end))); err != nil {
			return nil, err
		}
	}
}

// newest is the part of a list in which something just made is to be found.
func newest(by string) *ListOptions {
	return &ListOptions{SortBy: by, Order: Descending, PageSize: 50}
}

// findBuild returns the build of a source, or nil. An uploaded source has an
// address of its own, so that its build is ours. Another source may have been
// built before: builds that were there before this deploy are not ours.
func (d *deploy) findBuild(ctx context.Context, source, version string) (*Build, error) {
	page, err := d.client.Builds.ListPage(ctx, d.opts.BuildApp, newest("created_at"))
	if err != nil {
		return nil, err
	}
	after := d.log.saved().After
	for _, b := range page.Items {
		if b.ID == after {
			break
		}
		if sourceAddress(b.SourceBlob.URL) == source && b.SourceBlob.Version == version {
			return b, nil
		}
	}
	return nil, nil
}

// latestBuild returns the id of the app's newest build, or nothing.
func (d *deploy) latestBuild(ctx context.Context) (string, error) {
	opts := newest("created_at")
	opts.PageSize = 1
	page, err := d.client.Builds.ListPage(ctx, d.opts.BuildApp, opts)
	if err != nil || len(page.Items) == 0 {
		return "", err
	}
	return page.Items[0].ID, nil
}

// findRelease returns the newest release of an app that ours is true for and
// that is not older than started, if that is not zero; or nil.
func findRelease(ctx context.Context, c *Client, app string, started time.Time, ours func(*Release) bool) (*Release, error) {
	page, err := c.Releases.ListPage(ctx, app, newest("version"))
	if err != nil {
		return nil, err
	}
	// The platform's clock tells what is new; ours only how long ago that is.
	// Its times are whole seconds.
	var oldest time.Time
	if !started.IsZero() {
		oldest = page.Date.Add(-time.Since(started) - 2*time.Second)
	}
	for _, r := range page.Items {
		if ours(r) && !r.CreatedAt.Before(oldest) {
			return r, nil
		}
	}
	return nil, nil
}
