package transport

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// roundTripper responds to requests with its functions in turn, and with the last from
// then on.
type roundTripper struct {
	replies  []reply
	requests []*http.Request
}

type reply func(*http.Request) (*http.Response, error)

func (r *roundTripper) RoundTrip(req *http.Request) (*http.Response, error) {
	r.requests = append(r.requests, req)
	resp, err := r.replies[min(len(r.requests), len(r.replies))-1](req)
	if resp != nil {
		resp.Request = req
	}
	return resp, err
}

func respond(code int, body string, header ...string) reply {
	return func(req *http.Request) (*http.Response, error) {
		if req.Body != nil {
			if _, err := io.Copy(io.Discard, req.Body); err != nil {
				return nil, err
			}
		}
		h := http.Header{}
		for i := 0; i < len(header); i += 2 {
			h.Set(header[i], header[i+1])
		}
		return &http.Response{StatusCode: code, Header: h, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body))}, nil
	}
}

func fail(err error) reply {
	return func(*http.Request) (*http.Response, error) { return nil, err }
}

func hang(req *http.Request) (*http.Response, error) {
	<-req.Context().Done()
	return nil, req.Context().Err()
}

var testPolicy = Policy{MaxAttempts: 3, MinWait: time.Second, MaxWait: time.Second, MaxRetryAfter: time.Minute}

func request(t *testing.T, ctx context.Context, method string, kind Kind) Request { //nolint:revive // t first, as in testing
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, method, "https://example.com/a?Signature=x", nil)
	require.NoError(t, err)
	return Request{HTTP: req, Kind: kind, Idempotent: method != http.MethodPost, MaxBytes: 100, Timeout: time.Minute, Policy: testPolicy}
}

// attempts is an Observer that keeps what it receives.
type attempts []Attempt

func (a *attempts) Observe(_ context.Context, attempt Attempt) { *a = append(*a, attempt) }

func TestSuccessAfterRetries(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rt := &roundTripper{replies: []reply{respond(503, "busy", "Retry-After", "5"), fail(errReset), respond(200, "content")}}
		var seen attempts
		r := request(t, t.Context(), "GET", Call)
		r.Observer = &seen
		resp, failed := Client{rt}.Do(r)
		require.Nil(t, failed)
		assert.Equal(t, "content", string(resp.Content))
		assert.Equal(t, 3, resp.Attempts)
		require.Len(t, seen, 3)
		assert.Equal(t, 503, seen[0].Response.StatusCode)
		assert.True(t, seen[0].Retry)
		assert.Equal(t, 5*time.Second, seen[0].Wait)
		require.ErrorIs(t, seen[1].Err, errReset)
		assert.Equal(t, 5*time.Second, seen[1].Started.Sub(seen[0].Started))
		assert.False(t, seen[2].Retry)
	})
}

func TestFailureDescribesTheLastAttempt(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		method  string
		replies []reply
		want    Failure
		status  int
	}{
		"status":                     {"GET", []reply{respond(503, "first"), respond(404, "gone")}, Failure{Attempts: 2, Body: []byte("gone")}, 404},
		"status of a POST":           {"POST", []reply{respond(500, "no")}, Failure{Attempts: 1, Body: []byte("no"), Ambiguous: true}, 500},
		"error":                      {"GET", []reply{respond(503, ""), fail(errReset)}, Failure{Attempts: 3, Err: errReset}, 0},
		"error of a POST":            {"POST", []reply{fail(errReset)}, Failure{Attempts: 1, Err: errReset, Ambiguous: true}, 0},
		"POST that was never sent":   {"POST", []reply{fail(errDial)}, Failure{Attempts: 3, Err: errDial}, 0},
		"requested wait":             {"GET", []reply{respond(429, "", "Retry-After", "3600")}, Failure{Attempts: 3, Body: []byte{}, RetryAfter: time.Hour}, 429},
		"too large":                  {"GET", []reply{respond(200, strings.Repeat("x", 101))}, Failure{Attempts: 1, Err: ErrTooLarge}, 200},
		"neither response nor error": {"POST", []reply{func(*http.Request) (*http.Response, error) { return nil, nil }}, Failure{Attempts: 1, Ambiguous: true}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				_, got := Client{&roundTripper{replies: tt.replies}}.Do(request(t, t.Context(), tt.method, Call))
				require.NotNil(t, got)
				if tt.want.Err != nil {
					require.ErrorIs(t, got.Err, tt.want.Err)
				}
				if tt.status != 0 {
					require.NotNil(t, got.Response)
					assert.Equal(t, tt.status, got.Response.StatusCode)
				} else {
					require.Error(t, got.Err)
				}
				assert.Nil(t, got.Last)
				got.Err, got.Response = tt.want.Err, nil
				assert.Equal(t, tt.want, *got)
			})
		})
	}
}

func TestContextThatEndsKeepsTheLastResponse(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		replies   []reply
		attempts  int
		last      bool
		ambiguous bool
	}{
		"in the wait":                          {[]reply{respond(429, "slow down")}, 1, true, false},
		"in the wait after an error":           {[]reply{fail(errDial)}, 1, false, false},
		"in an attempt":                        {[]reply{hang}, 1, false, true},
		"in the attempt after a response":      {[]reply{respond(429, "slow down"), hang}, 2, true, true},
		"in the attempt after a failed dial":   {[]reply{fail(errDial), hang}, 2, false, true},
		"in the third, after two of each kind": {[]reply{respond(429, "slow down"), fail(errDial), hang}, 3, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				limit := 10 * time.Second
				if len(tt.replies) == 1 {
					limit = 100 * time.Millisecond
				}
				ctx, cancel := context.WithTimeout(t.Context(), limit)
				defer cancel()
				_, failed := Client{&roundTripper{replies: tt.replies}}.Do(request(t, ctx, "POST", Call))
				require.NotNil(t, failed)
				require.ErrorIs(t, failed.Err, context.DeadlineExceeded)
				assert.Equal(t, tt.attempts, failed.Attempts)
				assert.Equal(t, tt.ambiguous, failed.Ambiguous)
				if !tt.last {
					assert.Nil(t, failed.Last)
					return
				}
				require.NotNil(t, failed.Last)
				assert.Equal(t, 429, failed.Last.Response.StatusCode)
				assert.Equal(t, "slow down", string(failed.Last.Body))
				assert.Equal(t, 1, failed.Last.Attempts)
			})
		})
	}
}

// closer notices that the idle connections of a transport are closed.
type closer struct {
	roundTripper
	closed int
}

func (c *closer) CloseIdleConnections() { c.closed++ }

func TestFailureKeepsIdleConnections(t *testing.T) {
	t.Parallel()
	rt := &closer{roundTripper: roundTripper{replies: []reply{fail(Permanent(io.ErrUnexpectedEOF))}}}
	_, failed := Client{rt}.Do(request(t, t.Context(), "GET", Call))
	require.NotNil(t, failed)
	assert.Zero(t, rt.closed)
}

func TestBodyThatCannotBeOpenedIsNotSent(t *testing.T) {
	t.Parallel()
	rt := &roundTripper{replies: []reply{respond(200, "")}}
	r := request(t, t.Context(), "PUT", Upload)
	r.Body, r.Size = func() (io.ReadCloser, error) { return nil, io.ErrClosedPipe }, 3
	_, failed := Client{rt}.Do(r)
	require.NotNil(t, failed)
	require.ErrorIs(t, failed.Err, io.ErrClosedPipe)
	assert.Zero(t, failed.Attempts)
	assert.Empty(t, rt.requests)
}

func upload(t *testing.T, content string) Request {
	t.Helper()
	r := request(t, t.Context(), "PUT", Upload)
	r.Size = int64(len(content))
	r.Body = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(content)), nil }
	return r
}

func TestUploadIsOpenedForEachAttempt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rt := &roundTripper{replies: []reply{respond(503, ""), respond(201, "stored")}}
		resp, failed := Client{rt}.Do(upload(t, "archive"))
		require.Nil(t, failed)
		assert.Equal(t, "stored", string(resp.Content))
		require.Len(t, rt.requests, 2)
		assert.EqualValues(t, 7, rt.requests[1].ContentLength)
	})
}

func TestUploadWithAnEarlySuccessFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		early := func(*http.Request) (*http.Response, error) { return &http.Response{StatusCode: 200}, nil }
		_, failed := Client{&roundTripper{replies: []reply{early}}}.Do(upload(t, "archive"))
		require.NotNil(t, failed)
		require.ErrorIs(t, failed.Err, ErrEarlySuccess)
		assert.Equal(t, 3, failed.Attempts)
	})
}

func TestUploadThatStallsFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		_, failed := Client{&roundTripper{replies: []reply{hang}}}.Do(upload(t, "archive"))
		require.NotNil(t, failed)
		require.ErrorIs(t, failed.Err, ErrUploadStalled)
		assert.Less(t, time.Since(start), 3*time.Minute+2*time.Second)
	})
}

// stuck is a body that blocks until it is closed.
type stuck struct{ closed chan struct{} }

func (s *stuck) Read([]byte) (int, error) {
	<-s.closed
	return 0, errors.New("closed")
}

func (s *stuck) Close() error {
	select {
	case <-s.closed:
	default:
		close(s.closed)
	}
	return nil
}

func respondStuck(code int) reply {
	return func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: code, Body: &stuck{closed: make(chan struct{})}, ContentLength: -1}, nil
	}
}

// A body that ignores the context of its request does not hold up an attempt.
func TestCallEndsWithABodyThatBlocks(t *testing.T) {
	t.Parallel()
	for code, want := range map[int]time.Duration{200: time.Minute, 404: 5 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			r := request(t, t.Context(), "POST", Call)
			start := time.Now()
			_, failed := Client{&roundTripper{replies: []reply{respondStuck(code)}}}.Do(r)
			require.NotNil(t, failed)
			assert.Equal(t, want, time.Since(start))
			assert.Equal(t, code == 200, errors.Is(failed.Err, ErrAttemptTimeout))
		})
	}
}

func TestDownloadIsIdleForItsTimeLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		resp, failed := Client{&roundTripper{replies: []reply{respondStuck(200)}}}.Do(request(t, t.Context(), "GET", Download))
		require.Nil(t, failed)
		defer func() { assert.NoError(t, resp.Body.Close()) }()
		time.Sleep(time.Hour) // the time between reads does not count
		start := time.Now()
		_, err := resp.Body.Read(make([]byte, 1))
		require.ErrorIs(t, err, ErrIdle)
		assert.Equal(t, time.Minute, time.Since(start))
	})
}

func TestDownloadEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		resp, failed := Client{&roundTripper{replies: []reply{respondStuck(200)}}}.Do(request(t, ctx, "GET", Download))
		require.Nil(t, failed)
		time.AfterFunc(time.Second, cancel)
		start := time.Now()
		_, err := resp.Body.Read(make([]byte, 1))
		require.Error(t, err)
		require.NotErrorIs(t, err, ErrIdle)
		assert.Equal(t, time.Second, time.Since(start))
		require.NoError(t, resp.Body.Close())
		require.NoError(t, resp.Body.Close(), "once more")
	})
}

func TestDownloadWithoutAResponseIsRetried(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, failed := Client{&roundTripper{replies: []reply{hang}}}.Do(request(t, t.Context(), "GET", Download))
		require.NotNil(t, failed)
		require.ErrorIs(t, failed.Err, ErrIdle)
		assert.Equal(t, 3, failed.Attempts)
	})
}

// nothing is a body that returns neither content nor an error.
type nothing struct{}

func (nothing) Read([]byte) (int, error) { return 0, nil }

func (nothing) Close() error { return nil }

func TestBodyThatReturnsNothingFails(t *testing.T) {
	t.Parallel()
	empty := func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Body: nothing{}}, nil
	}
	resp, failed := Client{&roundTripper{replies: []reply{empty}}}.Do(request(t, t.Context(), "GET", Download))
	require.Nil(t, failed)
	_, err := io.ReadAll(resp.Body)
	require.ErrorIs(t, err, io.ErrNoProgress)
	require.NoError(t, resp.Body.Close())
}

func TestRedirects(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		method, location string
		kind             Kind
		code             int
		followed         bool
	}{
		"download":              {"GET", "https://other.example.com/b", Download, 302, true},
		"download, to http":     {"GET", "http://example.com/b", Download, 302, false},
		"download, to loopback": {"GET", "http://127.0.0.1/b", Download, 302, false},
		"upload":                {"PUT", "https://other.example.com/b", Upload, 307, true},
		"upload that becomes a GET": {
			"PUT", "https://other.example.com/b", Upload, 302, false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := request(t, t.Context(), tt.method, tt.kind)
			if tt.kind == Upload {
				r.Size, r.Body = 1, func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("x")), nil }
			}
			r.OriginHeader = http.Header{"Authorization": {"secret"}}
			rt := &roundTripper{replies: []reply{respond(tt.code, "", "Location", tt.location), respond(200, "")}}
			resp, failed := Client{rt}.Do(r)
			assert.Equal(t, "secret", rt.requests[0].Header.Get("Authorization"))
			if !tt.followed {
				require.NotNil(t, failed)
				require.ErrorIs(t, failed.Err, ErrRedirect)
				assert.Equal(t, 1, failed.Attempts)
				return
			}
			require.Nil(t, failed)
			require.NoError(t, resp.Body.Close())
			require.Len(t, rt.requests, 2)
			assert.Empty(t, rt.requests[1].Header.Get("Authorization"), "it is for the origin only")
			assert.Empty(t, rt.requests[1].Header.Get("Referer"))
		})
	}
	t.Run("call", func(t *testing.T) {
		t.Parallel()
		rt := &roundTripper{replies: []reply{respond(302, "", "Location", "https://other.example.com/b")}}
		_, failed := Client{rt}.Do(request(t, t.Context(), "GET", Call))
		require.NotNil(t, failed)
		require.NoError(t, failed.Err)
		assert.Equal(t, 302, failed.Response.StatusCode)
		assert.Len(t, rt.requests, 1)
	})
	t.Run("in circles", func(t *testing.T) {
		t.Parallel()
		rt := &roundTripper{replies: []reply{respond(302, "", "Location", "https://example.com/a")}}
		_, failed := Client{rt}.Do(request(t, t.Context(), "GET", Download))
		require.NotNil(t, failed)
		require.ErrorIs(t, failed.Err, ErrRedirect)
		assert.Len(t, rt.requests, maxHops)
	})
}

func TestGzipped(t *testing.T) {
	t.Parallel()
	for coding, want := range map[string]bool{"": false, "identity": false, "gzip": true, " X-GZIP ,identity": true} {
		got, err := Gzipped(http.Header{"Content-Encoding": {coding}})
		require.NoError(t, err, coding)
		assert.Equal(t, want, got, coding)
	}
	for _, coding := range []string{"br", "gzip, gzip", "deflate"} {
		_, err := Gzipped(http.Header{"Content-Encoding": {coding}})
		require.Error(t, err, coding)
	}
}

func TestNewRequestIDIsARandomUUID(t *testing.T) {
	t.Parallel()
	id := NewRequestID()
	assert.Regexp(t, `^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`, id)
	assert.NotEqual(t, id, NewRequestID())
}
