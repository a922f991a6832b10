package herokubuild_test

import (
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// needGit skips a test where git is not installed.
func needGit(t testing.TB) {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("needs git, which is not installed")
	}
}

// isolateGit gives a test a home directory of its own, in which it may put
// settings of git. TestMain has kept the machine's away from all tests.
func isolateGit(t testing.TB) {
	t.Helper()
	needGit(t)
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("USERPROFILE", home)
}

// git runs git in a directory.
func git(t testing.TB, dir string, args ...string) string {
	t.Helper()
	out, err := gitCommand(t, dir, args...).CombinedOutput()
	require.NoError(t, err, "git %q: %s", args, out)
	return string(out)
}

// gitCommand is the one way in which tests run git, so that none fails for want
// of it.
func gitCommand(t testing.TB, dir string, args ...string) *exec.Cmd {
	t.Helper()
	needGit(t)
	return exec.CommandContext(t.Context(), "git", append([]string{"-c", "protocol.file.allow=always", "-C", dir}, args...)...)
}
