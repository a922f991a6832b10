// Package netrc reads netrc files as curl does.
package netrc

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
)

// Files returns the possible paths of the netrc file in the order in which they
// are tried. There are none without a home directory. The env function returns
// an environment variable.
func Files(windows bool, env func(name string) string) []string {
	if file := env("NETRC"); file != "" {
		return []string{file}
	}
	home := env("HOME")
	if !windows {
		if home == "" {
			return nil
		}
		return []string{filepath.Join(home, ".netrc")}
	}
	// git and the Heroku CLI use the same order.
	if drive, path := env("HOMEDRIVE"), env("HOMEPATH"); home == "" && drive != "" && path != "" {
		home = drive + path
	}
	if home == "" {
		home = env("USERPROFILE")
	}
	if home == "" {
		return nil
	}
	return []string{filepath.Join(home, "_netrc"), filepath.Join(home, ".netrc")}
}

// maxToken is curl's limit for the length of a token.
const maxToken = 4096

// Password returns the password of the entry for host or of the default entry,
// or "" if there is none. Like curl, it uses the first matching entry with a
// password, so entries after "default" have no effect. Unlike curl, it skips a
// UTF-8 byte order mark.
//
// The error contains the number of the line that cannot be parsed, but never
// quotes it.
func Password(content []byte, host string) (string, error) {
	p := parser{host: host}
	content = bytes.TrimPrefix(content, []byte("\xef\xbb\xbf"))
	number := 0
	for line := range bytes.Lines(content) {
		number++
		if !p.line(string(bytes.TrimRight(line, "\r\n"))) {
			return "", fmt.Errorf("cannot parse line %d", number)
		}
		if p.done {
			break
		}
	}
	return p.password, nil
}

// parser is the state of parsing a file as curl does.
type parser struct {
	host  string
	state state
	// keyword is the keyword whose value comes next, if any.
	keyword               string
	password              string
	hasLogin, hasPassword bool
	// done is set when the entry is complete.
	done bool
}

type state int

const (
	// outside is the state outside of a matching entry.
	outside state = iota
	// macro is the state inside a macdef, which ends with an empty line.
	macro
	// name is the state before the name of a machine.
	name
	// within is the state inside a matching entry.
	within
)

// line parses one line. It returns false if the line is malformed.
func (p *parser) line(line string) bool {
	if p.state == macro {
		if strings.Trim(line, " \t") == "" {
			p.state = outside
		}
		return true
	}
	for !p.done {
		line = strings.TrimLeft(line, " \t\v\f\r")
		if line == "" || line[0] == '#' {
			return true
		}
		token, rest, ok := next(line)
		if !ok || len(token) > maxToken {
			return false
		}
		p.token(token)
		line = rest
	}
	return true
}

// next cuts off the first token. A token in double quotes may contain spaces
// and the escapes \n, \r and \t; a backslash before any other character stands
// for that character.
func next(line string) (token, rest string, ok bool) {
	if line[0] != '"' {
		if i := strings.IndexAny(line, " \t\v\f\r\x00"); i >= 0 {
			return line[:i], line[i+1:], true
		}
		return line, "", true
	}
	var b strings.Builder
	for i := 1; i < len(line); i++ {
		c := line[i]
		switch {
		case c == '"':
			return b.String(), line[i+1:], true
		case c == '\\' && i+1 < len(line):
			i++
			switch c = line[i]; c {
			case 'n':
				c = '\n'
			case 'r':
				c = '\r'
			case 't':
				c = '\t'
			}
		}
		b.WriteByte(c)
	}
	return "", "", false
}

func (p *parser) token(token string) {
	switch p.state {
	case macro:
	case outside:
		switch strings.ToLower(token) {
		case "macdef":
			p.state = macro
		case "machine":
			p.begin(name)
		case "default":
			p.begin(within)
		}
	case name:
		p.state = outside
		if strings.EqualFold(token, p.host) {
			p.state = within
		}
	case within:
		p.field(token)
	}
}

// begin starts a new entry.
func (p *parser) begin(s state) {
	*p = parser{host: p.host, state: s}
}

// field parses a token of a matching entry, where "macdef" has no special
// meaning.
func (p *parser) field(token string) {
	keyword := p.keyword
	p.keyword = ""
	switch keyword {
	case "login":
		p.hasLogin = true
	case "password":
		p.password, p.hasPassword = token, true
	default:
		switch word := strings.ToLower(token); {
		case word == "login" || word == "password":
			p.keyword = word
		case (word == "machine" || word == "default") && p.hasPassword:
			p.done = true
		case word == "machine":
			p.begin(name)
		case word == "default":
			p.begin(within)
		}
	}
	p.done = p.done || p.hasLogin && p.hasPassword
}
