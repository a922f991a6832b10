package sourcetree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/herokubuild/herokubuild/internal/git"
)

// Dirty ends the version of a checkout with changes.
const Dirty = "-dirty"

// Version returns the commit of which a directory is a checkout, in hex, followed
// by "-dirty" if the directory has changes. It is empty if there is no commit, or
// the commit does not have the directory.
//
// Errors: an [*InputError] for a directory or repository that cannot be read, one
// that matches [ErrChanged], those of the file system, and ctx's own.
func Version(ctx context.Context, dir string) (string, error) {
	t, err := OpenDir(dir, Options{})
	if err != nil {
		return "", err
	}
	w := newWalk(ctx, t, describeNone, 0)
	root, err := w.rootScope()
	if err != nil || root.checkout == nil {
		return "", err
	}
	commit, err := root.checkout.repo.Head()
	if err != nil {
		// There is no commit yet, or its name is stored in a form that is not
		// supported.
		return "", nil //nolint:nilerr // That is no failure.
	}
	c := &comparison{walk: w, root: root, seen: map[*git.Entry]bool{}}
	switch state, err := c.state(commit); {
	case err != nil:
		return "", err
	case state == unknown:
		return "", nil
	case state == changed:
		return commit + Dirty, nil
	}
	return commit, nil
}

// state is how a checkout compares with its commit.
type state uint8

const (
	// unknown: the commit does not have the directory, or cannot be read.
	unknown state = iota
	unchanged
	changed
)

// comparison compares a tree with a commit.
type comparison struct {
	walk *walk
	root scope
	// seen are the tracked files that exist.
	seen map[*git.Entry]bool
}

// state compares the index with the commit and the files with the index.
func (c *comparison) state(commit string) (state, error) {
	if staged, err := c.staged(commit); staged != unchanged || err != nil {
		return staged, err
	}
	if differs, err := c.changedFile(); differs || err != nil {
		return changed, err
	}
	if c.missingFile() {
		return changed, nil
	}
	return unchanged, nil
}

// staged compares the index with the commit.
func (c *comparison) staged(commit string) (state, error) {
	at := c.root.checkout
	differs, known, err := at.repo.Staged(at.index, commit, strings.TrimSuffix(at.above, "/"))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		// A shallow or partial clone lacks some trees.
		return unknown, nil
	case err != nil:
		return unknown, fmt.Errorf("read commit %s: %w", commit, err)
	case !known:
		return unknown, nil
	case differs:
		return changed, nil
	}
	return unchanged, nil
}

// changedFile reports whether any file differs from the index or is untracked.
func (c *comparison) changedFile() (bool, error) {
	for f, err := range c.walk.files(c.root) {
		if err != nil {
			return false, err
		}
		if f.scope.checkout != c.root.checkout {
			// The commit of the submodule covers its files.
			continue
		}
		compare := c.fileChanged
		if f.isSubmodule() {
			compare = c.submoduleChanged
		}
		if differs, err := compare(&f); differs || err != nil {
			return differs, err
		}
	}
	return false, nil
}

func (c *comparison) fileChanged(f *found) (bool, error) {
	info, err := c.walk.describe(f)
	if err != nil {
		return false, err
	}
	if f.tracked == nil {
		return true, nil
	}
	c.seen[f.tracked] = true
	ctx, at := c.walk.ctx, f.scope.checkout
	path, _ := c.walk.tree.files.onDisk(f.path)
	differs, err := at.repo.Changed(ctx, at.index, f.tracked, f.scope.attributes, path, info)
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return differs, err
}

func (c *comparison) submoduleChanged(f *found) (bool, error) {
	path, _ := c.walk.tree.files.onDisk(f.path)
	version, err := Version(c.walk.ctx, path)
	return version != fmt.Sprintf("%x", f.tracked.ID), err
}

// missingFile reports whether a tracked file of the directory does not exist.
func (c *comparison) missingFile() bool {
	at := c.root.checkout
	for i := range at.index.Entries {
		e := &at.index.Entries[i]
		expected := e.Mode != git.ModeGitlink && e.Mode != git.ModeDir && !e.SkipWorktree && !e.Assumed
		if expected && strings.HasPrefix(e.Path, at.above) && len(e.Path) > len(at.above) && !c.seen[e] {
			return true
		}
	}
	return false
}
