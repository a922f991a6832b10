package git

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// setting is a value of git's configuration. set is false for a name without "=".
type setting struct {
	text string
	set  bool
}

// config maps a name, "section.key" in lower case, to its last setting.
type config map[string]setting

const (
	maxConfig = 1 << 20
	// maxIncludeDepth is the limit of git.
	maxIncludeDepth = 10
	// Includes can multiply, so the total number of files and bytes is bounded.
	maxConfigFiles = 1000
	maxConfigBytes = 16 << 20
)

// text returns the value of a setting that requires one, and whether it is set.
func (c config) text(name string) (string, bool, error) {
	s, ok := c[name]
	if ok && !s.set {
		return "", false, fmt.Errorf("%s has no value: %w", name, ErrFormat)
	}
	return s.text, ok, nil
}

// bool parses a boolean as git does: a name without a value is true.
func (c config) bool(name string, otherwise bool) (bool, error) {
	s, ok := c[name]
	if !ok {
		return otherwise, nil
	}
	if !s.set {
		return true, nil
	}
	switch strings.ToLower(s.text) {
	case "true", "yes", "on":
		return true, nil
	case "false", "no", "off", "":
		return false, nil
	}
	digits := strings.TrimSpace(s.text)
	if n := len(digits) - 1; n > 0 && strings.ContainsAny(digits[n:], "kKmMgG") {
		digits = digits[:n]
	}
	n, err := strconv.ParseInt(digits, 0, 64)
	if err != nil {
		return false, fmt.Errorf("%s is neither true nor false: %w", name, ErrFormat)
	}
	return n != 0, nil
}

// path returns a setting that is a path, resolved against the directory base. It is
// empty if it is not set.
func (c config) path(env environment, name, base string) (string, bool, error) {
	text, ok, err := c.text(name)
	if err != nil || !ok || text == "" {
		return "", ok, err
	}
	path, err := env.expand(text)
	if err != nil {
		return "", false, fmt.Errorf("%s: %w", name, err)
	}
	path = filepath.FromSlash(path)
	if !filepath.IsAbs(path) && base != "" {
		path = filepath.Join(base, path)
	}
	return path, true, nil
}

// loader reads configuration files and those that they include.
type loader struct {
	env environment
	// gitDir is the directory of the repository, empty outside of one; spelled is
	// the same directory as the caller wrote it.
	gitDir, spelled string

	config config
	files  int
	bytes  int
	// foreign is set if the file belongs to the repository, not to the user.
	foreign bool
	// urls are the URLs of the remotes. While they are collected, every condition
	// on them is true; needURLs says that there is such a condition.
	urls       []string
	collecting bool
	needURLs   bool
	// conditional is the nesting of includes below a condition on the remotes.
	conditional int
}

// loadConfig reads the configuration of the machine, the user, the repository
// whose files are given, and the environment.
func (l *loader) loadConfig(repository []string) (config, error) {
	if err := l.loadAll(repository); err != nil {
		return nil, err
	}
	if l.needURLs {
		l.collecting = true
		if err := l.loadAll(repository); err != nil {
			return nil, err
		}
		l.collecting = false
		if err := l.loadAll(repository); err != nil {
			return nil, err
		}
	}
	return l.config, nil
}

func (l *loader) loadAll(repository []string) error {
	l.config, l.files, l.bytes = config{}, 0, 0
	l.foreign = false
	for _, file := range l.userFiles() {
		if err := l.load(file.path, file.may, 0); err != nil {
			return err
		}
	}
	l.foreign = true
	for _, path := range repository {
		if err := l.load(path, false, 0); err != nil {
			return err
		}
	}
	l.foreign = false
	return l.loadEnvironment()
}

type userFile struct {
	path string
	// may is set if the file may be unreadable to the user.
	may bool
}

// userFiles are the machine's and the user's configuration files.
func (l *loader) userFiles() []userFile {
	var files []userFile
	off := config{"x": {text: l.env.get("GIT_CONFIG_NOSYSTEM"), set: true}}
	if noSystem, err := off.bool("x", false); !noSystem || err != nil {
		if path := l.env.get("GIT_CONFIG_SYSTEM"); path != "" {
			files = append(files, userFile{path, false})
		} else {
			files = append(files, userFile{l.env.etc("gitconfig"), false})
		}
	}
	if global, ok := l.env.lookup("GIT_CONFIG_GLOBAL"); ok {
		return append(files, userFile{global, false})
	}
	if dir := l.env.userDir(); dir != "" {
		files = append(files, userFile{filepath.Join(dir, "config"), true})
	}
	if home := l.env.home(); home != "" {
		files = append(files, userFile{filepath.Join(home, ".gitconfig"), true})
	}
	return files
}

// loadEnvironment reads the settings in GIT_CONFIG_COUNT, GIT_CONFIG_KEY_n and
// GIT_CONFIG_VALUE_n.
func (l *loader) loadEnvironment() error {
	text := l.env.get("GIT_CONFIG_COUNT")
	if text == "" {
		return nil
	}
	count, err := strconv.Atoi(text)
	if err != nil || count < 0 || count > maxConfigFiles {
		return fmt.Errorf("GIT_CONFIG_COUNT is %q: %w", text, ErrFormat)
	}
	for i := range count {
		key, ok := l.env.lookup(fmt.Sprintf("GIT_CONFIG_KEY_%d", i))
		value, has := l.env.lookup(fmt.Sprintf("GIT_CONFIG_VALUE_%d", i))
		if !ok || !has {
			return fmt.Errorf("GIT_CONFIG_COUNT is %d, but setting %d is missing: %w", count, i, ErrFormat)
		}
		section, rest, _ := strings.Cut(key, ".")
		name := strings.ToLower(section) + "."
		if last := strings.LastIndexByte(rest, '.'); last >= 0 {
			name, rest = name+rest[:last+1], rest[last+1:]
		}
		if err := l.set(name+strings.ToLower(rest), setting{text: value, set: true}, "", 0); err != nil {
			return err
		}
	}
	return nil
}

// load adds the settings of a file. A missing file is empty. A file that git could
// not read is an error, as for git, because it may determine which files are
// ignored.
func (l *loader) load(path string, mayBeUnreadable bool, depth int) error {
	if path == "" {
		return nil
	}
	if l.files++; l.files > maxConfigFiles {
		return fmt.Errorf("git configuration includes more than %d files, the last is %s: %w", maxConfigFiles, path, ErrFormat)
	}
	data, err := readSmall(path, maxConfig)
	switch {
	case missing(err), mayBeUnreadable && errors.Is(err, os.ErrPermission):
		return nil
	case err != nil:
		return fmt.Errorf("git configuration: %w", err)
	}
	if l.bytes += len(data); l.bytes > maxConfigBytes {
		return fmt.Errorf("git configuration is larger than %d bytes: %w", maxConfigBytes, ErrFormat)
	}
	return parseConfig(path, data, func(name string, s setting) error { return l.set(name, s, path, depth) })
}

// set stores a setting of a file or of the environment.
func (l *loader) set(name string, s setting, file string, depth int) error {
	switch {
	case name == "include.path":
		return l.include(s, file, depth)
	case strings.HasPrefix(name, "includeif.") && strings.HasSuffix(name, ".path"):
		condition, ok := strings.CutSuffix(strings.TrimPrefix(name, "includeif."), ".path")
		if !ok {
			return nil
		}
		holds, err := l.holds(condition, file)
		if err != nil {
			return fmt.Errorf("%s: includeIf %q: %w", file, condition, err)
		}
		if !holds {
			return nil
		}
		onRemotes := strings.HasPrefix(condition, hasRemoteURL)
		if onRemotes {
			l.conditional++
			defer func() { l.conditional-- }()
		}
		return l.include(s, file, depth)
	case strings.HasPrefix(name, "remote.") && strings.HasSuffix(name, ".url"):
		if l.conditional > 0 {
			return fmt.Errorf("%s: a file included by hasconfig must not set the URL of a remote: %w", file, ErrFormat)
		}
		if l.collecting && s.set {
			l.urls = append(l.urls, s.text)
		}
	case strings.HasPrefix(name, "core.") || strings.HasPrefix(name, "sparse."):
		l.config[name] = s
		if err := l.check(name); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	return nil
}

// check rejects a setting that git rejects, even if a later one overrides it.
func (l *loader) check(name string) error {
	var err error
	switch name {
	case "core.excludesfile", "core.attributesfile":
		_, _, err = l.config.path(l.env, name, "")
		if s := l.config[name]; err == nil && l.foreign && refusesPath(s.text) {
			err = fmt.Errorf("%s is %q, on another machine: %w", name, s.text, ErrFormat)
		}
	case "core.ignorecase", "core.filemode", "core.symlinks", "core.sparsecheckout":
		_, err = l.config.bool(name, false)
	case "core.autocrlf":
		_, err = l.config.autoCRLF()
	}
	return err
}

func (l *loader) include(s setting, file string, depth int) error {
	if !s.set {
		return fmt.Errorf("%s: include without a path: %w", file, ErrFormat)
	}
	path, err := l.env.expand(s.text)
	if err != nil {
		return fmt.Errorf("%s: include: %w", file, err)
	}
	path = filepath.FromSlash(path)
	if !filepath.IsAbs(path) {
		if file == "" {
			return fmt.Errorf("include in the environment: relative path %q: %w", path, ErrFormat)
		}
		path = filepath.Join(filepath.Dir(file), path)
	}
	if l.foreign && refusesPath(s.text) {
		return fmt.Errorf("%s includes %q, on another machine: %w", file, s.text, ErrFormat)
	}
	if depth >= maxIncludeDepth {
		if _, err := os.Stat(path); missing(err) {
			return nil
		}
		return fmt.Errorf("%s: includes are nested more than %d deep: %w", file, maxIncludeDepth, ErrFormat)
	}
	return l.load(path, false, depth+1)
}

// scanner reads characters as git does: CR LF and the end of the file are line ends.
type scanner struct {
	data []byte
	eof  bool
	line int
}

func (s *scanner) next() byte {
	if len(s.data) == 0 {
		s.eof = true
		return '\n'
	}
	c := s.data[0]
	s.data = s.data[1:]
	if c == '\r' && len(s.data) > 0 && s.data[0] == '\n' {
		c, s.data = '\n', s.data[1:]
	}
	if c == '\n' {
		s.line++
	}
	return c
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

func isAlpha(c byte) bool { c |= 0x20; return 'a' <= c && c <= 'z' }

func isKey(c byte) bool { return isAlpha(c) || '0' <= c && c <= '9' || c == '-' }

// parseConfig parses a configuration file by git's rules, and rejects what git
// rejects.
func parseConfig(path string, data []byte, set func(name string, s setting) error) error {
	s := &scanner{data: bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")), line: 1}
	section, comment := "", false
	for {
		c := s.next()
		switch {
		case c == '\n':
			if s.eof {
				return nil
			}
			comment = false
			continue
		case comment || isSpace(c):
			continue
		case c == '#' || c == ';':
			comment = true
			continue
		}
		line := s.line
		var ok bool
		if c == '[' {
			section, ok = s.section()
		} else {
			var name string
			var value setting
			if name, value, ok = s.variable(c); ok && isAlpha(c) {
				if err := set(section+name, value); err != nil {
					return err
				}
			}
		}
		if !ok {
			return fmt.Errorf("%s: line %d: %w", path, line, ErrFormat)
		}
	}
}

// section reads the header that follows a "[", and returns the name with a trailing
// dot.
func (s *scanner) section() (string, bool) {
	var name []byte
	for {
		c := s.next()
		switch {
		case s.eof:
			return "", false
		case c == ']':
			return string(name) + ".", len(name) > 0
		case isSpace(c):
			return s.subsection(name, c)
		case !isKey(c) && c != '.':
			return "", false
		}
		name = append(name, lower(c))
	}
}

// subsection reads the quoted part of a section's name.
func (s *scanner) subsection(name []byte, c byte) (string, bool) {
	for isSpace(c) {
		if c == '\n' {
			return "", false
		}
		c = s.next()
	}
	if c != '"' {
		return "", false
	}
	name = append(name, '.')
	for {
		c := s.next()
		if c == '"' {
			break
		}
		if c == '\\' {
			c = s.next()
		}
		if c == '\n' {
			return "", false
		}
		name = append(name, c)
	}
	return string(name) + ".", s.next() == ']'
}

// variable reads the rest of a line, of which first is the first character.
func (s *scanner) variable(first byte) (string, setting, bool) {
	if !isAlpha(first) {
		return "", setting{}, false
	}
	name := []byte{lower(first)}
	c := s.next()
	for !s.eof && isKey(c) {
		name = append(name, lower(c))
		c = s.next()
	}
	for c == ' ' || c == '\t' {
		c = s.next()
	}
	if c == '\n' {
		return string(name), setting{}, true
	}
	if c != '=' {
		return "", setting{}, false
	}
	value, ok := s.value()
	return string(name), setting{text: value, set: true}, ok
}

func (s *scanner) value() (string, bool) {
	var value []byte
	quoted, comment, spaces := false, false, 0
	for {
		c := s.next()
		switch {
		case c == '\n':
			// In git, a string ends with the first NUL.
			value, _, _ = bytes.Cut(value, []byte{0})
			return string(value), !quoted
		case comment:
			continue
		case isSpace(c) && !quoted:
			if len(value) > 0 {
				spaces++
			}
			continue
		case !quoted && (c == ';' || c == '#'):
			comment = true
			continue
		}
		for ; spaces > 0; spaces-- {
			value = append(value, ' ')
		}
		switch c {
		case '"':
			quoted = !quoted
			continue
		case '\\':
			c = s.next()
			switch c {
			case '\n':
				continue
			case 't':
				c = '\t'
			case 'b':
				c = '\b'
			case 'n':
				c = '\n'
			case '\\', '"':
			default:
				return "", false
			}
		}
		value = append(value, c)
	}
}

func lower(c byte) byte { return folded(c, true) }
