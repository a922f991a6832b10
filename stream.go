package herokubuild

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/herokubuild/herokubuild/internal/ioutil"
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
		if ioutil.IsEOF(err) {
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
	progress ioutil.Progress
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
	if ioutil.IsEOF(err) {
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

// outputEnds reports whether nothing more is written to the output of a process with
// this status. Only a pending process writes, whatever else its status may be.
func outputEnds(status Status) bool { return status != StatusPending }

// streamHost makes the requests for the output of one build or release. An
// OutputStream has a pointer to it, so that fmt does not print the signed URL.
type streamHost struct {
	api *apiClient
	url SecretURL
	// renew returns the current status and a freshly signed URL.
	renew func(context.Context) (Status, SecretURL, error)
	// hide has the secrets of the last connection.
	hide        redactor
	connections int
}

func (h *streamHost) redact(err error) error { return cleanURLError(h.hide.err(err)) }

// status requests whether the status is final, and uses the URL that comes with it
// from now on.
func (h *streamHost) status(ctx context.Context) (bool, error) {
	status, signed, err := h.renew(ctx)
	switch {
	case errors.Is(err, ErrUnauthorized), errors.Is(err, ErrForbidden), errors.Is(err, ErrNotFound):
		return false, &logstream.Error{Kind: logstream.Permanent, Err: err}
	case err != nil:
		return false, err
	}
	if _, err := checkWebURL("OutputStreamURL", signed.Reveal()); err == nil {
		h.url = signed
	}
	return outputEnds(status), nil
}

// dial requests the output from an offset, without the API key.
func (h *streamHost) dial(ctx context.Context, from int64) (*logstream.Response, error) {
	h.connections++
	attempt := attemptLog{method: http.MethodGet, url: h.url.String(), attempt: h.connections, started: time.Now()}
	resp, err := h.request(ctx, from) //nolint:bodyclose // The reader of the output closes it.
	h.hide = newRedactor(secretsOf(h.url.Reveal())...).after(resp)
	attempt.hide = h.hide
	attempt.write(ctx, h.api.log, resp, err)
	switch {
	case errors.Is(err, transport.ErrRedirect):
		return nil, &logstream.Error{Kind: logstream.Permanent, Err: cleanURLError(err)}
	case err != nil:
		return nil, err
	}
	body := resp.Body
	// Not every transport ends a read with the context.
	unwatch := context.AfterFunc(ctx, func() { _ = body.Close() })
	defer unwatch()
	out, err := h.response(resp)
	if err != nil {
		_ = body.Close()
		return nil, err
	}
	return out, nil
}

func (h *streamHost) request(ctx context.Context, from int64) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.url.Reveal(), nil)
	if err != nil {
		return nil, &logstream.Error{Kind: logstream.Permanent, Err: errors.New("the URL cannot be requested")}
	}
	req.Header.Set("User-Agent", h.api.userAgent)
	req.Header.Set("Accept", "text/plain")
	// A compressed stream would be held back until a block is full.
	req.Header.Set("Accept-Encoding", "identity")
	if from >= 0 {
		offset := strconv.FormatInt(from, 10)
		req.Header.Set("Range", "bytes="+offset+"-")
		// Heroku's published stream host treats this Range as "from 0", and honors
		// this header for plain text, too.
		req.Header.Set("Last-Event-Id", offset)
	}
	return h.api.storage.Do(req)
}

// response converts the head of a response.
func (h *streamHost) response(resp *http.Response) (*logstream.Response, error) {
	out := &logstream.Response{Status: resp.StatusCode, Start: logstream.Unknown, Total: logstream.Unknown, Body: resp.Body}
	contentRange := resp.Header.Get("Content-Range")
	switch resp.StatusCode {
	case http.StatusOK:
		out.Content = logstream.Whole
	case http.StatusPartialContent:
		out.Content = logstream.Part
		if start, total, ok := transport.ContentRange(contentRange); ok {
			out.Start, out.Total = start, total
		}
	case http.StatusNoContent, http.StatusRequestedRangeNotSatisfiable:
		out.Content = logstream.Nothing
		if total, ok := unsatisfied(contentRange); ok {
			out.Total = total
		}
		return out, nil
	default:
		return nil, h.refusal(resp)
	}
	gzipped, err := transport.Gzipped(resp.Header)
	if err != nil {
		return nil, &logstream.Error{Kind: logstream.Permanent, Status: resp.StatusCode, Err: err}
	}
	out.Gzip = gzipped
	return out, nil
}

// refusal returns the error of a response that is not output.
func (h *streamHost) refusal(resp *http.Response) error {
	status := resp.StatusCode
	text := strconv.Itoa(status) + " " + http.StatusText(status)
	if line := firstLine(h.hide.lines(string(transport.ReadErrorBody(resp)), maxErrorText)); line != "" {
		text += ": " + line
	}
	e := &logstream.Error{Kind: logstream.Unsupported, Status: status, Err: errors.New(text)}
	switch {
	case status == http.StatusNotFound:
		e.Kind = logstream.Missing
	case status == http.StatusForbidden, status == http.StatusUnauthorized, status == http.StatusGone:
		e.Kind = logstream.Denied
	case status >= 500, status == http.StatusTooManyRequests, status == http.StatusRequestTimeout:
		e.Kind = logstream.Unavailable
	}
	return e
}

// unsatisfied returns the length of the whole from the Content-Range of a response
// without content.
func unsatisfied(header string) (total int64, ok bool) {
	text, ok := strings.CutPrefix(header, "bytes */")
	if !ok {
		return 0, false
	}
	total, err := strconv.ParseInt(text, 10, 64)
	return total, err == nil && total >= 0
}

var errStreamClosed = errors.New("the output stream is closed")
