package herokubuild

import (
	"context"
	"fmt"
	"net/http"

	"github.com/herokubuild/herokubuild/internal/clean"
)

// RollbackError reports a release that cannot be rolled back to. It matches
// [ErrNotEligible], and [ErrArtifactExpired] if the reason is that the platform has destroyed
// the release's slug or image. Nothing was changed.
type RollbackError struct {
	// App is the app, as the caller named it.
	App string
	// Release is the release as the platform last described it.
	Release *Release
}

// Error implements error.
func (e *RollbackError) Error() string {
	reason := "it is not eligible"
	r := orZero(e.Release)
	switch {
	case r.Status == StatusExpired:
		reason = "the platform no longer has its slug or image (status expired)"
	case r.Status != StatusSucceeded && r.Status != "":
		reason += " (status " + clip(string(r.Status), maxHeaderText) + ")"
	case r.Artifact().IsZero():
		reason += " (it has neither slug nor image)"
	}
	return clean.Line(fmt.Sprintf("%s cannot be rolled back to release v%d: %s", e.App, r.Version, reason))
}

// Is matches ErrNotEligible, and ErrArtifactExpired for an expired release.
func (e *RollbackError) Is(target error) bool {
	return target == ErrNotEligible || target == ErrArtifactExpired && orZero(e.Release).Status == StatusExpired
}

// rollbackTarget is a release of which Eligible is nil in older responses: such a
// release may be eligible.
type rollbackTarget struct {
	Release
	Eligible *bool `json:"eligible_for_rollback"`
}

func (t *rollbackTarget) release() *Release {
	t.EligibleForRollback = t.Eligible != nil && *t.Eligible
	return &t.Release
}

// refused reports whether the release is known not to be eligible.
func (t *rollbackTarget) refused() bool {
	return t.Status == StatusExpired || t.Eligible != nil && !*t.Eligible
}

// Rollback creates a release with the code and config vars of an earlier one, but not
// its add-ons. The earlier release is named by its id or version ("v12" or "12"); see
// [ReleasesService.Previous] for the one before the current. Rollback gets it first,
// and refuses a release that has expired or is not eligible before anything is
// changed. As after [ReleasesService.Create], the new release may be pending; see
// [ReleasesService.Wait].
//
// Endpoint: POST /apps/{app}/releases with the release in the body (schema:
// release, Rollback), after GET /apps/{app}/releases/{release}. Errors: a
// [*RollbackError], which matches [ErrNotEligible]; and as
// [ReleasesService.Create].
func (s ReleasesService) Rollback(ctx context.Context, app, idOrVersion string, requestOpts ...RequestOption) (*Release, error) {
	identity, err := checkRelease(idOrVersion)
	if err != nil {
		return nil, err
	}
	if err := checkApp("app", app); err != nil {
		return nil, err
	}
	target, err := fetch[rollbackTarget](ctx, s.api, apiCall{method: http.MethodGet, path: apiPath("apps", app, "releases", identity)}, requestOpts...)
	if err != nil {
		return nil, err
	}
	if target.refused() {
		return nil, &RollbackError{App: app, Release: target.release()}
	}
	return s.rollBackTo(ctx, app, target.ID, requestOpts...)
}

// rollBackTo is Rollback without the check. The API accepts ids only.
func (s ReleasesService) rollBackTo(ctx context.Context, app, id string, requestOpts ...RequestOption) (*Release, error) {
	body := struct {
		Release string `json:"release"`
	}{id}
	return fetch[Release](ctx, s.api, apiCall{method: http.MethodPost, path: releasesPath(app), body: body}, requestOpts...)
}

// Previous returns the release that "heroku rollback" returns to: the newest eligible
// one before the current release. It may run the same code with other config vars.
// Previous lists the releases from the newest back to that one.
//
// Errors: those of [ReleasesService.List]; one that matches [ErrNotFound] if
// there is no such release.
func (s ReleasesService) Previous(ctx context.Context, app string) (*Release, error) {
	seen := false
	newest := &ListOptions{SortBy: "version", Order: Descending, PageSize: 20}
	for r, err := range s.List(ctx, app, newest) {
		switch {
		case err != nil:
			return nil, err
		case r.Current:
			seen = true
		case seen && r.EligibleForRollback && r.Status != StatusExpired:
			return r, nil
		}
	}
	return nil, fmt.Errorf("a release of %s to roll back to: %w", app, ErrNotFound)
}

// PromoteOptions configures [ReleasesService.Promote]. nil is the default.
type PromoteOptions struct {
	// Description is shown in the history of the target app. Default: "Promote", the
	// source app and the version of its release.
	Description string
}

// Promote releases what the source app runs to the target app: the slug or, for Fir
// apps, the image of the source's current release, which is the newest that succeeded.
// The platform shares slugs between apps: nothing is copied, and the target keeps its
// config vars. As after [ReleasesService.Create], the new release may be pending; see
// [ReleasesService.Wait].
//
// Endpoints: GET /apps/{app}/releases of the source, GET /apps/{app} and
// POST /apps/{app}/releases of the target. Errors: an [*ArgumentError] if both are the
// same app; one that matches [ErrNotFound] if the source has no current release, or
// [ErrNoArtifact] if that has neither slug nor image; a [*GenerationError] if the target
// is of the other generation; and those of [ReleasesService.Current], [AppsService.Get]
// and [ReleasesService.Create].
func (s ReleasesService) Promote(ctx context.Context, source, target string, opts *PromoteOptions) (*Release, error) {
	if err := checkApp("source", source); err != nil {
		return nil, err
	}
	if err := checkApp("target", target); err != nil {
		return nil, err
	}
	if source == target {
		return nil, sameApp(source, target)
	}
	current, err := s.Current(ctx, source)
	if err != nil {
		return nil, err
	}
	runs := current.Artifact()
	if runs.IsZero() {
		return nil, fmt.Errorf("promote v%d of %s: %w", current.Version, source, ErrNoArtifact)
	}
	to, err := getApp(ctx, s.api, target)
	if err != nil {
		return nil, err
	}
	if to.ID != "" && to.ID == current.App.ID {
		return nil, sameApp(source, target)
	}
	if err := checkRuns(to, runs, source, target); err != nil {
		return nil, err
	}
	release := ReleaseCreateOptions{SlugID: runs.SlugID, ImageID: runs.ImageID, Description: fmt.Sprintf("Promote %s v%d", source, current.Version)}
	if opts != nil && opts.Description != "" {
		release.Description = opts.Description
	}
	return s.Create(ctx, target, release)
}

// checkRuns refuses an artifact of the other generation. An app may have none.
func checkRuns(to *App, runs Artifact, source, target string) error {
	generation := to.Generation.Name
	switch {
	case to.IsFir() && runs.SlugID != "":
		return &GenerationError{App: target, Generation: generation, Reason: "it does not run the slug of " + source}
	case !to.IsFir() && generation != "" && runs.ImageID != "":
		return &GenerationError{App: target, Generation: generation, Reason: "it does not run the image of " + source}
	}
	return nil
}

func sameApp(source, target string) error {
	return &ArgumentError{Name: "target", Reason: quote(target) + " is the same app as the source, " + quote(source)}
}
