package herokubuild_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
)

// untilClosed answers with a body that ends when the connection is closed, as
// HTTP/1.0 does: nothing says that it is whole.
func untilClosed(t *testing.T, w http.ResponseWriter, body string) {
	conn, buf, err := http.NewResponseController(w).Hijack()
	if err != nil {
		t.Errorf("hijack: %v", err)
		return
	}
	_, _ = buf.WriteString("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body)
	_ = buf.Flush()
	_ = conn.Close()
}

// A download that was closed early is not whole, where anything tells how long
// it is.
func TestDownloadClosedEarly(t *testing.T) {
	t.Parallel()
	content := random(100_000)
	sum := fmt.Sprintf("SHA256:%x", sha256.Sum256([]byte(content)))
	size := int64(len(content))
	for name, tt := range map[string]struct {
		slug herokubuild.Slug
		// parts are what each connection brings of the whole.
		parts []int
		want  error
	}{
		"the rest comes":               {herokubuild.Slug{Size: size}, []int{30_000, 90_000, 100_000}, nil},
		"the rest never comes":         {herokubuild.Slug{Size: size}, []int{30_000}, io.ErrUnexpectedEOF},
		"with a checksum":              {herokubuild.Slug{Size: size, Checksum: sum}, []int{30_000, 100_000}, nil},
		"with a checksum only":         {herokubuild.Slug{Checksum: sum}, []int{30_000}, herokubuild.ErrChecksumMismatch},
		"whole by its checksum":        {herokubuild.Slug{Size: size + 1, Checksum: sum}, []int{100_000}, nil},
		"more than there is":           {herokubuild.Slug{Size: size - 1}, []int{100_000}, herokubuild.ErrArchiveChanged},
		"nothing is known":             {herokubuild.Slug{}, []int{100_000}, nil},
		"nothing comes":                {herokubuild.Slug{}, []int{0}, io.ErrUnexpectedEOF},
		"nothing comes, with the size": {herokubuild.Slug{Size: size}, []int{0}, io.ErrUnexpectedEOF},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var calls atomic.Int32
			client, server := newServer(t, func(w http.ResponseWriter, _ *http.Request) {
				n := int(calls.Add(1))
				untilClosed(t, w, content[:tt.parts[min(n, len(tt.parts))-1]])
			})
			slug := tt.slug
			slug.ID, slug.Blob = slugID, herokubuild.Blob{Method: "GET", URL: herokubuild.SecretURL(server.URL + "/slug" + fakeQuery)}
			r, err := client.Slugs.Download(t.Context(), appName, &slug, nil)
			require.NoError(t, err)
			got, err := io.ReadAll(r)
			if tt.want != nil {
				require.ErrorIs(t, err, tt.want)
				require.NotErrorIs(t, err, io.EOF)
				assertErrorClean(t, err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, content, string(got))
		})
	}
}

// A connection that repeats less than what has come is no end, either.
func TestDownloadRepeatedInPart(t *testing.T) {
	t.Parallel()
	content := random(1000)
	var calls atomic.Int32
	client, server := newServer(t, func(w http.ResponseWriter, _ *http.Request) {
		if calls.Add(1) == 1 {
			w.Header().Set("Transfer-Encoding", "chunked")
			_, _ = io.WriteString(w, content[:700])
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}
		untilClosed(t, w, content[:500])
	})
	server.Config.ErrorLog = quietLog()
	slug := &herokubuild.Slug{ID: slugID, Blob: herokubuild.Blob{Method: "GET", URL: herokubuild.SecretURL(server.URL + "/slug")}}
	r, err := client.Slugs.Download(t.Context(), appName, slug, nil)
	require.NoError(t, err)
	got, err := io.ReadAll(r)
	assert.Equal(t, content[:700], string(got))
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
}

// Only some statuses of success bring an archive.
func TestDownloadStatuses(t *testing.T) {
	t.Parallel()
	_, content := testArchive(t)
	for _, status := range []int{201, 202, 203, 204, 205, 206, 226, 299, 0, 101, 199} {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			t.Parallel()
			a := newAPI(t, noRetry())
			a.on("GET", sourceURL, reply(status, string(content)))
			slug := &herokubuild.Slug{ID: slugID, Size: int64(len(content)), Blob: herokubuild.Blob{Method: "GET", URL: sourceURL + fakeQuery}}
			r, err := a.Slugs.Download(t.Context(), appName, slug, nil)
			if err == nil {
				_, err = io.ReadAll(r)
			}
			require.Error(t, err)
			_, ferr := a.FetchArchive(t.Context(), sourceURL+fakeQuery, nil)
			require.Error(t, ferr)
			for _, err := range []error{err, ferr} {
				assertErrorClean(t, err)
				if status < 200 {
					var refused *herokubuild.StorageError
					require.ErrorAs(t, err, &refused)
					assert.Equal(t, status, refused.StatusCode)
				} else if status != 206 {
					require.ErrorIs(t, err, herokubuild.ErrUnexpectedResponse)
				}
			}
		})
	}
}

func TestUploadStatuses(t *testing.T) {
	t.Parallel()
	archive, _ := testArchive(t)
	for status, ok := range map[int]bool{
		200: true, 201: true, 204: true,
		0: false, 100: false, 101: false, 103: false, 199: false, 202: false, 203: false, 205: false, 206: false, 226: false, 299: false, 304: false,
	} {
		a := newAPI(t)
		a.on("PUT", sourceURL, reply(status, ""))
		err := a.Sources.Put(t.Context(), decodeSource(t, sourceURL+fakeQuery), archive, nil)
		assert.Len(t, a.seen(), 1)
		if ok {
			require.NoError(t, err, status)
			continue
		}
		var refused *herokubuild.StorageError
		require.ErrorAs(t, err, &refused, status)
		assert.Equal(t, status, refused.StatusCode)
	}
}

// A storage host that reports success and has not taken the whole archive does not
// have it. The upload is repeated.
func TestUploadAnsweredEarly(t *testing.T) {
	t.Parallel()
	big := random(8 << 20)
	archive := &herokubuild.Archive{Size: int64(len(big)), Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(big)), nil }}
	for _, early := range []int32{1, 100} {
		var calls atomic.Int32
		done := make(chan struct{})
		client, server := newServer(t, func(w http.ResponseWriter, r *http.Request) {
			if calls.Add(1) > early {
				_, _ = io.Copy(io.Discard, r.Body)
				return
			}
			conn, buf, err := http.NewResponseController(w).Hijack()
			if !assert.NoError(t, err) {
				return
			}
			_, _ = buf.WriteString("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			_ = buf.Flush()
			// Until the client has seen it.
			<-done
			_ = conn.Close()
		})
		err := client.Sources.Put(t.Context(), decodeSource(t, server.URL+"/blob"+fakeQuery), archive, nil)
		close(done)
		if early == 1 {
			require.NoError(t, err)
			assert.EqualValues(t, 2, calls.Load())
			continue
		}
		var failed *herokubuild.RequestError
		require.ErrorAs(t, err, &failed)
		assert.Equal(t, 5, failed.Attempts)
		assertErrorClean(t, err)
	}
}

func TestUploadOfAnArchiveWithoutContent(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.on("PUT", sourceURL, reply(200, ""))
	empty := &herokubuild.Archive{Size: 5, Open: func() (io.ReadCloser, error) { return nil, nil }}
	err := a.Sources.Put(t.Context(), decodeSource(t, sourceURL+fakeQuery), empty, nil)
	requireInvalid(t, err, "archive")
	assert.Empty(t, a.seen())
}

func TestFetchArchiveWithoutALimit(t *testing.T) {
	t.Parallel()
	archive, content := testArchive(t)
	for _, most := range []int64{math.MaxInt64, math.MaxInt64 - 1, int64(len(content))} {
		a := newAPI(t)
		a.on("GET", sourceURL, reply(200, string(content)))
		got, err := a.FetchArchive(t.Context(), sourceURL+fakeQuery, &herokubuild.FetchArchiveOptions{MaxBytes: most})
		require.NoError(t, err, most)
		r, err := got.Open()
		require.NoError(t, err)
		b, err := io.ReadAll(r)
		require.NoError(t, err)
		require.NoError(t, r.Close())
		assert.True(t, bytes.Equal(content, b))
		assert.Equal(t, archive.SHA256, got.SHA256)
		require.NoError(t, got.Close())
	}
}
