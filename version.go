package herokubuild

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/herokubuild/herokubuild/internal/git"
)

// TreeVersion returns the commit that a directory is a checkout of, in hex, with
// "-dirty" at its end if the directory has changes: files that were changed,
// added, deleted or staged since, or that git neither tracks nor ignores.
// Changes elsewhere in the repository do not count. It is empty where there is
// no commit, or none that has the directory. git need not be installed.
//
// The directory is unchanged if git says so. A file that has the size and time that
// git's index notes is unchanged; if only the time differs, the content is compared,
// with its line ends converted where core.autocrlf or .gitattributes have git convert
// them. One that a filter such as Git LFS has made counts as changed once its time
// differs.
//
// Errors: an [*ArgumentError] for a directory that does not exist, cannot be read or
// is not in the work tree of its repository, and for a repository that cannot be
// read or is of a form that is not understood; the context's.
func TreeVersion(ctx context.Context, dir string) (string, error) {
	w, err := newDirWalker(ctx, dir, nil)
	if err != nil {
		return "", err
	}
	version, err := w.version()
	if err != nil {
		return "", packError(dir, err)
	}
	return version, nil
}

// dirty is at the end of the version of a checkout with changes.
const dirty = "-dirty"

func (w *walker) version() (string, error) {
	s, err := w.start()
	if err != nil || s.checkout == nil {
		return "", err
	}
	c := s.checkout
	commit, err := c.repo.Head()
	if err != nil {
		// There is no commit yet, or it is kept where it cannot be found.
		return "", nil //nolint:nilerr // which is no failure
	}
	changed := commit + dirty
	dir := filepath.ToSlash(filepath.Clean(c.above))
	if dir == "." {
		dir = ""
	}
	staged, known, err := c.repo.Staged(c.index, commit, dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		// A shallow or partial clone need not have every tree.
		return "", nil
	case err != nil:
		return "", fmt.Errorf("the commit %s: %w", commit, err)
	case !known:
		return "", nil
	case staged:
		return changed, nil
	}

	seen := map[*git.Entry]bool{}
	w.look = true
	w.onFile = func(s *scope, tracked *git.Entry, name string, info fs.FileInfo) error {
		if s.checkout != c {
			// A submodule's, which onSubmodule deals with.
			return nil
		}
		changed := tracked == nil
		if !changed {
			seen[tracked] = true
			var err error
			changed, err = c.repo.Changed(w.ctx, c.index, tracked, s.attributes, dirTree(w.root).path(name), info)
			if w.ctx.Err() != nil {
				return contextError(w.ctx)
			}
			if err != nil {
				return err
			}
		}
		if changed {
			return errEnough
		}
		return nil
	}
	w.onSubmodule = func(at *checkout, tracked *git.Entry, name string) error {
		if at != c {
			return nil
		}
		version, err := TreeVersion(w.ctx, dirTree(w.root).path(name))
		if err == nil && version != fmt.Sprintf("%x", tracked.ID) {
			return errEnough
		}
		return err
	}
	// What is found is of no use here.
	w.found = func(packEntry) error { return nil }
	switch err := w.dir("", s); {
	case errors.Is(err, errEnough):
		return changed, nil
	case err != nil:
		return "", err
	}
	for i := range c.index.Entries {
		e := &c.index.Entries[i]
		expected := e.Mode != git.ModeGitlink && e.Mode != git.ModeDir && !e.SkipWorktree && !e.Assumed
		if expected && len(e.Path) > len(c.above) && e.Path[:len(c.above)] == c.above && !seen[e] {
			return changed, nil
		}
	}
	return commit, nil
}
