package sourcetree

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild/internal/git"
	"github.com/herokubuild/herokubuild/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// requireInput returns the *InputError of an invalid field.
func requireInput(t *testing.T, err error, field string) *InputError {
	t.Helper()
	var bad *InputError
	require.ErrorAs(t, err, &bad)
	assert.Equal(t, field, bad.Field)
	assert.NotEmpty(t, bad.Reason)
	return bad
}

func patterns(t *testing.T, texts ...string) []git.Pattern {
	t.Helper()
	parsed, err := parsePatterns("Include", texts)
	require.NoError(t, err)
	return parsed
}

func TestParsePatternsRejectsWhatIsNotOnePattern(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "# comment", "a\nb", "a\x00b", "/", "!"} {
		_, err := parsePatterns("Exclude", []string{"good", text})
		requireInput(t, err, "Exclude")
	}
	assert.Len(t, patterns(t, "*.o", "!keep.o", "/dist/"), 3)
}

func TestParsePrefix(t *testing.T) {
	t.Parallel()
	for prefix, want := range map[string]string{"": "", "./app": "./app/", "./app/": "./app/", "a/b": "a/b/", ".": "./", "./": "./"} {
		got, err := parsePrefix(prefix)
		require.NoError(t, err, prefix)
		assert.Equal(t, want, got, prefix)
	}
	for _, prefix := range []string{"/", "/app", "..", "a/../b", "a//b", `a\b`, "a\x00", "./../a"} {
		_, err := parsePrefix(prefix)
		requireInput(t, err, "Prefix")
	}
}

func TestFilterPrecedence(t *testing.T) {
	t.Parallel()
	f := filter{
		include: patterns(t, "dist/", "*.log", "!debug.log"),
		exclude: patterns(t, "*.o", "!keep.o", "/tmp/"),
		slug:    patterns(t, "*.psd", "keep.o"),
	}
	for path, want := range map[string]struct {
		dir      bool
		excluded string
		included bool
	}{
		"dist":        {dir: true, included: true},
		"sub/dist":    {dir: true, included: true},
		"x.log":       {included: true},
		"debug.log":   {},
		"x.o":         {excluded: "*.o"},
		"keep.o":      {excluded: "keep.o"},
		"tmp":         {dir: true, excluded: "/tmp/"},
		"sub/tmp":     {dir: true},
		"art/a.psd":   {excluded: "*.psd"},
		"main.go":     {},
		"dist.config": {},
	} {
		excluded := ""
		if p := f.excludes(t.Context(), path, want.dir); p != nil {
			excluded = p.Text
		}
		assert.Equal(t, want.excluded, excluded, path)
		assert.Equal(t, want.included, f.includes(t.Context(), path, want.dir), path)
	}
}

func TestSlugIgnoreHasNoExceptions(t *testing.T) {
	t.Parallel()
	active, withoutEffect := splitSlugIgnore([]byte("# comment\n*.psd\n\n!keep.psd\n/spec\n"))
	require.Len(t, active, 2)
	assert.Equal(t, "*.psd", active[0].Text)
	assert.Equal(t, "/spec", active[1].Text)
	require.Len(t, withoutEffect, 1)
	assert.Equal(t, 4, withoutEffect[0].Line)
}

// opened is a file whose reads and description can fail.
type opened struct {
	fs.File
	read func(p []byte) (int, error)
	stat error
}

func (o opened) Read(p []byte) (int, error) { return o.read(p) }

func (o opened) Stat() (fs.FileInfo, error) {
	if o.stat != nil {
		return nil, o.stat
	}
	return o.File.Stat()
}

func TestReadRules(t *testing.T) {
	t.Parallel()
	cause := errors.New("disk failure")
	fsys := fstest.MapFS{"rules": {Data: []byte("*.o\n")}, "large": {Data: []byte(strings.Repeat("#", git.MaxIgnoreFile+1))}, "dir/a": {}}
	open := func(name string) fs.File {
		f, err := fsys.Open(name)
		require.NoError(t, err)
		return f
	}
	for name, tt := range map[string]struct {
		file fs.File
		err  error
		want string
		bad  bool
	}{
		"rules":           {file: open("rules"), want: "*.o\n"},
		"missing":         {err: fs.ErrNotExist},
		"a directory":     {file: open("dir")},
		"too large":       {file: open("large"), bad: true},
		"not readable":    {err: fs.ErrPermission, bad: true},
		"not describable": {file: opened{File: open("rules"), stat: cause}, bad: true},
		"damaged":         {file: opened{File: open("rules"), read: iotest.ErrReader(cause).Read}, bad: true},
	} {
		w := newWalk(t.Context(), &Tree{files: fsFiles{fsys}, field: "fsys"}, describeAll, maxListed)
		data, err := w.readRules(".gitignore", tt.file, tt.err)
		if tt.bad {
			assert.Contains(t, requireInput(t, err, "fsys").Reason, ".gitignore", name)
			continue
		}
		require.NoError(t, err, name)
		assert.Equal(t, tt.want, string(data), name)
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w := newWalk(ctx, &Tree{files: fsFiles{fsys}, field: "fsys"}, describeAll, maxListed)
	_, err := w.readRules(".gitignore", open("rules"), nil)
	require.ErrorIs(t, err, context.Canceled)
}

func TestInputErrorNamesItsCauseWithoutThePath(t *testing.T) {
	t.Parallel()
	cause := &fs.PathError{Op: "open", Path: "/some/dir", Err: fs.ErrPermission}
	err := inputError("dir", `cannot read "dir"`, cause)
	assert.Equal(t, `cannot read "dir"`, err.Reason)
	assert.Equal(t, `dir: cannot read "dir": permission denied`, err.Error())
	require.ErrorIs(t, err, fs.ErrPermission)
	assert.Equal(t, "dir: is nil", (&InputError{Field: "dir", Reason: "is nil"}).Error())
}
