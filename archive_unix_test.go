//go:build unix

package herokubuild_test

import (
	"archive/tar"
	"bytes"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
)

func TestArchiveDirExecutableBits(t *testing.T) {
	t.Parallel()
	modes := map[string]os.FileMode{"all": 0o777, "owner": 0o700, "group": 0o654, "none": 0o600, "read": 0o444}
	dir := t.TempDir()
	for name, mode := range modes {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
		require.NoError(t, os.Chmod(filepath.Join(dir, name), mode))
	}
	_, byName := entries(t, pack(t, dir))
	for name, mode := range modes {
		want := int64(0o644)
		if mode&0o111 != 0 {
			want = 0o755
		}
		assert.Equal(t, want, byName[name].header.Mode, name)
	}
}

func TestArchiveDirLinks(t *testing.T) {
	t.Parallel()
	for target, ok := range map[string]bool{
		"../file": true, "file": true, "./x/../../file": true, "missing": true, "..": true, "../a": true,
		"../..": false, "../../file": false, "/etc/passwd": false, "x/../../../file": false,
	} {
		t.Run(target, func(t *testing.T) {
			t.Parallel()
			dir := tree(t, file{"file", "x"}, file{"a/file", "y"})
			require.NoError(t, os.Symlink(target, filepath.Join(dir, "a", "link")))
			archive, err := herokubuild.PackDir(t.Context(), dir, nil)
			if !ok {
				assert.Nil(t, archive)
				requireInvalid(t, err, "dir")
				assert.Contains(t, err.Error(), `"a/link"`)
				assert.Contains(t, err.Error(), target)
				return
			}
			require.NoError(t, err)
			t.Cleanup(func() { _ = archive.Close() })
			_, byName := entries(t, archive)
			link := byName["a/link"].header
			require.NotNil(t, link)
			assert.EqualValues(t, tar.TypeSymlink, link.Typeflag)
			assert.Equal(t, target, link.Linkname)
		})
	}
}

// The directory itself may be a link, such as "current".
func TestArchiveDirThatIsALink(t *testing.T) {
	t.Parallel()
	dir := tree(t, file{"file", "x"}, file{"a/b", "y"})
	link := filepath.Join(t.TempDir(), "current")
	require.NoError(t, os.Symlink(dir, link))
	archive, err := herokubuild.PackDir(t.Context(), link, nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = archive.Close() })
	names, _ := entries(t, archive)
	assert.Equal(t, []string{"a/b", "file"}, names)
}

func TestArchiveDirWithAPipe(t *testing.T) {
	t.Parallel()
	dir := tree(t, file{"file", "x"})
	require.NoError(t, syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600))
	_, err := herokubuild.PackDir(t.Context(), dir, nil)
	requireInvalid(t, err, "dir")
	assert.Contains(t, err.Error(), `"pipe"`)
	_, err = herokubuild.OpenArchive(t.Context(), os.DevNull)
	requireInvalid(t, err, "archive")
}

// Heroku unpacks with GNU tar.
func TestGNUTarUnpacks(t *testing.T) {
	t.Parallel()
	if out, err := exec.CommandContext(t.Context(), "tar", "--version").Output(); err != nil || !strings.Contains(string(out), "GNU tar") {
		t.Skip("GNU tar is not installed")
	}
	long := strings.Repeat("long-name-", 20)
	dir := tree(t, file{"plain", "x"}, file{"empty", ""}, file{long, "l"}, file{strings.Repeat("deep-directory/", 30) + long, "d"}, file{"é/日本/файл", "u"}, file{"\xff\xfe latin", "r"},
		file{"new\nline", "n"}, file{" space ", "s"}, file{"-rf", "r"}, file{"a*?[]\\", "g"}, file{"big", random(2_000_000)}, file{"run", "#!/bin/sh\n"}, file{"a/run", ""})
	require.NoError(t, os.Chmod(filepath.Join(dir, "run"), 0o755))
	require.NoError(t, os.Chmod(filepath.Join(dir, "a", "run"), 0o700))
	for link, target := range map[string]string{"link": "plain", "a/up": "../plain", "dangling": "nowhere", "todir": "a", "long": long, "é/ü": "日本", "toolong": strings.Repeat("x/", 80) + "y"} {
		require.NoError(t, os.Symlink(target, filepath.Join(dir, link)))
	}
	into := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "tar", "xzf", "-", "-C", into)
	cmd.Stdin = bytes.NewReader(contents(t, pack(t, dir)))
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	assert.Empty(t, string(out), "tar prints no warning")

	type found struct {
		content, link string
		run           bool
	}
	list := func(root string) map[string]found {
		all := map[string]found{}
		require.NoError(t, filepath.WalkDir(root, func(path string, e os.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			rel, _ := filepath.Rel(root, path)
			info, err := e.Info()
			if err != nil {
				return err
			}
			if info.Mode()&os.ModeSymlink != 0 {
				target, err := os.Readlink(path)
				all[rel] = found{link: target}
				return err
			}
			b, err := os.ReadFile(path)
			all[rel] = found{content: string(b), run: info.Mode()&0o111 != 0}
			return err
		}))
		return all
	}
	assert.Equal(t, list(dir), list(into))
}

func TestArchiveFollowSymlinks(t *testing.T) {
	t.Parallel()
	shared := tree(t, file{"lib/a", "a"}, file{"lib/.gitignore", "*.o\n"}, file{"lib/x.o", ""}, file{"file", "f"}, file{"elsewhere", "e"})
	require.NoError(t, os.Symlink("a", filepath.Join(shared, "lib", "inside")))
	require.NoError(t, os.Symlink("../elsewhere", filepath.Join(shared, "lib", "outside")))
	require.NoError(t, os.Chmod(filepath.Join(shared, "file"), 0o755))
	dir := tree(t, file{"main", "m"}, file{"z", "z"})
	for name, target := range map[string]string{"lib": filepath.Join(shared, "lib"), "one": filepath.Join(shared, "file"), "kept": "main"} {
		require.NoError(t, os.Symlink(target, filepath.Join(dir, name)))
	}
	_, err := herokubuild.PackDir(t.Context(), dir, nil)
	requireInvalid(t, err, "dir")

	follow := &herokubuild.PackOptions{FollowSymlinks: true}
	archive := packWith(t, dir, follow)
	names, byName := entries(t, archive)
	assert.Equal(t, []string{"kept", "lib/.gitignore", "lib/a", "lib/inside", "lib/outside", "main", "one", "z"}, names)
	assert.Equal(t, "main", byName["kept"].header.Linkname)
	assert.Equal(t, "a", byName["lib/inside"].header.Linkname)
	assert.Equal(t, "e", byName["lib/outside"].content)
	assert.EqualValues(t, 0o755, byName["one"].header.Mode)
	plan, err := herokubuild.PlanArchive(t.Context(), dir, follow)
	require.NoError(t, err)
	assert.Equal(t, archive.Plan, plan)

	for name, target := range map[string]string{"nowhere": "/no/such/file", "device": os.DevNull, "itself": dir, "above": filepath.Dir(dir)} {
		t.Run(name, func(t *testing.T) {
			bad := tree(t, file{"a", ""})
			switch name {
			case "itself":
				target = bad
			case "above":
				target = filepath.Dir(bad)
			}
			require.NoError(t, os.Symlink(target, filepath.Join(bad, "link")))
			_, err := herokubuild.PackDir(t.Context(), bad, follow)
			assert.Contains(t, requireInvalid(t, err, "dir").Error(), `"link"`)
		})
	}
}

// A link can lead out by way of another that does not.
func TestArchiveDirLinkThatLeadsOutByAnother(t *testing.T) {
	t.Parallel()
	dir := tree(t, file{"a/b/c", ""}, file{"x/y/z", ""})
	require.NoError(t, os.Symlink("../..", filepath.Join(dir, "a", "b", "top")))
	require.NoError(t, os.Symlink("top/../secret", filepath.Join(dir, "a", "b", "out")))
	_, err := herokubuild.PackDir(t.Context(), dir, nil)
	assert.Contains(t, requireInvalid(t, err, "dir").Error(), `"a/b/out"`)

	loop := tree(t, file{"a", ""})
	require.NoError(t, os.Symlink("two", filepath.Join(loop, "one")))
	require.NoError(t, os.Symlink("one", filepath.Join(loop, "two")))
	names, _ := entries(t, pack(t, loop))
	assert.Equal(t, []string{"a", "one", "two"}, names, "a loop does not lead out")
}

// On a full disk, the temporary file is removed and all goroutines end.
func TestArchiveDirOnAFullDisk(t *testing.T) {
	t.Parallel()
	dir := tree(t, file{"big", random(5_000_000)}, file{"other", "x"})
	limited := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestArchiveInALimitedProcess$")
	limited.Env = append(os.Environ(), "ARCHIVE_LIMITED="+dir)
	out, err := limited.CombinedOutput()
	require.NoError(t, err, string(out))
	assert.Contains(t, string(out), "PASS")
}

func TestArchiveInALimitedProcess(t *testing.T) {
	dir := os.Getenv("ARCHIVE_LIMITED")
	if dir == "" {
		return // It is a part of the test above.
	}
	// The limit makes writes fail with EFBIG; its signal is ignored.
	signal.Ignore(syscall.SIGXFSZ)
	limit := syscall.Rlimit{Cur: 1 << 20, Max: 1 << 20}
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit))
	temp := t.TempDir()
	// The bubble fails if a goroutine is left.
	synctest.Test(t, func(t *testing.T) {
		_, err := herokubuild.PackDir(t.Context(), dir, &herokubuild.PackOptions{TempDir: temp})
		require.ErrorIs(t, err, syscall.EFBIG)
		require.NotErrorIs(t, err, herokubuild.ErrInvalidArgument)
	})
	left, err := os.ReadDir(temp)
	require.NoError(t, err)
	assert.Empty(t, left)
}
