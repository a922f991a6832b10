package sourcetree

import (
	"fmt"
	"io"
	"io/fs"

	"github.com/herokubuild/herokubuild/internal/git"
)

// committed is the version of a file in the index, with line ends that git may
// have converted in the work tree.
type committed struct {
	repo  *git.Repo
	entry *git.Entry
	ends  git.LineEnds
}

// committed returns nil unless git may have converted the file's line ends on this
// system and not on every other.
func (w *walk) committed(f *found) *committed {
	if f.tracked == nil {
		return nil
	}
	repo := f.scope.checkout.repo
	ends, crlf := repo.LineEnds(w.ctx, f.scope.attributes, f.tracked.Path)
	if ends == git.LineEndsKept || crlf {
		return nil
	}
	return &committed{repo: repo, entry: f.tracked, ends: ends}
}

// content returns what is packed of an open file, and sets the size of its entry.
// A file that differs from the index only by converted line ends is packed as it
// is committed, so that a commit gives the same archive on every system.
func (w *walk) content(f fs.File, e *Entry) (io.Reader, error) {
	file, ok := f.(io.ReadSeeker)
	if e.committed == nil || !ok {
		return f, nil
	}
	size, ok, err := e.committed.repo.AsCommitted(w.ctx, e.committed.entry, e.committed.ends, file)
	if err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	switch {
	case w.ctx.Err() != nil:
		return nil, w.ctx.Err()
	case err != nil:
		return nil, fmt.Errorf("%s: %w", e.Path, err)
	case !ok:
		return f, nil
	}
	e.Size = size
	return git.NewLineEndReader(file), nil
}

// measure sets the size of an entry to that of its file in the archive.
func (w *walk) measure(e *Entry) error {
	if e.committed == nil {
		return nil
	}
	f, err := w.open(e)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return err
	}
	_, err = w.content(f, e)
	return err
}
