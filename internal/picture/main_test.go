package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/herokubuild/herokubuild/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

func show(t *testing.T, cols int, output string) [][]cell {
	t.Helper()
	s := &screen{cols: cols}
	if err := s.read(strings.NewReader(output)); err != nil {
		t.Fatal(err)
	}
	return s.lines()
}

func TestScreenShowsWhatATerminalShows(t *testing.T) {
	for name, test := range map[string]struct{ output, want string }{
		"lines":             {"one\r\ntwo\r\n\r\n", "one\ntwo\n"},
		"overwritten line":  {"50 %\r100 %\r\n", "100 %\n"},
		"erased area":       {"above\r\nbar 1\r\nbar 2\r\n\x1b[2A\x1b[Jdone\r\n", "above\ndone\n"},
		"erased line":       {"status\r\x1b[Kok\r\n", "ok\n"},
		"moved cursor":      {"ab\x1b[2Dx\x1b[Cy\r\n", "xby\n"},
		"wrapped line":      {"0123456789abc\r\n", "0123456789\nabc\n"},
		"full line":         {"0123456789\r\nabc\r\n", "0123456789\nabc\n"},
		"hidden cursor":     {"\x1b[?25lone\x1b[?25h", "one\n"},
		"characters of two": {"✓ · …\r\n", "✓ · …\n"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := text(show(t, 10, test.output)); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestScreenRefusesUnknownSequences(t *testing.T) {
	for _, output := range []string{"\x1b]0;title\a", "\x1b[5X"} {
		s := &screen{cols: 10}
		if err := s.read(strings.NewReader(output)); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%q: got error %v, want ErrUnsupported", output, err)
		}
	}
}

func TestSpansHaveTheStylesOfTheOutput(t *testing.T) {
	got := spans(show(t, 80, "\x1b[1mbold\x1b[0m \x1b[32m✓\x1b[39m plain")[0])
	want := []span{{"bold", "bold"}, {" ", ""}, {"✓", "c32"}, {" plain", ""}}
	if len(got) != len(want) {
		t.Fatalf("got %q, want %q", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("span %d: got %q, want %q", i, got[i], want[i])
		}
	}
}

func TestPictureIsXML(t *testing.T) {
	for _, theme := range themes() {
		picture := draw(theme, `echo "<a & b>"`, show(t, 80, "<a & b>\r\n"))
		decoder := xml.NewDecoder(strings.NewReader(picture))
		for {
			if _, err := decoder.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v\n%s", theme.name, err, picture)
			}
		}
		if err := sameLines(picture, "<a & b>\n"); err != nil {
			t.Error(err)
		}
	}
}

func TestCheckIgnoresOnlyWhatDiffersBetweenRuns(t *testing.T) {
	prefix := filepath.Join(t.TempDir(), "deploy")
	const id = "928d17c8-d230-44dd-b095-303cfbe1ebd8"
	const output = "build " + id + " succeeded after 1.1s\r\none v3\r\ntwo v3\r\n"
	if err := run(strings.NewReader(output), "deploy", prefix, 80, false); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		output string
		same   bool
	}{
		"the same":       {output, true},
		"another id":     {strings.Replace(output, "928d", "aaaa", 1), true},
		"slower":         {strings.Replace(output, "1.1s", "12.3s\r\n        4s  Running: make", 1), true},
		"other order":    {"two v3\r\none v3\r\nbuild " + id + " succeeded after 1.1s\r\n", true},
		"another result": {strings.Replace(output, "succeeded", "failed", 1), false},
		"a line more":    {output + "one v3\r\n", false},
		"a line less":    {strings.Replace(output, "two v3\r\n", "", 1), false},
	} {
		err := run(strings.NewReader(test.output), "deploy", prefix, 80, true)
		if (err == nil) != test.same {
			t.Errorf("%s: got error %v, want the same lines: %v", name, err, test.same)
		}
	}
	if err := os.Remove(prefix + "-dark.svg"); err != nil {
		t.Fatal(err)
	}
	if err := run(strings.NewReader(output), "deploy", prefix, 80, true); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got error %v for a missing picture, want ErrNotExist", err)
	}
}
