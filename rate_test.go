package herokubuild_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
)

func TestRateLimitRemaining(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.on("GET", apiURL+"/account/rate-limits", reply(200, `{"remaining": 2399}`), reply(200, `{"remaining": 0}`), reply(200, `{}`), reply(200, `{"remaining": null}`))
	left, err := a.RateLimitRemaining(t.Context())
	require.NoError(t, err)
	assert.Equal(t, 2399, left)
	assertCall(t, a.seen()[0], "GET", apiURL+"/account/rate-limits", "")
	left, err = a.RateLimitRemaining(t.Context())
	require.NoError(t, err)
	assert.Zero(t, left)
	for range 2 {
		// Taken for zero, a fan-out would wait for ever.
		_, err = a.RateLimitRemaining(t.Context())
		require.ErrorIs(t, err, herokubuild.ErrUnexpectedResponse)
	}
}

// What no pool can be is none, and neither waited on nor taken for plenty.
func TestRateLimitRemainingIsNeverNegative(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.on("GET", apiURL+"/account/rate-limits", reply(200, `{"remaining": -9223372036854775808}`))
	left, err := a.RateLimitRemaining(t.Context())
	require.NoError(t, err)
	assert.Zero(t, left)
}

// A pool refills within an hour. One that is said to be empty for longer is not
// waited for: whether a request is refused is for the platform to say.
func TestPoolThatNeverRefills(t *testing.T) {
	t.Parallel()
	for name, remaining := range map[string]string{"empty": "0", "overdrawn": "-9223372036854775808", "one": "1"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				option, lines := logger()
				a := newAPI(t, option)
				a.on("GET", apiURL+"/account/rate-limits", reply(200, `{"remaining": `+remaining+`}`))
				apps := []string{"app-1", "app-2", "app-3"}
				for _, app := range apps {
					a.on("POST", apiURL+"/apps/"+app+"/releases",
						reply(201, `{"id":"`+releaseID+`","version":4,"status":"succeeded"}`, "RateLimit-Remaining", "0"))
				}
				_, err := a.RateLimitRemaining(t.Context())
				require.NoError(t, err)
				start := time.Now()
				outcomes, err := a.Releases.ReleaseToApps(t.Context(), herokubuild.ReleaseCreateOptions{Slug: slugID}, apps, nil)
				require.NoError(t, err)
				assert.Len(t, outcomes, 3)
				assert.GreaterOrEqual(t, time.Since(start), time.Hour, "for the first of them")
				assert.Less(t, time.Since(start), time.Hour+time.Minute, "and not for each")
				waits := 0
				for _, line := range lines(t) {
					if line["msg"] == "herokubuild: waiting for the account's rate limit" {
						waits++
						assert.Positive(t, line["wait"])
					}
				}
				assert.Less(t, waits, 1000)
				assert.Positive(t, waits, "it is said why it takes an hour")
			})
		})
	}
}
