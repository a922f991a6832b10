// Package check checks names, IDs, URLs and headers by the rules of Heroku's API. A
// function returns why its argument is not valid, as the end of a sentence that names the
// argument; empty if it is valid.
package check

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/herokubuild/herokubuild/internal/clean"
	"github.com/herokubuild/herokubuild/internal/redact"
	"github.com/herokubuild/herokubuild/internal/transport"
)

// These are compiled once and never changed. The first is copied from the schema.
var (
	processTypeRE = regexp.MustCompile(`^[-\w]{1,128}$`)
	checksumRE    = regexp.MustCompile(`^SHA256:[0-9a-f]{64}$`)
	digestRE      = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
	versionRE     = regexp.MustCompile(`^[vV]?([1-9][0-9]{0,9})$`)
	teamRE        = regexp.MustCompile(`^\w[-.\w]{0,127}$`)
)

// IsAppName reports whether s matches the schema's ^[a-z][a-z0-9-]{1,28}[a-z0-9]$. It and
// IsUUID run in every call, where a regular expression would take 2 % of the time.
func IsAppName(s string) bool {
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

// IsUUID reports whether s has the schema's format uuid, in upper or lower case.
func IsUUID(s string) bool {
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

// IsDigest reports whether s is the digest of an image.
func IsDigest(s string) bool { return digestRE.MatchString(s) }

// IsChecksum reports whether s is a checksum in the form of the API.
func IsChecksum(s string) bool { return checksumRE.MatchString(s) }

// App checks the name or ID of an app.
func App(app string) string {
	switch {
	case app == "":
		return "app name or ID is required"
	case !IsAppName(app) && !IsUUID(app):
		return clean.Quote(app) + " is neither a UUID nor an app name (3–30 characters: a–z, 0–9, '-'; must start with a letter and not end with '-')"
	}
	return ""
}

// UUID checks an ID.
func UUID(id string) string {
	switch {
	case id == "":
		return "ID is required"
	case !IsUUID(id):
		return clean.Quote(id) + " is not a UUID"
	}
	return ""
}

// Team checks the name or ID of a team.
func Team(team string) string {
	if teamRE.MatchString(team) {
		return ""
	}
	return clean.Quote(team) + " is neither a team's name nor its ID"
}

// Image checks the ID or digest of an image.
func Image(image string) string {
	if IsDigest(image) || IsUUID(image) {
		return ""
	}
	return clean.Quote(image) + " is neither a UUID nor a digest (sha256:…)"
}

// Release checks the ID or version of a release. It returns the identity that the API
// accepts: a UUID or a bare version number.
func Release(idOrVersion string) (identity, reason string) {
	if m := versionRE.FindStringSubmatch(idOrVersion); m != nil {
		return m[1], ""
	}
	if IsUUID(idOrVersion) {
		return idOrVersion, ""
	}
	return "", clean.Quote(idOrVersion) + ` is neither a UUID nor a version such as "v12" or "12"`
}

// ProcessType checks the name of a process type.
func ProcessType(name string) string {
	if processTypeRE.MatchString(name) {
		return ""
	}
	return clean.Quote(name) + " is not a process type (1–128 characters: letters, digits, '_' and '-')"
}

// Checksum checks the checksum of an archive, which is optional.
func Checksum(sum string) string {
	if sum == "" || IsChecksum(sum) {
		return ""
	}
	return clean.Quote(sum) + ` does not have the form "SHA256:" and 64 lower-case hex digits`
}

// Token checks an API key, which a header must be able to contain. The reason never shows
// the key.
func Token(token string) string {
	if token == "" {
		return "API key is empty"
	}
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "API key contains a space, a line break or another invalid character"
	}
	return ""
}

// Variant checks the variant of an Accept header, which is optional.
func Variant(variant string) string {
	if strings.ContainsFunc(variant, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_' }) {
		return clean.Quote(variant) + ` is not a variant such as "cancel-build"`
	}
	return ""
}

// WebURL parses a URL. It accepts https for every host, and plain http for loopback
// hosts, where tests and the embedded emulator run.
func WebURL(raw string) (*url.URL, string) {
	if raw == "" {
		return nil, "URL is required"
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		// The parser's error quotes the URL, secrets included.
		return nil, "is not a URL such as https://example.com"
	case u.Host == "" || u.Hostname() == "":
		return nil, clean.Quote(redact.URL(raw)) + " has no host (expected a URL such as https://example.com/)"
	case u.Scheme == "https":
	case u.Scheme == "http" && transport.IsLoopback(u.Hostname()):
	default:
		return nil, clean.Quote(redact.URL(raw)) + " is not https (plain http is for loopback addresses only)"
	}
	return u, ""
}

// WebPath parses a path of a host, which may have a query. The reason does not show it,
// because a query may be secret.
func WebPath(path string) (*url.URL, string) {
	u, err := url.Parse(path)
	if err != nil || !strings.HasPrefix(path, "/") || u.Host != "" || u.Fragment != "" {
		return nil, "must begin with one slash, such as /health"
	}
	return u, ""
}

// BaseURL parses the base URL of the API, and removes a slash at its end.
func BaseURL(raw string) (*url.URL, string) {
	u, reason := WebURL(raw)
	if reason != "" {
		return nil, reason
	}
	if u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return nil, clean.Quote(redact.URL(raw)) + " must have neither user, query nor fragment"
	}
	u.Path, u.RawPath = strings.TrimRight(u.Path, "/"), strings.TrimRight(u.RawPath, "/")
	return u, ""
}

// isPlainURL reports whether a URL has the form that nearly all have: https, a host of
// letters, digits, dots and dashes, and printable characters.
func isPlainURL(s string) bool {
	rest, ok := strings.CutPrefix(s, "https://")
	host := strings.IndexByte(rest, '/')
	if !ok || host < 1 {
		return false
	}
	for i := range host {
		if !isHostByte(rest[i]) {
			return false
		}
	}
	for i := host; i < len(rest); i++ {
		if c := rest[i]; c <= ' ' || c > '~' || c == '%' && !isEscape(rest[i:]) {
			return false
		}
	}
	return true
}

func isHostByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.'
}

func isEscape(s string) bool {
	if len(s) < 3 {
		return false
	}
	_, err := strconv.ParseUint(s[1:3], 16, 8)
	return err == nil
}

// Path checks a path that is appended to the base URL: it must not leave the API's host
// or climb out of the base URL's path.
func Path(path string) string {
	bad := clean.Quote(redact.URL(path)) + " "
	switch {
	case !strings.HasPrefix(path, "/"):
		return bad + "does not start with a slash"
	case strings.HasPrefix(path, "//"):
		return bad + "starts with two slashes"
	case strings.ContainsAny(path, "?#\\"):
		return bad + "has a query, fragment or backslash: the query belongs in DoOptions"
	}
	u, err := url.Parse(path)
	if err != nil {
		return bad + "is not a path"
	}
	for s := range strings.SplitSeq(u.Path, "/") {
		if s == "." || s == ".." {
			return bad + "contains the segment " + clean.Quote(s)
		}
	}
	return ""
}

// Header checks a header that the caller adds to a request. reserved are the names that
// cannot be overridden, besides those that no request can set. The reason never contains
// a value.
func Header(h http.Header, reserved ...string) string {
	for name, values := range h {
		if name == "" || strings.ContainsFunc(name, func(r rune) bool {
			return r <= ' ' || r > '~' || strings.ContainsRune(`()<>@,;:\"/[]?={}`, r)
		}) {
			return clean.Quote(name) + " is not a valid header name"
		}
		switch canonical := http.CanonicalHeaderKey(name); {
		case slices.Contains([]string{"Host", "Content-Length", "Transfer-Encoding", "Connection"}, canonical):
			return clean.Quote(name) + " cannot be overridden"
		case slices.Contains(reserved, canonical):
			return "header " + clean.Quote(name) + " cannot be overridden"
		}
		for _, value := range values {
			if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
				return "value of " + clean.Quote(name) + " has a line break or another invalid character"
			}
		}
	}
	return ""
}
