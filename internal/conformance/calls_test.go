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

// The names are as short and as long as an app's can be.
const (
	buildApp = "abc"
	otherApp = "other-app-with-a-name-of-30-ch"
	firApp   = "fir-app"
)

// rig is the library on one side, the embedded platform on the other, and what
// goes between them.
type rig struct {
	*herokubuild.Client
	platform *platform.Platform
	recorder *recorder
	archive  *herokubuild.Archive
}

func newRig(t *testing.T) *rig {
	t.Helper()
	// A version of "block" is a build that ends when it is cancelled, one of
	// "fail" a build that fails.
	builder := platform.BuilderFunc(func(ctx context.Context, j *platform.Job) error {
		switch j.SourceVersion {
		case "block":
			<-ctx.Done()
			return ctx.Err()
		case "fail":
			return fmt.Errorf("no")
		}
		j.BuildpackDescription = "Text"
		j.ProcessTypes["web"] = "bin/web"
		j.ProcessTypes["release"] = "echo released"
		_, err := io.WriteString(j.Output, "-----> built\n")
		return err
	})
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
		herokubuild.WithHTTPClient(&http.Client{Transport: r.recorder}),
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

// upload makes a source and puts the archive there.
func (r *rig) upload(t *testing.T) herokubuild.SourceBlob {
	t.Helper()
	source, err := r.Sources.Upload(t.Context(), r.archive, nil)
	require.NoError(t, err)
	return herokubuild.SourceBlob{URL: source.SourceBlob.GetURL}
}

func TestEveryCallIsOneOfTheSchema(t *testing.T) {
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
			// A build that it has left behind would hold up the others.
			t.FailNow()
		}
	}
	c.ranges.requireUsed(t)

	left := uncalled()
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
	_, err := r.Sources.CreateForApp(t.Context(), buildApp)
	require.NoError(t, err)
	source, err := r.Sources.Create(t.Context())
	require.NoError(t, err)
	require.NoError(t, r.Sources.Put(t.Context(), source, r.archive, nil))
}

// builds are seen pending, cancelled, failed and succeeded, with everything in
// the request and with the least.
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

// build makes a slug and waits for its release.
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
	first, err := r.Releases.Create(ctx, otherApp, herokubuild.ReleaseCreateOptions{Slug: build.Slug.ID})
	require.NoError(t, err)
	_, err = r.Releases.Wait(ctx, otherApp, first.ID, nil)
	require.NoError(t, err)
	second, err := r.Releases.Create(ctx, otherApp, herokubuild.ReleaseCreateOptions{Slug: build.Slug.ID, Description: "again"})
	require.NoError(t, err)
	_, err = r.Releases.Wait(ctx, otherApp, fmt.Sprintf("v%d", second.Version), nil)
	require.NoError(t, err)
	back, err := r.Releases.Rollback(ctx, otherApp, fmt.Sprintf("v%d", first.Version))
	require.NoError(t, err)
	_, err = r.Releases.Wait(ctx, otherApp, back.ID, nil)
	require.NoError(t, err)
	// The releases of a new app have neither slug nor output.
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

// The embedded platform serves more than the library asks for.
func TestEveryAnswerOfTheEmbeddedPlatformIsOneOfTheSchema(t *testing.T) {
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
		require.NoError(t, r.Do(ctx, method, path, nil, body, nil))
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
	fir, err := r.BuildAndRelease(ctx, herokubuild.BuildAndReleaseOptions{BuildApp: firApp, Archive: r.archive})
	require.NoError(t, err)
	image := fir.Apps[0].Release.Image()
	id, err := r.Releases.ImageID(ctx, firApp, image)
	require.NoError(t, err)
	assert.Equal(t, image, id)
	c := &callCheck{schema: s, ranges: rangeDifferences(), seen: map[string]int{}}
	c.check(t, r.recorder.take())

	for _, l := range s.links {
		if r.serves(t, l) {
			assert.Positive(t, c.seen[l.String()], "the platform serves %s (%s %s), which was not called", l, l.method, l.href)
		}
	}
	assert.Greater(t, len(c.seen), 20)
}

// serves reports whether the platform has an endpoint. It asks by a method that
// no endpoint has, for which the answer names those that the address has.
func (r *rig) serves(t *testing.T, l *link) bool {
	t.Helper()
	path := placeholder.ReplaceAllString(l.href, "01234567-89ab-cdef-0123-456789abcdef")
	err := r.Do(t.Context(), http.MethodOptions, path, nil, nil, nil)
	var refused *herokubuild.APIError
	require.ErrorAs(t, err, &refused, path)
	calls := r.recorder.take()
	allowed := strings.Split(calls[len(calls)-1].answerHeader.Get("Allow"), ", ")
	return slices.Contains(allowed, l.method)
}
