package sourcetree

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func runGit(t *testing.T, dir string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed")
	}
	args = append([]string{"-C", dir, "-c", "protocol.file.allow=always"}, args...)
	out, err := exec.CommandContext(t.Context(), "git", args...).CombinedOutput()
	require.NoError(t, err, "git %q: %s", args, out)
	return strings.TrimSpace(string(out))
}

func writeFile(t *testing.T, dir, name, content string) {
	t.Helper()
	path := filepath.Join(dir, filepath.FromSlash(name))
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(content), 0o644))
}

// commitFiles returns a repository with the files a, sub/b and .gitignore, and its
// commit.
func commitFiles(t *testing.T) (dir, commit string) {
	t.Helper()
	dir = t.TempDir()
	writeFile(t, dir, "a", "a\n")
	writeFile(t, dir, "sub/b", "b\n")
	writeFile(t, dir, ".gitignore", "*.log\n")
	runGit(t, dir, "init", "-q")
	runGit(t, dir, "add", ".")
	runGit(t, dir, "commit", "-q", "-m", "x")
	return dir, runGit(t, dir, "rev-parse", "HEAD")
}

func TestVersion(t *testing.T) {
	t.Parallel()
	const commit, dirty, none = "commit", "dirty", "none"
	for name, tt := range map[string]struct {
		change func(t *testing.T, dir string)
		at     string
		want   string
	}{
		"unchanged":                   {want: commit},
		"unchanged directory":         {at: "sub", want: commit},
		"changed":                     {change: func(t *testing.T, dir string) { writeFile(t, dir, "a", "changed\n") }, want: dirty},
		"changed elsewhere":           {change: func(t *testing.T, dir string) { writeFile(t, dir, "a", "changed\n") }, at: "sub", want: commit},
		"staged":                      {change: func(t *testing.T, dir string) { writeFile(t, dir, "new", "x"); runGit(t, dir, "add", "new") }, want: dirty},
		"staged elsewhere":            {change: func(t *testing.T, dir string) { writeFile(t, dir, "new", "x"); runGit(t, dir, "add", "new") }, at: "sub", want: commit},
		"untracked":                   {change: func(t *testing.T, dir string) { writeFile(t, dir, "new", "x") }, want: dirty},
		"ignored":                     {change: func(t *testing.T, dir string) { writeFile(t, dir, "new.log", "x") }, want: commit},
		"deleted":                     {change: func(t *testing.T, dir string) { require.NoError(t, os.Remove(filepath.Join(dir, "sub", "b"))) }, want: dirty},
		"a directory without commit":  {change: func(t *testing.T, dir string) { writeFile(t, dir, "new/x", "x") }, at: "new", want: none},
		"an ignored nested directory": {change: func(t *testing.T, dir string) { writeFile(t, dir, "x.log/y", "x") }, at: "x.log", want: none},
		"tracked file is now a directory": {change: func(t *testing.T, dir string) {
			require.NoError(t, os.Remove(filepath.Join(dir, "a")))
			require.NoError(t, os.Mkdir(filepath.Join(dir, "a"), 0o755))
		}, want: dirty},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, head := commitFiles(t)
			if tt.change != nil {
				tt.change(t, dir)
			}
			got, err := Version(t.Context(), filepath.Join(dir, tt.at))
			require.NoError(t, err)
			assert.Equal(t, map[string]string{commit: head, dirty: head + Dirty, none: ""}[tt.want], got)
		})
	}
}

func TestVersionOfASubmodule(t *testing.T) {
	t.Parallel()
	library, _ := commitFiles(t)
	dir, _ := commitFiles(t)
	runGit(t, dir, "submodule", "--quiet", "add", library, "lib")
	runGit(t, dir, "commit", "-q", "-m", "submodule")
	head := runGit(t, dir, "rev-parse", "HEAD")
	got, err := Version(t.Context(), dir)
	require.NoError(t, err)
	assert.Equal(t, head, got)

	writeFile(t, dir, "lib/a", "changed\n")
	got, err = Version(t.Context(), dir)
	require.NoError(t, err)
	assert.Equal(t, head+Dirty, got)
}

func TestVersionWithoutARepository(t *testing.T) {
	t.Parallel()
	version, err := Version(t.Context(), t.TempDir())
	require.NoError(t, err)
	assert.Empty(t, version)
	_, err = Version(t.Context(), filepath.Join(t.TempDir(), "missing"))
	requireInput(t, err, "dir")

	dir, _ := commitFiles(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = Version(ctx, dir)
	require.ErrorIs(t, err, context.Canceled)
}
