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

// blobServer serves one archive, as badly as its fields say.
type blobServer struct {
	content []byte
	etag    string
	// cut is after how many bytes of body the nth answer breaks off; there is
	// none after the last.
	cut func(n int) (after int, ok bool)
	// answer replaces the nth answer where it returns true.
	answer func(n int, w http.ResponseWriter, r *http.Request) bool

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
		assert.Equal(t, "identity", r.Header.Get("Accept-Encoding"), "the archive is gzip itself")
		s.mu.Lock()
		n := len(s.ranges)
		s.ranges = append(s.ranges, r.Header.Get("Range"))
		s.mu.Unlock()
		if s.answer != nil && s.answer(n, w, r) {
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

// cutWriter breaks the connection off.
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
	body, err := client.Slugs.Download(t.Context(), appName, slug, opts)
	if err != nil {
		assert.Nil(t, body)
		return nil, err
	}
	got, err := io.ReadAll(body)
	require.NoError(t, body.Close())
	return got, err
}

func TestDownloadGoesOn(t *testing.T) {
	t.Parallel()
	server := &blobServer{content: []byte(random(100_000)), etag: `"abc"`, cut: func(n int) (int, bool) {
		cuts := []int{70_000, 1, 5_000, 0, 10}
		return cuts[min(n, 4)], n < len(cuts)
	}}
	client, slug := server.start(t, herokubuild.WithRetry(herokubuild.RetryOptions{MaxAttempts: 6, MinWait: time.Microsecond, MaxWait: time.Microsecond}))
	slug.Checksum = strings.ToLower(slug.Checksum)
	var done []int64
	got, err := download(t, client, slug, &herokubuild.DownloadOptions{Progress: func(n, total int64) {
		assert.EqualValues(t, 100_000, total)
		done = append(done, n)
	}})
	require.NoError(t, err)
	assert.True(t, bytes.Equal(server.content, got))
	assert.Equal(t, []string{"", "bytes=70000-", "bytes=70001-", "bytes=75001-", "bytes=75001-", "bytes=75011-"}, server.requests())
	assert.IsIncreasing(t, done)
	assert.EqualValues(t, 100_000, done[len(done)-1])
}

// Whatever the cuts and however little the host makes of ranges.
func TestDownloadOverAnyCuts(t *testing.T) {
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
			server.answer = func(_ int, _ http.ResponseWriter, r *http.Request) bool {
				switch manner {
				case 1: // sends everything again
					r.Header.Del("Range")
				case 2: // sends some other part
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
	server.answer = func(n int, w http.ResponseWriter, r *http.Request) bool {
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
	assert.Len(t, server.requests(), 1, "the wrong bytes are there to stay")

	slug.Checksum = ""
	_, err = download(t, client, slug, nil)
	require.NoError(t, err)

	// The error is the reader's end from then on, and that of who unpacks it.
	slug.Checksum = checksum
	server.content = slugOf(t, fileEntry("app/file", "x"))
	body, err := client.Slugs.Download(t.Context(), appName, slug, nil)
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

func TestDownloadOfAnotherArchive(t *testing.T) {
	t.Parallel()
	cutOnce := func(n int) (int, bool) { return 400, n == 0 }
	other := []byte(random(2000))[1000:]
	for name, answer := range map[string]func(int, http.ResponseWriter, *http.Request) bool{
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
		"more than it has": func(n int, w http.ResponseWriter, _ *http.Request) bool {
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
			server := &blobServer{content: []byte(random(1000)), etag: `"one"`, cut: cutOnce, answer: answer}
			client, slug := server.start(t)
			slug.Checksum = ""
			got, err := download(t, client, slug, nil)
			require.ErrorIs(t, err, herokubuild.ErrArchiveChanged)
			assertErrorClean(t, err)
			assert.True(t, bytes.HasPrefix(got, server.content[:400]))
			assert.Equal(t, name == "more than it has", len(got) > 400)
			assert.Len(t, server.requests(), 2)
		})
	}
}

// Connections that bring little are counted, those that bring much are not.
func TestDownloadRetriesAreBounded(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		each, requests, got int
	}{
		"nothing":       {0, 5, 0},
		"next to none":  {10, 5, 50},
		"a good piece":  {64 << 10, 16, 1 << 20},
		"nearly enough": {40 << 10, 26, 1 << 20},
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

func TestDownloadWithAFreshAddress(t *testing.T) {
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
		"at the start":          {slugID, []httpmock.Responder{expired}, reply(200, slugJSON("")), body(200, content), nil, 1},
		"gone at the start":     {slugID, []httpmock.Responder{reply(404, "")}, reply(200, slugJSON("")), body(200, content), nil, 1},
		"in the middle":         {slugID, []httpmock.Responder{cut, expired}, reply(200, slugJSON("")), rest, nil, 1},
		"that is refused, too":  {slugID, []httpmock.Responder{expired}, reply(200, slugJSON("")), expired, herokubuild.ErrForbidden, 1},
		"of a destroyed one":    {slugID, []httpmock.Responder{expired}, reply(200, slugJSON(`,"deleted_at":"2026-01-02T03:04:05Z"`)), expired, herokubuild.ErrArtifactExpired, 1},
		"that is for uploading": {slugID, []httpmock.Responder{expired}, reply(200, strings.Replace(slugJSON(""), "get", "put", 1)), expired, herokubuild.ErrUnexpectedResponse, 1},
		"that is not to be had": {slugID, []httpmock.Responder{expired}, reply(401, ""), expired, herokubuild.ErrUnauthorized, 1},
		"without an id":         {"", []httpmock.Responder{expired}, reply(200, slugJSON("")), body(200, content), herokubuild.ErrForbidden, 0},
		"is no help for a 400":  {slugID, []httpmock.Responder{reply(400, "")}, reply(200, slugJSON("")), body(200, content), errAny, 0},
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
				assert.Equal(t, herokubuild.SecretURL(stale+fakeQuery), slug.Blob.URL, "the caller's slug is not touched")
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

func TestDownloadThatStalls(t *testing.T) {
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

func TestDownloadThatOnlyStalls(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAPI(t)
		a.on("GET", slugURL, func(req *http.Request) (*http.Response, error) {
			answer, _ := live(200)
			return answer(req)
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
		body, err := a.Slugs.Download(ctx, appName, blobAt(slugURL+fakeQuery), nil)
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
		answer, _ := live(200)
		a.on("GET", slugURL, answer)
		body, err := a.Slugs.Download(t.Context(), appName, blobAt(slugURL+fakeQuery), nil)
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

func TestDownloadArguments(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	get := func(app string, change func(*herokubuild.Slug), opts *herokubuild.DownloadOptions) error {
		slug := blobAt(slugURL + fakeQuery)
		change(slug)
		_, err := a.Slugs.Download(t.Context(), app, slug, opts)
		return err
	}
	as := func(*herokubuild.Slug) {}
	requireInvalid(t, get("", as, nil), "app")
	requireInvalid(t, get(appName, func(s *herokubuild.Slug) { s.Checksum = "MD5:00" }, nil), "slug")
	requireInvalid(t, get(appName, func(s *herokubuild.Slug) { s.Blob.URL = "" }, nil), "URL")
	requireInvalid(t, get(appName, as, &herokubuild.DownloadOptions{IdleTimeout: -1}), "DownloadOptions.IdleTimeout")
	_, err := new(herokubuild.Client).Slugs.Download(t.Context(), appName, blobAt(slugURL), nil)
	require.ErrorIs(t, err, herokubuild.ErrInvalidArgument)
	assert.Zero(t, a.mock.GetTotalCallCount())
}
