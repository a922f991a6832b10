// Package untar unpacks gzipped tar archives that are not trusted. Whatever an
// archive contains, nothing outside of the directory is written, linked to or
// read, and the limits hold.
package untar

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"

	"github.com/herokubuild/herokubuild/internal/clean"
	"github.com/herokubuild/herokubuild/internal/ioutil"
)

// Options sets the limits of an archive and what to do with its symbolic links.
type Options struct {
	// MaxFiles bounds the number of files, links and directories, including
	// directories that no entry names.
	MaxFiles int
	// MaxBytes bounds the total size of the files.
	MaxBytes int64
	// SkipOutsideLinks skips symbolic links that lead out of the directory.
	SkipOutsideLinks bool
	// SkipLinks skips all symbolic links.
	SkipLinks bool
}

// Kind is the category of an [EntryError].
type Kind int

const (
	// Failed is a damaged archive, or an error of the reader or the file system.
	Failed Kind = iota
	// Unsafe is an entry that no well-meant archive has.
	Unsafe
	// TooLarge is an archive that exceeds a limit.
	TooLarge
	// UnsupportedName is a name that this system does not support.
	UnsupportedName
	// LinksNotPermitted is a symbolic link that this system does not permit.
	LinksNotPermitted
	// Canceled is the end of the context.
	Canceled
)

// EntryError is the only error type that [Unpack] returns.
type EntryError struct {
	// Entry is the entry's name in the archive; empty if the error is about the
	// archive as a whole.
	Entry string
	// Reason describes the problem; empty if Err does.
	Reason string
	// Kind is the category.
	Kind Kind
	// Err is the cause, if there is one. It is as the reader or the system
	// returned it, so it may be io.EOF.
	Err error
	// Cleanup is why what had been unpacked could not be removed; nil if it was.
	Cleanup error
}

// Error implements error.
func (e *EntryError) Error() string {
	if e.Reason != "" {
		return fmt.Sprintf("unpack %q: %s", e.Entry, e.Reason)
	}
	return fmt.Sprintf("unpack %q: %v", e.Entry, e.Err)
}

// Unwrap returns the cause.
func (e *EntryError) Unwrap() error { return e.Err }

func refuse(reason string) error { return &EntryError{Kind: Unsafe, Reason: reason} }

func exceed(reason string) error { return &EntryError{Kind: TooLarge, Reason: reason} }

const (
	// maxNameLen bounds a name, which could be a megabyte long.
	maxNameLen = 4096
	// maxPathDepth bounds how deeply directories are nested: the time that the
	// system takes to resolve a path grows with its depth.
	maxPathDepth = 255
	// maxLinkText bounds the memory that symbolic links take until they are created.
	maxLinkText = 64 << 20
	// entryOverhead bounds the headers of an entry. Most take 512 bytes; long names
	// and link targets take more.
	entryOverhead = 4 << 10
	// archiveSlack allows for the rest of an archive, such as the padding at its end.
	archiveSlack = 1 << 20
	// removeBatch is the number of directory entries that are read at once.
	removeBatch = 256
)

// Unpack unpacks a gzipped tar archive into root, which must be empty, and reads r
// to its end. After an error root is empty again. Every error is an [*EntryError].
func Unpack(ctx context.Context, r io.Reader, root *os.Root, o Options) error {
	u := unpacker{
		ctx: ctx, root: root, left: o, buf: make([]byte, 128<<10),
		dirs: map[nameKey]struct{}{keyOf("."): {}}, linked: map[nameKey]struct{}{},
	}
	failed := u.archive(&contextReader{ctx: ctx, r: r})
	if failed == nil {
		return nil
	}
	failed.Cleanup = removeContents(root, ".")
	return failed
}

// unpacker writes one archive below root.
//
// Three rules keep everything below root. os.Root refuses every path that leads
// out, also through links. Everything is created with calls that fail if the path
// exists: a path whose directories are all in dirs passes through no link, however
// the file system compares names. And symbolic links are created last, so that none
// exists while anything else is created.
type unpacker struct {
	ctx  context.Context
	root *os.Root
	// left has what remains of the limits.
	left Options
	// dirs has the directories that were created, linked the names of the links
	// that will be.
	dirs, linked map[nameKey]struct{}
	links        []symlink
	// linkText is the length of the names and targets in links.
	linkText int
	buf      []byte
}

// nameKey identifies a path. A path may be 4 KiB long, and half a million of those
// would take too much memory.
type nameKey [sha256.Size]byte

func keyOf(name string) nameKey { return sha256.Sum256([]byte(name)) }

func (u *unpacker) archive(r io.Reader) *EntryError {
	packed, err := gzip.NewReader(bufio.NewReaderSize(r, 64<<10))
	if err != nil {
		return inEntry("", err)
	}
	unpacked := &limitedReader{r: packed, left: u.mostUnpacked()}
	tr := tar.NewReader(unpacked)
	for {
		header, err := tr.Next()
		if ioutil.IsEOF(err) {
			break
		}
		if err != nil {
			return inEntry("", err)
		}
		if err := u.entry(tr, header); err != nil {
			return inEntry(header.Name, err)
		}
	}
	// Only the end of the stream shows that nothing is missing and returns the error
	// of a wrong checksum.
	if _, err := io.Copy(io.Discard, unpacked); err != nil {
		return inEntry("", err)
	}
	return u.makeLinks()
}

// mostUnpacked bounds the unpacked stream. It covers what MaxFiles and MaxBytes do
// not count: headers and trailing data.
func (u *unpacker) mostUnpacked() int64 {
	files, bytes := int64(u.left.MaxFiles), u.left.MaxBytes
	if bytes > math.MaxInt64-archiveSlack || files > (math.MaxInt64-archiveSlack-bytes)/entryOverhead {
		return math.MaxInt64
	}
	return bytes + files*entryOverhead + archiveSlack
}

// inEntry returns err as an error about an entry.
func inEntry(entry string, err error) *EntryError {
	var e *EntryError
	if !errors.As(err, &e) {
		return &EntryError{Entry: entry, Err: err}
	}
	if e.Entry == "" {
		e.Entry = entry
	}
	return e
}

// contextReader checks the context before each read.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if err := canceled(c.ctx); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

func canceled(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	return &EntryError{Kind: Canceled, Err: context.Cause(ctx)}
}

type limitedReader struct {
	r    io.Reader
	left int64
}

func (l *limitedReader) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, exceed("headers or trailing data are too large")
	}
	n, err := l.r.Read(p[:min(int64(len(p)), l.left)])
	l.left -= int64(n)
	return n, err
}

// count counts one file, link or directory.
func (u *unpacker) count() error {
	if u.left.MaxFiles--; u.left.MaxFiles < 0 {
		return exceed("more files and directories than allowed")
	}
	return nil
}

func (u *unpacker) entry(content io.Reader, header *tar.Header) error {
	if err := canceled(u.ctx); err != nil {
		return err
	}
	switch header.Typeflag {
	case tar.TypeXGlobalHeader:
		return u.count()
	case tar.TypeDir, tar.TypeReg, tar.TypeGNUSparse, tar.TypeSymlink, tar.TypeLink:
	default:
		return refuse(fmt.Sprintf("a device, pipe or other special file (type %q)", header.Typeflag))
	}
	name, err := entryName(header.Name)
	if err != nil {
		return err
	}
	if header.Typeflag == tar.TypeDir {
		return u.mkdir(name)
	}
	if err := u.prepare(name); err != nil {
		return err
	}
	switch header.Typeflag {
	case tar.TypeSymlink:
		return u.symlink(header, name)
	case tar.TypeLink:
		return u.hardLink(header, name)
	}
	return u.file(content, header, name)
}

// prepare makes the directory of a file or link, counts it, and checks that its name
// is not that of a link.
func (u *unpacker) prepare(name string) error {
	if name == "." {
		return refuse("it would replace the directory itself")
	}
	if err := u.mkdir(filepath.Dir(name)); err != nil {
		return err
	}
	if err := u.count(); err != nil {
		return err
	}
	return u.checkLinked(name)
}

// checkLinked refuses the name of a symbolic link that is yet to be created.
func (u *unpacker) checkLinked(name string) error {
	if _, linked := u.linked[keyOf(name)]; linked {
		return refuse("the archive already has a link " + clean.Quote(filepath.ToSlash(name)))
	}
	return nil
}

// explain turns the failure to create something that exists into the reason for it.
func (u *unpacker) explain(name string, err error) error {
	if err == nil {
		return nil
	}
	if _, missing := u.root.Lstat(name); missing != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return refuse("the archive has " + clean.Quote(filepath.ToSlash(name)) + " twice, or under two names that are the same on this system")
}

// mkdir creates a directory and its parents. All of them count, since a single name
// can stand for thousands.
func (u *unpacker) mkdir(name string) error {
	key := keyOf(name)
	if _, made := u.dirs[key]; made {
		return nil
	}
	if err := u.mkdir(filepath.Dir(name)); err != nil {
		return err
	}
	if err := u.count(); err != nil {
		return err
	}
	if err := u.checkLinked(name); err != nil {
		return err
	}
	if err := u.explain(name, u.root.Mkdir(name, 0o755)); err != nil {
		return err
	}
	// Some systems create the target of a dangling link instead of failing.
	switch info, err := u.root.Lstat(name); {
	case err != nil:
		return err
	case !info.IsDir():
		return refuse(clean.Quote(filepath.ToSlash(name)) + " is not the directory that was created")
	}
	u.dirs[key] = struct{}{}
	return nil
}

func (u *unpacker) file(content io.Reader, header *tar.Header, name string) (err error) {
	// The size is checked before anything is written: for a sparse file it is the
	// size after expansion.
	if header.Size > u.left.MaxBytes {
		return exceed("more bytes than allowed")
	}
	u.left.MaxBytes -= header.Size
	f, err := u.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return u.explain(name, err)
	}
	defer func() {
		if closed := f.Close(); err == nil {
			err = closed
		}
	}()
	// The wrapper hides the file's own ReadFrom, which would not use the buffer. The
	// context is checked here too, since a sparse file can be long without a read of
	// the archive.
	if _, err := io.CopyBuffer(struct{ io.Writer }{f}, &contextReader{ctx: u.ctx, r: content}, u.buf); err != nil {
		return err
	}
	return f.Chmod(0o600 | fs.FileMode(header.Mode)&0o755) //nolint:gosec // masked
}

// removeContents empties a directory. It holds no directory open while it descends,
// so that few descriptors are enough for any depth.
func removeContents(root *os.Root, dir string) error {
	for {
		entries, err := readBatch(root, dir)
		if err != nil || len(entries) == 0 {
			return err
		}
		var failed error
		for _, e := range entries {
			if err := removeEntry(root, filepath.Join(dir, e.Name()), e.IsDir()); err != nil && failed == nil {
				failed = err
			}
		}
		if failed != nil {
			return failed
		}
	}
}

func removeEntry(root *os.Root, name string, isDir bool) error {
	if isDir {
		if err := removeContents(root, name); err != nil {
			return err
		}
	}
	return root.Remove(name)
}

func readBatch(root *os.Root, dir string) ([]fs.DirEntry, error) {
	f, err := root.Open(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	entries, err := f.ReadDir(removeBatch)
	if ioutil.IsEOF(err) {
		err = nil
	}
	return entries, err
}
