package herokubuild

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"github.com/klauspost/pgzip"

	"github.com/herokubuild/herokubuild/internal/git"
)

const (
	// gzipLevel is where archives become as small as those of tar and gzip.
	gzipLevel = 6
	// gzipBlock is what one core compresses at a time. The archive depends on
	// it, but not on how many of them are under way, which is what memory
	// depends on.
	gzipBlock     = 512 << 10
	maxGzipBlocks = 12
)

// spool is a temporary file that holds an archive.
type spool struct {
	file *os.File
	// name is empty once the file is gone from its directory.
	name string
}

func newSpool(dir string) (*spool, error) {
	f, err := os.CreateTemp(dir, "herokubuild-*.tar.gz")
	if err != nil {
		return nil, fmt.Errorf("herokubuild: spooling an archive: %w", err)
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

// fill writes the archive, and hashes it on the way.
func (s *spool) fill(write func(w io.Writer) error) (*Archive, error) {
	hash := sha256.New()
	size := &countingWriter{w: io.MultiWriter(s.file, hash)}
	if err := write(size); err != nil {
		return nil, err
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

// archive packs what the walker finds. what is its name in errors.
func (w *walker) archive(what string) (a *Archive, err error) {
	spool, err := newSpool(w.opts.TempDir)
	if err != nil {
		return nil, err
	}
	defer func() {
		if a == nil {
			_ = spool.close()
		}
	}()
	if spool.name != "" {
		// It may lie in the tree.
		w.look = true
		if w.skip, err = spool.file.Stat(); err != nil {
			return nil, fmt.Errorf("herokubuild: spooling an archive: %w", err)
		}
	}
	plan := &planner{w: w}
	a, err = spool.fill(func(dst io.Writer) error { return w.pack(dst, plan) })
	if err != nil {
		return nil, packError(what, err)
	}
	if plan.plan.FileCount == 0 {
		return nil, w.nothing(what)
	}
	a.Plan = plan.finish()
	return a, nil
}

func packError(what string, err error) error {
	var bad *ArgumentError
	if errors.As(err, &bad) {
		return bad
	}
	return withClean(fmt.Errorf("herokubuild: packing %s: %w", what, err))
}

// pack writes the archive of the entries.
func (w *walker) pack(dst io.Writer, plan *planner) (err error) {
	out := &steadyWriter{w: dst}
	zw, err := pgzip.NewWriterLevel(out, gzipLevel)
	if err != nil {
		return err
	}
	if err := zw.SetConcurrency(gzipBlock, min(2*runtime.GOMAXPROCS(0), maxGzipBlocks)); err != nil {
		return err
	}
	// The zero time is not zero in the header.
	zw.ModTime = time.Unix(0, 0)
	// Its goroutines end before this does: Close sends them home, and Reset
	// waits for them.
	defer func() {
		closeErr := zw.Close()
		zw.Reset(io.Discard)
		if out.err != nil {
			err = out.err
		} else if err == nil {
			err = closeErr
		}
	}()

	p := &packer{w: w, tw: tar.NewWriter(zw), buf: make([]byte, 128<<10), prefix: tarPrefix(w.opts.Prefix)}
	err = w.walk(func(e *packEntry) error {
		if w.ctx.Err() != nil {
			return contextError(w.ctx)
		}
		if out.failed.Load() {
			return errEnough // and out.err is returned
		}
		if err := p.entry(e); err != nil {
			return err
		}
		return plan.add(e)
	})
	if err != nil {
		return err
	}
	return p.tw.Close()
}

// steadyWriter keeps its error to itself: a parallel compressor that is told of
// one leaves a goroutine behind.
type steadyWriter struct {
	w      io.Writer
	err    error
	failed atomic.Bool
}

func (s *steadyWriter) Write(p []byte) (int, error) {
	if s.err == nil {
		_, s.err = s.w.Write(p)
		s.failed.Store(s.err != nil)
	}
	return len(p), nil
}

// tarPrefix is what comes before every name.
func tarPrefix(prefix string) string {
	if prefix == "" {
		return ""
	}
	return strings.TrimSuffix(prefix, "/") + "/"
}

// packTime stands on every entry. (GNU tar calls 1970 implausibly old.)
func packTime() time.Time { return time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC) }

// packer writes the entries of one archive.
type packer struct {
	w      *walker
	tw     *tar.Writer
	buf    []byte
	prefix string
}

func (p *packer) entry(e *packEntry) error {
	// GNU's form has long names and sizes, and keeps the bytes of a name as
	// they are.
	header := &tar.Header{Format: tar.FormatGNU, Name: p.prefix + e.name, ModTime: packTime(), Mode: 0o644}
	if e.link != "" {
		header.Typeflag, header.Linkname, header.Mode = tar.TypeSymlink, e.link, 0o777
		return p.tw.WriteHeader(header)
	}
	header.Typeflag = tar.TypeReg
	f, err := p.w.open(e)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, errLink):
		return fmt.Errorf("%s is gone: %w", e.name, ErrArchiveChanged)
	case err != nil:
		return err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is no longer a file: %w", e.name, ErrArchiveChanged)
	}
	e.seen(info)
	src, err := p.w.converted(f, e)
	if err != nil {
		return err
	}
	if header.Size = e.size; e.run == runYes {
		header.Mode = 0o755
	}
	return p.file(src, e, header)
}

func (w *walker) open(e *packEntry) (fs.File, error) {
	if e.from != "" {
		return openFile(e.from)
	}
	return w.tree.open(e.name)
}

// converted returns what is packed of a file. If it is the one that git has but
// for line ends that git would convert, it is packed as it is committed, so that a
// commit gives the same archive on every system.
func (w *walker) converted(f fs.File, e *packEntry) (io.Reader, error) {
	file, ok := f.(io.ReadSeeker)
	if e.committed == nil || !ok {
		return f, nil
	}
	size, ok, err := e.committed.repo.AsCommitted(w.ctx, e.committed.entry, e.committed.ends, file)
	if err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	switch {
	case w.ctx.Err() != nil:
		return nil, contextError(w.ctx)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", e.name, err)
	case !ok:
		return f, nil
	}
	e.size = size
	return git.NewLineEndReader(file), nil
}

// measure finds out the size that a file has in the archive.
func (w *walker) measure(e *packEntry) error {
	if e.committed == nil {
		return nil
	}
	f, err := w.open(e)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return err
	}
	_, err = w.converted(f, e)
	return err
}

func (p *packer) file(f io.Reader, e *packEntry, header *tar.Header) error {
	// What is on a disk comes whole, so that a read that brings less than was
	// asked for has come to the end. Others have to say so.
	_, whole := f.(*os.File)
	started := false
	for done := int64(0); ; {
		if p.w.ctx.Err() != nil {
			return contextError(p.w.ctx)
		}
		// One byte more than announced shows that the file has grown.
		ask := p.buf[:min(int64(len(p.buf)), e.size-done+1)]
		n, err := f.Read(ask)
		ended := isEOF(err) || err == nil && whole && n < len(ask)
		if err != nil && !ended {
			return fmt.Errorf("%s: %w", e.name, err)
		}
		switch done += int64(n); {
		case done > e.size:
			return fmt.Errorf("%s grew: %w", e.name, ErrArchiveChanged)
		case ended && done < e.size:
			return fmt.Errorf("%s shrank: %w", e.name, ErrArchiveChanged)
		}
		if !started {
			started = true
			if e.run == runMagic && isProgram(ask[:n]) {
				header.Mode = 0o755
			}
			if err := p.tw.WriteHeader(header); err != nil {
				return err
			}
		}
		if _, err := p.tw.Write(ask[:n]); err != nil || ended {
			return err
		}
	}
}

// isProgram reports whether a file that begins like this is a script or a program
// that Linux runs.
func isProgram(start []byte) bool {
	return bytes.HasPrefix(start, []byte("#!")) || bytes.HasPrefix(start, []byte("\x7fELF"))
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
