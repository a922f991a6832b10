package platform_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild/internal/platform"
)

func TestFirApps(t *testing.T) {
	t.Parallel()
	r := start(t, platform.Options{FirApps: []string{"fir-one", "fir-two"}})
	assert.Equal(t, []string{"example-app", "other-app", "fir-one", "fir-two"}, r.AppNames())
	generation := func(app string) any {
		return r.api("GET", "/apps/"+app, "").json(t)["generation"].(map[string]any)["name"]
	}
	assert.Equal(t, "fir", generation("fir-one"))
	assert.Equal(t, "cedar", generation("example-app"))

	archive := inline(t, "echo compiled", entry{name: "Procfile", body: "web: ./run\nrelease: echo image\n"})
	build := r.settled("/apps/fir-one/builds/" + r.build("fir-one", archive, "version", "v1"))
	require.Equal(t, "succeeded", build["status"])
	assert.Equal(t, "fir", build["generation"])
	assert.Nil(t, build["slug"])
	release := r.settled("/apps/fir-one/releases/" + build["release"].(map[string]any)["id"].(string))
	assert.Equal(t, "succeeded", release["status"])
	assert.Nil(t, release["slug"])
	artifacts := release["artifacts"].([]any)
	require.Len(t, artifacts, 1)
	artifact := artifacts[0].(map[string]any)
	assert.Equal(t, "oci-image", artifact["type"])
	image := artifact["id"].(string)
	assert.Equal(t, "image\n", string(r.send("GET", release["output_stream_url"].(string), nil).body))
	assert.Nil(t, r.api("GET", "/apps/fir-one", "").json(t)["slug_size"])

	images := r.api("GET", "/apps/fir-two/oci-images/"+image, "").list(t)
	require.Len(t, images, 1, "the response must be a list, as on Heroku")
	assert.Equal(t, image, images[0]["id"])
	digest := images[0]["digest"].(string)
	assert.Regexp(t, `^sha256:[0-9a-f]{64}$`, digest)
	assert.Equal(t, "./run", images[0]["process_types"].(map[string]any)["web"].(map[string]any)["display_cmd"])

	// Heroku's Go client always sends a slug.
	v := r.release("fir-two", `{"oci_image":"`+image+`","slug":""}`)
	assert.Equal(t, artifacts, v["artifacts"])
	r.settled("/apps/fir-two/releases/" + v["id"].(string))
	bps := images[0]["buildpacks"].([]any)
	require.Len(t, bps, 1)
	assert.Equal(t, "https://github.com/kr/heroku-buildpack-inline", bps[0].(map[string]any)["id"])

	for _, by := range []string{image, digest} {
		v := r.release("fir-two", `{"oci_image":"`+by+`"}`)
		assert.Equal(t, artifacts, v["artifacts"])
		v = r.settled("/apps/fir-two/releases/" + v["id"].(string))
		assert.Equal(t, "succeeded", v["status"])
		assert.Equal(t, true, v["eligible_for_rollback"])
	}

	slug := r.createSlug(`{}`, targz(t, entry{name: "./app/x"}))
	for name, tt := range map[string]struct {
		path, body string
		status     int
	}{
		"slug to fir":        {"/apps/fir-one/releases", `{"slug":"` + slug + `"}`, 422},
		"image to cedar":     {"/apps/example-app/releases", `{"oci_image":"` + image + `"}`, 422},
		"image as slug":      {"/apps/example-app/releases", `{"slug":"` + image + `"}`, 404},
		"slug as image":      {"/apps/fir-one/releases", `{"oci_image":"` + slug + `"}`, 404},
		"both":               {"/apps/fir-one/releases", `{"oci_image":"` + image + `","slug":"` + slug + `"}`, 422},
		"neither":            {"/apps/fir-one/releases", `{}`, 422},
		"slug for fir":       {"/apps/fir-one/slugs", `{"process_types":{}}`, 422},
		"buildpacks for fir": {"/apps/fir-one/builds", `{"source_blob":{"url":"https://h/"},"buildpacks":[{"name":"heroku/go"}]}`, 422},
	} {
		assert.Equal(t, tt.status, r.api("POST", tt.path, tt.body).status, name)
	}
	assert.Equal(t, 404, r.api("GET", "/apps/fir-one/slugs/"+image, "").status)
	assert.Equal(t, 404, r.api("GET", "/apps/fir-one/oci-images/"+slug, "").status)
	assert.Equal(t, 404, r.api("GET", "/apps/no-such-app/oci-images/"+image, "").status)
	_, err := platform.Start(platform.Options{FirApps: []string{"No"}})
	require.Error(t, err)
}

func TestExpire(t *testing.T) {
	t.Parallel()
	r := start(t, platform.Options{})
	old := r.createSlug(`{}`, targz(t, entry{name: "./app/x"}))
	r.release("example-app", `{"slug":"`+old+`"}`)
	r.release("other-app", `{"slug":"`+old+`"}`)
	require.Error(t, r.Expire("example-app", 3), "the app runs it")
	slug := r.createSlug(`{}`, targz(t, entry{name: "./app/y"}))
	r.release("example-app", `{"slug":"`+slug+`"}`)
	require.Error(t, r.Expire("example-app", 3), "another app runs it")
	r.release("other-app", `{"slug":"`+slug+`"}`)
	url := r.api("GET", "/apps/example-app/slugs/"+old, "").json(t)["blob"].(map[string]any)["url"].(string)
	require.NoError(t, r.Expire("example-app", 3))

	for _, app := range []string{"example-app", "other-app"} {
		v := r.api("GET", "/apps/"+app+"/releases/3", "").json(t)
		assert.Equal(t, "expired", v["status"])
		assert.Equal(t, false, v["eligible_for_rollback"])
		assert.Equal(t, 422, r.api("POST", "/apps/"+app+"/releases", `{"release":"`+v["id"].(string)+`"}`).status)
		assert.Equal(t, "succeeded", r.Releases(app)[3].Status)
	}
	v := r.api("GET", "/apps/example-app/slugs/"+old, "").json(t)
	assert.NotNil(t, v["deleted_at"])
	a := r.send("GET", url, nil)
	assert.Equal(t, 404, a.status)
	assert.True(t, bytes.Contains(a.body, []byte("NoSuchKey")))
	assert.Nil(t, r.api("GET", "/apps/example-app/slugs/"+slug, "").json(t)["deleted_at"])
	assert.Equal(t, 422, r.api("POST", "/apps/example-app/releases", `{"slug":"`+old+`"}`).status)

	require.Error(t, r.Expire("no-such-app", 1))
	require.Error(t, r.Expire("example-app", 0))
	require.Error(t, r.Expire("example-app", 9))
}

// TestReleasesOfSDKVariantHaveImage covers a field that is not in the public
// schema, but which Heroku's CLI reads.
func TestReleasesOfSDKVariantHaveImage(t *testing.T) {
	t.Parallel()
	r := start(t, platform.Options{FirApps: []string{"fir-one"}})
	const sdk = accept + ".sdk"
	build := r.settled("/apps/fir-one/builds/" + r.build("fir-one", inline(t, "")))
	require.Equal(t, "succeeded", build["status"])
	slug := r.createSlug(`{"web":"x"}`, targz(t, entry{name: "./app/x"}))
	r.release("example-app", `{"slug":"`+slug+`"}`)

	newest := func(app, accept string) map[string]any {
		all := r.api("GET", "/apps/"+app+"/releases", "", "Accept", accept, "Range", "version ..; max=1, order=desc").list(t)
		require.Len(t, all, 1)
		assert.Equal(t, all[0], r.api("GET", "/apps/"+app+"/releases/"+all[0]["id"].(string), "", "Accept", accept).json(t))
		return all[0]
	}
	v := newest("fir-one", sdk)
	image := v["artifacts"].([]any)[0].(map[string]any)["id"]
	assert.Equal(t, map[string]any{"id": image}, v["oci_image"])
	for _, body := range []string{`{"oci_image":"` + image.(string) + `"}`, `{"release":"` + v["id"].(string) + `"}`} {
		created := r.api("POST", "/apps/fir-one/releases", body, "Accept", sdk)
		require.Equal(t, 201, created.status, "%s", created.body)
		assert.Equal(t, v["oci_image"], created.json(t)["oci_image"])
	}
	for app, version := range map[string]string{"example-app": "3", "fir-one": "1"} {
		v := r.api("GET", "/apps/"+app+"/releases/"+version, "", "Accept", sdk).json(t)
		assert.Contains(t, v, "oci_image")
		assert.Nil(t, v["oci_image"], app)
	}
	for _, other := range []string{accept, accept + ".cancel-build"} {
		assert.NotContains(t, newest("fir-one", other), "oci_image", other)
	}
}
