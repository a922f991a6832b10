package herokubuild_test

import (
	"strings"
	"testing"

	"github.com/jarcoal/httpmock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
	"github.com/herokubuild/herokubuild/internal/platform"
)

const otherURL = apiURL + "/apps/other-app"

func TestPromote(t *testing.T) {
	t.Parallel()
	imageRelease := `{"id":"` + releaseID + `","version":7,"current":true,"slug":null,"artifacts":[{"type":"slug","id":""},{"type":"oci-image","id":"` + slugID + `"}]}`
	other := strings.Replace(golden(t, "app.json"), "abcde0", "abcdef", 1)
	fir := strings.Replace(other, `"cedar"`, `"fir"`, 1)
	tests := map[string]struct {
		releases, target httpmock.Responder
		description      string
		// body is the body of the POST, empty if there must be none.
		body string
		want error
	}{
		"slug":              {reply(200, "["+golden(t, "release.json")+"]"), reply(200, other), "", `{"slug":"` + slugID + `","description":"Promote example-app v12"}`, nil},
		"description":       {reply(200, "["+golden(t, "release.json")+"]"), reply(200, other), "why", `{"slug":"` + slugID + `","description":"why"}`, nil},
		"image":             {reply(200, "["+imageRelease+"]"), reply(200, fir), "", `{"oci_image":"` + slugID + `","description":"Promote example-app v7"}`, nil},
		"slug by artifact":  {reply(200, strings.ReplaceAll("["+golden(t, "release.json")+"]", `"slug": {"id"`, `"was": {"id"`)), reply(200, other), "", `{"slug":"` + slugID + `","description":"Promote example-app v12"}`, nil},
		"slug to fir":       {reply(200, "["+golden(t, "release.json")+"]"), reply(200, fir), "", "", herokubuild.ErrUnsupportedGeneration},
		"image to cedar":    {reply(200, "["+imageRelease+"]"), reply(200, other), "", "", herokubuild.ErrUnsupportedGeneration},
		"no code":           {reply(200, `[{"id":"`+releaseID+`","version":2,"current":true}]`), reply(200, other), "", "", herokubuild.ErrNoArtifact},
		"no current":        {reply(200, `[{"id":"`+releaseID+`","version":2}]`), reply(200, other), "", "", herokubuild.ErrNotFound},
		"itself by its id":  {reply(200, "["+golden(t, "release.json")+"]"), replyFile(t, 200, "app.json"), "", "", herokubuild.ErrInvalidArgument},
		"to no app":         {reply(200, "["+golden(t, "release.json")+"]"), reply(404, golden(t, "error_not_found.json")), "", "", herokubuild.ErrNotFound},
		"cannot be listed":  {reply(403, ""), reply(200, other), "", "", herokubuild.ErrForbidden},
		"id is not an uuid": {reply(200, `[{"id":"`+releaseID+`","version":2,"current":true,"slug":{"id":"x"}}]`), reply(200, other), "", "", herokubuild.ErrUnexpectedResponse},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t)
			a.on("GET", releasesURL, tt.releases)
			a.on("GET", otherURL, tt.target)
			a.on("POST", otherURL+"/releases", replyFile(t, 201, "release.json"))
			r, err := a.Releases.Promote(t.Context(), appName, "other-app", &herokubuild.PromoteOptions{Description: tt.description})
			seen := a.seen()
			if tt.want == nil {
				require.NoError(t, err)
				assert.Equal(t, goldenRelease(t), r)
				require.Len(t, seen, 3)
				assertCall(t, seen[2], "POST", otherURL+"/releases", tt.body)
				return
			}
			assert.Nil(t, r)
			require.ErrorIs(t, err, tt.want)
			for _, call := range seen {
				assert.Equal(t, "GET", call.Method)
			}
		})
	}
	a := newAPI(t)
	_, err := a.Releases.Promote(t.Context(), "", "other-app", nil)
	requireInvalid(t, err, "source")
	_, err = a.Releases.Promote(t.Context(), appName, "", nil)
	requireInvalid(t, err, "target")
	_, err = a.Releases.Promote(t.Context(), appName, appName, nil)
	requireInvalid(t, err, "target")
	_, err = new(herokubuild.Client).Releases.Promote(t.Context(), appName, "other-app", nil)
	require.ErrorIs(t, err, herokubuild.ErrInvalidArgument)
	assert.Zero(t, a.mock.GetTotalCallCount())
}

// Promote uses the newest release that succeeded, not a later one that failed.
func TestPromoteOnThePlatform(t *testing.T) {
	t.Parallel()
	p, client := startPlatform(t, platform.Options{})
	ctx := t.Context()
	good, err := client.Slugs.CreateFromDir(ctx, "example-app", sourceDir(t, map[string]string{"Procfile": "web: x"}), nil)
	require.NoError(t, err)
	bad, err := client.Slugs.CreateFromDir(ctx, "example-app", sourceDir(t, map[string]string{"Procfile": "web: x\nrelease: exit 1"}), nil)
	require.NoError(t, err)
	_, err = client.Releases.Promote(ctx, "example-app", "other-app", nil)
	require.ErrorIs(t, err, herokubuild.ErrNoArtifact)
	for _, slug := range []*herokubuild.Slug{good, bad} {
		r, err := client.Releases.Create(ctx, "example-app", herokubuild.ReleaseCreateOptions{SlugID: slug.ID})
		require.NoError(t, err)
		_, err = client.Releases.Wait(ctx, "example-app", r.ID, nil)
		assert.Equal(t, slug == good, err == nil)
	}
	r, err := client.Releases.Promote(ctx, "example-app", "other-app", nil)
	require.NoError(t, err)
	assert.Equal(t, good.ID, r.Slug.ID)
	assert.Equal(t, "Promote example-app v3", r.Description)
	assert.True(t, p.Releases("other-app")[2].Current)
}

func TestFirAppOnThePlatform(t *testing.T) {
	t.Parallel()
	_, client := startPlatform(t, platform.Options{FirApps: []string{"fir-one", "fir-two"}, Builder: printing("made an image\n")})
	ctx := t.Context()
	app, err := client.Apps.Get(ctx, "fir-one")
	require.NoError(t, err)
	assert.True(t, app.IsFir())
	cedar, err := client.Apps.Get(ctx, "example-app")
	require.NoError(t, err)
	assert.False(t, cedar.IsFir())

	archive, _ := testArchive(t)
	source, err := client.Sources.Upload(ctx, archive, nil)
	require.NoError(t, err)
	blob := herokubuild.SourceBlob{URL: source.SourceBlob.GetURL}
	_, err = client.Builds.Create(ctx, "fir-one", herokubuild.BuildCreateOptions{SourceBlob: blob, Buildpacks: []herokubuild.Buildpack{{Name: "heroku/go"}}})
	require.ErrorIs(t, err, herokubuild.ErrUnsupportedGeneration)
	assert.Contains(t, err.Error(), "buildpacks")

	build, err := client.Builds.Create(ctx, "fir-one", herokubuild.BuildCreateOptions{SourceBlob: blob})
	require.NoError(t, err)
	assert.Equal(t, "fir", build.Generation)
	build, err = client.Builds.Wait(ctx, "fir-one", build.ID, nil)
	require.NoError(t, err)
	assert.Zero(t, build.Slug)
	release, err := client.Releases.Wait(ctx, "fir-one", build.Release.ID, nil)
	require.NoError(t, err)
	assert.Zero(t, release.Slug)
	image := release.Artifact().ImageID
	require.NotEmpty(t, image)
	assert.Equal(t, herokubuild.Artifact{ImageID: image}, release.Artifact())

	direct, err := client.Releases.Create(ctx, "fir-two", herokubuild.ReleaseCreateOptions{ImageID: image})
	require.NoError(t, err)
	assert.Equal(t, image, direct.Artifact().ImageID)
	promoted, err := client.Releases.Promote(ctx, "fir-one", "fir-two", nil)
	require.NoError(t, err)
	assert.Equal(t, image, promoted.Artifact().ImageID)
	_, err = client.Releases.Promote(ctx, "fir-one", "example-app", nil)
	require.ErrorIs(t, err, herokubuild.ErrUnsupportedGeneration)
	back, err := client.Releases.Rollback(ctx, "fir-two", "3")
	require.NoError(t, err)
	assert.Equal(t, image, back.Artifact().ImageID)
}

func TestReleaseArtifact(t *testing.T) {
	t.Parallel()
	assert.True(t, new(herokubuild.Release).Artifact().IsZero())
	assert.Empty(t, new(herokubuild.Release).Artifact().String())
	unknown := &herokubuild.Release{Artifacts: []herokubuild.ReleaseArtifact{{ID: slugID, Type: "wasm"}}}
	assert.True(t, unknown.Artifact().IsZero())
	slug := goldenRelease(t).Artifact()
	assert.Equal(t, herokubuild.Artifact{SlugID: slugID}, slug)
	assert.Equal(t, slugID, slug.String())
	image := &herokubuild.Release{Artifacts: []herokubuild.ReleaseArtifact{{ID: slugID, Type: "oci-image"}}}
	assert.Equal(t, herokubuild.Artifact{ImageID: slugID}, image.Artifact())
	assert.Equal(t, slugID, image.Artifact().String())
}
