package terminal

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
	// maxPartial limits how much of an incomplete line is buffered.
	maxPartial = 64 << 10
	// maxAppLines is the maximum number of apps with a line each.
	maxAppLines = 12
	waiting     = "… waiting"
)

// live reports on a terminal. Below the printed lines is an area that is
// updated in place: a status line, a progress bar for the upload, or a line for
// each app. Each phase has its own area.
type live struct {
	// out is nil if the build's output goes to the same terminal. It is then
	// printed above the area.
	out      io.Writer
	w        io.Writer
	color    bool
	progress *progress

	p   *mpb.Progress
	bar *mpb.Bar
	// partial is an incomplete line of the build's output.
	partial []byte

	mu   sync.Mutex
	apps []*appLine
}

// appLine is the line of an app.
type appLine struct {
	name, text, quiet string
	// since is when the release became pending; zero if it is not pending.
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
	if isTerminal(stdout) {
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

// line adds a line with the result of text, which is updated several times a
// second.
func (l *live) line(text func() string) *mpb.Bar {
	return l.p.New(1, mpb.NopStyle(), mpb.BarFillerTrim(),
		mpb.PrependDecorators(decor.Any(func(decor.Statistics) string { return "    " + text() })))
}

// close ends the area. Lines of apps and bars stay, and the status line is
// removed.
func (l *live) close() {
	if l.p == nil {
		return
	}
	l.flush()
	if l.bar != nil {
		// This does nothing if the bar is full.
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
	// The lock is not held, because drawing takes it.
	for _, a := range apps {
		a.bar.Abort(false)
	}
	l.p.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.p, l.bar, l.apps = nil, nil, nil
}

// above prints complete lines above the area.
func (l *live) above(lines []byte) {
	if l.p == nil {
		_, _ = l.w.Write(lines)
		return
	}
	// The echo of pressed keys, such as ^C, has moved the cursor.
	_, _ = l.p.Write(append([]byte("\r"), lines...))
}

// flush prints an incomplete line of the build's output.
func (l *live) flush() {
	if len(l.partial) > 0 {
		l.above(append(l.partial, '\n'))
		l.partial = nil
	}
}

func (l *live) info(text string) {
	l.flush()
	l.above([]byte(text + "\n"))
}

func (l *live) note(text string) { l.info("    " + text) }

func (l *live) warn(text string) { l.note(l.paint("33", "warning:") + " " + Line(text)) }

func (l *live) appLine(name, line string) {
	l.quiet(name, 0)
	l.note(name + " | " + line)
}

func (l *live) output(p []byte, ended []step) error {
	if l.out != nil {
		for _, s := range ended {
			l.note(fmt.Sprintf("%s  %s", s.name, seconds(s.duration())))
		}
		_, err := l.out.Write(p)
		return err
	}
	l.partial = append(l.partial, p...)
	// Print only complete lines; others would be overwritten.
	end := bytes.LastIndexByte(l.partial, '\n') + 1
	if end == 0 && len(l.partial) > maxPartial {
		l.partial = append(l.partial, '\n')
		end = len(l.partial)
	}
	if end > 0 {
		l.above(l.partial[:end])
		l.partial = append(l.partial[:0], l.partial[end:]...)
	}
	return nil
}

func (l *live) upload(done, total int64) {
	if l.bar != nil && done < l.bar.Current() {
		// The upload is retried. A full bar cannot be reset, so replace it.
		l.bar.Abort(true)
		l.bar = nil
	}
	if l.bar == nil {
		l.bar = l.p.New(total, mpb.BarStyle(),
			mpb.PrependDecorators(decor.Name("   ")), // the bar adds another space
			mpb.AppendDecorators(decor.Percentage(), decor.Any(uploaded(time.Now()))))
	}
	l.bar.SetCurrent(done)
}

// uploaded returns a decorator with the uploaded size and the average speed since
// start.
func uploaded(start time.Time) func(decor.Statistics) string {
	var took time.Duration
	return func(s decor.Statistics) string {
		if took == 0 || !s.Completed {
			took = time.Since(start)
		}
		speed := float64(s.Current) / max(took.Seconds(), 0.001)
		return fmt.Sprintf("  %s / %s  %s/s", Size(s.Current), Size(s.Total), Size(int64(speed)))
	}
}

func (l *live) releasing(apps []string) {
	if len(apps) > maxAppLines {
		// The lines might not fit on the screen. Print a line when an app is
		// done.
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

func (l *live) unhealthy(name, text string) {
	l.update(name, func(a *appLine) { a.set(l.paint("31", "✗")+" "+text, false) })
}

// draw adds the line of an app.
func (l *live) draw(name string) {
	// The lock is not held, because adding a line waits for drawing to finish.
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

// update changes the line of an app. It returns false if there is none.
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

func (l *live) outputShown() bool { return l.out == nil }

func (l *live) quote(title, text string) { fmt.Fprintf(l.w, "\n%s\n%s\n\n", title, indent(text)) }

func (l *live) fail(text string) { fmt.Fprintln(l.w, l.paint("31", "Error:")+" "+text) }

func (l *live) paint(code, text string) string {
	if !l.color {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}
