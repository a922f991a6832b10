// Package git reads git repositories without running git: which files of a work tree
// are tracked and ignored, which commit is checked out, and whether files have
// changed since. It only reads.
//
// Split indexes are not supported and an error. In a repository with a reftable, no
// commit can be found.
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
	// Root is the root of the work tree.
	Root string
	// Fold is core.ignoreCase: case does not count in paths. FileMode is
	// core.fileMode: the executable bits of files count. Symlinks is
	// core.symlinks: without it, links are checked out as files with the target
	// as content.
	Fold, FileMode, Symlinks bool

	// dir has the files of this work tree, common those that it shares with
	// others.
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
	// maxHead is how much of HEAD git reads.
	maxHead = 256
)

// ErrElsewhere reports that the work tree of a repository is not where the
// repository was found (core.worktree).
var ErrElsewhere = errors.New("work tree of the repository is elsewhere")

// Find returns the repository whose work tree has a directory, nil if there is none.
// dir is without symbolic links; spelled is the same directory as the caller wrote
// it. Variables such as GIT_DIR are ignored.
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

// Open returns the repository of a work tree's root, nil if root is not one.
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

// gitDirs returns the directory of a repository, and the one that it shares with
// other work trees. dir is empty if there is none.
func gitDirs(root string) (dir, common string) {
	dir = filepath.Join(root, ".git")
	info, err := os.Stat(dir)
	if err != nil {
		return "", ""
	}
	if !info.IsDir() {
		// A submodule or linked work tree has a file with the path.
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
	// The format of a repository is read from its own file, not from included
	// ones.
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

// workTree returns the directory of core.worktree.
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

// same reports whether two paths name one file or directory.
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

// headRef returns the reference in HEAD, empty if HEAD is a commit.
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

// isID reports whether a text is the ID of an object.
func isID(text string) bool {
	_, err := hex.DecodeString(text)
	return err == nil && (len(text) == 2*sha1.Size || len(text) == 2*sha256.Size)
}

// Ignores returns the rules of the user's and the repository's ignore files, over
// which all others take precedence.
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

// UserIgnores returns the rules of the user's ignore file, for a directory that
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

// userFile returns the path of a file that the configuration names, or of the user's
// default. A relative path is relative to the work tree's root; outside of one it is
// undefined.
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

// readRules reads a file of rules outside of the work tree. A missing file has no
// rules.
func readRules(path string) ([]byte, error) {
	data, err := readSmall(path, MaxIgnoreFile)
	if missing(err) || isDir(path) {
		return nil, nil
	}
	return data, err
}

// ReadRules returns the content of a rule file of the work tree, such as a
// .gitignore: that of the file if it is regular, otherwise that in the index. Like
// git, it reads a .gitignore from the index only if it is not checked out, and a
// .gitattributes whenever it is missing. path is relative to the root.
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

// Rules returns the content in the index of a rule file that is not in the work
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
		return nil, fmt.Errorf("%s is not checked out, and its content is missing: %w", path, err)
	}
	if len(data) > MaxIgnoreFile {
		return nil, fmt.Errorf("%s is larger than %d bytes: %w", path, MaxIgnoreFile, ErrFormat)
	}
	return data, nil
}

// Down adds the rules of the .gitignore and .gitattributes files from the root of
// the work tree down to the parent of a directory, whose path is relative and has
// slashes. It returns the pattern by which the directory itself is ignored, nil if
// it is not.
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
