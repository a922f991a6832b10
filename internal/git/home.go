package git

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strings"
)

// environment determines where git finds the settings of the machine and the user.
type environment struct {
	goos   string
	get    func(name string) string
	lookup func(name string) (string, bool)
	isDir  func(path string) bool
	isFile func(path string) bool
	// git is the path of the git command, empty if it is not installed.
	git string
}

func systemEnvironment() environment {
	program, err := exec.LookPath("git")
	if err != nil {
		program = ""
	}
	return environment{
		goos: runtime.GOOS, get: os.Getenv, lookup: os.LookupEnv, isDir: isDir, git: program,
		isFile: func(path string) bool { info, err := os.Stat(path); return err == nil && info.Mode().IsRegular() },
	}
}

// home returns the user's home directory as git finds it: HOME, then, on Windows,
// HOMEDRIVE with HOMEPATH if that is a directory, then USERPROFILE.
func (e environment) home() string {
	if home := e.get("HOME"); home != "" || e.goos != "windows" {
		return home
	}
	if drive, path := e.get("HOMEDRIVE"), e.get("HOMEPATH"); drive != "" && path != "" && e.isDir(drive+path) {
		return drive + path
	}
	return e.get("USERPROFILE")
}

// etc returns the path of a file of the machine's settings, such as "gitconfig":
// that of the installation of the git command, or the usual one.
func (e environment) etc(name string) string {
	var candidates []string
	if e.git != "" {
		prefix := filepath.Dir(filepath.Dir(e.git))
		if e.goos != "windows" && prefix == "/usr" {
			prefix = "/"
		}
		candidates = append(candidates, filepath.Join(prefix, "etc", name))
	}
	if e.goos != "windows" {
		candidates = append(candidates, filepath.Join("/etc", name))
	} else {
		for _, dir := range []struct{ variable, rest string }{
			{"ProgramFiles", "Git"}, {"ProgramW6432", "Git"}, {"ProgramFiles(x86)", "Git"}, {"LOCALAPPDATA", "Programs/Git"}, {"USERPROFILE", "scoop/apps/git/current"},
		} {
			if base := e.get(dir.variable); base != "" {
				candidates = append(candidates, filepath.Join(base, filepath.FromSlash(dir.rest), "etc", name))
			}
		}
	}
	for _, path := range candidates {
		if e.isFile(path) {
			return path
		}
	}
	return ""
}

// userDir returns the directory of the user's git files, empty if there is none.
func (e environment) userDir() string {
	if dir := e.get("XDG_CONFIG_HOME"); dir != "" {
		return filepath.Join(dir, "git")
	}
	if home := e.home(); home != "" {
		return filepath.Join(home, ".config", "git")
	}
	return ""
}

// expand replaces the "~" and "~user" at the beginning of a path.
func (e environment) expand(path string) (string, error) {
	if strings.HasPrefix(path, "%(prefix)/") {
		return "", fmt.Errorf("%q depends on where git is installed: %w", path, ErrFormat)
	}
	if !strings.HasPrefix(path, "~") {
		return path, nil
	}
	name, _, _ := strings.Cut(path[1:], "/")
	home := e.home()
	if name != "" {
		u, err := user.Lookup(name)
		if err != nil {
			return "", fmt.Errorf("home directory in %q: %w", path, err)
		}
		home = u.HomeDir
	}
	if home == "" {
		return "", fmt.Errorf("unknown home directory in %q: %w", path, ErrFormat)
	}
	return home + path[1+len(name):], nil
}
