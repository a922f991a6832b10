package herokubuild_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jarcoal/httpmock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
	"github.com/herokubuild/herokubuild/internal/platform"
)

// onCall injects one fault after the other into matching requests to the API.
func onCall(method, pathEnd string, faults ...platform.Fault) platform.FaultFunc {
	return func(at platform.FaultPoint) platform.Fault {
		if at.Host == "api" && at.Method == method && strings.HasSuffix(at.Path, pathEnd) && at.Nth < len(faults) {
			return faults[at.Nth]
		}
		return platform.Fault{}
	}
}

// deploy returns the options of a deploy of example-app to itself and other-app.
func deploy() herokubuild.BuildAndReleaseOptions {
	return herokubuild.BuildAndReleaseOptions{BuildApp: "example-app", ReleaseTo: []string{"other-app"}}
}

// archiveOf returns an archive of the files, or of one file if there are none.
func archiveOf(t *testing.T, files ...file) *herokubuild.Archive {
	t.Helper()
	if len(files) == 0 {
		files = []file{{name: "index.html", content: "hi"}}
	}
	archive, err := herokubuild.NewArchive(packed(t, files...))
	require.NoError(t, err)
	return archive
}

// The platform may or may not have acted on a request whose response is lost.
func TestBuildAndReleaseActsOnceWhenResponsesAreLost(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]platform.Fault{
		"response lost":             {Lost: true},
		"response cut":              {CutResponseAfter: 20},
		"502 page after effect":     {StatusAfter: 502, HTML: true},
		"503 after effect":          {StatusAfter: 503},
		"500 without effect":        {Status: 500},
		"503 page without effect":   {Status: 503, HTML: true},
		"request cut":               {CutRequestAfter: 10},
		"429":                       {Status: 429, RetryAfter: "0"},
		"response delayed and lost": {Delay: 20 * time.Millisecond, Lost: true},
	} {
		for _, path := range []string{"/builds", "/releases", "/sources"} {
			t.Run(path+", "+name, func(t *testing.T) {
				t.Parallel()
				p, client := startPlatform(t, platform.Options{Builder: printing("compiled\n"), Faults: onCall("POST", path, fault)}, quickRetry())
				opts := deploy()
				opts.Archive = archiveOf(t)
				var out bytes.Buffer
				opts.Output = &out
				result, err := client.BuildAndRelease(t.Context(), opts)
				require.NoError(t, err)
				assert.NotEmpty(t, p.FaultsInjected())
				require.Len(t, p.Builds("example-app"), 1)
				assert.Equal(t, p.Builds("example-app")[0].ID, result.Build.ID)
				assert.Equal(t, 1, releasesOf(p, "example-app"))
				assert.Equal(t, 1, releasesOf(p, "other-app"))
				assert.Equal(t, p.Releases("other-app")[2].ID, result.Apps[1].Release.ID)
				assert.Contains(t, out.String(), "compiled\n")
			})
		}
	}
}

// A request may take effect long after it has failed. How long the build is searched
// for must not depend on the polling interval.
func TestBuildAndReleaseFindsBuildThatStartsLate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAPI(t, herokubuild.WithPollBackoff(func(int) time.Duration { return time.Millisecond }))
		start := time.Now()
		build := func(status string) string {
			return `{"id":"` + buildID + `","app":{"id":"` + slugID + `"},"status":"` + status + `","source_blob":{"url":"` + sourceURL + `"},"release":{"id":"` + releaseID + `"}}`
		}
		a.on("POST", appBuildsURL, reply(503, ""))
		a.on("GET", appBuildsURL, func(req *http.Request) (*http.Response, error) {
			if time.Since(start) < 25*time.Second {
				return reply(200, "[]")(req)
			}
			return reply(200, "["+build("succeeded")+"]")(req)
		})
		a.on("GET", appBuildsURL+"/"+buildID, reply(200, build("succeeded")))
		a.on("GET", apiURL+"/apps/"+appName, replyFile(t, 200, "app.json"))
		a.on("GET", apiURL+"/apps/"+appID+"/releases/"+releaseID, reply(200, `{"id":"`+releaseID+`","version":3,"status":"succeeded"}`))
		result, err := a.BuildAndRelease(t.Context(), herokubuild.BuildAndReleaseOptions{BuildApp: appName, SourceURL: sourceURL})
		require.NoError(t, err)
		assert.Equal(t, buildID, result.Build.ID)
		posts, polls := 0, 0
		for _, r := range a.seen() {
			if r.Method == "POST" {
				posts++
			}
			if r.URL == appBuildsURL {
				polls++
			}
		}
		assert.Equal(t, 1, posts)
		assert.Less(t, polls, 30, "polling must not use up the rate limit")
	})
}

// A checkpoint of another source would deploy something other than what was given.
func TestResumeRejectsAnotherSource(t *testing.T) {
	t.Parallel()
	p, client := startPlatform(t, platform.Options{Builder: printing("compiled\n")})
	first := deploy()
	first.Archive, first.Version = archiveOf(t), "v1"
	result, err := client.BuildAndRelease(t.Context(), first)
	require.NoError(t, err)
	require.Equal(t, []string{"other-app"}, result.Checkpoint.ReleaseTo)

	for name, change := range map[string]func(*herokubuild.BuildAndReleaseOptions){
		"source": func(o *herokubuild.BuildAndReleaseOptions) {
			o.Archive, o.SourceURL = nil, "https://example.com/other.tgz"
		},
		"version": func(o *herokubuild.BuildAndReleaseOptions) { o.Version = "v2" },
		"archive": func(o *herokubuild.BuildAndReleaseOptions) {
			o.Archive = archiveOf(t, file{name: "other.html", content: "other"})
		},
	} {
		opts := first
		opts.Checkpoint = result.Checkpoint
		change(&opts)
		_, err := client.BuildAndRelease(t.Context(), opts)
		requireInvalid(t, err, "Checkpoint")
		assert.Len(t, p.Builds("example-app"), 1, name)
	}

	// A checkpoint without a source matches every source.
	onlyBuild := first
	onlyBuild.Checkpoint = herokubuild.Checkpoint{BuildID: result.Build.ID}
	_, err = client.BuildAndRelease(t.Context(), onlyBuild)
	require.NoError(t, err)

	// The checkpoint names the apps, so that they need not be given again.
	again, err := client.BuildAndRelease(t.Context(), herokubuild.BuildAndReleaseOptions{BuildApp: "example-app", Checkpoint: result.Checkpoint})
	require.NoError(t, err)
	assert.Equal(t, result.Build.ID, again.Build.ID)
	require.Len(t, again.Apps, 2)
	assert.Equal(t, "other-app", again.Apps[1].App)
	assert.Equal(t, 1, releasesOf(p, "other-app"))
}

func TestResumeRejectsAnotherCommit(t *testing.T) {
	t.Parallel()
	needGit(t)
	p, client := startPlatform(t, platform.Options{Builder: printing("compiled\n")})
	dir := t.TempDir()
	git(t, dir, "init", "-q")
	write(t, dir, "index.html", "one")
	git(t, dir, "add", ".")
	git(t, dir, "commit", "-q", "-m", "one")
	opts := herokubuild.BuildAndReleaseOptions{BuildApp: "example-app", Dir: dir}
	result, err := client.BuildAndRelease(t.Context(), opts)
	require.NoError(t, err)
	opts.Checkpoint = result.Checkpoint
	_, err = client.BuildAndRelease(t.Context(), opts)
	require.NoError(t, err, "the same commit")
	write(t, dir, "index.html", "not committed")
	_, err = client.BuildAndRelease(t.Context(), opts)
	require.ErrorIs(t, err, herokubuild.ErrCheckpointMismatch)

	write(t, dir, "index.html", "two")
	git(t, dir, "commit", "-q", "-a", "-m", "two")
	_, err = client.BuildAndRelease(t.Context(), opts)
	require.ErrorIs(t, err, herokubuild.ErrCheckpointMismatch)
	assert.Len(t, p.Builds("example-app"), 1)
}

// A deploy that starts from scratch after a failed build uses the apps of the call,
// not those of the checkpoint.
func TestResumeAfterFailedBuildUsesAppsOfTheCall(t *testing.T) {
	t.Parallel()
	builds := 0
	p, client := startPlatform(t, platform.Options{Builder: platform.BuilderFunc(func(context.Context, *platform.Job) error {
		if builds++; builds == 1 {
			return errors.New("no")
		}
		return nil
	})})
	opts := deploy()
	opts.Archive = archiveOf(t)
	_, err := client.BuildAndRelease(t.Context(), opts)
	var failed *herokubuild.DeployError
	require.ErrorAs(t, err, &failed)
	opts.Checkpoint, opts.ReleaseTo = failed.Checkpoint, nil
	result, err := client.BuildAndRelease(t.Context(), opts)
	require.NoError(t, err)
	assert.Len(t, result.Apps, 1)
	assert.Zero(t, releasesOf(p, "other-app"))
}

// If the context ends while the build is being created, the build may exist.
func TestBuildAndReleaseReportsBuildThatMayBeRunning(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAPI(t)
		a.on("GET", apiURL+"/apps/"+appName, replyFile(t, 200, "app.json"))
		a.on("POST", appBuildsURL, hang)
		a.on("GET", appBuildsURL, reply(200, "[]"))
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		start := time.Now()
		_, err := a.BuildAndRelease(ctx, herokubuild.BuildAndReleaseOptions{BuildApp: appName, SourceURL: sourceURL})
		require.ErrorIs(t, err, context.Canceled)
		var failed *herokubuild.DeployError
		require.ErrorAs(t, err, &failed)
		assert.False(t, failed.Canceled)
		assert.Nil(t, failed.Result.Build)
		require.Error(t, failed.CancelErr, "the build cannot be canceled, as its id is unknown")
		assert.True(t, failed.Checkpoint.Resumable())
		assert.Less(t, time.Since(start), 11*time.Second)
	})
}

// If the effect of a request cannot be determined, a later call can resume from the
// error.
func TestBuildAndReleaseReportsUncertainRequests(t *testing.T) {
	t.Parallel()
	for path, phase := range map[string]herokubuild.DeployPhase{"/builds": herokubuild.PhaseBuild, "/releases": herokubuild.PhaseRelease} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			p, client := startPlatform(t, platform.Options{
				Builder: printing("compiled\n"),
				Faults: func(at platform.FaultPoint) platform.Fault {
					switch {
					case at.Host == "api" && at.Method == "POST" && strings.HasSuffix(at.Path, path):
						return platform.Fault{Lost: true}
					case at.Host == "api" && at.Method == "GET" && strings.HasSuffix(at.Path, path):
						return platform.Fault{Status: 500}
					}
					return platform.Fault{}
				},
			}, quickRetry())
			opts := deploy()
			opts.Archive = archiveOf(t)
			_, err := client.BuildAndRelease(t.Context(), opts)
			require.ErrorIs(t, err, herokubuild.ErrMaybeApplied)
			var failed *herokubuild.DeployError
			require.ErrorAs(t, err, &failed)
			assert.Equal(t, phase, failed.Phase)
			assert.False(t, failed.Canceled)
			var apiErr *herokubuild.APIError
			require.ErrorAs(t, err, &apiErr, "the failure of the search is wrapped")

			p.SetFaults(nil)
			opts.Checkpoint = roundTrip(t, failed.Checkpoint)
			result, err := client.BuildAndRelease(t.Context(), opts)
			require.NoError(t, err)
			require.Len(t, p.Builds("example-app"), 1)
			assert.Equal(t, p.Builds("example-app")[0].ID, result.Build.ID)
			assert.Equal(t, 1, releasesOf(p, "example-app"))
			assert.Equal(t, 1, releasesOf(p, "other-app"))
		})
	}
}

func TestBuildAndReleaseDoesNotSearchForRejectedBuild(t *testing.T) {
	t.Parallel()
	p, client := startPlatform(t, platform.Options{Builder: printing(""), Faults: onCall("POST", "/builds", platform.Fault{Status: 422})}, quickRetry())
	opts := deploy()
	opts.Archive = archiveOf(t)
	_, err := client.BuildAndRelease(t.Context(), opts)
	var failed *herokubuild.DeployError
	require.ErrorAs(t, err, &failed)
	require.NotErrorIs(t, err, herokubuild.ErrMaybeApplied)
	assert.True(t, failed.Checkpoint.IsZero(), "there is nothing to resume")
	for _, r := range p.Requests() {
		assert.False(t, r.Method == "GET" && strings.HasSuffix(r.Path, "/builds"))
	}
}

// The same URL may have been built before: that build must not be adopted.
func TestBuildAndReleaseDoesNotAdoptEarlierBuildOfSameURL(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]platform.Fault{"request took effect": {Lost: true}, "request had no effect": {CutRequestAfter: 1}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, client := startPlatform(t, platform.Options{Builder: printing("compiled\n")}, quickRetry())
			source, err := client.Sources.Upload(t.Context(), archiveOf(t), nil)
			require.NoError(t, err)
			opts := deploy()
			opts.SourceURL = source.SourceBlob.GetURL
			first, err := client.BuildAndRelease(t.Context(), opts)
			require.NoError(t, err)

			p.SetFaults(onCall("POST", "/builds", platform.Fault{}, fault))
			second, err := client.BuildAndRelease(t.Context(), opts)
			require.NoError(t, err)
			require.Len(t, p.Builds("example-app"), 2)
			assert.NotEqual(t, first.Build.ID, second.Build.ID)
			assert.Equal(t, 2, releasesOf(p, "other-app"))
		})
	}
}

// If the context ends while the build is being created, the build is searched for, so
// that none keeps running unnoticed.
func TestBuildAndReleaseCancelsBuildThatIsBeingCreated(t *testing.T) {
	t.Parallel()
	for _, keep := range []bool{false, true} {
		ctx, cancel := context.WithCancel(t.Context())
		p, client := startPlatform(t, platform.Options{
			Builder: blocking(make(chan struct{})),
			Faults: func(at platform.FaultPoint) platform.Fault {
				if at.Method != "POST" || !strings.HasSuffix(at.Path, "/builds") {
					return platform.Fault{}
				}
				cancel()
				return platform.Fault{Delay: 10 * time.Millisecond}
			},
		}, quickRetry())
		opts := deploy()
		opts.Archive = archiveOf(t)
		opts.KeepBuildOnCancel = keep
		_, err := client.BuildAndRelease(ctx, opts)
		require.ErrorIs(t, err, context.Canceled)
		var failed *herokubuild.DeployError
		require.ErrorAs(t, err, &failed)
		require.Len(t, p.Builds("example-app"), 1)
		build := p.Builds("example-app")[0]
		require.NotNil(t, failed.Result.Build)
		assert.Equal(t, build.ID, failed.Result.Build.ID)
		if keep {
			assert.Equal(t, "pending", build.Status)
			assert.Equal(t, build.ID, failed.Checkpoint.BuildID)
			continue
		}
		assert.Equal(t, "failed", build.Status)
		assert.True(t, failed.Canceled)
		assert.True(t, failed.Checkpoint.IsZero())
	}
}

// A platform that does not respond must not delay the end of a canceled deploy.
func TestBuildAndReleaseBoundsTheCanceling(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAPI(t)
		a.on("GET", apiURL+"/apps/"+appName, replyFile(t, 200, "app.json"))
		a.on("POST", appBuildsURL, replyFile(t, 201, "build_pending.json"))
		a.mock.RegisterNoResponder(hang)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		a.on("GET", appBuildsURL, reply(200, "[]"))
		started := time.Now()
		_, err := a.BuildAndRelease(ctx, herokubuild.BuildAndReleaseOptions{BuildApp: appName, SourceURL: sourceURL})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		var failed *herokubuild.DeployError
		require.ErrorAs(t, err, &failed)
		assert.False(t, failed.Canceled)
		require.Error(t, failed.CancelErr)
		assert.Equal(t, buildID, failed.Result.Build.ID)
		assert.Equal(t, buildID, failed.Checkpoint.BuildID)
		assert.Equal(t, 15*time.Second, time.Since(started))
	})
}

// roundTrip returns the Checkpoint as another process reads it from JSON.
func roundTrip(t *testing.T, c herokubuild.Checkpoint) herokubuild.Checkpoint {
	t.Helper()
	text, err := json.Marshal(c)
	require.NoError(t, err)
	assertNoSecret(t, string(text))
	assert.NotContains(t, string(text), "?")
	var back herokubuild.Checkpoint
	require.NoError(t, json.Unmarshal(text, &back))
	assert.Equal(t, contentOf(c), contentOf(back))
	return back
}

// A process fails at an event; another one resumes from that event's checkpoint.
func TestBuildAndReleaseResumesFromEveryEvent(t *testing.T) {
	t.Parallel()
	var log eventLog
	opts := deploy()
	opts.Archive = archiveOf(t, file{name: "Procfile", content: "web: serve\nrelease: echo migrating\n"})
	opts.OnEvent = log.on
	{
		_, client := startPlatform(t, platform.Options{Builder: printing("compiled\n")}, quickRetry())
		_, err := client.BuildAndRelease(t.Context(), opts)
		require.NoError(t, err)
	}
	for i, event := range log.events {
		t.Run(string(event.Kind)+" "+string(event.Phase)+" "+event.App, func(t *testing.T) {
			t.Parallel()
			p, client := startPlatform(t, platform.Options{Builder: printing("compiled\n")}, quickRetry())
			var saved herokubuild.Checkpoint
			seen := 0
			crash := errors.New("crash")
			opts := opts
			opts.KeepBuildOnCancel = true
			opts.OnEvent = func(_ context.Context, e herokubuild.DeployEvent) error {
				if seen++; seen <= i {
					return nil
				}
				saved = e.Checkpoint
				return crash
			}
			_, err := client.BuildAndRelease(t.Context(), opts)
			require.ErrorIs(t, err, crash)

			opts.Checkpoint = roundTrip(t, saved)
			opts.OnEvent = nil
			var out bytes.Buffer
			opts.Output = &out
			result, err := client.BuildAndRelease(t.Context(), opts)
			require.NoError(t, err)
			require.Len(t, p.Builds("example-app"), 1)
			assert.Equal(t, 1, releasesOf(p, "example-app"))
			assert.Equal(t, 1, releasesOf(p, "other-app"))
			assert.Equal(t, result.Version, strings.TrimPrefix(result.Checksum, "SHA256:"))
			assert.NotEmpty(t, result.Version)

			// A third call has nothing left to do.
			before := len(p.Requests())
			opts.Checkpoint = result.Checkpoint
			opts.Archive = nil
			again, err := client.BuildAndRelease(t.Context(), opts)
			require.NoError(t, err)
			assert.Equal(t, contentOf(result.Checkpoint), contentOf(again.Checkpoint))
			for _, r := range p.Requests()[before:] {
				assert.Equal(t, "GET", r.Method)
			}
		})
	}
}

func TestResumeContinuesOutputWhereItStopped(t *testing.T) {
	t.Parallel()
	text := buildLog(7, 40_000)
	p, client := startPlatform(t, platform.Options{Builder: printing(text)}, quickRetry())
	full := errors.New("the disk is full")
	var first, second bytes.Buffer
	opts := deploy()
	opts.Archive, opts.KeepBuildOnCancel = archiveOf(t), true
	opts.Output = writer(func(b []byte) (int, error) {
		if room := 10_000 - first.Len(); room < len(b) {
			first.Write(b[:room])
			return room, full
		}
		return first.Write(b)
	})
	_, err := client.BuildAndRelease(t.Context(), opts)
	require.ErrorIs(t, err, full)
	var failed *herokubuild.DeployError
	require.ErrorAs(t, err, &failed)
	assert.EqualValues(t, 10_000, failed.Checkpoint.OutputOffset)

	opts.Checkpoint, opts.Output = roundTrip(t, failed.Checkpoint), &second
	result, err := client.BuildAndRelease(t.Context(), opts)
	require.NoError(t, err)
	want, err := p.Output(result.Build.ID)
	require.NoError(t, err)
	assert.Equal(t, string(want), first.String()+second.String())
	assert.EqualValues(t, len(want), result.Checkpoint.OutputOffset)
}

// A deploy whose build or own release failed cannot be resumed. If the release of
// another app failed, that app gets a new one.
func TestCheckpointAfterFailures(t *testing.T) {
	t.Parallel()
	t.Run("build", func(t *testing.T) {
		t.Parallel()
		_, client := startPlatform(t, platform.Options{Builder: platform.BuilderFunc(func(context.Context, *platform.Job) error { return errors.New("no") })})
		opts := deploy()
		opts.Archive = archiveOf(t)
		_, err := client.BuildAndRelease(t.Context(), opts)
		var failed *herokubuild.DeployError
		require.ErrorAs(t, err, &failed)
		require.ErrorIs(t, err, herokubuild.ErrBuildFailed)
		assert.True(t, failed.Checkpoint.IsZero())
	})
	t.Run("release of the build app", func(t *testing.T) {
		t.Parallel()
		_, client := startPlatform(t, platform.Options{Builder: printing("")})
		opts := deploy()
		opts.Archive = archiveOf(t, file{name: "Procfile", content: "release: exit 1\n"})
		_, err := client.BuildAndRelease(t.Context(), opts)
		var failed *herokubuild.DeployError
		require.ErrorAs(t, err, &failed)
		require.ErrorIs(t, err, herokubuild.ErrReleaseFailed)
		assert.True(t, failed.Checkpoint.IsZero())
	})
	t.Run("release of another app", func(t *testing.T) {
		t.Parallel()
		p, client := startPlatform(t, platform.Options{Apps: []string{"example-app", "other-app", "third-app"}, Builder: printing("")})
		require.NoError(t, p.SetConfigVars("other-app", map[string]string{"FAIL": "1"}))
		opts := deploy()
		opts.ReleaseTo = append(opts.ReleaseTo, "third-app")
		opts.Archive = archiveOf(t, file{name: "Procfile", content: "release: test -z \"$FAIL\"\n"})
		_, err := client.BuildAndRelease(t.Context(), opts)
		var failed *herokubuild.DeployError
		require.ErrorAs(t, err, &failed)
		require.ErrorIs(t, err, herokubuild.ErrReleaseFailed)

		require.NoError(t, p.SetConfigVars("other-app", map[string]string{"FAIL": ""}))
		opts.Checkpoint = roundTrip(t, failed.Checkpoint)
		p.SetFaults(onCall("POST", "/other-app/releases", platform.Fault{}, platform.Fault{Lost: true}))
		_, err = client.BuildAndRelease(t.Context(), opts)
		require.NoError(t, err)
		require.Len(t, p.Builds("example-app"), 1)
		assert.Equal(t, 2, releasesOf(p, "other-app"), "the failed release and a new one")
		assert.Equal(t, 1, releasesOf(p, "third-app"))
	})
}

func TestResumeRejectsInvalidCheckpoint(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	for name, c := range map[string]herokubuild.Checkpoint{
		"of another app": {BuildApp: "shop", BuildID: buildID},
		"build id":       {BuildID: "../../account"},
		"earlier build":  {Before: []string{"x"}},
		"output offset":  {OutputOffset: -1},
		"app id":         decodeCheckpoint(t, `{"apps":{"other-app":"../x"}}`),
		"release id":     decodeCheckpoint(t, `{"releases":{"other-app":"v5"}}`),
		"rollback id":    decodeCheckpoint(t, `{"rollbacks":{"other-app":"v5"}}`),
	} {
		_, err := a.BuildAndRelease(t.Context(), herokubuild.BuildAndReleaseOptions{BuildApp: "example-app", Archive: archiveOf(t), Checkpoint: c})
		var bad *herokubuild.ArgumentError
		require.ErrorAs(t, err, &bad, name)
		assert.True(t, strings.HasPrefix(bad.Name, "Checkpoint"), bad.Name)
	}
	_, err := a.BuildAndRelease(t.Context(), herokubuild.BuildAndReleaseOptions{BuildApp: "example-app", Checkpoint: herokubuild.Checkpoint{Source: sourceURL}})
	requireInvalid(t, err, "BuildAndReleaseOptions")
	assert.Empty(t, a.mock.GetTotalCallCount())
}

// A URL may expire before the upload begins.
func TestUploadReplacesExpiredURLOnce(t *testing.T) {
	t.Parallel()
	archive, content := testArchive(t)
	for name, tt := range map[string]struct{ want error }{
		"expired once":  {},
		"expired twice": {want: herokubuild.ErrForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t)
			second := strings.ReplaceAll(golden(t, "source.json"), "fake", "fake2")
			a.on("POST", apiURL+"/sources", replyFile(t, 201, "source.json"), reply(201, second))
			forbidden := replyFile(t, 403, "storage_refusal.xml")
			responses := []httpmock.Responder{forbidden, reply(200, "")}
			if tt.want != nil {
				responses[1] = forbidden
			}
			a.on("PUT", sourceURL, responses...)
			source, err := a.Sources.Upload(t.Context(), archive, nil)
			seen := a.seen()
			require.Len(t, seen, 4)
			assert.NotEqual(t, seen[1].URL, seen[3].URL)
			assert.Equal(t, string(content), seen[3].Body)
			if tt.want != nil {
				require.ErrorIs(t, err, tt.want)
				return
			}
			require.NoError(t, err)
			assert.Contains(t, source.SourceBlob.PutURL.Reveal(), "fake2")
		})
	}
}
