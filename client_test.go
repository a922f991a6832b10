package herokubuild_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jarcoal/httpmock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
	wire "github.com/herokubuild/herokubuild/internal/transport"
)

func TestNewClientRefuses(t *testing.T) {
	t.Parallel()
	base := func(raw string) herokubuild.Option { return herokubuild.WithBaseURL(raw) }
	tests := map[string]struct {
		opt  herokubuild.Option
		name string
	}{
		"empty key":               {herokubuild.WithToken(""), "WithToken"},
		"key with line break":     {herokubuild.WithToken(testToken + "\n"), "WithToken"},
		"key with space":          {herokubuild.WithToken("a " + testToken), "WithToken"},
		"key beyond ASCII":        {herokubuild.WithToken(testToken + "é"), "WithToken"},
		"nil token source":        {herokubuild.WithTokenSource(nil), "WithTokenSource"},
		"nil transport":           {herokubuild.WithTransport(nil), "WithTransport"},
		"nil logger":              {herokubuild.WithLogger(nil), "WithLogger"},
		"nil backoff":             {herokubuild.WithPollBackoff(nil), "WithPollBackoff"},
		"empty product":           {herokubuild.WithUserAgent(""), "WithUserAgent"},
		"product with line break": {herokubuild.WithUserAgent("a\r\nHost: b"), "WithUserAgent"},
		"negative attempts":       {herokubuild.WithRetry(herokubuild.RetryOptions{MaxAttempts: -1}), "WithRetry"},
		"negative wait":           {herokubuild.WithRetry(herokubuild.RetryOptions{MinWait: -1}), "WithRetry"},
		"negative settle time":    {herokubuild.WithSettleTime(-1), "WithSettleTime"},
		"waits crossed":           {herokubuild.WithRetry(herokubuild.RetryOptions{MinWait: time.Hour}), "WithRetry"},
		"empty base":              {base(""), "WithBaseURL"},
		"base of no scheme":       {base("api.heroku.com"), "WithBaseURL"},
		"base without host":       {base("https:///v3"), "WithBaseURL"},
		"base not https":          {base("http://api.heroku.com"), "WithBaseURL"},
		"base looks like local":   {base("http://127.0.0.1.example.com"), "WithBaseURL"},
		"base of another scheme":  {base("ftp://127.0.0.1"), "WithBaseURL"},
		"base with query":         {base("https://api.heroku.com/?Signature=fake"), "WithBaseURL"},
		"base with bare query":    {base("https://api.heroku.com/?"), "WithBaseURL"},
		"base with fragment":      {base("https://api.heroku.com/#Signature=fake"), "WithBaseURL"},
		"base with user":          {base("https://:" + testToken + "@api.heroku.com"), "WithBaseURL"},
		"base that cannot parse":  {base("https://api.heroku.com/%zz?Signature=fake"), "WithBaseURL"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, err := herokubuild.NewClient(herokubuild.WithToken(testToken), tt.opt)
			assert.Nil(t, client)
			requireInvalid(t, err, tt.name)
		})
	}
}

func TestNewClientAccepts(t *testing.T) {
	t.Parallel()
	for _, base := range []string{
		"https://api.heroku.com", "https://api.example.com:8443/proxy/", "http://127.0.0.1:8080", "http://[::1]:8080",
		"http://localhost", "http://api.localhost:1",
	} {
		client, err := herokubuild.NewClient(nil, herokubuild.WithToken(testToken), nil, herokubuild.WithBaseURL(base))
		require.NoError(t, err, base)
		assert.NotNil(t, client, base)
	}
}

func TestBaseURLFromEnvironment(t *testing.T) {
	t.Setenv("HEROKU_API_URL", "https://api.example.com/heroku/")
	mock := httpmock.NewMockTransport()
	mock.RegisterResponder("GET", "https://api.example.com/heroku/apps/example-app", reply(200, `{"id":"`+slugID+`"}`))
	client, err := herokubuild.NewClient(herokubuild.WithToken(testToken), herokubuild.WithTransport(mock))
	require.NoError(t, err)
	_, err = client.Apps.Get(t.Context(), appName)
	require.NoError(t, err)

	t.Setenv("HEROKU_API_URL", "http://api.example.com")
	_, err = herokubuild.NewClient(herokubuild.WithToken(testToken))
	requireInvalid(t, err, "HEROKU_API_URL")

	// An explicit URL takes precedence over the variable, even an invalid one.
	_, err = herokubuild.NewClient(herokubuild.WithToken(testToken), herokubuild.WithBaseURL(apiURL))
	require.NoError(t, err)
}

func TestDefaultBaseURL(t *testing.T) {
	t.Setenv("HEROKU_API_URL", "")
	mock := httpmock.NewMockTransport()
	mock.RegisterResponder("GET", apiURL+"/apps/example-app", reply(200, `{"id":"`+slugID+`"}`))
	client, err := herokubuild.NewClient(herokubuild.WithToken(testToken), herokubuild.WithTransport(mock))
	require.NoError(t, err)
	_, err = client.Apps.Get(t.Context(), appName)
	require.NoError(t, err)
}

func TestUserAgent(t *testing.T) {
	t.Parallel()
	a := newAPI(t, herokubuild.WithUserAgent("shop-ci/1.4"))
	a.on("GET", apiURL+"/x", reply(204, ""))
	require.NoError(t, do(t.Context(), a.Client, "GET", "/x", nil))
	assert.Regexp(t, `^shop-ci/1\.4 herokubuild/0\.1\.0 \(go.+; \w+/\w+\)$`, a.seen()[0].Header.Get("User-Agent"))
}

type search struct {
	Name  string   `url:"name"`
	Kinds []string `url:"kind"`
	Limit int      `url:"limit,omitempty"`
}

func TestDo(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		method, path string
		query, body  any
		url, sent    string
	}{
		"plain":          {"GET", "/account", nil, nil, "/account", ""},
		"url.Values":     {"GET", "/x", url.Values{"b": {"2"}, "a": {"1 &"}}, nil, "/x?a=1+%26&b=2", ""},
		"struct":         {"GET", "/x", search{Name: "a/b", Kinds: []string{"p", "q"}}, nil, "/x?kind=p&kind=q&name=a%2Fb", ""},
		"pointer":        {"GET", "/x", &search{Name: "n", Limit: 3}, nil, "/x?limit=3&name=n", ""},
		"nil pointer":    {"GET", "/x", (*search)(nil), nil, "/x", ""},
		"escaped slash":  {"GET", "/apps/a%2Fb/x", nil, nil, "/apps/a%2Fb/x", ""},
		"dots in a name": {"GET", "/apps/..a/b..", nil, nil, "/apps/..a/b..", ""},
		"body":           {"POST", "/x", nil, map[string]any{"url": "https://h/?a=1&b=<2>"}, "/x", `{"url":"https://h/?a=1&b=<2>"}`},
		"body and query": {"PATCH", "/x", url.Values{"q": {"1"}}, []int{1}, "/x?q=1", `[1]`},
		"empty struct":   {"PUT", "/x", nil, struct{}{}, "/x", `{}`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t)
			a.on(tt.method, apiURL+tt.url, reply(200, `{"email":"dev@example.com"}`))
			var out struct{ Email string }
			require.NoError(t, do(t.Context(), a.Client, tt.method, tt.path, &herokubuild.DoOptions{Query: tt.query, Body: tt.body, Out: &out}))
			assert.Equal(t, "dev@example.com", out.Email)
			r := a.requireCall(t, tt.method, apiURL+tt.url, tt.sent)
			assert.Equal(t, accept, r.Header.Get("Accept"))
		})
	}
}

func TestDoRefuses(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	tests := map[string]struct {
		method, path string
		query, body  any
		name         string
	}{
		"empty path":        {"GET", "", nil, nil, "path"},
		"no slash":          {"GET", "apps", nil, nil, "path"},
		"another host":      {"GET", "//evil.example.com/x", nil, nil, "path"},
		"absolute":          {"GET", "https://evil.example.com/?Signature=fake", nil, nil, "path"},
		"up":                {"GET", "/apps/../account", nil, nil, "path"},
		"up at the end":     {"GET", "/apps/..", nil, nil, "path"},
		"up, escaped":       {"GET", "/apps/%2e%2E/account", nil, nil, "path"},
		"up, half escaped":  {"GET", "/apps/.%2e/account", nil, nil, "path"},
		"up, slash escaped": {"GET", "/apps%2f..%2fx", nil, nil, "path"},
		"here":              {"GET", "/apps/./x", nil, nil, "path"},
		"query":             {"GET", "/apps?Signature=fake", nil, nil, "path"},
		"fragment":          {"GET", "/apps#x", nil, nil, "path"},
		"backslash":         {"GET", `/\evil.example.com`, nil, nil, "path"},
		"line break":        {"GET", "/apps\r\nHost: x", nil, nil, "path"},
		"bad escape":        {"GET", "/apps/%zz", nil, nil, "path"},
		"empty method":      {"", "/apps", nil, nil, "method"},
		"bad method":        {"GE T", "/apps", nil, nil, "request"},
		"bad query":         {"GET", "/apps", map[string]string{"a": "b"}, nil, "DoOptions.Query"},
		"bad body":          {"POST", "/apps", nil, func() {}, "DoOptions.Body"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			requireInvalid(t, do(t.Context(), a.Client, tt.method, tt.path, &herokubuild.DoOptions{Query: tt.query, Body: tt.body}), tt.name)
			assert.Zero(t, a.mock.GetTotalCallCount())
		})
	}
}

// An Out that cannot be decoded into is refused before a request is sent.
func TestDoChecksOut(t *testing.T) {
	t.Parallel()
	type build struct{ ID string }
	var nothing *build
	var reader io.Reader
	for name, out := range map[string]any{
		"a struct": build{}, "a map": map[string]any{}, "a slice": []build{}, "a text": "", "a nil pointer": nothing, "a function": func() {},
		"pointer to a channel": new(chan int), "to a function": new(func()), "to an interface": &reader, "to a complex number": new(complex128),
		"to channels": new([]chan int),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t)
			requireInvalid(t, do(t.Context(), a.Client, "POST", "/x", &herokubuild.DoOptions{Out: out}), "DoOptions.Out")
			assert.Zero(t, a.mock.GetTotalCallCount())
		})
	}
	for name, out := range map[string]any{"nothing": nil, "a struct": new(build), "anything": new(any), "raw": new(json.RawMessage), "a map": new(map[string]any)} {
		t.Run("pointer to "+name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t)
			a.on("POST", apiURL+"/x", reply(200, `{"id":"x"}`))
			require.NoError(t, do(t.Context(), a.Client, "POST", "/x", &herokubuild.DoOptions{Out: out}))
		})
	}
}

// A status below 200 is not a success, and the platform may have acted on its request.
func TestStatusBelow200(t *testing.T) {
	t.Parallel()
	for _, status := range []int{0, 100, 101, 103, 199} {
		a := newAPI(t, noRetry())
		a.on("POST", apiURL+"/x", reply(status, ""))
		a.on("GET", apiURL+"/x", reply(status, ""))
		err := do(t.Context(), a.Client, "POST", "/x", nil)
		assert.Equal(t, status, requireAPIError(t, err).StatusCode)
		require.ErrorIs(t, err, herokubuild.ErrMaybeApplied)
		require.NotErrorIs(t, do(t.Context(), a.Client, "GET", "/x", nil), herokubuild.ErrMaybeApplied)
	}
}

// The first page of a list is an error where the whole list is expected.
func TestDoOfAPartialList(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.on("GET", apiURL+"/x", reply(206, `[{"id":"a"}]`, "Next-Range", "id ]a.."), reply(200, `[{"id":"a"}]`, "Next-Range", "id ]a.."), reply(206, `[{"id":"a"}]`))
	for range 2 {
		var out []map[string]any
		err := do(t.Context(), a.Client, "GET", "/x", &herokubuild.DoOptions{Out: &out})
		require.ErrorIs(t, err, herokubuild.ErrPartialList)
		require.ErrorIs(t, err, herokubuild.ErrUnexpectedResponse)
		require.NotErrorIs(t, err, herokubuild.ErrMaybeApplied)
		assert.Nil(t, out)
	}
	var out []map[string]any
	require.NoError(t, do(t.Context(), a.Client, "GET", "/x", &herokubuild.DoOptions{Out: &out}), "it is the last page")
	assert.Len(t, out, 1)
	a.on("GET", apiURL+"/y", reply(206, `[]`, "Next-Range", "id ]a.."))
	require.NoError(t, do(t.Context(), a.Client, "GET", "/y", nil), "there is no Out")
}

func TestDoResponses(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		status int
		body   string
		ok     bool
	}{
		"object":         {200, ` {"id":"x"} `, true},
		"created":        {201, `{"id":"x"}`, true},
		"unknown fields": {200, `{"id":"x","new":{"deep":[1]}}`, true},
		"empty":          {200, "", true},
		"no content":     {204, "", true},
		"white space":    {202, "\n", true},
		"null":           {200, "null", false},
		"html":           {200, "<html>", false},
		"cut":            {200, `{"id":"x"`, false},
		"more after it":  {200, `{"id":"x"}{`, false},
		"wrong type":     {200, `{"id":5}`, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t)
			a.on("GET", apiURL+"/x", reply(tt.status, tt.body, "Request-Id", "id-1,id-2"))
			var out struct{ ID string }
			err := do(t.Context(), a.Client, "GET", "/x", &herokubuild.DoOptions{Out: &out})
			if tt.ok {
				require.NoError(t, err)
				return
			}
			var unusable *herokubuild.ResponseError
			require.ErrorAs(t, err, &unusable)
			require.ErrorIs(t, err, herokubuild.ErrUnexpectedResponse)
			require.NotErrorIs(t, err, herokubuild.ErrMaybeApplied)
			assert.Equal(t, tt.status, unusable.StatusCode)
			assert.Equal(t, "id-1,id-2", unusable.RequestID)
			assert.Contains(t, err.Error(), "Request-Id id-1,id-2")
			require.Error(t, errors.Unwrap(err))
			assert.Len(t, a.seen(), 1, "another attempt would receive the same")
		})
	}
}

func TestUnusableResponseToPost(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.on("POST", buildsURL, reply(201, ""))
	_, err := a.Builds.Create(t.Context(), appName, herokubuild.BuildCreateOptions{SourceBlob: herokubuild.SourceBlob{URL: sourceURL}})
	require.ErrorIs(t, err, herokubuild.ErrUnexpectedResponse)
	require.ErrorIs(t, err, herokubuild.ErrMaybeApplied, "the platform reported success")
}

// Simple fakes of a transport return responses whose body is nil. net/http accepts them.
func TestResponseWithNilBody(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.on("DELETE", apiURL+"/x", func(req *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 204, Header: http.Header{}, Request: req}, nil
	})
	require.NotPanics(t, func() {
		require.NoError(t, do(t.Context(), a.Client, "DELETE", "/x", nil))
	})
}

func TestResponseTooLarge(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.on("POST", apiURL+"/x", huge(201))
	err := do(t.Context(), a.Client, "POST", "/x", nil)
	require.ErrorIs(t, err, herokubuild.ErrUnexpectedResponse)
	require.ErrorIs(t, err, herokubuild.ErrMaybeApplied)
	assert.Len(t, a.seen(), 1)
}

// endless is a body without an end.
type endless struct {
	text   string
	closed atomic.Bool
}

func (e *endless) Read(p []byte) (int, error) {
	if e.closed.Load() {
		return 0, http.ErrBodyReadAfterClose
	}
	n := 0
	for n < len(p) {
		n += copy(p[n:], e.text)
	}
	return n, nil
}

func (e *endless) Close() error {
	e.closed.Store(true)
	return nil
}

func TestRedirectOfAPIIsRefused(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.on("GET", apiURL+"/x", reply(302, "", "Location", "https://evil.example.com/x?Signature=fake"))
	a.on("GET", "https://evil.example.com/x", reply(200, "{}"))
	err := do(t.Context(), a.Client, "GET", "/x", nil)
	assert.Equal(t, 302, requireAPIError(t, err).StatusCode)
	assert.Contains(t, err.Error(), "evil.example.com/x")
	assertErrorClean(t, err)
	assert.Len(t, a.seen(), 1, "the key must not be sent to the target")
}

// A transport is used as it is: the client adds neither redirects nor cookies to it.
func TestWithTransport(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.on("GET", apiURL+"/x", reply(302, "", "Location", apiURL+"/y", "Set-Cookie", "a=b"), reply(204, ""))
	a.on("GET", apiURL+"/y", reply(204, ""))
	requireAPIError(t, do(t.Context(), a.Client, "GET", "/x", nil))
	require.NoError(t, do(t.Context(), a.Client, "GET", "/x", nil))
	require.Len(t, a.seen(), 2)
	assert.Equal(t, apiURL+"/x", a.seen()[1].URL)
	assert.Empty(t, a.seen()[1].Header.Get("Cookie"))
}

func TestAttemptTimeoutBoundsAnAttempt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAPI(t, noRetry())
		a.on("GET", apiURL+"/x", hang)
		started := time.Now()
		err := do(t.Context(), a.Client, "GET", "/x", nil)
		var lost *herokubuild.RequestError
		require.ErrorAs(t, err, &lost)
		require.NotErrorIs(t, err, context.DeadlineExceeded, "the caller set no deadline")
		assert.Equal(t, time.Minute, time.Since(started))

		mine := newAPI(t, noRetry(), herokubuild.WithTransport(a.mock), herokubuild.WithAttemptTimeout(7*time.Second))
		started = time.Now()
		require.ErrorAs(t, do(t.Context(), mine.Client, "GET", "/x", nil), &lost)
		assert.Equal(t, 7*time.Second, time.Since(started))
	})
}

// The time limit of an attempt includes a body that arrives slowly.
func TestTimeoutBoundsTheBody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAPI(t, noRetry())
		body, w := live(200)
		a.on("GET", apiURL+"/x", body.Delay(time.Second))
		var writer sync.WaitGroup
		defer writer.Wait()
		writer.Go(func() {
			for {
				if _, err := w.Write([]byte(" ")); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		})
		started := time.Now()
		err := do(t.Context(), a.Client, "GET", "/x", nil)
		var lost *herokubuild.RequestError
		require.ErrorAs(t, err, &lost)
		require.ErrorIs(t, err, wire.ErrAttemptTimeout)
		assert.LessOrEqual(t, time.Since(started), time.Minute)
	})
}

// keySource is a TokenSource with its key in a field, as programs have them.
type keySource struct{ key string }

func (s keySource) Token(context.Context) (string, error) { return s.key, nil }

func TestPrintedClientHidesTheKey(t *testing.T) {
	t.Parallel()
	for name, opt := range map[string]herokubuild.Option{
		"WithToken":                  herokubuild.WithToken(testToken),
		"WithTokenSource":            herokubuild.WithTokenSource(keySource{testToken}),
		"WithTokenSource, a pointer": herokubuild.WithTokenSource(&keySource{testToken}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, err := herokubuild.NewClient(opt, herokubuild.WithBaseURL(apiURL))
			require.NoError(t, err)
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
				assertNoSecret(t, fmt.Sprintf(verb, client))
				assertNoSecret(t, fmt.Sprintf(verb, client.Builds))
			}
		})
	}
}

func TestZeroClient(t *testing.T) {
	t.Parallel()
	archive, _ := testArchive(t)
	slugPut := &herokubuild.Slug{Blob: herokubuild.Blob{Method: "put", URL: slugURL}}
	calls := map[string]func(context.Context, *herokubuild.Client) error{
		"Do":       func(ctx context.Context, c *herokubuild.Client) error { return do(ctx, c, "GET", "/x", nil) },
		"Apps.Get": func(ctx context.Context, c *herokubuild.Client) error { _, err := c.Apps.Get(ctx, appName); return err },
		"Builds.Get": func(ctx context.Context, c *herokubuild.Client) error {
			_, err := c.Builds.Get(ctx, appName, buildID)
			return err
		},
		"Builds.Wait": func(ctx context.Context, c *herokubuild.Client) error {
			_, err := c.Builds.Wait(ctx, appName, buildID, nil)
			return err
		},
		"Builds.Cancel": func(ctx context.Context, c *herokubuild.Client) error {
			_, err := c.Builds.Cancel(ctx, appName, buildID)
			return err
		},
		"Builds.DeleteCache": func(ctx context.Context, c *herokubuild.Client) error { return c.Builds.DeleteCache(ctx, appName) },
		"Builds.Create": func(ctx context.Context, c *herokubuild.Client) error {
			_, err := c.Builds.Create(ctx, appName, herokubuild.BuildCreateOptions{SourceBlob: herokubuild.SourceBlob{URL: sourceURL}})
			return err
		},
		"Builds.List": func(ctx context.Context, c *herokubuild.Client) error {
			for _, err := range c.Builds.List(ctx, appName, nil) {
				return err
			}
			return nil
		},
		"Builds.ListPage": func(ctx context.Context, c *herokubuild.Client) error {
			_, err := c.Builds.ListPage(ctx, appName, nil)
			return err
		},
		"Builds.Output": func(ctx context.Context, c *herokubuild.Client) error {
			_, err := c.Builds.Output(ctx, appName, buildID, nil)
			return err
		},
		"Sources.Create": func(ctx context.Context, c *herokubuild.Client) error { _, err := c.Sources.Create(ctx); return err },
		"Sources.CreateForApp": func(ctx context.Context, c *herokubuild.Client) error {
			_, err := c.Sources.CreateForApp(ctx, appName)
			return err
		},
		"Sources.Upload": func(ctx context.Context, c *herokubuild.Client) error {
			_, err := c.Sources.Upload(ctx, archive, nil)
			return err
		},
		"Sources.Put": func(ctx context.Context, c *herokubuild.Client) error {
			return c.Sources.Put(ctx, decodeSource(t, sourceURL), archive, nil)
		},
		"Slugs.Get": func(ctx context.Context, c *herokubuild.Client) error {
			_, err := c.Slugs.Get(ctx, appName, slugID)
			return err
		},
		"Slugs.Create": func(ctx context.Context, c *herokubuild.Client) error {
			_, err := c.Slugs.Create(ctx, appName, herokubuild.SlugCreateOptions{})
			return err
		},
		"Slugs.Put": func(ctx context.Context, c *herokubuild.Client) error { return c.Slugs.Put(ctx, slugPut, archive, nil) },
		"Slugs.Download": func(ctx context.Context, c *herokubuild.Client) error {
			_, err := c.Slugs.Download(ctx, appName, slugID, nil)
			return err
		},
		"Releases.Get": func(ctx context.Context, c *herokubuild.Client) error {
			_, err := c.Releases.Get(ctx, appName, "1")
			return err
		},
		"Releases.Wait": func(ctx context.Context, c *herokubuild.Client) error {
			_, err := c.Releases.Wait(ctx, appName, "1", nil)
			return err
		},
		"Releases.Current": func(ctx context.Context, c *herokubuild.Client) error {
			_, err := c.Releases.Current(ctx, appName)
			return err
		},
		"Releases.Rollback": func(ctx context.Context, c *herokubuild.Client) error {
			_, err := c.Releases.Rollback(ctx, appName, "1")
			return err
		},
		"Releases.Create": func(ctx context.Context, c *herokubuild.Client) error {
			_, err := c.Releases.Create(ctx, appName, herokubuild.ReleaseCreateOptions{SlugID: slugID})
			return err
		},
		"Releases.ListPage": func(ctx context.Context, c *herokubuild.Client) error {
			_, err := c.Releases.ListPage(ctx, appName, nil)
			return err
		},
		"Releases.Output": func(ctx context.Context, c *herokubuild.Client) error {
			_, err := c.Releases.Output(ctx, appName, "1", nil)
			return err
		},
	}
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			requireInvalid(t, call(t.Context(), new(herokubuild.Client)), "Client")
		})
	}
}

func TestNilClient(t *testing.T) {
	t.Parallel()
	for name, call := range map[string]func(context.Context, *herokubuild.Client) error{
		"Do": func(ctx context.Context, c *herokubuild.Client) error { return do(ctx, c, "GET", "/x", nil) },
		"RateLimitRemaining": func(ctx context.Context, c *herokubuild.Client) error {
			_, err := c.RateLimitRemaining(ctx)
			return err
		},
		"FetchArchive": func(ctx context.Context, c *herokubuild.Client) error {
			_, err := c.FetchArchive(ctx, sourceURL, nil)
			return err
		},
		"BuildAndRelease": func(ctx context.Context, c *herokubuild.Client) error {
			_, err := c.BuildAndRelease(ctx, herokubuild.BuildAndReleaseOptions{BuildApp: appName, SourceURL: sourceURL})
			return err
		},
		"Rollout": func(ctx context.Context, c *herokubuild.Client) error {
			_, err := c.Rollout(ctx, herokubuild.ReleaseCreateOptions{SlugID: slugID}, []string{appName}, nil)
			return err
		},
		"List": func(ctx context.Context, c *herokubuild.Client) error {
			for _, err := range herokubuild.List[herokubuild.App](ctx, c, "/apps", nil) {
				return err
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			requireInvalid(t, call(t.Context(), nil), "Client")
			requireInvalid(t, call(t.Context(), new(herokubuild.Client)), "Client")
		})
	}
}

// go-retryablehttp closes all idle connections whenever a call fails, which would cost every
// other call its connection.
func TestFailedCallKeepsThePool(t *testing.T) {
	t.Parallel()
	var opened atomic.Int32
	var both sync.WaitGroup
	both.Add(2)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/drop":
			drop(w)
		case "/both":
			both.Done()
			both.Wait()
		}
	}))
	server.Config.ConnState = countNew(&opened)
	server.Start()
	t.Cleanup(server.Close)
	transport := &http.Transport{MaxIdleConnsPerHost: 4}
	t.Cleanup(transport.CloseIdleConnections)
	client, err := herokubuild.NewClient(herokubuild.WithToken(testToken), herokubuild.WithBaseURL(server.URL), noRetry(),
		herokubuild.WithTransport(transport))
	require.NoError(t, err)

	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() { assert.NoError(t, do(t.Context(), client, "GET", "/both", nil)) })
	}
	wg.Wait()
	require.EqualValues(t, 2, opened.Load())

	// This call loses its connection; the other one must stay open.
	require.Error(t, do(t.Context(), client, "POST", "/drop", nil))
	require.NoError(t, do(t.Context(), client, "GET", "/ok", nil))
	assert.EqualValues(t, 2, opened.Load())

	archive, _ := testArchive(t)
	for range 5 {
		require.Error(t, client.Sources.Put(t.Context(), decodeSource(t, unreachable(t)), archive, nil))
		require.NoError(t, do(t.Context(), client, "GET", "/ok", nil))
	}
	assert.EqualValues(t, 2, opened.Load())
}
