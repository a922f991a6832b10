package herokubuild_test

import (
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
)

// In a file system the modes decide, whatever the content.
func TestArchiveFSUsesTheModesOfTheFileSystem(t *testing.T) {
	t.Parallel()
	archive, err := herokubuild.PackFS(t.Context(), fstest.MapFS{
		"bin/web": {Data: []byte("\x7fELF..."), Mode: 0o755}, "bin/data": {Data: []byte("\x7fELF..."), Mode: 0o644}, "plain.sh": {Data: []byte("#!/bin/sh\n"), Mode: 0o644}, "run.sh": {Data: []byte("#!/bin/sh\n"), Mode: 0o700},
	}, nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = archive.Close() })
	_, byName := entries(t, archive)
	for name, want := range map[string]int64{"bin/web": 0o755, "bin/data": 0o644, "plain.sh": 0o644, "run.sh": 0o755} {
		assert.Equal(t, want, byName[name].header.Mode, name)
	}
}

// Without executable bits, scripts and programs are executable.
func TestArchiveWithoutExecutableBits(t *testing.T) {
	isolateGit(t)
	dir := repo(t)
	write(t, dir, "tracked.sh", "#!/bin/sh\n")
	write(t, dir, "tracked", "\x7fELF...")
	git(t, dir, "add", "-A")
	git(t, dir, "update-index", "--chmod=-x", "tracked", "tracked.sh")
	git(t, dir, "update-index", "--chmod=+x", "tracked")
	git(t, dir, "config", "core.fileMode", "false")
	write(t, dir, ".gitignore", "bin/\n")
	write(t, dir, "bin/web", "\x7fELF...")
	write(t, dir, "bin/run", "#!/bin/sh\n")
	write(t, dir, "bin/short", "\x7fEL")
	write(t, dir, "text", "ELF")
	_, byName := entries(t, packWith(t, dir, &herokubuild.PackOptions{Include: []string{"bin/"}}))
	for name, want := range map[string]int64{"tracked.sh": 0o644, "tracked": 0o755, "bin/web": 0o755, "bin/run": 0o755, "bin/short": 0o644, "text": 0o644} {
		require.Contains(t, byName, name)
		assert.Equal(t, want, byName[name].header.Mode, name)
	}
}
