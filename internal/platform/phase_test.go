package platform_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild/internal/platform"
)

// compiled is a Builder that prints a line, and builds nothing.
func compiled(_ context.Context, j *platform.Job) error {
	_, err := j.Output.Write([]byte("compiled\n"))
	return err
}

// phaseOf releases an archive with a release phase and returns the final release
// and its output.
func (r *rig) phaseOf(archive []byte) (release map[string]any, output string) {
	r.t.Helper()
	build, out := r.built(r.build("example-app", archive))
	require.Equal(r.t, "succeeded", build["status"], out)
	release = r.settled("/apps/example-app/releases/" + build["release"].(map[string]any)["id"].(string))
	return release, string(r.send("GET", release["output_stream_url"].(string), nil).body)
}

func TestCustomReleasePhaseNeedsNoSlug(t *testing.T) {
	t.Parallel()
	phases := make(chan *platform.Phase, 1)
	r := start(t, platform.Options{
		Builder: platform.BuilderFunc(compiled),
		ReleasePhase: func(_ context.Context, ph *platform.Phase) error {
			phases <- ph
			_, err := ph.Output.Write([]byte("migrated\n"))
			return err
		},
	})
	require.NoError(t, r.SetConfigVars("example-app", map[string]string{"DATABASE_URL": "db"}))
	v, out := r.phaseOf(targz(t, entry{name: "Procfile", body: "release: bin/migrate --all\n"}))
	assert.Equal(t, "succeeded", v["status"])
	assert.Equal(t, "migrated\n", out)
	ph := <-phases
	assert.Equal(t, "example-app", ph.AppName)
	assert.Equal(t, r.AppID("example-app"), ph.AppID)
	assert.Equal(t, v["id"], ph.ReleaseID)
	assert.Equal(t, 3, ph.Version)
	assert.Equal(t, "bin/migrate --all", ph.Command)
	assert.Equal(t, map[string]string{"DATABASE_URL": "db"}, ph.Env)
}

func TestCustomReleasePhaseFails(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		phase platform.ReleasePhaseFunc
		want  string
	}{
		"error": {
			phase: func(context.Context, *platform.Phase) error { return errors.New("no such table: users") },
			want:  "\n !     no such table: users\n",
		},
		"program that cannot be started": {
			phase: func(ctx context.Context, ph *platform.Phase) error { return ph.Run(ctx, nil, "no-such-program") },
			want:  "no-such-program",
		},
		"goroutine that ends": {
			phase: func(context.Context, *platform.Phase) error { runtime.Goexit(); return nil },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := start(t, platform.Options{Builder: platform.BuilderFunc(compiled), ReleasePhase: tt.phase})
			v, out := r.phaseOf(targz(t, entry{name: "Procfile", body: "release: true\n"}))
			assert.Equal(t, "failed", v["status"])
			assert.Contains(t, out, tt.want)
		})
	}
}

func TestReleasePhaseUnpacksTheSlugOnce(t *testing.T) {
	t.Parallel()
	dirs := make(chan string, 2)
	r := start(t, platform.Options{
		Builder: platform.BuilderFunc(compiled),
		ReleasePhase: func(ctx context.Context, ph *platform.Phase) error {
			for range 2 {
				dir, err := ph.Unpack(ctx)
				if err != nil {
					return err
				}
				dirs <- dir
			}
			text, err := os.ReadFile(filepath.Join(<-dirs, "Procfile"))
			if err != nil {
				return err
			}
			_, err = ph.Output.Write(text)
			return err
		},
	})
	_, out := r.phaseOf(targz(t, entry{name: "Procfile", body: "release: migrate\n"}))
	assert.Equal(t, "release: migrate\n", out)
	r.waitForRemoval(<-dirs)
}

func TestReleasePhaseIsComposedWithTheDefault(t *testing.T) {
	t.Parallel()
	needUnix(t)
	r := start(t, platform.Options{
		Builder: platform.BuilderFunc(compiled),
		ReleasePhase: func(ctx context.Context, ph *platform.Phase) error {
			ph.Command = "echo before; " + ph.Command
			return platform.DefaultReleasePhase(ctx, ph)
		},
	})
	v, out := r.phaseOf(targz(t, entry{name: "Procfile", body: "release: echo ran; exit 3\n"}))
	assert.Equal(t, "failed", v["status"])
	assert.Equal(t, "before\nran\n", out, "an exit status has no text")
}
