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

// teller is a way to tell what happens: line by line (plain.go), on a terminal
// (live.go), or in the log of a GitHub workflow (actions.go).
type teller interface {
	// section begins a part of the deploy.
	section(phase herokubuild.DeployPhase, title string)
	// say is for what is not of a part, note for what is.
	say(text string)
	note(text string)
	warn(text string)
	upload(done, total int64)
	// output takes a piece of the build's output; ended are the steps that it
	// brought to their end.
	output(p []byte, ended []step) error
	// releasing names the apps that are going to be released to, app says how
	// far one of them is.
	releasing(apps []string)
	app(name, text string, status herokubuild.Status)
	appLine(name, line string)
	// quiet says that an app's release phase is alive and has printed nothing
	// for some time.
	quiet(app string, quiet time.Duration)
	// shown says that the build's output has just been on the same screen.
	shown() bool
	// quote shows what the platform's programs said last.
	quote(title, text string)
	fail(text string)
	close()
}

// view makes of a deploy's events and output what a teller tells.
type view struct {
	teller
	progress *progress
	s        *settings
}

// What follows is the one place where text reaches a teller: nothing in it is to
// steer a terminal. The build's own output is passed on as it is.

func (v *view) section(phase herokubuild.DeployPhase, title string) {
	v.teller.section(phase, line(title))
}

func (v *view) say(text string) { v.teller.say(line(text)) }

func (v *view) note(text string) { v.teller.note(line(text)) }

func (v *view) warn(text string) { v.teller.warn(clean.Lines(clean.Uncolored(text))) }

func (v *view) app(name, text string, status herokubuild.Status) {
	v.teller.app(line(name), line(text), status)
}

func (v *view) appLine(name, text string) { v.teller.appLine(line(name), line(text)) }

func (v *view) quote(title, text string) {
	v.teller.quote(line(title), clean.Lines(clean.Uncolored(text)))
}

func (v *view) fail(text string) { v.teller.fail(clean.Lines(clean.Uncolored(text))) }

func line(text string) string { return clean.Line(clean.Uncolored(text)) }

func newView(stdout, stderr io.Writer, s *settings) *view {
	p := newProgress()
	v := &view{progress: p, s: s}
	switch {
	case os.Getenv("GITHUB_ACTIONS") == "true" && !redirected(stdout):
		v.teller = newActions(stdout, p)
	case terminal(stderr) && os.Getenv("TERM") != "dumb" && !s.verbose: // the debug log would be drawn over
		v.teller = newLive(stdout, stderr, p)
	default:
		v.teller = newPlain(stdout, stderr, p)
	}
	return v
}

func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// redirected says whether what is written to w ends in a file.
func redirected(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode().IsRegular()
}

// Write takes the build's output: it is the deploy's Output.
func (v *view) Write(p []byte) (int, error) {
	if err := v.output(p, v.progress.write(p)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// event is the deploy's OnEvent.
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
		v.progress.beat()
		if e.Release != nil {
			v.quiet(e.App, e.Quiet)
		}
	case herokubuild.EventOutputLost:
		v.warn(fmt.Sprintf("the output of %s is lost, waiting for the outcome: %v", e.App, e.Err))
	case herokubuild.EventBuildDone:
		v.note(fmt.Sprintf("build %s %s after %s", e.Build.ID, e.Build.Status, v.progress.elapsed()))
		for _, s := range v.progress.longest() {
			v.note(fmt.Sprintf("%8s  %s", s.took().Round(100*time.Millisecond), s.name))
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
			v.warn(fmt.Sprintf("%s  v%d is not well: %v", e.App, e.Release.Version, e.Err))
		}
	case herokubuild.EventRollback:
		v.note("rolling back")
	case herokubuild.EventRolledBack:
		if e.Err != nil {
			v.warn(fmt.Sprintf("%s  is not rolled back: %v", e.App, e.Err))
		} else {
			v.note(fmt.Sprintf("%s  rolled back by v%d", e.App, e.Release.Version))
		}
	case herokubuild.EventBuildCanceled:
		if e.Err != nil {
			v.warn(fmt.Sprintf("build %s may still be running: canceling it: %v", e.Build.ID, e.Err))
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
		v.section(p, "Packing "+near(v.s.dir))
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

// explain says what failed, where, and with which last words.
func (v *view) explain(err error) {
	var build *herokubuild.BuildError
	if errors.As(err, &build) && build.Tail != "" && !v.shown() {
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
	v.fail(strings.TrimPrefix(err.Error(), "herokubuild: "))
	if errors.Is(err, herokubuild.ErrNoCredential) {
		v.fail("Set HEROKU_API_KEY, or run `heroku login`, which writes ~/.netrc. Without -app, no account is needed.")
	}
}

// near is a path as seen from the current directory, if it is below that.
func near(path string) string {
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

// seconds is how long, to the second: what changes in place should not flicker.
func seconds(d time.Duration) string { return d.Truncate(time.Second).String() }
