package herokubuild_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
)

func build(status string) string {
	return `{"id":"` + buildID + `","version":12,"status":"` + status + `"}`
}

func TestStatus(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		want  herokubuild.Status
		final bool
	}{
		`"pending"`:    {herokubuild.StatusPending, false},
		`"succeeded"`:  {herokubuild.StatusSucceeded, true},
		`"successful"`: {herokubuild.StatusSucceeded, true},
		`"failed"`:     {herokubuild.StatusFailed, true},
		`"expired"`:    {herokubuild.StatusExpired, true},
		`"canceling"`:  {"canceling", false},
		`""`:           {"", false},
		`null`:         {"", false},
	}
	for text, tt := range tests {
		status := herokubuild.Status("before")
		require.NoError(t, json.Unmarshal([]byte(text), &status))
		assert.Equal(t, tt.want, status)
		assert.Equal(t, tt.final, status.Final(), text)
	}
	require.Error(t, json.Unmarshal([]byte(`5`), new(herokubuild.Status)))
}

func TestWaitForBuild(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAPI(t)
		a.on("GET", buildURL, reply(200, build("pending")), reply(200, build("pending")), replyFile(t, 200, "build_succeeded.json"))
		var updates []herokubuild.Status
		b, err := a.Builds.Wait(t.Context(), appName, buildID, &herokubuild.WaitOptions{
			OnPoll: func(s herokubuild.Status) { updates = append(updates, s) },
		})
		require.NoError(t, err)
		assert.Equal(t, slugID, b.Slug.ID)
		assert.Equal(t, []herokubuild.Status{"pending", "pending", "succeeded"}, updates)
	})
}

func TestWaitOutcomes(t *testing.T) {
	t.Parallel()
	kinds := map[string]struct {
		url  string
		wait func(*api, context.Context) (bool, error)
		is   error
	}{
		"build": {buildURL, func(a *api, ctx context.Context) (bool, error) {
			b, err := a.Builds.Wait(ctx, appName, buildID, nil)
			return b == nil, err
		}, herokubuild.ErrBuildFailed},
		"release": {releasesURL + "/12", func(a *api, ctx context.Context) (bool, error) {
			r, err := a.Releases.Wait(ctx, appName, "v12", nil)
			return r == nil, err
		}, herokubuild.ErrReleaseFailed},
	}
	for kind, k := range kinds {
		for status, want := range map[string]error{
			"succeeded": nil, "successful": nil, "failed": k.is, "expired": k.is,
			"canceled": herokubuild.ErrUnknownStatus, "": herokubuild.ErrUnknownStatus,
		} {
			t.Run(kind+" "+status, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					a := newAPI(t)
					a.on("GET", k.url, reply(200, build("pending")), reply(200, build(status)))
					none, err := k.wait(a, t.Context())
					assert.Equal(t, want != nil, none)
					require.ErrorIs(t, err, want)
					assert.Len(t, a.seen(), 2)
				})
			})
		}
	}
}

func TestWaitErrorsNameTheResource(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for status, want := range map[string]error{"pending": herokubuild.ErrWaitTimeout, "canceled": herokubuild.ErrUnknownStatus} {
			a := newAPI(t)
			a.on("GET", buildURL, reply(200, build(status)))
			a.on("GET", releasesURL+"/12", reply(200, build(status)))
			opts := &herokubuild.WaitOptions{Timeout: time.Minute}
			_, err := a.Builds.Wait(t.Context(), appName, buildID, opts)
			require.ErrorIs(t, err, want)
			assert.Contains(t, err.Error(), "build "+buildID+" of "+appName)
			_, err = a.Releases.Wait(t.Context(), appName, "v12", opts)
			require.ErrorIs(t, err, want)
			assert.Contains(t, err.Error(), "release v12 of "+appName)
		}
	})
}

func TestMissingOutputNamesTheResource(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.on("GET", buildURL, reply(200, build("pending")))
	a.on("GET", releasesURL+"/12", reply(200, build("pending")))
	_, err := a.Builds.Output(t.Context(), appName, buildID, nil)
	require.ErrorIs(t, err, herokubuild.ErrNoOutput)
	assert.Contains(t, err.Error(), "build "+buildID)
	_, err = a.Releases.Output(t.Context(), appName, "v12", nil)
	require.ErrorIs(t, err, herokubuild.ErrNoOutput)
	assert.Contains(t, err.Error(), "release v12")
}

func TestWaitErrorsCarryTheResource(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.on("GET", buildURL, reply(200, build("failed")))
	a.on("GET", releasesURL+"/"+releaseID, replyFile(t, 200, "release_first.json"))
	_, err := a.Builds.Wait(t.Context(), appName, buildID, nil)
	var failed *herokubuild.BuildError
	require.ErrorAs(t, err, &failed)
	assert.Equal(t, appName, failed.App)
	assert.Equal(t, buildID, failed.Build.ID)

	_, err = a.Releases.Wait(t.Context(), appName, releaseID, nil)
	var gone *herokubuild.ReleaseError
	require.ErrorAs(t, err, &gone)
	assert.Equal(t, appName, gone.App)
	assert.Equal(t, herokubuild.StatusExpired, gone.Release.Status)
}

func TestWaitPollsLessAndLessOften(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAPI(t)
		a.on("GET", buildURL, reply(200, build("pending")))
		started := time.Now()
		_, err := a.Builds.Wait(t.Context(), appName, buildID, &herokubuild.WaitOptions{Timeout: 20 * time.Minute})
		require.ErrorIs(t, err, herokubuild.ErrWaitTimeout)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Contains(t, err.Error(), "20m0s")
		assert.Equal(t, 20*time.Minute, time.Since(started))
		gaps := a.gaps()
		within(t, 75, 100, gaps[0])
		within(t, 150, 200, gaps[1])
		within(t, 300, 400, gaps[2])
		for _, gap := range gaps[3:12] {
			within(t, 375, 500, gap)
		}
		for _, gap := range gaps[20:] {
			within(t, 3750, 5000, gap)
		}
		// The hourly allowance is 4,500 requests.
		assert.Less(t, len(gaps), 400)
	})
}

func within(t *testing.T, least, most int, d time.Duration) {
	t.Helper()
	assert.GreaterOrEqual(t, d, time.Duration(least)*time.Millisecond)
	assert.LessOrEqual(t, d, time.Duration(most)*time.Millisecond)
}

func TestDefaultPollBackoffIsBounded(t *testing.T) {
	t.Parallel()
	for _, polls := range []int{-1, 0, 1, 2, 13, 1 << 40} {
		d := herokubuild.DefaultPollBackoff(polls)
		assert.Positive(t, d, polls)
		assert.LessOrEqual(t, d, 5*time.Second, polls)
	}
}

func TestWaitBackoff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var polls []int
		record := func(d time.Duration) herokubuild.Backoff {
			return func(n int) time.Duration {
				polls = append(polls, n)
				return d
			}
		}
		a := newAPI(t, herokubuild.WithPollBackoff(record(7*time.Second)))
		a.on("GET", buildURL, reply(200, build("pending")), reply(200, build("pending")), reply(200, build("succeeded")))
		_, err := a.Builds.Wait(t.Context(), appName, buildID, nil)
		require.NoError(t, err)
		assert.Equal(t, []int{1, 2}, polls)
		assert.Equal(t, []time.Duration{7 * time.Second, 7 * time.Second}, a.gaps())

		a = newAPI(t, herokubuild.WithPollBackoff(record(time.Hour)))
		a.on("GET", releasesURL+"/3", reply(200, build("pending")), reply(200, build("succeeded")))
		_, err = a.Releases.Wait(t.Context(), appName, "3", &herokubuild.WaitOptions{Backoff: record(-5)})
		require.NoError(t, err)
		assert.Equal(t, []time.Duration{time.Millisecond}, a.gaps(), "no wait at all would be a tight loop")
	})
}

func TestWaitCanceled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAPI(t, herokubuild.WithPollBackoff(func(int) time.Duration { return time.Hour }))
		a.on("GET", buildURL, reply(200, build("pending")))
		cause := errors.New("the operator has had enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Minute, func() { cancel(cause) })
		started := time.Now()
		b, err := a.Builds.Wait(ctx, appName, buildID, nil)
		assert.Nil(t, b)
		assert.Equal(t, time.Minute, time.Since(started))
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, err, cause)
		require.NotErrorIs(t, err, herokubuild.ErrWaitTimeout)
		assert.Contains(t, err.Error(), "still pending")
	})
}

// The timeout also ends a request that is under way.
func TestWaitTimeoutDuringARequest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAPI(t)
		a.on("GET", buildURL, hang)
		started := time.Now()
		_, err := a.Builds.Wait(t.Context(), appName, buildID, &herokubuild.WaitOptions{Timeout: 10 * time.Second})
		require.ErrorIs(t, err, herokubuild.ErrWaitTimeout)
		assert.Equal(t, 10*time.Second, time.Since(started))
	})
}

func TestWaitRefuses(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	_, err := a.Builds.Wait(t.Context(), appName, buildID, &herokubuild.WaitOptions{Timeout: -1})
	requireInvalid(t, err, "WaitOptions.Timeout")
	_, err = a.Builds.Wait(t.Context(), "", buildID, nil)
	requireInvalid(t, err, "app")
	_, err = a.Releases.Wait(t.Context(), appName, "latest", nil)
	requireInvalid(t, err, "release")
	a.on("GET", buildURL, reply(404, golden(t, "error_not_found.json")))
	_, err = a.Builds.Wait(t.Context(), appName, buildID, nil)
	require.ErrorIs(t, err, herokubuild.ErrNotFound)
}
