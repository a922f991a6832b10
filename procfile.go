package herokubuild

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode/utf8"
)

// maxProcfile bounds the size of a Procfile.
const maxProcfile = 1 << 20

var procfileLineRE = regexp.MustCompile(`^([A-Za-z0-9_-]{1,128})[ \t]*:[ \t]*(.*)$`)

// ParseProcfile reads the process types of a Procfile and their commands, for
// [SlugCreateOptions].ProcessTypes.
//
// A line is "type: command", empty, or a comment that starts with "#"; space around the
// type and the command is ignored, and every kind of line break is accepted. If several
// lines have the same type, the last one is used. A Procfile without any type yields an
// empty map.
//
// Heroku's own builds silently skip lines that they cannot parse, so that a process is
// missing. ParseProcfile is stricter: it returns an [*ArgumentError] for a line that is
// none of the above, has no command, or is not plain UTF-8 text, and for a Procfile of
// more than 1 MiB. Other errors are those of r.
func ParseProcfile(r io.Reader) (map[string]string, error) {
	if r == nil {
		return nil, &ArgumentError{Name: "r", Reason: "is nil"}
	}
	text, err := io.ReadAll(io.LimitReader(r, maxProcfile+1))
	if err != nil {
		return nil, withClean(fmt.Errorf("read Procfile: %w", withoutEOF(err)))
	}
	if len(text) > maxProcfile {
		return nil, &ArgumentError{Name: "Procfile", Reason: fmt.Sprintf("is larger than %d bytes", maxProcfile)}
	}
	types := map[string]string{}
	number := 0
	for line := range bytes.Lines(text) {
		number++
		name, command, err := procfileLine(line)
		if err != nil {
			return nil, &ArgumentError{Name: "Procfile", Reason: fmt.Sprintf("line %d %v", number, err)}
		}
		if name != "" {
			types[name] = command
		}
	}
	return types, nil
}

// procfileLine returns no name for an empty line or a comment.
func procfileLine(raw []byte) (name, command string, err error) {
	line := strings.Trim(string(raw), " \t\r\n")
	if line == "" || line[0] == '#' {
		return "", "", nil
	}
	if !utf8.ValidString(line) || strings.ContainsFunc(line, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f || r == '\ufeff' }) {
		// Some shells on Windows write UTF-16.
		return "", "", fmt.Errorf("(%s) is not plain UTF-8 text", quote(strings.ToValidUTF8(line, "?")))
	}
	m := procfileLineRE.FindStringSubmatch(line)
	switch {
	case m == nil:
		return "", "", fmt.Errorf(`(%s) is not of the form "type: command"`, quote(line))
	case m[2] == "":
		return "", "", fmt.Errorf("(%s) has no command", quote(line))
	}
	return m[1], m[2], nil
}
