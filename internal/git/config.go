package git

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// config is what the configuration files say, the last word on each name.
// Names are "section.key", in lower case; those of subsections are left out.
type config map[string]string

const (
	maxConfig       = 1 << 20
	maxConfigNested = 10
)

// userConfig reads the configuration of the machine and of its user.
func userConfig() config {
	c := config{}
	home, _ := os.UserHomeDir()
	if no := strings.ToLower(os.Getenv("GIT_CONFIG_NOSYSTEM")); no == "" || no == "0" || no == "false" || no == "no" {
		c.load(systemConfig(), home, 0)
	}
	if global, ok := os.LookupEnv("GIT_CONFIG_GLOBAL"); ok {
		c.load(global, home, 0)
		return c
	}
	if dir := userConfigDir(home); dir != "" {
		c.load(filepath.Join(dir, "config"), home, 0)
	}
	if home != "" {
		c.load(filepath.Join(home, ".gitconfig"), home, 0)
	}
	return c
}

func systemConfig() string {
	if path, ok := os.LookupEnv("GIT_CONFIG_SYSTEM"); ok {
		return path
	}
	if runtime.GOOS == "windows" {
		return filepath.Join(os.Getenv("ProgramFiles"), "Git", "etc", "gitconfig")
	}
	return "/etc/gitconfig"
}

func userConfigDir(home string) string {
	if dir := os.Getenv("XDG_CONFIG_HOME"); dir != "" {
		return filepath.Join(dir, "git")
	}
	if home == "" {
		return ""
	}
	return filepath.Join(home, ".config", "git")
}

// excludesFile is the user's own ignore file, "" if there is none.
func (c config) excludesFile() string {
	home, _ := os.UserHomeDir()
	if path, ok := c["core.excludesfile"]; ok {
		return expandHome(path, home)
	}
	if dir := userConfigDir(home); dir != "" {
		return filepath.Join(dir, "ignore")
	}
	return ""
}

func expandHome(path, home string) string {
	if rest, ok := strings.CutPrefix(path, "~/"); ok && home != "" {
		return filepath.Join(home, rest)
	}
	return path
}

// bool reads a switch as git does; what is there without a value is on.
func (c config) bool(name string, otherwise bool) bool {
	text, ok := c[name]
	if !ok {
		return otherwise
	}
	switch strings.ToLower(text) {
	case "false", "no", "off", "0", "":
		return false
	}
	return true
}

// load reads a file on top of what is known. One that is missing says nothing,
// and of one that is not well-formed only what can be read counts: the worst
// that comes of it is a path that is not ignored.
func (c config) load(path, home string, depth int) {
	if path == "" || depth > maxConfigNested {
		return
	}
	data, err := readSmall(path, maxConfig)
	if err != nil {
		return
	}
	section := ""
	lines := bufio.NewScanner(bytes.NewReader(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))))
	lines.Buffer(nil, maxConfig+1)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		for strings.HasSuffix(line, `\`) && !strings.HasSuffix(line, `\\`) && lines.Scan() {
			line = strings.TrimSuffix(line, `\`) + lines.Text()
		}
		if rest, ok := strings.CutPrefix(line, "["); ok {
			name, after, ok := strings.Cut(rest, "]")
			if !ok {
				continue
			}
			section, line = strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(after)
		}
		if line == "" || line[0] == '#' || line[0] == ';' || strings.Contains(section, `"`) {
			continue
		}
		key, raw, hasValue := strings.Cut(line, "=")
		value := "true"
		if hasValue {
			value = configValue(raw)
		}
		name := section + "." + strings.ToLower(strings.TrimSpace(key))
		c[name] = value
		if name == "include.path" {
			file := expandHome(value, home)
			if !filepath.IsAbs(file) {
				file = filepath.Join(filepath.Dir(path), file)
			}
			c.load(file, home, depth+1)
		}
	}
}

// configValue takes quotes, escapes and a comment off.
func configValue(raw string) string {
	var b strings.Builder
	quoted, keep := false, 0
	raw = strings.TrimLeft(raw, " \t")
	for i := 0; i < len(raw); i++ {
		switch ch := raw[i]; {
		case ch == '"':
			quoted = !quoted
			keep = b.Len()
		case ch == '\\' && i+1 < len(raw):
			i++
			switch raw[i] {
			case 'n':
				b.WriteByte('\n')
			case 't':
				b.WriteByte('\t')
			case 'b':
				b.WriteByte('\b')
			default:
				b.WriteByte(raw[i])
			}
			keep = b.Len()
		case (ch == '#' || ch == ';') && !quoted:
			return b.String()[:keep]
		default:
			b.WriteByte(ch)
			if quoted || ch != ' ' && ch != '\t' {
				keep = b.Len()
			}
		}
	}
	return b.String()[:keep]
}
