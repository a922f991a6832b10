package herokubuild_test

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
	"github.com/herokubuild/herokubuild/internal/platform"
)

// Many deploys of one client share few compressors: what each allocates is a part of what
// one that packs alone does.
func TestManyDeploysShareCompressors(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "main.go"), make([]byte, 3<<20), 0o600))
	client := herokubuild.NewPackers()
	pack := func(pack func() (*herokubuild.Archive, error)) uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		archive, err := pack()
		runtime.ReadMemStats(&after)
		require.NoError(t, err)
		require.NoError(t, archive.Close())
		return after.TotalAlloc - before.TotalAlloc
	}
	alone := pack(func() (*herokubuild.Archive, error) { return herokubuild.PackDir(t.Context(), dir, nil) })
	shared := uint64(math.MaxUint64)
	for range 10 {
		// A collection in between frees the buffers.
		shared = min(shared, pack(func() (*herokubuild.Archive, error) { return client.PackDir(t.Context(), dir) }))
	}
	assert.Less(t, shared, alone/2)
}

// A deploy that waits for others to pack ends with its context, and its wait counts as
// packing.
func TestTheWaitForOthersToPackEndsWithTheContext(t *testing.T) {
	t.Parallel()
	_, client := startPlatform(t, platform.Options{Builder: printing("")})
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "main.go"), []byte("package main\n"), 0o600))
	leave := client.OccupyPackers(t)
	ctx, cancel := context.WithCancel(t.Context())
	opts := herokubuild.BuildAndReleaseOptions{BuildApp: "example-app", Dir: dir, OnEvent: func(_ context.Context, e herokubuild.DeployEvent) error {
		if e.Phase == herokubuild.PhasePack {
			time.AfterFunc(50*time.Millisecond, cancel)
		}
		return nil
	}}
	result, err := client.BuildAndRelease(ctx, opts)
	require.ErrorIs(t, err, context.Canceled)
	var failed *herokubuild.DeployError
	require.ErrorAs(t, err, &failed)
	assert.Equal(t, herokubuild.PhasePack, failed.Phase)
	assert.Positive(t, result.Durations.Pack)
	_, err = client.Slugs.CreateFromDir(ctx, "example-app", dir, &herokubuild.SlugDirOptions{ProcessTypes: map[string]string{"web": "x"}})
	require.ErrorIs(t, err, context.Canceled)

	leave()
	opts.OnEvent = nil
	_, err = client.BuildAndRelease(t.Context(), opts)
	require.NoError(t, err)
}
