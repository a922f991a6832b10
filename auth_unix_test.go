//go:build unix

package herokubuild_test

import (
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
)

// Opening a pipe that has no writer would block without an end.
func TestNetrcIsAPipe(t *testing.T) {
	withoutCredentials(t)
	path := filepath.Join(t.TempDir(), "pipe")
	require.NoError(t, syscall.Mkfifo(path, 0o600))
	t.Setenv("NETRC", path)
	_, err := herokubuild.NewClient()
	requireInvalid(t, err, "netrc")
}

func TestCheckpointFileIsAPipe(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "pipe")
	require.NoError(t, syscall.Mkfifo(path, 0o600))
	_, err := herokubuild.CheckpointFile(path).Load()
	require.Error(t, err)
}
