package herokubuild_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
	"github.com/herokubuild/herokubuild/internal/platform"
)

// errTakenOver is the error of a fence.
var errTakenOver = errors.New("another worker has taken over")

// Whichever change is refused is not sent, and neither is anything else.
func TestBeforeChangeIsAFence(t *testing.T) {
	t.Parallel()
	for _, kind := range []herokubuild.ChangeKind{herokubuild.ChangeBuild, herokubuild.ChangeRelease} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			p, client := startPlatform(t, platform.Options{Builder: printing("")}, quickRetry())
			opts := deploy()
			opts.Archive = archiveOf(t)
			opts.Rollout.Rollback = herokubuild.RollbackAll
			opts.BeforeChange = func(_ context.Context, c herokubuild.Change) error {
				assert.False(t, c.Checkpoint.IsZero(), "what the request is about to do can be resumed from")
				if c.Kind == kind {
					return errTakenOver
				}
				return nil
			}
			_, err := client.BuildAndRelease(t.Context(), opts)
			require.ErrorIs(t, err, herokubuild.ErrNotSent)
			require.ErrorIs(t, err, errTakenOver)
			require.NotErrorIs(t, err, herokubuild.ErrMaybeApplied)
			for _, r := range p.Requests() {
				assert.NotEqual(t, "DELETE", r.Method, "nothing is canceled")
			}
			assert.Len(t, p.Builds("example-app"), map[herokubuild.ChangeKind]int{herokubuild.ChangeBuild: 0, herokubuild.ChangeRelease: 1}[kind])
			assert.Zero(t, releasesOf(p, "other-app"))

			opts.Checkpoint, opts.BeforeChange = checkpointOf(t, err), nil
			_, err = client.BuildAndRelease(t.Context(), opts)
			require.NoError(t, err)
			assert.Len(t, p.Builds("example-app"), 1)
			assert.Equal(t, 1, releasesOf(p, "other-app"))
		})
	}
}

func TestBeforeChangePrecedesEveryAttempt(t *testing.T) {
	t.Parallel()
	p, client := startPlatform(t, platform.Options{Builder: printing("")}, quickRetry())
	p.SetFaults(func(at platform.FaultPoint) platform.Fault {
		if at.Method == http.MethodPost && strings.HasSuffix(at.Path, "/builds") && at.Nth < 2 {
			return platform.Fault{Status: http.StatusTooManyRequests}
		}
		return platform.Fault{}
	})
	var mu sync.Mutex
	changes := map[string]int{}
	opts := deploy()
	opts.Archive = archiveOf(t)
	opts.BeforeChange = func(_ context.Context, c herokubuild.Change) error {
		mu.Lock()
		defer mu.Unlock()
		changes[string(c.Kind)+" "+c.App]++
		return nil
	}
	_, err := client.BuildAndRelease(t.Context(), opts)
	require.NoError(t, err)
	assert.Equal(t, map[string]int{"build example-app": 3, "release other-app": 1}, changes)
}

// A rollout whose fence falls rolls nothing back, and the next call continues forward.
func TestBeforeChangeOfARollout(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 6, withReleasePhase, platform.Options{})
	var mu sync.Mutex
	sent := 0
	opts := herokubuild.RolloutOptions{
		Policy: herokubuild.RolloutPolicy{Rollback: herokubuild.RollbackAll, Concurrency: 1},
		BeforeChange: func(context.Context, herokubuild.Change) error {
			mu.Lock()
			defer mu.Unlock()
			if sent++; sent > 3 {
				return errTakenOver
			}
			return nil
		},
	}
	result, err := f.client.Rollout(t.Context(), f.release, f.apps, &opts)
	require.ErrorIs(t, err, herokubuild.ErrNotSent)
	require.ErrorIs(t, err, errTakenOver)
	for i, app := range result.Apps {
		assert.Equal(t, i < 3, app.Err == nil, app.App)
	}
	opts.Checkpoint, opts.BeforeChange = checkpointOf(t, err), nil
	_, err = f.client.Rollout(t.Context(), f.release, f.apps, &opts)
	require.NoError(t, err)
	for _, app := range f.apps {
		assert.Equal(t, "summer sale", f.histories()[app], "one release, and no rollback")
	}
}

func TestProgressCarriesTheOffsetOfTheOutput(t *testing.T) {
	t.Parallel()
	ended := make(chan struct{})
	_, client := startPlatform(t, platform.Options{Builder: platform.BuilderFunc(func(_ context.Context, j *platform.Job) error {
		_, _ = fmt.Fprintln(j.Output, "compiling")
		<-ended
		return nil
	})})
	opts := deploy()
	opts.Archive, opts.ReleaseTo, opts.ProgressInterval = archiveOf(t), nil, time.Millisecond
	var once sync.Once
	opts.OnEvent = func(_ context.Context, e herokubuild.DeployEvent) error {
		if e.Kind == herokubuild.EventProgress && e.Checkpoint.OutputOffset > 0 {
			once.Do(func() { close(ended) })
		}
		return nil
	}
	_, err := client.BuildAndRelease(t.Context(), opts)
	require.NoError(t, err)

	opts.ProgressInterval = -1
	_, err = client.BuildAndRelease(t.Context(), opts)
	requireInvalid(t, err, "ProgressInterval")
	_, err = client.Rollout(t.Context(), herokubuild.ReleaseCreateOptions{SlugID: slugID}, []string{"example-app"}, &herokubuild.RolloutOptions{ProgressInterval: -1})
	requireInvalid(t, err, "RolloutOptions.ProgressInterval")
}

func TestOutputAtResumesWhereTheCheckpointEnds(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "build.log")
	require.NoError(t, os.WriteFile(path, []byte("one\ntwo\nthr"), 0o600))
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	defer func() { assert.NoError(t, f.Close()) }()
	w := herokubuild.OutputAt(f, herokubuild.Checkpoint{OutputOffset: 4})
	for _, line := range []string{"two\n", "three\n"} {
		_, err = w.Write([]byte(line))
		require.NoError(t, err)
	}
	// A process that was suspended writes what the next one has written already.
	_, err = herokubuild.OutputAt(f, herokubuild.Checkpoint{OutputOffset: 4}).Write([]byte("tw"))
	require.NoError(t, err)
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, "one\ntwo\nthree\n", string(text))
}

func ExampleOutputAt() {
	file, err := os.OpenFile(filepath.Join(os.TempDir(), "build.log"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		panic(err)
	}
	defer file.Close()
	opts := herokubuild.BuildAndReleaseOptions{BuildApp: "shop", Dir: "."}
	// opts.Checkpoint is that of an earlier process, or zero.
	opts.Output = herokubuild.OutputAt(file, opts.Checkpoint)
}

// A worker that takes over a deploy whose build exists requests neither the apps nor
// anything of the source, whose directory another machine may not have.
func TestResumeRequestsOnlyWhatIsLeft(t *testing.T) {
	t.Parallel()
	p, client := startPlatform(t, platform.Options{Builder: printing("")}, quickRetry())
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "index.html"), []byte("hi"), 0o600))
	opts := deploy()
	opts.Dir = dir
	opts.BeforeChange = func(_ context.Context, c herokubuild.Change) error {
		if c.Kind == herokubuild.ChangeRelease {
			return errTakenOver
		}
		return nil
	}
	_, err := client.BuildAndRelease(t.Context(), opts)
	require.ErrorIs(t, err, errTakenOver)
	before := len(p.Requests())

	require.NoError(t, os.RemoveAll(dir))
	opts.Checkpoint, opts.BeforeChange = checkpointOf(t, err), nil
	_, err = client.BuildAndRelease(t.Context(), opts)
	require.NoError(t, err)
	assert.Len(t, p.Builds("example-app"), 1)
	assert.Equal(t, 1, releasesOf(p, "other-app"))
	for _, r := range p.Requests()[before:] {
		assert.NotEqual(t, "blob", r.Host)
		assert.NotContains(t, r.Path, "/sources")
		assert.Greater(t, strings.Count(r.Path, "/"), 2, "%s %s is a request for an app", r.Method, r.Path)
	}
}

func TestSummaryIsTheSameAfterJSON(t *testing.T) {
	t.Parallel()
	_, client := startPlatform(t, platform.Options{Builder: printing("")}, quickRetry())
	opts := deploy()
	opts.Archive = archiveOf(t)
	result, err := client.BuildAndRelease(t.Context(), opts)
	require.NoError(t, err)
	rollout, err := client.Rollout(t.Context(), herokubuild.ReleaseCreateOptions{SlugID: result.Artifact.SlugID}, []string{"other-app"}, nil)
	require.NoError(t, err)
	for _, summary := range []herokubuild.DeploySummary{result.Summary(), rollout.Summary()} {
		text, err := json.Marshal(summary)
		require.NoError(t, err)
		assert.NotContains(t, string(text), "http")
		var decoded herokubuild.DeploySummary
		require.NoError(t, json.Unmarshal(text, &decoded))
		assert.Equal(t, summary, decoded)
		assert.Equal(t, result.Artifact, summary.Artifact)
		last := summary.Apps[len(summary.Apps)-1]
		assert.Equal(t, "other-app", last.App)
		assert.Equal(t, herokubuild.AppReleased, last.Outcome)
		assert.Positive(t, last.ReleaseVersion)
		assert.NotEmpty(t, last.ReleaseID)
	}
	assert.Equal(t, result.Build.ID, result.Summary().BuildID)
}

// The fence of a single call precedes each attempt that changes something, and no other.
func TestRequestBeforeIsAFence(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	p, client := startPlatform(t, platform.Options{Builder: printing("")}, quickRetry())
	opts := deploy()
	opts.Archive = archiveOf(t)
	_, err := client.BuildAndRelease(ctx, opts)
	require.NoError(t, err)
	releases := len(p.Releases("example-app"))

	calls, most := 0, 0
	fence := herokubuild.RequestBefore(func(context.Context) error {
		if calls++; calls > most {
			return errTakenOver
		}
		return nil
	})
	_, err = client.Releases.Get(ctx, "example-app", "v3", fence)
	require.NoError(t, err)
	assert.Zero(t, calls, "a GET changes nothing")

	_, err = client.Releases.Rollback(ctx, "example-app", "v3", fence)
	require.ErrorIs(t, err, herokubuild.ErrNotSent)
	require.ErrorIs(t, err, errTakenOver)
	require.NotErrorIs(t, err, herokubuild.ErrMaybeApplied)
	assert.Len(t, p.Releases("example-app"), releases)

	p.SetFaults(func(at platform.FaultPoint) platform.Fault {
		if at.Method == http.MethodPost && at.Nth < 100 {
			return platform.Fault{Status: http.StatusTooManyRequests}
		}
		return platform.Fault{}
	})
	calls, most = 0, 2
	_, err = client.Releases.Rollback(ctx, "example-app", "v3", fence)
	require.ErrorIs(t, err, herokubuild.ErrNotSent)
	assert.Equal(t, 3, calls, "each attempt is preceded by the fence")
	assert.Len(t, p.Releases("example-app"), releases)
	p.SetFaults(nil)

	calls, most = 0, 1
	_, err = client.Do(ctx, http.MethodPost, "/apps/example-app/releases", &herokubuild.DoOptions{Body: map[string]string{"release": "x"}}, fence)
	require.ErrorIs(t, err, herokubuild.ErrNotFound, "it was sent")
	_, err = client.Releases.Rollback(ctx, "example-app", "v3", herokubuild.RequestBefore(nil))
	require.ErrorIs(t, err, herokubuild.ErrInvalidArgument)
}
