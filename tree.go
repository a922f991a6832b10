package herokubuild

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/herokubuild/herokubuild/internal/clean"
	"github.com/herokubuild/herokubuild/internal/git"
)

// packEntry is one file or link that is packed.
type packEntry struct {
	// name is its path from the root of the tree, with slashes.
	name string
	// from is where it really is, for what a followed link leads to.
	from string
	size int64
	run  runBits
	// link is the target of a symbolic link.
	link string
	// committed is set where git may have converted the file's line ends.
	committed *committed
}

// committed is what git has of a file.
type committed struct {
	repo  *git.Repo
	entry *git.Entry
	ends  git.LineEnds
}

// runBits says whether a file can be run.
type runBits uint8

const (
	runNo runBits = iota
	runYes
	// runMode: its mode says.
	runMode
	// runMagic: the first bytes of a script or program do.
	runMagic
)

// seen takes what there is to know of a file from its description.
func (e *packEntry) seen(info fs.FileInfo) {
	e.size = info.Size()
	if e.run == runMode && info.Mode()&0o111 != 0 {
		e.run = runYes
	}
}

// maxLink bounds the target of a symbolic link.
const maxLink = 4096

// fileTree is where files are packed from.
type fileTree interface {
	// readDir calls each for the files of a directory, in any order.
	readDir(name string, each func(e dirEntry) error) error
	// open opens a regular file without following a link.
	open(name string) (fs.File, error)
	readLink(name string) (string, error)
	// lstat describes a file, stat what a link leads to.
	lstat(name string) (fs.FileInfo, error)
	stat(name string) (fs.FileInfo, error)
	// slugIgnore opens the root's .slugignore, which may be a link that stays
	// inside.
	slugIgnore(follow bool) (fs.File, error)
}

// dirEntry is a file of a directory. There can be very many of them.
type dirEntry struct {
	name string
	mode fs.FileMode
}

// dirTree is a directory of the operating system's.
type dirTree string

func (d dirTree) path(name string) string { return filepath.Join(string(d), filepath.FromSlash(name)) }

// dirBatch is how many files of a directory are read at a time.
const dirBatch = 512

func (d dirTree) readDir(name string, each func(e dirEntry) error) error {
	flags := openFlags
	if name == "" {
		// The root is the caller's.
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
			if err := each(dirEntry{e.Name(), e.Type()}); err != nil {
				return err
			}
		}
		if isEOF(err) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (d dirTree) open(name string) (fs.File, error) { return openFile(d.path(name)) }

// openFile neither follows a link nor waits for the other end of a pipe, should
// a file have become one since it was looked at.
func openFile(path string) (fs.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|openFlags, 0)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (d dirTree) readLink(name string) (string, error) {
	target, err := os.Readlink(d.path(name))
	return filepath.ToSlash(target), err
}

func (d dirTree) lstat(name string) (fs.FileInfo, error) { return os.Lstat(d.path(name)) }

func (d dirTree) stat(name string) (fs.FileInfo, error) { return os.Stat(d.path(name)) }

func (d dirTree) slugIgnore(follow bool) (fs.File, error) {
	path := d.path(slugIgnoreFile)
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		if path, err = filepath.EvalSymlinks(path); err != nil {
			// Nothing is there, on Heroku either.
			return nil, fs.ErrNotExist
		}
		rel, err := filepath.Rel(string(d), path)
		if !follow && (err != nil || !filepath.IsLocal(rel)) {
			return nil, fs.ErrNotExist
		}
		info, err = os.Lstat(path)
		if err != nil {
			return nil, err
		}
	}
	if !info.Mode().IsRegular() {
		return nil, fs.ErrNotExist
	}
	return openFile(path)
}

// fsTree is a file system of the caller's.
type fsTree struct{ fs.FS }

func fsName(name string) string {
	if name == "" {
		return "."
	}
	return name
}

func (f fsTree) readDir(name string, each func(e dirEntry) error) error {
	list, err := fs.ReadDir(f.FS, fsName(name))
	if err != nil {
		return err
	}
	for _, e := range list {
		if err := each(dirEntry{e.Name(), e.Type()}); err != nil {
			return err
		}
	}
	return nil
}

func (f fsTree) open(name string) (fs.File, error) { return f.Open(name) }

func (f fsTree) readLink(name string) (string, error) { return fs.ReadLink(f.FS, name) }

func (f fsTree) lstat(name string) (fs.FileInfo, error) { return fs.Lstat(f.FS, name) }

func (f fsTree) stat(name string) (fs.FileInfo, error) { return fs.Stat(f.FS, name) }

func (f fsTree) slugIgnore(bool) (fs.File, error) {
	info, err := fs.Stat(f.FS, slugIgnoreFile)
	if err != nil || !info.Mode().IsRegular() {
		// A link that leads nowhere cannot be told from one that is refused.
		return nil, fs.ErrNotExist
	}
	return f.Open(slugIgnoreFile)
}

// slugIgnoreFile names what Heroku removes before a build.
const slugIgnoreFile = ".slugignore"

// checkout is the part of a git repository that is looked at.
type checkout struct {
	repo  *git.Repo
	index *git.Index
	// base is where the work tree's root is in the packed tree, if it is
	// inside; above is the way from the root to the packed tree otherwise.
	// Both are empty or end with a slash.
	base, above string
}

func (c *checkout) path(name string) string { return c.above + strings.TrimPrefix(name, c.base) }

func (c *checkout) entry(name string) (*git.Entry, error) {
	if c == nil {
		return nil, nil
	}
	return c.index.Entry(c.path(name))
}

// tracks returns the name, in the packed tree, under which anything in a directory
// is tracked.
func (c *checkout) tracks(dir string) (string, error) {
	if c == nil {
		return "", nil
	}
	name, err := c.index.Tracks(c.path(dir))
	if name == "" || err != nil {
		return "", err
	}
	return c.packed(name), nil
}

// packed is a path of the work tree's in the packed tree.
func (c *checkout) packed(path string) string { return c.base + path[len(c.above):] }

// walker finds out what of a tree is packed.
type walker struct {
	ctx context.Context
	// arg is the caller's name for what is packed, in errors.
	arg  string
	tree fileTree
	// root is the tree's directory, empty if it has none, and spelled the same
	// as the caller has it.
	root, spelled string
	opts          PackOptions
	// look is whether every file is looked at before it is opened: that takes
	// time, and packing does not need it.
	look bool
	// skip is a file that is not to be packed: the archive itself.
	skip fs.FileInfo

	include, exclude, slug []git.Pattern

	entries  []packEntry
	links    map[string]string
	longest  int
	out      []ExcludedPath
	warnings []ArchiveWarning
	listed   listing
	// reason is why the last path was left out, and by which pattern.
	reason   string
	reasonOf *git.Pattern

	// found gets the entries, if it is set.
	found func(e packEntry) error
	// onFile and onSubmodule hear of everything that is packed and is, or could
	// be, git's.
	onFile      func(s *scope, tracked *git.Entry, name string, info fs.FileInfo) error
	onSubmodule func(c *checkout, tracked *git.Entry, name string) error
	// followed are the directories that links have led to, one inside of the
	// other.
	followed []string
	// follows counts the links that were followed, in all.
	follows *int
}

// scope is what is known of a directory.
type scope struct {
	checkout   *checkout
	ignores    *git.Ignores
	attributes *git.Attributes
	// as is the directory's name in the archive: its own, or that by which git
	// tracks it, if only the case of letters differs. It is empty or ends with
	// a slash.
	as string
	// ignored is why git ignores the directory; only what it tracks is packed
	// then.
	ignored string
	// included is a directory that the caller asked for.
	included bool
}

func newWalker(ctx context.Context, arg string, opts *PackOptions) (*walker, error) {
	w := &walker{ctx: ctx, arg: arg, links: map[string]string{}, follows: new(int)}
	if opts != nil {
		w.opts = *opts
	}
	var err error
	if w.include, err = parsePatterns("Include", w.opts.Include); err != nil {
		return nil, err
	}
	if w.exclude, err = parsePatterns("Exclude", w.opts.Exclude); err != nil {
		return nil, err
	}
	prefix := strings.TrimSuffix(strings.TrimPrefix(w.opts.Prefix, "./"), "/")
	if prefix != "" && prefix != "." && (!fs.ValidPath(prefix) || strings.ContainsAny(prefix, "\x00\\")) {
		return nil, &ArgumentError{Name: "Prefix", Reason: quote(w.opts.Prefix) + ` is not a relative path such as "./app"`}
	}
	return w, nil
}

func parsePatterns(field string, texts []string) ([]git.Pattern, error) {
	var patterns []git.Pattern
	for _, text := range texts {
		parsed := git.ParsePatterns([]byte(text), field, false)
		if len(parsed) != 1 || strings.ContainsAny(text, "\n\x00") {
			return nil, &ArgumentError{Name: field, Reason: quote(text) + " is not a pattern"}
		}
		patterns = append(patterns, parsed[0])
	}
	return patterns, nil
}

// newDirWalker walks a directory, and newFSWalker a file system.
func newDirWalker(ctx context.Context, dir string, opts *PackOptions) (*walker, error) {
	if err := checkDir("dir", dir); err != nil {
		return nil, err
	}
	w, err := newWalker(ctx, "dir", opts)
	if err != nil {
		return nil, err
	}
	// A walk does not follow a link, not even as its root.
	root, err := git.RealPath(dir)
	if err != nil {
		return nil, argumentError("dir", "the directory "+quote(dir)+" cannot be read", err)
	}
	w.root, w.spelled, w.tree = root, dir, dirTree(root)
	return w, nil
}

func newFSWalker(ctx context.Context, fsys fs.FS, opts *PackOptions) (*walker, error) {
	if fsys == nil {
		return nil, &ArgumentError{Name: "fsys", Reason: "is nil"}
	}
	w, err := newWalker(ctx, "fsys", opts)
	if err != nil {
		return nil, err
	}
	w.tree = fsTree{fsys}
	return w, nil
}

// walk has each file dealt with while it looks for the next, so that packing need
// not wait for it. Files come sorted by their names' bytes.
func (w *walker) walk(each func(e *packEntry) error) error {
	start, err := w.begin()
	if err != nil {
		return err
	}
	if w.opts.FollowSymlinks || start.checkout != nil && start.checkout.repo.Fold {
		// What is found may then not be in order, or not be packed as it is.
		err := w.dir("", start)
		if err == nil {
			err = w.finish()
		}
		if err != nil {
			return err
		}
		for i := range w.entries {
			if err := each(&w.entries[i]); err != nil {
				return err
			}
		}
		return nil
	}

	found, enough, ended := make(chan packEntry, 1024), make(chan struct{}), make(chan error, 1)
	w.found = func(e packEntry) error {
		select {
		case found <- e:
			return nil
		case <-enough:
			return errEnough
		}
	}
	go func() {
		defer close(found)
		ended <- w.dir("", start)
	}()
	var failed error
	for e := range found {
		if failed != nil {
			continue
		}
		if failed = each(&e); failed != nil {
			close(enough)
		}
	}
	err = <-ended
	if failed != nil {
		return failed
	}
	if err != nil {
		return err
	}
	return w.checkLinks()
}

// errEnough ends a walk whose files nobody wants any more.
var errEnough = errors.New("enough")

// begin reads what the caller and Heroku leave out.
func (w *walker) begin() (scope, error) {
	data, err := w.slugIgnore()
	if err != nil {
		return scope{}, err
	}
	for _, p := range git.ParsePatterns(data, slugIgnoreFile, false) {
		if p.Negated {
			w.warn(WarnSlugIgnore, slugIgnoreFile, fmt.Sprintf("line %d, %s: Heroku knows no exceptions in this file", p.Line, quote(p.Text)))
			continue
		}
		w.slug = append(w.slug, p)
	}
	if _, err := (*git.Ignores)(nil).With("", w.slug); err != nil {
		return scope{}, w.unreadable(slugIgnoreFile, err)
	}
	return w.start()
}

func (w *walker) slugIgnore() ([]byte, error) {
	f, err := w.tree.slugIgnore(w.opts.FollowSymlinks)
	if err != nil {
		return w.readFailed(slugIgnoreFile, err)
	}
	return w.readAll(slugIgnoreFile, f)
}

// finish looks at what a walk has found as a whole.
func (w *walker) finish() error {
	if err := w.resolveLinks(); err != nil {
		return err
	}
	// A file that has the very name comes before one that only git takes for it.
	slices.SortFunc(w.entries, func(a, b packEntry) int {
		return cmp.Or(strings.Compare(a.name, b.name), strings.Compare(a.from, b.from))
	})
	w.entries = slices.CompactFunc(w.entries, func(a, b packEntry) bool { return a.name == b.name })
	return nil
}

// byPath is the order of a directory's entries that gives all paths in the order
// of their bytes.
func byPath(a, b dirEntry) int {
	x, y := a.name, b.name
	n := min(len(x), len(y))
	next := func(e dirEntry) int {
		switch {
		case len(e.name) > n:
			return int(e.name[n])
		case e.mode.IsDir():
			return '/'
		}
		return -1
	}
	return cmp.Or(strings.Compare(x[:n], y[:n]), cmp.Compare(next(a), next(b)))
}

// start is what is known of the root.
func (w *walker) start() (scope, error) {
	if w.root == "" {
		return scope{}, nil
	}
	repo, err := git.Find(w.root, w.spelled)
	if err != nil {
		return scope{}, w.noRepository(w.root, err)
	}
	if repo == nil {
		return w.alone()
	}
	above, err := filepath.Rel(repo.Root, w.root)
	if err != nil {
		return scope{}, err
	}
	if above = filepath.ToSlash(above); above == "." {
		above = ""
	}
	s, err := w.checkout(repo)
	if err != nil {
		return scope{}, err
	}
	index := s.checkout.index
	var ignored *git.Pattern
	if s.ignores, s.attributes, ignored, err = repo.Down(w.ctx, index, s.ignores, s.attributes, above); err != nil {
		return scope{}, w.noRepository(repo.Root, err)
	}
	if above != "" {
		tracks, err := index.Tracks(above)
		if err != nil {
			return scope{}, w.noRepository(repo.Root, err)
		}
		entry, err := index.Entry(above)
		if err != nil {
			return scope{}, w.noRepository(repo.Root, err)
		}
		if tracks == "" && (ignored != nil || entry != nil) {
			// Whoever names a directory that the repository around it ignores
			// wants it packed.
			return w.alone()
		}
		s.checkout.above = above + "/"
	}
	if ignored != nil {
		s.ignored = whyIgnored(ignored)
	}
	return s, nil
}

// alone is what is known of a root that belongs to no repository.
func (w *walker) alone() (scope, error) {
	ignores, err := git.UserIgnores()
	if err != nil {
		return scope{}, argumentError(w.arg, "git's settings cannot be read", err)
	}
	return scope{ignores: ignores}, nil
}

// checkout is what is known of a work tree's root.
func (w *walker) checkout(repo *git.Repo) (scope, error) {
	index, err := repo.Index()
	if err != nil {
		return scope{}, argumentError(w.arg, "what git tracks in "+quote(repo.Root)+" cannot be read", err)
	}
	ignores, err := repo.Ignores()
	if err != nil {
		return scope{}, w.noRepository(repo.Root, err)
	}
	attributes, err := repo.Attributes()
	if err != nil {
		return scope{}, w.noRepository(repo.Root, err)
	}
	return scope{checkout: &checkout{repo: repo, index: index}, ignores: ignores, attributes: attributes}, nil
}

func (w *walker) noRepository(dir string, err error) error {
	return argumentError(w.arg, "the git repository of "+quote(dir)+" cannot be read", err)
}

// argumentError is an error with its cause in its text.
func argumentError(name, reason string, err error) error {
	cause := err
	if path, ok := err.(*fs.PathError); ok { //nolint:errorlint // Only err itself: its path is in the reason.
		cause = path.Err
	}
	return &ArgumentError{Name: name, Reason: reason + ": " + clean.Line(cause.Error()), Err: err}
}

func whyIgnored(p *git.Pattern) string { return fmt.Sprintf("%s:%d: %s", p.Source, p.Line, p.Text) }

func (w *walker) warn(kind ArchiveWarningKind, path, text string) {
	if w.listed.room(&w.listed.warnings, len(path)+len(text)) {
		w.warnings = append(w.warnings, ArchiveWarning{Kind: kind, Path: path, Text: text})
	}
}

func (w *walker) leaveOut(path, reason string) {
	if w.listed.room(&w.listed.out, len(path)) {
		w.out = append(w.out, ExcludedPath{Path: path, Reason: reason})
	}
}

// why is the text of the pattern that leaves a path out. Many paths in a row have
// the same one.
func (w *walker) why(p *git.Pattern) string {
	if p != w.reasonOf {
		w.reason, w.reasonOf = whyIgnored(p), p
	}
	return w.reason
}

func (w *walker) refuse(name, reason string) error {
	return &ArgumentError{Name: w.arg, Reason: quote(name) + " " + reason}
}

// unreadable is the error of a file that says what is packed and cannot be read.
func (w *walker) unreadable(name string, err error) error {
	return argumentError(w.arg, quote(name)+" cannot be read", err)
}

// readFile reads a file that says what is packed; one that is not there, or no
// regular file, is empty.
func (w *walker) readFile(name string) ([]byte, error) {
	f, err := w.tree.open(name)
	if err != nil {
		return w.readFailed(name, err)
	}
	return w.readAll(name, f)
}

func (w *walker) readFailed(name string, err error) ([]byte, error) {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errLink) {
		return nil, nil
	}
	return nil, w.unreadable(name, err)
}

func (w *walker) readAll(name string, f fs.File) ([]byte, error) {
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, w.unreadable(name, err)
	}
	if !info.Mode().IsRegular() {
		return nil, nil
	}
	data, err := io.ReadAll(io.LimitReader(&contextReader{ctx: w.ctx, r: f}, git.MaxIgnoreFile+1))
	switch {
	case w.ctx.Err() != nil:
		return nil, contextError(w.ctx)
	case err == nil && len(data) > git.MaxIgnoreFile:
		err = fmt.Errorf("it is larger than %d bytes", git.MaxIgnoreFile)
	}
	if err != nil {
		return nil, w.unreadable(name, err)
	}
	return data, nil
}

// list reads a directory, sorted by path.
func (w *walker) list(name string) ([]dirEntry, error) {
	var list []dirEntry
	err := w.tree.readDir(strings.TrimSuffix(name, "/"), func(e dirEntry) error {
		if w.ctx.Err() != nil {
			return contextError(w.ctx)
		}
		if e.mode&fs.ModeIrregular != 0 {
			// A junction of Windows is a directory, as for git; a file that is
			// kept elsewhere, as by OneDrive, is a file.
			info, err := w.tree.stat(name + e.name)
			if err != nil {
				return w.unreadable(name+e.name, err)
			}
			e.mode = info.Mode().Type()
			if e.mode.IsDir() && w.isAround(name, info) {
				return w.refuse(name+e.name, "leads to a directory that it is in itself")
			}
		}
		list = append(list, e)
		return nil
	})
	slices.SortFunc(list, byPath)
	return list, err
}

// isAround reports whether a directory is one of those that name is in.
func (w *walker) isAround(name string, info fs.FileInfo) bool {
	for name = strings.TrimSuffix(name, "/"); ; {
		if around, err := w.tree.stat(fsName(name)); err == nil && os.SameFile(around, info) {
			return true
		}
		if name == "" {
			return false
		}
		name = name[:max(strings.LastIndexByte(name, '/'), 0)]
	}
}

// dir walks one directory; name is "" or ends with a slash.
func (w *walker) dir(name string, s scope) error {
	list, err := w.list(name)
	if err != nil {
		return err
	}
	if err := w.rules(name, list, &s); err != nil {
		return err
	}
	for _, entry := range list {
		if w.ctx.Err() != nil {
			return contextError(w.ctx)
		}
		path, isDir := name+entry.name, entry.mode.IsDir()
		if strings.EqualFold(entry.name, ".git") {
			continue
		}
		if out := w.leftOut(path, isDir); out != nil {
			w.leaveOut(dirName(path, isDir), w.why(out))
			continue
		}
		inner := s
		if !inner.included {
			p := git.Last(w.ctx, w.include, path, isDir)
			inner.included = p != nil && !p.Negated
		}
		if isDir {
			inner.as = s.as + entry.name + "/"
			err = w.subdir(path, inner, list)
		} else {
			err = w.file(path, entry, inner)
		}
		if err != nil {
			return err
		}
	}
	if w.ctx.Err() != nil {
		return contextError(w.ctx)
	}
	return nil
}

// rules adds what the directory's .gitignore and .gitattributes say.
func (w *walker) rules(name string, list []dirEntry, s *scope) error {
	c := s.checkout
	base, fold := name, false
	if c != nil {
		base, fold = c.path(name), c.repo.Fold
	}
	read := func(file string) ([]byte, error) {
		for _, e := range list {
			// Like git, links are not followed here. Where the case of letters
			// does not count, opening the file tells whether it is the one.
			if e.mode.IsRegular() && (e.name == file || fold && strings.EqualFold(e.name, file)) {
				if data, err := w.readFile(name + file); data != nil || err != nil {
					return data, err
				}
			}
		}
		if c == nil {
			return nil, nil
		}
		data, err := c.index.Rules(base + file)
		if err != nil {
			return nil, w.noRepository(c.repo.Root, err)
		}
		return data, nil
	}
	if s.ignored == "" {
		data, err := read(".gitignore")
		if err == nil {
			if s.ignores, err = s.ignores.With(base, git.ParsePatterns(data, name+".gitignore", fold)); err != nil {
				err = w.unreadable(name+".gitignore", err)
			}
		}
		if err != nil {
			return err
		}
	}
	if c == nil {
		return nil
	}
	data, err := read(".gitattributes")
	if err == nil {
		if s.attributes, err = s.attributes.With(base, data); err != nil {
			err = w.unreadable(name+".gitattributes", err)
		}
	}
	return err
}

func dirName(path string, dir bool) string {
	if dir {
		return path + "/"
	}
	return path
}

// match is the pattern by which git ignores a path, nil if it does not.
func (s *scope) match(ctx context.Context, path string, dir bool) *git.Pattern {
	if s.checkout != nil {
		path = s.checkout.path(path)
	}
	p := s.ignores.Match(ctx, path, dir)
	if p == nil || p.Negated {
		return nil
	}
	return p
}

// leftOut is the pattern, of the caller's or of .slugignore, by which a path is
// out whatever git says.
func (w *walker) leftOut(path string, dir bool) *git.Pattern {
	if p := git.Last(w.ctx, w.exclude, path, dir); p != nil && !p.Negated {
		return p
	}
	return git.Last(w.ctx, w.slug, path, dir)
}

func (w *walker) subdir(path string, s scope, list []dirEntry) error {
	tracked, err := s.checkout.entry(path)
	if err != nil {
		return w.noRepository(s.checkout.repo.Root, err)
	}
	if tracked != nil && tracked.Mode == git.ModeGitlink && w.root != "" {
		return w.submodule(path, tracked, s)
	}
	tracks, err := s.checkout.tracks(path)
	if err != nil {
		return w.noRepository(s.checkout.repo.Root, err)
	}
	if s.ignored == "" {
		if p := s.match(w.ctx, path, true); p != nil {
			s.ignored = w.why(p)
		}
	}
	if s.ignored == "" && tracks == "" && !s.included && w.root != "" && git.IsRoot(dirTree(w.root).path(path)) {
		// git add takes no file of it.
		w.warn(WarnNestedRepository, path+"/", "is a git repository of its own and not a submodule: it is left out, as git would")
		w.leaveOut(path+"/", "a git repository of its own")
		return nil
	}
	if s.ignored != "" && tracks == "" && !s.included && !git.Below(w.include, path) {
		w.leaveOut(path+"/", s.ignored)
		return nil
	}
	if tracks != "" {
		s.as = trackedAs(s.as, tracks, list)
	}
	return w.dir(path+"/", s)
}

// trackedAs is the name of a directory that git tracks as one of which the case of
// letters differs: git's, as git add has it, unless there are both.
func trackedAs(as, tracks string, list []dirEntry) string {
	name := tracks[strings.LastIndexByte(tracks, '/')+1:]
	own := strings.TrimSuffix(as, "/")
	parent := own[:strings.LastIndexByte(own, '/')+1]
	if tracks == own || tracks != parent+name || slices.ContainsFunc(list, func(e dirEntry) bool { return e.name == name }) {
		return as
	}
	return tracks + "/"
}

// submodule packs what git tracks, and would, in a submodule.
func (w *walker) submodule(path string, tracked *git.Entry, s scope) error {
	repo, err := git.Open(dirTree(w.root).path(path))
	if err != nil {
		return w.noRepository(path, err)
	}
	if repo == nil {
		w.warn(WarnSubmodule, path+"/", "is a submodule that is not checked out: it is left out (git submodule update --init)")
		w.leaveOut(path+"/", "a submodule that is not checked out")
		return nil
	}
	if w.onSubmodule != nil {
		if err := w.onSubmodule(s.checkout, tracked, path); err != nil {
			return err
		}
	}
	inner, err := w.checkout(repo)
	if err != nil {
		return err
	}
	inner.checkout.base, inner.as, inner.included = path+"/", s.as, s.included
	return w.dir(path+"/", inner)
}

func (w *walker) file(path string, entry dirEntry, s scope) error {
	tracked, err := s.checkout.entry(path)
	if err != nil {
		return w.noRepository(s.checkout.repo.Root, err)
	}
	if tracked == nil && !s.included {
		why := s.ignored
		if why == "" {
			if p := s.match(w.ctx, path, false); p != nil {
				why = w.why(p)
			}
		}
		if why != "" {
			w.leaveOut(path, why)
			return nil
		}
	}
	info := fs.FileInfo(typeOnly(entry))
	if w.look {
		if info, err = w.describe(path, entry); err != nil {
			return err
		}
		if w.skip != nil && os.SameFile(info, w.skip) {
			return nil
		}
	}
	if w.onFile != nil {
		if err := w.onFile(&s, tracked, path, info); err != nil {
			return err
		}
	}
	e := packEntry{name: s.as + entry.name}
	if tracked != nil && w.root != "" && tracked.Path != s.checkout.path(path) {
		// git's name counts, if only the case of letters differs.
		e.name = s.checkout.packed(tracked.Path)
	}
	if e.name != path {
		e.from = dirTree(w.root).path(path)
	}
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		if e.link, err = w.tree.readLink(path); err != nil {
			return err
		}
		w.addLink(&e)
	case info.Mode().IsRegular():
		if e.link, err = w.plainLink(path, tracked, s); err != nil {
			return err
		}
		if e.link != "" {
			w.addLink(&e)
			break
		}
		e.run = w.runBy(tracked, s.checkout)
		e.seen(info)
		e.committed = w.committed(tracked, &s)
	default:
		return w.refuse(path, "is neither a file, a directory nor a link")
	}
	if w.found != nil {
		return w.found(e)
	}
	w.entries = append(w.entries, e)
	return nil
}

// describe returns what is known of a file.
func (w *walker) describe(path string, entry dirEntry) (fs.FileInfo, error) {
	info, err := w.tree.lstat(path)
	if err == nil && info.Mode()&fs.ModeIrregular != 0 {
		info, err = w.tree.stat(path)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && info.Mode().Type() != entry.mode.Type():
		// It has gone since its directory was read.
		return nil, fmt.Errorf("%s is gone: %w", path, ErrArchiveChanged)
	case err != nil:
		return nil, err
	}
	return info, nil
}

// committed says whether git may have converted a file's line ends, on this system
// but not on another one.
func (w *walker) committed(tracked *git.Entry, s *scope) *committed {
	if tracked == nil || w.root == "" {
		return nil
	}
	ends, crlf := s.checkout.repo.LineEnds(w.ctx, s.attributes, tracked.Path)
	if ends == git.LineEndsKept || crlf {
		return nil
	}
	return &committed{repo: s.checkout.repo, entry: tracked, ends: ends}
}

// typeOnly is a file of which the directory has told the type.
type typeOnly dirEntry

func (t typeOnly) Name() string       { return t.name }
func (t typeOnly) IsDir() bool        { return false }
func (t typeOnly) Mode() fs.FileMode  { return t.mode }
func (t typeOnly) Size() int64        { return 0 }
func (t typeOnly) ModTime() time.Time { return time.Time{} }
func (t typeOnly) Sys() any           { return nil }

// plainLink is the target of a link that git has checked out as a file, because
// the file system has no links.
func (w *walker) plainLink(path string, tracked *git.Entry, s scope) (string, error) {
	if tracked == nil || tracked.Mode != git.ModeLink || s.checkout.repo.Symlinks {
		return "", nil
	}
	data, err := w.readFile(path)
	if len(data) > maxLink {
		return "", err
	}
	return string(data), err
}

// runBy says whose word it is whether a file can be run. Where the file system
// does not keep that, git's index does.
func (w *walker) runBy(tracked *git.Entry, c *checkout) runBits {
	switch {
	case w.root == "", runtime.GOOS != "windows" && (c == nil || c.repo.FileMode):
		return runMode
	case tracked == nil:
		return runMagic
	case tracked.Mode == git.ModeExec:
		return runYes
	}
	return runNo
}

// addLink notes a symbolic link: where it leads is only known when all are.
func (w *walker) addLink(e *packEntry) {
	w.links[e.name] = e.link
	w.longest = max(w.longest, len(e.name))
}

// checkLinks refuses links that lead out of the tree, by themselves or by way of
// other links.
func (w *walker) checkLinks() error {
	for _, name := range slices.Sorted(maps.Keys(w.links)) {
		out, err := w.leaves(name)
		if err != nil {
			return err
		}
		if out {
			return w.leadsOut(name, w.links[name])
		}
	}
	return nil
}

func (w *walker) leadsOut(name, target string) error {
	return w.refuse(name, "is a link that leads out of the directory, to "+quote(target))
}

// resolveLinks packs what links that lead out of the tree lead to, if that is
// wanted.
func (w *walker) resolveLinks() error {
	if !w.opts.FollowSymlinks || w.root == "" {
		return w.checkLinks()
	}
	kept := w.entries[:0]
	var more []packEntry
	for _, e := range w.entries {
		out := false
		if e.link != "" {
			var err error
			if out, err = w.leaves(e.name); err != nil {
				return err
			}
		}
		if !out {
			kept = append(kept, e)
			continue
		}
		entries, err := w.follow(e)
		if err != nil {
			return err
		}
		more = append(more, entries...)
	}
	w.entries = append(kept, more...)
	return nil
}

const (
	// maxLinks is how many links a path may lead through. No system follows as
	// many (Linux 40, Windows 63), so that a longer way leads nowhere, as one in
	// circles.
	maxLinks = 64
	// maxLinkParts bounds the parts of all their targets.
	maxLinkParts = 1 << 18
)

// leaves says whether a link points out of the root, when it is followed in the
// unpacked tree.
func (w *walker) leaves(name string) (bool, error) {
	// at is where the way has led to, ahead what is still to come: the rest of
	// a target, the rest of the path that had that link in it, and so on.
	var at []byte
	ahead := []string{name}
	links := 0
	for parts := 0; len(ahead) > 0; parts++ {
		if w.ctx.Err() != nil {
			return false, contextError(w.ctx)
		}
		if parts > maxLinkParts {
			return false, w.refuse(name, "is a link that leads through too many others")
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
		if len(at) > w.longest {
			continue
		}
		target, ok := w.links[string(at)]
		if !ok {
			continue
		}
		if strings.HasPrefix(target, "/") || filepath.VolumeName(target) != "" {
			return true, nil
		}
		if links++; links > maxLinks {
			return false, nil
		}
		at = at[:parent]
		ahead = append(ahead, target)
	}
	return false, nil
}

// maxFollows bounds the links that FollowSymlinks follows: they can multiply.
const maxFollows = 10_000

// follow packs what a link leads to in the place of the link.
func (w *walker) follow(e packEntry) ([]packEntry, error) {
	if *w.follows++; *w.follows > maxFollows {
		return nil, w.refuse(e.name, fmt.Sprintf("is one of more than %d links that lead out of the directory", maxFollows))
	}
	path := cmp.Or(e.from, dirTree(w.root).path(e.name))
	real, err := git.RealPath(path)
	if err != nil {
		return nil, argumentError(w.arg, quote(e.name)+" is a link that leads nowhere, to "+quote(e.link), err)
	}
	info, err := os.Stat(real)
	if err != nil {
		return nil, err
	}
	switch {
	case info.Mode().IsRegular():
		file := packEntry{name: e.name, from: real, run: w.runBy(nil, nil)}
		file.seen(info)
		return []packEntry{file}, nil
	case !info.IsDir():
		return nil, w.refuse(e.name, "leads to what is neither a file nor a directory")
	}
	for _, dir := range append(w.followed, w.root) {
		if rel, err := filepath.Rel(real, dir); err == nil && filepath.IsLocal(rel) {
			return nil, w.refuse(e.name, "is a link to a directory that it is in itself, "+quote(e.link))
		}
	}
	inner := &walker{
		ctx: w.ctx, arg: w.arg, tree: dirTree(real), root: real, spelled: real, opts: w.opts, look: w.look, skip: w.skip,
		links: map[string]string{}, followed: append(slices.Clone(w.followed), w.root), follows: w.follows, listed: w.listed,
	}
	start, err := inner.start()
	if err != nil {
		return nil, err
	}
	if err := inner.dir("", start); err != nil {
		return nil, err
	}
	if err := inner.resolveLinks(); err != nil {
		return nil, err
	}
	for i := range inner.entries {
		entry := &inner.entries[i]
		if entry.from == "" && entry.link == "" {
			entry.from = dirTree(real).path(entry.name)
		}
		entry.name = e.name + "/" + entry.name
	}
	w.listed.truncated = w.listed.truncated || inner.listed.truncated
	for _, out := range inner.out {
		w.leaveOut(e.name+"/"+out.Path, out.Reason)
	}
	for _, warning := range inner.warnings {
		w.warn(warning.Kind, e.name+"/"+warning.Path, warning.Text)
	}
	return inner.entries, nil
}
