package untar

import (
	"archive/tar"
	"io/fs"
	"path"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/herokubuild/herokubuild/internal/clean"
)

// symlink is a link to be created, in this system's notation.
type symlink struct{ name, target string }

// symlink checks a link and keeps it until everything else has been created.
func (u *unpacker) symlink(header *tar.Header, name string) error {
	if u.left.SkipLinks {
		return nil
	}
	target, inside, err := linkTarget(name, relocated(name, header.Linkname))
	switch {
	case err != nil:
		return err
	case !inside && u.left.SkipOutsideLinks:
		return nil
	case !inside:
		return outside(header.Linkname)
	}
	if _, err := u.root.Lstat(name); err == nil {
		return u.explain(name, fs.ErrExist)
	}
	if u.linkText += len(name) + len(target); u.linkText > maxLinkText {
		return exceed("the names and targets of the links are too large")
	}
	u.linked[keyOf(name)] = struct{}{}
	u.links = append(u.links, symlink{name: strings.Clone(name), target: target})
	return nil
}

// relocated makes the target of a link to /app relative: where a slug runs, its
// directory "app" is /app. Other targets stay as they are.
func relocated(name, target string) string {
	if below, ok := strings.CutPrefix(path.Clean(target)+"/", "/app/"); ok {
		return strings.Repeat("../", depth(name)) + "app/" + below
	}
	return target
}

// linkTarget converts the target of a symbolic link to a path of this system. It
// reports whether the link stays inside. ".." is permitted only at the start, where
// it climbs through directories that were created: further on it could climb from
// where another link leads. After that the path only descends, and every link on it
// obeys the same rule.
func linkTarget(name, text string) (target string, inside bool, err error) {
	if text == "" || len(text) > maxNameLen || path.IsAbs(text) || strings.Contains(text, "\x00") {
		return "", false, nil
	}
	var up, down []string
	for part := range strings.SplitSeq(text, "/") {
		switch {
		case part == "" || part == ".":
		case part != "..":
			down = append(down, part)
		case len(down) > 0 || len(up) == depth(name):
			return "", false, nil
		default:
			up = append(up, part)
		}
	}
	if len(down) > 0 {
		local, err := localName(strings.Join(down, "/"))
		if err != nil {
			return "", false, err
		}
		down = []string{local}
	}
	return filepath.Join(".", filepath.Join(append(up, down...)...)), true, nil
}

func outside(target string) error {
	return refuse("the link leads out of the directory, to " + clean.Quote(target))
}

// maxLinkPasses bounds how often links wait for the links that they lead to.
const maxLinkPasses = 8

// makeLinks creates the links. Windows has one kind of link for files and one for
// directories and chooses by what exists at the target, so links whose target exists
// come first.
func (u *unpacker) makeLinks() *EntryError {
	passes := 0
	if runtime.GOOS == "windows" {
		passes = maxLinkPasses
	}
	links := u.links
	for ; len(links) > 0; passes-- {
		var later []symlink
		for _, l := range links {
			if passes > 0 && u.dangling(l) {
				later = append(later, l)
				continue
			}
			if err := u.makeLink(l); err != nil {
				return inEntry(filepath.ToSlash(l.name), err)
			}
		}
		if len(later) == len(links) {
			passes = 0
		}
		links = later
	}
	return nil
}

func (u *unpacker) dangling(l symlink) bool {
	_, err := u.root.Stat(filepath.Join(filepath.Dir(l.name), l.target))
	return err != nil
}

func (u *unpacker) makeLink(l symlink) error {
	if err := canceled(u.ctx); err != nil {
		return err
	}
	err := u.explain(l.name, u.root.Symlink(l.target, l.name))
	if err != nil && linksNotPermitted(err) {
		return &EntryError{Kind: LinksNotPermitted, Reason: "this system does not permit a symbolic link here", Err: err}
	}
	return err
}

func (u *unpacker) hardLink(header *tar.Header, name string) error {
	target, err := entryName(header.Linkname)
	if err != nil {
		return outside(header.Linkname)
	}
	// A hard link to a symbolic link would be a second name for it, relative to
	// another directory.
	if info, err := u.root.Lstat(target); err != nil || !info.Mode().IsRegular() {
		return refuse("a hard link to " + clean.Quote(header.Linkname) + ", which is not an earlier file of the archive")
	}
	return u.explain(name, u.root.Link(target, name))
}
