package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
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

// These variables are the paths of Heroku's CLI and of its plugin heroku-builds,
// whose commands are then run against the emulator.
const (
	cliVariable    = "TEST_HEROKU_CLI"
	pluginVariable = "TEST_HEROKU_BUILDS_PLUGIN"
)

// installed returns the value of a variable, or skips the test.
func installed(t *testing.T, variable string) string {
	t.Helper()
	path := os.Getenv(variable)
	if path == "" {
		t.Skip(variable + " is not set (.ci/run clients installs the program)")
	}
	return path
}

// cli runs Heroku's CLI, or a program that reads the same variables. Its home
// directory is empty, and telemetry and updates are off.
type cli struct {
	*rig
	t *testing.T
	// command is the program with its first arguments.
	command []string
	env     []string
}

func newCLI(t *testing.T, r *rig, command ...string) *cli {
	t.Helper()
	home := t.TempDir()
	c := &cli{rig: r, t: t, command: command, env: []string{
		"PATH=" + os.Getenv("PATH"),
		"HOME=" + home,
		"TMPDIR=" + home,
		"HEROKU_HOST=" + r.platform.URL(),
		"HEROKU_API_KEY=" + r.platform.Token(),
		"DISABLE_TELEMETRY=true",
		"HEROKU_DISABLE_TELEMETRY=1",
		"HEROKU_DISABLE_AUTOUPDATE=1",
		"HEROKU_SKIP_NEW_VERSION_CHECK=true",
		"NO_COLOR=1",
	}}
	for _, kind := range []string{"CACHE", "CONFIG", "DATA", "STATE"} {
		dir := filepath.Join(home, kind)
		// Older releases write their error log without creating its directory.
		require.NoError(t, os.MkdirAll(filepath.Join(dir, "heroku"), 0o700))
		c.env = append(c.env, "XDG_"+kind+"_HOME="+dir)
	}
	return c
}

// run runs a command and returns what it printed: to stdout, and to both outputs.
func (c *cli) run(args ...string) (stdout, all string, err error) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), deadline)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.command[0], append(slices.Clone(c.command[1:]), args...)...)
	cmd.Env = c.env
	cmd.WaitDelay = time.Second
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	began := time.Now()
	err = cmd.Run()
	stdout, all = out.String(), out.String()+errs.String()
	c.t.Logf("$ %s # %.1f s\n%s", strings.Join(args, " "), time.Since(began).Seconds(), all)
	require.NoError(c.t, ctx.Err(), "%v", args)
	return stdout, all, err
}

// ok runs a command that must succeed and print all of the texts.
func (c *cli) ok(args []string, texts ...string) string {
	c.t.Helper()
	stdout, all, err := c.run(args...)
	require.NoError(c.t, err, "%v: %s", args, all)
	for _, text := range texts {
		assert.Contains(c.t, all, text, "%v", args)
	}
	return stdout
}

func (c *cli) json(into any, args ...string) {
	c.t.Helper()
	stdout := c.ok(args)
	require.NoError(c.t, json.Unmarshal([]byte(stdout), into), "%v: %s", args, stdout)
}

func (c *cli) deploy(app, version string) {
	c.t.Helper()
	_, err := c.BuildAndRelease(c.t.Context(), herokubuild.BuildAndReleaseOptions{BuildApp: app, Archive: c.archive, Version: version})
	require.NoError(c.t, err)
}

// TestHerokuCLI runs the commands for apps, releases and buildpacks after deploys
// by the library.
func TestHerokuCLI(t *testing.T) {
	t.Parallel()
	c := newCLI(t, newRig(t), installed(t, cliVariable))
	c.deploy(buildApp, "first-version")
	c.deploy(buildApp, "second-version")
	c.deploy(firApp, "first-version")
	app := func(name string, command ...string) []string { return append(command, "--app", name) }

	c.ok([]string{"auth:whoami"}, "user@example.com")
	c.ok([]string{"apps"}, buildApp, otherApp, firApp)
	c.ok(app(buildApp, "apps:info"), "=== "+buildApp, "Stack:", "heroku-24", "user@example.com")
	c.ok(app(firApp, "apps:info", "--shell"), "stack=heroku-24", "owner=user@example.com")
	var info struct {
		App struct {
			Name string `json:"name"`
		} `json:"app"`
		Addons, Dynos, Collaborators []any
	}
	c.json(&info, app(buildApp, "apps:info", "--json")...)
	assert.Equal(t, buildApp, info.App.Name)
	assert.Empty(t, info.Addons)
	assert.Empty(t, info.Dynos)

	c.ok(app(buildApp, "releases"), "v4", "Deploy second-v", "v3", "Deploy first-ve", "Initial release")
	c.ok(app(buildApp, "releases:info", "v3"), "Release v3", "Deploy first-ve", "Eligible for Rollback?", "Yes")
	c.ok(app(buildApp, "releases:output"), "released\n")

	c.ok(app(buildApp, "releases:rollback"), "Rolling back "+buildApp+" to v3", "done, v5", "released\n")
	c.requireNewest("Rollback to v3", 5)
	c.ok(app(buildApp, "releases:rollback", "v4"), "done, v6")
	c.requireNewest("Rollback to v4", 6)
	c.ok(app(buildApp, "releases:retry"), "Retrying v6 on "+buildApp, "done, v7", "released\n")
	c.requireNewest("Retry of v6: Rollback to v4", 7)

	c.ok(app(buildApp, "buildpacks"), "Classic Buildpack", "example/text")
	c.ok(app(firApp, "buildpacks"), "Cloud Native Buildpack", "example/text")
	c.ok(app(otherApp, "buildpacks"), otherApp+" has no Buildpacks.")

	_, all, err := c.run("releases", "--app", "no-such-app")
	require.Error(t, err)
	assert.Contains(t, all, "Couldn't find that app.")
}

// requireNewest waits for the newest release, whose command the CLI starts.
func (c *cli) requireNewest(description string, version int) {
	c.t.Helper()
	all := c.platform.Releases(buildApp)
	require.Len(c.t, all, version)
	_, err := c.Releases.Wait(c.t.Context(), buildApp, all[version-1].ID, nil)
	require.NoError(c.t, err)
	assert.Equal(c.t, description, all[version-1].Description)
}

// TestHerokuBuildsPlugin runs the commands for builds. The app is a directory that
// contains only a directory.
func TestHerokuBuildsPlugin(t *testing.T) {
	t.Parallel()
	plugin := installed(t, pluginVariable)
	c := newCLI(t, newRigWith(t, platform.DefaultBuilder()), "node", filepath.Join("testdata", "plugin.js"), plugin)
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "bin"), 0o700))
	script := "#!/bin/sh\ncase $SOURCE_VERSION in fail) exit 1;; block) sleep 1000;; esac\necho compiled $SOURCE_VERSION\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "bin", "compile"), []byte(script), 0o700)) //nolint:gosec // a program

	c.ok([]string{"create", buildApp, "dir=" + dir}, "compiled\n", "Released v3")
	c.ok([]string{"create", buildApp, "dir=" + dir, "version=two"}, "compiled two\n", "Released v4")
	_, all, err := c.run("create", buildApp, "dir="+dir, "version=fail")
	require.Error(t, err)
	assert.Contains(t, all, "Push rejected, failed to compile Inline app.")

	builds := c.platform.Builds(buildApp)
	require.Len(t, builds, 3)
	c.ok([]string{"index", buildApp}, builds[0].ID, builds[2].ID, "two", "failed")
	c.ok([]string{"info", buildApp, builds[0].ID}, "succeeded", "https://github.com/kr/heroku-buildpack-inline", "v3")
	c.ok([]string{"info", buildApp}, builds[2].ID, "failed")
	c.ok([]string{"output", buildApp, builds[1].ID}, "compiled two\n")
	c.ok([]string{"cache:purge", buildApp, "confirm=" + buildApp}, "done")

	blob := herokubuild.SourceBlob{URL: herokubuild.SecretURL(builds[0].SourceURL), Version: "block"}
	pending, err := c.Builds.Create(t.Context(), buildApp, herokubuild.BuildCreateOptions{SourceBlob: blob})
	require.NoError(t, err)
	c.ok([]string{"cancel", buildApp}, "Stopping build "+pending.ID+"... done")
	assert.Equal(t, "failed", c.platform.Builds(buildApp)[3].Status)
}
