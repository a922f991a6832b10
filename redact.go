package herokubuild

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/herokubuild/herokubuild/internal/clean"
	"github.com/herokubuild/herokubuild/internal/redact"
)

// Every text from outside passes through this file before it becomes part of an error
// or of a log line: what a host or the network library reports about a request may repeat
// the API key or the signed URL of the request.

// redactURL removes the user information, query and fragment of a URL.
func redactURL(raw string) string { return redact.URL(raw) }

// redactLink is redactURL for a URL within a text.
func redactLink(raw string) string { return redact.Link(raw) }

// redactText removes the query of every URL in a text.
func redactText(text string) string { return redact.Text(text) }

func secretsOf(url string) []string { return redact.OfURL(url) }

func secretsOfQuery(query string) []string { return redact.OfQuery(query) }

func secretsOfHeader(header http.Header) []string { return redact.OfHeader(header) }

// redactor hides the secrets of one request in texts and errors about it. The zero
// value has no secrets; it hides only the queries of URLs, as all of them do.
type redactor struct{ secrets redact.Redactor }

// newRedactor returns a redactor with these secrets.
func newRedactor(secrets ...string) redactor { return redactor{redact.New(secrets...)} }

// and returns a redactor that has more secrets.
func (r redactor) and(secrets ...string) redactor { return redactor{r.secrets.With(secrets...)} }

// after returns a redactor that has the secrets of the URLs that led to a response, too.
func (r redactor) after(resp *http.Response) redactor { return r.and(redact.OfResponse(resp)...) }

// line returns text as one clean line of a bounded length.
func (r redactor) line(text string, most int) string { return clip(r.secrets.Start(text), most) }

// lines is line for a text of several lines.
func (r redactor) lines(text string, most int) string {
	return cut(clean.Lines(r.secrets.Start(text)), most)
}

// header returns the value of a header as a clean line.
func (r redactor) header(header http.Header, name string) string {
	return r.line(header.Get(name), maxHeaderText)
}

// err returns err if neither it nor any error that it wraps shows a secret, and
// otherwise one without. The URL in errors of net/http is dropped: the errors of this
// package have it themselves.
func (r redactor) err(err error) error {
	for {
		ue, ok := err.(*url.Error) //nolint:errorlint // one at a time
		if !ok || ue.Err == nil {
			break
		}
		r = r.and(secretsOf(ue.URL)...)
		err = ue.Err
	}
	if err == nil {
		return nil
	}
	secret, unclean := r.shows(err)
	if !secret && !unclean {
		return err
	}
	e := cleaned(err, r.line(err.Error(), maxErrorText))
	if !secret {
		return e
	}
	e.as = nil
	for _, cause := range unwrapAll(err) {
		if cause != nil {
			e.causes = append(e.causes, r.err(cause))
		}
	}
	return e
}

// withClean returns err with a clean text: names of files and errors of callers may
// have control characters. It matches what err matches.
func withClean(err error) error {
	if text := clean.Line(err.Error()); text != err.Error() {
		return cleaned(err, text)
	}
	return err
}

func cleaned(err error, text string) *redactedError {
	return &redactedError{
		text: text,
		is:   func(target error) bool { return errors.Is(err, target) },
		as:   func(target any) bool { return errors.As(err, target) },
	}
}

// shows reports whether err, or anything that it wraps, shows a secret, or has
// characters that do not belong in a line of text.
func (r redactor) shows(err error) (secret, unclean bool) {
	text := err.Error()
	secret, unclean = r.secrets.Text(text) != text || r.dumps(err), clean.Line(text) != text
	if ue, ok := err.(*url.Error); ok && redactLink(ue.URL) != ue.URL { //nolint:errorlint // one at a time
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
func (r redactor) dumps(err error) bool { return r.secrets.Finds(fmt.Sprintf("%#v", err)) }

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

// redactedError replaces an error that showed a secret or was not clean. It matches
// what the original matches, and wraps what it wraps as far as that is clean.
type redactedError struct {
	text   string
	causes []error
	// is and as are closures, so that nothing can print the original. as is nil if
	// the original shows a secret.
	is func(target error) bool
	as func(target any) bool
}

func (e *redactedError) Error() string { return e.text }

func (e *redactedError) Is(target error) bool { return e.is(target) }

func (e *redactedError) As(target any) bool { return e.as != nil && e.as(target) }

func (e *redactedError) Unwrap() []error { return e.causes }

// clip makes text from outside a clean line of a bounded length.
func clip(s string, most int) string { return cut(clean.Line(s), most) }

func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

func firstLine(s string) string {
	s = strings.TrimSpace(s)
	if i := strings.IndexAny(s, "\r\n"); i >= 0 {
		s = strings.TrimSpace(s[:i])
	}
	return clip(s, 200)
}

// Limits on the text that an error carries: enough to read, too little to
// bloat a log.
const (
	maxErrorText  = 4 << 10
	maxHeaderText = 512
)
