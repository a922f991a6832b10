package sourcetree

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/herokubuild/herokubuild/internal/clean"
	"github.com/herokubuild/herokubuild/internal/git"
)

// links are the symbolic links of a tree: their paths and targets. Where one leads
// is known only once all have been found. The zero value is ready to use.
type links struct {
	targets map[string]string
	// longest is the length of the longest path.
	longest int
}

func (l *links) add(path, target string) {
	if l.targets == nil {
		l.targets = map[string]string{}
	}
	l.targets[path] = target
	l.longest = max(l.longest, len(path))
}

const (
	// maxLinks bounds the links that one path leads through. No system follows
	// as many (Linux 40, Windows 63), so a longer chain is dangling, like a loop.
	maxLinks = 64
	// maxLinkParts bounds the parts of all their targets.
	maxLinkParts = 1 << 18
)

// errLinkTooLong reports a link that leads through too many parts.
var errLinkTooLong = errors.New("too many links")

// leaves reports whether a link of the unpacked tree leads out of it, by itself or
// by way of other links.
func (l *links) leaves(ctx context.Context, link string) (bool, error) {
	// at is the path reached so far. ahead is the stack of what is still to be
	// resolved: the rest of a target above the rest of the path that led to it.
	var at []byte
	ahead := []string{link}
	followed := 0
	for parts := 0; len(ahead) > 0; parts++ {
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		if parts > maxLinkParts {
			return false, errLinkTooLong
		}
		top := &ahead[len(ahead)-1]
		part, rest, more := strings.Cut(*top, "/")
		if *top = rest; !more {
			ahead = ahead[:len(ahead)-1]
		}
		switch part {
		case "", ".":
			continue
		case "..":
			if len(at) == 0 {
				return true, nil
			}
			at = at[:max(bytes.LastIndexByte(at, '/'), 0)]
			continue
		}
		parent := len(at)
		if parent > 0 {
			at = append(at, '/')
		}
		at = append(at, part...)
		target, ok := l.target(at)
		switch {
		case !ok:
			continue
		case isAbsolute(target):
			return true, nil
		}
		if followed++; followed > maxLinks {
			return false, nil
		}
		at = at[:parent]
		ahead = append(ahead, target)
	}
	return false, nil
}

func (l *links) target(path []byte) (string, bool) {
	if len(path) > l.longest {
		return "", false
	}
	target, ok := l.targets[string(path)]
	return target, ok
}

func isAbsolute(target string) bool {
	return strings.HasPrefix(target, "/") || filepath.VolumeName(target) != ""
}

// leavesTree reports whether a link leads out of the tree.
func (w *walk) leavesTree(link string) (bool, error) {
	out, err := w.links.leaves(w.ctx, link)
	if errors.Is(err, errLinkTooLong) {
		err = w.refuse(link, "is a symbolic link that leads through too many others")
	}
	return out, err
}

// checkLinks refuses links that lead out of the tree.
func (w *walk) checkLinks() error {
	for _, path := range slices.Sorted(maps.Keys(w.links.targets)) {
		out, err := w.leavesTree(path)
		if err != nil {
			return err
		}
		if out {
			return w.refuse(path, "is a symbolic link that leads out of the tree, to "+clean.Quote(w.links.targets[path]))
		}
	}
	return nil
}

// maxFollowed bounds the links that a walk follows, because links to directories
// full of links multiply.
const maxFollowed = 10_000

// nesting is where a walk is among the links that were followed to it.
type nesting struct {
	// prefix is the path of the link in the outermost tree. It is empty or ends
	// with a slash.
	prefix string
	// parents are the roots of the trees around this one.
	parents []string
	// count is how many links have been followed in all.
	count *int
}

// followLinks replaces the links that lead out of the tree by what they lead to.
// In a file system of the caller they are refused.
func (w *walk) followLinks(list []Entry) ([]Entry, error) {
	root, ok := w.tree.files.onDisk("")
	if !ok {
		return list, w.checkLinks()
	}
	kept := list[:0]
	var more []Entry
	for _, e := range list {
		out := false
		if e.Link != "" {
			var err error
			if out, err = w.leavesTree(e.Path); err != nil {
				return nil, err
			}
		}
		if !out {
			kept = append(kept, e)
			continue
		}
		entries, err := w.follow(root, e)
		if err != nil {
			return nil, err
		}
		more = append(more, entries...)
	}
	return append(kept, more...), nil
}

// follow returns what a link leads to as the entries that replace it. root is the
// root of the tree.
func (w *walk) follow(root string, link Entry) ([]Entry, error) {
	if *w.nesting.count++; *w.nesting.count > maxFollowed {
		return nil, w.refuse(link.Path, fmt.Sprintf("is one of more than %d symbolic links that lead out of the tree", maxFollowed))
	}
	path := link.source
	if path == "" {
		path, _ = w.tree.files.onDisk(link.Path)
	}
	real, err := git.RealPath(path)
	if err != nil {
		reason := clean.Quote(w.nesting.prefix+link.Path) + " is a dangling symbolic link to " + clean.Quote(link.Link)
		return nil, inputError(w.tree.field, reason, err)
	}
	info, err := os.Stat(real)
	if err != nil {
		return nil, err
	}
	switch {
	case info.IsDir():
		return w.followDir(root, real, link)
	case !info.Mode().IsRegular():
		return nil, w.refuse(link.Path, "leads to something that is neither a file nor a directory")
	}
	e := Entry{Path: link.Path, source: real, exec: w.execRuleFor(nil, nil)}
	e.describe(info)
	return []Entry{e}, nil
}

// followDir returns the entries of the directory that a link leads to, as a tree
// of its own.
func (w *walk) followDir(root, dir string, link Entry) ([]Entry, error) {
	parents := append(slices.Clone(w.nesting.parents), root)
	for _, parent := range parents {
		if rel, err := filepath.Rel(dir, parent); err == nil && filepath.IsLocal(rel) {
			return nil, w.refuse(link.Path, "is a symbolic link to one of its parent directories, "+clean.Quote(link.Link))
		}
	}
	tree := &Tree{files: dirFiles(dir), spelled: dir, field: w.tree.field, follow: true, skip: w.tree.skip}
	inner := &walk{
		ctx: w.ctx, tree: tree, detail: w.detail, report: w.report,
		nesting: nesting{prefix: w.nesting.prefix + link.Path + "/", parents: parents, count: w.nesting.count},
	}
	scope, err := inner.rootScope()
	if err != nil {
		return nil, err
	}
	list, err := inner.collect(scope)
	if err != nil {
		return nil, err
	}
	for i := range list {
		e := &list[i]
		if e.source == "" && e.Link == "" {
			e.source = dirFiles(dir).path(e.Path)
		}
		e.Path = link.Path + "/" + e.Path
	}
	return list, nil
}
