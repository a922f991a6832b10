package platform

import (
	"crypto/sha256"
	"maps"
	"net/http"
	"slices"
)

// emptyLists are the lists of resources that the emulator does not have. Clients
// request them beside an app or to find out what belongs to it.
func (p *Platform) emptyLists() map[string]apiFunc {
	all := map[string]apiFunc{}
	for _, name := range []string{"addons", "addon-attachments", "domains", "dynos", "features", "log-drains", "sni-endpoints", "webhooks"} {
		all["GET /apps/{app}/"+name] = p.emptyListOfApp
	}
	for _, name := range []string{"addons", "addon-attachments", "pipelines", "pipeline-couplings", "spaces", "teams"} {
		all["GET /"+name] = emptyList
	}
	for _, name := range []string{"addons", "pipeline-couplings"} {
		all["GET /users/{user}/"+name] = p.ofUser(emptyList)
	}
	return all
}

func emptyList(w http.ResponseWriter, r *http.Request) error {
	return reply(w, r, http.StatusOK, []struct{}{})
}

func (p *Platform) emptyListOfApp(w http.ResponseWriter, r *http.Request) error {
	return replyOfApp(p, w, r, func(*app) ([]struct{}, error) { return []struct{}{}, nil })
}

// getPipelineCoupling serves a single resource in spite of its path. No app has
// one.
func (p *Platform) getPipelineCoupling(w http.ResponseWriter, r *http.Request) error {
	return replyOfApp(p, w, r, func(*app) (any, error) { return nil, notFound("pipeline_coupling") })
}

// replyOfApp sends a view of the app named in a request's path.
func replyOfApp[T any](p *Platform, w http.ResponseWriter, r *http.Request, view func(*app) (T, error)) error {
	v, err := withApp(p, r, view)
	if err != nil {
		return err
	}
	return reply(w, r, http.StatusOK, v)
}

// derivedUUID returns the ID of a resource that is not stored: the same for the
// same app, kind and name.
func derivedUUID(appID, kind, name string) string {
	sum := sha256.Sum256([]byte(appID + "/" + kind + "/" + name))
	return formatUUID([16]byte(sum[:16]))
}

type collaboratorView struct {
	App         namedRef         `json:"app"`
	CreatedAt   string           `json:"created_at"`
	ID          string           `json:"id"`
	Permissions []struct{}       `json:"permissions"`
	Role        string           `json:"role"`
	UpdatedAt   string           `json:"updated_at"`
	User        collaboratorUser `json:"user"`
}

type collaboratorUser struct {
	Email     string `json:"email"`
	Federated bool   `json:"federated"`
	ID        string `json:"id"`
}

// listCollaborators lists the owner, who is the only collaborator of any app.
func (p *Platform) listCollaborators(w http.ResponseWriter, r *http.Request) error {
	return replyOfApp(p, w, r, func(a *app) ([]collaboratorView, error) {
		return []collaboratorView{{
			App:         namedRef{ID: a.id, Name: a.name},
			CreatedAt:   formatTime(a.created),
			ID:          derivedUUID(a.id, "collaborator", p.account.ID),
			Permissions: []struct{}{},
			Role:        "owner",
			UpdatedAt:   formatTime(a.created),
			User:        collaboratorUser{Email: p.account.Email, ID: p.account.ID},
		}}, nil
	})
}

type formationView struct {
	App       namedRef `json:"app"`
	Command   string   `json:"command"`
	CreatedAt string   `json:"created_at"`
	DynoSize  namedRef `json:"dyno_size"`
	ID        string   `json:"id"`
	Quantity  int      `json:"quantity"`
	Size      string   `json:"size"`
	Type      string   `json:"type"`
	UpdatedAt string   `json:"updated_at"`
}

// listFormation lists the process types of the slug or image that the app runs.
// No dynos run in the emulator, so all quantities are zero.
func (p *Platform) listFormation(w http.ResponseWriter, r *http.Request) error {
	return replyOfApp(p, w, r, func(a *app) ([]formationView, error) {
		all := []formationView{}
		current := a.current()
		if current == nil || current.slug == nil {
			return all, nil
		}
		size := "Basic"
		if a.generation == p.fir {
			size = "dyno-1c-0.5gb"
		}
		for _, name := range slices.Sorted(maps.Keys(current.slug.processTypes)) {
			all = append(all, formationView{
				App:       namedRef{ID: a.id, Name: a.name},
				Command:   current.slug.processTypes[name],
				CreatedAt: formatTime(current.created),
				DynoSize:  namedRef{ID: derivedUUID("", "dyno-size", size), Name: size},
				ID:        derivedUUID(a.id, "formation", name),
				Size:      size,
				Type:      name,
				UpdatedAt: formatTime(current.updated),
			})
		}
		return all, nil
	})
}

type installationView struct {
	Buildpack buildpackView `json:"buildpack"`
	Ordinal   int           `json:"ordinal"`
}

// listInstallations lists the buildpacks of a Cedar app. Those of a Fir app are
// in its image.
func (p *Platform) listInstallations(w http.ResponseWriter, r *http.Request) error {
	return replyOfApp(p, w, r, func(a *app) ([]installationView, error) {
		all := []installationView{}
		if a.generation == p.fir {
			return all, nil
		}
		for i, b := range a.buildpacks {
			all = append(all, installationView{Buildpack: b, Ordinal: i})
		}
		return all, nil
	})
}
