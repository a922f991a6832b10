package herokubuild_test

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
)

// gitList returns the existing files that git lists.
func gitList(t testing.TB, dir string) []string {
	t.Helper()
	cmd := gitCommand(t, dir, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	out, err := cmd.Output()
	require.NoError(t, err)
	var names []string
	for name := range strings.SplitSeq(string(out), "\x00") {
		if name == "" || strings.HasSuffix(name, "/") || !reallyThere(dir, name) {
			continue
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// reallyThere reports whether a path is a file or a link, without following links.
func reallyThere(dir, name string) bool {
	parts := strings.Split(name, "/")
	for i, part := range parts {
		// The file system may fold the case of letters; a tracked name may not
		// be the file's own any more.
		list, err := os.ReadDir(dir)
		if err != nil {
			return false
		}
		found := slices.IndexFunc(list, func(e os.DirEntry) bool { return e.Name() == part })
		if found < 0 || list[found].IsDir() != (i < len(parts)-1) {
			return false
		}
		dir = filepath.Join(dir, part)
	}
	return true
}

// tricky generates trees and ignore files from a seed.
type tricky struct{ *rand.Rand }

func (r tricky) pick(from ...string) string { return from[r.IntN(len(from))] }

func (r tricky) name() string {
	if runtime.GOOS != "windows" && r.IntN(6) == 0 {
		return r.pick("x ", "a\\b", "a*", "[z]", "?", "#h", "!n", "new\nline", "tab\t", "**", "-", "]", "\\", "^x", "\xff\xfe", "foo:", "tr ", " le")
	}
	return r.pick("a", "b", "c", "foo", "bar", "foo.o", "bar.o", "a.txt", "b.txt", "Foo", "BAR", "node_modules", "build", "log",
		"a b", "é", "日本", ".env", ".hidden", "x1", "x2", "foobar", "foo-bar", "#h", "!n")
}

// nameIn returns a name that can be created in a directory: macOS requires UTF-8.
func (r tricky) nameIn(dir string) string {
	name := r.name()
	if utf8.ValidString(name) {
		return name
	}
	probe := filepath.Join(dir, name)
	err := os.Mkdir(probe, 0o755)
	switch {
	case err == nil:
		_ = os.Remove(probe)
	case !errors.Is(err, fs.ErrExist):
		return strings.ToValidUTF8(name, "not UTF-8")
	}
	return name
}

func (r tricky) segment() string {
	switch r.IntN(12) {
	case 0:
		return "**"
	case 1:
		return "*"
	case 2:
		return r.pick("*.o", "*.txt", "f*", "*o", "fo?", "???", "*b*", "f*o*", "x*", "*foo", "*bar*r", "?", "??*", "***", "a**", "**a", "f**r")
	case 3:
		return r.pick("[a-f]oo", "[!a]*", "[^f]*", "[[:alpha:]]*", "[[:digit:]]", "x[[:digit:]]", "[a-]*", "[]-]", "[]a]", "[!]a]*", "[a-c]", "[A-Z]*",
			"[[:upper:]]*", "[[:nope:]]", "[[:space:]]*", "[", "[a", "[!", "[a-", "[\\]]", "[\\a-c]", "[z-a]", "[[a]", "[[:alpha:]", "[a-\\c]", "[[:punct:]]*",
			"x[0-9]", "[*]", "[?]", "[[]z]", "\\[z\\]", "[--a]", "[a/b]", "[^/]*", "*[0-9]", "[\\", "[[:alnum:]-]*", "[[:", "[:alpha:]", "[é]", "[a-c-e]", "[[:xdigit:][:space:]]*")
	case 4:
		return r.pick("\\#h", "\\!n", "#h", "!n", "a\\b", "a\\\\b", "foo\\", "\\foo", "\\*", "a\\*", "\\?", "\\", "\\\\", "x\\ ", "\\Foo", "f\\oo", "fo\\o", "**\\", "\\**", "*\\")
	case 5:
		return strings.ToUpper(r.name())
	}
	return r.name()
}

func (r tricky) pattern() string {
	n := 1
	for n < 4 && r.IntN(3) == 0 {
		n++
	}
	var parts []string
	for range n {
		parts = append(parts, r.segment())
	}
	p := strings.Join(parts, "/")
	if r.IntN(4) == 0 {
		p = "/" + p
	}
	if r.IntN(4) == 0 {
		p += "/"
	}
	if r.IntN(4) == 0 {
		p = "!" + p
	}
	switch r.IntN(14) {
	case 0:
		p += r.pick(" ", "  ", "\\ ", "\\  ", "\t", " \\", " x ", "\\\\ ", "/ ", "//", "/**", "/*", "**/", "/.", " /")
	case 1:
		p = r.pick(" ", "!!", "//", "/", "\t", "**/", "./", "\\!", "\\#", "! ", "*/", "!/", "/**/", "**/**/") + p
	case 2:
		p = r.pick("", "#", "!", "/", "*", "**", "/*", "/**", "*/", "**/", "!*/", "!/", " ", "#x", "!*", "/**/", "*/*", "**/*", "*/**", "//", ".", "..", "!**/")
	case 3:
		p = r.pick("node_modules/", "*.o\n!foo.o", "/*\n!/a", "build/\n!build/a", "*\n!*/\n!*.txt", "log/*\n!log/a", "a/**\n!a/b", "**/foo/**", "foo/**/bar", "a/*/b", "/a/b", "!a/b/c")
	}
	return p
}

func (r tricky) rules() []byte {
	var b strings.Builder
	if r.IntN(20) == 0 {
		b.WriteString("\ufeff")
	}
	end := "\n"
	if r.IntN(10) == 0 {
		end = "\r\n"
	}
	n := 1 + r.IntN(6)
	for i := range n {
		b.WriteString(r.pattern())
		if i < n-1 || r.IntN(4) > 0 {
			b.WriteString(end)
		}
	}
	if r.IntN(40) == 0 {
		b.WriteString("\r")
	}
	return []byte(b.String())
}

// fill writes a tree and returns its directories.
func (r tricky) fill(t *testing.T, dir string, depth int) []string {
	t.Helper()
	dirs := []string{dir}
	for range 1 + r.IntN(5) {
		path := filepath.Join(dir, r.nameIn(dir))
		if _, err := os.Lstat(path); err == nil {
			continue
		}
		switch kind := r.IntN(8); {
		case kind < 4 && depth < 3:
			require.NoError(t, os.Mkdir(path, 0o755))
			dirs = append(dirs, r.fill(t, path, depth+1)...)
		case kind == 4 && runtime.GOOS != "windows":
			require.NoError(t, os.Symlink(r.pick("a", "b", "foo"), path))
		default:
			require.NoError(t, os.WriteFile(path, []byte(path), 0o644))
		}
	}
	if r.IntN(3) == 0 {
		require.NoError(t, os.WriteFile(filepath.Join(dir, ".gitignore"), r.rules(), 0o644))
	}
	return dirs
}

// repository creates a repository and returns the directory in it to pack.
func (r tricky) repository(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	git(t, dir, "init", "-q", "--template=")
	dirs := r.fill(t, dir, 0)
	if r.IntN(3) == 0 {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, ".git", "info"), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, ".git", "info", "exclude"), r.rules(), 0o644))
	}
	if r.IntN(3) == 0 {
		path := filepath.Join(dir, ".git", "my excludes")
		require.NoError(t, os.WriteFile(path, r.rules(), 0o644))
		git(t, dir, "config", "core.excludesFile", path)
	}
	if runtime.GOOS == "linux" && r.IntN(5) == 0 {
		git(t, dir, "config", "core.ignoreCase", "true")
	}
	if r.IntN(2) == 0 {
		r.track(t, dir)
	}
	for tries := 0; tries < 10 && r.IntN(3) == 0; tries++ {
		if inner := dirs[r.IntN(len(dirs))]; inner != dir {
			if _, err := os.Stat(inner); err == nil {
				return inner
			}
		}
	}
	return dir
}

// track adds some files, ignored or not, and then changes the tree.
func (r tricky) track(t *testing.T, dir string) {
	t.Helper()
	var files []string
	require.NoError(t, filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if e.Name() == ".git" {
			return filepath.SkipDir
		}
		if err == nil && !e.IsDir() && r.IntN(3) == 0 {
			rel, _ := filepath.Rel(dir, path)
			files = append(files, rel)
		}
		return err
	}))
	if len(files) == 0 {
		return
	}
	cmd := gitCommand(t, dir, "--literal-pathspecs", "add", "-f", "--pathspec-from-file=-", "--pathspec-file-nul")
	cmd.Stdin = strings.NewReader(strings.Join(files, "\x00"))
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	if r.IntN(3) == 0 {
		git(t, dir, "update-index", "--index-version", r.pick("3", "4"))
	}
	for _, name := range files {
		path := filepath.Join(dir, name)
		switch r.IntN(10) {
		case 0:
			require.NoError(t, os.Remove(path))
		case 1:
			require.NoError(t, os.Remove(path))
			require.NoError(t, os.Mkdir(path, 0o755))
			require.NoError(t, os.WriteFile(filepath.Join(path, r.nameIn(path)), nil, 0o644))
		}
	}
}

// The archive has the files that git lists, in trees full of unusual rules.
func TestArchiveDirPacksWhatGitLists(t *testing.T) {
	isolateGit(t)
	const groups, each = 20, 20
	for group := range groups {
		t.Run(fmt.Sprintf("seeds %d to %d", group*each, group*each+each-1), func(t *testing.T) {
			t.Parallel()
			for seed := group * each; seed < (group+1)*each; seed++ {
				comparePacked(t, uint64(seed))
			}
		})
	}
}

func comparePacked(t *testing.T, seed uint64) {
	t.Helper()
	r := tricky{rand.New(rand.NewPCG(seed, 4))}
	dir := r.repository(t)
	want := gitList(t, dir)
	if len(want) == 0 {
		archive, err := herokubuild.PackDir(t.Context(), dir, nil)
		if err != nil {
			requireInvalid(t, err, "dir")
			return
		}
		defer archive.Close()
		// The directory itself is ignored, and packed because it was named.
		// Git itself says where it is: the two may spell one path differently.
		top := strings.TrimSpace(git(t, dir, "rev-parse", "--show-toplevel"))
		rel := strings.TrimSuffix(git(t, dir, "rev-parse", "--show-prefix"), "/\n")
		require.NoError(t, gitCommand(t, top, "check-ignore", "-q", "--", "./"+rel).Run(), "seed %d: %s is not ignored, and git lists nothing", seed, rel)
		return
	}
	archive, err := herokubuild.PackDir(t.Context(), dir, nil)
	require.NoError(t, err, "seed %d", seed)
	defer archive.Close()
	names, _ := entries(t, archive)
	assert.Equal(t, want, names, "seed %d", seed)
}
