package main

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"github.com/herokubuild/herokubuild"
)

var slug = herokubuild.Artifact{SlugID: "01234567-89ab-4cde-8f01-23456789abcd"}

func newTestEnvironment(t *testing.T) *testsuite.TestWorkflowEnvironment {
	t.Helper()
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(log.NewStructuredLogger(slog.New(slog.DiscardHandler)))
	env := suite.NewTestWorkflowEnvironment()
	env.SetTestTimeout(30 * time.Second)
	env.RegisterWorkflow(Deploy)
	env.RegisterWorkflow(Fleet)
	env.RegisterActivity(&Activities{})
	t.Cleanup(func() { env.AssertExpectations(t) })
	return env
}

func apps(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("app-%03d", i)
	}
	return all
}

// releaseAll is an activity Release in which the apps of bad fail.
func releaseAll(begun *[]string, bad ...AppOutcome) func(context.Context, Batch) (BatchResult, error) {
	return func(_ context.Context, b Batch) (BatchResult, error) {
		*begun = append(*begun, b.Apps...)
		rest := remaining(b.Apps, bad)
		result := BatchResult{Done: len(rest)}
		for _, f := range bad {
			if hasFailed(f.App, bad) && len(remaining(b.Apps, []AppOutcome{f})) < len(b.Apps) {
				result.Not = append(result.Not, f)
			}
		}
		return result, nil
	}
}

func fleetSpec(n int) FleetSpec {
	return FleetSpec{Account: "default", Apps: apps(n), Artifact: slug, Mark: "deploy/shop/1", Batch: 10, Parallel: 1}
}

func TestDeployReleasesToTheFirstFleetBeforeTheOthers(t *testing.T) {
	env := newTestEnvironment(t)
	env.OnActivity(buildActivity, mock.Anything, mock.Anything).Return(herokubuild.DeploySummary{BuildID: "b", Artifact: slug}, nil).Once()
	var mu sync.Mutex // The fleets after the first are released at the same time.
	var order []string
	env.OnActivity(releaseActivity, mock.Anything, mock.Anything).Return(func(_ context.Context, b Batch) (BatchResult, error) {
		mu.Lock()
		defer mu.Unlock()
		order = append(order, b.Account)
		assert.Equal(t, slug, b.Artifact)
		return BatchResult{Done: len(b.Apps)}, nil
	})
	env.ExecuteWorkflow(Deploy, DeploySpec{Account: "default", App: "shop", Fleets: []FleetSpec{
		{Account: "first", Apps: []string{"one"}}, {Account: "second", Apps: []string{"two"}}, {Account: "third", Apps: []string{"three", "four"}},
	}})
	var result DeployResult
	require.NoError(t, env.GetWorkflowResult(&result))
	assert.Equal(t, "first", order[0])
	assert.ElementsMatch(t, []string{"first", "second", "third"}, order)
	require.Len(t, result.Fleets, 3)
	assert.Equal(t, FleetResult{Apps: 2, Released: 2}, result.Fleets[2])
}

func TestDeployStopsAtTheFirstFleetThatFails(t *testing.T) {
	env := newTestEnvironment(t)
	env.OnActivity(buildActivity, mock.Anything, mock.Anything).Return(herokubuild.DeploySummary{Artifact: slug}, nil).Once()
	var begun []string
	env.OnActivity(releaseActivity, mock.Anything, mock.Anything).Return(releaseAll(&begun, AppOutcome{App: "one", Outcome: herokubuild.AppFailed}))
	env.ExecuteWorkflow(Deploy, DeploySpec{App: "shop", Fleets: []FleetSpec{{Apps: []string{"one"}}, {Apps: []string{"two"}}}})
	require.Error(t, env.GetWorkflowError())
	assert.Equal(t, []string{"one"}, begun)
}

func TestDeployWithABuildThatFailsReleasesNothing(t *testing.T) {
	env := newTestEnvironment(t)
	env.OnActivity(buildActivity, mock.Anything, mock.Anything).
		Return(herokubuild.DeploySummary{}, temporal.NewNonRetryableApplicationError("build failed", "Final", nil)).Once()
	env.ExecuteWorkflow(Deploy, DeploySpec{App: "shop", Fleets: []FleetSpec{{Apps: []string{"one"}}}})
	var failed *temporal.ApplicationError
	require.ErrorAs(t, env.GetWorkflowError(), &failed)
	assert.Equal(t, "Final", failed.Type())
}

func TestCanceledDeployCancelsItsBuildAtOnceAndAgainAfterItsActivityHasEnded(t *testing.T) {
	env := newTestEnvironment(t)
	env.OnActivity(buildActivity, mock.Anything, mock.Anything).After(time.Hour).Return(herokubuild.DeploySummary{}, nil)
	env.OnActivity(cancelActivity, mock.Anything, mock.Anything).Return(func(_ context.Context, c Cancellation) error {
		assert.Equal(t, "shop", c.App)
		assert.NotEmpty(t, c.Mark)
		return nil
	}).Twice()
	env.RegisterDelayedCallback(env.CancelWorkflow, time.Second)
	env.ExecuteWorkflow(Deploy, DeploySpec{App: "shop"})
	var canceled *temporal.CanceledError
	require.ErrorAs(t, env.GetWorkflowError(), &canceled)
}

func TestCanceledDeployReportsABuildThatCouldNotBeCanceled(t *testing.T) {
	env := newTestEnvironment(t)
	env.OnActivity(buildActivity, mock.Anything, mock.Anything).After(time.Hour).Return(herokubuild.DeploySummary{}, nil)
	env.OnActivity(cancelActivity, mock.Anything, mock.Anything).Return(temporal.NewNonRetryableApplicationError("forbidden", "Final", nil))
	env.RegisterDelayedCallback(env.CancelWorkflow, time.Second)
	env.ExecuteWorkflow(Deploy, DeploySpec{App: "shop"})
	var failed *temporal.ApplicationError
	require.ErrorAs(t, env.GetWorkflowError(), &failed)
}

func TestFleetReleasesCanariesFirst(t *testing.T) {
	env := newTestEnvironment(t)
	var sizes []int
	env.OnActivity(releaseActivity, mock.Anything, mock.Anything).Return(func(_ context.Context, b Batch) (BatchResult, error) {
		sizes = append(sizes, len(b.Apps))
		return BatchResult{Done: len(b.Apps)}, nil
	})
	spec := fleetSpec(25)
	spec.Canaries = 2
	env.ExecuteWorkflow(Fleet, spec)
	var result FleetResult
	require.NoError(t, env.GetWorkflowResult(&result))
	assert.Equal(t, []int{2, 10, 10, 3}, sizes)
	assert.Equal(t, FleetResult{Apps: 25, Released: 25}, result)
}

func TestCanaryThatFailsStopsTheRolloutAndIsRolledBack(t *testing.T) {
	env := newTestEnvironment(t)
	var begun, undone []string
	env.OnActivity(releaseActivity, mock.Anything, mock.Anything).Return(releaseAll(&begun, AppOutcome{App: "app-001", Outcome: herokubuild.AppVerifyFailed}))
	env.OnActivity(rollBackActivity, mock.Anything, mock.Anything).Return(func(_ context.Context, b Batch) (BatchResult, error) {
		undone = append(undone, b.Apps...)
		return BatchResult{Done: len(b.Apps)}, nil
	})
	spec := fleetSpec(30)
	spec.Canaries, spec.MaxFailures, spec.RollBack = 2, 5, true
	env.ExecuteWorkflow(Fleet, spec)
	result := stoppedResult(t, env.GetWorkflowError())
	assert.Equal(t, []string{"app-000", "app-001"}, begun)
	assert.Equal(t, begun, undone)
	assert.Equal(t, 1, result.Released)
	assert.Equal(t, 2, result.RolledBack)
}

// stoppedResult returns the result in the error of a rollout that stopped.
func stoppedResult(t *testing.T, err error) FleetResult {
	t.Helper()
	var stopped *temporal.ApplicationError
	require.ErrorAs(t, err, &stopped)
	require.Equal(t, "RolloutStopped", stopped.Type())
	var result FleetResult
	require.NoError(t, stopped.Details(&result))
	return result
}

func TestFleetToleratesUpToMaxFailures(t *testing.T) {
	failures := []AppOutcome{
		{App: "app-003", Outcome: herokubuild.AppFailed}, {App: "app-004", Outcome: herokubuild.AppFailed}, {App: "app-013", Outcome: herokubuild.AppFailed},
	}
	for _, test := range []struct{ maxFailures, begun int }{{0, 10}, {1, 10}, {2, 20}, {3, 40}} {
		t.Run(fmt.Sprint(test.maxFailures), func(t *testing.T) {
			env := newTestEnvironment(t)
			var begun []string
			env.OnActivity(releaseActivity, mock.Anything, mock.Anything).Return(releaseAll(&begun, failures...))
			spec := fleetSpec(40)
			spec.MaxFailures = test.maxFailures
			env.ExecuteWorkflow(Fleet, spec)
			assert.Len(t, begun, test.begun)
			if test.maxFailures == 3 {
				require.NoError(t, env.GetWorkflowError())
			} else {
				stoppedResult(t, env.GetWorkflowError())
			}
		})
	}
}

func TestAppThatRunsSomethingNewerHasNotFailed(t *testing.T) {
	env := newTestEnvironment(t)
	var begun []string
	env.OnActivity(releaseActivity, mock.Anything, mock.Anything).Return(releaseAll(&begun, AppOutcome{App: "app-003", Outcome: herokubuild.AppSuperseded}))
	env.ExecuteWorkflow(Fleet, fleetSpec(20))
	var result FleetResult
	require.NoError(t, env.GetWorkflowResult(&result))
	assert.Equal(t, 19, result.Released)
	assert.Len(t, result.NotReleased, 1)
}

func TestBatchWithoutAResultCountsAsFailed(t *testing.T) {
	env := newTestEnvironment(t)
	env.OnActivity(releaseActivity, mock.Anything, mock.Anything).Return(BatchResult{}, temporal.NewNonRetryableApplicationError("unauthorized", "Final", nil)).Once()
	env.ExecuteWorkflow(Fleet, fleetSpec(30))
	result := stoppedResult(t, env.GetWorkflowError())
	require.Len(t, result.NotReleased, 10)
	assert.Equal(t, herokubuild.AppUnknown, result.NotReleased[0].Outcome)
}

func TestNoMoreBatchesThanAllowedRunAtTheSameTime(t *testing.T) {
	env := newTestEnvironment(t)
	running, most := 0, 0
	env.SetOnActivityStartedListener(func(*activity.Info, context.Context, converter.EncodedValues) {
		running++
		most = max(most, running)
	})
	env.SetOnActivityCompletedListener(func(*activity.Info, converter.EncodedValue, error) { running-- })
	env.OnActivity(releaseActivity, mock.Anything, mock.Anything).After(time.Minute).Return(BatchResult{Done: 10}, nil)
	spec := fleetSpec(100)
	spec.Parallel = 3
	env.ExecuteWorkflow(Fleet, spec)
	require.NoError(t, env.GetWorkflowError())
	assert.Equal(t, 3, most)
}

func TestCanceledFleetStartsNoBatchAndRollsBackWhatItBegan(t *testing.T) {
	env := newTestEnvironment(t)
	var undone []string
	env.OnActivity(releaseActivity, mock.Anything, mock.Anything).After(time.Hour).Return(BatchResult{}, nil).Once()
	env.OnActivity(rollBackActivity, mock.Anything, mock.Anything).Return(func(_ context.Context, b Batch) (BatchResult, error) {
		undone = append(undone, b.Apps...)
		return BatchResult{Done: len(b.Apps)}, nil
	})
	env.RegisterDelayedCallback(env.CancelWorkflow, time.Second)
	spec := fleetSpec(30)
	spec.RollBack = true
	env.ExecuteWorkflow(Fleet, spec)
	var canceled *temporal.CanceledError
	require.ErrorAs(t, env.GetWorkflowError(), &canceled)
	assert.Equal(t, apps(10), undone)
}

func TestAbortedFleetFinishesTheBatchThatIsUnderWayAndStops(t *testing.T) {
	env := newTestEnvironment(t)
	env.OnActivity(releaseActivity, mock.Anything, mock.Anything).After(time.Minute).Return(BatchResult{Done: 10}, nil).Once()
	env.RegisterDelayedCallback(func() { env.SignalWorkflow(abortSignal, nil) }, time.Second)
	env.ExecuteWorkflow(Fleet, fleetSpec(30))
	assert.Equal(t, 10, stoppedResult(t, env.GetWorkflowError()).Released)
}

func TestProgressOfAFleetCanBeQueried(t *testing.T) {
	env := newTestEnvironment(t)
	env.OnActivity(releaseActivity, mock.Anything, mock.Anything).After(time.Minute).Return(BatchResult{Done: 10}, nil)
	env.RegisterDelayedCallback(func() {
		var result FleetResult
		value, err := env.QueryWorkflow(progressQuery)
		require.NoError(t, err)
		require.NoError(t, value.Get(&result))
		assert.Equal(t, FleetResult{Apps: 30, Released: 10}, result)
	}, 90*time.Second)
	env.ExecuteWorkflow(Fleet, fleetSpec(30))
	require.NoError(t, env.GetWorkflowError())
}

func TestRunsOfADeployHaveDifferentMarks(t *testing.T) {
	first := markOf(workflow.Execution{ID: "deploy/shop", RunID: "01a2162e-b467-7be5-b40d-52ae73628252"})
	second := markOf(workflow.Execution{ID: "deploy/shop", RunID: "01a2162e-c895-726a-bc06-28564a41d2ef"})
	assert.NotEqual(t, first, second)
}

func TestInvalidFleetsAreRefused(t *testing.T) {
	for name, change := range map[string]func(*FleetSpec){
		"too many apps":    func(s *FleetSpec) { s.Apps = apps(maxFleet + 1) },
		"no artifact":      func(s *FleetSpec) { s.Artifact = herokubuild.Artifact{} },
		"no mark":          func(s *FleetSpec) { s.Mark = "" },
		"negative batch":   func(s *FleetSpec) { s.Batch = -1 },
		"negative canary":  func(s *FleetSpec) { s.Canaries = -1 },
		"negative failure": func(s *FleetSpec) { s.MaxFailures = -1 },
	} {
		t.Run(name, func(t *testing.T) {
			env := newTestEnvironment(t)
			spec := fleetSpec(3)
			change(&spec)
			env.ExecuteWorkflow(Fleet, spec)
			var invalid *temporal.ApplicationError
			require.ErrorAs(t, env.GetWorkflowError(), &invalid)
			assert.Equal(t, "InvalidSpec", invalid.Type())
		})
	}
}

func TestRemainingAppsAreThoseThatHaveNotFailed(t *testing.T) {
	assert.Equal(t, []string{"a", "c"}, remaining([]string{"a", "b", "c"}, []AppOutcome{{App: "b"}}))
	assert.Empty(t, remaining(nil, nil))
}
