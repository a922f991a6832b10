//go:build unix

package platform

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

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
				var out []byte
				err := writeFile(root, name, 0o700, strings.NewReader(script))
				if err == nil {
					out, err = exec.CommandContext(t.Context(), filepath.Join(dir, name)).CombinedOutput()
				}
				if err != nil {
					t.Errorf("%v: %s", err, out)
					return
				}
			}
		})
	}
	running.Wait()
}
