package herokubuild

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// FanOutOptions sets how one slug or image is released to many apps. nil and
// the zero value release to 16 apps at a time and go on after a failure.
type FanOutOptions struct {
	// Concurrency is how many apps are in the middle of their release at the
	// most, the release phase included. Default 16.
	Concurrency int
	// StopOnError starts no further releases once one has failed. Those under
	// way are awaited.
	StopOnError bool
	// Canaries is how many apps, from the first, are released before all
	// others. The others are released only if every canary succeeded and was
	// verified. Default 0.
	Canaries int
	// Verify is called with every release that succeeded, of canaries and
	// others alike, and says whether the app is well. It may take its time:
	// its app counts against Concurrency. Calls for several apps overlap. An
	// error makes the app's outcome match [ErrVerifyFailed].
	Verify func(ctx context.Context, app string, r *Release) error
	// Rollback says which apps go back to the release that they ran before,
	// once everything else is over. Default: none.
	Rollback Rollback
	// RollbackTimeout bounds that. It goes on after the context has ended, so
	// that the call returns by so much later. Default 5 min.
	RollbackTimeout time.Duration

	// OnEvent is told of the progress. Calls never overlap. An error ends the
	// call. [BuildAndReleaseOptions] has its own.
	OnEvent func(ctx context.Context, e Event) error
	// Checkpoint goes on with what an earlier process began.
	// [BuildAndReleaseOptions] has its own.
	Checkpoint Checkpoint
	// IdleTimeout is [StreamOptions].IdleTimeout for the output of release
	// phases. [BuildAndReleaseOptions] has its own.
	IdleTimeout time.Duration
}

// Rollback says which apps of a fan-out go back to the release that they ran
// before.
type Rollback int

const (
	// RollbackNone leaves every app as it is. An app whose release phase failed
	// goes on running what it ran.
	RollbackNone Rollback = iota
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

func (o *FanOutOptions) withDefaults(apps int) (FanOutOptions, error) {
	var d FanOutOptions
	if o != nil {
		d = *o
	}
	bad := func(field, reason string) (FanOutOptions, error) {
		return d, &ArgumentError{Name: "FanOutOptions." + field, Reason: reason}
	}
	switch {
	case d.Concurrency < 0:
		return bad("Concurrency", "is negative")
	case d.Canaries < 0:
		return bad("Canaries", "is negative")
	case d.Canaries > apps:
		return bad("Canaries", fmt.Sprintf("%d of %d apps", d.Canaries, apps))
	case d.Rollback < RollbackNone || d.Rollback > RollbackAll:
		return bad("Rollback", fmt.Sprintf("%d is none of the constants", d.Rollback))
	case d.Rollback == RollbackUnverified && d.Verify == nil:
		return bad("Rollback", "RollbackUnverified needs a Verify")
	case d.RollbackTimeout < 0:
		return bad("RollbackTimeout", "is negative")
	case d.IdleTimeout < 0:
		return bad("IdleTimeout", "is negative")
	}
	if d.Concurrency == 0 {
		d.Concurrency = defaultFanOut
	}
	if d.RollbackTimeout == 0 {
		d.RollbackTimeout = rollbackTimeout
	}
	return d, nil
}

// FanOutError is the error of [ReleasesService.ReleaseToApps], but for wrong
// arguments. It wraps the apps' errors.
type FanOutError struct {
	// Apps are the outcomes, in the order in which the apps were given.
	Apps []AppRelease
	// Checkpoint is what a later call goes on with.
	Checkpoint Checkpoint
	// Err is why no more could be done; nil where the apps' errors are all.
	Err error
}

// Error implements error. It names a few of the apps.
func (e *FanOutError) Error() string {
	const most = 5
	var texts []string
	failed, skipped := 0, 0
	for _, a := range e.Apps {
		switch {
		case a.Err == nil:
			continue
		case errors.Is(a.Err, ErrSkipped) && !errors.Is(a.Err, ErrRollbackFailed):
			skipped++
			continue
		}
		if failed++; failed <= most {
			text := strings.TrimPrefix(a.Err.Error(), "herokubuild: ")
			texts = append(texts, a.App+": "+strings.TrimPrefix(text, a.App+": "))
		}
	}
	text := fmt.Sprintf("herokubuild: released to %d of %d apps", len(e.Apps)-failed-skipped, len(e.Apps))
	if failed > 0 {
		text += fmt.Sprintf(", %d failed: %s", failed, strings.Join(texts, "; "))
	}
	if failed > most {
		text += fmt.Sprintf("; and %d more", failed-most)
	}
	if skipped > 0 {
		text += fmt.Sprintf("; %d not attempted", skipped)
	}
	if e.Err != nil {
		text += ": " + strings.TrimPrefix(e.Err.Error(), "herokubuild: ")
	}
	return text
}

// Unwrap returns the apps' errors.
func (e *FanOutError) Unwrap() []error {
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
// Each app gets one release, also where the network loses the answer to the
// request that makes it: a release of the same slug and description, newer than
// this call, is looked for and adopted. The account's rate limit is kept: when
// little is left, the requests wait for it to refill.
//
// Endpoints: those of [ReleasesService.Create], [ReleasesService.Get],
// [ReleasesService.List], [ReleasesService.Output] and, for a rollback,
// [ReleasesService.Rollback]. Errors: an [*ArgumentError] before anything is
// sent; otherwise a [*FanOutError].
func (s ReleasesService) ReleaseToApps(ctx context.Context, what ReleaseCreateOptions, apps []string, opts *FanOutOptions) ([]AppRelease, error) {
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
	if err := checkFleet(apps); err != nil {
		return nil, err
	}
	if err := o.Checkpoint.check(""); err != nil {
		return nil, err
	}
	if of := o.Checkpoint.Slug; of != "" && of != what.Slug+what.OCIImage {
		return nil, &ArgumentError{Name: "Checkpoint", Reason: "is of a release of " + quote(of)}
	}
	if what.Description == "" {
		what.Description = "Release of " + clip(what.Slug+what.OCIImage, 14)
	}
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	log := &eventLog{onEvent: o.OnEvent, giveUp: giveUp, checkpoint: o.Checkpoint.clone()}
	started, resumed := time.Now(), !o.Checkpoint.Started.IsZero()
	if resumed {
		started = o.Checkpoint.Started
	}
	log.note(func(c *Checkpoint) {
		c.Slug = what.Slug + what.OCIImage
		if !resumed {
			c.Started = started.UTC().Round(0)
		}
	})
	f := newFanOut(s.client, log, what, o, apps)
	f.started = started
	f.resumed, f.saved = resumed, o.Checkpoint
	failure := f.run(ctx)
	if failure == nil && log.err == nil {
		return f.outcomes, nil
	}
	if failure == nil {
		failure = &FanOutError{Apps: f.outcomes, Err: log.err}
	}
	failure.Checkpoint = log.saved()
	return f.outcomes, failure
}

func checkFleet(apps []string) error {
	seen := make(map[string]bool, len(apps))
	for _, app := range apps {
		if err := checkApp("apps", app); err != nil {
			return err
		}
		if seen[app] {
			return &ArgumentError{Name: "apps", Reason: quote(app) + " is named twice"}
		}
		seen[app] = true
	}
	return nil
}

// fanOut is one release to many apps.
type fanOut struct {
	*follower

	what     ReleaseCreateOptions
	opts     FanOutOptions
	outcomes []AppRelease
	// resumed says that an earlier process may have made releases; saved is
	// what it left.
	resumed bool
	saved   Checkpoint
	// started is when the first process began; zero where a release of the
	// slug with the description can only be ours.
	started time.Time

	// stopped says that no more releases are to be started.
	stopped atomic.Bool
}

func newFanOut(c *Client, log *eventLog, what ReleaseCreateOptions, opts FanOutOptions, apps []string) *fanOut {
	f := &fanOut{what: what, opts: opts, outcomes: make([]AppRelease, len(apps))}
	f.follower = &follower{
		client: c, log: log, stream: StreamOptions{IdleTimeout: opts.IdleTimeout},
		pace: newPacer(c, 2*opts.Concurrency), since: time.Now(),
	}
	for i, app := range apps {
		f.outcomes[i] = AppRelease{App: app, Err: ErrSkipped}
	}
	return f
}

func (f *fanOut) run(ctx context.Context) *FanOutError {
	if len(f.saved.Rollbacks) > 0 {
		f.finishRollback(ctx)
		return f.failure()
	}
	canaries, others := f.outcomes[:f.opts.Canaries], f.outcomes[f.opts.Canaries:]
	f.wave(ctx, canaries)
	if !slices.ContainsFunc(canaries, func(a AppRelease) bool { return a.Err != nil }) {
		f.wave(ctx, others)
	}
	failure := f.failure()
	if failure != nil {
		f.rollBack(ctx)
	}
	return failure
}

func (f *fanOut) failure() *FanOutError {
	if slices.ContainsFunc(f.outcomes, func(a AppRelease) bool { return a.Err != nil }) {
		return &FanOutError{Apps: f.outcomes}
	}
	return nil
}

func (f *fanOut) wave(ctx context.Context, apps []AppRelease) {
	parallel(len(apps), f.opts.Concurrency, func(i int) {
		if f.stopped.Load() {
			return
		}
		if apps[i].Err = f.releaseTo(ctx, &apps[i]); apps[i].Err != nil && f.opts.StopOnError {
			f.stopped.Store(true)
		}
	})
}

// releaseTo takes one app to its outcome.
func (f *fanOut) releaseTo(ctx context.Context, out *AppRelease) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w: %w", out.App, ErrSkipped, contextError(ctx))
	}
	r, err := f.createRelease(ctx, out.App)
	if err != nil {
		return err
	}
	out.Release = r
	f.log.noteRelease(out.App, r)
	f.log.emit(ctx, Event{Kind: EventReleaseCreated, App: out.App, Release: r})
	if err := f.await(ctx, out); err != nil || f.opts.Verify == nil {
		return err
	}
	if err = f.opts.Verify(ctx, out.App, out.Release); err != nil {
		err = fmt.Errorf("%s: %w: %w", out.App, ErrVerifyFailed, err)
	}
	f.log.emit(ctx, Event{Kind: EventVerified, App: out.App, Release: out.Release, Err: err})
	return err
}

// createRelease returns the app's release of this fan-out: the one that an
// earlier process made, unless it failed, or a new one.
func (f *fanOut) createRelease(ctx context.Context, app string) (*Release, error) {
	failed := ""
	look := func(ctx context.Context) (*Release, error) { return f.find(ctx, app, failed) }
	if f.resumed {
		r, err := f.earlierRelease(ctx, app, look)
		if err != nil || r != nil && r.Status != StatusFailed && r.Status != StatusExpired {
			return r, err
		}
		if r != nil {
			// What is looked for from now on is not that one.
			failed = r.ID
		}
	}
	send := func() (*Release, error) {
		if err := f.pace.wait(ctx); err != nil {
			return nil, err
		}
		return f.client.Releases.Create(ctx, app, f.what)
	}
	return once(ctx, f.client, send, look)
}

func (f *fanOut) earlierRelease(ctx context.Context, app string, look func(context.Context) (*Release, error)) (*Release, error) {
	if id := f.saved.Releases[app]; id != "" {
		if err := f.pace.wait(ctx); err != nil {
			return nil, err
		}
		return f.client.Releases.Get(ctx, app, id)
	}
	return look(ctx)
}

func (f *fanOut) find(ctx context.Context, app, not string) (*Release, error) {
	if err := f.pace.wait(ctx); err != nil {
		return nil, err
	}
	return findRelease(ctx, f.client, app, f.started, func(r *Release) bool {
		return r.ID != not && r.Description == f.what.Description && f.what.madeFrom(r)
	})
}

// rollBack takes apps back to what they ran before, as the options say.
func (f *fanOut) rollBack(ctx context.Context) {
	var back []*AppRelease
	for i := range f.outcomes {
		out := &f.outcomes[i]
		switch {
		case f.opts.Rollback == RollbackUnverified && errors.Is(out.Err, ErrVerifyFailed),
			f.opts.Rollback == RollbackAll && (out.Release != nil || errors.Is(out.Err, ErrMaybeApplied)):
			back = append(back, out)
		}
	}
	if len(back) == 0 {
		return
	}
	f.log.note(func(c *Checkpoint) {
		c.Rollbacks = make(map[string]string, len(back))
		for _, out := range back {
			c.Rollbacks[out.App] = ""
		}
	})
	f.rollBackAll(ctx, back)
}

// finishRollback goes on with what an earlier process began.
func (f *fanOut) finishRollback(ctx context.Context) {
	var back []*AppRelease
	for i := range f.outcomes {
		out := &f.outcomes[i]
		if _, ok := f.saved.Rollbacks[out.App]; !ok {
			continue
		}
		out.Err = nil
		back = append(back, out)
	}
	f.rollBackAll(ctx, back)
	for _, out := range back {
		if out.Err == nil {
			// It runs what it ran before.
			out.Err = fmt.Errorf("%s: %w", out.App, ErrRolledBack)
		}
	}
}

func (f *fanOut) rollBackAll(ctx context.Context, back []*AppRelease) {
	// The caller's context may be what ended it all.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), f.opts.RollbackTimeout)
	defer cancel()
	parallel(len(back), f.opts.Concurrency, func(i int) {
		out := back[i]
		out.RolledBack, out.RollbackErr = f.rollBackOne(ctx, out)
		if out.RolledBack == nil && out.RollbackErr == nil {
			return
		}
		switch {
		case out.RollbackErr != nil && out.Err != nil:
			out.Err = fmt.Errorf("%w; %w: %w", out.Err, ErrRollbackFailed, out.RollbackErr)
		case out.RollbackErr != nil:
			out.Err = fmt.Errorf("%s: %w: %w", out.App, ErrRollbackFailed, out.RollbackErr)
		case out.Err == nil:
			out.Err = fmt.Errorf("%s: %w", out.App, ErrRolledBack)
		}
		f.log.emit(ctx, Event{Kind: EventRolledBack, App: out.App, Release: out.RolledBack, Err: out.RollbackErr})
	})
}

// rollBackOne returns the release that took the app back, or nil if it still
// runs what it ran before.
func (f *fanOut) rollBackOne(ctx context.Context, out *AppRelease) (*Release, error) {
	if err := f.pace.wait(ctx); err != nil {
		return nil, err
	}
	if err := f.settleRelease(ctx, out); err != nil || out.Release == nil || out.Release.Status != StatusSucceeded {
		return nil, err
	}
	ours := out.Release.Version
	var before, since *Release
	for r, err := range f.client.Releases.List(ctx, out.App, newest("version")) {
		if err != nil {
			return nil, err
		}
		if r.Version > ours && r.Status != StatusFailed {
			since = r
		}
		if r.Version < ours && r.Status == StatusSucceeded {
			before = r
			break
		}
	}
	if before == nil {
		return nil, fmt.Errorf("herokubuild: release before v%d of %s: %w", ours, out.App, ErrNotFound)
	}
	if _, ok := before.Code(); !ok {
		// The app ran nothing before, and there is no going back to that.
		return nil, &RollbackError{App: out.App, Release: before}
	}
	description := fmt.Sprintf("Rollback to v%d", before.Version)
	look := func(ctx context.Context) (*Release, error) {
		return findRelease(ctx, f.client, out.App, time.Time{}, func(r *Release) bool {
			return r.Version > ours && r.Description == description
		})
	}
	switch {
	case since == nil:
	case since.Description == description:
		return f.awaitRollback(ctx, out.App, since)
	default:
		return nil, fmt.Errorf("herokubuild: %s is not rolled back: v%d has been released since", out.App, since.Version)
	}
	r, err := once(ctx, f.client, func() (*Release, error) { return f.client.Releases.rollBackTo(ctx, out.App, before.ID) }, look)
	if err != nil {
		return nil, err
	}
	return f.awaitRollback(ctx, out.App, r)
}

// settleRelease finds out how the release of an app that is to be rolled back
// stands: an ended context may have left it pending, or without a name.
func (f *fanOut) settleRelease(ctx context.Context, out *AppRelease) error {
	var err error
	switch {
	case out.Release == nil && f.saved.Releases[out.App] != "":
		out.Release, err = f.client.Releases.Get(ctx, out.App, f.saved.Releases[out.App])
	case out.Release == nil:
		out.Release, err = settle(ctx, f.client.retry.SettleTime, func(ctx context.Context) (*Release, error) { return f.find(ctx, out.App, "") })
	}
	if err == nil && out.Release == nil && errors.Is(out.Err, ErrMaybeApplied) {
		err = fmt.Errorf("herokubuild: whether %s has got the release: %w", out.App, ErrMaybeApplied)
	}
	if err != nil || out.Release == nil {
		return err
	}
	f.log.noteRelease(out.App, out.Release)
	if out.Release.Status.Final() {
		return nil
	}
	if err := f.await(ctx, out); err != nil && !errors.Is(err, ErrReleaseFailed) {
		return err
	}
	return nil
}

func (f *fanOut) awaitRollback(ctx context.Context, app string, r *Release) (*Release, error) {
	f.log.note(func(c *Checkpoint) {
		c.Rollbacks = maps.Clone(c.Rollbacks)
		c.Rollbacks[app] = r.ID
	})
	back := AppRelease{App: app, Release: r}
	err := f.await(ctx, &back)
	return back.Release, err
}

// follower takes releases to their final status.
type follower struct {
	client *Client
	log    *eventLog
	stream StreamOptions
	// pace holds back questions for the status; nil does not.
	pace *pacer
	// since is when it began, following how many releases it is at.
	since     time.Time
	following atomic.Int64
}

// await follows a release phase, if there is one, and waits for the release's
// final status.
func (f *follower) await(ctx context.Context, out *AppRelease) error {
	if out.Release.Status == StatusSucceeded && out.Release.OutputStreamURL == "" {
		f.log.emit(ctx, Event{Kind: EventReleaseDone, App: out.App, Release: out.Release})
		return nil
	}
	f.following.Add(1)
	defer f.following.Add(-1)
	get := func(ctx context.Context) (*Release, error) {
		if f.pace != nil {
			if err := f.pace.wait(ctx); err != nil {
				return nil, err
			}
		}
		r, err := f.client.Releases.Get(ctx, out.App, out.Release.ID)
		if err == nil {
			out.Release = r
		}
		return r, err
	}
	var tail logTail
	if out.Release.OutputStreamURL != "" {
		if err := f.output(ctx, out, get, &tail); err != nil && ctx.Err() == nil {
			f.log.emit(ctx, Event{Kind: EventOutputLost, App: out.App, Release: out.Release, Err: err})
		}
	}
	err := f.outcome(ctx, out, get)
	var failed *ReleaseError
	if errors.As(err, &failed) {
		failed.Tail = tail.String()
	}
	if out.Release.Status.Final() {
		f.log.emit(ctx, Event{Kind: EventReleaseDone, App: out.App, Release: out.Release, Err: err})
	}
	return err
}

func (f *follower) output(ctx context.Context, out *AppRelease, get func(context.Context) (*Release, error), tail *logTail) error {
	opts := f.stream
	opts.backoff = f.backoff
	opts.OnHeartbeat = func(quiet time.Duration) {
		f.log.emit(ctx, Event{Kind: EventHeartbeat, App: out.App, Release: out.Release, Quiet: quiet})
	}
	stream, err := f.client.Releases.follow(ctx, out.Release, &opts, get)
	if err != nil {
		return err
	}
	defer func() { _ = stream.Close() }()
	for line, err := range stream.Lines() {
		if err != nil {
			return err
		}
		tail.add([]byte(line + "\n"))
		f.log.emit(ctx, Event{Kind: EventReleaseOutput, App: out.App, Release: out.Release, Line: line})
	}
	return nil
}

// outcome waits for the status, unless the stream has seen it.
func (f *follower) outcome(ctx context.Context, out *AppRelease, get func(context.Context) (*Release, error)) error {
	if !out.Release.Status.Final() {
		if _, err := waitFinal(ctx, nil, f.backoff, get, func(r *Release) Status { return r.Status }); err != nil {
			return err
		}
	}
	return releaseOutcome(out.App, out.Release)
}

// backoff is the client's, made slower by the number of releases that are
// followed and by the time that has passed: the questions in a second do not
// grow with the fleet.
func (f *follower) backoff(looks int) time.Duration {
	const alone, each = 8, 100 * time.Millisecond
	crowd := time.Duration(max(f.following.Load()-alone, 0)) * each
	return max(f.client.poll(looks), crowd+time.Duration(float64(crowd)*time.Since(f.since).Minutes()))
}

// eventLog hands events to the caller and keeps the checkpoint.
type eventLog struct {
	onEvent func(ctx context.Context, e Event) error
	// giveUp ends the context that everything listens to.
	giveUp context.CancelCauseFunc

	mu         sync.Mutex
	checkpoint Checkpoint
	err        error
}

// emit hands an event to the caller, one at a time. An error of the caller's
// ends the whole.
func (l *eventLog) emit(ctx context.Context, e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.onEvent == nil || l.err != nil {
		return
	}
	e.Time = time.Now()
	e.Checkpoint = l.checkpoint
	if err := l.onEvent(ctx, e); err != nil {
		l.err = fmt.Errorf("OnEvent: %w", err)
		l.giveUp(l.err)
	}
}

// note changes the checkpoint, of which events have copies: its maps are
// replaced, not changed. No event is handed on meanwhile.
func (l *eventLog) note(change func(c *Checkpoint)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(&l.checkpoint)
}

func (l *eventLog) noteRelease(app string, r *Release) {
	l.note(func(c *Checkpoint) {
		c.Releases = maps.Clone(c.Releases)
		if c.Releases == nil {
			c.Releases = map[string]string{}
		}
		c.Releases[app] = r.ID
	})
}

// saved is the checkpoint as it is now.
func (l *eventLog) saved() Checkpoint {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.checkpoint
}
