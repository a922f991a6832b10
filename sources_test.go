package herokubuild_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
)

func TestSourcesCreate(t *testing.T) {
	t.Parallel()
	for url, create := range map[string]func(*api) (*herokubuild.Source, error){
		apiURL + "/sources": func(a *api) (*herokubuild.Source, error) { return a.Sources.Create(context.Background()) },
		apiURL + "/apps/example-app/sources": func(a *api) (*herokubuild.Source, error) {
			return a.Sources.CreateForApp(context.Background(), appName)
		},
	} {
		a := newAPI(t)
		a.on("POST", url, replyFile(t, 201, "source.json"))
		source, err := create(a)
		require.NoError(t, err)
		assert.Equal(t, sourceURL+fakeQuery, source.SourceBlob.GetURL.Reveal())
		assert.Equal(t, sourceURL+fakeQuery+"&x=put", source.SourceBlob.PutURL.Reveal())
		a.requireCall(t, "POST", url, "")
	}
	_, err := newAPI(t).Sources.CreateForApp(t.Context(), "")
	requireInvalid(t, err, "app")
}

// storage is as strict about an upload as a signed address is.
type storage struct {
	t *testing.T
	// answers are the statuses in turn; the last is repeated.
	answers []int
	refusal string

	mu     sync.Mutex
	bodies [][]byte
}

func (s *storage) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	status := s.answers[min(len(s.bodies), len(s.answers)-1)]
	s.bodies = append(s.bodies, body)
	assert.Equal(s.t, "PUT", r.Method)
	assert.Equal(s.t, "fake", r.URL.Query().Get("Signature"))
	assert.Empty(s.t, r.TransferEncoding)
	assert.EqualValues(s.t, len(body), r.ContentLength)
	for _, name := range []string{"Content-Type", "Authorization", "Expect", "Cookie", "Referer"} {
		assert.NotContains(s.t, r.Header, name)
	}
	assert.True(s.t, strings.HasPrefix(r.Header.Get("User-Agent"), "herokubuild/"))
	w.WriteHeader(status)
	if status >= 300 {
		_, _ = io.WriteString(w, s.refusal)
	}
}

// received are the bodies that arrived whole.
func (s *storage) received() [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.bodies)
}

// archives are the ways to come by one; each holds the same bytes.
func archives(t *testing.T, content []byte) map[string]*herokubuild.Archive {
	t.Helper()
	path := filepath.Join(t.TempDir(), "source.tgz")
	require.NoError(t, os.WriteFile(path, content, 0o600))
	fromFile, err := herokubuild.OpenArchive(t.Context(), path)
	require.NoError(t, err)
	fromBytes, err := herokubuild.NewArchive(content)
	require.NoError(t, err)
	own := &herokubuild.Archive{Size: int64(len(content)), Open: func() (io.ReadCloser, error) {
		// Only Read, so that nothing can guess its length or rewind it.
		return io.NopCloser(struct{ io.Reader }{bytes.NewReader(content)}), nil
	}}
	return map[string]*herokubuild.Archive{"file": fromFile, "bytes": fromBytes, "own": own}
}

// random does not compress, so that an upload takes several writes.
func random(n int) string {
	b := make([]byte, n)
	state := uint64(1)
	for i := range b {
		state = state*6364136223846793005 + 1442695040888963407
		b[i] = byte(state >> 56)
	}
	return string(b)
}

func TestUploadToStrictStorage(t *testing.T) {
	t.Parallel()
	content := packed(t, file{"data", random(300_000)})
	for name, archive := range archives(t, content) {
		for answers, statuses := range map[string][]int{"200": {200}, "204": {204}, "500 then 200": {500, 200}, "429 then 503 then 200": {429, 503, 200}} {
			t.Run(name+" "+answers, func(t *testing.T) {
				t.Parallel()
				store := &storage{t: t, answers: statuses, refusal: "<Error><Code>InternalError</Code></Error>"}
				client, server := newServer(t, store.ServeHTTP)
				var last, restarts int64
				err := client.Sources.Put(t.Context(), decodeSource(t, server.URL+"/blob"+fakeQuery), archive, &herokubuild.UploadOptions{
					Progress: func(done, total int64) {
						assert.EqualValues(t, len(content), total)
						if done < last {
							restarts++
						}
						last = done
					},
				})
				require.NoError(t, err)
				require.Len(t, store.received(), len(statuses))
				for _, body := range store.received() {
					assert.True(t, bytes.Equal(content, body), "every attempt sends the whole archive")
				}
				assert.EqualValues(t, len(content), last)
				assert.EqualValues(t, len(statuses)-1, restarts)
			})
		}
	}
}

func TestUploadSurvivesADroppedConnection(t *testing.T) {
	t.Parallel()
	archive, content := testArchive(t)
	store := &storage{t: t, answers: []int{200}}
	first := true
	client, server := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		if first {
			first = false
			drop(w)
			return
		}
		store.ServeHTTP(w, r)
	})
	require.NoError(t, client.Sources.Put(t.Context(), decodeSource(t, server.URL+"/blob"+fakeQuery), archive, nil))
	assert.Equal(t, [][]byte{content}, store.received())
}

func TestUploadRefused(t *testing.T) {
	t.Parallel()
	archive, _ := testArchive(t)
	store := &storage{t: t, answers: []int{403}, refusal: golden(t, "storage_refusal.xml")}
	client, server := newServer(t, store.ServeHTTP)
	err := client.Sources.Put(t.Context(), decodeSource(t, server.URL+"/blob"+fakeQuery), archive, nil)
	var refused *herokubuild.StorageError
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, "SignatureDoesNotMatch", refused.Code)
	assert.Equal(t, server.URL+"/blob?REDACTED", refused.URL.String())
	assertErrorClean(t, err)
	assert.Len(t, store.received(), 1)
}

// An answer that comes before the upload has ended is still the answer.
func TestUploadRefusedEarly(t *testing.T) {
	t.Parallel()
	content := make([]byte, 8<<20)
	archive := &herokubuild.Archive{Size: int64(len(content)), Open: func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(content)), nil
	}}
	client, server := newServer(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403) })
	var over bool
	err := client.Sources.Put(t.Context(), decodeSource(t, server.URL+"/blob"+fakeQuery), archive, &herokubuild.UploadOptions{
		Progress: func(int64, int64) { assert.False(t, over, "progress was reported after the call had returned") },
	})
	over = true
	require.ErrorIs(t, err, herokubuild.ErrForbidden)
}

func TestUpload(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	archive, content := testArchive(t)
	a.on("POST", apiURL+"/sources", replyFile(t, 201, "source.json"))
	a.on("PUT", sourceURL+fakeQuery+"&x=put", reply(200, ""))
	source, err := a.Sources.Upload(t.Context(), archive, nil)
	require.NoError(t, err)
	assert.Equal(t, sourceURL+fakeQuery, source.SourceBlob.GetURL.Reveal())
	seen := a.seen()
	require.Len(t, seen, 2)
	assertCall(t, seen[0], "POST", apiURL+"/sources", "")
	assert.Equal(t, string(content), seen[1].Body)
	assert.Empty(t, seen[1].Header.Get("Authorization"))
	assert.Empty(t, seen[1].Header.Get("Accept"))
}

func TestUploadErrors(t *testing.T) {
	t.Parallel()
	archive, _ := testArchive(t)
	t.Run("no source", func(t *testing.T) {
		t.Parallel()
		a := newAPI(t)
		a.on("POST", apiURL+"/sources", reply(401, ""))
		source, err := a.Sources.Upload(t.Context(), archive, nil)
		assert.Nil(t, source)
		require.ErrorIs(t, err, herokubuild.ErrUnauthorized)
	})
	t.Run("no upload", func(t *testing.T) {
		t.Parallel()
		a := newAPI(t)
		a.on("POST", apiURL+"/sources", replyFile(t, 201, "source.json"))
		a.on("PUT", sourceURL, reply(403, ""))
		source, err := a.Sources.Upload(t.Context(), archive, nil)
		assert.Nil(t, source)
		require.ErrorIs(t, err, herokubuild.ErrForbidden)
	})
	t.Run("bad arguments", func(t *testing.T) {
		t.Parallel()
		a := newAPI(t)
		open := func() (io.ReadCloser, error) { return http.NoBody, nil }
		for _, bad := range []*herokubuild.Archive{nil, {}, {Size: -1, Open: open}, {Size: 5}} {
			_, err := a.Sources.Upload(t.Context(), bad, nil)
			requireInvalid(t, err, "archive")
			requireInvalid(t, a.Sources.Put(t.Context(), decodeSource(t, sourceURL), bad, nil), "archive")
		}
		requireInvalid(t, a.Sources.Put(t.Context(), nil, archive, nil), "source")
		requireInvalid(t, a.Sources.Put(t.Context(), new(herokubuild.Source), archive, nil), "URL")
		requireInvalid(t, a.Sources.Put(t.Context(), decodeSource(t, "http://storage.example.com/"+fakeQuery), archive, nil), "URL")
		assert.Zero(t, a.mock.GetTotalCallCount())
	})
}

// The network library's words for these quote the signed address.
func TestUploadOfAChangedArchive(t *testing.T) {
	t.Parallel()
	content := packed(t, file{"data", random(1000)})
	changes := map[string]func(*testing.T, string) error{
		"shrunk":  func(_ *testing.T, path string) error { return os.Truncate(path, 100) },
		"emptied": func(_ *testing.T, path string) error { return os.Truncate(path, 0) },
		"grown": func(_ *testing.T, path string) error {
			return os.WriteFile(path, append(bytes.Clone(content), "more"...), 0o600)
		},
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "source.tgz")
			require.NoError(t, os.WriteFile(path, content, 0o600))
			archive, err := herokubuild.OpenArchive(t.Context(), path)
			require.NoError(t, err)
			require.NoError(t, change(t, path))

			store := &storage{t: t, answers: []int{200}}
			client, server := newServer(t, store.ServeHTTP)
			err = client.Sources.Put(t.Context(), decodeSource(t, server.URL+"/blob"+fakeQuery), archive, nil)
			require.ErrorIs(t, err, herokubuild.ErrArchiveChanged)
			assertErrorClean(t, err)
			var lost *herokubuild.RequestError
			require.ErrorAs(t, err, &lost)
			assert.Equal(t, 1, lost.Attempts)
			assert.Empty(t, store.received())
		})
	}
}

// A storage host has what it was promised once the announced length has
// arrived, and may say so before the client looks any further.
func TestGrownArchiveIsNeverSentWhole(t *testing.T) {
	t.Parallel()
	content := packed(t, file{"data", random(1000)})
	archive := &herokubuild.Archive{Size: int64(len(content)), Open: func() (io.ReadCloser, error) {
		return io.NopCloser(io.MultiReader(bytes.NewReader(content), strings.NewReader("more"))), nil
	}}
	a := newAPI(t, herokubuild.WithHTTPClient(&http.Client{Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
		if _, err := io.ReadFull(req.Body, make([]byte, req.ContentLength)); err != nil {
			return nil, err
		}
		return reply(200, "")(req)
	})}))
	err := a.Sources.Put(t.Context(), decodeSource(t, sourceURL+fakeQuery), archive, nil)
	require.ErrorIs(t, err, herokubuild.ErrArchiveChanged)
	assertErrorClean(t, err)
}

func TestUploadOfAnArchiveThatIsGone(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "source.tgz")
	require.NoError(t, os.WriteFile(path, packed(t, file{"a", "b"}), 0o600))
	archive, err := herokubuild.OpenArchive(t.Context(), path)
	require.NoError(t, err)
	require.NoError(t, os.Remove(path))
	a := newAPI(t)
	err = a.Sources.Put(t.Context(), decodeSource(t, sourceURL+fakeQuery), archive, nil)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorIs(t, err, herokubuild.ErrInvalidArgument)
	assertErrorClean(t, err)
}

func TestUploadCanceled(t *testing.T) {
	t.Parallel()
	archive, _ := testArchive(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("the operator has had enough")
	client, server := newServer(t, func(_ http.ResponseWriter, r *http.Request) {
		// The server notices that the client has gone only once it has the body.
		_, _ = io.Copy(io.Discard, r.Body)
		cancel(cause)
		<-r.Context().Done()
	})
	err := client.Sources.Put(ctx, decodeSource(t, server.URL+"/blob"+fakeQuery), archive, nil)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, err, cause)
	assertErrorClean(t, err)
}

// A storage host may send us on, but neither with the key nor to anything
// weaker.
func TestStorageRedirects(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		status   int
		location string
		ok       bool
	}{
		"same method":       {307, "https://other.example.com/blob" + fakeQuery, true},
		"permanent":         {308, "https://other.example.com/blob" + fakeQuery, true},
		"turned into a GET": {303, "https://other.example.com/blob" + fakeQuery, false},
		"to plain http":     {307, "http://other.example.com/blob" + fakeQuery, false},
		"to plain loopback": {307, "http://127.0.0.1/blob" + fakeQuery, false},
		"to another scheme": {307, "ftp://other.example.com/blob" + fakeQuery, false},
		"round and round":   {307, sourceURL + fakeQuery, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t)
			archive, content := testArchive(t)
			a.on("PUT", sourceURL, reply(tt.status, "", "Location", tt.location))
			a.on("PUT", "https://other.example.com/blob", reply(200, ""))
			err := a.Sources.Put(t.Context(), decodeSource(t, sourceURL+fakeQuery), archive, nil)
			for _, r := range a.seen() {
				assert.Equal(t, string(content), r.Body)
				for _, header := range []string{"Authorization", "Referer"} {
					assert.Empty(t, r.Header.Get(header))
				}
			}
			if tt.ok {
				require.NoError(t, err)
				assert.Len(t, a.seen(), 2)
				return
			}
			require.Error(t, err)
			assertErrorClean(t, err)
			assert.LessOrEqual(t, len(a.seen()), 5, "what is refused is not tried again")
		})
	}
}

// slowHost takes a part of the body at a time, and answers after the last.
type slowHost struct {
	part  int
	every time.Duration
	// takes bounds how many parts it takes before it neither takes any more nor
	// answers; 0 is no bound.
	takes int
	// mute is one that takes everything and never answers.
	mute bool
	// rewinds is one that takes another body, as the network library does where a
	// kept connection turns out to be dead.
	rewinds bool
	tries   int
}

func (h *slowHost) RoundTrip(req *http.Request) (*http.Response, error) {
	h.tries++
	body := req.Body
	if h.rewinds {
		_ = req.Body.Close()
		var err error
		if body, err = req.GetBody(); err != nil {
			return nil, err
		}
	}
	buf := make([]byte, h.part)
	for n := 0; ; n++ {
		if h.takes > 0 && n == h.takes {
			return hang(req)
		}
		time.Sleep(h.every)
		if _, err := io.ReadFull(body, buf); err != nil {
			break
		}
	}
	_ = body.Close()
	if h.mute {
		return hang(req)
	}
	return reply(200, "")(req)
}

// An upload may take as long as it likes, as long as it makes headway, whatever
// the transport.
func TestUploadThatStalls(t *testing.T) {
	t.Parallel()
	archive, content := testArchive(t)
	part := len(content)/10 + 1
	for name, tt := range map[string]struct {
		host  slowHost
		limit time.Duration
		ok    bool
		took  time.Duration
	}{
		"slow":                {slowHost{part: part, every: 50 * time.Second}, 0, true, 10 * 50 * time.Second},
		"slow, from another":  {slowHost{part: part, every: 50 * time.Second, rewinds: true}, 0, true, 10 * 50 * time.Second},
		"stalls in the midst": {slowHost{part: part, every: 50 * time.Second, takes: 3}, 0, false, 2 * (150 + 60) * time.Second},
		"never answers":       {slowHost{part: part, every: time.Second, mute: true}, 0, false, 2 * (10 + 60) * time.Second},
		"its own limit":       {slowHost{part: part, every: time.Second, takes: 3}, 5 * time.Second, false, 2 * (3 + 5) * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a := newAPI(t, herokubuild.WithHTTPClient(&http.Client{Transport: &tt.host, Timeout: tt.limit}),
					herokubuild.WithRetry(herokubuild.RetryOptions{MaxAttempts: 2, MinWait: time.Nanosecond, MaxWait: time.Nanosecond}))
				start := time.Now()
				err := a.Sources.Put(t.Context(), decodeSource(t, sourceURL+fakeQuery), archive, nil)
				assert.InDelta(t, tt.took.Seconds(), time.Since(start).Seconds(), 1)
				if tt.ok {
					require.NoError(t, err)
					assert.Equal(t, 1, tt.host.tries)
					return
				}
				var failed *herokubuild.RequestError
				require.ErrorAs(t, err, &failed)
				require.ErrorContains(t, err, "neither took more")
				assert.Equal(t, 2, tt.host.tries)
				assertErrorClean(t, err)
			})
		})
	}
}

// sleepy takes its time for every read.
type sleepy struct {
	io.ReadCloser
	every time.Duration
}

func (s sleepy) Read(p []byte) (int, error) {
	time.Sleep(s.every)
	return s.ReadCloser.Read(p[:min(len(p), 50)])
}

// That the archive is slow is not the storage host's fault.
func TestUploadOfASlowArchive(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		archive, _ := testArchive(t)
		a := newAPI(t)
		a.on("PUT", sourceURL, reply(200, ""))
		slow := *archive
		slow.Open = func() (io.ReadCloser, error) {
			r, err := archive.Open()
			return sleepy{r, 90 * time.Second}, err
		}
		require.NoError(t, a.Sources.Put(t.Context(), decodeSource(t, sourceURL+fakeQuery), &slow, nil))
		assert.Len(t, a.seen(), 1)
	})
}

// Transports of tests are not always whole.
func TestUploadWithAnOddTransport(t *testing.T) {
	t.Parallel()
	archive, _ := testArchive(t)
	answers := []*http.Response{{StatusCode: 200}, nil}
	for i, answer := range answers {
		a := newAPI(t, noRetry())
		a.mock.RegisterResponder("PUT", sourceURL, func(req *http.Request) (*http.Response, error) {
			_, err := io.Copy(io.Discard, req.Body)
			return answer, err
		})
		err := a.Sources.Put(t.Context(), decodeSource(t, sourceURL+fakeQuery), archive, nil)
		if i == 0 {
			require.NoError(t, err)
		} else {
			require.Error(t, err)
			assertErrorClean(t, err)
		}
	}
}
