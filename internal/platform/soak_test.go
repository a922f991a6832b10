package platform_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild/internal/platform"
)

// SOAK_RUNS sets the number of builds (40 by default). Each one unpacks programs and
// runs them while others unpack theirs.
func TestSoakConcurrentBuildsRunWhatTheyUnpack(t *testing.T) {
	t.Parallel()
	runs := 40
	if text := os.Getenv("SOAK_RUNS"); text != "" {
		var err error
		runs, err = strconv.Atoi(text)
		require.NoError(t, err, "SOAK_RUNS")
	}
	opts := platform.Options{MaxConcurrentBuilds: 40}
	for i := range opts.MaxConcurrentBuilds {
		opts.Apps = append(opts.Apps, fmt.Sprint("app-", i))
	}
	// The padding makes writing a program last longer.
	padding := "\n#" + strings.Repeat("x", 256<<10) + "\n"
	needUnix(t)
	archive := targz(t,
		entry{name: "README", body: "hello"},
		entry{name: "bin/tool", body: "#!/bin/sh\necho made by a tool" + padding, mode: 0o755},
		entry{name: "bin/compile", body: "#!/bin/sh\nexec \"$1/bin/tool\"" + padding, mode: 0o755},
	)

	r := start(t, opts)
	body, err := json.Marshal(map[string]any{"source_blob": map[string]string{"url": r.upload(archive)}})
	require.NoError(t, err)
	for i := range runs {
		a := r.api("POST", "/apps/"+opts.Apps[i%len(opts.Apps)]+"/builds", string(body))
		require.Equal(t, 201, a.status, "%s", a.body)
	}
	for _, app := range opts.Apps {
		r.waitFor("the builds of "+app, func() bool {
			for _, b := range r.Builds(app) {
				if b.Status == "pending" {
					return false
				}
			}
			return true
		})
		for _, b := range r.Builds(app) {
			out, err := r.Output(b.ID)
			require.NoError(t, err)
			assert.Equal(t, "succeeded", b.Status, "%s", out)
			assert.Contains(t, string(out), "\nmade by a tool\n")
		}
	}
}
