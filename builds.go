package herokubuild

import (
	"context"
	"iter"
	"net/http"
	"time"
)

// BuildsService starts builds, follows and cancels them.
type BuildsService struct{ client *Client }

// Build is one run of source code through the platform's slug compiler.
// Source: the schema's build.
type Build struct {
	ID  string      `json:"id"`
	App ResourceRef `json:"app"`
	// Status is pending until the build has ended. Success means that there
	// is a slug; whether it runs is the release's status.
	Status Status `json:"status"`
	// Stack is the name of the stack that the build is for. (A slug has an
	// object there.)
	Stack string `json:"stack,omitzero"`
	// Generation is "cedar" or "fir"; empty on older answers.
	Generation string `json:"generation,omitzero"`
	// Buildpacks are those that ran, in order; nil while not known. They are
	// for Cedar apps only.
	Buildpacks []Buildpack `json:"buildpacks,omitempty"`
	// SourceBlob is the source that is built.
	SourceBlob SourceBlob `json:"source_blob"`
	// OutputStreamURL is where the output is; see [BuildsService.Output]. It
	// is signed anew, for 24 hours, whenever the build is asked for.
	OutputStreamURL SecretURL `json:"output_stream_url,omitzero"`
	// Release is what the platform made of the successful build on the app
	// that built it; the zero Ref until then.
	Release ResourceRef `json:"release,omitzero"`
	// Slug is the build's result; the zero Ref until there is one. Builds of
	// Fir apps have none.
	Slug      ResourceRef `json:"slug,omitzero"`
	User      User        `json:"user"`
	CreatedAt time.Time   `json:"created_at"`
	UpdatedAt time.Time   `json:"updated_at"`
}

// Buildpack names a buildpack by its registry name ("heroku/go") or by the URL
// of its repository.
type Buildpack struct {
	URL  string `json:"url,omitzero"`
	Name string `json:"name,omitzero"`
}

// SourceBlob is where the source of a build is and what it is.
type SourceBlob struct {
	// URL is an https address of a gzipped tar archive: the URL of an
	// uploaded [Source], or any other that the platform can reach.
	URL SecretURL `json:"url"`
	// Checksum is "SHA256:" and the lower-case hex SHA-256 of the archive;
	// optional. The platform fails a build whose source differs.
	Checksum string `json:"checksum,omitzero"`
	// Version says which source this is, a commit for example; optional.
	Version string `json:"version,omitzero"`
	// VersionDescription describes the version for people; optional.
	VersionDescription string `json:"version_description,omitzero"`
}

// BuildCreateOptions is the body of [BuildsService.Create].
type BuildCreateOptions struct {
	// SourceBlob is what to build. Its URL is needed.
	SourceBlob SourceBlob `json:"source_blob"`
	// Buildpacks to use instead of the app's own, in order. Cedar only.
	Buildpacks []Buildpack `json:"buildpacks,omitempty"`
}

func (o BuildCreateOptions) check() error {
	if _, err := checkWebURL("SourceBlob.URL", o.SourceBlob.URL.Reveal()); err != nil {
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
			return &ArgumentError{Name: "Buildpacks", Reason: "each needs either a name or a URL"}
		}
	}
	return nil
}

func buildsPath(app string) string    { return apiPath("apps", app, "builds") }
func buildPath(app, id string) string { return apiPath("apps", app, "builds", id) }

func checkAppAndID(app, field, id string) error {
	if err := checkApp("app", app); err != nil {
		return err
	}
	return checkUUID(field, id)
}

// Create starts a build of an app. It returns as soon as the platform has
// taken the build on; see [BuildsService.Output] and [BuildsService.Wait] for
// what becomes of it. A successful build is released on the app by the
// platform.
//
// The request is sent again only where the platform cannot have seen it. An
// error that matches [ErrMaybeApplied] leaves open whether a build was started.
//
// Buildpacks are for Cedar apps only. Where opts has some, the app is looked up
// first (GET /apps/{app}), and a Fir app is refused with a [*GenerationError].
//
// Endpoint: POST /apps/{app}/builds (schema: build, Create). Errors:
// [*ArgumentError], [*APIError], [*RequestError], [*ResponseError].
func (s BuildsService) Create(ctx context.Context, app string, opts BuildCreateOptions) (*Build, error) {
	if err := checkApp("app", app); err != nil {
		return nil, err
	}
	if err := opts.check(); err != nil {
		return nil, err
	}
	if len(opts.Buildpacks) > 0 {
		if err := s.checkTakesBuildpacks(ctx, app); err != nil {
			return nil, err
		}
	}
	return fetch[Build](ctx, s.client, apiCall{
		method: http.MethodPost, path: buildsPath(app), body: opts.wire(), secrets: secretsOf(opts.SourceBlob.URL.Reveal()),
	})
}

// wire is the body as it is sent, with the whole URL.
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

func (s BuildsService) checkTakesBuildpacks(ctx context.Context, app string) error {
	of, err := AppsService(s).Get(ctx, app)
	if err == nil && of.IsFir() {
		err = &GenerationError{App: app, Generation: of.Generation.Name, Reason: "its builds take no buildpacks; its project.toml names them"}
	}
	return err
}

// Get returns a build as it is now, with a freshly signed OutputStreamURL.
//
// Endpoint: GET /apps/{app}/builds/{build} (schema: build, Info). Errors:
// [*ArgumentError], [*APIError], [*RequestError], [*ResponseError].
func (s BuildsService) Get(ctx context.Context, app, id string) (*Build, error) {
	if err := checkAppAndID(app, "build", id); err != nil {
		return nil, err
	}
	return fetch[Build](ctx, s.client, apiCall{method: http.MethodGet, path: buildPath(app, id)})
}

// List iterates over the builds of an app, page by page as needed. An error
// ends the iteration; it comes with a nil build. For the newest builds first:
//
//	&ListOptions{SortBy: "created_at", Order: Descending, Limit: 10}
//
// Endpoint: GET /apps/{app}/builds (schema: build, List; sortable by id and
// created_at). Errors: [*ArgumentError], [*APIError], [*RequestError],
// [*ResponseError].
func (s BuildsService) List(ctx context.Context, app string, opts *ListOptions) iter.Seq2[*Build, error] {
	if err := checkApp("app", app); err != nil {
		return failed[Build](err)
	}
	return list[Build](ctx, s.client, buildsPath(app), opts)
}

// ListPage returns one page of the builds of an app and the cursor of the
// next. See [BuildsService.List], which needs no cursor.
func (s BuildsService) ListPage(ctx context.Context, app string, opts *ListOptions) (*Page[Build], error) {
	if err := checkApp("app", app); err != nil {
		return nil, err
	}
	return listPage[Build](ctx, s.client, buildsPath(app), opts)
}

// failed is an iteration that is over before it starts.
func failed[T any](err error) iter.Seq2[*T, error] {
	return func(yield func(*T, error) bool) { yield(nil, err) }
}

// Cancel stops a pending build and returns it. A cancelled build's status is
// failed: the platform has no other word for it. Cancelling one that has ended
// is an [*APIError] of the platform.
//
// Endpoint: DELETE /apps/{app}/builds/{build} with the Accept header's variant
// "cancel-build", as Heroku's builds plugin sends it (schema: build, Cancel).
// Errors: [*ArgumentError], [*APIError], [*RequestError], [*ResponseError].
func (s BuildsService) Cancel(ctx context.Context, app, id string) (*Build, error) {
	if err := checkAppAndID(app, "build", id); err != nil {
		return nil, err
	}
	b, err := fetch[Build](ctx, s.client, apiCall{
		method: http.MethodDelete, path: buildPath(app, id), variant: ".cancel-build", mayBeEmpty: true,
	})
	if err == nil && b.ID == "" {
		// The platform has been seen to answer with an empty body.
		return s.Get(ctx, app, id)
	}
	return b, err
}

// DeleteCache deletes what the app's earlier builds have cached, so that the
// next one starts from nothing.
//
// Endpoint: DELETE /apps/{app}/build-cache (schema: build, Delete cache); the
// answer is empty. Errors: [*ArgumentError], [*APIError], [*RequestError].
func (s BuildsService) DeleteCache(ctx context.Context, app string) error {
	if err := checkApp("app", app); err != nil {
		return err
	}
	_, err := s.client.call(ctx, apiCall{method: http.MethodDelete, path: apiPath("apps", app, "build-cache")}, nil)
	return err
}

// Wait looks at a build until its status is final and returns it if that is
// success. It does not wait for the release that the platform makes of it; see
// [ReleasesService.Wait].
//
// Errors: a [*BuildError] if the build failed; an error that matches
// [ErrUnknownStatus] for a status that this package does not know,
// [ErrWaitTimeout] after opts.Timeout, or the context's error; and those of
// [BuildsService.Get].
func (s BuildsService) Wait(ctx context.Context, app, id string, opts *WaitOptions[Build]) (*Build, error) {
	if s.client == nil {
		return nil, &ArgumentError{Name: "Client", Reason: errNoClient.Error()}
	}
	b, err := waitFinal(ctx, opts, s.client.poll,
		func(ctx context.Context) (*Build, error) { return s.Get(ctx, app, id) },
		func(b *Build) Status { return b.Status })
	if err == nil {
		err = buildOutcome(app, b)
	}
	if err != nil {
		return nil, err
	}
	return b, nil
}

// buildOutcome is the error of a final status that is not success.
func buildOutcome(app string, b *Build) error {
	if b.Status == StatusSucceeded {
		return nil
	}
	return &BuildError{App: app, Build: b}
}

// Output returns the output of a build from its start, live while the build
// runs. The context governs the whole of the stream; close it when done.
// Nothing is sent before the first read.
//
// The address is the build's OutputStreamURL, which is valid for 24 hours
// after the call that returned the build. The API key is not sent there.
// Errors: [*ArgumentError]; an error that matches [ErrNoOutput] for a build
// without an output stream.
func (s BuildsService) Output(ctx context.Context, build *Build, opts *StreamOptions) (*OutputStream, error) {
	if build == nil {
		return nil, &ArgumentError{Name: "build", Reason: "is nil"}
	}
	var get func(context.Context) (*Build, error)
	if app, id := build.App.ID, build.ID; checkAppAndID(app, "build", id) == nil {
		get = func(ctx context.Context) (*Build, error) { return s.Get(ctx, app, id) }
	}
	return s.follow(ctx, build, opts, get)
}

// follow is Output for callers that want to see what the stream is told when it
// asks for the build: by get, which is nil where there is nobody to ask.
func (s BuildsService) follow(ctx context.Context, build *Build, opts *StreamOptions, get func(context.Context) (*Build, error)) (*OutputStream, error) {
	var status func(context.Context) (streamStatus, error)
	if get != nil {
		status = func(ctx context.Context) (streamStatus, error) {
			b, err := get(ctx)
			if err != nil {
				return streamStatus{}, err
			}
			return streamStatus{url: b.OutputStreamURL, final: b.Status != StatusPending}, nil
		}
	}
	return openStream(ctx, s.client, streamStatus{url: build.OutputStreamURL, final: build.Status.Final()}, opts, status)
}
