package herokubuild_test

import (
	"testing"

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
		require.ErrorIs(t, err, herokubuild.ErrUnexpectedAnswer)
	}
}
