package git

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"time"
)

// Index lists the files that git tracks.
type Index struct {
	// Entries are sorted by path.
	Entries []Entry
	// Written is when the index was written. A file that was changed at the same
	// time may have changed again since.
	Written time.Time

	repo *Repo
	// folded are the indexes of the entries, sorted by path without regard to
	// case, if case does not count.
	folded []uint32
	// skips is set if some files are excluded from the work tree (skip-worktree).
	skips bool
	// sparse are the contents of directories that are a single entry of the
	// index, each read on first use. It is nil if there are none.
	sparse map[string]*Index
}

// Index reads the index. A repository without one tracks nothing.
func (r *Repo) Index() (*Index, error) {
	path := filepath.Join(r.dir, "index")
	x := &Index{repo: r}
	f, info, err := OpenFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return x, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	if info.Size() > maxIndex {
		return nil, fmt.Errorf("%s is larger than %d bytes: %w", path, maxIndex, ErrFormat)
	}
	var data strings.Builder
	data.Grow(int(info.Size()))
	if _, err := io.Copy(&data, io.LimitReader(f, info.Size())); err != nil {
		return nil, err
	}
	if x.Entries, err = ParseIndex(data.String(), r.idSize); err != nil {
		return nil, err
	}
	x.Written = info.ModTime()
	x.prepare()
	return x, nil
}

func (x *Index) prepare() {
	for i := range x.Entries {
		e := &x.Entries[i]
		x.skips = x.skips || e.SkipWorktree
		if e.Mode == ModeDir && x.sparse == nil {
			x.sparse = map[string]*Index{}
		}
	}
	if !x.repo.Fold {
		return
	}
	x.folded = make([]uint32, len(x.Entries))
	for i := range x.folded {
		x.folded[i] = uint32(i) //nolint:gosec // an index has fewer
	}
	slices.SortFunc(x.folded, func(a, b uint32) int {
		// Of several equal paths the first one counts.
		return cmp.Or(compareFolded(x.Entries[a].Path, x.Entries[b].Path), cmp.Compare(a, b))
	})
}

// compareFolded compares without regard to case.
func compareFolded(a, b string) int {
	for i := range min(len(a), len(b)) {
		if c := cmp.Compare(lower(a[i]), lower(b[i])); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(a), len(b))
}

// within returns the index that has a path: x itself, or that of a directory that is
// a single entry of x.
func (x *Index) within(path string) (*Index, error) {
	if x.sparse == nil {
		return x, nil
	}
	for i := range len(path) {
		if path[i] != '/' {
			continue
		}
		dir := path[:i+1]
		inner, ok := x.sparse[dir]
		if !ok {
			at := x.search(dir)
			if at == len(x.Entries) || x.Entries[at].Path != dir || x.Entries[at].Mode != ModeDir {
				continue
			}
			var err error
			if inner, err = x.read(dir, []byte(x.Entries[at].ID)); err != nil {
				return nil, err
			}
			x.sparse[dir] = inner
		}
		return inner.within(path)
	}
	return x, nil
}

// read reads a directory that is not checked out. Its subdirectories are single
// entries.
func (x *Index) read(dir string, id []byte) (*Index, error) {
	kind, data, err := x.repo.object(id)
	if err == nil && kind != "tree" {
		err = ErrFormat
	}
	if err != nil {
		return nil, fmt.Errorf("read git tree of %s: %w", dir, err)
	}
	inner := &Index{repo: x.repo, Written: x.Written}
	for len(data) > 0 {
		header, rest, ok := bytes.Cut(data, []byte{0})
		mode, name, space := strings.Cut(string(header), " ")
		if !ok || !space || name == "" || len(rest) < x.repo.idSize {
			return nil, fmt.Errorf("git tree of %s: %w", dir, ErrFormat)
		}
		e := Entry{Path: dir + name, ID: string(rest[:x.repo.idSize]), SkipWorktree: true}
		switch mode {
		case "40000":
			e.Mode, e.Path = ModeDir, e.Path+"/"
		case "100755":
			e.Mode = ModeExec
		case "120000":
			e.Mode = ModeLink
		case "160000":
			e.Mode = ModeGitlink
		default:
			e.Mode = ModeFile
		}
		inner.Entries = append(inner.Entries, e)
		data = rest[x.repo.idSize:]
	}
	slices.SortFunc(inner.Entries, func(a, b Entry) int { return strings.Compare(a.Path, b.Path) })
	inner.prepare()
	return inner, nil
}

// search returns the index of a path in Entries, or of where it would be.
func (x *Index) search(path string) int {
	return sort.Search(len(x.Entries), func(i int) bool { return x.Entries[i].Path >= path })
}

// exact returns the entry of a path, with regard to case.
func (x *Index) exact(path string) (*Entry, error) {
	x, err := x.within(path)
	if err != nil {
		return nil, err
	}
	if at := x.search(path); at < len(x.Entries) && x.Entries[at].Path == path {
		return &x.Entries[at], nil
	}
	return nil, nil
}

// Entry returns the entry of a path, nil if it is not tracked. If case does not
// count, an exact match takes precedence. For a conflict it returns one of the
// sides.
func (x *Index) Entry(path string) (*Entry, error) {
	e, err := x.exact(path)
	if err != nil || e != nil || !x.repo.Fold {
		return e, err
	}
	if x, err = x.within(path); err != nil {
		return nil, err
	}
	if at := x.searchFolded(path); at < len(x.folded) {
		if e := &x.Entries[x.folded[at]]; compareFolded(e.Path, path) == 0 {
			return e, nil
		}
	}
	return nil, nil
}

func (x *Index) searchFolded(path string) int {
	return sort.Search(len(x.folded), func(i int) bool { return compareFolded(x.Entries[x.folded[i]].Path, path) >= 0 })
}

// Tracks returns the path under which files below a directory are tracked, which
// differs from the directory's own if only the case of letters does. It is empty if
// no file is tracked.
func (x *Index) Tracks(dir string) (string, error) {
	prefix := dir + "/"
	x, err := x.within(prefix)
	if err != nil {
		return "", err
	}
	if at := x.search(prefix); at < len(x.Entries) && strings.HasPrefix(x.Entries[at].Path, prefix) {
		return dir, nil
	}
	if at := x.searchFolded(prefix); at < len(x.folded) {
		path := x.Entries[x.folded[at]].Path
		if len(path) >= len(prefix) && compareFolded(path[:len(prefix)], prefix) == 0 {
			return path[:len(dir)], nil
		}
	}
	return "", nil
}
