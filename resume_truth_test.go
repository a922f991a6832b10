package herokubuild_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
	"github.com/herokubuild/herokubuild/internal/platform"
)

// A call that fails before it could search for the build of an earlier one
// leaves that build to the next.
func TestABuildThatWasNotSearchedForIsNotForgotten(t *testing.T) {
	t.Parallel()
	for _, failing := range []string{"", "/builds"} {
		t.Run("GET "+failing, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancelCause(t.Context())
			p, client := startPlatform(t, platform.Options{Builder: printing("")}, quickRetry())
			path := "/apps/" + p.AppID("example-app")
			p.SetFaults(func(at platform.FaultPoint) platform.Fault {
				if at.Method == "POST" && at.Path == path+"/builds" {
					cancel(herokubuild.ErrDetached)
					return platform.Fault{Delay: 50 * time.Millisecond}
				}
				return platform.Fault{}
			})
			opts := deploy()
			opts.Archive = archiveOf(t)
			_, err := client.BuildAndRelease(ctx, opts)
			require.ErrorIs(t, err, herokubuild.ErrMaybeApplied)
			opts.Checkpoint = checkpointOf(t, err)

			p.SetFaults(func(at platform.FaultPoint) platform.Fault {
				if at.Method == "GET" && at.Path == path+failing {
					return platform.Fault{Status: 503, Delay: 100 * time.Millisecond}
				}
				return platform.Fault{}
			})
			_, err = client.BuildAndRelease(t.Context(), opts)
			var refused *herokubuild.APIError
			require.ErrorAs(t, err, &refused)
			opts.Checkpoint = checkpointOf(t, err)
			assert.True(t, opts.Checkpoint.Resumable())

			p.SetFaults(nil)
			_, err = client.BuildAndRelease(t.Context(), opts)
			require.NoError(t, err)
			assert.Len(t, p.Builds("example-app"), 1)
		})
	}
}

// A status that lags behind one that was final before changes nothing.
func TestABuildThatSeemsPendingAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		build := func(status string) string {
			return strings.Replace(golden(t, "build_pending.json"), `"pending"`, `"`+status+`"`, 1)
		}
		a := newAPI(t)
		a.on("GET", apiURL+"/apps/"+appName, replyFile(t, 200, "app.json"))
		a.on("GET", appBuildsURL, reply(200, "[]"))
		a.on("POST", appBuildsURL, reply(201, build("pending")))
		a.on("GET", appBuildsURL+"/"+buildID, reply(200, build("failed")), reply(200, build("pending")), reply(200, build("failed")))
		a.on("GET", outputURL, reply(503, ""))
		_, err := a.BuildAndRelease(t.Context(), herokubuild.BuildAndReleaseOptions{BuildApp: appName, SourceURL: sourceURL})
		require.ErrorIs(t, err, herokubuild.ErrBuildFailed)
	})
}

// An upload is not the source of a checkpoint that is of a URL, whose checksum
// is not known.
func TestAnUploadIsNotTheURLOfACheckpoint(t *testing.T) {
	t.Parallel()
	p, client := startPlatform(t, platform.Options{Builder: printing("")}, quickRetry())
	opts := herokubuild.BuildAndReleaseOptions{
		BuildApp: "example-app", SourceURL: "https://127.0.0.1:1/a.tgz",
		OnEvent: func(_ context.Context, e herokubuild.DeployEvent) error {
			if e.Kind == herokubuild.EventBuildCreated {
				return herokubuild.ErrDetached
			}
			return nil
		},
	}
	_, err := client.BuildAndRelease(t.Context(), opts)
	require.ErrorIs(t, err, herokubuild.ErrDetached)
	c := checkpointOf(t, err)
	for _, opts := range []herokubuild.BuildAndReleaseOptions{{Archive: archiveOf(t)}, {Dir: sourceDir(t, map[string]string{"index.html": "hi"})}} {
		opts.BuildApp, opts.Checkpoint = "example-app", c
		_, err = client.BuildAndRelease(t.Context(), opts)
		require.ErrorIs(t, err, herokubuild.ErrCheckpointMismatch)
	}
	assert.Len(t, p.Builds("example-app"), 1)
}

// Whatever becomes of an interrupted rollback, the call that finishes it fails
// with what caused it.
func TestTheReasonOfAnInterruptedRollback(t *testing.T) {
	t.Parallel()
	hotfix := func(t *testing.T, f *fleet) {
		v3, err := f.client.Releases.Get(t.Context(), "app-1", "v3")
		require.NoError(t, err)
		_, err = f.client.Releases.Create(t.Context(), "app-1", herokubuild.ReleaseCreateOptions{Slug: v3.Slug.ID, Description: "hotfix"})
		require.NoError(t, err)
	}
	configure := func(t *testing.T, f *fleet) {
		require.NoError(t, f.client.Do(t.Context(), "PATCH", "/apps/app-1/config-vars", nil, map[string]string{"COLOR": "red"}, nil))
	}
	for name, tt := range map[string]struct {
		interrupt herokubuild.DeployEventKind
		then      func(*testing.T, *fleet)
		want      error
	}{
		"before anything":                {interrupt: herokubuild.EventRollback, want: herokubuild.ErrRolledBack},
		"before a release of others":     {interrupt: herokubuild.EventRollback, then: hotfix, want: herokubuild.ErrRollbackFailed},
		"after the app that failed":      {interrupt: herokubuild.EventRolledBack, want: herokubuild.ErrRolledBack},
		"after it, config vars are set":  {interrupt: herokubuild.EventRolledBack, then: configure, want: herokubuild.ErrRolledBack},
		"after it, from the event's own": {then: configure, want: herokubuild.ErrRolledBack},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, 2, "web: new\n", platform.Options{})
			ctx, cancel := context.WithCancelCause(t.Context())
			opts := herokubuild.RolloutOptions{Policy: herokubuild.RolloutPolicy{Rollback: herokubuild.RollbackAll, Verify: unhealthy("app-1"), Concurrency: 1}}
			var old herokubuild.Checkpoint
			opts.OnEvent = func(_ context.Context, e herokubuild.DeployEvent) error {
				if e.Kind == herokubuild.EventRollback {
					old = e.Checkpoint
				}
				if e.Kind == tt.interrupt {
					cancel(herokubuild.ErrDetached)
				}
				return nil
			}
			_, err := f.client.Rollout(ctx, f.what, f.apps, &opts)
			require.ErrorIs(t, err, herokubuild.ErrVerifyFailed)
			if opts.Checkpoint = checkpointOf(t, err); tt.interrupt == "" {
				opts.Checkpoint = roundTrip(t, old)
			}
			require.NotEmpty(t, opts.Checkpoint.RollbackIDs)
			if tt.then != nil {
				tt.then(t, f)
			}
			opts.OnEvent, opts.Policy.Verify = nil, unhealthy()
			result, err := f.client.Rollout(t.Context(), f.what, f.apps, &opts)
			require.ErrorIs(t, err, herokubuild.ErrVerifyFailed)
			require.ErrorContains(t, err, "health check: 503")
			require.ErrorIs(t, result.Apps[0].Err, tt.want)
			require.NotErrorIs(t, result.Apps[0].Err, map[error]error{
				herokubuild.ErrRolledBack: herokubuild.ErrRollbackFailed, herokubuild.ErrRollbackFailed: herokubuild.ErrRolledBack,
			}[tt.want])
			require.ErrorIs(t, result.Apps[1].Err, herokubuild.ErrRolledBack)
		})
	}
}

// The rollback of an app that the call does not name would be forgotten.
func TestARollbackOfAnAppThatIsNotNamed(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2, "web: new\n", platform.Options{})
	ctx, cancel := context.WithCancelCause(t.Context())
	opts := herokubuild.RolloutOptions{
		Policy: herokubuild.RolloutPolicy{
			Rollback: herokubuild.RollbackAll, Verify: unhealthy("app-1"),
		},
		OnEvent: when(herokubuild.EventRollback, func() { cancel(herokubuild.ErrDetached) }),
	}
	_, err := f.client.Rollout(ctx, f.what, f.apps, &opts)
	opts.Checkpoint, opts.OnEvent = checkpointOf(t, err), nil
	for _, apps := range [][]string{{"app-1"}, {f.p.AppID("app-1"), f.p.AppID("app-2")}} {
		_, err = f.client.Rollout(t.Context(), f.what, apps, &opts)
		require.ErrorIs(t, err, herokubuild.ErrCheckpointMismatch)
	}
	_, err = f.client.BuildAndRelease(t.Context(), herokubuild.BuildAndReleaseOptions{
		BuildApp: "build-app", ReleaseTo: f.apps, Archive: archiveOf(t), Checkpoint: opts.Checkpoint,
	})
	require.ErrorIs(t, err, herokubuild.ErrCheckpointMismatch, "it is of a rollout")
	_, err = f.client.Rollout(t.Context(), f.what, f.apps, &opts)
	require.ErrorIs(t, err, herokubuild.ErrRolledBack)
}

// What an app ran before may be there no more. It is not taken further back.
func TestARollbackToWhatHasExpired(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1, "web: new\n", platform.Options{})
	release := func(procfile string) {
		result, err := f.client.BuildAndRelease(t.Context(), herokubuild.BuildAndReleaseOptions{
			BuildApp: "build-app", Archive: archiveOf(t, file{name: "Procfile", content: procfile}), ReleaseTo: f.apps,
		})
		require.NoError(t, err)
		require.Equal(t, 4, result.Apps[1].Release.Version)
	}
	release("web: newer\n")
	_, err := f.client.Rollout(t.Context(), f.what, []string{"build-app"}, nil)
	require.NoError(t, err)
	result, err := f.client.Rollout(t.Context(), f.what, f.apps, &herokubuild.RolloutOptions{
		Policy: herokubuild.RolloutPolicy{
			Rollback: herokubuild.RollbackAll,
			Verify: func(context.Context, string, *herokubuild.Release) error {
				require.NoError(t, f.p.Expire("app-1", 4))
				return herokubuild.ErrUnauthorized
			},
		},
	})
	require.ErrorIs(t, err, herokubuild.ErrVerifyFailed)
	require.ErrorIs(t, result.Apps[0].RollbackErr, herokubuild.ErrArtifactExpired)
	assert.Nil(t, result.Apps[0].RolledBack)
	assert.Len(t, f.p.Releases("app-1"), 5)
}

// What a callback's error matches does not decide what becomes of the deploy.
func TestErrorsOfCallbacksAreNoOutcomes(t *testing.T) {
	t.Parallel()
	nested := &herokubuild.RolloutError{Err: herokubuild.ErrMaybeApplied, Apps: []herokubuild.AppResult{
		{Err: herokubuild.ErrSuperseded}, {Err: herokubuild.ErrRolledBack}, {Err: herokubuild.ErrNotFound},
	}}
	f := newFleet(t, 2, "web: new\n", platform.Options{})
	_, err := f.client.Rollout(t.Context(), f.what, f.apps, &herokubuild.RolloutOptions{
		Policy: herokubuild.RolloutPolicy{
			Concurrency: 1, StopOnError: true, Rollback: herokubuild.RollbackUnverified,
			Verify: func(context.Context, string, *herokubuild.Release) error { return nested },
		},
	})
	require.ErrorIs(t, err, herokubuild.ErrVerifyFailed)
	require.ErrorIs(t, err, herokubuild.ErrNotFound, "which is no outcome")
	assert.Equal(t, map[string]string{"app-1": "summer sale, Rollback to v3", "app-2": ""}, f.histories())
	assert.True(t, checkpointOf(t, err).Settled)

	_, err = f.client.BuildAndRelease(t.Context(), herokubuild.BuildAndReleaseOptions{
		BuildApp: "build-app", Archive: archiveOf(t), OnEvent: func(_ context.Context, e herokubuild.DeployEvent) error {
			if e.Kind == herokubuild.EventBuildDone {
				return nested
			}
			return nil
		},
	})
	require.Error(t, err)
	assert.True(t, nested.Checkpoint.IsZero(), "the error of another call is not changed")
}

// RollbackAll is for the apps that an earlier call released to, too.
func TestRollbackAllOfAResumedCallThatIsCanceled(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2, "web: new\n", platform.Options{})
	opts := herokubuild.RolloutOptions{Policy: herokubuild.RolloutPolicy{Concurrency: 1, Rollback: herokubuild.RollbackAll}}
	opts.OnEvent = func(_ context.Context, e herokubuild.DeployEvent) error {
		if e.Kind == herokubuild.EventReleaseDone {
			return herokubuild.ErrDetached
		}
		return nil
	}
	_, err := f.client.Rollout(t.Context(), f.what, f.apps, &opts)
	require.ErrorIs(t, err, herokubuild.ErrDetached)
	require.Equal(t, map[string]string{"app-1": "summer sale", "app-2": ""}, f.histories())
	ctx, cancel := context.WithCancel(t.Context())
	opts.Checkpoint, opts.OnEvent = checkpointOf(t, err), when(herokubuild.EventReleaseDone, cancel)
	_, err = f.client.Rollout(ctx, f.what, []string{"app-2", "app-1"}, &opts)
	require.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, map[string]string{"app-1": "summer sale, Rollback to v3", "app-2": "summer sale, Rollback to v3"}, f.histories())
}

// A release that was replaced while its phase ran is no success, although it
// succeeded.
func TestAReleaseThatIsReplacedWhileItIsPending(t *testing.T) {
	t.Parallel()
	for _, resumed := range []bool{false, true} {
		for name, tt := range map[string]struct {
			replace func(*testing.T, *fleet, *herokubuild.Release)
			want    error
		}{
			"rolled back": {replace: func(t *testing.T, f *fleet, v3 *herokubuild.Release) {
				_, err := f.client.Releases.Rollback(t.Context(), "app-1", v3.ID)
				require.NoError(t, err)
			}, want: herokubuild.ErrRolledBack},
			"superseded": {replace: func(t *testing.T, f *fleet, v3 *herokubuild.Release) {
				_, err := f.client.Releases.Create(t.Context(), "app-1", herokubuild.ReleaseCreateOptions{Slug: v3.Slug.ID, Description: "hotfix"})
				require.NoError(t, err)
			}, want: herokubuild.ErrSuperseded},
		} {
			t.Run(fmt.Sprint(name, ", resumed ", resumed), func(t *testing.T) {
				t.Parallel()
				gate := filepath.Join(t.TempDir(), "open")
				open := func() { require.NoError(t, os.WriteFile(gate, nil, 0o600)) }
				open() // for the release of the app that builds
				f := newFleet(t, 1, "release: while [ ! -e "+gate+" ]; do sleep 0.02; done\n", platform.Options{})
				require.NoError(t, os.Remove(gate))
				v3, err := f.client.Releases.Get(t.Context(), "app-1", "v3")
				require.NoError(t, err)
				opts := new(herokubuild.RolloutOptions)
				opts.OnEvent = func(_ context.Context, e herokubuild.DeployEvent) error {
					if e.Kind != herokubuild.EventReleaseCreated {
						return nil
					}
					if resumed {
						return herokubuild.ErrDetached
					}
					tt.replace(t, f, v3)
					open()
					return nil
				}
				result, err := f.client.Rollout(t.Context(), f.what, f.apps, opts)
				if resumed {
					require.ErrorIs(t, err, herokubuild.ErrDetached)
					tt.replace(t, f, v3)
					opts.Checkpoint = checkpointOf(t, err)
					opts.OnEvent = when(herokubuild.EventReleaseCreated, open)
					result, err = f.client.Rollout(t.Context(), f.what, f.apps, opts)
				}
				require.ErrorIs(t, err, tt.want)
				assert.Equal(t, 4, result.Apps[0].Release.Version)
				assert.Equal(t, tt.want == herokubuild.ErrRolledBack, result.Apps[0].RolledBack != nil)
			})
		}
	}
}

// A rollback that is pending when a call resumes is waited for: it may be that of
// the call before.
func TestResumeWhileARollbackIsPending(t *testing.T) {
	t.Parallel()
	gate := filepath.Join(t.TempDir(), "open")
	open := func() { require.NoError(t, os.WriteFile(gate, nil, 0o600)) }
	open()
	f := newFleet(t, 1, "release: while [ ! -e "+gate+" ]; do sleep 0.02; done\n", platform.Options{})
	// app-1 runs the slug with the release phase, and gets the one without.
	v3, err := f.client.Releases.Get(t.Context(), "app-1", "v3")
	require.NoError(t, err)
	before, err := f.client.Rollout(t.Context(), f.what, f.apps, nil)
	require.NoError(t, err)
	require.NoError(t, os.Remove(gate))
	what := herokubuild.ReleaseCreateOptions{Slug: v3.Slug.ID, Description: "autumn sale"}
	opts := herokubuild.RolloutOptions{Policy: herokubuild.RolloutPolicy{Verify: unhealthy("app-1")}}
	_, err = f.client.Rollout(t.Context(), what, f.apps, &opts)
	require.ErrorIs(t, err, herokubuild.ErrVerifyFailed)
	back, err2 := f.client.Releases.Rollback(t.Context(), "app-1", before.Apps[0].Release.ID)
	require.NoError(t, err2)
	require.Equal(t, herokubuild.StatusPending, back.Status)

	opts.Checkpoint, opts.Policy.Verify = checkpointOf(t, err), nil
	time.AfterFunc(50*time.Millisecond, open)
	result, err := f.client.Rollout(t.Context(), what, f.apps, &opts)
	require.NoError(t, err)
	assert.Equal(t, 7, result.Apps[0].Release.Version, "what was rolled back is released again")
	assert.Equal(t, "autumn sale", runs(f.p, "app-1"))
}

// A checkpoint of a rollback that is over does not undo what a later call has
// released.
func TestAnOldRollbackDoesNotUndoALaterRelease(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1, "web: new\n", platform.Options{})
	var old herokubuild.Checkpoint
	opts := herokubuild.RolloutOptions{Policy: herokubuild.RolloutPolicy{Rollback: herokubuild.RollbackAll, Verify: unhealthy("app-1")}, OnEvent: func(_ context.Context, e herokubuild.DeployEvent) error {
		if e.Kind == herokubuild.EventRolledBack {
			old = roundTrip(t, e.Checkpoint)
		}
		return nil
	}}
	_, err := f.client.Rollout(t.Context(), f.what, f.apps, &opts)
	require.ErrorIs(t, err, herokubuild.ErrVerifyFailed)
	opts.OnEvent, opts.Policy.Verify, opts.Checkpoint = nil, unhealthy(), checkpointOf(t, err)
	_, err = f.client.Rollout(t.Context(), f.what, f.apps, &opts)
	require.NoError(t, err)
	require.Equal(t, "summer sale", runs(f.p, "app-1"))

	opts.Checkpoint = old
	result, err := f.client.Rollout(t.Context(), f.what, f.apps, &opts)
	require.NoError(t, err)
	require.NoError(t, result.Apps[0].Err)
	assert.Equal(t, "summer sale", runs(f.p, "app-1"))
}

// A rollback of the call before may be under way, whatever this call would do.
func TestResumeWithoutRollbackAwaitsOne(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	f := newFleet(t, 1, "web: new\n", platform.Options{}, herokubuild.WithRetry(herokubuild.RetryOptions{SettleTime: 2 * time.Second}))
	id := f.p.AppID("app-1")
	f.p.SetFaults(func(at platform.FaultPoint) platform.Fault {
		if at.Method == "POST" && strings.HasSuffix(at.Path, id+"/releases") && at.Nth == 0 {
			cancel(herokubuild.ErrDetached)
			return platform.Fault{Delay: 500 * time.Millisecond}
		}
		return platform.Fault{}
	})
	var early herokubuild.Checkpoint
	opts := herokubuild.RolloutOptions{Policy: herokubuild.RolloutPolicy{Rollback: herokubuild.RollbackAll, Verify: unhealthy("app-1")}, OnEvent: func(_ context.Context, e herokubuild.DeployEvent) error {
		if e.Kind == herokubuild.EventReleaseDone {
			early = roundTrip(t, e.Checkpoint)
		}
		return nil
	}}
	_, err := f.client.Rollout(ctx, f.what, f.apps, &opts)
	require.ErrorIs(t, err, herokubuild.ErrVerifyFailed)
	result, err := f.client.Rollout(t.Context(), f.what, f.apps, &herokubuild.RolloutOptions{Checkpoint: early})
	require.NoError(t, err)
	assert.Equal(t, 6, result.Apps[0].Release.Version)
	assert.Equal(t, "summer sale, Rollback to v3, summer sale", f.history("app-1"))
}

// A release and a build are found however much has happened since.
func TestResumeAfterManyOthers(t *testing.T) {
	t.Parallel()
	p, client := startPlatform(t, platform.Options{Builder: printing("")}, quickRetry())
	var first herokubuild.Checkpoint
	opts := deploy()
	opts.Archive = archiveOf(t)
	opts.OnEvent = func(_ context.Context, e herokubuild.DeployEvent) error {
		if first.IsZero() {
			first = roundTrip(t, e.Checkpoint)
		}
		return nil
	}
	result, err := client.BuildAndRelease(t.Context(), opts)
	require.NoError(t, err)
	for i := range 60 {
		require.NoError(t, client.Do(t.Context(), "PATCH", "/apps/other-app/config-vars", nil, map[string]string{"N": strconv.Itoa(i)}, nil))
	}
	opts.OnEvent, opts.Checkpoint = nil, first
	again, err := client.BuildAndRelease(t.Context(), opts)
	require.NoError(t, err)
	assert.Equal(t, result.Build.ID, again.Build.ID)
	assert.Equal(t, result.Apps[1].Release.ID, again.Apps[1].Release.ID)
	assert.Equal(t, 61, releasesOf(p, "other-app"))
}

// A callback that ends its goroutine, as a failing test does, is no success.
func TestCallbacksThatDoNotReturn(t *testing.T) {
	t.Parallel()
	for name, set := range map[string]func(*herokubuild.BuildAndReleaseOptions){
		"Verify": func(o *herokubuild.BuildAndReleaseOptions) {
			o.Rollout.Verify = func(context.Context, string, *herokubuild.Release) error {
				runtime.Goexit()
				return nil
			}
		},
		"Output": func(o *herokubuild.BuildAndReleaseOptions) {
			o.Output = writer(func([]byte) (int, error) {
				runtime.Goexit()
				return 0, nil
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, client := startPlatform(t, platform.Options{Builder: printing("compiled\n")}, quickRetry())
			opts := deploy()
			opts.Archive = archiveOf(t)
			set(&opts)
			_, err := client.BuildAndRelease(t.Context(), opts)
			require.Error(t, err)
			require.NotErrorIs(t, err, herokubuild.ErrNotAttempted)
		})
	}
}

// An app that is not come to is only "not attempted" once a request of the call
// before can have had no effect.
func TestNotAttemptedIsCertain(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	f := newFleet(t, 2, "web: new\n", platform.Options{}, herokubuild.WithRetry(herokubuild.RetryOptions{SettleTime: 2 * time.Second}))
	f.p.SetFaults(func(at platform.FaultPoint) platform.Fault {
		if at.Method == "POST" && strings.HasSuffix(at.Path, "/app-2/releases") && ctx.Err() == nil {
			cancel(herokubuild.ErrDetached)
			return platform.Fault{Delay: 500 * time.Millisecond}
		}
		return platform.Fault{}
	})
	opts := herokubuild.RolloutOptions{Policy: herokubuild.RolloutPolicy{Canaries: 1}}
	_, err := f.client.Rollout(ctx, f.what, f.apps, &opts)
	require.ErrorIs(t, err, herokubuild.ErrMaybeApplied)
	old, err2 := f.client.Releases.Get(t.Context(), "app-1", "v3")
	require.NoError(t, err2)
	_, err2 = f.client.Releases.Create(t.Context(), "app-1", herokubuild.ReleaseCreateOptions{Slug: old.Slug.ID})
	require.NoError(t, err2)

	opts.Checkpoint = checkpointOf(t, err)
	result, err := f.client.Rollout(t.Context(), f.what, f.apps, &opts)
	require.ErrorIs(t, result.Apps[0].Err, herokubuild.ErrSuperseded, "the canary")
	require.ErrorIs(t, err, herokubuild.ErrSuperseded)
	require.NoError(t, result.Apps[1].Err)
	assert.Equal(t, "summer sale", f.history("app-2"))
}
