// Package procfile parses Procfiles.
package procfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/herokubuild/herokubuild/internal/clean"
)

// Error reports a Procfile that is missing or not valid.
type Error struct {
	// Missing is set if there is none or it cannot be read; Reason is about its content
	// otherwise. Both are the end of a sentence that begins with "the Procfile".
	Missing bool
	Reason  string
	// Err is the cause; it may be nil.
	Err error
}

// Error implements error.
func (e *Error) Error() string { return "the Procfile " + e.Reason }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// maxSize bounds the size of a Procfile.
const maxSize = 1 << 20

var lineRE = regexp.MustCompile(`^([A-Za-z0-9_-]{1,128})[ \t]*:[ \t]*(.*)$`)

// Read parses the Procfile of a directory. A link may lead to another file in the
// directory, but not out of it.
func Read(dir string) (map[string]string, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, &Error{Missing: true, Reason: "cannot be read", Err: err}
	}
	defer func() { _ = root.Close() }()
	switch info, err := root.Stat("Procfile"); {
	case errors.Is(err, fs.ErrNotExist):
		return nil, &Error{Missing: true, Reason: "is missing (add one or set ProcessTypes)", Err: err}
	case err != nil:
		return nil, &Error{Missing: true, Reason: "cannot be read", Err: err}
	case !info.Mode().IsRegular():
		return nil, &Error{Missing: true, Reason: "is not a file"}
	}
	f, err := root.Open("Procfile")
	if err != nil {
		return nil, &Error{Missing: true, Reason: "cannot be read", Err: err}
	}
	defer func() { _ = f.Close() }()
	return Parse(f)
}

// Parse returns the process types of a Procfile and their commands. The error is an
// [*Error], or one of r.
func Parse(r io.Reader) (map[string]string, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxSize+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxSize {
		return nil, &Error{Reason: fmt.Sprintf("is larger than %d bytes", maxSize)}
	}
	types := map[string]string{}
	number := 0
	for line := range bytes.Lines(text) {
		number++
		name, command, problem := parseLine(line)
		if problem != "" {
			return nil, &Error{Reason: fmt.Sprintf("line %d %s", number, problem)}
		}
		if name != "" {
			types[name] = command
		}
	}
	return types, nil
}

// parseLine returns no name for an empty line or a comment.
func parseLine(raw []byte) (name, command, problem string) {
	line := strings.Trim(string(raw), " \t\r\n")
	if line == "" || line[0] == '#' {
		return "", "", ""
	}
	if !utf8.ValidString(line) || strings.ContainsFunc(line, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f || r == '\ufeff' }) {
		// Some shells on Windows write UTF-16.
		return "", "", "(" + clean.Quote(strings.ToValidUTF8(line, "?")) + ") is not plain UTF-8 text"
	}
	m := lineRE.FindStringSubmatch(line)
	switch {
	case m == nil:
		return "", "", "(" + clean.Quote(line) + `) is not of the form "type: command"`
	case m[2] == "":
		return "", "", "(" + clean.Quote(line) + ") has no command"
	}
	return m[1], m[2], ""
}
