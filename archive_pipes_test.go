//go:build unix

package herokubuild_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
)

func pipe(t *testing.T, elements ...string) {
	t.Helper()
	path := filepath.Join(elements...)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.RemoveAll(path))
	require.NoError(t, syscall.Mkfifo(path, 0o600))
}

// Opening a pipe without a writer blocks, so no pipe may be opened.
func TestArchiveOpensNoPipe(t *testing.T) {
	isolateGit(t)
	for name, tt := range map[string]struct {
		at      string
		refused bool
	}{
		".git": {".git", false}, "nested .git": {"sub/.git", false}, "HEAD": {".git/HEAD", false}, "config": {".git/config", true}, "index": {".git/index", true},
		"info/exclude": {".git/info/exclude", true}, "info/attributes": {".git/info/attributes", true}, "commondir": {".git/commondir", false},
		"nested HEAD": {"sub/.git/HEAD", false}, ".gitignore": {".gitignore", true}, ".slugignore": {".slugignore", true}, ".gitattributes": {"sub/.gitattributes", true},
		"packed-refs": {".git/packed-refs", false}, "alternates": {".git/objects/info/alternates", false}, "shared": {"sub/.git/objects", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := repo(t)
			write(t, dir, "Procfile", "web: x")
			write(t, dir, "sub/x", "x")
			commit(t, dir)
			pipe(t, dir, tt.at)
			_, err := herokubuild.PlanArchive(t.Context(), dir, nil)
			_, versionErr := herokubuild.TreeVersion(t.Context(), dir)
			if tt.refused {
				requireInvalid(t, err, "dir")
				return
			}
			require.NoError(t, err)
			require.NoError(t, versionErr)
		})
	}
	t.Run("archive", func(t *testing.T) {
		dir := t.TempDir()
		pipe(t, dir, "a.tgz")
		_, err := herokubuild.OpenArchive(t.Context(), filepath.Join(dir, "a.tgz"))
		requireInvalid(t, err, "archive")

		path := filepath.Join(dir, "b.tgz")
		require.NoError(t, os.WriteFile(path, contents(t, pack(t, tree(t, file{"a", "x"}))), 0o600))
		archive, err := herokubuild.OpenArchive(t.Context(), path)
		require.NoError(t, err)
		pipe(t, path)
		_, err = archive.Open()
		require.Error(t, err, "it has been replaced by a pipe")
	})
	t.Run("of a file system", func(t *testing.T) {
		dir := tree(t, file{"a", "x"})
		pipe(t, dir, ".slugignore")
		_, err := herokubuild.PackFS(t.Context(), os.DirFS(dir), nil)
		requireInvalid(t, err, "fsys")
	})
	t.Run("the user's", func(t *testing.T) {
		home := t.TempDir()
		t.Setenv("HOME", home)
		for _, name := range []string{".gitconfig", ".config/git/config", ".config/git/ignore"} {
			pipe(t, home, name)
			_, err := herokubuild.PlanArchive(t.Context(), tree(t, file{"a", "x"}), nil)
			requireInvalid(t, err, "dir")
			require.NoError(t, os.Remove(filepath.Join(home, name)))
		}
	})
}

// Includes are bounded in total, not only in depth.
func TestArchiveConfigIncludesItself(t *testing.T) {
	isolateGit(t)
	dir := repo(t)
	write(t, dir, "a", "x")
	config := filepath.Join(dir, ".git", "config")
	old, err := os.ReadFile(config)
	require.NoError(t, err)
	includes := func(name string) []byte {
		var text []byte
		for range 8 {
			text = append(text, "[include]\n\tpath = "+name+"\n"...)
		}
		return text
	}
	require.NoError(t, os.WriteFile(config, append(old, includes("config")...), 0o600))
	_, err = herokubuild.PlanArchive(t.Context(), dir, nil)
	requireInvalid(t, err, "dir")
	require.Error(t, gitCommand(t, dir, "status").Run(), "as in git")

	// These are not deep, but 8 to the power of 8 in number.
	names := "bcdefghi"
	require.NoError(t, os.WriteFile(config, append(old, includes("b")...), 0o600))
	for i := range names {
		next := "none"
		if i+1 < len(names) {
			next = names[i+1 : i+2]
		}
		require.NoError(t, os.WriteFile(filepath.Join(dir, ".git", names[i:i+1]), includes(next), 0o600))
	}
	_, err = herokubuild.PlanArchive(t.Context(), dir, nil)
	requireInvalid(t, err, "dir")
}

// A .slugignore that is a link to a file in the tree applies.
func TestArchiveFSSlugIgnore(t *testing.T) {
	t.Parallel()
	archive, err := herokubuild.PackFS(t.Context(), fstest.MapFS{
		".slugignore": {Data: []byte("rules"), Mode: os.ModeSymlink | 0o777}, "rules": {Data: []byte("*.psd\n")}, "a.psd": {}, "a": {},
	}, nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = archive.Close() })
	assert.Equal(t, []string{".slugignore", "a", "rules"}, namesOf(t, archive))
}
