package main

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// quietAfter is how long a build says nothing before that is worth a word;
	// a heartbeat says for aliveFor that it goes on.
	quietAfter = 10 * time.Second
	aliveFor   = 30 * time.Second
	// maxLine and maxStep bound what is kept of a line and of a step's name,
	// longestSteps how many steps are.
	maxLine      = 200
	maxStep      = 60
	longestSteps = 3
	// mostWaiting bounds how many apps are named.
	mostWaiting = 5
	building    = "building"
	stepMark    = "-----> "
)

// step is a part of a build: what a line with an arrow begins.
type step struct {
	name       string
	start, end time.Time
}

func (s step) took() time.Duration { return s.end.Sub(s.start) }

// progress is how far the deploy is. It is read while it is written: the status
// is told when nothing happens, too.
type progress struct {
	mu      sync.Mutex
	doing   string
	since   time.Time
	waiting []string
	// line is the beginning of the output's current line.
	line    []byte
	spoke   time.Time
	alive   time.Time
	current step
	steps   []step
}

func newProgress() *progress {
	now := time.Now()
	return &progress{since: now, doing: "starting"}
}

// elapsed is how long the current phase takes.
func (p *progress) elapsed() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Since(p.since).Round(100 * time.Millisecond)
}

// begin begins a phase, in which apps are waited for.
func (p *progress) begin(doing string, apps ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.doing, p.since, p.waiting = doing, time.Now(), slices.Clone(apps)
	p.spoke, p.alive = p.since, time.Time{}
	p.current = step{}
}

// done takes an app off those that are waited for.
func (p *progress) done(app string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting = slices.DeleteFunc(p.waiting, func(a string) bool { return a == app })
}

func (p *progress) beat() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.alive = time.Now()
}

// write looks for steps in the build's output, and returns those that ended.
func (p *progress) write(out []byte) (ended []step) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.spoke = time.Now()
	for len(out) > 0 {
		line, rest, whole := bytes.Cut(out, []byte("\n"))
		p.line = append(p.line, line[:min(len(line), max(0, maxLine-len(p.line)))]...)
		if whole {
			if name, ok := strings.CutPrefix(p.text(), stepMark); ok {
				ended = append(ended, p.end()...)
				p.current = step{name: shorten(strings.TrimRight(name, ". ")), start: p.spoke}
			}
			p.line = p.line[:0]
		}
		out = rest
	}
	return ended
}

func shorten(name string) string {
	if r := []rune(name); len(r) > maxStep {
		return string(r[:maxStep-1]) + "…"
	}
	return name
}

// text is the current line without what would move a cursor.
func (p *progress) text() string { return line(strings.TrimRight(string(p.line), "\r")) }

// end ends the current step. Only the longest are kept: a build may have any
// number.
func (p *progress) end() []step {
	if p.current.name == "" {
		return nil
	}
	s := p.current
	s.end = time.Now()
	p.current = step{}
	p.steps = append(p.steps, s)
	slices.SortStableFunc(p.steps, func(a, b step) int { return cmp.Compare(b.took(), a.took()) })
	p.steps = p.steps[:min(len(p.steps), longestSteps)]
	return []step{s}
}

// longest are the longest of the steps that took a second or more, longest
// first.
func (p *progress) longest() []step {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.end()
	return slices.DeleteFunc(slices.Clone(p.steps), func(s step) bool { return s.took() < time.Second })
}

// status is what goes on, in a line.
func (p *progress) status() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	parts := []string{p.doing + " for " + seconds(now.Sub(p.since))}
	if len(p.waiting) > 0 {
		text := "waiting for " + strings.Join(p.waiting, ", ")
		if n := len(p.waiting); n > mostWaiting {
			text = fmt.Sprintf("waiting for %d apps (%s, …)", n, strings.Join(p.waiting[:mostWaiting], ", "))
		}
		parts = append(parts, text)
	}
	if quiet := now.Sub(p.spoke); quiet >= quietAfter && p.doing == building {
		text := "quiet for " + seconds(quiet)
		if now.Sub(p.alive) < aliveFor {
			text += ", build alive"
		}
		parts = append(parts, text)
	}
	// What the build calls a step may be cut off at the end of the line.
	if p.current.name != "" {
		parts = append(parts, seconds(now.Sub(p.current.start))+" of "+p.current.name)
	}
	return strings.Join(parts, " · ")
}
