package herokubuild

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// rollBack takes apps back to what they ran before, as the options say.
func (f *fanOut) rollBack(ctx context.Context) {
	all := f.opts.Rollback == RollbackAll && (ctx.Err() != nil || f.anyFailed())
	made := f.log.saved().ReleaseIDs
	var back []*target
	for i := range f.targets {
		t := &f.targets[i]
		switch {
		case errors.Is(t.out.Err, ErrSuperseded), errors.Is(t.out.Err, ErrRolledBack):
		case f.opts.Rollback == RollbackUnverified && errors.Is(t.out.Err, ErrVerifyFailed),
			all && (t.out.Release != nil || hasKey(made, t.out.App) || errors.Is(t.out.Err, ErrMaybeApplied)):
			back = append(back, t)
		}
	}
	if len(back) == 0 {
		return
	}
	f.log.note(func(c *Checkpoint) {
		c.RollbackIDs = make(map[string]string, len(back))
		for _, t := range back {
			c.RollbackIDs[t.out.App] = ""
		}
		c.Failures = f.reasons()
	})
	f.log.emit(ctx, DeployEvent{Kind: EventRollback})
	f.rollBackAll(ctx, back)
}

// anyFailed reports whether an app failed by itself. One that runs something
// newer is no reason to take others back.
func (f *fanOut) anyFailed() bool {
	return slices.ContainsFunc(f.targets, func(t target) bool {
		return t.out.Err != nil && isCause(t.out.Err) && !errors.Is(t.out.Err, ErrSuperseded)
	})
}

// reasons are why the apps failed that did, as a checkpoint carries them; nil if
// none did.
func (f *fanOut) reasons() map[string]CheckpointFailure {
	reasons := map[string]CheckpointFailure{}
	for _, t := range f.targets {
		if t.out.Err != nil && isCause(t.out.Err) {
			text := strings.TrimPrefix(strings.TrimPrefix(t.out.Err.Error(), "herokubuild: "), t.out.App+": ")
			reasons[t.out.App] = CheckpointFailure{Reason: clip(redactText(text), maxErrorText), Verify: errors.Is(t.out.Err, ErrVerifyFailed)}
		}
	}
	if len(reasons) == 0 {
		return nil
	}
	return reasons
}

// finishRollback finishes the rollback of an earlier call. The outcomes are then
// those of the platform now.
func (f *fanOut) finishRollback(ctx context.Context) {
	var back []*target
	rollbacks, reasons := f.log.saved().RollbackIDs, f.log.saved().Failures
	f.undoing = f.log.saved().ReleaseIDs
	// A later call than that of the checkpoint may have released again. If the
	// context ends, the rollback goes on all the same.
	_ = f.awaitSettled(ctx)
	for i := range f.targets {
		if t := &f.targets[i]; hasKey(rollbacks, t.out.App) {
			t.out.Err = nil
			if reason, known := reasons[t.out.App]; known {
				t.out.Err = &earlierError{app: t.out.App, CheckpointFailure: reason}
			}
			back = append(back, t)
		}
	}
	f.rollBackAll(ctx, back)
	for i := range f.targets {
		t := &f.targets[i]
		if t.out.RollbackErr == nil && (t.out.RolledBack == nil || !hasKey(rollbacks, t.out.App)) {
			t.out.Err = ErrNotAttempted
			f.observe(ctx, t)
		}
		if reason, known := reasons[t.out.App]; known && t.out.RolledBack != nil && t.out.RollbackErr == nil {
			t.out.Err = &earlierError{app: t.out.App, CheckpointFailure: reason, rolledBack: true}
		}
	}
}

func hasKey[V any](m map[string]V, key string) bool {
	_, ok := m[key]
	return ok
}

func (f *fanOut) rollBackAll(ctx context.Context, back []*target) {
	ctx, cancel := f.rollbackContext(ctx)
	defer cancel()
	parallel(len(back), f.opts.Concurrency, func(i int) {
		t := back[i]
		out := t.out
		out.RolledBack, out.RollbackErr = f.rollBackOne(ctx, t)
		if out.RolledBack == nil && out.RollbackErr == nil {
			return
		}
		switch {
		case out.RollbackErr != nil && out.Err != nil:
			out.Err = fmt.Errorf("%w; %w: %w", out.Err, ErrRollbackFailed, out.RollbackErr)
		case out.RollbackErr != nil:
			out.Err = fmt.Errorf("%s: %w: %w", out.App, ErrRollbackFailed, out.RollbackErr)
		case out.Err == nil:
			out.Err = f.rolledBack(t)
		}
		f.log.emit(ctx, DeployEvent{Kind: EventRolledBack, App: out.App, Release: out.RolledBack, Err: out.RollbackErr})
	})
	f.noteRolledBack(back)
}

// rollbackContext is for a rollback, which the end of the caller's context does
// not stop, unless the caller has detached.
func (f *fanOut) rollbackContext(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(parent))
	stop := context.AfterFunc(parent, func() {
		if detached(parent) {
			cancel(context.Cause(parent))
		}
	})
	limited, end := context.WithTimeout(ctx, f.opts.RollbackTimeout)
	return limited, func() {
		end()
		stop()
		cancel(nil)
	}
}

// noteRolledBack removes from the checkpoint the rollbacks that need not be
// tried again. After the last of them the releases are to be made again.
func (f *fanOut) noteRolledBack(back []*target) {
	f.log.note(func(c *Checkpoint) {
		left := map[string]string{}
		for _, t := range back {
			if err := t.out.RollbackErr; err != nil && !isPermanent(err) {
				left[t.out.App] = c.RollbackIDs[t.out.App]
			}
		}
		if c.RollbackIDs = left; len(left) == 0 {
			c.RollbackIDs, c.Failures = nil, nil
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

// rollBackOne returns the release that took the app back, or nil if it still
// runs what it ran before.
func (f *fanOut) rollBackOne(ctx context.Context, t *target) (*Release, error) {
	if err := f.pace.wait(ctx); err != nil {
		return nil, err
	}
	if err := f.settleRelease(ctx, t); err != nil || t.out.Release == nil || t.out.Release.Status != StatusSucceeded {
		return nil, err
	}
	if id := f.undoing[t.out.App]; id != "" && id != t.out.Release.ID {
		// A later call has released again: the rollback is over.
		return nil, nil
	}
	version := t.out.Release.Version
	before, since, err := f.around(ctx, t, version)
	switch {
	case err != nil:
		return nil, err
	case before == nil:
		return nil, fmt.Errorf("herokubuild: release before v%d of %s: %w", version, t.out.App, ErrNotFound)
	case codeOf(before) == "" || before.Status == StatusExpired:
		// The app ran nothing before, or what is not there any more.
		return nil, &RollbackError{App: t.out.App, Release: before}
	}
	description := fmt.Sprintf("%s%d", rollbackText, before.Version)
	find := func(ctx context.Context) (*Release, error) {
		return findRelease(ctx, f.client, t.app, version, func(r *Release) bool { return r.Description == description })
	}
	if since != nil {
		if since.Description == description {
			return f.awaitRollback(ctx, t, since)
		}
		// Config vars that were set after a rollback do not undo it.
		s, err := f.standing(ctx, t)
		if err != nil {
			return nil, err
		}
		if s.rolledBack && s.by.Description == description {
			return s.by, nil
		}
		return nil, fmt.Errorf("herokubuild: not rolling back %s: v%d was %w by v%d", t.out.App, version, ErrSuperseded, since.Version)
	}
	r, err := f.sendRollback(ctx, t, before.ID, find)
	if err != nil {
		return nil, err
	}
	return f.awaitRollback(ctx, t, r)
}

// around returns the release that an app ran before a version, and the newest
// since that did not fail.
func (f *fanOut) around(ctx context.Context, t *target, version int) (before, since *Release, err error) {
	for r, err := range f.client.Releases.List(ctx, t.app, newest("version")) {
		switch {
		case err != nil:
			return nil, nil, err
		case r.Version > version && r.Status != StatusFailed && since == nil:
			since = r
		case r.Version < version && r.Status != StatusFailed && r.Status != StatusPending && !f.ours(r):
			return r, since, nil
		}
	}
	return nil, since, nil
}

// sendRollback makes the release that takes an app back, unless an earlier call
// has.
func (f *fanOut) sendRollback(ctx context.Context, t *target, id string, find func(context.Context) (*Release, error)) (*Release, error) {
	if err := f.awaitSettled(ctx); err != nil {
		return nil, err
	}
	if f.resumed {
		if r, err := find(ctx); r != nil || err != nil {
			return r, err
		}
	}
	return once(ctx, f.client, func() (*Release, error) { return f.client.Releases.rollBackTo(ctx, t.app, id) }, find)
}

// settleRelease finds out the state of the release of an app that is to be
// rolled back: an ended context may have left it pending, or unknown.
func (f *fanOut) settleRelease(ctx context.Context, t *target) error {
	if t.out.Release == nil {
		if err := f.findUnknown(ctx, t); err != nil || t.out.Release == nil {
			return err
		}
	}
	if t.out.Release.Status.Final() {
		return nil
	}
	if err := f.await(ctx, t); err != nil && !errors.Is(err, ErrReleaseFailed) {
		return err
	}
	return nil
}

// findUnknown searches for the release of an app, if there is one.
func (f *fanOut) findUnknown(ctx context.Context, t *target) error {
	lost := errors.Is(t.out.Err, ErrMaybeApplied)
	limit := f.client.retry.SettleTime
	if !lost {
		limit = 0
	}
	r, err := settle(ctx, limit, func(ctx context.Context) (*Release, error) {
		s, err := f.standing(ctx, t)
		if err != nil || s.wanting() && lost {
			return nil, err
		}
		return s.release, nil
	})
	if err == nil && r == nil && lost {
		err = fmt.Errorf("herokubuild: unknown whether %s was released: %w", t.out.App, ErrMaybeApplied)
	}
	f.adopt(t, r)
	return err
}

func (f *fanOut) awaitRollback(ctx context.Context, t *target, r *Release) (*Release, error) {
	f.log.note(func(c *Checkpoint) {
		c.RollbackIDs = maps.Clone(c.RollbackIDs)
		c.RollbackIDs[t.out.App] = r.ID
	})
	back := target{out: &AppResult{App: t.out.App, Release: r}, app: t.app}
	err := f.await(ctx, &back)
	return back.out.Release, err
}

// rolledBack is the outcome of an app that is back at what it ran before.
func (f *fanOut) rolledBack(t *target) error {
	return fmt.Errorf("%s: %w", t.out.App, ErrRolledBack)
}

// earlierError is the outcome of an app that failed in an earlier call.
type earlierError struct {
	app string
	CheckpointFailure
	// rolledBack says that the app was rolled back since.
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
