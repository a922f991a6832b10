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

// TestSoakResume resumes deploys and rollouts again and again: processes are
// killed at random events while requests of theirs are still under way, detach,
// are canceled or fail and roll back; the next begins at once, from the newest
// checkpoint or an older one. In between other people release, roll back and
// rename, and clocks are wrong. Whatever the last call reports is compared with
// the platform's own history.
//
// SOAK_RUNS and SOAK_SEED are those of TestSoak.
func TestSoakResume(t *testing.T) {
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
	return fmt.Sprintf("%d runs, %d calls: %d killed, %d resumed from an older checkpoint, %d detached, %d canceled, %d failed; %d things that others did, %d renamed apps; %d rolled back and %d superseded outcomes; %d releases",
		r.runs.Load(), r.calls.Load(), r.killed.Load(), r.stale.Load(), r.detached.Load(), r.canceled.Load(), r.failed.Load(),
		r.others.Load(), r.renamed.Load(), r.rolledBack.Load(), r.superseded.Load(), r.releases.Load())
}

const (
	resumeSettle   = 1500 * time.Millisecond
	resumeInFlight = 300 * time.Millisecond
)

// resumeSoak is one deploy or rollout, by as many calls as it takes.
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
	slug    string // of a rollout without a build
	oldSlug string
	policy  herokubuild.RolloutPolicy
	// unhealthy are the apps whose Verify fails.
	unhealthy map[string]bool
	sameTime  bool
	skew      time.Duration
	// checkpoints are those of all events so far.
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
	outcomes, err := s.lives()
	s.settle()
	s.judge(outcomes, err)
}

// prepare gives every app something to go back to.
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
	_, err := client.Rollout(s.t.Context(), herokubuild.ReleaseCreateOptions{Slug: s.oldSlug}, s.apps, nil)
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
		Concurrency: 1 + s.intN(3), Canaries: s.intN(2), StopOnError: s.intN(4) == 0, Rollback: herokubuild.RollbackPolicy(s.intN(3)),
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

// process is a client of its own, with what ends it: requests that are under way
// then still reach the platform.
func (s *resumeSoak) process(network *killableTransport) (client *herokubuild.Client, done func()) {
	transport := &http.Transport{}
	var next http.RoundTripper = &wrongClocks{next: transport, soak: s}
	if network != nil {
		network.next = next
		next = network
	}
	client, err := herokubuild.NewClient(
		herokubuild.WithBaseURL(s.p.URL()), herokubuild.WithToken(s.p.Token()), herokubuild.WithHTTPClient(&http.Client{Transport: next}),
		herokubuild.WithRetry(herokubuild.RetryOptions{MaxAttempts: 2, MinWait: time.Millisecond, MaxWait: time.Millisecond, SettleTime: resumeSettle}),
		herokubuild.WithPollBackoff(func(int) time.Duration { return 2 * time.Millisecond }))
	s.must(err)
	return client, transport.CloseIdleConnections
}

// lives are the calls, of which the last is left alone.
func (s *resumeSoak) lives() ([]herokubuild.AppResult, error) {
	var checkpoint herokubuild.Checkpoint
	for range 1 + s.intN(4) {
		s.trouble()
		checkpoint = s.life(checkpoint)
		if len(checkpoint.AppIDs) == 0 {
			s.restoreNames()
		}
		for range s.intN(3) {
			s.somebodyElse(checkpoint)
		}
	}
	// Nothing goes wrong any more; an interrupted rollback still fails once, and
	// so does a release that was pending.
	s.mu.Lock()
	clear(s.unhealthy)
	s.mu.Unlock()
	client, done := s.process(nil)
	defer done()
	var outcomes []herokubuild.AppResult
	var err error
	for call := range 4 {
		for _, app := range s.apps {
			// A rollback brings config vars back, too.
			s.must(s.p.SetConfigVars(s.ids[app], map[string]string{"FAIL": ""}))
		}
		finishing := len(checkpoint.RollbackIDs) > 0
		outcomes, err = s.call(s.t.Context(), client, checkpoint, nil)
		s.did("last call %d: %v", call, err)
		if err == nil || !finishing && !errors.Is(err, herokubuild.ErrReleaseFailed) {
			break
		}
		s.settle()
		s.judge(outcomes, err)
		checkpoint = s.checkpoint(err)
	}
	// A canary that somebody has released to since keeps the others back.
	keptBack := s.policy.Canaries > 0 && len(outcomes) > 0 && errors.Is(outcomes[0].Err, herokubuild.ErrSuperseded)
	for _, out := range outcomes {
		s.check(out.Err == nil || errors.Is(out.Err, herokubuild.ErrSuperseded) || keptBack, "%s, with nothing wrong: %v", out.App, out.Err)
	}
	return outcomes, err
}

// restoreNames is for a deploy that starts from scratch, which knows its apps by
// name.
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

// trouble decides what goes wrong with the apps.
func (s *resumeSoak) trouble() {
	for _, app := range s.apps {
		fail, sick := s.intN(6) == 0, s.intN(4) == 0
		value := ""
		if fail {
			value = "1"
		}
		s.must(s.p.SetConfigVars(s.ids[app], map[string]string{"FAIL": value}))
		s.mu.Lock()
		s.unhealthy[app] = sick
		s.mu.Unlock()
	}
}

// life is a call that may end at any event.
func (s *resumeSoak) life(checkpoint herokubuild.Checkpoint) herokubuild.Checkpoint {
	network := new(killableTransport)
	client, done := s.process(network)
	defer done()
	ctx, cancel := context.WithCancelCause(s.t.Context())
	defer cancel(nil)
	end, at := s.intN(5), s.intN(40)
	seen, killed := 0, false
	saved := checkpoint
	outcomes, err := s.call(ctx, client, checkpoint, func(_ context.Context, e herokubuild.DeployEvent) error {
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
		s.judge(outcomes, err)
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

// older is a checkpoint of an earlier event of the same build.
func (s *resumeSoak) older(newest herokubuild.Checkpoint) herokubuild.Checkpoint {
	c := s.checkpoints[s.intN(len(s.checkpoints))]
	if c.Source != newest.Source || c.Token != newest.Token {
		return newest
	}
	for _, app := range s.apps {
		if c.AppIDs[app] == "" && s.p.AppID(app) != s.ids[app] {
			return newest // c does not say which app it was
		}
	}
	s.did("from an older checkpoint")
	return c
}

func (s *resumeSoak) checkpoint(err error) herokubuild.Checkpoint {
	var deploy *herokubuild.DeployError
	if errors.As(err, &deploy) {
		return roundTrip(s.t, deploy.Checkpoint)
	}
	var rollout *herokubuild.RolloutError
	s.check(errors.As(err, &rollout), "an error of no type: %v", err)
	if rollout == nil {
		return herokubuild.Checkpoint{}
	}
	return roundTrip(s.t, rollout.Checkpoint)
}

func (s *resumeSoak) call(ctx context.Context, client *herokubuild.Client, checkpoint herokubuild.Checkpoint, onEvent func(context.Context, herokubuild.DeployEvent) error) ([]herokubuild.AppResult, error) {
	s.all.calls.Add(1)
	if s.slug != "" {
		result, err := client.Rollout(ctx, herokubuild.ReleaseCreateOptions{Slug: s.slug, Description: "ours"}, s.apps,
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

// somebodyElse does something with an app in between.
func (s *resumeSoak) somebodyElse(checkpoint herokubuild.Checkpoint) {
	app := s.apps[s.intN(len(s.apps))]
	id := s.ids[app]
	s.all.others.Add(1)
	ctx := s.t.Context()
	switch s.intN(5) {
	case 0:
		s.did("somebody releases to %s", app)
		_, err := s.others.Releases.Create(ctx, id, herokubuild.ReleaseCreateOptions{Slug: s.oldSlug, Description: "theirs"})
		s.must(err)
	case 1:
		// A release that is under way had its reason before this one.
		s.settle()
		if before, err := s.others.Releases.Previous(ctx, id); err == nil {
			s.did("somebody rolls %s back to v%d", app, before.Version)
			_, err = s.others.Releases.Rollback(ctx, id, before.ID)
			s.check(err == nil || errors.Is(err, herokubuild.ErrNotEligible), "%v", err)
		}
	case 2:
		s.did("somebody sets a config var of %s", app)
		s.must(s.others.Do(ctx, "PATCH", "/apps/"+id+"/config-vars", nil, map[string]string{"COLOR": fmt.Sprint(s.intN(9))}, nil))
	default:
		// Its id is known to the deploy.
		if checkpoint.AppIDs[app] == "" {
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

// settle waits until the platform has answered all requests.
func (s *resumeSoak) settle() {
	underWay := func() bool {
		return slices.ContainsFunc(s.p.Requests(), func(r platform.Request) bool { return r.Method == "POST" && r.Status == 0 })
	}
	for underWay() {
		time.Sleep(time.Millisecond)
	}
}

// judge compares outcomes with the platform's history.
func (s *resumeSoak) judge(outcomes []herokubuild.AppResult, err error) {
	slug := s.slug
	if slug == "" {
		builds := slices.DeleteFunc(s.p.Builds("build-app"), func(b platform.BuildInfo) bool { return b.Status != "succeeded" })
		// One that prepare made.
		s.check(len(builds) <= 2, "%d builds", len(builds)-1)
		if len(builds) == 2 {
			slug = builds[1].SlugID
		}
	}
	failed := false
	for i, app := range s.apps {
		history := s.p.Releases(s.ids[app])
		s.history(app, history)
		if i >= len(outcomes) {
			continue
		}
		failed = failed || outcomes[i].Err != nil
		s.outcome(outcomes[i], history, slug)
		if replaced := s.p.AppID(app); replaced != "" && replaced != s.ids[app] {
			s.check(len(s.p.Releases(app)) == 2, "%s: the app that has taken the name was released to", app)
		}
	}
	s.check(failed == (err != nil) || len(outcomes) == 0, "outcomes %+v for %v", outcomes, err)
}

var isOurs = regexp.MustCompile(`^ours( \(rollout [0-9a-f]{12}\))?$`)

// history checks that every further release of an app had a reason.
func (s *resumeSoak) history(app string, history []platform.ReleaseInfo) {
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
		s.check(before.ID == "" || rolledBack || before.Status == "failed", "%s: v%d after v%d: %s", app, r.Version, before.Version, describe(history))
		before, rolledBack, ever = r, false, false
	}
}

func (s *resumeSoak) outcome(out herokubuild.AppResult, history []platform.ReleaseInfo, slug string) {
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
	if out.Release != nil {
		s.check(out.Release.ID == ours.ID, "%s: v%d for %s", out.App, out.Release.Version, text)
	}
	switch {
	case out.Err == nil:
		s.check(current.SlugID == slug && ours.Status == "succeeded" && !rolledBack, "%s: released, of %s", out.App, text)
	case errors.Is(out.Err, herokubuild.ErrRollbackFailed):
	case errors.Is(out.Err, herokubuild.ErrRolledBack):
		s.all.rolledBack.Add(1)
		// What it ran before may be an older release of the same code.
		s.check(rolledBack, "%s: %v, of %s", out.App, out.Err, text)
	case errors.Is(out.Err, herokubuild.ErrSuperseded):
		s.all.superseded.Add(1)
		s.check(ours.ID != "" && current.SlugID != slug, "%s: %v, of %s", out.App, out.Err, text)
	case errors.Is(out.Err, herokubuild.ErrReleaseFailed):
		s.check(ours.Status == "failed", "%s: %v, of %s", out.App, out.Err, text)
	case errors.Is(out.Err, herokubuild.ErrNotAttempted):
		s.check(releases == 0, "%s: %v, of %s", out.App, out.Err, text)
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

// wrongClocks changes the times in responses: the clocks of the platform's hosts
// differ, and everything may be of the same second.
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
