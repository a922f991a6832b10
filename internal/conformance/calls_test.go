package conformance

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
	"github.com/herokubuild/herokubuild/internal/platform"
)

// buildApp and otherApp have the minimum and the maximum length.
const (
	buildApp = "abc"
	otherApp = "other-app-with-a-name-of-30-ch"
	firApp   = "fir-app"
)

// rig is a client and an emulator, and the calls between them.
type rig struct {
	*herokubuild.Client
	platform *platform.Platform
	recorder *recorder
	archive  *herokubuild.Archive
}

func newRig(t *testing.T) *rig {
	t.Helper()
	return newRigWith(t, testBuilder())
}

// testBuilder returns a Builder with which a build of the version "block" runs
// until it is canceled, and one of the version "fail" fails.
func testBuilder() platform.Builder {
	return platform.BuilderFunc(func(ctx context.Context, j *platform.Job) error {
		switch j.SourceVersion {
		case "block":
			<-ctx.Done()
			return ctx.Err()
		case "fail":
			return fmt.Errorf("no")
		}
		if len(j.Buildpacks) == 0 {
			j.Buildpacks = []string{"example/text"}
		}
		j.BuildpackDescription = "Text"
		j.ProcessTypes["web"] = "bin/web"
		j.ProcessTypes["release"] = "echo released"
		_, err := io.WriteString(j.Output, "-----> built\n")
		return err
	})
}

func newRigWith(t *testing.T, builder platform.Builder) *rig {
	t.Helper()
	p, err := platform.Start(platform.Options{
		Apps: []string{buildApp, otherApp}, FirApps: []string{firApp}, Builder: builder, StatusLag: -1, ReleaseStreamDelay: -1, RateLimit: 1_000_000,
	})
	require.NoError(t, err)
	transport := &http.Transport{}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		assert.NoError(t, p.Close())
	})
	u, err := url.Parse(p.URL())
	require.NoError(t, err)
	r := &rig{platform: p, recorder: &recorder{next: transport, host: u.Host}}
	r.Client, err = herokubuild.NewClient(
		herokubuild.WithBaseURL(p.URL()), herokubuild.WithToken(p.Token()),
		herokubuild.WithTransport(r.recorder),
		herokubuild.WithPollBackoff(func(int) time.Duration { return time.Millisecond }),
	)
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "page.txt"), []byte("page\n"), 0o600))
	r.archive, err = herokubuild.PackDir(t.Context(), dir, nil)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, r.archive.Close()) })
	return r
}

// upload creates a source and uploads the archive.
func (r *rig) upload(t *testing.T) herokubuild.SourceBlob {
	t.Helper()
	source, err := r.Sources.Upload(t.Context(), r.archive, nil)
	require.NoError(t, err)
	return herokubuild.SourceBlob{URL: source.SourceBlob.GetURL}
}

func TestCallsConformToSchema(t *testing.T) {
	t.Parallel()
	s := loadSchema(t)
	r := newRig(t)
	c := &callCheck{schema: s, ranges: rangeDifferences(), seen: map[string]int{}}
	steps := []struct {
		name string
		do   func(*testing.T)
	}{
		{"apps", r.apps},
		{"sources", r.sources},
		{"builds", r.builds},
		{"slugs", r.slugs},
		{"releases", r.releases},
		{"lists", r.lists},
		{"deploy", r.deploy},
	}
	for _, step := range steps {
		ok := t.Run(step.name, func(t *testing.T) {
			step.do(t)
			c.check(t, r.recorder.take())
		})
		if !ok {
			// A build that is still running would block the others.
			t.FailNow()
		}
	}
	c.ranges.requireUsed(t)

	left := uncalledEndpoints()
	for _, l := range s.links {
		if !slices.Contains([]string{"app", "build", "release", "slug", "source"}, l.resource) {
			continue
		}
		if c.seen[l.String()] == 0 {
			assert.True(t, left.allow(l.String()), "%s (%s %s) was not called", l, l.method, l.href)
		}
	}
	left.requireUsed(t)
}

func (r *rig) apps(t *testing.T) {
	app, err := r.Apps.Get(t.Context(), buildApp)
	require.NoError(t, err)
	byID, err := r.Apps.Get(t.Context(), app.ID)
	require.NoError(t, err)
	assert.Equal(t, app, byID)
	apps := 0
	for _, err := range r.Apps.List(t.Context(), &herokubuild.ListOptions{SortBy: "name", PageSize: 1}) {
		require.NoError(t, err)
		apps++
	}
	assert.Equal(t, 3, apps)
	_, err = r.RateLimitRemaining(t.Context())
	require.NoError(t, err)
}

func (r *rig) sources(t *testing.T) {
	_, err := r.Sources.CreateForApp(t.Context(), buildApp) //nolint:staticcheck // The deprecated endpoint is covered, too.
	require.NoError(t, err)
	source, err := r.Sources.Create(t.Context())
	require.NoError(t, err)
	require.NoError(t, r.Sources.Put(t.Context(), source, r.archive, nil))
}

// builds creates builds that are pending, canceled, failed and succeeded, from
// the full request and from the smallest one.
func (r *rig) builds(t *testing.T) {
	ctx := t.Context()
	blob := r.upload(t)
	blob.Checksum, blob.Version, blob.VersionDescription = r.archive.Checksum(), "block", "never ends"
	pending, err := r.Builds.Create(ctx, buildApp, herokubuild.BuildCreateOptions{
		SourceBlob: blob,
		Buildpacks: []herokubuild.Buildpack{{Name: "heroku/go"}, {URL: "https://github.com/heroku/heroku-buildpack-go"}},
	})
	require.NoError(t, err)
	_, err = r.Builds.Get(ctx, buildApp, pending.ID)
	require.NoError(t, err)
	_, err = r.Builds.Cancel(ctx, buildApp, pending.ID)
	require.NoError(t, err)

	blob = r.upload(t)
	blob.Version = "fail"
	failing, err := r.Builds.Create(ctx, buildApp, herokubuild.BuildCreateOptions{SourceBlob: blob})
	require.NoError(t, err)
	_, err = r.Builds.Wait(ctx, buildApp, failing.ID, nil)
	require.ErrorIs(t, err, herokubuild.ErrBuildFailed)

	r.build(t)
	require.NoError(t, r.Builds.DeleteCache(ctx, buildApp))
}

// build runs a build and waits for its release.
func (r *rig) build(t *testing.T) *herokubuild.Build {
	t.Helper()
	ctx := t.Context()
	build, err := r.Builds.Create(ctx, buildApp, herokubuild.BuildCreateOptions{SourceBlob: r.upload(t)})
	require.NoError(t, err)
	build, err = r.Builds.Wait(ctx, buildApp, build.ID, nil)
	require.NoError(t, err)
	_, err = r.Releases.Wait(ctx, buildApp, build.Release.ID, nil)
	require.NoError(t, err)
	return build
}

func (r *rig) slugs(t *testing.T) {
	ctx := t.Context()
	build := r.build(t)
	_, err := r.Slugs.Get(ctx, buildApp, build.Slug.ID)
	require.NoError(t, err)

	_, err = r.Slugs.Create(ctx, buildApp, herokubuild.SlugCreateOptions{})
	require.NoError(t, err)
	slug, err := r.Slugs.Create(ctx, buildApp, herokubuild.SlugCreateOptions{
		ProcessTypes: map[string]string{"web": "bin/web", "a-worker_2": "bin/worker"},
		Stack:        "heroku-24", Checksum: r.archive.Checksum(), Commit: "60883d9", CommitDescription: "a fix",
		BuildpackProvidedDescription: "Text",
	})
	require.NoError(t, err)
	_, err = r.Slugs.Get(ctx, buildApp, slug.ID)
	require.NoError(t, err)
	require.NoError(t, r.Slugs.Put(ctx, slug, r.archive, nil))
	_, err = r.Slugs.Get(ctx, buildApp, slug.ID)
	require.NoError(t, err)
}

func (r *rig) releases(t *testing.T) {
	ctx := t.Context()
	build := r.build(t)
	first, err := r.Releases.Create(ctx, otherApp, herokubuild.ReleaseCreateOptions{SlugID: build.Slug.ID})
	require.NoError(t, err)
	_, err = r.Releases.Wait(ctx, otherApp, first.ID, nil)
	require.NoError(t, err)
	second, err := r.Releases.Create(ctx, otherApp, herokubuild.ReleaseCreateOptions{SlugID: build.Slug.ID, Description: "again"})
	require.NoError(t, err)
	_, err = r.Releases.Wait(ctx, otherApp, fmt.Sprintf("v%d", second.Version), nil)
	require.NoError(t, err)
	back, err := r.Releases.Rollback(ctx, otherApp, fmt.Sprintf("v%d", first.Version))
	require.NoError(t, err)
	_, err = r.Releases.Wait(ctx, otherApp, back.ID, nil)
	require.NoError(t, err)
	// The first releases of an app have neither a slug nor output.
	_, err = r.Releases.Get(ctx, otherApp, "1")
	require.NoError(t, err)
	_, err = r.Releases.Current(ctx, otherApp)
	require.NoError(t, err)
}

func (r *rig) lists(t *testing.T) {
	ctx := t.Context()
	for _, opts := range []*herokubuild.ListOptions{
		nil,
		{PageSize: 1},
		{SortBy: "created_at", Order: herokubuild.Descending, PageSize: 2},
	} {
		builds := 0
		for _, err := range r.Builds.List(ctx, buildApp, opts) {
			require.NoError(t, err)
			builds++
		}
		assert.Greater(t, builds, 2)
	}
	for _, opts := range []*herokubuild.ListOptions{
		nil,
		{SortBy: "version", Order: herokubuild.Descending, PageSize: 2},
		{SortBy: "version", From: "2", To: "3"},
	} {
		releases := 0
		for _, err := range r.Releases.List(ctx, otherApp, opts) {
			require.NoError(t, err)
			releases++
		}
		assert.GreaterOrEqual(t, releases, 2)
	}
	_, err := r.Builds.ListPage(ctx, otherApp, nil)
	require.NoError(t, err, "an empty list")
}

func (r *rig) deploy(t *testing.T) {
	result, err := r.BuildAndRelease(t.Context(), herokubuild.BuildAndReleaseOptions{
		BuildApp: buildApp, Archive: r.archive, Version: "v9", VersionDescription: "the ninth",
		ReleaseTo: []string{otherApp}, ReleaseDescription: "Deploy v9",
		Buildpacks: []herokubuild.Buildpack{{Name: "heroku/go"}},
	})
	require.NoError(t, err)
	assert.Len(t, result.Apps, 2)
}

// TestEmulatorResponsesConformToSchema also calls the endpoints that only the
// emulator has.
func TestEmulatorResponsesConformToSchema(t *testing.T) {
	t.Parallel()
	s := loadSchema(t)
	r := newRig(t)
	ctx := t.Context()
	r.apps(t)
	r.sources(t)
	r.builds(t)
	r.slugs(t)
	r.releases(t)
	r.lists(t)
	do := func(method, path string, body any) {
		t.Helper()
		_, err := r.Do(ctx, method, path, &herokubuild.DoOptions{Body: body})
		require.NoError(t, err)
	}
	do("GET", "/account", nil)
	do("GET", "/account/rate-limits", nil)
	do("GET", "/stacks", nil)
	do("GET", "/stacks/heroku-24", nil)
	do("GET", "/apps", nil)
	do("GET", "/apps/"+buildApp+"/config-vars", nil)
	do("PATCH", "/apps/"+buildApp+"/config-vars", map[string]any{"COLOR": "green", "GONE": nil})
	do("GET", "/apps/"+buildApp+"/config-vars", nil)
	do("GET", "/apps/"+buildApp+"/releases/1/config-vars", nil)
	for _, list := range []string{
		"addons", "addon-attachments", "buildpack-installations", "collaborators", "domains", "dynos", "features",
		"formation", "log-drains", "sni-endpoints", "webhooks",
	} {
		do("GET", "/apps/"+buildApp+"/"+list, nil)
	}
	for _, path := range []string{
		"/addons", "/addon-attachments", "/pipelines", "/pipeline-couplings", "/spaces", "/teams",
		"/users/~", "/users/~/addons", "/users/~/apps", "/users/~/pipeline-couplings",
	} {
		do("GET", path, nil)
	}
	fir, err := r.BuildAndRelease(ctx, herokubuild.BuildAndReleaseOptions{BuildApp: firApp, Archive: r.archive})
	require.NoError(t, err)
	image := fir.Apps[0].Release.Artifact().ImageID
	id, err := r.Releases.ImageID(ctx, firApp, image)
	require.NoError(t, err)
	assert.Equal(t, image, id)
	c := &callCheck{schema: s, ranges: rangeDifferences(), seen: map[string]int{}}
	c.check(t, r.recorder.take())

	missing := missingResources()
	for _, l := range s.links {
		if r.serves(t, l) && !missing.allow(l.String()) {
			assert.Positive(t, c.seen[l.String()], "the emulator serves %s (%s %s), which was not called", l, l.method, l.href)
		}
	}
	missing.requireUsed(t)
	assert.Greater(t, len(c.seen), 40)
}

// serves reports whether the emulator has an endpoint. It sends a request with
// a method that no endpoint has; the Allow header of the response lists those
// of the path.
func (r *rig) serves(t *testing.T, l *link) bool {
	t.Helper()
	path := placeholder.ReplaceAllString(l.href, "01234567-89ab-cdef-0123-456789abcdef")
	_, err := r.Do(t.Context(), http.MethodOptions, path, nil)
	var refused *herokubuild.APIError
	require.ErrorAs(t, err, &refused, path)
	calls := r.recorder.take()
	allowed := strings.Split(calls[len(calls)-1].responseHeader.Get("Allow"), ", ")
	return slices.Contains(allowed, l.method)
}
