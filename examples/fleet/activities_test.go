package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	"github.com/herokubuild/herokubuild"
	"github.com/herokubuild/herokubuild/herokutest"
)

// recorder is a Temporal server that records heartbeats and may refuse them.
type recorder struct {
	mu     sync.Mutex
	states []state
	// respond is called with each state; its error is the response.
	respond func(state) error
}

func (r *recorder) RecordActivityHeartbeat(_ context.Context, _ []byte, details ...any) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := details[0].(state)
	r.states = append(r.states, s)
	if r.respond != nil {
		return r.respond(s)
	}
	return nil
}

func (r *recorder) last() state {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.states[len(r.states)-1]
}

// fixture runs activities against an emulated Heroku.
type fixture struct {
	heroku     *emulator
	heartbeats *recorder
	activities *Activities
	stop       chan struct{}
}

func newFixture(t *testing.T, o emulatorOptions) *fixture {
	t.Helper()
	heroku, err := startEmulator(t.Context(), o)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, heroku.Close()) })
	client, err := herokubuild.NewClient(
		herokubuild.WithBaseURL(heroku.URL()), herokubuild.WithToken(heroku.Token()), herokubuild.WithSettleTime(100*time.Millisecond),
		herokubuild.WithPollBackoff(func(int) time.Duration { return 10 * time.Millisecond }),
	)
	require.NoError(t, err)
	f := &fixture{heroku: heroku, heartbeats: &recorder{}, stop: make(chan struct{})}
	f.activities = &Activities{
		Heartbeats: f.heartbeats, Accounts: map[string]*herokubuild.Client{"default": client}, LogDir: t.TempDir(),
	}
	return f
}

// execute runs one attempt of an activity, with the state of the last attempt.
func (f *fixture) execute(t *testing.T, last *state, result any, call, argument any) error {
	t.Helper()
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(log.NewStructuredLogger(slog.New(slog.DiscardHandler)))
	env := suite.NewTestActivityEnvironment()
	env.SetTestTimeout(30 * time.Second)
	env.RegisterActivity(f.activities)
	env.SetWorkerStopChannel(f.stop)
	if last != nil {
		env.SetHeartbeatDetails(*last)
	}
	value, err := env.ExecuteActivity(call, argument)
	if err != nil {
		return err
	}
	if result == nil {
		return nil
	}
	return value.Get(result)
}

func (f *fixture) build(t *testing.T, last *state) (herokubuild.DeploySummary, error) {
	t.Helper()
	var built herokubuild.DeploySummary
	err := f.execute(t, last, &built, f.activities.Build, f.spec())
	return built, err
}

func (f *fixture) spec() BuildSpec {
	return BuildSpec{Account: "default", App: "shop", Source: f.heroku.source, Version: "v1", Mark: "deploy/shop/1"}
}

func (f *fixture) checkBuiltOnce(t *testing.T) {
	t.Helper()
	assert.NoError(t, f.heroku.CheckDeployedOnce("shop"))
	assert.NoError(t, f.heroku.checkLog("shop", logFile(f.activities.LogDir, "deploy/shop/1")))
}

func applicationError(t *testing.T, err error) *temporal.ApplicationError {
	t.Helper()
	var failed *temporal.ApplicationError
	require.ErrorAs(t, err, &failed)
	return failed
}

func TestBuildStoresACheckpointBeforeItCreatesTheBuild(t *testing.T) {
	f := newFixture(t, emulatorOptions{apps: []string{"shop"}})
	f.activities.BeforeChange = func(herokubuild.Change) {
		if f.heartbeats.states == nil {
			return // the request for a place to upload to
		}
		assert.Empty(t, f.heroku.Builds("shop"))
		assert.True(t, f.heartbeats.last().Checkpoint.Resumable())
	}
	built, err := f.build(t, nil)
	require.NoError(t, err)
	assert.Equal(t, f.heroku.Builds("shop")[0].ID, built.BuildID)
	assert.NotEmpty(t, built.Artifact.SlugID)
	f.checkBuiltOnce(t)
}

func TestBuildOfAWorkerThatLostItsActivityCreatesNothing(t *testing.T) {
	f := newFixture(t, emulatorOptions{apps: []string{"shop"}})
	lost := errors.New("activity not found")
	f.activities.BeforeChange = func(herokubuild.Change) {
		f.heartbeats.mu.Lock()
		defer f.heartbeats.mu.Unlock()
		if len(f.heartbeats.states) > 0 && f.heartbeats.states[len(f.heartbeats.states)-1].Checkpoint.Resumable() {
			f.heartbeats.respond = func(state) error { return lost }
		}
	}
	_, err := f.build(t, nil)
	require.Error(t, err)
	assert.Empty(t, f.heroku.Builds("shop"))
}

func TestActivityThatIsAnotherWorkersDoesNotBegin(t *testing.T) {
	f := newFixture(t, emulatorOptions{apps: []string{"shop"}})
	f.heartbeats.respond = func(state) error { return errors.New("activity not found") }
	_, err := f.build(t, nil)
	require.Error(t, err)
	assert.Empty(t, f.heroku.Requests())
}

func TestWorkerDoesNotRemoveTheOutputThatTheNextOneHasWritten(t *testing.T) {
	log, err := openLog(t.TempDir(), "deploy/shop/1")
	require.NoError(t, err)
	defer func() { assert.NoError(t, log.Close()) }()
	_, err = log.WriteString("one two three")
	require.NoError(t, err)
	_, err = herokubuild.OutputAt(log, herokubuild.Checkpoint{OutputOffset: 4}).Write([]byte("two"))
	require.NoError(t, err)
	text, err := os.ReadFile(log.Name())
	require.NoError(t, err)
	assert.Equal(t, "one two three", string(text))
}

func TestBuildOfADeployThatIsCanceledEndsAsCanceled(t *testing.T) {
	f := newFixture(t, emulatorOptions{apps: []string{"shop"}, build: time.Minute})
	f.heartbeats.respond = func(s state) error {
		if s.Checkpoint.BuildID != "" {
			return temporal.NewCanceledError()
		}
		return nil
	}
	_, err := f.build(t, nil)
	var canceled *temporal.CanceledError
	require.ErrorAs(t, err, &canceled)
	var left state
	require.NoError(t, canceled.Details(&left))
	assert.NotEmpty(t, left.Checkpoint.BuildID)
	assert.Equal(t, "pending", f.heroku.Builds("shop")[0].Status, "only the workflow cancels the build")
}

func TestNextAttemptFollowsTheSameBuild(t *testing.T) {
	for name, until := range map[string]func(state) bool{
		"before the build's id is known": func(s state) bool { return s.Checkpoint.Resumable() },
		"after the build's id is known":  func(s state) bool { return s.Checkpoint.BuildID != "" },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, emulatorOptions{apps: []string{"shop"}, build: 500 * time.Millisecond})
			var died state
			f.heartbeats.respond = func(s state) error {
				if until(s) && !until(died) {
					died = s // This is the last that the server receives from the worker.
				}
				return nil
			}
			_, err := f.build(t, nil)
			require.NoError(t, err)
			require.NoError(t, os.Truncate(logFile(f.activities.LogDir, "deploy/shop/1"), died.Checkpoint.OutputOffset))
			_, err = f.build(t, &died)
			require.NoError(t, err)
			f.checkBuiltOnce(t)
		})
	}
}

func TestStoppingWorkerHandsTheBuildOverWithItsOutput(t *testing.T) {
	f := newFixture(t, emulatorOptions{apps: []string{"shop"}, build: time.Second})
	var once sync.Once
	f.heartbeats.respond = func(s state) error {
		if s.Checkpoint.BuildID != "" {
			once.Do(func() { time.AfterFunc(200*time.Millisecond, func() { close(f.stop) }) })
		}
		return nil
	}
	_, err := f.build(t, nil)
	require.Equal(t, "HandOver", applicationError(t, err).Type())
	assert.Equal(t, "pending", f.heroku.Builds("shop")[0].Status)
	left := f.heartbeats.last()
	assert.Positive(t, left.Checkpoint.OutputOffset)
	f.stop = make(chan struct{})
	_, err = f.build(t, &left)
	require.NoError(t, err)
	f.checkBuiltOnce(t)
}

func TestBuildThatFailedIsNotBuiltAgain(t *testing.T) {
	f := newFixture(t, emulatorOptions{apps: []string{"shop"}, build: -1})
	_, err := f.build(t, nil)
	assert.Equal(t, "Final", applicationError(t, err).Type())
	// The worker may have died before the server received the error.
	left := f.heartbeats.last()
	_, err = f.build(t, &left)
	assert.Equal(t, "Final", applicationError(t, err).Type())
	assert.Len(t, f.heroku.Builds("shop"), 1)
}

func TestSourceThatDoesNotExistIsFinal(t *testing.T) {
	f := newFixture(t, emulatorOptions{apps: []string{"shop"}})
	spec := f.spec()
	spec.Source = f.heroku.source + ".missing"
	err := f.execute(t, nil, new(herokubuild.DeploySummary), f.activities.Build, spec)
	assert.True(t, applicationError(t, err).NonRetryable())
}

func TestSourceThatIsRefusedIsFinal(t *testing.T) {
	f := newFixture(t, emulatorOptions{apps: []string{"shop"}})
	for _, status := range []int{http.StatusUnauthorized, http.StatusForbidden} {
		refusal := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
		spec := f.spec()
		spec.Source = refusal.URL + "/source.tar.gz"
		err := f.execute(t, nil, new(herokubuild.DeploySummary), f.activities.Build, spec)
		refusal.Close()
		assert.True(t, applicationError(t, err).NonRetryable(), status)
	}
}

func TestCancelBuildCancelsTheRunningBuildsWithTheMark(t *testing.T) {
	f := newFixture(t, emulatorOptions{apps: []string{"shop"}, build: time.Minute})
	f.heartbeats.respond = func(s state) error {
		if s.Checkpoint.BuildID != "" {
			return errors.New("activity not found")
		}
		return nil
	}
	_, err := f.build(t, nil)
	require.Error(t, err)
	for _, test := range []struct{ mark, status string }{{"deploy/shop/2", "pending"}, {"deploy/shop/1", "failed"}, {"deploy/shop/1", "failed"}} {
		require.NoError(t, f.execute(t, nil, nil, f.activities.CancelBuild, Cancellation{Account: "default", App: "shop", Mark: test.mark}))
		assert.Equal(t, test.status, f.heroku.Builds("shop")[0].Status)
	}
}

// releaseFixture has a build of shop, and apps to release it to.
func releaseFixture(t *testing.T, o emulatorOptions, names ...string) (*fixture, Batch) {
	t.Helper()
	o.apps = append([]string{"shop"}, names...)
	f := newFixture(t, o)
	built, err := f.build(t, nil)
	require.NoError(t, err)
	return f, Batch{Account: "default", Apps: names, Artifact: built.Artifact, Mark: "deploy/shop/1"}
}

func (f *fixture) release(t *testing.T, last *state, batch Batch) (BatchResult, error) {
	t.Helper()
	var result BatchResult
	err := f.execute(t, last, &result, f.activities.Release, batch)
	return result, err
}

func TestReleaseGivesEachAppOneReleaseWhereverItIsResumed(t *testing.T) {
	f, batch := releaseFixture(t, emulatorOptions{}, "one", "two", "three")
	f.heartbeats.states = nil
	result, err := f.release(t, nil, batch)
	require.NoError(t, err)
	assert.Equal(t, BatchResult{Done: 3}, result)
	for _, died := range f.heartbeats.states {
		if !died.Checkpoint.Resumable() {
			continue
		}
		result, err := f.release(t, &died, batch)
		require.NoError(t, err)
		assert.Equal(t, BatchResult{Done: 3}, result)
	}
	require.NoError(t, f.heroku.CheckDeployedOnce("shop", batch.Apps...))
}

func TestReleaseDoesNotRepeatWhatFailed(t *testing.T) {
	f, batch := releaseFixture(t, emulatorOptions{}, "one", "two", "three")
	f.activities.Verify = func(_ context.Context, app string, _ *herokubuild.Release) error {
		if app == "two" {
			return errors.New("not healthy")
		}
		return nil
	}
	result, err := f.release(t, nil, batch)
	require.NoError(t, err)
	assert.Equal(t, 2, result.Done)
	require.Len(t, result.Not, 1)
	assert.Equal(t, "two", result.Not[0].App)
	assert.Equal(t, herokubuild.AppVerifyFailed, result.Not[0].Outcome)
	left := state{Checkpoint: f.heartbeats.last().Checkpoint, Failed: result.Not}
	again, err := f.release(t, &left, batch)
	require.NoError(t, err)
	assert.Equal(t, result, again)
	require.NoError(t, f.heroku.CheckDeployedOnce("shop", batch.Apps...))
}

func TestReleaseToAnAppThatDoesNotExistFailsOnlyThatApp(t *testing.T) {
	f, batch := releaseFixture(t, emulatorOptions{}, "one", "two")
	batch.Apps = append(batch.Apps, "missing")
	result, err := f.release(t, nil, batch)
	require.NoError(t, err)
	assert.Equal(t, 2, result.Done)
	require.Len(t, result.Not, 1)
	assert.Equal(t, "missing", result.Not[0].App)
}

func TestStoppingWorkerHandsOverABatchInWhichAnAppHasFailed(t *testing.T) {
	fails := func(app string, _ int) bool { return app == "two" }
	f, batch := releaseFixture(t, emulatorOptions{phase: time.Second, fails: fails}, "one", "two", "three")
	var once sync.Once
	f.heartbeats.respond = func(s state) error {
		if len(s.Failed) > 0 {
			once.Do(func() { close(f.stop) })
		}
		return nil
	}
	_, err := f.release(t, nil, batch)
	require.Equal(t, "HandOver", applicationError(t, err).Type())
	left := f.heartbeats.last()
	f.stop = make(chan struct{})
	result, err := f.release(t, &left, batch)
	require.NoError(t, err)
	assert.Equal(t, 2, result.Done)
	require.Len(t, result.Not, 1)
	assert.Equal(t, "two", result.Not[0].App)
	assert.Equal(t, herokubuild.AppFailed, result.Not[0].Outcome)
}

func TestReleaseOfAWorkerThatLostItsActivityCreatesNothing(t *testing.T) {
	f, batch := releaseFixture(t, emulatorOptions{}, "one", "two")
	f.activities.BeforeChange = func(herokubuild.Change) {
		f.heartbeats.mu.Lock()
		defer f.heartbeats.mu.Unlock()
		f.heartbeats.respond = func(state) error { return errors.New("activity not found") }
	}
	_, err := f.release(t, nil, batch)
	require.Error(t, err)
	assert.False(t, f.heroku.released("one"))
	assert.False(t, f.heroku.released("two"))
}

func TestRollBackReturnsTheAppsThatRunTheReleaseAndOnlyOnce(t *testing.T) {
	f, first := releaseFixture(t, emulatorOptions{}, "one", "two", "three")
	_, err := f.release(t, nil, first)
	require.NoError(t, err)
	second := first
	second.Mark, second.Apps = "deploy/shop/2", []string{"one", "two"}
	_, err = f.release(t, nil, second)
	require.NoError(t, err)
	second.Apps = first.Apps // three has no release with the second mark.
	for range 2 {
		var result BatchResult
		require.NoError(t, f.execute(t, nil, &result, f.activities.RollBack, second))
		assert.Equal(t, BatchResult{Done: 2}, result)
		for _, app := range second.Apps {
			releases := f.heroku.Releases(app)
			last := releases[len(releases)-1]
			assert.True(t, last.Current)
			if app == "three" {
				assert.Contains(t, last.Description, "Deploy deploy/shop/1 ")
			} else {
				assert.Equal(t, "Rollback to v3", last.Description)
				assert.Equal(t, 5, last.Version)
			}
		}
	}
}

func TestRollBackOfRequestsThatFailRollsBackOnce(t *testing.T) {
	f, first := releaseFixture(t, emulatorOptions{}, "one", "two")
	_, err := f.release(t, nil, first)
	require.NoError(t, err)
	second := first
	second.Mark = "deploy/shop/2"
	_, err = f.release(t, nil, second)
	require.NoError(t, err)
	f.heroku.Inject(
		herokutest.RateLimit("POST /apps/one/releases", time.Second),
		herokutest.LoseResponse("POST /apps/two/releases"),
	)
	err = f.execute(t, nil, nil, f.activities.RollBack, second)
	assert.Positive(t, applicationError(t, err).NextRetryDelay())
	assert.Len(t, f.heroku.Releases("one"), 5, "the limit does not end the attempt")
	var result BatchResult
	require.NoError(t, f.execute(t, nil, &result, f.activities.RollBack, second))
	assert.Equal(t, BatchResult{Done: 2}, result)
	for _, app := range second.Apps {
		assert.Len(t, f.heroku.Releases(app), 5, app)
	}
}

func TestRollBackLeavesWhatSomebodyElseHasReleasedSince(t *testing.T) {
	f, first := releaseFixture(t, emulatorOptions{}, "one")
	for _, mark := range []string{"deploy/shop/1", "deploy/shop/2", "deploy/shop/3"} {
		batch := first
		batch.Mark = mark
		_, err := f.release(t, nil, batch)
		require.NoError(t, err)
	}
	first.Mark = "deploy/shop/2"
	var result BatchResult
	require.NoError(t, f.execute(t, nil, &result, f.activities.RollBack, first))
	assert.Equal(t, BatchResult{}, result)
	assert.Len(t, f.heroku.Releases("one"), 5)
}

func TestCheckThatTookLongIsRepeatedBeforeARequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const timeout = 4 * time.Second
		for _, test := range []struct {
			name   string
			frozen []time.Duration
			checks int
		}{
			{"not frozen", nil, 1},
			{"briefly", []time.Duration{timeout / 8}, 1},
			{"longer than the lease", []time.Duration{2 * timeout}, 2},
			{"twice", []time.Duration{timeout, timeout}, 3},
		} {
			h := &recorder{}
			h.respond = func(state) error {
				if n := len(h.states); n <= len(test.frozen) {
					time.Sleep(test.frozen[n-1])
				}
				return nil
			}
			l := &lease{heartbeats: h, timeout: timeout, leave: func(error) {}}
			require.NoError(t, l.fence(t.Context(), herokubuild.Change{}))
			assert.Len(t, h.states, test.checks, test.name)
		}
	})
}

func TestAttemptThatFailedIsRepeatedUnlessTheErrorIsFinal(t *testing.T) {
	for name, test := range map[string]struct {
		err   error
		final bool
	}{
		"build failed":        {fmt.Errorf("build: %w", herokubuild.ErrBuildFailed), true},
		"key":                 {&herokubuild.APIError{StatusCode: http.StatusUnauthorized}, true},
		"checkpoint of other": {&herokubuild.ArgumentError{Err: herokubuild.ErrCheckpointMismatch}, true},
		"generation":          {&herokubuild.GenerationError{}, true},
		"output truncated":    {herokubuild.ErrOutputTruncated, true},
		"not eligible":        {herokubuild.ErrNotEligible, true},
		"superseded":          {herokubuild.ErrSuperseded, true},
		"network":             {errors.New("connection reset"), false},
		"lease lost":          {fmt.Errorf("%w: activity not found", herokubuild.ErrDetached), false},
		"response lost":       {herokubuild.ErrMaybeApplied, false},
		"rate limit":          {&herokubuild.APIError{StatusCode: http.StatusTooManyRequests}, false},
	} {
		l := &lease{heartbeats: &recorder{}, timeout: time.Second, leave: func(error) {}}
		var failed *temporal.ApplicationError
		final := errors.As(l.end(t.Context(), test.err), &failed) && failed.NonRetryable()
		assert.Equal(t, test.final, final, name)
	}
}

func TestNextAttemptWaitsForARequestThatMayTakeEffect(t *testing.T) {
	l := &lease{heartbeats: &recorder{}, timeout: time.Minute, leave: func(error) {}}
	lost := fmt.Errorf("roll back: %w", herokubuild.ErrMaybeApplied)
	assert.Equal(t, time.Minute, applicationError(t, l.end(t.Context(), lost)).NextRetryDelay())
}

// The other apps of a batch keep their releases when one is deleted.
func TestAppThatIsGoneDuringItsReleasePhaseFailsAlone(t *testing.T) {
	f := newFixture(t, emulatorOptions{apps: []string{"shop", "shop-eu", "shop-us"}, phase: 300 * time.Millisecond})
	built, err := f.build(t, nil)
	require.NoError(t, err)
	f.heroku.Inject(herokutest.RespondWith("GET /apps/shop-eu/releases/{release}", http.StatusNotFound).Always())
	var result BatchResult
	batch := Batch{Account: "default", Apps: []string{"shop-eu", "shop-us"}, Artifact: built.Artifact, Mark: "deploy/shop/1"}
	require.NoError(t, f.execute(t, nil, &result, f.activities.Release, batch))
	assert.Equal(t, 1, result.Done)
	require.Len(t, result.Not, 1)
	assert.Equal(t, "shop-eu", result.Not[0].App)
}
