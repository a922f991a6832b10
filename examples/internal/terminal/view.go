// Package terminal prints what the example programs report. A [View] shows the
// progress of a deploy on a terminal, in a log file or in a GitHub workflow, and
// [Writer], [Line] and [Lines] make text from outside safe to print.
package terminal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/herokubuild/herokubuild"
)

// reporter prints the progress of a deploy: in plain lines (plain.go), on a
// terminal (live.go), or in the log of a GitHub workflow (actions.go).
type reporter interface {
	// section starts a part of the deploy.
	section(phase herokubuild.DeployPhase, title string)
	// info prints a line about the deploy as a whole, and note one about the
	// current section.
	info(text string)
	note(text string)
	warn(text string)
	upload(done, total int64)
	// output prints a piece of the build's output, with which the steps in
	// ended have ended.
	output(p []byte, ended []step) error
	// releasing announces the apps to release to, and app reports the status of
	// one.
	releasing(apps []string)
	app(name, text string, status herokubuild.Status)
	// unhealthy changes the line of an app, if there is one, whose release
	// succeeded and that failed verification.
	unhealthy(name, text string)
	appLine(name, line string)
	// quiet reports that an app's release phase is alive but has had no output
	// for some time.
	quiet(app string, quiet time.Duration)
	// outputShown reports whether the build's output was shown on the same
	// screen.
	outputShown() bool
	// quote prints the end of an output.
	quote(title, text string)
	fail(text string)
	close()
}

// Options set what a [View] shows.
type Options struct {
	// App is the app that builds, and ReleaseTo are the others that get the slug.
	App       string
	ReleaseTo []string
	// Dir is the directory that is packed.
	Dir string
	// Lines prints plain lines on a terminal, too, because a log that goes there
	// would be overwritten.
	Lines bool
	// NoStdout writes nothing to stdout, in a GitHub workflow either.
	NoStdout bool
	// Detach is set if the deploy ends when the build has begun, so that there is
	// nothing to interrupt.
	Detach bool
	// Check is set if each app is checked after its release.
	Check bool
}

// View shows the progress of a deploy. It is the deploy's Output, and its Event
// method is the deploy's OnEvent.
type View struct {
	reporter reporter
	progress *progress
	opts     Options
}

// New returns a view that writes the build's output to stdout and everything else
// to stderr; in a GitHub workflow everything to stdout, unless that is a file.
// The view must be closed.
func New(stdout, stderr io.Writer, opts Options) *View {
	p := newProgress()
	v := &View{progress: p, opts: opts}
	if opts.NoStdout {
		stdout = io.Discard
	}
	switch {
	case os.Getenv("GITHUB_ACTIONS") == "true" && !opts.NoStdout && !redirected(stdout):
		v.reporter = newActions(stdout, p)
	case isTerminal(stderr) && os.Getenv("TERM") != "dumb" && !opts.Lines:
		v.reporter = newLive(stdout, stderr, p)
	default:
		v.reporter = newPlain(stdout, stderr, p)
	}
	return v
}

// The following methods are the only ones that pass text to the reporter. They
// remove control characters. The build's output is passed on unchanged.

func (v *View) section(phase herokubuild.DeployPhase, title string) {
	v.reporter.section(phase, Line(title))
}

// Info prints a line about the deploy as a whole.
func (v *View) Info(text string) { v.reporter.info(Line(text)) }

// Warn prints a warning.
func (v *View) Warn(text string) { v.reporter.warn(Lines(text)) }

func (v *View) note(text string) { v.reporter.note(Line(text)) }

func (v *View) app(name, text string, status herokubuild.Status) {
	v.reporter.app(Line(name), Line(text), status)
}

func (v *View) appLine(name, text string) { v.reporter.appLine(Line(name), Line(text)) }

func (v *View) quote(title, text string) { v.reporter.quote(Line(title), Lines(text)) }

func (v *View) fail(text string) { v.reporter.fail(Lines(text)) }

// Close ends the display that is updated in place. What is printed later is
// printed as plain lines.
func (v *View) Close() { v.reporter.close() }

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// redirected reports whether w is a regular file.
func redirected(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode().IsRegular()
}

// Write prints a piece of the build's output.
func (v *View) Write(p []byte) (int, error) {
	if err := v.reporter.output(p, v.progress.write(p)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Event shows an event.
func (v *View) Event(_ context.Context, e herokubuild.DeployEvent) error {
	switch e.Kind {
	case herokubuild.EventPhase:
		v.phase(e.Phase)
	case herokubuild.EventPacked:
		v.note(Size(e.Total))
		v.note(e.Archive.Checksum())
	case herokubuild.EventWarning:
		v.Warn(e.Line)
	case herokubuild.EventUpload:
		v.reporter.upload(e.Done, e.Total)
	case herokubuild.EventBuildCreated:
		v.note("build " + e.Build.ID)
	case herokubuild.EventHeartbeat:
		v.progress.heartbeat()
		if e.Release != nil {
			v.reporter.quiet(e.App, e.Quiet)
		}
	case herokubuild.EventOutputLost:
		v.Warn(fmt.Sprintf("lost the output of %s, still waiting for the result: %v", e.App, e.Err))
	case herokubuild.EventBuildDone:
		v.note(fmt.Sprintf("build %s %s after %s", e.Build.ID, e.Build.Status, v.progress.elapsed()))
		for _, s := range v.progress.longest() {
			v.note(fmt.Sprintf("%8s  %s", s.duration().Round(100*time.Millisecond), s.name))
		}
	case herokubuild.EventReleaseCreated:
		v.app(e.App, fmt.Sprintf("v%d  pending", e.Release.Version), e.Release.Status)
	case herokubuild.EventReleaseOutput:
		v.appLine(e.App, e.Line)
	case herokubuild.EventReleaseDone:
		if v.opts.Check && e.Err == nil && e.Release.Current {
			v.progress.check(e.App)
		} else {
			v.progress.done(e.App)
		}
		v.app(e.App, fmt.Sprintf("v%d  %s", e.Release.Version, e.Release.Status), e.Release.Status)
	case herokubuild.EventVerified:
		v.progress.done(e.App)
		if e.Err != nil {
			v.reporter.unhealthy(Line(e.App), fmt.Sprintf("v%d  failed verification", e.Release.Version))
			v.Warn(e.Err.Error()) // it names the app
		} else {
			v.note(fmt.Sprintf("%s  v%d  verified", e.App, e.Release.Version))
		}
	case herokubuild.EventRollback:
		v.opts.Check = false // What the apps ran before is not checked.
		v.note("rolling back")
	case herokubuild.EventRolledBack:
		if e.Err != nil {
			v.Warn(e.App + "  not rolled back: " + strings.TrimPrefix(e.Err.Error(), e.App+" "))
		} else {
			v.note(fmt.Sprintf("%s  rolled back by v%d", e.App, e.Release.Version))
		}
	case herokubuild.EventProgress: // there is none without ProgressInterval
	case herokubuild.EventBuildCanceled:
		if e.Err != nil {
			v.Warn(fmt.Sprintf("could not cancel build %s, which may still be running: %v", e.Build.ID, e.Err))
		} else {
			v.note(fmt.Sprintf("build %s canceled", e.Build.ID))
		}
	}
	return nil
}

func (v *View) phase(p herokubuild.DeployPhase) {
	apps := append([]string{v.opts.App}, v.opts.ReleaseTo...)
	switch p {
	case herokubuild.PhaseCheck:
		v.progress.begin("looking up apps")
		v.section(p, "Looking up "+strings.Join(apps, ", "))
	case herokubuild.PhasePack:
		v.progress.begin("packing")
		v.section(p, "Packing "+relativePath(v.opts.Dir))
	case herokubuild.PhaseUpload:
		v.progress.begin("uploading")
		v.section(p, "Uploading")
	case herokubuild.PhaseBuild:
		v.progress.begin(building)
		title := "Building on " + v.opts.App
		if !v.opts.Detach {
			title += " (interrupt to cancel)"
		}
		v.section(p, title)
	case herokubuild.PhaseRelease:
		v.progress.begin("releasing", apps...)
		v.section(p, "Releasing")
		v.reporter.releasing(apps)
	}
}

// Fail prints the end of the output of what failed, the error, and hints about
// what to do, which may be empty.
func (v *View) Fail(err error, hints ...string) {
	var build *herokubuild.BuildError
	if errors.As(err, &build) && build.Tail != "" && !v.reporter.outputShown() {
		v.quote("The build's output ended with:", build.Tail)
	}
	var deploy *herokubuild.DeployError
	if errors.As(err, &deploy) {
		for _, r := range deploy.Result.Apps {
			var release *herokubuild.ReleaseError
			if errors.As(r.Err, &release) && release.Tail != "" {
				v.quote("The release phase of "+r.App+" ended with:", release.Tail)
			}
		}
	}
	v.fail(err.Error())
	for _, hint := range hints {
		if hint != "" {
			v.reporter.info(Line(hint))
		}
	}
}

// relativePath returns path relative to the current directory, if it is below it.
func relativePath(path string) string {
	here, err := os.Getwd()
	if err != nil {
		return path
	}
	if rel, err := filepath.Rel(here, path); err == nil && filepath.IsLocal(rel) {
		return rel
	}
	return path
}

func indent(text string) string { return "    " + strings.ReplaceAll(text, "\n", "\n    ") }

// Size formats a number of bytes.
func Size(n int64) string {
	for _, u := range []struct {
		bytes int64
		name  string
	}{{1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		if n >= u.bytes {
			return fmt.Sprintf("%.1f %s", float64(n)/float64(u.bytes), u.name)
		}
	}
	return fmt.Sprintf("%d B", n)
}

// seconds formats a duration in whole seconds, so that the display does not
// flicker.
func seconds(d time.Duration) string { return d.Truncate(time.Second).String() }
