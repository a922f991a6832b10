//go:build unix

package herokubuild_test

import (
	"archive/tar"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
)

func TestArchiveDirRunBits(t *testing.T) {
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
			archive, err := herokubuild.ArchiveDir(t.Context(), dir, nil)
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

// Deploys often run from a link: "current", or a temporary directory.
func TestArchiveDirThatIsALink(t *testing.T) {
	t.Parallel()
	dir := tree(t, file{"file", "x"}, file{"a/b", "y"})
	link := filepath.Join(t.TempDir(), "current")
	require.NoError(t, os.Symlink(dir, link))
	archive, err := herokubuild.ArchiveDir(t.Context(), link, nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = archive.Close() })
	names, _ := entries(t, archive)
	assert.Equal(t, []string{"a/b", "file"}, names)
}

func TestArchiveDirWithAPipe(t *testing.T) {
	t.Parallel()
	dir := tree(t, file{"file", "x"})
	require.NoError(t, syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600))
	_, err := herokubuild.ArchiveDir(t.Context(), dir, nil)
	requireInvalid(t, err, "dir")
	assert.Contains(t, err.Error(), `"pipe"`)
	_, err = herokubuild.ArchiveFile(t.Context(), os.DevNull)
	requireInvalid(t, err, "archive")
}
