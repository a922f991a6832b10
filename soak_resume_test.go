package herokubuild_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/herokubuild/herokubuild"
	"github.com/herokubuild/herokubuild/internal/platform"
)

// The test resumes deploys and rollouts several times. Processes are killed at random
// events while their requests are in progress, detach, are canceled, or fail and roll
// back; the next one starts at once, from the newest checkpoint or an older one. In
// between, other people release, roll back and rename apps, and clocks are wrong.
// The outcomes of each call are compared with the platform's history.
//
// SOAK_RUNS and SOAK_SEED are as for TestSoakDeploysOnceDespiteRandomFaults.
func TestSoakResumedCallsMatchPlatformHistory(t *testing.T) {
	runs, seed := soakSettings(t)
	var all resumeTally
	slots := make(chan struct{}, 12)
	var wg sync.WaitGroup
	for i := range runs {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			newResumeSoak(t, seed+i, &all).run()
		})
		if t.Failed() {
			break
		}
	}
	wg.Wait()
	assert.Positive(t, all.killed.Load())
	assert.Positive(t, all.rolledBack.Load())
	t.Logf("SOAK_SEED=%d SOAK_RUNS=%d: %s", seed, runs, &all)
}

type resumeTally struct {
	runs, calls, killed, stale, detached, canceled, failed, others, renamed, rolledBack, superseded, releases atomic.Int64
}

func (r *resumeTally) String() string {
	return fmt.Sprintf("%d runs, %d calls: %d killed, %d resumed from an older checkpoint, %d detached, %d canceled, %d failed; %d actions of others, %d renamed apps; %d rolled back and %d superseded outcomes; %d releases",
		r.runs.Load(), r.calls.Load(), r.killed.Load(), r.stale.Load(), r.detached.Load(), r.canceled.Load(), r.failed.Load(),
		r.others.Load(), r.renamed.Load(), r.rolledBack.Load(), r.superseded.Load(), r.releases.Load())
}

const (
	resumeSettle   = 1500 * time.Millisecond
	resumeInFlight = 300 * time.Millisecond
)

// resumeSoak is one deploy or rollout, in several calls.
type resumeSoak struct {
	t    *testing.T
	seed uint64
	all  *resumeTally

	mu   sync.Mutex
	rand *rand.Rand

	p       *platform.Platform
	others  *herokubuild.Client
	apps    []string
	ids     map[string]string
	archive *herokubuild.Archive
	// slug is set for a rollout without a build.
	slug    string
	oldSlug string
	policy  herokubuild.RolloutPolicy
	// unhealthy are the apps whose Verify fails.
	unhealthy map[string]bool
	// sameTime gives everything the same time of creation; skew is how far the
	// platform's clock is ahead.
	sameTime bool
	skew     time.Duration
	// checkpoints are from all events so far.
	checkpoints []herokubuild.Checkpoint
	log         []string
}

func newResumeSoak(t *testing.T, seed uint64, all *resumeTally) *resumeSoak {
	return &resumeSoak{t: t, seed: seed, all: all, rand: rand.New(rand.NewPCG(seed, 77)), ids: map[string]string{}, unhealthy: map[string]bool{}}
}

func (s *resumeSoak) intN(n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rand.IntN(n)
}

// did records an action, which is printed if a check fails.
func (s *resumeSoak) did(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = append(s.log, fmt.Sprintf(format, args...))
}

func (s *resumeSoak) check(ok bool, format string, args ...any) {
	if ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.t.Errorf("seed %d: %s\n%s", s.seed, fmt.Sprintf(format, args...), strings.Join(s.log, "\n"))
}

func (s *resumeSoak) must(err error) bool {
	s.check(err == nil, "%v", err)
	return err == nil
}

func (s *resumeSoak) run() {
	s.all.runs.Add(1)
	p, err := platform.Start(platform.Options{
		Apps: []string{"build-app", "app-1", "app-2", "app-3"}, Builder: printing("compiled\n"), RateLimit: 1_000_000,
		StatusLag: time.Millisecond, ReleaseStreamDelay: time.Millisecond,
	})
	if !s.must(err) {
		return
	}
	s.p = p
	defer func() { s.must(p.Close()) }()
	s.apps = []string{"app-1", "app-2", "app-3"}
	if !s.prepare() {
		return
	}
	results, err := s.calls()
	s.settle()
	s.judge(results, err)
}

// prepare gives every app a release to roll back to.
func (s *resumeSoak) prepare() bool {
	client, done := s.process(nil)
	s.others = client
	defer done()
	release := func(procfile string) string {
		archive, err := herokubuild.NewArchive(packed(s.t, file{name: "Procfile", content: procfile}))
		if !s.must(err) {
			return ""
		}
		result, err := client.BuildAndRelease(s.t.Context(), herokubuild.BuildAndReleaseOptions{BuildApp: "build-app", Archive: archive})
		if !s.must(err) {
			return ""
		}
		return result.Artifact.SlugID
	}
	if s.oldSlug = release("web: old\n"); s.oldSlug == "" {
		return false
	}
	_, err := client.Rollout(s.t.Context(), herokubuild.ReleaseCreateOptions{SlugID: s.oldSlug}, s.apps, nil)
	if !s.must(err) {
		return false
	}
	procfile := "web: new\n"
	if s.intN(3) == 0 {
		procfile += "release: test -z \"$FAIL\"\n"
	}
	if s.intN(2) == 0 {
		s.slug = release(procfile)
	} else {
		s.archive, err = herokubuild.NewArchive(packed(s.t, file{name: "Procfile", content: procfile}))
		s.must(err)
	}
	for _, app := range s.apps {
		s.ids[app] = s.p.AppID(app)
	}
	s.policy = herokubuild.RolloutPolicy{
		Concurrency: 1 + s.intN(3), Canaries: s.intN(2), StopOnError: s.intN(4) == 0, Rollback: []herokubuild.RollbackPolicy{herokubuild.RollbackNone, herokubuild.RollbackVerifyFailed, herokubuild.RollbackAll}[s.intN(3)],
		Verify: func(_ context.Context, app string, _ *herokubuild.Release) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.unhealthy[app] {
				return errors.New("unhealthy")
			}
			return nil
		},
	}
	s.sameTime, s.skew = s.intN(2) == 0, time.Duration(s.intN(120)-60)*time.Minute
	s.p.SetFaults(func(at platform.FaultPoint) platform.Fault {
		if at.Host == "api" && at.Method == "POST" && s.intN(3) == 0 {
			return platform.Fault{Delay: time.Duration(s.intN(int(resumeInFlight)))}
		}
		return platform.Fault{}
	})
	return true
}

// process returns a client with its own connections. If network is not nil, killing
// it ends the process: requests that are in progress then still reach the platform.
func (s *resumeSoak) process(network *killableTransport) (client *herokubuild.Client, done func()) {
	transport := &http.Transport{}
	var next http.RoundTripper = &wrongClocks{next: transport, soak: s}
	if network != nil {
		network.next = next
		next = network
	}
	client, err := herokubuild.NewClient(
		herokubuild.WithBaseURL(s.p.URL()), herokubuild.WithToken(s.p.Token()), herokubuild.WithTransport(next),
		herokubuild.WithRetry(herokubuild.RetryOptions{MaxAttempts: 2, MinWait: time.Millisecond, MaxWait: time.Millisecond}), herokubuild.WithSettleTime(resumeSettle),
		herokubuild.WithPollBackoff(func(int) time.Duration { return 2 * time.Millisecond }))
	s.must(err)
	return client, transport.CloseIdleConnections
}

// calls makes a number of calls that may be interrupted, and then one that is not.
func (s *resumeSoak) calls() ([]herokubuild.AppResult, error) {
	var checkpoint herokubuild.Checkpoint
	for range 1 + s.intN(4) {
		s.chooseFailures()
		checkpoint = s.interruptedCall(checkpoint)
		if !knowsApps(checkpoint) {
			s.restoreNames()
		}
		for range s.intN(3) {
			s.somebodyElse(checkpoint)
		}
	}
	// From here on nothing fails, except that a call which finishes an interrupted
	// rollback fails, and a pending release may fail.
	s.mu.Lock()
	clear(s.unhealthy)
	s.mu.Unlock()
	client, done := s.process(nil)
	defer done()
	var results []herokubuild.AppResult
	var err error
	for call := range 4 {
		for _, app := range s.apps {
			// A rollback restores config vars, too.
			s.must(s.p.SetConfigVars(s.ids[app], map[string]string{"FAIL": ""}))
		}
		finishing := isRollingBack(checkpoint)
		results, err = s.call(s.t.Context(), client, checkpoint, nil)
		s.did("final call %d: %v", call, err)
		if err == nil || !finishing && !errors.Is(err, herokubuild.ErrReleaseFailed) {
			break
		}
		s.settle()
		s.judge(results, err)
		checkpoint = s.checkpoint(err)
	}
	// The rollout stops at a canary that somebody else has released to.
	stopped := s.policy.Canaries > 0 && len(results) > 0 && errors.Is(results[0].Err, herokubuild.ErrSuperseded)
	for _, result := range results {
		s.check(result.Err == nil || errors.Is(result.Err, herokubuild.ErrSuperseded) || stopped, "%s failed in the final call: %v", result.App, result.Err)
	}
	return results, err
}

// restoreNames undoes the renames before a deploy that starts from scratch, because
// it knows its apps by name only.
func (s *resumeSoak) restoreNames() {
	for _, app := range s.apps {
		id := s.p.AppID(app)
		if id == s.ids[app] {
			continue
		}
		if id != "" {
			s.must(s.p.Rename(id, fmt.Sprintf("another-%d", s.intN(1_000_000_000))))
		}
		s.must(s.p.Rename(s.ids[app], app))
	}
}

// chooseFailures decides whose release phase or Verify fails.
func (s *resumeSoak) chooseFailures() {
	for _, app := range s.apps {
		fail, unhealthy := s.intN(6) == 0, s.intN(4) == 0
		value := ""
		if fail {
			value = "1"
		}
		s.must(s.p.SetConfigVars(s.ids[app], map[string]string{"FAIL": value}))
		s.mu.Lock()
		s.unhealthy[app] = unhealthy
		s.mu.Unlock()
	}
}

// interruptedCall makes a call that is killed, detached or canceled at a random event
// and returns the checkpoint to resume from.
func (s *resumeSoak) interruptedCall(checkpoint herokubuild.Checkpoint) herokubuild.Checkpoint {
	network := new(killableTransport)
	client, done := s.process(network)
	defer done()
	ctx, cancel := context.WithCancelCause(s.t.Context())
	defer cancel(nil)
	end, at := s.intN(5), s.intN(40)
	seen, killed := 0, false
	saved := checkpoint
	results, err := s.call(ctx, client, checkpoint, func(_ context.Context, e herokubuild.DeployEvent) error {
		if killed {
			return nil
		}
		saved = roundTrip(s.t, e.Checkpoint)
		s.checkpoints = append(s.checkpoints, saved)
		if seen++; seen != at+1 {
			return nil
		}
		s.did("end %d at %s %s %s", end, e.Kind, e.Phase, e.App)
		switch end {
		case 0, 1, 2:
			killed = true
			s.all.killed.Add(1)
			network.kill()
			cancel(herokubuild.ErrDetached)
		case 3:
			s.all.detached.Add(1)
			cancel(herokubuild.ErrDetached)
		default:
			s.all.canceled.Add(1)
			cancel(nil)
		}
		return nil
	})
	s.did("call: %v", err)
	if ctx.Err() == nil {
		s.settle()
		s.judge(results, err)
	}
	switch {
	case killed && s.intN(3) == 0 && len(s.checkpoints) > 0:
		s.all.stale.Add(1)
		return s.older(saved)
	case killed:
		return saved
	case err != nil:
		s.all.failed.Add(1)
		return s.checkpoint(err)
	}
	return saved
}

// older returns the checkpoint of an earlier event of the same build.
func (s *resumeSoak) older(newest herokubuild.Checkpoint) herokubuild.Checkpoint {
	c := s.checkpoints[s.intN(len(s.checkpoints))]
	if c.Source != newest.Source || c.Token != newest.Token {
		return newest
	}
	for _, app := range s.apps {
		if c.App(app).ID == "" && s.p.AppID(app) != s.ids[app] {
			return newest // c has no id for the renamed app
		}
	}
	s.did("resume from an older checkpoint")
	return c
}

func (s *resumeSoak) checkpoint(err error) herokubuild.Checkpoint {
	var deploy *herokubuild.DeployError
	if errors.As(err, &deploy) {
		return roundTrip(s.t, deploy.Checkpoint)
	}
	var rollout *herokubuild.RolloutError
	s.check(errors.As(err, &rollout), "want a DeployError or RolloutError, got %T: %v", err, err)
	if rollout == nil {
		return herokubuild.Checkpoint{}
	}
	return roundTrip(s.t, rollout.Checkpoint)
}

func (s *resumeSoak) call(ctx context.Context, client *herokubuild.Client, checkpoint herokubuild.Checkpoint, onEvent func(context.Context, herokubuild.DeployEvent) error) ([]herokubuild.AppResult, error) {
	s.all.calls.Add(1)
	if s.slug != "" {
		result, err := client.Rollout(ctx, herokubuild.ReleaseCreateOptions{SlugID: s.slug, Description: "ours"}, s.apps,
			&herokubuild.RolloutOptions{Policy: s.policy, Checkpoint: checkpoint, OnEvent: onEvent})
		if result == nil {
			return nil, err
		}
		return result.Apps, err
	}
	result, err := client.BuildAndRelease(ctx, herokubuild.BuildAndReleaseOptions{
		BuildApp: "build-app", ReleaseTo: s.apps, Archive: s.archive, ReleaseDescription: "ours",
		Rollout: s.policy, Checkpoint: checkpoint, OnEvent: onEvent,
	})
	if result == nil || len(result.Apps) == 0 {
		return nil, err
	}
	return result.Apps[1:], err
}

// somebodyElse changes an app between two calls.
func (s *resumeSoak) somebodyElse(checkpoint herokubuild.Checkpoint) {
	app := s.apps[s.intN(len(s.apps))]
	id := s.ids[app]
	s.all.others.Add(1)
	ctx := s.t.Context()
	switch s.intN(5) {
	case 0:
		s.did("somebody releases to %s", app)
		_, err := s.others.Releases.Create(ctx, id, herokubuild.ReleaseCreateOptions{SlugID: s.oldSlug, Description: "theirs"})
		s.must(err)
	case 1:
		// A release in progress must be created before the rollback.
		s.settle()
		if before, err := s.others.Releases.Previous(ctx, id); err == nil {
			s.did("somebody rolls %s back to v%d", app, before.Version)
			_, err = s.others.Releases.Rollback(ctx, id, before.ID)
			s.check(err == nil || errors.Is(err, herokubuild.ErrNotEligible), "%v", err)
		}
	case 2:
		s.did("somebody sets a config var of %s", app)
		s.must(do(ctx, s.others, "PATCH", "/apps/"+id+"/config-vars", &herokubuild.DoOptions{Body: map[string]string{"COLOR": fmt.Sprint(s.intN(9))}}))
	default:
		// The deploy finds a renamed app only by its id.
		if checkpoint.App(app).ID == "" {
			return
		}
		s.all.renamed.Add(1)
		s.did("%s is renamed", app)
		name := fmt.Sprintf("renamed-%d", s.intN(1_000_000_000))
		s.must(s.p.Rename(id, name))
		if s.p.AppID(app) == "" && s.intN(2) == 0 {
			s.must(s.p.AddApp(app))
		}
	}
}

// settle waits until the platform has responded to all requests.
func (s *resumeSoak) settle() {
	inProgress := func() bool {
		return slices.ContainsFunc(s.p.Requests(), func(r platform.Request) bool { return r.Method == "POST" && r.Status == 0 })
	}
	for inProgress() {
		time.Sleep(time.Millisecond)
	}
}

// judge compares the results of a call with the platform's history.
func (s *resumeSoak) judge(results []herokubuild.AppResult, err error) {
	slug := s.slug
	if slug == "" {
		builds := slices.DeleteFunc(s.p.Builds("build-app"), func(b platform.BuildInfo) bool { return b.Status != "succeeded" })
		// The first build is from prepare.
		s.check(len(builds) <= 2, "the deploy has %d builds", len(builds)-1)
		if len(builds) == 2 {
			slug = builds[1].SlugID
		}
	}
	failed := false
	for i, app := range s.apps {
		history := s.p.Releases(s.ids[app])
		s.judgeHistory(app, history)
		if i >= len(results) {
			continue
		}
		failed = failed || results[i].Err != nil
		s.judgeResult(results[i], history, slug)
		if replaced := s.p.AppID(app); replaced != "" && replaced != s.ids[app] {
			s.check(len(s.p.Releases(app)) == 2, "%s: another app with this name was released to", app)
		}
	}
	s.check(failed == (err != nil) || len(results) == 0, "results %+v do not match error: %v", results, err)
}

// isOurs matches the descriptions of releases of the deploy.
var isOurs = regexp.MustCompile(`^ours( \(rollout [0-9a-f]{12}\))?$`)

// judgeHistory checks that an app got another release of the deploy only after the
// one before it had failed or was rolled back.
func (s *resumeSoak) judgeHistory(app string, history []platform.ReleaseInfo) {
	var before platform.ReleaseInfo
	rolledBack, ever := false, false
	for _, r := range history {
		if v, ok := rollbackVersion(r.Description); ok && before.ID != "" && (v <= before.Version || r.SlugID == before.SlugID) {
			rolledBack = v < before.Version
			ever = ever || rolledBack
		}
		// Config vars were set while a rollback to the release was pending.
		rolledBack = rolledBack || ever && strings.HasPrefix(r.Description, "Set ") && r.SlugID != before.SlugID
		if !isOurs.MatchString(r.Description) {
			continue
		}
		s.all.releases.Add(1)
		s.check(before.ID == "" || rolledBack || before.Status == "failed", "%s: v%d repeats v%d: %s", app, r.Version, before.Version, describe(history))
		before, rolledBack, ever = r, false, false
	}
}

// judgeResult compares the result of an app with its history.
func (s *resumeSoak) judgeResult(result herokubuild.AppResult, history []platform.ReleaseInfo, slug string) {
	var ours, current platform.ReleaseInfo
	releases := 0
	rolledBack, ever := false, false
	for _, r := range history {
		if r.Current {
			current = r
		}
		if isOurs.MatchString(r.Description) {
			ours, rolledBack, ever = r, false, false
			releases++
		}
		if v, ok := rollbackVersion(r.Description); ok && releases > 0 && (v <= ours.Version || r.SlugID == ours.SlugID) {
			rolledBack = v < ours.Version
			ever = ever || rolledBack
		}
		rolledBack = rolledBack || ever && strings.HasPrefix(r.Description, "Set ") && r.SlugID != ours.SlugID
	}
	text := describe(history)
	if result.Release != nil {
		s.check(result.Release.ID == ours.ID, "%s: v%d is not the newest release of the deploy: %s", result.App, result.Release.Version, text)
	}
	switch {
	case result.Err == nil:
		s.check(current.SlugID == slug && ours.Status == "succeeded" && !rolledBack, "%s: no error, history: %s", result.App, text)
	case errors.Is(result.Err, herokubuild.ErrRollbackFailed):
	case errors.Is(result.Err, herokubuild.ErrRolledBack):
		s.all.rolledBack.Add(1)
		// The rollback may be to an older release of the same code.
		s.check(rolledBack, "%s: %v, history: %s", result.App, result.Err, text)
	case errors.Is(result.Err, herokubuild.ErrSuperseded):
		s.all.superseded.Add(1)
		s.check(ours.ID != "" && current.SlugID != slug, "%s: %v, history: %s", result.App, result.Err, text)
	case errors.Is(result.Err, herokubuild.ErrReleaseFailed):
		s.check(ours.Status == "failed", "%s: %v, history: %s", result.App, result.Err, text)
	case errors.Is(result.Err, herokubuild.ErrNotAttempted):
		s.check(releases == 0, "%s: %v, history: %s", result.App, result.Err, text)
	}
}

func rollbackVersion(description string) (version int, ok bool) {
	n, err := fmt.Sscanf(description, "Rollback to v%d", &version)
	return version, err == nil && n == 1
}

func describe(history []platform.ReleaseInfo) string {
	var all []string
	for _, r := range history {
		all = append(all, fmt.Sprintf("v%d %q %s", r.Version, r.Description, r.Status))
	}
	return strings.Join(all, ", ")
}

// wrongClocks changes the times in responses: the platform's clock is wrong, and
// everything may have been created in the same second.
type wrongClocks struct {
	next http.RoundTripper
	soak *resumeSoak
}

var timestamps = regexp.MustCompile(`("created_at": ?)"[^"]*"`)

func (c *wrongClocks) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := c.next.RoundTrip(req)
	if err != nil || resp.Header.Get("Content-Type") != "application/json" {
		return resp, err
	}
	resp.Header.Set("Date", time.Now().Add(c.soak.skew).UTC().Format(http.TimeFormat))
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil {
		return nil, err
	}
	if c.soak.sameTime {
		body = timestamps.ReplaceAll(body, []byte(`$1"2024-01-01T00:00:00Z"`))
	}
	resp.Body, resp.ContentLength = io.NopCloser(strings.NewReader(string(body))), int64(len(body))
	resp.Header.Del("Content-Length")
	return resp, nil
}
