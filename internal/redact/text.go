// Package redact removes secrets from text: the queries of all URLs, and whatever is
// known to be secret of a request, in any spelling in which it comes back.
package redact

import (
	"net/url"
	"regexp"
	"strings"
)

// Placeholder replaces a secret.
const Placeholder = "REDACTED"

// URL removes the user information, query and fragment of a URL.
func URL(raw string) string {
	if raw == "" {
		return ""
	}
	u, err := url.Parse(raw)
	if err != nil {
		// The secret of a URL that cannot be parsed may be anywhere in it.
		return Placeholder
	}
	if u.Opaque != "" {
		return u.Scheme + ":" + Placeholder
	}
	if u.User != nil {
		u.User = url.User(Placeholder)
	}
	hadQuery := u.RawQuery != "" || u.Fragment != ""
	u.RawQuery, u.ForceQuery, u.Fragment, u.RawFragment = "", false, "", ""
	text := u.String()
	if hadQuery {
		text += "?" + Placeholder
	}
	return text
}

// These are compiled once and never changed.
var (
	// anchorRE matches a fragment that names a section of a page. A fragment with a
	// secret has a "=" ("#access_token=…").
	anchorRE = regexp.MustCompile(`^[\w.:-]{1,64}$`)
	// queryRE matches the query of a URL that has only a path or lacks its scheme,
	// as it is or percent-encoded.
	queryRE = regexp.MustCompile("(?i)(?:\\?[^\\s\"'<>`]*=|%3f[^\\s\"'<>`]*%3d)[^\\s\"'<>`]*")
	// parameterRE matches a parameter that grants access to storage, without the rest
	// of its URL.
	parameterRE = regexp.MustCompile("(?i)\\b(?:x-(?:amz|goog)-(?:signature|credential|security-token)|awsaccesskeyid|googleaccessid|signature|access_token|private_token)(?:=|%3d)[^\\s\"'<>`&]+")
	// keyRE matches an API key, or the credential of an Authorization header.
	keyRE = regexp.MustCompile(`(?i)\b(?:HRKU-[\w-]{8,}|bearer\s+[\w.~+/=-]{16,})`)
)

// Link is [URL] for a URL within a text. It keeps the fragment of a web page's URL
// without a query, since that names a section of documentation.
func Link(raw string) string {
	page, fragment, found := strings.Cut(raw, "#")
	if !found || !anchorRE.MatchString(fragment) || strings.Contains(page, "?") {
		return URL(raw)
	}
	u, err := url.Parse(page)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.User != nil {
		return URL(raw)
	}
	return page + "#" + fragment
}

// Text removes the query of every URL in a text, and whatever else has the form of a
// secret. A [Redactor] removes the secrets that are known, too.
func Text(text string) string {
	text = links(text)
	text = queryRE.ReplaceAllStringFunc(text, func(query string) string {
		if query[0] == '?' {
			return "?" + Placeholder
		}
		return query[:len("%3f")] + Placeholder
	})
	return keyRE.ReplaceAllString(parameterRE.ReplaceAllString(text, Placeholder), Placeholder)
}

// links applies Link to every absolute URL in a text.
func links(text string) string {
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
		b.WriteString(Link(text[start:end]))
		text = text[end:]
	}
}

func isSchemeByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '+' || c == '-' || c == '.'
}
