package herokubuild

import (
	"context"
	"iter"
	"net/http"
	"time"

	"github.com/herokubuild/herokubuild/internal/check"
	"github.com/herokubuild/herokubuild/internal/clean"
)

// AppsService gets and lists apps.
type AppsService struct{ api *apiClient }

// ResourceRef names another resource by its ID and, where the API gives it, its name.
// The zero ResourceRef stands for null: a pending build has no slug yet, and its Slug
// is zero whether the API has null or {"id": null}.
type ResourceRef struct {
	ID   string `json:"id"`
	Name string `json:"name,omitzero"`
}

// User is an account.
type User struct {
	ID    string `json:"id"`
	Email string `json:"email"`
}

// App is an app, with the fields that concern builds and releases. Source: the
// schema's app.
type App struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	// Stack is what the app runs on, BuildStack what new builds are for.
	Stack      ResourceRef `json:"stack"`
	BuildStack ResourceRef `json:"build_stack"`
	// Generation has the name GenerationCedar or GenerationFir.
	Generation ResourceRef `json:"generation,omitzero"`
	Region     ResourceRef `json:"region,omitzero"`
	Space      ResourceRef `json:"space,omitzero"`
	Team       ResourceRef `json:"team,omitzero"`
	// BuildpackProvidedDescription is the description that the last build's
	// buildpack has given, such as "Go".
	BuildpackProvidedDescription string `json:"buildpack_provided_description,omitzero"`
	Maintenance                  bool   `json:"maintenance"`
	// SlugSize is the current slug's size in bytes, 0 if there is none.
	SlugSize  int64     `json:"slug_size,omitzero"`
	WebURL    string    `json:"web_url,omitzero"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
	// ReleasedAt is zero until the first release.
	ReleasedAt time.Time `json:"released_at,omitzero"`
}

// Get returns the app with this name or ID.
//
// Endpoint: GET /apps/{app} (schema: app, Info). Errors: [*ArgumentError],
// [*APIError] (matching [ErrNotFound] for an app that does not exist or that
// the credential may not see), [*RequestError], [*ResponseError].
func (s AppsService) Get(ctx context.Context, app string, requestOpts ...RequestOption) (*App, error) {
	return getApp(ctx, s.api, app, requestOpts...)
}

// getApp is Get for the other services.
func getApp(ctx context.Context, c *apiClient, app string, requestOpts ...RequestOption) (*App, error) {
	if err := checkApp("app", app); err != nil {
		return nil, err
	}
	return fetch[App](ctx, c, apiCall{method: http.MethodGet, path: apiPath("apps", app)}, requestOpts...)
}

// List iterates over the apps that the credential may see, page by page as needed. An
// error ends the iteration; it comes with a nil app.
//
// Endpoint: GET /apps (schema: app, List; sortable by id, name and updated_at).
// Errors: [*ArgumentError], [*APIError], [*RequestError], [*ResponseError].
func (s AppsService) List(ctx context.Context, opts *ListOptions, requestOpts ...RequestOption) iter.Seq2[*App, error] {
	return list[App](ctx, s.api, apiPath("apps"), opts, requestOpts...)
}

// ListPage returns one page of the apps that the credential may see and the cursor of
// the next. See [AppsService.List], which needs no cursor.
//
// Endpoint and errors: those of [AppsService.List].
func (s AppsService) ListPage(ctx context.Context, opts *ListOptions, requestOpts ...RequestOption) (*Page[App], error) {
	return listPage[App](ctx, s.api, apiPath("apps"), opts, requestOpts...)
}

// ListForTeam iterates over the apps of a team, named by its name or ID, like
// [AppsService.List].
//
// Endpoint: GET /teams/{team}/apps (schema: team-app, List By Team). Errors: as
// [AppsService.List].
func (s AppsService) ListForTeam(ctx context.Context, team string, opts *ListOptions, requestOpts ...RequestOption) iter.Seq2[*App, error] {
	if err := invalid("team", check.Team(team)); err != nil {
		return failed[App](err)
	}
	return list[App](ctx, s.api, apiPath("teams", team, "apps"), opts, requestOpts...)
}

// The generations of apps: the names of [App].Generation, and the values of
// [Build].Generation.
const (
	// GenerationCedar is that of apps that run slugs.
	GenerationCedar = "cedar"
	// GenerationFir is that of apps that run OCI images.
	GenerationFir = "fir"
)

// IsFir reports whether the app is of the Fir generation. Builds of Fir apps produce
// OCI images and not slugs, and do not accept buildpacks.
func (a *App) IsFir() bool { return a.Generation.Name == GenerationFir }

// GenerationError reports a request that an app's generation does not support: a slug
// or buildpacks for a Fir app, an image for a Cedar app. It matches [ErrUnsupportedGeneration].
// Nothing was changed.
type GenerationError struct {
	// App is the app, as the caller named it.
	App string
	// Generation is the app's.
	Generation string
	// Reason is what the app does not support.
	Reason string
}

// Error implements error.
func (e *GenerationError) Error() string {
	return clean.Line(e.App + " is a " + clip(e.Generation, maxHeaderText) + " app: " + e.Reason)
}

// Is matches ErrUnsupportedGeneration.
func (e *GenerationError) Is(target error) bool { return target == ErrUnsupportedGeneration }

func (a *App) validate() error { return check.RequiredID("id", a.ID) }
