//go:build unix

package untar

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// A deep tree can be removed with few descriptors.
func TestCleanupNeedsFewDescriptors(t *testing.T) {
	t.Parallel()
	const inner = "HEROKUBUILD_TEST_FEW_DESCRIPTORS"
	if dir := os.Getenv(inner); dir != "" {
		require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 64, Max: 64}))
		archive := archiveOf(t, dirEntry(strings.Repeat("d/", 250)), fileEntry("../evil", "x"))
		err := unpackInto(t.Context(), t, bytes.NewReader(archive), dir, defaults())
		requireKind(t, err, Unsafe)
		requireEmpty(t, dir)
		return
	}
	exe, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), exe, "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), inner+"="+t.TempDir())
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
}
