package herokubuild_test

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
)

const uuid4 = `^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`

// A call has one id, whatever its attempts, and another call another one.
func TestRequestID(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAPI(t)
		a.on("GET", buildURL, fail(errDropped), reply(503, ""), replyFile(t, 200, "build_succeeded.json"))
		seen := map[string]bool{}
		for range 3 {
			_, err := a.Builds.Get(t.Context(), appName, buildID)
			require.NoError(t, err)
		}
		for _, r := range a.seen() {
			require.Len(t, r.Header["Request-Id"], 1)
			assert.Regexp(t, uuid4, r.Header.Get("Request-Id"))
			seen[r.Header.Get("Request-Id")] = true
		}
		assert.Len(t, a.seen(), 5)
		assert.Len(t, seen, 3)
	})
}

func TestRequestIDInErrors(t *testing.T) {
	t.Parallel()
	create := func(t *testing.T, a *api) (string, error) {
		t.Helper()
		_, err := a.Builds.Create(t.Context(), appName, herokubuild.BuildCreateOptions{SourceBlob: herokubuild.SourceBlob{URL: sourceURL}})
		return a.seen()[0].Header.Get("Request-Id"), err
	}
	t.Run("lost", func(t *testing.T) {
		t.Parallel()
		a := newAPI(t)
		a.on("POST", buildsURL, fail(errDropped))
		id, err := create(t, a)
		var lost *herokubuild.RequestError
		require.ErrorAs(t, err, &lost)
		assert.Equal(t, id, lost.RequestID)
		assert.Contains(t, err.Error(), id)
	})
	t.Run("refused", func(t *testing.T) {
		t.Parallel()
		a := newAPI(t)
		a.on("POST", buildsURL, reply(422, ""), reply(422, "", "Request-Id", "theirs,too"))
		id, err := create(t, a)
		assert.Equal(t, id, requireAPIError(t, err).RequestID)
		_, err = create(t, a)
		assert.Equal(t, "theirs,too", requireAPIError(t, err).RequestID)
	})
	t.Run("not understood", func(t *testing.T) {
		t.Parallel()
		a := newAPI(t)
		a.on("POST", buildsURL, reply(201, "{}"))
		id, err := create(t, a)
		var odd *herokubuild.ResponseError
		require.ErrorAs(t, err, &odd)
		assert.Equal(t, id, odd.RequestID)
	})
}

// Ids are for the API: other hosts get none, and their errors have none.
func TestRequestIDIsForTheAPI(t *testing.T) {
	t.Parallel()
	a := newAPI(t, noRetry())
	a.on("PUT", sourceURL, fail(errDropped))
	archive, _ := testArchive(t)
	err := a.Sources.Put(t.Context(), decodeSource(t, sourceURL+fakeQuery), archive, nil)
	var lost *herokubuild.RequestError
	require.ErrorAs(t, err, &lost)
	assert.Empty(t, lost.RequestID)
	assert.NotContains(t, err.Error(), "Request-Id")
	assert.NotContains(t, a.seen()[0].Header, "Request-Id")
}
