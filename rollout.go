package herokubuild

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/herokubuild/herokubuild/internal/callback"
	"github.com/herokubuild/herokubuild/internal/identity"
)

// Rollout releases one slug or image to any number of apps and waits for the final
// status of each. It returns an error if any app failed; the result has all
// outcomes nevertheless.
//
// Each app gets one release, even if the network loses the response to the request
// that creates it. To find a release again, the description of each ends in a token
// that is unique to this rollout and part of its Checkpoint: "summer sale (rollout
// 3f9a0c51d2e4)". The account's rate limit is respected: when little is left, the
// requests wait for it to refill. The apps are not looked up first, which would take a
// request for each: one that does not exist has failed, and is noticed when its turn comes.
//
// Endpoints: those of [ReleasesService.Create], [ReleasesService.Get],
// [ReleasesService.List], [ReleasesService.Output] and, for a rollback,
// [ReleasesService.Rollback]; and [AppsService.Get] if some apps are given by name
// and others by id. Errors: an [*ArgumentError] before anything is changed, with a
// nil result; otherwise a [*RolloutError].
func (c *Client) Rollout(ctx context.Context, release ReleaseCreateOptions, apps []string, opts *RolloutOptions) (*RolloutResult, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	o, err := opts.check(release, apps)
	if err != nil {
		return nil, err
	}
	ctx, stopTimer := withTimeout(ctx, o.Timeout)
	defer stopTimer()
	switch err := c.checkDistinct(ctx, apps); {
	case errors.Is(err, ErrInvalidArgument):
		return nil, err
	case err != nil:
		return notBegun(apps, o.Checkpoint, err)
	}
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	log := newEventLog(c.api.log, callbacks{onEvent: o.OnEvent, beforeChange: o.BeforeChange}, giveUp, rolloutCheckpoint(o.Checkpoint, release, o.Policy.Rollback != RollbackNone))
	ro := newRollout(c, log, release, o.Policy, o.IdleTimeout)
	ro.begin(log.saved(), apps)
	ro.resumed, ro.settledAt = o.Checkpoint.started(), settledAt(c, o.Checkpoint)
	stop := log.reportProgress(ctx, o.ProgressInterval, "")
	defer stop() // The caller's transport may panic.
	log.emit(ctx, DeployEvent{Kind: EventPhase, Phase: PhaseRelease})
	failure := ro.run(ctx)
	stop()
	log.Rethrow()
	return ro.finish(ro.withCallbackError(ctx, failure))
}

// notBegun is what Rollout returns if it could not look up the apps.
func notBegun(apps []string, checkpoint Checkpoint, err error) (*RolloutResult, error) {
	outcomes := make([]AppResult, len(apps))
	for i, app := range apps {
		outcomes[i] = AppResult{App: app, Err: fmt.Errorf("%s: %w", app, ErrNotAttempted)}
	}
	return &RolloutResult{Apps: outcomes, Checkpoint: checkpoint}, &RolloutError{Apps: outcomes, Checkpoint: checkpoint, Err: err}
}

// finish records the end of the rollout in the checkpoint, and returns what Rollout does.
func (ro *rollout) finish(failure *RolloutError) (*RolloutResult, error) {
	var err error
	if failure != nil {
		err = failure
	}
	ro.log.note(func(c *Checkpoint) { c.end(err, ro.settledAt) })
	result := &RolloutResult{Apps: ro.outcomes(), Checkpoint: ro.log.saved()}
	if failure != nil {
		failure.Checkpoint = result.Checkpoint
	}
	return result, err
}

// withCallbackError adds the error of OnEvent to that of the rollout.
func (ro *rollout) withCallbackError(ctx context.Context, failure *RolloutError) *RolloutError {
	if failure == nil {
		if err := ro.log.Failure(); err != nil {
			return &RolloutError{Apps: ro.outcomes(), Err: err}
		}
		return nil
	}
	if err := ro.log.unreported(ctx, failure); err != nil {
		failure.Err = err
	}
	return failure
}

// rolloutCheckpoint is the checkpoint at the start of Rollout.
func rolloutCheckpoint(c Checkpoint, release ReleaseCreateOptions, mayRollBack bool) Checkpoint {
	c.Settled, c.Done = false, false
	c.MayRollBack = c.MayRollBack || mayRollBack
	if c.started() {
		return c
	}
	return Checkpoint{MayRollBack: mayRollBack, ArtifactID: release.artifact().String(), Started: time.Now().UTC().Round(0), Token: identity.NewToken()}
}

// begin sets how the releases of this rollout are identified, and its apps.
func (ro *rollout) begin(c Checkpoint, apps []string) {
	if ro.release.Description == "" {
		ro.release.Description = "Release of " + clip(ro.release.artifact().String(), 14)
	}
	ro.release.Description = identity.WithToken(ro.release.Description, "rollout", c.Token)
	ro.isOurs = func(candidate *Release) bool {
		if c.Token == "" {
			return candidate.Description == ro.release.Description && ro.release.madeFrom(candidate)
		}
		return strings.HasSuffix(candidate.Description, c.Token+")")
	}
	outcomes := make([]AppResult, len(apps))
	for i, app := range apps {
		outcomes[i] = AppResult{App: app, Err: ErrNotAttempted}
		ro.targets = append(ro.targets, target{out: &outcomes[i], app: cmp.Or(c.App(app).ID, app)})
	}
}

// rollout is one release to many apps.
type rollout struct {
	*follower

	// release is created on each app.
	release ReleaseCreateOptions
	policy  RolloutPolicy
	targets []target
	// isOurs tells the releases of this rollout from others.
	isOurs func(*Release) bool
	// resumed is set if an earlier call may have created releases; settledAt is
	// when the last request of that call has taken effect, if ever.
	resumed   bool
	settledAt time.Time

	// undoing is the checkpoint of an earlier call that was rolling back.
	undoing Checkpoint

	// stopped is set when no more releases are to be started.
	stopped atomic.Bool
}

func newRollout(c *Client, log *eventLog, release ReleaseCreateOptions, policy RolloutPolicy, idleTimeout time.Duration) *rollout {
	return &rollout{
		release: release, policy: policy,
		follower: &follower{client: c, log: log, stream: StreamOptions{IdleTimeout: idleTimeout}, since: time.Now()},
	}
}

// run releases to all apps. Its error is that of the call.
func (ro *rollout) run(ctx context.Context) *RolloutError {
	ro.pace = newPacer(ro.client.api, reserveFor(ro.policy.Concurrency, len(ro.targets)))
	if ro.log.saved().rollingBack() {
		ro.finishRollback(ctx)
		return ro.failure()
	}
	ro.releaseAll(ctx)
	if ro.resumed {
		ro.observeOthers(ctx)
	}
	failure := ro.failure()
	if failure != nil && !detached(ctx) {
		ro.rollBack(ctx)
		failure.Apps = ro.outcomes()
	}
	return failure
}

func (ro *rollout) failure() *RolloutError {
	if ro.failed() {
		return &RolloutError{Apps: ro.outcomes()}
	}
	return nil
}

func (ro *rollout) releaseAll(ctx context.Context) {
	if ro.resumed && ro.log.saved().MayRollBack {
		// A rollback of the earlier call may still be in progress.
		if err := ro.awaitSettled(ctx); err != nil {
			return
		}
	}
	canaries, others := ro.targets[:ro.policy.Canaries], ro.targets[ro.policy.Canaries:]
	ro.wave(ctx, canaries)
	if !slices.ContainsFunc(canaries, func(t target) bool { return t.out.Err != nil }) {
		ro.wave(ctx, others)
	}
}

func (ro *rollout) wave(ctx context.Context, targets []target) {
	callback.Parallel(len(targets), ro.policy.Concurrency, func(i int) {
		if ro.stopped.Load() {
			return
		}
		t := &targets[i]
		began := time.Now()
		defer func() { t.out.Duration = time.Since(began) }()
		// This outcome stays if a callback ends the goroutine (runtime.Goexit).
		t.out.Err = fmt.Errorf("%s: %w", t.out.App, callback.ErrNotReturned)
		t.out.Err = ro.releaseTo(ctx, t)
		if ro.policy.StopOnError && t.out.Err != nil && !errors.Is(t.out.Err, ErrSuperseded) {
			ro.stopped.Store(true)
		}
	})
}

// releaseTo releases to one app, waits for the release and verifies it.
func (ro *rollout) releaseTo(ctx context.Context, t *target) error {
	if ctx.Err() != nil {
		return ro.notAttempted(ctx, t)
	}
	r, err := ro.createRelease(ctx, t)
	ro.adopt(t, r)
	if err != nil {
		return err
	}
	ro.log.emit(ctx, DeployEvent{Kind: EventReleaseCreated, App: t.out.App, Release: r})
	if err := ro.awaitCurrent(ctx, t); err != nil || ro.policy.Verify == nil {
		return err
	}
	err = ro.verify(ctx, t)
	ro.log.emit(ctx, DeployEvent{Kind: EventVerified, App: t.out.App, Release: t.out.Release, Err: err})
	return err
}

// awaitCurrent waits until the app runs its release. Somebody may have released to it
// while the release phase ran.
func (ro *rollout) awaitCurrent(ctx context.Context, t *target) error {
	pending := t.out.Release.Status == StatusPending
	if err := ro.await(ctx, t); err != nil || t.out.Release.Current || !pending {
		return err
	}
	s, err := ro.standing(ctx, t)
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", t.out.App, err)
	case s.rolledBack:
		t.out.RolledBack = s.by
		return ro.rolledBack(t)
	case s.by != nil:
		return s.superseded(t.out.App)
	}
	return nil
}

// notAttempted is the outcome of an app for which the context ended too early.
func (ro *rollout) notAttempted(ctx context.Context, t *target) error {
	if id := ro.log.saved().App(t.out.App).ReleaseID; id != "" {
		return &unobservedError{fmt.Errorf("%s: release %s of an earlier call was not checked: %w", t.out.App, id, contextError(ctx))}
	}
	return fmt.Errorf("%s: %w: %w", t.out.App, ErrNotAttempted, contextError(ctx))
}

// adopt records a release as the app's, in the outcome and the checkpoint, and
// addresses the app by its id from then on.
func (ro *rollout) adopt(t *target, r *Release) {
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
	ro.log.noteRelease(t.out.App, id, r)
}

func (ro *rollout) verify(ctx context.Context, t *target) error {
	err := ro.log.Guard("", func() error { return ro.policy.Verify(ctx, t.out.App, t.out.Release) })
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("%s: not verified: %w", t.out.App, contextError(ctx))
	}
	return fmt.Errorf("%s: %w: %w", t.out.App, ErrVerifyFailed, err)
}

// createRelease returns the app's release of this rollout: that of an earlier call,
// if the app runs it or is about to, or a new one.
func (ro *rollout) createRelease(ctx context.Context, t *target) (*Release, error) {
	if !ro.resumed {
		return ro.createAfter(ctx, t, 0)
	}
	s, err := ro.earlier(ctx, t)
	switch {
	case err != nil:
		return nil, &unobservedError{err}
	case s.needsRelease():
		return ro.createAfter(ctx, t, s.version())
	case s.by != nil:
		return s.release, s.superseded(t.out.App)
	}
	return s.release, nil
}

// createAfter creates a release of an app whose earlier releases of this rollout end
// with a version, 0 if there are none.
func (ro *rollout) createAfter(ctx context.Context, t *target, version int) (*Release, error) {
	send := func() (*Release, error) {
		if err := ro.pace.wait(ctx); err != nil {
			return nil, err
		}
		return ro.client.Releases.Create(ctx, t.app, ro.release, ro.log.before(ChangeRelease, t.out.App))
	}
	return once(ctx, ro.client, send, func(ctx context.Context) (*Release, error) { return ro.find(ctx, t, version) })
}

// earlier returns the standing of the release of an earlier call. That there is no
// release is certain only when the requests of that call have had their effect.
func (ro *rollout) earlier(ctx context.Context, t *target) (*standing, error) {
	var last *standing
	s, err := settle(ctx, time.Until(ro.settledAt), func(ctx context.Context) (*standing, error) {
		s, err := ro.standing(ctx, t)
		if err != nil {
			return nil, err
		}
		if last = s; s.needsRelease() {
			return nil, nil
		}
		return s, nil
	})
	if s == nil {
		s = last
	}
	return s, err
}

func (ro *rollout) standing(ctx context.Context, t *target) (*standing, error) {
	for {
		if err := ro.pace.wait(ctx); err != nil {
			return nil, err
		}
		s, err := findStanding(ctx, ro.client, t.app, ro.log.saved().App(t.out.App).ReleaseID, ro.isOurs)
		if err != nil || s.awaited == nil {
			return s, err
		}
		get := func(ctx context.Context) (*Release, error) { return ro.client.Releases.Get(ctx, t.app, s.awaited.ID) }
		if _, err := waitFinal(ctx, nil, ro.backoff, get, statusOf); err != nil {
			return nil, err
		}
	}
}

// find returns the newest release of this rollout with a version above after, or nil.
func (ro *rollout) find(ctx context.Context, t *target, after int) (*Release, error) {
	if err := ro.pace.wait(ctx); err != nil {
		return nil, err
	}
	return findRelease(ctx, ro.client, t.app, after, ro.isOurs)
}

// findRelease returns the newest release with a version above after for which matches
// returns true, or nil.
func findRelease(ctx context.Context, c *Client, app string, after int, matches func(*Release) bool) (*Release, error) {
	page, err := c.Releases.ListPage(ctx, app, newest("version"))
	if err != nil {
		return nil, err
	}
	for _, r := range page.Items {
		if r.Version > after && matches(r) {
			return r, nil
		}
	}
	return nil, nil
}

func (ro *rollout) awaitSettled(ctx context.Context) error {
	if wait := time.Until(ro.settledAt); wait > 0 {
		return sleep(ctx, wait)
	}
	return nil
}

// observeOthers sets the outcomes of the apps that a resumed rollout did not reach.
func (ro *rollout) observeOthers(ctx context.Context) {
	callback.Parallel(len(ro.targets), ro.policy.Concurrency, func(i int) {
		if t := &ro.targets[i]; t.out.Err == ErrNotAttempted { //nolint:errorlint // Only the initial value, not what wraps it.
			ro.observe(ctx, t)
		}
	})
}

// observe sets the outcome of an app to its state on the platform.
func (ro *rollout) observe(ctx context.Context, t *target) {
	if ctx.Err() != nil {
		t.out.Err = ro.notAttempted(ctx, t)
		return
	}
	s, err := ro.earlier(ctx, t)
	switch {
	case err != nil:
		t.out.Err = &unobservedError{fmt.Errorf("%s: %w", t.out.App, err)}
		return
	case s.release == nil:
		return
	}
	ro.adopt(t, s.release)
	switch {
	case s.rolledBack:
		t.out.RolledBack, t.out.Err = s.by, ro.rolledBack(t)
	case s.by != nil:
		t.out.Err = s.superseded(t.out.App)
	case s.release.Status == StatusPending:
		t.out.Err = ro.awaitCurrent(ctx, t)
	default:
		t.out.Err = s.release.outcome(t.out.App)
	}
}

// awaitOwn waits for the release that the platform created for a build, or that has
// replaced it in a resumed deploy.
func (ro *rollout) awaitOwn(ctx context.Context, t target, r *Release) error {
	ro.pace = newPacer(ro.client.api, reserveFor(1, 1))
	began := time.Now()
	t.out.Release = r
	t.out.Err = ro.ownOutcome(ctx, &t)
	t.out.Duration = time.Since(began)
	return t.out.Err
}

func (ro *rollout) ownOutcome(ctx context.Context, t *target) error {
	r, saved := t.out.Release, ro.log.saved()
	if saved.App(t.out.App).ReleaseID == "" {
		ro.log.noteRelease(t.out.App, "", r)
	}
	if ro.resumed {
		s, err := ro.standing(ctx, t)
		if err != nil {
			return err
		}
		switch {
		case s.rolledBack && !saved.rollingBack():
			if s.release, err = ro.createRelease(ctx, t); err != nil {
				return err
			}
		case s.by != nil:
			ro.adopt(t, s.release)
			return s.superseded(t.out.App)
		}
		r = s.release
	}
	ro.adopt(t, r)
	ro.log.emit(ctx, DeployEvent{Kind: EventReleaseCreated, App: t.out.App, Release: r})
	return ro.awaitCurrent(ctx, t)
}

// reserveFor is how many requests of the account's rate limit are left untouched
// while limit requests run at once for n apps.
func reserveFor(limit, n int) int {
	const most = 450 // a tenth of the platform's pool
	return min(2*limit, 2*n, most)
}

// outcomes are those of all apps, in their order.
func (ro *rollout) outcomes() []AppResult {
	all := make([]AppResult, len(ro.targets))
	for i, t := range ro.targets {
		all[i] = *t.out
	}
	return all
}

func (ro *rollout) failed() bool {
	return slices.ContainsFunc(ro.targets, func(t target) bool { return t.out.Err != nil })
}
