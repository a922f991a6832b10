package herokubuild

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

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
}

// runBits says whether a file can be run.
type runBits uint8

const (
	runNo runBits = iota
	runYes
	// runMode: its mode says.
	runMode
	// runShebang: a script's first bytes do.
	runShebang
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
	readDir(name string) ([]fs.DirEntry, error)
	open(name string) (fs.File, error)
	readLink(name string) (string, error)
}

// dirTree is a directory of the operating system's.
type dirTree string

func (d dirTree) path(name string) string { return filepath.Join(string(d), filepath.FromSlash(name)) }

func (d dirTree) readDir(name string) ([]fs.DirEntry, error) { return os.ReadDir(d.path(name)) }

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

// fsTree is a file system of the caller's.
type fsTree struct{ fs.FS }

func fsName(name string) string {
	if name == "" {
		return "."
	}
	return name
}

func (f fsTree) readDir(name string) ([]fs.DirEntry, error) { return fs.ReadDir(f.FS, fsName(name)) }

func (f fsTree) open(name string) (fs.File, error) { return f.Open(name) }

func (f fsTree) readLink(name string) (string, error) { return fs.ReadLink(f.FS, name) }

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

func (c *checkout) entry(name string) *git.Entry {
	if c == nil {
		return nil
	}
	return c.index.Entry(c.path(name))
}

func (c *checkout) tracks(dir string) bool { return c != nil && c.index.Tracks(c.path(dir)) }

// walker finds out what of a tree is packed.
type walker struct {
	ctx context.Context
	// arg is the caller's name for what is packed, in errors.
	arg  string
	tree fileTree
	// root is the tree's directory, empty if it has none.
	root string
	opts ArchiveOptions
	// look is whether every file is looked at before it is opened: that takes
	// time, and packing does not need it.
	look bool
	// skip is a file that is not to be packed: the archive itself.
	skip fs.FileInfo

	include, exclude, slug []git.Pattern

	entries  []packEntry
	links    map[string]string
	out      []ArchiveOmission
	warnings []ArchiveWarning

	// found gets the entries, if it is set.
	found func(e packEntry) error
	// onFile and onSubmodule hear of everything that is packed and is, or could
	// be, git's.
	onFile      func(c *checkout, tracked *git.Entry, name string, info fs.FileInfo) error
	onSubmodule func(c *checkout, tracked *git.Entry, name string) error
	// followed are the directories that links have led to, one inside of the
	// other.
	followed []string
}

// scope is what is known of a directory.
type scope struct {
	checkout *checkout
	ignores  *git.Ignores
	// ignored is why git ignores the directory; only what it tracks is packed
	// then.
	ignored string
	// included is a directory that the caller asked for.
	included bool
}

func newWalker(ctx context.Context, arg string, opts *ArchiveOptions) (*walker, error) {
	w := &walker{ctx: ctx, arg: arg, links: map[string]string{}}
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
func newDirWalker(ctx context.Context, dir string, opts *ArchiveOptions) (*walker, error) {
	if err := checkDir("dir", dir); err != nil {
		return nil, err
	}
	w, err := newWalker(ctx, "dir", opts)
	if err != nil {
		return nil, err
	}
	// A walk does not follow a link, not even as its root.
	root, err := filepath.EvalSymlinks(dir)
	if err == nil {
		root, err = filepath.Abs(root)
	}
	if err != nil {
		return nil, &ArgumentError{Name: "dir", Reason: "the directory " + quote(dir) + " cannot be read", Err: err}
	}
	w.root, w.tree = root, dirTree(root)
	return w, nil
}

func newFSWalker(ctx context.Context, fsys fs.FS, opts *ArchiveOptions) (*walker, error) {
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

// walk fills in the entries, sorted by their names' bytes.
func (w *walker) walk() error {
	start, err := w.begin()
	if err != nil {
		return err
	}
	return w.finish(w.dir("", start))
}

// walkAlong does the same, and has each file dealt with while it looks for the
// next, so that packing need not wait for it.
func (w *walker) walkAlong(each func(e *packEntry) error) error {
	start, err := w.begin()
	if err != nil {
		return err
	}
	if w.opts.FollowSymlinks || start.checkout != nil && start.checkout.repo.Fold {
		// What is found may then not be in order, or not be packed as it is.
		if err := w.finish(w.dir("", start)); err != nil {
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
	var entries []packEntry
	for e := range found {
		if failed != nil {
			continue
		}
		if failed = each(&e); failed != nil {
			close(enough)
		}
		entries = append(entries, e)
	}
	err = <-ended
	if failed != nil {
		return failed
	}
	w.entries = entries
	return w.finish(err)
}

// errEnough ends a walk whose files nobody wants any more.
var errEnough = errors.New("enough")

// begin reads what the caller and Heroku leave out.
func (w *walker) begin() (scope, error) {
	data, err := w.readFile(".slugignore")
	if err != nil {
		return scope{}, err
	}
	for _, p := range git.ParsePatterns(data, ".slugignore", false) {
		if p.Negated {
			w.warn(WarnSlugIgnore, ".slugignore", fmt.Sprintf("line %d, %s: Heroku knows no exceptions in this file", p.Line, quote(p.Text)))
			continue
		}
		w.slug = append(w.slug, p)
	}
	return w.start()
}

// finish looks at what a walk has found as a whole. err is how it ended.
func (w *walker) finish(err error) error {
	if err == nil {
		err = w.resolveLinks()
	}
	if err != nil {
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
func byPath(a, b fs.DirEntry) int {
	x, y := a.Name(), b.Name()
	n := min(len(x), len(y))
	next := func(e fs.DirEntry) int {
		switch name := e.Name(); {
		case len(name) > n:
			return int(name[n])
		case e.IsDir():
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
	repo := git.Find(w.root)
	if repo == nil {
		return scope{ignores: git.UserIgnores()}, nil
	}
	above, err := filepath.Rel(repo.Root, w.root)
	if err != nil {
		return scope{}, err
	}
	if above = filepath.ToSlash(above); above == "." {
		above = ""
	}
	ignores, ignored := repo.Down(repo.Ignores(), above)
	c, err := w.checkout(repo)
	if err != nil {
		return scope{}, err
	}
	if above != "" {
		if !c.index.Tracks(above) && (ignored != nil || c.index.Entry(above) != nil) {
			// Whoever names a directory that the repository around it ignores
			// wants it packed.
			return scope{ignores: git.UserIgnores()}, nil
		}
		c.above = above + "/"
	}
	s := scope{checkout: c, ignores: ignores}
	if ignored != nil {
		s.ignored = whyIgnored(ignored)
	}
	return s, nil
}

func (w *walker) checkout(repo *git.Repo) (*checkout, error) {
	index, err := repo.Index()
	if err != nil {
		return nil, &ArgumentError{Name: w.arg, Reason: "what git tracks in " + quote(repo.Root) + " cannot be read: " + err.Error(), Err: err}
	}
	return &checkout{repo: repo, index: index}, nil
}

func whyIgnored(p *git.Pattern) string { return fmt.Sprintf("%s:%d: %s", p.Source, p.Line, p.Text) }

func (w *walker) warn(kind ArchiveWarningKind, path, text string) {
	w.warnings = append(w.warnings, ArchiveWarning{Kind: kind, Path: path, Text: text})
}

func (w *walker) leaveOut(path, reason string) {
	w.out = append(w.out, ArchiveOmission{Path: path, Reason: reason})
}

func (w *walker) refuse(name, reason string) error {
	return &ArgumentError{Name: w.arg, Reason: quote(name) + " " + reason}
}

// readFile reads a file that says what is packed; one that is not there is
// empty.
func (w *walker) readFile(name string) ([]byte, error) {
	f, err := w.tree.open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(f, git.MaxIgnoreFile))
}

// dir walks one directory; name is "" or ends with a slash.
func (w *walker) dir(name string, s scope) error {
	list, err := w.tree.readDir(strings.TrimSuffix(name, "/"))
	if err != nil {
		return err
	}
	if s.ignored == "" {
		for _, entry := range list {
			// Like git, links are not followed here.
			if entry.Name() != ".gitignore" || !entry.Type().IsRegular() {
				continue
			}
			data, err := w.readFile(name + ".gitignore")
			if err != nil {
				return err
			}
			s.ignores = s.with(name, data)
		}
	}
	slices.SortFunc(list, byPath)
	for _, entry := range list {
		if w.ctx.Err() != nil {
			return contextError(w.ctx)
		}
		path := name + entry.Name()
		if strings.EqualFold(entry.Name(), ".git") {
			continue
		}
		if out := w.leftOut(path, entry.IsDir()); out != nil {
			w.leaveOut(dirName(path, entry.IsDir()), whyIgnored(out))
			continue
		}
		inner := s
		if !inner.included {
			p := git.Last(w.include, path, entry.IsDir())
			inner.included = p != nil && !p.Negated
		}
		if entry.IsDir() {
			err = w.subdir(path, inner)
		} else {
			err = w.file(path, entry, inner)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func dirName(path string, dir bool) string {
	if dir {
		return path + "/"
	}
	return path
}

// with adds what a .gitignore file says.
func (s *scope) with(name string, data []byte) *git.Ignores {
	c, fold := s.checkout, false
	base := name
	if c != nil {
		base, fold = c.path(name), c.repo.Fold
	}
	return s.ignores.With(base, git.ParsePatterns(data, name+".gitignore", fold))
}

// match is the pattern by which git ignores a path, nil if it does not.
func (s *scope) match(path string, dir bool) *git.Pattern {
	if s.checkout != nil {
		path = s.checkout.path(path)
	}
	p := s.ignores.Match(path, dir)
	if p == nil || p.Negated {
		return nil
	}
	return p
}

// leftOut is the pattern, of the caller's or of .slugignore, by which a path is
// out whatever git says.
func (w *walker) leftOut(path string, dir bool) *git.Pattern {
	if p := git.Last(w.exclude, path, dir); p != nil && !p.Negated {
		return p
	}
	return git.Last(w.slug, path, dir)
}

func (w *walker) subdir(path string, s scope) error {
	tracked := s.checkout.entry(path)
	if tracked != nil && tracked.Mode == git.ModeGitlink && w.root != "" {
		return w.submodule(path, tracked, s)
	}
	tracks := s.checkout.tracks(path)
	if s.ignored == "" {
		if p := s.match(path, true); p != nil {
			s.ignored = whyIgnored(p)
		}
	}
	if s.ignored == "" && !tracks && !s.included && w.root != "" && git.Open(filepath.Join(w.root, filepath.FromSlash(path))) != nil {
		// git add takes no file of it.
		w.warn(WarnNestedRepository, path+"/", "is a git repository of its own and not a submodule: it is left out, as git would")
		w.leaveOut(path+"/", "a git repository of its own")
		return nil
	}
	if s.ignored != "" && !tracks && !s.included && !git.Below(w.include, path) {
		w.leaveOut(path+"/", s.ignored)
		return nil
	}
	return w.dir(path+"/", s)
}

// submodule packs what git tracks, and would, in a submodule.
func (w *walker) submodule(path string, tracked *git.Entry, s scope) error {
	repo := git.Open(filepath.Join(w.root, filepath.FromSlash(path)))
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
	c, err := w.checkout(repo)
	if err != nil {
		return err
	}
	c.base = path + "/"
	return w.dir(c.base, scope{checkout: c, ignores: repo.Ignores(), included: s.included})
}

func (w *walker) file(path string, entry fs.DirEntry, s scope) error {
	tracked := s.checkout.entry(path)
	if tracked == nil && !s.included {
		why := s.ignored
		if why == "" {
			if p := s.match(path, false); p != nil {
				why = whyIgnored(p)
			}
		}
		if why != "" {
			w.leaveOut(path, why)
			return nil
		}
	}
	info := fs.FileInfo(typeOnly{entry})
	if w.look {
		var err error
		if info, err = entry.Info(); errors.Is(err, fs.ErrNotExist) {
			// It has gone since its directory was read.
			return fmt.Errorf("%s is gone: %w", path, ErrArchiveChanged)
		} else if err != nil {
			return err
		}
		if w.skip != nil && os.SameFile(info, w.skip) {
			return nil
		}
	}
	if w.onFile != nil {
		if err := w.onFile(s.checkout, tracked, path, info); err != nil {
			return err
		}
	}
	e := packEntry{name: path}
	if tracked != nil && w.root != "" && tracked.Path != s.checkout.path(path) {
		// The file system has it in another case than git, whose word counts.
		e.name, e.from = s.checkout.base+strings.TrimPrefix(tracked.Path, s.checkout.above), dirTree(w.root).path(path)
	}
	var err error
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		if e.link, err = w.tree.readLink(path); err != nil {
			return err
		}
		w.links[e.name] = e.link
	case info.Mode().IsRegular():
		if e.link, err = w.plainLink(path, tracked, s); err != nil {
			return err
		}
		if e.link != "" {
			w.links[e.name] = e.link
			break
		}
		e.run = runBy(tracked, s.checkout)
		e.seen(info)
	default:
		return w.refuse(path, "is neither a file, a directory nor a link")
	}
	if w.found != nil {
		return w.found(e)
	}
	w.entries = append(w.entries, e)
	return nil
}

// typeOnly is a file of which the directory has told the type.
type typeOnly struct{ fs.DirEntry }

func (t typeOnly) Mode() fs.FileMode  { return t.Type() }
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
func runBy(tracked *git.Entry, c *checkout) runBits {
	switch {
	case runtime.GOOS != "windows" && (c == nil || c.repo.FileMode):
		return runMode
	case tracked == nil:
		return runShebang
	case tracked.Mode == git.ModeExec:
		return runYes
	}
	return runNo
}

// resolveLinks finds the links that lead out of the tree, by themselves or by
// way of other links.
func (w *walker) resolveLinks() error {
	kept := w.entries[:0]
	var more []packEntry
	for _, e := range w.entries {
		if e.link == "" || !w.leaves(e.name) {
			kept = append(kept, e)
			continue
		}
		if !w.opts.FollowSymlinks || w.root == "" {
			return w.refuse(e.name, "is a link that leads out of the directory, to "+quote(e.link))
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

// leaves says whether a link points out of the root, when it is followed in the
// unpacked tree.
func (w *walker) leaves(name string) bool {
	const most = 255
	var at []string
	ahead := strings.Split(name, "/")
	for links := 0; len(ahead) > 0; {
		part := ahead[0]
		ahead = ahead[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			if len(at) == 0 {
				return true
			}
			at = at[:len(at)-1]
			continue
		}
		at = append(at, part)
		target, ok := w.links[strings.Join(at, "/")]
		if !ok {
			continue
		}
		if strings.HasPrefix(target, "/") || filepath.VolumeName(target) != "" {
			return true
		}
		if links++; links > most {
			// It leads round in circles, and so nowhere.
			return false
		}
		at = at[:len(at)-1]
		ahead = append(strings.Split(target, "/"), ahead...)
	}
	return false
}

// follow packs what a link leads to in the place of the link.
func (w *walker) follow(e packEntry) ([]packEntry, error) {
	path := dirTree(w.root).path(e.name)
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, &ArgumentError{Name: w.arg, Reason: quote(e.name) + " is a link that leads nowhere, to " + quote(e.link), Err: err}
	}
	info, err := os.Lstat(real)
	if err != nil {
		return nil, err
	}
	switch {
	case info.Mode().IsRegular():
		file := packEntry{name: e.name, from: real, run: runBy(nil, nil)}
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
		ctx: w.ctx, arg: w.arg, tree: dirTree(real), root: real, opts: w.opts, look: w.look, skip: w.skip,
		links: map[string]string{}, followed: append(slices.Clone(w.followed), w.root),
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
	for _, out := range inner.out {
		w.leaveOut(e.name+"/"+out.Path, out.Reason)
	}
	for _, warning := range inner.warnings {
		w.warn(warning.Kind, e.name+"/"+warning.Path, warning.Text)
	}
	return inner.entries, nil
}
