package sourcetree

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"slices"
	"strings"

	"github.com/herokubuild/herokubuild/internal/clean"
	"github.com/herokubuild/herokubuild/internal/git"
)

// detail is how much a walk finds out about each file.
type detail uint8

const (
	// describeNone relies on the types that directories list, which is faster.
	describeNone detail = iota
	// describeAll reads the size and mode of every file.
	describeAll
)

// walk is one pass over a tree.
type walk struct {
	ctx    context.Context
	tree   *Tree
	detail detail
	filter filter
	report *report
	links  links
	// reasons caches the text of the last pattern, because many paths in a row
	// are excluded by the same.
	reasons struct {
		pattern *git.Pattern
		text    string
	}
	// nesting is where the walk is among followed links.
	nesting nesting
}

func newWalk(ctx context.Context, t *Tree, d detail, limit int) *walk {
	return &walk{ctx: ctx, tree: t, detail: d, filter: t.filter, report: newReport(limit), nesting: nesting{count: new(int)}}
}

// found is a file, link or submodule of a tree.
type found struct {
	// path is its path in the tree.
	path  string
	entry dirEntry
	// scope applies to it.
	scope scope
	// tracked is its index entry, nil if git does not track it.
	tracked *git.Entry
}

func (f *found) isSubmodule() bool {
	return f.tracked != nil && f.tracked.Mode == git.ModeGitlink && f.entry.mode.IsDir()
}

// action is what a walk does with an entry of a directory.
type action uint8

const (
	skipEntry action = iota
	// packEntry yields a file or a link.
	packEntry
	// enterDir walks a directory.
	enterDir
	// enterSubmodule yields the submodule and walks it with the scope of its own
	// repository.
	enterSubmodule
)

func (a action) yields() bool { return a == packEntry || a == enterSubmodule }

// openDir is a directory that the walk is in.
type openDir struct {
	// path is empty or ends with a slash.
	path  string
	scope scope
	list  []dirEntry
	// next is the index of the next entry.
	next int
}

// files yields everything that is part of the tree, in the order of the paths'
// bytes. An error ends the sequence.
func (w *walk) files(root scope) iter.Seq2[found, error] {
	return func(yield func(found, error) bool) {
		dirs, err := w.enter(nil, "", root)
		for err == nil && len(dirs) > 0 {
			dir := &dirs[len(dirs)-1]
			if dir.next == len(dir.list) {
				dirs = dirs[:len(dirs)-1]
				continue
			}
			var f found
			var do action
			if f, do, err = w.decide(dir, dir.list[dir.next]); err != nil {
				break
			}
			dir.next++
			if do.yields() && !yield(f, nil) {
				return
			}
			dirs, err = w.descend(dirs, &f, do)
		}
		if err == nil {
			// The context may have interrupted the last match.
			err = w.ctx.Err()
		}
		if err != nil {
			yield(found{}, err)
		}
	}
}

// descend enters what decide has decided to enter.
func (w *walk) descend(dirs []openDir, f *found, do action) ([]openDir, error) {
	switch do {
	case enterDir:
		return w.enter(dirs, f.path+"/", f.scope)
	case enterSubmodule:
		s, err := w.submoduleScope(f)
		if err != nil {
			return nil, err
		}
		return w.enter(dirs, f.path+"/", s)
	default:
		return dirs, nil
	}
}

// enter adds a directory to those that the walk is in.
func (w *walk) enter(dirs []openDir, path string, s scope) ([]openDir, error) {
	list, err := w.list(path)
	if err != nil {
		return nil, err
	}
	if err := w.addRules(path, list, &s); err != nil {
		return nil, err
	}
	return append(dirs, openDir{path: path, scope: s, list: list}), nil
}

// decide applies the rules to an entry of a directory.
func (w *walk) decide(in *openDir, e dirEntry) (found, action, error) {
	if w.ctx.Err() != nil {
		return found{}, skipEntry, w.ctx.Err()
	}
	if strings.EqualFold(e.name, ".git") {
		return found{}, skipEntry, nil
	}
	f := found{path: in.path + e.name, entry: e, scope: in.scope}
	if p := w.filter.excludes(w.ctx, f.path, e.mode.IsDir()); p != nil {
		return f, w.omit(&f, w.reason(p)), nil
	}
	var err error
	if f.tracked, err = f.scope.checkout.entry(f.path); err != nil {
		return f, skipEntry, w.badRepository(f.scope.checkout.repo.Root, err)
	}
	f.scope.included = f.scope.included || w.filter.includes(w.ctx, f.path, e.mode.IsDir())
	if !e.mode.IsDir() {
		return f, w.decideFile(&f), nil
	}
	f.scope.archived += e.name + "/"
	if f.isSubmodule() {
		return f, w.decideSubmodule(&f), nil
	}
	do, err := w.decideDir(&f, in.list)
	return f, do, err
}

func (w *walk) decideFile(f *found) action {
	if f.tracked != nil || f.scope.included {
		return packEntry
	}
	reason := f.scope.ignored
	if reason == "" {
		if p := f.scope.match(w.ctx, f.path, false); p != nil {
			reason = w.reason(p)
		}
	}
	if reason != "" {
		return w.omit(f, reason)
	}
	return packEntry
}

func (w *walk) decideSubmodule(f *found) action {
	path, _ := w.tree.files.onDisk(f.path)
	if git.IsRoot(path) {
		return enterSubmodule
	}
	w.warn(WarnSubmodule, f.path+"/", "is a submodule that is not checked out: it is excluded (git submodule update --init)")
	return w.omit(f, "a submodule that is not checked out")
}

// decideDir updates the scope of a directory. list are its siblings.
func (w *walk) decideDir(f *found, list []dirEntry) (action, error) {
	s := &f.scope
	tracks, err := s.checkout.tracks(f.path)
	if err != nil {
		return skipEntry, w.badRepository(s.checkout.repo.Root, err)
	}
	if s.ignored == "" {
		if p := s.match(w.ctx, f.path, true); p != nil {
			s.ignored = w.reason(p)
		}
	}
	if tracks != "" {
		s.archived = archivedName(s.archived, tracks, list)
		return enterDir, nil
	}
	if s.included {
		return enterDir, nil
	}
	if s.ignored != "" {
		if git.Below(w.filter.include, f.path) {
			return enterDir, nil
		}
		return w.omit(f, s.ignored), nil
	}
	if path, ok := w.tree.files.onDisk(f.path); ok && git.IsRoot(path) {
		// git add adds no file of it either.
		w.warn(WarnNestedRepository, f.path+"/", "is a separate git repository and not a submodule: it is excluded, as by git")
		return w.omit(f, "a separate git repository"), nil
	}
	return enterDir, nil
}

// submoduleScope returns what applies in the root of a submodule.
func (w *walk) submoduleScope(f *found) (scope, error) {
	path, _ := w.tree.files.onDisk(f.path)
	repo, err := git.Open(path)
	if err == nil && repo == nil {
		err = ErrChanged
	}
	if err != nil {
		return scope{}, w.badRepository(f.path, err)
	}
	s, err := w.checkoutScope(repo)
	if err != nil {
		return scope{}, err
	}
	s.checkout.base, s.archived, s.included = f.path+"/", f.scope.archived, f.scope.included
	return s, nil
}

// list reads a directory, sorted by path.
func (w *walk) list(dir string) ([]dirEntry, error) {
	var list []dirEntry
	err := w.tree.files.readDir(strings.TrimSuffix(dir, "/"), func(e dirEntry) error {
		if w.ctx.Err() != nil {
			return w.ctx.Err()
		}
		if e.mode&fs.ModeIrregular != 0 {
			var err error
			if e.mode, err = w.irregularMode(dir, e.name); err != nil {
				return err
			}
		}
		list = append(list, e)
		return nil
	})
	slices.SortFunc(list, byPath)
	return list, err
}

// irregularMode returns the type of a file that is irregular on Windows. A
// junction is a directory, as for git; a file that is kept online, as by OneDrive,
// is a file.
func (w *walk) irregularMode(dir, name string) (fs.FileMode, error) {
	info, err := w.tree.files.stat(dir + name)
	if err != nil {
		return 0, w.unreadable(dir+name, err)
	}
	if info.IsDir() && w.isAncestor(dir, info) {
		return 0, w.refuse(dir+name, "leads to one of its parent directories")
	}
	return info.Mode().Type(), nil
}

// isAncestor reports whether info describes a directory or one of its parents.
func (w *walk) isAncestor(dir string, info fs.FileInfo) bool {
	for dir = strings.TrimSuffix(dir, "/"); ; {
		if parent, err := w.tree.files.stat(dir); err == nil && os.SameFile(parent, info) {
			return true
		}
		if dir == "" {
			return false
		}
		dir = dir[:max(strings.LastIndexByte(dir, '/'), 0)]
	}
}

// byPath orders the entries of a directory so that a walk visits all paths in the
// order of their bytes: a directory sorts as if its name ended with a slash.
func byPath(a, b dirEntry) int {
	n := min(len(a.name), len(b.name))
	next := func(e dirEntry) int {
		switch {
		case len(e.name) > n:
			return int(e.name[n])
		case e.mode.IsDir():
			return '/'
		}
		return -1
	}
	return cmp.Or(strings.Compare(a.name[:n], b.name[:n]), cmp.Compare(next(a), next(b)))
}

// describe returns the size, mode and time of a file.
func (w *walk) describe(f *found) (fs.FileInfo, error) {
	info, err := w.tree.files.lstat(f.path)
	if err == nil && info.Mode()&fs.ModeIrregular != 0 {
		info, err = w.tree.files.stat(f.path)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && info.Mode().Type() != f.entry.mode.Type():
		return nil, fmt.Errorf("%s disappeared: %w", f.path, ErrChanged)
	case err != nil:
		return nil, err
	}
	return info, nil
}

// omit records that a file or directory is excluded.
func (w *walk) omit(f *found, reason string) action {
	path := f.path
	if f.entry.mode.IsDir() {
		path += "/"
	}
	w.report.omit(w.nesting.prefix+path, reason)
	return skipEntry
}

func (w *walk) warn(kind WarningKind, path, text string) {
	w.report.warn(kind, w.nesting.prefix+path, text)
}

// reason describes the pattern that excludes a path.
func (w *walk) reason(p *git.Pattern) string {
	if p != w.reasons.pattern {
		w.reasons.pattern, w.reasons.text = p, describePattern(p)
	}
	return w.reasons.text
}

// refuse returns the error of a file that cannot be packed.
func (w *walk) refuse(path, reason string) error {
	return &InputError{Field: w.tree.field, Reason: clean.Quote(w.nesting.prefix+path) + " " + reason}
}

// unreadable returns the error of a file that is needed and cannot be read.
func (w *walk) unreadable(path string, err error) error {
	return inputError(w.tree.field, "cannot read "+clean.Quote(w.nesting.prefix+path), err)
}
