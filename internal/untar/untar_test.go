package untar

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestUnpackReportsTheKindOfEachError(t *testing.T) {
	t.Parallel()
	cause := errors.New("connection reset")
	good := archiveOf(t, fileEntry("app/file", "x"))
	for name, tt := range map[string]struct {
		r     io.Reader
		o     Options
		kind  Kind
		entry string
		err   error
	}{
		"a device":              {r: bytes.NewReader(archiveOf(t, entry{name: "null", kind: tar.TypeChar})), kind: Unsafe, entry: "null"},
		"a name that leads out": {r: bytes.NewReader(archiveOf(t, fileEntry("../x", ""))), kind: Unsafe, entry: "../x"},
		"a link that leads out": {r: bytes.NewReader(archiveOf(t, linkEntry("l", "../x"))), kind: Unsafe, entry: "l"},
		"a file twice":          {r: bytes.NewReader(archiveOf(t, fileEntry("f", ""), fileEntry("./f", ""))), kind: Unsafe, entry: "./f"},
		"a file over a link":    {r: bytes.NewReader(archiveOf(t, linkEntry("l", "x"), fileEntry("l", ""))), kind: Unsafe, entry: "l"},
		"a path through a link": {r: bytes.NewReader(archiveOf(t, linkEntry("l", "x"), fileEntry("l/f", ""))), kind: Unsafe, entry: "l/f"},
		"too many files":        {r: bytes.NewReader(good), o: Options{MaxFiles: 1, MaxBytes: 1}, kind: TooLarge, entry: "app/file"},
		"too many bytes":        {r: bytes.NewReader(good), o: Options{MaxFiles: 2}, kind: TooLarge, entry: "app/file"},
		"no gzip":               {r: strings.NewReader("<html>"), kind: Failed},
		"nothing":               {r: strings.NewReader(""), kind: Failed, err: io.EOF},
		"a reader that fails":   {r: io.MultiReader(bytes.NewReader(good[:20]), readerFunc(func([]byte) (int, error) { return 0, cause })), kind: Failed, err: cause},
	} {
		dir, check := fenced(t)
		if tt.o == (Options{}) {
			tt.o = defaults()
		}
		e := requireKind(t, unpackInto(t.Context(), t, tt.r, dir, tt.o), tt.kind)
		assert.Equal(t, tt.entry, e.Entry, name)
		if tt.err != nil {
			require.ErrorIs(t, e, tt.err, name)
		}
		assert.NotEmpty(t, e.Error())
		requireEmpty(t, dir)
		check()
	}
}

func TestUnpackReportsThatTheContextEnded(t *testing.T) {
	t.Parallel()
	dir, _ := fenced(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("enough")
	cancel(cause)
	e := requireKind(t, unpackInto(ctx, t, bytes.NewReader(archiveOf(t, fileEntry("f", ""))), dir, defaults()), Canceled)
	require.ErrorIs(t, e, cause)
}

// Names that differ only in case are two files, or refused where the file system
// treats them as the same. Neither leads out of the directory.
func TestNamesThatDifferOnlyInCase(t *testing.T) {
	t.Parallel()
	probe := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(probe, "a"), nil, 0o600))
	_, err := os.Lstat(filepath.Join(probe, "A"))
	same := err == nil
	for name, entries := range map[string][]entry{
		"two files":                   {fileEntry("Makefile", "1"), fileEntry("makefile", "2")},
		"a file and a directory":      {fileEntry("Bin", "1"), dirEntry("bin")},
		"a file and a link":           {fileEntry("Link", "1"), linkEntry("link", "x")},
		"two links":                   {linkEntry("Link", "a"), linkEntry("link", "b")},
		"a directory as another link": {dirEntry("real"), linkEntry("Link", "real"), fileEntry("link/file", "x")},
	} {
		dir, check := fenced(t)
		err := unpackInto(t.Context(), t, bytes.NewReader(archiveOf(t, entries...)), dir, defaults())
		check()
		if same {
			requireKind(t, err, Unsafe)
			requireEmpty(t, dir)
		} else {
			require.NoError(t, err, name)
		}
	}
}

func TestMostUnpacked(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		files int
		bytes int64
		want  int64
	}{
		{0, 0, archiveSlack},
		{1, 10, 10 + entryOverhead + archiveSlack},
		{0, math.MaxInt64, math.MaxInt64},
		{0, math.MaxInt64 - archiveSlack, math.MaxInt64},
		{1, math.MaxInt64 - archiveSlack, math.MaxInt64},
		{math.MaxInt32, math.MaxInt64, math.MaxInt64},
	} {
		u := unpacker{left: Options{MaxFiles: tt.files, MaxBytes: tt.bytes}}
		assert.Equal(t, tt.want, u.mostUnpacked(), "%+v", tt)
	}
}

func TestNestingIsBounded(t *testing.T) {
	t.Parallel()
	deep := func(n int) string { return strings.TrimSuffix(strings.Repeat("d/", n), "/") }
	dir, check := fenced(t)
	require.NoError(t, unpackInto(t.Context(), t, bytes.NewReader(archiveOf(t, dirEntry(deep(255)))), dir, defaults()))
	check()
	for _, entries := range [][]entry{
		{dirEntry(deep(256))},
		{dirEntry("./" + deep(2000))},
		{fileEntry(deep(255)+"/f", "x")},
		{linkEntry(deep(255)+"/l", "x")},
		{fileEntry("f", "x"), hardEntry(deep(255)+"/h", "f")},
	} {
		dir, check := fenced(t)
		err := unpackInto(t.Context(), t, bytes.NewReader(archiveOf(t, entries...)), dir, defaults())
		assert.NotEmpty(t, requireKind(t, err, TooLarge).Entry)
		requireEmpty(t, dir)
		check()
	}
}

// The memory that directories take does not grow with the length of their names.
func TestLongNamesOfDirectoriesTakeLittleMemory(t *testing.T) {
	const dirs = 2000
	base := strings.Repeat(strings.Repeat("d", 200)+"/", 19)
	var entries []entry
	for i := range dirs {
		entries = append(entries, dirEntry(base+fmt.Sprint(i)))
	}
	archive := archiveOf(t, entries...)
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
	require.NoError(t, unpackInto(t.Context(), t, r, dir, defaults()))
	assert.Less(t, grown, int64(3<<20), "their names alone take 7 MiB")
	runtime.KeepAlive(archive)
}

// A failed cleanup is reported next to the error.
func TestUnpackReportsThatTheCleanupFailed(t *testing.T) {
	t.Parallel()
	dir, _ := fenced(t)
	root, err := os.OpenRoot(dir)
	require.NoError(t, err)
	archive := archiveOf(t, fileEntry("f", "x"))
	err = Unpack(t.Context(), readerFunc(func(p []byte) (int, error) {
		require.NoError(t, root.Close())
		return copy(p, archive), io.EOF
	}), root, defaults())
	var e *EntryError
	require.ErrorAs(t, err, &e)
	require.ErrorIs(t, e.Cleanup, fs.ErrClosed)
}

// Whatever the archive, nothing changes outside of the directory, no link leads
// out of it, the limits hold, and after an error it is empty.
func unpackFenced(t *testing.T, archive []byte, skip bool) {
	dir, check := fenced(t)
	opts := Options{MaxFiles: 50, MaxBytes: 1 << 20, SkipOutsideLinks: skip}
	err := unpackInto(t.Context(), t, bytes.NewReader(archive), dir, opts)
	check()
	if err != nil {
		var refused *EntryError
		require.ErrorAs(t, err, &refused)
		requireEmpty(t, dir)
		return
	}
	top, err := filepath.EvalSymlinks(dir)
	require.NoError(t, err)
	files := 0
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		files++
		require.Zero(t, d.Type()&^(fs.ModeDir|fs.ModeSymlink), "%s is %v", path, d.Type())
		if target, err := filepath.EvalSymlinks(path); err == nil {
			require.True(t, target == top || strings.HasPrefix(target, top+string(filepath.Separator)), "%s leads to %s", path, target)
		}
		return nil
	}))
	require.LessOrEqual(t, files, 50)
}

func FuzzUnpack(f *testing.F) {
	f.Add(tarball(f, dirEntry("./app/"), fileEntry("./app/x", "x"), hardEntry("./app/y", "./app/x"), linkEntry("./app/l", "x")), false)
	f.Add(tarball(f, linkEntry("l", "../secret"), fileEntry("l", "x")), true)
	f.Add([]byte{}, true)
	f.Fuzz(func(t *testing.T, unpacked []byte, skip bool) {
		unpackFenced(t, gzipped(t, unpacked), skip)
	})
}

// The entries of an archive are lines of a script here: a tar archive has
// checksums, which keep mutations from getting anywhere.
func FuzzUnpackEntries(f *testing.F) {
	for _, seed := range []string{
		"d ./app/\nf ./app/x\nh ./app/y > ./app/x\nl ./app/l > x",
		"l l > ../secret\nf l",
		"l s > .\nl l > s/../secret\nf l",
		"l a > b\nl b > a\nf a/x",
		"l app/x/y > /app/z\nf /abs\nf ../secret",
		"h h > ../secret\nc dev\np pipe",
		"l a > b/c\nd b\nl b/c > ../..\nh d > a/secret\nf a/secret",
	} {
		f.Add(seed, false)
		f.Add(seed, true)
	}
	kinds := map[byte]byte{'d': tar.TypeDir, 'f': tar.TypeReg, 'l': tar.TypeSymlink, 'h': tar.TypeLink, 'c': tar.TypeChar, 'p': tar.TypeFifo}
	f.Fuzz(func(t *testing.T, script string, skip bool) {
		var b bytes.Buffer
		tw := tar.NewWriter(&b)
		for line := range strings.SplitSeq(script, "\n") {
			if len(line) < 3 || kinds[line[0]] == 0 {
				continue
			}
			name, link, _ := strings.Cut(line[2:], " > ")
			h := &tar.Header{Typeflag: kinds[line[0]], Name: name, Linkname: link, Mode: 0o777}
			if h.Typeflag == tar.TypeReg {
				h.Size, h.Linkname = 4, ""
			}
			if tw.WriteHeader(h) == nil && h.Size > 0 {
				_, err := tw.Write([]byte("evil"))
				require.NoError(t, err)
			}
		}
		require.NoError(t, tw.Close())
		unpackFenced(t, gzipped(t, b.Bytes()), skip)
	})
}
