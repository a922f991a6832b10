package herokubuild_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
)

// What a platform, or somebody who plays one, can answer: each is a typed error
// or is borne, in bounded memory, and never hangs.

// bomb is a gigabyte of spaces as a megabyte of gzip.
func bomb(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write(bytes.Repeat([]byte(" "), 1<<20))
	require.NoError(t, err)
	require.NoError(t, z.Close())
	// One after another, they unpack as one.
	return bytes.Repeat(b.Bytes(), 1<<10)
}

func TestHostileAnswers(t *testing.T) {
	t.Parallel()
	packed := bomb(t)
	unpacking := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			w.WriteHeader(status)
			_, _ = w.Write(packed)
		}
	}
	answer := func(status int, body string, header ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			for i := 0; i < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	var api *herokubuild.APIError
	var odd *herokubuild.ResponseError
	var lost *herokubuild.RequestError
	megabyte := strings.Repeat("x", 1<<20)
	tests := map[string]struct {
		handler http.HandlerFunc
		want    any
	}{
		"gzip bomb":             {handler: unpacking(200), want: &odd},
		"gzip bomb as an error": {handler: unpacking(404), want: &api},
		"not gzip":              {handler: answer(200, "{}", "Content-Encoding", "gzip"), want: &lost},
		"a megabyte of header":  {handler: answer(404, "", "Request-Id", megabyte), want: &api},
		"many megabytes":        {handler: answer(404, "", "Request-Id", strings.Repeat(megabyte, 12)), want: &lost},
		"nested for ever":       {handler: answer(200, strings.Repeat("[", 1<<20)), want: &odd},
		"nested in an object":   {handler: answer(200, strings.Repeat(`{"app":`, 1<<20)), want: &odd},
		"a page":                {handler: answer(200, "<html><body>Welcome</body></html>"), want: &odd},
		"a list":                {handler: answer(200, "[]"), want: &odd},
		"a text":                {handler: answer(200, `"build"`), want: &odd},
		"fields of other types": {handler: answer(200, `{"id":{"a":[1]},"status":7,"app":"x"}`), want: &odd},
		"a date of its own":     {handler: answer(200, `{"created_at":"yesterday"}`), want: &odd},
		"nothing":               {handler: answer(200, ""), want: &odd},
		"an error of an error":  {handler: answer(500, `{"id":[],"message":{"a":1}}`), want: &api},
		"a huge error":          {handler: answer(422, `{"id":"x","message":"`+megabyte+`"}`), want: &api},
		"another protocol":      {handler: answer(101, ""), want: &api},
		"redirect to ftp":       {handler: answer(302, "", "Location", "ftp://h/"), want: &api},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			client, _ := newServer(t, tt.handler, noRetry())
			before := allocated()
			b, err := client.Builds.Get(t.Context(), appName, buildID)
			// A mebibyte is let through; other tests allocate at the same time.
			assert.Less(t, allocated()-before, uint64(512<<20))
			assert.Nil(t, b)
			require.ErrorAs(t, err, tt.want)
			assert.Less(t, len(err.Error()), 16<<10)
		})
	}
}

func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

// The status that nobody knows ends a deploy, neither as a success nor never,
// and no build is started again that the platform says it has started.
func TestHostileStatus(t *testing.T) {
	t.Parallel()
	for name, status := range map[string]string{"unknown": `"melted"`, "of another type": `7`, "nothing": `null`} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a := newAPI(t)
				text := strings.Replace(golden(t, "build_pending.json"), `"pending"`, status, 1)
				a.on("GET", apiURL+"/apps/"+appName, replyFile(t, 200, "app.json"))
				a.on("GET", appBuildsURL, reply(200, "[]"))
				a.on("POST", appBuildsURL, reply(201, text))
				a.mock.RegisterNoResponder(reply(200, text))
				_, err := a.BuildAndRelease(t.Context(), herokubuild.BuildAndReleaseOptions{BuildApp: appName, SourceURL: sourceURL})
				var failed *herokubuild.DeployError
				require.ErrorAs(t, err, &failed)
				assert.Empty(t, failed.Result.Artifact.SlugID)
				assert.Equal(t, 1, a.mock.GetCallCountInfo()["POST "+appBuildsURL])
			})
		})
	}
}

// A storage or stream host sends its client somewhere else.
func TestHostileRedirects(t *testing.T) {
	t.Parallel()
	var reached atomic.Int32
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reached.Add(1)
	}))
	t.Cleanup(plain.Close)
	archive, _ := testArchive(t)
	for name, to := range map[string]string{
		"to itself": "", "to ftp": "ftp://h/?Signature=fake", "to a file": "file:///etc/passwd", "to plain http": plain.URL,
		"to javascript": "javascript:alert(1)", "nowhere": "://?Signature=fake",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				assert.NotContains(t, r.Header, "Authorization")
				next := to
				if next == "" {
					next = r.URL.String()
				}
				w.Header().Set("Location", next)
				w.WriteHeader(http.StatusTemporaryRedirect)
			}))
			t.Cleanup(host.Close)
			client, err := herokubuild.NewClient(herokubuild.WithToken(testToken), herokubuild.WithHTTPClient(host.Client()), quickRetry(),
				herokubuild.WithPollBackoff(func(int) time.Duration { return time.Millisecond }))
			require.NoError(t, err)
			signed := herokubuild.SecretURL(host.URL + "/log" + fakeQuery)

			s, err := client.Builds.Output(t.Context(), &herokubuild.Build{OutputStreamURL: signed}, nil)
			require.NoError(t, err)
			_, err = io.ReadAll(s)
			requireStreamError(t, err)

			_, err = client.Slugs.Download(t.Context(), appName, &herokubuild.Slug{Blob: herokubuild.Blob{Method: "GET", URL: signed}}, nil)
			require.Error(t, err)
			assertErrorClean(t, err)

			err = client.Sources.Put(t.Context(), decodeSource(t, signed.Reveal()), archive, nil)
			require.Error(t, err)
			assertErrorClean(t, err)
		})
	}
	t.Cleanup(func() { assert.Zero(t, reached.Load(), "what was sent over TLS goes on over TLS") })
}

// The key goes to the host that the caller named, whatever that says.
func TestTheKeyDoesNotTravel(t *testing.T) {
	t.Parallel()
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("a request to another host: %v", r.Header)
	}))
	t.Cleanup(other.Close)
	for _, status := range []int{301, 302, 303, 307, 308} {
		client, _ := newServer(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", other.URL+"/x")
			w.WriteHeader(status)
		})
		_, err := client.Builds.Get(t.Context(), appName, buildID)
		assert.Equal(t, status, requireAPIError(t, err).StatusCode)
		_, err = client.Sources.Create(t.Context())
		assert.Equal(t, status, requireAPIError(t, err).StatusCode)
	}
}

// A stream of nothing but heartbeats, and a line without an end.
func TestHostileStreams(t *testing.T) {
	t.Parallel()
	open := func(t *testing.T, ctx context.Context, handler http.HandlerFunc) *herokubuild.OutputStream {
		t.Helper()
		client, server := newServer(t, handler)
		s, err := client.Builds.Output(ctx, &herokubuild.Build{OutputStreamURL: herokubuild.SecretURL(server.URL + "/log")}, nil)
		require.NoError(t, err)
		t.Cleanup(func() { assert.NoError(t, s.Close()) })
		return s
	}
	flood := func(text []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			for {
				if _, err := w.Write(text); err != nil {
					return
				}
			}
		}
	}
	t.Run("heartbeats", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		got, err := io.ReadAll(open(t, ctx, flood(make([]byte, 4096))))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Empty(t, got)
	})
	t.Run("a line", func(t *testing.T) {
		t.Parallel()
		n := 0
		for line, err := range open(t, t.Context(), flood(bytes.Repeat([]byte("x"), 4096))).Lines() {
			require.NoError(t, err)
			require.LessOrEqual(t, len(line), 66<<10)
			if n++; n == 50 {
				break
			}
		}
	})
	for i, contentRange := range []string{"", "bytes", "bytes 5-", "bytes -5-9/10", "bytes 99999999999999999999-/*", "bytes 0-1/1e9", "lines 0-1/2"} {
		t.Run(fmt.Sprint("a range ", i), func(t *testing.T) {
			t.Parallel()
			calls := 0
			got, err := io.ReadAll(open(t, t.Context(), func(w http.ResponseWriter, r *http.Request) {
				calls++
				switch {
				case calls == 1:
					_, _ = io.WriteString(w, "abc")
					_ = http.NewResponseController(w).Flush()
					panic(http.ErrAbortHandler)
				case r.Header.Get("Range") != "":
					w.Header().Set("Content-Range", contentRange)
					w.WriteHeader(http.StatusPartialContent)
					_, _ = io.WriteString(w, "zzz")
				default:
					_, _ = io.WriteString(w, "abcdef")
				}
			}))
			require.NoError(t, err)
			assert.Equal(t, "abcdef", string(got), "what does not prove where it starts is not believed")
		})
	}
}
