package herokubuild_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
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

// tarEntry is an entry of a tar archive; a regular file by default.
type tarEntry struct {
	name, body, link string
	kind             byte
	mode             int64
}

func dirEntry(name string) tarEntry { return tarEntry{name: name, kind: tar.TypeDir, mode: 0o755} }
func linkEntry(name, to string) tarEntry {
	return tarEntry{name: name, kind: tar.TypeSymlink, link: to}
}
func hardEntry(name, to string) tarEntry   { return tarEntry{name: name, kind: tar.TypeLink, link: to} }
func fileEntry(name, body string) tarEntry { return tarEntry{name: name, body: body} }

// tarball packs entries as they are, valid or not.
func tarball(t testing.TB, entries ...tarEntry) []byte {
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

func slugOf(t testing.TB, entries ...tarEntry) []byte {
	t.Helper()
	return gzipped(t, tarball(t, entries...))
}

// fenced returns an empty directory to unpack into, next to a file that must not
// change.
func fenced(t testing.TB) (dir string, check func()) {
	t.Helper()
	outer := t.TempDir()
	secret := filepath.Join(outer, "secret")
	require.NoError(t, os.WriteFile(secret, []byte("mine"), 0o600))
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
		info, err := os.Stat(secret)
		require.NoError(t, err)
		if runtime.GOOS != "windows" {
			require.Equal(t, fs.FileMode(0o600), info.Mode().Perm())
		}
	}
}

func requireEmpty(t testing.TB, dir string) {
	t.Helper()
	names, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, names)
}

func TestUnpackSlug(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new")
	archive := slugOf(t,
		dirEntry("./"), dirEntry("./app/"), dirEntry("./app/"),
		tarEntry{name: "./app/bin/web", body: "#!/bin/sh\n", mode: 0o6777},
		tarEntry{name: "./app/key", body: "k", mode: 0o600},
		tarEntry{name: "./app/locked", body: "l", mode: 0o022},
		fileEntry("./app/empty", ""),
		linkEntry("./app/bin/link", "./web"),
		linkEntry("./app/up", "../app/bin/"),
		linkEntry("./app/root", ".."),
		linkEntry("./app/deep/er/python", "/app/.heroku/python/bin/python3"),
		linkEntry("./app/home", "/app"),
		fileEntry("./app/.heroku/python/bin/python3", "snake"),
		hardEntry("./app/hard", "./app/key"),
		linkEntry("./app/nowhere", "missing/file"),
		fileEntry("./app/MAKEFILE", "upper"),
	)
	// GNU tar pads to 10 KiB, and several gzip members are one stream.
	archive = append(archive, gzipped(t, make([]byte, 20<<10))...)
	require.NoError(t, herokubuild.UnpackSlug(t.Context(), bytes.NewReader(archive), dir, nil))

	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
		require.NoError(t, err)
		return string(b)
	}
	assert.Equal(t, "#!/bin/sh\n", read("app/bin/web"))
	assert.Equal(t, "#!/bin/sh\n", read("app/bin/link"))
	assert.Equal(t, "#!/bin/sh\n", read("app/up/web"))
	assert.Equal(t, "#!/bin/sh\n", read("app/root/app/bin/web"))
	assert.Equal(t, "snake", read("app/deep/er/python"))
	assert.Equal(t, "k", read("app/home/hard"))
	assert.Empty(t, read("app/empty"))
	_, err := os.Lstat(filepath.Join(dir, "app", "nowhere"))
	require.NoError(t, err)
	if runtime.GOOS != "windows" {
		for name, want := range map[string]fs.FileMode{"app/bin/web": 0o755, "app/key": 0o600, "app/locked": 0o600, "app/empty": 0o644} {
			info, err := os.Stat(filepath.Join(dir, name))
			require.NoError(t, err)
			assert.Equal(t, want, info.Mode(), name)
		}
	}
}

func TestUnpackSlugRefuses(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a/", 3000) + "a"
	tests := map[string]struct {
		entries []tarEntry
		// at is the entry in the error; the last one by default.
		at string
	}{
		"absolute name":                {entries: []tarEntry{fileEntry("/etc/cron.d/evil", "x")}},
		"dot dot":                      {entries: []tarEntry{fileEntry("../secret", "x")}},
		"dot dot in the middle":        {entries: []tarEntry{fileEntry("app/../../secret", "x")}},
		"dot dot that stays inside":    {entries: []tarEntry{fileEntry("app/../file", "x")}},
		"dot dot as a directory":       {entries: []tarEntry{dirEntry("app/..")}},
		"empty name":                   {entries: []tarEntry{{name: "", body: "x", kind: tar.TypeReg}}},
		"the root as a file":           {entries: []tarEntry{fileEntry(".", "x")}},
		"the root as a link":           {entries: []tarEntry{linkEntry("./", "app")}},
		"too long a name":              {entries: []tarEntry{fileEntry(long, "x")}, at: long[:512] + "…"},
		"link to an absolute path":     {entries: []tarEntry{linkEntry("app/passwd", "/etc/passwd")}},
		"link next to /app":            {entries: []tarEntry{linkEntry("app/x", "/app/../etc/passwd")}},
		"link to /apple":               {entries: []tarEntry{linkEntry("app/x", "/apple")}},
		"link out":                     {entries: []tarEntry{linkEntry("app/x", "../../secret")}},
		"link out through directories": {entries: []tarEntry{linkEntry("app/x", "a/b/../../../../secret")}},
		"link through another":         {entries: []tarEntry{linkEntry("s", "."), linkEntry("l", "s/../secret")}},
		"link through a later entry":   {entries: []tarEntry{linkEntry("s", "."), linkEntry("l", "s/log/../../secret")}},
		"link without a target":        {entries: []tarEntry{{name: "l", kind: tar.TypeSymlink}}},
		"too long a link":              {entries: []tarEntry{linkEntry("l", long)}},
		"a file through a link":        {entries: []tarEntry{dirEntry("d"), linkEntry("l", "d"), fileEntry("l/x", "x")}},
		"a directory through a link":   {entries: []tarEntry{dirEntry("d"), linkEntry("l", "d"), dirEntry("l/x")}},
		"a link as a directory":        {entries: []tarEntry{dirEntry("d"), linkEntry("l", "d"), dirEntry("l")}},
		"a file over a link":           {entries: []tarEntry{fileEntry("f", "a"), linkEntry("l", "f"), fileEntry("l", "b")}},
		"a link over a link":           {entries: []tarEntry{linkEntry("l", "a"), linkEntry("l", "b")}},
		"a file twice":                 {entries: []tarEntry{fileEntry("f", "a"), fileEntry("./f", "b")}},
		"a file below a file":          {entries: []tarEntry{fileEntry("f", "a"), fileEntry("f/x", "b")}},
		"a directory over a file":      {entries: []tarEntry{fileEntry("f", "a"), dirEntry("f")}},
		"a file over a directory":      {entries: []tarEntry{dirEntry("d"), fileEntry("d", "a")}},
		"hard link out":                {entries: []tarEntry{hardEntry("app/x", "../secret")}},
		"hard link to an absolute":     {entries: []tarEntry{hardEntry("app/x", "/etc/passwd")}},
		"hard link to a later file":    {entries: []tarEntry{hardEntry("x", "f"), fileEntry("f", "a")}, at: "x"},
		"hard link to a link":          {entries: []tarEntry{linkEntry("a/b/l", "../../x"), hardEntry("l", "a/b/l")}},
		"hard link to a directory":     {entries: []tarEntry{dirEntry("d"), hardEntry("l", "d")}},
		"hard link to itself":          {entries: []tarEntry{hardEntry("l", "l")}},
		"character device":             {entries: []tarEntry{{name: "dev/null", kind: tar.TypeChar}}},
		"block device":                 {entries: []tarEntry{{name: "dev/sda", kind: tar.TypeBlock}}},
		"fifo":                         {entries: []tarEntry{{name: "app/pipe", kind: tar.TypeFifo}}},
		"contiguous file":              {entries: []tarEntry{{name: "app/cont", kind: tar.TypeCont}}},
		"an entry of no known type":    {entries: []tarEntry{{name: "app/x", kind: 'Z'}}},
		"a link before a written file": {entries: []tarEntry{linkEntry("app", "elsewhere"), fileEntry("app/secret", "x")}},
	}
	if runtime.GOOS == "windows" {
		tests["a drive"] = struct {
			entries []tarEntry
			at      string
		}{entries: []tarEntry{fileEntry(`C:\secret`, "x")}}
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, check := fenced(t)
			err := herokubuild.UnpackSlug(t.Context(), bytes.NewReader(slugOf(t, tt.entries...)), dir, nil)
			var refused *herokubuild.UnpackError
			require.ErrorAs(t, err, &refused)
			require.ErrorIs(t, err, herokubuild.ErrUnsafeArchive)
			want := tt.at
			if want == "" {
				want = tt.entries[len(tt.entries)-1].name
			}
			if len(want) > 600 {
				want = want[:512] + "…"
			}
			assert.Equal(t, want, refused.Entry)
			assert.NotEmpty(t, refused.Reason)
			assert.Less(t, len(err.Error()), 400)
			requireEmpty(t, dir)
			check()
		})
	}
}

func TestUnpackSlugSkipsOutsideLinks(t *testing.T) {
	t.Parallel()
	dir, check := fenced(t)
	archive := slugOf(t, linkEntry("app/python", "/usr/bin/python3"), linkEntry("app/x", "../../secret"), linkEntry("app/in", "file"), fileEntry("app/file", "f"))
	require.NoError(t, herokubuild.UnpackSlug(t.Context(), bytes.NewReader(archive), dir, &herokubuild.UnpackOptions{SkipOutsideLinks: true}))
	names, err := os.ReadDir(filepath.Join(dir, "app"))
	require.NoError(t, err)
	require.Len(t, names, 2)
	assert.Equal(t, "file", names[0].Name())
	assert.Equal(t, "in", names[1].Name())
	check()
}

// Names that differ only in case are refused where the system treats them as the
// same, and two files elsewhere. They never lead out of the directory.
func TestUnpackSlugNamesThatDifferInCase(t *testing.T) {
	t.Parallel()
	dir, check := fenced(t)
	archive := slugOf(t, dirEntry("real"), linkEntry("Link", "real"), fileEntry("link/file", "x"))
	err := herokubuild.UnpackSlug(t.Context(), bytes.NewReader(archive), dir, nil)
	check()
	if err != nil {
		require.ErrorIs(t, err, herokubuild.ErrUnsafeArchive)
		requireEmpty(t, dir)
		return
	}
	requireEmpty(t, filepath.Join(dir, "real"))
}

func TestUnpackSlugEnforcesLimits(t *testing.T) {
	t.Parallel()
	zeros := make([]byte, 3<<20)
	many := func(n int) []tarEntry {
		var all []tarEntry
		for i := range n {
			all = append(all, fileEntry(strings.Repeat("x", i+1), ""))
		}
		return all
	}
	tests := map[string]struct {
		archive []byte
		opts    herokubuild.UnpackOptions
		at      string
	}{
		"one byte too many":       {slugOf(t, fileEntry("a", "12345"), fileEntry("b", "123456")), herokubuild.UnpackOptions{MaxBytes: 10}, "b"},
		"one file too many":       {slugOf(t, many(4)...), herokubuild.UnpackOptions{MaxFiles: 3}, "xxxx"},
		"directories count":       {slugOf(t, fileEntry("a/b/c/d", "")), herokubuild.UnpackOptions{MaxFiles: 3}, "a/b/c/d"},
		"links count":             {slugOf(t, linkEntry("a", "x"), linkEntry("b", "x")), herokubuild.UnpackOptions{MaxFiles: 1}, "b"},
		"zeros behind the end":    {gzipped(t, tarball(t, fileEntry("a", "")), zeros), herokubuild.UnpackOptions{MaxFiles: 1, MaxBytes: 1}, ""},
		"one file that is a bomb": {slugOf(t, fileEntry("bomb", string(zeros))), herokubuild.UnpackOptions{MaxBytes: 1 << 20}, "bomb"},
		"headers that are a bomb": {headerBomb(t), herokubuild.UnpackOptions{MaxFiles: 1000, MaxBytes: 1}, ""},
		"a false size":            {falseSize(t), herokubuild.UnpackOptions{MaxBytes: 1 << 20}, "huge"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, check := fenced(t)
			err := herokubuild.UnpackSlug(t.Context(), bytes.NewReader(tt.archive), dir, &tt.opts)
			var refused *herokubuild.UnpackError
			require.ErrorAs(t, err, &refused)
			require.ErrorIs(t, err, herokubuild.ErrArchiveTooLarge)
			assert.Equal(t, tt.at, refused.Entry)
			requireEmpty(t, dir)
			check()
		})
	}
	t.Run("exactly at the limits", func(t *testing.T) {
		t.Parallel()
		dir, _ := fenced(t)
		archive := slugOf(t, fileEntry("a/b", "12345"), fileEntry("a/c", "12345"))
		require.NoError(t, herokubuild.UnpackSlug(t.Context(), bytes.NewReader(archive), dir, &herokubuild.UnpackOptions{MaxFiles: 3, MaxBytes: 10}))
	})
	t.Run("huge limits", func(t *testing.T) {
		t.Parallel()
		dir, _ := fenced(t)
		require.NoError(t, herokubuild.UnpackSlug(t.Context(), bytes.NewReader(slugOf(t, fileEntry("a", "1"))), dir, &herokubuild.UnpackOptions{MaxFiles: 1 << 30, MaxBytes: 1<<63 - 1}))
	})
}

// headerBomb is an archive of megabytes of extended headers without a file.
func headerBomb(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for range 12 {
		require.NoError(t, tw.WriteHeader(&tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": strings.Repeat("x", 512<<10)}}))
	}
	require.NoError(t, tw.Close())
	return gzipped(t, b.Bytes())
}

// falseSize is an archive whose entry declares a terabyte and has no content.
func falseSize(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, tar.NewWriter(&b).WriteHeader(&tar.Header{Name: "huge", Typeflag: tar.TypeReg, Size: 1 << 40, Mode: 0o644}))
	return gzipped(t, b.Bytes())
}

func TestUnpackSlugReportsDamage(t *testing.T) {
	t.Parallel()
	good := slugOf(t, fileEntry("app/file", random(50_000)))
	flipped := bytes.Clone(good)
	flipped[len(flipped)/2] ^= 0x55
	broken := errors.New("connection reset")
	tests := map[string]struct {
		r    io.Reader
		want error
	}{
		"nothing":      {bytes.NewReader(nil), io.ErrUnexpectedEOF},
		"not gzip":     {strings.NewReader("<html>not found</html>"), gzip.ErrHeader},
		"not tar":      {bytes.NewReader(gzipped(t, []byte(random(2000)))), tar.ErrHeader},
		"cut short":    {bytes.NewReader(good[:len(good)/2]), io.ErrUnexpectedEOF},
		"without end":  {bytes.NewReader(good[:len(good)-4]), io.ErrUnexpectedEOF},
		"bytes after":  {io.MultiReader(bytes.NewReader(good), strings.NewReader("trailing garbage")), gzip.ErrHeader},
		"read error":   {io.MultiReader(bytes.NewReader(good[:100]), failingReader{broken}), broken},
		"error at end": {io.MultiReader(bytes.NewReader(good), failingReader{broken}), broken},
		"flipped bits": {bytes.NewReader(flipped), nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, check := fenced(t)
			err := herokubuild.UnpackSlug(t.Context(), tt.r, dir, nil)
			var damaged *herokubuild.UnpackError
			require.ErrorAs(t, err, &damaged)
			if tt.want != nil {
				require.ErrorIs(t, err, tt.want)
			}
			require.NotErrorIs(t, err, herokubuild.ErrUnsafeArchive)
			requireEmpty(t, dir)
			check()
		})
	}
}

type failingReader struct{ err error }

func (r failingReader) Read([]byte) (int, error) { return 0, r.err }

func TestUnpackSlugCanceled(t *testing.T) {
	t.Parallel()
	dir, _ := fenced(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("enough")
	archive := slugOf(t, fileEntry("app/a", random(500_000)), fileEntry("app/b", "b"))
	reads := 0
	r := readerFunc(func(p []byte) (int, error) {
		if reads++; reads == 3 {
			cancel(cause)
		}
		return copy(p, archive[min(len(archive), (reads-1)*1000):min(len(archive), reads*1000)]), nil
	})
	err := herokubuild.UnpackSlug(ctx, r, dir, nil)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, err, cause)
	requireEmpty(t, dir)
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestUnpackSlugArguments(t *testing.T) {
	t.Parallel()
	archive := slugOf(t, fileEntry("a", "a"))
	full := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(full, "file"), []byte("mine"), 0o600))
	unpack := func(dir string, opts *herokubuild.UnpackOptions) error {
		return herokubuild.UnpackSlug(t.Context(), bytes.NewReader(archive), dir, opts)
	}
	requireInvalid(t, unpack("", nil), "dir")
	requireInvalid(t, unpack(full, nil), "dir")
	requireInvalid(t, unpack(filepath.Join(full, "file"), nil), "dir")
	requireInvalid(t, unpack(filepath.Join(full, "no", "such"), nil), "dir")
	requireInvalid(t, unpack(t.TempDir(), &herokubuild.UnpackOptions{MaxFiles: -1}), "UnpackOptions.MaxFiles")
	requireInvalid(t, unpack(t.TempDir(), &herokubuild.UnpackOptions{MaxBytes: -1}), "UnpackOptions.MaxBytes")
	requireInvalid(t, herokubuild.UnpackSlug(t.Context(), nil, t.TempDir(), nil), "r")
	content, err := os.ReadFile(filepath.Join(full, "file"))
	require.NoError(t, err)
	assert.Equal(t, "mine", string(content))

	// A directory that UnpackSlug created is removed after an error.
	made := filepath.Join(t.TempDir(), "new")
	require.Error(t, herokubuild.UnpackSlug(t.Context(), strings.NewReader("no"), made, nil))
	_, err = os.Lstat(made)
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func requireUnpackError(t testing.TB, err error) *herokubuild.UnpackError {
	t.Helper()
	var refused *herokubuild.UnpackError
	require.ErrorAs(t, err, &refused)
	return refused
}

// The context is checked before each entry: the buffered data can have hundreds of
// thousands of them.
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

// Names that Windows does not support or changes are ordinary elsewhere.
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

// The archive chooses the names of entries, and errors reach terminals.
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
