package targz

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"testing"
	"testing/iotest"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// archive returns a gzipped tar archive of one file for each content.
func archive(t testing.TB, contents ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	zip, err := new(Writers).NewWriter(&b)
	require.NoError(t, err)
	w := tar.NewWriter(zip)
	for _, content := range contents {
		require.NoError(t, w.WriteHeader(&tar.Header{Name: "x", Size: int64(len(content)), Mode: 0o644}))
		_, err := io.WriteString(w, content)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	require.NoError(t, zip.Close())
	return b.Bytes()
}

func noise(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func TestCheck(t *testing.T) {
	t.Parallel()
	good := archive(t, "content", string(noise(1_000_000)))
	size, sum, err := Check(bytes.NewReader(good))
	require.NoError(t, err)
	assert.EqualValues(t, len(good), size)
	assert.Equal(t, sha256.Sum256(good), sum)

	var text bytes.Buffer
	zip := gzip.NewWriter(&text)
	_, _ = zip.Write([]byte("not a tar archive"))
	require.NoError(t, zip.Close())
	damaged := bytes.Clone(good)
	damaged[12] ^= 0xff
	for name, bad := range map[string][]byte{
		"empty": nil, "text": []byte("PK\x03\x04"), "not a tar": text.Bytes(), "no entries": archive(t), "cut off": good[:len(good)/2],
		"checksum cut off": good[:len(good)-1], "trailing data": append(bytes.Clone(good), "<html>"...), "damaged": damaged,
	} {
		_, _, err := Check(bytes.NewReader(bad))
		require.Error(t, err, name)
	}
	cause := errors.New("read failure")
	_, _, err = Check(io.MultiReader(bytes.NewReader(good[:1000]), iotest.ErrReader(cause)))
	require.ErrorIs(t, err, cause)
}

func FuzzCheck(f *testing.F) {
	f.Add(archive(f, "content"))
	f.Add([]byte{0x1f, 0x8b})
	f.Fuzz(func(t *testing.T, data []byte) {
		size, sum, err := Check(bytes.NewReader(data))
		if err != nil {
			return
		}
		require.EqualValues(t, len(data), size)
		require.Equal(t, sha256.Sum256(data), sum)
	})
}

func TestWriterGivesTheSameBytesOnAnyNumberOfCores(t *testing.T) {
	content := append(bytes.Repeat([]byte("some text that repeats itself\n"), 100_000), noise(1_000_000)...)
	var first []byte
	for _, cores := range []int{1, 2, 5} {
		before := runtime.GOMAXPROCS(cores)
		var b bytes.Buffer
		zip, err := new(Writers).NewWriter(&b)
		require.NoError(t, err)
		_, err = io.Copy(struct{ io.Writer }{zip}, bytes.NewReader(content))
		require.NoError(t, err)
		require.NoError(t, zip.Close())
		runtime.GOMAXPROCS(before)
		if first == nil {
			first = b.Bytes()
		}
		assert.True(t, bytes.Equal(first, b.Bytes()), "%d cores", cores)
	}
	assert.Equal(t, []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0}, first[:8], "neither name nor time")
	zip, err := gzip.NewReader(bytes.NewReader(first))
	require.NoError(t, err)
	back, err := io.ReadAll(zip)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(content, back))
}

// failingWriter fails once it has got so many bytes.
type failingWriter struct {
	left int
	err  error
}

func (w *failingWriter) Write(p []byte) (int, error) {
	if w.left -= len(p); w.left < 0 {
		return 0, w.err
	}
	return len(p), nil
}

func TestWriterReportsTheErrorOfItsWriter(t *testing.T) {
	t.Parallel()
	full := errors.New("disk full")
	content := noise(4 << 20)
	for _, left := range []int{0, 1 << 20, len(content)} {
		// The bubble fails if a goroutine is left.
		synctest.Test(t, func(t *testing.T) {
			zip, err := new(Writers).NewWriter(&failingWriter{left: left, err: full})
			require.NoError(t, err)
			for range 4 {
				if _, err = zip.Write(content); err != nil {
					require.ErrorIs(t, err, full)
					break
				}
			}
			require.ErrorIs(t, zip.Close(), full)
		})
	}
}

// A Writer with the buffers of an earlier one, even of one that failed, writes what a new
// one does.
func TestWritersThatShareBuffersWriteTheSameBytes(t *testing.T) {
	t.Parallel()
	var shared Writers
	for round := range 4 {
		content := noise(700_000 * round)
		failing, err := shared.NewWriter(&failingWriter{left: 100_000, err: errors.New("disk full")})
		require.NoError(t, err)
		_, _ = failing.Write(noise(2 << 20))
		require.Error(t, failing.Close())
		var want, got bytes.Buffer
		for b, writers := range map[*bytes.Buffer]*Writers{&want: {}, &got: &shared} {
			zip, err := writers.NewWriter(b)
			require.NoError(t, err)
			_, err = zip.Write(content)
			require.NoError(t, err)
			require.NoError(t, zip.Close())
		}
		require.True(t, bytes.Equal(want.Bytes(), got.Bytes()), round)
	}
}

func TestSpool(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	spool, err := NewSpool(dir)
	require.NoError(t, err)
	content := noise(100_000)
	for part := range bytes.SplitSeq(content, []byte{0}) {
		_, err := spool.Write(append(part, 0))
		require.NoError(t, err)
	}
	content = append(content, 0)
	assert.EqualValues(t, len(content), spool.Size())
	for range 2 {
		assert.Equal(t, sha256.Sum256(content), spool.SHA256())
	}

	one, err := spool.Open()
	require.NoError(t, err)
	_, err = io.CopyN(io.Discard, one, 10)
	require.NoError(t, err)
	two, err := spool.Open()
	require.NoError(t, err)
	whole, err := io.ReadAll(two)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(content, whole))
	rest, err := io.ReadAll(one)
	require.NoError(t, err)
	assert.Equal(t, content[10:], rest, "readers are independent")

	named, err := spool.Named()
	require.NoError(t, err)
	list, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Equal(t, named != nil, len(list) > 0)
	require.NoError(t, spool.Close())
	list, err = os.ReadDir(dir)
	require.NoError(t, err)
	assert.Empty(t, list)
	_, err = io.ReadAll(two)
	require.NoError(t, err, "it has been read to its end")
	_, err = NewSpool(dir + "/missing")
	require.ErrorIs(t, err, os.ErrNotExist)
}
