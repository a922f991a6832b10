package untar

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestLinkTarget(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		link, text string
		// want is empty for a target that leads out.
		want string
	}{
		"sibling":                      {"app/l", "file", "file"},
		"below":                        {"app/l", "a/b/c", "a/b/c"},
		"detours of dots and slashes":  {"app/l", "./a//b/./", "a/b"},
		"itself":                       {"l", "l", "l"},
		"its own directory":            {"l", ".", "."},
		"the directory above":          {"app/l", "..", ".."},
		"up and down":                  {"app/bin/l", "../lib/x", "../lib/x"},
		"as far up as there is":        {"a/b/c/l", "../../../x", "../../../x"},
		"two dots in a name":           {"l", "..x/y..", "..x/y.."},
		"empty":                        {"l", "", ""},
		"absolute":                     {"l", "/etc/passwd", ""},
		"out of the top":               {"l", "..", ""},
		"out by one":                   {"a/b/l", "../../../x", ""},
		"up after down":                {"a/b/l", "x/../y", ""},
		"up after down, back at start": {"a/b/l", "../x/..", ""},
		"NUL":                          {"l", "a\x00b", ""},
		"too long":                     {"l", strings.Repeat("a/", 2048) + "a", ""},
	} {
		got, inside, err := linkTarget(filepath.FromSlash(tt.link), tt.text)
		require.NoError(t, err, name)
		assert.Equal(t, tt.want != "", inside, name)
		assert.Equal(t, filepath.FromSlash(tt.want), got, name)
	}
}

func TestLinksToAppBecomeRelative(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ link, target, want string }{
		{"app/l", "/app/bin/x", "../app/bin/x/"},
		{"app/a/b/l", "/app/x", "../../../app/x/"},
		{"l", "/app", "app/"},
		{"app/l", "/app/../etc/passwd", "/app/../etc/passwd"},
		{"app/l", "/apple", "/apple"},
		{"app/l", "app/x", "app/x"},
		{"app/l", "/usr/bin/python3", "/usr/bin/python3"},
	} {
		assert.Equal(t, tt.want, relocated(filepath.FromSlash(tt.link), tt.target), tt)
	}
}

func TestLinksNotPermitted(t *testing.T) {
	t.Parallel()
	assert.True(t, linksNotPermitted(&os.LinkError{Op: "symlink", Err: fs.ErrPermission}))
	assert.True(t, linksNotPermitted(&os.LinkError{Op: "symlink", Err: errors.ErrUnsupported}))
	assert.False(t, linksNotPermitted(&os.LinkError{Op: "symlink", Err: fs.ErrExist}))
	assert.False(t, linksNotPermitted(&os.LinkError{Op: "symlink", Err: syscall.ENOSPC}))
}

// No link exists while anything else is created.
func TestLinksAreCreatedLast(t *testing.T) {
	t.Parallel()
	dir, check := fenced(t)
	all := tarball(t, linkEntry("current", "releases/1"), fileEntry("big", incompressible(200_000)), fileEntry("releases/1/f", "x"))
	first, second := gzipped(t, all[:100_000]), gzipped(t, all[100_000:])
	checked := false
	parts := io.MultiReader(bytes.NewReader(first), readerFunc(func([]byte) (int, error) {
		_, err := os.Lstat(filepath.Join(dir, "big"))
		require.NoError(t, err, "the entry of the link has been read")
		_, err = os.Lstat(filepath.Join(dir, "current"))
		require.ErrorIs(t, err, fs.ErrNotExist)
		checked = true
		return 0, io.EOF
	}), bytes.NewReader(second))
	require.NoError(t, unpackInto(t.Context(), t, parts, dir, defaults()))
	assert.True(t, checked)
	b, err := os.ReadFile(filepath.Join(dir, "current", "f"))
	require.NoError(t, err)
	assert.Equal(t, "x", string(b))
	check()
}

func TestTextOfLinksIsBounded(t *testing.T) {
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
	err := unpackInto(t.Context(), t, r, dir, defaults())
	_ = r.Close()
	requireKind(t, err, TooLarge)
	requireEmpty(t, dir)
	check()
}

func TestSkipOptionsSkipLinks(t *testing.T) {
	t.Parallel()
	archive := archiveOf(t, fileEntry("file", "f"), linkEntry("in", "file"), linkEntry("out", "/etc/passwd"))
	for _, tt := range []struct {
		outside, all bool
		want         []string
	}{
		{outside: true, want: []string{"file", "in"}},
		{all: true, want: []string{"file"}},
		{outside: true, all: true, want: []string{"file"}},
	} {
		dir, check := fenced(t)
		o := defaults()
		o.SkipOutsideLinks, o.SkipLinks = tt.outside, tt.all
		require.NoError(t, unpackInto(t.Context(), t, bytes.NewReader(archive), dir, o))
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		assert.Equal(t, tt.want, names)
		check()
	}
}
