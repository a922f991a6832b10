package logstream

import (
	"bytes"
	"io"
	"iter"
	"strings"
	"sync/atomic"

	"github.com/herokubuild/herokubuild/internal/ioutil"
)

// Text gives out what a reader receives: as bytes, to a writer, or line by line, in any
// order of calls and each byte once. It is for one goroutine at a time, except Offset.
type Text struct {
	source io.Reader
	// pending, a part of buf, is what has been received and not yet given out; offset is
	// how much has been given out.
	buf, pending []byte
	// filled is set if the last read filled most of the room in buf.
	filled bool
	offset atomic.Int64
}

// NewText returns the text of a reader, of which offset bytes have been given out before.
func NewText(source io.Reader, offset int64) *Text {
	t := &Text{source: source}
	t.offset.Store(offset)
	return t
}

// Offset returns how many bytes have been given out.
func (t *Text) Offset() int64 { return t.offset.Load() }

// Read implements io.Reader.
func (t *Text) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if len(t.pending) > 0 {
		n := copy(p, t.pending)
		t.give(n)
		return n, nil
	}
	n, err := t.source.Read(p)
	t.offset.Add(int64(n))
	return n, err
}

// give returns the first n pending bytes and counts them as given out.
func (t *Text) give(n int) []byte {
	given := t.pending[:n]
	t.pending = t.pending[n:]
	t.offset.Add(int64(n))
	return given
}

// WriteTo implements io.WriterTo. What w did not accept is pending for the next call.
func (t *Text) WriteTo(w io.Writer) (int64, error) {
	var written int64
	for {
		if len(t.pending) > 0 {
			n, err := ioutil.WriteAll(w, t.pending)
			t.give(n)
			written += int64(n)
			if err != nil {
				return written, err
			}
		}
		err := t.more(copyBuffer)
		if ioutil.IsEOF(err) {
			return written, nil
		}
		if err != nil {
			return written, err
		}
	}
}

// maxLine bounds the length of a line, longLine that with its end.
const (
	maxLine  = 64 << 10
	longLine = maxLine + len("\r\n")
)

// Lines iterates over the lines without their ends. A longer line than 64 KiB is yielded
// in several parts. An error comes with an empty line and ends the iteration.
func (t *Text) Lines() iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for {
			line, err := t.line()
			if len(line) > 0 {
				text, whole := bytes.CutSuffix(line, []byte("\n"))
				if whole {
					text = bytes.TrimSuffix(text, []byte("\r"))
				}
				if !yield(string(text), nil) {
					return
				}
			}
			if ioutil.IsEOF(err) {
				return
			}
			if err != nil {
				yield("", err)
				return
			}
		}
	}
}

// line returns the next line with its end, or an incomplete one with the error that
// ended the text.
func (t *Text) line() ([]byte, error) {
	searched := 0
	for {
		within := t.pending[:min(len(t.pending), longLine)]
		if i := bytes.IndexByte(within[searched:], '\n'); i >= 0 {
			return t.give(searched + i + 1), nil
		}
		if len(within) == longLine {
			return t.give(longLine), nil
		}
		searched = len(within)
		if err := t.more(longLine); err != nil {
			return t.give(len(t.pending)), err
		}
	}
}

const (
	// firstBuffer is enough for most builds, of which thousands may be followed at once.
	firstBuffer = 4 << 10
	// copyBuffer is large enough that system calls cost little compared with copying.
	copyBuffer = 128 << 10
)

// more receives more than what is pending. The buffer grows up to most while reads fill it.
func (t *Text) more(most int) error {
	into := t.buf
	if t.filled && len(into) < most || len(into) == 0 {
		into = make([]byte, min(max(2*len(into), firstBuffer), most))
	}
	t.pending, t.buf = into[:copy(into, t.pending)], into
	room := into[len(t.pending):]
	n, err := t.source.Read(room)
	t.filled = n > len(room)/2
	t.pending = into[:len(t.pending)+n]
	return err
}

// WithoutHeartbeats returns a reader of r without its NUL bytes. It does not buffer, and
// never returns 0 bytes without an error.
func WithoutHeartbeats(r io.Reader) io.Reader { return &heartbeatFilter{r: r} }

type heartbeatFilter struct {
	r        io.Reader
	progress ioutil.Progress
}

func (f *heartbeatFilter) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		n, err := f.r.Read(p)
		err = f.progress.Check(n, err)
		if n = DropNULs(p[:n]); n > 0 || err != nil {
			return n, err
		}
	}
}

// Tail keeps the end of a log. The zero value is empty.
type Tail struct{ text []byte }

const (
	tailLines = 20
	tailBytes = 8 << 10
)

// Add appends to the log.
func (t *Tail) Add(p []byte) {
	t.text = append(t.text, p[max(len(p)-tailBytes, 0):]...)
	// Trimming at every write would copy the whole tail each time.
	if over := len(t.text) - tailBytes; over > tailBytes {
		t.text = append(t.text[:0], t.text[over:]...)
	}
}

// String returns the last lines. Invalid UTF-8 is replaced.
func (t *Tail) String() string {
	text := strings.TrimRight(string(t.text), "\n")
	start := max(len(text)-tailBytes, 0)
	lines := strings.Split(text[start:], "\n")
	if start > 0 && len(lines) > 1 {
		// The first line is incomplete.
		lines = lines[1:]
	}
	lines = lines[max(len(lines)-tailLines, 0):]
	return strings.ToValidUTF8(strings.Join(lines, "\n"), "\uFFFD")
}
