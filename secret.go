package herokubuild

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"reflect"
	"unsafe"
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
