// Package clean makes text that comes from outside fit for a terminal, an error
// or a line of a log.
package clean

import (
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

func clean(text string, lines bool) string {
	return strings.Map(func(r rune) rune {
		switch {
		case lines && (r == '\n' || r == '\t'):
			return r
		case r == '\n', r == '\r', r == '\t':
			return ' '
		case visible(r):
			return r
		}
		return unicode.ReplacementChar
	}, strings.ReplaceAll(text, "\r\n", "\n"))
}

// visible is not true for U+034F or the fillers of Hangul either: they are
// letters and marks that show nothing.
func visible(r rune) bool {
	return unicode.IsGraphic(r) && !unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r)
}
