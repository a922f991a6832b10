package herokubuild_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
	wire "github.com/herokubuild/herokubuild/internal/transport"
)

const headerSecret = "glpat-not-a-real-token"

func withHeader(names ...string) *herokubuild.FetchArchiveOptions {
	o := &herokubuild.FetchArchiveOptions{Header: http.Header{}}
	for _, name := range names {
		o.Header.Set(name, headerSecret)
	}
	return o
}

// hosts are two servers and the requests that each received.
type hosts struct {
	one, other *httptest.Server
	mu         sync.Mutex
	seen       map[string][]http.Header
}

func newHosts(t *testing.T, one, other http.HandlerFunc) *hosts {
	t.Helper()
	h := &hosts{seen: map[string][]http.Header{}}
	serve := func(name string, handler http.HandlerFunc) *httptest.Server {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h.mu.Lock()
			h.seen[name] = append(h.seen[name], r.Header.Clone())
			h.mu.Unlock()
			handler(w, r)
		}))
		t.Cleanup(s.Close)
		return s
	}
	h.one, h.other = serve("one", one), serve("other", other)
	return h
}

func TestFetchArchive(t *testing.T) {
	t.Parallel()
	content := packed(t, file{"a", random(100_000)})
	h := newHosts(t, nil, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(content) })
	h.one.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		h.seen["one"] = append(h.seen["one"], r.Header.Clone())
		h.mu.Unlock()
		if r.URL.Path == "/archive" {
			http.Redirect(w, r, "/moved", http.StatusFound)
			return
		}
		http.Redirect(w, r, h.other.URL+"/blob"+fakeQuery, http.StatusFound)
	})
	client, _ := newServer(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	temp := t.TempDir()
	opts := withHeader("Authorization", "private-token", "Cookie", "X-Key")
	opts.TempDir = temp
	archive, err := client.FetchArchive(t.Context(), herokubuild.SecretURL(h.one.URL+"/archive"), opts)
	require.NoError(t, err)
	assert.Equal(t, content, contents(t, archive))
	require.Len(t, h.seen["one"], 2)
	for _, header := range h.seen["one"] {
		for _, name := range []string{"Authorization", "Private-Token", "Cookie", "X-Key"} {
			assert.Equal(t, headerSecret, header.Get(name), "its own host gets it, after a redirect too")
		}
	}
	require.Len(t, h.seen["other"], 1)
	assert.NotContains(t, fmt.Sprint(h.seen["other"]), headerSecret, "another host does not, though it is another port only")
	assert.NotContains(t, fmt.Sprint(h.seen), testToken, "nobody gets the API key")
	assert.NotContains(t, fmt.Sprint(h.seen["other"]), "/archive", "nor the Referer")
	require.NoError(t, archive.Close())
	left, err := os.ReadDir(temp)
	require.NoError(t, err)
	assert.Empty(t, left)
}

func TestFetchArchiveFails(t *testing.T) {
	t.Parallel()
	good := packed(t, file{"a", random(100_000)})
	respond := func(status int, body []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status); _, _ = w.Write(body) }
	}
	clean := func(t *testing.T, err error) {
		t.Helper()
		require.Error(t, err)
		assertErrorClean(t, err)
		assert.NotContains(t, fmt.Sprintf("%v %+v %#v", err, err, err), headerSecret)
	}
	for name, tt := range map[string]struct {
		handler http.HandlerFunc
		most    int64
		check   func(t *testing.T, err error)
	}{
		"refused": {respond(403, []byte("no")), 0, func(t *testing.T, err error) {
			var refused *herokubuild.StorageError
			require.ErrorAs(t, err, &refused)
			require.ErrorIs(t, err, herokubuild.ErrForbidden)
		}},
		"a page": {respond(200, []byte("<html>log in</html>")), 0, func(t *testing.T, err error) {
			require.ErrorIs(t, err, herokubuild.ErrUnexpectedResponse)
			assert.Contains(t, err.Error(), "not a gzipped tar archive")
		}},
		"nothing":   {respond(200, nil), 0, func(t *testing.T, err error) { require.ErrorIs(t, err, herokubuild.ErrUnexpectedResponse) }},
		"cut":       {respond(200, good[:len(good)-3]), 0, func(t *testing.T, err error) { require.ErrorIs(t, err, herokubuild.ErrUnexpectedResponse) }},
		"too large": {respond(200, good), 1000, func(t *testing.T, err error) { require.ErrorIs(t, err, herokubuild.ErrUnexpectedResponse) }},
		"broken off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000000")
			_, _ = w.Write(good)
		}, 0, func(t *testing.T, err error) {
			var lost *herokubuild.RequestError
			require.ErrorAs(t, err, &lost)
		}},
		"to a weaker scheme": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://example.com/x"+fakeQuery, http.StatusFound)
		}, 0, func(t *testing.T, err error) { assert.Contains(t, err.Error(), "redirect refused") }},
		"round in circles": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.Path+fakeQuery, http.StatusFound)
		}, 0, func(t *testing.T, err error) { assert.Contains(t, err.Error(), "redirect refused") }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, server := newServer(t, tt.handler)
			opts := withHeader("Authorization")
			opts.MaxBytes, opts.TempDir = tt.most, t.TempDir()
			a, err := client.FetchArchive(t.Context(), herokubuild.SecretURL(server.URL+"/a"+fakeQuery), opts)
			assert.Nil(t, a)
			clean(t, err)
			tt.check(t, err)
			left, err := os.ReadDir(opts.TempDir)
			require.NoError(t, err)
			assert.Empty(t, left)
		})
	}

	client, server := newServer(t, respond(200, good))
	for name, value := range map[string]string{"": "x", "a b": "x", "X": "a\r\nY: " + headerSecret, "host": "x", "Content-Length": "1", "X\n": "x"} {
		_, err := client.FetchArchive(t.Context(), herokubuild.SecretURL(server.URL), &herokubuild.FetchArchiveOptions{Header: http.Header{name: {value}}})
		clean(t, err)
		requireInvalid(t, err, "Header")
	}
	_, err := client.FetchArchive(t.Context(), "http://example.com/", nil)
	requireInvalid(t, err, "URL")
	_, err = client.FetchArchive(t.Context(), herokubuild.SecretURL(server.URL), &herokubuild.FetchArchiveOptions{MaxBytes: -1})
	requireInvalid(t, err, "MaxBytes")
	assert.NotContains(t, fmt.Sprintf("%v %+v %#v %s", withHeader("X"), *withHeader("X"), *withHeader("X"), withHeader("X")), headerSecret)

	ctx, cancel := context.WithCancel(t.Context())
	stuck, server := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write(good[:100])
		_ = http.NewResponseController(w).Flush()
		cancel()
		<-r.Context().Done()
	})
	_, err = stuck.FetchArchive(ctx, herokubuild.SecretURL(server.URL), nil)
	require.ErrorIs(t, err, context.Canceled)
}

// A download without progress for a minute fails.
func TestFetchArchiveStalls(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAPI(t, noRetry())
		respond, w := live(http.StatusOK)
		a.on(http.MethodGet, "https://storage.example.com/a.tgz", respond)
		go func() { _, _ = w.Write([]byte(strings.Repeat("x", 10))) }()
		_, err := a.FetchArchive(t.Context(), "https://storage.example.com/a.tgz", nil)
		var failed *herokubuild.RequestError
		require.ErrorAs(t, err, &failed)
		require.NotErrorIs(t, err, context.Canceled, "the caller has not canceled")
		require.ErrorIs(t, err, wire.ErrIdle)
	})
}

func TestFetchArchiveReportsItsProgress(t *testing.T) {
	t.Parallel()
	content := packed(t, file{"a", random(1 << 20)})
	for name, announced := range map[string]int64{"with a length": int64(len(content)), "without": -1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHosts(t, func(w http.ResponseWriter, _ *http.Request) {
				if announced > 0 {
					w.Header().Set("Content-Length", strconv.FormatInt(announced, 10))
				}
				_, _ = w.Write(content[:1000])
				_ = http.NewResponseController(w).Flush()
				_, _ = w.Write(content[1000:])
			}, nil)
			client, _ := newServer(t, nil)
			var reports, last int64
			archive, err := client.FetchArchive(t.Context(), herokubuild.SecretURL(h.one.URL), &herokubuild.FetchArchiveOptions{OnProgress: func(done, total int64) {
				assert.Greater(t, done, last)
				assert.Equal(t, announced, total)
				reports, last = reports+1, done
			}})
			require.NoError(t, err)
			t.Cleanup(func() { _ = archive.Close() })
			assert.Greater(t, reports, int64(1))
			assert.Equal(t, archive.Size, last)
		})
	}
}

// The URL is the caller's, so that another call would be refused, too.
func TestRefusedFetchIsNotRetryable(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]bool{401: false, 403: false, 404: false, 410: false, 451: false, 429: true, 503: true} {
		h := newHosts(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }, nil)
		client, _ := newServer(t, nil, noRetry())
		_, err := client.FetchArchive(t.Context(), herokubuild.SecretURL(h.one.URL), nil)
		require.Error(t, err)
		assert.Equal(t, want, herokubuild.Retryable(err), status)
	}
}
