package terminal

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/herokubuild/herokubuild"
)

// statusInterval is the interval between status lines.
const statusInterval = time.Minute

// plain reports in lines on standard error. Only the build's output is written to
// standard output.
type plain struct {
	out, w   io.Writer
	progress *progress
	// reported is the size of the upload in the last line about it.
	reported int64

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
	ticker := time.NewTicker(statusInterval)
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

// printf writes a line with a single Write.
func (t *plain) printf(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintf(t.w, format+"\n", args...)
}

func (t *plain) info(text string) { t.printf("%s", text) }

func (t *plain) section(_ herokubuild.DeployPhase, title string) { t.printf("==> %s", title) }

func (t *plain) note(text string) { t.printf("    %s", text) }

func (t *plain) warn(text string) { t.printf("    warning: %s", Line(text)) }

func (t *plain) outputShown() bool { return false }

func (t *plain) fail(text string) { t.printf("Error: %s", text) }

func (t *plain) quote(title, text string) { t.printf("\n%s\n%s\n", title, indent(text)) }

func (t *plain) output(p []byte, _ []step) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, err := t.out.Write(p)
	return err
}

func (t *plain) upload(done, total int64) {
	// Print a line for every 10 %.
	if done < t.reported {
		t.reported = 0
	}
	if done == total || done-t.reported >= total/10 {
		t.reported = done
		t.note(fmt.Sprintf("%3d %% of %s", done*100/max(total, 1), Size(total)))
	}
}

// releasing prints nothing, since no release has been created yet.
func (t *plain) releasing([]string) {}

func (t *plain) app(name, text string, _ herokubuild.Status) { t.note(name + "  " + text) }

// unhealthy prints nothing. There is a warning, too.
func (t *plain) unhealthy(string, string) {}

func (t *plain) appLine(name, line string) { t.note(name + " | " + line) }

// quiet prints nothing. The status line covers all apps.
func (t *plain) quiet(string, time.Duration) {}
