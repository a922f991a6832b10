package herokubuild_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
	"github.com/herokubuild/herokubuild/internal/platform"
)

// The test deploys to emulators that inject random faults, and compares what the
// caller gets with what the platform did: one build, one release per app, every byte
// of output once, and the right outcome.
//
// SOAK_RUNS sets the number of deploys (40 by default) and SOAK_SEED the seed of the
// first one; each deploy uses the next seed.
func TestSoakDeploysOnceDespiteRandomFaults(t *testing.T) {
	runs, seed := soakSettings(t)
	before := runtime.NumGoroutine()
	var all soakTally
	slots := make(chan struct{}, 4*runtime.GOMAXPROCS(0))
	var wg sync.WaitGroup
	for i := range runs {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			(&soak{t: t, seed: seed + i, all: &all}).run()
		})
		if t.Failed() {
			break
		}
	}
	wg.Wait()
	assert.Greater(t, all.sum(), int(runs), "faults are injected")
	t.Logf("SOAK_SEED=%d SOAK_RUNS=%d: %s", seed, runs, &all)
	for limit := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(limit) {
			var dump strings.Builder
			_ = pprof.Lookup("goroutine").WriteTo(&dump, 1)
			t.Fatalf("%d goroutines have leaked: %s", runtime.NumGoroutine()-before, &dump)
		}
	}
}

// soakSettings returns the number of runs and the seed of the first.
func soakSettings(t *testing.T) (runs, seed uint64) {
	t.Helper()
	runs, seed = 40, 1
	for name, into := range map[string]*uint64{"SOAK_RUNS": &runs, "SOAK_SEED": &seed} {
		if text := os.Getenv(name); text != "" {
			n, err := strconv.ParseUint(text, 10, 64)
			require.NoError(t, err, name)
			*into = n
		}
	}
	return runs, seed
}

// soakTally counts what happened.
type soakTally struct {
	runs, resumed, canceled, lostOutput, failures, bytes atomic.Int64

	mu     sync.Mutex
	faults map[string]int
}

func (s *soakTally) add(faults map[string]int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.faults == nil {
		s.faults = map[string]int{}
	}
	for kind, n := range faults {
		s.faults[kind] += n
	}
}

func (s *soakTally) sum() int {
	sum := 0
	for _, n := range s.faults {
		sum += n
	}
	return sum
}

func (s *soakTally) String() string {
	return fmt.Sprintf("%d deploys, %d of them resumed (%d after a canceled build), %d with a failing build or release, %d with lost output, %d bytes of output, %d faults: %v",
		s.runs.Load(), s.resumed.Load(), s.canceled.Load(), s.failures.Load(), s.lostOutput.Load(), s.bytes.Load(), s.sum(), s.faults)
}

// soak is one deploy.
type soak struct {
	t    *testing.T
	seed uint64
	all  *soakTally
	rand *rand.Rand

	buildLog  string
	failBuild bool
	failApp   string
	// harsh means more faults than the retries can handle, so that the first call may
	// fail.
	harsh       bool
	cancelAfter time.Duration

	mu     sync.Mutex
	output bytes.Buffer
	// lost is the error of the output, if it was lost.
	lost error
	// canceled means that the first call has canceled its build.
	canceled bool
}

func (s *soak) check(ok bool, format string, args ...any) {
	if !ok {
		s.t.Errorf("seed %d: "+format, append([]any{s.seed}, args...)...)
	}
}

// draw chooses what goes wrong.
func (s *soak) draw() {
	s.rand = rand.New(rand.NewPCG(s.seed, 7))
	s.buildLog = buildLog(s.seed, s.rand.IntN(1<<s.rand.IntN(16)))
	switch s.rand.IntN(8) {
	case 0:
		s.failBuild = true
	case 1:
		s.failApp = "app-1"
	case 2:
		s.failApp = "app-3"
	}
	s.harsh = s.rand.IntN(4) == 0
	if s.rand.IntN(5) == 0 {
		s.cancelAfter = time.Duration(1+s.rand.IntN(150)) * time.Millisecond
	}
}

// compile returns a builder that prints the log in pieces with pauses.
func (s *soak) compile(r *rand.Rand) platform.Builder {
	return platform.BuilderFunc(func(ctx context.Context, j *platform.Job) error {
		for rest := s.buildLog; rest != ""; {
			n := min(1+r.IntN(1<<r.IntN(14)), len(rest))
			if _, err := j.Output.Write([]byte(rest[:n])); err != nil {
				return err
			}
			rest = rest[n:]
			select {
			case <-time.After(time.Duration(r.IntN(3)) * time.Millisecond):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if s.failBuild {
			return errors.New("exit status 1")
		}
		return nil
	})
}

func (s *soak) run() {
	s.draw()
	s.all.runs.Add(1)
	apps := []string{"app-1", "app-2", "app-3", "app-4"}
	faultRate, maxFaults := 0.35, 2
	if s.harsh {
		faultRate, maxFaults = 0.8, 12
	}
	p, err := platform.Start(platform.Options{
		Apps: apps, Builder: s.compile(rand.New(rand.NewPCG(s.seed, 9))), RateLimit: 1_000_000, Heartbeat: 2 * time.Millisecond,
		StatusLag: time.Duration(1+s.rand.IntN(20)) * time.Millisecond, ReleaseStreamDelay: time.Duration(1+s.rand.IntN(20)) * time.Millisecond,
		Faults: platform.RandomFaults(s.seed, faultRate, maxFaults),
	})
	if err != nil {
		s.check(false, "%v", err)
		return
	}
	defer func() { s.check(p.Close() == nil, "close the emulator") }()
	if s.failApp != "" {
		s.check(p.SetConfigVars(s.failApp, map[string]string{"FAIL": "1"}) == nil, "set the config vars of %s", s.failApp)
	}
	// A transport of its own can close its idle connections.
	hc := &http.Client{Transport: &http.Transport{}}
	defer hc.CloseIdleConnections()
	client, err := herokubuild.NewClient(
		herokubuild.WithBaseURL(p.URL()), herokubuild.WithToken(p.Token()), herokubuild.WithTransport(hc.Transport),
		herokubuild.WithRetry(herokubuild.RetryOptions{MaxAttempts: 4, MinWait: time.Millisecond, MaxWait: 4 * time.Millisecond, MaxRetryAfter: time.Millisecond}), herokubuild.WithSettleTime(150*time.Millisecond),
		herokubuild.WithPollBackoff(func(polls int) time.Duration { return min(time.Duration(polls), 10) * time.Millisecond }))
	if err != nil {
		s.check(false, "%v", err)
		return
	}
	archive, err := herokubuild.NewArchive(packed(s.t, file{name: "Procfile", content: "release: echo migrating; test -z \"$FAIL\"\n"}))
	if err != nil {
		s.check(false, "%v", err)
		return
	}

	opts := herokubuild.BuildAndReleaseOptions{
		BuildApp: "app-1", ReleaseTo: apps[1:], Archive: archive, IdleTimeout: 2 * time.Second,
		Output: writer(s.output.Write),
		OnEvent: func(_ context.Context, e herokubuild.DeployEvent) error {
			if e.Kind == herokubuild.EventOutputLost && e.App == "app-1" && e.Release == nil {
				s.mu.Lock()
				s.lost = e.Err
				s.mu.Unlock()
			}
			return nil
		},
	}
	result, err := s.deploy(client, opts)
	if !s.conclusive(err) {
		result, err = s.resume(p, client, opts, err)
	}
	s.all.add(p.FaultsInjected())
	s.judge(p, result, err)
}

func (s *soak) deploy(client *herokubuild.Client, opts herokubuild.BuildAndReleaseOptions) (*herokubuild.DeployResult, error) {
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	if s.cancelAfter > 0 {
		stop := time.AfterFunc(s.cancelAfter, cancel)
		defer stop.Stop()
	}
	result, err := client.BuildAndRelease(ctx, opts)
	if err == nil {
		return result, nil
	}
	var failed *herokubuild.DeployError
	if !errors.As(err, &failed) {
		s.check(false, "want a DeployError, got %T: %v", err, err)
		return nil, err
	}
	s.check(!strings.Contains(err.Error(), "Signature="), "the error contains a secret: %v", err)
	return failed.Result, err
}

// conclusive reports whether an error is the outcome of the build and its releases,
// rather than a failure to determine it.
func (s *soak) conclusive(err error) bool {
	var failed *herokubuild.DeployError
	if !errors.As(err, &failed) {
		return err == nil
	}
	for _, r := range failed.Result.Apps {
		if r.Err != nil && !errors.Is(r.Err, herokubuild.ErrReleaseFailed) && !errors.Is(r.Err, herokubuild.ErrNotAttempted) {
			return false
		}
	}
	return errors.Is(err, herokubuild.ErrBuildFailed) || errors.Is(err, herokubuild.ErrReleaseFailed)
}

// resume is the second call, without faults.
func (s *soak) resume(p *platform.Platform, client *herokubuild.Client, opts herokubuild.BuildAndReleaseOptions, err error) (*herokubuild.DeployResult, error) {
	s.all.resumed.Add(1)
	s.check(s.harsh || s.cancelAfter > 0, "the retries should have handled the faults: %v", err)
	var failed *herokubuild.DeployError
	if !errors.As(err, &failed) {
		return nil, err
	}
	s.all.add(p.FaultsInjected())
	p.SetFaults(nil)
	s.cancelAfter = 0
	if failed.Canceled {
		s.all.canceled.Add(1)
		s.canceled = true
	}
	opts.Checkpoint = failed.Checkpoint
	if failed.Checkpoint.BuildID == "" {
		s.output.Reset()
	}
	s.mu.Lock()
	s.lost = nil
	s.mu.Unlock()
	result, err := s.deploy(client, opts)
	s.check(s.conclusive(err), "resumed without faults: %v", err)
	if !s.failBuild && failed.CancelErr != nil && errors.Is(err, herokubuild.ErrBuildFailed) {
		// The cancel whose outcome was unknown has taken effect. There is nothing left
		// to resume.
		s.all.canceled.Add(1)
		s.canceled = true
		s.output.Reset()
		opts.Checkpoint = herokubuild.Checkpoint{}
		result, err = s.deploy(client, opts)
	}
	return result, err
}

// judge compares the result with what the platform did.
func (s *soak) judge(p *platform.Platform, result *herokubuild.DeployResult, err error) {
	if s.t.Failed() {
		return
	}
	builds := p.Builds("app-1")
	wanted := 1
	if s.canceled {
		s.check(builds[0].Status == "failed", "the canceled build is %s", builds[0].Status)
		wanted++
	}
	s.check(len(builds) == wanted, "%d builds, want %d", len(builds), wanted)
	if len(builds) == 0 || result == nil || result.Build == nil {
		s.check(false, "the result has no build: %v", err)
		return
	}
	build := builds[len(builds)-1]
	s.check(build.ID == result.Build.ID, "the result has build %s, want %s", result.Build.ID, build.ID)
	want, outErr := p.Output(build.ID)
	s.check(outErr == nil, "%v", outErr)
	got := s.output.Bytes()
	if s.lost != nil {
		s.all.lostOutput.Add(1)
		s.check(s.harsh, "the output was lost without harsh faults: %v", s.lost)
		want = want[:min(len(want), len(got))]
	}
	s.check(bytes.Equal(want, got), "the output differs: %d bytes, want %d", len(got), len(want))
	s.all.bytes.Add(int64(len(got)))

	switch {
	case s.failBuild:
		s.all.failures.Add(1)
		s.check(errors.Is(err, herokubuild.ErrBuildFailed), "want a failed build, got: %v", err)
	case s.failApp != "":
		s.all.failures.Add(1)
		s.check(errors.Is(err, herokubuild.ErrReleaseFailed), "want a failed release, got: %v", err)
	default:
		s.check(err == nil, "%v", err)
	}
	for i, app := range p.AppNames() {
		wanted := 1
		if s.failBuild || s.failApp == "app-1" && i > 0 {
			wanted = 0
		}
		// The second call releases again to an app whose release failed.
		n := releasesOf(p, app)
		s.check(n == wanted || app == s.failApp && n == wanted+1, "%s: %d releases, want %d", app, n, wanted)
		if wanted == 0 || len(result.Apps) <= i {
			continue
		}
		got := result.Apps[i]
		want := p.Releases(app)[len(p.Releases(app))-1]
		s.check(got.Release != nil && got.Release.ID == want.ID && string(got.Release.Status) == want.Status, "%s: result %+v, want release %+v", app, got, want)
		s.check((got.Err == nil) == (want.Status == "succeeded"), "%s: release %s, error: %v", app, want.Status, got.Err)
	}
}
