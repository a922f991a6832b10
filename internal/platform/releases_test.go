package platform_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild/internal/platform"
)

func TestFirstReleases(t *testing.T) {
	t.Parallel()
	r := start(t, platform.Options{})
	all := r.Releases("example-app")
	require.Len(t, all, 2)
	assert.Equal(t, "Initial release", all[0].Description)
	assert.Equal(t, "Enable Logplex", all[1].Description)
	v := r.api("GET", "/apps/example-app/releases/2", "").json(t)
	assert.Equal(t, true, v["current"])
	assert.Equal(t, "succeeded", v["status"])
	assert.Nil(t, v["slug"])
	assert.Equal(t, []any{}, v["artifacts"])
	assert.Equal(t, v, r.api("GET", "/apps/example-app/releases/"+all[1].ID, "").json(t))
	a := r.api("POST", "/apps/example-app/releases", `{"release":"`+all[0].ID+`"}`)
	assert.Equal(t, 422, a.status, "a release without code is not eligible for rollback")
}

// createSlug creates a slug and uploads its archive, without a build.
func (r *rig) createSlug(types string, archive []byte) (id string) {
	r.t.Helper()
	if strings.Contains(types, `"release"`) {
		needUnix(r.t)
	}
	a := r.api("POST", "/apps/example-app/slugs", `{"process_types":`+types+`,"commit":"fedcba9876543210"}`)
	require.Equal(r.t, 201, a.status, "%s", a.body)
	v := a.json(r.t)
	require.Nil(r.t, v["size"])
	blob := v["blob"].(map[string]any)
	require.Equal(r.t, "PUT", blob["method"])
	require.Equal(r.t, 200, r.send("PUT", blob["url"].(string), bytes.NewReader(archive)).status)
	v = r.api("GET", "/apps/example-app/slugs/"+v["id"].(string), "").json(r.t)
	require.EqualValues(r.t, len(archive), v["size"])
	require.Equal(r.t, "GET", v["blob"].(map[string]any)["method"])
	return v["id"].(string)
}

func (r *rig) release(app, body string) map[string]any {
	r.t.Helper()
	a := r.api("POST", "/apps/"+app+"/releases", body)
	require.Equal(r.t, 201, a.status, "%s", a.body)
	return a.json(r.t)
}

func TestReleaseUploadedSlug(t *testing.T) {
	t.Parallel()
	r := start(t, platform.Options{})
	slug := r.createSlug(`{"web":"./run"}`, targz(t, entry{name: "./app/run", body: "x", mode: 0o755}))
	for _, app := range []string{"example-app", "other-app"} {
		v := r.release(app, `{"slug":"`+slug+`"}`)
		assert.Equal(t, "succeeded", v["status"])
		assert.Equal(t, "Deploy fedcba98", v["description"])
		assert.Equal(t, true, v["current"])
		assert.EqualValues(t, 3, v["version"])
	}
	v := r.release("example-app", `{"slug":"`+slug+`","description":"again"}`)
	assert.Equal(t, "again", v["description"])

	third := r.Releases("example-app")[2]
	for version, eligible := range map[string]bool{"2": false, "3": true, "4": true} {
		assert.Equal(t, eligible, r.api("GET", "/apps/example-app/releases/"+version, "").json(t)["eligible_for_rollback"], version)
	}
	r.api("PATCH", "/apps/example-app/config-vars", `{"A":"1"}`)
	v = r.release("example-app", `{"release":"`+third.ID+`"}`)
	assert.Equal(t, "Rollback to v3", v["description"])
	assert.EqualValues(t, 6, v["version"])
	assert.Equal(t, slug, v["slug"].(map[string]any)["id"])
	assert.Equal(t, map[string]any{}, r.api("GET", "/apps/example-app/config-vars", "").json(t), "a rollback must restore config vars")
	a := r.api("POST", "/apps/example-app/releases", `{"release":"`+v["id"].(string)+`"}`)
	assert.Equal(t, 201, a.status, "the current release is eligible for rollback")
	app := r.api("GET", "/apps/example-app", "").json(t)
	assert.NotNil(t, app["slug_size"])
}

func (r *rig) phase(command string) (release map[string]any, output string) {
	r.t.Helper()
	const app = "example-app"
	archive := inline(r.t, "", entry{name: "Procfile", body: "web: x\nrelease: " + command + "\n"}, entry{name: "bin/tool", body: "#!/bin/sh\necho tool\n", mode: 0o755})
	build, out := r.built(r.build(app, archive, "version", "abc"))
	require.Equal(r.t, "succeeded", build["status"], out)
	assert.Contains(r.t, out, "Release command declared: this new release will not be available until the command succeeds.\n")
	release = r.settled("/apps/" + app + "/releases/" + build["release"].(map[string]any)["id"].(string))
	return release, string(r.send("GET", release["output_stream_url"].(string), nil).body)
}

func TestReleasePhase(t *testing.T) {
	t.Parallel()
	r := start(t, platform.Options{})
	require.NoError(t, r.SetConfigVars("example-app", map[string]string{"DATABASE_URL": "db"}))
	v, out := r.phase(`tool; cat README; echo; echo $DATABASE_URL $DYNO $HEROKU_APP_NAME $HEROKU_RELEASE_VERSION $HEROKU_SLUG_COMMIT $PORT; [ "$PWD" = "$HOME" ] && echo home; exec 2>&1; echo err >&2`)
	assert.Equal(t, "succeeded", v["status"], out)
	assert.Equal(t, true, v["current"])
	assert.Equal(t, "tool\nhello\ndb release.1003 example-app v3 abc 5000\nhome\nerr\n", out)
	assert.EqualValues(t, len(out), r.Releases("example-app")[2].OutputBytes)

	v, out = r.phase("echo trouble; exit 7")
	assert.Equal(t, "failed", v["status"])
	assert.Equal(t, false, v["current"])
	assert.Equal(t, false, v["eligible_for_rollback"])
	assert.Equal(t, "trouble\n", out)
	assert.True(t, r.Releases("example-app")[2].Current, "the previous release must stay current")

	v, out = r.phase("true")
	assert.Equal(t, "succeeded", v["status"])
	assert.Empty(t, out)
	assert.Equal(t, 204, r.send("GET", v["output_stream_url"].(string), nil).status)
}

func TestRenameDuringBuildAndRelease(t *testing.T) {
	t.Parallel()
	names := make(chan string, 1)
	r := start(t, platform.Options{Builder: platform.BuilderFunc(func(_ context.Context, j *platform.Job) error {
		names <- j.AppName
		return os.WriteFile(filepath.Join(j.BuildDir, "Procfile"), []byte("release: echo $HEROKU_APP_NAME\n"), 0o600)
	})})
	id := r.AppID("example-app")
	ctx, stop := context.WithCancel(t.Context())
	var renaming sync.WaitGroup
	renaming.Go(func() {
		for names := []string{"other-name", "example-app"}; ctx.Err() == nil; slices.Reverse(names) {
			assert.NoError(t, r.Rename(id, names[0]))
		}
	})
	build := r.settled("/apps/" + id + "/builds/" + r.build(id, inline(t, "", entry{name: "a", body: "a"})))
	require.Equal(t, "succeeded", build["status"])
	release := r.settled("/apps/" + id + "/releases/" + build["release"].(map[string]any)["id"].(string))
	stop()
	renaming.Wait()
	assert.Contains(t, []string{"example-app", "other-name"}, <-names)
	assert.Contains(t, []string{"example-app\n", "other-name\n"}, string(r.send("GET", release["output_stream_url"].(string), nil).body))
}

func TestReleasePhasesOfOneAppQueue(t *testing.T) {
	t.Parallel()
	r := start(t, platform.Options{})
	dir := t.TempDir()
	require.NoError(t, r.SetConfigVars("example-app", map[string]string{"DIR": dir}))
	slug := r.createSlug(`{"release":"cd \"$DIR\" && mkdir lock && sleep 0.02 && rmdir lock"}`, targz(t, entry{name: "./app/", kind: '5'}))
	var ids []string
	for range 5 {
		v := r.release("example-app", `{"slug":"`+slug+`"}`)
		assert.Equal(t, "pending", v["status"])
		ids = append(ids, v["id"].(string))
	}
	for _, id := range ids {
		assert.Equal(t, "succeeded", r.settled("/apps/example-app/releases/" + id)["status"])
	}
	all := r.Releases("example-app")
	assert.True(t, all[len(all)-1].Current)
}

func TestReleasePhaseFailures(t *testing.T) {
	t.Parallel()
	valid := targz(t, entry{name: "./app/x", body: "x"})
	for _, c := range []struct {
		limit   time.Duration
		command string
		archive []byte
		want    string
	}{
		{500 * time.Millisecond, hang, valid, " !     Release command exceeded the limit of 500ms\n"},
		{deadline, "true", []byte("no archive"), " !     Unable to unpack the slug: "},
		{deadline, "true", targz(t, entry{name: "../x"}), ` !     Unable to unpack the slug: entry "../x": `},
	} {
		r := start(t, platform.Options{ReleaseTimeout: c.limit})
		v := r.release("example-app", `{"slug":"`+r.createSlug(fmt.Sprintf(`{"release":%q}`, strings.TrimSpace(c.command)), c.archive)+`"}`)
		v = r.settled("/apps/example-app/releases/" + v["id"].(string))
		assert.Equal(t, "failed", v["status"])
		assert.Contains(t, string(r.send("GET", v["output_stream_url"].(string), nil).body), c.want)
	}
}

func TestCloseKillsReleaseCommand(t *testing.T) {
	t.Parallel()
	r := start(t, platform.Options{})
	v := r.release("example-app", `{"slug":"`+r.createSlug(fmt.Sprintf(`{"release":%q}`, strings.TrimSpace(hang)), targz(t, entry{name: "./app/x"}))+`"}`)
	pid := r.child(v["id"].(string))
	require.NoError(t, r.Close())
	r.waitForExit(pid)
	assert.Equal(t, "failed", r.Releases("example-app")[2].Status)
}
