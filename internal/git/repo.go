// Package git reads, without git, what a git repository says about the files of
// its work tree: which it tracks, which it ignores, which commit they come from
// and whether they have changed since. It changes nothing and runs nothing.
//
// Not understood, and said so in an error, are split indexes; a repository that
// keeps its references in a reftable has no commit that can be found.
package git

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // the names of git's objects
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Repo is a repository with a work tree.
type Repo struct {
	// Root is the work tree's.
	Root string
	// Fold says that the case of letters does not count in paths, FileMode
	// that the files' run bits do, and Symlinks that links are links: without
	// it they are files with the target as content.
	Fold, FileMode, Symlinks bool

	// dir is what belongs to this work tree alone, common what it shares.
	dir, common string
	idSize      int
	config      config
}

const (
	// MaxIgnoreFile is how much of an ignore file is read, as git has it.
	MaxIgnoreFile = 100 << 20

	maxSmall = 1 << 20
	maxIndex = 1 << 30
)

// Find returns the repository whose work tree a directory belongs to, nil if
// there is none. Variables such as GIT_DIR are not looked at.
func Find(dir string) *Repo {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil
	}
	for {
		if r := Open(dir); r != nil {
			return r
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return nil
		}
		dir = parent
	}
}

// Open returns the repository whose work tree has this root, nil if there is
// none.
func Open(root string) *Repo {
	dir := filepath.Join(root, ".git")
	info, err := os.Stat(dir)
	if err != nil {
		return nil
	}
	if !info.IsDir() {
		// A submodule or a further work tree has a file that says where.
		data, err := readSmall(dir, maxSmall)
		if err != nil {
			return nil
		}
		path, ok := strings.CutPrefix(string(data), "gitdir:")
		if !ok {
			return nil
		}
		dir = inDir(root, strings.TrimSpace(path))
	}
	common := dir
	if data, err := readSmall(filepath.Join(dir, "commondir"), maxSmall); err == nil {
		common = inDir(dir, strings.TrimSpace(string(data)))
	}
	if !validHead(dir) || !isDir(filepath.Join(common, "objects")) || !isDir(filepath.Join(common, "refs")) {
		return nil
	}
	home, _ := os.UserHomeDir()
	c := userConfig()
	c.load(filepath.Join(common, "config"), home, 0)
	if c.bool("extensions.worktreeconfig", false) {
		c.load(filepath.Join(dir, "config.worktree"), home, 0)
	}
	r := &Repo{
		Root: root, dir: dir, common: common, config: c, idSize: sha1.Size,
		Fold: c.bool("core.ignorecase", false), FileMode: c.bool("core.filemode", true), Symlinks: c.bool("core.symlinks", true),
	}
	if strings.EqualFold(c["extensions.objectformat"], "sha256") {
		r.idSize = sha256.Size
	}
	return r
}

func inDir(dir, path string) string {
	path = filepath.FromSlash(path)
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

func validHead(dir string) bool {
	path := filepath.Join(dir, "HEAD")
	if target, err := os.Readlink(path); err == nil {
		return strings.HasPrefix(target, "refs/")
	}
	data, err := readSmall(path, maxSmall)
	if err != nil {
		return false
	}
	text := strings.TrimSpace(string(data))
	if ref, ok := strings.CutPrefix(text, "ref:"); ok {
		return strings.HasPrefix(strings.TrimSpace(ref), "refs/")
	}
	return isID(text)
}

// isID says whether a text is an object's name.
func isID(text string) bool {
	_, err := hex.DecodeString(text)
	return err == nil && (len(text) == 2*sha1.Size || len(text) == 2*sha256.Size)
}

// readSmall reads a file that has to be small.
func readSmall(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: %w", path, errors.Join(ErrFormat, err))
	}
	var b bytes.Buffer
	if n, err := b.ReadFrom(io.LimitReader(f, most+1)); err != nil || n > most {
		return nil, fmt.Errorf("%s: %w", path, errors.Join(ErrFormat, err))
	}
	return b.Bytes(), nil
}

// Ignores is what the user's own ignore file and the repository's say. It is
// what counts least.
func (r *Repo) Ignores() *Ignores {
	return r.config.ignores(r.Fold).With("", r.patternsOf(filepath.Join(r.common, "info", "exclude"), ".git/info/exclude"))
}

// UserIgnores is what the user's own ignore file says, for a directory that
// belongs to no repository.
func UserIgnores() *Ignores { return userConfig().ignores(false) }

func (c config) ignores(fold bool) *Ignores {
	path := c.excludesFile()
	if path == "" {
		return nil
	}
	data, err := readSmall(path, MaxIgnoreFile)
	if err != nil {
		return nil
	}
	return (*Ignores)(nil).With("", ParsePatterns(data, path, fold))
}

func (r *Repo) patternsOf(path, source string) []Pattern {
	data, err := readSmall(path, MaxIgnoreFile)
	if err != nil {
		return nil
	}
	return ParsePatterns(data, source, r.Fold)
}

// Down adds what the .gitignore files of the work tree say, from its root to
// the directory path, which it does not include; path is relative and has
// slashes. It returns the pattern by which the directory itself is ignored, if
// it is.
func (r *Repo) Down(ignores *Ignores, path string) (*Ignores, *Pattern) {
	if path == "" {
		return ignores, nil
	}
	base := ""
	for name := range strings.SplitSeq(path, "/") {
		ignores = ignores.With(base, r.gitignore(base))
		if p := ignores.Match(base+name, true); p != nil && !p.Negated {
			return ignores, p
		}
		base += name + "/"
	}
	return ignores, nil
}

// gitignore reads one .gitignore file. A link is not followed, as by git.
func (r *Repo) gitignore(base string) []Pattern {
	path := filepath.Join(r.Root, filepath.FromSlash(base), ".gitignore")
	if info, err := os.Lstat(path); err != nil || !info.Mode().IsRegular() {
		return nil
	}
	return r.patternsOf(path, base+".gitignore")
}

// Index is what git tracks.
type Index struct {
	// Entries are in the order of their paths.
	Entries []Entry
	// Written is when the index was: an entry that was changed at that very
	// time may have changed once more since.
	Written time.Time

	fold  bool
	files map[string]*Entry
	dirs  map[string]bool
}

// Index reads the index. A repository without one tracks nothing.
func (r *Repo) Index() (*Index, error) {
	path := filepath.Join(r.dir, "index")
	x := &Index{fold: r.Fold, files: map[string]*Entry{}, dirs: map[string]bool{}}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return x, nil
	}
	if err != nil {
		return nil, err
	}
	data, err := readSmall(path, maxIndex)
	if err != nil {
		return nil, err
	}
	if x.Entries, err = ParseIndex(data, r.idSize); err != nil {
		return nil, err
	}
	x.Written = info.ModTime()
	for i := range x.Entries {
		e := &x.Entries[i]
		name := x.key(strings.TrimSuffix(e.Path, "/"))
		x.files[name] = e
		for {
			cut := strings.LastIndexByte(name, '/')
			if cut < 0 {
				break
			}
			name = name[:cut]
			if x.dirs[name] {
				break
			}
			x.dirs[name] = true
		}
	}
	return x, nil
}

func (x *Index) key(path string) string {
	if !x.fold {
		return path
	}
	b := []byte(path)
	for i, c := range b {
		b[i] = folded(c, true)
	}
	return string(b)
}

// Entry returns what is tracked under this path, nil if nothing is. One of the
// sides of a conflict stands for all.
func (x *Index) Entry(path string) *Entry { return x.files[x.key(path)] }

// Tracks says whether anything below this directory is tracked.
func (x *Index) Tracks(dir string) bool { return x.dirs[x.key(dir)] }
