package herokubuild_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
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

// tarEntry is one of a tar archive; a regular file with no type.
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

// tarball packs entries as they are, however odd.
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

// fenced is a directory to unpack into, beside a file that must stay what it
// is and with nothing else around it.
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
	// GNU tar pads to 10 KiB, and several gzip members are one.
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
		// at is the entry that the error names; the last one by default.
		at string
	}{
		"absolute name":                {entries: []tarEntry{fileEntry("/etc/cron.d/evil", "x")}},
		"dot dot":                      {entries: []tarEntry{fileEntry("../secret", "x")}},
		"dot dot in the middle":        {entries: []tarEntry{fileEntry("app/../../secret", "x")}},
		"dot dot that stays":           {entries: []tarEntry{fileEntry("app/../file", "x")}},
		"dot dot as a directory":       {entries: []tarEntry{dirEntry("app/..")}},
		"no name":                      {entries: []tarEntry{{name: "", body: "x", kind: tar.TypeReg}}},
		"the root as a file":           {entries: []tarEntry{fileEntry(".", "x")}},
		"the root as a link":           {entries: []tarEntry{linkEntry("./", "app")}},
		"endless name":                 {entries: []tarEntry{fileEntry(long, "x")}, at: long[:512] + "…"},
		"link to an absolute path":     {entries: []tarEntry{linkEntry("app/passwd", "/etc/passwd")}},
		"link to beside /app":          {entries: []tarEntry{linkEntry("app/x", "/app/../etc/passwd")}},
		"link to /apple":               {entries: []tarEntry{linkEntry("app/x", "/apple")}},
		"link out":                     {entries: []tarEntry{linkEntry("app/x", "../../secret")}},
		"link out by detours":          {entries: []tarEntry{linkEntry("app/x", "a/b/../../../../secret")}},
		"link through another":         {entries: []tarEntry{linkEntry("s", "."), linkEntry("l", "s/../secret")}},
		"link through what may come":   {entries: []tarEntry{linkEntry("s", "."), linkEntry("l", "s/log/../../secret")}},
		"link to nothing":              {entries: []tarEntry{{name: "l", kind: tar.TypeSymlink}}},
		"endless link":                 {entries: []tarEntry{linkEntry("l", long)}},
		"written through a link":       {entries: []tarEntry{dirEntry("d"), linkEntry("l", "d"), fileEntry("l/x", "x")}},
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

func TestUnpackSlugSkipsLinksOut(t *testing.T) {
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

// What the system does not tell apart is refused there, and is two files
// elsewhere; out of the directory it never leads.
func TestUnpackSlugCaseTrick(t *testing.T) {
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

func TestUnpackSlugLimits(t *testing.T) {
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
		"one byte too many":        {slugOf(t, fileEntry("a", "12345"), fileEntry("b", "123456")), herokubuild.UnpackOptions{MaxBytes: 10}, "b"},
		"one file too many":        {slugOf(t, many(4)...), herokubuild.UnpackOptions{MaxFiles: 3}, "xxxx"},
		"directories count":        {slugOf(t, fileEntry("a/b/c/d", "")), herokubuild.UnpackOptions{MaxFiles: 3}, "a/b/c/d"},
		"links count":              {slugOf(t, linkEntry("a", "x"), linkEntry("b", "x")), herokubuild.UnpackOptions{MaxFiles: 1}, "b"},
		"zeros behind the end":     {gzipped(t, tarball(t, fileEntry("a", "")), zeros), herokubuild.UnpackOptions{MaxFiles: 1, MaxBytes: 1}, ""},
		"one file that is a bomb":  {slugOf(t, fileEntry("bomb", string(zeros))), herokubuild.UnpackOptions{MaxBytes: 1 << 20}, "bomb"},
		"headers that are a bomb":  {headerBomb(t), herokubuild.UnpackOptions{MaxFiles: 1000, MaxBytes: 1}, ""},
		"a declared size is a lie": {lyingSize(t), herokubuild.UnpackOptions{MaxBytes: 1 << 20}, "huge"},
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
	t.Run("just enough", func(t *testing.T) {
		t.Parallel()
		dir, _ := fenced(t)
		archive := slugOf(t, fileEntry("a/b", "12345"), fileEntry("a/c", "12345"))
		require.NoError(t, herokubuild.UnpackSlug(t.Context(), bytes.NewReader(archive), dir, &herokubuild.UnpackOptions{MaxFiles: 3, MaxBytes: 10}))
	})
	t.Run("no limits to speak of", func(t *testing.T) {
		t.Parallel()
		dir, _ := fenced(t)
		require.NoError(t, herokubuild.UnpackSlug(t.Context(), bytes.NewReader(slugOf(t, fileEntry("a", "1"))), dir, &herokubuild.UnpackOptions{MaxFiles: 1 << 30, MaxBytes: 1<<63 - 1}))
	})
}

// headerBomb has megabytes of extended headers and no file.
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

// lyingSize declares a terabyte and has nothing of it.
func lyingSize(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, tar.NewWriter(&b).WriteHeader(&tar.Header{Name: "huge", Typeflag: tar.TypeReg, Size: 1 << 40, Mode: 0o644}))
	return gzipped(t, b.Bytes())
}

func TestUnpackSlugDamaged(t *testing.T) {
	t.Parallel()
	good := slugOf(t, fileEntry("app/file", random(50_000)))
	flipped := bytes.Clone(good)
	flipped[len(flipped)/2] ^= 0x55
	broken := errors.New("the wire was cut")
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

	// A directory that it made itself is gone after an error.
	made := filepath.Join(t.TempDir(), "new")
	require.Error(t, herokubuild.UnpackSlug(t.Context(), strings.NewReader("no"), made, nil))
	_, err = os.Lstat(made)
	require.ErrorIs(t, err, fs.ErrNotExist)
}

// Whatever the archive, nothing changes outside of the directory, no link leads
// out of it, the limits hold, and after an error it is empty.
func unpackFenced(t *testing.T, archive []byte, skip bool) {
	dir, check := fenced(t)
	opts := &herokubuild.UnpackOptions{MaxFiles: 50, MaxBytes: 1 << 20, SkipOutsideLinks: skip}
	err := herokubuild.UnpackSlug(t.Context(), bytes.NewReader(archive), dir, opts)
	check()
	if err != nil {
		var refused *herokubuild.UnpackError
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

func FuzzUnpackSlug(f *testing.F) {
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
