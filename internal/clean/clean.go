// Package clean makes text that comes from outside fit for a terminal, an error
// or a line of a log.
package clean

import (
	"io"
	"regexp"
	"strings"
	"unicode"
)

// Line returns text as one line: a line break or a tab becomes a space, and
// U+FFFD stands for whatever else is not visible and for invalid UTF-8. That is
// control characters (C0 with ESC and BEL, DEL, and C1), marks that change the
// direction of writing, separators of lines and paragraphs, and characters
// without a width.
func Line(text string) string { return clean(text, false) }

// Lines is Line for a text of several lines: line breaks ("\n", "\r\n") and tabs
// are kept.
func Lines(text string) string { return clean(text, true) }

// colorRE is what switches colors and moves the cursor.
var colorRE = regexp.MustCompile(`(?:\x1b\[|\x{9b})[0-?]*[ -/]*[@-~]`)

// Uncolored removes the control sequences for colors and the cursor, which would
// leave their letters behind where only their first character is replaced.
func Uncolored(text string) string { return colorRE.ReplaceAllString(text, "") }

// Writer returns a writer that passes each text on to w as [Uncolored] and [Lines]
// make it. Each Write has to be of whole characters, as those of package fmt are.
func Writer(w io.Writer) io.Writer { return writer{w} }

type writer struct{ w io.Writer }

func (w writer) Write(p []byte) (int, error) {
	if _, err := io.WriteString(w.w, Lines(Uncolored(string(p)))); err != nil {
		return 0, err
	}
	return len(p), nil
}

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

// Visible reports whether a character is one that [Line] keeps. It is not true for
// U+034F or the fillers of Hangul either: they are letters and marks that show
// nothing.
func Visible(r rune) bool {
	return unicode.IsGraphic(r) && !unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r)
}

// Quote shows a value in an error: quoted, on one line, and clipped to a readable
// length.
func Quote(s string) string { return `"` + Line(clipMiddle(s)) + `"` }

// clipMiddle shortens a long text in its middle. It keeps more of the end than of
// the start, because a path ends in the name of the file.
func clipMiddle(s string) string {
	const start, end = 24, 56
	if len(s) <= start+end {
		return s
	}
	return strings.ToValidUTF8(s[:start], "") + "…" + strings.ToValidUTF8(s[len(s)-end:], "")
}
