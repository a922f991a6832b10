package herokubuild

import (
	"context"
	"iter"
	"net/http"
	"regexp"
	"time"
)

// AppsService looks up apps.
type AppsService struct{ client *Client }

// Ref names another resource by its id and, where the API gives it, its name.
// The zero Ref stands for null: a pending build has no slug yet, and its Slug
// is the zero Ref whether the platform said null or {"id": null}.
type ResourceRef struct {
	ID   string `json:"id"`
	Name string `json:"name,omitzero"`
}

// User is the account that did something.
type User struct {
	ID    string `json:"id"`
	Email string `json:"email"`
}

// App is what this package needs to know of an app. Source: the schema's app;
// the fields that have to do neither with builds nor with releases are left
// out.
type App struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	// Stack is what the app runs on, BuildStack what new builds are for.
	Stack      ResourceRef `json:"stack"`
	BuildStack ResourceRef `json:"build_stack"`
	// Generation is "cedar" (slugs) or "fir" (OCI images).
	Generation ResourceRef `json:"generation,omitzero"`
	Region     ResourceRef `json:"region,omitzero"`
	Space      ResourceRef `json:"space,omitzero"`
	Team       ResourceRef `json:"team,omitzero"`
	// BuildpackProvidedDescription is what the last build's buildpack called
	// itself, such as "Go".
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

// Get returns the app with this name or id.
//
// Endpoint: GET /apps/{app} (schema: app, Info). Errors: [*ArgumentError],
// [*APIError] (matching [ErrNotFound] for an app that does not exist or that
// the credential may not see), [*RequestError], [*ResponseError].
func (s AppsService) Get(ctx context.Context, app string) (*App, error) {
	if err := checkApp("app", app); err != nil {
		return nil, err
	}
	return fetch[App](ctx, s.client, apiCall{method: http.MethodGet, path: apiPath("apps", app)})
}

// List iterates over the apps that the credential may see, page by page as needed. An
// error ends the iteration; it comes with a nil app.
//
// Endpoint: GET /apps (schema: app, List; sortable by id, name and updated_at).
// Errors: [*ArgumentError], [*APIError], [*RequestError], [*ResponseError].
func (s AppsService) List(ctx context.Context, opts *ListOptions) iter.Seq2[*App, error] {
	return list[App](ctx, s.client, apiPath("apps"), opts)
}

// ListPage returns one page of the apps that the credential may see and the cursor of
// the next. See [AppsService.List], which needs no cursor.
func (s AppsService) ListPage(ctx context.Context, opts *ListOptions) (*Page[App], error) {
	return listPage[App](ctx, s.client, apiPath("apps"), opts)
}

// ListForTeam iterates over the apps of a team, named by its name or id, like
// [AppsService.List].
//
// Endpoint: GET /teams/{team}/apps (schema: team-app, List By Team). Errors: as
// [AppsService.List].
func (s AppsService) ListForTeam(ctx context.Context, team string, opts *ListOptions) iter.Seq2[*App, error] {
	if !teamRE.MatchString(team) {
		return failed[App](&ArgumentError{Name: "team", Reason: quote(team) + " is neither a team's name nor its id"})
	}
	return list[App](ctx, s.client, apiPath("teams", team, "apps"), opts)
}

var teamRE = regexp.MustCompile(`^\w[-.\w]{0,127}$`)
