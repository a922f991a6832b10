package herokubuild_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
	"github.com/herokubuild/herokubuild/internal/platform"
)

func TestRollback(t *testing.T) {
	t.Parallel()
	body := `{"release":"` + releaseID + `"}`
	target := golden(t, "release.json")
	expired := strings.Replace(target, `"succeeded"`, `"expired"`, 1)
	ineligible := strings.Replace(target, `"eligible_for_rollback": true`, `"eligible_for_rollback": false`, 1)
	silent := strings.Replace(target, `"eligible_for_rollback": true,`, ``, 1)
	null := strings.Replace(target, `"eligible_for_rollback": true`, `"eligible_for_rollback": null`, 1)
	require.Len(t, map[string]bool{target: true, expired: true, ineligible: true, silent: true, null: true}, 5)
	for name, tt := range map[string]struct {
		given, requested, release string
		want                      []error
		text                      string
	}{
		"by id":              {releaseID, releaseID, target, nil, ""},
		"by version":         {"v12", "12", target, nil, ""},
		"does not say":       {"12", "12", silent, nil, ""},
		"says null":          {"12", "12", null, nil, ""},
		"expired":            {"12", "12", expired, []error{herokubuild.ErrNotEligible, herokubuild.ErrArtifactExpired}, "example-app cannot be rolled back to release v12: the platform no longer has its slug or image (status expired)"},
		"expired, by silent": {"12", "12", strings.Replace(silent, `"succeeded"`, `"expired"`, 1), []error{herokubuild.ErrArtifactExpired}, "no longer has"},
		"not eligible":       {releaseID, releaseID, ineligible, []error{herokubuild.ErrNotEligible}, "it is not eligible"},
		"failed":             {"12", "12", strings.Replace(ineligible, `"succeeded"`, `"failed"`, 1), []error{herokubuild.ErrNotEligible}, "(status failed)"},
		"without code":       {"12", "12", `{"id":"` + releaseID + `","version":12,"eligible_for_rollback":false}`, []error{herokubuild.ErrNotEligible}, "neither slug nor image"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t)
			a.on("GET", releasesURL+"/"+tt.requested, reply(200, tt.release))
			a.on("POST", releasesURL, reply(201, `{"id":"`+buildID+`","version":13,"status":"succeeded"}`))
			r, err := a.Releases.Rollback(t.Context(), appName, tt.given)
			seen := a.seen()
			assertCall(t, seen[0], "GET", releasesURL+"/"+tt.requested, "")
			if tt.want == nil {
				require.NoError(t, err)
				assert.Equal(t, 13, r.Version)
				require.Len(t, seen, 2)
				assertCall(t, seen[1], "POST", releasesURL, body)
				return
			}
			assert.Nil(t, r)
			assert.Len(t, seen, 1, "nothing is changed")
			var refused *herokubuild.RollbackError
			require.ErrorAs(t, err, &refused)
			for _, want := range tt.want {
				require.ErrorIs(t, err, want)
			}
			if !strings.Contains(name, "expired") {
				require.NotErrorIs(t, err, herokubuild.ErrArtifactExpired)
			}
			assert.Contains(t, err.Error(), tt.text)
			assert.Equal(t, appName, refused.App)
			assert.Equal(t, 12, refused.Release.Version)
			assert.False(t, refused.Release.EligibleForRollback && refused.Release.Status != herokubuild.StatusExpired)
		})
	}
	t.Run("of no release", func(t *testing.T) {
		t.Parallel()
		a := newAPI(t)
		a.on("GET", releasesURL+"/99", reply(404, golden(t, "error_not_found.json")))
		_, err := a.Releases.Rollback(t.Context(), appName, "99")
		require.ErrorIs(t, err, herokubuild.ErrNotFound)
		assert.Len(t, a.seen(), 1)
	})
}

func TestPreviousRelease(t *testing.T) {
	t.Parallel()
	list := `[{"id":"` + uuidOf("5") + `","version":5,"status":"failed"},{"id":"` + uuidOf("4") + `","version":4,"status":"succeeded","eligible_for_rollback":true,"current":true},
		{"id":"` + uuidOf("3") + `","version":3,"status":"failed"},{"id":"` + uuidOf("2") + `","version":2,"status":"expired","eligible_for_rollback":true},{"id":"` + uuidOf("1") + `","version":1,"status":"succeeded","eligible_for_rollback":true}]`
	a := newAPI(t)
	a.on("GET", releasesURL, reply(200, list))
	r, err := a.Releases.Previous(t.Context(), appName)
	require.NoError(t, err)
	assert.Equal(t, 1, r.Version)
	call := a.requireCall(t, "GET", releasesURL, "")
	assert.Equal(t, "version ..; max=20,order=desc", call.Header.Get("Range"))

	for _, none := range []string{"[]", strings.ReplaceAll(list, `"current":true`, `"current":false`), `[{"id":"` + uuidOf("4") + `","version":4,"current":true,"eligible_for_rollback":true}]`} {
		a := newAPI(t)
		a.on("GET", releasesURL, reply(200, none))
		_, err := a.Releases.Previous(t.Context(), appName)
		require.ErrorIs(t, err, herokubuild.ErrNotFound)
	}
	_, err = a.Releases.Previous(t.Context(), "")
	requireInvalid(t, err, "app")
}

func TestRollbackOnThePlatform(t *testing.T) {
	t.Parallel()
	p, client := startPlatform(t, platform.Options{})
	ctx := t.Context()
	var slugs []string
	for _, content := range []string{"one", "two", "three"} {
		slug, err := client.Slugs.CreateFromDir(ctx, "example-app", sourceDir(t, map[string]string{"Procfile": "web: " + content}), nil)
		require.NoError(t, err)
		_, err = client.Releases.Create(ctx, "example-app", herokubuild.ReleaseCreateOptions{SlugID: slug.ID})
		require.NoError(t, err)
		slugs = append(slugs, slug.ID)
	}
	previous, err := client.Releases.Previous(ctx, "example-app")
	require.NoError(t, err)
	assert.Equal(t, 4, previous.Version)
	r, err := client.Releases.Rollback(ctx, "example-app", previous.ID)
	require.NoError(t, err)
	assert.Equal(t, slugs[1], r.Slug.ID)
	assert.Equal(t, "Rollback to v4", r.Description)
	r, err = client.Releases.Rollback(ctx, "example-app", "v5")
	require.NoError(t, err)
	assert.Equal(t, slugs[2], r.Slug.ID)

	require.NoError(t, p.Expire("example-app", 3))
	_, err = client.Releases.Rollback(ctx, "example-app", "v3")
	require.ErrorIs(t, err, herokubuild.ErrArtifactExpired)
	_, err = client.Releases.Rollback(ctx, "example-app", "v1")
	require.ErrorIs(t, err, herokubuild.ErrNotEligible)
	assert.Len(t, p.Releases("example-app"), 7)

	slug, err := client.Slugs.Get(ctx, "example-app", slugs[0])
	require.NoError(t, err)
	assert.False(t, slug.DeletedAt.IsZero())
	_, err = client.Slugs.Download(ctx, "example-app", slug.ID, nil)
	require.ErrorIs(t, err, herokubuild.ErrArtifactExpired)
}
