package herokubuild_test

import (
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
)

func readsAll(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }

// oddReader reports a count that differs from the size of the buffer by its value.
type oddReader int

func (o oddReader) Read(p []byte) (int, error) { return int(o) + len(p), nil }

// A reader that breaks its contract, or panics, ends the upload and not the program,
// although a goroutine of net/http calls it.
func TestUploadOfAReaderThatBreaksItsContract(t *testing.T) {
	t.Parallel()
	client, server := newServer(t, readsAll)
	source := decodeSource(t, server.URL+"/source")
	for _, odd := range []oddReader{1, -1 << 30} {
		archive := &herokubuild.Archive{Size: 1 << 20, Open: func() (io.ReadCloser, error) { return io.NopCloser(odd), nil }}
		err := client.Sources.Put(t.Context(), source, archive, nil)
		requireInvalid(t, err, "archive")
		var sent *herokubuild.RequestError
		require.ErrorAs(t, err, &sent)
		assert.Equal(t, 1, sent.Attempts, "another attempt would fail in the same way")
	}
}

func TestUploadWhoseProgressPanics(t *testing.T) {
	t.Parallel()
	client, server := newServer(t, readsAll)
	archive, _ := testArchive(t)
	assert.PanicsWithValue(t, "mine", func() {
		_ = client.Sources.Put(t.Context(), decodeSource(t, server.URL+"/source"), archive, &herokubuild.UploadOptions{OnProgress: func(_, _ int64) { panic("mine") }})
	})
	require.NoError(t, client.Sources.Put(t.Context(), decodeSource(t, server.URL+"/source"), archive, nil))
}

// A download fails if the storage host accepts the request and never responds, whatever the
// transport.
func TestDownloadWithoutAResponse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAPI(t)
		a.on("GET", sourceURL, hang)
		start := time.Now()
		_, err := a.FetchArchive(t.Context(), sourceURL, nil)
		var lost *herokubuild.RequestError
		require.ErrorAs(t, err, &lost)
		assert.Equal(t, 5, lost.Attempts)

		_, err = a.Slugs.DownloadFrom(t.Context(), appName, &herokubuild.Slug{Blob: herokubuild.Blob{Method: "GET", URL: sourceURL}}, &herokubuild.DownloadOptions{IdleTimeout: time.Second})
		require.ErrorAs(t, err, &lost)
		assert.Equal(t, 5, lost.Attempts)
		assert.Less(t, time.Since(start), 10*time.Minute)
	})
}

// A response to HEAD has the Content-Length of a body that is not sent.
func TestDoHead(t *testing.T) {
	t.Parallel()
	client, _ := newServer(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Length", "1234") }, noRetry())
	require.NoError(t, do(t.Context(), client, http.MethodHead, "/apps", nil))
}
