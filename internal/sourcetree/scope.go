package sourcetree

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/herokubuild/herokubuild/internal/clean"
	"github.com/herokubuild/herokubuild/internal/git"
)

// checkout is the work tree of a git repository, or the part of it that is in the
// tree. A nil checkout tracks nothing.
type checkout struct {
	repo  *git.Repo
	index *git.Index
	// base is the path from the tree's root to the work tree's root, for a
	// submodule; above is the path from the work tree's root to the tree's root,
	// for a tree within a repository. Each is empty or ends with a slash.
	base, above string
}

// path returns the path in the work tree of a path in the tree.
func (c *checkout) path(name string) string {
	if c == nil {
		return name
	}
	return c.above + strings.TrimPrefix(name, c.base)
}

// inTree returns the path in the tree of a path in the work tree.
func (c *checkout) inTree(path string) string { return c.base + path[len(c.above):] }

func (c *checkout) foldsCase() bool { return c != nil && c.repo.Fold }

// entry returns the index entry of a path, nil if it is not tracked.
func (c *checkout) entry(name string) (*git.Entry, error) {
	if c == nil {
		return nil, nil
	}
	return c.index.Entry(c.path(name))
}

// tracks returns the path in the tree under which files of a directory are
// tracked. It differs from the directory's own if only the case of letters does,
// and is empty if no file is tracked.
func (c *checkout) tracks(dir string) (string, error) {
	if c == nil {
		return "", nil
	}
	path, err := c.index.Tracks(c.path(dir))
	if path == "" || err != nil {
		return "", err
	}
	return c.inTree(path), nil
}

// scope is what applies in a directory. It is never changed once the walk is in
// the directory.
type scope struct {
	checkout   *checkout
	ignores    *git.Ignores
	attributes *git.Attributes
	// archived is the directory's path in the archive: its own, or the one
	// under which git tracks it if only the case of letters differs. It is empty
	// or ends with a slash.
	archived string
	// ignored is the reason why git ignores the directory, of which only tracked
	// files are then packed. It is empty if git does not.
	ignored string
	// included is set if the caller includes the directory.
	included bool
}

// match returns the pattern by which git ignores a path, nil if it does not.
func (s *scope) match(ctx context.Context, path string, dir bool) *git.Pattern {
	p := s.ignores.Match(ctx, s.checkout.path(path), dir)
	if p == nil || p.Negated {
		return nil
	}
	return p
}

// rootScope returns what applies in the root of the tree.
func (w *walk) rootScope() (scope, error) {
	root, ok := w.tree.files.onDisk("")
	if !ok {
		return scope{}, nil
	}
	repo, err := git.Find(root, w.tree.spelled)
	if err != nil {
		return scope{}, w.badRepository(root, err)
	}
	if repo == nil {
		return w.userScope()
	}
	above, err := filepath.Rel(repo.Root, root)
	if err != nil {
		return scope{}, err
	}
	s, err := w.checkoutScope(repo)
	if err != nil {
		return scope{}, err
	}
	if above = filepath.ToSlash(above); above == "." {
		return s, nil
	}
	return w.scopeWithin(s, above)
}

// scopeWithin returns what applies in a directory of a work tree, of which s is
// the scope of the root.
func (w *walk) scopeWithin(s scope, dir string) (scope, error) {
	repo, index := s.checkout.repo, s.checkout.index
	var ignored *git.Pattern
	var err error
	if s.ignores, s.attributes, ignored, err = repo.Down(w.ctx, index, s.ignores, s.attributes, dir); err != nil {
		return scope{}, w.badRepository(repo.Root, err)
	}
	tracks, err := index.Tracks(dir)
	if err != nil {
		return scope{}, w.badRepository(repo.Root, err)
	}
	entry, err := index.Entry(dir)
	if err != nil {
		return scope{}, w.badRepository(repo.Root, err)
	}
	if tracks == "" && (ignored != nil || entry != nil) {
		// An ignored directory that the caller names is a tree of its own.
		return w.userScope()
	}
	s.checkout.above = dir + "/"
	if ignored != nil {
		s.ignored = describePattern(ignored)
	}
	return s, nil
}

// userScope returns what applies outside of any repository: the ignore file of the
// user.
func (w *walk) userScope() (scope, error) {
	ignores, err := git.UserIgnores()
	if err != nil {
		return scope{}, inputError(w.tree.field, "cannot read the settings of git", err)
	}
	return scope{ignores: ignores}, nil
}

// checkoutScope returns what applies in the root of a work tree.
func (w *walk) checkoutScope(repo *git.Repo) (scope, error) {
	index, err := repo.Index()
	if err != nil {
		return scope{}, inputError(w.tree.field, "cannot read the git index of "+clean.Quote(repo.Root), err)
	}
	ignores, err := repo.Ignores()
	if err != nil {
		return scope{}, w.badRepository(repo.Root, err)
	}
	attributes, err := repo.Attributes()
	if err != nil {
		return scope{}, w.badRepository(repo.Root, err)
	}
	return scope{checkout: &checkout{repo: repo, index: index}, ignores: ignores, attributes: attributes}, nil
}

func (w *walk) badRepository(dir string, err error) error {
	return inputError(w.tree.field, "cannot read the git repository of "+clean.Quote(dir), err)
}

// describePattern returns the place and text of a pattern, for people.
func describePattern(p *git.Pattern) string {
	return fmt.Sprintf("%s:%d: %s", p.Source, p.Line, p.Text)
}

// archivedName returns the path in the archive of a directory that git tracks as
// tracked. Like git add, it uses git's spelling if only the case of letters
// differs, unless list, the entries of the parent directory, has both spellings.
func archivedName(own, tracked string, list []dirEntry) string {
	name := tracked[strings.LastIndexByte(tracked, '/')+1:]
	dir := strings.TrimSuffix(own, "/")
	parent := dir[:strings.LastIndexByte(dir, '/')+1]
	hasBoth := slices.ContainsFunc(list, func(e dirEntry) bool { return e.name == name })
	if tracked == dir || tracked != parent+name || hasBoth {
		return own
	}
	return tracked + "/"
}
