package conformance

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	heroku "github.com/heroku/heroku-go/v6"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
)

// deadline is generous, since it is only reached if something is broken.
const deadline = 2 * time.Minute

// goClient is Heroku's own Go client, with the uploads and the polling of
// Heroku's Terraform provider, which uses it.
type goClient struct {
	*heroku.Service
	*rig
	t *testing.T
}

func newGoClient(t *testing.T) *goClient {
	t.Helper()
	r := newRig(t)
	// A key without a user is sent as Basic credentials with an empty user.
	s := heroku.NewService(&http.Client{Transport: &heroku.Transport{Password: r.platform.Token(), Transport: r.recorder}})
	s.URL = r.platform.URL()
	return &goClient{Service: s, rig: r, t: t}
}

// put uploads an archive as the Terraform provider does: from a file, with its
// length and no Content-Type.
func (c *goClient) put(method, url string, archive []byte) {
	c.t.Helper()
	name := filepath.Join(c.t.TempDir(), "archive.tgz")
	require.NoError(c.t, os.WriteFile(name, archive, 0o600))
	f, err := os.Open(filepath.Clean(name))
	require.NoError(c.t, err)
	defer f.Close() //nolint:errcheck // only read
	req, err := http.NewRequestWithContext(c.t.Context(), method, url, f)
	require.NoError(c.t, err)
	req.ContentLength = int64(len(archive))
	resp, err := http.DefaultClient.Do(req)
	require.NoError(c.t, err)
	defer resp.Body.Close() //nolint:errcheck // only read
	assert.Equal(c.t, http.StatusOK, resp.StatusCode)
}

func (c *goClient) bytes() []byte {
	c.t.Helper()
	content, err := c.archive.Open()
	require.NoError(c.t, err)
	defer content.Close() //nolint:errcheck // only read
	archive, err := io.ReadAll(content)
	require.NoError(c.t, err)
	return archive
}

// wait polls until done reports true.
func (c *goClient) wait(done func() bool) {
	c.t.Helper()
	for end := time.Now().Add(deadline); !done(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			require.FailNow(c.t, "timed out")
		}
	}
}

func (c *goClient) finishBuild(app, id string) *heroku.Build {
	c.t.Helper()
	var b *heroku.Build
	c.wait(func() bool {
		var err error
		b, err = c.BuildInfo(c.t.Context(), app, id)
		require.NoError(c.t, err)
		return b.Status != "pending"
	})
	return b
}

func (c *goClient) finishRelease(app, id string) *heroku.Release {
	c.t.Helper()
	var r *heroku.Release
	c.wait(func() bool {
		var err error
		r, err = c.ReleaseInfo(c.t.Context(), app, id)
		require.NoError(c.t, err)
		return r.Status != "pending"
	})
	return r
}

// build does what the Terraform resource heroku_build does.
func (c *goClient) build(app string, configure func(*heroku.BuildCreateOpts)) *heroku.Build {
	c.t.Helper()
	ctx, archive := c.t.Context(), c.bytes()
	source, err := c.SourceCreate(ctx)
	require.NoError(c.t, err)
	c.put(http.MethodPut, source.SourceBlob.PutURL, archive)
	var opts heroku.BuildCreateOpts
	opts.SourceBlob.URL = &source.SourceBlob.GetURL
	opts.SourceBlob.Checksum = heroku.String(fmt.Sprintf("SHA256:%x", sha256.Sum256(archive)))
	configure(&opts)
	build, err := c.BuildCreate(ctx, app, opts)
	require.NoError(c.t, err)
	return c.finishBuild(app, build.ID)
}

func TestHerokuGoBuildsAndReleases(t *testing.T) {
	t.Parallel()
	c := newGoClient(t)
	ctx := t.Context()
	build := c.build(buildApp, func(o *heroku.BuildCreateOpts) { o.SourceBlob.Version = heroku.String("v1") })
	require.Equal(t, "succeeded", build.Status)
	require.NotNil(t, build.Slug)
	require.NotNil(t, build.Release)
	require.Len(t, build.Buildpacks, 1)
	assert.Equal(t, "example/text", build.Buildpacks[0].Name)
	assert.Equal(t, "v1", *build.SourceBlob.Version)
	assert.Equal(t, "succeeded", c.finishRelease(buildApp, build.Release.ID).Status)

	failed := c.build(buildApp, func(o *heroku.BuildCreateOpts) { o.SourceBlob.Version = heroku.String("fail") })
	assert.Equal(t, "failed", failed.Status)
	assert.Nil(t, failed.Slug)
	mismatch := c.build(buildApp, func(o *heroku.BuildCreateOpts) { o.SourceBlob.Checksum = heroku.String("SHA256:00") })
	assert.Equal(t, "failed", mismatch.Status)

	// heroku_app_release, and a release of a slug without a description.
	release, err := c.ReleaseCreate(ctx, otherApp, heroku.ReleaseCreateOpts{Slug: build.Slug.ID})
	require.NoError(t, err)
	release = c.finishRelease(otherApp, release.ID)
	assert.Equal(t, "succeeded", release.Status)
	assert.Equal(t, build.Slug.ID, release.Slug.ID)
	_, err = c.ReleaseCreate(ctx, otherApp, heroku.ReleaseCreateOpts{Slug: build.Slug.ID, Description: heroku.String("")})
	require.NoError(t, err)
	back, err := c.ReleaseRollback(ctx, otherApp, heroku.ReleaseRollbackOpts{Release: release.ID})
	require.NoError(t, err)
	assert.Equal(t, fmt.Sprintf("Rollback to v%d", release.Version), back.Description)

	// The resource reads the newest release.
	newest, err := c.ReleaseList(ctx, otherApp, &heroku.ListRange{Field: "version", Max: 1, Descending: true})
	require.NoError(t, err)
	require.Len(t, newest, 1)
	assert.Equal(t, back.ID, newest[0].ID)
	all, err := c.ReleaseList(ctx, otherApp, nil)
	require.NoError(t, err)
	assert.Len(t, all, back.Version)
	builds, err := c.BuildList(ctx, buildApp, &heroku.ListRange{Field: "id", FirstID: "]", Max: 1000})
	require.NoError(t, err)
	assert.Len(t, builds, 3)

	_, err = c.BuildDeleteCache(ctx, buildApp)
	require.ErrorIs(t, err, io.EOF, "the client decodes the empty response, as it would Heroku's")
}

func TestHerokuGoReleasesUploadedSlug(t *testing.T) {
	t.Parallel()
	c := newGoClient(t)
	ctx, archive := t.Context(), c.bytes()
	slug, err := c.SlugCreate(ctx, buildApp, heroku.SlugCreateOpts{
		ProcessTypes: map[string]string{"web": "bin/web"}, Stack: heroku.String("heroku-24"),
		Checksum: heroku.String(fmt.Sprintf("SHA256:%x", sha256.Sum256(archive))), Commit: heroku.String(""),
	})
	require.NoError(t, err)
	c.put(slug.Blob.Method, slug.Blob.URL, archive)
	slug, err = c.SlugInfo(ctx, buildApp, slug.ID)
	require.NoError(t, err)
	require.NotNil(t, slug.Size)
	assert.Equal(t, len(archive), *slug.Size)
	release, err := c.ReleaseCreate(ctx, buildApp, heroku.ReleaseCreateOpts{Slug: slug.ID})
	require.NoError(t, err)
	assert.Equal(t, "succeeded", release.Status)
	formation, err := c.FormationList(ctx, buildApp, nil)
	require.NoError(t, err)
	require.Len(t, formation, 1)
	assert.Equal(t, "web", formation[0].Type)
}

// TestHerokuGoReleasesImage covers the release of an OCI image, beside which the
// client cannot omit the slug.
func TestHerokuGoReleasesImage(t *testing.T) {
	t.Parallel()
	c := newGoClient(t)
	ctx := t.Context()
	build := c.build(firApp, func(*heroku.BuildCreateOpts) {})
	require.Equal(t, "succeeded", build.Status)
	release := c.finishRelease(firApp, build.Release.ID)
	require.Len(t, release.Artifacts, 1)
	image := release.Artifacts[0]
	require.Equal(t, "oci-image", image.Type)
	images, err := c.OciImageInfo(ctx, firApp, image.ID)
	require.NoError(t, err)
	require.Len(t, images, 1)

	c.recorder.take()
	again, err := c.ReleaseCreate(ctx, firApp, heroku.ReleaseCreateOpts{OciImage: &image.ID})
	require.NoError(t, err)
	assert.Equal(t, release.Artifacts, again.Artifacts)
	calls := c.recorder.take()
	require.Len(t, calls, 1)
	var body map[string]any
	require.NoError(t, json.Unmarshal(calls[0].body, &body))
	assert.Equal(t, map[string]any{"oci_image": image.ID, "slug": ""}, body, "the client sends an empty slug")
	user, _, ok := (&http.Request{Header: calls[0].header}).BasicAuth()
	assert.True(t, ok)
	assert.Empty(t, user)
}

// TestHerokuGoReadsAppsAndAccount makes the calls with which the Terraform
// provider imports and refreshes apps.
func TestHerokuGoReadsAppsAndAccount(t *testing.T) {
	t.Parallel()
	c := newGoClient(t)
	ctx := t.Context()
	require.Equal(t, "succeeded", c.build(buildApp, func(*heroku.BuildCreateOpts) {}).Status)
	app, err := c.AppInfo(ctx, buildApp)
	require.NoError(t, err)
	assert.Equal(t, "cedar", app.Generation.Name)
	installed, err := c.BuildpackInstallationList(ctx, app.ID, nil)
	require.NoError(t, err)
	require.Len(t, installed, 1)
	assert.Equal(t, "example/text", installed[0].Buildpack.Name)
	vars, err := c.ConfigVarUpdate(ctx, app.ID, map[string]*string{"COLOR": heroku.String("green"), "GONE": nil})
	require.NoError(t, err)
	assert.Equal(t, "green", *vars["COLOR"])

	account, err := c.AccountInfo(ctx)
	require.NoError(t, err)
	byUser, err := c.AccountInfoByUser(ctx, "~")
	require.NoError(t, err)
	assert.Equal(t, account, byUser)
	apps, err := c.AppListOwnedAndCollaborated(ctx, "~", &heroku.ListRange{Field: "name", Max: 1000})
	require.NoError(t, err)
	assert.Len(t, apps, 3)
	for name, list := range map[string]func(context.Context, string, *heroku.ListRange) (int, error){
		"addons":    counted(c.AddOnListByApp),
		"domains":   counted(c.DomainList),
		"drains":    counted(c.LogDrainList),
		"dynos":     counted(c.DynoList),
		"features":  counted(c.AppFeatureList),
		"endpoints": counted(c.SniEndpointList),
		"webhooks":  counted(c.AppWebhookList),
	} {
		n, err := list(ctx, app.ID, nil)
		require.NoError(t, err, name)
		assert.Zero(t, n, name)
	}
	collaborators, err := c.CollaboratorList(ctx, app.ID, nil)
	require.NoError(t, err)
	require.Len(t, collaborators, 1)
	assert.Equal(t, account.Email, collaborators[0].User.Email)
	_, err = c.PipelineCouplingInfoByApp(ctx, app.ID)
	requireHerokuError(t, err, http.StatusNotFound, "not_found")
}

// counted adapts the functions for lists, each of which has its own type.
func counted[T any, L ~[]T](list func(context.Context, string, *heroku.ListRange) (L, error)) func(context.Context, string, *heroku.ListRange) (int, error) {
	return func(ctx context.Context, app string, lr *heroku.ListRange) (int, error) {
		all, err := list(ctx, app, lr)
		return len(all), err
	}
}

func TestHerokuGoDecodesErrors(t *testing.T) {
	t.Parallel()
	c := newGoClient(t)
	ctx := t.Context()
	_, err := c.AppInfo(ctx, "no-such-app")
	requireHerokuError(t, err, http.StatusNotFound, "not_found")
	_, err = c.ReleaseCreate(ctx, buildApp, heroku.ReleaseCreateOpts{})
	requireHerokuError(t, err, http.StatusUnprocessableEntity, "invalid_params")
	_, err = c.ReleaseList(ctx, buildApp, &heroku.ListRange{Field: "version", Max: 1001})
	requireHerokuError(t, err, http.StatusRequestedRangeNotSatisfiable, "requested_range_not_satisfiable")
	stranger := heroku.NewService(&http.Client{Transport: &heroku.Transport{BearerToken: "HRKU-other"}})
	stranger.URL = c.platform.URL()
	_, err = stranger.AppInfo(ctx, buildApp)
	requireHerokuError(t, err, http.StatusUnauthorized, "unauthorized")
	_, err = c.Apps.Get(ctx, "no-such-app")
	require.ErrorIs(t, err, herokubuild.ErrNotFound)
}

func requireHerokuError(t *testing.T, err error, status int, id string) {
	t.Helper()
	var refused heroku.Error
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, status, refused.StatusCode)
	assert.Equal(t, id, refused.ID)
}
