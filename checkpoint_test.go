package herokubuild_test

import (
	"context"
	"errors"
	"fmt"
	"os"
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

var errUnhealthy = errors.New(unhealthyReason)

const unhealthyReason = "health check: 503"

// unhealthy returns a Verify that fails for the given apps.
func unhealthy(apps ...string) func(context.Context, string, *herokubuild.Release) error {
	return func(_ context.Context, app string, _ *herokubuild.Release) error {
		if slices.Contains(apps, app) {
			return errUnhealthy
		}
		return nil
	}
}

// checkpointOf returns the Checkpoint of a DeployError or RolloutError.
func checkpointOf(t *testing.T, err error) herokubuild.Checkpoint {
	t.Helper()
	var deploy *herokubuild.DeployError
	if errors.As(err, &deploy) {
		return roundTrip(t, deploy.Checkpoint)
	}
	var rollout *herokubuild.RolloutError
	require.ErrorAs(t, err, &rollout)
	return roundTrip(t, rollout.Checkpoint)
}

// currentRelease returns the description of the release that an app runs, without
// its token.
func currentRelease(p *platform.Platform, app string) string {
	for _, r := range p.Releases(app) {
		if r.Current {
			return rolloutToken.ReplaceAllString(r.Description, "")
		}
	}
	return ""
}

// A call that resumes from any checkpoint of a deploy releases again if the release
// was rolled back, by the deploy itself or by somebody else.
func TestResumeReleasesAgainAfterRollback(t *testing.T) {
	t.Parallel()
	rollBack := func(t *testing.T, f *fleet) {
		before, err := f.client.Releases.Previous(t.Context(), "app-1")
		require.NoError(t, err)
		_, err = f.client.Releases.Rollback(t.Context(), "app-1", before.ID)
		require.NoError(t, err)
	}
	for name, tt := range map[string]struct {
		rollback herokubuild.RollbackPolicy
		then     func(*testing.T, *fleet)
		stale    bool
	}{
		"by the deploy":                         {rollback: herokubuild.RollbackAll},
		"by the deploy, from an old checkpoint": {rollback: herokubuild.RollbackAll, stale: true},
		"of unverified apps only":               {rollback: herokubuild.RollbackVerifyFailed},
		"by a person":                           {rollback: herokubuild.RollbackNone, then: rollBack},
		"by a person, from an old checkpoint":   {rollback: herokubuild.RollbackNone, then: rollBack, stale: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, 2, "web: new\n", platform.Options{})
			var first herokubuild.Checkpoint
			opts := herokubuild.BuildAndReleaseOptions{
				BuildApp: "build-app", ReleaseTo: f.apps, Archive: archiveOf(t, file{name: "Procfile", content: "web: newer\n"}),
				ReleaseDescription: "new",
				Rollout:            herokubuild.RolloutPolicy{Rollback: tt.rollback, Verify: unhealthy("app-1")},
				OnEvent: func(_ context.Context, e herokubuild.DeployEvent) error {
					if first.IsZero() {
						first = e.Checkpoint
					}
					return nil
				},
			}
			_, err := f.client.BuildAndRelease(t.Context(), opts)
			require.ErrorIs(t, err, herokubuild.ErrVerifyFailed)
			if tt.then != nil {
				tt.then(t, f)
			}
			require.Equal(t, "Rollback to v3", currentRelease(f.p, "app-1"))

			opts.Checkpoint = checkpointOf(t, err)
			if tt.stale {
				opts.Checkpoint = roundTrip(t, first)
				require.Empty(t, opts.Checkpoint.BuildID, "the first checkpoint is saved before the build is created")
			}
			require.True(t, opts.Checkpoint.Resumable())
			opts.Rollout.Verify = unhealthy()
			result, err := f.client.BuildAndRelease(t.Context(), opts)
			require.NoError(t, err)
			assert.Len(t, f.p.Builds("build-app"), 3, "two builds of newFleet and one of the deploy")
			for i, app := range f.apps {
				assert.Equal(t, "new", currentRelease(f.p, app))
				all := f.p.Releases(app)
				assert.Equal(t, all[len(all)-1].ID, result.Apps[i+1].Release.ID)
				require.NoError(t, result.Apps[i+1].Err)
			}
			assert.Equal(t, "new, Rollback to v3, new", f.history("app-1"))
		})
	}
}

// An app that somebody else has released to since is left as it is and reported as
// superseded.
func TestResumeKeepsNewerReleases(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2, "web: new\n", platform.Options{})
	opts := herokubuild.RolloutOptions{Policy: herokubuild.RolloutPolicy{Rollback: herokubuild.RollbackAll}}
	var saved herokubuild.Checkpoint
	opts.OnEvent = func(_ context.Context, e herokubuild.DeployEvent) error {
		saved = e.Checkpoint
		return nil
	}
	_, err := f.client.Rollout(t.Context(), f.release, f.apps, &opts)
	require.NoError(t, err)
	old, err := f.client.Releases.Get(t.Context(), "app-1", "v3")
	require.NoError(t, err)
	_, err = f.client.Releases.Create(t.Context(), "app-1", herokubuild.ReleaseCreateOptions{SlugID: old.Slug.ID, Description: "hotfix"})
	require.NoError(t, err)

	opts.Checkpoint = roundTrip(t, saved)
	result, err := f.client.Rollout(t.Context(), f.release, f.apps, &opts)
	require.ErrorIs(t, err, herokubuild.ErrSuperseded)
	require.ErrorIs(t, result.Apps[0].Err, herokubuild.ErrSuperseded)
	require.NotNil(t, result.Apps[0].Release)
	assert.Equal(t, 4, result.Apps[0].Release.Version)
	require.NoError(t, result.Apps[1].Err, "a superseded app does not cause a rollback of the others")
	assert.Equal(t, map[string]string{"app-1": "summer sale, hotfix", "app-2": "summer sale"}, f.histories())
}

// A release that only changes config vars has the same code, so that the app still
// runs the deploy.
func TestResumeAcceptsConfigChanges(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1, "web: new\n", platform.Options{})
	opts := new(herokubuild.RolloutOptions)
	opts.OnEvent = func(_ context.Context, e herokubuild.DeployEvent) error {
		opts.Checkpoint = e.Checkpoint
		return nil
	}
	_, err := f.client.Rollout(t.Context(), f.release, f.apps, opts)
	require.NoError(t, err)
	require.NoError(t, do(t.Context(), f.client, "PATCH", "/apps/app-1/config-vars", &herokubuild.DoOptions{Body: map[string]string{"COLOR": "red"}}))
	require.Contains(t, f.history("app-1"), "COLOR")
	opts.OnEvent = nil
	result, err := f.client.Rollout(t.Context(), f.release, f.apps, opts)
	require.NoError(t, err)
	assert.Equal(t, 4, result.Apps[0].Release.Version)
	assert.Len(t, f.p.Releases("app-1"), 5)
}

// A call that resumes reports the state of the platform: an app that has the release
// is never reported as not attempted.
func TestResumeReportsAppsWithReleaseAsAttempted(t *testing.T) {
	t.Parallel()
	t.Run("the context has ended", func(t *testing.T) {
		t.Parallel()
		f := newFleet(t, 2, "web: new\n", platform.Options{})
		ctx, cancel := context.WithCancel(t.Context())
		opts := herokubuild.RolloutOptions{Policy: herokubuild.RolloutPolicy{Concurrency: 1}, OnEvent: when(herokubuild.EventReleaseDone, cancel)}
		_, err := f.client.Rollout(ctx, f.release, f.apps, &opts)
		opts.Checkpoint, opts.OnEvent = checkpointOf(t, err), nil
		result, err := f.client.Rollout(ctx, f.release, f.apps, &opts)
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, result.Apps[0].Err, context.Canceled)
		require.NotErrorIs(t, result.Apps[0].Err, herokubuild.ErrNotAttempted)
		require.ErrorIs(t, result.Apps[1].Err, herokubuild.ErrNotAttempted)
	})
	t.Run("a canary fails", func(t *testing.T) {
		t.Parallel()
		f := newFleet(t, 3, "web: new\n", platform.Options{})
		opts := herokubuild.RolloutOptions{Policy: herokubuild.RolloutPolicy{Verify: unhealthy("app-3")}}
		_, err := f.client.Rollout(t.Context(), f.release, f.apps, &opts)
		require.ErrorIs(t, err, herokubuild.ErrVerifyFailed)
		opts.Checkpoint, opts.Policy.Canaries, opts.Policy.Verify = checkpointOf(t, err), 1, unhealthy("app-1")
		result, err := f.client.Rollout(t.Context(), f.release, f.apps, &opts)
		require.ErrorIs(t, err, herokubuild.ErrVerifyFailed)
		require.ErrorIs(t, result.Apps[0].Err, herokubuild.ErrVerifyFailed)
		for _, out := range result.Apps[1:] {
			require.NoError(t, out.Err, "the app runs the release")
			assert.Equal(t, 4, out.Release.Version)
		}
	})
}

// A call that resumes finishes an interrupted rollback and fails with the reason of
// that rollback. The call after that releases again.
func TestResumeFinishesInterruptedRollback(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3, withReleasePhase, platform.Options{})
	f.failReleases(t, "app-2")
	ctx, cancel := context.WithCancelCause(t.Context())
	opts := herokubuild.RolloutOptions{
		Policy: herokubuild.RolloutPolicy{
			Rollback: herokubuild.RollbackAll, Verify: unhealthy("app-3"), Concurrency: 1,
		},
		OnEvent: when(herokubuild.EventRolledBack, func() { cancel(herokubuild.ErrDetached) }),
	}
	_, err := f.client.Rollout(ctx, f.release, f.apps, &opts)
	require.ErrorIs(t, err, herokubuild.ErrVerifyFailed)
	require.Equal(t, map[string]string{"app-1": "summer sale, Rollback to v3", "app-2": "summer sale (failed)", "app-3": "summer sale"}, f.histories())

	opts.Checkpoint, opts.OnEvent, opts.Policy.Verify = checkpointOf(t, err), nil, unhealthy()
	result, err := f.client.Rollout(t.Context(), f.release, f.apps, &opts)
	require.ErrorIs(t, err, herokubuild.ErrVerifyFailed, "Verify would pass now, and failed in the first call")
	require.ErrorContains(t, result.Apps[2].Err, unhealthyReason, "the checkpoint carries the reason as text")
	require.ErrorIs(t, result.Apps[0].Err, herokubuild.ErrRolledBack)
	require.ErrorIs(t, result.Apps[1].Err, herokubuild.ErrReleaseFailed)
	require.NotErrorIs(t, result.Apps[1].Err, herokubuild.ErrRolledBack)
	require.ErrorIs(t, result.Apps[2].Err, herokubuild.ErrRolledBack)
	require.ErrorIs(t, result.Apps[2].Err, herokubuild.ErrVerifyFailed)
	require.Equal(t, map[string]string{"app-1": "summer sale, Rollback to v3", "app-2": "summer sale (failed)", "app-3": "summer sale, Rollback to v3"}, f.histories())

	require.NoError(t, f.p.SetConfigVars("app-2", map[string]string{"FAIL": ""}))
	opts.Checkpoint = checkpointOf(t, err)
	_, err = f.client.Rollout(t.Context(), f.release, f.apps, &opts)
	require.NoError(t, err)
	for _, app := range f.apps {
		assert.Equal(t, "summer sale", currentRelease(f.p, app))
	}
}

// A rollback that can never succeed must not block further attempts.
func TestResumeForgetsImpossibleRollback(t *testing.T) {
	t.Parallel()
	p, client := startPlatform(t, platform.Options{Builder: printing("")}, quickRetry())
	opts := deploy()
	opts.Archive = archiveOf(t)
	opts.Rollout = herokubuild.RolloutPolicy{Rollback: herokubuild.RollbackAll, Verify: unhealthy("other-app")}
	_, err := client.BuildAndRelease(t.Context(), opts)
	require.ErrorIs(t, err, herokubuild.ErrRollbackFailed, "the app had no earlier release to roll back to")
	opts.Checkpoint, opts.Rollout.Verify = checkpointOf(t, err), unhealthy()
	assert.False(t, isRollingBack(opts.Checkpoint))
	_, err = client.BuildAndRelease(t.Context(), opts)
	require.NoError(t, err)
	assert.Equal(t, 1, releasesOf(p, "other-app"))
}

// A call that resumes while a request of the previous call is still in progress waits
// for its effect, from the newest checkpoint and from an old one.
func TestResumeWaitsForRequestsInProgress(t *testing.T) {
	t.Parallel()
	for _, stale := range []bool{false, true} {
		for path, app := range map[string]string{"/builds": "example-app", "/releases": "other-app"} {
			t.Run(fmt.Sprintf("%s, stale %t", path, stale), func(t *testing.T) {
				t.Parallel()
				ctx, cancel := context.WithCancelCause(t.Context())
				p, client := startPlatform(t, platform.Options{Builder: printing("")}, herokubuild.WithRetry(herokubuild.RetryOptions{
					MinWait: time.Microsecond, MaxWait: time.Microsecond,
				}), herokubuild.WithSettleTime(2*time.Second))
				id := p.AppID(app)
				p.SetFaults(func(at platform.FaultPoint) platform.Fault {
					if at.Method == "POST" && strings.HasSuffix(at.Path, id+path) && at.Nth == 0 {
						cancel(herokubuild.ErrDetached)
						return platform.Fault{Delay: 500 * time.Millisecond}
					}
					return platform.Fault{}
				})
				opts := deploy()
				opts.Archive = archiveOf(t)
				var first herokubuild.Checkpoint
				opts.OnEvent = func(_ context.Context, e herokubuild.DeployEvent) error {
					if first.IsZero() {
						first = e.Checkpoint
					}
					return nil
				}
				_, err := client.BuildAndRelease(ctx, opts)
				require.ErrorIs(t, err, herokubuild.ErrMaybeApplied)
				opts.OnEvent = nil
				opts.Checkpoint = checkpointOf(t, err)
				assert.False(t, opts.Checkpoint.Settled)
				if stale {
					opts.Checkpoint = first
				}
				_, err = client.BuildAndRelease(t.Context(), opts)
				require.NoError(t, err)
				assert.Len(t, p.Builds("example-app"), 1)
				assert.Equal(t, 1, releasesOf(p, "example-app"))
				assert.Equal(t, 1, releasesOf(p, "other-app"))
			})
		}
	}
}

// A checkpoint is settled if no request was in progress when the call ended. With an
// hour of settle time, the test times out if the next call waits.
func TestResumeFromSettledCheckpointDoesNotWait(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2, "web: new\n", platform.Options{}, herokubuild.WithSettleTime(time.Hour))
	opts := herokubuild.RolloutOptions{Policy: herokubuild.RolloutPolicy{Verify: unhealthy("app-1"), StopOnError: true, Concurrency: 1, Rollback: herokubuild.RollbackAll}}
	_, err := f.client.Rollout(t.Context(), f.release, f.apps, &opts)
	opts.Checkpoint, opts.Policy.Verify = checkpointOf(t, err), unhealthy()
	require.True(t, opts.Checkpoint.Settled)
	_, err = f.client.Rollout(t.Context(), f.release, f.apps, &opts)
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"app-1": "summer sale, Rollback to v3, summer sale", "app-2": "summer sale"}, f.histories())
}

// A failed release of an earlier attempt must not be adopted after a release request
// was lost.
func TestResumeDoesNotAdoptFailedReleases(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1, withReleasePhase, platform.Options{})
	f.failReleases(t, "app-1")
	var opts herokubuild.RolloutOptions
	for range 2 {
		_, err := f.client.Rollout(t.Context(), f.release, f.apps, &opts)
		require.ErrorIs(t, err, herokubuild.ErrReleaseFailed)
		opts.Checkpoint = checkpointOf(t, err)
	}
	require.NoError(t, f.p.SetConfigVars("app-1", map[string]string{"FAIL": ""}))
	f.p.SetFaults(onCall("POST", "/releases", platform.Fault{CutRequestAfter: 1}))
	result, err := f.client.Rollout(t.Context(), f.release, f.apps, &opts)
	require.NoError(t, err)
	assert.Equal(t, 6, result.Apps[0].Release.Version)
	assert.Equal(t, "summer sale (failed), summer sale (failed), summer sale", f.history("app-1"))
}

// Releases of an earlier call are found even if each call has its own description,
// such as the number of the CI run.
func TestResumeFindsReleasesWithAnotherDescription(t *testing.T) {
	t.Parallel()
	p, client := startPlatform(t, platform.Options{Builder: printing("")}, quickRetry())
	var saved herokubuild.Checkpoint
	opts := deploy()
	opts.Archive, opts.ReleaseDescription = archiveOf(t), "CI run 1"
	opts.OnEvent = func(_ context.Context, e herokubuild.DeployEvent) error {
		if e.Kind == herokubuild.EventReleaseCreated && e.App == "example-app" {
			saved = e.Checkpoint
		}
		return nil
	}
	_, err := client.BuildAndRelease(t.Context(), opts)
	require.NoError(t, err)
	opts.Checkpoint, opts.ReleaseDescription = roundTrip(t, saved), "CI run 2"
	_, err = client.BuildAndRelease(t.Context(), opts)
	require.NoError(t, err)
	assert.Equal(t, 1, releasesOf(p, "other-app"))
}

// Apps are addressed by id once it is known, so that a deploy is not affected if an
// app is renamed, even if another app takes its name.
func TestBuildAndReleaseFollowsRenamedApps(t *testing.T) {
	t.Parallel()
	for _, taken := range []bool{false, true} {
		for _, resumed := range []bool{false, true} {
			p, client := startPlatform(t, platform.Options{Builder: printing("")}, quickRetry())
			rename := func() {
				for _, app := range []string{"example-app", "other-app"} {
					require.NoError(t, p.Rename(app, "old-"+app))
					if taken {
						require.NoError(t, p.AddApp(app))
					}
				}
			}
			crash := errors.New("crash")
			opts := deploy()
			opts.Archive, opts.KeepBuildOnCancel = archiveOf(t), true
			opts.OnEvent = func(_ context.Context, e herokubuild.DeployEvent) error {
				if e.Kind != herokubuild.EventBuildDone {
					return nil
				}
				rename()
				if resumed {
					return crash
				}
				return nil
			}
			_, err := client.BuildAndRelease(t.Context(), opts)
			if resumed {
				require.ErrorIs(t, err, crash)
				opts.Checkpoint, opts.OnEvent = checkpointOf(t, err), nil
				_, err = client.BuildAndRelease(t.Context(), opts)
			}
			require.NoError(t, err)
			assert.Len(t, p.Builds("old-example-app"), 1)
			assert.Equal(t, 1, releasesOf(p, "old-example-app"))
			assert.Equal(t, 1, releasesOf(p, "old-other-app"))
			if taken {
				assert.Zero(t, releasesOf(p, "other-app"), "this is another app now")
			}
		}
	}
}

// An app that is given by its name and by its id would get two releases.
func TestRolloutRejectsDuplicateApps(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2, "web: new\n", platform.Options{})
	id := f.p.AppID("app-1")
	for _, apps := range [][]string{
		{"app-1", "app-2", id}, {id, "app-1"}, {id, strings.ToUpper(id)}, {"app-1", "app-1"},
	} {
		_, err := f.client.Rollout(t.Context(), f.release, apps, nil)
		requireInvalid(t, err, "apps")
	}
	_, err := f.client.Rollout(t.Context(), f.release, []string{id, "app-2"}, nil)
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"app-1": "summer sale", "app-2": "summer sale"}, f.histories())
}

// A deploy that fails while it looks up the apps has nothing to resume.
func TestCheckpointIsZeroUntilAppsAreChecked(t *testing.T) {
	t.Parallel()
	_, client := startPlatform(t, platform.Options{Builder: printing("")}, quickRetry())
	opts := deploy()
	opts.BuildApp, opts.Archive = "exampel-app", archiveOf(t)
	var last herokubuild.Checkpoint
	opts.OnEvent = func(_ context.Context, e herokubuild.DeployEvent) error {
		last = e.Checkpoint
		return nil
	}
	_, err := client.BuildAndRelease(t.Context(), opts)
	require.ErrorIs(t, err, herokubuild.ErrNotFound)
	assert.True(t, last.IsZero())
	opts.BuildApp, opts.Checkpoint = "example-app", checkpointOf(t, err)
	assert.False(t, opts.Checkpoint.Resumable())
	result, err := client.BuildAndRelease(t.Context(), opts)
	require.NoError(t, err)
	assert.False(t, result.Checkpoint.Resumable(), "the deploy has succeeded")
	assert.False(t, result.Checkpoint.IsZero())
}

// A directory outside of git is compared by its content.
func TestResumeRejectsChangedDirectory(t *testing.T) {
	t.Parallel()
	p, client := startPlatform(t, platform.Options{Builder: printing("")}, quickRetry())
	dir := sourceDir(t, map[string]string{"index.html": "one"})
	opts := deploy()
	opts.Dir, opts.ReleaseTo = dir, nil
	result, err := client.BuildAndRelease(t.Context(), opts)
	require.NoError(t, err)
	opts.Checkpoint = result.Checkpoint
	_, err = client.BuildAndRelease(t.Context(), opts)
	require.NoError(t, err)
	write(t, dir, "index.html", "two")
	_, err = client.BuildAndRelease(t.Context(), opts)
	require.ErrorIs(t, err, herokubuild.ErrCheckpointMismatch)
	require.ErrorIs(t, err, herokubuild.ErrInvalidArgument)
	opts.Dir = filepath.Join(dir, "not-on-this-machine")
	_, err = client.BuildAndRelease(t.Context(), opts)
	require.NoError(t, err, "a directory that does not exist is not compared, as the build exists")
	assert.Len(t, p.Builds("example-app"), 1)
}

func TestCheckpointFileSavesLoadsAndRemoves(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := herokubuild.CheckpointFile(filepath.Join(dir, "deploy.json"))
	none, err := file.Load()
	require.NoError(t, err)
	assert.True(t, none.IsZero())
	require.NoError(t, file.Remove())

	p, client := startPlatform(t, platform.Options{Builder: printing("")}, quickRetry())
	opts := deploy()
	opts.Archive = archiveOf(t)
	opts.Rollout.Verify = unhealthy("other-app")
	opts.OnEvent = file.OnEvent(func(_ context.Context, e herokubuild.DeployEvent) error {
		saved, err := file.Load()
		assert.Equal(t, contentOf(e.Checkpoint), contentOf(saved))
		return err
	})
	_, err = client.BuildAndRelease(t.Context(), opts)
	require.ErrorIs(t, err, herokubuild.ErrVerifyFailed)
	require.NoError(t, file.Finish(err))
	opts.Checkpoint, err = file.Load()
	require.NoError(t, err)
	require.True(t, opts.Checkpoint.Resumable())
	require.True(t, opts.Checkpoint.Settled)

	opts.Rollout.Verify = unhealthy()
	_, err = client.BuildAndRelease(t.Context(), opts)
	require.NoError(t, err)
	require.NoError(t, file.Finish(err))
	assert.Len(t, p.Builds("example-app"), 1)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Empty(t, left, "the file and its temporary file are removed")

	require.NoError(t, os.WriteFile(string(file), []byte("{"), 0o600))
	_, err = file.Load()
	require.Error(t, err)
	require.Error(t, herokubuild.CheckpointFile(filepath.Join(dir, "missing", "x")).Save(opts.Checkpoint))
}
