package herokubuild

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"net/http"
	"time"

	"github.com/herokubuild/herokubuild/internal/check"
)

// BuildsService starts, follows and cancels builds.
type BuildsService struct{ api *apiClient }

// Build is one run of source code through the platform's slug compiler.
type Build struct {
	ID  string      `json:"id"`
	App ResourceRef `json:"app"`
	// Status is pending until the build has ended. Success means that there
	// is a slug; whether it runs is the release's status.
	Status Status `json:"status"`
	// Stack is the name of the stack that the build is for. (In a slug it is an
	// object.)
	Stack string `json:"stack,omitzero"`
	// Generation is GenerationCedar or GenerationFir; empty in older responses.
	Generation string `json:"generation,omitzero"`
	// Buildpacks are those that ran, in order; nil while not known. They are
	// for Cedar apps only.
	Buildpacks []Buildpack `json:"buildpacks,omitempty"`
	// SourceBlob is the source that is built.
	SourceBlob SourceBlob `json:"source_blob"`
	// OutputStreamURL is the URL of the output; see [BuildsService.Output]. Every
	// response has a newly signed one, which is valid for 24 hours.
	OutputStreamURL SecretURL `json:"output_stream_url,omitzero"`
	// Release is the release of the successful build on the app that built it; the
	// zero until then.
	Release ResourceRef `json:"release,omitzero"`
	// Slug is the build's result; zero until there is one. Builds of
	// Fir apps have none.
	Slug      ResourceRef `json:"slug,omitzero"`
	User      User        `json:"user"`
	CreatedAt time.Time   `json:"created_at"`
	UpdatedAt time.Time   `json:"updated_at"`
}

// Buildpack names a buildpack by its registry name ("heroku/go") or by the URL
// of its repository.
type Buildpack struct {
	// URL is printed and logged as it is: it should have no credentials.
	URL  string `json:"url,omitzero"`
	Name string `json:"name,omitzero"`
}

// SourceBlob is the source of a build.
type SourceBlob struct {
	// URL is the https URL of a gzipped tar archive: that of an uploaded [Source],
	// or any other that the platform can reach.
	URL SecretURL `json:"url"`
	// Checksum is "SHA256:" and the lower-case hex SHA-256 of the archive;
	// optional. The platform fails a build whose source differs.
	Checksum string `json:"checksum,omitzero"`
	// Version identifies the source, a commit for example; optional.
	Version string `json:"version,omitzero"`
	// VersionDescription describes the version for people; optional.
	VersionDescription string `json:"version_description,omitzero"`
}

// BuildCreateOptions is the body of [BuildsService.Create].
type BuildCreateOptions struct {
	// SourceBlob is what to build. Its URL is required.
	SourceBlob SourceBlob `json:"source_blob"`
	// Buildpacks to use instead of the app's own, in order. Cedar only.
	Buildpacks []Buildpack `json:"buildpacks,omitempty"`
}

func (o BuildCreateOptions) check() error {
	if err := checkWebURL("SourceBlob.URL", o.SourceBlob.URL.Reveal()); err != nil {
		return err
	}
	if err := checkChecksum("SourceBlob.Checksum", o.SourceBlob.Checksum); err != nil {
		return err
	}
	return checkBuildpacks(o.Buildpacks)
}

func checkBuildpacks(buildpacks []Buildpack) error {
	for _, b := range buildpacks {
		if (b.Name == "") == (b.URL == "") {
			return &ArgumentError{Name: "Buildpacks", Reason: "each must have either a name or a URL"}
		}
	}
	return nil
}

func buildsPath(app string) string    { return apiPath("apps", app, "builds") }
func buildPath(app, id string) string { return apiPath("apps", app, "builds", id) }

// Create starts a build of an app. It returns once the platform has accepted the
// build; use [BuildsService.Output] to follow it and [BuildsService.Wait] for the
// result. The platform releases a successful build on the app.
//
// The request is sent again only if the platform cannot have seen it. An error that
// matches [ErrMaybeApplied] means that a build may have been started.
//
// Buildpacks are for Cedar apps only. If opts has some, Create gets the app first
// (GET /apps/{app}) and refuses a Fir app with a [*GenerationError].
//
// Endpoint: POST /apps/{app}/builds (schema: build, Create). Errors:
// [*ArgumentError], [*APIError], [*RequestError], [*ResponseError].
func (s BuildsService) Create(ctx context.Context, app string, opts BuildCreateOptions, requestOpts ...RequestOption) (*Build, error) {
	if err := checkApp("app", app); err != nil {
		return nil, err
	}
	if err := opts.check(); err != nil {
		return nil, err
	}
	if len(opts.Buildpacks) > 0 {
		if err := s.checkBuildpackSupport(ctx, app, requestOpts...); err != nil {
			return nil, err
		}
	}
	return fetch[Build](ctx, s.api, apiCall{
		method: http.MethodPost, path: buildsPath(app), body: opts.wire(), secrets: opts.SourceBlob.URL.secrets(),
	}, requestOpts...)
}

// wire returns the body as it is sent, with the whole URL.
func (o BuildCreateOptions) wire() any {
	type sourceBlob struct {
		URL                string `json:"url"`
		Checksum           string `json:"checksum,omitzero"`
		Version            string `json:"version,omitzero"`
		VersionDescription string `json:"version_description,omitzero"`
	}
	b := o.SourceBlob
	return struct {
		SourceBlob sourceBlob  `json:"source_blob"`
		Buildpacks []Buildpack `json:"buildpacks,omitempty"`
	}{sourceBlob{b.URL.Reveal(), b.Checksum, b.Version, b.VersionDescription}, o.Buildpacks}
}

func (s BuildsService) checkBuildpackSupport(ctx context.Context, app string, requestOpts ...RequestOption) error {
	of, err := getApp(ctx, s.api, app, requestOpts...)
	if err == nil && of.IsFir() {
		err = &GenerationError{App: app, Generation: of.Generation.Name, Reason: "its builds take buildpacks from its project.toml only"}
	}
	return err
}

// Get returns a build in its current state, with a newly signed OutputStreamURL.
//
// Endpoint: GET /apps/{app}/builds/{build} (schema: build, Info). Errors:
// [*ArgumentError], [*APIError], [*RequestError], [*ResponseError].
func (s BuildsService) Get(ctx context.Context, app, id string, requestOpts ...RequestOption) (*Build, error) {
	if err := checkAppAndID(app, "build", id); err != nil {
		return nil, err
	}
	return fetch[Build](ctx, s.api, apiCall{method: http.MethodGet, path: buildPath(app, id)}, requestOpts...)
}

// List iterates over the builds of an app, page by page as needed. An error
// ends the iteration; it comes with a nil build. For the newest builds first:
//
//	&ListOptions{SortBy: "created_at", Order: Descending, Limit: 10}
//
// Endpoint: GET /apps/{app}/builds (schema: build, List; sortable by id and
// created_at). Errors: [*ArgumentError], [*APIError], [*RequestError],
// [*ResponseError].
func (s BuildsService) List(ctx context.Context, app string, opts *ListOptions, requestOpts ...RequestOption) iter.Seq2[*Build, error] {
	if err := checkApp("app", app); err != nil {
		return failed[Build](err)
	}
	return list[Build](ctx, s.api, buildsPath(app), opts, requestOpts...)
}

// ListPage returns one page of the builds of an app and the cursor of the
// next. See [BuildsService.List], which needs no cursor.
//
// Endpoint and errors: those of [BuildsService.List].
func (s BuildsService) ListPage(ctx context.Context, app string, opts *ListOptions, requestOpts ...RequestOption) (*Page[Build], error) {
	if err := checkApp("app", app); err != nil {
		return nil, err
	}
	return listPage[Build](ctx, s.api, buildsPath(app), opts, requestOpts...)
}

// Cancel stops a pending build and returns it. Canceled builds are reported as
// StatusFailed; the API has no separate status. Canceling a build that has ended
// returns an [*APIError].
//
// Endpoint: DELETE /apps/{app}/builds/{build} with the Accept header's variant
// "cancel-build", as Heroku's builds plugin sends it (schema: build, Cancel).
// Errors: [*ArgumentError], [*APIError], [*RequestError], [*ResponseError].
func (s BuildsService) Cancel(ctx context.Context, app, id string, requestOpts ...RequestOption) (*Build, error) {
	if err := checkAppAndID(app, "build", id); err != nil {
		return nil, err
	}
	b, err := fetch[Build](ctx, s.api, apiCall{
		method: http.MethodDelete, path: buildPath(app, id), variant: ".cancel-build", mayBeEmpty: true,
	}, requestOpts...)
	if err == nil && b.ID == "" {
		// Some responses of the platform have an empty body.
		return s.Get(ctx, app, id, requestOpts...)
	}
	return b, err
}

// DeleteCache deletes what the app's earlier builds have cached, so that the
// next one starts without a cache.
//
// Endpoint: DELETE /apps/{app}/build-cache (schema: build, Delete cache); the
// response is empty. Errors: [*ArgumentError], [*APIError], [*RequestError].
func (s BuildsService) DeleteCache(ctx context.Context, app string, requestOpts ...RequestOption) error {
	if err := checkApp("app", app); err != nil {
		return err
	}
	_, err := s.api.call(ctx, apiCall{method: http.MethodDelete, path: apiPath("apps", app, "build-cache")}, nil, requestOpts...)
	return err
}

// Wait polls a build until its status is final and returns it if that is success.
// It does not wait for the release that the platform makes of it; see
// [ReleasesService.Wait].
//
// Errors: a [*BuildError] if the build failed; an error that matches
// [ErrUnknownStatus] for a status that this package does not know,
// [ErrWaitTimeout] after opts.Timeout, or the context's error; and those of
// [BuildsService.Get].
func (s BuildsService) Wait(ctx context.Context, app, id string, opts *WaitOptions) (*Build, error) {
	return waitFor(ctx, s.api, app, opts, func(ctx context.Context) (*Build, error) { return s.Get(ctx, app, id) })
}

// Output returns the output of a build from its start, live while the build runs. It
// gets the build first; the output is requested by the first read. The context
// governs the whole of the stream; close it when done.
//
// The URL of the output is the build's OutputStreamURL, which is renewed as needed.
// The API key is not sent there.
//
// Errors: an error that matches [ErrNoOutput] for a build without an output stream;
// and those of [BuildsService.Get].
func (s BuildsService) Output(ctx context.Context, app, id string, opts *StreamOptions) (*OutputStream, error) {
	return openOutput(ctx, s.api, opts, func(ctx context.Context) (*Build, error) { return s.Get(ctx, app, id) })
}

func (b *Build) name() string { return "build " + b.ID }

func (b *Build) state() (Status, SecretURL) { return b.Status, b.OutputStreamURL }

func (b *Build) outcome(app string) error {
	if b.Status == StatusSucceeded {
		return nil
	}
	return &BuildError{App: app, Build: b}
}

// BuildError is a build whose final status is not success. It matches
// [ErrBuildFailed].
type BuildError struct {
	// App is the app that was built, as the caller named it.
	App string
	// Build is the build as the platform last described it.
	Build *Build
	// Tail is the end of the build's output, at most 20 lines and 8 KiB; empty if the
	// output was not followed. It has the colors and other control characters that
	// the build printed, which a program should remove before it shows them on a
	// terminal. Invalid UTF-8 is replaced.
	Tail string
}

// Error implements error. It does not contain the tail.
func (e *BuildError) Error() string {
	b := orZero(e.Build)
	return clip(fmt.Sprintf("build %s of %s %s", b.ID, e.App, b.Status), maxErrorText)
}

func (e *BuildError) isOutcome() {}

// Is matches ErrBuildFailed.
func (e *BuildError) Is(target error) bool { return target == ErrBuildFailed }

func (b *Build) place(by string) (place int64, strict, ok bool) {
	return b.CreatedAt.Unix(), false, by == "created_at" && !b.CreatedAt.IsZero()
}

func (b *Build) validate() error {
	return cmp.Or(
		check.RequiredID("id", b.ID),
		check.OptionalID("app.id", b.App.ID),
		check.OptionalID("slug.id", b.Slug.ID),
		check.OptionalID("release.id", b.Release.ID),
		check.OptionalURL("output_stream_url", b.OutputStreamURL.Reveal()),
	)
}
