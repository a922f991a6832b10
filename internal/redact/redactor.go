package redact

import (
	"slices"
	"strings"
	"sync"
	"unicode"

	"github.com/herokubuild/herokubuild/internal/clean"
)

// Redactor hides the secrets of one request in texts about it. The zero value has no
// secrets; it hides only what [Text] hides.
type Redactor struct {
	// known is a closure because fmt prints the unexported fields of a struct.
	known func() *secrets
}

// secrets are the secrets of a Redactor. Their forms are computed at the first use,
// since few requests fail.
type secrets struct {
	list  []string
	few   [1]string // what list has in most requests: the API key
	once  sync.Once
	forms []string
}

// New returns a Redactor with these secrets.
func New(list ...string) Redactor { return Redactor{}.With(list...) }

// With returns a Redactor that has more secrets.
func (r Redactor) With(list ...string) Redactor {
	if len(list) == 0 {
		return r
	}
	s := new(secrets)
	s.list = s.few[:0]
	if r.known != nil {
		s.list = append(s.list, r.known().list...)
	}
	s.list = append(s.list, list...)
	return Redactor{known: func() *secrets { return s }}
}

// Text hides the secrets in a text, and what [Text] hides.
func (r Redactor) Text(text string) string { return Text(r.hide(text)) }

const (
	// maxText bounds the part of a text that is searched. Far less of it is kept.
	maxText = 64 << 10
	// maxSpelled bounds the length of a secret with all its escapes.
	maxSpelled = 16 << 10
)

// Start is [Redactor.Text] for the start of a long text. It drops the end of what it
// searches, since that may be a part of a secret, which cannot be recognized.
func (r Redactor) Start(text string) string {
	if len(text) <= maxText {
		return r.Text(text)
	}
	text = r.Text(text[:maxText])
	return text[:max(len(text)-maxSpelled, 0)]
}

// Finds reports whether the start of a text has one of the secrets.
func (r Redactor) Finds(text string) bool {
	text = text[:min(len(text), maxText)]
	return r.hide(text) != text
}

func (r Redactor) hide(text string) string {
	if r.known == nil {
		return text
	}
	s := r.known()
	s.once.Do(func() { s.forms = formsOf(s.list) })
	return hide(text, s.forms)
}

// span is a part of a text.
type span struct{ from, to int }

// hide replaces the forms wherever they are in a text, however they are escaped.
func hide(text string, forms []string) string {
	var spans []span
	for _, s := range unescapings(text) {
		content := string(s.text)
		for _, form := range forms {
			spans = s.find(spans, text, content, form)
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
			b.WriteString(Placeholder)
		}
		end = max(end, s.to)
	}
	b.WriteString(text[end:])
	return b.String()
}

// find appends where a form is in the original text. Content is s.text.
func (s spelling) find(spans []span, original, content, form string) []span {
	for from := 0; ; {
		i := strings.Index(content[from:], form)
		if i < 0 {
			return spans
		}
		i += from
		from = i + len(form)
		found := strings.TrimRightFunc(original[s.at[i]:s.at[from]], isGap)
		spans = append(spans, span{s.at[i], s.at[i] + len(found)})
	}
}

// isGap reports whether a character is a space or not visible.
func isGap(r rune) bool { return unicode.IsSpace(r) || !clean.Visible(r) }
