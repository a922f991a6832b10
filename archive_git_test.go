package herokubuild_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
)

// realDir returns a temporary directory by its real path, as git prints it.
func realDir(t *testing.T) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	return dir
}

// repo returns a new repository.
func repo(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(realDir(t), "work")
	require.NoError(t, os.Mkdir(dir, 0o755))
	git(t, dir, "init", "-q", "-b", "main", "--template=")
	return dir
}

func commit(t *testing.T, dir string) {
	t.Helper()
	git(t, dir, "add", "-A")
	git(t, dir, "commit", "-q", "-m", "commit")
}

// requireSameAsGit compares the plan of a directory with what git lists. If git
// fails, the plan must fail, too.
func requireSameAsGit(t *testing.T, dir, about string) {
	t.Helper()
	plan, err := herokubuild.PlanArchive(t.Context(), dir, nil)
	if out, gitErr := gitCommand(t, dir, "ls-files", "--cached", "--others", "--exclude-standard").CombinedOutput(); gitErr != nil {
		require.Error(t, err, "git says %s of %q", out, about)
		requireInvalid(t, err, "dir")
		return
	}
	want := gitList(t, dir)
	if len(want) == 0 {
		requireInvalid(t, err, "dir")
		return
	}
	require.NoError(t, err, "%q", about)
	var names []string
	for _, e := range plan.Entries {
		names = append(names, e.Path)
	}
	require.Equal(t, want, names, "%q", about)
}

// A work tree can have many forms: sparse, linked, or elsewhere.
func TestArchiveOfEveryKindOfCheckout(t *testing.T) {
	isolateGit(t)
	for name, make := range map[string]func(t *testing.T, dir string) string{
		"sparse, without cones": func(t *testing.T, dir string) string {
			write(t, dir, "src/.gitignore", "*.key\n.env\n")
			write(t, dir, "src/a", "x")
			write(t, dir, "lib/b", "x")
			commit(t, dir)
			git(t, dir, "sparse-checkout", "set", "--no-cone", "/lib/", "/src/a")
			write(t, dir, "src/.env", "SECRET=1")
			write(t, dir, "src/x.key", "secret")
			write(t, dir, "src/new", "x")
			require.NoFileExists(t, filepath.Join(dir, "src", ".gitignore"))
			return dir
		},
		"sparse, with cones": func(t *testing.T, dir string) string { return sparse(t, dir, "--no-sparse-index") },
		"sparse index":       func(t *testing.T, dir string) string { return sparse(t, dir, "--sparse-index") },
		"sparse index, a file put back": func(t *testing.T, dir string) string {
			write(t, dir, "in/a", "x")
			write(t, dir, "out/b", "x")
			write(t, dir, "out/deep/c", "x")
			write(t, dir, ".gitignore", "out/\n")
			git(t, dir, "add", "-A", "-f")
			git(t, dir, "commit", "-q", "-m", "x")
			git(t, dir, "sparse-checkout", "set", "--cone", "--sparse-index", "in")
			write(t, dir, "out/b", "x")
			write(t, dir, "out/deep/c", "x")
			write(t, dir, "out/deep/ignored", "x")
			return dir
		},
		"a .gitignore that is skipped": func(t *testing.T, dir string) string {
			write(t, dir, ".gitignore", "*.key\n")
			write(t, dir, "a", "x")
			commit(t, dir)
			git(t, dir, "update-index", "--skip-worktree", ".gitignore")
			require.NoError(t, os.Remove(filepath.Join(dir, ".gitignore")))
			write(t, dir, "x.key", "secret")
			return dir
		},
		"a .gitignore that is skipped, and packed": func(t *testing.T, dir string) string {
			write(t, dir, ".gitignore", "*.key\n")
			write(t, dir, "a", "x")
			commit(t, dir)
			git(t, dir, "gc", "-q")
			git(t, dir, "update-index", "--skip-worktree", ".gitignore")
			require.NoError(t, os.Remove(filepath.Join(dir, ".gitignore")))
			write(t, dir, "x.key", "secret")
			return dir
		},
		"a .gitignore that was deleted": func(t *testing.T, dir string) string {
			write(t, dir, ".gitignore", "*.key\n")
			write(t, dir, "a", "x")
			commit(t, dir)
			require.NoError(t, os.Remove(filepath.Join(dir, ".gitignore")))
			write(t, dir, "x.key", "no longer ignored")
			return dir
		},
		"a name full of wildcards": func(t *testing.T, dir string) string {
			if runtime.GOOS == "windows" {
				t.Skip("Windows has no such names")
			}
			odd := filepath.Join(dir, "[odd] * name?")
			require.NoError(t, os.Mkdir(odd, 0o755))
			git(t, odd, "init", "-q")
			write(t, odd, "sub/.gitignore", "*.key\n")
			write(t, odd, "a", "x")
			commit(t, odd)
			git(t, odd, "gc", "-q")
			git(t, odd, "sparse-checkout", "set", "--no-cone", "/a")
			write(t, odd, "sub/x.key", "secret")
			return odd
		},
		"a second work tree": func(t *testing.T, dir string) string {
			write(t, dir, "a", "x")
			commit(t, dir)
			write(t, dir, ".git/info/exclude", "*.log\n")
			second := filepath.Join(realDir(t), "second")
			git(t, dir, "worktree", "add", "-q", second, "-b", "other")
			write(t, second, "x.log", "x")
			write(t, second, "y", "x")
			return second
		},
		"core.worktree around it": func(t *testing.T, dir string) string {
			sub := filepath.Join(dir, "sub")
			require.NoError(t, os.Mkdir(sub, 0o755))
			require.NoError(t, os.Rename(filepath.Join(dir, ".git"), filepath.Join(sub, ".git")))
			git(t, sub, "config", "core.worktree", "../..")
			write(t, dir, ".gitignore", "*.log\n")
			write(t, sub, "x.log", "x")
			write(t, sub, "y", "x")
			return sub
		},
		"core.worktree, the same": func(t *testing.T, dir string) string {
			git(t, dir, "config", "core.worktree", dir)
			write(t, dir, ".gitignore", "*.log\n")
			write(t, dir, "x.log", "x")
			write(t, dir, "y", "x")
			return dir
		},
		"a .git file without a space": func(t *testing.T, dir string) string {
			write(t, dir, "a", "x")
			write(t, dir, "sub/b", "x")
			git(t, dir, "init", "-q", "real")
			require.NoError(t, os.Rename(filepath.Join(dir, "real", ".git"), filepath.Join(dir, "..", "moved")))
			write(t, dir, "sub/.git", "gitdir:../../moved\n")
			return dir
		},
		"twins of another case, both tracked": func(t *testing.T, dir string) string {
			twins(t, dir)
			write(t, dir, "Makefile", "all:\n")
			write(t, dir, "makefile", "other:\n")
			write(t, dir, "Dir/a", "x")
			write(t, dir, "dir/a", "y")
			commit(t, dir)
			git(t, dir, "config", "core.ignoreCase", "true")
			return dir
		},
		"twins of another case, one tracked": func(t *testing.T, dir string) string {
			twins(t, dir)
			write(t, dir, "Makefile", "all:\n")
			write(t, dir, "Dir/a", "x")
			commit(t, dir)
			write(t, dir, "makefile", "other:\n")
			write(t, dir, "dir/b", "y")
			git(t, dir, "config", "core.ignoreCase", "true")
			return dir
		},
		"a .gitignore of another case": func(t *testing.T, dir string) string {
			write(t, dir, ".GitIgnore", "*.log\n")
			write(t, dir, "x.log", "x")
			git(t, dir, "config", "core.ignoreCase", "true")
			return dir
		},
		"a .gitignore that is a link": func(t *testing.T, dir string) string {
			write(t, dir, "rules", "*.log\n")
			write(t, dir, "x.log", "x")
			symlink(t, "rules", filepath.Join(dir, ".gitignore"))
			return dir
		},
		"a skipped .gitignore that is a link": func(t *testing.T, dir string) string {
			write(t, dir, ".gitignore", "*.key\n")
			write(t, dir, "a", "x")
			commit(t, dir)
			git(t, dir, "update-index", "--skip-worktree", ".gitignore")
			require.NoError(t, os.Remove(filepath.Join(dir, ".gitignore")))
			symlink(t, "a", filepath.Join(dir, ".gitignore"))
			write(t, dir, "x.key", "secret")
			return dir
		},
		"a .gitignore that is a directory": func(t *testing.T, dir string) string {
			write(t, dir, ".gitignore/a", "x")
			write(t, dir, "b", "x")
			return dir
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			requireSameAsGit(t, make(t, repo(t)), "")
		})
	}
}

func sparse(t *testing.T, dir, index string) string {
	t.Helper()
	write(t, dir, "in/a", "x")
	write(t, dir, "out/b", "x")
	write(t, dir, "out/deep/c", "x")
	write(t, dir, "out/deep/er/d", "x")
	write(t, dir, ".gitignore", "*.log\n")
	write(t, dir, "out/.gitignore", "*.env\n")
	write(t, dir, "out/deep/er/.gitignore", "!x.env\nx.key\n")
	commit(t, dir)
	git(t, dir, "sparse-checkout", "set", "--cone", index, "in")
	require.NoDirExists(t, filepath.Join(dir, "out"))
	for _, name := range []string{"out/x.env", "out/y", "out/deep/x.env", "out/deep/x.log", "out/deep/er/x.env", "out/deep/er/x.key", "out/deep/er/z"} {
		write(t, dir, name, "x")
	}
	return dir
}

// twins skips a test if a directory cannot have two names that differ only by case.
func twins(t *testing.T, dir string) {
	t.Helper()
	write(t, dir, "case", "x")
	if _, err := os.Stat(filepath.Join(dir, "CASE")); err == nil {
		t.Skip("the file system does not tell letters by their case")
	}
}

func symlink(t *testing.T, target, path string) {
	t.Helper()
	if err := os.Symlink(target, path); err != nil {
		t.Skipf("there are no symbolic links: %v", err)
	}
}

// git ls-files ignores the rules of a directory that is not checked out when it runs
// below it; git status does not.
func TestArchiveBelowADirectoryThatIsNotCheckedOut(t *testing.T) {
	isolateGit(t)
	below := filepath.Join(sparse(t, repo(t), "--sparse-index"), "out", "deep")
	assert.Equal(t, []string{"er/x.env", "er/z"}, namesOf(t, pack(t, below)))
	assert.Equal(t, "?? er/x.env\n?? er/z\n", strings.ReplaceAll(git(t, below, "status", "--porcelain", "-uall", "."), "out/deep/", ""))
}

// Rules that git would have to fetch are an error, not a guess.
func TestArchiveWithoutTheObjectsOfASparseCheckout(t *testing.T) {
	isolateGit(t)
	dir := repo(t)
	write(t, dir, "src/.gitignore", "*.key\n")
	write(t, dir, "a", "x")
	commit(t, dir)
	id := strings.TrimSpace(git(t, dir, "rev-parse", "HEAD:src/.gitignore"))
	git(t, dir, "sparse-checkout", "set", "--no-cone", "/a")
	write(t, dir, "src/x.key", "secret")
	require.NoError(t, os.Remove(filepath.Join(dir, ".git", "objects", id[:2], id[2:])))
	_, err := herokubuild.PlanArchive(t.Context(), dir, nil)
	requireInvalid(t, err, "dir")
	require.ErrorIs(t, err, os.ErrNotExist)
}

// A repository whose work tree is elsewhere does not have the given directory.
func TestArchiveOfAWorkTreeThatIsElsewhere(t *testing.T) {
	isolateGit(t)
	dir, other := repo(t), realDir(t)
	write(t, dir, "a", "x")
	write(t, dir, "sub/b", "x")
	for _, elsewhere := range []string{other, filepath.Join(dir, "sub")} {
		git(t, dir, "config", "core.worktree", elsewhere)
		_, err := herokubuild.PlanArchive(t.Context(), dir, nil)
		assert.Contains(t, requireInvalid(t, err, "dir").Error(), elsewhere)
	}
	assert.Equal(t, []string{"b"}, namesOf(t, pack(t, filepath.Join(dir, "sub"))))
}

// A directory that is tracked in another case of letters has git's spelling.
func TestArchiveDirectoryOfAnotherCase(t *testing.T) {
	isolateGit(t)
	dir := repo(t)
	write(t, dir, "Up/readme", "x")
	write(t, dir, "Up/More/x", "x")
	commit(t, dir)
	git(t, dir, "config", "core.ignoreCase", "true")
	require.NoError(t, os.Rename(filepath.Join(dir, "Up"), filepath.Join(dir, "passing")))
	require.NoError(t, os.Rename(filepath.Join(dir, "passing"), filepath.Join(dir, "up")))
	require.NoError(t, os.Rename(filepath.Join(dir, "up", "More"), filepath.Join(dir, "up", "passing")))
	require.NoError(t, os.Rename(filepath.Join(dir, "up", "passing"), filepath.Join(dir, "up", "more")))
	write(t, dir, "up/new", "new")
	write(t, dir, "up/more/new", "newer")
	write(t, dir, "up/more/own/file", "newest")
	names, byName := entries(t, pack(t, dir))
	assert.Equal(t, []string{"Up/More/new", "Up/More/own/file", "Up/More/x", "Up/new", "Up/readme"}, names)
	assert.Equal(t, "newest", byName["Up/More/own/file"].content)
}

// configs generates configuration files: valid, unusual and invalid ones.
type configs struct {
	*rand.Rand
	dir, home string
}

func (c configs) pick(from ...string) string { return from[c.IntN(len(from))] }

// excludes returns a setting of one of three ignore files, in one of many spellings.
func (c configs) excludes() string {
	file := c.pick("one", "two", "three")
	key := c.pick("excludesFile", "excludesfile", "EXCLUDESFILE", "excludesFile", "excludes-File")
	value := c.pick(
		filepath.ToSlash(filepath.Join(c.home, file)), "~/"+file, `"~/`+file+`"`, `~/"`+file+`"`, file, "sub/"+file, `"`+file+`" ; comment`, "~/"+file+" # comment \\",
		"~/"+file[:1]+"\\\n"+file[1:], "  ~/"+file+"  ", "", `""`, "~/"+file+"\\t", "\"~/"+file, `~/\x`+file, "~/a\\\\b", "~/no such file", "~/"+file+"\r", "~/"+file+" ;",
		"~/a b", `~/"a  b"`, "~nobody-of-this-name/x", "~/"+file+"#x", "\\\n~/"+file, `"\\"`, `"a\"b"`)
	end := c.pick("\n", "\n", "\n", "\r\n", "")
	return c.pick("", "\t", "  ") + key + c.pick(" = ", "=", " =", "= ", "\t=\t") + value + end
}

func (c configs) section() string {
	return c.pick("[core]", "[CORE]", "[core] ; \\", "[core]# \\", " [core] ", "[core]", "[core]\r", `[core ""]`, `[core "x"]`, "[other]", "[core.x]", "[core", "[ core]", "[core ]", "[]", "[core]\\") + c.pick("\n", "\n", "\n", " ", "\n\n")
}

func (c configs) text(depth int) string {
	var b strings.Builder
	if c.IntN(15) == 0 {
		b.WriteString("\ufeff")
	}
	for range 1 + c.IntN(4) {
		switch c.IntN(9) {
		case 0:
			b.WriteString(c.pick("# a comment \\\n", "; \\\n", "\n", "  # x\n", "[user]\n\tname = \"A ; B\" # \\\n", "[alias]\n\tx = \"!f() { \\\"$1\\\"; }; f\"\n", "[x]\n\ty\n", "[x]\ny = a \\\n b\n"))
		case 1, 2:
			if depth < 3 {
				name := fmt.Sprintf("inc%d-%d", depth, c.IntN(3))
				_ = os.WriteFile(filepath.Join(c.home, name), []byte(c.text(depth+1)), 0o644)
				fmt.Fprintf(&b, "%s\n\tpath = %s\n", c.condition(), c.pick("~/"+name, filepath.ToSlash(filepath.Join(c.home, name)), "no-such-file"))
			}
		case 3:
			b.WriteString("[remote \"origin\"]\n\turl = https://example.com/" + c.pick("a", "b") + "/c.git\n")
		default:
			b.WriteString("[core]\n")
			if c.IntN(4) == 0 {
				b.WriteString(c.section())
			}
			b.WriteString(c.excludes())
			if c.IntN(3) > 0 {
				b.WriteString("\n")
			}
		}
	}
	return b.String()
}

func (c configs) condition() string {
	git := filepath.ToSlash(filepath.Join(c.dir, ".git"))
	parent := filepath.ToSlash(filepath.Dir(c.dir))
	return c.pick("[include]", "[include]", `[include "x"]`, "[includeIf]", "[INCLUDE]",
		`[includeIf "gitdir:`+git+`"]`, `[includeIf "gitdir:`+parent+`/"]`, `[includeIf "gitdir:`+parent+`"]`, `[includeIf "gitdir:`+parent+`/**"]`, `[includeIf "gitdir:`+parent+`/*"]`,
		`[includeIf "gitdir:work/"]`, `[includeIf "gitdir:work"]`, `[includeIf "gitdir:WORK/"]`, `[includeIf "gitdir/i:WORK/"]`, `[includeIf "gitdir/i:`+strings.ToUpper(git)+`"]`, `[includeif "gitdir:**/work/.git"]`,
		`[includeIf "gitdir:~/"]`, `[includeIf "gitdir:./"]`, `[includeIf "gitdir:.git"]`, `[includeIf "gitdir:/"]`, `[includeIf "gitdir:wor?/"]`, `[includeIf "gitdir:"]`,
		`[includeIf "onbranch:main"]`, `[includeIf "onbranch:Main"]`, `[includeIf "onbranch:feature/"]`, `[includeIf "onbranch:*"]`, `[includeIf "onbranch:**"]`, `[includeIf "onbranch:m*n"]`, `[includeIf "onbranch:feature/**"]`,
		`[includeIf "hasconfig:remote.*.url:https://example.com/**"]`, `[includeIf "hasconfig:remote.*.url:https://example.com/a/*"]`, `[includeIf "hasconfig:remote.*.url:*"]`, `[includeIf "hasconfig:user.name:x"]`,
		`[includeIf "something:else"]`, `[includeIf "gitDir:work/"]`)
}

// The configuration is interpreted, or rejected, as by git.
func TestArchiveReadsGitsConfiguration(t *testing.T) {
	isolateGit(t)
	home := realDir(t)
	t.Setenv("HOME", home)
	const runs = 150
	for seed := range runs {
		t.Setenv("HOME", home)
		c := configs{Rand: rand.New(rand.NewPCG(uint64(seed), 8)), dir: repo(t), home: filepath.Join(home, fmt.Sprint(seed))}
		require.NoError(t, os.Mkdir(c.home, 0o755))
		for i, name := range []string{"one", "two", "three"} {
			for _, path := range []string{filepath.Join(c.home, name), filepath.Join(c.dir, name), filepath.Join(c.dir, "sub", name)} {
				require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
				require.NoError(t, os.WriteFile(path, fmt.Appendf(nil, "*.%d\n", i), 0o644))
			}
			write(t, c.dir, fmt.Sprintf("sub/x.%d", i), "x")
		}
		write(t, c.home, "a b", "*.0\n")
		write(t, c.home, "a  b", "*.1\n")
		if c.IntN(3) == 0 {
			git(t, c.dir, "symbolic-ref", "HEAD", "refs/heads/feature/x/y")
		}
		t.Setenv("HOME", c.home)
		if c.IntN(3) == 0 {
			config := filepath.Join(c.dir, ".git", "config")
			old, err := os.ReadFile(config)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(config, append(old, c.text(0)...), 0o644))
		}
		write(t, c.home, ".gitconfig", c.text(0))
		dir := c.dir
		if c.IntN(3) == 0 {
			dir = filepath.Join(dir, "sub")
		}
		text, _ := os.ReadFile(filepath.Join(c.home, ".gitconfig"))
		t.Run(fmt.Sprint(seed), func(t *testing.T) { requireSameAsGit(t, dir, string(text)) })
	}
}

func TestArchiveReadsGitsEnvironment(t *testing.T) {
	isolateGit(t)
	dir := repo(t)
	write(t, dir, "x.log", "x")
	write(t, dir, "y", "x")
	write(t, dir, "rules", "*.log\n")
	t.Setenv("GIT_CONFIG_COUNT", "1")
	t.Setenv("GIT_CONFIG_KEY_0", "Core.ExcludesFile")
	t.Setenv("GIT_CONFIG_VALUE_0", "rules")
	requireSameAsGit(t, dir, "")
	t.Setenv("GIT_CONFIG_COUNT", "2")
	requireSameAsGit(t, dir, "")
	t.Setenv("GIT_CONFIG_COUNT", "0")
	t.Setenv("GIT_CONFIG_GLOBAL", os.DevNull)
	requireSameAsGit(t, dir, "")
}
