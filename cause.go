package herokubuild

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
)

// This file prepares the causes of errors: contexts that ended, ends of streams, and
// errors of net/http.

// contextError is why a context ended: its error, and its cause if that adds to it.
func contextError(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if cause == nil || errors.Is(cause, err) {
		return cause
	}
	if errors.Is(cause, ErrWaitTimeout) {
		return &timeoutError{cause: cause, ctx: err}
	}
	return fmt.Errorf("%w: %w", err, cause)
}

// cleanURLError removes the URL from an error of net/http. A transport that is a client
// itself adds another one.
func cleanURLError(err error) error {
	var ue *url.Error
	for errors.As(err, &ue) && ue.Err != nil {
		err = ue.Err
	}
	return err
}

// withoutEOF returns an error that no caller can mistake for the end of a stream.
// net/http reports a connection that was closed before the response as io.EOF, which is
// also what a reader returns when everything has been read. An error that wraps io.EOF
// matches io.ErrUnexpectedEOF instead.
//
// Every reader of this package returns io.EOF itself at the end, and passes any other
// error through withoutEOF. The error types do the same with their cause.
func withoutEOF(err error) error {
	switch {
	case isEOF(err):
		return io.ErrUnexpectedEOF
	case errors.Is(err, io.EOF):
		return &unexpectedEOF{err}
	}
	return err
}

// isEOF reports whether a reader has returned its end. A wrapped io.EOF is a failure of
// something below the reader.
func isEOF(err error) bool {
	return err == io.EOF //nolint:errorlint // see above
}

// unexpectedEOF hides the io.EOF that err wraps and nothing else of it.
type unexpectedEOF struct{ err error }

func (e *unexpectedEOF) Error() string { return e.err.Error() }

func (e *unexpectedEOF) Is(target error) bool {
	return target == io.ErrUnexpectedEOF || target != io.EOF && errors.Is(e.err, target)
}

func (e *unexpectedEOF) As(target any) bool { return errors.As(e.err, target) }
