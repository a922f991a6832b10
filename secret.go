package herokubuild

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"unsafe"

	"github.com/herokubuild/herokubuild/internal/clean"
	"github.com/herokubuild/herokubuild/internal/redact"
)

// SecretURL is a URL whose query grants access: the signed URL of a source blob, a
// slug archive or an output stream, or a source URL that carries a token. Anyone who
// has the whole URL can read or write what it points to.
//
// Printing, logging or encoding a SecretURL (String, fmt, slog, JSON and other
// encodings that use encoding.TextMarshaler) shows scheme, host and path, and replaces
// user information and query by "REDACTED". Decoding keeps the whole URL, so a
// SecretURL does not survive a round trip through JSON. [SecretURL.Reveal] returns the
// whole string; the methods of this package reveal a URL where they send it.
//
// Some uses bypass the methods of a string type and show the secret: the fmt verbs %p
// and %w, a verb that does not suit a pointer to a struct of yours with a SecretURL in
// it, an unexported field of yours, a key of a map in JSON, and conversion to string.
type SecretURL string

// Reveal returns the whole URL, secrets included.
func (u SecretURL) Reveal() string { return string(u) }

// String returns the URL without its user information, query and fragment.
func (u SecretURL) String() string { return redactURL(string(u)) }

// GoString is what %#v prints: the same redacted text as [SecretURL.String].
func (u SecretURL) GoString() string {
	return fmt.Sprintf("herokubuild.SecretURL(%q)", u.String())
}

// Format prints the redacted text for every verb, so that %x and %d hide the query,
// too.
func (u SecretURL) Format(f fmt.State, verb rune) {
	text := u.String()
	switch {
	case verb == 'v' && f.Flag('#'):
		text = u.GoString()
	case verb == 'q':
		text = fmt.Sprintf("%q", text)
	}
	_, _ = fmt.Fprint(f, text)
}

// LogValue makes slog print the redacted text.
func (u SecretURL) LogValue() slog.Value { return slog.StringValue(u.String()) }

// MarshalJSON encodes the redacted text, as [SecretURL.String] returns it.
func (u SecretURL) MarshalJSON() ([]byte, error) { return json.Marshal(u.String()) }

// MarshalText returns the redacted text, as [SecretURL.String] does.
func (u SecretURL) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// holdsSecretURL reports whether v, or anything in it that JSON encodes, is a
// SecretURL that would lose its secret.
func holdsSecretURL(v reflect.Value) bool { return secretURLs{}.in(v) }

// secretURLs has the values that have been searched, since some contain themselves.
type secretURLs map[searched]bool

type searched struct {
	at  unsafe.Pointer
	len int
	as  reflect.Type
}

// again reports whether v can be shared and has been searched before.
func (s secretURLs) again(v reflect.Value) bool {
	var key searched
	switch v.Kind() {
	case reflect.Pointer, reflect.Map:
		key = searched{at: v.UnsafePointer(), as: v.Type()}
	case reflect.Slice:
		key = searched{at: v.UnsafePointer(), len: v.Len(), as: v.Type()}
	default:
		return false
	}
	seen := s[key]
	s[key] = true
	return seen
}

func (s secretURLs) in(v reflect.Value) bool {
	if !v.IsValid() || s.again(v) {
		return false
	}
	if v.CanInterface() {
		if u, ok := reflect.TypeAssert[SecretURL](v); ok {
			return u.String() != u.Reveal()
		}
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		return s.in(v.Elem())
	case reflect.Struct:
		return s.inStruct(v)
	case reflect.Slice, reflect.Array:
		return s.inList(v)
	case reflect.Map:
		return s.inMap(v)
	default:
		return false
	}
}

func (s secretURLs) inStruct(v reflect.Value) bool {
	for i := range v.NumField() {
		// JSON has the fields of an embedded struct, too.
		if f := v.Type().Field(i); (f.IsExported() || f.Anonymous) && s.in(v.Field(i)) {
			return true
		}
	}
	return false
}

func (s secretURLs) inList(v reflect.Value) bool {
	if v.Type().Elem().Kind() < reflect.Array {
		return false // bytes and numbers
	}
	for i := range v.Len() {
		if s.in(v.Index(i)) {
			return true
		}
	}
	return false
}

func (s secretURLs) inMap(v reflect.Value) bool {
	for _, key := range v.MapKeys() {
		if s.in(v.MapIndex(key)) {
			return true
		}
	}
	return false
}

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
