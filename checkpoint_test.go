package herokubuild_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
	"github.com/herokubuild/herokubuild/internal/platform"
)

// unhealthy is a Verify that fails for some apps.
func unhealthy(apps ...string) func(context.Context, string, *herokubuild.Release) error {
	return func(_ context.Context, app string, _ *herokubuild.Release) error {
		for _, a := range apps {
			if a == app {
				return errors.New("health check: 503")
			}
		}
		return nil
	}
}

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

// runs is the description of the release that an app runs, without its token.
func runs(p *platform.Platform, app string) string {
	for _, r := range p.Releases(app) {
		if r.Current {
			return rolloutToken.ReplaceAllString(r.Description, "")
		}
	}
	return ""
}

// A release that was rolled back since, by the deploy itself or by anybody else,
// is made again by a call that resumes from any checkpoint of the deploy.
func TestResumeReleasesAgainWhatWasRolledBack(t *testing.T) {
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
		"the unverified only":                   {rollback: herokubuild.RollbackUnverified},
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
			require.Equal(t, "Rollback to v3", runs(f.p, "app-1"))

			opts.Checkpoint = checkpointOf(t, err)
			if tt.stale {
				opts.Checkpoint = roundTrip(t, first)
				require.Empty(t, opts.Checkpoint.BuildID, "that of the event of PhaseBuild")
			}
			require.True(t, opts.Checkpoint.Resumable())
			opts.Rollout.Verify = unhealthy()
			result, err := f.client.BuildAndRelease(t.Context(), opts)
			require.NoError(t, err)
			assert.Len(t, f.p.Builds("build-app"), 3, "two by newFleet and one of the deploy")
			for i, app := range f.apps {
				assert.Equal(t, "new", runs(f.p, app))
				all := f.p.Releases(app)
				assert.Equal(t, all[len(all)-1].ID, result.Apps[i+1].Release.ID)
				require.NoError(t, result.Apps[i+1].Err)
			}
			assert.Equal(t, "new, Rollback to v3, new", f.history("app-1"))
		})
	}
}

// Whoever has released something else since keeps it, and is not told that it
// was replaced.
func TestResumeLeavesNewerReleasesAlone(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2, "web: new\n", platform.Options{})
	opts := herokubuild.RolloutOptions{Policy: herokubuild.RolloutPolicy{Rollback: herokubuild.RollbackAll}}
	var saved herokubuild.Checkpoint
	opts.OnEvent = func(_ context.Context, e herokubuild.DeployEvent) error {
		saved = e.Checkpoint
		return nil
	}
	_, err := f.client.Rollout(t.Context(), f.what, f.apps, &opts)
	require.NoError(t, err)
	old, err := f.client.Releases.Get(t.Context(), "app-1", "v3")
	require.NoError(t, err)
	_, err = f.client.Releases.Create(t.Context(), "app-1", herokubuild.ReleaseCreateOptions{Slug: old.Slug.ID, Description: "hotfix"})
	require.NoError(t, err)

	opts.Checkpoint = roundTrip(t, saved)
	result, err := f.client.Rollout(t.Context(), f.what, f.apps, &opts)
	require.ErrorIs(t, err, herokubuild.ErrSuperseded)
	require.ErrorIs(t, result.Apps[0].Err, herokubuild.ErrSuperseded)
	require.NotNil(t, result.Apps[0].Release)
	assert.Equal(t, 4, result.Apps[0].Release.Version)
	require.NoError(t, result.Apps[1].Err, "no reason to take the other app back")
	assert.Equal(t, map[string]string{"app-1": "summer sale, hotfix", "app-2": "summer sale"}, f.histories())
}

// A release of config vars on top has the same code, and replaces nothing.
func TestResumeAfterAConfigChange(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1, "web: new\n", platform.Options{})
	opts := new(herokubuild.RolloutOptions)
	opts.OnEvent = func(_ context.Context, e herokubuild.DeployEvent) error {
		opts.Checkpoint = e.Checkpoint
		return nil
	}
	_, err := f.client.Rollout(t.Context(), f.what, f.apps, opts)
	require.NoError(t, err)
	require.NoError(t, f.client.Do(t.Context(), "PATCH", "/apps/app-1/config-vars", nil, map[string]string{"COLOR": "red"}, nil))
	require.Contains(t, f.history("app-1"), "COLOR")
	opts.OnEvent = nil
	result, err := f.client.Rollout(t.Context(), f.what, f.apps, opts)
	require.NoError(t, err)
	assert.Equal(t, 4, result.Apps[0].Release.Version)
	assert.Len(t, f.p.Releases("app-1"), 5)
}

// The result.Apps of a call that resumes are those of the platform now, and never
// "not attempted" for an app that has the release.
func TestOutcomesOfAResumedRollout(t *testing.T) {
	t.Parallel()
	t.Run("the context is over", func(t *testing.T) {
		t.Parallel()
		f := newFleet(t, 2, "web: new\n", platform.Options{})
		ctx, cancel := context.WithCancel(t.Context())
		opts := herokubuild.RolloutOptions{Policy: herokubuild.RolloutPolicy{Concurrency: 1}, OnEvent: when(herokubuild.EventReleaseDone, cancel)}
		_, err := f.client.Rollout(ctx, f.what, f.apps, &opts)
		opts.Checkpoint, opts.OnEvent = checkpointOf(t, err), nil
		result, err := f.client.Rollout(ctx, f.what, f.apps, &opts)
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, result.Apps[0].Err, context.Canceled)
		require.NotErrorIs(t, result.Apps[0].Err, herokubuild.ErrNotAttempted)
		require.ErrorIs(t, result.Apps[1].Err, herokubuild.ErrNotAttempted)
	})
	t.Run("a canary fails", func(t *testing.T) {
		t.Parallel()
		f := newFleet(t, 3, "web: new\n", platform.Options{})
		opts := herokubuild.RolloutOptions{Policy: herokubuild.RolloutPolicy{Verify: unhealthy("app-3")}}
		_, err := f.client.Rollout(t.Context(), f.what, f.apps, &opts)
		require.ErrorIs(t, err, herokubuild.ErrVerifyFailed)
		opts.Checkpoint, opts.Policy.Canaries, opts.Policy.Verify = checkpointOf(t, err), 1, unhealthy("app-1")
		result, err := f.client.Rollout(t.Context(), f.what, f.apps, &opts)
		require.ErrorIs(t, err, herokubuild.ErrVerifyFailed)
		require.ErrorIs(t, result.Apps[0].Err, herokubuild.ErrVerifyFailed)
		for _, out := range result.Apps[1:] {
			require.NoError(t, out.Err, "it runs the release")
			assert.Equal(t, 4, out.Release.Version)
		}
	})
}

// An interrupted rollback is finished, with the reason that it began for; the
// call after that releases again.
func TestAnInterruptedRollbackIsFinishedFirst(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3, phased, platform.Options{})
	f.fails(t, "app-2")
	ctx, cancel := context.WithCancelCause(t.Context())
	opts := herokubuild.RolloutOptions{
		Policy: herokubuild.RolloutPolicy{
			Rollback: herokubuild.RollbackAll, Verify: unhealthy("app-3"), Concurrency: 1,
		},
		OnEvent: when(herokubuild.EventRolledBack, func() { cancel(herokubuild.ErrDetached) }),
	}
	_, err := f.client.Rollout(ctx, f.what, f.apps, &opts)
	require.ErrorIs(t, err, herokubuild.ErrVerifyFailed)
	require.Equal(t, map[string]string{"app-1": "summer sale, Rollback to v3", "app-2": "summer sale (failed)", "app-3": "summer sale"}, f.histories())

	opts.Checkpoint, opts.OnEvent, opts.Policy.Verify = checkpointOf(t, err), nil, unhealthy()
	result, err := f.client.Rollout(t.Context(), f.what, f.apps, &opts)
	require.ErrorIs(t, err, herokubuild.ErrVerifyFailed, "what was verified now, and would have passed")
	assert.Contains(t, err.Error(), "health check: 503", "the reason of the first failure")
	require.ErrorIs(t, result.Apps[0].Err, herokubuild.ErrRolledBack)
	require.ErrorIs(t, result.Apps[1].Err, herokubuild.ErrReleaseFailed)
	require.NotErrorIs(t, result.Apps[1].Err, herokubuild.ErrRolledBack)
	require.ErrorIs(t, result.Apps[2].Err, herokubuild.ErrRolledBack)
	require.ErrorIs(t, result.Apps[2].Err, herokubuild.ErrVerifyFailed)
	require.Equal(t, map[string]string{"app-1": "summer sale, Rollback to v3", "app-2": "summer sale (failed)", "app-3": "summer sale, Rollback to v3"}, f.histories())

	require.NoError(t, f.p.SetConfigVars("app-2", map[string]string{"FAIL": ""}))
	opts.Checkpoint = checkpointOf(t, err)
	_, err = f.client.Rollout(t.Context(), f.what, f.apps, &opts)
	require.NoError(t, err)
	for _, app := range f.apps {
		assert.Equal(t, "summer sale", runs(f.p, app))
	}
}

// A rollback that cannot ever succeed does not keep the deploy from being tried
// again.
func TestARollbackThatIsImpossibleIsOver(t *testing.T) {
	t.Parallel()
	p, client := startPlatform(t, platform.Options{Builder: printing("")}, quickRetry())
	opts := deploy()
	opts.Archive = archiveOf(t)
	opts.Rollout = herokubuild.RolloutPolicy{Rollback: herokubuild.RollbackAll, Verify: unhealthy("other-app")}
	_, err := client.BuildAndRelease(t.Context(), opts)
	require.ErrorIs(t, err, herokubuild.ErrRollbackFailed, "it ran nothing before")
	opts.Checkpoint, opts.Rollout.Verify = checkpointOf(t, err), unhealthy()
	assert.Empty(t, opts.Checkpoint.RollbackIDs)
	_, err = client.BuildAndRelease(t.Context(), opts)
	require.NoError(t, err)
	assert.Equal(t, 1, releasesOf(p, "other-app"))
}

// A call that resumes at once, while a request of the call before is still under
// way, waits for its effect. That holds for the newest checkpoint as for an old
// one.
func TestResumeWhileARequestIsUnderWay(t *testing.T) {
	t.Parallel()
	for _, stale := range []bool{false, true} {
		for path, of := range map[string]string{"/builds": "example-app", "/releases": "other-app"} {
			t.Run(path, func(t *testing.T) {
				t.Parallel()
				ctx, cancel := context.WithCancelCause(t.Context())
				p, client := startPlatform(t, platform.Options{Builder: printing("")}, herokubuild.WithRetry(herokubuild.RetryOptions{
					MinWait: time.Microsecond, MaxWait: time.Microsecond, SettleTime: 2 * time.Second,
				}))
				id := p.AppID(of)
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

// The checkpoint of a call that came to an end by itself says that nothing was
// under way, so that the next need not wait.
func TestResumeOfASettledCheckpointDoesNotWait(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2, "web: new\n", platform.Options{}, herokubuild.WithRetry(herokubuild.RetryOptions{SettleTime: time.Hour}))
	opts := herokubuild.RolloutOptions{Policy: herokubuild.RolloutPolicy{Verify: unhealthy("app-1"), StopOnError: true, Concurrency: 1, Rollback: herokubuild.RollbackAll}}
	_, err := f.client.Rollout(t.Context(), f.what, f.apps, &opts)
	opts.Checkpoint, opts.Policy.Verify = checkpointOf(t, err), unhealthy()
	require.True(t, opts.Checkpoint.Settled)
	_, err = f.client.Rollout(t.Context(), f.what, f.apps, &opts)
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"app-1": "summer sale, Rollback to v3, summer sale", "app-2": "summer sale"}, f.histories())
}

// A release that failed in an earlier attempt is not adopted for one whose
// request was lost.
func TestAnOldFailedReleaseIsNotAdopted(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1, phased, platform.Options{})
	f.fails(t, "app-1")
	var opts herokubuild.RolloutOptions
	for range 2 {
		_, err := f.client.Rollout(t.Context(), f.what, f.apps, &opts)
		require.ErrorIs(t, err, herokubuild.ErrReleaseFailed)
		opts.Checkpoint = checkpointOf(t, err)
	}
	require.NoError(t, f.p.SetConfigVars("app-1", map[string]string{"FAIL": ""}))
	f.p.SetFaults(onCall("POST", "/releases", platform.Fault{CutRequestAfter: 1}))
	result, err := f.client.Rollout(t.Context(), f.what, f.apps, &opts)
	require.NoError(t, err)
	assert.Equal(t, 6, result.Apps[0].Release.Version)
	assert.Equal(t, "summer sale (failed), summer sale (failed), summer sale", f.history("app-1"))
}

// A description that says which attempt it is does not hide the release of an
// earlier one.
func TestResumeWithAnotherDescription(t *testing.T) {
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

// Once the apps are known, they are addressed by id: another name, or another
// app of the name, changes nothing.
func TestAppsThatAreRenamed(t *testing.T) {
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
				assert.Zero(t, releasesOf(p, "other-app"), "another app")
			}
		}
	}
}

// The same app in two spellings would get two releases.
func TestRolloutRefusesTheSameAppTwice(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2, "web: new\n", platform.Options{})
	id := f.p.AppID("app-1")
	for _, apps := range [][]string{
		{"app-1", "app-2", id}, {id, "app-1"}, {id, strings.ToUpper(id)}, {"app-1", "app-1"},
	} {
		_, err := f.client.Rollout(t.Context(), f.what, apps, nil)
		requireInvalid(t, err, "apps")
	}
	_, err := f.client.Rollout(t.Context(), f.what, []string{id, "app-2"}, nil)
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"app-1": "summer sale", "app-2": "summer sale"}, f.histories())
}

// What never got further than the look-up of the apps binds nobody.
func TestACheckpointOfAMereCheckIsZero(t *testing.T) {
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
	assert.False(t, result.Checkpoint.Resumable(), "it is done")
	assert.False(t, result.Checkpoint.IsZero())
}

// A directory that git does not know is compared by its content.
func TestCheckpointOfAChangedDirectory(t *testing.T) {
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
	require.NoError(t, err, "the build is there")
	assert.Len(t, p.Builds("example-app"), 1)
}

func TestCheckpointFile(t *testing.T) {
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
		assert.Equal(t, e.Checkpoint, saved)
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
	assert.Empty(t, left, "neither the file nor a temporary one")

	require.NoError(t, os.WriteFile(string(file), []byte("{"), 0o600))
	_, err = file.Load()
	require.Error(t, err)
	require.Error(t, herokubuild.CheckpointFile(filepath.Join(dir, "missing", "x")).Save(opts.Checkpoint))
}
