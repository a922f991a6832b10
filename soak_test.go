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

// TestSoak deploys again and again to platforms on which things go wrong at
// random, and holds what the caller is told against what the platform did:
// one build, one release an app, every byte of output once, one outcome.
//
// SOAK_RUNS is how many deploys there are (40 if it is not set) and SOAK_SEED
// the seed of the first; each further one has the next.
func TestSoak(t *testing.T) {
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
	assert.Greater(t, all.sum(), int(runs), "things do go wrong")
	t.Logf("SOAK_SEED=%d SOAK_RUNS=%d: %s", seed, runs, &all)
	for limit := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(limit) {
			var dump strings.Builder
			_ = pprof.Lookup("goroutine").WriteTo(&dump, 1)
			t.Fatalf("%d goroutines are left behind: %s", runtime.NumGoroutine()-before, &dump)
		}
	}
}

// soakSettings are the number of runs and the seed of the first.
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

// soakTally sums up what happened.
type soakTally struct {
	runs, resumed, cancelled, lostOutput, failures, bytes atomic.Int64

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
	return fmt.Sprintf("%d deploys, %d of them given up and gone on with (%d after a cancel), %d with a failing build or release, %d that said that output was lost, %d bytes of output, %d faults: %v",
		s.runs.Load(), s.resumed.Load(), s.cancelled.Load(), s.failures.Load(), s.lostOutput.Load(), s.bytes.Load(), s.sum(), s.faults)
}

// soak is one deploy.
type soak struct {
	t    *testing.T
	seed uint64
	all  *soakTally
	rand *rand.Rand

	text       string
	failBuild  bool
	failApp    string
	harsh      bool
	cancelWhen time.Duration

	mu     sync.Mutex
	output bytes.Buffer
	lost   error
	// cancelled says that the first process has cancelled its build.
	cancelled bool
}

func (s *soak) check(ok bool, format string, args ...any) {
	if !ok {
		s.t.Errorf("seed %d: "+format, append([]any{s.seed}, args...)...)
	}
}

// draw decides what is to happen.
func (s *soak) draw() {
	s.rand = rand.New(rand.NewPCG(s.seed, 7))
	s.text = buildLog(s.seed, s.rand.IntN(1<<s.rand.IntN(16)))
	switch s.rand.IntN(8) {
	case 0:
		s.failBuild = true
	case 1:
		s.failApp = "app-1"
	case 2:
		s.failApp = "app-3"
	}
	// More than the retries are made for, so that deploys are given up.
	s.harsh = s.rand.IntN(4) == 0
	if s.rand.IntN(5) == 0 {
		s.cancelWhen = time.Duration(1+s.rand.IntN(150)) * time.Millisecond
	}
}

// compile prints the log in pieces with pauses.
func (s *soak) compile(r *rand.Rand) platform.Builder {
	return platform.BuilderFunc(func(ctx context.Context, j *platform.Job) error {
		for rest := s.text; rest != ""; {
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
	rate, most := 0.35, 2
	if s.harsh {
		rate, most = 0.8, 12
	}
	p, err := platform.Start(platform.Options{
		Apps: apps, Builder: s.compile(rand.New(rand.NewPCG(s.seed, 9))), RateLimit: 1_000_000, Heartbeat: 2 * time.Millisecond,
		StatusLag: time.Duration(1+s.rand.IntN(20)) * time.Millisecond, ReleaseStreamDelay: time.Duration(1+s.rand.IntN(20)) * time.Millisecond,
		Faults: platform.RandomFaults(s.seed, rate, most),
	})
	if err != nil {
		s.check(false, "%v", err)
		return
	}
	defer func() { s.check(p.Close() == nil, "closing the platform") }()
	if s.failApp != "" {
		s.check(p.SetConfigVars(s.failApp, map[string]string{"FAIL": "1"}) == nil, "config")
	}
	// Its own, so that no connections are left.
	hc := &http.Client{Transport: &http.Transport{}}
	defer hc.CloseIdleConnections()
	client, err := herokubuild.NewClient(
		herokubuild.WithBaseURL(p.URL()), herokubuild.WithToken(p.Token()), herokubuild.WithHTTPClient(hc),
		herokubuild.WithRetry(herokubuild.RetryOptions{MaxAttempts: 4, MinWait: time.Millisecond, MaxWait: 4 * time.Millisecond, MaxRetryAfter: time.Millisecond, SettleTime: 150 * time.Millisecond}),
		herokubuild.WithPollBackoff(func(looks int) time.Duration { return min(time.Duration(looks), 10) * time.Millisecond }))
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
	if !s.outcome(err) {
		result, err = s.goOn(p, client, opts, err)
	}
	s.all.add(p.FaultsInjected())
	s.judge(p, result, err)
}

func (s *soak) deploy(client *herokubuild.Client, opts herokubuild.BuildAndReleaseOptions) (*herokubuild.DeployResult, error) {
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	if s.cancelWhen > 0 {
		stop := time.AfterFunc(s.cancelWhen, cancel)
		defer stop.Stop()
	}
	result, err := client.BuildAndRelease(ctx, opts)
	if err == nil {
		return result, nil
	}
	var failed *herokubuild.DeployError
	if !errors.As(err, &failed) {
		s.check(false, "an error of no type: %v", err)
		return nil, err
	}
	s.check(!strings.Contains(err.Error(), "Signature="), "a secret: %v", err)
	return failed.Result, err
}

// outcome tells whether an error is what the platform did, and nothing else that
// happened on the way.
func (s *soak) outcome(err error) bool {
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

// goOn is the second process, on a better day.
func (s *soak) goOn(p *platform.Platform, client *herokubuild.Client, opts herokubuild.BuildAndReleaseOptions, err error) (*herokubuild.DeployResult, error) {
	s.all.resumed.Add(1)
	s.check(s.harsh || s.cancelWhen > 0, "faults that retries are made for: %v", err)
	var failed *herokubuild.DeployError
	if !errors.As(err, &failed) {
		return nil, err
	}
	s.all.add(p.FaultsInjected())
	p.SetFaults(nil)
	s.cancelWhen = 0
	if failed.Canceled {
		s.all.cancelled.Add(1)
		s.cancelled = true
	}
	opts.Checkpoint = failed.Checkpoint
	if failed.Checkpoint.BuildID == "" {
		s.output.Reset()
	}
	s.mu.Lock()
	s.lost = nil
	s.mu.Unlock()
	result, err := s.deploy(client, opts)
	s.check(s.outcome(err), "gone on with, without faults: %v", err)
	return result, err
}

// judge compares with what the platform did.
func (s *soak) judge(p *platform.Platform, result *herokubuild.DeployResult, err error) {
	if s.t.Failed() {
		return
	}
	builds := p.Builds("app-1")
	wanted := 1
	if s.cancelled {
		s.check(builds[0].Status == "failed", "the build that was cancelled is %s", builds[0].Status)
		wanted++
	}
	s.check(len(builds) == wanted, "%d builds for %d", len(builds), wanted)
	if len(builds) == 0 || result == nil || result.Build == nil {
		s.check(false, "no build: %v", err)
		return
	}
	build := builds[len(builds)-1]
	s.check(build.ID == result.Build.ID, "another build")
	want, outErr := p.Output(build.ID)
	s.check(outErr == nil, "%v", outErr)
	got := s.output.Bytes()
	if s.lost != nil {
		s.all.lostOutput.Add(1)
		s.check(s.harsh, "the output was lost: %v", s.lost)
		want = want[:min(len(want), len(got))]
	}
	s.check(bytes.Equal(want, got), "%d bytes of output, %d were written", len(want), len(got))
	s.all.bytes.Add(int64(len(got)))

	switch {
	case s.failBuild:
		s.all.failures.Add(1)
		s.check(errors.Is(err, herokubuild.ErrBuildFailed), "a failed build: %v", err)
	case s.failApp != "":
		s.all.failures.Add(1)
		s.check(errors.Is(err, herokubuild.ErrReleaseFailed), "a failed release: %v", err)
	default:
		s.check(err == nil, "%v", err)
	}
	for i, app := range p.AppNames() {
		wanted := 1
		if s.failBuild || s.failApp == "app-1" && i > 0 {
			wanted = 0
		}
		// A second process gives an app whose release failed another.
		n := releasesOf(p, app)
		s.check(n == wanted || app == s.failApp && n == wanted+1, "%s: %d releases for %d", app, n, wanted)
		if wanted == 0 || len(result.Apps) <= i {
			continue
		}
		told := result.Apps[i]
		truth := p.Releases(app)[len(p.Releases(app))-1]
		s.check(told.Release != nil && told.Release.ID == truth.ID && string(told.Release.Status) == truth.Status, "%s: %+v for %+v", app, told, truth)
		s.check((told.Err == nil) == (truth.Status == "succeeded"), "%s: %v", app, told.Err)
	}
}
