package herokubuild

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/herokubuild/herokubuild/internal/callback"
	"github.com/herokubuild/herokubuild/internal/identity"
)

// rollBack rolls apps back to what they ran before, according to the policy.
func (ro *rollout) rollBack(ctx context.Context) {
	all := ro.policy.Rollback == RollbackAll && (ctx.Err() != nil || ro.anyFailed())
	saved := ro.log.saved()
	var back []*target
	for i := range ro.targets {
		t := &ro.targets[i]
		switch {
		case errors.Is(t.out.Err, ErrSuperseded), errors.Is(t.out.Err, ErrRolledBack):
		case ro.policy.Rollback == RollbackVerifyFailed && errors.Is(t.out.Err, ErrVerifyFailed),
			all && (t.out.Release != nil || saved.App(t.out.App).ReleaseID != "" || errors.Is(t.out.Err, ErrMaybeApplied)):
			back = append(back, t)
		}
	}
	if len(back) == 0 {
		return
	}
	ro.log.note(func(c *Checkpoint) {
		ro.noteReasons(c)
		for _, t := range back {
			c.setApp(t.out.App, func(a *CheckpointApp) { a.RollingBack, a.RollbackID = true, "" })
		}
	})
	ro.log.emit(ctx, DeployEvent{Kind: EventRollback})
	ro.rollBackAll(ctx, back)
}

// anyFailed reports whether an app failed by itself. An app that runs something newer
// is no reason to roll others back.
func (ro *rollout) anyFailed() bool {
	return slices.ContainsFunc(ro.targets, func(t target) bool {
		return t.out.Err != nil && isCause(t.out.Err) && !errors.Is(t.out.Err, ErrSuperseded)
	})
}

// noteReasons records in a checkpoint why apps failed.
func (ro *rollout) noteReasons(c *Checkpoint) {
	for _, t := range ro.targets {
		var failure CheckpointFailure
		if err := t.out.Err; err != nil && isCause(err) {
			text := strings.TrimPrefix(err.Error(), t.out.App+": ")
			failure = CheckpointFailure{Reason: clip(redactText(text), maxErrorText), Verify: errors.Is(err, ErrVerifyFailed)}
		}
		if failure != c.App(t.out.App).Failure {
			c.setApp(t.out.App, func(a *CheckpointApp) { a.Failure = failure })
		}
	}
}

// finishRollback finishes the rollback of an earlier call. The outcomes are then the
// state on the platform.
func (ro *rollout) finishRollback(ctx context.Context) {
	var back []*target
	ro.undoing = ro.log.saved()
	// A call after that of the checkpoint may have released again. If the context ends,
	// the rollback continues nevertheless.
	_ = ro.awaitSettled(ctx)
	for i := range ro.targets {
		t := &ro.targets[i]
		if earlier := ro.undoing.App(t.out.App); earlier.RollingBack {
			t.out.Err = nil
			if !earlier.Failure.IsZero() {
				t.out.Err = &earlierError{app: t.out.App, CheckpointFailure: earlier.Failure}
			}
			back = append(back, t)
		}
	}
	ro.rollBackAll(ctx, back)
	for i := range ro.targets {
		t := &ro.targets[i]
		earlier := ro.undoing.App(t.out.App)
		if t.out.RollbackErr == nil && (t.out.RolledBack == nil || !earlier.RollingBack) {
			t.out.Err = ErrNotAttempted
			ro.observe(ctx, t)
		}
		if !earlier.Failure.IsZero() && t.out.RolledBack != nil && t.out.RollbackErr == nil {
			t.out.Err = &earlierError{app: t.out.App, CheckpointFailure: earlier.Failure, rolledBack: true}
		}
	}
}

func (ro *rollout) rollBackAll(ctx context.Context, back []*target) {
	ctx, cancel := ro.rollbackContext(ctx)
	defer cancel()
	callback.Parallel(len(back), ro.policy.Concurrency, func(i int) {
		t := back[i]
		out := t.out
		out.RolledBack, out.RollbackErr = ro.rollBackOne(ctx, t)
		if out.RolledBack == nil && out.RollbackErr == nil {
			return
		}
		switch {
		case out.RollbackErr != nil && out.Err != nil:
			out.Err = fmt.Errorf("%w; %w: %w", out.Err, ErrRollbackFailed, out.RollbackErr)
		case out.RollbackErr != nil:
			out.Err = fmt.Errorf("%s: %w: %w", out.App, ErrRollbackFailed, out.RollbackErr)
		case out.Err == nil:
			out.Err = ro.rolledBack(t)
		}
		ro.log.emit(ctx, DeployEvent{Kind: EventRolledBack, App: out.App, Release: out.RolledBack, Err: out.RollbackErr})
	})
	ro.noteRolledBack(back)
}

// rollbackContext is the context of a rollback, which the end of the caller's context
// does not stop, unless the caller has detached.
func (ro *rollout) rollbackContext(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(parent))
	stop := context.AfterFunc(parent, func() {
		if detached(parent) {
			cancel(context.Cause(parent))
		}
	})
	limited, end := context.WithTimeout(ctx, ro.policy.RollbackTimeout)
	return limited, func() {
		end()
		stop()
		cancel(nil)
	}
}

// noteRolledBack removes the rollbacks from the checkpoint that need not be attempted
// again. Without any left, a later call releases to the apps again.
func (ro *rollout) noteRolledBack(back []*target) {
	ro.log.note(func(c *Checkpoint) {
		for _, t := range back {
			if err := t.out.RollbackErr; err == nil || isPermanent(err) {
				c.setApp(t.out.App, func(a *CheckpointApp) { a.RollingBack, a.RollbackID = false, "" })
			}
		}
		if c.rollingBack() {
			return
		}
		for app, state := range c.Apps() {
			if !state.Failure.IsZero() {
				c.setApp(app, func(a *CheckpointApp) { a.Failure = CheckpointFailure{} })
			}
		}
	})
}

// isPermanent reports whether a rollback that failed would fail again.
func isPermanent(err error) bool {
	for _, permanent := range []error{ErrNotEligible, ErrNotFound, ErrSuperseded, ErrReleaseFailed, ErrForbidden} {
		if errors.Is(err, permanent) {
			return true
		}
	}
	return false
}

// rollBackOne rolls an app back and returns the release that did, or nil if the app
// does not run the release of this rollout.
func (ro *rollout) rollBackOne(ctx context.Context, t *target) (*Release, error) {
	if err := ro.pace.wait(ctx); err != nil {
		return nil, err
	}
	if err := ro.settleRelease(ctx, t); err != nil {
		return nil, err
	}
	if !ro.isToUndo(t) {
		return nil, nil
	}
	version := t.out.Release.Version
	before, since, err := ro.around(ctx, t, version)
	switch {
	case err != nil:
		return nil, err
	case before == nil:
		return nil, fmt.Errorf("release before v%d of %s: %w", version, t.out.App, ErrNotFound)
	case codeOf(before) == "" || before.Status == StatusExpired:
		// The app ran nothing before, or its slug or image has been deleted.
		return nil, &RollbackError{App: t.out.App, Release: before}
	}
	description := fmt.Sprintf("%s%d", identity.RollbackText, before.Version)
	if since != nil {
		return ro.existingRollback(ctx, t, since, description)
	}
	r, err := ro.sendRollback(ctx, t, before.ID, func(ctx context.Context) (*Release, error) {
		return findRelease(ctx, ro.client, t.app, version, func(r *Release) bool { return r.Description == description })
	})
	if err != nil {
		return nil, err
	}
	return ro.awaitRollback(ctx, t, r)
}

// isToUndo reports whether the app's release succeeded, and is the one that an
// interrupted rollback was undoing. A later call may have released again.
func (ro *rollout) isToUndo(t *target) bool {
	r := t.out.Release
	if r == nil || r.Status != StatusSucceeded {
		return false
	}
	undone := ro.undoing.App(t.out.App).ReleaseID
	return undone == "" || undone == r.ID
}

// existingRollback returns the rollback with this description among the releases
// since that of the rollout. Any other release is left alone.
func (ro *rollout) existingRollback(ctx context.Context, t *target, since *Release, description string) (*Release, error) {
	if since.Description == description {
		return ro.awaitRollback(ctx, t, since)
	}
	// Config vars that were set after a rollback do not undo it.
	s, err := ro.standing(ctx, t)
	if err != nil {
		return nil, err
	}
	if s.rolledBack && s.by.Description == description {
		return s.by, nil
	}
	return nil, fmt.Errorf("not rolling back %s: v%d was %w by v%d", t.out.App, t.out.Release.Version, ErrSuperseded, since.Version)
}

// around returns the release that an app ran before a version, and the newest
// since that did not fail.
func (ro *rollout) around(ctx context.Context, t *target, version int) (before, since *Release, err error) {
	for r, err := range ro.client.Releases.List(ctx, t.app, newest("version")) {
		switch {
		case err != nil:
			return nil, nil, err
		case r.Version > version && r.Status != StatusFailed && since == nil:
			since = r
		case r.Version < version && r.Status != StatusFailed && r.Status != StatusPending && !ro.isOurs(r):
			return r, since, nil
		}
	}
	return nil, since, nil
}

// sendRollback creates the release that rolls an app back, unless an earlier call did.
func (ro *rollout) sendRollback(ctx context.Context, t *target, id string, find func(context.Context) (*Release, error)) (*Release, error) {
	if err := ro.awaitSettled(ctx); err != nil {
		return nil, err
	}
	if ro.resumed {
		if r, err := find(ctx); r != nil || err != nil {
			return r, err
		}
	}
	return once(ctx, ro.client, func() (*Release, error) {
		return ro.client.Releases.rollBackTo(ctx, t.app, id, ro.log.before(ChangeRollback, t.out.App))
	}, find)
}

// settleRelease determines the state of the release of an app that is to be rolled
// back: after the end of a context it may be pending, or unknown.
func (ro *rollout) settleRelease(ctx context.Context, t *target) error {
	if t.out.Release == nil {
		if err := ro.findUnknown(ctx, t); err != nil || t.out.Release == nil {
			return err
		}
	}
	if t.out.Release.Status.Final() {
		return nil
	}
	if err := ro.await(ctx, t); err != nil && !errors.Is(err, ErrReleaseFailed) {
		return err
	}
	return nil
}

// findUnknown searches for the release of an app, if there is one.
func (ro *rollout) findUnknown(ctx context.Context, t *target) error {
	lost := errors.Is(t.out.Err, ErrMaybeApplied)
	limit := ro.client.api.settleTime
	if !lost {
		limit = 0
	}
	r, err := settle(ctx, limit, func(ctx context.Context) (*Release, error) {
		s, err := ro.standing(ctx, t)
		if err != nil || s.needsRelease() && lost {
			return nil, err
		}
		return s.release, nil
	})
	if err == nil && r == nil && lost {
		err = fmt.Errorf("unknown whether %s was released: %w", t.out.App, ErrMaybeApplied)
	}
	ro.adopt(t, r)
	return err
}

func (ro *rollout) awaitRollback(ctx context.Context, t *target, r *Release) (*Release, error) {
	ro.log.noteApp(t.out.App, func(a *CheckpointApp) { a.RollingBack, a.RollbackID = true, r.ID })
	back := target{out: &AppResult{App: t.out.App, Release: r}, app: t.app}
	err := ro.await(ctx, &back)
	return back.out.Release, err
}

// rolledBack is the outcome of an app that was rolled back.
func (ro *rollout) rolledBack(t *target) error {
	return fmt.Errorf("%s: %w", t.out.App, ErrRolledBack)
}

// earlierError is the outcome of an app that failed in an earlier call.
type earlierError struct {
	app string
	CheckpointFailure
	// rolledBack is set if the app was rolled back since.
	rolledBack bool
}

func (e *earlierError) Error() string {
	text := e.app + ": " + e.Reason
	if e.rolledBack {
		text += " (rolled back)"
	}
	return text
}

func (e *earlierError) Is(target error) bool {
	return target == ErrRolledBack && e.rolledBack || target == ErrVerifyFailed && e.Verify
}
