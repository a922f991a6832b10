package herokubuild

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// checkLimit is how many apps are looked up at once.
	checkLimit = 16
	// cancelTimeout bounds the canceling of a build that was given up.
	cancelTimeout = 10 * time.Second
	// cancelSettle is how much of that is spent on searching for a build whose
	// id is not known yet.
	cancelSettle = 7 * time.Second
	// ownReleaseTimeout bounds the wait for the build to name the release that
	// the platform makes of it.
	ownReleaseTimeout = time.Minute
)

// deploy is one call of BuildAndRelease.
type deploy struct {
	client *Client
	opts   BuildAndReleaseOptions
	phase  DeployPhase
	result *DeployResult
	log    *eventLog
	output *buildOutput

	// ids are those of the apps that have been looked up.
	ids map[string]string
	// resumed says that an earlier call may have made releases, and settledAt
	// is when its last request has had its effect, if any.
	resumed   bool
	settledAt time.Time
	// unsearched says that an earlier call may have started a build that has
	// not been searched for yet.
	unsearched bool
}

func newDeploy(c *Client, opts BuildAndReleaseOptions, giveUp context.CancelCauseFunc) *deploy {
	checkpoint := Checkpoint{}
	if opts.Checkpoint.attaches() {
		checkpoint = opts.Checkpoint.clone()
		checkpoint.Settled, checkpoint.Done = false, false
	}
	return &deploy{
		client: c, opts: opts, result: new(DeployResult), ids: map[string]string{},
		log:       newEventLog(c, opts.OnEvent, giveUp, checkpoint),
		settledAt: settledAt(c, opts.Checkpoint), unsearched: opts.Checkpoint.attaches(),
	}
}

// settledAt is when the last request of the call that made a checkpoint has had
// its effect, if it has any.
func settledAt(c *Client, checkpoint Checkpoint) time.Time {
	if checkpoint.Settled || !checkpoint.started() {
		return time.Time{}
	}
	return time.Now().Add(c.retry.SettleTime)
}

// identity is what requests name an app by: its id, once that is known.
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
	d.phase = p
	d.log.emit(ctx, DeployEvent{Kind: EventPhase, Phase: p, App: d.opts.BuildApp})
}

// finish puts in order what run has left, and returns the error of the call.
func (d *deploy) finish(ctx context.Context, err error) error {
	failure := &DeployError{Phase: d.phase, App: d.opts.BuildApp, Result: d.result, Err: err}
	canceling := ctx.Err() != nil && !detached(ctx) && d.cancelBuild(ctx, failure)
	if outputErr := d.joinOutput(ctx); outputErr != nil {
		// It is why everything else has ended, if it has.
		failure.Err = outputErr
	}
	if canceling {
		d.log.emit(ctx, DeployEvent{Kind: EventBuildCanceled, App: d.opts.BuildApp, Build: d.result.Build, Err: failure.CancelErr})
	}
	if err := d.log.failure(); err != nil && !errors.Is(failure.Err, err) {
		// An OnEvent that fails may fail too late to stop anything.
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

// settle records in the checkpoint what is known at the end of the call.
func (d *deploy) settle(err error) {
	d.log.note(func(c *Checkpoint) {
		c.end(err, d.settledAt)
		notBuilt := c.BuildID == "" && c.Settled && !d.unsearched
		if notBuilt || !c.started() {
			// There is nothing to resume.
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
		b, err = d.client.Builds.Get(ctx, d.buildApp(), c.BuildID)
	} else {
		b, err = settle(ctx, time.Until(d.settledAt), func(ctx context.Context) (*Build, error) {
			return d.findBuild(ctx, identityOf(c), all)
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
	d.log.note(func(c *Checkpoint) {
		c.BuildApp, c.ReleaseTo, c.AppIDs = d.opts.BuildApp, slices.Clone(d.opts.ReleaseTo), d.appIDs()
		c.MayRollBack = c.MayRollBack || d.opts.Rollout.Rollback != RollbackNone
	})
	return b, nil
}

// checkUnchanged refuses a Dir that is not the source of the checkpoint.
func (d *deploy) checkUnchanged(ctx context.Context) error {
	c := d.opts.Checkpoint
	if d.opts.Dir == "" || checkDir("Dir", d.opts.Dir) != nil {
		return nil
	}
	if c.Commit != "" {
		at, err := TreeVersion(ctx, d.opts.Dir)
		if err == nil && at == c.Commit {
			return nil
		}
		if err == nil && at != "" && !strings.HasSuffix(at, dirty) {
			return mismatch("commit "+quote(c.Commit), quote(at))
		}
	}
	if c.Checksum == "" {
		return nil
	}
	archive, err := PackDir(ctx, d.opts.Dir, d.opts.Pack)
	if err != nil {
		return err
	}
	defer func() { _ = archive.Close() }()
	if archive.Checksum() != c.Checksum {
		return mismatch("a source with checksum "+quote(c.Checksum), "Dir as it is now ("+quote(archive.Checksum())+")")
	}
	return nil
}

// checkApps looks up every app, so that a wrong key or name costs one request
// and not a build.
func (d *deploy) checkApps(ctx context.Context) error {
	first, err := d.lookUp(ctx, d.opts.BuildApp)
	if err != nil {
		return err
	}
	apps := make([]*App, len(d.opts.ReleaseTo))
	errs := make([]error, len(d.opts.ReleaseTo))
	pace := newPacer(d.client, reserveFor(checkLimit, len(apps)))
	parallel(len(apps), checkLimit, func(i int) {
		if errs[i] = pace.wait(ctx); errs[i] != nil {
			return
		}
		apps[i], errs[i] = d.lookUp(ctx, d.opts.ReleaseTo[i])
	})
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if len(d.opts.Buildpacks) > 0 && first.IsFir() {
		return &GenerationError{App: d.opts.BuildApp, Generation: first.Generation.Name, Reason: "its builds take no buildpacks"}
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
			return &GenerationError{App: d.opts.ReleaseTo[i], Generation: app.Generation.Name, Reason: "it does not run what " + d.opts.BuildApp + " builds"}
		}
	}
	return nil
}

// lookUp returns an app. A resumed deploy stays with the apps that it began
// with, whatever their names are now.
func (d *deploy) lookUp(ctx context.Context, app string) (*App, error) {
	return d.client.Apps.Get(ctx, cmp.Or(d.log.saved().AppIDs[app], app))
}

// appIDs are the ids of the apps as a checkpoint has them.
func (d *deploy) appIDs() map[string]string {
	ids := make(map[string]string, len(d.ids))
	for app, id := range d.ids {
		if isUUID(id) {
			ids[app] = id
		}
	}
	return ids
}

// parallel calls f for 0 to n-1, at most limit at a time, and returns when all
// have returned. A panic of one is raised again in the goroutine that called
// parallel.
func parallel(n, limit int, f func(i int)) {
	var wg sync.WaitGroup
	var panics firstPanic
	slots := make(chan struct{}, limit)
	for i := range n {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() {
				if v := recover(); v != nil {
					panics.keep(v)
				}
				<-slots
			}()
			f(i)
		})
	}
	wg.Wait()
	panics.rethrow()
}

// source packs and uploads what is to be built, unless it has a URL already.
func (d *deploy) source(ctx context.Context) (SourceBlob, error) {
	blob := SourceBlob{
		URL: d.opts.SourceURL, Checksum: d.opts.SourceChecksum,
		Version: d.opts.Version, VersionDescription: d.opts.VersionDescription,
	}
	var c Checkpoint
	var err error
	if blob.URL == "" {
		c.Commit, err = d.upload(ctx, &blob)
	} else {
		err = d.identifyURL(ctx, &blob, &c)
	}
	if err != nil {
		return blob, err
	}
	d.result.Version, d.result.Checksum = blob.Version, blob.Checksum
	c.BuildApp, c.ReleaseTo, c.AppIDs = d.opts.BuildApp, slices.Clone(d.opts.ReleaseTo), d.appIDs()
	c.MayRollBack = d.opts.Rollout.Rollback != RollbackNone
	c.Source, c.Version, c.Checksum = sourceAddress(blob.URL), blob.Version, blob.Checksum
	d.log.note(func(old *Checkpoint) { *old = c })
	return blob, nil
}

// identifyURL makes the build of a URL, which may have been built before,
// different from all others.
func (d *deploy) identifyURL(ctx context.Context, blob *SourceBlob, c *Checkpoint) (err error) {
	c.Token, c.SourceDigest = newToken(), sourceDigest(blob.URL)
	c.Before, err = d.earlierBuilds(ctx, sourceIdentity{address: sourceAddress(blob.URL), digest: c.SourceDigest, version: blob.Version, checksum: blob.Checksum})
	blob.VersionDescription = withToken(blob.VersionDescription, "deploy", c.Token)
	return err
}

// upload packs and uploads the source. It returns the commit of a directory
// without uncommitted changes.
func (d *deploy) upload(ctx context.Context, blob *SourceBlob) (commit string, err error) {
	archive := d.opts.Archive
	if archive == nil {
		d.begin(ctx, PhasePack)
		var versionErr error
		if blob.Version == "" {
			// Without one the archive's checksum serves.
			blob.Version, versionErr = TreeVersion(ctx, d.opts.Dir)
			if blob.Version != "" && !strings.HasSuffix(blob.Version, dirty) {
				commit = blob.Version
			}
		}
		if archive, err = PackDir(ctx, d.opts.Dir, d.opts.Pack); err != nil {
			return "", err
		}
		defer func() { _ = archive.Close() }()
		d.packed(ctx, archive, versionErr)
	} else {
		d.packed(ctx, archive, nil)
	}
	blob.Checksum = archive.Checksum()
	if blob.Version == "" {
		blob.Version = strings.TrimPrefix(blob.Checksum, "SHA256:")
	}
	d.begin(ctx, PhaseUpload)
	source, err := d.client.Sources.Upload(ctx, archive, &UploadOptions{Progress: d.progress(ctx)})
	if err != nil {
		return "", err
	}
	blob.URL = source.SourceBlob.GetURL
	return commit, nil
}

// packed emits the events of a ready archive.
func (d *deploy) packed(ctx context.Context, archive *Archive, versionErr error) {
	d.log.emit(ctx, DeployEvent{Kind: EventPacked, Archive: archive, Total: archive.Size})
	if versionErr != nil {
		d.log.emit(ctx, DeployEvent{Kind: EventWarning, Archive: archive, Line: "the commit is not known: " + quote(versionErr.Error())})
	}
	if archive.Plan == nil {
		return
	}
	for _, warning := range archive.Plan.Warnings {
		d.log.emit(ctx, DeployEvent{Kind: EventWarning, Archive: archive, Line: warning.String()})
	}
}

// progress emits about a hundred events for an upload, not one for each read.
func (d *deploy) progress(ctx context.Context) func(done, total int64) {
	var last int64
	return func(done, total int64) {
		if done < last {
			last = 0
		}
		if done == total || done-last >= total/100 {
			last = done
			d.log.emit(ctx, DeployEvent{Kind: EventUpload, Done: done, Total: total})
		}
	}
}

// create starts the build.
func (d *deploy) create(ctx context.Context, source SourceBlob) (*Build, error) {
	if err := ctx.Err(); err != nil {
		return nil, contextError(ctx)
	}
	opts := BuildCreateOptions{SourceBlob: source, Buildpacks: d.opts.Buildpacks}
	id := identityOf(d.log.saved())
	return once(ctx, d.client,
		func() (*Build, error) { return d.client.Builds.Create(ctx, d.buildApp(), opts) },
		func(ctx context.Context) (*Build, error) { return d.findBuild(ctx, id, newest("created_at")) })
}

// startOver empties the checkpoint when nothing is left to resume.
func (d *deploy) startOver() {
	d.log.note(func(c *Checkpoint) { *c = Checkpoint{} })
}

// build follows the build to its final status. When that is known, the output
// may still be checked for its end, which goes on during the release.
func (d *deploy) build(ctx context.Context, b *Build) error {
	d.result.Build = b
	d.log.note(func(c *Checkpoint) { c.BuildID = b.ID })
	d.log.emit(ctx, DeployEvent{Kind: EventBuildCreated, App: d.opts.BuildApp, Build: b})

	d.output = d.follow(ctx, b)
	select {
	case <-d.output.done:
	case <-d.output.final:
	case <-ctx.Done():
	}
	if latest := d.output.latest.Load(); latest != nil {
		d.result.Build = latest
	}
	if ctx.Err() != nil && d.result.Build.Status != StatusSucceeded {
		return fmt.Errorf("following build %s: %w", b.ID, contextError(ctx))
	}
	if d.result.Build.Status == StatusFailed {
		// The end of the output is part of the outcome.
		if err := d.joinOutput(ctx); err != nil {
			return err
		}
	}
	if !d.result.Build.Status.Final() {
		get := func(ctx context.Context) (*Build, error) { return d.client.Builds.Get(ctx, d.buildApp(), b.ID) }
		latest, err := waitFinal(ctx, nil, d.client.poll, get, func(b *Build) Status { return b.Status })
		if latest != nil {
			d.result.Build = latest
		}
		if err != nil {
			return err
		}
	}
	err := buildOutcome(d.opts.BuildApp, d.result.Build)
	var failed *BuildError
	if errors.As(err, &failed) {
		failed.Tail = d.output.lastLines()
		d.startOver()
	}
	d.log.emit(ctx, DeployEvent{Kind: EventBuildDone, App: d.opts.BuildApp, Build: d.result.Build, Err: err})
	return err
}

// joinOutput waits for the end of the output. Its error is the writer's.
func (d *deploy) joinOutput(ctx context.Context) error {
	if d.output == nil {
		return nil
	}
	writeErr, lost := d.output.join(ctx)
	if lost != nil && d.result.OutputErr == nil {
		d.result.OutputErr = lost
	}
	if lost != nil && ctx.Err() == nil {
		d.client.log.LogAttrs(ctx, slog.LevelWarn, "herokubuild: build output is incomplete", slog.String("error", lost.Error()))
	}
	if writeErr != nil {
		return fmt.Errorf("writing the build's output: %w", writeErr)
	}
	return nil
}

// release waits for the build app's own release and releases to the other apps.
func (d *deploy) release(ctx context.Context) error {
	d.result.Apps = make([]AppResult, 1+len(d.opts.ReleaseTo))
	d.result.Apps[0].App = d.opts.BuildApp
	for i, app := range d.opts.ReleaseTo {
		d.result.Apps[i+1] = AppResult{App: app, Err: ErrNotAttempted}
	}
	r, err := d.ownRelease(ctx)
	if err != nil {
		d.result.Apps[0].Err = err
		return err
	}
	what, ok := r.Code()
	if d.result.Slug = d.result.Build.Slug.ID; d.result.Slug != "" {
		what, ok = ReleaseCreateOptions{Slug: d.result.Slug}, true
	}
	what.Description = cmp.Or(d.log.saved().Description, d.description())
	d.log.note(func(c *Checkpoint) { c.Description = what.Description })
	f, err := d.rollout(what)
	if err != nil {
		return err
	}
	own := f.awaitOwn(ctx, target{out: &d.result.Apps[0], app: d.buildApp()}, r)
	switch {
	case errors.Is(own, ErrReleaseFailed):
		d.startOver()
		return own
	case own != nil && !errors.Is(own, ErrSuperseded), len(d.opts.ReleaseTo) == 0:
		return own
	case !ok:
		return fmt.Errorf("build %s: %w to release to other apps", d.result.Build.ID, ErrNoArtifact)
	}
	failure := f.run(ctx)
	if failure == nil {
		return own
	}
	if own != nil {
		return errors.Join(own, failure)
	}
	return failure
}

// rollout is what releases to the apps of ReleaseTo.
func (d *deploy) rollout(what ReleaseCreateOptions) (*fanOut, error) {
	opts, err := d.opts.Rollout.withDefaults(len(d.opts.ReleaseTo))
	if err != nil {
		return nil, err
	}
	opts.IdleTimeout = d.opts.IdleTimeout
	f := newFanOut(d.client, d.log, what, opts)
	f.ours = func(r *Release) bool { return r.Description == what.Description && what.madeFrom(r) }
	f.resumed, f.settledAt = d.resumed, d.settledAt
	for i, app := range d.opts.ReleaseTo {
		f.targets = append(f.targets, target{out: &d.result.Apps[i+1], app: d.identity(app)})
	}
	return f, nil
}

// ownRelease returns the release that the platform made of the build. The
// build names it, at the latest soon after it has succeeded.
func (d *deploy) ownRelease(ctx context.Context) (*Release, error) {
	b := d.result.Build
	if b.Release.ID == "" {
		named, err := waitFinal(ctx, &WaitOptions[Build]{Timeout: ownReleaseTimeout}, d.client.poll,
			func(ctx context.Context) (*Build, error) { return d.client.Builds.Get(ctx, d.buildApp(), b.ID) },
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

// cancelBuild cancels the build of a deploy that its caller has given up. It
// reports whether it tried to.
func (d *deploy) cancelBuild(ctx context.Context, failure *DeployError) bool {
	// The caller's context is what has ended.
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), cancelTimeout)
	defer stop()
	b := d.result.Build
	if b == nil && d.phase == PhaseBuild && errors.Is(failure.Err, ErrMaybeApplied) {
		b, failure.CancelErr = d.findStarted(ctx)
	}
	if b == nil || d.opts.KeepBuildOnCancel || b.Status != StatusPending {
		return false
	}
	ended, err := d.cancelAndWait(ctx, b)
	failure.CancelErr = err
	if err == nil {
		d.result.Build = ended
		failure.Canceled = ended.Status != StatusSucceeded
	}
	if failure.Canceled {
		d.startOver()
	}
	return true
}

// findStarted searches for the build of a request that was under way when the
// deploy was given up.
func (d *deploy) findStarted(ctx context.Context) (*Build, error) {
	id := identityOf(d.log.saved())
	b, err := settle(ctx, min(d.client.retry.SettleTime, cancelSettle), func(ctx context.Context) (*Build, error) { return d.findBuild(ctx, id, newest("created_at")) })
	switch {
	case err != nil:
		return nil, fmt.Errorf("searching for it: %w", err)
	case b == nil:
		return nil, errors.New("none found so far")
	}
	d.result.Build = b
	d.log.note(func(c *Checkpoint) { c.BuildID = b.ID })
	return b, nil
}

// cancelAndWait returns the build once it has ended: that the platform has
// accepted a cancel is not yet its effect.
func (d *deploy) cancelAndWait(ctx context.Context, b *Build) (*Build, error) {
	get := func(ctx context.Context) (*Build, error) { return d.client.Builds.Get(ctx, d.buildApp(), b.ID) }
	canceled, err := d.client.Builds.Cancel(ctx, d.buildApp(), b.ID)
	if err == nil && canceled.Status.Final() {
		return canceled, nil
	}
	var refused *APIError
	if err != nil && !errors.As(err, &refused) {
		return nil, err
	}
	// One that is refused may have ended by itself, or have been canceled by a
	// request whose response was lost; its status may lag behind.
	ended, waitErr := waitFinal(ctx, nil, d.client.poll, get, func(b *Build) Status { return b.Status })
	switch {
	case waitErr == nil:
		return ended, nil
	case err != nil:
		return nil, err
	}
	return nil, fmt.Errorf("accepted, but the build has not ended: %w", waitErr)
}

// joined is errors.Join that adds nothing to a single error.
func joined(first, second error) error {
	if first == nil {
		return second
	}
	return errors.Join(first, second)
}

// detached reports whether the caller has stopped following without giving up.
func detached(ctx context.Context) bool { return errors.Is(context.Cause(ctx), ErrDetached) }
