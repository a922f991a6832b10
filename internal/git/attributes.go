package git

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"strconv"
	"strings"
)

// attribute is a name and value in a line of a .gitattributes file. The value is
// "true", "false", "" for unspecified, or the text after the "=".
type attribute struct{ name, value string }

const (
	attrTrue  = "true"
	attrFalse = "false"
	attrNone  = ""

	// maxAttributeLine is the limit of git.
	maxAttributeLine = 2048
)

// attributeRule is a line of a .gitattributes file.
type attributeRule struct {
	pattern Pattern
	set     []attribute
}

// Attributes are the rules of the .gitattributes files from a work tree's root down
// to one of its directories. A nil value has no rules. It is immutable.
type Attributes struct {
	repo  *Repo
	outer *Attributes
	base  string
	rules []attributeRule
	// count is the number of all rules up to the root.
	count  int
	macros map[string][]attribute
	// ownMacros is set if macros is not shared with the parent directory.
	ownMacros bool
	// first are the rules of .git/info/attributes, which take precedence.
	first []attributeRule
}

// Attributes returns the rules of the machine, the user and the repository, which
// apply in every directory.
func (r *Repo) Attributes() (*Attributes, error) {
	a := &Attributes{repo: r, macros: map[string][]attribute{"binary": {{"diff", attrFalse}, {"merge", attrFalse}, {"text", attrFalse}}}}
	user, err := r.config.userFile(r.env, "core.attributesfile", "attributes", r.Root)
	if err != nil {
		return nil, err
	}
	system := ""
	if _, off := r.env.lookup("GIT_ATTR_NOSYSTEM"); !off {
		system = r.env.etc("gitattributes")
	}
	for _, path := range []string{system, user} {
		if path == "" {
			continue
		}
		data, err := readRules(path)
		if err != nil {
			return nil, err
		}
		if a, err = a.With("", data); err != nil {
			return nil, err
		}
	}
	data, err := readRules(filepath.Join(r.common, "info", "attributes"))
	if err != nil {
		return nil, err
	}
	own, err := a.With("", data)
	if err != nil {
		return nil, err
	}
	if own != a {
		a = &Attributes{repo: r, outer: a.outer, base: a.base, rules: a.rules, count: own.count, macros: own.macros, first: own.rules}
	}
	return a, nil
}

// With adds the rules of a file in the directory base: "" or a path that ends
// with a slash. The error is [ErrTooManyRules].
func (a *Attributes) With(base string, data []byte) (*Attributes, error) {
	if a == nil || len(data) == 0 {
		return a, nil
	}
	inner := &Attributes{repo: a.repo, outer: a, base: base, count: a.count, macros: a.macros, first: a.first}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	for line := range bytes.Lines(data) {
		line, _, _ = bytes.Cut(line, []byte{0})
		if len(line) > maxAttributeLine {
			continue
		}
		inner.add(string(line))
		if inner.count > maxPatterns {
			return nil, fmt.Errorf("%s%s: more than %d rules for one directory: %w", base, attributesFile, maxPatterns, ErrTooManyRules)
		}
	}
	return inner, nil
}

const blank = " \t\r\n"

// add parses a line. It skips what git skips with a warning.
func (a *Attributes) add(line string) {
	line = strings.TrimLeft(line, blank)
	if line == "" || line[0] == '#' {
		return
	}
	name, rest := attributePattern(line)
	if macro, ok := strings.CutPrefix(name, "[attr]"); ok {
		if macro == "" {
			rest = strings.TrimLeft(rest, blank)
			macro, rest = cutBlank(rest)
		}
		if set, ok := parseAttributes(rest); ok && a.base == "" && validAttribute(macro) {
			if !a.ownMacros {
				a.macros, a.ownMacros = maps.Clone(a.macros), true
			}
			a.macros[macro] = set
			a.count++
		}
		return
	}
	set, ok := parseAttributes(rest)
	if !ok {
		return
	}
	p, ok := parsePattern(name, a.repo.Fold)
	if !ok || p.Negated {
		return
	}
	a.rules = append(a.rules, attributeRule{pattern: p, set: set})
	a.count++
}

func cutBlank(s string) (before, after string) {
	n := strings.IndexAny(s, blank)
	if n < 0 {
		return s, ""
	}
	return s[:n], s[n:]
}

// attributePattern splits a line into the pattern, which may be quoted, and the
// rest.
func attributePattern(line string) (pattern, rest string) {
	if line[0] != '"' {
		pattern, rest = cutBlank(line)
		return pattern, rest
	}
	for i := 1; i < len(line); i++ {
		switch line[i] {
		case '\\':
			i++
		case '"':
			// C and Go share the escapes that git supports.
			pattern, err := strconv.Unquote(line[:i+1])
			if err != nil {
				// Like git, treat the quotes as part of the pattern.
				pattern, rest = cutBlank(line)
				return pattern, rest
			}
			return pattern, line[i+1:]
		}
	}
	pattern, rest = cutBlank(line)
	return pattern, rest
}

func parseAttributes(text string) ([]attribute, bool) {
	var set []attribute
	for word := range strings.FieldsFuncSeq(text, func(r rune) bool { return strings.ContainsRune(blank, r) }) {
		a := attribute{value: attrTrue}
		switch word[0] {
		case '-':
			a.name, a.value = word[1:], attrFalse
		case '!':
			a.name, a.value = word[1:], attrNone
		default:
			var ok bool
			if a.name, a.value, ok = strings.Cut(word, "="); !ok {
				a.value = attrTrue
			} else if a.value == attrNone {
				a.value = "\x00" // a value, but an empty one
			}
		}
		if !validAttribute(a.name) {
			return nil, false
		}
		set = append(set, a)
	}
	return set, true
}

func validAttribute(name string) bool {
	if name == "" || name[0] == '-' {
		return false
	}
	for i := range len(name) {
		if c := name[i]; !isKey(c) && c != '_' && c != '.' {
			return false
		}
	}
	return true
}

// any reports whether there are any rules.
func (a *Attributes) any() bool { return a != nil && a.count > 0 }

// of returns the attributes of a path. The last rule that matches takes precedence.
func (a *Attributes) of(ctx context.Context, path string) map[string]string {
	found := map[string]string{}
	apply := func(rules []attributeRule, path string, macros map[string][]attribute) {
		name := path[strings.LastIndexByte(path, '/')+1:]
		for i := len(rules) - 1; i >= 0 && ctx.Err() == nil; i-- {
			if rules[i].pattern.match(path, name, false) {
				fill(found, rules[i].set, macros, maxMacros)
			}
		}
	}
	if a == nil {
		return found
	}
	macros := a.macros
	apply(a.first, path, macros)
	for ; a != nil; a = a.outer {
		if len(path) >= len(a.base) {
			apply(a.rules, path[len(a.base):], macros)
		}
	}
	return found
}

// maxMacros bounds the nesting of macros.
const maxMacros = 10

func fill(found map[string]string, set []attribute, macros map[string][]attribute, depth int) {
	for i := len(set) - 1; i >= 0; i-- {
		if _, ok := found[set[i].name]; ok {
			continue
		}
		found[set[i].name] = set[i].value
		if macro, ok := macros[set[i].name]; ok && set[i].value == attrTrue && depth > 0 {
			fill(found, macro, macros, depth-1)
		}
	}
}
