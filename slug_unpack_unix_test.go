//go:build unix

package herokubuild_test

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
)

// What was unpacked can be removed with few descriptors, however deep it is.
func TestUnpackSlugRemovesWithFewDescriptors(t *testing.T) {
	t.Parallel()
	const inner = "HEROKUBUILD_TEST_FEW_DESCRIPTORS"
	if dir := os.Getenv(inner); dir != "" {
		require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 64, Max: 64}))
		archive := slugOf(t, dirEntry(strings.Repeat("d/", 250)), fileEntry("../evil", "x"))
		err := herokubuild.UnpackSlug(t.Context(), bytes.NewReader(archive), dir, nil)
		require.ErrorIs(t, err, herokubuild.ErrUnsafeArchive)
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
