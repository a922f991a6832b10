package herokubuild

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/herokubuild/herokubuild/internal/logstream"
	"github.com/herokubuild/herokubuild/internal/transport"
)

// StreamOptions configures how an output stream is read. nil and the zero value are
// the defaults.
type StreamOptions struct {
	// IdleTimeout is the silence, without output or heartbeat, after which the
	// connection is replaced. The platform sends a heartbeat every 10 s. Default
	// 60 s.
	IdleTimeout time.Duration
	// FinalTimeout bounds how long output may keep coming after the status has
	// become final. Only the time that the stream takes counts, and not the
	// reader's. Output that comes at 4 MiB a second or faster may take longer,
	// up to 1 GiB, and so may output whose length the stream host has
	// announced, at 4 KiB a second or faster. Default 15 s.
	FinalTimeout time.Duration
	// Offset is how many bytes of the output to skip: [OutputStream.Offset] of a
	// stream that was read earlier. They are transferred and dropped, because the
	// stream host counts NULs that the output itself has, and Offset does not.
	// Default 0.
	Offset int64
	// OnHeartbeat, if not nil, is called while a read waits and the platform
	// has sent a heartbeat and no output: the build or release phase is alive.
	// It is called at most once a second, however many heartbeats arrive. quiet
	// is the time since output last came, or since the stream was first
	// connected. Default: none.
	OnHeartbeat func(quiet time.Duration)

	// backoff, if not nil, replaces the client's.
	backoff Backoff
}

func (o *StreamOptions) withDefaults() (StreamOptions, error) {
	var d StreamOptions
	if o != nil {
		d = *o
	}
	switch {
	case d.IdleTimeout < 0:
		return d, &ArgumentError{Name: "StreamOptions.IdleTimeout", Reason: "is negative"}
	case d.FinalTimeout < 0:
		return d, &ArgumentError{Name: "StreamOptions.FinalTimeout", Reason: "is negative"}
	case d.Offset < 0:
		return d, &ArgumentError{Name: "StreamOptions.Offset", Reason: "is negative"}
	}
	if d.IdleTimeout == 0 {
		d.IdleTimeout = time.Minute
	}
	if d.FinalTimeout == 0 {
		d.FinalTimeout = 15 * time.Second
	}
	return d, nil
}

// OutputStream reads the output of a build or of a release phase: its bytes as
// they were written, each once and in order, without the NUL heartbeats that
// keep the connection open. It delivers each byte as soon as it has arrived.
//
// Connections that break, stall or end too early are replaced, and URLs that have
// expired renewed; see the package documentation's section on streaming. The end of
// the stream (io.EOF) is the end of the output. It is not the outcome, which Wait
// returns.
//
// Read, WriteTo and Lines are for one goroutine at a time. Close, Offset and
// LastActivity are safe for concurrent use.
type OutputStream struct {
	ctx    context.Context //nolint:containedctx // It governs the whole of the stream.
	cancel context.CancelCauseFunc
	name   string
	host   *streamHost
	reader *logstream.Reader
	err    error

	// pending, a part of buf, is what has been received and not yet given to the
	// caller; offset is how much output the caller has been given.
	buf, pending []byte
	offset       atomic.Int64
}

// String returns the URL of the stream without the signature.
func (s *OutputStream) String() string { return s.name }

// Offset returns how many bytes of output the caller has been given, including those
// skipped by [StreamOptions].Offset: what Read has returned, what the writer of
// WriteTo has accepted, and the lines that Lines has yielded, with their ends.
// A stream that is opened with this as its Offset continues with the next byte.
// Heartbeats do not count.
func (s *OutputStream) Offset() int64 { return s.offset.Load() }

// LastActivity returns when output or a heartbeat last arrived; zero before the
// first. Activity without output is a sign that a quiet build is alive.
func (s *OutputStream) LastActivity() time.Time { return s.reader.Active() }

// Close ends the stream; a read that waits returns at once.
func (s *OutputStream) Close() error {
	// A read never waits for anything that does not end with the context,
	// including the connection's body.
	s.cancel(errStreamClosed)
	return nil
}

// Read reads output. It returns 0 bytes only with an error or for an empty p.
//
// Errors: io.EOF at the end of the output, and never otherwise; the context's
// error; and a [*StreamError] if the rest of the output cannot be read, which
// matches [ErrOutputTruncated] if the platform no longer has what was read so far.
func (s *OutputStream) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if len(s.pending) > 0 {
		n := copy(p, s.pending)
		s.give(n)
		return n, nil
	}
	n, err := s.receive(p)
	s.offset.Add(int64(n))
	return n, err
}

// give returns the first n pending bytes and counts them as given to the caller.
func (s *OutputStream) give(n int) []byte {
	given := s.pending[:n]
	s.pending = s.pending[n:]
	s.offset.Add(int64(n))
	return given
}

// receive reads output from the network into p, which is not empty.
func (s *OutputStream) receive(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.reader.Read(p)
	if err != nil {
		s.err = s.streamError(err)
		s.cancel(errStreamClosed)
	}
	return n, s.err
}

// copyBuffer is large enough that system calls cost little compared with copying.
const copyBuffer = 128 << 10

// WriteTo writes the output to w as it comes, until its end, which is no error.
// It implements io.WriterTo, so that io.Copy needs no buffer of its own. What w
// did not accept is not lost: the next Read, WriteTo or Lines begins with it.
func (s *OutputStream) WriteTo(w io.Writer) (int64, error) {
	var written int64
	for {
		if len(s.pending) > 0 {
			n, err := writeAll(w, s.pending)
			s.give(n)
			written += int64(n)
			if err != nil {
				return written, err
			}
		}
		if len(s.buf) < copyBuffer {
			s.buf = make([]byte, copyBuffer)
		}
		n, err := s.receive(s.buf)
		s.pending = s.buf[:n]
		if isEOF(err) {
			return written, nil
		}
		if err != nil {
			return written, err
		}
	}
}

var errInvalidWrite = errors.New("the writer returned an invalid count")

// writeAll reports an incomplete write as an error.
func writeAll(w io.Writer, p []byte) (int, error) {
	n, err := w.Write(p)
	switch {
	case n < 0 || n > len(p):
		n = 0
		if err == nil {
			err = errInvalidWrite
		}
	case n < len(p) && err == nil:
		err = io.ErrShortWrite
	}
	return n, err
}

// maxLine bounds the length of a line, longLine that with its end.
const (
	maxLine  = 64 << 10
	longLine = maxLine + len("\r\n")
)

// Lines iterates over the lines of the output, without their ends ("\n" or
// "\r\n"). A line is yielded when it is complete; one longer than 64 KiB in
// several parts. An error ends the iteration; it comes with an empty line. The
// end of the output is not an error.
//
// Another loop over Lines, a Read or a WriteTo may continue after a break. It begins
// with the line after the last one that was yielded.
func (s *OutputStream) Lines() iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for {
			line, err := s.line()
			if len(line) > 0 {
				text, whole := bytes.CutSuffix(line, []byte("\n"))
				if whole {
					text = bytes.TrimSuffix(text, []byte("\r"))
				}
				if !yield(string(text), nil) {
					return
				}
			}
			if isEOF(err) {
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
// ended the output.
func (s *OutputStream) line() ([]byte, error) {
	searched := 0
	for {
		within := s.pending[:min(len(s.pending), longLine)]
		if i := bytes.IndexByte(within[searched:], '\n'); i >= 0 {
			return s.give(searched + i + 1), nil
		}
		if len(within) == longLine {
			return s.give(longLine), nil
		}
		searched = len(within)
		if err := s.more(); err != nil {
			return s.give(len(s.pending)), err
		}
	}
}

// more receives more output than what is pending, which is shorter than longLine.
func (s *OutputStream) more() error {
	if len(s.buf) < longLine {
		s.buf = append(make([]byte, 0, longLine), s.pending...)[:longLine]
		s.pending = s.buf[:len(s.pending)]
	}
	if cap(s.pending) < longLine {
		// There is no room behind it in the buffer.
		s.pending = s.buf[:copy(s.buf, s.pending)]
	}
	have := len(s.pending)
	n, err := s.receive(s.pending[have:cap(s.pending)])
	s.pending = s.pending[:have+n]
	return err
}

// DropHeartbeats returns a reader of r without its NUL bytes, the platform's
// heartbeats. It does not buffer, and never returns 0 bytes without an error,
// however many heartbeats there are. If r keeps returning neither bytes nor an
// error, the error is io.ErrNoProgress.
func DropHeartbeats(r io.Reader) io.Reader { return &heartbeatFilter{r: r} }

type heartbeatFilter struct {
	r        io.Reader
	progress transport.Progress
}

func (f *heartbeatFilter) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		n, err := f.r.Read(p)
		err = f.progress.Check(n, err)
		if n = logstream.DropNULs(p[:n]); n > 0 || err != nil {
			return n, err
		}
	}
}

func (s *OutputStream) logInterruption(offset int64, cause error) {
	s.host.api.log.LogAttrs(s.ctx, slog.LevelInfo, "herokubuild: output stream interrupted, reconnecting",
		slog.String("stream", s.name), slog.Int64("offset", offset), slog.String("error", clip(s.host.redact(cause).Error(), maxErrorText)))
}

// streamError converts the error of a read.
func (s *OutputStream) streamError(err error) error {
	if isEOF(err) {
		return err
	}
	if errors.Is(context.Cause(s.ctx), errStreamClosed) {
		return errStreamClosed
	}
	e := &StreamError{URL: s.name, Offset: s.reader.Position()}
	if s.ctx.Err() != nil {
		e.Err = withoutEOF(contextError(s.ctx))
		return e
	}
	var cause *logstream.Error
	if errors.As(err, &cause) {
		e.StatusCode, err = cause.Status, cause.Err
	}
	e.Err = withoutEOF(s.host.redact(err))
	return e
}
