//go:build unix

package platform

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestFilesCanBeExecutedRightAfterTheyAreWritten(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	require.NoError(t, err)
	defer root.Close() //nolint:errcheck
	script := "#!/bin/sh\n#" + strings.Repeat("x", 256<<10)
	var running sync.WaitGroup
	for i := range 8 {
		running.Go(func() {
			for j := range 25 {
				name := fmt.Sprint(i, "-", j)
				if !assert.NoError(t, writeFile(root, name, 0o700, strings.NewReader(script))) {
					return
				}
				out, err := exec.CommandContext(t.Context(), filepath.Join(dir, name)).CombinedOutput()
				if !assert.NoError(t, err, "%s", bytes.TrimSpace(out)) {
					return
				}
			}
		})
	}
	running.Wait()
}
