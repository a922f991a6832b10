package herokubuild

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/herokubuild/herokubuild/internal/check"
	"github.com/herokubuild/herokubuild/internal/clean"
)

// ReleasesService creates, reads, follows, promotes and rolls back releases.
type ReleasesService struct{ api *apiClient }

// Release is one state of an app: its code, config vars and add-ons. Source:
// the schema's release.
type Release struct {
	ID string `json:"id"`
	// Version counts the app's releases from 1.
	Version int `json:"version"`
	// Status is pending while the release phase runs. It may be empty on the
	// oldest releases.
	Status Status `json:"status"`
	// Current reports whether this is the release that the app runs.
	Current     bool        `json:"current"`
	Description string      `json:"description"`
	App         ResourceRef `json:"app"`
	// Slug is what was released; zero for a release without code and
	// for Fir apps.
	Slug ResourceRef `json:"slug,omitzero"`
	// Artifacts are what was released, slugs and images alike.
	Artifacts      []ReleaseArtifact `json:"artifacts,omitempty"`
	AddonPlanNames []string          `json:"addon_plan_names,omitempty"`
	// OutputStreamURL is the URL of the release phase's output; see
	// [ReleasesService.Output]. It is empty if there is no release phase.
	OutputStreamURL SecretURL `json:"output_stream_url,omitzero"`
	// EligibleForRollback reports whether Rollback accepts the release.
	EligibleForRollback bool      `json:"eligible_for_rollback"`
	User                User      `json:"user"`
	CreatedAt           time.Time `json:"created_at"`
	UpdatedAt           time.Time `json:"updated_at"`
}

// ReleaseArtifact is one of the artifacts that a release lists.
type ReleaseArtifact struct {
	ID string `json:"id"`
	// Type is "slug" for a slug and "oci-image" for an image.
	Type string `json:"type"`
}

// The types of artifacts: Cedar apps run slugs, Fir apps images.
const (
	artifactSlug  = "slug"
	artifactImage = "oci-image"
)

// Artifact is what a release runs: a slug on Cedar, an image on Fir. At most one of
// the fields is set.
type Artifact struct {
	SlugID  string `json:"slug_id,omitzero"`
	ImageID string `json:"image_id,omitzero"`
}

// IsZero reports whether there is neither a slug nor an image.
func (a Artifact) IsZero() bool { return a == Artifact{} }

// String returns the ID of the slug or image.
func (a Artifact) String() string { return a.SlugID + a.ImageID }

// Artifact returns what the release runs. It is zero for a release without code, such
// as the first of every app.
func (r *Release) Artifact() Artifact {
	if slug := cmp.Or(r.Slug.ID, r.artifact(artifactSlug)); slug != "" {
		return Artifact{SlugID: slug}
	}
	return Artifact{ImageID: r.artifact(artifactImage)}
}

func (r *Release) artifact(kind string) string {
	for _, a := range r.Artifacts {
		if a.Type == kind {
			return a.ID
		}
	}
	return ""
}

// ReleaseCreateOptions is the body of [ReleasesService.Create]: exactly one of
// SlugID and ImageID is required. Those of a [Release.Artifact] release what another
// release runs.
type ReleaseCreateOptions struct {
	// SlugID is the ID of a slug, of this app or another: Cedar apps.
	SlugID string `json:"slug,omitzero"`
	// ImageID is the ID or digest of an image: Fir apps.
	ImageID string `json:"oci_image,omitzero"`
	// Description is shown in the app's history. Default: the platform's.
	Description string `json:"description,omitzero"`
}

func (o ReleaseCreateOptions) artifact() Artifact {
	return Artifact{SlugID: o.SlugID, ImageID: o.ImageID}
}

// madeFrom reports whether a release is of this slug or image. Releases do not name
// their image by its digest: see [ReleasesService.ImageID].
func (o ReleaseCreateOptions) madeFrom(r *Release) bool {
	if o.SlugID != "" {
		return strings.EqualFold(r.Slug.ID, o.SlugID)
	}
	return slices.ContainsFunc(r.Artifacts, func(a ReleaseArtifact) bool {
		return a.Type == artifactImage && strings.EqualFold(a.ID, o.ImageID)
	})
}

func (o ReleaseCreateOptions) check() error {
	switch {
	case (o.SlugID == "") == (o.ImageID == ""):
		return &ArgumentError{Name: "ReleaseCreateOptions", Reason: "exactly one of SlugID and ImageID is required"}
	case o.SlugID != "":
		return checkUUID("SlugID", o.SlugID)
	}
	return invalid("ImageID", check.Image(o.ImageID))
}

// checkRelease returns the identity of a release of an app that the API accepts.
func checkRelease(app, idOrVersion string) (string, error) {
	identity, reason := check.Release(idOrVersion)
	return identity, cmp.Or(checkApp("app", app), invalid("release", reason))
}

func releasesPath(app string) string { return apiPath("apps", app, "releases") }

// Create releases a slug or image to an app. It returns once the platform has accepted
// the release; use [ReleasesService.Wait] for the result.
//
// The request is sent again only if the platform cannot have seen it. An error that
// matches [ErrMaybeApplied] means that there may be a release.
//
// Endpoint: POST /apps/{app}/releases (schema: release, Create). Errors:
// [*ArgumentError], [*APIError], [*RequestError], [*ResponseError].
func (s ReleasesService) Create(ctx context.Context, app string, opts ReleaseCreateOptions, requestOpts ...RequestOption) (*Release, error) {
	if err := checkApp("app", app); err != nil {
		return nil, err
	}
	if err := opts.check(); err != nil {
		return nil, err
	}
	return fetch[Release](ctx, s.api, apiCall{method: http.MethodPost, path: releasesPath(app), body: opts}, requestOpts...)
}

// Get returns the release with this ID or version ("v12" or "12").
//
// Endpoint: GET /apps/{app}/releases/{release} (schema: release, Info).
// Errors: [*ArgumentError], [*APIError], [*RequestError], [*ResponseError].
func (s ReleasesService) Get(ctx context.Context, app, idOrVersion string, requestOpts ...RequestOption) (*Release, error) {
	identity, err := checkRelease(app, idOrVersion)
	if err != nil {
		return nil, err
	}
	return fetch[Release](ctx, s.api, apiCall{method: http.MethodGet, path: apiPath("apps", app, "releases", identity)}, requestOpts...)
}

// List iterates over the releases of an app, page by page as needed. An error
// ends the iteration; it comes with a nil release. For the newest first:
//
//	&ListOptions{SortBy: "version", Order: Descending, Limit: 10}
//
// Endpoint: GET /apps/{app}/releases (schema: release, List; sortable by id and
// version). Errors: [*ArgumentError], [*APIError], [*RequestError],
// [*ResponseError].
func (s ReleasesService) List(ctx context.Context, app string, opts *ListOptions, requestOpts ...RequestOption) iter.Seq2[*Release, error] {
	if err := checkApp("app", app); err != nil {
		return failed[Release](err)
	}
	return list[Release](ctx, s.api, releasesPath(app), opts, requestOpts...)
}

// ListPage returns one page of the releases of an app and the cursor of the
// next. See [ReleasesService.List], which needs no cursor.
//
// Endpoint and errors: those of [ReleasesService.List].
func (s ReleasesService) ListPage(ctx context.Context, app string, opts *ListOptions, requestOpts ...RequestOption) (*Page[Release], error) {
	if err := checkApp("app", app); err != nil {
		return nil, err
	}
	return listPage[Release](ctx, s.api, releasesPath(app), opts, requestOpts...)
}

// Current returns the release that an app runs. It is not always the newest one: a
// release whose phase failed or still runs is newer. Current lists the releases from
// the newest back to the current one.
//
// Errors: those of [ReleasesService.List]; one that matches [ErrNotFound] if
// no release of the app is current.
func (s ReleasesService) Current(ctx context.Context, app string, requestOpts ...RequestOption) (*Release, error) {
	newest := &ListOptions{SortBy: "version", Order: Descending, PageSize: 20}
	for r, err := range s.List(ctx, app, newest, requestOpts...) {
		if err != nil {
			return nil, err
		}
		if r.Current {
			return r, nil
		}
	}
	return nil, fmt.Errorf("current release of %s: %w", app, ErrNotFound)
}

// Wait polls a release, named by ID or version, until its status is final and returns
// it if that is success: the release phase, if there is one, has passed and the app
// runs the release.
//
// Errors: a [*ReleaseError] if the release failed or has expired; an error that
// matches [ErrUnknownStatus] for a status that this package does not know, or for none,
// as the oldest releases have; [ErrWaitTimeout] after opts.Timeout, or the context's error; and those of
// [ReleasesService.Get].
func (s ReleasesService) Wait(ctx context.Context, app, idOrVersion string, opts *WaitOptions) (*Release, error) {
	return waitFor(ctx, s.api, app, opts, func(ctx context.Context) (*Release, error) { return s.Get(ctx, app, idOrVersion) })
}

// Output returns the output of a release phase from its start, live while it runs; see
// [BuildsService.Output]. The release is named by ID or version. The stream of a new
// release does not exist for the first seconds; the first read waits for it.
//
// Errors: an error that matches [ErrNoOutput] for a release without a release phase;
// and those of [ReleasesService.Get].
func (s ReleasesService) Output(ctx context.Context, app, idOrVersion string, opts *StreamOptions) (*OutputStream, error) {
	return openOutput(ctx, s.api, opts, func(ctx context.Context) (*Release, error) { return s.Get(ctx, app, idOrVersion) })
}

func (r *Release) name() string { return fmt.Sprintf("release v%d", r.Version) }

func (r *Release) state() (Status, SecretURL) { return r.Status, r.OutputStreamURL }

func (r *Release) outcome(app string) error {
	if r.Status == StatusSucceeded {
		return nil
	}
	return &ReleaseError{App: app, Release: r}
}

// ociImage is an OCI image, with the fields that identify it. Source: the schema's
// oci-image.
type ociImage struct {
	ID     string `json:"id"`
	Digest string `json:"digest"`
}

func (i *ociImage) validate() error { return check.RequiredID("id", i.ID) }

// ImageID returns the ID of an OCI image that is named by its digest ("sha256:…") or
// ID. Releases name their image by ID only (see [Artifact]); the app is any Fir app
// that can use the image.
//
// Endpoint: GET /apps/{app}/oci-images/{image} (schema: oci-image, Info; stability
// prototype). Errors: [*ArgumentError], [*APIError] (matching [ErrNotFound] if there
// is no such image), [*RequestError], [*ResponseError].
func (s ReleasesService) ImageID(ctx context.Context, app, idOrDigest string, requestOpts ...RequestOption) (string, error) {
	if err := checkApp("app", app); err != nil {
		return "", err
	}
	if err := invalid("image", check.Image(idOrDigest)); err != nil {
		return "", err
	}
	a := apiCall{method: http.MethodGet, path: apiPath("apps", app, "oci-images", idOrDigest)}
	// The endpoint returns a list, although it is of one image.
	var images items[ociImage]
	resp, err := s.api.call(ctx, a, &images, requestOpts...)
	if err != nil {
		return "", err
	}
	for _, image := range images {
		if strings.EqualFold(image.Digest, idOrDigest) || strings.EqualFold(image.ID, idOrDigest) {
			return image.ID, nil
		}
	}
	return "", requestFailure(ctx, resp.Unusable(fmt.Errorf("none of its %d images is the requested one", len(images))))
}

// ReleaseError is a release whose final status is not success: its release
// phase failed, or it has expired. It matches [ErrReleaseFailed].
type ReleaseError struct {
	// App is the app that was released to, as the caller named it.
	App string
	// Release is the release as the platform last described it.
	Release *Release
	// Tail is the end of the release phase's output, as [BuildError].Tail is of a
	// build's; empty if it was not followed.
	Tail string
}

// Error implements error.
func (e *ReleaseError) Error() string {
	r := orZero(e.Release)
	return clip(fmt.Sprintf("release v%d of %s %s", r.Version, e.App, r.Status), maxErrorText)
}

func (e *ReleaseError) isOutcome() {}

// Is matches ErrReleaseFailed.
func (e *ReleaseError) Is(target error) bool { return target == ErrReleaseFailed }

func (r *Release) place(by string) (place int64, strict, ok bool) {
	if by == "version" {
		return int64(r.Version), true, true
	}
	return r.CreatedAt.Unix(), false, by == "created_at" && !r.CreatedAt.IsZero()
}

func (r *Release) validate() error {
	if r.Version < 1 {
		return fmt.Errorf("the response's version is %d", r.Version)
	}
	for _, a := range r.Artifacts {
		if err := check.OptionalID("artifacts.id", a.ID); err != nil {
			return err
		}
	}
	return cmp.Or(
		check.RequiredID("id", r.ID),
		check.OptionalID("app.id", r.App.ID),
		check.OptionalID("slug.id", r.Slug.ID),
		check.OptionalURL("output_stream_url", r.OutputStreamURL.Reveal()),
	)
}

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
// its add-ons. The earlier release is named by its ID or version ("v12" or "12"); see
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
	identity, err := checkRelease(app, idOrVersion)
	if err != nil {
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

// rollBackTo is Rollback without the check. The API accepts IDs only.
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
func (s ReleasesService) Previous(ctx context.Context, app string, requestOpts ...RequestOption) (*Release, error) {
	seen := false
	newest := &ListOptions{SortBy: "version", Order: Descending, PageSize: 20}
	for r, err := range s.List(ctx, app, newest, requestOpts...) {
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
	description := cmp.Or(orZero(opts).Description, fmt.Sprintf("Promote %s v%d", source, current.Version))
	return s.Create(ctx, target, ReleaseCreateOptions{SlugID: runs.SlugID, ImageID: runs.ImageID, Description: description})
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
