// Package clean sanitizes text from outside for a terminal, an error or a log
// line.
package clean

import (
	"regexp"
	"strings"
	"unicode"
)

// Line returns text as a single line. It replaces line breaks and tabs with
// spaces, and other invisible characters and invalid UTF-8 with U+FFFD. These
// are control characters (C0, including ESC and BEL, DEL and C1), marks that
// change the writing direction, line and paragraph separators, and zero-width
// characters.
func Line(text string) string { return clean(text, false) }

// Lines is like Line, but keeps line breaks ("\n", "\r\n") and tabs.
func Lines(text string) string { return clean(text, true) }

// colorRE matches control sequences for colors and the cursor.
var colorRE = regexp.MustCompile(`(?:\x1b\[|\x{9b})[0-?]*[ -/]*[@-~]`)

// Uncolored removes control sequences for colors and the cursor. [Line] and
// [Lines] would only replace their first character and keep the rest.
func Uncolored(text string) string { return colorRE.ReplaceAllString(text, "") }

func clean(text string, lines bool) string {
	return strings.Map(func(r rune) rune {
		switch {
		case lines && (r == '\n' || r == '\t'):
			return r
		case r == '\n', r == '\r', r == '\t':
			return ' '
		case Visible(r):
			return r
		}
		return unicode.ReplacementChar
	}, strings.ReplaceAll(text, "\r\n", "\n"))
}

// Visible reports whether [Line] keeps a character. It also returns false for
// U+034F and the Hangul fillers, which are classified as letters and marks but
// are invisible.
func Visible(r rune) bool {
	return unicode.IsGraphic(r) && !unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r)
}

// Quote returns a text in quotes as a clean line of a readable length.
func Quote(text string) string { return `"` + Line(clipMiddle(text)) + `"` }

// clipMiddle shortens a long text in its middle. It keeps more of the end than of the
// start, because a path ends in the name of the file.
func clipMiddle(text string) string {
	const start, end = 24, 56
	if len(text) <= start+end {
		return text
	}
	return strings.ToValidUTF8(text[:start], "") + "…" + strings.ToValidUTF8(text[len(text)-end:], "")
}

// IsPrintable reports whether a text has printable ASCII characters only, as the value of
// a header has.
func IsPrintable(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' })
}

// Clip makes a text from outside a clean line of at most this many bytes and an ellipsis.
func Clip(text string, most int) string { return Cut(Line(text), most) }

// Cut returns at most this many bytes of a text and an ellipsis.
func Cut(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}

// FirstLine returns the first line of a text that is not blank, of a readable length.
func FirstLine(text string) string {
	text = strings.TrimSpace(text)
	if i := strings.IndexAny(text, "\r\n"); i >= 0 {
		text = strings.TrimSpace(text[:i])
	}
	return Clip(text, 200)
}
