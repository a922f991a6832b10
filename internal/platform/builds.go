package platform

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// maxSlug is the maximum size of a compressed slug.
const maxSlug = 1 << 30

// build is guarded by Platform.mu.
type build struct {
	id         string
	app        *app
	appName    string // at the time of the request
	status     string
	decided    bool // the outcome is final, even if the status is still pending
	created    time.Time
	updated    time.Time
	user       userView
	source     sourceBlob
	buildpacks []buildpackView // of the request
	detected   []buildpackView // without any in the request
	stack      namedRef
	slug       *slug
	release    *release
	output     *stream
	cancel     context.CancelCauseFunc
}

type sourceBlob struct {
	Checksum           *string `json:"checksum"`
	URL                string  `json:"url"`
	Version            *string `json:"version"`
	VersionDescription *string `json:"version_description"`
}

type buildView struct {
	App             ref             `json:"app"`
	Buildpacks      []buildpackView `json:"buildpacks"`
	CreatedAt       string          `json:"created_at"`
	Generation      string          `json:"generation"`
	ID              string          `json:"id"`
	OutputStreamURL string          `json:"output_stream_url"`
	Release         *ref            `json:"release"`
	Slug            *ref            `json:"slug"`
	SourceBlob      sourceBlob      `json:"source_blob"`
	Stack           string          `json:"stack"`
	Status          string          `json:"status"`
	UpdatedAt       string          `json:"updated_at"`
	User            userView        `json:"user"`
}

// BuildInfo is a snapshot of a build.
type BuildInfo struct {
	ID            string
	Status        string // pending, succeeded or failed
	SourceURL     string
	SourceVersion string
	Checksum      string // of the source, from the request
	SlugID        string // empty unless succeeded; the image's ID for a Fir app
	ReleaseID     string // likewise
	OutputBytes   int64  // printed so far
	CreatedAt     time.Time
	UpdatedAt     time.Time
}

// Builds returns the builds of an app, by name or ID, oldest first.
func (p *Platform) Builds(app string) []BuildInfo {
	p.mu.Lock()
	defer p.mu.Unlock()
	a := p.findApp(app)
	if a == nil {
		return nil
	}
	all := make([]BuildInfo, len(a.builds))
	for i, b := range a.builds {
		all[i] = BuildInfo{
			ID:            b.id,
			Status:        b.status,
			SourceURL:     b.source.URL,
			SourceVersion: str(b.source.Version),
			Checksum:      str(b.source.Checksum),
			CreatedAt:     b.created,
			UpdatedAt:     b.updated,
		}
		if b.status == statusSucceeded {
			all[i].SlugID, all[i].ReleaseID = b.slug.id, b.release.id
		}
		_, all[i].OutputBytes, _, _ = b.output.state()
	}
	return all
}

func (p *Platform) viewBuild(b *build) buildView {
	v := buildView{
		App:             ref{ID: b.app.id},
		Buildpacks:      b.viewBuildpacks(),
		CreatedAt:       formatTime(b.created),
		Generation:      b.app.generation.Name,
		ID:              b.id,
		OutputStreamURL: p.streamURL(b.app.id, b.id),
		SourceBlob:      b.source,
		Stack:           b.stack.Name,
		Status:          b.status,
		UpdatedAt:       formatTime(b.updated),
		User:            b.user,
	}
	if b.status == statusSucceeded {
		v.Release = &ref{ID: b.release.id}
		if !b.slug.image {
			v.Slug = &ref{ID: b.slug.id}
		}
	}
	return v
}

// buildRequest is the body of a request. The texts that are pointers are returned
// as they were sent; an empty one has no effect.
type buildRequest struct {
	SourceBlob *struct {
		URL                string  `json:"url"`
		Checksum           *string `json:"checksum"`
		Version            *string `json:"version"`
		VersionDescription *string `json:"version_description"`
	} `json:"source_blob"`
	Buildpacks []struct {
		URL  string `json:"url"`
		Name string `json:"name"`
	} `json:"buildpacks"`
}

func (body *buildRequest) check() error {
	if body.SourceBlob == nil || body.SourceBlob.URL == "" {
		return invalid("source_blob:url is required.")
	}
	u, err := url.Parse(body.SourceBlob.URL)
	if err != nil || u.Host == "" {
		return invalid("source_blob:url is not a valid URL.")
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())) {
		return invalid("https is required for source_blob:url")
	}
	for _, bp := range body.Buildpacks {
		if bp.URL == "" && bp.Name == "" {
			return invalid("buildpacks must have a url or a name.")
		}
	}
	return nil
}

func (body *buildRequest) buildpacks() []buildpackView {
	var all []buildpackView
	for _, bp := range body.Buildpacks {
		all = append(all, newBuildpack(bp.URL, bp.Name))
	}
	return all
}

func (p *Platform) createBuild(w http.ResponseWriter, r *http.Request) error {
	var body buildRequest
	if _, err := withApp(p, r, func(*app) (any, error) { return nil, nil }); err != nil {
		return err
	}
	if err := decode(r, &body); err != nil {
		return err
	}
	if err := body.check(); err != nil {
		return err
	}
	v, err := withApp(p, r, func(a *app) (buildView, error) {
		if len(body.Buildpacks) > 0 && a.generation == p.fir {
			return buildView{}, invalid("Buildpacks cannot be set for builds of Fir-generation apps.")
		}
		id, now := newUUID(), time.Now()
		out, err := p.streams.open(id, 0)
		if err != nil {
			return buildView{}, err
		}
		b := &build{
			id:      id,
			app:     a,
			appName: a.name,
			status:  statusPending,
			created: now,
			updated: now,
			user:    p.account,
			source: sourceBlob{
				Checksum:           body.SourceBlob.Checksum,
				URL:                body.SourceBlob.URL,
				Version:            body.SourceBlob.Version,
				VersionDescription: body.SourceBlob.VersionDescription,
			},
			buildpacks: body.buildpacks(),
			stack:      p.appStack(),
			output:     out,
		}
		var ctx context.Context
		ctx, b.cancel = context.WithCancelCause(p.ctx) // a build outlives the request for it
		a.builds = append(a.builds, b)
		before, done := a.lastBuild, make(chan struct{})
		a.lastBuild = done
		p.tasks.Go(func() {
			defer close(done)
			defer wait(p.ctx, before) //nolint:contextcheck // a build canceled in the queue must not let later ones overtake
			p.runBuild(ctx, b, before)
		})
		return p.viewBuild(b), nil
	})
	if err != nil {
		return err
	}
	return reply(w, r, http.StatusCreated, v)
}

func (p *Platform) findBuild(a *app, id string) (*build, error) {
	i := slices.IndexFunc(a.builds, func(b *build) bool { return b.id == id })
	if i < 0 {
		return nil, notFound("build")
	}
	return a.builds[i], nil
}

func (p *Platform) getBuild(w http.ResponseWriter, r *http.Request) error {
	v, err := withApp(p, r, func(a *app) (buildView, error) {
		b, err := p.findBuild(a, r.PathValue("build"))
		if err != nil {
			return buildView{}, err
		}
		return p.viewBuild(b), nil
	})
	if err != nil {
		return err
	}
	return reply(w, r, http.StatusOK, v)
}

func (p *Platform) listBuilds(w http.ResponseWriter, r *http.Request) error {
	items, err := withApp(p, r, func(a *app) ([]listItem, error) {
		var items []listItem
		for _, b := range a.builds {
			at := formatTime(b.created)
			items = append(items, listItem{id: b.id, keys: []string{b.id, at, at}, view: p.viewBuild(b)})
		}
		return items, nil
	})
	if err != nil {
		return err
	}
	return replyList(w, r, []listAttr{textAttr("id"), timeAttr("created_at"), timeAttr("started_at")}, items)
}

// cancelBuild sets a build to failed immediately; its processes are killed
// shortly afterwards.
func (p *Platform) cancelBuild(w http.ResponseWriter, r *http.Request) error {
	v, err := withApp(p, r, func(a *app) (buildView, error) {
		b, err := p.findBuild(a, r.PathValue("build"))
		if err != nil {
			return buildView{}, err
		}
		if b.status != statusPending || b.decided {
			return buildView{}, invalid("Build is not pending.")
		}
		b.status, b.decided, b.updated = statusFailed, true, time.Now()
		b.cancel(errCanceled)
		return p.viewBuild(b), nil
	})
	if err != nil {
		return err
	}
	return reply(w, r, http.StatusOK, v)
}

// runBuild runs a build when its turn comes and sets its final status.
func (p *Platform) runBuild(ctx context.Context, b *build, before <-chan struct{}) {
	// The cleanup is deferred because a Builder may end the goroutine with
	// runtime.Goexit, as a failing test does.
	defer func() {
		b.output.finish()
		p.pause(p.opts.StatusLag)
		p.mu.Lock()
		defer p.mu.Unlock()
		if b.status == statusPending {
			b.status = statusFailed
			if b.release != nil {
				b.status = statusSucceeded
			}
			b.updated = time.Now()
		}
		b.decided = true
		b.cancel(nil)
		p.log.Info("build finished", "app", b.app.name, "build", b.id, "status", b.status)
	}()

	wait(ctx, before)
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-ctx.Done():
	}
	timed, cancel := context.WithTimeoutCause(ctx, p.opts.BuildTimeout, errTimeout)
	defer cancel()
	err := timed.Err()
	if err == nil {
		err = p.buildAndRelease(timed, b)
	}
	switch cause := context.Cause(timed); {
	case err == nil:
	case errors.Is(cause, errCanceled):
		b.output.printf("\n !     Build canceled by %s\n", b.user.Email)
	case errors.Is(cause, errTimeout):
		b.output.printf("\n !     Build exceeded the limit of %s\n\n !     Push failed\n", p.opts.BuildTimeout)
	case errors.Is(cause, errClosed):
		b.output.printf("\n !     Build interrupted\n\n !     Push failed\n")
	default:
		b.output.printf(" !     %s\n\n !     Push failed\n", err)
	}
}

// buildAndRelease runs all steps of a build, from the download to the release.
// The text of its error is printed to the output.
func (p *Platform) buildAndRelease(ctx context.Context, b *build) error {
	dir, err := os.MkdirTemp(filepath.Join(p.dir, "work"), "build-")
	if err != nil {
		return err
	}
	defer p.discard(dir)
	j := &Job{
		AppName:                  b.appName,
		AppID:                    b.app.id,
		BuildID:                  b.id,
		Stack:                    b.stack.Name,
		BuildDir:                 filepath.Join(dir, "build"),
		EnvDir:                   filepath.Join(dir, "env"),
		Output:                   b.output,
		SourceVersion:            str(b.source.Version),
		SourceVersionDescription: str(b.source.VersionDescription),
		ProcessTypes:             map[string]string{},
		home:                     filepath.Join(dir, "home"),
		tmp:                      filepath.Join(dir, "tmp"),
	}
	for _, bp := range b.buildpacks {
		j.Buildpacks = append(j.Buildpacks, bp.Name)
	}
	cache, release, err := p.useCache(b.app)
	if err != nil {
		return err
	}
	defer release()
	j.CacheDir = cache
	for _, d := range []string{j.EnvDir, j.home, j.tmp} {
		if err := os.Mkdir(d, 0o700); err != nil {
			return err
		}
	}
	p.mu.Lock()
	vars := maps.Clone(b.app.config)
	p.mu.Unlock()
	if err := writeFiles(j.EnvDir, vars); err != nil {
		return err
	}

	if err := p.getSource(ctx, b, dir, j.BuildDir); err != nil {
		return err
	}
	j.printf("-----> Building on the %s stack\n", stackTitle(j.Stack))
	err = p.opts.Builder.Build(ctx, j)
	p.noteDetected(b, j)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := readProcfile(j); err != nil {
		return err
	}
	s, err := p.storeSlug(ctx, b, j)
	if err != nil {
		return err
	}
	return p.launch(b, s) //nolint:contextcheck // a release command outlives the build
}

func stackTitle(name string) string { return strings.ToUpper(name[:1]) + name[1:] }

// getSource downloads, verifies and unpacks the source of a build.
func (p *Platform) getSource(ctx context.Context, b *build, dir, into string) error {
	archive := filepath.Join(dir, "source")
	sum, err := fetch(ctx, p.fetcher, b.source.URL, archive, p.opts.MaxSourceBytes)
	if err != nil {
		return fmt.Errorf("Unable to fetch the source: %w", err) //nolint:staticcheck // a line of the output
	}
	if want := str(b.source.Checksum); want != "" && !strings.EqualFold(want, "SHA256:"+sum) {
		return fmt.Errorf("Checksum mismatch: the source is SHA256:%s, not %s", sum, want) //nolint:staticcheck // a line of the output
	}
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	tree := filepath.Join(dir, "tree")
	if err := os.Mkdir(tree, 0o700); err != nil {
		return errors.Join(err, f.Close())
	}
	rooted, err := unpack(ctx, f, tree, p.unpackLimits())
	err = errors.Join(err, f.Close())
	if err == nil {
		err = place(tree, into, rooted)
	}
	if err != nil {
		return fmt.Errorf("Unable to unpack the source: %w", err) //nolint:staticcheck // a line of the output
	}
	return os.Remove(archive)
}

// readProcfile adds the process types of the Procfile to those that the Builder
// has set.
func readProcfile(j *Job) error {
	found, err := parseProcfile(j.BuildDir)
	if err != nil {
		return fmt.Errorf("Unable to read the Procfile: %w", err) //nolint:staticcheck // a line of the output
	}
	defaults := slices.DeleteFunc(slices.Sorted(maps.Keys(j.ProcessTypes)), func(name string) bool { return found[name] != "" })
	declared := "(none)"
	if len(found) > 0 {
		declared = strings.Join(slices.Sorted(maps.Keys(found)), ", ")
	}
	j.printf("-----> Discovering process types\n       Procfile declares types -> %s\n", declared)
	if len(defaults) > 0 {
		j.printf("       Default types for buildpack -> %s\n", strings.Join(defaults, ", "))
	}
	if j.ProcessTypes == nil {
		j.ProcessTypes = map[string]string{}
	}
	maps.Copy(j.ProcessTypes, found)
	return nil
}

func parseProcfile(dir string) (map[string]string, error) {
	found := map[string]string{}
	if !regular(filepath.Join(dir, "Procfile")) {
		return found, nil
	}
	f, err := os.OpenInRoot(dir, "Procfile")
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	line := regexp.MustCompile(`^\s*([A-Za-z0-9_-]{1,128}):\s*(.+)$`)
	sc := bufio.NewScanner(io.LimitReader(f, 1<<20))
	for sc.Scan() {
		if m := line.FindStringSubmatch(strings.TrimRight(sc.Text(), " \t\r")); m != nil {
			found[m[1]] = m[2]
		}
	}
	return found, sc.Err()
}

// storeSlug packs the result of a build and stores it in the blob store.
func (p *Platform) storeSlug(ctx context.Context, b *build, j *Job) (*slug, error) {
	j.printf("\n-----> Compressing...\n")
	id := newUUID()
	o, err := p.blobs.put(slugKey(id), func(w io.Writer) error { return pack(ctx, p.zips, j.BuildDir, w) })
	if err != nil {
		return nil, err
	}
	if o.size > maxSlug {
		return nil, fmt.Errorf("Compiled slug size: %s is too large (max is 1G).", megabytes(o.size)) //nolint:staticcheck // a line of the output
	}
	j.printf("       Done: %s\n", megabytes(o.size))
	checksum := "SHA256:" + o.sha256
	return &slug{
		id:                id,
		image:             b.app.generation == p.fir,
		created:           time.Now(),
		stack:             b.stack,
		processTypes:      maps.Clone(j.ProcessTypes),
		commit:            b.source.Version,
		commitDescription: b.source.VersionDescription,
		checksum:          &checksum,
		buildpack:         optional(j.BuildpackDescription),
		buildpacks:        slices.Clone(j.Buildpacks),
	}, nil
}

func megabytes(n int64) string {
	if n < 1<<20 {
		return fmt.Sprintf("%.1fK", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%.1fM", float64(n)/(1<<20))
}

// launch releases the slug, unless the build was canceled in the meantime.
func (p *Platform) launch(b *build, s *slug) error {
	p.mu.Lock()
	if b.decided {
		p.mu.Unlock()
		return errCanceled
	}
	p.slugs[s.id] = s
	b.decided, b.slug = true, s
	b.install()
	b.release = p.addRelease(b.app, s, deployDescription(s, b.id), b.user)
	version, pending, web := b.release.version, b.release.status == statusPending, p.webURL(b.app)
	p.mu.Unlock()

	b.output.printf("-----> Launching...\n")
	if pending {
		b.output.printf(" !     Release command declared: this new release will not be available until the command succeeds.\n")
	}
	b.output.printf("       Released v%d\n       %s deployed to Heroku\n", version, web)
	return nil
}

// fetcherAgent distinguishes the platform's own downloads from those of clients.
const fetcherAgent = "platform-fetcher/1.0"

func newFetcher(t *http.Transport) *http.Client {
	t.ResponseHeaderTimeout = 30 * time.Second
	t.DisableCompression = true // the checksum is that of the archive as it is stored
	return &http.Client{Transport: t}
}

// fetch downloads a source into a file and returns its SHA-256. Its errors omit
// the URL, which is secret.
func fetch(ctx context.Context, c *http.Client, from, into string, limit int64) (sum string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return "", errors.New("invalid URL")
	}
	req.Header.Set("User-Agent", fetcherAgent)
	resp, err := c.Do(req)
	if err != nil {
		var uerr *url.Error
		if errors.As(err, &uerr) {
			err = uerr.Err
		}
		return "", err
	}
	defer resp.Body.Close() //nolint:errcheck // only read
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("the server responded with %s", resp.Status)
	}
	f, err := os.Create(into)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, h), io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return "", err
	}
	if n > limit {
		return "", fmt.Errorf("larger than %s", megabytes(limit))
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
