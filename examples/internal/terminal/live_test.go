package terminal

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/herokubuild/herokubuild"
)

// screen records what is written to a terminal.
type screen struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// TestLiveUploadRetry expects the bar of a retried upload to restart even if it
// was full.
func TestLiveUploadRetry(t *testing.T) {
	var s screen
	l := newLive(&s, &s, newProgress())
	l.section(herokubuild.PhaseUpload, "Uploading")
	l.upload(50, 100)
	l.upload(100, 100)
	l.upload(10, 100)
	if got := l.bar.Current(); got != 10 {
		t.Errorf("the bar is at %d of 100, want 10", got)
	}
	l.upload(100, 100)
	l.close()
	if text := s.String(); !strings.Contains(text, "100 %") {
		t.Errorf("no full bar in %q", text)
	}
}

// TestLiveApps expects the lines of the apps to show their final status.
func TestLiveApps(t *testing.T) {
	t.Setenv("NO_COLOR", "1")
	var s screen
	p := newProgress()
	l := newLive(&s, &s, p)
	l.section(herokubuild.PhaseRelease, "Releasing")
	l.releasing([]string{"one", "two", "three", "four"})
	l.app("one", "v3  pending", herokubuild.StatusPending)
	l.quiet("one", 20*time.Second)
	l.appLine("one", "migrating")
	l.app("one", "v3  succeeded", herokubuild.StatusSucceeded)
	l.app("two", "v4  failed", herokubuild.StatusFailed)
	l.app("four", "v5  succeeded", herokubuild.StatusSucceeded)
	l.unhealthy("four", "v5  failed verification")
	l.close()
	text := s.String()
	for _, want := range []string{"    one | migrating\n", "one    ✓ v3  succeeded", "two    ✗ v4  failed", "three  – not released", "four   ✗ v5  failed verification"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in %q", want, text)
		}
	}

	// With more apps than lines, only final statuses are printed.
	s.text.Reset()
	l.section(herokubuild.PhaseRelease, "Releasing")
	apps := strings.Split(strings.Repeat("app,", maxAppLines+1), ",")
	l.releasing(apps)
	l.app("app", "v3  pending", herokubuild.StatusPending)
	l.app("app", "v3  succeeded", herokubuild.StatusSucceeded)
	l.close()
	if text := s.String(); !strings.Contains(text, "    app  ✓ v3  succeeded\n") || strings.Contains(text, "pending") {
		t.Errorf("%q", text)
	}
}

// TestLiveClose closes views while they are being drawn.
func TestLiveClose(t *testing.T) {
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			var s screen
			l := newLive(&s, &s, newProgress())
			l.section(herokubuild.PhaseRelease, "Releasing")
			l.releasing(strings.Split("a,b,c,d,e,f,g,h,i,j,k,l", ","))
			l.close()
		})
	}
	wg.Wait()
}
