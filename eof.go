package herokubuild

import (
	"errors"
	"io"
)

// withoutEOF makes an error that no caller can mistake for the end of a stream.
// The network library reports a connection that was closed before the response as
// io.EOF, and io.EOF is what a reader returns when everything has been read. An
// error that wraps it somewhere matches io.ErrUnexpectedEOF instead.
//
// Every reader of this package returns io.EOF itself at the end, and passes any
// other error through here. The error types do the same with their cause.
func withoutEOF(err error) error {
	switch {
	case isEOF(err):
		return io.ErrUnexpectedEOF
	case errors.Is(err, io.EOF):
		return &unexpectedEOF{err}
	}
	return err
}

// isEOF reports whether a reader has returned the end. A wrapped io.EOF is a
// failure of something below the reader.
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
