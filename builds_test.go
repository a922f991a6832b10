package herokubuild_test

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/jarcoal/httpmock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
)

func goldenBuild(t *testing.T) *herokubuild.Build {
	return &herokubuild.Build{
		ID: buildID, App: herokubuild.ResourceRef{ID: "01234567-89ab-cdef-0123-456789abcde0"},
		Status: herokubuild.StatusSucceeded, Stack: "heroku-24", Generation: "cedar",
		Buildpacks: []herokubuild.Buildpack{
			{Name: "heroku/go", URL: "https://buildpacks.example.com/heroku-buildpack-go.tgz"},
			{Name: "heroku/procfile", URL: "https://buildpacks.example.com/heroku-buildpack-procfile.tgz"},
		},
		SourceBlob: herokubuild.SourceBlob{
			URL: sourceURL + fakeQuery, Checksum: checksum, Version: "v1.3.0", VersionDescription: "* Fake User: Change session key",
		},
		OutputStreamURL: outputURL + outputSign,
		Release:         herokubuild.ResourceRef{ID: releaseID},
		Slug:            herokubuild.ResourceRef{ID: slugID},
		User:            herokubuild.User{ID: "5a5f3ac4-5a4b-4d07-9f4b-6d9a4a1c9d21", Email: "dev@example.com"},
		CreatedAt:       at(t, "2024-05-01T10:00:00Z"), UpdatedAt: at(t, "2024-05-01T10:02:30Z"),
	}
}

func TestBuildsGet(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.on("GET", buildURL, replyFile(t, 200, "build_succeeded.json"))
	b, err := a.Builds.Get(t.Context(), appName, buildID)
	require.NoError(t, err)
	r := a.requireCall(t, "GET", buildURL, "")
	assert.Equal(t, accept, r.Header.Get("Accept"))
	assert.Equal(t, goldenBuild(t), b)
}

// Article and platform write "no slug yet" in two ways.
func TestPendingBuild(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"build_pending.json", "build_pending_seed.json"} {
		a := newAPI(t)
		a.on("GET", buildURL, replyFile(t, 200, name))
		b, err := a.Builds.Get(t.Context(), appName, buildID)
		require.NoError(t, err, name)
		assert.Equal(t, herokubuild.StatusPending, b.Status)
		assert.Zero(t, b.Slug)
		assert.Zero(t, b.Release)
		assert.Nil(t, b.Buildpacks)
		assert.Equal(t, sourceURL+fakeQuery, b.SourceBlob.URL.Reveal())
		assert.Equal(t, outputURL+outputSign, b.OutputStreamURL.Reveal())
		assert.False(t, b.CreatedAt.IsZero())
	}
}

func TestBuildsCreate(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		opts herokubuild.BuildCreateOptions
		body string
	}{
		"least": {
			herokubuild.BuildCreateOptions{SourceBlob: herokubuild.SourceBlob{URL: sourceURL + fakeQuery}},
			`{"source_blob":{"url":"` + sourceURL + fakeQuery + `"}}`,
		},
		"most": {
			herokubuild.BuildCreateOptions{
				SourceBlob: herokubuild.SourceBlob{URL: sourceURL + fakeQuery, Checksum: checksum, Version: "v<1>", VersionDescription: "a & b"},
				Buildpacks: []herokubuild.Buildpack{{Name: "heroku/go"}, {URL: "https://github.com/heroku/heroku-buildpack-procfile"}},
			},
			`{"source_blob":{"url":"` + sourceURL + fakeQuery + `","checksum":"` + checksum + `","version":"v<1>","version_description":"a & b"},` +
				`"buildpacks":[{"name":"heroku/go"},{"url":"https://github.com/heroku/heroku-buildpack-procfile"}]}`,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t)
			a.on("GET", appURL, replyFile(t, 200, "app.json"))
			a.on("POST", buildsURL, replyFile(t, 201, "build_pending.json"))
			b, err := a.Builds.Create(t.Context(), appName, tt.opts)
			require.NoError(t, err)
			assert.Equal(t, buildID, b.ID)
			seen := a.seen()
			if tt.opts.Buildpacks != nil {
				// Not every app takes them.
				require.Len(t, seen, 2)
				assertCall(t, seen[0], "GET", appURL, "")
				seen = seen[1:]
			}
			require.Len(t, seen, 1)
			assertCall(t, seen[0], "POST", buildsURL, tt.body)
			assert.Equal(t, accept, seen[0].Header.Get("Accept"))
		})
	}
}

func TestBuildsCreateRefuses(t *testing.T) {
	t.Parallel()
	good := herokubuild.SourceBlob{URL: sourceURL + fakeQuery}
	tests := map[string]struct {
		app  string
		opts herokubuild.BuildCreateOptions
		name string
	}{
		"app":                 {"No", herokubuild.BuildCreateOptions{SourceBlob: good}, "app"},
		"no url":              {appName, herokubuild.BuildCreateOptions{}, "SourceBlob.URL"},
		"plain http":          {appName, herokubuild.BuildCreateOptions{SourceBlob: herokubuild.SourceBlob{URL: "http://storage.example.com/" + fakeQuery}}, "SourceBlob.URL"},
		"a path":              {appName, herokubuild.BuildCreateOptions{SourceBlob: herokubuild.SourceBlob{URL: "./source.tgz"}}, "SourceBlob.URL"},
		"checksum in hex":     {appName, herokubuild.BuildCreateOptions{SourceBlob: herokubuild.SourceBlob{URL: good.URL, Checksum: checksum[7:]}}, "SourceBlob.Checksum"},
		"checksum upper case": {appName, herokubuild.BuildCreateOptions{SourceBlob: herokubuild.SourceBlob{URL: good.URL, Checksum: "SHA256:" + "E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855"}}, "SourceBlob.Checksum"},
		"empty buildpack":     {appName, herokubuild.BuildCreateOptions{SourceBlob: good, Buildpacks: []herokubuild.Buildpack{{}}}, "Buildpacks"},
		"two in one":          {appName, herokubuild.BuildCreateOptions{SourceBlob: good, Buildpacks: []herokubuild.Buildpack{{Name: "heroku/go", URL: "https://h/"}}}, "Buildpacks"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t)
			b, err := a.Builds.Create(t.Context(), tt.app, tt.opts)
			assert.Nil(t, b)
			requireInvalid(t, err, tt.name)
			assert.Zero(t, a.mock.GetTotalCallCount())
		})
	}
}

func TestBuildpacksOfAFirApp(t *testing.T) {
	t.Parallel()
	opts := herokubuild.BuildCreateOptions{SourceBlob: herokubuild.SourceBlob{URL: sourceURL}, Buildpacks: []herokubuild.Buildpack{{Name: "heroku/go"}}}
	for want, answer := range map[error]httpmock.Responder{
		herokubuild.ErrUnsupportedGeneration: reply(200, strings.Replace(golden(t, "app.json"), `"cedar"`, `"fir"`, 1)),
		herokubuild.ErrNotFound:              reply(404, golden(t, "error_not_found.json")),
	} {
		a := newAPI(t)
		a.on("GET", appURL, answer)
		b, err := a.Builds.Create(t.Context(), appName, opts)
		assert.Nil(t, b)
		require.ErrorIs(t, err, want)
		require.NotErrorIs(t, err, herokubuild.ErrMaybeApplied)
		a.requireCall(t, "GET", appURL, "")
	}
}

// A second POST could start a second build.
func TestBuildsCreateIsNotRepeated(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAPI(t)
		a.on("POST", buildsURL, reply(503, ""))
		b, err := a.Builds.Create(t.Context(), appName, herokubuild.BuildCreateOptions{SourceBlob: herokubuild.SourceBlob{URL: sourceURL}})
		assert.Nil(t, b)
		require.ErrorIs(t, err, herokubuild.ErrMaybeApplied)
		assert.Len(t, a.seen(), 1)
	})
}

func TestBuildsCancel(t *testing.T) {
	t.Parallel()
	t.Run("answered with the build", func(t *testing.T) {
		t.Parallel()
		a := newAPI(t)
		a.on("DELETE", buildURL, replyFile(t, 200, "build_pending.json"))
		b, err := a.Builds.Cancel(t.Context(), appName, buildID)
		require.NoError(t, err)
		assert.Equal(t, buildID, b.ID)
		r := a.requireCall(t, "DELETE", buildURL, "")
		assert.Equal(t, "application/vnd.heroku+json; version=3.cancel-build", r.Header.Get("Accept"))
	})
	for name, empty := range map[string]int{"empty 200": 200, "empty 202": 202, "204": 204} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t)
			a.on("DELETE", buildURL, reply(empty, "", "Content-Type", "application/json"))
			a.on("GET", buildURL, reply(200, build("failed")))
			b, err := a.Builds.Cancel(t.Context(), appName, buildID)
			require.NoError(t, err)
			assert.Equal(t, herokubuild.StatusFailed, b.Status)
			assert.Equal(t, accept, a.seen()[1].Header.Get("Accept"))
		})
	}
	t.Run("refused", func(t *testing.T) {
		t.Parallel()
		a := newAPI(t)
		a.on("DELETE", buildURL, reply(422, `{"id":"invalid_params","message":"Build is not pending."}`))
		b, err := a.Builds.Cancel(t.Context(), appName, buildID)
		assert.Nil(t, b)
		assert.Equal(t, "invalid_params", requireAPIError(t, err).ID)
	})
}

func TestBuildsDeleteCache(t *testing.T) {
	t.Parallel()
	for _, status := range []int{200, 202, 204} {
		a := newAPI(t)
		a.on("DELETE", apiURL+"/apps/example-app/build-cache", reply(status, "", "Content-Type", "application/json"))
		require.NoError(t, a.Builds.DeleteCache(t.Context(), appName))
		a.requireCall(t, "DELETE", apiURL+"/apps/example-app/build-cache", "")
	}
	requireInvalid(t, newAPI(t).Builds.DeleteCache(t.Context(), ""), "app")
}

func TestBuildsList(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.on("GET", buildsURL, reply(200, "["+golden(t, "build_succeeded.json")+"]"))
	for b, err := range a.Builds.List(t.Context(), appName, &herokubuild.ListOptions{SortBy: "created_at", Order: herokubuild.Descending, Limit: 10}) {
		require.NoError(t, err)
		assert.Equal(t, goldenBuild(t), b)
	}
	r := a.requireCall(t, "GET", buildsURL, "")
	assert.Equal(t, "created_at ..; order=desc", r.Header.Get("Range"))
}

func TestBuildIDs(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	for _, bad := range []string{"", "latest", "../x", buildID + "/x", buildID[1:]} {
		_, err := a.Builds.Get(t.Context(), appName, bad)
		requireInvalid(t, err, "build")
		_, err = a.Builds.Cancel(t.Context(), appName, bad)
		requireInvalid(t, err, "build")
		_, err = a.Slugs.Get(t.Context(), appName, bad)
		requireInvalid(t, err, "slug")
	}
	_, err := a.Builds.Output(t.Context(), nil, nil)
	requireInvalid(t, err, "build")
	assert.Zero(t, a.mock.GetTotalCallCount())
}
