package untar

import (
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestEntryName(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		".":                             ".",
		"./":                            ".",
		"app":                           "app",
		"./app/":                        "app",
		"app//bin/./web":                "app/bin/web",
		"...":                           "...",
		"..app/app..":                   "..app/app..",
		"café/日本":                       "café/日本",
		strings.Repeat("d/", 254) + "f": strings.Repeat("d/", 254) + "f",
	} {
		if runtime.GOOS == "windows" && strings.Contains(in, "..") {
			continue
		}
		got, err := entryName(in)
		require.NoError(t, err, in)
		assert.Equal(t, filepath.FromSlash(want), got)
	}
	for in, want := range map[string]Kind{
		"":                              Unsafe,
		"/":                             Unsafe,
		"/etc/passwd":                   Unsafe,
		"..":                            Unsafe,
		"../x":                          Unsafe,
		"app/..":                        Unsafe,
		"app/../x":                      Unsafe,
		"app/../../x":                   Unsafe,
		"a\x00b":                        Unsafe,
		strings.Repeat("x", 4097):       Unsafe,
		strings.Repeat("d/", 255) + "f": TooLarge,
	} {
		_, err := entryName(in)
		requireKind(t, err, want)
	}
}

// The rules for Windows are tested on every system; they apply on Windows only.
func TestNamesThatWindowsChangesOrMisreads(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]struct{ changed, misleads bool }{
		"app/main.go":     {},
		".":               {},
		".profile":        {},
		"a b/c d":         {},
		"café":            {},
		"a.b.c":           {},
		"name.":           {changed: true},
		"name ":           {changed: true},
		"dir./file":       {changed: true},
		"dir /file":       {changed: true},
		"x. .":            {changed: true},
		"a?b":             {changed: true},
		"a*b":             {changed: true},
		"a<b":             {changed: true},
		"a>b":             {changed: true},
		`a"b`:             {changed: true},
		"a|b":             {changed: true},
		"a\x01b":          {changed: true},
		"Foo::Bar.3pm":    {changed: true},
		"file:stream":     {changed: true},
		"dir/C:":          {changed: true},
		"C:":              {changed: true, misleads: true},
		"C:/Windows":      {changed: true, misleads: true},
		`C:\Windows`:      {changed: true, misleads: true},
		`..\secret`:       {misleads: true},
		`\\server\share`:  {misleads: true},
		`app\..\..\x`:     {misleads: true},
		"app/nul\x00byte": {changed: true, misleads: true},
	} {
		assert.Equal(t, want.changed, changedByWindows(name), "%q is changed", name)
		assert.Equal(t, want.misleads, misleadsWindows(name), "%q misleads", name)
	}
}

func TestLocalNameOnWindows(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "windows" {
		t.Skip("only Windows has these names")
	}
	for name, want := range map[string]Kind{
		"aux.c": UnsupportedName, "con": UnsupportedName, "dir/NUL": UnsupportedName, "COM1": UnsupportedName, "name.": UnsupportedName,
		"a?b": UnsupportedName, `a\b`: Unsafe, "C:x": Unsafe,
	} {
		_, err := localName(name)
		requireKind(t, err, want)
	}
}
