package sourcetree

import (
	"io/fs"
	"os"
	"path/filepath"

	"github.com/herokubuild/herokubuild/internal/ioutil"
)

// files is where the files of a tree are read from. Names are relative to the
// root, with slashes; "" is the root.
type files interface {
	// readDir calls each for the entries of a directory, in any order.
	readDir(name string, each func(e dirEntry) error) error
	// open opens a file without following a link.
	open(name string) (fs.File, error)
	readLink(name string) (string, error)
	// lstat describes a file, stat what a link leads to.
	lstat(name string) (fs.FileInfo, error)
	stat(name string) (fs.FileInfo, error)
	// slugIgnore opens the .slugignore of the root. A link is followed if it
	// stays in the tree, or if followOut is set.
	slugIgnore(followOut bool) (fs.File, error)
	// onDisk returns the path of a file in the operating system. ok is false if
	// it has none.
	onDisk(name string) (path string, ok bool)
}

// dirEntry is an entry of a directory. It is small because a directory can have
// very many.
type dirEntry struct {
	name string
	mode fs.FileMode
}

// slugIgnoreFile lists what Heroku removes before a build.
const slugIgnoreFile = ".slugignore"

// dirFiles are the files of a directory of the operating system.
type dirFiles string

func (d dirFiles) path(name string) string {
	return filepath.Join(string(d), filepath.FromSlash(name))
}

func (d dirFiles) onDisk(name string) (string, bool) { return d.path(name), true }

// dirBatch is how many entries of a directory are read at a time.
const dirBatch = 512

func (d dirFiles) readDir(name string, each func(e dirEntry) error) error {
	flags := openFlags
	if name == "" {
		// The caller chose the root, which may be a link.
		flags &^= noFollow
	}
	f, err := os.OpenFile(d.path(name), os.O_RDONLY|flags, 0)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	for {
		list, err := f.ReadDir(dirBatch)
		for _, e := range list {
			if err := each(dirEntry{name: e.Name(), mode: e.Type()}); err != nil {
				return err
			}
		}
		if ioutil.IsEOF(err) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (d dirFiles) open(name string) (fs.File, error) { return openFile(d.path(name)) }

// openFile neither follows a link nor blocks on a pipe, in case the file has been
// replaced since it was listed.
func openFile(path string) (fs.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|openFlags, 0)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (d dirFiles) readLink(name string) (string, error) {
	target, err := os.Readlink(d.path(name))
	return filepath.ToSlash(target), err
}

func (d dirFiles) lstat(name string) (fs.FileInfo, error) { return os.Lstat(d.path(name)) }

func (d dirFiles) stat(name string) (fs.FileInfo, error) { return os.Stat(d.path(name)) }

func (d dirFiles) slugIgnore(followOut bool) (fs.File, error) {
	path := d.path(slugIgnoreFile)
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		if path, err = filepath.EvalSymlinks(path); err != nil {
			// Heroku ignores a dangling link, too.
			return nil, fs.ErrNotExist
		}
		rel, err := filepath.Rel(string(d), path)
		if !followOut && (err != nil || !filepath.IsLocal(rel)) {
			return nil, fs.ErrNotExist
		}
		if info, err = os.Lstat(path); err != nil {
			return nil, err
		}
	}
	if !info.Mode().IsRegular() {
		return nil, fs.ErrNotExist
	}
	return openFile(path)
}

// fsFiles are the files of a file system that the caller implements.
type fsFiles struct{ fs.FS }

// fsName is the name of a file for package fs.
func fsName(name string) string {
	if name == "" {
		return "."
	}
	return name
}

func (f fsFiles) onDisk(string) (string, bool) { return "", false }

func (f fsFiles) readDir(name string, each func(e dirEntry) error) error {
	list, err := fs.ReadDir(f.FS, fsName(name))
	if err != nil {
		return err
	}
	for _, e := range list {
		if err := each(dirEntry{name: e.Name(), mode: e.Type()}); err != nil {
			return err
		}
	}
	return nil
}

func (f fsFiles) open(name string) (fs.File, error) { return f.Open(name) }

func (f fsFiles) readLink(name string) (string, error) { return fs.ReadLink(f.FS, name) }

func (f fsFiles) lstat(name string) (fs.FileInfo, error) { return fs.Lstat(f.FS, fsName(name)) }

func (f fsFiles) stat(name string) (fs.FileInfo, error) { return fs.Stat(f.FS, fsName(name)) }

func (f fsFiles) slugIgnore(bool) (fs.File, error) {
	info, err := fs.Stat(f.FS, slugIgnoreFile)
	if err != nil || !info.Mode().IsRegular() {
		// A dangling link cannot be distinguished from one that is refused.
		return nil, fs.ErrNotExist
	}
	return f.Open(slugIgnoreFile)
}
