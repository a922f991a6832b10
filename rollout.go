package herokubuild

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/herokubuild/herokubuild/internal/clean"
)

// RolloutPolicy sets how many apps get a release: how many at a time, canaries
// first, and what happens when one fails. The zero value releases to 16 apps at a
// time and continues after a failure.
type RolloutPolicy struct {
	// Concurrency is how many apps at most are being released at once, release
	// phase and Verify included. Default 16.
	Concurrency int
	// StopOnError starts no further releases once one has failed. Those under way
	// are awaited. An app that runs something newer ([ErrSuperseded]) has not
	// failed, here and for Rollback; if it is a canary, it keeps the others back.
	StopOnError bool
	// Canaries is how many apps, from the first, are released before all others.
	// The others are released only if every canary succeeded and was verified. If
	// it is not less than the number of apps, all are canaries. Default 0.
	Canaries int
	// Verify is called with every release that succeeded, of canaries and others
	// alike, and returns an error if the app is not healthy: its outcome then
	// matches [ErrVerifyFailed]. It may take its time: its app counts against
	// Concurrency. Calls for several apps overlap. An error after ctx has ended is
	// attributed to the end of ctx. An error matches what the caller's error
	// matches, except this package's own outcomes and invalid arguments.
	Verify func(ctx context.Context, app string, r *Release) error
	// Rollback sets which apps return to the release that they ran before, once
	// everything else is over. Default: none.
	Rollback RollbackPolicy
	// RollbackTimeout bounds the rollback, which continues after the context has
	// ended, unless by [ErrDetached]; the call may return that much later. Default
	// 5 minutes.
	RollbackTimeout time.Duration
}

// RolloutOptions sets how [Client.Rollout] works. nil and the zero value use the
// zero [RolloutPolicy].
type RolloutOptions struct {
	// Policy sets how the apps get the release.
	Policy RolloutPolicy
	// Checkpoint resumes the rollout of an earlier call.
	Checkpoint Checkpoint
	// OnEvent is called with each step. Calls never overlap. It blocks the rollout,
	// so return quickly. An error ends the rollout; it matches what the caller's
	// error matches, except this package's own outcomes and invalid arguments.
	OnEvent func(ctx context.Context, e DeployEvent) error
	// IdleTimeout is [StreamOptions].IdleTimeout for the output of release phases.
	IdleTimeout time.Duration
}

// RollbackPolicy sets which apps of a rollout return to the release that they ran
// before.
type RollbackPolicy int

const (
	// RollbackNone leaves every app as it is. An app whose release phase failed
	// still runs what it ran before.
	RollbackNone RollbackPolicy = iota
	// RollbackUnverified rolls back the apps whose Verify failed.
	RollbackUnverified
	// RollbackAll rolls back every app that got the release if the release or
	// Verify of one failed, or the context ended. With StopOnError no further app
	// is released before the rollback begins.
	RollbackAll
)

const (
	defaultConcurrency = 16
	rollbackTimeout    = 5 * time.Minute
)

func (p RolloutPolicy) withDefaults(apps int) (RolloutPolicy, error) {
	if err := p.check(); err != nil {
		return p, err
	}
	p.Canaries = min(p.Canaries, apps)
	p.Concurrency = cmp.Or(p.Concurrency, defaultConcurrency)
	p.RollbackTimeout = cmp.Or(p.RollbackTimeout, rollbackTimeout)
	return p, nil
}

func (p RolloutPolicy) check() error {
	bad := func(field, reason string) error {
		return &ArgumentError{Name: "RolloutPolicy." + field, Reason: reason}
	}
	switch {
	case p.Concurrency < 0:
		return bad("Concurrency", "is negative")
	case p.Canaries < 0:
		return bad("Canaries", "is negative")
	case p.Rollback < RollbackNone || p.Rollback > RollbackAll:
		return bad("Rollback", fmt.Sprintf("%d is not a RollbackPolicy", p.Rollback))
	case p.Rollback == RollbackUnverified && p.Verify == nil:
		return bad("Rollback", "RollbackUnverified requires Verify")
	case p.RollbackTimeout < 0:
		return bad("RollbackTimeout", "is negative")
	}
	return nil
}

// RolloutResult is what a rollout has done.
type RolloutResult struct {
	// Apps are the outcomes, in the order in which the apps were given.
	Apps []AppResult
	// Checkpoint is what a later call resumes from.
	Checkpoint Checkpoint
}

// AppResult is the outcome of one app of a deploy or rollout.
type AppResult struct {
	// App is the app, as the caller named it.
	App string
	// Release is the app's newest release of this deploy in its last known state;
	// nil if there is none or nothing is known of it.
	Release *Release
	// Err is nil if the app runs the release. It is a [*ReleaseError] if the release
	// failed, and matches [ErrNotAttempted] if the app got none, [ErrSuperseded] if
	// the app runs what somebody else has released since, and [ErrVerifyFailed],
	// [ErrRolledBack] and [ErrRollbackFailed] if that is the case. See
	// [AppResult.Outcome] for one word.
	Err error
	// OutputErr is why the output of the release phase was not read to its end; nil
	// if it was. It does not make the release a failure.
	OutputErr error
	// RolledBack is the release that took the app back to what it ran before; nil
	// if there is none. RollbackErr is why a rollback did not succeed, if one was
	// attempted; Err wraps it.
	RolledBack  *Release
	RollbackErr error
	// Duration is how long this call worked on the app: from its first request to
	// the end of Verify, without a rollback. It is 0 if nothing was attempted.
	Duration time.Duration
}

// AppOutcome is the outcome of an app in one word.
type AppOutcome string

// The outcomes of an app.
const (
	// AppReleased: the app runs the release.
	AppReleased AppOutcome = "released"
	// AppFailed: the release failed, or could not be created or followed.
	AppFailed AppOutcome = "failed"
	// AppVerifyFailed: the release succeeded and failed Verify.
	AppVerifyFailed AppOutcome = "verify_failed"
	// AppNotAttempted: the app got no release.
	AppNotAttempted AppOutcome = "not_attempted"
	// AppSuperseded: the app runs what somebody else has released since.
	AppSuperseded AppOutcome = "superseded"
	// AppRolledBack: the app runs what it ran before the deploy.
	AppRolledBack AppOutcome = "rolled_back"
	// AppRollbackFailed: the app should have been rolled back and was not, or not
	// certainly.
	AppRollbackFailed AppOutcome = "rollback_failed"
	// AppUnknown: whether the app has the release is not known.
	AppUnknown AppOutcome = "unknown"
)

// Outcome returns what became of the app. An app whose release failed and that was
// then rolled back is AppRolledBack; Err has the reason.
func (r AppResult) Outcome() AppOutcome {
	switch {
	case r.Err == nil:
		return AppReleased
	case errors.Is(r.Err, ErrRollbackFailed):
		return AppRollbackFailed
	case r.RolledBack != nil, errors.Is(r.Err, ErrRolledBack):
		return AppRolledBack
	case errors.Is(r.Err, ErrSuperseded):
		return AppSuperseded
	case errors.Is(r.Err, ErrVerifyFailed):
		return AppVerifyFailed
	case errors.Is(r.Err, ErrNotAttempted):
		return AppNotAttempted
	case errors.Is(r.Err, ErrMaybeApplied):
		return AppUnknown
	}
	return AppFailed
}

// RolloutError is the error of [Client.Rollout], except for invalid
// arguments. It wraps the apps' errors.
type RolloutError struct {
	// Apps are the outcomes, in the order in which the apps were given.
	Apps []AppResult
	// Checkpoint is what a later call resumes from.
	Checkpoint Checkpoint
	// Err is why the call ended early; nil if the apps' errors are all.
	Err error
}

// Error implements error. It names a few of the apps that failed, and counts those
// that were rolled back or not attempted because of them.
func (e *RolloutError) Error() string {
	const most = 5
	var causes []string
	released, rolledBack, skipped := 0, 0, 0
	for _, a := range e.Apps {
		switch {
		case a.Err == nil:
			released++
		case isCause(a.Err):
			causes = append(causes, a.Err.Error())
		case errors.Is(a.Err, ErrRolledBack):
			rolledBack++
		default:
			skipped++
		}
	}
	text := fmt.Sprintf("herokubuild: released to %d of %d apps", released, len(e.Apps))
	if failed := len(causes); failed > 0 {
		if failed > most {
			causes = append(causes[:most], fmt.Sprintf("and %d more", failed-most))
		}
		text += fmt.Sprintf(", %d failed: %s", failed, strings.Join(causes, "; "))
	}
	text += counted(rolledBack, skipped)
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return clean.Line(clean.Uncolored(redactText(text)))
}

func counted(rolledBack, skipped int) string {
	var counts []string
	if rolledBack > 0 {
		counts = append(counts, fmt.Sprintf("%d rolled back", rolledBack))
	}
	if skipped > 0 {
		counts = append(counts, fmt.Sprintf("%d not attempted", skipped))
	}
	if len(counts) == 0 {
		return ""
	}
	return " (" + strings.Join(counts, ", ") + ")"
}

// isCause reports whether an app's error is one of its own, and not the
// consequence of another app's.
func isCause(err error) bool {
	if errors.Is(err, ErrRollbackFailed) || errors.Is(err, ErrVerifyFailed) || errors.Is(err, ErrReleaseFailed) {
		return true
	}
	return !errors.Is(err, ErrNotAttempted) && !errors.Is(err, ErrRolledBack)
}

// Unwrap returns the apps' errors.
func (e *RolloutError) Unwrap() []error {
	var errs []error
	for _, a := range e.Apps {
		if a.Err != nil {
			errs = append(errs, a.Err)
		}
	}
	if e.Err != nil {
		errs = append(errs, e.Err)
	}
	return errs
}

// Rollout releases one slug or image to any number of apps and waits for the final
// status of each. It returns an error if any app failed; the result has all
// outcomes nevertheless.
//
// Each app gets one release, even if the network loses the response to the request
// that creates it. To find a release again, the description of each ends in a token
// that is unique to this rollout and part of its Checkpoint: "summer sale (rollout
// 3f9a0c51d2e4)". The account's rate limit is respected: when little is left, the
// requests wait for it to refill.
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
	if err := c.checkDistinct(ctx, apps); err != nil {
		return nil, err
	}
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	log := newEventLog(c, o.OnEvent, giveUp, rolloutCheckpoint(o.Checkpoint, release, o.Policy.Rollback != RollbackNone))
	ro := newRollout(c, log, release, o.Policy, o.IdleTimeout)
	ro.begin(log.saved(), apps)
	ro.resumed, ro.settledAt = o.Checkpoint.started(), settledAt(c, o.Checkpoint)
	log.emit(ctx, DeployEvent{Kind: EventPhase, Phase: PhaseRelease})
	failure := ro.run(ctx)
	log.panics.rethrow()
	failure = ro.withCallbackError(failure)
	if failure == nil {
		log.note(func(c *Checkpoint) { c.end(nil, ro.settledAt) })
		return &RolloutResult{Apps: ro.outcomes(), Checkpoint: log.saved()}, nil
	}
	log.note(func(c *Checkpoint) { c.end(failure, ro.settledAt) })
	failure.Checkpoint = log.saved()
	return &RolloutResult{Apps: failure.Apps, Checkpoint: failure.Checkpoint}, failure
}

// withCallbackError adds the error of OnEvent, which may come too late to stop
// anything, to that of the rollout.
func (ro *rollout) withCallbackError(failure *RolloutError) *RolloutError {
	err := ro.log.failure()
	switch {
	case err == nil:
		return failure
	case failure == nil:
		return &RolloutError{Apps: ro.outcomes(), Err: err}
	case !errors.Is(failure, err):
		failure.Err = err
	}
	return failure
}

// check validates the arguments of a rollout and returns the options with their
// defaults.
func (o *RolloutOptions) check(release ReleaseCreateOptions, apps []string) (RolloutOptions, error) {
	checked := orZero(o)
	var err error
	if checked.Policy, err = checked.Policy.withDefaults(len(apps)); err != nil {
		return checked, err
	}
	if checked.IdleTimeout < 0 {
		return checked, &ArgumentError{Name: "RolloutOptions.IdleTimeout", Reason: "is negative"}
	}
	if err := release.check(); err != nil {
		return checked, err
	}
	if err := checked.Checkpoint.check(""); err != nil {
		return checked, err
	}
	if err := checked.Checkpoint.checkRollbacks(apps); err != nil {
		return checked, err
	}
	if of := checked.Checkpoint.ArtifactID; of != "" && of != release.Slug+release.OCIImage {
		return checked, mismatch("a release of "+quote(of), quote(release.Slug+release.OCIImage))
	}
	return checked, nil
}

// rolloutCheckpoint is the checkpoint at the start of Rollout.
func rolloutCheckpoint(c Checkpoint, release ReleaseCreateOptions, mayRollBack bool) Checkpoint {
	c = c.clone()
	c.Settled, c.Done = false, false
	c.MayRollBack = c.MayRollBack || mayRollBack
	if c.started() {
		return c
	}
	return Checkpoint{MayRollBack: mayRollBack, ArtifactID: release.Slug + release.OCIImage, Started: time.Now().UTC().Round(0), Token: newToken()}
}

// begin sets how the releases of this rollout are identified, and its apps.
func (ro *rollout) begin(c Checkpoint, apps []string) {
	if ro.release.Description == "" {
		ro.release.Description = "Release of " + clip(ro.release.Slug+ro.release.OCIImage, 14)
	}
	ro.release.Description = withToken(ro.release.Description, "rollout", c.Token)
	ro.isOurs = func(candidate *Release) bool {
		if c.Token == "" {
			return candidate.Description == ro.release.Description && ro.release.madeFrom(candidate)
		}
		return strings.HasSuffix(candidate.Description, c.Token+")")
	}
	outcomes := make([]AppResult, len(apps))
	for i, app := range apps {
		outcomes[i] = AppResult{App: app, Err: ErrNotAttempted}
		ro.targets = append(ro.targets, target{out: &outcomes[i], app: cmp.Or(c.AppIDs[app], app)})
	}
}

// checkDistinct refuses an app that is named twice, also by its name and its id.
func (c *Client) checkDistinct(ctx context.Context, apps []string) error {
	seen := make(map[string]string, len(apps))
	var byID []string
	for _, app := range apps {
		if err := checkApp("apps", app); err != nil {
			return err
		}
		key := strings.ToLower(app)
		if same, ok := seen[key]; ok {
			return sameAppTwice("apps", app, same)
		}
		seen[key] = app
		if isUUID(app) {
			byID = append(byID, app)
		}
	}
	if len(byID) == 0 || len(byID) == len(apps) {
		return nil
	}
	for _, id := range byID {
		app, err := c.Apps.Get(ctx, id)
		if err != nil {
			return err
		}
		if same, ok := seen[app.Name]; ok {
			return sameAppTwice("apps", id, same)
		}
	}
	return nil
}

func sameAppTwice(argument, app, same string) error {
	reason := quote(app) + " is named twice"
	if app != same {
		reason = quote(app) + " and " + quote(same) + " are the same app"
	}
	return &ArgumentError{Name: argument, Reason: reason}
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
