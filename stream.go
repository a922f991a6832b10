package herokubuild

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"time"

	"github.com/herokubuild/herokubuild/internal/clean"
	"github.com/herokubuild/herokubuild/internal/ioutil"
	"github.com/herokubuild/herokubuild/internal/logstream"
	"github.com/herokubuild/herokubuild/internal/wire"
)

// StreamOptions configures how an output stream is read. nil is the default.
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
	host   *outputHost
	reader *logstream.Reader
	text   *logstream.Text
	err    error
}

// String returns the URL of the stream without the signature.
func (s *OutputStream) String() string { return s.name }

// Offset returns how many bytes of output the caller has been given, including those
// skipped by [StreamOptions].Offset: what Read has returned, what the writer of
// WriteTo has accepted, and the lines that Lines has yielded, with their ends.
// A stream that is opened with this as its Offset continues with the next byte.
// Heartbeats do not count.
func (s *OutputStream) Offset() int64 { return s.text.Offset() }

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
func (s *OutputStream) Read(p []byte) (int, error) { return s.text.Read(p) }

// received is what an OutputStream receives from the network.
type received struct{ s *OutputStream }

func (r received) Read(p []byte) (int, error) {
	s := r.s
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

// WriteTo writes the output to w as it comes, until its end, which is no error.
// It implements io.WriterTo, so that io.Copy needs no buffer of its own. What w
// did not accept is not lost: the next Read, WriteTo or Lines begins with it.
func (s *OutputStream) WriteTo(w io.Writer) (int64, error) { return s.text.WriteTo(w) }

// Lines iterates over the lines of the output, without their ends ("\n" or
// "\r\n"). A line is yielded when it is complete; one longer than 64 KiB in
// several parts. An error ends the iteration; it comes with an empty line. The
// end of the output is not an error.
//
// Another loop over Lines, a Read or a WriteTo may continue after a break. It begins
// with the line after the last one that was yielded.
func (s *OutputStream) Lines() iter.Seq2[string, error] { return s.text.Lines() }

// DropHeartbeats returns a reader of r without its NUL bytes, the platform's
// heartbeats. It does not buffer, and never returns 0 bytes without an error,
// however many heartbeats there are. If r keeps returning neither bytes nor an
// error, the error is io.ErrNoProgress.
func DropHeartbeats(r io.Reader) io.Reader { return logstream.WithoutHeartbeats(r) }

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
	e.Err = withoutEOF(s.host.requests.Redact(err))
	return e
}

// outputEnds reports whether nothing more is written to the output of a process with
// this status. Only a pending process writes, whatever else its status may be.
func outputEnds(status Status) bool { return status != StatusPending }

// outputHost makes the requests for the output of one build or release.
type outputHost struct {
	requests *wire.Stream
	// renew returns the current status and a freshly signed URL.
	renew func(context.Context) (Status, SecretURL, error)
}

// status requests whether the status is final, and uses the URL that comes with it
// from now on.
func (h *outputHost) status(ctx context.Context) (bool, error) {
	status, signed, err := h.renew(ctx)
	switch {
	case errors.Is(err, ErrUnauthorized), errors.Is(err, ErrForbidden), errors.Is(err, ErrNotFound):
		return false, &logstream.Error{Kind: logstream.Permanent, Err: err}
	case err != nil:
		return false, err
	}
	if err := checkWebURL("OutputStreamURL", signed.Reveal()); err == nil {
		h.requests.Use(signed.Reveal())
	}
	return outputEnds(status), nil
}

var errStreamClosed = errors.New("the output stream is closed")

// openOutput gets a process and opens its output stream.
func openOutput[T process](ctx context.Context, c *apiClient, opts *StreamOptions, get func(context.Context) (T, error)) (*OutputStream, error) {
	if _, err := opts.withDefaults(); err != nil {
		return nil, err
	}
	now, err := get(ctx)
	if err != nil {
		return nil, err
	}
	return followOutput(ctx, c, now, opts, get)
}

// followOutput opens the output stream of a process in the state now. get requests
// its state again. The first read connects.
func followOutput[T process](ctx context.Context, c *apiClient, now T, opts *StreamOptions, get func(context.Context) (T, error)) (*OutputStream, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	o, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	status, signed := now.state()
	if signed == "" {
		return nil, fmt.Errorf("%s: %w", now.name(), ErrNoOutput)
	}
	if err := checkWebURL("OutputStreamURL", signed.Reveal()); err != nil {
		return nil, err
	}
	renew := func(ctx context.Context) (Status, SecretURL, error) {
		latest, err := get(ctx)
		if err != nil {
			return "", "", err
		}
		status, signed := latest.state()
		return status, signed, nil
	}
	s := &OutputStream{name: signed.String(), host: &outputHost{requests: c.wire.NewStream(signed.Reveal()), renew: renew}}
	s.ctx, s.cancel = context.WithCancelCause(ctx)
	s.text = logstream.NewText(received{s}, o.Offset)
	backoff := c.poll
	if o.backoff != nil {
		backoff = o.backoff
	}
	s.reader = logstream.New(s.ctx, logstream.Config{ //nolint:contextcheck // It is made from ctx.
		Dial: s.host.requests.Dial, Status: s.host.status, Final: outputEnds(status),
		Offset: o.Offset, IdleTimeout: o.IdleTimeout, FinalTimeout: o.FinalTimeout,
		Backoff: backoff, OnHeartbeat: o.OnHeartbeat,
		OnReconnect: func(offset int64, cause error) {
			c.log.LogAttrs(s.ctx, slog.LevelInfo, "herokubuild: output stream interrupted, reconnecting",
				slog.String("stream", s.name), slog.Int64("offset", offset), slog.String("error", clip(s.host.requests.Redact(cause).Error(), maxErrorText)))
		},
	})
	return s, nil
}

// StreamError reports that the rest of an output stream could not be read. It wraps
// the cause. The build or release continues without it. It never matches io.EOF: a
// lost connection matches io.ErrUnexpectedEOF.
type StreamError struct {
	// URL is the stream's URL without its signature.
	URL string
	// StatusCode is the status of the stream host's response, 0 if there was none.
	StatusCode int
	// Offset is how many bytes of output had been read.
	Offset int64
	// Err is the cause.
	Err error
}

// Error implements error.
func (e *StreamError) Error() string {
	return clean.Line(fmt.Sprintf("output stream %s, after %d bytes: %s", e.URL, e.Offset, redactText(errorText(e.Err))))
}

// Unwrap returns the cause.
func (e *StreamError) Unwrap() error { return withoutEOF(e.Err) }
