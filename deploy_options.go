package herokubuild

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"
)

// BuildAndReleaseOptions sets what [Client.BuildAndRelease] does. BuildApp and one
// of Dir, Archive and SourceURL are required; everything else has a default.
type BuildAndReleaseOptions struct {
	// BuildApp is the name or id of the app that builds. The platform releases a
	// successful build on it.
	BuildApp string

	// Dir is a directory to pack, as [PackDir] does with Pack, and upload. The calls of
	// one client take turns: 2 to 4 pack at once, and at most 32 have an archive that is
	// not uploaded yet. One that makes no progress for 10 s does not count.
	Dir string
	// Pack sets how Dir is packed. nil is the default.
	Pack *PackOptions
	// Archive is a packed source to upload; see [OpenArchive]. It is not closed.
	Archive *Archive
	// SourceURL is an https URL of a gzipped tar archive that the platform can
	// reach; nothing is uploaded.
	SourceURL SecretURL
	// SourceChecksum is "SHA256:" and the hex SHA-256 of the archive at SourceURL;
	// optional, and for SourceURL only: that of an upload is computed.
	SourceChecksum string

	// Version identifies the source: a commit, for example. Default: for Dir, that
	// of [TreeVersion]; if there is none, and for Archive, the hex SHA-256 of the
	// archive, so that the same source has the same version; for SourceURL, none.
	Version string
	// VersionDescription describes the version to people.
	VersionDescription string
	// Buildpacks to use instead of the app's own, in order. Cedar only.
	Buildpacks []Buildpack

	// ReleaseTo are further apps, by name or id, that get the slug once it runs on
	// BuildApp.
	ReleaseTo []string
	// Rollout sets how the apps of ReleaseTo get it: how many at a time, canaries
	// first, what happens when one fails. BuildApp is not among them.
	Rollout RolloutPolicy
	// ReleaseDescription is shown in the history of the apps of ReleaseTo. A call
	// that resumes keeps that of its Checkpoint. Default: "Deploy", the version and
	// the build's id.
	ReleaseDescription string

	// Checkpoint resumes a deploy that an earlier call began; see its rules. If it
	// has a build, Dir, Archive and SourceURL may be omitted, and so may ReleaseTo
	// (nil), for the apps of the Checkpoint. A source that differs from that of the
	// Checkpoint is refused with [ErrCheckpointMismatch]; to compare them, Dir is
	// packed again unless git shows that it is the same commit. A Dir that does not
	// exist on this machine is not compared.
	Checkpoint Checkpoint

	// Output gets the build's output while the build runs, byte for byte without
	// heartbeats. A call that resumes writes what follows the OutputOffset of its
	// Checkpoint; [OutputAt] writes it to a file without gaps and repetitions. A write
	// error ends the deploy. Output that could not be read to
	// its end does not: see [DeployResult].OutputErr. Default: none.
	Output io.Writer
	// OnEvent is called with each step of the deploy. Calls never overlap, neither
	// with each other nor with writes to Output. It blocks the deploy, so return
	// quickly. An error ends the deploy; it matches what the caller's error
	// matches, except this package's own outcomes and invalid arguments. If
	// OnEvent, Output or Verify panics, the deploy is ended as by an error, and
	// BuildAndRelease then panics with the same value in the goroutine that called
	// it.
	OnEvent func(ctx context.Context, e DeployEvent) error

	// BeforeChange is called before each request that changes something on the
	// platform, and before each further attempt of one: to check, for example, that no
	// other process has taken over while this one was suspended. With its error the
	// request is certainly not sent, and the call ends and leaves everything as it is,
	// as with [ErrDetached]: the error matches [ErrNotSent] and the error of BeforeChange,
	// and never [ErrMaybeApplied] because of that request. A check that took long proves
	// little, since the process may have been suspended after it: repeat it. Calls for
	// several apps overlap. Default: none.
	BeforeChange func(ctx context.Context, c Change) error
	// ProgressInterval makes OnEvent receive an [EventProgress] that often, until the
	// call ends: a heartbeat for an engine that restarts what does not report. Default:
	// none.
	ProgressInterval time.Duration

	// Timeout bounds the whole deploy, provided that the caller's own functions
	// return when their context ends; the error then matches [ErrWaitTimeout], and
	// the build is canceled as when the context ends. 0 sets no limit other than
	// the context's.
	Timeout time.Duration
	// IdleTimeout is [StreamOptions].IdleTimeout for all output streams.
	IdleTimeout time.Duration
	// KeepBuildOnCancel leaves the build running on the platform when the context
	// ends, or the deploy is given up, before the build ends. By default it is
	// canceled. See [ErrDetached] for stopping without canceling anything.
	KeepBuildOnCancel bool
}

func (o *BuildAndReleaseOptions) check() error {
	if err := checkApp("BuildApp", o.BuildApp); err != nil {
		return err
	}
	for _, check := range []func() error{o.checkCheckpoint, o.checkSource, o.checkReleaseTo} {
		if err := check(); err != nil {
			return err
		}
	}
	if err := checkBuildpacks(o.Buildpacks); err != nil {
		return err
	}
	if o.ProgressInterval < 0 {
		return &ArgumentError{Name: "ProgressInterval", Reason: "is negative"}
	}
	if o.Timeout < 0 {
		return &ArgumentError{Name: "Timeout", Reason: "is negative"}
	}
	if _, err := o.Rollout.withDefaults(len(o.ReleaseTo)); err != nil {
		return err
	}
	_, err := o.streamOptions().withDefaults()
	return err
}

func (o *BuildAndReleaseOptions) checkCheckpoint() error {
	if err := o.Checkpoint.check(o.BuildApp); err != nil {
		return err
	}
	if err := o.checkSameSource(); err != nil {
		return err
	}
	if o.Checkpoint.attaches() {
		return o.Checkpoint.checkRollbacks(o.ReleaseTo)
	}
	if o.Checkpoint.started() {
		return mismatch("a rollout of "+quote(o.Checkpoint.ArtifactID), "a deploy")
	}
	return nil
}

func (o *BuildAndReleaseOptions) checkReleaseTo() error {
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
	return nil
}

// sources counts how many of Dir, Archive and SourceURL are set.
func (o *BuildAndReleaseOptions) sources() int {
	n := 0
	for _, set := range []bool{o.Dir != "", o.Archive != nil, o.SourceURL != ""} {
		if set {
			n++
		}
	}
	return n
}

// checkSameSource refuses a Checkpoint of another source, as far as that can be
// decided without reading the source.
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
	n := o.sources()
	switch {
	case n != 1 && (n != 0 || o.Checkpoint.BuildID == ""):
		return &ArgumentError{Name: "BuildAndReleaseOptions", Reason: fmt.Sprintf("exactly one of Dir, Archive and SourceURL is required, %d are set", n)}
	case o.Pack != nil && o.Dir == "" && n != 0:
		return &ArgumentError{Name: "Pack", Reason: "is for Dir only"}
	case o.SourceChecksum != "" && o.SourceURL == "":
		return &ArgumentError{Name: "SourceChecksum", Reason: "is for SourceURL only: that of an upload is computed"}
	case o.Dir != "":
		return o.checkSourceDir()
	case o.Archive != nil:
		return o.Archive.check()
	case o.SourceURL != "":
		if err := checkWebURL("SourceURL", o.SourceURL.Reveal()); err != nil {
			return err
		}
		return checkChecksum("SourceChecksum", o.SourceChecksum)
	}
	return nil
}

// checkSourceDir accepts a missing Dir if there is a build, which no longer needs it.
func (o *BuildAndReleaseOptions) checkSourceDir() error {
	err := checkDir("Dir", o.Dir)
	if o.Checkpoint.BuildID != "" && errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
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
	// matches [ErrVerifyFailed]. [Client.HealthCheck] returns such a function. It may
	// take its time: its app counts against Concurrency. Calls for several apps
	// overlap. An error after ctx has ended is attributed to the end of ctx. An error
	// matches what the caller's error matches, except this package's own outcomes and
	// invalid arguments.
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
	// BeforeChange is called before each request that changes something on the
	// platform, and before each further attempt of one: to check, for example, that no
	// other process has taken over while this one was suspended. With its error the
	// request is certainly not sent, and the call ends and leaves everything as it is,
	// as with [ErrDetached]: the error matches [ErrNotSent] and the error of BeforeChange,
	// and never [ErrMaybeApplied] because of that request. A check that took long proves
	// little, since the process may have been suspended after it: repeat it. Calls for
	// several apps overlap. Default: none.
	BeforeChange func(ctx context.Context, c Change) error
	// ProgressInterval makes OnEvent receive an [EventProgress] that often, until the
	// call ends: a heartbeat for an engine that restarts what does not report. Default:
	// none.
	ProgressInterval time.Duration
	// Timeout bounds the whole rollout, provided that the caller's own functions return
	// when their context ends; the error then matches [ErrWaitTimeout], and apps are
	// rolled back as when the context ends. 0 sets no limit other than the context's.
	Timeout time.Duration
	// IdleTimeout is [StreamOptions].IdleTimeout for the output of release phases.
	IdleTimeout time.Duration
}

// RollbackPolicy sets which apps of a rollout return to the release that they ran
// before.
type RollbackPolicy string

const (
	// RollbackNone leaves every app as it is. An app whose release phase failed
	// still runs what it ran before.
	RollbackNone RollbackPolicy = ""
	// RollbackVerifyFailed rolls back the apps whose Verify failed.
	RollbackVerifyFailed RollbackPolicy = "verify_failed"
	// RollbackAll rolls back every app that got the release if the release or
	// Verify of one failed, or the context ended. With StopOnError no further app
	// is released before the rollback begins.
	RollbackAll RollbackPolicy = "all"
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
	case p.Rollback != RollbackNone && p.Rollback != RollbackVerifyFailed && p.Rollback != RollbackAll:
		return bad("Rollback", quote(string(p.Rollback))+" is not a RollbackPolicy")
	case p.Rollback == RollbackVerifyFailed && p.Verify == nil:
		return bad("Rollback", "RollbackVerifyFailed requires Verify")
	case p.RollbackTimeout < 0:
		return bad("RollbackTimeout", "is negative")
	}
	return nil
}

// check validates the arguments of a rollout and returns the options with their
// defaults.
func (o *RolloutOptions) check(release ReleaseCreateOptions, apps []string) (RolloutOptions, error) {
	checked := orZero(o)
	var err error
	if checked.Policy, err = checked.Policy.withDefaults(len(apps)); err != nil {
		return checked, err
	}
	if checked.Timeout < 0 {
		return checked, &ArgumentError{Name: "RolloutOptions.Timeout", Reason: "is negative"}
	}
	if checked.IdleTimeout < 0 {
		return checked, &ArgumentError{Name: "RolloutOptions.IdleTimeout", Reason: "is negative"}
	}
	if checked.ProgressInterval < 0 {
		return checked, &ArgumentError{Name: "RolloutOptions.ProgressInterval", Reason: "is negative"}
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
	if of := checked.Checkpoint.ArtifactID; of != "" && of != release.artifact().String() {
		return checked, mismatch("a release of "+quote(of), quote(release.artifact().String()))
	}
	return checked, nil
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
