package clean_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"

	"github.com/herokubuild/herokubuild/internal/clean"
)

func TestLine(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                      "",
		"café 日本 🙂 a b":         "café 日本 🙂 a b",
		"one\r\ntwo\tthree\n":   "one two three ",
		"\x1b[2Jx\a\x00\x7f":    "\uFFFD[2Jx\uFFFD\uFFFD\uFFFD",
		"\u009b31m":             "\uFFFD31m",
		"\x9b31m":               "\uFFFD31m",
		"a\xffb":                "a\uFFFDb",
		"a\u202egpj.exe":        "a\uFFFDgpj.exe",
		"a\u2066b\u200fc\u061c": "a\uFFFDb\uFFFDc\uFFFD",
		"a\u2028b\u2029c":       "a\uFFFDb\uFFFDc",
		"a\u200bb\ufeffc\u00ad": "a\uFFFDb\uFFFDc\uFFFD",
		"a\u3164b\u034fc":       "a\uFFFDb\uFFFDc",
		"a\U000e0041b\ue000":    "a\uFFFDb\uFFFD",
	} {
		assert.Equal(t, want, clean.Line(in), "%q", in)
	}
}

func TestLines(t *testing.T) {
	t.Parallel()
	assert.Equal(t, "a\n\tb\nc d\uFFFD[0m", clean.Lines("a\r\n\tb\nc\rd\x1b[0m"))
}

func TestUncolored(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"\x1b[1;31mred\x1b[0m \u009b2Kx\x1b[?25l": "red x", "[1m": "[1m", "\x1b]0;title\a": "\x1b]0;title\a", "\x1b[": "\x1b[",
	} {
		assert.Equal(t, want, clean.Uncolored(in), "%q", in)
	}
}

func FuzzClean(f *testing.F) {
	f.Add("a\x1b\u009b\u202e\n\t\xff")
	f.Fuzz(func(t *testing.T, text string) {
		line, lines := clean.Line(text), clean.Lines(text)
		for _, got := range []string{line, lines} {
			assert.True(t, utf8.ValidString(got))
			assert.False(t, strings.ContainsAny(got, "\r\x1b\a\x7f\u009b\u202e\u2028\u200b"))
		}
		assert.False(t, strings.ContainsAny(line, "\n\t"))
		assert.Equal(t, line, clean.Line(line), "cleaning must be idempotent")
		assert.Equal(t, line, clean.Line(lines))
	})
}

func TestQuoteKeepsBothEndsOfALongText(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                            `""`,
		"app/main.go":                 `"app/main.go"`,
		"a\nb\x1b":                    "\"a b\uFFFD\"",
		strings.Repeat("x", 80):       `"` + strings.Repeat("x", 80) + `"`,
		strings.Repeat("x", 81):       `"` + strings.Repeat("x", 24) + "…" + strings.Repeat("x", 56) + `"`,
		strings.Repeat("é", 50):       `"` + strings.Repeat("é", 12) + "…" + strings.Repeat("é", 28) + `"`,
		"e" + strings.Repeat("é", 50): `"e` + strings.Repeat("é", 11) + "…" + strings.Repeat("é", 28) + `"`,
	} {
		assert.Equal(t, want, clean.Quote(in))
	}
}

func TestIsPrintable(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{"": true, "a b~": true, "a\tb": false, "a\nb": false, "\x7f": false, "é": false, "\xff": false} {
		assert.Equal(t, want, clean.IsPrintable(text), "%q", text)
	}
}

func TestTextsAreCut(t *testing.T) {
	t.Parallel()
	assert.Equal(t, "a b", clean.Clip("a\nb", 3))
	assert.Equal(t, "a b…", clean.Clip("a\nb\nc", 3))
	assert.Equal(t, "é…", clean.Cut("éé", 3), "no character is cut in two")
	for in, want := range map[string]string{"": "", " \n\n first \nsecond": "first", "one\rtwo": "one", strings.Repeat("x", 201): strings.Repeat("x", 200) + "…"} {
		assert.Equal(t, want, clean.FirstLine(in))
	}
}
