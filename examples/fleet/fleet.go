package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/herokubuild/herokubuild"
)

// requestCancel cancels the fleets of a deploy that ends before them.
const requestCancel = enums.PARENT_CLOSE_POLICY_REQUEST_CANCEL

// The names of the activities of a batch.
const (
	releaseActivity  = "Release"
	rollBackActivity = "RollBack"
)

// abortSignal stops a rollout as a failure does.
const abortSignal = "abort"

// progressQuery returns the FleetResult so far.
const progressQuery = "progress"

// Fleet releases to many apps: canaries first, then in batches of which some are under
// way at the same time. If too many apps fail, the workflow is canceled or gets the
// signal "abort", no further batch starts, and with RollBack the apps that got the
// release return to what they ran before.
func Fleet(ctx workflow.Context, spec FleetSpec) (FleetResult, error) {
	if err := spec.setDefaults(); err != nil {
		return FleetResult{}, err
	}
	f := &fleet{spec: spec, result: FleetResult{Apps: len(spec.Apps)}}
	if err := workflow.SetQueryHandler(ctx, progressQuery, func() (FleetResult, error) { return f.result, nil }); err != nil {
		return FleetResult{}, err
	}
	workflow.Go(ctx, func(ctx workflow.Context) {
		workflow.GetSignalChannel(ctx, abortSignal).Receive(ctx, nil)
		f.stopped = "aborted"
	})
	f.release(ctx, spec.Apps[:spec.Canaries], 0)
	if f.stopped == "" {
		f.release(ctx, spec.Apps[spec.Canaries:], spec.MaxFailures)
	}
	if f.stopped != "" && spec.RollBack {
		f.rollBack(ctx)
	}
	return f.outcome(ctx)
}

func (s *FleetSpec) setDefaults() error {
	s.Batch = cmp.Or(s.Batch, defaultBatch)
	s.Parallel = cmp.Or(s.Parallel, defaultParallel)
	s.Heartbeat = cmp.Or(s.Heartbeat, defaultHeartbeat)
	reason := ""
	switch {
	case len(s.Apps) > maxFleet:
		reason = fmt.Sprintf("%d apps are more than %d: start several fleets", len(s.Apps), maxFleet)
	case s.Artifact.IsZero() || s.Mark == "":
		reason = "the artifact and the mark are required"
	case s.Batch < 0 || s.Parallel < 0 || s.Canaries < 0 || s.MaxFailures < 0:
		reason = "a number is negative"
	}
	if reason != "" {
		return temporal.NewNonRetryableApplicationError(reason, "InvalidSpec", nil)
	}
	s.Canaries = min(s.Canaries, len(s.Apps))
	return nil
}

// fleet is one run of Fleet.
type fleet struct {
	spec   FleetSpec
	result FleetResult
	// begun are the apps of all batches that were started.
	begun []string
	// failed counts the apps that failed.
	failed int
	// stopped is why no further batch starts.
	stopped string
}

// release releases to apps, until more than maxFailures of the fleet have failed.
func (f *fleet) release(ctx workflow.Context, apps []string, maxFailures int) {
	batches := slices.Collect(slices.Chunk(apps, f.spec.Batch))
	group := workflow.NewWaitGroup(ctx)
	for range min(f.spec.Parallel, len(batches)) {
		group.Add(1)
		workflow.Go(ctx, func(ctx workflow.Context) {
			defer group.Done()
			for len(batches) > 0 && f.stopped == "" {
				batch := batches[0]
				batches = batches[1:]
				f.releaseBatch(ctx, batch)
				f.checkFailures(ctx, maxFailures)
			}
		})
	}
	group.Wait(ctx)
}

func (f *fleet) checkFailures(ctx workflow.Context, maxFailures int) {
	switch {
	case ctx.Err() != nil:
		f.stopped = "canceled"
	case f.failed > maxFailures:
		f.stopped = fmt.Sprintf("%d apps failed", f.failed)
	}
}

func (f *fleet) releaseBatch(ctx workflow.Context, apps []string) {
	f.begun = append(f.begun, apps...)
	result := f.execute(ctx, releaseActivity, apps)
	f.result.Released += result.Done
	f.result.NotReleased = append(f.result.NotReleased, result.Not...)
	for _, app := range result.Not {
		// An app that runs something newer has not failed.
		if app.Outcome != herokubuild.AppSuperseded {
			f.failed++
		}
	}
}

// execute runs an activity of a batch. If it has no result, that of its apps is not known.
func (f *fleet) execute(ctx workflow.Context, activity string, apps []string) BatchResult {
	ctx = workflow.WithActivityOptions(ctx, longActivity(releaseQueue(f.spec.Account), f.spec.Heartbeat))
	batch := Batch{Account: f.spec.Account, Apps: apps, Artifact: f.spec.Artifact, Mark: f.spec.Mark}
	var result BatchResult
	if err := workflow.ExecuteActivity(ctx, activity, batch).Get(ctx, &result); err != nil {
		for _, app := range apps {
			result.Not = append(result.Not, AppOutcome{App: app, Outcome: herokubuild.AppUnknown, Reason: clip(err.Error())})
		}
	}
	return result
}

// clip bounds the text of an error, because the history has that of each app.
func clip(text string) string {
	const most = 200
	if len(text) > most {
		return strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}

// rollBack returns the apps of all batches to what they ran before, also after the
// workflow was canceled. An app without the release is left alone.
func (f *fleet) rollBack(ctx workflow.Context) {
	ctx, cancel := workflow.NewDisconnectedContext(ctx)
	defer cancel()
	// A request that was under way when an activity ended may still take effect.
	_ = workflow.Sleep(ctx, f.spec.Heartbeat) // It ends early only with ctx, which does not end.
	for apps := range slices.Chunk(f.begun, f.spec.Batch) {
		result := f.execute(ctx, rollBackActivity, apps)
		f.result.RolledBack += result.Done
		f.result.NotRolledBack = append(f.result.NotRolledBack, result.Not...)
	}
}

// outcome is the result of the workflow. The error of a rollout that stopped has the
// result as its details, because a workflow that fails has no other result.
func (f *fleet) outcome(ctx workflow.Context) (FleetResult, error) {
	switch {
	case ctx.Err() != nil:
		return f.result, temporal.NewCanceledError(f.result)
	case f.stopped == "":
		return f.result, nil
	}
	text := fmt.Sprintf("rollout stopped: %s; %d of %d apps released, %d rolled back", f.stopped, f.result.Released, f.result.Apps, f.result.RolledBack)
	return f.result, temporal.NewNonRetryableApplicationError(text, "RolloutStopped", nil, f.result)
}
