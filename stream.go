package herokubuild

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// StreamOptions sets how an output stream is read. nil and the zero value are
// the defaults.
type StreamOptions struct {
	// IdleTimeout is the silence, without output or heartbeat, after which
	// the connection is taken for dead. The platform sends a heartbeat every
	// 10 s. Default 60 s.
	IdleTimeout time.Duration
	// StartTimeout is how long a stream that does not exist yet is waited
	// for: a release's appears some seconds after the release. Default 30 s.
	StartTimeout time.Duration
}

func (o *StreamOptions) withDefaults() (StreamOptions, error) {
	var d StreamOptions
	if o != nil {
		d = *o
	}
	switch {
	case d.IdleTimeout < 0:
		return d, &ArgumentError{Name: "StreamOptions.IdleTimeout", Reason: "is negative"}
	case d.StartTimeout < 0:
		return d, &ArgumentError{Name: "StreamOptions.StartTimeout", Reason: "is negative"}
	}
	if d.IdleTimeout == 0 {
		d.IdleTimeout = time.Minute
	}
	if d.StartTimeout == 0 {
		d.StartTimeout = 30 * time.Second
	}
	return d, nil
}

// OutputStream reads the output of a build or of a release phase: its bytes as
// they were written, without the NUL heartbeats that keep the connection open.
// A byte is handed on as soon as it has arrived.
//
// The end of the stream (io.EOF) is the end of the output. It is not the
// outcome: ask for that with Wait.
//
// Read, WriteTo and Lines are for one goroutine at a time. Close, Offset and
// LastActivity may be called from any.
type OutputStream struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	// dial sends the request; the closure keeps the signed URL out of what
	// fmt can print.
	dial func(ctx context.Context) (*http.Response, error)
	name string
	opts StreamOptions

	mu   sync.Mutex
	body io.ReadCloser

	idle     *time.Timer
	err      error
	offset   atomic.Int64
	activity atomic.Int64
}

var errStreamClosed = errors.New("herokubuild: the output stream is closed")

// openStream makes the stream at a signed URL. The first read connects.
func openStream(ctx context.Context, c *Client, signed SecretURL, opts *StreamOptions) (*OutputStream, error) {
	if c == nil || c.storage == nil {
		return nil, &ArgumentError{Name: "Client", Reason: errNoClient.Error()}
	}
	o, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	if signed == "" {
		return nil, fmt.Errorf("herokubuild: %w", ErrNoOutput)
	}
	if _, err := checkWebURL("OutputStreamURL", signed.Reveal()); err != nil {
		return nil, err
	}
	s := &OutputStream{opts: o, name: signed.String()}
	s.ctx, s.cancel = context.WithCancelCause(ctx)
	s.dial = func(ctx context.Context) (*http.Response, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, signed.Reveal(), nil)
		if err != nil {
			return nil, errors.New("the address cannot be requested")
		}
		req.Header.Set("User-Agent", c.userAgent)
		req.Header.Set("Accept", "text/plain")
		// A compressed stream would be held back until a block is full.
		req.Header.Set("Accept-Encoding", "identity")
		return c.storage.Do(req)
	}
	// It runs only while a read waits for the network.
	s.idle = time.AfterFunc(time.Hour, func() { s.cancel(ErrStreamStalled) })
	s.idle.Stop()
	return s, nil
}

// String names the stream by its address without the signature.
func (s *OutputStream) String() string { return s.name }

// Offset returns how many bytes of output have been read. Heartbeats do not
// count.
func (s *OutputStream) Offset() int64 { return s.offset.Load() }

// LastActivity returns when output or a heartbeat last arrived; zero before the
// first. Activity without output is a sign that a quiet build is alive.
func (s *OutputStream) LastActivity() time.Time {
	if ns := s.activity.Load(); ns != 0 {
		return time.Unix(0, ns)
	}
	return time.Time{}
}

// Close ends the stream; a read that waits returns at once.
func (s *OutputStream) Close() error {
	s.cancel(errStreamClosed)
	s.mu.Lock()
	body := s.body
	s.mu.Unlock()
	if body != nil {
		_ = body.Close()
	}
	return nil
}

// Read reads output. It returns 0 bytes only with an error or for an empty p.
//
// Errors: io.EOF at the end of the output; a [*StreamError], which matches
// [ErrStreamStalled] after a silence longer than the idle timeout, and the
// context's error where that was the cause.
func (s *OutputStream) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for s.err == nil {
		if cause := context.Cause(s.ctx); cause != nil {
			s.err = s.failed(cause)
			break
		}
		if s.body == nil {
			if s.err = s.connect(); s.err != nil {
				break
			}
		}
		s.idle.Reset(s.opts.IdleTimeout)
		n, err := s.body.Read(p)
		s.idle.Stop()
		if n > 0 {
			s.activity.Store(time.Now().UnixNano())
			n = dropNULs(p[:n])
			s.offset.Add(int64(n))
		}
		switch {
		case errors.Is(err, io.EOF):
			s.err = io.EOF
		case err != nil:
			s.err = s.failed(err)
		}
		if n > 0 {
			return n, nil
		}
	}
	_ = s.Close()
	return 0, s.err
}

// WriteTo writes the output to w as it comes, until its end. It implements
// io.WriterTo, so that io.Copy needs no buffer of its own.
func (s *OutputStream) WriteTo(w io.Writer) (int64, error) {
	buf := make([]byte, 32<<10)
	var written int64
	for {
		n, err := s.Read(buf)
		if n > 0 {
			m, werr := w.Write(buf[:n])
			written += int64(m)
			if werr == nil && m < n {
				werr = io.ErrShortWrite
			}
			if werr != nil {
				return written, werr
			}
		}
		if errors.Is(err, io.EOF) {
			return written, nil
		}
		if err != nil {
			return written, err
		}
	}
}

// maxLine bounds what Lines keeps of a line without an end.
const maxLine = 64 << 10

// Lines iterates over the lines of the output, without their ends ("\n" or
// "\r\n"). A line is yielded when it is complete; one longer than 64 KiB in
// several parts. An error ends the iteration; it comes with an empty line.
func (s *OutputStream) Lines() iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		r := bufio.NewReaderSize(s, maxLine+len("\r\n"))
		for {
			line, err := r.ReadSlice('\n')
			if errors.Is(err, bufio.ErrBufferFull) {
				err = nil
			}
			if len(line) > 0 {
				text, whole := bytes.CutSuffix(line, []byte("\n"))
				if whole {
					text = bytes.TrimSuffix(text, []byte("\r"))
				}
				if !yield(string(text), nil) {
					return
				}
			}
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield("", err)
				return
			}
		}
	}
}

// connect opens the connection, waiting for a stream that does not exist yet.
func (s *OutputStream) connect() error {
	started := time.Now()
	for wait := 250 * time.Millisecond; ; wait = min(wait*2, 2*time.Second) {
		s.idle.Reset(s.opts.IdleTimeout)
		resp, err := s.dial(s.ctx)
		s.idle.Stop()
		if err != nil {
			return s.failed(err)
		}
		switch resp.StatusCode {
		case http.StatusOK, http.StatusPartialContent:
			s.mu.Lock()
			s.body = resp.Body
			s.mu.Unlock()
			return nil
		case http.StatusNoContent:
			// A finished stream with nothing in it.
			closeBody(resp)
			return io.EOF
		}
		body := readErrorBody(resp)
		if resp.StatusCode != http.StatusNotFound || time.Since(started) >= s.opts.StartTimeout {
			return &StreamError{URL: s.name, StatusCode: resp.StatusCode, Err: errors.New(answerText(resp.StatusCode, body))}
		}
		if err := sleep(s.ctx, wait); err != nil {
			return s.failed(err)
		}
	}
}

func answerText(status int, body []byte) string {
	text := fmt.Sprintf("%d %s", status, http.StatusText(status))
	if line := firstLine(redactText(string(body))); line != "" {
		text += ": " + line
	}
	return text
}

// failed makes the caller's error of a failed read or connection.
func (s *OutputStream) failed(err error) error {
	err = cleanURLError(err)
	if cause := context.Cause(s.ctx); cause != nil {
		// What ended the context says more than what the network made of it.
		err = contextError(s.ctx)
		if errors.Is(cause, ErrStreamStalled) {
			err = fmt.Errorf("%w for %v", ErrStreamStalled, s.opts.IdleTimeout)
		}
		if errors.Is(cause, errStreamClosed) {
			return errStreamClosed
		}
	}
	return &StreamError{URL: s.name, Offset: s.Offset(), Err: err}
}

// DropHeartbeats returns a reader of r without its NUL bytes, the platform's
// heartbeats. It reads ahead of nothing, holds nothing back, and never returns
// 0 bytes without an error, however many heartbeats there are.
func DropHeartbeats(r io.Reader) io.Reader { return &heartbeatFilter{r} }

type heartbeatFilter struct{ r io.Reader }

func (f *heartbeatFilter) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		n, err := f.r.Read(p)
		if n = dropNULs(p[:n]); n > 0 || err != nil {
			return n, err
		}
	}
}

// dropNULs moves the bytes of p that are not NUL to its front and returns how
// many there are.
func dropNULs(p []byte) int {
	first := bytes.IndexByte(p, 0)
	if first < 0 {
		return len(p)
	}
	kept := first
	rest := p[first:]
	for len(rest) > 0 {
		// Between two heartbeats there is mostly a long run of text, or none.
		if rest[0] == 0 {
			rest = rest[1:]
			continue
		}
		run := bytes.IndexByte(rest, 0)
		if run < 0 {
			run = len(rest)
		}
		kept += copy(p[kept:], rest[:run])
		rest = rest[run:]
	}
	return kept
}
