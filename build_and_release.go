package herokubuild

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/herokubuild/herokubuild/internal/callback"
)

const (
	// checkLimit is how many apps a call looks up at once.
	checkLimit = 16
	// maxLookups is how many apps all deploys of a client look up at once.
	maxLookups = 32
	// cancelTimeout bounds the canceling of a build that was given up.
	cancelTimeout = 10 * time.Second
	// cancelSettle is the part of cancelTimeout for searching for a build whose id is
	// not known yet.
	cancelSettle = 7 * time.Second
	// ownReleaseTimeout bounds the wait for the release that the platform creates
	// for the build.
	ownReleaseTimeout = time.Minute
)

// BuildAndRelease deploys: it packs and uploads the source, builds it on BuildApp,
// follows the output, waits for the build and for the release that the platform
// creates for it on BuildApp, and then releases the slug to the apps of ReleaseTo,
// waiting for the final status of each. It returns a nil error only if all of these
// succeeded.
//
// Every app is looked up first, unless a Checkpoint with a build has its ID, and addressed
// by its ID from then on: with a wrong name or API key nothing is packed or sent. Nothing
// is released to further apps unless BuildApp's own release succeeded.
//
// There is one build, and one release per app, even if the network loses the
// response to the request that starts it: the call searches for the result of that
// request, adopts it if there is one, and sends the request again only if there is
// certainly none. If that cannot be determined the error matches [ErrMaybeApplied].
//
// When the context ends while the build runs, or OnEvent or Output fails, the build
// is canceled on the platform, within 10 s, unless KeepBuildOnCancel is set. If the
// context's cause is [ErrDetached], everything is left as it is. After any other
// error the build continues; call again with the error's Checkpoint to attach to
// it. An Output that blocks delays the end of a canceled deploy by 10 s at most; its
// goroutine then ends when Write returns.
//
// The result is what has been done, also with an error; it is nil only with an
// [*ArgumentError] that was returned before anything was sent. Any other error is a
// [*DeployError], which wraps the cause: a [*BuildError] with the end of the build's
// output, a [*RolloutError] with the outcome of each app, or an error of the calls
// that it makes ([AppsService.Get], [PackDir], [SourcesService.Upload],
// [BuildsService.Create], [BuildsService.Wait], [ReleasesService.Create],
// [ReleasesService.Wait]).
func (c *Client) BuildAndRelease(ctx context.Context, opts BuildAndReleaseOptions) (*DeployResult, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	if opts.ReleaseTo == nil && opts.Checkpoint.attaches() {
		opts.ReleaseTo = opts.Checkpoint.ReleaseTo
	}
	if err := opts.check(); err != nil {
		return nil, err
	}
	ctx, stopTimer := withTimeout(ctx, opts.Timeout)
	defer stopTimer()
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	d := newDeploy(c, opts, giveUp)
	stop := d.log.reportProgress(ctx, opts.ProgressInterval, opts.BuildApp)
	defer stop() // The caller's transport may panic.
	err := d.run(ctx)
	stop()
	err = d.finish(ctx, err)
	d.log.Rethrow()
	return d.result, err
}

// deploy is one call of BuildAndRelease.
type deploy struct {
	client *Client
	opts   BuildAndReleaseOptions
	phase  DeployPhase
	// since is when the phase began.
	since  time.Time
	result *DeployResult
	log    *eventLog
	output *buildOutput

	// ids are those of the apps that have been looked up.
	ids map[string]string
	// resumed is set if an earlier call may have created releases; settledAt is when
	// the last request of that call has taken effect, if ever.
	resumed   bool
	settledAt time.Time
	// unsearched is set while an earlier call may have started a build that has not
	// been searched for.
	unsearched bool
}

func newDeploy(c *Client, opts BuildAndReleaseOptions, giveUp context.CancelCauseFunc) *deploy {
	checkpoint := Checkpoint{}
	if opts.Checkpoint.attaches() {
		checkpoint = opts.Checkpoint
		checkpoint.Settled, checkpoint.Done = false, false
	}
	return &deploy{
		client: c, opts: opts, result: new(DeployResult), ids: map[string]string{},
		log:       newEventLog(c.api.log, callbacks{onEvent: opts.OnEvent, beforeChange: opts.BeforeChange}, giveUp, checkpoint),
		settledAt: settledAt(c, opts.Checkpoint), unsearched: opts.Checkpoint.attaches(),
	}
}

// identity is the app in the path of a request: its id, once that is known.
func (d *deploy) identity(app string) string { return cmp.Or(d.ids[app], app) }

func (d *deploy) buildApp() string { return d.identity(d.opts.BuildApp) }

func (d *deploy) run(ctx context.Context) error {
	d.begin(ctx, PhaseCheck)
	if err := d.checkApps(ctx); err != nil {
		return err
	}
	b, err := d.attach(ctx)
	if err != nil {
		return err
	}
	if b == nil {
		source, err := d.source(ctx)
		if err != nil {
			return err
		}
		d.begin(ctx, PhaseBuild)
		if b, err = d.create(ctx, source); err != nil {
			return err
		}
	} else {
		d.begin(ctx, PhaseBuild)
	}
	if err := d.build(ctx, b); err != nil {
		return err
	}
	d.begin(ctx, PhaseRelease)
	return d.release(ctx)
}

func (d *deploy) begin(ctx context.Context, p DeployPhase) {
	d.endPhase()
	d.phase, d.since = p, time.Now()
	d.log.emit(ctx, DeployEvent{Kind: EventPhase, Phase: p, App: d.opts.BuildApp})
}

func (d *deploy) endPhase() {
	if d.phase != "" {
		*d.result.Durations.of(d.phase) += time.Since(d.since)
	}
}

// finish completes the result of run, and returns the error of the call.
func (d *deploy) finish(ctx context.Context, err error) error {
	defer d.endPhase()
	failure := &DeployError{Phase: d.phase, App: d.opts.BuildApp, Result: d.result, Err: err}
	canceling := ctx.Err() != nil && !detached(ctx) && d.cancelBuild(ctx, failure)
	if outputErr := d.joinOutput(ctx); outputErr != nil {
		// A writer that fails ends everything else, so its error is the cause.
		failure.Err = outputErr
	}
	if canceling {
		d.log.emit(ctx, DeployEvent{Kind: EventBuildCanceled, App: d.opts.BuildApp, Build: d.result.Build, Err: failure.CancelErr})
	}
	if err := d.log.unreported(ctx, failure.Err); err != nil {
		failure.Err = joined(failure.Err, err)
	}
	d.settle(failure.Err)
	d.result.Checkpoint = d.log.saved()
	failure.Checkpoint = d.result.Checkpoint
	var rollout *RolloutError
	if errors.As(failure.Err, &rollout) {
		rollout.Checkpoint = failure.Checkpoint
	}
	if failure.Err == nil {
		return nil
	}
	return failure
}

// settle records the end of the call in the checkpoint.
func (d *deploy) settle(err error) {
	d.log.note(func(c *Checkpoint) {
		c.end(err, d.settledAt)
		notBuilt := c.BuildID == "" && c.Settled && !d.unsearched
		if notBuilt || !c.started() {
			*c = Checkpoint{}
		}
	})
}

// attach returns the build that an earlier call started, or nil.
func (d *deploy) attach(ctx context.Context) (*Build, error) {
	c := d.opts.Checkpoint
	if !c.attaches() {
		return nil, nil
	}
	if err := d.checkUnchanged(ctx); err != nil {
		return nil, err
	}
	var b *Build
	var err error
	all := newest("created_at")
	all.PageSize = maxPageSize
	if c.BuildID != "" {
		b, err = d.getBuild(c.BuildID)(ctx)
	} else {
		b, err = settle(ctx, time.Until(d.settledAt), func(ctx context.Context) (*Build, error) {
			return findBuild(ctx, d.client, d.buildApp(), identityOf(c), all)
		})
	}
	if err != nil {
		return nil, err
	}
	if d.unsearched = false; b == nil {
		return nil, nil
	}
	d.resumed = true
	d.result.Version, d.result.Checksum = cmp.Or(c.Version, b.SourceBlob.Version), cmp.Or(c.Checksum, b.SourceBlob.Checksum)
	d.log.note(d.setApps)
	return b, nil
}

// setApps sets in a checkpoint what the call determines: the apps, and whether they may
// be rolled back.
func (d *deploy) setApps(c *Checkpoint) {
	c.BuildApp, c.ReleaseTo = d.opts.BuildApp, slices.Clone(d.opts.ReleaseTo)
	for app, id := range d.ids {
		if isUUID(id) {
			c.setApp(app, func(a *CheckpointApp) { a.ID = id })
		}
	}
	c.MayRollBack = c.MayRollBack || d.opts.Rollout.Rollback != RollbackNone
}

// checkApps looks up every app, so that a wrong API key or name costs one request and
// not a build.
func (d *deploy) checkApps(ctx context.Context) error {
	if d.knowsApps() {
		return nil
	}
	var first *App
	err := callback.ErrNotReturned // It stays if the caller's transport ends the goroutine.
	// What the request needs of the stack is free again while the deploy waits to pack.
	callback.Parallel(1, 1, func(int) { first, err = d.lookUp(ctx, d.opts.BuildApp) })
	if err != nil {
		return err
	}
	apps := make([]*App, len(d.opts.ReleaseTo))
	errs := make([]error, len(d.opts.ReleaseTo))
	pace := newPacer(d.client.api, reserveFor(checkLimit, len(apps)))
	callback.Parallel(len(apps), checkLimit, func(i int) {
		errs[i] = callback.ErrNotReturned
		if err := pace.wait(ctx); err != nil {
			errs[i] = err
			return
		}
		apps[i], errs[i] = d.lookUp(ctx, d.opts.ReleaseTo[i])
	})
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if len(d.opts.Buildpacks) > 0 && first.IsFir() {
		return &GenerationError{App: d.opts.BuildApp, Generation: first.Generation.Name, Reason: "its builds do not accept buildpacks"}
	}
	d.ids[d.opts.BuildApp] = first.ID
	// The same app by name and by id would get two releases.
	names := map[string]string{first.ID: d.opts.BuildApp}
	for i, app := range apps {
		if same, ok := names[app.ID]; ok {
			return twice(d.opts.ReleaseTo[i], same, d.opts.BuildApp)
		}
		names[app.ID] = d.opts.ReleaseTo[i]
		d.ids[d.opts.ReleaseTo[i]] = app.ID
		if app.IsFir() != first.IsFir() {
			return &GenerationError{App: d.opts.ReleaseTo[i], Generation: app.Generation.Name, Reason: "it cannot run what " + d.opts.BuildApp + " builds"}
		}
	}
	return nil
}

// knowsApps reports whether the earlier call, which has started the build, has checked all
// apps, and takes their ids from its Checkpoint.
func (d *deploy) knowsApps() bool {
	c := d.log.saved()
	if c.BuildID == "" {
		return false
	}
	ids := make(map[string]string, 1+len(d.opts.ReleaseTo))
	for _, app := range append([]string{d.opts.BuildApp}, d.opts.ReleaseTo...) {
		if ids[app] = c.App(app).ID; ids[app] == "" {
			return false
		}
	}
	maps.Copy(d.ids, ids)
	return true
}

// lookUp returns an app. A resumed deploy uses the ids of its checkpoint, because apps
// may have been renamed.
func (d *deploy) lookUp(ctx context.Context, app string) (*App, error) {
	place, err := d.client.api.lookups.Enter(ctx)
	if err != nil {
		return nil, contextError(ctx)
	}
	defer place.Leave()
	return d.client.Apps.Get(ctx, cmp.Or(d.log.saved().App(app).ID, app))
}

// release waits for the build app's own release and then releases to the other apps.
func (d *deploy) release(ctx context.Context) error {
	d.result.Apps = make([]AppResult, 1+len(d.opts.ReleaseTo))
	d.result.Apps[0].App = d.opts.BuildApp
	for i, app := range d.opts.ReleaseTo {
		d.result.Apps[i+1] = AppResult{App: app, Err: ErrNotAttempted}
	}
	r, err := d.ownRelease(ctx)
	if err != nil {
		d.result.Apps[0].Err = &unobservedError{err}
		return err
	}
	d.result.Artifact = r.Artifact()
	if slug := d.result.Build.Slug.ID; slug != "" {
		d.result.Artifact = Artifact{SlugID: slug}
	}
	release := ReleaseCreateOptions{
		SlugID: d.result.Artifact.SlugID, ImageID: d.result.Artifact.ImageID,
		Description: cmp.Or(d.log.saved().Description, d.description()),
	}
	d.log.note(func(c *Checkpoint) { c.Description = release.Description })
	ro, err := d.rollout(release)
	if err != nil {
		return err
	}
	own := ro.awaitOwn(ctx, target{out: &d.result.Apps[0], app: d.buildApp()}, r)
	switch {
	case errors.Is(own, ErrReleaseFailed):
		d.startOver()
		return own
	case own != nil && !errors.Is(own, ErrSuperseded), len(d.opts.ReleaseTo) == 0:
		return own
	case d.result.Artifact.IsZero():
		return fmt.Errorf("build %s: %w to release to other apps", d.result.Build.ID, ErrNoArtifact)
	}
	failure := ro.run(ctx)
	if failure == nil {
		return own
	}
	return joined(own, failure)
}

// rollout prepares the release to the apps of ReleaseTo.
func (d *deploy) rollout(release ReleaseCreateOptions) (*rollout, error) {
	policy, err := d.opts.Rollout.withDefaults(len(d.opts.ReleaseTo))
	if err != nil {
		return nil, err
	}
	ro := newRollout(d.client, d.log, release, policy, d.opts.IdleTimeout)
	ro.isOurs = func(r *Release) bool { return r.Description == release.Description && release.madeFrom(r) }
	ro.resumed, ro.settledAt = d.resumed, d.settledAt
	for i, app := range d.opts.ReleaseTo {
		ro.targets = append(ro.targets, target{out: &d.result.Apps[i+1], app: d.identity(app)})
	}
	return ro, nil
}

// ownRelease returns the release that the platform created for the build. The build
// names it soon after it has succeeded, if not before.
func (d *deploy) ownRelease(ctx context.Context) (*Release, error) {
	b := d.result.Build
	if b.Release.ID == "" {
		named, err := waitFinal(ctx, &WaitOptions{Timeout: ownReleaseTimeout}, d.client.api.poll,
			d.getBuild(b.ID),
			func(b *Build) Status {
				if b.Release.ID == "" {
					return StatusPending
				}
				return StatusSucceeded
			})
		if err != nil {
			return nil, fmt.Errorf("waiting for the release of build %s: %w", b.ID, err)
		}
		b = named
		d.result.Build = named
	}
	return d.client.Releases.Get(ctx, d.buildApp(), b.Release.ID)
}

func (d *deploy) description() string {
	if d.opts.ReleaseDescription != "" {
		return d.opts.ReleaseDescription
	}
	version := d.result.Version
	if len(version) > 12 {
		version = version[:12]
	}
	return strings.Join(strings.Fields("Deploy "+version), " ") + " (build " + d.result.Build.ID + ")"
}
