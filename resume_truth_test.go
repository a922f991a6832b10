package herokubuild_test

import (
	"context"
	"errors"
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

// If a call fails before it can search for the build of an earlier call, the next
// call must still find that build.
func TestResumeFindsBuildAfterFailedSearch(t *testing.T) {
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
			var apiErr *herokubuild.APIError
			require.ErrorAs(t, err, &apiErr)
			opts.Checkpoint = checkpointOf(t, err)
			assert.True(t, opts.Checkpoint.Resumable())

			p.SetFaults(nil)
			_, err = client.BuildAndRelease(t.Context(), opts)
			require.NoError(t, err)
			assert.Len(t, p.Builds("example-app"), 1)
		})
	}
}

// The API may return an older status after a final one.
func TestBuildAndReleaseIgnoresPendingStatusAfterFinalStatus(t *testing.T) {
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

// A checkpoint of a SourceURL has no checksum, so that an upload can never be known
// to be the same source.
func TestResumeRejectsUploadForCheckpointOfURL(t *testing.T) {
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
	checkpoint := checkpointOf(t, err)
	for _, opts := range []herokubuild.BuildAndReleaseOptions{{Archive: archiveOf(t)}, {Dir: sourceDir(t, map[string]string{"index.html": "hi"})}} {
		opts.BuildApp, opts.Checkpoint = "example-app", checkpoint
		_, err = client.BuildAndRelease(t.Context(), opts)
		require.ErrorIs(t, err, herokubuild.ErrCheckpointMismatch)
	}
	assert.Len(t, p.Builds("example-app"), 1)
}

// The call that finishes an interrupted rollback fails with the reason of the
// rollback, whether or not it succeeds.
func TestResumedRollbackReportsOriginalFailure(t *testing.T) {
	t.Parallel()
	hotfix := func(t *testing.T, f *fleet) {
		v3, err := f.client.Releases.Get(t.Context(), "app-1", "v3")
		require.NoError(t, err)
		_, err = f.client.Releases.Create(t.Context(), "app-1", herokubuild.ReleaseCreateOptions{SlugID: v3.Slug.ID, Description: "hotfix"})
		require.NoError(t, err)
	}
	configure := func(t *testing.T, f *fleet) {
		require.NoError(t, do(t.Context(), f.client, "PATCH", "/apps/app-1/config-vars", &herokubuild.DoOptions{Body: map[string]string{"COLOR": "red"}}))
	}
	for name, tt := range map[string]struct {
		interrupt herokubuild.DeployEventKind
		then      func(*testing.T, *fleet)
		want      error
	}{
		"before the first app":                         {interrupt: herokubuild.EventRollback, want: herokubuild.ErrRolledBack},
		"before the first app, then a hotfix":          {interrupt: herokubuild.EventRollback, then: hotfix, want: herokubuild.ErrRollbackFailed},
		"after the unhealthy app":                      {interrupt: herokubuild.EventRolledBack, want: herokubuild.ErrRolledBack},
		"after the unhealthy app, then config vars":    {interrupt: herokubuild.EventRolledBack, then: configure, want: herokubuild.ErrRolledBack},
		"after the rollback, from an older checkpoint": {then: configure, want: herokubuild.ErrRolledBack},
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
			_, err := f.client.Rollout(ctx, f.release, f.apps, &opts)
			require.ErrorIs(t, err, herokubuild.ErrVerifyFailed)
			if opts.Checkpoint = checkpointOf(t, err); tt.interrupt == "" {
				opts.Checkpoint = roundTrip(t, old)
			}
			require.True(t, isRollingBack(opts.Checkpoint))
			if tt.then != nil {
				tt.then(t, f)
			}
			opts.OnEvent, opts.Policy.Verify = nil, unhealthy()
			result, err := f.client.Rollout(t.Context(), f.release, f.apps, &opts)
			require.ErrorIs(t, err, herokubuild.ErrVerifyFailed)
			require.ErrorContains(t, result.Apps[0].Err, unhealthyReason, "the checkpoint carries the reason as text")
			for _, sentinel := range []error{herokubuild.ErrRolledBack, herokubuild.ErrRollbackFailed} {
				assert.Equal(t, sentinel == tt.want, errors.Is(result.Apps[0].Err, sentinel), "%v", sentinel)
			}
			require.ErrorIs(t, result.Apps[1].Err, herokubuild.ErrRolledBack)
		})
	}
}

// The rollback of an app that the call omits would never be finished.
func TestResumeRejectsCallsThatOmitAppsOfARollback(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2, "web: new\n", platform.Options{})
	ctx, cancel := context.WithCancelCause(t.Context())
	opts := herokubuild.RolloutOptions{
		Policy: herokubuild.RolloutPolicy{
			Rollback: herokubuild.RollbackAll, Verify: unhealthy("app-1"),
		},
		OnEvent: when(herokubuild.EventRollback, func() { cancel(herokubuild.ErrDetached) }),
	}
	_, err := f.client.Rollout(ctx, f.release, f.apps, &opts)
	opts.Checkpoint, opts.OnEvent = checkpointOf(t, err), nil
	for _, apps := range [][]string{{"app-1"}, {f.p.AppID("app-1"), f.p.AppID("app-2")}} {
		_, err = f.client.Rollout(t.Context(), f.release, apps, &opts)
		require.ErrorIs(t, err, herokubuild.ErrCheckpointMismatch)
	}
	_, err = f.client.BuildAndRelease(t.Context(), herokubuild.BuildAndReleaseOptions{
		BuildApp: "build-app", ReleaseTo: f.apps, Archive: archiveOf(t), Checkpoint: opts.Checkpoint,
	})
	require.ErrorIs(t, err, herokubuild.ErrCheckpointMismatch, "the checkpoint is of a rollout without a build")
	_, err = f.client.Rollout(t.Context(), f.release, f.apps, &opts)
	require.ErrorIs(t, err, herokubuild.ErrRolledBack)
}

// If the previous release of an app has expired, the app is not rolled back to an
// even older one.
func TestRollbackFailsIfPreviousReleaseHasExpired(t *testing.T) {
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
	_, err := f.client.Rollout(t.Context(), f.release, []string{"build-app"}, nil)
	require.NoError(t, err)
	result, err := f.client.Rollout(t.Context(), f.release, f.apps, &herokubuild.RolloutOptions{
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

// An error that a callback returns is only a cause: the sentinels that it matches
// must not be mistaken for outcomes of the deploy.
func TestRolloutIgnoresSentinelsOfCallbackErrors(t *testing.T) {
	t.Parallel()
	nested := &herokubuild.RolloutError{Err: herokubuild.ErrMaybeApplied, Apps: []herokubuild.AppResult{
		{Err: herokubuild.ErrSuperseded}, {Err: herokubuild.ErrRolledBack}, {Err: herokubuild.ErrNotFound},
	}}
	f := newFleet(t, 2, "web: new\n", platform.Options{})
	_, err := f.client.Rollout(t.Context(), f.release, f.apps, &herokubuild.RolloutOptions{
		Policy: herokubuild.RolloutPolicy{
			Concurrency: 1, StopOnError: true, Rollback: herokubuild.RollbackVerifyFailed,
			Verify: func(context.Context, string, *herokubuild.Release) error { return nested },
		},
	})
	require.ErrorIs(t, err, herokubuild.ErrVerifyFailed)
	require.ErrorIs(t, err, herokubuild.ErrNotFound, "the cause is wrapped")
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
	assert.True(t, nested.Checkpoint.IsZero(), "the callback's own error value is not modified")
}

// RollbackAll includes the apps that an earlier call released to.
func TestCanceledResumeRollsBackAppsOfEarlierCall(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2, "web: new\n", platform.Options{})
	opts := herokubuild.RolloutOptions{Policy: herokubuild.RolloutPolicy{Concurrency: 1, Rollback: herokubuild.RollbackAll}}
	opts.OnEvent = func(_ context.Context, e herokubuild.DeployEvent) error {
		if e.Kind == herokubuild.EventReleaseDone {
			return herokubuild.ErrDetached
		}
		return nil
	}
	_, err := f.client.Rollout(t.Context(), f.release, f.apps, &opts)
	require.ErrorIs(t, err, herokubuild.ErrDetached)
	require.Equal(t, map[string]string{"app-1": "summer sale", "app-2": ""}, f.histories())
	ctx, cancel := context.WithCancel(t.Context())
	opts.Checkpoint, opts.OnEvent = checkpointOf(t, err), when(herokubuild.EventReleaseDone, cancel)
	_, err = f.client.Rollout(ctx, f.release, []string{"app-2", "app-1"}, &opts)
	require.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, map[string]string{"app-1": "summer sale, Rollback to v3", "app-2": "summer sale, Rollback to v3"}, f.histories())
}

// An app whose release was replaced during its release phase does not run it, even
// if that phase succeeds.
func TestRolloutReportsReleaseReplacedWhilePending(t *testing.T) {
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
				_, err := f.client.Releases.Create(t.Context(), "app-1", herokubuild.ReleaseCreateOptions{SlugID: v3.Slug.ID, Description: "hotfix"})
				require.NoError(t, err)
			}, want: herokubuild.ErrSuperseded},
		} {
			t.Run(fmt.Sprint(name, ", resumed ", resumed), func(t *testing.T) {
				t.Parallel()
				gate := filepath.Join(t.TempDir(), "open")
				open := func() { require.NoError(t, os.WriteFile(gate, nil, 0o600)) }
				open() // the build app has a release phase, too
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
				result, err := f.client.Rollout(t.Context(), f.release, f.apps, opts)
				if resumed {
					require.ErrorIs(t, err, herokubuild.ErrDetached)
					tt.replace(t, f, v3)
					opts.Checkpoint = checkpointOf(t, err)
					opts.OnEvent = when(herokubuild.EventReleaseCreated, open)
					result, err = f.client.Rollout(t.Context(), f.release, f.apps, opts)
				}
				require.ErrorIs(t, err, tt.want)
				assert.Equal(t, 4, result.Apps[0].Release.Version)
				assert.Equal(t, tt.want == herokubuild.ErrRolledBack, result.Apps[0].RolledBack != nil)
			})
		}
	}
}

// A rollback that is pending when a call resumes may be one of the previous call.
func TestResumeWaitsForPendingRollback(t *testing.T) {
	t.Parallel()
	gate := filepath.Join(t.TempDir(), "open")
	open := func() { require.NoError(t, os.WriteFile(gate, nil, 0o600)) }
	open()
	f := newFleet(t, 1, "release: while [ ! -e "+gate+" ]; do sleep 0.02; done\n", platform.Options{})
	// The rollback is to the slug with the release phase.
	v3, err := f.client.Releases.Get(t.Context(), "app-1", "v3")
	require.NoError(t, err)
	before, err := f.client.Rollout(t.Context(), f.release, f.apps, nil)
	require.NoError(t, err)
	require.NoError(t, os.Remove(gate))
	release := herokubuild.ReleaseCreateOptions{SlugID: v3.Slug.ID, Description: "autumn sale"}
	opts := herokubuild.RolloutOptions{Policy: herokubuild.RolloutPolicy{Verify: unhealthy("app-1")}}
	_, err = f.client.Rollout(t.Context(), release, f.apps, &opts)
	require.ErrorIs(t, err, herokubuild.ErrVerifyFailed)
	rollback, err2 := f.client.Releases.Rollback(t.Context(), "app-1", before.Apps[0].Release.ID)
	require.NoError(t, err2)
	require.Equal(t, herokubuild.StatusPending, rollback.Status)

	opts.Checkpoint, opts.Policy.Verify = checkpointOf(t, err), nil
	time.AfterFunc(50*time.Millisecond, open)
	result, err := f.client.Rollout(t.Context(), release, f.apps, &opts)
	require.NoError(t, err)
	assert.Equal(t, 7, result.Apps[0].Release.Version, "the app is released to again")
	assert.Equal(t, "autumn sale", currentRelease(f.p, "app-1"))
}

// An old checkpoint of a rollback that has finished must not undo the release of a
// later call.
func TestResumeDoesNotRepeatFinishedRollback(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1, "web: new\n", platform.Options{})
	var old herokubuild.Checkpoint
	opts := herokubuild.RolloutOptions{Policy: herokubuild.RolloutPolicy{Rollback: herokubuild.RollbackAll, Verify: unhealthy("app-1")}, OnEvent: func(_ context.Context, e herokubuild.DeployEvent) error {
		if e.Kind == herokubuild.EventRolledBack {
			old = roundTrip(t, e.Checkpoint)
		}
		return nil
	}}
	_, err := f.client.Rollout(t.Context(), f.release, f.apps, &opts)
	require.ErrorIs(t, err, herokubuild.ErrVerifyFailed)
	opts.OnEvent, opts.Policy.Verify, opts.Checkpoint = nil, unhealthy(), checkpointOf(t, err)
	_, err = f.client.Rollout(t.Context(), f.release, f.apps, &opts)
	require.NoError(t, err)
	require.Equal(t, "summer sale", currentRelease(f.p, "app-1"))

	opts.Checkpoint = old
	result, err := f.client.Rollout(t.Context(), f.release, f.apps, &opts)
	require.NoError(t, err)
	require.NoError(t, result.Apps[0].Err)
	assert.Equal(t, "summer sale", currentRelease(f.p, "app-1"))
}

// A rollback of the previous call may be in progress even if this call's policy is
// not to roll back.
func TestResumeWithoutRollbackPolicyWaitsForRollback(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	f := newFleet(t, 1, "web: new\n", platform.Options{}, herokubuild.WithSettleTime(2*time.Second))
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
	_, err := f.client.Rollout(ctx, f.release, f.apps, &opts)
	require.ErrorIs(t, err, herokubuild.ErrVerifyFailed)
	result, err := f.client.Rollout(t.Context(), f.release, f.apps, &herokubuild.RolloutOptions{Checkpoint: early})
	require.NoError(t, err)
	assert.Equal(t, 6, result.Apps[0].Release.Version)
	assert.Equal(t, "summer sale, Rollback to v3, summer sale", f.history("app-1"))
}

// Many other releases may follow that of the first call in the list.
func TestResumeFindsReleaseAfterManyOthers(t *testing.T) {
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
		require.NoError(t, do(t.Context(), client, "PATCH", "/apps/other-app/config-vars", &herokubuild.DoOptions{Body: map[string]string{"N": strconv.Itoa(i)}}))
	}
	opts.OnEvent, opts.Checkpoint = nil, first
	again, err := client.BuildAndRelease(t.Context(), opts)
	require.NoError(t, err)
	assert.Equal(t, result.Build.ID, again.Build.ID)
	assert.Equal(t, result.Apps[1].Release.ID, again.Apps[1].Release.ID)
	assert.Equal(t, 61, releasesOf(p, "other-app"))
}

// A callback may call runtime.Goexit, as t.FailNow does.
func TestBuildAndReleaseFailsIfCallbackExitsGoroutine(t *testing.T) {
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

// An app that this call does not reach may still get the release from a request of
// the previous call, and is not reported as not attempted then.
func TestResumeReportsNotAttemptedOnlyIfCertain(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	f := newFleet(t, 2, "web: new\n", platform.Options{}, herokubuild.WithSettleTime(2*time.Second))
	f.p.SetFaults(func(at platform.FaultPoint) platform.Fault {
		if at.Method == "POST" && strings.HasSuffix(at.Path, "/app-2/releases") && ctx.Err() == nil {
			cancel(herokubuild.ErrDetached)
			return platform.Fault{Delay: 500 * time.Millisecond}
		}
		return platform.Fault{}
	})
	opts := herokubuild.RolloutOptions{Policy: herokubuild.RolloutPolicy{Canaries: 1}}
	_, err := f.client.Rollout(ctx, f.release, f.apps, &opts)
	require.ErrorIs(t, err, herokubuild.ErrMaybeApplied)
	v3, err2 := f.client.Releases.Get(t.Context(), "app-1", "v3")
	require.NoError(t, err2)
	_, err2 = f.client.Releases.Create(t.Context(), "app-1", herokubuild.ReleaseCreateOptions{SlugID: v3.Slug.ID})
	require.NoError(t, err2)

	opts.Checkpoint = checkpointOf(t, err)
	result, err := f.client.Rollout(t.Context(), f.release, f.apps, &opts)
	require.ErrorIs(t, result.Apps[0].Err, herokubuild.ErrSuperseded, "the canary is superseded")
	require.ErrorIs(t, err, herokubuild.ErrSuperseded)
	require.NoError(t, result.Apps[1].Err)
	assert.Equal(t, "summer sale", f.history("app-2"))
}
