package herokubuild_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
	"github.com/herokubuild/herokubuild/herokutest"
	"github.com/herokubuild/herokubuild/internal/platform"
)

// fleet is a platform with apps and a release to roll out to them. Each app runs
// another slug as v3.
type fleet struct {
	p       *platform.Platform
	client  *herokubuild.Client
	apps    []string
	release herokubuild.ReleaseCreateOptions
}

func newFleet(t *testing.T, n int, procfile string, opts platform.Options, clientOpts ...herokubuild.Option) *fleet {
	t.Helper()
	f := new(fleet)
	opts.Apps = []string{"build-app"}
	for i := range n {
		f.apps = append(f.apps, fmt.Sprintf("app-%d", i+1))
	}
	opts.Apps = append(opts.Apps, f.apps...)
	opts.Builder = printing("")
	f.p, f.client = startPlatform(t, opts, append([]herokubuild.Option{quickRetry()}, clientOpts...)...)
	slug := func(procfile string) string {
		result, err := f.client.BuildAndRelease(t.Context(), herokubuild.BuildAndReleaseOptions{
			BuildApp: "build-app", Archive: archiveOf(t, file{name: "Procfile", content: procfile}),
		})
		require.NoError(t, err)
		return result.Artifact.SlugID
	}
	before := slug("web: old\n")
	_, err := f.client.Rollout(t.Context(), herokubuild.ReleaseCreateOptions{SlugID: before}, f.apps, nil)
	require.NoError(t, err)
	f.release = herokubuild.ReleaseCreateOptions{SlugID: slug(procfile), Description: "summer sale"}
	return f
}

// failReleases makes the release phases of the apps fail. The Procfile must be
// withReleasePhase.
func (f *fleet) failReleases(t *testing.T, apps ...string) {
	t.Helper()
	for _, app := range apps {
		require.NoError(t, f.p.SetConfigVars(app, map[string]string{"FAIL": "1"}))
	}
}

// withReleasePhase is a Procfile whose release phase fails if $FAIL is set.
const withReleasePhase = "release: echo migrating $HEROKU_APP_NAME; test -z \"$FAIL\"\n"

// rolloutToken matches the part of a description that identifies a rollout.
var rolloutToken = regexp.MustCompile(` \(rollout [0-9a-f]{12}\)$`)

// history returns the descriptions of an app's releases from v4 on, without the
// token of the rollout and with the status of those that did not succeed.
func (f *fleet) history(app string) string {
	var all []string
	for _, r := range f.p.Releases(app)[3:] {
		text := rolloutToken.ReplaceAllString(r.Description, "")
		if r.Status != "succeeded" {
			text += " (" + r.Status + ")"
		}
		all = append(all, text)
	}
	return strings.Join(all, ", ")
}

// histories returns the history of every app.
func (f *fleet) histories() map[string]string {
	all := map[string]string{}
	for _, app := range f.apps {
		all[app] = f.history(app)
	}
	return all
}

func TestRolloutReleasesToAllApps(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 20, withReleasePhase, platform.Options{})
	var log eventLog
	result, err := f.client.Rollout(t.Context(), f.release, f.apps, &herokubuild.RolloutOptions{Policy: herokubuild.RolloutPolicy{Concurrency: 4}, OnEvent: log.on})
	require.NoError(t, err)
	require.Len(t, result.Apps, len(f.apps))
	for _, app := range result.Apps {
		assert.Equal(t, herokubuild.AppReleased, app.Outcome())
		assert.Positive(t, app.Duration)
	}
	assert.True(t, result.Checkpoint.Done)
	lines := map[string][]string{}
	for _, e := range log.events {
		if e.Kind == herokubuild.EventReleaseOutput {
			lines[e.App] = append(lines[e.App], e.Line)
		}
	}
	for i, app := range f.apps {
		assert.Equal(t, app, result.Apps[i].App)
		require.NoError(t, result.Apps[i].Err)
		assert.Equal(t, 4, result.Apps[i].Release.Version)
		assert.Equal(t, herokubuild.StatusSucceeded, result.Apps[i].Release.Status)
		assert.Equal(t, "summer sale", f.history(app))
		assert.Equal(t, []string{"migrating " + app}, lines[app])
	}
}

func TestRolloutAppliesPolicyToFailures(t *testing.T) {
	t.Parallel()
	const (
		done   = "summer sale"
		failed = "summer sale (failed)"
		back   = "summer sale, Rollback to v3"
	)
	tests := map[string]struct {
		opts  herokubuild.RolloutOptions
		fails []string
		// history and want are the history and the error's sentinel of each app.
		history [5]string
		want    [5]error
	}{
		"keep going": {
			fails:   []string{"app-2"},
			history: [5]string{done, failed, done, done, done},
			want:    [5]error{nil, herokubuild.ErrReleaseFailed},
		},
		"stop at the first failure": {
			opts: herokubuild.RolloutOptions{Policy: herokubuild.RolloutPolicy{Concurrency: 1, StopOnError: true}}, fails: []string{"app-2"},
			history: [5]string{done, failed},
			want:    [5]error{nil, herokubuild.ErrReleaseFailed, herokubuild.ErrNotAttempted, herokubuild.ErrNotAttempted, herokubuild.ErrNotAttempted},
		},
		"a canary fails": {
			opts: herokubuild.RolloutOptions{Policy: herokubuild.RolloutPolicy{Canaries: 2}}, fails: []string{"app-1"},
			history: [5]string{failed, done},
			want:    [5]error{herokubuild.ErrReleaseFailed, nil, herokubuild.ErrNotAttempted, herokubuild.ErrNotAttempted, herokubuild.ErrNotAttempted},
		},
		"a canary is unhealthy": {
			opts:    herokubuild.RolloutOptions{Policy: herokubuild.RolloutPolicy{Canaries: 1, Verify: unhealthy("app-1")}},
			history: [5]string{done},
			want:    [5]error{herokubuild.ErrVerifyFailed, herokubuild.ErrNotAttempted, herokubuild.ErrNotAttempted, herokubuild.ErrNotAttempted, herokubuild.ErrNotAttempted},
		},
		"roll back unhealthy apps": {
			opts:    herokubuild.RolloutOptions{Policy: herokubuild.RolloutPolicy{Canaries: 1, Verify: unhealthy("app-3"), Rollback: herokubuild.RollbackVerifyFailed}},
			fails:   []string{"app-5"},
			history: [5]string{done, done, back, done, failed},
			want:    [5]error{nil, nil, herokubuild.ErrVerifyFailed, nil, herokubuild.ErrReleaseFailed},
		},
		"roll back all apps": {
			opts:    herokubuild.RolloutOptions{Policy: herokubuild.RolloutPolicy{Canaries: 2, Verify: unhealthy("app-3"), Rollback: herokubuild.RollbackAll}},
			fails:   []string{"app-5"},
			history: [5]string{back, back, back, back, failed},
			want: [5]error{
				herokubuild.ErrRolledBack, herokubuild.ErrRolledBack, herokubuild.ErrVerifyFailed, herokubuild.ErrRolledBack, herokubuild.ErrReleaseFailed,
			},
		},
		"all apps are healthy": {
			opts:    herokubuild.RolloutOptions{Policy: herokubuild.RolloutPolicy{Canaries: 5, Verify: unhealthy(), Rollback: herokubuild.RollbackAll}},
			history: [5]string{done, done, done, done, done},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, 5, withReleasePhase, platform.Options{})
			f.failReleases(t, tt.fails...)
			result, err := f.client.Rollout(t.Context(), f.release, f.apps, &tt.opts)
			ok := true
			for i, app := range f.apps {
				assert.Equal(t, app, result.Apps[i].App)
				assert.Equal(t, tt.history[i], f.history(app), app)
				if tt.want[i] == nil {
					require.NoError(t, result.Apps[i].Err)
					continue
				}
				ok = false
				require.ErrorIs(t, result.Apps[i].Err, tt.want[i], app)
				require.ErrorIs(t, err, tt.want[i])
				require.NoError(t, result.Apps[i].RollbackErr)
				assert.Equal(t, strings.HasSuffix(tt.history[i], "v3"), result.Apps[i].RolledBack != nil)
			}
			if ok {
				require.NoError(t, err)
				return
			}
			var failure *herokubuild.RolloutError
			require.ErrorAs(t, err, &failure)
			assert.Equal(t, result.Apps, failure.Apps)
			assertErrorClean(t, err)
			assert.Equal(t, errors.Is(err, herokubuild.ErrVerifyFailed), errors.Is(err, errUnhealthy), "the error of Verify is wrapped")
		})
	}
}

func TestAppResultOutcome(t *testing.T) {
	t.Parallel()
	wrapped := func(errs ...error) error { return fmt.Errorf("app-1: %w", errors.Join(errs...)) }
	for want, results := range map[herokubuild.AppOutcome][]herokubuild.AppResult{
		herokubuild.AppReleased:       {{}},
		herokubuild.AppFailed:         {{Err: &herokubuild.ReleaseError{}}, {Err: wrapped(herokubuild.ErrForbidden)}},
		herokubuild.AppVerifyFailed:   {{Err: wrapped(herokubuild.ErrVerifyFailed)}},
		herokubuild.AppNotAttempted:   {{Err: herokubuild.ErrNotAttempted}, {Err: wrapped(herokubuild.ErrNotAttempted, context.Canceled)}},
		herokubuild.AppSuperseded:     {{Err: wrapped(herokubuild.ErrSuperseded)}},
		herokubuild.AppRolledBack:     {{Err: wrapped(herokubuild.ErrRolledBack)}, {Err: wrapped(herokubuild.ErrVerifyFailed), RolledBack: &herokubuild.Release{}}},
		herokubuild.AppRollbackFailed: {{Err: wrapped(herokubuild.ErrVerifyFailed, herokubuild.ErrRollbackFailed), RollbackErr: herokubuild.ErrNotEligible}},
		herokubuild.AppUnknown:        {{Err: wrapped(herokubuild.ErrMaybeApplied)}},
	} {
		for _, result := range results {
			assert.Equal(t, want, result.Outcome(), "%v", result.Err)
		}
	}
}

// A rollback must not undo a release that somebody else made after the rollout's.
func TestRollbackKeepsNewerReleases(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1, "web: new\n", platform.Options{})
	result, err := f.client.Rollout(t.Context(), f.release, f.apps, &herokubuild.RolloutOptions{
		Policy: herokubuild.RolloutPolicy{
			Rollback: herokubuild.RollbackAll,
			Verify: func(ctx context.Context, app string, r *herokubuild.Release) error {
				_, err := f.client.Releases.Create(ctx, app, herokubuild.ReleaseCreateOptions{SlugID: f.release.SlugID, Description: "somebody else's"})
				return errors.Join(err, errUnhealthy)
			},
		},
	})
	require.ErrorIs(t, err, herokubuild.ErrVerifyFailed)
	require.ErrorIs(t, result.Apps[0].RollbackErr, herokubuild.ErrSuperseded)
	require.ErrorIs(t, err, herokubuild.ErrRollbackFailed)
	assert.Nil(t, result.Apps[0].RolledBack)
	assert.Equal(t, "summer sale, somebody else's", f.history("app-1"))
}

func TestRolloutReportsFailedRollback(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3, "web: new\n", platform.Options{})
	// Only the rollback uses the id: the app is released to by its name.
	f.p.SetFaults(onCall("POST", "/apps/"+f.p.AppID("app-1")+"/releases", platform.Fault{Status: 403}))
	result, err := f.client.Rollout(t.Context(), f.release, f.apps, &herokubuild.RolloutOptions{
		Policy: herokubuild.RolloutPolicy{
			Rollback: herokubuild.RollbackAll, Verify: unhealthy("app-3"),
		},
	})
	assert.Equal(t, map[string]string{
		"app-1": "summer sale", "app-2": "summer sale, Rollback to v3", "app-3": "summer sale, Rollback to v3",
	}, f.histories())
	require.ErrorIs(t, result.Apps[0].Err, herokubuild.ErrRollbackFailed)
	require.NotErrorIs(t, result.Apps[0].Err, herokubuild.ErrRolledBack)
	require.ErrorIs(t, result.Apps[0].RollbackErr, herokubuild.ErrForbidden)
	assert.Nil(t, result.Apps[0].RolledBack)
	require.ErrorIs(t, result.Apps[1].Err, herokubuild.ErrRolledBack)
	require.NotErrorIs(t, result.Apps[2].Err, herokubuild.ErrRollbackFailed)
	require.ErrorIs(t, err, herokubuild.ErrForbidden)
	require.ErrorContains(t, err, "app-1: not rolled back", "the text names the app and the cause")
	assertErrorClean(t, err)
}

// If it is unknown whether an app was released to, it is unknown whether it needs a
// rollback, too.
func TestRolloutReportsFailedRollbackOfUncertainRelease(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAPI(t)
		a.on("POST", releasesURL, hang)
		a.on("GET", releasesURL, reply(200, "[]"))
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		result, err := a.Rollout(ctx, herokubuild.ReleaseCreateOptions{SlugID: slugID}, []string{appName}, &herokubuild.RolloutOptions{Policy: herokubuild.RolloutPolicy{Rollback: herokubuild.RollbackAll}})
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, result.Apps[0].Err, herokubuild.ErrRollbackFailed)
		require.ErrorIs(t, result.Apps[0].RollbackErr, herokubuild.ErrMaybeApplied)
	})
}

// A canceled rollout skips the apps that have not been started. If the policy is to
// roll back, the others are rolled back although the context has ended.
func TestCanceledRolloutSkipsAppsAndRollsBackOthers(t *testing.T) {
	t.Parallel()
	for name, rollback := range map[string]herokubuild.RollbackPolicy{"without rollback": herokubuild.RollbackNone, "with rollback": herokubuild.RollbackAll} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, 4, withReleasePhase, platform.Options{})
			ctx, cancel := context.WithCancel(t.Context())
			result, err := f.client.Rollout(ctx, f.release, f.apps, &herokubuild.RolloutOptions{
				Policy: herokubuild.RolloutPolicy{
					Concurrency: 1, Rollback: rollback,
				},
				OnEvent: func(_ context.Context, e herokubuild.DeployEvent) error {
					if e.App == "app-2" {
						cancel()
					}
					return nil
				},
			})
			require.ErrorIs(t, err, context.Canceled)
			require.ErrorIs(t, result.Apps[3].Err, herokubuild.ErrNotAttempted)
			assert.Empty(t, f.history("app-4"))
			want := "summer sale"
			if rollback == herokubuild.RollbackAll {
				want += ", Rollback to v3"
				assert.Equal(t, want, f.history("app-2"), "its release was pending and is awaited before the rollback")
			}
			assert.Equal(t, want, f.history("app-1"))
		})
	}
}

func TestRolloutReleasesOnceWhenResponsesAreLost(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]platform.Fault{
		"response lost": {Lost: true}, "502 after the effect": {StatusAfter: 502, HTML: true},
		"request cut": {CutRequestAfter: 5}, "500 without effect": {Status: 500},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, 3, withReleasePhase, platform.Options{})
			f.p.SetFaults(func(at platform.FaultPoint) platform.Fault {
				if at.Method == "POST" && at.Nth%2 == 0 {
					return fault
				}
				return platform.Fault{}
			})
			result, err := f.client.Rollout(t.Context(), f.release, f.apps, &herokubuild.RolloutOptions{
				Policy: herokubuild.RolloutPolicy{
					Rollback: herokubuild.RollbackAll, Verify: unhealthy("app-3"),
				},
			})
			require.ErrorIs(t, err, herokubuild.ErrVerifyFailed)
			for _, out := range result.Apps {
				require.NoError(t, out.RollbackErr)
			}
			assert.Equal(t, map[string]string{
				"app-1": "summer sale, Rollback to v3", "app-2": "summer sale, Rollback to v3", "app-3": "summer sale, Rollback to v3",
			}, f.histories())
		})
	}
}

// An older release of the same slug with the same description must not be adopted
// after the response to the release request was lost.
func TestRolloutAdoptsOnlyItsOwnRelease(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]platform.Fault{"took effect": {Lost: true}, "no effect": {CutRequestAfter: 1}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, 1, "web: new\n", platform.Options{})
			first, err := f.client.Rollout(t.Context(), f.release, f.apps, nil)
			require.NoError(t, err)
			f.p.SetFaults(onCall("POST", "/app-1/releases", fault))
			second, err := f.client.Rollout(t.Context(), f.release, f.apps, nil)
			require.NoError(t, err)
			assert.Equal(t, "summer sale, summer sale", f.history("app-1"))
			assert.NotEqual(t, first.Apps[0].Release.ID, second.Apps[0].Release.ID)
			assert.Equal(t, 5, second.Apps[0].Release.Version)
		})
	}
}

// A process is killed at an event; another one resumes its releases or its rollback.
func TestRolloutResumesFromEveryEvent(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		opts herokubuild.RolloutOptions
		want map[string]string
		err  error
	}{
		"canaries": {
			opts: herokubuild.RolloutOptions{Policy: herokubuild.RolloutPolicy{Concurrency: 1, Canaries: 1}},
			want: map[string]string{"app-1": "summer sale", "app-2": "summer sale", "app-3": "summer sale"},
		},
		"rollback": {
			opts: herokubuild.RolloutOptions{Policy: herokubuild.RolloutPolicy{Concurrency: 1, Canaries: 1, Verify: unhealthy("app-3"), Rollback: herokubuild.RollbackAll}},
			want: map[string]string{"app-1": "summer sale, Rollback to v3", "app-2": "summer sale, Rollback to v3", "app-3": "summer sale, Rollback to v3"},
			err:  herokubuild.ErrRolledBack,
		},
	} {
		var log eventLog
		opts := tt.opts
		opts.OnEvent = log.on
		f := newFleet(t, 3, withReleasePhase, platform.Options{})
		_, err := f.client.Rollout(t.Context(), f.release, f.apps, &opts)
		if tt.err == nil {
			require.NoError(t, err)
		}
		require.Equal(t, tt.want, f.histories())
		for i, event := range log.events {
			t.Run(fmt.Sprintf("%s, %s of %s", name, event.Kind, event.App), func(t *testing.T) {
				t.Parallel()
				f := newFleet(t, 3, withReleasePhase, platform.Options{})
				// No request of the killed process arrives from then on.
				ctx, cancel := context.WithCancel(t.Context())
				network := &killableTransport{next: http.DefaultTransport}
				killed, err := herokubuild.NewClient(herokubuild.WithBaseURL(f.p.URL()), herokubuild.WithToken(f.p.Token()), quickRetry(),
					herokubuild.WithPollBackoff(func(int) time.Duration { return time.Millisecond }),
					herokubuild.WithTransport(network))
				require.NoError(t, err)
				opts := tt.opts
				var saved herokubuild.Checkpoint
				seen := 0
				opts.OnEvent = func(_ context.Context, e herokubuild.DeployEvent) error {
					if seen++; seen == i+1 {
						saved = e.Checkpoint
						network.kill()
						cancel()
					}
					return nil
				}
				_, err = killed.Rollout(ctx, f.release, f.apps, &opts)
				if seen <= i {
					t.Fatalf("the rollout ended before event %d", i)
				}
				if tt.err != nil || i+1 < len(log.events) {
					require.Error(t, err)
				}

				opts.OnEvent, opts.Checkpoint = nil, roundTrip(t, saved)
				result, err := f.client.Rollout(t.Context(), f.release, f.apps, &opts)
				assert.Equal(t, tt.want, f.histories())
				if tt.err == nil {
					require.NoError(t, err)
					return
				}
				require.Error(t, err)
				for _, out := range result.Apps {
					require.NoError(t, out.RollbackErr)
					require.Error(t, out.Err)
					require.NotNil(t, out.RolledBack)
					require.NotErrorIs(t, out.Err, herokubuild.ErrNotAttempted)
				}
			})
		}
	}
}

// killableTransport is the network of a process that is killed: from then on, no
// request is sent.
type killableTransport struct {
	next   http.RoundTripper
	mu     sync.Mutex
	killed bool
}

func (k *killableTransport) kill() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.killed = true
}

func (k *killableTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	k.mu.Lock()
	killed := k.killed
	k.mu.Unlock()
	if killed {
		return nil, errDropped
	}
	return k.next.RoundTrip(req)
}

func TestRolloutRejectsInvalidArguments(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	slug := herokubuild.ReleaseCreateOptions{SlugID: slugID}
	for name, tt := range map[string]struct {
		release herokubuild.ReleaseCreateOptions
		apps    []string
		opts    herokubuild.RolloutOptions
	}{
		"ReleaseCreateOptions":          {},
		"SlugID":                        {release: herokubuild.ReleaseCreateOptions{SlugID: "v12"}},
		"apps":                          {release: slug, apps: []string{"a-b", "a-b"}},
		"RolloutPolicy.Concurrency":     {release: slug, opts: herokubuild.RolloutOptions{Policy: herokubuild.RolloutPolicy{Concurrency: -1}}},
		"RolloutPolicy.Canaries":        {release: slug, apps: []string{"a-b"}, opts: herokubuild.RolloutOptions{Policy: herokubuild.RolloutPolicy{Canaries: -1}}},
		"RolloutPolicy.Rollback":        {release: slug, opts: herokubuild.RolloutOptions{Policy: herokubuild.RolloutPolicy{Rollback: herokubuild.RollbackVerifyFailed}}},
		"RolloutPolicy.RollbackTimeout": {release: slug, opts: herokubuild.RolloutOptions{Policy: herokubuild.RolloutPolicy{RollbackTimeout: -1}}},
		"RolloutOptions.Timeout":        {release: slug, opts: herokubuild.RolloutOptions{Timeout: -1}},
		"RolloutOptions.IdleTimeout":    {release: slug, opts: herokubuild.RolloutOptions{IdleTimeout: -1}},
		"Checkpoint":                    {release: slug, opts: herokubuild.RolloutOptions{Checkpoint: herokubuild.Checkpoint{ArtifactID: releaseID}}},
	} {
		result, err := a.Rollout(t.Context(), tt.release, tt.apps, &tt.opts)
		requireInvalid(t, err, name)
		assert.Nil(t, result)
	}
	result, err := a.Rollout(t.Context(), slug, nil, nil)
	require.NoError(t, err)
	assert.Empty(t, result.Apps)
	assert.Zero(t, a.mock.GetTotalCallCount())
}

// When little is left of the account's rate limit, requests wait for it to refill
// instead of being rejected.
func TestRolloutWaitsForTheRateLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		account := &account{tokens: 40, max: 40, at: time.Now()}
		a := newAPI(t, herokubuild.WithTransport(account))
		var apps []string
		for i := range 120 {
			apps = append(apps, "app-"+strconv.Itoa(i))
		}
		started := time.Now()
		_, err := a.Rollout(t.Context(), herokubuild.ReleaseCreateOptions{SlugID: slugID}, apps, &herokubuild.RolloutOptions{Policy: herokubuild.RolloutPolicy{Concurrency: 4}})
		require.NoError(t, err)
		assert.Zero(t, account.rejected)
		assert.Equal(t, 120, account.charged)
		// 32 requests are sent at once, and 1.25 per second after that.
		assert.InDelta(t, 70, time.Since(started).Seconds(), 20)
		assert.Less(t, account.free, 60, "the goroutines share one query of the limit")
	})
}

// account is a transport that enforces the rate limit of an account.
type account struct {
	mu          sync.Mutex
	tokens, max float64
	at          time.Time
	// charged, rejected and free count requests; queries of the limit are free.
	charged, rejected, free int
}

func (a *account) RoundTrip(req *http.Request) (*http.Response, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	a.tokens = min(a.max, a.tokens+now.Sub(a.at).Seconds()*4500/3600)
	a.at = now
	left := func() string { return strconv.Itoa(int(a.tokens)) }
	if req.URL.Path == "/account/rate-limits" {
		a.free++
		return reply(200, `{"remaining":`+left()+`}`)(req)
	}
	if a.tokens < 1 {
		a.rejected++
		return reply(429, `{"id":"rate_limit"}`)(req)
	}
	a.tokens--
	a.charged++
	return reply(201, `{"id":"`+releaseID+`","status":"succeeded","version":4}`, "RateLimit-Remaining", left())(req)
}

// The release phases take random times, and some fail. ROLLOUT_APPS sets the number
// of apps (40 by default). The rate limit allows 4.5 requests per app, which is what
// Heroku allows for a thousand apps.
func TestRolloutToManyAppsStaysWithinTheRateLimit(t *testing.T) {
	n := 40
	if text := os.Getenv("ROLLOUT_APPS"); text != "" {
		var err error
		n, err = strconv.Atoi(text)
		require.NoError(t, err)
	}
	f := newFleet(t, n, "release: echo migrating; sleep $NAP; echo done; test -z \"$FAIL\"\n",
		platform.Options{RateLimit: 1_000_000, StatusLag: 150 * time.Millisecond, ReleaseStreamDelay: 100 * time.Millisecond},
		herokubuild.WithPollBackoff(herokubuild.DefaultPollBackoff))
	r := rand.New(rand.NewPCG(1, uint64(n)))
	failing := map[string]bool{}
	for i, app := range f.apps {
		vars := map[string]string{"NAP": fmt.Sprintf("0.%02d", r.IntN(60))}
		if i == 7 || r.IntN(100) < 3 {
			failing[app], vars["FAIL"] = true, "1"
		}
		require.NoError(t, f.p.SetConfigVars(app, vars))
	}
	before := len(f.p.Requests())
	f.p.SetRateLimit(n * 9 / 2)
	started := time.Now()
	result, err := f.client.Rollout(t.Context(), f.release, f.apps, nil)
	took := time.Since(started)
	require.ErrorIs(t, err, herokubuild.ErrReleaseFailed)
	for i, app := range f.apps {
		assert.Equal(t, failing[app], result.Apps[i].Err != nil, "%s: %v", app, result.Apps[i].Err)
		want := "summer sale"
		if failing[app] {
			want += " (failed)"
			require.ErrorIs(t, result.Apps[i].Err, herokubuild.ErrReleaseFailed)
		}
		assert.Equal(t, want, f.history(app))
	}
	charged, streams, rejected := 0, 0, 0
	for _, r := range f.p.Requests()[before:] {
		switch {
		case r.Host == "stream":
			streams++
		case r.Path != "/account/rate-limits":
			charged++
		}
		if r.Status == http.StatusTooManyRequests {
			rejected++
		}
	}
	assert.Zero(t, rejected, "no request exceeds the rate limit")
	t.Logf("%d apps, %d failing, in %v: %.2f requests per app, and %.2f to the stream host", n, len(failing), took.Round(time.Millisecond), float64(charged)/float64(n), float64(streams)/float64(n))
}

// A build of a Fir app has an image instead of a slug.
func TestBuildAndReleaseReleasesImagesOfFirApps(t *testing.T) {
	t.Parallel()
	p, client := startPlatform(t, platform.Options{
		Apps: []string{"cedar-a"}, FirApps: []string{"fir-build", "fir-a", "fir-b"}, Builder: printing("compiled\n"),
	}, quickRetry())
	opts := herokubuild.BuildAndReleaseOptions{BuildApp: "fir-build", ReleaseTo: []string{"fir-a", "fir-b"}, Archive: archiveOf(t)}
	p.SetFaults(onCall("POST", "/fir-a/releases", platform.Fault{Lost: true}))
	result, err := client.BuildAndRelease(t.Context(), opts)
	require.NoError(t, err)
	assert.Empty(t, result.Artifact.SlugID)
	image := result.Apps[0].Release.Artifact().ImageID
	require.NotEmpty(t, image)
	for _, r := range result.Apps {
		assert.Equal(t, image, r.Release.Artifact().ImageID)
		assert.Equal(t, 1, releasesOf(p, r.App))
	}

	opts.ReleaseTo = []string{"cedar-a"}
	_, err = client.BuildAndRelease(t.Context(), opts)
	require.ErrorIs(t, err, herokubuild.ErrUnsupportedGeneration)
	opts.ReleaseTo, opts.Buildpacks = nil, []herokubuild.Buildpack{{URL: "https://github.com/heroku/heroku-buildpack-go"}}
	_, err = client.BuildAndRelease(t.Context(), opts)
	require.ErrorIs(t, err, herokubuild.ErrUnsupportedGeneration)
	assert.Len(t, p.Builds("fir-build"), 1, "the generations are checked before the build")
}

// A rollout that takes too long ends as if its context had, with the outcomes so far.
func TestRolloutEndsWithItsTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := herokutest.NewServer(t, &herokutest.Options{
			Apps: []string{"builder", "fast", "slow"}, InMemory: true,
			Build: func(_ context.Context, job *herokutest.BuildJob) error {
				job.SetProcessType("release", "migrate")
				return nil
			},
			ReleasePhase: func(ctx context.Context, job *herokutest.ReleaseJob) error {
				if job.App == "slow" {
					return job.Sleep(ctx, time.Hour)
				}
				return nil
			},
		})
		client := srv.Client()
		built, err := client.BuildAndRelease(t.Context(), herokubuild.BuildAndReleaseOptions{BuildApp: "builder", Dir: sourceDir(t, map[string]string{"Procfile": "web: x\n"})})
		require.NoError(t, err)
		began := time.Now()
		result, err := client.Rollout(t.Context(), herokubuild.ReleaseCreateOptions{SlugID: built.Artifact.SlugID}, []string{"fast", "slow"}, &herokubuild.RolloutOptions{Timeout: time.Minute})
		require.ErrorIs(t, err, herokubuild.ErrWaitTimeout)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, time.Minute, time.Since(began))
		assert.Equal(t, herokubuild.AppReleased, result.Apps[0].Outcome())
		assert.Equal(t, herokubuild.AppUnknown, result.Apps[1].Outcome())
	})
}

// Names and IDs can be compared only by a request, whose failure has outcomes as well.
func TestRolloutThatCannotCompareItsAppsHasOutcomes(t *testing.T) {
	t.Parallel()
	down := errors.New("down")
	client, err := herokubuild.NewClient(herokubuild.WithToken(testToken), noRetry(), herokubuild.WithTransport(roundTripper(func(*http.Request) (*http.Response, error) { return nil, down })))
	require.NoError(t, err)
	result, err := client.Rollout(t.Context(), herokubuild.ReleaseCreateOptions{SlugID: slugID}, []string{"shop", appID}, nil)
	var failed *herokubuild.RolloutError
	require.ErrorAs(t, err, &failed)
	require.ErrorIs(t, err, down)
	require.Len(t, result.Apps, 2)
	assert.Equal(t, herokubuild.AppNotAttempted, result.Apps[1].Outcome())
	_, err = client.Rollout(t.Context(), herokubuild.ReleaseCreateOptions{SlugID: slugID}, []string{"shop", "shop"}, nil)
	require.ErrorIs(t, err, herokubuild.ErrInvalidArgument)
}

// An app of which a call could not find out whether it has the release has not failed.
func TestOutcomeOfAnAppThatWasNotObservedIsUnknown(t *testing.T) {
	t.Parallel()
	procfile := map[string]string{"Procfile": "web: x\n"}
	start := func(t *testing.T) (*herokutest.Server, herokubuild.ReleaseCreateOptions) {
		srv := herokutest.NewServer(t, &herokutest.Options{Apps: []string{"builder", "shop"}, InMemory: true})
		built, err := srv.Client().BuildAndRelease(t.Context(), herokubuild.BuildAndReleaseOptions{BuildApp: "builder", Dir: sourceDir(t, procfile)})
		require.NoError(t, err)
		return srv, herokubuild.ReleaseCreateOptions{SlugID: built.Artifact.SlugID}
	}
	shop := []string{"shop"}
	for name, run := range map[string]func(t *testing.T) []herokubuild.AppResult{
		"the time is up during Verify": func(t *testing.T) []herokubuild.AppResult {
			srv, release := start(t)
			result, err := srv.Client().Rollout(t.Context(), release, shop, &herokubuild.RolloutOptions{Timeout: time.Minute, Policy: herokubuild.RolloutPolicy{
				Verify: func(ctx context.Context, _ string, _ *herokubuild.Release) error {
					<-ctx.Done()
					return ctx.Err()
				},
			}})
			require.ErrorIs(t, err, herokubuild.ErrWaitTimeout)
			return result.Apps
		},
		"resumed after the end of the context": func(t *testing.T) []herokubuild.AppResult {
			srv, release := start(t)
			result, err := srv.Client().Rollout(t.Context(), release, shop, nil)
			require.NoError(t, err)
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			result, err = srv.Client().Rollout(ctx, release, shop, &herokubuild.RolloutOptions{Checkpoint: result.Checkpoint})
			require.ErrorIs(t, err, context.Canceled)
			return result.Apps
		},
		"resumed while the API is down": func(t *testing.T) []herokubuild.AppResult {
			srv, release := start(t)
			result, err := srv.Client().Rollout(t.Context(), release, shop, nil)
			require.NoError(t, err)
			down := errors.New("down")
			client := srv.Client(herokubuild.WithTransport(roundTripper(func(*http.Request) (*http.Response, error) { return nil, down })))
			result, err = client.Rollout(t.Context(), release, shop, &herokubuild.RolloutOptions{Checkpoint: result.Checkpoint})
			require.ErrorIs(t, err, down)
			return result.Apps
		},
		"ended after the build": func(t *testing.T) []herokubuild.AppResult {
			srv, _ := start(t)
			ctx, cancel := context.WithCancel(t.Context())
			result, err := srv.Client().BuildAndRelease(ctx, herokubuild.BuildAndReleaseOptions{
				BuildApp: "builder", Dir: sourceDir(t, procfile),
				OnEvent: func(_ context.Context, e herokubuild.DeployEvent) error {
					if e.Kind == herokubuild.EventBuildDone {
						cancel()
					}
					return nil
				},
			})
			require.ErrorIs(t, err, context.Canceled)
			return result.Apps
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				assert.Equal(t, herokubuild.AppUnknown, run(t)[0].Outcome())
			})
		})
	}
}
