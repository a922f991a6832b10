package main

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
	"github.com/herokubuild/herokubuild/internal/clean"
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

// view passes a deploy's events and output to a reporter.
type view struct {
	reporter
	progress *progress
	s        *settings
}

// The following methods are the only ones that pass text to the reporter. They
// remove control characters. The build's output is passed on unchanged.

func (v *view) section(phase herokubuild.DeployPhase, title string) {
	v.reporter.section(phase, line(title))
}

func (v *view) info(text string) { v.reporter.info(line(text)) }

func (v *view) note(text string) { v.reporter.note(line(text)) }

func (v *view) warn(text string) { v.reporter.warn(clean.Lines(clean.Uncolored(text))) }

func (v *view) app(name, text string, status herokubuild.Status) {
	v.reporter.app(line(name), line(text), status)
}

func (v *view) appLine(name, text string) { v.reporter.appLine(line(name), line(text)) }

func (v *view) quote(title, text string) {
	v.reporter.quote(line(title), clean.Lines(clean.Uncolored(text)))
}

func (v *view) fail(text string) { v.reporter.fail(clean.Lines(clean.Uncolored(text))) }

func line(text string) string { return clean.Line(clean.Uncolored(text)) }

func newView(stdout, stderr io.Writer, s *settings) *view {
	p := newProgress()
	v := &view{progress: p, s: s}
	switch {
	case os.Getenv("GITHUB_ACTIONS") == "true" && !redirected(stdout):
		v.reporter = newActions(stdout, p)
	case terminal(stderr) && os.Getenv("TERM") != "dumb" && !s.verbose: // the debug log would be overwritten
		v.reporter = newLive(stdout, stderr, p)
	default:
		v.reporter = newPlain(stdout, stderr, p)
	}
	return v
}

func terminal(w io.Writer) bool {
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

// Write receives the build's output. It is the deploy's Output.
func (v *view) Write(p []byte) (int, error) {
	if err := v.output(p, v.progress.write(p)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// event handles an event. It is the deploy's OnEvent.
func (v *view) event(_ context.Context, e herokubuild.DeployEvent) error {
	switch e.Kind {
	case herokubuild.EventPhase:
		v.phase(e.Phase)
	case herokubuild.EventPacked:
		v.note(size(e.Total))
		v.note(e.Archive.Checksum())
	case herokubuild.EventWarning:
		v.warn(e.Line)
	case herokubuild.EventUpload:
		v.upload(e.Done, e.Total)
	case herokubuild.EventBuildCreated:
		v.note("build " + e.Build.ID)
	case herokubuild.EventHeartbeat:
		v.progress.heartbeat()
		if e.Release != nil {
			v.quiet(e.App, e.Quiet)
		}
	case herokubuild.EventOutputLost:
		v.warn(fmt.Sprintf("lost the output of %s, still waiting for the result: %v", e.App, e.Err))
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
		v.progress.done(e.App)
		v.app(e.App, fmt.Sprintf("v%d  %s", e.Release.Version, e.Release.Status), e.Release.Status)
	case herokubuild.EventVerified:
		if e.Err != nil {
			v.warn(fmt.Sprintf("%s  v%d failed verification: %v", e.App, e.Release.Version, e.Err))
		}
	case herokubuild.EventRollback:
		v.note("rolling back")
	case herokubuild.EventRolledBack:
		if e.Err != nil {
			v.warn(fmt.Sprintf("%s  not rolled back: %v", e.App, e.Err))
		} else {
			v.note(fmt.Sprintf("%s  rolled back by v%d", e.App, e.Release.Version))
		}
	case herokubuild.EventBuildCanceled:
		if e.Err != nil {
			v.warn(fmt.Sprintf("could not cancel build %s, which may still be running: %v", e.Build.ID, e.Err))
		} else {
			v.note(fmt.Sprintf("build %s canceled", e.Build.ID))
		}
	}
	return nil
}

func (v *view) phase(p herokubuild.DeployPhase) {
	apps := append([]string{v.s.app}, v.s.releaseTo...)
	switch p {
	case herokubuild.PhaseCheck:
		v.progress.begin("looking up apps")
		v.section(p, "Looking up "+strings.Join(apps, ", "))
	case herokubuild.PhasePack:
		v.progress.begin("packing")
		v.section(p, "Packing "+relativePath(v.s.dir))
	case herokubuild.PhaseUpload:
		v.progress.begin("uploading")
		v.section(p, "Uploading")
	case herokubuild.PhaseBuild:
		v.progress.begin(building)
		v.section(p, fmt.Sprintf("Building on %s (interrupt to cancel)", v.s.app))
	case herokubuild.PhaseRelease:
		v.progress.begin("releasing", apps...)
		v.section(p, "Releasing")
		v.releasing(apps)
	}
}

// reportError prints the end of the output of what failed, and the error.
func (v *view) reportError(err error) {
	var build *herokubuild.BuildError
	if errors.As(err, &build) && build.Tail != "" && !v.outputShown() {
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
	if errors.Is(err, herokubuild.ErrNoCredential) {
		v.fail("Set HEROKU_API_KEY, or run `heroku login`, which writes ~/.netrc. Without -app, no account is needed.")
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

func size(n int64) string {
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
