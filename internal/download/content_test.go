package download

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"math"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func gzipped(t *testing.T, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	zw := gzip.NewWriter(&b)
	_, err := zw.Write(content)
	require.NoError(t, err)
	require.NoError(t, zw.Close())
	return b.Bytes()
}

func response(encoding string, body io.Reader) *http.Response {
	resp := &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(body), ContentLength: -1}
	if encoding != "" {
		resp.Header.Set("Content-Encoding", encoding)
	}
	return resp
}

func requireKind(t *testing.T, err error, kind Kind) *Error {
	t.Helper()
	var e *Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, kind, e.Kind)
	return e
}

func TestContentIsTheArchiveItself(t *testing.T) {
	t.Parallel()
	archive := gzipped(t, []byte("content"))
	for name, tt := range map[string]struct {
		encoding string
		body     []byte
		usable   bool
	}{
		"no encoding":                {body: archive, usable: true},
		"identity":                   {encoding: "identity", body: archive, usable: true},
		"its own compression":        {encoding: "gzip", body: archive, usable: true},
		"declared, not compressed":   {encoding: "gzip", body: []byte("text"), usable: true},
		"declared, empty":            {encoding: "gzip", usable: true},
		"compressed twice":           {encoding: "gzip", body: gzipped(t, archive)},
		"an unsupported encoding":    {encoding: "br", body: archive},
		"twice, without an encoding": {body: gzipped(t, archive), usable: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			content, err := NewContent(response(tt.encoding, bytes.NewReader(tt.body)))
			if !tt.usable {
				assert.Equal(t, 200, requireKind(t, err, Unusable).Status)
				return
			}
			require.NoError(t, err)
			got, err := io.ReadAll(content)
			require.NoError(t, err)
			assert.True(t, bytes.Equal(tt.body, got))
		})
	}
}

func TestCopyTo(t *testing.T) {
	t.Parallel()
	errLost, errDisk := errors.New("connection reset"), errors.New("disk full")
	copied := func(ctx context.Context, t *testing.T, body io.Reader, w io.Writer, limit int64) error {
		t.Helper()
		content, err := NewContent(response("", body))
		require.NoError(t, err)
		return content.CopyTo(ctx, w, limit)
	}
	t.Run("up to the limit", func(t *testing.T) {
		t.Parallel()
		for _, limit := range []int64{4, 5, math.MaxInt64} {
			var b strings.Builder
			require.NoError(t, copied(t.Context(), t, strings.NewReader("1234"), &b, limit))
			assert.Equal(t, "1234", b.String())
		}
	})
	t.Run("over the limit", func(t *testing.T) {
		t.Parallel()
		err := copied(t.Context(), t, strings.NewReader("1234"), io.Discard, 3)
		assert.Equal(t, 200, requireKind(t, err, Unusable).Status)
	})
	t.Run("the network fails", func(t *testing.T) {
		t.Parallel()
		err := copied(t.Context(), t, io.MultiReader(strings.NewReader("12"), iotest.ErrReader(errLost)), io.Discard, 10)
		requireKind(t, err, Failed)
		require.ErrorIs(t, err, errLost)
	})
	t.Run("the context ends", func(t *testing.T) {
		t.Parallel()
		errStopped := errors.New("stopped")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errStopped)
		err := copied(ctx, t, iotest.ErrReader(errLost), io.Discard, 10)
		requireKind(t, err, Canceled)
		require.ErrorIs(t, err, errStopped)
	})
	t.Run("the writer fails", func(t *testing.T) {
		t.Parallel()
		err := copied(t.Context(), t, strings.NewReader("1234"), failingWriter{errDisk}, 10)
		assert.Equal(t, errDisk, err)
	})
}

type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }

func TestNotArchive(t *testing.T) {
	t.Parallel()
	errFormat := errors.New("bad magic")
	content, err := NewContent(response("", strings.NewReader("")))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err = content.NotArchive(ctx, errFormat)
	assert.Equal(t, 200, requireKind(t, err, Unusable).Status)
	require.ErrorIs(t, err, errFormat)
	cancel()
	requireKind(t, content.NotArchive(ctx, errFormat), Canceled)
}
