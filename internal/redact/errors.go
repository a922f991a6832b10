package redact

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/herokubuild/herokubuild/internal/clean"
)

// Bounds of the text that an error or a log line has of one response: enough to read, too
// little to bloat a log.
const (
	MaxText   = 4 << 10
	MaxHeader = 512
)

// After returns a Redactor that has the secrets of the URLs that led to a response, too.
func (r Redactor) After(resp *http.Response) Redactor { return r.With(OfResponse(resp)...) }

// Line returns a text from outside as one clean line of a bounded length.
func (r Redactor) Line(text string, most int) string { return clean.Clip(r.Start(text), most) }

// Lines is [Redactor.Line] for a text of several lines.
func (r Redactor) Lines(text string, most int) string {
	return clean.Cut(clean.Lines(r.Start(text)), most)
}

// Header returns the value of a header as a clean line.
func (r Redactor) Header(header http.Header, name string) string {
	return r.Line(header.Get(name), MaxHeader)
}

// Error returns err if neither it nor any error that it wraps shows a secret, and
// otherwise one without. The URL in errors of net/http is dropped: the errors of the
// library have it themselves.
func (r Redactor) Error(err error) error {
	for {
		ue, ok := err.(*url.Error) //nolint:errorlint // one at a time
		if !ok || ue.Err == nil {
			break
		}
		r = r.With(OfURL(ue.URL)...)
		err = ue.Err
	}
	if err == nil {
		return nil
	}
	secret, unclean := r.shows(err)
	if !secret && !unclean {
		return err
	}
	e := replaced(err, r.Line(err.Error(), MaxText))
	if !secret {
		return e
	}
	e.as = nil
	for _, cause := range unwrapAll(err) {
		if cause != nil {
			e.causes = append(e.causes, r.Error(cause))
		}
	}
	return e
}

// shows reports whether err, or anything that it wraps, shows a secret, or has
// characters that do not belong in a line of text.
func (r Redactor) shows(err error) (secret, unclean bool) {
	text := err.Error()
	secret, unclean = r.Text(text) != text || r.dumps(err), clean.Line(text) != text
	if ue, ok := err.(*url.Error); ok && Link(ue.URL) != ue.URL { //nolint:errorlint // one at a time
		secret = true
	}
	for _, cause := range unwrapAll(err) {
		if cause != nil {
			s, u := r.shows(cause)
			secret, unclean = secret || s, unclean || u
		}
	}
	return secret, unclean
}

// dumps reports whether a field of err that its text does not show has a secret: some
// verbs of fmt print it.
func (r Redactor) dumps(err error) bool { return r.Finds(fmt.Sprintf("%#v", err)) }

// CleanError returns err with a clean text: names of files and errors of callers may have
// control characters. It matches what err matches.
func CleanError(err error) error {
	if text := clean.Line(err.Error()); text != err.Error() {
		return replaced(err, text)
	}
	return err
}

// WithoutURL removes the URL from an error of net/http. A transport that is a client itself
// adds another one.
func WithoutURL(err error) error {
	var ue *url.Error
	for errors.As(err, &ue) && ue.Err != nil {
		err = ue.Err
	}
	return err
}

// unwrapAll returns the errors that err wraps directly.
func unwrapAll(err error) []error {
	switch e := err.(type) { //nolint:errorlint // one at a time
	case interface{ Unwrap() error }:
		return []error{e.Unwrap()}
	case interface{ Unwrap() []error }:
		return e.Unwrap()
	}
	return nil
}

// replacedError replaces an error that showed a secret or was not clean. It matches
// what the original matches, and wraps what it wraps as far as that is clean.
type replacedError struct {
	text   string
	causes []error
	// is and as are closures, so that nothing can print the original. as is nil if
	// the original shows a secret.
	is func(target error) bool
	as func(target any) bool
}

func replaced(err error, text string) *replacedError {
	return &replacedError{
		text: text,
		is:   func(target error) bool { return errors.Is(err, target) },
		as:   func(target any) bool { return errors.As(err, target) },
	}
}

func (e *replacedError) Error() string { return e.text }

func (e *replacedError) Is(target error) bool { return e.is(target) }

func (e *replacedError) As(target any) bool { return e.as != nil && e.as(target) }

func (e *replacedError) Unwrap() []error { return e.causes }
