package herokubuild

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
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

// String returns the id of the slug or image.
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
	// SlugID is the id of a slug, of this app or another: Cedar apps.
	SlugID string `json:"slug,omitzero"`
	// ImageID is the id or digest of an image: Fir apps.
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

var digestRE = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

func isDigest(image string) bool { return digestRE.MatchString(image) }

func checkImage(field, image string) error {
	if !isDigest(image) && !isUUID(image) {
		return &ArgumentError{Name: field, Reason: quote(image) + " is neither a UUID nor a digest (sha256:…)"}
	}
	return nil
}

func (o ReleaseCreateOptions) check() error {
	switch {
	case (o.SlugID == "") == (o.ImageID == ""):
		return &ArgumentError{Name: "ReleaseCreateOptions", Reason: "exactly one of SlugID and ImageID is required"}
	case o.SlugID != "":
		return checkUUID("SlugID", o.SlugID)
	}
	return checkImage("ImageID", o.ImageID)
}

var versionRE = regexp.MustCompile(`^[vV]?([1-9][0-9]{0,9})$`)

// checkRelease returns the identity that the API accepts: a UUID or a bare version
// number.
func checkRelease(idOrVersion string) (string, error) {
	if m := versionRE.FindStringSubmatch(idOrVersion); m != nil {
		return m[1], nil
	}
	if !isUUID(idOrVersion) {
		return "", &ArgumentError{Name: "release", Reason: quote(idOrVersion) + ` is neither a UUID nor a version such as "v12" or "12"`}
	}
	return idOrVersion, nil
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

// Get returns the release with this id or version ("v12" or "12").
//
// Endpoint: GET /apps/{app}/releases/{release} (schema: release, Info).
// Errors: [*ArgumentError], [*APIError], [*RequestError], [*ResponseError].
func (s ReleasesService) Get(ctx context.Context, app, idOrVersion string, requestOpts ...RequestOption) (*Release, error) {
	if err := checkApp("app", app); err != nil {
		return nil, err
	}
	identity, err := checkRelease(idOrVersion)
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
// Endpoint: GET /apps/{app}/releases (schema: release, List). Errors:
// [*ArgumentError], [*APIError], [*RequestError], [*ResponseError].
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

// Wait polls a release, named by id or version, until its status is final and returns
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
// [BuildsService.Output]. The release is named by id or version. The stream of a new
// release does not exist for the first seconds; the first read waits for it.
//
// Errors: an error that matches [ErrNoOutput] for a release without a release phase;
// and those of [ReleasesService.Get].
func (s ReleasesService) Output(ctx context.Context, app, idOrVersion string, opts *StreamOptions) (*OutputStream, error) {
	return openOutput(ctx, s.api, opts, func(ctx context.Context) (*Release, error) { return s.Get(ctx, app, idOrVersion) })
}

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

func (i *ociImage) validate() error { return requireID("id", i.ID) }

// ImageID returns the id of an OCI image that is named by its digest ("sha256:…") or
// id. Releases name their image by id only (see [Artifact]); the app is any Fir app
// that can use the image.
//
// Endpoint: GET /apps/{app}/oci-images/{image} (schema: oci-image, Info; stability
// prototype). Errors: [*ArgumentError], [*APIError] (matching [ErrNotFound] if there
// is no such image), [*RequestError], [*ResponseError].
func (s ReleasesService) ImageID(ctx context.Context, app, idOrDigest string, requestOpts ...RequestOption) (string, error) {
	if err := checkApp("app", app); err != nil {
		return "", err
	}
	if err := checkImage("image", idOrDigest); err != nil {
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
	return "", resp.unexpected(fmt.Errorf("none of its %d images is the requested one", len(images)))
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
		if err := optionalID("artifacts.id", a.ID); err != nil {
			return err
		}
	}
	return firstError(
		requireID("id", r.ID),
		optionalID("app.id", r.App.ID),
		optionalID("slug.id", r.Slug.ID),
		optionalURL("output_stream_url", r.OutputStreamURL),
	)
}
