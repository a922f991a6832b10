package herokubuild_test

import (
	"bytes"
	"io"
	"net/http"
	"testing"
	"testing/iotest"
	"testing/synctest"

	"github.com/jarcoal/httpmock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
)

// encoded answers with a body that is compressed, or said to be.
func encoded(status int, encoding string, body []byte, header ...string) httpmock.Responder {
	return reply(status, string(body), append([]string{"Content-Encoding", encoding}, header...)...)
}

// A stream host may send what it has stored compressed, whatever it was asked for.
func TestStreamDecompresses(t *testing.T) {
	t.Parallel()
	text := buildLog(11, 3000)
	sent := text[:1000] + "\x00" + text[1000:]
	packed := gzipped(t, []byte(sent))
	short := encoded(200, "gzip", packed[:len(packed)/2])
	for name, answers := range map[string][]httpmock.Responder{
		"gzip":               {encoded(200, "gzip", packed)},
		"x-gzip, identity":   {encoded(200, "X-GZIP, identity", packed)},
		"identity":           {encoded(200, "identity", []byte(sent))},
		"several members":    {encoded(200, "gzip", append(gzipped(t, []byte(text[:7])), gzipped(t, []byte(text[7:]))...))},
		"broken off":         {short, encoded(200, "gzip", packed)},
		"a part of it":       {short, encoded(206, "gzip", packed[100:], "Content-Range", "bytes 100-*/*"), encoded(206, "gzip", packed, "Content-Range", "bytes 0-99/100")},
		"compressed later":   {broken(text[:2000]), encoded(200, "gzip", packed), encoded(200, "gzip", packed)},
		"uncompressed later": {short, reply(200, sent), reply(200, sent)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newAPI(t).output(t.Context(), t, nil, answers...)
				got, err := io.ReadAll(iotest.OneByteReader(s))
				require.NoError(t, err)
				assert.Equal(t, text, string(got))
				assert.EqualValues(t, len(text), s.Offset())
			})
		})
	}
}

func TestStreamOfAnEncodingThatIsNotSupported(t *testing.T) {
	t.Parallel()
	for _, encoding := range []string{"br", "deflate", "zstd", "gzip, gzip", "\x1b[2J"} {
		synctest.Test(t, func(t *testing.T) {
			a := newAPI(t)
			got, err := io.ReadAll(a.output(t.Context(), t, nil, encoded(200, encoding, []byte("text"))))
			assert.Empty(t, got)
			failed := requireStreamError(t, err)
			assert.Equal(t, 200, failed.StatusCode)
			assert.NotContains(t, err.Error(), "\x1b")
			assert.Len(t, a.seen(), 1, "it would only be sent again")
		})
	}
}

// What is compressed and damaged is no output, and is given up in the end.
func TestStreamThatIsNotWhatItsEncodingSays(t *testing.T) {
	t.Parallel()
	packed := gzipped(t, []byte(buildLog(12, 3000)))
	packed[len(packed)-6] ^= 1
	for name, body := range map[string][]byte{"text": []byte("-----> Building\n"), "damaged": packed} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				_, err := io.ReadAll(newAPI(t).output(t.Context(), t, nil, encoded(200, "gzip", body)))
				requireStreamError(t, err)
			})
		})
	}
}

// A body that returns nothing and no error would be read forever.
func TestBodiesThatReturnNothing(t *testing.T) {
	t.Parallel()
	nothing := func(req *http.Request) (*http.Response, error) {
		body := io.NopCloser(readerFunc(func([]byte) (int, error) { return 0, nil }))
		return &http.Response{StatusCode: 200, Header: http.Header{}, Body: body, Request: req, ContentLength: -1}, nil
	}
	synctest.Test(t, func(t *testing.T) {
		_, err := io.ReadAll(newAPI(t).output(t.Context(), t, nil, nothing))
		requireStreamError(t, err)
		require.ErrorIs(t, err, io.ErrNoProgress)
	})
	synctest.Test(t, func(t *testing.T) {
		_, err := io.ReadAll(herokubuild.DropHeartbeats(readerFunc(func([]byte) (int, error) { return 0, nil })))
		require.ErrorIs(t, err, io.ErrNoProgress)
	})
	synctest.Test(t, func(t *testing.T) {
		a := newAPI(t)
		a.on("GET", sourceURL, nothing)
		_, err := a.FetchArchive(t.Context(), sourceURL+fakeQuery, nil)
		require.ErrorIs(t, err, io.ErrNoProgress)
		r, err := a.Slugs.Download(t.Context(), appName, &herokubuild.Slug{ID: slugID, Blob: herokubuild.Blob{Method: "GET", URL: sourceURL + fakeQuery}}, nil)
		if err == nil {
			_, err = io.Copy(io.Discard, r)
		}
		require.ErrorIs(t, err, io.ErrNoProgress)
	})
}

// Many hosts call an archive's own compression its content encoding. One that
// compresses it once more is recognized.
func TestArchivesWithAContentEncoding(t *testing.T) {
	t.Parallel()
	archive, content := testArchive(t)
	twice := gzipped(t, content)
	for name, tt := range map[string]struct {
		encoding string
		body     []byte
		ok       bool
	}{
		"identity":     {"identity", content, true},
		"its own":      {"gzip", content, true},
		"its own, old": {"x-gzip", content, true},
		"once more":    {"gzip", twice, false},
		"another":      {"br", content, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t, noRetry())
			a.on("GET", sourceURL, encoded(200, tt.encoding, tt.body))
			slug := &herokubuild.Slug{ID: slugID, Blob: herokubuild.Blob{Method: "GET", URL: sourceURL + fakeQuery}}
			var got []byte
			r, err := a.Slugs.Download(t.Context(), appName, slug, nil)
			if err == nil {
				got, err = io.ReadAll(r)
			}
			fetched, ferr := a.FetchArchive(t.Context(), sourceURL+fakeQuery, nil)
			if tt.ok {
				require.NoError(t, err)
				assert.True(t, bytes.Equal(content, got))
				require.NoError(t, ferr)
				assert.Equal(t, archive.SHA256, fetched.SHA256)
				require.NoError(t, fetched.Close())
				return
			}
			for _, err := range []error{err, ferr} {
				var unusable *herokubuild.ResponseError
				require.ErrorAs(t, err, &unusable)
				assert.Equal(t, 200, unusable.StatusCode)
				assert.NotContains(t, err.Error(), "Signature")
			}
		})
	}
}
