package herokubuild

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/herokubuild/herokubuild/internal/clean"
)

// This file is what every text from outside passes through before it becomes
// part of an error or of a line of the log: what a host or the network library
// says about a request may repeat the API key or the signed URL of the request.

// redactor hides the secrets of one request in texts about it. It is a closure
// because fmt would print the unexported fields of a struct. The zero value knows
// no secrets, and hides the queries of URLs only, as all of them do.
type redactor func(text string) string

// newRedactor makes a redactor that knows these secrets.
func newRedactor(secrets ...string) redactor { return redactor(nil).and(secrets...) }

// and returns a redactor that knows more.
func (r redactor) and(secrets ...string) redactor {
	if len(secrets) == 0 {
		return r
	}
	known := &knownSecrets{outer: r, secrets: secrets}
	return known.hide
}

// knownSecrets are made ready when they are needed: few requests fail.
type knownSecrets struct {
	outer   redactor
	once    sync.Once
	secrets []string
	forms   []string
}

func (k *knownSecrets) hide(text string) string {
	if k.outer != nil {
		text = k.outer(text)
	}
	k.once.Do(func() { k.forms = spellings(k.secrets) })
	return hide(text, k.forms)
}

// after returns a redactor that knows the URLs that led to an answer, too: a
// redirect may have led to another signed one.
func (r redactor) after(resp *http.Response) redactor {
	for resp != nil && resp.Request != nil {
		if u := resp.Request.URL; u != nil && (u.RawQuery != "" || u.User != nil) {
			r = r.and(secretsOf(u.String())...)
		}
		resp = resp.Request.Response
	}
	return r
}

// text hides the secrets and nothing else.
func (r redactor) text(text string) string {
	if r != nil {
		text = r(text)
	}
	return redactText(text)
}

const (
	// maxOutside bounds how much of a text is looked through, of which far less is
	// kept.
	maxOutside = 64 << 10
	// maxSpelled is how long a secret is at the most, with all its escapes.
	maxSpelled = 16 << 10
)

// bounded is the beginning of a long text without its secrets. What it ends with
// may be a part of one, which nothing would recognize.
func (r redactor) bounded(text string) string {
	if len(text) <= maxOutside {
		return r.text(text)
	}
	text = r.text(text[:maxOutside])
	return text[:max(len(text)-maxSpelled, 0)]
}

// line is text as one clean line of a bounded length.
func (r redactor) line(text string, most int) string { return clip(r.bounded(text), most) }

// lines is line for a text of several.
func (r redactor) lines(text string, most int) string { return cut(clean.Lines(r.bounded(text)), most) }

// header is a header's value as a clean line.
func (r redactor) header(header http.Header, name string) string {
	return r.line(header.Get(name), maxHeaderText)
}

// err returns err if it shows no secret, nor any error that it wraps, and
// otherwise one without. What net/http says about the URL is dropped: the errors
// of this package say it themselves.
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

// withClean returns err with a clean text, for the names of files and the errors of
// callers in it. It matches what err does.
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

// shows says whether err, or anything that it wraps, shows a secret, or has what
// a line of text should not have.
func (r redactor) shows(err error) (secret, unclean bool) {
	text := err.Error()
	secret, unclean = r.text(text) != text || r.dumps(err), clean.Line(text) != text
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

// dumps says whether a field of err that its text leaves out has a secret: some
// verbs of fmt print it.
func (r redactor) dumps(err error) bool {
	if r == nil {
		return false
	}
	text := fmt.Sprintf("%#v", err)
	text = text[:min(len(text), maxOutside)]
	return r(text) != text
}

// unwrapAll returns what err wraps directly.
func unwrapAll(err error) []error {
	switch e := err.(type) { //nolint:errorlint // one at a time
	case interface{ Unwrap() error }:
		return []error{e.Unwrap()}
	case interface{ Unwrap() []error }:
		return e.Unwrap()
	}
	return nil
}

// redactedError is in the place of an error that showed a secret or was not clean. It
// matches what that one matches and wraps what that one wraps, as far as that is
// clean.
type redactedError struct {
	text   string
	causes []error
	// is and as are closures, so that nothing can print the original. as is nil
	// where the original shows a secret.
	is func(target error) bool
	as func(target any) bool
}

func (e *redactedError) Error() string { return e.text }

func (e *redactedError) Is(target error) bool { return e.is(target) }

func (e *redactedError) As(target any) bool { return e.as != nil && e.as(target) }

func (e *redactedError) Unwrap() []error { return e.causes }

// minSecret is the length from which a part of a URL is hidden wherever it comes
// up: "host" and "86400" are in signed URLs and in any other text. It is less for
// keys.
const (
	minSecret = 6
	minKey    = 4
)

// secretsOf returns what is secret of a URL: its query, parameters, user
// information and fragment.
func secretsOf(raw string) []string {
	u, err := url.Parse(raw)
	if err != nil {
		_, query, _ := strings.Cut(raw, "?")
		u = &url.URL{RawQuery: query}
	}
	secrets := append(secretsOfQuery(u.RawQuery), u.Fragment)
	if u.User != nil {
		password, _ := u.User.Password()
		secrets = append(secrets, u.User.String(), u.User.Username(), password,
			// The network library sends it so.
			base64.StdEncoding.EncodeToString([]byte(u.User.Username()+":"+password)))
	}
	return long(secrets, minSecret)
}

func secretsOfQuery(query string) []string {
	if query == "" {
		return nil
	}
	secrets := []string{query}
	for _, parameter := range strings.FieldsFunc(query, func(r rune) bool { return r == '&' || r == ';' }) {
		_, value, _ := strings.Cut(parameter, "=")
		secrets = append(secrets, parameter, value)
	}
	return long(secrets, minSecret)
}

// secretsOfHeader returns what is secret of a header's values: all of them, and
// of credentials also the part after the scheme.
func secretsOfHeader(header http.Header) []string {
	var secrets []string
	for _, values := range header {
		for _, value := range values {
			_, credential, _ := strings.Cut(value, " ")
			secrets = append(secrets, value, credential)
			if user, err := base64.StdEncoding.DecodeString(credential); err == nil {
				_, password, _ := strings.Cut(string(user), ":")
				secrets = append(secrets, string(user), password)
			}
		}
	}
	return long(secrets, minKey)
}

func long(secrets []string, least int) []string {
	return slices.DeleteFunc(secrets, func(s string) bool { return len(s) < least })
}

// spelled is a text with its escapes undone, in lower case. at has for each of
// its bytes where that begins in the original, and the original's length.
type spelled struct {
	text []byte
	at   []int
}

// maxEscapes is how often a text may have been escaped on its way.
const maxEscapes = 3

// unescapings returns a text as it is, with its escapes undone, and with the
// escapes in that undone, as often as there are any.
func unescapings(text string) []spelled {
	s := spelled{text: []byte(text), at: make([]int, len(text)+1)}
	for i := range s.at {
		s.at[i] = i
	}
	all := []spelled{fold(s)}
	for range maxEscapes {
		next, changed := unescape(s)
		if !changed {
			break
		}
		all = append(all, fold(next))
		s = next
	}
	if whole, changed := join(s); changed {
		all = append(all, fold(whole))
	}
	return all
}

// join leaves out spaces, line ends and what is not visible: a text may have been
// wrapped in the middle of a secret.
func join(s spelled) (whole spelled, changed bool) {
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

// fold makes letters lower case, and a space the plus sign that it is in a query.
func fold(s spelled) spelled {
	text := slices.Clone(s.text)
	for i, c := range text {
		switch {
		case 'A' <= c && c <= 'Z':
			text[i] = c + 'a' - 'A'
		case c == ' ':
			text[i] = '+'
		}
	}
	return spelled{text: text, at: s.at}
}

func isGap(r rune) bool { return unicode.IsSpace(r) || !clean.Visible(r) }

func unescape(s spelled) (next spelled, changed bool) {
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

// unescapeOne undoes the escape that text begins with: of a URL, of HTML and XML,
// or of JSON and the like. n is its length, 0 if there is none.
func unescapeOne(text []byte) (c string, n int) {
	hex := func(from, digits int) (rune, bool) {
		if len(text) < from+digits {
			return 0, false
		}
		v, err := strconv.ParseInt(string(text[from:from+digits]), 16, 32)
		return rune(v), err == nil && v >= 0
	}
	switch text[0] {
	case '%':
		if v, ok := hex(1, 2); ok {
			return string([]byte{byte(v)}), 3 //nolint:gosec // It has two digits.
		}
	case '&':
		const longest = 12
		end := slices.Index(text[:min(len(text), longest)], ';') + 1
		if entity := string(text[:end]); end > 0 && html.UnescapeString(entity) != entity {
			return html.UnescapeString(entity), end
		}
	case '\\':
		if len(text) < 2 {
			return "", 0
		}
		switch text[1] {
		case 'u':
			if v, ok := hex(2, 4); ok {
				return string(utf8.AppendRune(nil, v)), 6
			}
		case 'x':
			if v, ok := hex(2, 2); ok {
				return string([]byte{byte(v)}), 4 //nolint:gosec // It has two digits.
			}
		case '/', '\\', '"', '\'', '&', '=', '?':
			return string(text[1:2]), 2
		case 'n', 'r', 't':
			return " ", 2
		}
	}
	return "", 0
}

// spellings are the forms in which secrets are looked for.
func spellings(secrets []string) []string {
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

// encodings are a secret in hex and within a text in base64, of which it may begin
// at any of three places.
func encodings(secret string) []string {
	const least = 8 // less would be found where there is no secret
	if len(secret) < least {
		return nil
	}
	forms := []string{hex.EncodeToString([]byte(secret))}
	for before := range 3 {
		padded := make([]byte, before, before+len(secret))
		padded = append(padded, secret...)
		// The characters at both ends belong to what is around it, too.
		from, to := (before*8+5)/6, len(padded)*8/6
		for _, e := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			forms = append(forms, e.EncodeToString(padded)[from:to])
		}
	}
	return forms
}

// hide replaces the forms wherever they are in text, however they are escaped.
func hide(text string, forms []string) string {
	type span struct{ from, to int }
	var spans []span
	for _, s := range unescapings(text) {
		content := string(s.text)
		for _, form := range forms {
			for from := 0; ; {
				i := strings.Index(content[from:], form)
				if i < 0 {
					break
				}
				i += from
				from = i + len(form)
				found := strings.TrimRightFunc(text[s.at[i]:s.at[from]], isGap)
				spans = append(spans, span{s.at[i], s.at[i] + len(found)})
			}
		}
	}
	if len(spans) == 0 {
		return text
	}
	slices.SortFunc(spans, func(a, b span) int { return a.from - b.from })
	var b strings.Builder
	end := 0
	for _, s := range spans {
		if s.from >= end {
			b.WriteString(text[end:s.from])
			b.WriteString(redacted)
		}
		end = max(end, s.to)
	}
	b.WriteString(text[end:])
	return b.String()
}
