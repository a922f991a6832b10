package herokubuild

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"reflect"
	"regexp"
	"strings"
	"unsafe"
)

// SecretURL is a URL whose query grants access: the signed addresses of a
// source blob, a slug archive or an output stream, and source URLs that carry
// a token. Whoever has the whole of it can read or write what it points to.
//
// Printing, logging or encoding one (String, fmt, slog, JSON and other encodings
// that use encoding.TextMarshaler) shows scheme, host and path and replaces user
// information and query by "REDACTED". Decoding keeps the whole URL, so that JSON
// does not carry one there and back. [SecretURL.Reveal] returns the whole string;
// the methods of this package that send one to the platform do so themselves.
//
// What asks no method of a string type cannot be prevented: the fmt verbs %p and
// %w, a verb that does not suit a pointer to a struct of yours with a SecretURL
// in it, an unexported field of yours, a key of a map in JSON, and conversion to
// string.
type SecretURL string

const redacted = "REDACTED"

// Reveal returns the whole URL, secrets included.
func (u SecretURL) Reveal() string { return string(u) }

// String returns the URL without its user information, query and fragment.
func (u SecretURL) String() string { return redactURL(string(u)) }

// GoString is what %#v prints: the same redacted text as [SecretURL.String].
func (u SecretURL) GoString() string {
	return fmt.Sprintf("herokubuild.SecretURL(%q)", u.String())
}

// Format prints the redacted text for every verb, so that %x and %d hide the
// query as well as %s does.
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

// holdsSecretURL says whether v, or anything in it that JSON has, is a SecretURL
// that would not be encoded as it is.
func holdsSecretURL(v reflect.Value) bool { return secretURLs{}.in(v) }

// secretURLs are the values that have been searched: some lead back to themselves.
type secretURLs map[searched]bool

type searched struct {
	at  unsafe.Pointer
	len int
	as  reflect.Type
}

// again reports whether v is of a kind that others can share, and has been searched.
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
		for i := range v.NumField() {
			// JSON has the fields of a struct that is embedded, too.
			if f := v.Type().Field(i); (f.IsExported() || f.Anonymous) && s.in(v.Field(i)) {
				return true
			}
		}
	case reflect.Slice, reflect.Array:
		if v.Type().Elem().Kind() < reflect.Array {
			return false // bytes and numbers
		}
		for i := range v.Len() {
			if s.in(v.Index(i)) {
				return true
			}
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			if s.in(v.MapIndex(key)) {
				return true
			}
		}
	default:
	}
	return false
}

// redactURL keeps what tells one URL from another and drops what grants access.
func redactURL(raw string) string {
	if raw == "" {
		return ""
	}
	u, err := url.Parse(raw)
	if err != nil {
		// What cannot be parsed cannot be trusted to have its secret where a
		// URL has it.
		return redacted
	}
	if u.Opaque != "" {
		return u.Scheme + ":" + redacted
	}
	if u.User != nil {
		u.User = url.User(redacted)
	}
	hadQuery := u.RawQuery != "" || u.Fragment != ""
	u.RawQuery, u.ForceQuery, u.Fragment, u.RawFragment = "", false, "", ""
	text := u.String()
	if hadQuery {
		text += "?" + redacted
	}
	return text
}

// These are compiled once and never changed.
var (
	// anchorRE is a fragment that names a section of a page. A fragment that
	// holds a secret has a "=" ("#access_token=…").
	anchorRE = regexp.MustCompile(`^[\w.:-]{1,64}$`)
	// queryRE is the query of a URL that is only a path, or lacks its scheme, as
	// it is or percent-encoded.
	queryRE = regexp.MustCompile("(?i)(?:\\?[^\\s\"'<>`]*=|%3f[^\\s\"'<>`]*%3d)[^\\s\"'<>`]*")
	// parameterRE is a parameter that grants access to storage, without the URL
	// that it belongs to.
	parameterRE = regexp.MustCompile("(?i)\\b(?:x-(?:amz|goog)-(?:signature|credential|security-token)|awsaccesskeyid|googleaccessid|signature|access_token|private_token)(?:=|%3d)[^\\s\"'<>`&]+")
	// keyRE is an API key, or the credential of an Authorization header.
	keyRE = regexp.MustCompile(`(?i)\b(?:HRKU-[\w-]{8,}|bearer\s+[\w.~+/=-]{16,})`)
)

// redactLink is redactURL for a URL in a text. It keeps the fragment of a web
// page's address without a query: it names a section of documentation.
func redactLink(raw string) string {
	page, fragment, found := strings.Cut(raw, "#")
	u, err := url.Parse(page)
	if !found || err != nil || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || strings.Contains(page, "?") || !anchorRE.MatchString(fragment) {
		return redactURL(raw)
	}
	return page + "#" + fragment
}

// redactText hides the query of every URL inside a longer text, whoever's it is.
// What is known to be secret is a redactor's to hide.
func redactText(text string) string {
	text = redactLinks(text)
	text = queryRE.ReplaceAllStringFunc(text, func(query string) string {
		if query[0] == '?' {
			return "?" + redacted
		}
		return query[:len("%3f")] + redacted
	})
	return keyRE.ReplaceAllString(parameterRE.ReplaceAllString(text, redacted), redacted)
}

func redactLinks(text string) string {
	if !strings.Contains(text, "://") {
		return text
	}
	var b strings.Builder
	for {
		i := strings.Index(text, "://")
		if i < 0 {
			b.WriteString(text)
			return b.String()
		}
		start := i
		for start > 0 && isSchemeByte(text[start-1]) {
			start--
		}
		end := i
		for end < len(text) && !strings.ContainsRune(" \t\r\n\"'<>`", rune(text[end])) {
			end++
		}
		b.WriteString(text[:start])
		b.WriteString(redactLink(text[start:end]))
		text = text[end:]
	}
}

func isSchemeByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '+' || c == '-' || c == '.'
}
