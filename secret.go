package herokubuild

import (
	"fmt"
	"log/slog"
	"net/url"
	"strings"
)

// SecretURL is a URL whose query grants access: the signed addresses of a
// source blob, a slug archive or an output stream, and source URLs that carry
// a token. Whoever has the whole of it can read or write what it points to.
//
// Printing one in any way (String, every fmt verb, slog) shows scheme, host
// and path and replaces user information and query by "REDACTED". JSON carries
// the whole URL, because the platform needs it; and what slog's JSON handler is
// given inside of a slice, map or struct of yours, it turns into JSON: log this
// package's values one by one. [SecretURL.Reveal] is the one way besides to get
// at the whole string.
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

// redactText hides the query of every URL inside a longer text. The network
// library quotes URLs in its errors; this is for those that cannot be taken
// apart by type.
func redactText(text string) string {
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
		b.WriteString(redactURL(text[start:end]))
		text = text[end:]
	}
}

func isSchemeByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '+' || c == '-' || c == '.'
}
