// Package git reads, without git, what a git repository says about the files of
// its work tree: which it tracks, which it ignores, which commit they come from
// and whether they have changed since. It changes nothing and runs nothing.
//
// Not understood, and said so in an error, are split indexes; a repository that
// keeps its references in a reftable has no commit that can be found.
package git

import (
	"context"
	"crypto/sha1" //nolint:gosec // the names of git's objects
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
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
	env         environment
	config      config
	lineEnds    lineEndConfig
}

const (
	// MaxIgnoreFile bounds an ignore or attributes file.
	MaxIgnoreFile = 4 << 20

	maxSmall = 1 << 20
	maxIndex = 1 << 30
	// maxHead is how much of HEAD git looks at.
	maxHead = 256
)

// ErrElsewhere reports that the work tree of a repository is not where the
// repository was found (core.worktree).
var ErrElsewhere = errors.New("the work tree of its repository is elsewhere")

// Find returns the repository whose work tree a directory belongs to, nil if
// there is none. dir is without symbolic links; spelled is the same directory as
// the caller has it. Variables such as GIT_DIR do not count.
//
// Errors: [ErrElsewhere] where the directory is not in the repository's work
// tree; [ErrFormat] and those of the file system where the repository's
// configuration cannot be read.
func Find(dir, spelled string) (*Repo, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if spelled, err = filepath.Abs(spelled); err != nil {
		return nil, err
	}
	root := dir
	for !IsRoot(root) {
		parent := filepath.Dir(root)
		if parent == root {
			return nil, nil
		}
		root, spelled = parent, filepath.Dir(spelled)
	}
	r, err := open(root, spelled)
	if err != nil {
		return nil, err
	}
	if rel, err := filepath.Rel(r.Root, dir); err != nil || !filepath.IsLocal(rel) {
		return nil, fmt.Errorf("%w, in %s", ErrElsewhere, r.Root)
	}
	return r, nil
}

// Open returns the repository whose work tree has this root, nil if there is
// none.
func Open(root string) (*Repo, error) {
	if !IsRoot(root) {
		return nil, nil
	}
	r, err := open(root, root)
	if err == nil && r.Root != root {
		return nil, fmt.Errorf("%w, in %s", ErrElsewhere, r.Root)
	}
	return r, err
}

// IsRoot reports whether a directory has a repository of its own.
func IsRoot(root string) bool {
	dir, common := gitDirs(root)
	return dir != "" && validHead(dir) && isDir(filepath.Join(common, "objects")) && isDir(filepath.Join(common, "refs"))
}

// gitDirs returns where the repository of a directory is, and the one that it
// shares with other work trees. dir is empty if there is none.
func gitDirs(root string) (dir, common string) {
	dir = filepath.Join(root, ".git")
	info, err := os.Stat(dir)
	if err != nil {
		return "", ""
	}
	if !info.IsDir() {
		// A submodule or a further work tree has a file with the path.
		data, err := readSmall(dir, maxSmall)
		if err != nil {
			return "", ""
		}
		path, ok := strings.CutPrefix(string(data), "gitdir: ")
		if path = strings.TrimRight(path, "\r\n"); !ok || path == "" || refusesPath(path) {
			return "", ""
		}
		dir = inDir(root, path)
	}
	common = dir
	if data, err := readSmall(filepath.Join(dir, "commondir"), maxSmall); err == nil {
		path := strings.TrimRight(string(data), "\r\n")
		if refusesPath(path) {
			return "", ""
		}
		common = inDir(dir, path)
	}
	return dir, common
}

func open(root, spelled string) (*Repo, error) {
	dir, common := gitDirs(root)
	r := &Repo{Root: root, dir: dir, common: common, env: systemEnvironment(), idSize: sha1.Size}
	repository := []string{filepath.Join(common, "config")}
	// What form a repository has is in its own file, not in what that includes.
	form, err := readForm(repository[0])
	if err != nil {
		return nil, err
	}
	worktree := ""
	if dir == common {
		worktree = form["core.worktree"].text
	}
	if own, err := form.bool("extensions.worktreeconfig", false); err != nil {
		return nil, err
	} else if own {
		repository = append(repository, filepath.Join(dir, "config.worktree"))
		own, err := readForm(repository[1])
		if err != nil {
			return nil, err
		}
		if s, ok := own["core.worktree"]; ok {
			worktree = s.text
		}
	}
	if strings.EqualFold(form["extensions.objectformat"].text, "sha256") {
		r.idSize = sha256.Size
	}
	if worktree != "" {
		if r.Root, err = workTree(root, dir, worktree); err != nil {
			return nil, err
		}
	}
	l := &loader{env: r.env}
	if l.gitDir, err = filepath.EvalSymlinks(dir); err != nil {
		l.gitDir = dir
	}
	if same(root, spelled) && dir == filepath.Join(root, ".git") {
		l.spelled = filepath.Join(spelled, ".git")
	}
	if r.config, err = l.loadConfig(repository); err != nil {
		return nil, err
	}
	return r, r.configure()
}

func readForm(path string) (config, error) {
	form := config{}
	data, err := readSmall(path, maxConfig)
	if missing(err) {
		return form, nil
	}
	if err != nil {
		return nil, err
	}
	return form, parseConfig(path, data, func(name string, s setting) error {
		if strings.HasPrefix(name, "core.") || strings.HasPrefix(name, "extensions.") {
			form[name] = s
		}
		return nil
	})
}

// workTree is the directory that core.worktree names.
func workTree(root, dir, path string) (string, error) {
	if refusesPath(path) {
		return "", fmt.Errorf("core.worktree is %q, on another machine: %w", path, ErrFormat)
	}
	tree := inDir(dir, path)
	if same(tree, root) {
		return root, nil
	}
	return RealPath(tree)
}

// same reports whether two paths are of one file or directory.
func same(a, b string) bool {
	if a == b {
		return true
	}
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}

func (r *Repo) configure() error {
	for name, s := range map[string]struct {
		to        *bool
		otherwise bool
	}{
		"core.ignorecase": {&r.Fold, false}, "core.filemode": {&r.FileMode, true}, "core.symlinks": {&r.Symlinks, true},
	} {
		on, err := r.config.bool(name, s.otherwise)
		if err != nil {
			return err
		}
		*s.to = on
	}
	return r.configureLineEnds()
}

// headRef returns the reference that HEAD is, empty if it is a commit.
func headRef(dir string) (string, error) {
	path := filepath.Join(dir, "HEAD")
	if target, err := os.Readlink(path); err == nil {
		return filepath.ToSlash(target), nil
	}
	data, err := readSmall(path, maxSmall)
	if err != nil {
		return "", err
	}
	text := strings.TrimSpace(string(data))
	ref, ok := strings.CutPrefix(text, "ref:")
	if !ok {
		return "", nil
	}
	return strings.TrimSpace(ref), nil
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
	text := string(data[:min(len(data), maxHead)])
	if ref, ok := strings.CutPrefix(text, "ref:"); ok {
		return strings.HasPrefix(strings.TrimLeft(ref, " \t\r\n"), "refs/")
	}
	return isID(strings.TrimSpace(text))
}

// isID says whether a text is an object's name.
func isID(text string) bool {
	_, err := hex.DecodeString(text)
	return err == nil && (len(text) == 2*sha1.Size || len(text) == 2*sha256.Size)
}

// Ignores is what the user's own ignore file and the repository's say. It is
// what counts least.
func (r *Repo) Ignores() (*Ignores, error) {
	ignores, err := r.config.ignores(r.env, r.Root, r.Fold)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(r.common, "info", "exclude")
	data, err := readRules(path)
	if err != nil {
		return nil, err
	}
	return ignores.With("", ParsePatterns(data, ".git/info/exclude", r.Fold))
}

// UserIgnores is what the user's own ignore file says, for a directory that
// belongs to no repository.
func UserIgnores() (*Ignores, error) {
	l := &loader{env: systemEnvironment()}
	c, err := l.loadConfig(nil)
	if err != nil {
		return nil, err
	}
	return c.ignores(l.env, "", false)
}

func (c config) ignores(env environment, root string, fold bool) (*Ignores, error) {
	path, err := c.userFile(env, "core.excludesfile", "ignore", root)
	if path == "" || err != nil {
		return nil, err
	}
	data, err := readRules(path)
	if err != nil {
		return nil, err
	}
	return (*Ignores)(nil).With("", ParsePatterns(data, path, fold))
}

// userFile is a file that the configuration names, or the user's own of that
// name. git takes a relative path from the work tree's root; outside of one
// nothing says from where.
func (c config) userFile(env environment, setting, name, root string) (string, error) {
	path, ok, err := c.path(env, setting, root)
	if err != nil || ok {
		return path, err
	}
	if dir := env.userDir(); dir != "" {
		return filepath.Join(dir, name), nil
	}
	return "", nil
}

// readRules reads a file of patterns outside of the work tree; one that is
// missing has none.
func readRules(path string) ([]byte, error) {
	data, err := readSmall(path, MaxIgnoreFile)
	if missing(err) || isDir(path) {
		return nil, nil
	}
	return data, err
}

// ReadRules returns the content of a file of the work tree that has rules, such
// as a .gitignore: the file's if it is a regular one, or that which the index
// has of it. git reads a .gitignore that is not checked out from the index, and a
// .gitattributes that is not there at all. path is relative to the root.
func (r *Repo) ReadRules(x *Index, path string) ([]byte, error) {
	f, info, err := OpenFileNoFollow(filepath.Join(r.Root, filepath.FromSlash(path)))
	if err == nil {
		defer func() { _ = f.Close() }()
		return readAll(f, info, MaxIgnoreFile)
	}
	if info == nil && !missing(err) {
		return nil, err
	}
	return x.Rules(path)
}

// Rules returns what the index has of a file with rules that is not in the work
// tree; see [Repo.ReadRules].
func (x *Index) Rules(path string) ([]byte, error) {
	if !x.skips && !strings.HasSuffix(path, attributesFile) {
		return nil, nil
	}
	e, err := x.exact(path)
	if err != nil || e == nil || e.Mode != ModeFile && e.Mode != ModeExec {
		return nil, err
	}
	if !e.SkipWorktree && !strings.HasSuffix(path, attributesFile) {
		return nil, nil
	}
	kind, data, err := x.repo.object([]byte(e.ID))
	if err == nil && kind != "blob" {
		err = ErrFormat
	}
	if err != nil {
		return nil, fmt.Errorf("%s is not checked out, and its content not there: %w", path, err)
	}
	if len(data) > MaxIgnoreFile {
		return nil, fmt.Errorf("%s is larger than %d bytes: %w", path, MaxIgnoreFile, ErrFormat)
	}
	return data, nil
}

// Down adds what the .gitignore and .gitattributes files of the work tree say,
// from its root to the directory path, which it does not include; path is
// relative and has slashes. It returns the pattern by which the directory itself
// is ignored, if it is.
func (r *Repo) Down(ctx context.Context, x *Index, ignores *Ignores, attributes *Attributes, path string) (*Ignores, *Attributes, *Pattern, error) {
	if path == "" {
		return ignores, attributes, nil, nil
	}
	var ignored *Pattern
	base := ""
	for name := range strings.SplitSeq(path, "/") {
		data, err := r.ReadRules(x, base+attributesFile)
		if err == nil {
			attributes, err = attributes.With(base, data)
		}
		if err != nil {
			return nil, nil, nil, err
		}
		if ignored == nil {
			if data, err = r.ReadRules(x, base+ignoreFile); err == nil {
				ignores, err = ignores.With(base, ParsePatterns(data, base+ignoreFile, r.Fold))
			}
			if err != nil {
				return nil, nil, nil, err
			}
			if p := ignores.Match(ctx, base+name, true); p != nil && !p.Negated {
				ignored = p
			}
		}
		base += name + "/"
	}
	return ignores, attributes, ignored, nil
}

const (
	ignoreFile     = ".gitignore"
	attributesFile = ".gitattributes"
)
