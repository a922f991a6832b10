package herokubuild

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Archive is a gzipped tar archive that can be read as often as needed: an
// upload that has to be repeated opens it again. [ArchiveDir], [ArchiveFile]
// and [ArchiveBytes] make one; a program may also fill in the fields itself.
type Archive struct {
	// Size is the archive's length in bytes.
	Size int64
	// SHA256 is its SHA-256.
	SHA256 [sha256.Size]byte
	// Open returns a reader of the whole archive from its start. It may be
	// called several times, and the readers used at the same time.
	Open func() (io.ReadCloser, error)

	close func() error
}

// Checksum returns the SHA-256 as the API writes it: "SHA256:" and hex digits.
func (a *Archive) Checksum() string { return "SHA256:" + hex.EncodeToString(a.SHA256[:]) }

// Close removes what the archive keeps on disk. Archives of files and bytes
// keep nothing; closing them does nothing.
func (a *Archive) Close() error {
	if a == nil || a.close == nil {
		return nil
	}
	return a.close()
}

func (a *Archive) check() error {
	switch {
	case a == nil:
		return &ArgumentError{Name: "archive", Reason: "is nil"}
	case a.Size <= 0:
		return &ArgumentError{Name: "archive", Reason: "is empty"}
	case a.Open == nil:
		return &ArgumentError{Name: "archive", Reason: "has no Open function"}
	}
	return nil
}

// ArchiveOptions sets how [ArchiveDir] packs. nil is the default.
type ArchiveOptions struct {
	// TempDir is where the archive is spooled. Default: the system's
	// directory for temporary files.
	TempDir string
}

// ArchiveDir packs a directory as a gzipped tar archive, the form in which the
// platform takes source code. The archive is spooled to a temporary file, so
// that memory stays constant; [Archive.Close] removes it (on Unix nothing is
// left behind even if the program is killed).
//
// Packed are all regular files and symbolic links, with their run bits; ".git"
// is left out at every level, as are directories without files. Entries are
// sorted, and their times and owners fixed, so that the same tree gives the
// same bytes.
//
// Errors: an [*ArgumentError] that names it for a directory that does not exist
// or has no files, a link that leads out of the directory, and a socket, device
// or pipe; one that matches [ErrArchiveChanged] for a file that changes its
// size while it is packed; the context's.
func ArchiveDir(ctx context.Context, dir string, opts *ArchiveOptions) (*Archive, error) {
	if err := checkDir("dir", dir); err != nil {
		return nil, err
	}
	var o ArchiveOptions
	if opts != nil {
		o = *opts
	}
	// A walk does not follow a link, not even as its root.
	root, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, &ArgumentError{Name: "dir", Reason: "the directory " + quote(dir) + " cannot be read", Err: err}
	}
	spool, err := newSpool(o.TempDir)
	if err != nil {
		return nil, fmt.Errorf("herokubuild: spooling an archive: %w", err)
	}
	a, err := spool.pack(ctx, root)
	if err != nil {
		_ = spool.close()
		return nil, err
	}
	return a, nil
}

func checkDir(field, dir string) error {
	if dir == "" {
		return &ArgumentError{Name: field, Reason: "a directory is needed"}
	}
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &ArgumentError{Name: field, Reason: "the directory " + quote(dir) + " does not exist", Err: err}
	case err != nil:
		return &ArgumentError{Name: field, Reason: "the directory " + quote(dir) + " cannot be read", Err: err}
	case !info.IsDir():
		return &ArgumentError{Name: field, Reason: quote(dir) + " is not a directory"}
	}
	return nil
}

// spool is a temporary file that holds an archive.
type spool struct {
	file *os.File
	// name is empty once the file is gone from its directory.
	name string
}

func newSpool(dir string) (*spool, error) {
	f, err := os.CreateTemp(dir, "herokubuild-*.tar.gz")
	if err != nil {
		return nil, err
	}
	s := &spool{file: f, name: f.Name()}
	// An open file outlives its name where the system allows it, and then
	// nothing can leave it behind.
	if os.Remove(s.name) == nil {
		s.name = ""
	}
	return s, nil
}

func (s *spool) close() error {
	err := s.file.Close()
	if s.name != "" {
		err = errors.Join(err, os.Remove(s.name))
	}
	return err
}

func (s *spool) pack(ctx context.Context, dir string) (*Archive, error) {
	hash := sha256.New()
	size := &countingWriter{w: io.MultiWriter(s.file, hash)}
	zw := gzip.NewWriter(size)
	tw := tar.NewWriter(zw)

	skip, err := s.file.Stat()
	if err != nil {
		return nil, fmt.Errorf("herokubuild: spooling an archive: %w", err)
	}
	p := packer{ctx: ctx, root: dir, tw: tw, skip: skip, buf: make([]byte, 128<<10)}
	if err := filepath.WalkDir(dir, p.visit); err != nil {
		var bad *ArgumentError
		if errors.As(err, &bad) {
			return nil, bad
		}
		return nil, fmt.Errorf("herokubuild: packing %s: %w", dir, err)
	}
	if p.files == 0 {
		return nil, &ArgumentError{Name: "dir", Reason: "the directory " + quote(dir) + " has no files to build"}
	}
	if err := errors.Join(tw.Close(), zw.Close()); err != nil {
		return nil, fmt.Errorf("herokubuild: packing %s: %w", dir, err)
	}
	a := &Archive{
		Size: size.n,
		Open: func() (io.ReadCloser, error) {
			// Readers share the file, not its position.
			return io.NopCloser(io.NewSectionReader(s.file, 0, size.n)), nil
		},
		close: s.close,
	}
	hash.Sum(a.SHA256[:0])
	return a, nil
}

type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// packer writes one tree into one tar archive.
type packer struct {
	ctx   context.Context
	root  string
	tw    *tar.Writer
	skip  fs.FileInfo
	buf   []byte
	files int
}

// packTime stands on every entry. (GNU tar calls 1970 implausibly old.)
func packTime() time.Time { return time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC) }

func (p *packer) visit(path string, entry fs.DirEntry, err error) error {
	if err != nil {
		return err
	}
	if err := p.ctx.Err(); err != nil {
		return contextError(p.ctx)
	}
	rel, err := filepath.Rel(p.root, path)
	if err != nil {
		return err
	}
	if entry.Name() == ".git" && rel != "." {
		// A worktree or a submodule has a file of that name.
		if entry.IsDir() {
			return fs.SkipDir
		}
		return nil
	}
	if entry.IsDir() {
		return nil
	}
	info, err := entry.Info()
	if err != nil {
		return err
	}
	if os.SameFile(info, p.skip) {
		return nil
	}
	name := filepath.ToSlash(rel)
	header := &tar.Header{Name: name, ModTime: packTime(), Mode: 0o644}
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		target, err := os.Readlink(path)
		if err != nil {
			return err
		}
		target = filepath.ToSlash(target)
		if leaves(name, target) {
			return &ArgumentError{Name: "dir", Reason: "the link " + quote(name) + " leads out of the directory, to " + quote(target)}
		}
		header.Typeflag, header.Linkname, header.Mode = tar.TypeSymlink, target, 0o777
		p.files++
		return p.tw.WriteHeader(header)
	case info.Mode().IsRegular():
		header.Typeflag, header.Size = tar.TypeReg, info.Size()
		if info.Mode()&0o111 != 0 {
			header.Mode = 0o755
		}
		p.files++
		return p.file(path, header)
	default:
		return &ArgumentError{Name: "dir", Reason: quote(name) + " is neither a file, a directory nor a link"}
	}
}

// leaves says whether a link at name (slash-separated, relative to the root)
// points out of the root.
func leaves(name, target string) bool {
	if strings.HasPrefix(target, "/") || filepath.VolumeName(target) != "" {
		return true
	}
	depth := strings.Count(name, "/")
	for _, part := range strings.Split(target, "/") {
		switch part {
		case "", ".":
		case "..":
			if depth--; depth < 0 {
				return true
			}
		default:
			depth++
		}
	}
	return false
}

func (p *packer) file(path string, header *tar.Header) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if err := p.tw.WriteHeader(header); err != nil {
		return err
	}
	// One byte more than announced shows that the file has grown.
	src := &contextReader{ctx: p.ctx, r: io.LimitReader(f, header.Size+1)}
	var done int64
	for {
		n, err := src.Read(p.buf)
		done += int64(n)
		if done > header.Size {
			return fmt.Errorf("%s grew: %w", header.Name, ErrArchiveChanged)
		}
		if _, werr := p.tw.Write(p.buf[:n]); werr != nil {
			return werr
		}
		switch {
		case errors.Is(err, io.EOF) && done < header.Size:
			return fmt.Errorf("%s shrank: %w", header.Name, ErrArchiveChanged)
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, contextError(c.ctx)
	}
	return c.r.Read(p)
}

// ArchiveFile takes a gzipped tar archive that exists already. The file is read
// once, for its checksum, and again for each upload; it must not change in
// between.
//
// Errors: an [*ArgumentError] for a file that does not exist, is empty or is
// not a gzipped tar archive with at least one entry; the context's.
func ArchiveFile(ctx context.Context, path string) (*Archive, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, &ArgumentError{Name: "archive", Reason: quote(path) + " cannot be opened", Err: err}
	}
	defer func() { _ = f.Close() }()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, &ArgumentError{Name: "archive", Reason: quote(path) + " is not a regular file", Err: err}
	}
	a, err := readArchive(&contextReader{ctx: ctx, r: f})
	if err != nil {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("herokubuild: reading %s: %w", path, contextError(ctx))
		}
		return nil, &ArgumentError{Name: "archive", Reason: quote(path) + " is not a gzipped tar archive", Err: err}
	}
	a.Open = func() (io.ReadCloser, error) { return os.Open(path) }
	return a, nil
}

// ArchiveBytes takes a gzipped tar archive from memory. The bytes are not
// copied and must not change. Errors: an [*ArgumentError] for bytes that are
// not a gzipped tar archive with at least one entry.
func ArchiveBytes(b []byte) (*Archive, error) {
	a, err := readArchive(bytes.NewReader(b))
	if err != nil {
		return nil, &ArgumentError{Name: "archive", Reason: "the bytes are not a gzipped tar archive", Err: err}
	}
	a.Open = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
	return a, nil
}

// readArchive measures and hashes an archive and looks at its first entry.
func readArchive(r io.Reader) (*Archive, error) {
	hash := sha256.New()
	size := &countingWriter{w: hash}
	tee := io.TeeReader(r, size)
	zr, err := gzip.NewReader(tee)
	if err != nil {
		return nil, err
	}
	if _, err := tar.NewReader(zr).Next(); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, errors.New("it has no entries")
		}
		return nil, err
	}
	// What gzip has buffered has been hashed; this is the rest.
	if _, err := io.Copy(io.Discard, tee); err != nil {
		return nil, err
	}
	a := &Archive{Size: size.n}
	hash.Sum(a.SHA256[:0])
	return a, nil
}
