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
	"github.com/herokubuild/herokubuild/internal/platform"
)

// fleet is a platform with a slug and apps to release it to. Each app has run
// another slug before: v3.
type fleet struct {
	p      *platform.Platform
	client *herokubuild.Client
	apps   []string
	what   herokubuild.ReleaseCreateOptions
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
	_, err := f.client.Rollout(t.Context(), herokubuild.ReleaseCreateOptions{Slug: before}, f.apps, nil)
	require.NoError(t, err)
	f.what = herokubuild.ReleaseCreateOptions{Slug: slug(procfile), Description: "summer sale"}
	return f
}

// fails makes the release phase of an app fail, where the Procfile says
// "release: test -z $FAIL".
func (f *fleet) fails(t *testing.T, apps ...string) {
	t.Helper()
	for _, app := range apps {
		require.NoError(t, f.p.SetConfigVars(app, map[string]string{"FAIL": "1"}))
	}
}

const phased = "release: echo migrating $HEROKU_APP_NAME; test -z \"$FAIL\"\n"

// rolloutToken is what tells the releases of one call of ReleaseToApps from
// others.
var rolloutToken = regexp.MustCompile(` \(rollout [0-9a-f]{12}\)$`)

// history is the descriptions, without the token of the rollout, and statuses of
// an app's releases from v4 on.
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

func (f *fleet) histories() map[string]string {
	all := map[string]string{}
	for _, app := range f.apps {
		all[app] = f.history(app)
	}
	return all
}

func TestRollout(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 20, phased, platform.Options{})
	var log eventLog
	result, err := f.client.Rollout(t.Context(), f.what, f.apps, &herokubuild.RolloutOptions{Policy: herokubuild.RolloutPolicy{Concurrency: 4}, OnEvent: log.on})
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

func TestRolloutFailures(t *testing.T) {
	t.Parallel()
	unwell := errors.New("the health check says 503")
	unwellIs := func(sick ...string) func(context.Context, string, *herokubuild.Release) error {
		return func(_ context.Context, app string, r *herokubuild.Release) error {
			for _, s := range sick {
				if app == s {
					return unwell
				}
			}
			return nil
		}
	}
	const (
		done   = "summer sale"
		failed = "summer sale (failed)"
		back   = "summer sale, Rollback to v3"
	)
	tests := map[string]struct {
		opts  herokubuild.RolloutOptions
		fails []string
		// history is that of app-1 to app-5; want the sentinel of each outcome.
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
		"a canary is not well": {
			opts:    herokubuild.RolloutOptions{Policy: herokubuild.RolloutPolicy{Canaries: 1, Verify: unwellIs("app-1")}},
			history: [5]string{done},
			want:    [5]error{herokubuild.ErrVerifyFailed, herokubuild.ErrNotAttempted, herokubuild.ErrNotAttempted, herokubuild.ErrNotAttempted, herokubuild.ErrNotAttempted},
		},
		"the unwell go back": {
			opts:    herokubuild.RolloutOptions{Policy: herokubuild.RolloutPolicy{Canaries: 1, Verify: unwellIs("app-3"), Rollback: herokubuild.RollbackUnverified}},
			fails:   []string{"app-5"},
			history: [5]string{done, done, back, done, failed},
			want:    [5]error{nil, nil, herokubuild.ErrVerifyFailed, nil, herokubuild.ErrReleaseFailed},
		},
		"all go back": {
			opts:    herokubuild.RolloutOptions{Policy: herokubuild.RolloutPolicy{Canaries: 2, Verify: unwellIs("app-3"), Rollback: herokubuild.RollbackAll}},
			fails:   []string{"app-5"},
			history: [5]string{back, back, back, back, failed},
			want: [5]error{
				herokubuild.ErrRolledBack, herokubuild.ErrRolledBack, herokubuild.ErrVerifyFailed, herokubuild.ErrRolledBack, herokubuild.ErrReleaseFailed,
			},
		},
		"all well": {
			opts:    herokubuild.RolloutOptions{Policy: herokubuild.RolloutPolicy{Canaries: 5, Verify: unwellIs(), Rollback: herokubuild.RollbackAll}},
			history: [5]string{done, done, done, done, done},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, 5, phased, platform.Options{})
			f.fails(t, tt.fails...)
			result, err := f.client.Rollout(t.Context(), f.what, f.apps, &tt.opts)
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
			if tt.opts.Policy.Verify != nil {
				assert.Equal(t, !errors.Is(err, herokubuild.ErrVerifyFailed), !errors.Is(err, unwell), "the caller's own error")
			}
		})
	}
}

func TestAppOutcome(t *testing.T) {
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

// What goes on while the releases are made is not undone by a rollback.
func TestRollbackLeavesNewerReleasesAlone(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1, "web: new\n", platform.Options{})
	result, err := f.client.Rollout(t.Context(), f.what, f.apps, &herokubuild.RolloutOptions{
		Policy: herokubuild.RolloutPolicy{
			Rollback: herokubuild.RollbackAll,
			Verify: func(ctx context.Context, app string, r *herokubuild.Release) error {
				_, err := f.client.Releases.Create(ctx, app, herokubuild.ReleaseCreateOptions{Slug: f.what.Slug, Description: "somebody else's"})
				return errors.Join(err, errors.New("unwell"))
			},
		},
	})
	require.ErrorIs(t, err, herokubuild.ErrVerifyFailed)
	require.ErrorIs(t, result.Apps[0].RollbackErr, herokubuild.ErrSuperseded)
	require.ErrorIs(t, err, herokubuild.ErrRollbackFailed)
	assert.Nil(t, result.Apps[0].RolledBack)
	assert.Equal(t, "summer sale, somebody else's", f.history("app-1"))
}

// An app that could not be taken back is not said to be back.
func TestRollbackThatFailsIsSaid(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3, "web: new\n", platform.Options{})
	// The release is made by name, the rollback by the id that is known then.
	f.p.SetFaults(onCall("POST", "/apps/"+f.p.AppID("app-1")+"/releases", platform.Fault{Status: 403}))
	result, err := f.client.Rollout(t.Context(), f.what, f.apps, &herokubuild.RolloutOptions{
		Policy: herokubuild.RolloutPolicy{
			Rollback: herokubuild.RollbackAll,
			Verify: func(_ context.Context, app string, _ *herokubuild.Release) error {
				if app == "app-3" {
					return errors.New("unwell")
				}
				return nil
			},
		},
	})
	assert.Equal(t, []string{"summer sale", "summer sale, Rollback to v3", "summer sale, Rollback to v3"},
		[]string{f.history("app-1"), f.history("app-2"), f.history("app-3")})
	require.ErrorIs(t, result.Apps[0].Err, herokubuild.ErrRollbackFailed)
	require.NotErrorIs(t, result.Apps[0].Err, herokubuild.ErrRolledBack)
	require.ErrorIs(t, result.Apps[0].RollbackErr, herokubuild.ErrForbidden)
	assert.Nil(t, result.Apps[0].RolledBack)
	require.ErrorIs(t, result.Apps[1].Err, herokubuild.ErrRolledBack)
	require.NotErrorIs(t, result.Apps[2].Err, herokubuild.ErrRollbackFailed)
	require.ErrorIs(t, err, herokubuild.ErrForbidden)
	require.ErrorContains(t, err, "app-1: not rolled back")
	assertErrorClean(t, err)
}

// Where it is not known whether an app has got the release, it is not known
// whether it is back.
func TestRollbackOfWhatIsNotKnown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAPI(t)
		a.on("POST", releasesURL, hang)
		a.on("GET", releasesURL, reply(200, "[]"))
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		result, err := a.Rollout(ctx, herokubuild.ReleaseCreateOptions{Slug: slugID}, []string{appName}, &herokubuild.RolloutOptions{Policy: herokubuild.RolloutPolicy{Rollback: herokubuild.RollbackAll}})
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, result.Apps[0].Err, herokubuild.ErrRollbackFailed)
		require.ErrorIs(t, result.Apps[0].RollbackErr, herokubuild.ErrMaybeApplied)
	})
}

// An ended context skips what has not begun and, where that is wanted, takes
// back what has, on the platform's time and not the caller's.
func TestRolloutIsCancelled(t *testing.T) {
	t.Parallel()
	for name, rollback := range map[string]herokubuild.RollbackPolicy{"left": herokubuild.RollbackNone, "rolled back": herokubuild.RollbackAll} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, 4, phased, platform.Options{})
			ctx, cancel := context.WithCancel(t.Context())
			result, err := f.client.Rollout(ctx, f.what, f.apps, &herokubuild.RolloutOptions{
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
				assert.Equal(t, want, f.history("app-2"), "it was pending, and is awaited first")
			}
			assert.Equal(t, want, f.history("app-1"))
		})
	}
}

// Lost answers make no second release and no second rollback.
func TestFanOutWithLostAnswers(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]platform.Fault{
		"lost": {Lost: true}, "502 after it": {StatusAfter: 502, HTML: true}, "cut request": {CutRequestAfter: 5}, "500 instead": {Status: 500},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, 3, phased, platform.Options{})
			f.p.SetFaults(func(at platform.FaultPoint) platform.Fault {
				if at.Method == "POST" && at.Nth%2 == 0 {
					return fault
				}
				return platform.Fault{}
			})
			result, err := f.client.Rollout(t.Context(), f.what, f.apps, &herokubuild.RolloutOptions{
				Policy: herokubuild.RolloutPolicy{
					Rollback: herokubuild.RollbackAll,
					Verify: func(_ context.Context, app string, _ *herokubuild.Release) error {
						if app == "app-3" {
							return errors.New("unwell")
						}
						return nil
					},
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

// A release that was there before, of the same slug with the same description,
// is not adopted for one whose response was lost, whatever the clocks say.
func TestOnlyAReleaseOfThisRolloutIsAdopted(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]platform.Fault{"took effect": {Lost: true}, "no effect": {CutRequestAfter: 1}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, 1, "web: new\n", platform.Options{})
			first, err := f.client.Rollout(t.Context(), f.what, f.apps, nil)
			require.NoError(t, err)
			f.p.SetFaults(onCall("POST", "/app-1/releases", fault))
			second, err := f.client.Rollout(t.Context(), f.what, f.apps, nil)
			require.NoError(t, err)
			assert.Equal(t, "summer sale, summer sale", f.history("app-1"))
			assert.NotEqual(t, first.Apps[0].Release.ID, second.Apps[0].Release.ID)
			assert.Equal(t, 5, second.Apps[0].Release.Version)
		})
	}
}

// A process that ends at any event, without a word to anybody, is followed by
// one that goes on: with the releases, or with the rollback.
func TestAnotherProcessGoesOnWithAFanOut(t *testing.T) {
	t.Parallel()
	verify := func(_ context.Context, app string, _ *herokubuild.Release) error {
		if app == "app-3" {
			return errors.New("unwell")
		}
		return nil
	}
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
			opts: herokubuild.RolloutOptions{Policy: herokubuild.RolloutPolicy{Concurrency: 1, Canaries: 1, Verify: verify, Rollback: herokubuild.RollbackAll}},
			want: map[string]string{"app-1": "summer sale, Rollback to v3", "app-2": "summer sale, Rollback to v3", "app-3": "summer sale, Rollback to v3"},
			err:  herokubuild.ErrRolledBack,
		},
	} {
		var log eventLog
		opts := tt.opts
		opts.OnEvent = log.on
		f := newFleet(t, 3, phased, platform.Options{})
		_, err := f.client.Rollout(t.Context(), f.what, f.apps, &opts)
		if tt.err == nil {
			require.NoError(t, err)
		}
		require.Equal(t, tt.want, f.histories())
		for i, event := range log.events {
			t.Run(fmt.Sprintf("%s, %s of %s", name, event.Kind, event.App), func(t *testing.T) {
				t.Parallel()
				f := newFleet(t, 3, phased, platform.Options{})
				// It dies: nothing that it sends from then on arrives.
				ctx, cancel := context.WithCancel(t.Context())
				dying := &mortal{next: http.DefaultTransport}
				doomed, err := herokubuild.NewClient(herokubuild.WithBaseURL(f.p.URL()), herokubuild.WithToken(f.p.Token()), quickRetry(),
					herokubuild.WithPollBackoff(func(int) time.Duration { return time.Millisecond }),
					herokubuild.WithHTTPClient(&http.Client{Transport: dying}))
				require.NoError(t, err)
				opts := tt.opts
				var saved herokubuild.Checkpoint
				seen := 0
				opts.OnEvent = func(_ context.Context, e herokubuild.DeployEvent) error {
					if seen++; seen == i+1 {
						saved = e.Checkpoint
						dying.die()
						cancel()
					}
					return nil
				}
				_, err = doomed.Rollout(ctx, f.what, f.apps, &opts)
				if seen <= i {
					t.Fatalf("it ended before event %d", i)
				}
				if tt.err != nil || i+1 < len(log.events) {
					require.Error(t, err)
				}

				opts.OnEvent, opts.Checkpoint = nil, roundTrip(t, saved)
				result, err := f.client.Rollout(t.Context(), f.what, f.apps, &opts)
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

// mortal is the network of a process that ends.
type mortal struct {
	next http.RoundTripper
	mu   sync.Mutex
	dead bool
}

func (m *mortal) die() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dead = true
}

func (m *mortal) RoundTrip(req *http.Request) (*http.Response, error) {
	m.mu.Lock()
	dead := m.dead
	m.mu.Unlock()
	if dead {
		return nil, errDropped
	}
	return m.next.RoundTrip(req)
}

func TestRolloutRefuses(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	slug := herokubuild.ReleaseCreateOptions{Slug: slugID}
	for name, tt := range map[string]struct {
		what herokubuild.ReleaseCreateOptions
		apps []string
		opts herokubuild.RolloutOptions
	}{
		"ReleaseCreateOptions":          {},
		"Slug":                          {what: herokubuild.ReleaseCreateOptions{Slug: "v12"}},
		"apps":                          {what: slug, apps: []string{"a-b", "a-b"}},
		"RolloutPolicy.Concurrency":     {what: slug, opts: herokubuild.RolloutOptions{Policy: herokubuild.RolloutPolicy{Concurrency: -1}}},
		"RolloutPolicy.Canaries":        {what: slug, apps: []string{"a-b"}, opts: herokubuild.RolloutOptions{Policy: herokubuild.RolloutPolicy{Canaries: -1}}},
		"RolloutPolicy.Rollback":        {what: slug, opts: herokubuild.RolloutOptions{Policy: herokubuild.RolloutPolicy{Rollback: herokubuild.RollbackUnverified}}},
		"RolloutPolicy.RollbackTimeout": {what: slug, opts: herokubuild.RolloutOptions{Policy: herokubuild.RolloutPolicy{RollbackTimeout: -1}}},
		"RolloutOptions.IdleTimeout":    {what: slug, opts: herokubuild.RolloutOptions{IdleTimeout: -1}},
		"Checkpoint":                    {what: slug, opts: herokubuild.RolloutOptions{Checkpoint: herokubuild.Checkpoint{ArtifactID: releaseID}}},
	} {
		result, err := a.Rollout(t.Context(), tt.what, tt.apps, &tt.opts)
		requireInvalid(t, err, name)
		assert.Nil(t, result)
	}
	result, err := a.Rollout(t.Context(), slug, nil, nil)
	require.NoError(t, err)
	assert.Empty(t, result.Apps)
	assert.Zero(t, a.mock.GetTotalCallCount())
}

// With little left of the account's rate limit, requests wait for more instead
// of being refused.
func TestFanOutKeepsTheRateLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		account := &account{tokens: 40, max: 40, at: time.Now()}
		a := newAPI(t, herokubuild.WithHTTPClient(&http.Client{Transport: account}))
		var apps []string
		for i := range 120 {
			apps = append(apps, "app-"+strconv.Itoa(i))
		}
		started := time.Now()
		_, err := a.Rollout(t.Context(), herokubuild.ReleaseCreateOptions{Slug: slugID}, apps, &herokubuild.RolloutOptions{Policy: herokubuild.RolloutPolicy{Concurrency: 4}})
		require.NoError(t, err)
		assert.Zero(t, account.refused)
		assert.Equal(t, 120, account.charged)
		// 32 at once, and the others as they come back, 1.25 a second.
		assert.InDelta(t, 70, time.Since(started).Seconds(), 20)
		assert.Less(t, account.free, 60, "one asks for all")
	})
}

// account is a platform of which only the rate limit counts.
type account struct {
	mu                     sync.Mutex
	tokens, max            float64
	at                     time.Time
	charged, refused, free int
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
		a.refused++
		return reply(429, `{"id":"rate_limit"}`)(req)
	}
	a.tokens--
	a.charged++
	return reply(201, `{"id":"`+releaseID+`","status":"succeeded","version":4}`, "RateLimit-Remaining", left())(req)
}

// TestFleet releases to many apps on a platform that keeps to its rate limit,
// with release phases of random length of which some fail. FLEET_APPS is how
// many there are (40 if it is not set; the pool of requests is 4.5 an app, as
// it is with a thousand).
func TestFleet(t *testing.T) {
	n := 40
	if text := os.Getenv("FLEET_APPS"); text != "" {
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
	result, err := f.client.Rollout(t.Context(), f.what, f.apps, nil)
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
	charged, streams, refused := 0, 0, 0
	for _, r := range f.p.Requests()[before:] {
		switch {
		case r.Host == "stream":
			streams++
		case r.Path != "/account/rate-limits":
			charged++
		}
		if r.Status == http.StatusTooManyRequests {
			refused++
		}
	}
	assert.Zero(t, refused, "no request is refused for the rate limit")
	t.Logf("%d apps, %d failing, in %v: %.2f requests an app, and %.2f to the stream host", n, len(failing), took.Round(time.Millisecond), float64(charged)/float64(n), float64(streams)/float64(n))
}

// Fir apps have no slugs: what a build makes of them is an image.
func TestBuildAndReleaseOfFirApps(t *testing.T) {
	t.Parallel()
	p, client := startPlatform(t, platform.Options{
		Apps: []string{"cedar-a"}, FirApps: []string{"fir-build", "fir-a", "fir-b"}, Builder: printing("compiled\n"),
	}, quickRetry())
	opts := herokubuild.BuildAndReleaseOptions{BuildApp: "fir-build", ReleaseTo: []string{"fir-a", "fir-b"}, Archive: archiveOf(t)}
	p.SetFaults(onCall("POST", "/fir-a/releases", platform.Fault{Lost: true}))
	result, err := client.BuildAndRelease(t.Context(), opts)
	require.NoError(t, err)
	assert.Empty(t, result.Artifact.SlugID)
	image := result.Apps[0].Release.Image()
	require.NotEmpty(t, image)
	for _, r := range result.Apps {
		assert.Equal(t, image, r.Release.Image())
		assert.Equal(t, 1, releasesOf(p, r.App))
	}

	opts.ReleaseTo = []string{"cedar-a"}
	_, err = client.BuildAndRelease(t.Context(), opts)
	require.ErrorIs(t, err, herokubuild.ErrUnsupportedGeneration)
	opts.ReleaseTo, opts.Buildpacks = nil, []herokubuild.Buildpack{{URL: "https://github.com/heroku/heroku-buildpack-go"}}
	_, err = client.BuildAndRelease(t.Context(), opts)
	require.ErrorIs(t, err, herokubuild.ErrUnsupportedGeneration)
	assert.Len(t, p.Builds("fir-build"), 1, "found out before anything is built")
}
