package git

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func fakeEnvironment(goos string, variables map[string]string, exist ...string) environment {
	has := func(path string) bool {
		for _, e := range exist {
			if filepath.ToSlash(path) == e {
				return true
			}
		}
		return false
	}
	return environment{
		goos: goos, isDir: has, isFile: has,
		get:    func(name string) string { return variables[name] },
		lookup: func(name string) (string, bool) { v, ok := variables[name]; return v, ok },
	}
}

func TestHome(t *testing.T) {
	t.Parallel()
	all := map[string]string{"HOME": "h", "HOMEDRIVE": "D:", "HOMEPATH": "/u", "USERPROFILE": "p"}
	without := func(names ...string) map[string]string {
		left := map[string]string{}
		for name, value := range all {
			if !strings.Contains(strings.Join(names, " ")+" ", name+" ") {
				left[name] = value
			}
		}
		return left
	}
	assert.Equal(t, "h", fakeEnvironment("windows", all, "D:/u").home())
	assert.Equal(t, "D:/u", fakeEnvironment("windows", without("HOME"), "D:/u").home())
	assert.Equal(t, "p", fakeEnvironment("windows", without("HOME")).home(), "HOMEPATH does not exist")
	assert.Equal(t, "p", fakeEnvironment("windows", without("HOME", "HOMEPATH"), "D:/u").home())
	assert.Equal(t, "h", fakeEnvironment("linux", all).home())
	assert.Empty(t, fakeEnvironment("linux", without("HOME")).home())
}

func TestMachineSettings(t *testing.T) {
	t.Parallel()
	slashed := func(e environment) string { return filepath.ToSlash(e.etc("gitconfig")) }
	assert.Empty(t, slashed(fakeEnvironment("windows", nil, "Git/etc/gitconfig", "/etc/gitconfig")), "nothing is relative to the working directory")
	windows := map[string]string{"ProgramFiles": "C:/P", "LOCALAPPDATA": "C:/L", "USERPROFILE": "C:/U"}
	assert.Equal(t, "C:/P/Git/etc/gitconfig", slashed(fakeEnvironment("windows", windows, "C:/P/Git/etc/gitconfig", "C:/L/Programs/Git/etc/gitconfig")))
	assert.Equal(t, "C:/L/Programs/Git/etc/gitconfig", slashed(fakeEnvironment("windows", windows, "C:/L/Programs/Git/etc/gitconfig")))
	assert.Equal(t, "C:/U/scoop/apps/git/current/etc/gitconfig", slashed(fakeEnvironment("windows", windows, "C:/U/scoop/apps/git/current/etc/gitconfig")))

	mac := fakeEnvironment("darwin", nil, "/opt/homebrew/etc/gitconfig", "/etc/gitconfig")
	assert.Equal(t, "/etc/gitconfig", slashed(mac))
	mac.git = "/opt/homebrew/bin/git"
	assert.Equal(t, "/opt/homebrew/etc/gitconfig", slashed(mac), "that of the git that is used")
	mac.git = "/usr/bin/git"
	assert.Equal(t, "/etc/gitconfig", slashed(mac))
}

func TestExpand(t *testing.T) {
	t.Parallel()
	e := fakeEnvironment("linux", map[string]string{"HOME": "/home/u"})
	for path, want := range map[string]string{"~/x": "/home/u/x", "~": "/home/u", "~/": "/home/u/", "/a/~/b": "/a/~/b", "a": "a"} {
		got, err := e.expand(path)
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
	for _, path := range []string{"~no-such-user-here/x", "%(prefix)/x"} {
		_, err := e.expand(path)
		require.Error(t, err, path)
	}
	_, err := fakeEnvironment("linux", nil).expand("~/x")
	require.ErrorIs(t, err, ErrFormat)
}

func TestNetworkPaths(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]bool{
		`\\host\share\x`: true, `//host/share`: true, `\/host\x`: true, `\\?\UNC\host\share`: true, `//?/unc/host`: true,
		`C:\x`: false, `\\?\C:\x`: false, `\\.\pipe`: false, `/x`: false, `x`: false, ``: false, `..\\x`: false,
	} {
		assert.Equal(t, want, isNetworkPath(path), path)
	}
}

// A path that exists and cannot be resolved is used as it is.
func TestRealPath(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	fails := func(string) (string, error) {
		return "", &fs.PathError{Op: "evalsymlinks", Path: dir, Err: errors.New("not a directory")}
	}
	got, err := realPath(dir, fails)
	require.NoError(t, err)
	assert.Equal(t, dir, got)
	_, err = realPath(filepath.Join(dir, "missing"), fails)
	require.ErrorIs(t, err, fs.ErrNotExist)
}

// A crafted configuration is read or rejected.
func FuzzParseConfig(f *testing.F) {
	f.Add("[core]\n\texcludesFile = ~/x # comment \\\n[include \"x\"] path = \"a\\\"b\" ; c\n")
	f.Add("\xef\xbb\xbf[a.b]c\\\n=d\r\n[")
	f.Fuzz(func(t *testing.T, text string) {
		err := parseConfig("file", []byte(text), func(string, setting) error { return nil })
		if err != nil && !errors.Is(err, ErrFormat) {
			t.Error(err)
		}
	})
}
