package terminal

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestLineHasNoControlCharacters(t *testing.T) {
	for in, want := range map[string]string{
		"":                      "",
		"café 日本 🙂 a b":         "café 日本 🙂 a b",
		"one\r\ntwo\tthree\n":   "one two three ",
		"\x1b[2Jx\a\x00\x7f":    "x\uFFFD\uFFFD\uFFFD",
		"\u009b31mred":          "red",
		"\x1b]0;title\a":        "\uFFFD]0;title\uFFFD",
		"\x9b31m":               "\uFFFD31m",
		"a\xffb":                "a\uFFFDb",
		"a\u202egpj.exe":        "a\uFFFDgpj.exe",
		"a\u2066b\u200fc\u061c": "a\uFFFDb\uFFFDc\uFFFD",
		"a\u2028b\u2029c":       "a\uFFFDb\uFFFDc",
		"a\u200bb\ufeffc\u00ad": "a\uFFFDb\uFFFDc\uFFFD",
		"a\u3164b\u034fc":       "a\uFFFDb\uFFFDc",
		"a\U000e0041b\ue000":    "a\uFFFDb\uFFFD",
	} {
		if got := Line(in); got != want {
			t.Errorf("Line(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestWriterKeepsLines(t *testing.T) {
	var b strings.Builder
	n, err := fmt.Fprintf(Writer(&b), "%s\n", "\x1b[1mone\x1b[0m\a\r\n\ttwo\rthree")
	if want := "one\uFFFD\n\ttwo three\n"; err != nil || n != 25 || b.String() != want {
		t.Errorf("wrote %d bytes, %v: %q, want %q", n, err, b.String(), want)
	}
}

func FuzzLine(f *testing.F) {
	f.Add("a\x1b\u009b\u202e\n\t\xff")
	f.Fuzz(func(t *testing.T, text string) {
		for _, got := range []string{Line(text), Lines(text)} {
			if !utf8.ValidString(got) || strings.ContainsAny(got, "\r\x1b\a\x7f\u009b\u202e\u2028\u200b") {
				t.Errorf("%q is not clean", got)
			}
		}
		if got := Line(text); strings.ContainsAny(got, "\n\t") {
			t.Errorf("%q is not a line", got)
		}
	})
}
