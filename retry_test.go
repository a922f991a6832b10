package herokubuild_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jarcoal/httpmock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
)

// The table of the package documentation, row by row.
func TestRetryMatrix(t *testing.T) {
	t.Parallel()
	failures := map[string]struct {
		response httpmock.Responder
		// safe and unsafe are the attempts of the two columns.
		safe, unsafe int
		// maybe is set if the platform may have acted on a POST.
		maybe bool
		// each is how long one attempt takes.
		each time.Duration
	}{
		"cannot connect":  {fail(errDial), 5, 5, false, 0},
		"proxy refuses":   {fail(proxyRefusal()), 5, 5, false, 0},
		"connection lost": {fail(errDropped), 5, 1, true, 0},
		"cut short":       {fail(io.ErrUnexpectedEOF), 5, 1, true, 0},
		"silence":         {hang, 5, 1, true, time.Minute},
		"429":             {reply(429, ""), 5, 5, false, 0},
		"500":             {reply(500, ""), 5, 1, true, 0},
		"502":             {reply(502, ""), 5, 1, true, 0},
		"503":             {reply(503, ""), 5, 1, true, 0},
		"501":             {reply(501, ""), 1, 1, true, 0},
		"304":             {reply(304, ""), 1, 1, false, 0},
		"401":             {reply(401, ""), 1, 1, false, 0},
		"404":             {reply(404, ""), 1, 1, false, 0},
		"409":             {reply(409, ""), 1, 1, false, 0},
		"422":             {reply(422, ""), 1, 1, false, 0},
		"bad certificate": {fail(badCertificate()), 1, 1, true, 0},
	}
	for _, method := range []string{"GET", "HEAD", "PUT", "DELETE", "POST", "PATCH"} {
		for name, f := range failures {
			t.Run(method+" "+name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					a := newAPI(t)
					a.on(method, apiURL+"/x", f.response)
					var body any
					if method != "GET" && method != "HEAD" {
						body = map[string]string{"k": "v"}
					}
					err := do(t.Context(), a.Client, method, "/x", &herokubuild.DoOptions{Body: body})
					require.Error(t, err)
					assertErrorClean(t, err)

					want, maybe := f.safe, false
					if method == "POST" || method == "PATCH" {
						want, maybe = f.unsafe, f.maybe
					}
					require.Len(t, a.seen(), want)
					assert.Equal(t, maybe, errors.Is(err, herokubuild.ErrMaybeApplied), "%v", err)
					for i, gap := range a.gaps() {
						assertBackoff(t, i, gap-f.each)
					}
					for _, r := range a.seen() {
						assert.Equal(t, a.seen()[0].Body, r.Body, "each attempt carries the whole body")
					}
					if want > 1 {
						assert.Contains(t, err.Error(), "[5 attempts]")
					}
				})
			})
		}
	}
}

// assertBackoff checks the nth wait against the documented half second that
// doubles, each shortened by up to a half.
func assertBackoff(t *testing.T, n int, wait time.Duration) {
	t.Helper()
	full := 500 * time.Millisecond << n
	assert.LessOrEqual(t, wait, full)
	assert.GreaterOrEqual(t, wait, full/2-time.Nanosecond)
}

func huge(status int) httpmock.Responder {
	return func(*http.Request) (*http.Response, error) {
		resp := httpmock.NewStringResponse(status, "")
		resp.Body = &endless{text: strings.Repeat("all work and no play makes Jack a dull boy\n", 1000)}
		return resp, nil
	}
}

func TestRetriesEndWithSuccess(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAPI(t)
		a.on("GET", apiURL+"/x", reply(503, ""), fail(errDropped), reply(429, ""), reply(200, `{"id":"x"}`))
		var out struct{ ID string }
		require.NoError(t, do(t.Context(), a.Client, "GET", "/x", &herokubuild.DoOptions{Out: &out}))
		assert.Equal(t, "x", out.ID)
		assert.Len(t, a.seen(), 4)
	})
}

func TestWithRetry(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		opts herokubuild.RetryOptions
		want int
		most time.Duration
	}{
		"off":            {herokubuild.RetryOptions{MaxAttempts: 1}, 1, 0},
		"two":            {herokubuild.RetryOptions{MaxAttempts: 2}, 2, 500 * time.Millisecond},
		"capped":         {herokubuild.RetryOptions{MaxAttempts: 12, MaxWait: time.Second}, 12, time.Second},
		"far beyond int": {herokubuild.RetryOptions{MaxAttempts: 80, MinWait: time.Nanosecond, MaxWait: 2 * time.Second}, 80, 2 * time.Second},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a := newAPI(t, herokubuild.WithRetry(tt.opts))
				a.on("GET", apiURL+"/x", reply(503, ""))
				requireAPIError(t, do(t.Context(), a.Client, "GET", "/x", nil))
				require.Len(t, a.seen(), tt.want)
				for _, gap := range a.gaps() {
					assert.LessOrEqual(t, gap, tt.most)
					assert.GreaterOrEqual(t, gap, time.Duration(0))
				}
			})
		})
	}
}

// The error is the last response, not "giving up after 5 attempts".
func TestLastResponseIsInTheError(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAPI(t)
		a.on("GET", apiURL+"/x", reply(500, `{"id":"first","message":"first"}`), fail(errDropped),
			reply(500, ""), reply(500, ""), reply(503, `{"id":"maintenance","message":"API is down."}`, "Request-Id", "id-5"))
		err := requireAPIError(t, do(t.Context(), a.Client, "GET", "/x", nil))
		assert.Equal(t, 503, err.StatusCode)
		assert.Equal(t, "maintenance", err.ID)
		assert.Equal(t, "API is down.", err.Message)
		assert.Equal(t, "id-5", err.RequestID)
		assert.Equal(t, 5, err.Attempts)
	})
}

func TestLastNetworkErrorIsInTheError(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAPI(t, herokubuild.WithRetry(herokubuild.RetryOptions{MaxAttempts: 2}))
		a.on("GET", apiURL+"/x", reply(500, ""), fail(errDropped))
		err := do(t.Context(), a.Client, "GET", "/x", nil)
		var lost *herokubuild.RequestError
		require.ErrorAs(t, err, &lost)
		require.ErrorIs(t, err, errDropped)
		assert.Equal(t, 2, lost.Attempts)
		assert.NoError(t, lost.Last)
	})
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	in := func(d time.Duration) func(time.Time) string {
		return func(now time.Time) string { return now.Add(d).UTC().Format(http.TimeFormat) }
	}
	text := func(s string) func(time.Time) string { return func(time.Time) string { return s } }
	const backoff = -1
	tests := map[string]struct {
		value func(time.Time) string
		want  time.Duration
	}{
		"seconds":          {text("7"), 7 * time.Second},
		"a fraction":       {text("1.5"), 1500 * time.Millisecond},
		"spaces":           {text(" 5 "), 5 * time.Second},
		"a day is cut":     {text("86400"), 2 * time.Minute},
		"a century is cut": {text("99999999999"), 2 * time.Minute},
		"infinity is cut":  {text("Inf"), 2 * time.Minute},
		"beyond a float":   {text("1e999"), backoff},
		"date":             {in(9 * time.Second), 9 * time.Second},
		"date far away":    {in(90 * time.Hour), 2 * time.Minute},
		"date in the past": {in(-time.Hour), backoff},
		"date, zone not GMT": {func(now time.Time) string {
			return now.Add(8 * time.Second).In(time.FixedZone("CET", 3600)).Format(time.RFC1123Z)
		}, 8 * time.Second},
		"date of RFC 3339":     {func(now time.Time) string { return now.Add(6 * time.Second).Format(time.RFC3339) }, 6 * time.Second},
		"epoch second":         {func(now time.Time) string { return strconv.FormatInt(now.Unix()+11, 10) }, 11 * time.Second},
		"epoch in the past":    {func(now time.Time) string { return strconv.FormatInt(now.Unix()-11, 10) }, backoff},
		"zero":                 {text("0"), backoff},
		"negative":             {text("-30"), backoff},
		"negative infinity":    {text("-Inf"), backoff},
		"not a number":         {text("NaN"), backoff},
		"words":                {text("tomorrow"), backoff},
		"empty":                {text(""), backoff},
		"shorter than backoff": {text("0.001"), backoff},
	}
	for name, tt := range tests {
		for _, status := range []int{429, 503} {
			t.Run(fmt.Sprintf("%s on %d", name, status), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					// A bubble starts in 2000, before what counts as an epoch second.
					time.Sleep(25 * 365 * 24 * time.Hour)
					a := newAPI(t)
					a.on("GET", apiURL+"/x", reply(status, "", "Retry-After", tt.value(time.Now())), reply(204, ""))
					require.NoError(t, do(t.Context(), a.Client, "GET", "/x", nil))
					gaps := a.gaps()
					require.Len(t, gaps, 1)
					if tt.want == backoff {
						assertBackoff(t, 0, gaps[0])
						return
					}
					assert.Equal(t, tt.want, gaps[0])
				})
			})
		}
	}
}

func TestMaxRetryAfter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAPI(t, herokubuild.WithRetry(herokubuild.RetryOptions{MaxRetryAfter: 10 * time.Minute}))
		a.on("GET", apiURL+"/x", reply(429, "", "Retry-After", "3600"), reply(204, ""))
		require.NoError(t, do(t.Context(), a.Client, "GET", "/x", nil))
		assert.Equal(t, []time.Duration{10 * time.Minute}, a.gaps())
	})
}

func TestRetryAfterBeyondTheDeadline(t *testing.T) {
	t.Parallel()
	for _, status := range []int{429, 503} {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a := newAPI(t)
				a.on("GET", apiURL+"/x", reply(status, `{"id":"later","message":"Not now."}`, "Retry-After", "60"))
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				started := time.Now()
				err := requireAPIError(t, do(ctx, a.Client, "GET", "/x", nil))
				assert.Zero(t, time.Since(started), "a wait would not help")
				assert.Len(t, a.seen(), 1)
				assert.Equal(t, time.Minute, err.RetryAfter)
				assert.Equal(t, status == 429, errors.Is(err, herokubuild.ErrRateLimited))
				require.NotErrorIs(t, err, context.DeadlineExceeded)
			})
		})
	}
}

func TestCancelDuringTheWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAPI(t)
		a.on("GET", apiURL+"/x", reply(429, `{"id":"rate_limit","message":"Slow down."}`, "Retry-After", "60"))
		cause := errors.New("the operator has had enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(5*time.Second, func() { cancel(cause) })
		started := time.Now()
		err := do(ctx, a.Client, "GET", "/x", nil)
		assert.Equal(t, 5*time.Second, time.Since(started))
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, err, cause)
		var lost *herokubuild.RequestError
		require.ErrorAs(t, err, &lost)
		assert.Equal(t, 1, lost.Attempts)
		assert.Equal(t, 429, requireAPIError(t, lost.Last).StatusCode)
		require.ErrorIs(t, err, herokubuild.ErrRateLimited)
		assert.Contains(t, err.Error(), "Slow down.")
		assert.Contains(t, err.Error(), "the operator has had enough")
	})
}

func TestCancelDuringAnAttempt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAPI(t)
		a.on("POST", apiURL+"/x", hang)
		cause := errors.New("shutting down")
		ctx, cancel := context.WithTimeoutCause(t.Context(), 3*time.Second, cause)
		defer cancel()
		started := time.Now()
		err := do(ctx, a.Client, "POST", "/x", nil)
		assert.Equal(t, 3*time.Second, time.Since(started))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorIs(t, err, cause)
		require.ErrorIs(t, err, herokubuild.ErrMaybeApplied)
		assert.Len(t, a.seen(), 1)
	})
}

func TestContextOverBeforeTheCall(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.on("GET", apiURL+"/x", hang)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, do(ctx, a.Client, "GET", "/x", nil), context.Canceled)
	assert.LessOrEqual(t, len(a.seen()), 1)
}

// A POST that could not connect was never sent, even if the context ends during the wait for
// the next attempt.
func TestCancelAfterFailedDialIsNotMaybeApplied(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAPI(t)
		a.on("POST", apiURL+"/x", fail(errDial))
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		err := do(ctx, a.Client, "POST", "/x", nil)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.NotErrorIs(t, err, herokubuild.ErrMaybeApplied)
	})
}

// The second attempt was in flight when the context ended, and may have had its effect
// although the first one was refused.
func TestCancelDuringLaterAttemptIsMaybeApplied(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAPI(t)
		a.on("POST", apiURL+"/x", reply(429, ""), hang)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		err := do(ctx, a.Client, "POST", "/x", nil)
		require.Len(t, a.seen(), 2)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.ErrorIs(t, err, herokubuild.ErrMaybeApplied)
	})
}

// The status is returned soon even if the body of an error never ends.
func TestErrorBodyThatNeverEnds(t *testing.T) {
	t.Parallel()
	t.Run("a flood", func(t *testing.T) {
		t.Parallel()
		a := newAPI(t, noRetry())
		a.on("POST", apiURL+"/x", huge(503))
		err := do(t.Context(), a.Client, "POST", "/x", nil)
		refused := requireAPIError(t, err)
		assert.Equal(t, 503, refused.StatusCode)
		assert.Contains(t, refused.Body, "all work and no play")
		assert.Less(t, len(refused.Body), 8<<10)
		assert.ErrorIs(t, err, herokubuild.ErrMaybeApplied)
	})
	t.Run("a trickle", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			a := newAPI(t, noRetry())
			body, w := live(404)
			a.on("GET", apiURL+"/x", body)
			go func() { _, _ = w.Write([]byte("no such thing")) }()
			started := time.Now()
			err := requireAPIError(t, do(t.Context(), a.Client, "GET", "/x", nil))
			assert.LessOrEqual(t, time.Since(started), 10*time.Second)
			assert.Equal(t, 404, err.StatusCode)
			assert.Equal(t, "no such thing", err.Body)
		})
	})
	t.Run("of a storage host", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			a := newAPI(t, noRetry())
			body, w := live(503)
			a.on("PUT", sourceURL, body)
			go func() { _, _ = w.Write([]byte("busy")) }()
			archive, _ := testArchive(t)
			started := time.Now()
			var refused *herokubuild.StorageError
			require.ErrorAs(t, a.Sources.Put(t.Context(), decodeSource(t, sourceURL+fakeQuery), archive, nil), &refused)
			assert.LessOrEqual(t, time.Since(started), 10*time.Second)
			assert.Equal(t, 503, refused.StatusCode)
			assert.Equal(t, "busy", refused.Body)
		})
	})
}

// net/http has retries of its own, which only a real connection shows.
func TestDroppedConnection(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		method string
		want   int32
		maybe  bool
	}{
		{"GET", 5, false}, {"HEAD", 5, false}, {"PUT", 5, false}, {"DELETE", 5, false}, {"POST", 1, true}, {"PATCH", 1, true},
	} {
		t.Run(tt.method, func(t *testing.T) {
			t.Parallel()
			var dropped atomic.Int32
			client, _ := newServer(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/drop" {
					dropped.Add(1)
					_, _ = io.Copy(io.Discard, r.Body)
					drop(w)
				}
			})
			err := do(t.Context(), client, tt.method, "/drop", &herokubuild.DoOptions{Body: map[string]int{"n": 1}})
			var lost *herokubuild.RequestError
			require.ErrorAs(t, err, &lost)
			assert.Equal(t, tt.want, dropped.Load())
			assert.EqualValues(t, tt.want, lost.Attempts)
			assert.Equal(t, tt.maybe, errors.Is(err, herokubuild.ErrMaybeApplied))

			if tt.method == "POST" {
				// On a kept connection net/http would like to try again itself.
				dropped.Store(0)
				require.NoError(t, do(t.Context(), client, "GET", "/ok", nil))
				require.ErrorIs(t, do(t.Context(), client, "POST", "/drop", &herokubuild.DoOptions{Body: map[string]int{"n": 1}}), herokubuild.ErrMaybeApplied)
				assert.EqualValues(t, 1, dropped.Load())
			}
		})
	}
}

func TestResponseCutShort(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	client, _ := newServer(t, func(w http.ResponseWriter, _ *http.Request) {
		calls.Add(1)
		w.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(w, `{"id":`)
	})
	var out struct{ ID string }
	var lost *herokubuild.RequestError
	require.ErrorAs(t, do(t.Context(), client, "GET", "/x", &herokubuild.DoOptions{Out: &out}), &lost)
	assert.EqualValues(t, 5, calls.Load())

	calls.Store(0)
	require.ErrorIs(t, do(t.Context(), client, "POST", "/x", &herokubuild.DoOptions{Out: &out}), herokubuild.ErrMaybeApplied)
	assert.EqualValues(t, 1, calls.Load())
}

func TestCannotConnect(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	client, err := herokubuild.NewClient(herokubuild.WithToken(testToken), herokubuild.WithBaseURL(server.URL),
		herokubuild.WithTransport(&http.Transport{}), quickRetry())
	require.NoError(t, err)
	server.Close()
	err = do(t.Context(), client, "POST", "/x", nil)
	var lost *herokubuild.RequestError
	require.ErrorAs(t, err, &lost)
	assert.Equal(t, 5, lost.Attempts)
	require.NotErrorIs(t, err, herokubuild.ErrMaybeApplied)
}

func TestUntrustedCertificateIsNotRetried(t *testing.T) {
	t.Parallel()
	var opened atomic.Int32
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ConnState = countNew(&opened)
	server.Config.ErrorLog = quietLog()
	server.StartTLS()
	t.Cleanup(server.Close)
	client, err := herokubuild.NewClient(herokubuild.WithToken(testToken), herokubuild.WithBaseURL(server.URL),
		herokubuild.WithTransport(&http.Transport{}), quickRetry())
	require.NoError(t, err)
	var lost *herokubuild.RequestError
	require.ErrorAs(t, do(t.Context(), client, "GET", "/x", nil), &lost)
	assert.Equal(t, 1, lost.Attempts)
	assert.EqualValues(t, 1, opened.Load())
	assert.Contains(t, lost.Error(), "certificate")
}

// FuzzRetryAfter reads the header through the error that carries it.
func FuzzRetryAfter(f *testing.F) {
	for _, seed := range []string{
		"", "0", "7", "-7", "1.5", " 5", "86400", "99999999999", "1e300", "NaN", "Inf", "-Inf", "0x1p-2", "1893456000",
		"Wed, 21 Oct 2026 07:28:00 GMT", "Wed, 21 Oct 2026 07:28:00 +0200", "2026-10-21T07:28:00Z", "Sunday, 06-Nov-94 08:49:37 GMT",
		"Sun Nov  6 08:49:37 1994", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "soon", "\x00",
	} {
		f.Add(seed)
	}
	a := newAPI(f, noRetry())
	var value atomic.Value
	a.mock.RegisterResponder("GET", apiURL+"/x", func(*http.Request) (*http.Response, error) {
		resp := httpmock.NewStringResponse(429, "")
		resp.Header.Set("Retry-After", value.Load().(string))
		return resp, nil
	})
	f.Fuzz(func(t *testing.T, header string) {
		value.Store(header)
		wait := requireAPIError(t, do(t.Context(), a.Client, "GET", "/x", nil)).RetryAfter
		assert.GreaterOrEqual(t, wait, time.Duration(0))
		assert.LessOrEqual(t, wait, 24*time.Hour)
	})
}
