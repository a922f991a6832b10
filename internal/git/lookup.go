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

// Index is what git tracks.
type Index struct {
	// Entries are in the order of their paths.
	Entries []Entry
	// Written is when the index was: an entry that was changed at that very
	// time may have changed once more since.
	Written time.Time

	repo *Repo
	// folded are the entries' numbers in the order of their paths without the
	// case of letters, where that does not count.
	folded []uint32
	// skips says that some files are not meant to be in the work tree.
	skips bool
	// sparse are the entries of directories that the index has as a whole,
	// each read when it is first asked for. It is nil if there are none.
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
		// Of several the first one counts.
		return cmp.Or(compareFolded(x.Entries[a].Path, x.Entries[b].Path), cmp.Compare(a, b))
	})
}

// compareFolded compares without the case of letters.
func compareFolded(a, b string) int {
	for i := range min(len(a), len(b)) {
		if c := cmp.Compare(lower(a[i]), lower(b[i])); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(a), len(b))
}

// within returns the directory that the index has as a whole and that a path is
// in, or nil.
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

// read reads one directory that is not checked out; those in it stay whole.
func (x *Index) read(dir string, id []byte) (*Index, error) {
	kind, data, err := x.repo.object(id)
	if err == nil && kind != "tree" {
		err = ErrFormat
	}
	if err != nil {
		return nil, fmt.Errorf("what git tracks in %s is not there: %w", dir, err)
	}
	inner := &Index{repo: x.repo, Written: x.Written}
	for len(data) > 0 {
		header, rest, ok := bytes.Cut(data, []byte{0})
		mode, name, space := strings.Cut(string(header), " ")
		if !ok || !space || name == "" || len(rest) < x.repo.idSize {
			return nil, fmt.Errorf("the tree of %s: %w", dir, ErrFormat)
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

// search returns where a path is, or would be.
func (x *Index) search(path string) int {
	return sort.Search(len(x.Entries), func(i int) bool { return x.Entries[i].Path >= path })
}

// exact returns the entry of this very path.
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

// Entry returns what is tracked under this path, nil if nothing is. Where the
// case of letters does not count, the very path comes first. One of the sides of
// a conflict stands for all.
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

// Tracks returns the name under which anything below a directory is tracked,
// which is not the directory's own if only the case of letters differs; it is
// empty if nothing is.
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
