// Package netrc reads netrc files as curl does.
package netrc

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
)

// Files returns where a netrc file may be, in the order in which they are tried;
// none if there is no home directory. env looks up a variable.
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
	// The order is that of git and of the Heroku CLI.
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

// maxToken is curl's own limit.
const maxToken = 4096

// Password returns the password of the entry for host, or of the default entry;
// empty if there is none. As in curl, the first entry counts that matches and has
// a password: entries after "default" are for nobody. A UTF-8 byte order mark,
// which curl does not know, is skipped.
//
// The error says which line cannot be read, and never quotes it.
func Password(content []byte, host string) (string, error) {
	p := parser{host: host}
	content = bytes.TrimPrefix(content, []byte("\xef\xbb\xbf"))
	number := 0
	for line := range bytes.Lines(content) {
		number++
		if !p.line(string(bytes.TrimRight(line, "\r\n"))) {
			return "", fmt.Errorf("line %d cannot be read", number)
		}
		if p.done {
			break
		}
	}
	return p.password, nil
}

// parser is where in a file curl would be.
type parser struct {
	host  string
	state state
	// keyword is what the next word is the value of; empty for none.
	keyword               string
	password              string
	hasLogin, hasPassword bool
	// done says that the entry has all that is looked for.
	done bool
}

type state int

const (
	// outside any entry that counts.
	outside state = iota
	// macro is within a macdef, which ends with an empty line.
	macro
	// name is before the name of a machine.
	name
	// within the entry that counts.
	within
)

// line reads one line; false if it cannot be read.
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

// next cuts off the first token. One in double quotes may have spaces and the
// escapes \n, \r, \t and, for any other character, that itself.
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

// begin begins an entry.
func (p *parser) begin(s state) {
	*p = parser{host: p.host, state: s}
}

// field reads a token of the entry that counts. A "macdef" is none there.
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
