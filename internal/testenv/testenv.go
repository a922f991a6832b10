// Package testenv sets up the same environment for tests on every machine.
package testenv

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Main runs the tests of a package and exits. It is called by TestMain.
//
// The home directory is empty, git has no configuration other than author and
// committer, and no other variable is set that the library, the examples or git
// read. A test that needs one must set it.
func Main(m *testing.M) {
	home, err := os.MkdirTemp("", "home")
	if err == nil {
		err = isolate(home)
	}
	code := 1
	if err == nil {
		code = m.Run()
	}
	if err = errors.Join(err, os.RemoveAll(home)); err != nil {
		fmt.Fprintln(os.Stderr, "testenv:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

func isolate(home string) error {
	set := map[string]string{
		"HOME": home, "USERPROFILE": home,
		"GIT_CONFIG_NOSYSTEM": "1",
		"GIT_AUTHOR_NAME":     "A", "GIT_AUTHOR_EMAIL": "a@example.com", "GIT_AUTHOR_DATE": "2024-01-02T03:04:05Z",
		"GIT_COMMITTER_NAME": "A", "GIT_COMMITTER_EMAIL": "a@example.com", "GIT_COMMITTER_DATE": "2024-01-02T03:04:05Z",
	}
	// The go command finds its caches through the home directory. Keep using the
	// existing ones.
	if err := goCaches(set); err != nil {
		return err
	}
	for _, entry := range os.Environ() {
		// On Windows some entries start with "=".
		if name, _, ok := strings.Cut(entry, "="); ok && name != "" && used(name) {
			if err := os.Unsetenv(name); err != nil {
				return err
			}
		}
	}
	for name, value := range set {
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	return nil
}

// used reports whether the code under test or git reads a variable.
func used(name string) bool {
	name = strings.ToUpper(name)
	switch name {
	case "HEROKU_API_SCHEMA": // it configures the tests
		return false
	case "NETRC", "NO_COLOR", "CI", "XDG_CONFIG_HOME", "EMAIL", "HOMEDRIVE", "HOMEPATH":
		return true
	}
	for _, prefix := range []string{"HEROKU_", "GIT_", "GITHUB_"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return strings.HasSuffix(name, "_PROXY")
}

// goCaches adds the directories that the go command uses, if it is installed.
func goCaches(set map[string]string) error {
	path, err := exec.LookPath("go")
	if err != nil {
		return nil //nolint:nilerr // without the go command nothing is built
	}
	names := []string{"GOCACHE", "GOMODCACHE", "GOPATH"}
	cmd := exec.CommandContext(context.Background(), path, append([]string{"env"}, names...)...)
	cmd.Dir = filepath.Dir(path) // outside of a module, whose go.mod could select another toolchain
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("go env: %w", err)
	}
	values := strings.Split(strings.TrimRight(string(out), "\r\n"), "\n")
	if len(values) != len(names) {
		return fmt.Errorf("go env: unexpected output %q", out)
	}
	for i, name := range names {
		set[name] = strings.TrimSuffix(values[i], "\r")
	}
	return nil
}
