package herokubuild

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/herokubuild/herokubuild/internal/clean"
	"github.com/herokubuild/herokubuild/internal/transport"
)

// These are compiled once and never changed. The first is copied from the schema.
var (
	processTypeRE = regexp.MustCompile(`^[-\w]{1,128}$`)
	checksumRE    = regexp.MustCompile(`^SHA256:[0-9a-f]{64}$`)
)

// isAppName reports whether s matches the schema's ^[a-z][a-z0-9-]{1,28}[a-z0-9]$. It and
// isUUID run in every call, where a regular expression would take 2 % of the time.
func isAppName(s string) bool {
	if len(s) < 3 || len(s) > 30 || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (i == 0 || (c < '0' || c > '9') && c != '-') {
			return false
		}
	}
	return true
}

// isUUID reports whether s has the schema's format uuid, in upper or lower case.
func isUUID(s string) bool {
	if len(s) != len("01234567-89ab-cdef-0123-456789abcdef") {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch i {
		case 8, 13, 18, 23:
			if c != '-' {
				return false
			}
		default:
			if (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
				return false
			}
		}
	}
	return true
}

func checkApp(field, app string) error {
	switch {
	case app == "":
		return &ArgumentError{Name: field, Reason: "app name or ID is required"}
	case !isAppName(app) && !isUUID(app):
		return &ArgumentError{Name: field, Reason: quote(app) + " is neither a UUID nor an app name (3–30 characters: a–z, 0–9, '-'; must start with a letter and not end with '-')"}
	}
	return nil
}

func checkUUID(field, id string) error {
	switch {
	case id == "":
		return &ArgumentError{Name: field, Reason: "ID is required"}
	case !isUUID(id):
		return &ArgumentError{Name: field, Reason: quote(id) + " is not a UUID"}
	}
	return nil
}

// checkToken refuses a token that is not valid in a header. Its errors never show the
// token.
func checkToken(field, token string) error {
	if token == "" {
		return &ArgumentError{Name: field, Reason: "API key is empty"}
	}
	for _, r := range token {
		if r <= ' ' || r > '~' {
			return &ArgumentError{Name: field, Reason: "API key contains a space, a line break or another invalid character"}
		}
	}
	return nil
}

// checkWebURL accepts https for every host, and plain http for loopback hosts, where
// tests and the embedded emulator run.
func checkWebURL(field, raw string) (*url.URL, error) {
	if raw == "" {
		return nil, &ArgumentError{Name: field, Reason: "URL is required"}
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		// The parser's error quotes the URL, secrets included.
		return nil, &ArgumentError{Name: field, Reason: "is not a URL"}
	case u.Host == "" || u.Hostname() == "":
		return nil, &ArgumentError{Name: field, Reason: quote(redactURL(raw)) + " has no host (expected a URL such as https://example.com/)"}
	case u.Scheme == "https":
	case u.Scheme == "http" && transport.IsLoopback(u.Hostname()):
	default:
		return nil, &ArgumentError{Name: field, Reason: quote(redactURL(raw)) + " is not https (plain http is for loopback addresses only)"}
	}
	return u, nil
}

func checkChecksum(field, sum string) error {
	if sum != "" && !checksumRE.MatchString(sum) {
		return &ArgumentError{Name: field, Reason: quote(sum) + ` does not have the form "SHA256:" and 64 lower-case hex digits`}
	}
	return nil
}

// quote returns a caller's own value for an error, clipped to a readable length.
func quote(s string) string { return clean.Quote(s) }

// checkHeader rejects a header that cannot be sent. Its errors never contain a
// value.
func checkHeader(h http.Header) error {
	for name, values := range h {
		if name == "" || strings.ContainsFunc(name, func(r rune) bool {
			return r <= ' ' || r > '~' || strings.ContainsRune(`()<>@,;:\"/[]?={}`, r)
		}) {
			return &ArgumentError{Name: "Header", Reason: quote(name) + " is not a valid header name"}
		}
		switch http.CanonicalHeaderKey(name) {
		case "Host", "Content-Length", "Transfer-Encoding", "Connection":
			return &ArgumentError{Name: "Header", Reason: quote(name) + " cannot be overridden"}
		}
		for _, value := range values {
			if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
				return &ArgumentError{Name: "Header", Reason: "value of " + quote(name) + " has a line break or another invalid character"}
			}
		}
	}
	return nil
}
