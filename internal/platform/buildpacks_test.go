package platform_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild/internal/platform"
)

// buildpacks returns the URL and name of each buildpack of a build, or nil for
// null.
func buildpacks(build map[string]any) []map[string]any {
	list, known := build["buildpacks"].([]any)
	if !known {
		return nil
	}
	all := []map[string]any{}
	for _, b := range list {
		all = append(all, b.(map[string]any))
	}
	return all
}

func TestBuildListsItsBuildpacksOnceKnown(t *testing.T) {
	t.Parallel()
	needUnix(t)
	r := start(t, platform.Options{})
	const installations = "/apps/example-app/buildpack-installations"
	assert.Equal(t, "[]\n", string(r.api("GET", installations, "").body))
	goBuildpack := map[string]any{"url": "https://buildpack-registry.s3.amazonaws.com/buildpacks/heroku/go.tgz", "name": "heroku/go"}
	source := targz(t, entry{name: "go.mod", body: "module example.com/hello\n\ngo 1.21\n"}, entry{name: "main.go", body: "package main\n\nfunc main() {}\n"})

	pending := r.api("POST", "/apps/example-app/builds", `{"source_blob":{"url":"`+r.upload(source)+`"}}`).json(t)
	assert.Nil(t, pending["buildpacks"], "buildpacks are not known before they are detected")
	build, out := r.built(pending["id"].(string))
	require.Equal(t, "succeeded", build["status"], out)
	assert.Equal(t, []map[string]any{goBuildpack}, buildpacks(build))
	installed := []map[string]any{{"ordinal": float64(0), "buildpack": goBuildpack}}
	assert.Equal(t, installed, r.api("GET", installations, "").list(t))

	pending = r.api("POST", "/apps/example-app/builds", `{"source_blob":{"url":"`+r.upload(source)+`"}}`).json(t)
	assert.Equal(t, []map[string]any{goBuildpack}, buildpacks(pending), "a later build starts with those of the app")
	r.built(pending["id"].(string))

	// Requested buildpacks are those of one build, not those of the app.
	requested := r.api("POST", "/apps/example-app/builds", `{"source_blob":{"url":"`+r.upload(inline(t, ""))+`"},"buildpacks":[{"url":"https://github.com/kr/heroku-buildpack-inline"}]}`).json(t)
	assert.Equal(t, "https://github.com/kr/heroku-buildpack-inline", buildpacks(requested)[0]["url"])
	build, out = r.built(requested["id"].(string))
	require.Equal(t, "succeeded", build["status"], out)
	assert.Equal(t, "https://github.com/kr/heroku-buildpack-inline", buildpacks(build)[0]["url"])
	assert.Equal(t, installed, r.api("GET", installations, "").list(t))
	assert.Equal(t, 404, r.api("GET", "/apps/no-such-app/buildpack-installations", "").status)
}

func TestBuildpacksAreNeverNullAfterTheBuild(t *testing.T) {
	t.Parallel()
	r := start(t, platform.Options{})
	build, _ := r.built(r.build("example-app", targz(t, entry{name: "README"})))
	require.Equal(t, "failed", build["status"])
	assert.Equal(t, []map[string]any{}, buildpacks(build), "no buildpack was detected")
	assert.Equal(t, "[]\n", string(r.api("GET", "/apps/example-app/buildpack-installations", "").body))

	needUnix(t)
	build, _ = r.built(r.build("example-app", inline(t, "exit 1")))
	require.Equal(t, "failed", build["status"])
	require.Len(t, buildpacks(build), 1, "a buildpack was detected, but failed")
	assert.Equal(t, "[]\n", string(r.api("GET", "/apps/example-app/buildpack-installations", "").body), "a failed build sets no buildpacks")
}
