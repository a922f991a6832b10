package main

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/herokubuild/herokubuild"
)

// signOfLife is how often it is said that the deploy goes on.
const signOfLife = time.Minute

// plain tells in lines on standard error, and leaves standard output to the
// build.
type plain struct {
	out, w   io.Writer
	progress *progress
	// told is how much of the upload has been told.
	told int64

	mu         sync.Mutex
	stop, done chan struct{}
	closing    sync.Once
}

func newPlain(out, w io.Writer, p *progress) *plain {
	t := &plain{out: out, w: w, progress: p, stop: make(chan struct{}), done: make(chan struct{})}
	go t.tick()
	return t
}

func (t *plain) tick() {
	defer close(t.done)
	ticker := time.NewTicker(signOfLife)
	defer ticker.Stop()
	for {
		select {
		case <-t.stop:
			return
		case <-ticker.C:
			t.note("still " + t.progress.status())
		}
	}
}

func (t *plain) close() {
	t.closing.Do(func() { close(t.stop) })
	<-t.done
}

// printf writes a line. What is written at once comes out in one piece.
func (t *plain) printf(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintf(t.w, format+"\n", args...)
}

func (t *plain) say(text string) { t.printf("%s", text) }

func (t *plain) section(_ herokubuild.DeployPhase, title string) { t.printf("==> %s", title) }

func (t *plain) note(text string) { t.printf("    %s", text) }

func (t *plain) warn(text string) { t.printf("    warning: %s", line(text)) }

func (t *plain) shown() bool { return false }

func (t *plain) fail(text string) { t.printf("Error: %s", text) }

func (t *plain) quote(title, text string) { t.printf("\n%s\n%s\n", title, indent(text)) }

func (t *plain) output(p []byte, _ []step) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, err := t.out.Write(p)
	return err
}

func (t *plain) upload(done, total int64) {
	// A line every tenth is a sign of life, and not a flood.
	if done < t.told {
		t.told = 0
	}
	if done == total || done-t.told >= total/10 {
		t.told = done
		t.note(fmt.Sprintf("%3d %% of %s", done*100/max(total, 1), size(total)))
	}
}

// releasing is no line's worth: nothing has happened yet.
func (t *plain) releasing([]string) {}

func (t *plain) app(name, text string, _ herokubuild.Status) { t.note(name + "  " + text) }

func (t *plain) appLine(name, line string) { t.note(name + " | " + line) }

// quiet is told by the sign of life, for all apps in one line.
func (t *plain) quiet(string, time.Duration) {}
