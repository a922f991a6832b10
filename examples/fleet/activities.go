package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/herokubuild/herokubuild"
)

// Activities are the steps of the workflows that use Heroku.
type Activities struct {
	// Heartbeats is the Temporal client of the worker.
	Heartbeats heartbeats
	// Accounts are the clients by account. All deploys of a worker share them, so that
	// they share what is known of the rate limit.
	Accounts map[string]*herokubuild.Client
	// SourceHeader is sent with the download of a source, for private repositories.
	SourceHeader http.Header
	// LogDir is the directory of the output of builds, which all workers share.
	LogDir string
	// Verify checks an app after its release; nil for no check.
	Verify func(ctx context.Context, app string, r *herokubuild.Release) error
	// BeforeChange is called before each request that changes something, for tests that
	// freeze a worker at that moment.
	BeforeChange func(herokubuild.Change)
}

// account returns the client of an account.
func (a *Activities) account(name string) (*herokubuild.Client, error) {
	if client := a.Accounts[name]; client != nil {
		return client, nil
	}
	return nil, fmt.Errorf("this worker has no key of the account %q", name)
}

// lease returns the lease of the activity that runs in ctx, and its context. It fails if
// the activity has waited in a worker that was frozen, and is another one's by now.
func (a *Activities) lease(ctx context.Context) (context.Context, *lease, error) {
	ctx, l, err := newLease(ctx, a.Heartbeats)
	if err != nil {
		return nil, nil, err
	}
	l.beforeChange = a.BeforeChange
	if err := l.check(ctx); err != nil {
		defer l.close()
		return nil, nil, l.end(ctx, err)
	}
	return ctx, l, nil
}

// Build builds the source on the app and follows the build. If the worker dies, the
// next attempt attaches to the same build.
func (a *Activities) Build(ctx context.Context, spec BuildSpec) (herokubuild.DeploySummary, error) {
	client, err := a.account(spec.Account)
	if err != nil {
		return herokubuild.DeploySummary{}, err
	}
	ctx, l, err := a.lease(ctx)
	if err != nil {
		return herokubuild.DeploySummary{}, err
	}
	defer l.close()
	result, err := a.build(ctx, l, client, spec)
	if err != nil {
		if result != nil {
			l.setCheckpoint(result.Checkpoint)
		}
		return herokubuild.DeploySummary{}, l.end(ctx, err)
	}
	return result.Summary(), nil
}

func (a *Activities) build(ctx context.Context, l *lease, client *herokubuild.Client, spec BuildSpec) (*herokubuild.DeployResult, error) {
	opts := herokubuild.BuildAndReleaseOptions{
		BuildApp: spec.App, Version: spec.Version, VersionDescription: spec.Mark,
		Checkpoint: l.state.Checkpoint,
		OnEvent: func(ctx context.Context, e herokubuild.DeployEvent) error {
			return l.saveCheckpoint(ctx, e.Checkpoint)
		},
		BeforeChange:     l.fence,
		ProgressInterval: l.timeout / 4,
		// A build is canceled only by the workflow, never because a worker has a problem.
		KeepBuildOnCancel: true,
	}
	if opts.Checkpoint.BuildID == "" {
		archive, err := client.FetchArchive(ctx, herokubuild.SecretURL(spec.Source), &herokubuild.FetchArchiveOptions{Header: a.SourceHeader})
		if err != nil {
			return nil, err
		}
		defer func() { _ = archive.Close() }()
		opts.Archive = archive
	}
	log, err := openLog(a.LogDir, spec.Mark)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	opts.Output = herokubuild.OutputAt(log, opts.Checkpoint)
	return client.BuildAndRelease(ctx, opts)
}

// CancelBuild cancels the running builds of a workflow. They are found by the mark in
// their description, so that it does not matter what became of the worker.
func (a *Activities) CancelBuild(ctx context.Context, c Cancellation) error {
	client, err := a.account(c.Account)
	if err != nil {
		return err
	}
	page, err := client.Builds.ListPage(ctx, c.App, &herokubuild.ListOptions{SortBy: "created_at", Order: herokubuild.Descending})
	if err != nil {
		return err
	}
	for _, b := range page.Items {
		if b.Status.Final() || b.SourceBlob.VersionDescription != c.Mark {
			continue
		}
		if _, err := client.Builds.Cancel(ctx, c.App, b.ID); err != nil {
			// Retryable does not fit: a build that has just ended refuses, and the next
			// attempt finds that it has ended.
			return err
		}
	}
	return nil
}

// Release releases to a batch of apps. If the worker dies, the next attempt releases to
// the apps that have no release yet.
func (a *Activities) Release(ctx context.Context, batch Batch) (BatchResult, error) {
	client, err := a.account(batch.Account)
	if err != nil {
		return BatchResult{}, err
	}
	ctx, l, err := a.lease(ctx)
	if err != nil {
		return BatchResult{}, err
	}
	defer l.close()
	apps := remaining(batch.Apps, l.state.Failed)
	result, err := client.Rollout(ctx,
		herokubuild.ReleaseCreateOptions{SlugID: batch.Artifact.SlugID, ImageID: batch.Artifact.ImageID, Description: "Deploy " + batch.Mark},
		apps,
		&herokubuild.RolloutOptions{
			Policy: herokubuild.RolloutPolicy{Verify: a.Verify}, Checkpoint: l.state.Checkpoint,
			BeforeChange: l.fence,
			OnEvent: func(ctx context.Context, e herokubuild.DeployEvent) error {
				if e.Kind == herokubuild.EventReleaseDone && errors.Is(e.Err, herokubuild.ErrReleaseFailed) {
					// A release that failed is not repeated by the next attempt.
					outcome := AppOutcome{App: e.App, Outcome: herokubuild.AppFailed, Reason: clip(e.Err.Error())}
					return l.save(ctx, func(s *state) { s.Checkpoint, s.Failed = e.Checkpoint, append(s.Failed, outcome) })
				}
				return l.saveCheckpoint(ctx, e.Checkpoint)
			},
		})
	if result == nil {
		return BatchResult{}, l.end(ctx, err)
	}
	if open := l.recordFailures(result); len(open) > 0 {
		return BatchResult{}, l.again(ctx, errors.Join(open...))
	}
	return BatchResult{Done: len(remaining(batch.Apps, l.state.Failed)), Not: l.state.Failed}, nil
}

// remaining are the apps that have not failed.
func remaining(apps []string, failed []AppOutcome) []string {
	return slices.DeleteFunc(slices.Clone(apps), func(app string) bool { return hasFailed(app, failed) })
}

func hasFailed(app string, failed []AppOutcome) bool {
	return slices.ContainsFunc(failed, func(f AppOutcome) bool { return f.App == app })
}

// recordFailures adds to the state the apps that failed for good, and returns the errors
// of those that need another attempt.
func (l *lease) recordFailures(result *herokubuild.RolloutResult) (open []error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state.Checkpoint = result.Checkpoint
	for _, app := range result.Apps {
		switch outcome := app.Outcome(); {
		case outcome == herokubuild.AppReleased, hasFailed(app.App, l.state.Failed):
		case outcome == herokubuild.AppNotAttempted, (outcome == herokubuild.AppUnknown || outcome == herokubuild.AppFailed) && herokubuild.Retryable(app.Err):
			open = append(open, app.Err)
		default:
			l.state.Failed = append(l.state.Failed, AppOutcome{App: app.App, Outcome: outcome, Reason: clip(app.Err.Error())})
		}
	}
	return open
}

// rollbackConcurrency is how many apps of a batch are rolled back at the same time.
const rollbackConcurrency = 8

// RollBack returns the apps of a batch to what they ran before. What there is to do
// is found on the platform, so that a second attempt does nothing twice.
func (a *Activities) RollBack(ctx context.Context, batch Batch) (BatchResult, error) {
	client, err := a.account(batch.Account)
	if err != nil {
		return BatchResult{}, err
	}
	ctx, l, err := a.lease(ctx)
	if err != nil {
		return BatchResult{}, err
	}
	defer l.close()
	done := make([]bool, len(batch.Apps))
	errs := make([]error, len(batch.Apps))
	slots := make(chan struct{}, rollbackConcurrency)
	var group sync.WaitGroup
	for i, app := range batch.Apps {
		group.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			done[i], errs[i] = rollBack(ctx, l, client, app, batch.Mark)
		})
	}
	group.Wait()
	var result BatchResult
	var again []error
	for i, app := range batch.Apps {
		switch err := errs[i]; {
		case done[i]:
			result.Done++
		case err == nil:
		case herokubuild.Retryable(err):
			again = append(again, err)
		default:
			result.Not = append(result.Not, AppOutcome{App: app, Outcome: herokubuild.AppRollbackFailed, Reason: clip(err.Error())})
		}
	}
	if len(again) > 0 {
		return BatchResult{}, l.again(ctx, errors.Join(again...))
	}
	return result, nil
}

// rollBack rolls an app back if it runs the release of the batch. It reports whether
// the app was rolled back, by this attempt or an earlier one.
func rollBack(ctx context.Context, l *lease, client *herokubuild.Client, app, mark string) (bool, error) {
	for {
		h, err := readHistory(ctx, client, app, mark)
		switch {
		case err != nil:
			return false, err
		case h.pending != nil:
			// A release phase or a rollback of an earlier attempt is still running.
			if _, err := client.Releases.Wait(ctx, app, h.pending.ID, nil); err != nil && !errors.Is(err, herokubuild.ErrReleaseFailed) {
				return false, err
			}
			continue
		case !h.runsOurs:
			return h.rolledBack, nil
		case h.before == nil:
			return false, fmt.Errorf("a release of %s to roll back to: %w", app, herokubuild.ErrNotFound)
		}
		fence := herokubuild.RequestBefore(func(ctx context.Context) error {
			return l.fence(ctx, herokubuild.Change{Kind: herokubuild.ChangeRollback, App: app})
		})
		// A request that was refused is not repeated as it is: the history may have changed.
		back, err := client.Releases.Rollback(ctx, app, h.before.ID, fence, herokubuild.RequestMaxAttempts(1))
		switch {
		case errors.Is(err, herokubuild.ErrRateLimited):
			continue // The client waits for the limit before it reads the history.
		case err == nil:
			_, err = client.Releases.Wait(ctx, app, back.ID, nil)
		}
		return err == nil, err
	}
}

// history is what the releases of an app say about a rollback.
type history struct {
	// runsOurs is true if the app runs a release with the mark; rolledBack is true if it
	// runs a rollback of one.
	runsOurs, rolledBack bool
	// before is the newest eligible release before those with the mark.
	before *herokubuild.Release
	// pending is a release with the mark, or its rollback, that has no final status yet.
	pending *herokubuild.Release
}

// readHistory reads the releases of an app from the newest back to the one before those
// with the mark.
func readHistory(ctx context.Context, client *herokubuild.Client, app, mark string) (history, error) {
	var h history
	marked := false
	newest := &herokubuild.ListOptions{SortBy: "version", Order: herokubuild.Descending, PageSize: 50}
	for r, err := range client.Releases.List(ctx, app, newest) {
		if err != nil {
			return h, err
		}
		isRollback := strings.HasPrefix(r.Description, "Rollback to v")
		isOurs := strings.Contains(r.Description, mark+" ")
		marked = marked || isOurs
		if r.Status == herokubuild.StatusPending && (isOurs || isRollback && !marked) {
			h.pending = r
		}
		if r.Current {
			h.runsOurs, h.rolledBack = isOurs, isRollback && !marked
		}
		if marked && !isOurs && r.EligibleForRollback {
			h.before = r
			break
		}
	}
	h.rolledBack = h.rolledBack && marked
	return h, nil
}

// logFile is the file of a deploy's output in a directory that all workers share.
func logFile(dir, mark string) string {
	return filepath.Join(dir, strings.ReplaceAll(mark, "/", "-")+".log")
}

func openLog(dir, mark string) (*os.File, error) {
	return os.OpenFile(logFile(dir, mark), os.O_CREATE|os.O_WRONLY, 0o600)
}
