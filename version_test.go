package herokubuild_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
)

// committed returns a repository with one commit, and the commit.
func committed(t *testing.T, files ...file) (dir, commit string) {
	t.Helper()
	dir = tree(t, files...)
	git(t, dir, "init", "-q")
	git(t, dir, "add", "-A")
	git(t, dir, "commit", "-q", "-m", "first")
	return dir, head(t, dir)
}

func head(t *testing.T, dir string) string {
	t.Helper()
	return strings.TrimSpace(git(t, dir, "rev-parse", "HEAD"))
}

func version(t *testing.T, dir string) string {
	t.Helper()
	v, err := herokubuild.TreeVersion(t.Context(), dir)
	require.NoError(t, err)
	return v
}

func write(t *testing.T, dir, name, content string) {
	t.Helper()
	path := filepath.Join(dir, filepath.FromSlash(name))
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(content), 0o644))
}

// crlf configures conversion of line ends and writes a tracked file.
func crlf(t *testing.T, dir, content string) {
	t.Helper()
	git(t, dir, "config", "core.autocrlf", "true")
	require.NoError(t, os.Remove(filepath.Join(dir, "main.go")))
	git(t, dir, "checkout", "-q", "main.go")
	write(t, dir, "main.go", content)
	require.NoError(t, os.Chtimes(filepath.Join(dir, "main.go"), time.Now(), time.Unix(1e9, 0)))
}

func TestTreeVersion(t *testing.T) {
	isolateGit(t)
	base := []file{{"main.go", "package main\n"}, {"a/b", "b"}, {"a/c", "c"}, {"web/index.html", "<p>"}, {".gitignore", "*.o\nbuilt/\n"}}
	tests := map[string]struct {
		change func(t *testing.T, dir string)
		sub    string
		want   string // commit, dirty, none
	}{
		"clean":                  {func(*testing.T, string) {}, "", "commit"},
		"clean below":            {func(*testing.T, string) {}, "a", "commit"},
		"changed":                {func(t *testing.T, dir string) { write(t, dir, "a/b", "B") }, "", "dirty"},
		"changed in the dir":     {func(t *testing.T, dir string) { write(t, dir, "a/b", "B") }, "a", "dirty"},
		"changed elsewhere":      {func(t *testing.T, dir string) { write(t, dir, "a/b", "B") }, "web", "commit"},
		"changed, another size":  {func(t *testing.T, dir string) { write(t, dir, "a/b", "more") }, "", "dirty"},
		"deleted":                {func(t *testing.T, dir string) { require.NoError(t, os.Remove(filepath.Join(dir, "a", "b"))) }, "", "dirty"},
		"deleted in the dir":     {func(t *testing.T, dir string) { require.NoError(t, os.Remove(filepath.Join(dir, "a", "b"))) }, "a", "dirty"},
		"deleted elsewhere":      {func(t *testing.T, dir string) { require.NoError(t, os.Remove(filepath.Join(dir, "a", "b"))) }, "web", "commit"},
		"new":                    {func(t *testing.T, dir string) { write(t, dir, "a/new", "") }, "", "dirty"},
		"new, ignored":           {func(t *testing.T, dir string) { write(t, dir, "a/new.o", "") }, "", "commit"},
		"staged":                 {func(t *testing.T, dir string) { write(t, dir, "a/b", "B"); git(t, dir, "add", ".") }, "", "dirty"},
		"staged elsewhere":       {func(t *testing.T, dir string) { write(t, dir, "a/b", "B"); git(t, dir, "add", ".") }, "web", "commit"},
		"staged deletion":        {func(t *testing.T, dir string) { git(t, dir, "rm", "-q", "a/b") }, "", "dirty"},
		"intent to add":          {func(t *testing.T, dir string) { write(t, dir, "n", "n"); git(t, dir, "add", "-N", "n") }, "", "dirty"},
		"untracked from staging": {func(t *testing.T, dir string) { git(t, dir, "rm", "-q", "--cached", "a/b") }, "", "dirty"},
		"touched": {func(t *testing.T, dir string) {
			require.NoError(t, os.Chtimes(filepath.Join(dir, "main.go"), time.Now(), time.Unix(1e9, 0)))
		}, "", "commit"},
		"line ends":           {func(t *testing.T, dir string) { write(t, dir, "main.go", "package main\r\n") }, "", "dirty"},
		"line ends, autocrlf": {func(t *testing.T, dir string) { crlf(t, dir, "package main\r\n") }, "", "commit"},
		"a lone CR":           {func(t *testing.T, dir string) { crlf(t, dir, "package\rmain\r\n") }, "", "dirty"},
		"gone from HEAD": {func(t *testing.T, dir string) {
			write(t, dir, "built/x", "x")
		}, "built", "none"},
		"not in HEAD": {func(t *testing.T, dir string) {
			write(t, dir, "fresh/x", "x")
		}, "fresh", "none"},
		"detached": {func(t *testing.T, dir string) { git(t, dir, "checkout", "-q", "--detach") }, "", "commit"},
		"packed": {func(t *testing.T, dir string) {
			git(t, dir, "gc", "-q")
			git(t, dir, "pack-refs", "--all")
		}, "", "commit"},
		"packed, below": {func(t *testing.T, dir string) { git(t, dir, "gc", "-q") }, "a", "commit"},
		"index version 4": {func(t *testing.T, dir string) {
			git(t, dir, "update-index", "--index-version", "4")
			write(t, dir, "a/b", "B")
		}, "", "dirty"},
		"assumed unchanged": {func(t *testing.T, dir string) {
			git(t, dir, "update-index", "--assume-unchanged", "a/b")
			write(t, dir, "a/b", "B")
		}, "", "commit"},
		"skipped": {func(t *testing.T, dir string) {
			git(t, dir, "update-index", "--skip-worktree", "a/b")
			require.NoError(t, os.Remove(filepath.Join(dir, "a", "b")))
		}, "", "commit"},
		"a conflict": {func(t *testing.T, dir string) {
			git(t, dir, "checkout", "-q", "-b", "other")
			write(t, dir, "a/b", "other")
			git(t, dir, "commit", "-q", "-a", "-m", "other")
			git(t, dir, "checkout", "-q", "-")
			write(t, dir, "a/b", "this")
			git(t, dir, "commit", "-q", "-a", "-m", "this")
			require.Error(t, gitCommand(t, dir, "merge", "-q", "other").Run())
		}, "", "dirty"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, _ := committed(t, base...)
			tt.change(t, dir)
			want := map[string]string{"commit": head(t, dir), "dirty": head(t, dir) + "-dirty", "none": ""}[tt.want]
			assert.Equal(t, want, version(t, filepath.Join(dir, tt.sub)))
		})
	}
}

func TestTreeVersionWithoutACommit(t *testing.T) {
	isolateGit(t)
	assert.Empty(t, version(t, tree(t, file{"a", "x"})), "not a repository")
	dir := tree(t, file{"a", "x"})
	git(t, dir, "init", "-q")
	assert.Empty(t, version(t, dir), "no commit yet")
	git(t, dir, "add", ".")
	assert.Empty(t, version(t, dir), "no commit yet")
	_, err := herokubuild.TreeVersion(t.Context(), filepath.Join(dir, "missing"))
	requireInvalid(t, err, "dir")
}

// The history is long enough that git packs commits and trees as deltas. It is read
// from a linked work tree, a shared clone and a repository with SHA-256.
func TestTreeVersionOfPackedHistory(t *testing.T) {
	isolateGit(t)
	for _, format := range []string{"sha1", "sha256"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			git(t, dir, "init", "-q", "--object-format="+format)
			for i := range 30 {
				write(t, dir, fmt.Sprintf("deep/er/f%d", i), strings.Repeat(fmt.Sprintln(i), 50))
				git(t, dir, "add", ".")
				git(t, dir, "commit", "-q", "-m", strings.Repeat("a long message that is nearly the same every time\n", 40)+fmt.Sprint(i))
			}
			git(t, dir, "repack", "-q", "-a", "-d", "-f", "--depth=50", "--window=50")
			assert.Contains(t, git(t, dir, "verify-pack", "-v", packIndex(t, dir)), "chain length", "the pack must have deltas")
			for _, back := range []string{"HEAD", "HEAD~1", "HEAD~7", "HEAD~18"} {
				git(t, dir, "checkout", "-q", "--detach", back)
				assert.Equal(t, head(t, dir), version(t, dir), back)
				assert.Equal(t, head(t, dir), version(t, filepath.Join(dir, "deep", "er")), back)
			}

			second := filepath.Join(t.TempDir(), "second")
			git(t, dir, "worktree", "add", "-q", "-b", "second", second, "HEAD~2")
			assert.Equal(t, head(t, second), version(t, second))
			write(t, second, "deep/er/f1", "changed")
			assert.Equal(t, head(t, second)+"-dirty", version(t, second))
			names, _ := entries(t, pack(t, second))
			assert.NotContains(t, names, ".git")
			assert.Contains(t, names, "deep/er/f1")

			shared := filepath.Join(t.TempDir(), "shared")
			git(t, dir, "clone", "-q", "--shared", dir, shared)
			assert.Equal(t, head(t, shared), version(t, shared))
		})
	}
}

func packIndex(t *testing.T, dir string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, ".git", "objects", "pack", "*.idx"))
	require.NoError(t, err)
	require.Len(t, found, 1)
	return found[0]
}

func TestSubmodules(t *testing.T) {
	isolateGit(t)
	inner, innerCommit := committed(t, file{"lib.go", "package lib\n"}, file{".gitignore", "*.o\n"})
	dir, _ := committed(t, file{"main.go", "package main\n"}, file{".gitignore", "*.tmp\n"})
	git(t, dir, "submodule", "--quiet", "add", inner, "vendor/lib")
	git(t, dir, "commit", "-q", "-m", "submodule")
	write(t, dir, "vendor/lib/x.o", "ignored there")
	write(t, dir, "vendor/lib/x.tmp", "ignored here only")
	git(t, filepath.Join(dir, "vendor", "lib"), "add", "x.tmp")

	archive := pack(t, dir)
	names, _ := entries(t, archive)
	assert.Equal(t, []string{".gitignore", ".gitmodules", "main.go", "vendor/lib/.gitignore", "vendor/lib/lib.go", "vendor/lib/x.tmp"}, names)
	assert.Equal(t, head(t, dir)+"-dirty", version(t, dir), "its index has changes")

	git(t, filepath.Join(dir, "vendor", "lib"), "rm", "-q", "-f", "x.tmp")
	assert.Equal(t, head(t, dir), version(t, dir))
	assert.Equal(t, innerCommit, version(t, filepath.Join(dir, "vendor", "lib")))
	write(t, dir, "vendor/lib/lib.go", "package changed\n")
	git(t, filepath.Join(dir, "vendor", "lib"), "commit", "-q", "-a", "-m", "another")
	assert.Equal(t, head(t, dir)+"-dirty", version(t, dir), "another commit is checked out")

	// A clone does not check out submodules.
	clone := filepath.Join(t.TempDir(), "clone")
	git(t, dir, "clone", "-q", dir, clone)
	archive = pack(t, clone)
	names, _ = entries(t, archive)
	assert.Equal(t, []string{".gitignore", ".gitmodules", "main.go"}, names)
	requireWarning(t, archive.Plan, herokubuild.WarnSubmodule, "vendor/lib/")
	assert.Equal(t, head(t, clone), version(t, clone))
}

func TestNestedRepositoryIsExcluded(t *testing.T) {
	isolateGit(t)
	dir, _ := committed(t, file{"main.go", "package main\n"})
	git(t, dir, "init", "-q", "other")
	write(t, dir, "other/x", "x")
	git(t, filepath.Join(dir, "other"), "add", ".")
	git(t, filepath.Join(dir, "other"), "commit", "-q", "-m", "x")
	assert.Equal(t, []string{"main.go"}, gitList(t, dir), "as git lists it")
	archive := pack(t, dir)
	names, _ := entries(t, archive)
	assert.Equal(t, []string{"main.go"}, names)
	requireWarning(t, archive.Plan, herokubuild.WarnNestedRepository, "other/")

	// Include packs it.
	archive, err := herokubuild.PackDir(t.Context(), dir, &herokubuild.PackOptions{Include: []string{"/other"}})
	require.NoError(t, err)
	t.Cleanup(func() { _ = archive.Close() })
	names, _ = entries(t, archive)
	assert.Equal(t, []string{"main.go", "other/x"}, names)
}

func requireWarning(t *testing.T, plan *herokubuild.ArchivePlan, kind herokubuild.ArchiveWarningKind, path string) {
	t.Helper()
	for _, w := range plan.Warnings {
		if w.Kind == kind && w.Path == path {
			assert.True(t, strings.HasPrefix(w.String(), path+" "), w.String())
			return
		}
	}
	t.Fatalf("no warning %s of %s in %v", kind, path, plan.Warnings)
}
