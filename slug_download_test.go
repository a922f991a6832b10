package herokubuild_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jarcoal/httpmock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
)

// blobServer serves one archive with the faults that its fields describe.
type blobServer struct {
	content []byte
	etag    string
	// cut returns after how many bytes of the body the nth response breaks off; ok is
	// false for a whole one.
	cut func(n int) (after int, ok bool)
	// respond replaces the nth response if it returns true.
	respond func(n int, w http.ResponseWriter, r *http.Request) bool

	mu     sync.Mutex
	ranges []string
}

func (s *blobServer) requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.ranges...)
}

func (s *blobServer) handle(t *testing.T) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		assert.NotContains(t, r.Header, "Authorization")
		assert.Equal(t, "identity", r.Header.Get("Accept-Encoding"), "the archive must not be decoded")
		s.mu.Lock()
		n := len(s.ranges)
		s.ranges = append(s.ranges, r.Header.Get("Range"))
		s.mu.Unlock()
		if s.respond != nil && s.respond(n, w, r) {
			return
		}
		if s.etag != "" {
			w.Header().Set("Etag", s.etag)
		}
		after, ok := 0, false
		if s.cut != nil {
			after, ok = s.cut(n)
		}
		if !ok {
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(s.content))
			return
		}
		http.ServeContent(&cutWriter{ResponseWriter: w, left: after}, r, "", time.Time{}, bytes.NewReader(s.content))
	}
}

// cutWriter closes the connection after some bytes.
type cutWriter struct {
	http.ResponseWriter
	left int
}

func (w *cutWriter) Write(p []byte) (int, error) {
	if len(p) < w.left {
		w.left -= len(p)
		return w.ResponseWriter.Write(p)
	}
	_, _ = w.ResponseWriter.Write(p[:w.left])
	_ = http.NewResponseController(w.ResponseWriter).Flush()
	panic(http.ErrAbortHandler)
}

func sumOf(content []byte) string {
	sum := sha256.Sum256(content)
	return "SHA256:" + hex.EncodeToString(sum[:])
}

func (s *blobServer) start(t *testing.T, opts ...herokubuild.Option) (*herokubuild.Client, *herokubuild.Slug) {
	t.Helper()
	client, server := newServer(t, s.handle(t), opts...)
	slug := blobAt(server.URL + "/slug" + fakeQuery)
	slug.Checksum = sumOf(s.content)
	return client, slug
}

func download(t *testing.T, client *herokubuild.Client, slug *herokubuild.Slug, opts *herokubuild.DownloadOptions) ([]byte, error) {
	t.Helper()
	body, err := client.Slugs.DownloadFrom(t.Context(), appName, slug, opts)
	if err != nil {
		assert.Nil(t, body)
		return nil, err
	}
	got, err := io.ReadAll(body)
	require.NoError(t, body.Close())
	return got, err
}

func TestDownloadResumes(t *testing.T) {
	t.Parallel()
	server := &blobServer{content: []byte(random(100_000)), etag: `"abc"`, cut: func(n int) (int, bool) {
		cuts := []int{70_000, 1, 5_000, 0, 10}
		return cuts[min(n, 4)], n < len(cuts)
	}}
	client, slug := server.start(t, herokubuild.WithRetry(herokubuild.RetryOptions{MaxAttempts: 6, MinWait: time.Microsecond, MaxWait: time.Microsecond}))
	slug.Checksum = strings.ToLower(slug.Checksum)
	var done []int64
	got, err := download(t, client, slug, &herokubuild.DownloadOptions{OnProgress: func(n, total int64) {
		assert.EqualValues(t, 100_000, total)
		done = append(done, n)
	}})
	require.NoError(t, err)
	assert.True(t, bytes.Equal(server.content, got))
	assert.Equal(t, []string{"", "bytes=70000-", "bytes=70001-", "bytes=75001-", "bytes=75001-", "bytes=75011-"}, server.requests())
	assert.IsIncreasing(t, done)
	assert.EqualValues(t, 100_000, done[len(done)-1])
}

// A download is complete wherever connections break and however the host treats ranges.
func TestDownloadSurvivesAnyCuts(t *testing.T) {
	t.Parallel()
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			dice := rand.New(rand.NewPCG(seed, 1))
			server := &blobServer{content: []byte(random(dice.IntN(300_000)))}
			cuts := make([]int, dice.IntN(4))
			for i := range cuts {
				cuts[i] = dice.IntN(len(server.content) + 1)
			}
			server.cut = func(n int) (int, bool) {
				if n >= len(cuts) {
					return 0, false
				}
				return cuts[n], true
			}
			manner := dice.IntN(3)
			server.respond = func(_ int, _ http.ResponseWriter, r *http.Request) bool {
				switch manner {
				case 1: // ignores the range
					r.Header.Del("Range")
				case 2: // sends another range
					if r.Header.Get("Range") != "" {
						r.Header.Set("Range", "bytes=0-1")
					}
				}
				return false
			}
			client, slug := server.start(t)
			got, err := download(t, client, slug, nil)
			require.NoError(t, err, "cuts %v, manner %d, requests %q", cuts, manner, server.requests())
			assert.True(t, bytes.Equal(server.content, got))
			assert.LessOrEqual(t, len(server.requests()), 2*len(cuts)+1)
		})
	}
}

func TestDownloadWithoutLength(t *testing.T) {
	t.Parallel()
	content := []byte(random(10_000))
	server := &blobServer{content: content}
	server.respond = func(n int, w http.ResponseWriter, r *http.Request) bool {
		switch {
		case n == 0: // chunked, and cut at the very end
			_, _ = w.Write(content)
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		case r.Header.Get("Range") != "":
			w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
		default:
			_, _ = w.Write(content[:5000])
			_ = http.NewResponseController(w).Flush()
			_, _ = w.Write(content[5000:])
		}
		return true
	}
	client, slug := server.start(t)
	got, err := download(t, client, slug, nil)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(content, got))
	assert.Equal(t, []string{"", "bytes=10000-", ""}, server.requests())
}

func TestDownloadIsVerified(t *testing.T) {
	t.Parallel()
	server := &blobServer{content: []byte(random(1000))}
	client, slug := server.start(t)
	slug.ID, slug.Checksum = slugID, checksum
	got, err := download(t, client, slug, nil)
	assert.Len(t, got, 1000)
	var wrong *herokubuild.ChecksumError
	require.ErrorAs(t, err, &wrong)
	require.ErrorIs(t, err, herokubuild.ErrChecksumMismatch)
	assert.Equal(t, &herokubuild.ChecksumError{SlugID: slugID, Want: checksum, Got: sumOf(server.content), Size: 1000}, wrong)
	assert.Contains(t, err.Error(), slugID)
	assert.Len(t, server.requests(), 1, "another connection would deliver the same bytes")

	slug.Checksum = ""
	_, err = download(t, client, slug, nil)
	require.NoError(t, err)

	// Every later read and UnpackSlug return the error, too.
	slug.Checksum = checksum
	server.content = slugOf(t, fileEntry("app/file", "x"))
	body, err := client.Slugs.DownloadFrom(t.Context(), appName, slug, nil)
	require.NoError(t, err)
	dir, _ := fenced(t)
	require.ErrorIs(t, herokubuild.UnpackSlug(t.Context(), body, dir, nil), herokubuild.ErrChecksumMismatch)
	requireEmpty(t, dir)
	n, err := body.Read(make([]byte, 1))
	assert.Zero(t, n)
	require.ErrorIs(t, err, herokubuild.ErrChecksumMismatch)
	n, err = body.Read(nil)
	assert.Zero(t, n)
	require.NoError(t, err)
	require.NoError(t, body.Close())
}

func TestDownloadDetectsAnotherArchive(t *testing.T) {
	t.Parallel()
	cutOnce := func(n int) (int, bool) { return 400, n == 0 }
	other := []byte(random(2000))[1000:]
	for name, respond := range map[string]func(int, http.ResponseWriter, *http.Request) bool{
		"another etag": func(n int, w http.ResponseWriter, r *http.Request) bool {
			if n == 0 {
				return false
			}
			w.Header().Set("Etag", `"two"`)
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(other))
			return true
		},
		"another size": func(n int, w http.ResponseWriter, r *http.Request) bool {
			if n == 0 {
				return false
			}
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(other[:900]))
			return true
		},
		"more than its size": func(n int, w http.ResponseWriter, _ *http.Request) bool {
			if n == 0 {
				return false
			}
			w.Header().Set("Content-Range", "bytes 400-999/1000")
			w.WriteHeader(http.StatusPartialContent)
			_ = http.NewResponseController(w).Flush()
			_, _ = w.Write(other)
			return true
		},
		"another beginning": func(n int, w http.ResponseWriter, _ *http.Request) bool {
			if n == 0 {
				return false
			}
			_, _ = w.Write(other)
			return true
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := &blobServer{content: []byte(random(1000)), etag: `"one"`, cut: cutOnce, respond: respond}
			client, slug := server.start(t)
			slug.Checksum = ""
			got, err := download(t, client, slug, nil)
			require.ErrorIs(t, err, herokubuild.ErrArchiveChanged)
			assertErrorClean(t, err)
			assert.True(t, bytes.HasPrefix(got, server.content[:400]))
			assert.Equal(t, name == "more than its size", len(got) > 400)
			assert.Len(t, server.requests(), 2)
		})
	}
}

// Connections that deliver little are counted, those that deliver much are not.
func TestDownloadRetriesAreBounded(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		each, requests, got int
	}{
		"nothing":          {0, 5, 0},
		"almost nothing":   {10, 5, 50},
		"enough":           {64 << 10, 16, 1 << 20},
		"less than enough": {40 << 10, 26, 1 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := &blobServer{content: []byte(random(1 << 20)), cut: func(int) (int, bool) { return tt.each, true }}
			client, slug := server.start(t)
			got, err := download(t, client, slug, nil)
			assert.Len(t, got, tt.got)
			assert.Len(t, server.requests(), tt.requests)
			if tt.got == 1<<20 {
				require.NoError(t, err)
				return
			}
			var lost *herokubuild.RequestError
			require.ErrorAs(t, err, &lost)
			assert.Equal(t, 5, lost.Attempts)
			require.ErrorIs(t, err, io.ErrUnexpectedEOF)
			assertErrorClean(t, err)
		})
	}
}

func TestDownloadRenewsTheURL(t *testing.T) {
	t.Parallel()
	content := random(1000)
	const stale, fresh = "https://storage.example.com/stale", "https://storage.example.com/fresh"
	expired := reply(403, "<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>")
	body := func(status int, text string, header ...string) httpmock.Responder {
		return func(req *http.Request) (*http.Response, error) {
			resp, err := reply(status, text, header...)(req)
			resp.ContentLength = int64(len(text))
			return resp, err
		}
	}
	cut := func(req *http.Request) (*http.Response, error) {
		resp, err := body(200, content)(req)
		resp.Body = io.NopCloser(io.MultiReader(strings.NewReader(content[:300]), failingReader{errDropped}))
		return resp, err
	}
	rest := body(206, content[300:], "Content-Range", "bytes 300-999/1000")
	slugJSON := func(extra string) string {
		return `{"id":"` + slugID + `","blob":{"method":"get","url":"` + fresh + fakeQuery + `"}` + extra + `}`
	}
	slugPath := apiURL + "/apps/" + appName + "/slugs/" + slugID
	tests := map[string]struct {
		id     string
		stale  []httpmock.Responder
		slug   httpmock.Responder
		fresh  httpmock.Responder
		want   error
		renews int
	}{
		"at the start":               {slugID, []httpmock.Responder{expired}, reply(200, slugJSON("")), body(200, content), nil, 1},
		"not found at the start":     {slugID, []httpmock.Responder{reply(404, "")}, reply(200, slugJSON("")), body(200, content), nil, 1},
		"in the middle":              {slugID, []httpmock.Responder{cut, expired}, reply(200, slugJSON("")), rest, nil, 1},
		"refused again":              {slugID, []httpmock.Responder{expired}, reply(200, slugJSON("")), expired, herokubuild.ErrForbidden, 1},
		"destroyed archive":          {slugID, []httpmock.Responder{expired}, reply(200, slugJSON(`,"deleted_at":"2026-01-02T03:04:05Z"`)), expired, herokubuild.ErrArtifactExpired, 1},
		"upload URL":                 {slugID, []httpmock.Responder{expired}, reply(200, strings.Replace(slugJSON(""), "get", "put", 1)), expired, herokubuild.ErrUnexpectedResponse, 1},
		"request for the slug fails": {slugID, []httpmock.Responder{expired}, reply(401, ""), expired, herokubuild.ErrUnauthorized, 1},
		"slug without an ID":         {"", []httpmock.Responder{expired}, reply(200, slugJSON("")), body(200, content), herokubuild.ErrForbidden, 0},
		"not for a 400":              {slugID, []httpmock.Responder{reply(400, "")}, reply(200, slugJSON("")), body(200, content), errAny, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a := newAPI(t)
				a.on("GET", stale, tt.stale...)
				a.on("GET", fresh, tt.fresh)
				a.on("GET", slugPath, tt.slug)
				slug := blobAt(stale + fakeQuery)
				slug.ID, slug.Checksum = tt.id, sumOf([]byte(content))
				got, err := download(t, a.Client, slug, nil)
				renews := 0
				for _, r := range a.seen() {
					if r.URL == slugPath {
						renews++
						assertCall(t, r, "GET", slugPath, "")
						continue
					}
					assert.NotContains(t, r.Header, "Authorization")
				}
				assert.Equal(t, tt.renews, renews)
				assert.Equal(t, herokubuild.SecretURL(stale+fakeQuery), slug.Blob.URL, "the slug of the caller does not change")
				switch {
				case tt.want == nil:
					require.NoError(t, err)
					assert.Equal(t, content, string(got))
				case errors.Is(tt.want, errAny):
					require.Error(t, err)
				default:
					require.ErrorIs(t, err, tt.want)
					assertErrorClean(t, err)
				}
			})
		})
	}
}

var errAny = errors.New("any error")

func TestDownloadReplacesAStalledConnection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAPI(t)
		first, w := live(200)
		a.on("GET", slugURL, first, reply(200, "part and the rest"))
		go func() { _, _ = w.Write([]byte("part")) }()
		started := time.Now()
		got, err := download(t, a.Client, blobAt(slugURL+fakeQuery), &herokubuild.DownloadOptions{IdleTimeout: 10 * time.Second})
		require.NoError(t, err)
		assert.Equal(t, "part and the rest", string(got))
		seen := a.seen()
		require.Len(t, seen, 2)
		assert.Equal(t, "bytes=4-", seen[1].Header.Get("Range"))
		assert.InDelta(t, 10, time.Since(started).Seconds(), 1)
	})
}

func TestDownloadGivesUpOnStalledConnections(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAPI(t)
		a.on("GET", slugURL, func(req *http.Request) (*http.Response, error) {
			silent, _ := live(200)
			return silent(req)
		})
		_, err := download(t, a.Client, blobAt(slugURL+fakeQuery), nil)
		var lost *herokubuild.RequestError
		require.ErrorAs(t, err, &lost)
		assert.Contains(t, err.Error(), "1m0s")
		assert.Len(t, a.seen(), 5)
	})
}

func TestDownloadEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAPI(t)
		a.on("GET", slugURL, func(req *http.Request) (*http.Response, error) {
			resp, err := reply(200, "")(req)
			resp.Body = io.NopCloser(io.MultiReader(strings.NewReader("part"), failingReader{errDropped}))
			return resp, err
		}, reply(500, ""))
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		body, err := a.Slugs.DownloadFrom(ctx, appName, blobAt(slugURL+fakeQuery), nil)
		require.NoError(t, err)
		started := time.Now()
		part := make([]byte, 10)
		n, err := body.Read(part)
		require.NoError(t, err)
		assert.Equal(t, "part", string(part[:n]))
		_, err = io.ReadAll(body)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assertErrorClean(t, err)
		assert.Equal(t, 200*time.Millisecond, time.Since(started))
		assert.Len(t, a.seen(), 1)
		require.NoError(t, body.Close())
	})
}

func TestDownloadClosedWhileReading(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAPI(t)
		silent, _ := live(200)
		a.on("GET", slugURL, silent)
		body, err := a.Slugs.DownloadFrom(t.Context(), appName, blobAt(slugURL+fakeQuery), nil)
		require.NoError(t, err)
		end := make(chan error)
		go func() {
			_, err := body.Read(make([]byte, 1))
			end <- err
		}()
		synctest.Wait()
		require.NoError(t, body.Close())
		err = <-end
		require.ErrorIs(t, err, context.Canceled)
		assert.Contains(t, err.Error(), "closed")
		assert.Len(t, a.seen(), 1)
	})
}

func TestDownloadRefusesArguments(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	get := func(app, id string, opts *herokubuild.DownloadOptions) error {
		body, err := a.Slugs.Download(t.Context(), app, id, opts)
		assert.Nil(t, body)
		return err
	}
	requireInvalid(t, get("", slugID, nil), "app")
	requireInvalid(t, get(appName, "", nil), "slug")
	requireInvalid(t, get(appName, "v1", nil), "slug")
	requireInvalid(t, get(appName, slugID, &herokubuild.DownloadOptions{IdleTimeout: -1}), "DownloadOptions.IdleTimeout")
	_, err := new(herokubuild.Client).Slugs.Download(t.Context(), appName, slugID, nil)
	require.ErrorIs(t, err, herokubuild.ErrInvalidArgument)
	_, err = new(herokubuild.Client).Slugs.DownloadFrom(t.Context(), appName, blobAt(slugURL), nil)
	require.ErrorIs(t, err, herokubuild.ErrInvalidArgument)
	assert.Zero(t, a.mock.GetTotalCallCount())
}

// Download gets the slug first, in one request.
func TestDownloadGetsTheSlug(t *testing.T) {
	t.Parallel()
	content := packed(t, file{"app/data", "some data"})
	slugJSON := func(fields string) string {
		return `{"id":"` + slugID + `","blob":{"method":"get","url":"` + slugURL + fakeQuery + `"}` + fields + `}`
	}
	const path = apiURL + "/apps/" + appName + "/slugs/" + slugID
	open := func(t *testing.T, slug httpmock.Responder, opts *herokubuild.DownloadOptions) (*api, []byte, error) {
		t.Helper()
		a := newAPI(t, noRetry())
		a.on("GET", path, slug)
		a.on("GET", slugURL, reply(200, string(content)))
		body, err := a.Slugs.Download(t.Context(), appName, slugID, opts)
		if err != nil {
			assert.Nil(t, body)
			return a, nil, err
		}
		got, err := io.ReadAll(body)
		require.NoError(t, body.Close())
		return a, got, err
	}
	t.Run("one request each", func(t *testing.T) {
		t.Parallel()
		a, got, err := open(t, reply(200, slugJSON(`,"checksum":"`+sumOf(content)+`"`)), nil)
		require.NoError(t, err)
		assert.True(t, bytes.Equal(content, got))
		seen := a.seen()
		require.Len(t, seen, 2)
		assertCall(t, seen[0], "GET", path, "")
		assert.Equal(t, slugURL+fakeQuery, seen[1].URL)
	})
	t.Run("a checksum that does not match", func(t *testing.T) {
		t.Parallel()
		_, _, err := open(t, reply(200, slugJSON(`,"checksum":"`+checksum+`"`)), nil)
		require.ErrorIs(t, err, herokubuild.ErrChecksumMismatch)
		_, got, err := open(t, reply(200, slugJSON(`,"checksum":"`+checksum+`"`)), &herokubuild.DownloadOptions{SkipChecksum: true})
		require.NoError(t, err)
		assert.True(t, bytes.Equal(content, got))
	})
	t.Run("a checksum that cannot be verified", func(t *testing.T) {
		t.Parallel()
		a, _, err := open(t, reply(200, slugJSON(`,"checksum":"MD5:00"`)), nil)
		requireInvalid(t, err, "slugID")
		assert.Len(t, a.seen(), 1)
		_, got, err := open(t, reply(200, slugJSON(`,"checksum":"MD5:00"`)), &herokubuild.DownloadOptions{SkipChecksum: true})
		require.NoError(t, err)
		assert.True(t, bytes.Equal(content, got))
	})
	for name, tt := range map[string]struct {
		slug httpmock.Responder
		want error
	}{
		"a destroyed archive":   {reply(200, slugJSON(`,"deleted_at":"2026-01-02T03:04:05Z"`)), herokubuild.ErrArtifactExpired},
		"a slug without a URL":  {reply(200, `{"id":"`+slugID+`","blob":{"method":"get","url":""}}`), herokubuild.ErrUnexpectedResponse},
		"a slug to be uploaded": {reply(200, strings.Replace(slugJSON(""), "get", "put", 1)), herokubuild.ErrUnexpectedResponse},
		"a missing slug":        {reply(404, golden(t, "error_not_found.json")), herokubuild.ErrNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, _, err := open(t, tt.slug, nil)
			require.ErrorIs(t, err, tt.want)
			assertErrorClean(t, err)
			assert.Len(t, a.seen(), 1)
		})
	}
}
