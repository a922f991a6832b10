package herokubuild_test

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
)

func TestRequestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	header := herokubuild.RequestHeader
	for name, tt := range map[string]struct {
		opt  herokubuild.RequestOption
		name string
	}{
		"Authorization":           {header("Authorization", "Bearer "+testToken), "RequestHeader"},
		"Accept":                  {header("accept", "text/plain"), "RequestHeader"},
		"Accept-Encoding":         {header("Accept-Encoding", "br"), "RequestHeader"},
		"Content-Type":            {header("content-type", "text/plain"), "RequestHeader"},
		"Content-Length":          {header("Content-Length", "1"), "RequestHeader"},
		"Host":                    {header("Host", "evil.example.com"), "RequestHeader"},
		"User-Agent":              {header("User-Agent", "me"), "RequestHeader"},
		"Request-Id":              {header("Request-Id", "1"), "RequestHeader"},
		"Cookie":                  {header("Cookie", "a=b"), "RequestHeader"},
		"empty name":              {header("", "a"), "RequestHeader"},
		"name with a space":       {header("X Y", "a"), "RequestHeader"},
		"value with a line break": {header("X-Trace", testToken+"\r\nHost: b"), "RequestHeader"},
		"no time":                 {herokubuild.RequestAttemptTimeout(0), "RequestAttemptTimeout"},
		"negative time":           {herokubuild.RequestAttemptTimeout(-1), "RequestAttemptTimeout"},
		"no attempts":             {herokubuild.RequestMaxAttempts(0), "RequestMaxAttempts"},
		"nil response":            {herokubuild.ResponseInto(nil), "ResponseInto"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t)
			_, err := a.Do(t.Context(), "GET", "/x", nil, tt.opt)
			requireInvalid(t, err, tt.name)
			assertErrorClean(t, err)
			for _, err := range herokubuild.List[map[string]any](t.Context(), a.Client, "/x", nil, tt.opt) {
				requireInvalid(t, err, tt.name)
			}
			assert.Zero(t, a.mock.GetTotalCallCount())
		})
	}
}

func TestRequestHeader(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.on("POST", apiURL+"/x", reply(422, `{"id":"invalid","message":"the trace is very-secret-trace"}`))
	_, err := a.Do(t.Context(), "POST", "/x", &herokubuild.DoOptions{Body: 1},
		nil, herokubuild.RequestHeader("X-Trace", "first"), herokubuild.RequestHeader("x-trace", "very-secret-trace"), herokubuild.RequestHeader("Range", "id ..; max=5"))
	assert.NotContains(t, requireAPIError(t, err).Message, "very-secret")
	r := a.requireCall(t, "POST", apiURL+"/x", "1")
	assert.Equal(t, []string{"very-secret-trace"}, r.Header.Values("X-Trace"))
	assert.Equal(t, "id ..; max=5", r.Header.Get("Range"))
}

func TestRequestHeaderOfAList(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.on("GET", apiURL+"/x", reply(206, `[{"id":"a"}]`, "Next-Range", "id ]a.."), reply(200, `[{"id":"b"}]`, "Request-Id", "the-last"))
	var last herokubuild.Response
	for _, err := range herokubuild.List[map[string]any](t.Context(), a.Client, "/x", nil, herokubuild.RequestHeader("X-Trace", "1"), herokubuild.ResponseInto(&last)) {
		require.NoError(t, err)
	}
	require.Len(t, a.seen(), 2)
	for _, r := range a.seen() {
		assert.Equal(t, "1", r.Header.Get("X-Trace"))
	}
	assert.Equal(t, "the-last", last.RequestID)

	for _, err := range herokubuild.List[map[string]any](t.Context(), a.Client, "/x", nil, herokubuild.RequestHeader("Range", "id ..")) {
		requireInvalid(t, err, "RequestHeader")
	}
	assert.Len(t, a.seen(), 2)
}

func TestRequestTimeoutAndMaxAttempts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAPI(t)
		a.on("GET", apiURL+"/x", hang)
		start := time.Now()
		_, err := a.Do(t.Context(), "GET", "/x", nil, herokubuild.RequestAttemptTimeout(3*time.Second), herokubuild.RequestMaxAttempts(1))
		var lost *herokubuild.RequestError
		require.ErrorAs(t, err, &lost)
		assert.Equal(t, 1, lost.Attempts)
		require.NotErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, 3*time.Second, time.Since(start))

		_, err = a.Do(t.Context(), "GET", "/x", nil, herokubuild.RequestAttemptTimeout(time.Second), herokubuild.RequestMaxAttempts(7))
		require.ErrorAs(t, err, &lost)
		assert.Equal(t, 7, lost.Attempts)
	})
}

func TestResponseOfDo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAPI(t)
		a.on("GET", apiURL+"/x", reply(503, ""), reply(206, `[]`, "Request-Id", "id-1", "RateLimit-Remaining", "4321", "Next-Range", "id ]a..", "X-Other", "b"))
		var into herokubuild.Response
		got, err := a.Do(t.Context(), "GET", "/x", nil, herokubuild.ResponseInto(&into))
		require.NoError(t, err)
		assert.Equal(t, 206, got.StatusCode)
		assert.Equal(t, "id-1", got.RequestID)
		assert.Equal(t, 4321, got.RateLimitRemaining)
		assert.Equal(t, "id ]a..", got.NextRange)
		assert.Equal(t, 2, got.Attempts)
		assert.Equal(t, "b", got.Header.Get("X-Other"))
		assert.Equal(t, *got, into)

		// What the response does not contain.
		a.on("GET", apiURL+"/y", reply(204, ""))
		got, err = a.Do(t.Context(), "GET", "/y", nil)
		require.NoError(t, err)
		assert.Equal(t, -1, got.RateLimitRemaining)
		assert.Equal(t, a.seen()[2].Header.Get("Request-Id"), got.RequestID)

		// A failed call stores nothing.
		a.on("GET", apiURL+"/z", reply(404, ""))
		_, err = a.Do(t.Context(), "GET", "/z", nil, herokubuild.ResponseInto(&into))
		requireAPIError(t, err)
		assert.Equal(t, 206, into.StatusCode)
	})
}

func TestResponseDoesNotPrintItsHeader(t *testing.T) {
	t.Parallel()
	r := herokubuild.Response{StatusCode: 200, Header: http.Header{"X-Echo": {testToken}}, RequestID: "id-1"}
	b, err := json.Marshal(r)
	require.NoError(t, err)
	assert.NotContains(t, string(b)+fmt.Sprintf("%v %+v %#v", r, &r, r), testToken)
	assert.Contains(t, fmt.Sprint(r), "X-Echo")
}

// Every method that corresponds to an endpoint applies its options.
func TestMethodsAcceptRequestOptions(t *testing.T) {
	t.Parallel()
	source := herokubuild.SourceBlob{URL: sourceURL}
	buildpacks := []herokubuild.Buildpack{{Name: "heroku/go"}}
	for name, call := range map[string]func(context.Context, *herokubuild.Client, ...herokubuild.RequestOption) error{
		"Apps.Get": func(ctx context.Context, c *herokubuild.Client, opts ...herokubuild.RequestOption) error {
			return errorOf(c.Apps.Get(ctx, appName, opts...))
		},
		"Apps.List": func(ctx context.Context, c *herokubuild.Client, opts ...herokubuild.RequestOption) error {
			return firstOf(c.Apps.List(ctx, nil, opts...))
		},
		"Apps.ListPage": func(ctx context.Context, c *herokubuild.Client, opts ...herokubuild.RequestOption) error {
			return errorOf(c.Apps.ListPage(ctx, nil, opts...))
		},
		"Apps.ListForTeam": func(ctx context.Context, c *herokubuild.Client, opts ...herokubuild.RequestOption) error {
			return firstOf(c.Apps.ListForTeam(ctx, "team", nil, opts...))
		},
		"Builds.Create": func(ctx context.Context, c *herokubuild.Client, opts ...herokubuild.RequestOption) error {
			return errorOf(c.Builds.Create(ctx, appName, herokubuild.BuildCreateOptions{SourceBlob: source}, opts...))
		},
		"Builds.Create with buildpacks": func(ctx context.Context, c *herokubuild.Client, opts ...herokubuild.RequestOption) error {
			return errorOf(c.Builds.Create(ctx, appName, herokubuild.BuildCreateOptions{SourceBlob: source, Buildpacks: buildpacks}, opts...))
		},
		"Builds.Get": func(ctx context.Context, c *herokubuild.Client, opts ...herokubuild.RequestOption) error {
			return errorOf(c.Builds.Get(ctx, appName, buildID, opts...))
		},
		"Builds.List": func(ctx context.Context, c *herokubuild.Client, opts ...herokubuild.RequestOption) error {
			return firstOf(c.Builds.List(ctx, appName, nil, opts...))
		},
		"Builds.ListPage": func(ctx context.Context, c *herokubuild.Client, opts ...herokubuild.RequestOption) error {
			return errorOf(c.Builds.ListPage(ctx, appName, nil, opts...))
		},
		"Builds.Cancel": func(ctx context.Context, c *herokubuild.Client, opts ...herokubuild.RequestOption) error {
			return errorOf(c.Builds.Cancel(ctx, appName, buildID, opts...))
		},
		"Builds.DeleteCache": func(ctx context.Context, c *herokubuild.Client, opts ...herokubuild.RequestOption) error {
			return c.Builds.DeleteCache(ctx, appName, opts...)
		},
		"Sources.Create": func(ctx context.Context, c *herokubuild.Client, opts ...herokubuild.RequestOption) error {
			return errorOf(c.Sources.Create(ctx, opts...))
		},
		"Sources.CreateForApp": func(ctx context.Context, c *herokubuild.Client, opts ...herokubuild.RequestOption) error {
			return errorOf(c.Sources.CreateForApp(ctx, appName, opts...))
		},
		"Slugs.Get": func(ctx context.Context, c *herokubuild.Client, opts ...herokubuild.RequestOption) error {
			return errorOf(c.Slugs.Get(ctx, appName, slugID, opts...))
		},
		"Slugs.Create": func(ctx context.Context, c *herokubuild.Client, opts ...herokubuild.RequestOption) error {
			return errorOf(c.Slugs.Create(ctx, appName, herokubuild.SlugCreateOptions{}, opts...))
		},
		"Releases.Create": func(ctx context.Context, c *herokubuild.Client, opts ...herokubuild.RequestOption) error {
			return errorOf(c.Releases.Create(ctx, appName, herokubuild.ReleaseCreateOptions{SlugID: slugID}, opts...))
		},
		"Releases.Get": func(ctx context.Context, c *herokubuild.Client, opts ...herokubuild.RequestOption) error {
			return errorOf(c.Releases.Get(ctx, appName, releaseID, opts...))
		},
		"Releases.List": func(ctx context.Context, c *herokubuild.Client, opts ...herokubuild.RequestOption) error {
			return firstOf(c.Releases.List(ctx, appName, nil, opts...))
		},
		"Releases.ListPage": func(ctx context.Context, c *herokubuild.Client, opts ...herokubuild.RequestOption) error {
			return errorOf(c.Releases.ListPage(ctx, appName, nil, opts...))
		},
		"Releases.Current": func(ctx context.Context, c *herokubuild.Client, opts ...herokubuild.RequestOption) error {
			return errorOf(c.Releases.Current(ctx, appName, opts...))
		},
		"RateLimitRemaining": func(ctx context.Context, c *herokubuild.Client, opts ...herokubuild.RequestOption) error {
			return errorOf(c.RateLimitRemaining(ctx, opts...))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t)
			var header http.Header
			a.mock.RegisterNoResponder(func(req *http.Request) (*http.Response, error) {
				header = req.Header.Clone()
				return reply(503, "")(req)
			})
			err := call(t.Context(), a.Client, herokubuild.RequestHeader("X-Trace", "1234"), herokubuild.RequestMaxAttempts(1))
			assert.Equal(t, 503, requireAPIError(t, err).StatusCode)
			assert.Equal(t, "1234", header.Get("X-Trace"))
			assert.Equal(t, 1, a.mock.GetTotalCallCount())
		})
	}
}

func errorOf[T any](_ T, err error) error { return err }

// firstOf returns the error of a list that fails with its first page.
func firstOf[T any](items iter.Seq2[*T, error]) error {
	for _, err := range items {
		return err
	}
	return nil
}
