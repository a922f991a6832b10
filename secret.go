package herokubuild

import (
	"encoding/json"
	"fmt"
	"log/slog"

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
func (u SecretURL) String() string { return redact.URL(string(u)) }

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

// redacts reports whether JSON would contain only a part of the URL.
func (u SecretURL) redacts() bool { return u.String() != u.Reveal() }

// secrets returns the secret parts of a signed URL.
func (u SecretURL) secrets() []string { return redact.OfURL(u.Reveal()) }

// redactText removes the query of every URL in a text.
func redactText(text string) string { return redact.Text(text) }

// clip makes text from outside a clean line of a bounded length.
func clip(s string, most int) string { return clean.Clip(s, most) }

const (
	maxErrorText  = redact.MaxText
	maxHeaderText = redact.MaxHeader
)

// This file defines how the types of this package are printed, logged and written as
// JSON.
//
// A SecretURL redacts itself, except in one case: for a verb that does not suit a
// pointer inside another value ("%s" of a struct with a *Build), fmt prints the value
// behind the pointer without calling the methods of its fields. So each type with a
// SecretURL has a Format method. Each type whose strings come from outside has a
// LogValue method, because slog's JSON handler would keep characters that control a
// terminal.
