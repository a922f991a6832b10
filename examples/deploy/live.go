package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/herokubuild/herokubuild"
)

const (
	// maxHeld bounds how much of a line without an end is held back.
	maxHeld = 64 << 10
	// mostLines is how many apps have a line of their own.
	mostLines = 12
	waiting   = "… waiting"
)

// live tells on a terminal. Below the lines, it draws what changes in place: a
// line of status, a bar for the upload, a line for each app. What it draws for
// one phase ends before the next begins.
type live struct {
	// out is nil if the build's output is for the same terminal: it is then
	// written above what is drawn.
	out      io.Writer
	w        io.Writer
	color    bool
	progress *progress

	p    *mpb.Progress
	bar  *mpb.Bar
	held []byte

	mu   sync.Mutex
	apps []*appLine
}

// appLine is how far one app is.
type appLine struct {
	name, text, quiet string
	// since is when it began to be waited for; zero before and after.
	since time.Time
	bar   *mpb.Bar
}

func (a *appLine) set(text string, pending bool) {
	a.text, a.quiet = text, ""
	switch {
	case !pending:
		a.since = time.Time{}
	case a.since.IsZero():
		a.since = time.Now()
	}
}

func (a *appLine) String() string {
	if a.since.IsZero() {
		return a.text
	}
	return a.text + " for " + seconds(time.Since(a.since)) + a.quiet
}

func newLive(stdout, stderr io.Writer, p *progress) *live {
	l := &live{out: stdout, w: stderr, color: os.Getenv("NO_COLOR") == "" && styled(stderr), progress: p}
	if terminal(stdout) {
		l.out = nil
	}
	return l
}

func (l *live) section(phase herokubuild.DeployPhase, title string) {
	l.close()
	fmt.Fprintln(l.w, l.paint("1", "==> "+title))
	l.p = mpb.New(mpb.WithOutput(l.w), mpb.WithWidth(40), mpb.WithAutoRefresh())
	if phase != herokubuild.PhaseUpload && phase != herokubuild.PhaseRelease {
		l.bar = l.line(l.progress.status)
	}
}

// line draws what text returns, anew several times a second.
func (l *live) line(text func() string) *mpb.Bar {
	return l.p.New(1, mpb.NopStyle(), mpb.BarFillerTrim(),
		mpb.PrependDecorators(decor.Any(func(decor.Statistics) string { return "    " + text() })))
}

// close ends what is drawn: apps and bars are left as they are, the line of
// status goes.
func (l *live) close() {
	if l.p == nil {
		return
	}
	l.flush()
	if l.bar != nil {
		// A whole bar has ended by itself.
		l.bar.Abort(true)
	}
	l.mu.Lock()
	apps := slices.Clone(l.apps)
	for _, a := range apps {
		if a.text == waiting {
			a.text = "– not released"
		}
	}
	l.mu.Unlock()
	// Not under the lock, which what is drawn takes.
	for _, a := range apps {
		a.bar.Abort(false)
	}
	l.p.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.p, l.bar, l.apps = nil, nil, nil
}

// above writes whole lines above what is drawn.
func (l *live) above(lines []byte) {
	if l.p == nil {
		_, _ = l.w.Write(lines)
		return
	}
	// Keys that were pressed, such as ^C, have moved the cursor.
	_, _ = l.p.Write(append([]byte("\r"), lines...))
}

// flush ends the line that the build has left open.
func (l *live) flush() {
	if len(l.held) > 0 {
		l.above(append(l.held, '\n'))
		l.held = nil
	}
}

func (l *live) say(text string) {
	l.flush()
	l.above([]byte(text + "\n"))
}

func (l *live) note(text string) { l.say("    " + text) }

func (l *live) warn(text string) { l.note(l.paint("33", "warning:") + " " + line(text)) }

func (l *live) appLine(name, line string) {
	l.quiet(name, 0)
	l.note(name + " | " + line)
}

func (l *live) output(p []byte, ended []step) error {
	if l.out != nil {
		for _, s := range ended {
			l.note(fmt.Sprintf("%s  %s", s.name, seconds(s.took())))
		}
		_, err := l.out.Write(p)
		return err
	}
	l.held = append(l.held, p...)
	// Half a line would be drawn over.
	end := bytes.LastIndexByte(l.held, '\n') + 1
	if end == 0 && len(l.held) > maxHeld {
		l.held = append(l.held, '\n')
		end = len(l.held)
	}
	if end > 0 {
		l.above(l.held[:end])
		l.held = append(l.held[:0], l.held[end:]...)
	}
	return nil
}

func (l *live) upload(done, total int64) {
	if l.bar != nil && done < l.bar.Current() {
		// It is sent again, and a bar that is full would stay so.
		l.bar.Abort(true)
		l.bar = nil
	}
	if l.bar == nil {
		l.bar = l.p.New(total, mpb.BarStyle(),
			mpb.PrependDecorators(decor.Name("   ")), // and a space of the bar's own
			mpb.AppendDecorators(decor.Percentage(), decor.Any(uploaded(time.Now()))))
	}
	l.bar.SetCurrent(done)
}

// uploaded says how much is uploaded, and how fast that went since start.
func uploaded(start time.Time) func(decor.Statistics) string {
	var took time.Duration
	return func(s decor.Statistics) string {
		if took == 0 || !s.Completed {
			took = time.Since(start)
		}
		speed := float64(s.Current) / max(took.Seconds(), 0.001)
		return fmt.Sprintf("  %s / %s  %s/s", size(s.Current), size(s.Total), size(int64(speed)))
	}
}

func (l *live) releasing(apps []string) {
	if len(apps) > mostLines {
		// They would not fit on the screen: each is told when it has ended.
		l.bar = l.line(l.progress.status)
		return
	}
	for _, app := range apps {
		l.draw(app)
	}
}

func (l *live) app(name, text string, status herokubuild.Status) {
	switch {
	case status == herokubuild.StatusSucceeded:
		text = l.paint("32", "✓") + " " + text
	case status.Final():
		text = l.paint("31", "✗") + " " + text
	default:
		text = "… " + text
	}
	known := l.update(name, func(a *appLine) { a.set(text, status == herokubuild.StatusPending) })
	if !known && status.Final() {
		l.note(name + "  " + text)
	}
}

// draw begins the line of an app.
func (l *live) draw(name string) {
	// Not under the lock: to draw a new line, the drawing must be able to end.
	a := &appLine{name: name, text: waiting}
	a.bar = l.line(func() string {
		l.mu.Lock()
		defer l.mu.Unlock()
		width := 0
		for _, other := range l.apps {
			width = max(width, len(other.name))
		}
		return fmt.Sprintf("%-*s  %s", width, a.name, a)
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.apps = append(l.apps, a)
}

// update changes the line of an app, if it has one.
func (l *live) update(app string, change func(*appLine)) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.apps {
		if a.name == app {
			change(a)
			return true
		}
	}
	return false
}

func (l *live) quiet(app string, quiet time.Duration) {
	text := ""
	if quiet > 0 {
		text = ", quiet for " + seconds(quiet) + ", alive"
	}
	l.update(app, func(a *appLine) { a.quiet = text })
}

func (l *live) shown() bool { return l.out == nil }

func (l *live) quote(title, text string) { fmt.Fprintf(l.w, "\n%s\n%s\n\n", title, indent(text)) }

func (l *live) fail(text string) { fmt.Fprintln(l.w, l.paint("31", "Error:")+" "+text) }

func (l *live) paint(code, text string) string {
	if !l.color {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}
