package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"github.com/herokubuild/herokubuild"
)

// view tells on standard error what happens: in lines, and on a terminal with a
// bar for the upload and a line for each app that changes in place.
type view struct {
	w     io.Writer
	s     *settings
	start time.Time
	// live is nil where there is no terminal to draw on.
	live *live
	// told is how much of the upload has been told in lines.
	told int64
}

func newView(w io.Writer, s *settings) *view {
	v := &view{w: w, s: s, start: time.Now()}
	// The debug log would be drawn over.
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb" && !s.verbose {
		v.live = &live{w: w, color: os.Getenv("NO_COLOR") == ""}
	}
	return v
}

func (v *view) close() {
	if v.live != nil {
		v.live.end()
	}
}

// event is the deploy's OnEvent.
func (v *view) event(_ context.Context, e herokubuild.Event) error {
	switch e.Kind {
	case herokubuild.EventPhase:
		v.phase(e.Phase)
	case herokubuild.EventPacked:
		v.say("    %s, %s", size(e.Total), e.Archive.Checksum())
	case herokubuild.EventWarning:
		v.say("    warning: %s", e.Line)
	case herokubuild.EventUpload:
		v.upload(e.Done, e.Total)
	case herokubuild.EventBuildCreated:
		v.say("    build %s", e.Build.ID)
	case herokubuild.EventOutputLost:
		v.say("    the output of %s is lost, waiting for the outcome: %v", e.App, e.Err)
	case herokubuild.EventBuildDone:
		v.say("    build %s %s after %s", e.Build.ID, e.Build.Status, v.elapsed())
	case herokubuild.EventReleaseCreated:
		v.app(e, "pending")
	case herokubuild.EventReleaseOutput:
		v.line(e)
	case herokubuild.EventReleaseDone:
		v.app(e, string(e.Release.Status))
	case herokubuild.EventVerified:
		if e.Err != nil {
			v.say("    %s  v%d is not well: %v", e.App, e.Release.Version, e.Err)
		}
	case herokubuild.EventRolledBack:
		if e.Err != nil {
			v.say("    %s  is not rolled back: %v", e.App, e.Err)
		} else {
			v.say("    %s  rolled back by v%d", e.App, e.Release.Version)
		}
	case herokubuild.EventBuildCanceled:
		if e.Err != nil {
			v.say("    build %s may still be running: cancelling it: %v", e.Build.ID, e.Err)
		} else {
			v.say("    build %s cancelled", e.Build.ID)
		}
	}
	return nil
}

func (v *view) say(format string, args ...any) { fmt.Fprintf(v.w, format+"\n", args...) }

func (v *view) elapsed() time.Duration { return time.Since(v.start).Round(100 * time.Millisecond) }

func (v *view) phase(p herokubuild.Phase) {
	if v.live != nil {
		v.live.end()
	}
	switch p {
	case herokubuild.PhaseCheck:
		v.say("==> Looking up %s", strings.Join(append([]string{v.s.app}, v.s.releaseTo...), ", "))
	case herokubuild.PhasePack:
		v.say("==> Packing %s", v.s.dir)
	case herokubuild.PhaseUpload:
		v.say("==> Uploading")
	case herokubuild.PhaseBuild:
		v.say("==> Building on %s (interrupt to cancel)", v.s.app)
	case herokubuild.PhaseRelease:
		v.say("==> Releasing")
		if v.live != nil {
			v.live.apps(append([]string{v.s.app}, v.s.releaseTo...))
		}
	}
}

func (v *view) upload(done, total int64) {
	if v.live != nil {
		v.live.upload(done, total)
		return
	}
	// A line every tenth is a sign of life, and not a flood.
	if done < v.told {
		v.told = 0
	}
	if done == total || done-v.told >= total/10 {
		v.told = done
		v.say("    %3d %% of %s", done*100/total, size(total))
	}
}

func (v *view) app(e herokubuild.Event, status string) {
	text := fmt.Sprintf("v%d  %s", e.Release.Version, status)
	if v.live != nil {
		v.live.set(e.App, text, e.Release.Status, e.Err)
		return
	}
	v.say("    %s  %s", e.App, text)
}

func (v *view) line(e herokubuild.Event) {
	text := fmt.Sprintf("    %s | %s", e.App, e.Line)
	if v.live != nil {
		v.live.above(text)
		return
	}
	v.say("%s", text)
}

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

// live draws on a terminal. What it draws for one phase ends before the next
// begins, so that the build's output has the screen to itself.
type live struct {
	w     io.Writer
	color bool
	p     *mpb.Progress
	bar   *mpb.Bar

	mu    sync.Mutex
	lines map[string]string
	bars  map[string]*mpb.Bar
}

func (l *live) begin() {
	if l.p == nil {
		l.p = mpb.New(mpb.WithOutput(l.w), mpb.WithWidth(40), mpb.WithAutoRefresh())
	}
}

func (l *live) end() {
	if l.p == nil {
		return
	}
	if l.bar != nil {
		l.bar.Abort(false)
	}
	for _, b := range l.bars {
		b.Abort(false)
	}
	l.p.Wait()
	l.p, l.bar, l.bars = nil, nil, nil
}

func (l *live) upload(done, total int64) {
	if l.bar == nil {
		l.begin()
		l.bar = l.p.New(total, mpb.BarStyle(),
			mpb.PrependDecorators(decor.Name("    ")),
			mpb.AppendDecorators(decor.Percentage(), decor.CountersKibiByte("  % .1f / % .1f")))
	}
	l.bar.SetCurrent(done)
}

func (l *live) apps(names []string) {
	l.begin()
	l.lines, l.bars = map[string]string{}, map[string]*mpb.Bar{}
	width := 0
	for _, name := range names {
		width = max(width, len(name))
	}
	for _, name := range names {
		l.lines[name] = "waiting"
		l.bars[name] = l.p.New(1, mpb.NopStyle(), mpb.PrependDecorators(decor.Any(func(decor.Statistics) string {
			l.mu.Lock()
			defer l.mu.Unlock()
			return fmt.Sprintf("    %-*s  %s", width, name, l.lines[name])
		})))
	}
}

func (l *live) set(app, text string, status herokubuild.Status, err error) {
	switch {
	case status == herokubuild.StatusSucceeded:
		text = l.paint("32", "✓") + " " + text
	case err != nil || status.Final():
		text = l.paint("31", "✗") + " " + text
	default:
		text = "… " + text
	}
	l.mu.Lock()
	l.lines[app] = text
	l.mu.Unlock()
	if status.Final() && l.bars[app] != nil {
		l.bars[app].SetCurrent(1)
	}
}

func (l *live) above(text string) {
	if l.p != nil {
		_, _ = fmt.Fprintln(l.p, text)
	}
}

func (l *live) paint(code, text string) string {
	if !l.color {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}
