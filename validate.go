package herokubuild

import (
	"net"
	"net/url"
	"regexp"
	"strings"

	"github.com/herokubuild/herokubuild/internal/clean"
)

// These are compiled once and never changed. The first is the schema's own.
var (
	processTypeRE = regexp.MustCompile(`^[-\w]{1,128}$`)
	checksumRE    = regexp.MustCompile(`^SHA256:[0-9a-f]{64}$`)
)

// isAppName is the schema's ^[a-z][a-z0-9-]{1,28}[a-z0-9]$. It and isUUID are
// asked for every call, of which regular expressions would be a fiftieth.
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

// isUUID is the schema's format uuid, in letters of either case.
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
		return &ArgumentError{Name: field, Reason: "an app's name or id is needed"}
	case !isAppName(app) && !isUUID(app):
		return &ArgumentError{Name: field, Reason: quote(app) + " is neither an app name (a-z, 0-9 and dashes, 3 to 30 characters, a letter first, no dash last) nor a UUID"}
	}
	return nil
}

func checkUUID(field, id string) error {
	switch {
	case id == "":
		return &ArgumentError{Name: field, Reason: "an id is needed"}
	case !isUUID(id):
		return &ArgumentError{Name: field, Reason: quote(id) + " is not a UUID"}
	}
	return nil
}

// checkToken refuses what cannot stand in a header. It never quotes the token.
func checkToken(field, token string) error {
	if token == "" {
		return &ArgumentError{Name: field, Reason: "the API key is empty"}
	}
	for _, r := range token {
		if r <= ' ' || r > '~' {
			return &ArgumentError{Name: field, Reason: "the API key contains a space, a line break or another character that no API key has"}
		}
	}
	return nil
}

// checkWebURL accepts https everywhere and plain http on loopback only, where
// tests and the embedded platform live.
func checkWebURL(field, raw string) (*url.URL, error) {
	if raw == "" {
		return nil, &ArgumentError{Name: field, Reason: "a URL is needed"}
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		// The parser's error quotes the URL, secrets included.
		return nil, &ArgumentError{Name: field, Reason: "not a URL"}
	case u.Host == "" || u.Hostname() == "":
		return nil, &ArgumentError{Name: field, Reason: quote(redactURL(raw)) + " has no host: a URL such as https://example.com/ is needed"}
	case u.Scheme == "https":
	case u.Scheme == "http" && isLoopback(u.Hostname()):
	default:
		return nil, &ArgumentError{Name: field, Reason: quote(redactURL(raw)) + " is not https (plain http is for loopback addresses only)"}
	}
	return u, nil
}

func isLoopback(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

func checkChecksum(field, sum string) error {
	if sum != "" && !checksumRE.MatchString(sum) {
		return &ArgumentError{Name: field, Reason: quote(sum) + ` is not of the form "SHA256:" and 64 lower-case hex digits`}
	}
	return nil
}

// quote shows a caller's own value in an error, clipped to a readable length.
func quote(s string) string { return clean.Quote(s) }
