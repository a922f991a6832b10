package platform

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

const defaultStack = "heroku-24"

// app is guarded by Platform.mu, including its builds and releases.
type app struct {
	id, name         string
	generation       namedRef
	created, updated time.Time
	config           map[string]string
	cacheDir         string
	cacheInUse       bool
	buildpacks       []buildpackView // detected by the last successful build
	site             *origin         // nil before the first Serve
	handler          http.Handler

	builds           []*build
	lastBuild        <-chan struct{} // closed when the next build may start
	releases         []*release
	lastReleasePhase <-chan struct{} // likewise for release commands
}

type ref struct {
	ID string `json:"id"`
}

type namedRef struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

type userView struct {
	Email string `json:"email"`
	ID    string `json:"id"`
}

type stackView struct {
	CreatedAt string `json:"created_at"`
	Default   bool   `json:"default"`
	ID        string `json:"id"`
	Name      string `json:"name"`
	State     string `json:"state"`
	UpdatedAt string `json:"updated_at"`
}

type appView struct {
	ACM                          bool     `json:"acm"`
	ArchivedAt                   *string  `json:"archived_at"`
	BuildpackProvidedDescription *string  `json:"buildpack_provided_description"`
	BuildStack                   namedRef `json:"build_stack"`
	CreatedAt                    string   `json:"created_at"`
	Generation                   namedRef `json:"generation"`
	GitURL                       string   `json:"git_url"`
	ID                           string   `json:"id"`
	InternalRouting              *bool    `json:"internal_routing"`
	Maintenance                  bool     `json:"maintenance"`
	Name                         string   `json:"name"`
	Organization                 *ref     `json:"organization"`
	Owner                        userView `json:"owner"`
	Region                       namedRef `json:"region"`
	ReleasedAt                   *string  `json:"released_at"`
	RepoSize                     *int64   `json:"repo_size"`
	SlugSize                     *int64   `json:"slug_size"`
	Space                        *ref     `json:"space"`
	Stack                        namedRef `json:"stack"`
	Team                         *ref     `json:"team"`
	UpdatedAt                    string   `json:"updated_at"`
	WebURL                       string   `json:"web_url"`
}

type accountView struct {
	AllowTracking           bool    `json:"allow_tracking"`
	Beta                    bool    `json:"beta"`
	CountryOfResidence      *string `json:"country_of_residence"`
	CreatedAt               string  `json:"created_at"`
	DefaultOrganization     *ref    `json:"default_organization"`
	DefaultTeam             *ref    `json:"default_team"`
	DelinquentAt            *string `json:"delinquent_at"`
	Email                   string  `json:"email"`
	Federated               bool    `json:"federated"`
	ID                      string  `json:"id"`
	IdentityProvider        *ref    `json:"identity_provider"`
	LastLogin               *string `json:"last_login"`
	Name                    *string `json:"name"`
	SMSNumber               *string `json:"sms_number"`
	SuspendedAt             *string `json:"suspended_at"`
	TwoFactorAuthentication bool    `json:"two_factor_authentication"`
	UpdatedAt               string  `json:"updated_at"`
	Verified                bool    `json:"verified"`
}

func newStacks(now time.Time) []stackView {
	var all []stackView
	for _, name := range []string{"heroku-22", defaultStack} {
		all = append(all, stackView{CreatedAt: formatTime(now), Default: name == defaultStack, ID: newUUID(), Name: name, State: "public", UpdatedAt: formatTime(now)})
	}
	return all
}

// findStack returns the stack with the given name or ID.
func (p *Platform) findStack(nameOrID string) (namedRef, bool) {
	for _, s := range p.stacks {
		if s.Name == nameOrID || s.ID == nameOrID {
			return namedRef{ID: s.ID, Name: s.Name}, true
		}
	}
	return namedRef{}, false
}

// appStack returns the stack of all apps.
func (p *Platform) appStack() namedRef {
	s, _ := p.findStack(defaultStack)
	return s
}

func validAppName(name string) bool {
	return regexp.MustCompile(`^[a-z][a-z0-9-]{1,28}[a-z0-9]$`).MatchString(name)
}

func checkAppName(name string) error {
	if !validAppName(name) {
		return fmt.Errorf("%q is not a valid app name: it must have 3 to 30 lower-case letters, digits and dashes, begin with a letter and not end with a dash", name)
	}
	return nil
}

func validVarName(name string) bool {
	return regexp.MustCompile(`^\w+$`).MatchString(name)
}

// findApp returns the app with the given name or ID. The caller must hold mu.
func (p *Platform) findApp(nameOrID string) *app {
	for _, a := range p.apps {
		if a.name == nameOrID || a.id == nameOrID {
			return a
		}
	}
	return nil
}

// requestedApp returns the app named in a request's path. The caller must hold
// mu.
func (p *Platform) requestedApp(r *http.Request) (*app, error) {
	if a := p.findApp(r.PathValue("app")); a != nil {
		return a, nil
	}
	return nil, notFound("app")
}

// withApp calls view with the app named in a request's path, under the lock.
func withApp[T any](p *Platform, r *http.Request, view func(*app) (T, error)) (T, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	a, err := p.requestedApp(r)
	if err != nil {
		var none T
		return none, err
	}
	return view(a)
}

func (p *Platform) viewApp(a *app) appView {
	v := appView{
		BuildStack: p.appStack(),
		CreatedAt:  formatTime(a.created),
		Generation: a.generation,
		GitURL:     "https://git.heroku.com/" + a.name + ".git",
		ID:         a.id,
		Name:       a.name,
		Owner:      p.account,
		Region:     p.region,
		Stack:      p.appStack(),
		UpdatedAt:  formatTime(a.updated),
		WebURL:     p.webURL(a),
	}
	if r := a.current(); r != nil {
		v.ReleasedAt = optional(formatTime(r.created))
		if r.slug != nil && !r.slug.image {
			v.BuildpackProvidedDescription = r.slug.buildpack
			v.SlugSize = p.slugSize(r.slug)
		}
	}
	return v
}

func (p *Platform) getApp(w http.ResponseWriter, r *http.Request) error {
	v, err := withApp(p, r, func(a *app) (appView, error) { return p.viewApp(a), nil })
	if err != nil {
		return err
	}
	return reply(w, r, http.StatusOK, v)
}

func (p *Platform) listApps(w http.ResponseWriter, r *http.Request) error {
	p.mu.Lock()
	var items []listItem
	for _, a := range p.apps {
		items = append(items, listItem{id: a.id, keys: []string{a.id, a.name, formatTime(a.updated)}, view: p.viewApp(a)})
	}
	p.mu.Unlock()
	return replyList(w, r, []listAttr{textAttr("id"), textAttr("name"), timeAttr("updated_at")}, items)
}

func (p *Platform) getConfigVars(w http.ResponseWriter, r *http.Request) error {
	v, err := withApp(p, r, func(a *app) (map[string]string, error) { return maps.Clone(a.config), nil })
	if err != nil {
		return err
	}
	return reply(w, r, http.StatusOK, v)
}

// patchConfigVars creates a release if it changes a config var, as Heroku does.
func (p *Platform) patchConfigVars(w http.ResponseWriter, r *http.Request) error {
	var body map[string]*string
	if _, err := withApp(p, r, func(*app) (any, error) { return nil, nil }); err != nil {
		return err
	}
	if err := decode(r, &body); err != nil {
		return err
	}
	for k := range body {
		if !validVarName(k) {
			return invalid("Config var names must match ^\\w+$.")
		}
	}
	v, err := withApp(p, r, func(a *app) (map[string]string, error) {
		var set, removed []string
		for _, k := range slices.Sorted(maps.Keys(body)) {
			old, had := a.config[k]
			switch value := body[k]; {
			case value == nil && had:
				delete(a.config, k)
				removed = append(removed, k)
			case value != nil && (!had || old != *value):
				a.config[k] = *value
				set = append(set, k)
			}
		}
		var changes []string
		if len(set) > 0 {
			changes = append(changes, "Set "+strings.Join(set, ", ")+" config vars")
		}
		if len(removed) > 0 {
			changes = append(changes, "Remove "+strings.Join(removed, ", ")+" config vars")
		}
		if len(changes) > 0 {
			var s *slug
			if c := a.current(); c != nil {
				s = c.slug
			}
			p.addRelease(a, s, strings.Join(changes, ", "), p.account)
		}
		return maps.Clone(a.config), nil
	})
	if err != nil {
		return err
	}
	return reply(w, r, http.StatusOK, v)
}

func (p *Platform) getAccount(w http.ResponseWriter, r *http.Request) error {
	return reply(w, r, http.StatusOK, accountView{
		CreatedAt: formatTime(p.started),
		Email:     p.account.Email,
		ID:        p.account.ID,
		LastLogin: optional(formatTime(p.started)),
		UpdatedAt: formatTime(p.started),
		Verified:  true,
	})
}

func (p *Platform) getRateLimits(w http.ResponseWriter, r *http.Request) error {
	return reply(w, r, http.StatusOK, struct {
		Remaining int `json:"remaining"`
	}{p.limiter.remaining()})
}

func (p *Platform) listStacks(w http.ResponseWriter, r *http.Request) error {
	return reply(w, r, http.StatusOK, p.stacks)
}

func (p *Platform) getStack(w http.ResponseWriter, r *http.Request) error {
	for _, s := range p.stacks {
		if id := r.PathValue("stack"); s.Name == id || s.ID == id {
			return reply(w, r, http.StatusOK, s)
		}
	}
	return notFound("stack")
}

func (p *Platform) newCacheDir() string { return filepath.Join(p.dir, "cache", newUUID()) }

// deleteBuildCache responds as Heroku does: with status 202, a JSON content type
// and no body. A running build keeps using its cache, which is removed when the
// build ends.
func (p *Platform) deleteBuildCache(w http.ResponseWriter, r *http.Request) error {
	old, err := withApp(p, r, func(a *app) (string, error) {
		old := a.cacheDir
		a.cacheDir = p.newCacheDir()
		if a.cacheInUse {
			old = ""
		}
		return old, nil
	})
	if err != nil {
		return err
	}
	if old != "" {
		if err := removeTree(old); err != nil {
			return err
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// useCache returns the cache directory of an app for use by a build, which must
// call done when it ends.
func (p *Platform) useCache(a *app) (dir string, done func(), err error) {
	p.mu.Lock()
	dir, a.cacheInUse = a.cacheDir, true
	p.mu.Unlock()
	done = func() {
		p.mu.Lock()
		a.cacheInUse = false
		dropped := a.cacheDir != dir
		p.mu.Unlock()
		if dropped {
			p.discard(dir)
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // buildpacks use the directory, as on Heroku
		done()
		return "", nil, err
	}
	return dir, done, nil
}
