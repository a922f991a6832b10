package git

import (
	"fmt"
	"path/filepath"
	"strings"
)

const hasRemoteURL = "hasconfig:remote.*.url:"

// holds evaluates the condition of an includeIf in a file. As in git, an unknown
// condition is false. A known condition that cannot be evaluated is an error.
func (l *loader) holds(condition, file string) (bool, error) {
	if pattern, ok := strings.CutPrefix(condition, "gitdir:"); ok {
		return l.inGitDir(pattern, file, false)
	}
	if pattern, ok := strings.CutPrefix(condition, "gitdir/i:"); ok {
		return l.inGitDir(pattern, file, true)
	}
	if pattern, ok := strings.CutPrefix(condition, "onbranch:"); ok {
		return l.onBranch(pattern)
	}
	if pattern, ok := strings.CutPrefix(condition, hasRemoteURL); ok {
		l.needURLs = true
		if l.collecting {
			return true, nil
		}
		g := compileWildcard(pattern, false)
		for _, url := range l.urls {
			if g.match(url) {
				return true, nil
			}
		}
	}
	return false, nil
}

// inGitDir reports whether the repository's directory matches a pattern.
func (l *loader) inGitDir(pattern, file string, fold bool) (bool, error) {
	if l.gitDir == "" {
		return false, nil
	}
	pattern, literal, err := l.gitDirPattern(pattern, file)
	if err != nil {
		return false, err
	}
	prefix, g := pattern[:literal], compileWildcard(pattern[literal:], fold)
	for _, dir := range []string{l.gitDir, l.spelled} {
		if dir == "" {
			continue
		}
		text := filepath.ToSlash(dir)
		if len(text) < literal {
			continue
		}
		same := text[:literal] == prefix
		if fold {
			same = strings.EqualFold(text[:literal], prefix)
		}
		if same && g.match(text[literal:]) {
			return true, nil
		}
	}
	return false, nil
}

// gitDirPattern completes the pattern of a directory. The first literal bytes of the
// result have no wildcards.
func (l *loader) gitDirPattern(pattern, file string) (whole string, literal int, err error) {
	switch {
	case strings.HasPrefix(pattern, "~"), strings.HasPrefix(pattern, "%("):
		env := l.env
		if home, err := filepath.EvalSymlinks(env.home()); err == nil {
			get := env.get
			env.get = func(name string) string {
				if name == "HOME" {
					return home
				}
				return get(name)
			}
		}
		if pattern, err = env.expand(pattern); err != nil {
			return "", 0, err
		}
		pattern = filepath.ToSlash(pattern)
	case strings.HasPrefix(pattern, "./"):
		if file == "" {
			return "", 0, fmt.Errorf("relative condition outside of a file: %w", ErrFormat)
		}
		if file, err = filepath.EvalSymlinks(file); err == nil {
			file, err = filepath.Abs(file)
		}
		if err != nil {
			return "", 0, err
		}
		dir := strings.TrimSuffix(filepath.ToSlash(filepath.Dir(file)), "/")
		pattern, literal = dir+pattern[1:], len(dir)+1
	case !strings.HasPrefix(pattern, "/") && !filepath.IsAbs(pattern):
		pattern = "**/" + pattern
	}
	if strings.HasSuffix(pattern, "/") {
		pattern += "**"
	}
	return pattern, literal, nil
}

// onBranch reports whether the current branch matches a pattern.
func (l *loader) onBranch(pattern string) (bool, error) {
	if l.gitDir == "" {
		return false, nil
	}
	ref, err := headRef(l.gitDir)
	if err != nil {
		return false, err
	}
	if ref == "refs/heads/.invalid" {
		return false, fmt.Errorf("current branch is in a reftable: %w", ErrFormat)
	}
	branch, ok := strings.CutPrefix(ref, "refs/heads/")
	if !ok {
		return false, nil
	}
	if strings.HasSuffix(pattern, "/") {
		pattern += "**"
	}
	g := compileWildcard(pattern, false)
	return g.match(branch), nil
}
