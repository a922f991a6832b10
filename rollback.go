package herokubuild

import (
	"context"
	"fmt"
	"net/http"

	"github.com/herokubuild/herokubuild/internal/clean"
)

// RollbackError is a release that cannot be rolled back to. It matches
// [ErrNotEligible], and [ErrArtifactExpired] where that is because the platform has
// destroyed the release's slug or image. Nothing was sent but questions.
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
	_, hasCode := r.Code()
	switch {
	case r.Status == StatusExpired:
		reason = "its slug or image is no longer kept by the platform (status expired)"
	case r.Status != StatusSucceeded && r.Status != "":
		reason += " (status " + clip(string(r.Status), maxHeaderText) + ")"
	case !hasCode:
		reason += " (it has neither slug nor image)"
	}
	return clean.Line(fmt.Sprintf("herokubuild: %s cannot be rolled back to release v%d: %s", e.App, r.Version, reason))
}

// Is matches ErrNotEligible and, where that is so, ErrArtifactExpired.
func (e *RollbackError) Is(target error) bool {
	return target == ErrNotEligible || target == ErrArtifactExpired && orZero(e.Release).Status == StatusExpired
}

// rollbackTarget is a release that may leave out whether it is eligible, as
// older answers do: that is not a no.
type rollbackTarget struct {
	Release
	Eligible *bool `json:"eligible_for_rollback"`
}

func (t *rollbackTarget) release() *Release {
	t.EligibleForRollback = t.Eligible != nil && *t.Eligible
	return &t.Release
}

// refused says that the release itself tells that it cannot be rolled back to.
func (t *rollbackTarget) refused() bool {
	return t.Status == StatusExpired || t.Eligible != nil && !*t.Eligible
}

// Rollback makes a new release of what an earlier one had: its code and config
// vars, not its add-ons. The earlier one is named by its id or version ("v12"
// or "12"); see [ReleasesService.Previous] for the one before the current. It
// is looked at first: one that says that it has expired or is not eligible is
// refused before anything is changed. Like that of
// [ReleasesService.Create], the release that is returned may be pending; see
// [ReleasesService.Wait].
//
// Endpoint: POST /apps/{app}/releases with the release in the body (schema:
// release, Rollback), after GET /apps/{app}/releases/{release}. Errors: a
// [*RollbackError], which matches [ErrNotEligible]; and as
// [ReleasesService.Create].
func (s ReleasesService) Rollback(ctx context.Context, app, idOrVersion string) (*Release, error) {
	identity, err := checkRelease(idOrVersion)
	if err != nil {
		return nil, err
	}
	if err := checkApp("app", app); err != nil {
		return nil, err
	}
	target, err := fetch[rollbackTarget](ctx, s.client, apiCall{method: http.MethodGet, path: apiPath("apps", app, "releases", identity)})
	if err != nil {
		return nil, err
	}
	if target.refused() {
		return nil, &RollbackError{App: app, Release: target.release()}
	}
	return s.rollBackTo(ctx, app, target.ID)
}

// rollBackTo is Rollback to a release that has been looked at. The API takes ids
// only.
func (s ReleasesService) rollBackTo(ctx context.Context, app, id string) (*Release, error) {
	body := struct {
		Release string `json:"release"`
	}{id}
	return fetch[Release](ctx, s.client, apiCall{method: http.MethodPost, path: releasesPath(app), body: body})
}

// Previous returns the release that "heroku rollback" goes back to: the newest
// one before the current release that is eligible. It may run the same code
// with other config vars. It lists the releases from the newest back until it
// meets that one.
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
	return nil, fmt.Errorf("herokubuild: a release of %s to roll back to: %w", app, ErrNotFound)
}
