package herokubuild

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"
)

// target is an app of a rollout: its outcome, and the name or id by which it is
// addressed.
type target struct {
	out *AppResult
	app string
}

// fanOut is one release to many apps.
type fanOut struct {
	*follower

	what    ReleaseCreateOptions
	opts    RolloutPolicy
	targets []target
	// ours tells the releases of this rollout from others.
	ours func(*Release) bool
	// resumed says that an earlier call may have made releases, and settledAt is
	// when its last request has had its effect, if any.
	resumed   bool
	settledAt time.Time

	// undoing has the releases that an earlier call was rolling back.
	undoing map[string]string

	// stopped says that no more releases are to be started.
	stopped atomic.Bool
}

func newFanOut(c *Client, log *eventLog, what ReleaseCreateOptions, opts RolloutPolicy) *fanOut {
	f := &fanOut{what: what, opts: opts}
	f.follower = &follower{client: c, log: log, stream: StreamOptions{IdleTimeout: opts.IdleTimeout}, since: time.Now()}
	return f
}

// run releases to all apps. Its error is that of the call.
func (f *fanOut) run(ctx context.Context) *RolloutError {
	f.pace = newPacer(f.client, reserveFor(f.opts.Concurrency, len(f.targets)))
	if len(f.log.saved().RollbackIDs) > 0 {
		f.finishRollback(ctx)
		return f.failure()
	}
	f.releaseAll(ctx)
	if f.resumed {
		f.fillIn(ctx)
	}
	failure := f.failure()
	if failure != nil && !detached(ctx) {
		f.rollBack(ctx)
		failure.Apps = f.outcomes()
	}
	return failure
}

func (f *fanOut) failure() *RolloutError {
	if f.failed() {
		return &RolloutError{Apps: f.outcomes()}
	}
	return nil
}

func (f *fanOut) releaseAll(ctx context.Context) {
	if f.resumed && f.log.saved().MayRollBack {
		// A rollback of the call before may still be under way.
		if err := f.awaitSettled(ctx); err != nil {
			return
		}
	}
	canaries, others := f.targets[:f.opts.Canaries], f.targets[f.opts.Canaries:]
	f.wave(ctx, canaries)
	if !slices.ContainsFunc(canaries, func(t target) bool { return t.out.Err != nil }) {
		f.wave(ctx, others)
	}
}

func (f *fanOut) wave(ctx context.Context, targets []target) {
	parallel(len(targets), f.opts.Concurrency, func(i int) {
		if f.stopped.Load() {
			return
		}
		t := &targets[i]
		// It stays if a callback ends the goroutine (runtime.Goexit).
		t.out.Err = fmt.Errorf("%s: %w", t.out.App, errNotReturned)
		t.out.Err = f.releaseTo(ctx, t)
		if f.opts.StopOnError && t.out.Err != nil && !errors.Is(t.out.Err, ErrSuperseded) {
			f.stopped.Store(true)
		}
	})
}

// releaseTo takes one app to its outcome.
func (f *fanOut) releaseTo(ctx context.Context, t *target) error {
	if ctx.Err() != nil {
		return f.notAttempted(ctx, t)
	}
	r, err := f.createRelease(ctx, t)
	f.adopt(t, r)
	if err != nil {
		return err
	}
	f.log.emit(ctx, DeployEvent{Kind: EventReleaseCreated, App: t.out.App, Release: r})
	if err := f.awaitCurrent(ctx, t); err != nil || f.opts.Verify == nil {
		return err
	}
	err = f.verify(ctx, t)
	f.log.emit(ctx, DeployEvent{Kind: EventVerified, App: t.out.App, Release: t.out.Release, Err: err})
	return err
}

// awaitCurrent waits until the app runs its release. Somebody may have released
// to it while the release phase ran.
func (f *fanOut) awaitCurrent(ctx context.Context, t *target) error {
	waits := t.out.Release.Status == StatusPending
	if err := f.await(ctx, t); err != nil || t.out.Release.Current || !waits {
		return err
	}
	s, err := f.standing(ctx, t)
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", t.out.App, err)
	case s.rolledBack:
		t.out.RolledBack = s.by
		return f.rolledBack(t)
	case s.by != nil:
		return s.superseded(t.out.App)
	}
	return nil
}

// notAttempted is the outcome of an app for which the context ended too early.
func (f *fanOut) notAttempted(ctx context.Context, t *target) error {
	if id := f.log.saved().ReleaseIDs[t.out.App]; id != "" {
		return fmt.Errorf("%s: release %s of an earlier call was not checked: %w", t.out.App, id, contextError(ctx))
	}
	return fmt.Errorf("%s: %w: %w", t.out.App, ErrNotAttempted, contextError(ctx))
}

// adopt makes a release the app's, in the outcome and the checkpoint, and
// addresses the app by its id from then on.
func (f *fanOut) adopt(t *target, r *Release) {
	if r == nil {
		return
	}
	t.out.Release = r
	if isUUID(r.App.ID) {
		t.app = r.App.ID
	}
	id := ""
	if isUUID(t.app) {
		id = t.app
	}
	f.log.noteRelease(t.out.App, id, r)
}

func (f *fanOut) verify(ctx context.Context, t *target) error {
	err := f.log.guard("", func() error { return f.opts.Verify(ctx, t.out.App, t.out.Release) })
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("%s: not verified: %w", t.out.App, contextError(ctx))
	}
	return fmt.Errorf("%s: %w: %w", t.out.App, ErrVerifyFailed, err)
}

// createRelease returns the app's release of this rollout: that of an earlier
// call, if the app runs it or is about to, or a new one.
func (f *fanOut) createRelease(ctx context.Context, t *target) (*Release, error) {
	after := 0
	if f.resumed {
		s, err := f.earlier(ctx, t)
		switch {
		case err != nil:
			return nil, err
		case s.wanting():
			after = s.version()
		case s.by != nil:
			return s.release, s.superseded(t.out.App)
		default:
			return s.release, nil
		}
	}
	send := func() (*Release, error) {
		if err := f.pace.wait(ctx); err != nil {
			return nil, err
		}
		return f.client.Releases.Create(ctx, t.app, f.what)
	}
	return once(ctx, f.client, send, func(ctx context.Context) (*Release, error) { return f.find(ctx, t, after) })
}

// earlier returns how the release of an earlier call stands. That there is none
// is only certain when the requests of that call have had their effect.
func (f *fanOut) earlier(ctx context.Context, t *target) (*standing, error) {
	var last *standing
	s, err := settle(ctx, time.Until(f.settledAt), func(ctx context.Context) (*standing, error) {
		s, err := f.standing(ctx, t)
		if err != nil {
			return nil, err
		}
		if last = s; s.wanting() {
			return nil, nil
		}
		return s, nil
	})
	if s == nil {
		s = last
	}
	return s, err
}

func (f *fanOut) standing(ctx context.Context, t *target) (*standing, error) {
	for {
		if err := f.pace.wait(ctx); err != nil {
			return nil, err
		}
		s, err := findStanding(ctx, f.client, t.app, f.log.saved().ReleaseIDs[t.out.App], f.ours)
		if err != nil || s.awaited == nil {
			return s, err
		}
		get := func(ctx context.Context) (*Release, error) { return f.client.Releases.Get(ctx, t.app, s.awaited.ID) }
		if _, err := waitFinal(ctx, nil, f.backoff, get, func(r *Release) Status { return r.Status }); err != nil {
			return nil, err
		}
	}
}

// find returns the newest release of this rollout with a version above after,
// or nil.
func (f *fanOut) find(ctx context.Context, t *target, after int) (*Release, error) {
	if err := f.pace.wait(ctx); err != nil {
		return nil, err
	}
	return findRelease(ctx, f.client, t.app, after, f.ours)
}

// findRelease returns the newest release with a version above after that ours
// is true for, or nil.
func findRelease(ctx context.Context, c *Client, app string, after int, ours func(*Release) bool) (*Release, error) {
	page, err := c.Releases.ListPage(ctx, app, newest("version"))
	if err != nil {
		return nil, err
	}
	for _, r := range page.Items {
		if r.Version > after && ours(r) {
			return r, nil
		}
	}
	return nil, nil
}

func (f *fanOut) awaitSettled(ctx context.Context) error {
	if wait := time.Until(f.settledAt); wait > 0 {
		return sleep(ctx, wait)
	}
	return nil
}

// fillIn sets the outcomes of the apps that a resumed rollout has not come to.
func (f *fanOut) fillIn(ctx context.Context) {
	parallel(len(f.targets), f.opts.Concurrency, func(i int) {
		if t := &f.targets[i]; t.out.Err == ErrNotAttempted { //nolint:errorlint // Only the initial value, not what wraps it.
			f.observe(ctx, t)
		}
	})
}

// observe sets the outcome of an app to what is true of it now.
func (f *fanOut) observe(ctx context.Context, t *target) {
	if ctx.Err() != nil {
		t.out.Err = f.notAttempted(ctx, t)
		return
	}
	s, err := f.earlier(ctx, t)
	switch {
	case err != nil:
		t.out.Err = fmt.Errorf("%s: %w", t.out.App, err)
		return
	case s.release == nil:
		return
	}
	f.adopt(t, s.release)
	switch {
	case s.rolledBack:
		t.out.RolledBack, t.out.Err = s.by, f.rolledBack(t)
	case s.by != nil:
		t.out.Err = s.superseded(t.out.App)
	case s.release.Status == StatusPending:
		t.out.Err = f.awaitCurrent(ctx, t)
	default:
		t.out.Err = releaseOutcome(t.out.App, s.release)
	}
}

// awaitOwn waits for the release that the platform made of a build, or that has
// taken its place in a resumed deploy.
func (f *fanOut) awaitOwn(ctx context.Context, t target, r *Release) error {
	f.pace = newPacer(f.client, reserveFor(1, 1))
	t.out.Release = r
	t.out.Err = f.reachOwn(ctx, &t)
	return t.out.Err
}

func (f *fanOut) reachOwn(ctx context.Context, t *target) error {
	r, saved := t.out.Release, f.log.saved()
	if saved.ReleaseIDs[t.out.App] == "" {
		f.log.noteRelease(t.out.App, "", r)
	}
	if f.resumed {
		s, err := f.standing(ctx, t)
		if err != nil {
			return err
		}
		switch {
		case s.rolledBack && len(saved.RollbackIDs) == 0:
			if s.release, err = f.createRelease(ctx, t); err != nil {
				return err
			}
		case s.by != nil:
			f.adopt(t, s.release)
			return s.superseded(t.out.App)
		}
		r = s.release
	}
	f.adopt(t, r)
	f.log.emit(ctx, DeployEvent{Kind: EventReleaseCreated, App: t.out.App, Release: r})
	return f.awaitCurrent(ctx, t)
}
