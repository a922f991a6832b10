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

// These tests send responses that a broken or malicious server may send. Each must
// lead to a typed error or be tolerated, in bounded memory and without hanging.

// gzipBomb returns a gigabyte of spaces as a megabyte of gzip.
func gzipBomb(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write(bytes.Repeat([]byte(" "), 1<<20))
	require.NoError(t, err)
	require.NoError(t, z.Close())
	// Concatenated gzip streams are decompressed as one.
	return bytes.Repeat(b.Bytes(), 1<<10)
}

func TestHostileResponsesAreTypedErrors(t *testing.T) {
	t.Parallel()
	bomb := gzipBomb(t)
	compressed := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			w.WriteHeader(status)
			_, _ = w.Write(bomb)
		}
	}
	respond := func(status int, body string, header ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			for i := 0; i < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	var api *herokubuild.APIError
	var response *herokubuild.ResponseError
	var request *herokubuild.RequestError
	megabyte := strings.Repeat("x", 1<<20)
	tests := map[string]struct {
		handler http.HandlerFunc
		want    any
	}{
		"gzip bomb":              {handler: compressed(200), want: &response},
		"gzip bomb as an error":  {handler: compressed(404), want: &api},
		"not gzip":               {handler: respond(200, "{}", "Content-Encoding", "gzip"), want: &request},
		"a megabyte of header":   {handler: respond(404, "", "Request-Id", megabyte), want: &api},
		"12 megabytes of header": {handler: respond(404, "", "Request-Id", strings.Repeat(megabyte, 12)), want: &request},
		"nested arrays":          {handler: respond(200, strings.Repeat("[", 1<<20)), want: &response},
		"nested objects":         {handler: respond(200, strings.Repeat(`{"app":`, 1<<20)), want: &response},
		"an HTML page":           {handler: respond(200, "<html><body>Welcome</body></html>"), want: &response},
		"a list":                 {handler: respond(200, "[]"), want: &response},
		"a string":               {handler: respond(200, `"build"`), want: &response},
		"fields of other types":  {handler: respond(200, `{"id":{"a":[1]},"status":7,"app":"x"}`), want: &response},
		"an invalid date":        {handler: respond(200, `{"created_at":"yesterday"}`), want: &response},
		"an empty body":          {handler: respond(200, ""), want: &response},
		"an invalid error":       {handler: respond(500, `{"id":[],"message":{"a":1}}`), want: &api},
		"a huge error":           {handler: respond(422, `{"id":"x","message":"`+megabyte+`"}`), want: &api},
		"another protocol":       {handler: respond(101, ""), want: &api},
		"redirect to ftp":        {handler: respond(302, "", "Location", "ftp://h/"), want: &api},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			client, _ := newServer(t, tt.handler, noRetry())
			before := allocated()
			b, err := client.Builds.Get(t.Context(), appName, buildID)
			// The limit is generous because other tests allocate at the same time.
			assert.Less(t, allocated()-before, uint64(512<<20))
			assert.Nil(t, b)
			require.ErrorAs(t, err, tt.want)
			assert.Less(t, len(err.Error()), 16<<10)
		})
	}
}

// allocated returns the number of bytes allocated so far.
func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

// A deploy whose build has an unknown status fails instead of waiting forever, and
// does not start a second build.
func TestBuildAndReleaseFailsOnUnknownStatus(t *testing.T) {
	t.Parallel()
	for name, status := range map[string]string{"unknown": `"melted"`, "of another type": `7`, "null": `null`} {
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

func TestRedirectsOfStorageHostsStayOnHTTPS(t *testing.T) {
	t.Parallel()
	var reached atomic.Int32
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reached.Add(1)
	}))
	t.Cleanup(plain.Close)
	archive, _ := testArchive(t)
	for name, to := range map[string]string{
		"to itself": "", "to ftp": "ftp://h/?Signature=fake", "to a file": "file:///etc/passwd", "to plain http": plain.URL,
		"to javascript": "javascript:alert(1)", "to an invalid URL": "://?Signature=fake",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host := httptest.NewTLSServer(withBuild(func(w http.ResponseWriter, r *http.Request) {
				assert.NotContains(t, r.Header, "Authorization")
				next := to
				if next == "" {
					next = r.URL.String()
				}
				w.Header().Set("Location", next)
				w.WriteHeader(http.StatusTemporaryRedirect)
			}))
			t.Cleanup(host.Close)
			client, err := herokubuild.NewClient(herokubuild.WithToken(testToken), herokubuild.WithBaseURL(host.URL), herokubuild.WithTransport(host.Client().Transport), quickRetry(),
				herokubuild.WithPollBackoff(func(int) time.Duration { return time.Millisecond }))
			require.NoError(t, err)
			signed := herokubuild.SecretURL(host.URL + "/log" + fakeQuery)

			s, err := client.Builds.Output(t.Context(), appName, buildID, nil)
			require.NoError(t, err)
			_, err = io.ReadAll(s)
			requireStreamError(t, err)

			_, err = client.Slugs.DownloadFrom(t.Context(), appName, &herokubuild.Slug{Blob: herokubuild.Blob{Method: "GET", URL: signed}}, nil)
			require.Error(t, err)
			assertErrorClean(t, err)

			err = client.Sources.Put(t.Context(), decodeSource(t, signed.Reveal()), archive, nil)
			require.Error(t, err)
			assertErrorClean(t, err)
		})
	}
	t.Cleanup(func() { assert.Zero(t, reached.Load(), "a request over TLS is not redirected to plain http") })
}

// The API key is sent only to the host that the caller configured.
func TestAPIKeyIsNotSentToRedirects(t *testing.T) {
	t.Parallel()
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("unexpected request to another host: %v", r.Header)
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

func TestHostileStreamsAreBounded(t *testing.T) {
	t.Parallel()
	open := func(t *testing.T, ctx context.Context, handler http.HandlerFunc) *herokubuild.OutputStream {
		t.Helper()
		client, _ := newServer(t, withBuild(handler))
		s, err := client.Builds.Output(ctx, appName, buildID, nil)
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
	t.Run("only heartbeats", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		got, err := io.ReadAll(open(t, ctx, flood(make([]byte, 4096))))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Empty(t, got)
	})
	t.Run("an endless line", func(t *testing.T) {
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
		t.Run(fmt.Sprint("invalid Content-Range ", i), func(t *testing.T) {
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
			assert.Equal(t, "abcdef", string(got), "a part whose offset is unknown is not used")
		})
	}
}
