package herokubuild

import (
	"context"
	"fmt"
	"iter"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
)

// ReleasesService releases slugs and images, and reads and rolls back
// releases.
type ReleasesService struct{ client *Client }

// Release is one state of an app: its code, config vars and add-ons. Source:
// the schema's release.
type Release struct {
	ID string `json:"id"`
	// Version counts the app's releases from 1.
	Version int `json:"version"`
	// Status is pending while the release phase runs. It may be empty on the
	// oldest releases.
	Status Status `json:"status"`
	// Current says that this is the release that the app runs.
	Current     bool        `json:"current"`
	Description string      `json:"description"`
	App         ResourceRef `json:"app"`
	// Slug is what was released; the zero Ref for a release without code and
	// for Fir apps.
	Slug ResourceRef `json:"slug,omitzero"`
	// Artifacts are what was released, slugs and images alike.
	Artifacts      []Artifact `json:"artifacts,omitempty"`
	AddonPlanNames []string   `json:"addon_plan_names,omitempty"`
	// OutputStreamURL is where the release phase's output is; see
	// [ReleasesService.Output]. It is empty where there is no release phase.
	OutputStreamURL SecretURL `json:"output_stream_url,omitzero"`
	// EligibleForRollback says whether Rollback will take it.
	EligibleForRollback bool      `json:"eligible_for_rollback"`
	User                User      `json:"user"`
	CreatedAt           time.Time `json:"created_at"`
	UpdatedAt           time.Time `json:"updated_at"`
}

// Artifact is a build's result within a release.
type Artifact struct {
	ID string `json:"id"`
	// Type is "slug" for a slug; an image's has another name.
	Type string `json:"type"`
}

// ReleaseCreateOptions is the body of [ReleasesService.Create]: exactly one of
// Slug and OCIImage is needed.
type ReleaseCreateOptions struct {
	// Slug is the id of a slug, of this app or another: Cedar apps.
	Slug string `json:"slug,omitzero"`
	// OCIImage is the id or digest of an image: Fir apps.
	OCIImage string `json:"oci_image,omitzero"`
	// Description is shown in the app's history. Default: the platform's.
	Description string `json:"description,omitzero"`
}

// madeFrom reports whether a release is of this slug or image. Releases do not name
// their image by its digest: see [ReleasesService.ImageID].
func (o ReleaseCreateOptions) madeFrom(r *Release) bool {
	if o.Slug != "" {
		return strings.EqualFold(r.Slug.ID, o.Slug)
	}
	return slices.ContainsFunc(r.Artifacts, func(a Artifact) bool {
		return a.Type == artifactImage && strings.EqualFold(a.ID, o.OCIImage)
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
	case (o.Slug == "") == (o.OCIImage == ""):
		return &ArgumentError{Name: "ReleaseCreateOptions", Reason: "exactly one of Slug and OCIImage is needed"}
	case o.Slug != "":
		return checkUUID("Slug", o.Slug)
	}
	return checkImage("OCIImage", o.OCIImage)
}

var versionRE = regexp.MustCompile(`^[vV]?([1-9][0-9]{0,9})$`)

// checkRelease returns the identity that the API knows: a UUID or a bare
// version number.
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

// Create releases a slug or image to an app. It returns as soon as the platform
// has taken the release on; see [ReleasesService.Wait] for what becomes of it.
//
// The request is sent again only where the platform cannot have seen it. An
// error that matches [ErrMaybeApplied] leaves open whether there is a release.
//
// Endpoint: POST /apps/{app}/releases (schema: release, Create). Errors:
// [*ArgumentError], [*APIError], [*RequestError], [*ResponseError].
func (s ReleasesService) Create(ctx context.Context, app string, opts ReleaseCreateOptions) (*Release, error) {
	if err := checkApp("app", app); err != nil {
		return nil, err
	}
	if err := opts.check(); err != nil {
		return nil, err
	}
	return fetch[Release](ctx, s.client, apiCall{method: http.MethodPost, path: releasesPath(app), body: opts})
}

// Get returns the release with this id or version ("v12" or "12").
//
// Endpoint: GET /apps/{app}/releases/{release} (schema: release, Info).
// Errors: [*ArgumentError], [*APIError], [*RequestError], [*ResponseError].
func (s ReleasesService) Get(ctx context.Context, app, idOrVersion string) (*Release, error) {
	if err := checkApp("app", app); err != nil {
		return nil, err
	}
	identity, err := checkRelease(idOrVersion)
	if err != nil {
		return nil, err
	}
	return fetch[Release](ctx, s.client, apiCall{method: http.MethodGet, path: apiPath("apps", app, "releases", identity)})
}

// List iterates over the releases of an app, page by page as needed. An error
// ends the iteration; it comes with a nil release. For the newest first:
//
//	&ListOptions{SortBy: "version", Order: Descending, Limit: 10}
//
// Endpoint: GET /apps/{app}/releases (schema: release, List). Errors:
// [*ArgumentError], [*APIError], [*RequestError], [*ResponseError].
func (s ReleasesService) List(ctx context.Context, app string, opts *ListOptions) iter.Seq2[*Release, error] {
	if err := checkApp("app", app); err != nil {
		return failed[Release](err)
	}
	return list[Release](ctx, s.client, releasesPath(app), opts)
}

// ListPage returns one page of the releases of an app and the cursor of the
// next. See [ReleasesService.List], which needs no cursor.
func (s ReleasesService) ListPage(ctx context.Context, app string, opts *ListOptions) (*Page[Release], error) {
	if err := checkApp("app", app); err != nil {
		return nil, err
	}
	return listPage[Release](ctx, s.client, releasesPath(app), opts)
}

// Current returns the release that an app runs. That is not always the newest:
// one whose release phase failed or still runs is newer. It lists the releases
// from the newest back until it meets the current one.
//
// Errors: those of [ReleasesService.List]; one that matches [ErrNotFound] if
// no release of the app is current.
func (s ReleasesService) Current(ctx context.Context, app string) (*Release, error) {
	newest := &ListOptions{SortBy: "version", Order: Descending, PageSize: 20}
	for r, err := range s.List(ctx, app, newest) {
		if err != nil {
			return nil, err
		}
		if r.Current {
			return r, nil
		}
	}
	return nil, fmt.Errorf("herokubuild: current release of %s: %w", app, ErrNotFound)
}

// Wait looks at a release, named by id or version, until its status is final
// and returns it if that is success: the release phase, if there is one, has
// passed and the app runs the release.
//
// Errors: a [*ReleaseError] if the release failed or has expired; an error that
// matches [ErrUnknownStatus] for a status that this package does not know,
// [ErrWaitTimeout] after opts.Timeout, or the context's error; and those of
// [ReleasesService.Get].
func (s ReleasesService) Wait(ctx context.Context, app, idOrVersion string, opts *WaitOptions[Release]) (*Release, error) {
	if s.client == nil {
		return nil, &ArgumentError{Name: "Client", Reason: errNoClient.Error()}
	}
	r, err := waitFinal(ctx, opts, s.client.poll,
		func(ctx context.Context) (*Release, error) { return s.Get(ctx, app, idOrVersion) },
		func(r *Release) Status { return r.Status })
	if err == nil {
		err = releaseOutcome(app, r)
	}
	if err != nil {
		return nil, err
	}
	return r, nil
}

// releaseOutcome is the error of a final status that is not success.
func releaseOutcome(app string, r *Release) error {
	if r.Status == StatusSucceeded {
		return nil
	}
	return &ReleaseError{App: app, Release: r}
}

// Output returns the output of a release phase from its start, live while it
// runs; see [BuildsService.Output]. The stream of a new release does not exist
// for the first seconds; the first read waits for it.
//
// Errors: [*ArgumentError]; one that matches [ErrNoOutput] for a release
// without a release phase.
func (s ReleasesService) Output(ctx context.Context, release *Release, opts *StreamOptions) (*OutputStream, error) {
	if release == nil {
		return nil, &ArgumentError{Name: "release", Reason: "is nil"}
	}
	var get func(context.Context) (*Release, error)
	if app, id := release.App.ID, release.ID; checkAppAndID(app, "release", id) == nil {
		get = func(ctx context.Context) (*Release, error) { return s.Get(ctx, app, id) }
	}
	return s.follow(ctx, release, opts, get)
}

// follow is Output for callers that want to see what the stream is told when it
// asks for the release: by get, which is nil where there is nobody to ask.
func (s ReleasesService) follow(ctx context.Context, release *Release, opts *StreamOptions, get func(context.Context) (*Release, error)) (*OutputStream, error) {
	var status func(context.Context) (streamStatus, error)
	if get != nil {
		status = func(ctx context.Context) (streamStatus, error) {
			r, err := get(ctx)
			if err != nil {
				return streamStatus{}, err
			}
			return streamStatus{url: r.OutputStreamURL, final: r.Status != StatusPending}, nil
		}
	}
	return openStream(ctx, s.client, streamStatus{url: release.OutputStreamURL, final: release.Status.Final()}, opts, status)
}
