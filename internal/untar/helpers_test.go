package untar

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// entry is an entry of a tar archive; a regular file by default.
type entry struct {
	name, body, link string
	kind             byte
	mode             int64
}

func dirEntry(name string) entry { return entry{name: name, kind: tar.TypeDir, mode: 0o755} }
func linkEntry(name, target string) entry {
	return entry{name: name, kind: tar.TypeSymlink, link: target}
}
func hardEntry(name, target string) entry { return entry{name: name, kind: tar.TypeLink, link: target} }
func fileEntry(name, body string) entry   { return entry{name: name, body: body} }

// tarball packs entries as they are, valid or not.
func tarball(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Typeflag: e.kind, Linkname: e.link, Mode: e.mode, Size: int64(len(e.body))}
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		require.NoError(t, tw.WriteHeader(h))
		_, err := io.WriteString(tw, e.body)
		require.NoError(t, err)
	}
	require.NoError(t, tw.Close())
	return b.Bytes()
}

func gzipped(t testing.TB, parts ...[]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	zw := gzip.NewWriter(&b)
	for _, p := range parts {
		_, err := zw.Write(p)
		require.NoError(t, err)
	}
	require.NoError(t, zw.Close())
	return b.Bytes()
}

func archiveOf(t testing.TB, entries ...entry) []byte {
	t.Helper()
	return gzipped(t, tarball(t, entries...))
}

// defaults are limits that no test of something else reaches.
func defaults() Options { return Options{MaxFiles: 500_000, MaxBytes: 4 << 30} }

// unpackInto unpacks into an existing directory.
func unpackInto(ctx context.Context, t testing.TB, r io.Reader, dir string, o Options) error {
	t.Helper()
	root, err := os.OpenRoot(dir)
	require.NoError(t, err)
	defer func() { require.NoError(t, root.Close()) }()
	return Unpack(ctx, r, root, o)
}

// fenced returns an empty directory to unpack into, next to a file that must not
// change.
func fenced(t testing.TB) (dir string, check func()) {
	t.Helper()
	outer := t.TempDir()
	secret := filepath.Join(outer, "secret")
	require.NoError(t, os.WriteFile(secret, []byte("mine"), 0o600))
	before, err := os.Stat(secret)
	require.NoError(t, err)
	dir = filepath.Join(outer, "in")
	require.NoError(t, os.Mkdir(dir, 0o700))
	return dir, func() {
		t.Helper()
		names, err := os.ReadDir(outer)
		require.NoError(t, err)
		require.Len(t, names, 2, "%v", names)
		content, err := os.ReadFile(secret)
		require.NoError(t, err)
		require.Equal(t, "mine", string(content))
		after, err := os.Stat(secret)
		require.NoError(t, err)
		require.Equal(t, before.Mode(), after.Mode())
	}
}

func requireEmpty(t testing.TB, dir string) {
	t.Helper()
	names, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, names)
}

// requireKind checks the category of an error and returns it.
func requireKind(t testing.TB, err error, kind Kind) *EntryError {
	t.Helper()
	var e *EntryError
	require.ErrorAs(t, err, &e)
	require.Equal(t, kind, e.Kind, "%v", err)
	require.NoError(t, e.Cleanup)
	return e
}

// incompressible returns text of n bytes that gzip cannot make smaller.
func incompressible(n int) string {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{}).Read(b)
	return string(b)
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
