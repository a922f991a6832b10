package terminal

import (
	"io"
	"regexp"
	"strings"
	"unicode"
)

// Line returns text from outside as a single line that is safe to print. Control
// sequences for colors are removed, line breaks and tabs become spaces, and other
// invisible characters and invalid UTF-8 become U+FFFD. These are control
// characters (ESC, for example), marks that change the writing direction, and
// zero-width characters.
func Line(text string) string { return replaced(uncolored(text), false) }

// Lines is like [Line], but keeps line breaks and tabs.
func Lines(text string) string { return replaced(uncolored(text), true) }

// Writer returns a writer that writes to w what [Lines] returns for each Write. A
// Write must not end within a character; those of package fmt do not.
func Writer(w io.Writer) io.Writer { return writer{w} }

type writer struct{ w io.Writer }

func (w writer) Write(p []byte) (int, error) {
	if _, err := io.WriteString(w.w, Lines(string(p))); err != nil {
		return 0, err
	}
	return len(p), nil
}

// colorRE matches control sequences for colors and the cursor.
var colorRE = regexp.MustCompile(`(?:\x1b\[|\x{9b})[0-?]*[ -/]*[@-~]`)

func uncolored(text string) string { return colorRE.ReplaceAllString(text, "") }

func replaced(text string, lines bool) string {
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

// visible also returns false for U+034F and the Hangul fillers, which are
// classified as letters and marks but are invisible.
func visible(r rune) bool {
	return unicode.IsGraphic(r) && !unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r)
}
