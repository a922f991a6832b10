package sourcetree

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
	"testing/iotest"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestWriteTar(t *testing.T) {
	t.Parallel()
	fsys := fstest.MapFS{
		"bin/run": {Data: []byte("#!/bin/sh\n"), Mode: 0o700}, "a": {Data: []byte("text")}, "script": {Data: []byte("#!/bin/sh\n"), Mode: 0o644},
		"link": {Data: []byte("bin/run"), Mode: fs.ModeSymlink | 0o777},
	}
	tree := openFS(t, fsys, Options{Prefix: "./app"})
	var out, again bytes.Buffer
	plan, err := tree.WriteTar(t.Context(), &out)
	require.NoError(t, err)
	_, err = tree.WriteTar(t.Context(), &again)
	require.NoError(t, err)
	assert.Equal(t, out.Bytes(), again.Bytes())
	planned, err := tree.Plan(t.Context())
	require.NoError(t, err)
	assert.Equal(t, planned, plan)

	var got []string
	r := tar.NewReader(&out)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		content, err := io.ReadAll(r)
		require.NoError(t, err)
		assert.Equal(t, entryTime(), h.ModTime.UTC())
		assert.Equal(t, tar.FormatGNU, h.Format)
		assert.Zero(t, h.Uid)
		got = append(got, strings.Join([]string{h.Name, h.Linkname, h.FileInfo().Mode().Perm().String(), string(content)}, "|"))
	}
	assert.Equal(t, []string{
		"./app/a||-rw-r--r--|text", "./app/bin/run||-rwxr-xr-x|#!/bin/sh\n", "./app/link|bin/run|-rwxrwxrwx|", "./app/script||-rw-r--r--|#!/bin/sh\n",
	}, got)
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

func TestWriteTarReturnsTheErrorOfItsWriter(t *testing.T) {
	t.Parallel()
	full := errors.New("disk full")
	names := strings.Repeat("x", 10)
	fsys := fstest.MapFS{}
	for i := range 3000 {
		fsys[names+string(rune('a'+i%26))+"/"+strings.Repeat("y", i/26+1)] = &fstest.MapFile{Data: []byte("content")}
	}
	for _, left := range []int{0, 1000, 100_000} {
		// The bubble fails if a goroutine is left.
		synctest.Test(t, func(t *testing.T) {
			_, err := openFS(t, fsys, Options{}).WriteTar(t.Context(), &failingWriter{left: left, err: full})
			require.ErrorIs(t, err, full)
		})
	}
}

func TestWriteTarRefusesLinksThatLeave(t *testing.T) {
	t.Parallel()
	fsys := fstest.MapFS{"a": {}, "link": {Data: []byte("../secret"), Mode: fs.ModeSymlink | 0o777}}
	for _, follow := range []bool{false, true} {
		_, err := openFS(t, fsys, Options{FollowSymlinks: follow}).WriteTar(t.Context(), io.Discard)
		assert.Contains(t, requireInput(t, err, "fsys").Reason, `"link"`)
	}
}

func TestFileThatChangesWhileItIsRead(t *testing.T) {
	t.Parallel()
	cause := errors.New("read failure")
	for name, tt := range map[string]struct {
		content io.Reader
		size    int64
		want    error
	}{
		"unchanged":       {strings.NewReader("12345"), 5, nil},
		"in small pieces": {iotest.OneByteReader(strings.NewReader("12345")), 5, nil},
		"empty":           {strings.NewReader(""), 0, nil},
		"grew":            {strings.NewReader("123456"), 5, ErrChanged},
		"grew from empty": {strings.NewReader("1"), 0, ErrChanged},
		"shrank":          {strings.NewReader("1234"), 5, ErrChanged},
		"disappeared":     {strings.NewReader(""), 5, ErrChanged},
		"failed":          {iotest.ErrReader(cause), 5, cause},
		"wrapped EOF":     {iotest.ErrReader(&fs.PathError{Err: io.EOF}), 0, io.EOF},
	} {
		out := &tarWriter{walk: newWalk(t.Context(), &Tree{}, describeAll, 0), tar: tar.NewWriter(io.Discard), buf: make([]byte, 4)}
		header := &tar.Header{Name: "x", Size: tt.size, Typeflag: tar.TypeReg}
		err := out.addContent(tt.content, &Entry{Path: "x", Size: tt.size}, header)
		require.ErrorIs(t, err, tt.want, name)
	}
}

func TestExecutableByContent(t *testing.T) {
	t.Parallel()
	for content, want := range map[string]int64{"#!/bin/sh\n": 0o755, "text": 0o644, "": 0o644} {
		out := &tarWriter{walk: newWalk(t.Context(), &Tree{}, describeAll, 0), tar: tar.NewWriter(io.Discard), buf: make([]byte, 4)}
		header := &tar.Header{Name: "x", Size: int64(len(content)), Mode: 0o644}
		e := &Entry{Path: "x", Size: int64(len(content)), exec: execByContent}
		require.NoError(t, out.addContent(strings.NewReader(content), e, header))
		assert.Equal(t, want, header.Mode, content)
	}
}

func TestWriteTarOfACanceledContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := openFS(t, mapFS("a", nil), Options{}).WriteTar(ctx, io.Discard)
	require.ErrorIs(t, err, context.Canceled)
}
