package herokubuild_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
)

// released returns the Checkpoint of the nth release of a rollout.
func released(t testing.TB, c herokubuild.Checkpoint, n int) herokubuild.Checkpoint {
	c, err := c.Apply(json.RawMessage(fmt.Sprintf(`{"apps":{"app-%d":%q},"releases":{"app-%d":%q}}`, n, appID, n, releaseID)))
	require.NoError(t, err)
	return c
}

func TestCheckpointFileGrowsByWhatHasChanged(t *testing.T) {
	t.Parallel()
	file := herokubuild.CheckpointFile(filepath.Join(t.TempDir(), "rollout.json"))
	failing := errors.New("next")
	var nextErr error
	onEvent := file.OnEvent(func(context.Context, herokubuild.DeployEvent) error { return nextErr })
	c := herokubuild.Checkpoint{ArtifactID: slugID, Token: "t"}
	require.NoError(t, onEvent(t.Context(), herokubuild.DeployEvent{Kind: herokubuild.EventPhase, Checkpoint: c}))
	replaced := 0
	last, err := os.Stat(string(file))
	require.NoError(t, err)
	for n := range 1500 {
		c = released(t, c, n)
		require.NoError(t, onEvent(t.Context(), herokubuild.DeployEvent{Kind: herokubuild.EventReleaseCreated, Checkpoint: c}))
		now, err := os.Stat(string(file))
		require.NoError(t, err)
		if !os.SameFile(last, now) {
			replaced++
		}
		if last = now; n%300 == 0 {
			loaded, err := file.Load()
			require.NoError(t, err)
			require.Equal(t, contentOf(c), contentOf(loaded))
		}
	}
	assert.Less(t, replaced, 8, "the whole file is rarely written")
	assert.Less(t, last.Size(), int64(4*len(c.String())+(128<<10)))

	require.NoError(t, onEvent(t.Context(), herokubuild.DeployEvent{Kind: herokubuild.EventReleaseDone, Checkpoint: c}))
	now, err := os.Stat(string(file))
	require.NoError(t, err)
	assert.Equal(t, last.Size(), now.Size(), "nothing has changed")

	nextErr = failing
	require.ErrorIs(t, onEvent(t.Context(), herokubuild.DeployEvent{Kind: herokubuild.EventReleaseDone}), failing)
	require.NoFileExists(t, string(file), "there is nothing to resume")
}

// A process that is killed while it appends leaves a part of the last line.
func TestCheckpointFileIgnoresALineThatWasCutOff(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "rollout.json")
	file := herokubuild.CheckpointFile(path)
	onEvent := file.OnEvent(nil)
	first := herokubuild.Checkpoint{ArtifactID: slugID}
	second := released(t, first, 1)
	for _, c := range []herokubuild.Checkpoint{first, second} {
		require.NoError(t, onEvent(t.Context(), herokubuild.DeployEvent{Kind: herokubuild.EventReleaseCreated, Checkpoint: c}))
	}
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	start := len(first.String()) + 1
	for size := start; size < len(whole)-2; size++ {
		for _, tail := range []string{"", "\x00\x00\x00"} {
			require.NoError(t, os.WriteFile(path, append(whole[:size:size], tail...), 0o600))
			got, err := file.Load()
			require.NoError(t, err)
			require.Equal(t, contentOf(first), contentOf(got), size)
		}
	}
	require.NoError(t, os.WriteFile(path, append(whole[:len(whole)-3:len(whole)-3], "\n{}\n"...), 0o600))
	_, err = file.Load()
	require.Error(t, err, "a damaged line that is not the last one")
}

// Somebody else's file is replaced and not appended to.
func TestCheckpointFileReplacesAFileThatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "rollout.json")
	file := herokubuild.CheckpointFile(path)
	c := herokubuild.Checkpoint{ArtifactID: slugID}
	n := 0
	for _, change := range []func() error{
		func() error { return nil },
		func() error { return file.Save(herokubuild.Checkpoint{ArtifactID: releaseID}) },
		func() error { return os.Remove(path) },
		func() error {
			text, err := os.ReadFile(path)
			return errors.Join(err, os.WriteFile(path, append(text, "{\"slug\":null}\n"...), 0o600))
		},
	} {
		onEvent := file.OnEvent(nil)
		for range 3 {
			require.NoError(t, onEvent(t.Context(), herokubuild.DeployEvent{Kind: herokubuild.EventReleaseCreated, Checkpoint: c}))
			n++
			c = released(t, c, n)
			require.NoError(t, change())
			require.NoError(t, onEvent(t.Context(), herokubuild.DeployEvent{Kind: herokubuild.EventReleaseCreated, Checkpoint: c}))
			got, err := file.Load()
			require.NoError(t, err)
			require.Equal(t, contentOf(c), contentOf(got))
		}
	}
}
