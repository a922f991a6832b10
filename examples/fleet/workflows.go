package main

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/herokubuild/herokubuild"
)

// The task queues. Builds and releases have queues of their own for each account,
// because Heroku limits requests by account.
const workflowQueue = "fleet"

func buildQueue(account string) string   { return "builds-" + account }
func releaseQueue(account string) string { return "releases-" + account }

// The names of the activities of a build.
const (
	buildActivity  = "Build"
	cancelActivity = "CancelBuild"
)

const (
	defaultHeartbeat = 30 * time.Second
	defaultBatch     = 50
	defaultParallel  = 4
	// maxFleet keeps the history of a workflow, and its input, within Temporal's limits.
	maxFleet = 5000
)

// DeploySpec is the argument of Deploy.
type DeploySpec struct {
	// Account is the account that builds, of those that the workers have keys of.
	Account string
	// App is the app that builds.
	App string
	// Source is the URL of a gzipped tar archive that every worker can reach. It is
	// part of the workflow's history: it must not contain a secret. The workers add the
	// header that a private repository requires.
	Source string
	// Version identifies the source: a commit, for example.
	Version string
	// Fleets get what was built. The first is released before the others start, which
	// are then released at the same time.
	Fleets []FleetSpec
	// Heartbeat is the time after which a worker that is silent is presumed dead.
	// Default: 30 s.
	Heartbeat time.Duration
}

// FleetSpec is the argument of Fleet.
type FleetSpec struct {
	// Account is the account that releases.
	Account string
	// Apps are at most 5,000 apps, by name or id.
	Apps []string
	// Artifact is what they get, and Mark is part of the description of each release.
	// Deploy sets both. The Mark must be unique to the rollout.
	Artifact herokubuild.Artifact
	Mark     string
	// Canaries is how many apps, from the first, are released before all others.
	Canaries int
	// Batch is how many apps one activity releases. Default: 50.
	Batch int
	// Parallel is how many batches are under way at the same time. Default: 4.
	Parallel int
	// MaxFailures is how many apps may fail before no further batch starts. A canary
	// that fails always stops the rollout.
	MaxFailures int
	// RollBack returns all apps that got the release to what they ran before if the
	// rollout stops or is canceled.
	RollBack bool
	// Heartbeat is that of DeploySpec.
	Heartbeat time.Duration
}

// BuildSpec is the argument of the activity Build. Its result is a DeploySummary, because
// herokubuild's own result has the signed URLs of output streams.
type BuildSpec struct {
	Account, App, Source, Version string
	// Mark identifies the builds of one workflow on the platform.
	Mark string
}

// DeployResult is the result of Deploy.
type DeployResult struct {
	Built  herokubuild.DeploySummary
	Fleets []FleetResult
}

// FleetResult is the result of Fleet.
type FleetResult struct {
	Apps, Released int
	// NotReleased are the apps of the batches that did not get the release, or do not
	// run it any more.
	NotReleased []AppOutcome
	// RolledBack is how many apps were rolled back, and NotRolledBack are those that
	// could not be.
	RolledBack    int
	NotRolledBack []AppOutcome
}

// AppOutcome is why an app does not run the release.
type AppOutcome struct {
	App     string
	Outcome herokubuild.AppOutcome
	Reason  string
}

// Batch is the argument of the activities Release and Rollback.
type Batch struct {
	Account  string
	Apps     []string
	Artifact herokubuild.Artifact
	Mark     string
}

// BatchResult is their result: how many apps were released or rolled back, and which
// were not.
type BatchResult struct {
	Done int
	Not  []AppOutcome
}

// Cancellation is the argument of the activity CancelBuild.
type Cancellation struct{ Account, App, Mark string }

// Deploy builds the source and releases the result to the fleets. One deploy of an app
// runs at a time, because the app is part of the workflow's id.
func Deploy(ctx workflow.Context, spec DeploySpec) (DeployResult, error) {
	var result DeployResult
	spec.Heartbeat = cmp.Or(spec.Heartbeat, defaultHeartbeat)
	mark := markOf(workflow.GetInfo(ctx).WorkflowExecution)
	built, err := build(ctx, spec, mark)
	if err != nil {
		return result, err
	}
	result.Built = built
	for i := range spec.Fleets {
		f := &spec.Fleets[i]
		f.Artifact, f.Mark, f.Heartbeat = built.Artifact, mark, spec.Heartbeat
	}
	result.Fleets, err = releaseFleets(ctx, spec.Fleets)
	return result, err
}

// markOf identifies a run of a workflow on the platform. It has the whole id of the run,
// because runs that begin within a minute share its first digits.
func markOf(run workflow.Execution) string { return run.ID + "/" + run.RunID }

// build runs the activity Build. If the workflow is canceled, so is the build.
func build(ctx workflow.Context, spec DeploySpec, mark string) (herokubuild.DeploySummary, error) {
	var built herokubuild.DeploySummary
	running := workflow.ExecuteActivity(
		workflow.WithActivityOptions(ctx, longActivity(buildQueue(spec.Account), spec.Heartbeat)),
		buildActivity,
		BuildSpec{Account: spec.Account, App: spec.App, Source: spec.Source, Version: spec.Version, Mark: mark},
	)
	canceled := false
	workflow.NewSelector(ctx).
		AddFuture(running, func(workflow.Future) {}).
		AddReceive(ctx.Done(), func(workflow.ReceiveChannel, bool) { canceled = true }).
		Select(ctx)
	if !canceled {
		err := running.Get(ctx, &built)
		return built, err
	}
	// The first call stops the build at once, although its worker may be dead. The second
	// finds a build that was just being created.
	stop := func() error {
		detached, cancel := workflow.NewDisconnectedContext(ctx)
		defer cancel()
		detached = workflow.WithActivityOptions(detached, shortActivity(buildQueue(spec.Account)))
		return workflow.ExecuteActivity(detached, cancelActivity, Cancellation{Account: spec.Account, App: spec.App, Mark: mark}).Get(detached, nil)
	}
	first := stop()
	_ = running.Get(ctx, nil)
	if err := errors.Join(first, stop()); err != nil {
		return built, fmt.Errorf("canceling the build of %s: %w", spec.App, err)
	}
	return built, temporal.NewCanceledError()
}

// releaseFleets releases to the first fleet, and then to the others.
func releaseFleets(ctx workflow.Context, fleets []FleetSpec) ([]FleetResult, error) {
	results := make([]FleetResult, len(fleets))
	start := func(i int) workflow.ChildWorkflowFuture {
		ctx := workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{
			WorkflowID:          fmt.Sprintf("%s/fleet-%d", workflow.GetInfo(ctx).WorkflowExecution.ID, i+1),
			WaitForCancellation: true,
			ParentClosePolicy:   requestCancel,
		})
		return workflow.ExecuteChildWorkflow(ctx, Fleet, fleets[i])
	}
	var others []workflow.ChildWorkflowFuture
	for i := range fleets {
		running := start(i)
		if i > 0 {
			others = append(others, running)
			continue
		}
		if err := running.Get(ctx, &results[0]); err != nil {
			return results, err
		}
	}
	var errs []error
	for i, running := range others {
		errs = append(errs, running.Get(ctx, &results[i+1]))
	}
	return results, errors.Join(errs...)
}

// longActivity are the options of an activity that follows a build or releases: it may
// be taken over by another worker any number of times.
func longActivity(queue string, heartbeat time.Duration) workflow.ActivityOptions {
	return workflow.ActivityOptions{
		TaskQueue:           queue,
		StartToCloseTimeout: 2 * time.Hour,
		HeartbeatTimeout:    heartbeat,
		WaitForCancellation: true,
		RetryPolicy:         &temporal.RetryPolicy{InitialInterval: time.Second, MaximumInterval: time.Minute},
	}
}

func shortActivity(queue string) workflow.ActivityOptions {
	return workflow.ActivityOptions{
		TaskQueue:              queue,
		StartToCloseTimeout:    time.Minute,
		ScheduleToCloseTimeout: 30 * time.Minute,
		RetryPolicy:            &temporal.RetryPolicy{InitialInterval: time.Second, MaximumInterval: time.Minute},
	}
}
