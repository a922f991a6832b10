package platform

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"
)

const (
	statusPending   = "pending"
	statusSucceeded = "succeeded"
	statusFailed    = "failed"
	statusExpired   = "expired"
)

// release is guarded by Platform.mu.
type release struct {
	id          string
	appName     string // when the release was created
	version     int
	status      string
	description string
	created     time.Time
	updated     time.Time
	user        userView
	slug        *slug
	config      map[string]string
	output      *stream // nil without a release command
}

const imageArtifact = "oci-image"

type artifactView struct {
	Type string `json:"type"`
	ID   string `json:"id"`
}

type releaseView struct {
	AddonPlanNames      []string       `json:"addon_plan_names"`
	App                 namedRef       `json:"app"`
	Artifacts           []artifactView `json:"artifacts"`
	CreatedAt           string         `json:"created_at"`
	Current             bool           `json:"current"`
	Description         string         `json:"description"`
	EligibleForRollback bool           `json:"eligible_for_rollback"`
	ID                  string         `json:"id"`
	OutputStreamURL     *string        `json:"output_stream_url"`
	Slug                *ref           `json:"slug"`
	Status              string         `json:"status"`
	UpdatedAt           string         `json:"updated_at"`
	User                userView       `json:"user"`
	Version             int            `json:"version"`
}

// sdkReleaseView is a release in version 3.sdk of the API. The field is not in
// the public schema; Heroku's CLI reads it.
type sdkReleaseView struct {
	releaseView
	OCIImage *ref `json:"oci_image"` // null for a release without an image
}

// variant returns the view in the version of the API that a request accepts.
func (v releaseView) variant(r *http.Request) any {
	if version, _ := acceptedVersion(r); version != "3.sdk" {
		return v
	}
	sdk := sdkReleaseView{releaseView: v}
	for _, a := range v.Artifacts {
		if a.Type == imageArtifact {
			sdk.OCIImage = &ref{ID: a.ID}
		}
	}
	return sdk
}

// ReleaseInfo is a snapshot of a release.
type ReleaseInfo struct {
	ID          string
	Version     int
	Status      string // pending, succeeded, failed or expired
	Current     bool
	Description string
	SlugID      string // empty for a release without code; the image's ID for a Fir app
	OutputBytes int64  // printed by the release command so far
	CreatedAt   time.Time
	UpdatedAt   time.Time
}

// Releases returns the releases of an app, by name or ID, oldest first.
func (p *Platform) Releases(app string) []ReleaseInfo {
	p.mu.Lock()
	defer p.mu.Unlock()
	a := p.findApp(app)
	if a == nil {
		return nil
	}
	current := a.current()
	all := make([]ReleaseInfo, len(a.releases))
	for i, r := range a.releases {
		all[i] = ReleaseInfo{
			ID:          r.id,
			Version:     r.version,
			Status:      r.status,
			Current:     r == current,
			Description: r.description,
			CreatedAt:   r.created,
			UpdatedAt:   r.updated,
		}
		if r.slug != nil {
			all[i].SlugID = r.slug.id
		}
		if r.output != nil {
			_, all[i].OutputBytes, _, _ = r.output.state()
		}
	}
	return all
}

// Current returns the release that an app, by name or ID, runs: the newest one that
// succeeded. It returns false if there is none.
func (p *Platform) Current(app string) (ReleaseInfo, bool) {
	all := p.Releases(app)
	i := slices.IndexFunc(all, func(r ReleaseInfo) bool { return r.Current })
	if i < 0 {
		return ReleaseInfo{}, false
	}
	return all[i], true
}

// current returns the newest release that succeeded, or nil.
func (a *app) current() *release {
	for i := len(a.releases) - 1; i >= 0; i-- {
		if a.releases[i].status == statusSucceeded {
			return a.releases[i]
		}
	}
	return nil
}

// Expire expires a release and deletes its slug or image, as Heroku does with old
// ones. All other releases of the slug or image expire too. It fails if an app
// runs it.
func (p *Platform) Expire(app string, version int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	a := p.findApp(app)
	if a == nil || version < 1 || version > len(a.releases) {
		return fmt.Errorf("no release %d of %q", version, app)
	}
	s := a.releases[version-1].slug
	for _, a := range p.apps {
		if c := a.current(); c == nil || c.slug == s {
			return fmt.Errorf("%s runs the slug of release %d", a.name, version)
		}
	}
	now := time.Now()
	for _, a := range p.apps {
		for _, r := range a.releases {
			if r.slug == s {
				r.status, r.updated = statusExpired, now
			}
		}
	}
	if s != nil {
		s.deleted = now
		p.blobs.remove(slugKey(s.id))
	}
	return nil
}

// eligibleForRollback reports whether a release can be rolled back to. The
// current release is eligible too: clients roll back to the second eligible
// one.
func (r *release) eligibleForRollback() bool {
	return r.status == statusSucceeded && r.slug != nil
}

func (p *Platform) viewRelease(a *app, r *release) releaseView {
	v := releaseView{
		AddonPlanNames:      []string{},
		App:                 namedRef{ID: a.id, Name: a.name},
		Artifacts:           []artifactView{},
		CreatedAt:           formatTime(r.created),
		Current:             r == a.current(),
		Description:         r.description,
		EligibleForRollback: r.eligibleForRollback(),
		ID:                  r.id,
		Status:              r.status,
		UpdatedAt:           formatTime(r.updated),
		User:                r.user,
		Version:             r.version,
	}
	switch {
	case r.slug == nil:
	case r.slug.image:
		v.Artifacts = append(v.Artifacts, artifactView{Type: imageArtifact, ID: r.slug.id})
	default:
		v.Slug = &ref{ID: r.slug.id}
		v.Artifacts = append(v.Artifacts, artifactView{Type: "slug", ID: r.slug.id})
	}
	if r.output != nil {
		v.OutputStreamURL = optional(p.streamURL(a.id, r.id))
	}
	return v
}

// addRelease creates the next release of an app and starts its release command,
// if there is one. The caller must hold mu.
func (p *Platform) addRelease(a *app, s *slug, description string, user userView) *release {
	now := time.Now()
	r := &release{
		id:          newUUID(),
		appName:     a.name,
		version:     len(a.releases) + 1,
		status:      statusSucceeded,
		description: description,
		created:     now,
		updated:     now,
		user:        user,
		slug:        s,
		config:      maps.Clone(a.config),
	}
	a.releases = append(a.releases, r)
	a.updated = now
	if s == nil || s.processTypes["release"] == "" {
		return r
	}
	out, err := p.streams.open(r.id, p.opts.ReleaseStreamDelay)
	if err != nil {
		p.log.Error("cannot open release output", "release", r.id, "error", err)
		r.status = statusFailed
		return r
	}
	r.status, r.output = statusPending, out
	before, done := a.lastReleasePhase, make(chan struct{})
	a.lastReleasePhase = done
	p.tasks.Go(func() {
		defer close(done)
		wait(p.ctx, before)
		p.runReleasePhase(a, r)
	})
	return r
}

// wait waits until ch is closed or ctx ends. It returns immediately if ch is nil.
func wait(ctx context.Context, ch <-chan struct{}) {
	if ch == nil {
		return
	}
	select {
	case <-ch:
	case <-ctx.Done():
	}
}

func str(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func short(s string) string { return s[:min(8, len(s))] }

type releaseRequest struct {
	Slug        string `json:"slug"`
	OCIImage    string `json:"oci_image"`
	Release     string `json:"release"`
	Description string `json:"description"`
}

// createRelease serves two endpoints that differ only in the request body:
// releasing a slug or image, and rolling back.
func (p *Platform) createRelease(w http.ResponseWriter, r *http.Request) error {
	var body releaseRequest
	if _, err := withApp(p, r, func(*app) (any, error) { return nil, nil }); err != nil {
		return err
	}
	if err := decode(r, &body); err != nil {
		return err
	}
	given := 0
	for _, s := range []string{body.Slug, body.OCIImage, body.Release} {
		if s != "" {
			given++
		}
	}
	if given != 1 {
		return invalid("Exactly one of slug, oci_image and release is required.")
	}
	v, err := withApp(p, r, func(a *app) (releaseView, error) {
		if body.Release != "" {
			return p.rollback(a, body.Release)
		}
		s, err := p.findCode(a, body)
		if err != nil {
			return releaseView{}, err
		}
		if p.slugSize(s) == nil {
			return releaseView{}, invalid("Slug has not been uploaded.")
		}
		description := cmp.Or(body.Description, deployDescription(s, s.id))
		return p.viewRelease(a, p.addRelease(a, s, description, p.account)), nil
	})
	if err != nil {
		return err
	}
	return reply(w, r, http.StatusCreated, v.variant(r))
}

// findCode returns the slug or image to release.
func (p *Platform) findCode(a *app, body releaseRequest) (*slug, error) {
	fir := a.generation == p.fir
	switch {
	case body.Slug != "" && fir:
		return nil, invalid("Fir-generation apps are released with oci_image, not with slug.")
	case body.Slug != "":
		if s := p.slugs[body.Slug]; s != nil && !s.image {
			return s, nil
		}
		return nil, notFound("slug")
	case !fir:
		return nil, invalid("Only Fir-generation apps are released with oci_image.")
	}
	if s := p.findImage(body.OCIImage); s != nil {
		return s, nil
	}
	return nil, notFound("oci_image")
}

func deployDescription(s *slug, id string) string {
	if commit := str(s.commit); commit != "" {
		return "Deploy " + short(commit)
	}
	return "Deploy " + short(id)
}

// rollback creates a release with the code and config vars of an older one.
func (p *Platform) rollback(a *app, id string) (releaseView, error) {
	for _, old := range a.releases {
		if old.id != id {
			continue
		}
		if !old.eligibleForRollback() {
			return releaseView{}, invalid(fmt.Sprintf("Release v%d is not eligible for rollback.", old.version))
		}
		a.config = maps.Clone(old.config)
		return p.viewRelease(a, p.addRelease(a, old.slug, fmt.Sprintf("Rollback to v%d", old.version), p.account)), nil
	}
	return releaseView{}, notFound("release")
}

// findRelease returns the release with the given ID or version.
func (a *app) findRelease(idOrVersion string) (*release, error) {
	for _, r := range a.releases {
		if r.id == idOrVersion || strconv.Itoa(r.version) == idOrVersion {
			return r, nil
		}
	}
	return nil, notFound("release")
}

func (p *Platform) getRelease(w http.ResponseWriter, r *http.Request) error {
	v, err := withApp(p, r, func(a *app) (releaseView, error) {
		rel, err := a.findRelease(r.PathValue("release"))
		if err != nil {
			return releaseView{}, err
		}
		return p.viewRelease(a, rel), nil
	})
	if err != nil {
		return err
	}
	return reply(w, r, http.StatusOK, v.variant(r))
}

func (p *Platform) getReleaseConfigVars(w http.ResponseWriter, r *http.Request) error {
	v, err := withApp(p, r, func(a *app) (map[string]string, error) {
		rel, err := a.findRelease(r.PathValue("release"))
		if err != nil {
			return nil, err
		}
		return maps.Clone(rel.config), nil
	})
	if err != nil {
		return err
	}
	return reply(w, r, http.StatusOK, v)
}

func (p *Platform) listReleases(w http.ResponseWriter, r *http.Request) error {
	items, err := withApp(p, r, func(a *app) ([]listItem, error) {
		var items []listItem
		for _, rel := range a.releases {
			items = append(items, listItem{id: rel.id, keys: []string{versionKey(rel.version), rel.id, formatTime(rel.created)}, view: p.viewRelease(a, rel).variant(r)})
		}
		return items, nil
	})
	if err != nil {
		return err
	}
	return replyList(w, r, []listAttr{versionAttr("version"), textAttr("id"), timeAttr("created_at")}, items)
}
