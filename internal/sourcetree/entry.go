package sourcetree

import (
	"bytes"
	"cmp"
	"io/fs"
	"iter"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/herokubuild/herokubuild/internal/git"
)

// Entry is a file or link to pack.
type Entry struct {
	// Path is relative to the root of the tree, with slashes.
	Path string
	// Size is a file's size in bytes, 0 for a link.
	Size int64
	// Link is the target of a symbolic link, empty for a file.
	Link string

	// source is the file's path in the operating system if it is not the one
	// that Path has in the tree.
	source string
	exec   execRule
	// committed is set if git may have converted the file's line ends.
	committed *committed
}

// execRule is what decides whether a file is executable.
type execRule uint8

const (
	execNo execRule = iota
	execYes
	// execByMode: the mode of the file does.
	execByMode
	// execByContent: the first bytes do, as of a script or a program.
	execByContent
)

// execRuleFor returns the rule for a file. Where the file system keeps no
// executable bits, git's index does.
func (w *walk) execRuleFor(tracked *git.Entry, c *checkout) execRule {
	_, onDisk := w.tree.files.onDisk("")
	switch {
	case !onDisk, runtime.GOOS != "windows" && (c == nil || c.repo.FileMode):
		return execByMode
	case tracked == nil:
		return execByContent
	case tracked.Mode == git.ModeExec:
		return execYes
	}
	return execNo
}

// isProgram reports whether a file that begins like this is a script or a program
// that Linux can run.
func isProgram(start []byte) bool {
	return bytes.HasPrefix(start, []byte("#!")) || bytes.HasPrefix(start, []byte("\x7fELF"))
}

// describe copies what info has of the file.
func (e *Entry) describe(info fs.FileInfo) {
	e.Size = info.Size()
	if e.exec == execByMode && info.Mode()&0o111 != 0 {
		e.exec = execYes
	}
}

// open opens the file of an entry.
func (w *walk) open(e *Entry) (fs.File, error) {
	if e.source != "" {
		return openFile(e.source)
	}
	return w.tree.files.open(e.Path)
}

// entries yields the entries of the tree in the order of the archive.
func (w *walk) entries() iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		err := w.readSlugIgnore()
		var root scope
		if err == nil {
			root, err = w.rootScope()
		}
		if err != nil {
			yield(Entry{}, err)
			return
		}
		sequence := w.inOrder(root)
		if w.tree.follow || root.checkout.foldsCase() {
			// The walk does not find these in the order of the archive.
			sequence = w.sorted(root)
		}
		sequence(yield)
	}
}

// inOrder yields the entries as the walk finds them, and then checks the links.
func (w *walk) inOrder(root scope) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for e, err := range w.unchecked(root) {
			if !yield(e, err) || err != nil {
				return
			}
		}
		if err := w.checkLinks(); err != nil {
			yield(Entry{}, err)
		}
	}
}

// sorted yields the entries once all are known, with links followed if the caller
// wants it.
func (w *walk) sorted(root scope) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		list, err := w.collect(root)
		if err != nil {
			yield(Entry{}, err)
			return
		}
		for _, e := range sortEntries(list) {
			if !yield(e, nil) {
				return
			}
		}
	}
}

// sortEntries sorts entries by path. If several have one path, the file that is
// spelled like it comes before one that only git has under this name, and the
// others are dropped.
func sortEntries(list []Entry) []Entry {
	slices.SortFunc(list, func(a, b Entry) int {
		return cmp.Or(strings.Compare(a.Path, b.Path), strings.Compare(a.source, b.source))
	})
	return slices.CompactFunc(list, func(a, b Entry) bool { return a.Path == b.Path })
}

// collect returns the entries below a root, with links checked or followed.
func (w *walk) collect(root scope) ([]Entry, error) {
	var list []Entry
	for e, err := range w.unchecked(root) {
		if err != nil {
			return nil, err
		}
		list = append(list, e)
	}
	if w.tree.follow {
		return w.followLinks(list)
	}
	return list, w.checkLinks()
}

// unchecked yields the entries in the order of the walk. It collects the links
// among them in w.links.
func (w *walk) unchecked(root scope) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for f, err := range w.files(root) {
			if f.isSubmodule() {
				continue
			}
			var e Entry
			skipped := false
			if err == nil {
				e, skipped, err = w.entry(&f)
			}
			if skipped {
				continue
			}
			if e.Link != "" {
				w.links.add(e.Path, e.Link)
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

// entry returns the entry of a file, unless the tree skips it.
func (w *walk) entry(f *found) (e Entry, skipped bool, err error) {
	mode := f.entry.mode
	var info fs.FileInfo
	if w.detail == describeAll {
		if info, err = w.describe(f); err != nil {
			return Entry{}, false, err
		}
		if w.tree.skip != nil && os.SameFile(info, w.tree.skip) {
			return Entry{}, true, nil
		}
		mode = info.Mode()
	}
	e.Path = w.archivedPath(f)
	if e.Path != f.path {
		e.source, _ = w.tree.files.onDisk(f.path)
	}
	switch {
	case mode&fs.ModeSymlink != 0:
		e.Link, err = w.tree.files.readLink(f.path)
		return e, false, err
	case !mode.IsRegular():
		return Entry{}, false, w.refuse(f.path, "is not a regular file, directory or symbolic link")
	}
	if e.Link, err = w.plainLink(f); err != nil || e.Link != "" {
		return e, false, err
	}
	e.exec = w.execRuleFor(f.tracked, f.scope.checkout)
	if info != nil {
		e.describe(info)
	}
	e.committed = w.committed(f)
	return e, false, nil
}

// archivedPath returns the path of a file in the archive. If it is tracked in
// another case of letters, git's spelling counts.
func (w *walk) archivedPath(f *found) string {
	c := f.scope.checkout
	if f.tracked != nil && f.tracked.Path != c.path(f.path) {
		return c.inTree(f.tracked.Path)
	}
	return f.scope.archived + f.entry.name
}

// maxLink bounds the target of a symbolic link.
const maxLink = 4096

// plainLink returns the target of a link that git has checked out as a file
// because the file system has no links. It is empty for any other file.
func (w *walk) plainLink(f *found) (string, error) {
	if f.tracked == nil || f.tracked.Mode != git.ModeLink || f.scope.checkout.repo.Symlinks {
		return "", nil
	}
	file, err := w.tree.files.open(f.path)
	data, err := w.readRules(f.path, file, err)
	if len(data) > maxLink {
		return "", err
	}
	return string(data), err
}
