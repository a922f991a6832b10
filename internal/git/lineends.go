package git

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
)

// LineEnds is what git does with the line ends of a file that it adds.
type LineEnds uint8

const (
	// LineEndsKept keeps them.
	LineEndsKept LineEnds = iota
	// LineEndsText converts CR LF to LF.
	LineEndsText
	// LineEndsAuto converts them if the content is text.
	LineEndsAuto
)

// lineEndConfig is the configuration of line ends and sparse checkouts.
type lineEndConfig struct {
	// auto is core.autocrlf: text files without attributes are converted.
	auto bool
	// sparse is set if files outside of the sparse checkout are not expected to
	// exist.
	sparse bool
}

func (r *Repo) configureLineEnds() error {
	var err error
	if r.lineEnds.auto, err = r.config.autoCRLF(); err != nil {
		return err
	}
	if r.lineEnds.sparse, err = r.config.bool("core.sparsecheckout", false); err != nil {
		return err
	}
	expect, err := r.config.bool("sparse.expectfilesoutsideofpatterns", false)
	r.lineEnds.sparse = r.lineEnds.sparse && !expect
	return err
}

// autoCRLF reports whether core.autocrlf has CR LF converted to LF.
func (c config) autoCRLF() (bool, error) {
	if strings.EqualFold(c["core.autocrlf"].text, "input") {
		return true, nil
	}
	return c.bool("core.autocrlf", false)
}

// LineEnds returns what git does with a file's line ends when it is added. crlf says
// that an attribute requires CR LF in every work tree.
func (r *Repo) LineEnds(ctx context.Context, attributes *Attributes, path string) (ends LineEnds, crlf bool) {
	if attributes.any() {
		set := attributes.of(ctx, path)
		crlf = set["eol"] == "crlf"
		text, ok := set["text"]
		if !ok || text != attrTrue && text != attrFalse && text != "auto" && text != "input" {
			// This is its name in old versions of git.
			text = set["crlf"]
		}
		switch {
		case text == attrFalse:
			return LineEndsKept, false
		case text == "auto":
			return LineEndsAuto, crlf
		case text == attrTrue, text == "input", crlf, set["eol"] == "lf":
			return LineEndsText, crlf
		}
	}
	if r.lineEnds.auto {
		return LineEndsAuto, false
	}
	return LineEndsKept, false
}

// errStop ends a copy early.
var errStop = errors.New("stop")

// AsCommitted reports whether a file differs from the index only by line ends that
// git would convert, and its size after the conversion. It reads f from the start
// and leaves it at any position.
func (r *Repo) AsCommitted(ctx context.Context, e *Entry, ends LineEnds, f io.ReadSeeker) (size int64, ok bool, err error) {
	if ends == LineEndsKept || e.Mode != ModeFile && e.Mode != ModeExec || e.Stage != 0 || e.IntentToAdd {
		return 0, false, nil
	}
	// Most files have no CR.
	cr := false
	err = copyFrom(ctx, writerFunc(func(p []byte) error {
		if cr = bytes.IndexByte(p, '\r') >= 0; cr {
			return errStop
		}
		return nil
	}), f)
	if !cr || err != nil && !errors.Is(err, errStop) {
		return 0, false, err
	}
	var stats textStats
	if err := copyFrom(ctx, writerFunc(stats.add), f); err != nil {
		return 0, false, err
	}
	if stats.crlf == 0 || ends == LineEndsAuto && stats.binary() {
		return 0, false, nil
	}
	size = stats.size - stats.crlf
	h := r.blobHash(size)
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return 0, false, err
	}
	if err := copyAll(ctx, h, NewLineEndReader(f)); err != nil {
		return 0, false, err
	}
	return size, string(h.Sum(nil)) == e.ID, nil
}

type writerFunc func(p []byte) error

func (w writerFunc) Write(p []byte) (int, error) { return len(p), w(p) }

// copyFrom copies a file from its start, until the context ends.
func copyFrom(ctx context.Context, w io.Writer, f io.ReadSeeker) error {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return copyAll(ctx, w, f)
}

func copyAll(ctx context.Context, w io.Writer, f io.Reader) error {
	buf := make([]byte, 32<<10)
	for {
		if ctx.Err() != nil {
			return fmt.Errorf("read file: %w", context.Cause(ctx))
		}
		n, err := f.Read(buf)
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return err
			}
		}
		if err == io.EOF { //nolint:errorlint // A wrapped io.EOF is a failure below the reader.
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// textStats counts what git uses to distinguish text from binary content.
type textStats struct {
	size, crlf, lone, nul, printable, unprintable int64
	cr                                            bool
	last                                          byte
}

func (s *textStats) add(p []byte) error {
	for _, c := range p {
		s.size++
		if s.cr {
			s.cr = false
			if c == '\n' {
				s.crlf++
				s.last = c
				continue
			}
			s.lone++
		}
		s.last = c
		switch {
		case c == '\r':
			s.cr = true
		case c == '\n':
		case c == '\b', c == '\t', c == 0x1b, c == '\f':
			s.printable++
		case c == 0:
			s.nul++
			s.unprintable++
		case c < ' ', c == 0x7f:
			s.unprintable++
		default:
			s.printable++
		}
	}
	return nil
}

func (s *textStats) binary() bool {
	unprintable := s.unprintable
	if s.last == 0x1a {
		unprintable--
	}
	return s.cr || s.lone > 0 || s.nul > 0 || s.printable>>7 < unprintable
}

// lineEndReader converts CR LF to LF.
type lineEndReader struct{ r *bufio.Reader }

// NewLineEndReader returns a reader that converts CR LF in r to LF.
func NewLineEndReader(r io.Reader) io.Reader { return lineEndReader{bufio.NewReaderSize(r, 32<<10)} }

// Read implements io.Reader.
func (l lineEndReader) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		c, err := l.r.ReadByte()
		if err != nil {
			return n, err
		}
		if c == '\r' {
			if next, _ := l.r.Peek(1); len(next) == 1 && next[0] == '\n' {
				continue
			}
		}
		p[n] = c
		n++
	}
	return n, nil
}
