package herokubuild

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode/utf8"
)

// maxProcfile bounds what is read of a Procfile.
const maxProcfile = 1 << 20

var procfileLineRE = regexp.MustCompile(`^([A-Za-z0-9_-]{1,128})[ \t]*:[ \t]*(.*)$`)

// ParseProcfile reads the process types of a Procfile and their commands, as
// [SlugCreateOptions].ProcessTypes takes them.
//
// A line is "type: command", or empty, or a comment that starts with "#"; space
// around the type and the command does not count, nor does the kind of line
// ends. Of several lines for one type the last one holds. A Procfile without
// any gives an empty map.
//
// The platform's own builds pass over lines that they do not understand, so
// that a process is missing without a word. This is stricter: an
// [*ArgumentError] names the line that is none of the above, has no command,
// or is not plain UTF-8 text, and is returned for more than 1 MiB, too. Other
// errors are r's.
func ParseProcfile(r io.Reader) (map[string]string, error) {
	if r == nil {
		return nil, &ArgumentError{Name: "r", Reason: "is nil"}
	}
	text, err := io.ReadAll(io.LimitReader(r, maxProcfile+1))
	if err != nil {
		return nil, withClean(fmt.Errorf("herokubuild: reading a Procfile: %w", withoutEOF(err)))
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

// procfileLine returns no name for a line that says nothing.
func procfileLine(raw []byte) (name, command string, err error) {
	line := strings.Trim(string(raw), " \t\r\n")
	if line == "" || line[0] == '#' {
		return "", "", nil
	}
	if !utf8.ValidString(line) || strings.ContainsFunc(line, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f || r == '\ufeff' }) {
		// A Procfile in UTF-16, as some shells on Windows write it, ends here.
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
