package herokubuild

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/herokubuild/herokubuild/internal/identity"
)

// This file makes sure that there is one build, and one release per app, even
// if the response to the request that starts it is lost.

// once sends a request that must not take effect twice. If its outcome is not known,
// find searches for the result: a result that is found is adopted, and the request is
// sent again only if there is certainly none.
func once[T any](ctx context.Context, c *Client, send func() (*T, error), find func(context.Context) (*T, error)) (*T, error) {
	for attempt := 1; ; attempt++ {
		v, err := send()
		if err == nil || !errors.Is(err, ErrMaybeApplied) {
			return v, err
		}
		if ctx.Err() != nil {
			return nil, err
		}
		found, findErr := settle(ctx, c.api.settleTime, find)
		switch {
		case findErr != nil:
			// Both errors are kept: the outcome of the request is still unknown.
			return nil, fmt.Errorf("%w (searching for its effect: %w)", err, findErr)
		case found != nil:
			c.api.log.InfoContext(ctx, "herokubuild: recovered the result of a request whose response was lost")
			return found, nil
		case attempt >= c.api.retry.MaxAttempts || errors.Is(err, ErrUnexpectedResponse):
			// A 2xx response means success, even if it cannot be decoded.
			return nil, err
		}
	}
}

// settle searches until limit has passed, because a request without a response may
// still take effect. WithPollBackoff does not apply: the last search has to be at the
// end of that time.
func settle[T any](ctx context.Context, limit time.Duration, find func(context.Context) (*T, error)) (*T, error) {
	end := time.Now().Add(limit)
	for n := 1; ; n++ {
		last := !time.Now().Before(end)
		v, err := find(ctx)
		if v != nil || err != nil || last {
			return v, err
		}
		if err := sleep(ctx, min(DefaultPollBackoff(n), time.Until(end))); err != nil {
			return nil, err
		}
	}
}

// settledAt is when the last request of the call that created a checkpoint has taken
// effect, if ever.
func settledAt(c *Client, checkpoint Checkpoint) time.Time {
	if checkpoint.Settled || !checkpoint.started() {
		return time.Time{}
	}
	return time.Now().Add(c.api.settleTime)
}

// newest selects the part of a list that has what was just created.
func newest(by string) *ListOptions {
	return &ListOptions{SortBy: by, Order: Descending, PageSize: 50}
}

func sourceAddress(u SecretURL) string { return identity.Address(u.Reveal()) }

func sourceDigest(u SecretURL) string { return identity.Digest(u.Reveal()) }

func identityOf(c Checkpoint) identity.Source {
	return identity.Source{
		Address: c.Source, Digest: c.SourceDigest, Version: c.Version, Checksum: c.Checksum,
		Token: c.Token, Before: c.Before,
	}
}

// judge decides whether a build is that of a source.
func judge(source identity.Source, b *Build) identity.Verdict {
	blob := b.SourceBlob
	return source.Judge(identity.Build{
		ID: b.ID, URL: blob.URL.Reveal(), Checksum: blob.Checksum, Version: blob.Version, Description: blob.VersionDescription,
	})
}

// findBuild returns the build with this identity in the list, or nil if there is none.
func findBuild(ctx context.Context, c *Client, app string, source identity.Source, list *ListOptions) (*Build, error) {
	page, err := c.Builds.ListPage(ctx, app, list)
	if err != nil {
		return nil, err
	}
	var unclear *Build
	for _, b := range page.Items {
		switch judge(source, b) {
		case identity.Ours:
			return b, nil
		case identity.Unclear:
			unclear = b
		case identity.NotOurs:
		}
	}
	if unclear != nil {
		return nil, fmt.Errorf("build %s has an unknown source and may be that of this deploy: %w", unclear.ID, ErrMaybeApplied)
	}
	return nil, nil
}

// earlierBuilds returns the IDs of the newest builds that could be mistaken for that
// of this deploy.
func earlierBuilds(ctx context.Context, c *Client, app string, source identity.Source) ([]string, error) {
	page, err := c.Builds.ListPage(ctx, app, newest("created_at"))
	if err != nil {
		return nil, err
	}
	var before []string
	for _, b := range page.Items {
		if judge(source, b) != identity.NotOurs {
			before = append(before, b.ID)
		}
	}
	return before, nil
}

// standing is whether an app runs the release of this deploy, and what replaced it if
// not.
type standing struct {
	// release is the newest release of the deploy, nil if there is none.
	release *Release
	// by is the release that replaced it, if any: a rollback to what the app ran
	// before, or somebody else's release.
	by         *Release
	rolledBack bool
	// awaited is a newer release that is pending and whose success would roll the app
	// back to this one, or from this one to what it ran before.
	awaited *Release
}

// version is that of the release, 0 if there is none.
func (s *standing) version() int { return orZero(s.release).Version }

// counts reports whether the app runs the release, or is about to.
func (s *standing) counts() bool {
	return s.release != nil && s.by == nil && s.release.Status != StatusFailed && s.release.Status != StatusExpired
}

// needsRelease reports whether the app needs a release: it has none, or one that failed
// or was rolled back.
func (s *standing) needsRelease() bool {
	return !s.counts() && (s.by == nil || s.rolledBack)
}

func (s *standing) superseded(app string) error {
	return fmt.Errorf("%s: v%d was %w by v%d", app, s.release.Version, ErrSuperseded, s.by.Version)
}

// findStanding returns the standing of a deploy's release on an app: of the release
// with the ID, if there is one, or of the newest for which isOurs returns true.
func findStanding(ctx context.Context, c *Client, app, id string, isOurs func(*Release) bool) (*standing, error) {
	list := newest("version")
	if id == "" {
		// The release may be far back in the list.
		list.PageSize = maxPageSize
	}
	page, err := c.Releases.ListPage(ctx, app, list)
	if err != nil {
		return nil, err
	}
	s := new(standing)
	var newer []*Release
	for _, r := range page.Items {
		if r.ID == id || isOurs(r) {
			s.release = r
			break
		}
		newer = append(newer, r)
	}
	if s.release == nil {
		if id == "" {
			return s, nil
		}
		if s.release, err = c.Releases.Get(ctx, app, id); err != nil {
			return nil, err
		}
	}
	pending := func(r *Release) bool { return r.Status == StatusPending }
	if s.release.Status == StatusSucceeded && (!s.release.Current || slices.ContainsFunc(newer, pending)) {
		slices.Reverse(newer)
		s.replace(newer)
	}
	return s, nil
}

// replace determines what has replaced the release. newer are the releases since, in
// order.
func (s *standing) replace(newer []*Release) {
	var succeeded, expected []*Release
	var pending *Release
	for _, r := range newer {
		switch r.Status {
		case StatusSucceeded, "":
			succeeded, expected = append(succeeded, r), append(expected, r)
		case StatusPending:
			expected, pending = append(expected, r), r
		case StatusFailed, StatusExpired:
		}
	}
	s.by, s.rolledBack = replacedBy(s.release, succeeded)
	by, back := replacedBy(s.release, expected)
	if by == nil && s.by != nil || back && s.by == nil {
		s.awaited = pending
	}
}

// replacedBy returns the release that replaced another one, nil if none did, and whether
// it was a rollback to what the app ran before. newer are the releases that succeeded
// since, in order.
func replacedBy(release *Release, newer []*Release) (*Release, bool) {
	of := func(r *Release) identity.Release {
		return identity.Release{Version: r.Version, Code: codeOf(r), Description: r.Description}
	}
	by, rolledBack := identity.ReplacedBy(of(release), convert(newer, of))
	if by < 0 {
		return nil, false
	}
	return newer[by], rolledBack
}

// codeOf identifies what a release runs.
func codeOf(r *Release) string { return r.Artifact().String() }
