package git

import (
	"bytes"
	"context"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Staged reports whether the index differs from a commit within a directory (with
// slashes, "" for the root). known is false if the commit has no such directory.
func (r *Repo) Staged(x *Index, commit, dir string) (staged, known bool, err error) {
	want, err := r.tree(commit, dir)
	if err != nil || want == nil {
		return false, false, err
	}
	prefix := ""
	if dir != "" {
		prefix = dir + "/"
	}
	var entries []Entry
	for _, e := range x.Entries {
		if !strings.HasPrefix(e.Path, prefix) {
			continue
		}
		if e.Stage != 0 || e.IntentToAdd {
			return true, true, nil
		}
		entries = append(entries, e)
	}
	have, _ := r.writeTree(entries, len(prefix))
	return !bytes.Equal(have, want), true, nil
}

// writeTree returns the ID of the tree as which the entries would be committed, and
// how many of them are below its directory. skip is the length of the directory's
// path with its slash.
func (r *Repo) writeTree(entries []Entry, skip int) (id []byte, used int) {
	var body bytes.Buffer
	prefix := ""
	if len(entries) > 0 {
		prefix = entries[0].Path[:skip]
	}
	for used < len(entries) && strings.HasPrefix(entries[used].Path, prefix) {
		e := &entries[used]
		name, _, deeper := strings.Cut(e.Path[skip:], "/")
		switch {
		case e.Mode == ModeDir:
			// A sparse index has the ID of the tree.
			fmt.Fprintf(&body, "40000 %s\x00%s", name, e.ID)
			used++
		case deeper:
			sub, n := r.writeTree(entries[used:], skip+len(name)+1)
			fmt.Fprintf(&body, "40000 %s\x00%s", name, sub)
			used += n
		default:
			fmt.Fprintf(&body, "%o %s\x00%s", e.Mode, name, e.ID)
			used++
		}
	}
	h := newHash(r.idSize)
	fmt.Fprintf(h, "tree %d\x00%s", body.Len(), body.Bytes())
	return h.Sum(nil), used
}

// Changed reports whether a file differs from the index, as git does. A file with
// the size and time in the index is unchanged; a file of another size is changed,
// unless the size in the index is 0; any other file is compared by content, with its
// line ends converted where git would convert them. The effect of a filter is not
// undone: such a file counts as changed once its time has.
func (r *Repo) Changed(ctx context.Context, x *Index, e *Entry, attributes *Attributes, path string, info fs.FileInfo) (bool, error) {
	if e.Assumed || e.SkipWorktree && !r.lineEnds.sparse {
		return false, nil
	}
	link := info.Mode()&fs.ModeSymlink != 0
	switch {
	case e.Stage != 0 || e.IntentToAdd:
		return true, nil
	case e.Mode == ModeLink && !link && r.Symlinks, link && e.Mode != ModeLink, !link && !info.Mode().IsRegular():
		return true, nil
	case !link && r.FileMode && e.Mode != ModeLink && info.Mode()&0o100 != 0 != (e.Mode == ModeExec):
		return true, nil
	}
	t := info.ModTime()
	//nolint:gosec // the index keeps the lower half
	same := uint32(info.Size()) == e.Size && uint32(t.Unix()) == e.MTimeSec && (e.MTimeN == 0 || uint32(t.Nanosecond()) == e.MTimeN)
	if same && t.Before(x.Written) {
		return false, nil
	}
	if !link && e.Size != 0 && uint32(info.Size()) != e.Size { //nolint:gosec // as above
		return true, nil
	}
	if link {
		target, err := os.Readlink(path)
		if err != nil {
			return false, err
		}
		h := r.blobHash(int64(len(target)))
		_, _ = io.WriteString(h, filepath.ToSlash(target))
		return string(h.Sum(nil)) != e.ID, nil
	}
	return r.contentChanged(ctx, e, attributes, path)
}

func (r *Repo) contentChanged(ctx context.Context, e *Entry, attributes *Attributes, path string) (bool, error) {
	f, info, err := OpenFileNoFollow(path)
	if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }()
	ends, _ := r.LineEnds(ctx, attributes, e.Path)
	_, same, err := r.AsCommitted(ctx, e, ends, f)
	if same || err != nil {
		return false, err
	}
	h := r.blobHash(info.Size())
	if err := copyFrom(ctx, h, f); err != nil {
		return false, err
	}
	if string(h.Sum(nil)) != e.ID {
		return true, nil
	}
	if ends != LineEndsText {
		return false, nil
	}
	// The commit has CR LF, which git would now convert.
	var stats textStats
	err = copyFrom(ctx, writerFunc(stats.add), f)
	return stats.crlf > 0, err
}

func (r *Repo) blobHash(size int64) hash.Hash {
	h := newHash(r.idSize)
	fmt.Fprintf(h, "blob %d\x00", size)
	return h
}
