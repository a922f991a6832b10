package sourcetree

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/herokubuild/herokubuild/internal/ioutil"
)

// WriteTar writes the tree as a tar archive and returns what is in it. The lists of
// the plan are limited to 4 MiB of text each.
//
// The entries are sorted, and their times, owners and modes fixed, so that the same
// tree gives the same bytes on every machine.
//
// Errors: those of [Tree.Entries]; an [*InputError] for a tree without files; one
// that matches [ErrChanged] for a file that changes while it is read; those of w.
func (t *Tree) WriteTar(ctx context.Context, w io.Writer) (*Plan, error) {
	detail := describeNone
	if t.skip != nil {
		// Only a description identifies the file to skip.
		detail = describeAll
	}
	walk := newWalk(ctx, t, detail, maxListed)
	plan := newPlanner(walk, maxListed)
	out := &tarWriter{walk: walk, tar: tar.NewWriter(w), buf: make([]byte, 128<<10)}
	for e, err := range readAhead(walk.entries(), readAheadSize) {
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = out.add(&e)
		}
		if err != nil {
			return nil, err
		}
		plan.add(&e)
	}
	if err := out.tar.Close(); err != nil {
		return nil, err
	}
	return plan.finish()
}

// entryTime is the time of every entry. GNU tar calls 1970 implausibly old.
func entryTime() time.Time { return time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC) }

// tarWriter writes entries to a tar archive.
type tarWriter struct {
	walk *walk
	tar  *tar.Writer
	buf  []byte
}

// add writes an entry and sets its size.
func (t *tarWriter) add(e *Entry) error {
	// GNU's format supports long names and sizes, and keeps the bytes of a name.
	header := &tar.Header{Format: tar.FormatGNU, Name: t.walk.tree.prefix + e.Path, ModTime: entryTime(), Mode: 0o644}
	if e.Link != "" {
		header.Typeflag, header.Linkname, header.Mode = tar.TypeSymlink, e.Link, 0o777
		return t.tar.WriteHeader(header)
	}
	header.Typeflag = tar.TypeReg
	f, err := t.walk.open(e)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, errLink):
		return fmt.Errorf("%s disappeared: %w", e.Path, ErrChanged)
	case err != nil:
		return err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is no longer a file: %w", e.Path, ErrChanged)
	}
	e.describe(info)
	content, err := t.walk.content(f, e)
	if err != nil {
		return err
	}
	if header.Size = e.Size; e.exec == execYes {
		header.Mode = 0o755
	}
	return t.addContent(content, e, header)
}

// addContent writes the header and the content of a file. The header is complete
// only once the first bytes have been read.
func (t *tarWriter) addContent(f io.Reader, e *Entry, header *tar.Header) error {
	chunk, last, err := t.read(f, e, 0)
	if err != nil {
		return err
	}
	if e.exec == execByContent && isProgram(chunk) {
		header.Mode = 0o755
	}
	if err := t.tar.WriteHeader(header); err != nil {
		return err
	}
	done := int64(0)
	for {
		if _, err := t.tar.Write(chunk); err != nil || last {
			return err
		}
		done += int64(len(chunk))
		if chunk, last, err = t.read(f, e, done); err != nil {
			return err
		}
	}
}

// read reads the next bytes of a file of which done have been read. The error
// matches [ErrChanged] once the file is longer or shorter than its entry.
func (t *tarWriter) read(f io.Reader, e *Entry, done int64) (chunk []byte, last bool, err error) {
	if err := t.walk.ctx.Err(); err != nil {
		return nil, false, err
	}
	// One byte more than expected shows that the file has grown.
	buf := t.buf[:min(int64(len(t.buf)), e.Size-done+1)]
	n, err := f.Read(buf)
	// A short read of a file on disk is its last; other readers return io.EOF.
	_, onDisk := f.(*os.File)
	last = ioutil.IsEOF(err) || err == nil && onDisk && n < len(buf)
	if err != nil && !last {
		return nil, false, fmt.Errorf("%s: %w", e.Path, err)
	}
	switch done += int64(n); {
	case done > e.Size:
		return nil, false, fmt.Errorf("%s grew: %w", e.Path, ErrChanged)
	case last && done < e.Size:
		return nil, false, fmt.Errorf("%s shrank: %w", e.Path, ErrChanged)
	}
	return buf[:n], last, nil
}
