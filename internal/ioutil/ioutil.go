// Package ioutil has what the readers of the library have in common.
package ioutil

import (
	"context"
	"errors"
	"io"
	"time"
)

// IsEOF reports whether a reader has returned its end. A wrapped io.EOF is a failure of
// something below the reader.
func IsEOF(err error) bool {
	return err == io.EOF //nolint:errorlint // see above
}

// maxEmptyReads is how often in a row a reader may return nothing and no error.
const maxEmptyReads = 100

// Progress detects a reader that returns nothing and no error again and again. A loop
// over its reads would never end.
type Progress struct{ empty int }

// Check is called with the results of each read, and returns its error or
// io.ErrNoProgress.
func (p *Progress) Check(n int, err error) error {
	if n > 0 || err != nil {
		p.empty = 0
		return err
	}
	if p.empty++; p.empty < maxEmptyReads {
		return nil
	}
	return io.ErrNoProgress
}

// Sleep waits for d or the context, and reports whether d has passed.
func Sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// WithoutEOF returns an error that no caller can mistake for the end of a stream.
// net/http reports a connection that was closed before the response as io.EOF, which is
// also what a reader returns when everything has been read. An error that wraps io.EOF
// matches io.ErrUnexpectedEOF instead.
func WithoutEOF(err error) error {
	switch {
	case IsEOF(err):
		return io.ErrUnexpectedEOF
	case errors.Is(err, io.EOF):
		return &unexpectedEOF{err}
	}
	return err
}

// unexpectedEOF hides the io.EOF that err wraps and nothing else of it.
type unexpectedEOF struct{ err error }

func (e *unexpectedEOF) Error() string { return e.err.Error() }

func (e *unexpectedEOF) Is(target error) bool {
	return target == io.ErrUnexpectedEOF || target != io.EOF && errors.Is(e.err, target)
}

func (e *unexpectedEOF) As(target any) bool { return errors.As(e.err, target) }

// ErrInvalidWrite reports a writer that returned a count outside of what it was given.
var ErrInvalidWrite = errors.New("the writer returned an invalid count")

// WriteAll writes p, and reports an incomplete write as an error.
func WriteAll(w io.Writer, p []byte) (int, error) {
	n, err := w.Write(p)
	switch {
	case n < 0 || n > len(p):
		n = 0
		if err == nil {
			err = ErrInvalidWrite
		}
	case n < len(p) && err == nil:
		err = io.ErrShortWrite
	}
	return n, err
}

// ContextReader is a reader that fails once its context has ended.
type ContextReader struct {
	Context context.Context //nolint:containedctx // A reader gets no context.
	Reader  io.Reader
}

// Read implements io.Reader.
func (r *ContextReader) Read(p []byte) (int, error) {
	if err := r.Context.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}
