// Package sourcetree turns a directory, or an [fs.FS], into a tar stream of the
// files that git would commit. It applies the ignore rules of git and Heroku
// without running git, plans what is packed, and determines the version of a
// checkout.
//
// Everything is built on one walk ([Tree.Entries]): packing, planning and the
// version only consume it.
package sourcetree

import (
	"context"
	"io/fs"
	"iter"
	"os"
	"strings"

	"github.com/herokubuild/herokubuild/internal/clean"
	"github.com/herokubuild/herokubuild/internal/git"
)

// Options sets what of a tree is packed, and how.
type Options struct {
	// Include are patterns of paths to pack although git ignores them; Exclude
	// are patterns of paths to exclude regardless of git.
	Include, Exclude []string
	// FollowSymlinks packs the target of a link that leads out of the tree.
	FollowSymlinks bool
	// Prefix is a directory that precedes every name in the archive.
	Prefix string
}

// Tree is a directory or file system whose files can be packed. Its methods may
// be called several times; each call reads the files again.
type Tree struct {
	files files
	// field is the caller's argument, for errors.
	field string
	// label describes the tree in an error.
	label string
	// spelled is the directory as the caller wrote it.
	spelled string
	filter  filter
	follow  bool
	prefix  string
	skip    fs.FileInfo
}

// OpenDir returns the tree of a directory.
//
// Errors: an [*InputError] for a directory that does not exist or cannot be read,
// and for an invalid option.
func OpenDir(dir string, opts Options) (*Tree, error) {
	if bad := CheckDir("dir", dir); bad != nil {
		return nil, bad
	}
	t, err := newTree("dir", clean.Quote(dir), opts)
	if err != nil {
		return nil, err
	}
	// The walk follows no links, so the root must not be one.
	root, err := git.RealPath(dir)
	if err != nil {
		return nil, unreadableDir("dir", dir, err)
	}
	t.files, t.spelled = dirFiles(root), dir
	return t, nil
}

// OpenFS returns the tree of a file system. A git repository in it is ignored,
// except for its .gitignore files.
//
// Errors: an [*InputError] for a nil file system and for an invalid option.
func OpenFS(fsys fs.FS, opts Options) (*Tree, error) {
	if fsys == nil {
		return nil, &InputError{Field: "fsys", Reason: "is nil"}
	}
	t, err := newTree("fsys", "the file system", opts)
	if err != nil {
		return nil, err
	}
	t.files = fsFiles{fsys}
	return t, nil
}

func newTree(field, label string, opts Options) (*Tree, error) {
	t := &Tree{field: field, label: label, follow: opts.FollowSymlinks}
	var err error
	if t.filter.include, err = parsePatterns("Include", opts.Include); err != nil {
		return nil, err
	}
	if t.filter.exclude, err = parsePatterns("Exclude", opts.Exclude); err != nil {
		return nil, err
	}
	if t.prefix, err = parsePrefix(opts.Prefix); err != nil {
		return nil, err
	}
	return t, nil
}

// parsePrefix returns what precedes every name: nothing, or a path that ends with
// a slash.
func parsePrefix(prefix string) (string, error) {
	if prefix == "" {
		return "", nil
	}
	relative := strings.TrimSuffix(strings.TrimPrefix(prefix, "./"), "/")
	valid := relative == "" || fs.ValidPath(relative) && !strings.ContainsAny(relative, "\x00\\")
	if !valid || prefix[0] == '/' {
		return "", &InputError{Field: "Prefix", Reason: clean.Quote(prefix) + ` is not a relative path such as "./app"`}
	}
	return strings.TrimSuffix(prefix, "/") + "/", nil
}

// CheckDir returns why a path is not a directory, nil if it is one. The error names
// the given field.
func CheckDir(field, dir string) *InputError {
	if dir == "" {
		return &InputError{Field: field, Reason: "directory is required"}
	}
	info, err := os.Stat(dir)
	switch {
	case err != nil:
		return unreadableDir(field, dir, err)
	case !info.IsDir():
		return &InputError{Field: field, Reason: clean.Quote(dir) + " is not a directory"}
	}
	return nil
}

func unreadableDir(field, dir string, err error) *InputError {
	return inputError(field, "cannot read directory "+clean.Quote(dir), err)
}

// Skip excludes one file from the tree, such as the archive that is being written.
func (t *Tree) Skip(file fs.FileInfo) { t.skip = file }

// Entries returns the files and links to pack, sorted by the bytes of their paths.
// An error ends the sequence.
//
// Errors: an [*InputError] for what cannot be packed, one that matches
// [ErrChanged], those of the file system, and ctx's own.
func (t *Tree) Entries(ctx context.Context) iter.Seq2[Entry, error] {
	return newWalk(ctx, t, describeAll, maxListed).entries()
}
