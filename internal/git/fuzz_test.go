package git

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
)

// A crafted index or delta is rejected, or read within its bounds.
func FuzzParseIndex(f *testing.F) {
	f.Add([]byte("DIRC\x00\x00\x00\x02\x00\x00\x00\x00"+strings.Repeat("\x00", 20)), 20)
	f.Add([]byte("DIRC\x00\x00\x00\x04\x00\x00\x00\x01"+strings.Repeat("\x00", 62)+"\x00name\x00"+strings.Repeat("\x00", 20)), 20)
	f.Fuzz(func(t *testing.T, data []byte, size int) {
		if size != 20 {
			size = 32
		}
		entries, err := ParseIndex(string(data), size)
		if err != nil {
			return
		}
		for _, e := range entries {
			if e.Path == "" || len(e.ID) != size {
				t.Errorf("%+v", e)
			}
		}
	})
}

func FuzzApplyDelta(f *testing.F) {
	f.Add([]byte("source text"), []byte("\x0b\x06\x90\x06"))
	f.Add([]byte("x"), []byte("\x01\x03\x03abc"))
	f.Fuzz(func(t *testing.T, source, delta []byte) {
		out, err := applyDelta(bytes.Clone(source), bytes.Clone(delta))
		if err == nil && len(out) > maxObject {
			t.Error("more than there may be")
		}
	})
}

// Matching agrees with a regular expression.
func FuzzGlob(f *testing.F) {
	f.Add("a/**/b*c/?", "a/x/y/bxxc/z")
	f.Add(strings.Repeat("*a", 40), strings.Repeat("a", 60)+"b")
	f.Add(strings.Repeat("**/", 30)+"x", strings.Repeat("a/", 60)+"y")
	f.Add("**/*a*/**/b", "a/a/a/b")
	f.Fuzz(func(t *testing.T, pattern, path string) {
		if len(pattern) > 200 || len(path) > 400 || strings.Contains(path, "\n") {
			return
		}
		g := compileGlob(pattern, true, false)
		got := g.match(path)
		if want := regexpOf(&g).MatchString(latin(path)); got != want {
			t.Errorf("%q on %q: %v, want %v", pattern, path, got, want)
		}
	})
}

// regexpOf returns the pattern as a regular expression of characters that stand for
// bytes.
func regexpOf(g *glob) *regexp.Regexp {
	var b strings.Builder
	b.WriteString(`(?s)\A` + regexp.QuoteMeta(latin(g.prefix)))
	for _, t := range g.tokens {
		switch t.kind {
		case tokenByte:
			b.WriteString(regexp.QuoteMeta(latin(string([]byte{t.b}))))
		case tokenAny:
			b.WriteString(`[^/]`)
		case tokenStar:
			b.WriteString(`[^/]*`)
		case tokenDirs:
			b.WriteString(`(?:.*/)?`)
		case tokenDeep:
			b.WriteString(`.*`)
		case tokenClass:
			var in strings.Builder
			for c, ok := range t.set {
				if ok {
					in.WriteString(regexp.QuoteMeta(string(rune(c))) + "|")
				}
			}
			b.WriteString(`(?:` + strings.TrimSuffix(in.String(), "|") + `)`)
			if in.Len() == 0 {
				b.WriteString(`\b\B`)
			}
		}
	}
	if g.never {
		b.WriteString(`\b\B`)
	}
	return regexp.MustCompile(b.String() + `\z`)
}

func latin(s string) string {
	r := make([]rune, len(s))
	for i := range len(s) {
		r[i] = rune(s[i])
	}
	return string(r)
}
