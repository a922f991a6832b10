package git

import (
	"bytes"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"strings"
)

// Staged says whether the index differs from a commit within a directory
// (slash-separated, "" for the whole). known is false where the commit has no
// such directory.
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

// writeTree returns the name of the tree that the entries would be committed
// as, and how many of them there were below its directory. skip is the length
// of the directory's path with its slash.
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
			// A sparse index has the tree itself.
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

// Changed says whether a file differs from what the index has of it. A file
// that has the size and the time that git noted is the same; of any other the
// content is compared, as it is and with its line ends converted. What a filter
// has made of the content is not undone: such a file counts as changed once its
// time has.
func (r *Repo) Changed(x *Index, e *Entry, path string, info fs.FileInfo) (bool, error) {
	if e.Assumed || e.SkipWorktree {
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
	if link {
		target, err := os.Readlink(path)
		if err != nil {
			return false, err
		}
		return !bytes.Equal(r.blob(strings.NewReader(target), int64(len(target))), e.ID), nil
	}
	return r.contentChanged(e, path)
}

func (r *Repo) contentChanged(e *Entry, path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return false, err
	}
	if bytes.Equal(r.blob(f, info.Size()), e.ID) {
		return false, nil
	}
	// The length comes first in what is hashed, so that the conversion is done
	// twice.
	count := &lineEnds{w: io.Discard}
	if err := count.from(f); err != nil {
		return false, err
	}
	if count.n == info.Size() {
		return true, nil
	}
	h := r.blobHash(count.n)
	if err := (&lineEnds{w: h}).from(f); err != nil {
		return false, err
	}
	return !bytes.Equal(h.Sum(nil), e.ID), nil
}

func (r *Repo) blobHash(size int64) hash.Hash {
	h := newHash(r.idSize)
	fmt.Fprintf(h, "blob %d\x00", size)
	return h
}

// blob is the name of a file's object; a file that cannot be read has a name
// that no object has.
func (r *Repo) blob(src io.Reader, size int64) []byte {
	h := r.blobHash(size)
	if _, err := io.Copy(h, src); err != nil {
		return nil
	}
	return h.Sum(nil)
}

// lineEnds writes CR LF as LF and counts.
type lineEnds struct {
	w  io.Writer
	n  int64
	cr bool
}

func (l *lineEnds) from(f io.ReadSeeker) error {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if _, err := io.Copy(l, f); err != nil {
		return err
	}
	if l.cr {
		return l.put([]byte{'\r'})
	}
	return nil
}

func (l *lineEnds) put(b []byte) error {
	l.n += int64(len(b))
	_, err := l.w.Write(b)
	return err
}

func (l *lineEnds) Write(p []byte) (int, error) {
	all := len(p)
	if l.cr && all > 0 {
		l.cr = false
		if p[0] != '\n' {
			if err := l.put([]byte{'\r'}); err != nil {
				return 0, err
			}
		}
	}
	if all > 0 && p[all-1] == '\r' {
		l.cr, p = true, p[:all-1]
	}
	return all, l.put(bytes.ReplaceAll(p, []byte("\r\n"), []byte("\n")))
}
