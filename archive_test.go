package herokubuild_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
)

// tree returns a directory with the given files. A name that ends with a slash is a
// directory.
func tree(t *testing.T, files ...file) string {
	t.Helper()
	dir := t.TempDir()
	for _, f := range files {
		path := filepath.Join(dir, filepath.FromSlash(f.name))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		if strings.HasSuffix(f.name, "/") {
			require.NoError(t, os.MkdirAll(path, 0o755))
			continue
		}
		require.NoError(t, os.WriteFile(path, []byte(f.content), 0o644))
	}
	return dir
}

func pack(t *testing.T, dir string) *herokubuild.Archive {
	t.Helper()
	a, err := herokubuild.PackDir(t.Context(), dir, nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = a.Close() })
	return a
}

func contents(t *testing.T, a *herokubuild.Archive) []byte {
	t.Helper()
	r, err := a.Open()
	require.NoError(t, err)
	b, err := io.ReadAll(r)
	require.NoError(t, err)
	require.NoError(t, r.Close())
	assert.EqualValues(t, len(b), a.Size)
	assert.Equal(t, sha256.Sum256(b), a.SHA256)
	sum := sha256.Sum256(b)
	assert.Equal(t, "SHA256:"+hex.EncodeToString(sum[:]), a.Checksum())
	return b
}

type entry struct {
	header  *tar.Header
	content string
}

func entries(t *testing.T, a *herokubuild.Archive) (names []string, byName map[string]entry) {
	t.Helper()
	zr, err := gzip.NewReader(bytes.NewReader(contents(t, a)))
	require.NoError(t, err)
	tr := tar.NewReader(zr)
	byName = map[string]entry{}
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return names, byName
		}
		require.NoError(t, err)
		b, err := io.ReadAll(tr)
		require.NoError(t, err)
		names, byName[h.Name] = append(names, h.Name), entry{h, string(b)}
	}
}

func TestArchiveDir(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("long-name-", 15) + "é.txt"
	big := random(500_000)
	dir := tree(t,
		file{"main.go", "package main\n"}, file{"Procfile", "web: bin/main\n"}, file{"empty", ""}, file{"z/deep/er/file", "x"},
		file{"big", big}, file{long, "l"}, file{".gitignore", "*.o\n"}, file{"a/.gitkeep", ""}, file{"nothing/at/all/", ""},
		file{".git/config", "secret"}, file{"sub/.git", "gitdir: ../.git/modules/sub"}, file{"sub/f", "s"}, file{"vendor/x/.git/HEAD", "ref"},
	)
	archive := pack(t, dir)
	names, byName := entries(t, archive)
	assert.Equal(t, []string{".gitignore", "Procfile", "a/.gitkeep", "big", "empty", long, "main.go", "sub/f", "z/deep/er/file"}, names)
	assert.Equal(t, "package main\n", byName["main.go"].content)
	assert.Equal(t, big, byName["big"].content)
	for _, e := range byName {
		assert.EqualValues(t, 0o644, e.header.Mode)
		assert.Zero(t, e.header.Uid)
		assert.Zero(t, e.header.Gid)
		assert.Empty(t, e.header.Uname)
	}
	first := contents(t, archive)
	assert.Equal(t, first, contents(t, archive), "it can be opened again")

	// Two attempts of an upload may overlap.
	one, err := archive.Open()
	require.NoError(t, err)
	_, err = io.CopyN(io.Discard, one, 10)
	require.NoError(t, err)
	whole := contents(t, archive)
	rest, err := io.ReadAll(one)
	require.NoError(t, err)
	assert.Equal(t, whole[10:], rest)
}

func TestArchiveDirIsReproducible(t *testing.T) {
	t.Parallel()
	files := []file{{"b/c", "1"}, {"a", "2"}, {"b.txt", "3"}}
	first := tree(t, files...)
	second := tree(t, files[2], files[1], files[0])
	require.NoError(t, os.Chtimes(filepath.Join(second, "a"), time.Unix(0, 0), time.Unix(1e9, 5)))
	require.NoError(t, os.Chmod(filepath.Join(second, "b.txt"), 0o600))
	require.NoError(t, os.Chmod(filepath.Join(second, "b"), 0o700))
	assert.Equal(t, contents(t, pack(t, first)), contents(t, pack(t, second)))
}

func TestArchiveDirRefuses(t *testing.T) {
	t.Parallel()
	dir := tree(t, file{"file", "x"})
	for name, bad := range map[string]string{
		"no name":       "",
		"missing":       filepath.Join(dir, "missing"),
		"a file":        filepath.Join(dir, "file"),
		"empty":         tree(t),
		"only empty":    tree(t, file{"a/b/", ""}),
		"only .git":     tree(t, file{".git/config", "x"}),
		"below a file":  filepath.Join(dir, "file", "x"),
		"name with NUL": "a\x00b",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, err := herokubuild.PackDir(t.Context(), bad, nil)
			assert.Nil(t, a)
			requireInvalid(t, err, "dir")
			if bad != "" && !strings.Contains(bad, "\x00") {
				assert.Contains(t, err.Error(), filepath.Base(bad))
			}
		})
	}
	a, err := herokubuild.PackDir(t.Context(), dir, &herokubuild.PackOptions{TempDir: filepath.Join(dir, "missing")})
	assert.Nil(t, a)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestArchiveDirSpoolsInsideTheTree(t *testing.T) {
	t.Parallel()
	dir := tree(t, file{"a", "x"}, file{"tmp/b", "y"})
	a, err := herokubuild.PackDir(t.Context(), dir, &herokubuild.PackOptions{TempDir: filepath.Join(dir, "tmp")})
	require.NoError(t, err)
	names, _ := entries(t, a)
	assert.Equal(t, []string{"a", "tmp/b"}, names, "the archive does not hold itself")
	require.NoError(t, a.Close())
	left, err := os.ReadDir(filepath.Join(dir, "tmp"))
	require.NoError(t, err)
	assert.Len(t, left, 1, "nothing is left behind")
}

func TestArchiveClose(t *testing.T) {
	t.Parallel()
	a := pack(t, tree(t, file{"a", "x"}))
	require.NoError(t, a.Close())
	r, err := a.Open()
	if err == nil {
		_, err = io.ReadAll(r)
	}
	require.Error(t, err)

	fromBytes, content := testArchive(t)
	require.NoError(t, fromBytes.Close())
	assert.Equal(t, content, contents(t, fromBytes), "closing an archive without a file does nothing")
	require.NoError(t, (*herokubuild.Archive)(nil).Close())
	require.NoError(t, new(herokubuild.Archive).Close())
}

func TestArchiveCanceled(t *testing.T) {
	t.Parallel()
	cause := errors.New("canceled by the operator")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	temp := t.TempDir()
	a, err := herokubuild.PackDir(ctx, tree(t, file{"a", "x"}), &herokubuild.PackOptions{TempDir: temp})
	assert.Nil(t, a)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, err, cause)
	left, readErr := os.ReadDir(temp)
	require.NoError(t, readErr)
	assert.Empty(t, left)

	path := filepath.Join(temp, "a.tgz")
	require.NoError(t, os.WriteFile(path, packed(t, file{"a", "x"}), 0o600))
	_, err = herokubuild.OpenArchive(ctx, path)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, err, cause)
	require.NotErrorIs(t, err, herokubuild.ErrInvalidArgument)
}

// meddler is a context whose Err, which packing calls between any two steps,
// modifies a file.
type meddler struct {
	context.Context
	meddle func()
}

func (m meddler) Err() error {
	m.meddle()
	return m.Context.Err()
}

func TestArchiveDirOfAChangingFile(t *testing.T) {
	t.Parallel()
	for name, by := range map[string]int64{"grew": 1, "shrank": -1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := tree(t, file{"log", strings.Repeat("x", 1000)})
			path := filepath.Join(dir, "log")
			var size atomic.Int64
			size.Store(1000)
			ctx := meddler{t.Context(), func() { assert.NoError(t, os.Truncate(path, size.Add(by))) }}
			a, err := herokubuild.PackDir(ctx, dir, nil)
			assert.Nil(t, a)
			require.ErrorIs(t, err, herokubuild.ErrArchiveChanged)
			assert.Contains(t, err.Error(), "log "+name)
		})
	}
}

func TestArchiveFileAndBytes(t *testing.T) {
	t.Parallel()
	good := packed(t, file{"a", random(100_000)}, file{"b", "x"})
	var plain bytes.Buffer
	zw := gzip.NewWriter(&plain)
	_, err := zw.Write([]byte("not a tar archive"))
	require.NoError(t, err)
	require.NoError(t, zw.Close())
	broken := bytes.Clone(good)
	broken[12] ^= 0xff
	tests := map[string]struct {
		content []byte
		ok      bool
	}{
		"archive":    {good, true},
		"empty":      {nil, false},
		"text":       {[]byte("PK\x03\x04 a zip file, say"), false},
		"not a tar":  {plain.Bytes(), false},
		"no entries": {packed(t), false},
		"cut":        {good[:15], false},
		"cut late":   {good[:len(good)-1], false},
		"garbage":    {append(bytes.Clone(good), "<html>"...), false},
		"gzip only":  {good[:2], false},
		"damaged":    {broken, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "source.tgz")
			require.NoError(t, os.WriteFile(path, tt.content, 0o600))
			fromFile, fileErr := herokubuild.OpenArchive(t.Context(), path)
			fromBytes, bytesErr := herokubuild.NewArchive(tt.content)
			if !tt.ok {
				assert.Nil(t, fromFile)
				assert.Nil(t, fromBytes)
				assert.Contains(t, requireInvalid(t, fileErr, "archive").Error(), "source.tgz")
				requireInvalid(t, bytesErr, "archive")
				return
			}
			require.NoError(t, fileErr)
			require.NoError(t, bytesErr)
			assert.Equal(t, tt.content, contents(t, fromFile))
			assert.Equal(t, tt.content, contents(t, fromBytes))
			assert.Equal(t, fromFile.Checksum(), fromBytes.Checksum())
		})
	}
	for _, bad := range []string{"", t.TempDir(), filepath.Join(t.TempDir(), "missing")} {
		_, err := herokubuild.OpenArchive(t.Context(), bad)
		requireInvalid(t, err, "archive")
	}
}
