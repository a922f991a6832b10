package redact

import (
	"encoding/base64"
	"encoding/hex"
	"html"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// spelling is a text with its escapes undone, in lower case. at maps each of its bytes
// to where that starts in the original text, and its end to the original's end.
type spelling struct {
	text []byte
	at   []int
}

// maxEscapes bounds how often a text may have been escaped.
const maxEscapes = 3

// unescapings returns a text as it is, and then with its escapes undone as often as
// there are any.
func unescapings(text string) []spelling {
	s := spelling{text: []byte(text), at: make([]int, len(text)+1)}
	for i := range s.at {
		s.at[i] = i
	}
	all := []spelling{s.fold()}
	for range maxEscapes {
		next, changed := s.unescape()
		if !changed {
			break
		}
		all = append(all, next.fold())
		s = next
	}
	if whole, changed := s.join(); changed {
		all = append(all, whole.fold())
	}
	return all
}

// join removes spaces, line breaks and what is not visible: a text may have been
// wrapped in the middle of a secret.
func (s spelling) join() (whole spelling, changed bool) {
	for i := 0; i < len(s.text); {
		r, n := utf8.DecodeRune(s.text[i:])
		if isGap(r) {
			changed = true
		} else {
			whole.text = append(whole.text, s.text[i:i+n]...)
			whole.at = append(whole.at, s.at[i:i+n]...)
		}
		i += n
	}
	whole.at = append(whole.at, s.at[len(s.text)])
	return whole, changed
}

// fold makes letters lower case, and a space a plus sign, as it is in a query.
func (s spelling) fold() spelling {
	text := slices.Clone(s.text)
	for i, c := range text {
		switch {
		case 'A' <= c && c <= 'Z':
			text[i] = c + 'a' - 'A'
		case c == ' ':
			text[i] = '+'
		}
	}
	return spelling{text: text, at: s.at}
}

func (s spelling) unescape() (next spelling, changed bool) {
	for i := 0; i < len(s.text); {
		c, n := unescapeOne(s.text[i:])
		if n == 0 {
			c, n = string(s.text[i:i+1]), 1
		} else {
			changed = true
		}
		for j := range len(c) {
			next.text = append(next.text, c[j])
			next.at = append(next.at, s.at[i])
		}
		i += n
	}
	next.at = append(next.at, s.at[len(s.text)])
	return next, changed
}

// unescapeOne undoes the escape at the start of a text. n is its length, 0 if there is
// none.
func unescapeOne(text []byte) (c string, n int) {
	switch text[0] {
	case '%':
		return unescapePercent(text)
	case '&':
		return unescapeEntity(text)
	case '\\':
		return unescapeBackslash(text)
	}
	return "", 0
}

// unescapePercent undoes the escape of a URL.
func unescapePercent(text []byte) (c string, n int) {
	if v, ok := hexNumber(text, 1, 2); ok {
		return string([]byte{byte(v)}), 3 //nolint:gosec // It has two digits.
	}
	return "", 0
}

// unescapeEntity undoes the escape of HTML and XML.
func unescapeEntity(text []byte) (c string, n int) {
	const longest = 12
	end := slices.Index(text[:min(len(text), longest)], ';') + 1
	entity := string(text[:end])
	if c = html.UnescapeString(entity); c != entity {
		return c, end
	}
	return "", 0
}

// unescapeBackslash undoes the escape of JSON and of many programming languages.
func unescapeBackslash(text []byte) (c string, n int) {
	if len(text) < 2 {
		return "", 0
	}
	switch text[1] {
	case 'u':
		if v, ok := hexNumber(text, 2, 4); ok {
			return string(utf8.AppendRune(nil, v)), 6
		}
	case 'x':
		if v, ok := hexNumber(text, 2, 2); ok {
			return string([]byte{byte(v)}), 4 //nolint:gosec // It has two digits.
		}
	case '/', '\\', '"', '\'', '&', '=', '?':
		return string(text[1:2]), 2
	case 'n', 'r', 't':
		return " ", 2
	}
	return "", 0
}

// hexNumber reads a number of so many hexadecimal digits.
func hexNumber(text []byte, from, digits int) (rune, bool) {
	if len(text) < from+digits {
		return 0, false
	}
	v, err := strconv.ParseInt(string(text[from:from+digits]), 16, 32)
	return rune(v), err == nil && v >= 0
}

// formsOf returns the forms in which secrets are searched for.
func formsOf(secrets []string) []string {
	var forms []string
	add := func(form string) {
		if len(form) >= minKey && !slices.Contains(forms, form) {
			forms = append(forms, form)
		}
	}
	for _, secret := range secrets {
		for _, s := range unescapings(secret) {
			add(string(s.text))
		}
		for _, form := range encodings(secret) {
			add(strings.ToLower(form))
		}
	}
	return forms
}

// encodings returns a secret in hex, and as it is within a text in base64, where it may
// start at any of three places.
func encodings(secret string) []string {
	const least = 8 // Shorter forms would match text that is no secret.
	if len(secret) < least {
		return nil
	}
	forms := []string{hex.EncodeToString([]byte(secret))}
	for before := range 3 {
		padded := make([]byte, before, before+len(secret))
		padded = append(padded, secret...)
		// The characters at both ends also depend on the text around the secret.
		from, to := (before*8+5)/6, len(padded)*8/6
		for _, e := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			forms = append(forms, e.EncodeToString(padded)[from:to])
		}
	}
	return forms
}
