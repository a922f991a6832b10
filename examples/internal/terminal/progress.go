package terminal

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	// quietAfter is how long a build has no output before the status mentions
	// it. A build is alive for aliveFor after a heartbeat.
	quietAfter = 10 * time.Second
	aliveFor   = 30 * time.Second
	// maxLine and maxStep limit the length of a line and of the name of a step,
	// and maxSteps the number of steps.
	maxLine  = 200
	maxStep  = 60
	maxSteps = 3
	// maxNamed limits the number of apps that are listed.
	maxNamed = 5
	building = "building"
	stepMark = "-----> "
)

// step is a part of a build. It starts with a line that begins with stepMark.
type step struct {
	name       string
	start, end time.Time
}

func (s step) duration() time.Duration { return s.end.Sub(s.start) }

// progress is the state of the deploy. It is safe for concurrent use, since the
// status is also printed while nothing happens.
type progress struct {
	mu    sync.Mutex
	doing string
	since time.Time
	// waiting are the apps whose releases have not ended, checking those that have and
	// are being checked.
	waiting, checking []string
	// line is the beginning of the current line of the output.
	line          []byte
	lastOutput    time.Time
	lastHeartbeat time.Time
	current       step
	steps         []step
}

func newProgress() *progress {
	now := time.Now()
	return &progress{since: now, doing: "starting"}
}

// elapsed returns the duration of the current phase so far.
func (p *progress) elapsed() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Since(p.since).Round(100 * time.Millisecond)
}

// begin starts a phase that waits for apps.
func (p *progress) begin(doing string, apps ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.doing, p.since, p.waiting, p.checking = doing, time.Now(), slices.Clone(apps), nil
	p.lastOutput, p.lastHeartbeat = p.since, time.Time{}
	p.current = step{}
}

// check notes that the release of an app has ended, and the app is checked.
func (p *progress) check(app string) {
	p.done(app)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.checking = append(p.checking, app)
}

// done notes that nothing is left to do for an app.
func (p *progress) done(app string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	isApp := func(a string) bool { return a == app }
	p.waiting, p.checking = slices.DeleteFunc(p.waiting, isApp), slices.DeleteFunc(p.checking, isApp)
}

func (p *progress) heartbeat() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lastHeartbeat = time.Now()
}

// write finds steps in the build's output and returns those that have ended.
func (p *progress) write(out []byte) (ended []step) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lastOutput = time.Now()
	for len(out) > 0 {
		line, rest, whole := bytes.Cut(out, []byte("\n"))
		p.line = append(p.line, line[:min(len(line), max(0, maxLine-len(p.line)))]...)
		if whole {
			if name, ok := strings.CutPrefix(p.text(), stepMark); ok {
				ended = append(ended, p.end()...)
				p.current = step{name: shorten(stepName(name)), start: p.lastOutput}
			}
			p.line = p.line[:0]
		}
		out = rest
	}
	return ended
}

// stepName removes the dots after the last word. Dots after anything else belong to
// an argument, such as "./...".
func stepName(text string) string {
	text = strings.TrimSpace(text)
	name := strings.TrimRight(text, ".")
	if last, _ := utf8.DecodeLastRuneInString(name); unicode.IsLetter(last) || unicode.IsDigit(last) {
		return name
	}
	return text
}

func shorten(name string) string {
	if r := []rune(name); len(r) > maxStep {
		return string(r[:maxStep-1]) + "…"
	}
	return name
}

// text returns the current line without control characters.
func (p *progress) text() string { return Line(strings.TrimRight(string(p.line), "\r")) }

// end ends the current step. Only the longest steps are kept, since their
// number is unlimited.
func (p *progress) end() []step {
	if p.current.name == "" {
		return nil
	}
	s := p.current
	s.end = time.Now()
	p.current = step{}
	p.steps = append(p.steps, s)
	slices.SortStableFunc(p.steps, func(a, b step) int { return cmp.Compare(b.duration(), a.duration()) })
	p.steps = p.steps[:min(len(p.steps), maxSteps)]
	return []step{s}
}

// longest returns the longest steps of at least a second, longest first.
func (p *progress) longest() []step {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.end()
	return slices.DeleteFunc(slices.Clone(p.steps), func(s step) bool { return s.duration() < time.Second })
}

// status returns a line with the current status.
func (p *progress) status() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	parts := []string{p.doing + " for " + seconds(now.Sub(p.since))}
	if len(p.checking) > 0 {
		parts = append(parts, "checking "+list(p.checking))
	}
	if len(p.waiting) > 0 {
		parts = append(parts, "waiting for "+list(p.waiting))
	}
	if quiet := now.Sub(p.lastOutput); quiet >= quietAfter && p.doing == building {
		text := "quiet for " + seconds(quiet)
		if now.Sub(p.lastHeartbeat) < aliveFor {
			text += ", build alive"
		}
		parts = append(parts, text)
	}
	// The name of the step comes last, since the end of the line may be cut off.
	if p.current.name != "" {
		parts = append(parts, seconds(now.Sub(p.current.start))+" of "+p.current.name)
	}
	return strings.Join(parts, " · ")
}

// list names apps, or the first of many.
func list(apps []string) string {
	if n := len(apps); n > maxNamed {
		return fmt.Sprintf("%d apps (%s, …)", n, strings.Join(apps[:maxNamed], ", "))
	}
	return strings.Join(apps, ", ")
}
