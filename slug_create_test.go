package herokubuild_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
	"github.com/herokubuild/herokubuild/internal/platform"
)

const appURL = apiURL + "/apps/" + appName

// A slug from a directory is released, its release phase runs the packed files, and the
// download has the same files.
func TestSlugFromADirectory(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a-long-name/", 20) + "file"
	dir := sourceDir(t, map[string]string{
		"Procfile": "web: bin/web\nrelease: bin/release\n", "bin/release": "#!/bin/sh\ncat data/link; echo; pwd\n",
		"data/file": "some data", long: "deep", ".git/config": "[core]",
	})
	require.NoError(t, os.Chmod(filepath.Join(dir, "bin", "release"), 0o700))
	require.NoError(t, os.Symlink("../data/file", filepath.Join(dir, "data", "link")))
	p, client := startPlatform(t, platform.Options{})
	ctx := t.Context()

	var progress int64
	slug, err := client.Slugs.CreateFromDir(ctx, "example-app", dir, &herokubuild.SlugDirOptions{
		Commit: "abc123", CommitDescription: "a commit", BuildpackProvidedDescription: "by hand",
		OnProgress: func(done, total int64) { progress = done - total },
	})
	require.NoError(t, err)
	assert.Zero(t, progress)
	assert.Equal(t, map[string]string{"web": "bin/web", "release": "bin/release"}, slug.ProcessTypes)
	assert.Equal(t, "heroku-24", slug.Stack.Name)
	assert.Equal(t, "abc123", slug.Commit)
	assert.Equal(t, "by hand", slug.BuildpackProvidedDescription)
	again, err := client.Slugs.CreateFromDir(ctx, "example-app", dir, nil)
	require.NoError(t, err)
	assert.NotEqual(t, slug.ID, again.ID)
	assert.Equal(t, slug.Checksum, again.Checksum, "the same tree packs to the same bytes")
	assert.Equal(t, "heroku-24", again.Stack.Name)

	release, err := client.Releases.Create(ctx, "other-app", herokubuild.ReleaseCreateOptions{SlugID: slug.ID})
	require.NoError(t, err)
	_, err = client.Releases.Wait(ctx, "other-app", release.ID, nil)
	require.NoError(t, err)
	output, err := client.Releases.Output(ctx, "other-app", release.ID, nil)
	require.NoError(t, err)
	text, err := io.ReadAll(output)
	require.NoError(t, err)
	if runtime.GOOS != "windows" {
		assert.Regexp(t, `^some data\n.*/app\n$`, string(text))
	}

	// The connection breaks twice during the download.
	cut := map[int]int64{0: 100, 1: 10}
	p.SetFaults(func(at platform.FaultPoint) platform.Fault {
		if at.Host != "blob" {
			return platform.Fault{}
		}
		return platform.Fault{CutResponseAfter: cut[at.Nth]}
	})
	body, err := client.Slugs.Download(ctx, "other-app", slug.ID, nil)
	require.NoError(t, err)
	into := filepath.Join(t.TempDir(), "slug")
	require.NoError(t, herokubuild.UnpackSlug(ctx, body, into, nil))
	require.NoError(t, body.Close())
	assert.Equal(t, map[string]int{"CutResponseAfter": 2}, p.FaultsInjected())

	names, err := os.ReadDir(into)
	require.NoError(t, err)
	require.Len(t, names, 1)
	assert.Equal(t, "app", names[0].Name())
	for name, want := range map[string]string{"data/link": "some data", long: "deep", "Procfile": "web: bin/web\nrelease: bin/release\n"} {
		got, err := os.ReadFile(filepath.Join(into, "app", filepath.FromSlash(name)))
		require.NoError(t, err)
		assert.Equal(t, want, string(got))
	}
	_, err = os.Lstat(filepath.Join(into, "app", ".git"))
	require.ErrorIs(t, err, os.ErrNotExist)
	if runtime.GOOS != "windows" {
		info, err := os.Stat(filepath.Join(into, "app", "bin", "release"))
		require.NoError(t, err)
		assert.Equal(t, os.FileMode(0o755), info.Mode())
	}
}

func TestCreateFromDirRequests(t *testing.T) {
	t.Parallel()
	dir := sourceDir(t, map[string]string{"Procfile": "web: bin/web", "bin/web": "#!/bin/sh\n"})
	a := newAPI(t)
	a.on("GET", appURL, replyFile(t, 200, "app.json"))
	a.on("POST", slugsURL, reply(201, strings.Replace(golden(t, "slug_created.json"), `"PUT"`, `"post"`, 1)))
	a.on("POST", slugURL, reply(200, ""))
	slug, err := a.Slugs.CreateFromDir(t.Context(), appName, dir, &herokubuild.SlugDirOptions{Commit: "c"})
	require.NoError(t, err)
	assert.Equal(t, slugID, slug.ID)

	seen := a.seen()
	require.Len(t, seen, 3)
	assertCall(t, seen[0], "GET", appURL, "")
	content := []byte(seen[2].Body)
	assertCall(t, seen[1], "POST", slugsURL, `{"process_types":{"web":"bin/web"},"stack":"heroku-24","checksum":"`+sumOf(content)+`","commit":"c"}`)
	assert.Equal(t, "POST", seen[2].Method, "the method in the response")
	assert.NotContains(t, seen[2].Header, "Authorization")

	zr, err := gzip.NewReader(bytes.NewReader(content))
	require.NoError(t, err)
	tr := tar.NewReader(zr)
	var names []string
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		names = append(names, h.Name)
	}
	assert.Equal(t, []string{"./app/Procfile", "./app/bin/web"}, names)
}

func TestCreateFromDirRefuses(t *testing.T) {
	t.Parallel()
	files := map[string]string{"main": "x"}
	none := sourceDir(t, files)
	wrong := sourceDir(t, map[string]string{"Procfile": "web bin/web"})
	odd := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(odd, "Procfile"), 0o700))
	out := t.TempDir()
	require.NoError(t, os.Symlink(filepath.Join(wrong, "Procfile"), filepath.Join(out, "Procfile")))
	a := newAPI(t)
	for name, tt := range map[string]struct {
		app, dir string
		opts     herokubuild.SlugDirOptions
		field    string
	}{
		"app":                          {"", none, herokubuild.SlugDirOptions{}, "app"},
		"no directory":                 {appName, "", herokubuild.SlugDirOptions{}, "dir"},
		"missing directory":            {appName, filepath.Join(none, "no"), herokubuild.SlugDirOptions{}, "dir"},
		"no Procfile":                  {appName, none, herokubuild.SlugDirOptions{}, "dir"},
		"a directory Procfile":         {appName, odd, herokubuild.SlugDirOptions{}, "dir"},
		"a link to a Procfile outside": {appName, out, herokubuild.SlugDirOptions{}, "dir"},
		"an invalid Procfile":          {appName, wrong, herokubuild.SlugDirOptions{}, "Procfile"},
		"a type without command":       {appName, none, herokubuild.SlugDirOptions{ProcessTypes: map[string]string{"web": ""}}, "ProcessTypes"},
	} {
		slug, err := a.Slugs.CreateFromDir(t.Context(), tt.app, tt.dir, &tt.opts)
		assert.Nil(t, slug, name)
		requireInvalid(t, err, tt.field)
	}
	assert.Zero(t, a.mock.GetTotalCallCount())
	_, err := new(herokubuild.Client).Slugs.CreateFromDir(t.Context(), appName, none, &herokubuild.SlugDirOptions{ProcessTypes: map[string]string{}})
	require.ErrorIs(t, err, herokubuild.ErrInvalidArgument)
}

func TestCreateFromDirFails(t *testing.T) {
	t.Parallel()
	dir := sourceDir(t, map[string]string{"main": "x"})
	opts := herokubuild.SlugDirOptions{ProcessTypes: map[string]string{}, Stack: "heroku-22", TempDir: t.TempDir()}
	t.Run("no such app", func(t *testing.T) {
		t.Parallel()
		a := newAPI(t)
		a.on("GET", appURL, reply(404, golden(t, "error_not_found.json")))
		_, err := a.Slugs.CreateFromDir(t.Context(), appName, dir, &opts)
		require.ErrorIs(t, err, herokubuild.ErrNotFound)
	})
	t.Run("a fir app", func(t *testing.T) {
		t.Parallel()
		a := newAPI(t)
		a.on("GET", appURL, reply(200, strings.Replace(golden(t, "app.json"), `"cedar"`, `"fir"`, 1)))
		_, err := a.Slugs.CreateFromDir(t.Context(), appName, dir, &opts)
		var generation *herokubuild.GenerationError
		require.ErrorAs(t, err, &generation)
		require.ErrorIs(t, err, herokubuild.ErrUnsupportedGeneration)
		assert.Equal(t, appName, generation.App)
		assert.Equal(t, "fir", generation.Generation)
		assert.Contains(t, err.Error(), "example-app is a fir app: it runs images, not slugs")
	})
	t.Run("an upload that is refused", func(t *testing.T) {
		t.Parallel()
		a := newAPI(t)
		a.on("GET", appURL, replyFile(t, 200, "app.json"))
		a.on("POST", slugsURL, replyFile(t, 201, "slug_created.json"))
		a.on("PUT", slugURL, reply(403, golden(t, "storage_refusal.xml")))
		slug, err := a.Slugs.CreateFromDir(t.Context(), appName, dir, &opts)
		assert.Nil(t, slug)
		require.ErrorIs(t, err, herokubuild.ErrForbidden)
		assertErrorClean(t, err)
		assert.Contains(t, a.seen()[1].Body, `"process_types":{},"stack":"heroku-22"`)
	})
	t.Run("nothing to pack", func(t *testing.T) {
		t.Parallel()
		a := newAPI(t)
		a.on("GET", appURL, replyFile(t, 200, "app.json"))
		_, err := a.Slugs.CreateFromDir(t.Context(), appName, t.TempDir(), &opts)
		requireInvalid(t, err, "dir")
	})
	t.Run("no directory for temporary files", func(t *testing.T) {
		t.Parallel()
		a := newAPI(t)
		a.on("GET", appURL, replyFile(t, 200, "app.json"))
		o := opts
		o.TempDir = filepath.Join(dir, "no such")
		_, err := a.Slugs.CreateFromDir(t.Context(), appName, dir, &o)
		require.ErrorIs(t, err, os.ErrNotExist)
	})
}

func TestCreateFromDirLeavesNothing(t *testing.T) {
	t.Parallel()
	dir := sourceDir(t, map[string]string{"main": random(100_000)})
	temp := t.TempDir()
	for _, status := range []int{200, 403} {
		a := newAPI(t)
		a.on("GET", appURL, replyFile(t, 200, "app.json"))
		a.on("POST", slugsURL, replyFile(t, 201, "slug_created.json"))
		a.on("PUT", slugURL, reply(status, ""))
		_, err := a.Slugs.CreateFromDir(t.Context(), appName, dir, &herokubuild.SlugDirOptions{ProcessTypes: map[string]string{}, TempDir: temp})
		assert.Equal(t, status == 200, err == nil)
	}
	requireEmpty(t, temp)
}
