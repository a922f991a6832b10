package herokubuild_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
)

func goldenRelease(t *testing.T) *herokubuild.Release {
	return &herokubuild.Release{
		ID: releaseID, Version: 12, Status: herokubuild.StatusSucceeded, Current: true, Description: "Deploy 60883d9",
		App:             herokubuild.ResourceRef{ID: "01234567-89ab-cdef-0123-456789abcde0", Name: "example-app"},
		Slug:            herokubuild.ResourceRef{ID: slugID},
		Artifacts:       []herokubuild.Artifact{{ID: slugID, Type: "slug"}},
		AddonPlanNames:  []string{"heroku-postgresql:essential-0"},
		OutputStreamURL: "https://release-output.heroku.com/streams/a52/a526a8b7/logs/0f/0fd8f4a2.log" + outputSign,

		EligibleForRollback: true,
		User:                herokubuild.User{ID: "5a5f3ac4-5a4b-4d07-9f4b-6d9a4a1c9d21", Email: "dev@example.com"},
		CreatedAt:           at(t, "2024-05-01T10:02:30Z"), UpdatedAt: at(t, "2024-05-01T10:02:40Z"),
	}
}

func TestReleasesGet(t *testing.T) {
	t.Parallel()
	for given, sent := range map[string]string{"v12": "12", "V12": "12", "12": "12", releaseID: releaseID} {
		a := newAPI(t)
		a.on("GET", releasesURL+"/"+sent, replyFile(t, 200, "release.json"))
		r, err := a.Releases.Get(t.Context(), appName, given)
		require.NoError(t, err)
		assert.Equal(t, goldenRelease(t), r)
		a.requireCall(t, "GET", releasesURL+"/"+sent, "")
	}
}

func TestReleaseWithNulls(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.on("GET", releasesURL+"/1", replyFile(t, 200, "release_first.json"))
	r, err := a.Releases.Get(t.Context(), appName, "1")
	require.NoError(t, err)
	assert.Zero(t, r.Slug)
	assert.Empty(t, r.OutputStreamURL)
	assert.Equal(t, herokubuild.StatusExpired, r.Status)
	_, err = a.Releases.Output(t.Context(), r, nil)
	require.ErrorIs(t, err, herokubuild.ErrNoOutput)
	_, err = a.Releases.Output(t.Context(), nil, nil)
	requireInvalid(t, err, "release")
}

func TestReleaseIdentities(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	for _, bad := range []string{"", "v", "0", "v0", "-1", "1.5", "latest", "v12\n", "vv1", "12345678901", "../1", releaseID + "0"} {
		_, err := a.Releases.Get(t.Context(), appName, bad)
		requireInvalid(t, err, "release")
		_, err = a.Releases.Rollback(t.Context(), appName, bad)
		requireInvalid(t, err, "release")
	}
	_, err := a.Releases.Get(t.Context(), "", "1")
	requireInvalid(t, err, "app")
	_, err = a.Releases.Rollback(t.Context(), "", "1")
	requireInvalid(t, err, "app")
	assert.Zero(t, a.mock.GetTotalCallCount())
}

func TestReleasesCreate(t *testing.T) {
	t.Parallel()
	digest := "sha256:" + checksum[7:]
	tests := map[string]struct {
		opts herokubuild.ReleaseCreateOptions
		body string
	}{
		"slug":   {herokubuild.ReleaseCreateOptions{Slug: slugID}, `{"slug":"` + slugID + `"}`},
		"why":    {herokubuild.ReleaseCreateOptions{Slug: slugID, Description: "a & b"}, `{"slug":"` + slugID + `","description":"a & b"}`},
		"image":  {herokubuild.ReleaseCreateOptions{OCIImage: slugID}, `{"oci_image":"` + slugID + `"}`},
		"digest": {herokubuild.ReleaseCreateOptions{OCIImage: digest}, `{"oci_image":"` + digest + `"}`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t)
			a.on("POST", releasesURL, replyFile(t, 201, "release.json"))
			r, err := a.Releases.Create(t.Context(), appName, tt.opts)
			require.NoError(t, err)
			assert.Equal(t, goldenRelease(t), r)
			a.requireCall(t, "POST", releasesURL, tt.body)
		})
	}
}

func TestReleasesCreateRefuses(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	for want, opts := range map[string][]herokubuild.ReleaseCreateOptions{
		"ReleaseCreateOptions": {{}, {Slug: slugID, OCIImage: slugID}, {Description: "only"}},
		"Slug":                 {{Slug: "v2"}},
		"OCIImage":             {{OCIImage: "sha256:beef"}, {OCIImage: "registry.example.com/image"}},
	} {
		for _, o := range opts {
			_, err := a.Releases.Create(t.Context(), appName, o)
			requireInvalid(t, err, want)
		}
	}
	_, err := a.Releases.Create(t.Context(), "No", herokubuild.ReleaseCreateOptions{Slug: slugID})
	requireInvalid(t, err, "app")
	assert.Zero(t, a.mock.GetTotalCallCount())
}

func TestReleasesCreateIsNotRepeated(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAPI(t)
		a.on("POST", releasesURL, fail(errDropped))
		r, err := a.Releases.Create(t.Context(), appName, herokubuild.ReleaseCreateOptions{Slug: slugID})
		assert.Nil(t, r)
		require.ErrorIs(t, err, herokubuild.ErrMaybeApplied)
		assert.Len(t, a.seen(), 1)
	})
}

func TestCurrentRelease(t *testing.T) {
	t.Parallel()
	release := func(version int, current bool, status string) string {
		return fmt.Sprintf(`{"id":%q,"version":%d,"current":%t,"status":%q}`, uuidOf(strconv.Itoa(version%10)), version, current, status)
	}
	list := func(releases ...string) string { return "[" + strings.Join(releases, ",") + "]" }
	t.Run("is not the newest", func(t *testing.T) {
		t.Parallel()
		a := newAPI(t)
		a.on("GET", releasesURL, reply(206, list(release(9, false, "pending"), release(8, false, "failed"), release(7, true, "succeeded"), release(6, false, "succeeded")), "Next-Range", "version ..5"))
		r, err := a.Releases.Current(t.Context(), appName)
		require.NoError(t, err)
		assert.Equal(t, 7, r.Version)
		call := a.requireCall(t, "GET", releasesURL, "")
		assert.Equal(t, "version ..; max=20,order=desc", call.Header.Get("Range"))
	})
	t.Run("is on a later page", func(t *testing.T) {
		t.Parallel()
		a := newAPI(t)
		a.on("GET", releasesURL,
			reply(206, list(release(9, false, "failed")), "Next-Range", "version ..8; max=20,order=desc"),
			reply(200, list(release(8, true, "succeeded"))))
		r, err := a.Releases.Current(t.Context(), appName)
		require.NoError(t, err)
		assert.Equal(t, 8, r.Version)
		assert.Equal(t, "version ..8; max=20,order=desc", a.seen()[1].Header.Get("Range"))
	})
	t.Run("is none", func(t *testing.T) {
		t.Parallel()
		a := newAPI(t)
		a.on("GET", releasesURL, reply(200, list(release(1, false, "failed"))))
		_, err := a.Releases.Current(t.Context(), appName)
		require.ErrorIs(t, err, herokubuild.ErrNotFound)
	})
	t.Run("cannot be listed", func(t *testing.T) {
		t.Parallel()
		a := newAPI(t)
		a.on("GET", releasesURL, reply(403, ""))
		_, err := a.Releases.Current(t.Context(), appName)
		require.ErrorIs(t, err, herokubuild.ErrForbidden)
	})
}

func TestReleasesListPage(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.on("GET", releasesURL, reply(206, "["+golden(t, "release.json")+"]", "Next-Range", "version ..11"))
	p, err := a.Releases.ListPage(t.Context(), appName, nil)
	require.NoError(t, err)
	assert.Equal(t, []*herokubuild.Release{goldenRelease(t)}, p.Items)
	assert.Equal(t, "version ..11", p.Next)
}
