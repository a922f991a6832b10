// Command picture makes the picture of a deploy in the README: it reads what a program
// has printed to a terminal and writes two SVG files, for light and dark pages.
//
//	.ci/picture        # run the program and write docs/images/deploy-{light,dark}.svg
//	.ci/picture -check # run the program and compare its output with the pictures
//
// With -check, ids, numbers and the order of lines may differ, as they do between runs.
package main

import (
	"errors"
	"flag"
	"fmt"
	"html"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
)

func main() {
	command := flag.String("command", "", "the `command` that printed the input")
	prefix := flag.String("o", "", "`path` of the files to write, without -light.svg")
	cols := flag.Int("cols", 100, "`width` of the terminal in columns")
	check := flag.Bool("check", false, "compare the input with the files instead of writing them")
	flag.Parse()
	if err := run(os.Stdin, *command, *prefix, *cols, *check); err != nil {
		fmt.Fprintln(os.Stderr, "picture:", err)
		os.Exit(1)
	}
}

func run(in io.Reader, command, prefix string, cols int, check bool) error {
	s := &screen{cols: cols}
	if err := s.read(in); err != nil {
		return err
	}
	rows := s.lines()
	if len(rows) == 0 {
		return errors.New("the input is empty")
	}
	for _, t := range themes() {
		name := prefix + "-" + t.name + ".svg"
		if !check {
			if err := os.WriteFile(name, []byte(draw(t, command, rows)), 0o644); err != nil { //nolint:gosec // pictures are public
				return err
			}
			continue
		}
		old, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if err := sameLines(string(old), text(rows)); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

var (
	description = regexp.MustCompile(`(?s)<desc>\n(.*)</desc>`)
	// differing matches ids, checksums, versions, sizes, speeds and durations.
	differing = regexp.MustCompile(`\b[0-9a-f]{8}-[0-9a-f-]{27}\b|\b[0-9a-f]{12,64}\b|[0-9]+(\.[0-9]+)*( ?([KMG]i)?B(/s)?|ms|s|M)?\b`)
	// slowStep matches a line with the duration of a build's step, which only a slow
	// build has.
	slowStep = regexp.MustCompile(`^ +[0-9.]+m?s  `)
)

// sameLines returns an error unless a picture shows the lines of a text.
func sameLines(picture, now string) error {
	match := description.FindStringSubmatch(picture)
	if match == nil {
		return errors.New("the picture has no description")
	}
	old, lines := comparableLines(html.UnescapeString(match[1])), comparableLines(now)
	for _, line := range lines {
		if !slices.Contains(old, line) {
			return fmt.Errorf("the picture lacks the line %q: run .ci/picture", line)
		}
	}
	if len(old) != len(lines) {
		return fmt.Errorf("the picture has %d lines, and the output %d: run .ci/picture", len(old), len(lines))
	}
	return nil
}

func comparableLines(text string) []string {
	var all []string
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if !slowStep.MatchString(line) {
			all = append(all, differing.ReplaceAllString(line, "#"))
		}
	}
	slices.Sort(all)
	return all
}
