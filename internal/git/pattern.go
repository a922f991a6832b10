package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
)

// Pattern is one line of an ignore file.
type Pattern struct {
	// Text is the line as written, Source the file and Line the number of the
	// line. They explain why a path is excluded.
	Text, Source string
	Line         int
	// Negated is set if the line begins with "!": paths that match are not
	// ignored.
	Negated bool

	// dirOnly is set if the pattern ends with a slash, nameOnly if it has no
	// other slash, so that it is matched against the last element of a path.
	dirOnly, nameOnly bool
	glob              glob
}

const (
	// maxPatterns and maxPatternBytes bound the rules that apply in one
	// directory, including those of its parents.
	maxPatterns     = 100_000
	maxPatternBytes = MaxIgnoreFile
)

// ErrTooManyRules reports that the rules of a directory would take too much memory
// and time.
var ErrTooManyRules = errors.New("too many rules")

// ParsePatterns parses an ignore file. With fold, the patterns match without regard
// to case, as with core.ignoreCase.
func ParsePatterns(data []byte, source string, fold bool) []Pattern {
	var patterns []Pattern
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	for number := 1; len(data) > 0; number++ {
		var line []byte
		line, data, _ = bytes.Cut(data, []byte("\n"))
		line = bytes.TrimSuffix(line, []byte("\r"))
		line, _, _ = bytes.Cut(line, []byte{0})
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		if p, ok := parsePattern(trimSpaces(string(line)), fold); ok {
			p.Source, p.Line = source, number
			if patterns = append(patterns, p); len(patterns) > maxPatterns {
				break
			}
		}
	}
	return patterns
}

// trimSpaces removes trailing spaces, except one that a backslash escapes.
func trimSpaces(line string) string {
	end := len(strings.TrimRight(line, " "))
	if end == len(line) {
		return line
	}
	backslashes := 0
	for end-backslashes > 0 && line[end-backslashes-1] == '\\' {
		backslashes++
	}
	if backslashes%2 == 1 {
		end++
	}
	return line[:end]
}

func parsePattern(text string, fold bool) (Pattern, bool) {
	p := Pattern{Text: text}
	text, p.Negated = strings.CutPrefix(text, "!")
	text, p.dirOnly = strings.CutSuffix(text, "/")
	if text == "" {
		return p, false
	}
	p.nameOnly = !strings.Contains(text, "/")
	text = strings.TrimPrefix(text, "/")
	p.glob = compileGlob(text, !p.nameOnly, fold)
	return p, true
}

// match reports whether a path, relative to the directory of the pattern's file,
// matches. name is its last element.
func (p *Pattern) match(path, name string, dir bool) bool {
	switch {
	case p.dirOnly && !dir:
		return false
	case p.nameOnly:
		return p.glob.match(name)
	}
	return p.glob.match(path)
}

// Last returns the last of the patterns that matches a path, which is the one that
// decides, or nil. It returns nil early once ctx has ended.
func Last(ctx context.Context, patterns []Pattern, path string, dir bool) *Pattern {
	name := path[strings.LastIndexByte(path, '/')+1:]
	work := 0
	for i := len(patterns) - 1; i >= 0; i-- {
		// Most patterns have no wildcard and cost little.
		if work += len(patterns[i].glob.tokens); work > 4096 {
			if work = 0; ctx.Err() != nil {
				return nil
			}
		}
		if patterns[i].match(path, name, dir) {
			return &patterns[i]
		}
	}
	return nil
}

// Below reports whether any of the patterns may match a path inside of a directory.
func Below(patterns []Pattern, dir string) bool {
	for i := range patterns {
		p := &patterns[i]
		if p.Negated {
			continue
		}
		fixed := p.glob.prefix
		inside := dir + "/"
		if p.nameOnly || p.glob.fold || strings.HasPrefix(inside, fixed) || strings.HasPrefix(fixed, inside) {
			return true
		}
	}
	return false
}

// Ignores are the rules of the ignore files from a work tree's root down to one of
// its directories. A nil value has no rules. It is immutable.
type Ignores struct {
	outer    *Ignores
	base     string
	patterns []Pattern
	// count and bytes are the number and size of all patterns up to the root.
	count, bytes int
}

// With adds the patterns of a file in the directory base: "" or a path that
// ends with a slash. The error is [ErrTooManyRules].
func (i *Ignores) With(base string, patterns []Pattern) (*Ignores, error) {
	if len(patterns) == 0 {
		return i, nil
	}
	inner := &Ignores{outer: i, base: base, patterns: patterns, count: len(patterns)}
	for n := range patterns {
		inner.bytes += len(patterns[n].Text)
	}
	if i != nil {
		inner.count += i.count
		inner.bytes += i.bytes
	}
	if inner.count > maxPatterns || inner.bytes > maxPatternBytes {
		return nil, fmt.Errorf("%s: more than %d patterns, or %d bytes of them, for one directory: %w", patterns[0].Source, maxPatterns, maxPatternBytes, ErrTooManyRules)
	}
	return inner, nil
}

// Match returns the pattern that decides on a path, relative to the work tree's
// root, or nil. The innermost file with a match decides. It returns nil early once
// ctx has ended.
func (i *Ignores) Match(ctx context.Context, path string, dir bool) *Pattern {
	for ; i != nil; i = i.outer {
		if len(path) < len(i.base) {
			continue
		}
		if p := Last(ctx, i.patterns, path[len(i.base):], dir); p != nil {
			return p
		}
	}
	return nil
}
