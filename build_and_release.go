package herokubuild

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// BuildAndReleaseOptions says what [Client.BuildAndRelease] does. BuildApp and
// one of Dir, Archive and SourceURL are needed; everything else has a default.
type BuildAndReleaseOptions struct {
	// BuildApp is the name or id of the app that builds. A build that
	// succeeds is released on it by the platform.
	BuildApp string

	// Dir is a directory to pack, as [ArchiveDir] does with Pack, and upload.
	Dir string
	// Pack sets how Dir is packed. nil is the default.
	Pack *ArchiveOptions
	// Archive is a packed source to upload; see [ArchiveFile]. It is not
	// closed.
	Archive *Archive
	// SourceURL is an https address of a gzipped tar archive that the platform
	// can reach; nothing is uploaded.
	SourceURL SecretURL
	// SourceChecksum is "SHA256:" and the hex SHA-256 of what SourceURL points
	// to; optional, and for SourceURL only: that of an upload is known.
	SourceChecksum string

	// Version says which source this is; a commit, for example. Default: for
	// Dir, what [TreeVersion] says; where that is nothing, and for Archive, the
	// hex SHA-256 of the archive, so that the same source has the same version;
	// with SourceURL, none.
	Version string
	// VersionDescription describes the version for people.
	VersionDescription string
	// Buildpacks to use instead of the app's own, in order. Cedar only.
	Buildpacks []Buildpack

	// ReleaseTo are further apps, by name or id, that get the slug once it
	// runs on BuildApp.
	ReleaseTo []string
	// Release says how the apps of ReleaseTo get it: how many at a time,
	// canaries first, what becomes of it when one fails. BuildApp is not among
	// them. Its OnEvent, Checkpoint and IdleTimeout are those below.
	Release FanOutOptions
	// ReleaseDescription stands in the history of the apps of ReleaseTo.
	// Default: "Deploy", the version and the build's id.
	ReleaseDescription string

	// Checkpoint goes on with a deploy that an earlier process began: its
	// build, if it has one, is attached to, and Dir, Archive and SourceURL may
	// then be left out. So may ReleaseTo (nil), for the apps of the Checkpoint.
	// What is given must not be another source: a Version, Archive, SourceURL,
	// SourceChecksum or commit of Dir that is not the Checkpoint's is an
	// [*ArgumentError]. Changes in Dir that are not committed are not looked at.
	Checkpoint Checkpoint

	// Output gets the build's output while the build runs, byte for byte
	// without heartbeats. An error of it ends the deploy. Default: none.
	Output io.Writer
	// OnEvent is told of the progress. Calls never overlap, neither with each
	// other nor with writes to Output. It should return soon: the deploy waits
	// for it. An error ends the deploy.
	OnEvent func(ctx context.Context, e Event) error

	// Timeout bounds the whole; the error then matches [ErrWaitTimeout], and the
	// build is cancelled as when the context ends. 0 is no bound but the
	// context's.
	Timeout time.Duration
	// IdleTimeout is [StreamOptions].IdleTimeout for all output streams.
	IdleTimeout time.Duration
	// KeepBuildOnCancel leaves the build running on the platform when the
	// context ends, or the deploy is given up, before the build does. By
	// default it is cancelled.
	KeepBuildOnCancel bool
}

func (o *BuildAndReleaseOptions) check() error {
	if err := checkApp("BuildApp", o.BuildApp); err != nil {
		return err
	}
	given := 0
	for _, set := range []bool{o.Dir != "", o.Archive != nil, o.SourceURL != ""} {
		if set {
			given++
		}
	}
	if err := o.Checkpoint.check(o.BuildApp); err != nil {
		return err
	}
	if err := o.checkSameSource(); err != nil {
		return err
	}
	if given != 1 && (given != 0 || o.Checkpoint.Build == "") {
		return &ArgumentError{Name: "BuildAndReleaseOptions", Reason: fmt.Sprintf("exactly one of Dir, Archive and SourceURL is needed, %d are set", given)}
	}
	if err := o.checkSource(); err != nil {
		return err
	}
	if o.Pack != nil && o.Dir == "" && given != 0 {
		return &ArgumentError{Name: "Pack", Reason: "is for Dir only"}
	}
	if err := checkBuildpacks(o.Buildpacks); err != nil {
		return err
	}
	seen := map[string]bool{o.BuildApp: true}
	for _, app := range o.ReleaseTo {
		if err := checkApp("ReleaseTo", app); err != nil {
			return err
		}
		if seen[app] {
			return twice(app, app, o.BuildApp)
		}
		seen[app] = true
	}
	if o.Timeout < 0 {
		return &ArgumentError{Name: "Timeout", Reason: "is negative"}
	}
	if o.Release.OnEvent != nil || o.Release.IdleTimeout != 0 || !o.Release.Checkpoint.isZero() {
		return &ArgumentError{Name: "Release", Reason: "OnEvent, Checkpoint and IdleTimeout are those of BuildAndReleaseOptions"}
	}
	if _, err := o.Release.withDefaults(len(o.ReleaseTo)); err != nil {
		return err
	}
	_, err := o.streamOptions().withDefaults()
	return err
}

// otherSource is the error for a checkpoint of something else than is given:
// what is given would not be deployed.
func otherSource(given, have string) error {
	return &ArgumentError{Name: "Checkpoint", Reason: "is of a deploy of " + have + ", not of " + given}
}

// checkSameSource refuses a checkpoint of another source than is given, as far as
// that can be told from both.
func (o *BuildAndReleaseOptions) checkSameSource() error {
	c, checksum, address := o.Checkpoint, o.SourceChecksum, ""
	if o.Archive != nil {
		checksum = o.Archive.Checksum()
	}
	if o.SourceURL != "" {
		address = sourceAddress(o.SourceURL)
	}
	for _, same := range []struct{ what, given, have string }{
		{"version", o.Version, c.Version}, {"checksum", checksum, c.Checksum}, {"source", address, c.Source},
	} {
		if same.given != "" && same.have != "" && same.given != same.have {
			return otherSource(same.what+" "+quote(same.given), quote(same.have))
		}
	}
	return nil
}

func (o *BuildAndReleaseOptions) checkSource() error {
	switch {
	case o.Dir != "":
		if err := checkDir("Dir", o.Dir); err != nil {
			return err
		}
	case o.Archive != nil:
		if err := o.Archive.check(); err != nil {
			return err
		}
	case o.SourceURL != "":
		if _, err := checkWebURL("SourceURL", o.SourceURL.Reveal()); err != nil {
			return err
		}
		return checkChecksum("SourceChecksum", o.SourceChecksum)
	}
	if o.SourceChecksum != "" {
		return &ArgumentError{Name: "SourceChecksum", Reason: "is for SourceURL only: that of an upload is computed"}
	}
	return nil
}

// twice is the error for an app that would get two releases.
func twice(app, same, buildApp string) error {
	reason := quote(app) + " is named twice"
	switch {
	case same == buildApp || app == buildApp:
		reason = quote(app) + " is the app that builds: the platform releases to it by itself"
	case app != same:
		reason = quote(app) + " and " + quote(same) + " are the same app"
	}
	return &ArgumentError{Name: "ReleaseTo", Reason: reason}
}

func (o *BuildAndReleaseOptions) streamOptions() *StreamOptions {
	return &StreamOptions{IdleTimeout: o.IdleTimeout}
}

// Phase is a part of a deploy.
type Phase string

// The phases of a deploy, in order.
const (
	// PhaseCheck looks up every app, so that a wrong name or key is found out
	// before anything is packed.
	PhaseCheck Phase = "check"
	// PhasePack packs the directory.
	PhasePack Phase = "pack"
	// PhaseUpload uploads the archive.
	PhaseUpload Phase = "upload"
	// PhaseBuild starts the build and follows it to its final status. With the
	// Checkpoint of its event the build is found, whatever happens next.
	PhaseBuild Phase = "build"
	// PhaseRelease waits for the build app's own release and then releases
	// to the other apps.
	PhaseRelease Phase = "release"
)

// EventKind says what an [Event] is about.
type EventKind string

// The kinds of events, in the order in which they first come.
const (
	// EventPhase: a phase begins; Phase says which. App is the one that builds.
	EventPhase EventKind = "phase"
	// EventPacked: the archive is ready; Total is its size, Archive itself.
	EventPacked EventKind = "packed"
	// EventWarning: something about the packed directory looks like a mistake;
	// Line says what. See [ArchivePlan].Warnings.
	EventWarning EventKind = "warning"
	// EventUpload: Done of Total bytes are uploaded.
	EventUpload EventKind = "upload"
	// EventBuildCreated: the platform has taken the build on; see Build. A
	// deploy that goes on from a checkpoint has it, too.
	EventBuildCreated EventKind = "build_created"
	// EventHeartbeat: the build, or App's release phase if Release is not nil,
	// is alive and has printed nothing for the time Quiet. It comes every 10 s
	// or so while that lasts.
	EventHeartbeat EventKind = "heartbeat"
	// EventOutputLost: the output of the build or release cannot be followed
	// any further, because of Err. The outcome is still waited for.
	EventOutputLost EventKind = "output_lost"
	// EventBuildDone: the build has ended; see Build, and Err if it failed.
	EventBuildDone EventKind = "build_done"
	// EventReleaseCreated: App has a new release; see Release.
	EventReleaseCreated EventKind = "release_created"
	// EventReleaseOutput: App's release phase printed Line.
	EventReleaseOutput EventKind = "release_output"
	// EventReleaseDone: App's release has ended; see Release, and Err if it
	// did not succeed.
	EventReleaseDone EventKind = "release_done"
	// EventVerified: App's release has been looked at by Verify; see Err.
	EventVerified EventKind = "verified"
	// EventRolledBack: App is back at what it ran before, by Release, or is
	// not, because of Err.
	EventRolledBack EventKind = "rolled_back"
	// EventBuildCanceled: the deploy was given up and the build cancelled, or
	// not, because of Err. Where it was given up because OnEvent failed, OnEvent
	// is not called for it.
	EventBuildCanceled EventKind = "build_canceled"
)

// Event is one step of a deploy. Kind, Time and Checkpoint are always set; of the
// others those that the kind's comment names.
type Event struct {
	Kind EventKind
	// Time is when it happened, by this machine's clock.
	Time time.Time
	// Phase is the phase that begins; set for EventPhase only.
	Phase Phase
	// App is the app that the event is about, as the caller named it; empty for
	// the events of an archive (packed, warning, upload).
	App string
	// Archive is what was packed: for EventPacked and EventWarning. It is closed
	// when it has been uploaded, unless it was the caller's.
	Archive *Archive
	// Done and Total are bytes of the archive: for EventUpload, and Total for
	// EventPacked.
	Done, Total int64
	// Build is the build in its last known state, for the events about it.
	Build *Build
	// Release is App's release in its last known state, for the events about it.
	Release *Release
	// Line is a line of output, without its end, for EventReleaseOutput; or the
	// text of EventWarning.
	Line string
	// Quiet is how long there has been no output, for EventHeartbeat.
	Quiet time.Duration
	// Err is what went wrong; nil for most events.
	Err error
	// Checkpoint is how far the deploy has come.
	Checkpoint Checkpoint
}

// Result is what a deploy has done.
type Result struct {
	// Build is the build in its last known state.
	Build *Build
	// Slug is the id of the slug that was released; empty until the build
	// succeeded, and where it made an image (Fir apps): see [Release.Image].
	Slug string
	// Version and Checksum are those of the source.
	Version, Checksum string
	// Releases has one outcome an app: BuildApp first, then ReleaseTo in
	// their order. It is empty until the build succeeded.
	Releases []AppRelease
	// Checkpoint is how far the deploy has come.
	Checkpoint Checkpoint
}

// AppRelease is one app's outcome.
type AppRelease struct {
	// App is the app, as the caller named it.
	App string
	// Release is the app's new release in its last known state; nil if there
	// is none.
	Release *Release
	// Err is nil if the release succeeded; a [*ReleaseError] if it did not;
	// it matches [ErrSkipped] if it was not attempted, [ErrVerifyFailed],
	// [ErrRolledBack] and [ErrRollbackFailed] if that is so.
	Err error
	// RolledBack is the release that took the app back to what it ran before;
	// nil if there is none. RollbackErr is why that did not succeed, if it was
	// tried; Err wraps it.
	RolledBack  *Release
	RollbackErr error
}

// DeployError is the error of [Client.BuildAndRelease], but for wrong
// arguments. It wraps the cause.
type DeployError struct {
	// Phase is where it went wrong.
	Phase Phase
	// App is the app that builds.
	App string
	// Result is what had been done by then; never nil. Result.Build names the
	// build, if there is one.
	Result *Result
	// Canceled says that the build was still running when the deploy was
	// given up and that it has been cancelled on the platform; one that fails
	// by itself in that moment cannot be told from it. CancelErr is why the
	// cancelling failed, if it did.
	Canceled  bool
	CancelErr error
	// Checkpoint is what a later call goes on with. It starts anew after a
	// build that failed or was cancelled, or was not released on BuildApp.
	Checkpoint Checkpoint
	// Err is the cause.
	Err error
}

// Error implements error.
func (e *DeployError) Error() string {
	text := fmt.Sprintf("herokubuild: deploy of %s, %s: %s", e.App, e.Phase, strings.TrimPrefix(errorText(e.Err), "herokubuild: "))
	b := orZero(orZero(e.Result).Build)
	switch {
	case e.Canceled:
		text += " (build " + b.ID + " was cancelled)"
	case e.CancelErr != nil && b.ID == "":
		text += " (a build may be running: looking for it: " + e.CancelErr.Error() + ")"
	case e.CancelErr != nil:
		text += " (build " + b.ID + " may still be running: cancelling it: " + e.CancelErr.Error() + ")"
	}
	return text
}

// Unwrap returns the cause.
func (e *DeployError) Unwrap() error { return e.Err }

const (
	// checkLimit is how many apps are asked about at once.
	checkLimit = 16
	// cancelTimeout bounds the cancelling of a build that was given up.
	cancelTimeout = 10 * time.Second
	// cancelSettle is how much of that goes into looking for a build that nobody
	// has heard of yet.
	cancelSettle = 7 * time.Second
	// ownReleaseTimeout bounds the wait for the release that the platform
	// makes of a successful build to be named.
	ownReleaseTimeout = time.Minute
)

// BuildAndRelease deploys: it packs and uploads the source, has BuildApp build
// it, follows the output, waits for the build and for the release that the
// platform makes of it on BuildApp, and then releases the slug to the apps of
// ReleaseTo, each awaited to its final status. It returns nil as error only if
// every one of these succeeded.
//
// Every app is looked up first: with a wrong name or key nothing is packed or
// sent. Nothing is released to further apps unless BuildApp's own release
// succeeded.
//
// There is one build and one release an app, also where the network loses the
// answer to the request that starts it: what that request may have started is
// looked for, adopted if it is there, and only started again if it certainly is
// not. Where that cannot be found out the error matches [ErrMaybeApplied].
//
// When the context ends while the build runs, or OnEvent or Output fails, the
// build is cancelled on the platform, within 10 s, unless KeepBuildOnCancel.
// After any other error it goes on; call again with the error's Checkpoint to
// attach to it.
//
// Errors: an [*ArgumentError] before anything is sent; otherwise a
// [*DeployError], which wraps the cause: a [*BuildError] with the end of the
// build's output, a [*ReleaseError] for each app whose release failed (joined),
// or an error of the calls that it makes ([AppsService.Get], [ArchiveDir],
// [SourcesService.Upload], [BuildsService.Create], [BuildsService.Wait],
// [ReleasesService.Create], [ReleasesService.Wait]).
func (c *Client) BuildAndRelease(ctx context.Context, opts BuildAndReleaseOptions) (*Result, error) {
	if c == nil || c.base == "" {
		return nil, &ArgumentError{Name: "Client", Reason: errNoClient.Error()}
	}
	if opts.ReleaseTo == nil && opts.Checkpoint.attaches() {
		opts.ReleaseTo = opts.Checkpoint.ReleaseTo
	}
	if err := opts.check(); err != nil {
		return nil, err
	}
	if opts.Timeout > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeoutCause(ctx, opts.Timeout, fmt.Errorf("%w (%v)", ErrWaitTimeout, opts.Timeout))
		defer stop()
	}
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	log := &eventLog{onEvent: opts.OnEvent, giveUp: giveUp, checkpoint: opts.Checkpoint.clone()}
	log.checkpoint.BuildApp, log.checkpoint.ReleaseTo = opts.BuildApp, slices.Clone(opts.ReleaseTo)
	d := &deploy{client: c, opts: opts, result: new(Result), log: log}
	err := d.run(ctx)
	if outputErr := d.output.join(); outputErr != nil {
		// It is why everything else has ended, if it has.
		err = outputErr
	}
	if err == nil {
		// A failing OnEvent may have come too late to stop anything.
		err = log.err
	}
	d.result.Checkpoint = log.saved()
	if err == nil {
		return d.result, nil
	}
	failure := &DeployError{Phase: d.phase, App: opts.BuildApp, Result: d.result, Err: err}
	d.cancelBuild(ctx, failure)
	d.result.Checkpoint = log.saved()
	failure.Checkpoint = d.result.Checkpoint
	var fleet *FanOutError
	if errors.As(err, &fleet) {
		fleet.Checkpoint = failure.Checkpoint
	}
	return nil, failure
}

// deploy is one run of BuildAndRelease.
type deploy struct {
	client *Client
	opts   BuildAndReleaseOptions
	phase  Phase
	result *Result
	log    *eventLog
	output *buildOutput

	// resumed says that an earlier process may have made releases.
	resumed bool
}

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

func (d *deploy) begin(ctx context.Context, p Phase) {
	d.phase = p
	d.log.emit(ctx, Event{Kind: EventPhase, Phase: p, App: d.opts.BuildApp})
}

// attach returns the build that an earlier process started, or nil.
func (d *deploy) attach(ctx context.Context) (*Build, error) {
	c := d.opts.Checkpoint
	if c.Commit != "" && c.attaches() && d.opts.Dir != "" {
		at, err := TreeVersion(ctx, d.opts.Dir)
		// The checkpoint's own file, for one, may have made it dirty since.
		if at = strings.TrimSuffix(at, dirty); err == nil && at != "" && at != c.Commit {
			return nil, otherSource("commit "+quote(at), c.Commit)
		}
	}
	var b *Build
	var err error
	switch {
	case c.Build != "":
		b, err = d.client.Builds.Get(ctx, d.opts.BuildApp, c.Build)
	case c.Source != "":
		b, err = settle(ctx, d.client.retry.SettleTime, func(ctx context.Context) (*Build, error) {
			return d.findBuild(ctx, c.Source, c.Version)
		})
	}
	if b == nil || err != nil {
		return nil, err
	}
	d.resumed = true
	d.result.Version, d.result.Checksum = cmp.Or(c.Version, b.SourceBlob.Version), cmp.Or(c.Checksum, b.SourceBlob.Checksum)
	return b, nil
}

// checkApps asks for every app, so that a wrong key or name costs one request
// and not a build.
func (d *deploy) checkApps(ctx context.Context) error {
	first, err := d.client.Apps.Get(ctx, d.opts.BuildApp)
	if err != nil {
		return err
	}
	apps := make([]*App, len(d.opts.ReleaseTo))
	errs := make([]error, len(d.opts.ReleaseTo))
	pace := newPacer(d.client, 2*checkLimit)
	parallel(len(apps), checkLimit, func(i int) {
		if errs[i] = pace.wait(ctx); errs[i] != nil {
			return
		}
		apps[i], errs[i] = d.client.Apps.Get(ctx, d.opts.ReleaseTo[i])
	})
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if len(d.opts.Buildpacks) > 0 && first.IsFir() {
		return &GenerationError{App: d.opts.BuildApp, Generation: first.Generation.Name, Reason: "its builds take no buildpacks"}
	}
	// The same app by name and by id would get two releases.
	names := map[string]string{first.ID: d.opts.BuildApp}
	for i, app := range apps {
		if same, ok := names[app.ID]; ok {
			return twice(d.opts.ReleaseTo[i], same, d.opts.BuildApp)
		}
		names[app.ID] = d.opts.ReleaseTo[i]
		if app.IsFir() != first.IsFir() {
			return &GenerationError{App: d.opts.ReleaseTo[i], Generation: app.Generation.Name, Reason: "it does not run what " + d.opts.BuildApp + " builds"}
		}
	}
	return nil
}

// parallel calls f for 0 to n-1, at most limit at a time, and returns when all
// have returned.
func parallel(n, limit int, f func(i int)) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, limit)
	for i := range n {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			f(i)
		})
	}
	wg.Wait()
}

// source packs and uploads what is to be built, unless it is somewhere already.
func (d *deploy) source(ctx context.Context) (SourceBlob, error) {
	blob := SourceBlob{
		URL: d.opts.SourceURL, Checksum: d.opts.SourceChecksum,
		Version: d.opts.Version, VersionDescription: d.opts.VersionDescription,
	}
	commit, versionErr := "", error(nil)
	if blob.URL == "" {
		archive := d.opts.Archive
		if archive == nil {
			d.begin(ctx, PhasePack)
			if blob.Version == "" {
				// Without one the archive's own name will do.
				blob.Version, versionErr = TreeVersion(ctx, d.opts.Dir)
				if blob.Version != "" && !strings.HasSuffix(blob.Version, dirty) {
					commit = blob.Version
				}
			}
			var err error
			if archive, err = ArchiveDir(ctx, d.opts.Dir, d.opts.Pack); err != nil {
				return blob, err
			}
			defer func() { _ = archive.Close() }()
		}
		d.log.emit(ctx, Event{Kind: EventPacked, Archive: archive, Total: archive.Size})
		if versionErr != nil {
			d.log.emit(ctx, Event{Kind: EventWarning, Archive: archive, Line: "the commit cannot be told: " + quote(versionErr.Error())})
		}
		if archive.Plan != nil {
			for _, warning := range archive.Plan.Warnings {
				d.log.emit(ctx, Event{Kind: EventWarning, Archive: archive, Line: warning.String()})
			}
		}
		blob.Checksum = archive.Checksum()
		if blob.Version == "" {
			blob.Version = strings.TrimPrefix(blob.Checksum, "SHA256:")
		}
		d.begin(ctx, PhaseUpload)
		source, err := d.client.Sources.Upload(ctx, archive, &UploadOptions{Progress: d.progress(ctx)})
		if err != nil {
			return blob, err
		}
		blob.URL = source.SourceBlob.GetURL
	}
	d.result.Version, d.result.Checksum = blob.Version, blob.Checksum
	after := ""
	if d.opts.SourceURL != "" {
		var err error
		if after, err = d.latestBuild(ctx); err != nil {
			return blob, err
		}
	}
	d.log.note(func(c *Checkpoint) {
		*c = Checkpoint{
			BuildApp: c.BuildApp, ReleaseTo: c.ReleaseTo,
			Source: sourceAddress(blob.URL), After: after, Version: blob.Version, Checksum: blob.Checksum, Commit: commit,
		}
	})
	return blob, nil
}

// progress emits about a hundred events an upload, not one a read.
func (d *deploy) progress(ctx context.Context) func(done, total int64) {
	var last int64
	return func(done, total int64) {
		if done < last {
			last = 0
		}
		if done == total || done-last >= total/100 {
			last = done
			d.log.emit(ctx, Event{Kind: EventUpload, Done: done, Total: total})
		}
	}
}

// create starts the build.
func (d *deploy) create(ctx context.Context, source SourceBlob) (*Build, error) {
	opts := BuildCreateOptions{SourceBlob: source, Buildpacks: d.opts.Buildpacks}
	b, err := once(ctx, d.client,
		func() (*Build, error) { return d.client.Builds.Create(ctx, d.opts.BuildApp, opts) },
		func(ctx context.Context) (*Build, error) {
			return d.findBuild(ctx, sourceAddress(source.URL), source.Version)
		})
	if err != nil && !errors.Is(err, ErrMaybeApplied) {
		d.startAnew()
	}
	return b, err
}

// startAnew forgets what there is nothing left of to go on with.
func (d *deploy) startAnew() {
	d.log.note(func(c *Checkpoint) { *c = Checkpoint{BuildApp: c.BuildApp, ReleaseTo: c.ReleaseTo} })
}

// build follows the build to its final status. The stream may still be making
// sure that it has had everything when the status is known: that goes on while
// the slug is released, until joined.
func (d *deploy) build(ctx context.Context, b *Build) error {
	d.result.Build = b
	d.log.note(func(c *Checkpoint) { c.Build = b.ID })
	d.log.emit(ctx, Event{Kind: EventBuildCreated, App: d.opts.BuildApp, Build: b})

	d.output = d.follow(ctx, b)
	select {
	case <-d.output.done:
	case <-d.output.final:
	}
	if latest := d.output.latest.Load(); latest != nil {
		d.result.Build = latest
	}
	if d.result.Build.Status != StatusSucceeded {
		// The end of the output is not the outcome, but it belongs to it.
		if err := d.output.join(); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return fmt.Errorf("following build %s: %w", b.ID, contextError(ctx))
		}
	}
	if !d.result.Build.Status.Final() {
		get := func(ctx context.Context) (*Build, error) { return d.client.Builds.Get(ctx, d.opts.BuildApp, b.ID) }
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
		failed.Tail = d.output.tail.String()
		d.startAnew()
	}
	d.log.emit(ctx, Event{Kind: EventBuildDone, App: d.opts.BuildApp, Build: d.result.Build, Err: err})
	return err
}

// follow writes the build's output to the caller's writer, in a goroutine that
// join waits for.
func (d *deploy) follow(ctx context.Context, b *Build) *buildOutput {
	o := &buildOutput{w: d.opts.Output, log: d.log, final: make(chan struct{}), done: make(chan struct{})}
	get := func(ctx context.Context) (*Build, error) {
		latest, err := d.client.Builds.Get(ctx, d.opts.BuildApp, b.ID)
		if err == nil {
			before := o.latest.Swap(latest)
			if latest.Status.Final() && (before == nil || !before.Status.Final()) {
				close(o.final)
			}
		}
		return latest, err
	}
	opts := d.opts.streamOptions()
	opts.Offset = d.log.saved().Output
	opts.OnHeartbeat = func(quiet time.Duration) {
		d.log.emit(ctx, Event{Kind: EventHeartbeat, App: d.opts.BuildApp, Build: b, Quiet: quiet})
	}
	go func() {
		defer close(o.done)
		stream, err := d.client.Builds.follow(ctx, b, opts, get)
		if err == nil {
			_, err = stream.WriteTo(o)
			_ = stream.Close()
		}
		switch {
		case o.err != nil:
			d.log.giveUp(o.err)
		case err != nil && ctx.Err() == nil:
			d.log.emit(ctx, Event{Kind: EventOutputLost, App: d.opts.BuildApp, Build: b, Err: err})
		}
	}()
	return o
}

// buildOutput hands output to the caller's writer, keeps its end, and remembers
// the writer's error: the stream's own is another matter.
type buildOutput struct {
	w   io.Writer
	log *eventLog
	// latest is the build when the stream last asked; final is closed when its
	// status is, done when there is no more output.
	latest      atomic.Pointer[Build]
	final, done chan struct{}

	// These are the goroutine's until it is done.
	tail logTail
	err  error
}

func (o *buildOutput) Write(p []byte) (int, error) {
	o.tail.add(p)
	n := len(p)
	o.log.note(func(c *Checkpoint) {
		if o.w != nil {
			n, o.err = o.w.Write(p)
		}
		c.Output += int64(n)
	})
	if o.err == nil && n < len(p) {
		o.err = io.ErrShortWrite
	}
	return n, o.err
}

// join waits for the end of the output. Its error is the writer's.
func (o *buildOutput) join() error {
	if o == nil {
		return nil
	}
	<-o.done
	if o.err != nil {
		return fmt.Errorf("writing the build's output: %w", o.err)
	}
	return nil
}

// release waits for the build app's own release and gives the slug to the
// others.
func (d *deploy) release(ctx context.Context) error {
	d.result.Slug = d.result.Build.Slug.ID
	d.result.Releases = make([]AppRelease, 1+len(d.opts.ReleaseTo))
	d.result.Releases[0].App = d.opts.BuildApp
	for i, app := range d.opts.ReleaseTo {
		d.result.Releases[i+1] = AppRelease{App: app, Err: ErrSkipped}
	}

	own := &d.result.Releases[0]
	if own.Release, own.Err = d.ownRelease(ctx); own.Err == nil {
		f := follower{client: d.client, log: d.log, stream: *d.opts.streamOptions(), since: time.Now()}
		own.Err = f.await(ctx, own)
	}
	if errors.Is(own.Err, ErrReleaseFailed) {
		d.startAnew()
	}
	if own.Err != nil || len(d.opts.ReleaseTo) == 0 {
		return own.Err
	}
	what, ok := own.Release.Code()
	if d.result.Slug != "" {
		what, ok = ReleaseCreateOptions{Slug: d.result.Slug}, true
	}
	if !ok {
		return fmt.Errorf("build %s: %w to release to other apps", d.result.Build.ID, ErrNoSlug)
	}
	what.Description = d.description()
	opts, err := d.opts.Release.withDefaults(len(d.opts.ReleaseTo))
	if err != nil {
		return err
	}
	opts.IdleTimeout = d.opts.IdleTimeout
	f := newFanOut(d.client, d.log, what, opts, d.opts.ReleaseTo)
	f.resumed, f.saved = d.resumed, d.opts.Checkpoint
	f.outcomes = d.result.Releases[1:]
	if failure := f.run(ctx); failure != nil {
		return failure
	}
	return nil
}

// ownRelease returns the release that the platform made of the build. The
// build names it, at the latest soon after it has succeeded.
func (d *deploy) ownRelease(ctx context.Context) (*Release, error) {
	b := d.result.Build
	if b.Release.ID == "" {
		named, err := waitFinal(ctx, &WaitOptions[Build]{Timeout: ownReleaseTimeout}, d.client.poll,
			func(ctx context.Context) (*Build, error) { return d.client.Builds.Get(ctx, d.opts.BuildApp, b.ID) },
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
	r, err := d.client.Releases.Get(ctx, d.opts.BuildApp, b.Release.ID)
	if err != nil {
		return nil, err
	}
	d.log.noteRelease(d.opts.BuildApp, r)
	d.log.emit(ctx, Event{Kind: EventReleaseCreated, App: d.opts.BuildApp, Release: r})
	return r, nil
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

// cancelBuild cancels the build of a deploy that its caller has given up.
func (d *deploy) cancelBuild(ctx context.Context, failure *DeployError) {
	if ctx.Err() == nil {
		return
	}
	// The caller's context is what has ended.
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), cancelTimeout)
	defer stop()
	b := d.result.Build
	if b == nil && d.phase == PhaseBuild && errors.Is(failure.Err, ErrMaybeApplied) {
		// The request was under way; what it started has to be found first.
		c := d.log.saved()
		b, failure.CancelErr = settle(ctx, min(d.client.retry.SettleTime, cancelSettle), func(ctx context.Context) (*Build, error) {
			return d.findBuild(ctx, c.Source, c.Version)
		})
		if b == nil && failure.CancelErr == nil {
			failure.CancelErr = errors.New("there is none so far")
		}
		if b != nil {
			d.result.Build = b
			d.log.note(func(c *Checkpoint) { c.Build = b.ID })
		}
	}
	if b == nil || d.opts.KeepBuildOnCancel || b.Status != StatusPending {
		return
	}
	canceled, err := d.client.Builds.Cancel(ctx, d.opts.BuildApp, b.ID)
	if err != nil {
		// It may have ended by itself, or have been cancelled by a request
		// whose answer was lost.
		if latest, lookErr := d.client.Builds.Get(ctx, d.opts.BuildApp, b.ID); lookErr == nil && latest.Status.Final() {
			canceled, err = latest, nil
		}
	}
	failure.CancelErr = err
	if err == nil {
		d.result.Build = canceled
		failure.Canceled = canceled.Status != StatusSucceeded
	}
	if failure.Canceled {
		d.startAnew()
	}
	d.log.emit(ctx, Event{Kind: EventBuildCanceled, App: d.opts.BuildApp, Build: d.result.Build, Err: err})
}

// logTail keeps the end of a log.
type logTail struct{ text []byte }

const (
	tailLines = 20
	tailBytes = 8 << 10
)

func (t *logTail) add(p []byte) {
	t.text = append(t.text, p[max(len(p)-tailBytes, 0):]...)
	// Trimming at every write would copy the whole for each byte.
	if over := len(t.text) - tailBytes; over > tailBytes {
		t.text = append(t.text[:0], t.text[over:]...)
	}
}

// String returns the last lines.
func (t *logTail) String() string {
	text := strings.TrimRight(string(t.text), "\n")
	start := max(len(text)-tailBytes, 0)
	lines := strings.Split(text[start:], "\n")
	if start > 0 && len(lines) > 1 {
		// The first is cut.
		lines = lines[1:]
	}
	lines = lines[max(len(lines)-tailLines, 0):]
	return strings.ToValidUTF8(strings.Join(lines, "\n"), "\uFFFD")
}
