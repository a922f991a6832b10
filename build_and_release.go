package herokubuild

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"github.com/herokubuild/herokubuild/internal/clean"
)

// BuildAndReleaseOptions says what [Client.BuildAndRelease] does. BuildApp and
// one of Dir, Archive and SourceURL are needed; everything else has a default.
type BuildAndReleaseOptions struct {
	// BuildApp is the name or id of the app that builds. A build that
	// succeeds is released on it by the platform.
	BuildApp string

	// Dir is a directory to pack, as [PackDir] does with Pack, and upload.
	Dir string
	// Pack sets how Dir is packed. nil is the default.
	Pack *PackOptions
	// Archive is a packed source to upload; see [OpenArchive]. It is not
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
	Rollout RolloutPolicy
	// ReleaseDescription is shown in the history of the apps of ReleaseTo. A call
	// that resumes keeps that of its Checkpoint. Default: "Deploy", the version
	// and the build's id.
	ReleaseDescription string

	// Checkpoint resumes a deploy that an earlier call began; its own rules are
	// there. If there is a build, Dir, Archive and SourceURL may be left out, and
	// so may ReleaseTo (nil), for the apps of the Checkpoint. A source that
	// differs from the Checkpoint's is refused with [ErrCheckpointMismatch]; to
	// find out, Dir is packed again unless git says that it is the same commit. A
	// Dir that does not exist on this machine is not compared.
	Checkpoint Checkpoint

	// Output gets the build's output while the build runs, byte for byte
	// without heartbeats. A write error ends the deploy. Output that could not
	// be read to its end is not one: see [DeployResult].OutputErr. Default: none.
	Output io.Writer
	// OnEvent is called with each step of the deploy. Calls never overlap,
	// neither with each other nor with writes to Output. It blocks the deploy,
	// so return quickly. An error ends the deploy; it matches what the caller's
	// error matches, except this package's own outcomes and invalid arguments.
	// If OnEvent, Output or Verify panics, the deploy is ended as by an error,
	// and BuildAndRelease then panics with the same value in the goroutine that
	// called it.
	OnEvent func(ctx context.Context, e DeployEvent) error

	// Timeout bounds the whole, as far as the caller's own functions return when
	// their context ends; the error then matches [ErrWaitTimeout], and the build is
	// canceled as when the context ends. 0 is no bound but the context's.
	Timeout time.Duration
	// IdleTimeout is [StreamOptions].IdleTimeout for all output streams.
	IdleTimeout time.Duration
	// KeepBuildOnCancel leaves the build running on the platform when the
	// context ends, or the deploy is given up, before the build does. By
	// default it is canceled. See [ErrDetached] for stopping without canceling
	// anything.
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
	if o.Checkpoint.attaches() {
		if err := o.Checkpoint.checkRollbacks(o.ReleaseTo); err != nil {
			return err
		}
	} else if o.Checkpoint.started() {
		return mismatch("a rollout of "+quote(o.Checkpoint.ArtifactID), "a deploy")
	}
	if given != 1 && (given != 0 || o.Checkpoint.BuildID == "") {
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
	if o.Rollout.OnEvent != nil || o.Rollout.IdleTimeout != 0 || !o.Rollout.Checkpoint.IsZero() {
		return &ArgumentError{Name: "Release", Reason: "OnEvent, Checkpoint and IdleTimeout are those of BuildAndReleaseOptions"}
	}
	if _, err := o.Rollout.withDefaults(len(o.ReleaseTo)); err != nil {
		return err
	}
	_, err := o.streamOptions().withDefaults()
	return err
}

// checkSameSource refuses a Checkpoint of another source than is given, as far as
// that shows without reading the source.
func (o *BuildAndReleaseOptions) checkSameSource() error {
	c := o.Checkpoint
	if !c.attaches() {
		return nil
	}
	if c.SourceDigest != "" && c.Checksum == "" && (o.Dir != "" || o.Archive != nil) {
		return mismatch("the URL "+quote(c.Source), "something to upload")
	}
	checksum, address, digest := o.SourceChecksum, "", ""
	if o.Archive != nil {
		checksum = o.Archive.Checksum()
	}
	if o.SourceURL != "" {
		address, digest = sourceAddress(o.SourceURL), sourceDigest(o.SourceURL)
	}
	for _, same := range []struct{ what, given, have string }{
		{"version", o.Version, c.Version}, {"checksum", checksum, c.Checksum}, {"source", address, c.Source}, {"source URL", digest, c.SourceDigest},
	} {
		if same.given != "" && same.have != "" && same.given != same.have {
			return mismatch(same.what+" "+quote(same.have), quote(same.given))
		}
	}
	return nil
}

func (o *BuildAndReleaseOptions) checkSource() error {
	switch {
	case o.Dir != "":
		// The source of a build that exists is not needed any more.
		if err := checkDir("Dir", o.Dir); err != nil && (o.Checkpoint.BuildID == "" || !errors.Is(err, fs.ErrNotExist)) {
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
	if same == buildApp || app == buildApp {
		return &ArgumentError{Name: "ReleaseTo", Reason: quote(app) + " is the app that builds: the platform releases to it by itself"}
	}
	return sameAppTwice("ReleaseTo", app, same)
}

func (o *BuildAndReleaseOptions) streamOptions() *StreamOptions {
	return &StreamOptions{IdleTimeout: o.IdleTimeout}
}

// Result is what a deploy has done.
type DeployResult struct {
	// Build is the build in its last known state.
	Build *Build
	// Slug is the id of the slug that was released; empty until the build
	// succeeded, and if it made an image (Fir apps): see [Release.Image].
	Slug string
	// Version and Checksum are those of the source.
	Version, Checksum string
	// Releases has one outcome per app: BuildApp first, then ReleaseTo in
	// their order. It is empty until the build succeeded.
	Apps []AppResult
	// OutputErr is why the build's output was not written to its end; nil if it
	// was. It is no failure of the deploy.
	OutputErr error
	// Checkpoint is what a later call resumes from.
	Checkpoint Checkpoint
}

// AppResult is one app's outcome.
type AppResult struct {
	// App is the app, as the caller named it.
	App string
	// Release is the app's newest release of this deploy in its last known
	// state; nil if there is none or nothing is known of it.
	Release *Release
	// Err is nil if the app runs the release. It is a [*ReleaseError] if the
	// release failed, and matches [ErrNotAttempted] if none was attempted,
	// [ErrSuperseded] if the app runs what somebody else has released since, and
	// [ErrVerifyFailed], [ErrRolledBack] and [ErrRollbackFailed] if that is so.
	Err error
	// OutputErr is why the output of the release phase was not read to its end;
	// nil if it was. It is no failure of the release.
	OutputErr error
	// RolledBack is the release that took the app back to what it ran before;
	// nil if there is none. RollbackErr is why that did not succeed, if it was
	// tried; Err wraps it.
	RolledBack  *Release
	RollbackErr error
}

// DeployError is the error of [Client.BuildAndRelease], except for invalid
// arguments. It wraps the cause.
type DeployError struct {
	// Phase is where it went wrong.
	Phase DeployPhase
	// App is the app that builds.
	App string
	// Result is what had been done by then; never nil. Result.Build names the
	// build, if there is one.
	Result *DeployResult
	// Canceled says that the build was still running when the deploy was
	// given up and has ended, canceled; one that fails by itself in that moment
	// cannot be told from it. CancelErr is why the build may still be running:
	// it could not be canceled, or had not ended 10 s after that was accepted.
	Canceled  bool
	CancelErr error
	// Checkpoint is what a later call resumes from; zero if there is nothing to
	// resume.
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
		text += " (build " + b.ID + " was canceled)"
	case e.CancelErr != nil && b.ID == "":
		text += " (a build may have been started: " + e.CancelErr.Error() + ")"
	case e.CancelErr != nil:
		text += " (build " + b.ID + " may still be running: canceling it: " + e.CancelErr.Error() + ")"
	}
	return clean.Line(clean.Uncolored(redactText(text)))
}

// Unwrap returns the cause.
func (e *DeployError) Unwrap() error { return withoutEOF(e.Err) }

// BuildAndRelease deploys: it packs and uploads the source, has BuildApp build
// it, follows the output, waits for the build and for the release that the
// platform makes of it on BuildApp, and then releases the slug to the apps of
// ReleaseTo, each awaited to its final status. It returns nil as error only if
// every one of these succeeded.
//
// Every app is looked up first, and addressed by its id from then on: with a
// wrong name or key nothing is packed or sent. Nothing is released to further
// apps unless BuildApp's own release succeeded.
//
// There is one build, and one release per app, even if the network loses the
// response to the request that starts it: the result of that request is searched
// for, adopted if it is there, and the request is only sent again if there is
// certainly none. If that cannot be found out the error matches
// [ErrMaybeApplied].
//
// When the context ends while the build runs, or OnEvent or Output fails, the
// build is canceled on the platform, within 10 s, unless KeepBuildOnCancel is
// set. If the context's cause is [ErrDetached], everything is left as it is.
// After any other error the build continues; call again with the error's
// Checkpoint to attach to it. An Output that blocks holds up the end of a
// canceled deploy for 10 s at most; its goroutine then ends when Write returns.
//
// Errors: an [*ArgumentError] before anything is sent; otherwise a
// [*DeployError], which wraps the cause: a [*BuildError] with the end of the
// build's output, a [*RolloutError] with the outcome of each app, or an error of
// the calls that it makes ([AppsService.Get], [PackDir],
// [SourcesService.Upload], [BuildsService.Create], [BuildsService.Wait],
// [ReleasesService.Create], [ReleasesService.Wait]).
func (c *Client) BuildAndRelease(ctx context.Context, opts BuildAndReleaseOptions) (*DeployResult, error) {
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
	d := newDeploy(c, opts, giveUp)
	err := d.finish(ctx, d.run(ctx))
	d.log.panics.rethrow()
	if err != nil {
		return nil, err
	}
	return d.result, nil
}
