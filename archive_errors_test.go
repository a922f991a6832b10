package herokubuild_test

import (
	"io/fs"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
)

// The error of an unreadable file names the file and the cause.
func TestArchiveErrorsHaveTheirCause(t *testing.T) {
	isolateGit(t)
	dir := repo(t)
	write(t, dir, "a", "x")
	write(t, dir, ".git/config", "[core\n")
	_, err := herokubuild.PlanArchive(t.Context(), dir, nil)
	assert.Contains(t, requireInvalid(t, err, "dir").Error(), "line 1")
	_, err = herokubuild.TreeVersion(t.Context(), dir)
	requireInvalid(t, err, "dir")

	_, err = herokubuild.NewArchive([]byte("no archive"))
	bad := requireInvalid(t, err, "archive")
	assert.Contains(t, bad.Error(), bad.Err.Error())
	path := filepath.Join(t.TempDir(), "none.tgz")
	_, err = herokubuild.OpenArchive(t.Context(), path)
	requireInvalid(t, err, "archive")
	require.ErrorIs(t, err, fs.ErrNotExist)
	var cause *fs.PathError
	require.ErrorAs(t, err, &cause)
	assert.Contains(t, err.Error(), cause.Err.Error())
}
