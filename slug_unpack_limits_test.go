package herokubuild_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
)

func requireUnpackError(t testing.TB, err error) *herokubuild.UnpackError {
	t.Helper()
	var refused *herokubuild.UnpackError
	require.ErrorAs(t, err, &refused)
	return refused
}

func TestUnpackSlugDepth(t *testing.T) {
	t.Parallel()
	deep := func(n int) string { return strings.TrimSuffix(strings.Repeat("d/", n), "/") }
	dir, check := fenced(t)
	require.NoError(t, herokubuild.UnpackSlug(t.Context(), bytes.NewReader(slugOf(t, dirEntry(deep(255)))), dir, nil))
	check()
	for _, entries := range [][]tarEntry{
		{dirEntry(deep(256))},
		{dirEntry("./" + deep(2000))},
		{fileEntry(deep(255)+"/f", "x")},
		{linkEntry(deep(255)+"/l", "x")},
		{fileEntry("f", "x"), hardEntry(deep(255)+"/h", "f")},
	} {
		dir, check := fenced(t)
		err := herokubuild.UnpackSlug(t.Context(), bytes.NewReader(slugOf(t, entries...)), dir, nil)
		require.ErrorIs(t, err, herokubuild.ErrArchiveTooLarge)
		assert.NotEmpty(t, requireUnpackError(t, err).Entry)
		requireEmpty(t, dir)
		check()
	}
}

// What is kept of directories does not grow with the length of their names.
func TestUnpackSlugMemory(t *testing.T) {
	const dirs = 2000
	base := strings.Repeat(strings.Repeat("d", 200)+"/", 19)
	var entries []tarEntry
	for i := range dirs {
		entries = append(entries, dirEntry(base+fmt.Sprint(i)))
	}
	archive := slugOf(t, entries...)
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	var grown int64
	body := bytes.NewReader(archive)
	r := readerFunc(func(p []byte) (int, error) {
		n, err := body.Read(p)
		if err == io.EOF {
			grown = heap() - before
		}
		return n, err
	})
	dir := t.TempDir()
	require.NoError(t, herokubuild.UnpackSlug(t.Context(), r, dir, nil))
	assert.Less(t, grown, int64(3<<20), "their names alone take 7 MiB")
	runtime.KeepAlive(archive)
}

func TestUnpackSlugLinkText(t *testing.T) {
	t.Parallel()
	dir, check := fenced(t)
	r, w := io.Pipe()
	go func() {
		zw, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
		if err != nil {
			_ = w.CloseWithError(err)
			return
		}
		tw := tar.NewWriter(zw)
		target := strings.Repeat(strings.Repeat("t", 200)+"/", 20)
		for i := 0; err == nil && i < 20_000; i++ {
			err = tw.WriteHeader(&tar.Header{Format: tar.FormatGNU, Typeflag: tar.TypeSymlink, Name: fmt.Sprint("l", i), Linkname: target})
		}
		_ = tw.Close()
		_ = zw.Close()
		_ = w.CloseWithError(err)
	}()
	err := herokubuild.UnpackSlug(t.Context(), r, dir, nil)
	_ = r.Close()
	require.ErrorIs(t, err, herokubuild.ErrArchiveTooLarge)
	requireEmpty(t, dir)
	check()
}

// The context is checked before each entry: hundreds of thousands of them can be
// in what has been read already.
func TestUnpackSlugCanceledBetweenEntries(t *testing.T) {
	t.Parallel()
	dir, _ := fenced(t)
	ctx, cancel := context.WithCancel(t.Context())
	body := bytes.NewReader(slugOf(t, fileEntry("app/a", "a"), fileEntry("app/b", "b")))
	r := readerFunc(func(p []byte) (int, error) {
		defer cancel()
		return body.Read(p)
	})
	err := herokubuild.UnpackSlug(ctx, r, dir, nil)
	require.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, "app/a", requireUnpackError(t, err).Entry)
	requireEmpty(t, dir)
}

// No link exists while anything else is created.
func TestUnpackSlugMakesLinksLast(t *testing.T) {
	t.Parallel()
	dir, check := fenced(t)
	all := tarball(t, linkEntry("current", "releases/1"), fileEntry("big", random(200_000)), fileEntry("releases/1/f", "x"))
	first, second := gzipped(t, all[:100_000]), gzipped(t, all[100_000:])
	looked := false
	parts := io.MultiReader(bytes.NewReader(first), readerFunc(func([]byte) (int, error) {
		_, err := os.Lstat(filepath.Join(dir, "big"))
		require.NoError(t, err, "the link's entry has been read")
		_, err = os.Lstat(filepath.Join(dir, "current"))
		require.ErrorIs(t, err, fs.ErrNotExist)
		looked = true
		return 0, io.EOF
	}), bytes.NewReader(second))
	require.NoError(t, herokubuild.UnpackSlug(t.Context(), parts, dir, nil))
	assert.True(t, looked)
	b, err := os.ReadFile(filepath.Join(dir, "current", "f"))
	require.NoError(t, err)
	assert.Equal(t, "x", string(b))
	check()
}

func TestUnpackSlugSkipsLinks(t *testing.T) {
	t.Parallel()
	dir, check := fenced(t)
	archive := slugOf(t, fileEntry("app/file", "f"), linkEntry("app/in", "file"), linkEntry("app/out", "/etc/passwd"), linkEntry("app/aux.", "x\x01"))
	require.NoError(t, herokubuild.UnpackSlug(t.Context(), bytes.NewReader(archive), dir, &herokubuild.UnpackOptions{SkipLinks: true}))
	names, err := os.ReadDir(filepath.Join(dir, "app"))
	require.NoError(t, err)
	require.Len(t, names, 1)
	assert.Equal(t, "file", names[0].Name())
	check()
}

// Names that Windows does not have, or makes others of, are ordinary elsewhere.
func TestUnpackSlugNamesOfOtherSystems(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"aux.c", "con", "Foo::Bar.3pm", "a?b", "a<b", "a*b", `a"b`, "a|b", "name.", "name ", "d./x", "d /x", "x. .", "a\x01b"} {
		for kind, entries := range map[string][]tarEntry{
			"file": {fileEntry(name, "x")}, "directory": {dirEntry(name)}, "target": {linkEntry("l", name)},
		} {
			dir, check := fenced(t)
			err := herokubuild.UnpackSlug(t.Context(), bytes.NewReader(slugOf(t, entries...)), dir, nil)
			if runtime.GOOS == "windows" {
				require.ErrorIs(t, err, herokubuild.ErrUnsupportedName, "%s %q", kind, name)
				require.NotErrorIs(t, err, herokubuild.ErrUnsafeArchive)
				requireEmpty(t, dir)
			} else {
				require.NoError(t, err, "%s %q", kind, name)
			}
			check()
		}
	}
}

// An entry's name comes from whoever made the archive, and errors reach terminals.
func TestUnpackErrorIsPrintable(t *testing.T) {
	t.Parallel()
	name := "\x1b]0;owned\x07" + strings.Repeat("x", 400) + "\u202e"
	for _, entry := range []tarEntry{fileEntry(name, "x"), dirEntry(name), linkEntry(name, "x"), fileEntry(name+"/x", "x")} {
		dir, _ := fenced(t)
		err := herokubuild.UnpackSlug(t.Context(), bytes.NewReader(slugOf(t, entry)), dir, nil)
		require.NotErrorIs(t, err, herokubuild.ErrUnsafeArchive, "the name is only too long")
		assert.Contains(t, requireUnpackError(t, err).Entry, "owned")
		for _, bad := range []string{"\x1b", "\x07", "\n"} {
			assert.NotContains(t, err.Error(), bad)
		}
		requireEmpty(t, dir)
	}
	err := &herokubuild.UnpackError{Err: fmt.Errorf("line\nforged\r\x1b[2J\u202e\u009b31m%w", io.ErrUnexpectedEOF)}
	for _, bad := range []string{"\x1b", "\r", "\n", "\u202e", "\u009b"} {
		assert.NotContains(t, err.Error(), bad)
	}
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
}
