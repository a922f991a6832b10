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

// RolloutPolicy sets how one slug or image is released to many apps. nil and
// the zero value release to 16 apps at a time and continue after a failure.
type RolloutPolicy struct {
	// Concurrency is how many apps are in the middle of their release at the
	// most, the release phase included. Default 16.
	Concurrency int
	// StopOnError starts no further releases once one has failed. Those under
	// way are awaited. That an app runs something newer ([ErrSuperseded]) is no
	// failure, here and for Rollback; a canary that does keeps the others back.
	StopOnError bool
	// Canaries is how many apps, from the first, are released before all
	// others. The others are released only if every canary succeeded and was
	// verified. If it is not less than the number of apps, all are canaries.
	// Default 0.
	Canaries int
	// Verify is called with every release that succeeded, of canaries and
	// others alike, and returns an error if the app is not healthy: its outcome
	// then matches [ErrVerifyFailed]. It may take its time: its app counts
	// against Concurrency. Calls for several apps overlap. An error after ctx
	// has ended is that end, not a verdict. An error matches what the caller's
	// error matches, except this package's own outcomes and invalid arguments.
	Verify func(ctx context.Context, app string, r *Release) error
	// Rollback says which apps go back to the release that they ran before,
	// once everything else is over. Default: none.
	Rollback RollbackPolicy
	// RollbackTimeout bounds that. A rollback continues after the context has
	// ended, unless by [ErrDetached]; the call may return that much later.
	// Default 5 min.
	RollbackTimeout time.Duration

	// OnEvent is called with each step. Calls never overlap. An error ends the
	// call. [BuildAndReleaseOptions] has its own.
	OnEvent func(ctx context.Context, e DeployEvent) error
	// Checkpoint resumes what an earlier call began.
	// [BuildAndReleaseOptions] has its own.
	Checkpoint Checkpoint
	// IdleTimeout is [StreamOptions].IdleTimeout for the output of release
	// phases. [BuildAndReleaseOptions] has its own.
	IdleTimeout time.Duration
}

// Rollback says which apps of a fan-out go back to the release that they ran
// before.
type RollbackPolicy int

const (
	// RollbackNone leaves every app as it is. An app whose release phase failed
	// still runs what it ran before.
	RollbackNone RollbackPolicy = iota
	// RollbackUnverified rolls back the apps whose Verify failed.
	RollbackUnverified
	// RollbackAll rolls back every app that got the release if the release or
	// Verify of one failed, or the context ended. With StopOnError the others
	// are not released to first.
	RollbackAll
)

const (
	defaultFanOut   = 16
	rollbackTimeout = 5 * time.Minute
)

func (o *RolloutPolicy) withDefaults(apps int) (RolloutPolicy, error) {
	var d RolloutPolicy
	if o != nil {
		d = *o
	}
	bad := func(field, reason string) (RolloutPolicy, error) {
		return d, &ArgumentError{Name: "RolloutPolicy." + field, Reason: reason}
	}
	switch {
	case d.Concurrency < 0:
		return bad("Concurrency", "is negative")
	case d.Canaries < 0:
		return bad("Canaries", "is negative")
	case d.Rollback < RollbackNone || d.Rollback > RollbackAll:
		return bad("Rollback", fmt.Sprintf("%d is none of the constants", d.Rollback))
	case d.Rollback == RollbackUnverified && d.Verify == nil:
		return bad("Rollback", "RollbackUnverified needs a Verify")
	case d.RollbackTimeout < 0:
		return bad("RollbackTimeout", "is negative")
	case d.IdleTimeout < 0:
		return bad("IdleTimeout", "is negative")
	}
	d.Canaries = min(d.Canaries, apps)
	if d.Concurrency == 0 {
		d.Concurrency = defaultFanOut
	}
	if d.RollbackTimeout == 0 {
		d.RollbackTimeout = rollbackTimeout
	}
	return d, nil
}

// RolloutError is the error of [ReleasesService.ReleaseToApps], except for invalid
// arguments. It wraps the apps' errors.
type RolloutError struct {
	// Apps are the outcomes, in the order in which the apps were given.
	Apps []AppResult
	// Checkpoint is what a later call resumes from.
	Checkpoint Checkpoint
	// Err is why the call ended early; nil if the apps' errors are all.
	Err error
}

// Error implements error. It names a few of the apps that failed, and counts
// those that were rolled back or not attempted because of them.
func (e *RolloutError) Error() string {
	const most = 5
	var causes []string
	released, failed, rolledBack, skipped := 0, 0, 0, 0
	for _, a := range e.Apps {
		switch {
		case a.Err == nil:
			released++
		case isCause(a.Err):
			if failed++; failed <= most {
				causes = append(causes, a.Err.Error())
			}
		case errors.Is(a.Err, ErrRolledBack):
			rolledBack++
		default:
			skipped++
		}
	}
	for i, text := range causes {
		causes[i] = strings.TrimPrefix(text, "herokubuild: ")
	}
	text := fmt.Sprintf("herokubuild: released to %d of %d apps", released, len(e.Apps))
	if failed > most {
		causes = append(causes, fmt.Sprintf("and %d more", failed-most))
	}
	if failed > 0 {
		text += fmt.Sprintf(", %d failed: %s", failed, strings.Join(causes, "; "))
	}
	var others []string
	if rolledBack > 0 {
		others = append(others, fmt.Sprintf("%d rolled back", rolledBack))
	}
	if skipped > 0 {
		others = append(others, fmt.Sprintf("%d not attempted", skipped))
	}
	if len(others) > 0 {
		text += " (" + strings.Join(others, ", ") + ")"
	}
	if e.Err != nil {
		text += ": " + strings.TrimPrefix(e.Err.Error(), "herokubuild: ")
	}
	return clean.Line(clean.Uncolored(redactText(text)))
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

// ReleaseToApps releases one slug or image to any number of apps and waits for
// the final status of each: its outcomes are in the order of the apps. It
// returns an error if any app failed, and the outcomes all the same.
//
// Each app gets one release, even if the network loses the response to the
// request that makes it. To find a release again, the description of each ends
// in a token that is unique to this call and part of its Checkpoint: "summer
// sale (rollout 3f9a0c51d2e4)". The account's rate limit is kept: when little is
// left, the requests wait for it to refill.
//
// Endpoints: those of [ReleasesService.Create], [ReleasesService.Get],
// [ReleasesService.List], [ReleasesService.Output] and, for a rollback,
// [ReleasesService.Rollback]; and [AppsService.Get] if some apps are given by
// name and others by id. Errors: an [*ArgumentError] before anything is changed;
// otherwise a [*RolloutError].
func (s ReleasesService) ReleaseToApps(ctx context.Context, what ReleaseCreateOptions, apps []string, opts *RolloutPolicy) ([]AppResult, error) {
	if s.client == nil {
		return nil, &ArgumentError{Name: "Client", Reason: errNoClient.Error()}
	}
	o, err := opts.withDefaults(len(apps))
	if err != nil {
		return nil, err
	}
	if err := what.check(); err != nil {
		return nil, err
	}
	if err := o.Checkpoint.check(""); err != nil {
		return nil, err
	}
	if err := o.Checkpoint.checkRollbacks(apps); err != nil {
		return nil, err
	}
	if of := o.Checkpoint.ArtifactID; of != "" && of != what.Slug+what.OCIImage {
		return nil, mismatch("a release of "+quote(of), quote(what.Slug+what.OCIImage))
	}
	if err := s.checkFleet(ctx, apps); err != nil {
		return nil, err
	}
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	log := newEventLog(s.client, o.OnEvent, giveUp, rolloutCheckpoint(o.Checkpoint, what, o.Rollback != RollbackNone))
	f := newFanOut(s.client, log, what, o)
	f.begin(log.saved(), apps)
	f.resumed, f.settledAt = o.Checkpoint.started(), settledAt(s.client, o.Checkpoint)
	log.emit(ctx, DeployEvent{Kind: EventPhase, Phase: PhaseRelease})
	failure := f.run(ctx)
	log.panics.rethrow()
	if err := log.failure(); err != nil && failure == nil {
		failure = &RolloutError{Apps: f.outcomes(), Err: err}
	} else if err != nil && !errors.Is(failure, err) {
		failure.Err = err
	}
	if failure == nil {
		return f.outcomes(), nil
	}
	log.note(func(c *Checkpoint) { c.end(failure, f.settledAt) })
	failure.Checkpoint = log.saved()
	return f.outcomes(), failure
}

// rolloutCheckpoint is the checkpoint at the start of ReleaseToApps.
func rolloutCheckpoint(c Checkpoint, what ReleaseCreateOptions, mayRollBack bool) Checkpoint {
	c = c.clone()
	c.Settled, c.Done = false, false
	c.MayRollBack = c.MayRollBack || mayRollBack
	if c.started() {
		return c
	}
	return Checkpoint{MayRollBack: mayRollBack, ArtifactID: what.Slug + what.OCIImage, Started: time.Now().UTC().Round(0), Token: newToken()}
}

// begin sets what tells the releases of this rollout from others, and the apps.
func (f *fanOut) begin(c Checkpoint, apps []string) {
	if f.what.Description == "" {
		f.what.Description = "Release of " + clip(f.what.Slug+f.what.OCIImage, 14)
	}
	f.what.Description = withToken(f.what.Description, "rollout", c.Token)
	f.ours = func(r *Release) bool {
		if c.Token == "" {
			return r.Description == f.what.Description && f.what.madeFrom(r)
		}
		return strings.HasSuffix(r.Description, c.Token+")")
	}
	outcomes := make([]AppResult, len(apps))
	for i, app := range apps {
		outcomes[i] = AppResult{App: app, Err: ErrNotAttempted}
		f.targets = append(f.targets, target{out: &outcomes[i], app: cmp.Or(c.AppIDs[app], app)})
	}
}

// checkFleet refuses an app that is named twice.
func (s ReleasesService) checkFleet(ctx context.Context, apps []string) error {
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
		app, err := AppsService(s).Get(ctx, id)
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
func (f *fanOut) outcomes() []AppResult {
	all := make([]AppResult, len(f.targets))
	for i, t := range f.targets {
		all[i] = *t.out
	}
	return all
}

func (f *fanOut) failed() bool {
	return slices.ContainsFunc(f.targets, func(t target) bool { return t.out.Err != nil })
}
