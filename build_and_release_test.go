package herokubuild_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
	"github.com/herokubuild/herokubuild/internal/platform"
)

// startPlatform starts the emulator without its delays and returns a client for it.
func startPlatform(t *testing.T, opts platform.Options, clientOpts ...herokubuild.Option) (*platform.Platform, *herokubuild.Client) {
	t.Helper()
	if opts.StatusLag == 0 {
		opts.StatusLag = 20 * time.Millisecond
	}
	if opts.ReleaseStreamDelay == 0 {
		opts.ReleaseStreamDelay = -1
	}
	p, err := platform.Start(opts)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, p.Close()) })
	clientOpts = append([]herokubuild.Option{
		herokubuild.WithBaseURL(p.URL()), herokubuild.WithToken(p.Token()),
		herokubuild.WithPollBackoff(func(int) time.Duration { return 5 * time.Millisecond }),
		herokubuild.WithSettleTime(100 * time.Millisecond),
	}, clientOpts...)
	client, err := herokubuild.NewClient(clientOpts...)
	require.NoError(t, err)
	return p, client
}

// printing returns a builder that prints text and succeeds.
func printing(text string) platform.Builder {
	return platform.BuilderFunc(func(_ context.Context, j *platform.Job) error {
		_, err := fmt.Fprint(j.Output, text)
		return err
	})
}

// BenchmarkDeployToInstantEmulator deploys three files to an emulator without delays,
// whose builds only print a line.
func BenchmarkDeployToInstantEmulator(b *testing.B) {
	p, err := platform.Start(platform.Options{Builder: printing("compiled\n"), StatusLag: -1, ReleaseStreamDelay: -1, RateLimit: 1_000_000})
	require.NoError(b, err)
	b.Cleanup(func() { assert.NoError(b, p.Close()) })
	client, err := herokubuild.NewClient(herokubuild.WithBaseURL(p.URL()), herokubuild.WithToken(p.Token()))
	require.NoError(b, err)
	dir := b.TempDir()
	for _, name := range []string{"Procfile", "go.mod", "main.go"} {
		require.NoError(b, os.WriteFile(filepath.Join(dir, name), []byte("web: bin/app\n"), 0o600))
	}
	for b.Loop() {
		_, err := client.BuildAndRelease(b.Context(), herokubuild.BuildAndReleaseOptions{BuildApp: "example-app", Dir: dir})
		require.NoError(b, err)
	}
}

// sourceDir creates a directory with the given files.
func sourceDir(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(content), 0o644))
	}
	return dir
}

// releasesOf returns the number of an app's releases, without the two that every app
// starts with.
func releasesOf(p *platform.Platform, app string) int { return len(p.Releases(app)) - 2 }

// eventLog is an OnEvent that records the events.
type eventLog struct {
	mu     sync.Mutex
	events []herokubuild.DeployEvent
}

func (l *eventLog) on(_ context.Context, e herokubuild.DeployEvent) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, e)
	return nil
}

// kinds returns the kinds of the events, without repetitions. Heartbeats are omitted,
// as they may occur anywhere.
func (l *eventLog) kinds() []string {
	var kinds []string
	for _, e := range l.events {
		if e.Kind == herokubuild.EventHeartbeat {
			continue
		}
		kind := string(e.Kind)
		if e.Kind == herokubuild.EventPhase {
			kind += " " + string(e.Phase)
		}
		if len(kinds) == 0 || kinds[len(kinds)-1] != kind {
			kinds = append(kinds, kind)
		}
	}
	return kinds
}

func TestBuildAndReleaseDeploysDirectoryToSeveralApps(t *testing.T) {
	t.Parallel()
	const text = "-----> Compiling\n\xff not UTF-8 \r progress\n  no line end"
	p, client := startPlatform(t, platform.Options{
		Apps: []string{"shop-build", "shop-eu", "shop-us"}, Builder: printing(text), Heartbeat: time.Millisecond,
	})
	dir := sourceDir(t, map[string]string{"index.html": "hi", "Procfile": "web: serve\nrelease: echo migrating $HEROKU_APP_NAME\n"})

	var output bytes.Buffer
	var log eventLog
	result, err := client.BuildAndRelease(t.Context(), herokubuild.BuildAndReleaseOptions{
		BuildApp: "shop-build", Dir: dir, ReleaseTo: []string{"shop-eu", "shop-us"},
		Version: "v1.4.0", VersionDescription: "summer sale",
		Output: &output, OnEvent: log.on,
	})
	require.NoError(t, err)

	require.Len(t, p.Builds("shop-build"), 1)
	build := p.Builds("shop-build")[0]
	assert.Equal(t, build.ID, result.Build.ID)
	assert.Equal(t, herokubuild.StatusSucceeded, result.Build.Status)
	assert.Equal(t, "v1.4.0", build.SourceVersion)
	assert.Equal(t, result.Checksum, build.Checksum)
	assert.Equal(t, build.SlugID, result.Artifact.SlugID)

	whole, err := p.Output(build.ID)
	require.NoError(t, err)
	assert.Equal(t, string(whole), output.String(), "the output is written byte for byte")
	assert.Contains(t, output.String(), text)

	require.Len(t, result.Apps, 3)
	for i, app := range []string{"shop-build", "shop-eu", "shop-us"} {
		assert.Equal(t, app, result.Apps[i].App)
		require.NoError(t, result.Apps[i].Err)
		assert.Equal(t, herokubuild.StatusSucceeded, result.Apps[i].Release.Status)
		assert.Equal(t, result.Artifact.SlugID, result.Apps[i].Release.Slug.ID)
		assert.Equal(t, 1, releasesOf(p, app), app)
	}
	assert.Equal(t, fmt.Sprintf("Deploy v1.4.0 (build %s)", build.ID), result.Apps[1].Release.Description)

	kinds := log.kinds()
	require.GreaterOrEqual(t, len(kinds), 12, "%v", kinds)
	assert.Equal(t, []string{
		"phase check", "phase pack", "packed", "phase upload", "upload", "phase build", "build_created",
		"build_done", "phase release", "release_created", "release_output", "release_done",
	}, kinds[:12])
	lines := map[string]string{}
	for _, e := range log.events {
		if e.Kind == herokubuild.EventReleaseOutput {
			lines[e.App] += e.Line
		}
	}
	assert.Equal(t, map[string]string{"shop-build": "migrating shop-build", "shop-eu": "migrating shop-eu", "shop-us": "migrating shop-us"}, lines)

	hosts := map[string]bool{}
	for _, r := range p.Requests() {
		hosts[r.Host] = true
		if r.Host != "api" {
			assert.Empty(t, r.Header.Get("Authorization"), "the API key is sent to the API only: %s %s", r.Method, r.Path)
		}
		if r.Method == "PUT" {
			assert.NotContains(t, r.Header, "Content-Type")
			assert.Empty(t, r.TransferEncoding)
		}
	}
	assert.Len(t, hosts, 3)
}

func TestBuildAndReleaseReportsHeartbeats(t *testing.T) {
	t.Parallel()
	// The build and the release phase end after three heartbeats each.
	endRelease := filepath.Join(t.TempDir(), "end")
	endBuild := make(chan struct{})
	p, client := startPlatform(t, platform.Options{
		Heartbeat: 5 * time.Millisecond,
		Builder: platform.BuilderFunc(func(ctx context.Context, _ *platform.Job) error {
			select {
			case <-endBuild:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}),
	})
	dir := sourceDir(t, map[string]string{"Procfile": "release: while ! [ -e '" + endRelease + "' ]; do sleep 0.01; done\n"})
	var builds, releases []herokubuild.DeployEvent
	_, err := client.BuildAndRelease(t.Context(), herokubuild.BuildAndReleaseOptions{
		BuildApp: "example-app", Dir: dir, Timeout: time.Minute,
		OnEvent: func(_ context.Context, e herokubuild.DeployEvent) error {
			switch {
			case e.Kind != herokubuild.EventHeartbeat:
			case e.Release == nil:
				builds = append(builds, e)
				if len(builds) == 3 {
					close(endBuild)
				}
			default:
				if releases = append(releases, e); len(releases) == 3 {
					return os.WriteFile(endRelease, nil, 0o600)
				}
			}
			return nil
		},
	})
	require.NoError(t, err)
	for _, e := range append(builds[:3], releases[:3]...) {
		assert.Equal(t, "example-app", e.App)
		assert.Positive(t, e.Quiet)
	}
	assert.Equal(t, p.Builds("example-app")[0].ID, builds[0].Build.ID)
	assert.Greater(t, releases[2].Quiet, releases[1].Quiet, "Quiet is the time since the last output")
	assert.Equal(t, 3, releases[0].Release.Version)
}

func TestBuildAndReleaseDefaultsVersionAndDescription(t *testing.T) {
	t.Parallel()
	p, client := startPlatform(t, platform.Options{Builder: printing("")})
	result, err := client.BuildAndRelease(t.Context(), herokubuild.BuildAndReleaseOptions{
		BuildApp: "example-app", Dir: sourceDir(t, map[string]string{"a": "b"}), ReleaseTo: []string{"other-app"},
	})
	require.NoError(t, err)
	assert.Equal(t, "SHA256:"+result.Version, result.Checksum)
	assert.Equal(t, "Deploy "+result.Version[:12]+" (build "+result.Build.ID+")", p.Releases("other-app")[2].Description)
}

func TestBuildAndReleaseDeploysArchiveAndURL(t *testing.T) {
	t.Parallel()
	p, client := startPlatform(t, platform.Options{Builder: printing("ok\n")})
	archive, err := herokubuild.PackDir(t.Context(), sourceDir(t, map[string]string{"a": "b"}), nil)
	require.NoError(t, err)
	defer func() { assert.NoError(t, archive.Close()) }()
	_, err = client.BuildAndRelease(t.Context(), herokubuild.BuildAndReleaseOptions{BuildApp: "example-app", Archive: archive})
	require.NoError(t, err)

	source, err := client.Sources.Upload(t.Context(), archive, nil)
	require.NoError(t, err)
	uploads := countRequests(p, "PUT")
	result, err := client.BuildAndRelease(t.Context(), herokubuild.BuildAndReleaseOptions{
		BuildApp: "example-app", SourceURL: source.SourceBlob.GetURL, SourceChecksum: archive.Checksum(),
	})
	require.NoError(t, err)
	assert.Equal(t, uploads, countRequests(p, "PUT"), "a SourceURL is not uploaded")
	assert.Equal(t, source.SourceBlob.GetURL, result.Build.SourceBlob.URL)
	assert.Empty(t, result.Version)

	_, err = client.BuildAndRelease(t.Context(), herokubuild.BuildAndReleaseOptions{
		BuildApp: "example-app", SourceURL: source.SourceBlob.GetURL, SourceChecksum: "SHA256:" + strings.Repeat("0", 64),
	})
	require.ErrorIs(t, err, herokubuild.ErrBuildFailed, "the platform verifies the checksum")
}

// countRequests returns the number of requests with the method.
func countRequests(p *platform.Platform, method string) int {
	n := 0
	for _, r := range p.Requests() {
		if r.Method == method {
			n++
		}
	}
	return n
}

func TestBuildAndReleaseReportsFailedBuild(t *testing.T) {
	t.Parallel()
	p, client := startPlatform(t, platform.Options{Builder: platform.BuilderFunc(func(_ context.Context, j *platform.Job) error {
		for i := range 100 {
			_, _ = fmt.Fprintf(j.Output, "line %d\n", i)
		}
		return errors.New("no")
	})})
	result, err := client.BuildAndRelease(t.Context(), herokubuild.BuildAndReleaseOptions{
		BuildApp: "example-app", Dir: sourceDir(t, map[string]string{"a": "b"}), ReleaseTo: []string{"other-app"},
	})
	require.ErrorIs(t, err, herokubuild.ErrBuildFailed)
	assert.Equal(t, herokubuild.StatusFailed, result.Build.Status)
	assert.Empty(t, result.Apps)
	var build *herokubuild.BuildError
	require.ErrorAs(t, err, &build)
	assert.Equal(t, "example-app", build.App)
	assert.Contains(t, build.Tail, "line 99")
	assert.NotContains(t, build.Tail, "line 50\n")
	var deploy *herokubuild.DeployError
	require.ErrorAs(t, err, &deploy)
	assert.Equal(t, herokubuild.PhaseBuild, deploy.Phase)
	assert.Equal(t, p.Builds("example-app")[0].ID, deploy.Result.Build.ID)
	assert.Empty(t, deploy.Result.Apps)
	assert.False(t, deploy.Canceled)
	assert.Equal(t, p.Builds("example-app")[0].ID, build.Build.ID)
	assert.Zero(t, releasesOf(p, "example-app"))
	assert.Zero(t, releasesOf(p, "other-app"))
}

// If the release of the build app fails, nothing is released to the other apps.
func TestBuildAndReleaseStopsIfReleaseOfBuildAppFails(t *testing.T) {
	t.Parallel()
	p, client := startPlatform(t, platform.Options{Builder: printing("ok\n")})
	_, err := client.BuildAndRelease(t.Context(), herokubuild.BuildAndReleaseOptions{
		BuildApp: "example-app", ReleaseTo: []string{"other-app"},
		Dir: sourceDir(t, map[string]string{"Procfile": "release: echo cannot migrate; exit 3\n"}),
	})
	require.ErrorIs(t, err, herokubuild.ErrReleaseFailed)
	require.NotErrorIs(t, err, herokubuild.ErrBuildFailed)
	var release *herokubuild.ReleaseError
	require.ErrorAs(t, err, &release)
	assert.Equal(t, "example-app", release.App)
	assert.Equal(t, 3, release.Release.Version)
	assert.Equal(t, herokubuild.StatusFailed, release.Release.Status)
	assert.Contains(t, release.Tail, "cannot migrate")
	var deploy *herokubuild.DeployError
	require.ErrorAs(t, err, &deploy)
	require.Len(t, deploy.Result.Apps, 2)
	require.ErrorIs(t, deploy.Result.Apps[1].Err, herokubuild.ErrNotAttempted)
	assert.Zero(t, releasesOf(p, "other-app"))
}

func TestBuildAndReleaseContinuesIfOneOfTheOtherReleasesFails(t *testing.T) {
	t.Parallel()
	p, client := startPlatform(t, platform.Options{Apps: []string{"build-app", "bad-app", "good-app"}, Builder: printing("ok\n")})
	require.NoError(t, p.SetConfigVars("bad-app", map[string]string{"BROKEN": "1"}))
	_, err := client.BuildAndRelease(t.Context(), herokubuild.BuildAndReleaseOptions{
		BuildApp: "build-app", ReleaseTo: []string{"bad-app", "good-app"},
		Dir: sourceDir(t, map[string]string{"Procfile": `release: test -z "$BROKEN"` + "\n"}),
	})
	require.ErrorIs(t, err, herokubuild.ErrReleaseFailed)
	var deploy *herokubuild.DeployError
	require.ErrorAs(t, err, &deploy)
	require.Len(t, deploy.Result.Apps, 3)
	require.NoError(t, deploy.Result.Apps[0].Err)
	require.ErrorIs(t, deploy.Result.Apps[1].Err, herokubuild.ErrReleaseFailed)
	require.NoError(t, deploy.Result.Apps[2].Err)
	assert.Equal(t, herokubuild.StatusSucceeded, deploy.Result.Apps[2].Release.Status)
}

// A wrong app or key is detected before anything is packed or uploaded.
func TestBuildAndReleaseChecksAppsAndKeyFirst(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, app, other string
		opts             []herokubuild.Option
		is               error
		id               string
		requests         int
	}{
		{name: "unknown build app", app: "no-such-app", other: "other-app", is: herokubuild.ErrNotFound, id: "not_found", requests: 1},
		{name: "unknown other app", app: "example-app", other: "no-such-app", is: herokubuild.ErrNotFound, id: "not_found", requests: 2},
		{name: "bad key", app: "example-app", other: "other-app", opts: []herokubuild.Option{herokubuild.WithToken("wrong")}, is: herokubuild.ErrUnauthorized, id: "unauthorized", requests: 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p, client := startPlatform(t, platform.Options{Builder: printing("")}, tt.opts...)
			var log eventLog
			_, err := client.BuildAndRelease(t.Context(), herokubuild.BuildAndReleaseOptions{
				BuildApp: tt.app, ReleaseTo: []string{tt.other}, Dir: sourceDir(t, map[string]string{"a": "b"}), OnEvent: log.on,
			})
			require.ErrorIs(t, err, tt.is)
			var api *herokubuild.APIError
			require.ErrorAs(t, err, &api)
			assert.NotEmpty(t, api.RequestID)
			assert.Equal(t, tt.id, api.ID)
			assert.Equal(t, 1, api.Attempts)
			assert.Len(t, p.Requests(), tt.requests)
			assert.Equal(t, []string{"phase check"}, log.kinds())
		})
	}
}

func TestBuildAndReleaseRejectsDuplicateAppByNameAndID(t *testing.T) {
	t.Parallel()
	p, client := startPlatform(t, platform.Options{Builder: printing("")})
	app, err := client.Apps.Get(t.Context(), "other-app")
	require.NoError(t, err)
	_, err = client.BuildAndRelease(t.Context(), herokubuild.BuildAndReleaseOptions{
		BuildApp: "example-app", ReleaseTo: []string{"other-app", app.ID}, Dir: sourceDir(t, map[string]string{"a": "b"}),
	})
	requireInvalid(t, err, "ReleaseTo")
	assert.Zero(t, countRequests(p, "POST"))
}

// when returns an OnEvent that calls f at each event of a kind.
func when(kind herokubuild.DeployEventKind, f func()) func(context.Context, herokubuild.DeployEvent) error {
	return func(_ context.Context, e herokubuild.DeployEvent) error {
		if e.Kind == kind {
			f()
		}
		return nil
	}
}

// blocking returns a builder that closes started and then runs until it is canceled.
func blocking(started chan<- struct{}) platform.Builder {
	return platform.BuilderFunc(func(ctx context.Context, j *platform.Job) error {
		_, _ = fmt.Fprintln(j.Output, "compiling")
		close(started)
		<-ctx.Done()
		return ctx.Err()
	})
}

func TestBuildAndReleaseCancelsBuildWithContext(t *testing.T) {
	t.Parallel()
	started := make(chan struct{})
	p, client := startPlatform(t, platform.Options{Builder: blocking(started)})
	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("interrupted by the user")
	_, err := client.BuildAndRelease(ctx, herokubuild.BuildAndReleaseOptions{
		BuildApp: "example-app", Dir: sourceDir(t, map[string]string{"a": "b"}),
		OnEvent: when(herokubuild.EventBuildCreated, func() {
			<-started
			cancel(reason)
		}),
	})
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, err, reason)
	var deploy *herokubuild.DeployError
	require.ErrorAs(t, err, &deploy)
	assert.True(t, deploy.Canceled)
	require.NoError(t, deploy.CancelErr)
	build := p.Builds("example-app")[0]
	assert.Equal(t, build.ID, deploy.Result.Build.ID)
	assert.Equal(t, "failed", build.Status)
}

func TestBuildAndReleaseKeepsBuildOnCancelIfConfigured(t *testing.T) {
	t.Parallel()
	started := make(chan struct{})
	p, client := startPlatform(t, platform.Options{Builder: blocking(started)})
	ctx, cancel := context.WithCancel(t.Context())
	_, err := client.BuildAndRelease(ctx, herokubuild.BuildAndReleaseOptions{
		BuildApp: "example-app", Dir: sourceDir(t, map[string]string{"a": "b"}), KeepBuildOnCancel: true,
		OnEvent: when(herokubuild.EventBuildCreated, func() {
			<-started
			cancel()
		}),
	})
	require.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, "pending", p.Builds("example-app")[0].Status)
	assert.Zero(t, countRequests(p, "DELETE"))
}

func TestBuildAndReleaseCancelsBuildAtTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAPI(t)
		build := func(status string) string {
			return `{"id":"` + buildID + `","app":{"id":"` + appID + `"},"status":"` + status + `","output_stream_url":"https://build-output.example.com/streams/1"}`
		}
		a.on("GET", apiURL+"/apps/"+appName, replyFile(t, 200, "app.json"))
		a.on("GET", appBuildsURL, reply(200, "[]"))
		a.on("POST", appBuildsURL, reply(201, build("pending")))
		a.on("GET", appBuildsURL+"/"+buildID, reply(200, build("pending")))
		a.on("DELETE", appBuildsURL+"/"+buildID, reply(200, build("failed")))
		a.mock.RegisterNoResponder(hang)
		started := time.Now()
		result, err := a.BuildAndRelease(t.Context(), herokubuild.BuildAndReleaseOptions{
			BuildApp: appName, SourceURL: sourceURL, Timeout: 40 * time.Minute,
		})
		require.ErrorIs(t, err, herokubuild.ErrWaitTimeout)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, 40*time.Minute, time.Since(started))
		var failed *herokubuild.DeployError
		require.ErrorAs(t, err, &failed)
		assert.Equal(t, herokubuild.PhaseBuild, failed.Phase)
		assert.True(t, failed.Canceled)
		require.NoError(t, failed.CancelErr)
		assert.Equal(t, buildID, result.Build.ID)
		assert.Equal(t, herokubuild.StatusFailed, result.Build.Status)
		assert.Equal(t, 40*time.Minute, result.Durations.Build.Round(time.Second))
		calls := map[string]int{}
		for _, r := range a.seen() {
			calls[r.Method]++
		}
		assert.Equal(t, 1, calls["POST"])
		assert.Equal(t, 1, calls["DELETE"])
	})
}

type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }

func TestBuildAndReleaseEndsWithErrorsOfCallbacks(t *testing.T) {
	t.Parallel()
	diskFull := errors.New("disk full")
	onBuild := func(_ context.Context, e herokubuild.DeployEvent) error {
		if e.Kind == herokubuild.EventBuildCreated {
			return diskFull
		}
		return nil
	}
	for name, opts := range map[string]herokubuild.BuildAndReleaseOptions{
		"OnEvent": {OnEvent: onBuild},
		"Output":  {Output: failingWriter{err: diskFull}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, client := startPlatform(t, platform.Options{Builder: blocking(make(chan struct{}))})
			opts.BuildApp, opts.Dir = "example-app", sourceDir(t, map[string]string{"a": "b"})
			_, err := client.BuildAndRelease(t.Context(), opts)
			require.ErrorIs(t, err, diskFull)
			require.Len(t, p.Builds("example-app"), 1)
			assert.Equal(t, "failed", p.Builds("example-app")[0].Status, "the build is canceled")
		})
	}
}

func TestBuildAndReleaseRejectsInvalidOptionsBeforeAnyChange(t *testing.T) {
	t.Parallel()
	p, client := startPlatform(t, platform.Options{})
	dir := sourceDir(t, map[string]string{"a": "b"})
	checksum := "SHA256:" + strings.Repeat("0", 64)
	for name, tt := range map[string]struct {
		argument string
		opts     herokubuild.BuildAndReleaseOptions
	}{
		"no build app":            {argument: "BuildApp", opts: herokubuild.BuildAndReleaseOptions{Dir: dir}},
		"bad build app":           {argument: "BuildApp", opts: herokubuild.BuildAndReleaseOptions{BuildApp: "Example_App", Dir: dir}},
		"no source":               {argument: "BuildAndReleaseOptions", opts: herokubuild.BuildAndReleaseOptions{BuildApp: "example-app"}},
		"two sources":             {argument: "BuildAndReleaseOptions", opts: herokubuild.BuildAndReleaseOptions{BuildApp: "example-app", Dir: dir, SourceURL: "https://example.com/a.tgz"}},
		"missing directory":       {argument: "Dir", opts: herokubuild.BuildAndReleaseOptions{BuildApp: "example-app", Dir: filepath.Join(dir, "missing")}},
		"file as directory":       {argument: "Dir", opts: herokubuild.BuildAndReleaseOptions{BuildApp: "example-app", Dir: filepath.Join(dir, "a")}},
		"empty directory":         {argument: "dir", opts: herokubuild.BuildAndReleaseOptions{BuildApp: "example-app", Dir: t.TempDir()}},
		"plain http":              {argument: "SourceURL", opts: herokubuild.BuildAndReleaseOptions{BuildApp: "example-app", SourceURL: "http://example.com/a.tgz?token=top-secret"}},
		"URL without host":        {argument: "SourceURL", opts: herokubuild.BuildAndReleaseOptions{BuildApp: "example-app", SourceURL: "./app.tgz"}},
		"bad checksum":            {argument: "SourceChecksum", opts: herokubuild.BuildAndReleaseOptions{BuildApp: "example-app", SourceURL: "https://example.com/a.tgz", SourceChecksum: "md5:1"}},
		"checksum of a directory": {argument: "SourceChecksum", opts: herokubuild.BuildAndReleaseOptions{BuildApp: "example-app", Dir: dir, SourceChecksum: checksum}},
		"empty archive":           {argument: "archive", opts: herokubuild.BuildAndReleaseOptions{BuildApp: "example-app", Archive: &herokubuild.Archive{}}},
		"build app again":         {argument: "ReleaseTo", opts: herokubuild.BuildAndReleaseOptions{BuildApp: "example-app", Dir: dir, ReleaseTo: []string{"example-app"}}},
		"duplicate app":           {argument: "ReleaseTo", opts: herokubuild.BuildAndReleaseOptions{BuildApp: "example-app", Dir: dir, ReleaseTo: []string{"other-app", "other-app"}}},
		"empty app":               {argument: "ReleaseTo", opts: herokubuild.BuildAndReleaseOptions{BuildApp: "example-app", Dir: dir, ReleaseTo: []string{""}}},
		"empty buildpack":         {argument: "Buildpacks", opts: herokubuild.BuildAndReleaseOptions{BuildApp: "example-app", Dir: dir, Buildpacks: []herokubuild.Buildpack{{}}}},
		"negative timeout":        {argument: "Timeout", opts: herokubuild.BuildAndReleaseOptions{BuildApp: "example-app", Dir: dir, Timeout: -1}},
		"negative idle timeout":   {argument: "StreamOptions.IdleTimeout", opts: herokubuild.BuildAndReleaseOptions{BuildApp: "example-app", Dir: dir, IdleTimeout: -1}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := client.BuildAndRelease(t.Context(), tt.opts)
			requireInvalid(t, err, tt.argument)
			assert.NotContains(t, err.Error(), "top-secret")
		})
	}
	assert.Zero(t, countRequests(p, "POST"))
}
