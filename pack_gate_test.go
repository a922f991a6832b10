package herokubuild_test

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
	"github.com/herokubuild/herokubuild/herokutest"
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

// A deploy that waits for others to pack or to upload ends with its context, and its wait
// counts as packing.
func TestTheWaitForOthersEndsWithTheContext(t *testing.T) {
	t.Parallel()
	for name, occupy := range map[string]func(*herokubuild.Client, *testing.T) func(){
		"to pack": (*herokubuild.Client).OccupyPackers, "to upload": (*herokubuild.Client).OccupyArchives,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, client := startPlatform(t, platform.Options{Builder: printing("")})
			dir := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(dir, "main.go"), []byte("package main\n"), 0o600))
			leave := occupy(client, t)
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
		})
	}
}

// Many deploys of one client open few connections at once, and have few archives on disk.
func TestManyDeploysTakeTurns(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "main.go"), []byte("package main\n"), 0o600))
	synctest.Test(t, func(t *testing.T) {
		const deploys = 100
		apps := make([]string, deploys)
		for i := range apps {
			apps[i] = fmt.Sprintf("app-%d", i)
		}
		srv := herokutest.NewServer(t, &herokutest.Options{InMemory: true, Apps: apps, Faults: []herokutest.Fault{
			herokutest.Delay(herokutest.GetApp, 3*time.Second).Always(), herokutest.Delay(herokutest.Upload, 3*time.Second).Always(),
		}})
		load := &requestCounter{next: srv.Transport()}
		client := srv.Client(herokubuild.WithTransport(load))
		var all sync.WaitGroup
		for _, app := range apps {
			all.Go(func() {
				_, err := client.BuildAndRelease(t.Context(), herokubuild.BuildAndReleaseOptions{BuildApp: app, Dir: dir})
				assert.NoError(t, err)
			})
		}
		all.Wait()
		assert.Equal(t, herokubuild.MaxArchives, load.uploads.most)
		assert.Equal(t, herokubuild.MaxLookups, load.lookups.most)
	})
}

// requestCounter counts how many requests of a kind are in flight at once.
type requestCounter struct {
	next             http.RoundTripper
	uploads, lookups inFlight
}

// RoundTrip implements http.RoundTripper.
func (c *requestCounter) RoundTrip(req *http.Request) (*http.Response, error) {
	switch {
	case req.Method == http.MethodPut:
		defer c.uploads.enter()()
	case req.Method == http.MethodGet && strings.Count(req.URL.Path, "/") == 2:
		defer c.lookups.enter()()
	}
	return c.next.RoundTrip(req)
}

type inFlight struct {
	mu        sync.Mutex
	now, most int
}

func (f *inFlight) enter() (leave func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now++
	f.most = max(f.most, f.now)
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.now--
	}
}

// However long the packing of each takes, no more archives are on disk than allowed.
func TestArchivesThatWaitToBePackedCount(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		packers := herokubuild.NewPackers()
		work := func(d time.Duration, progress func()) {
			for range d / time.Second {
				time.Sleep(time.Second)
				progress()
			}
		}
		var onDisk inFlight
		var all sync.WaitGroup
		for range 10 * herokubuild.MaxArchives {
			all.Go(func() {
				err := packers.Use(t.Context(), func(progress func()) {
					work(15*time.Second, progress)
				}, func(progress func()) {
					defer onDisk.enter()()
					work(10*time.Minute, progress)
				})
				assert.NoError(t, err)
			})
		}
		all.Wait()
		assert.Equal(t, herokubuild.MaxArchives, onDisk.most)
	})
}

// A resumed deploy has no archive, so that it does not wait for the uploads of others.
func TestResumedDeployWaitsForNoUpload(t *testing.T) {
	t.Parallel()
	dir := sourceDir(t, map[string]string{"Procfile": "web: x\n"})
	synctest.Test(t, func(t *testing.T) {
		client := herokutest.NewServer(t, &herokutest.Options{Apps: []string{"shop"}, InMemory: true}).Client()
		opts := herokubuild.BuildAndReleaseOptions{BuildApp: "shop", Dir: dir}
		opts.OnEvent = func(_ context.Context, e herokubuild.DeployEvent) error {
			if e.Kind == herokubuild.EventBuildCreated {
				return herokubuild.ErrDetached
			}
			return nil
		}
		_, err := client.BuildAndRelease(t.Context(), opts)
		require.ErrorIs(t, err, herokubuild.ErrDetached)
		opts.Checkpoint, opts.OnEvent = checkpointOf(t, err), nil
		leave := client.OccupyArchives(t)
		defer leave()
		began := time.Now()
		_, err = client.BuildAndRelease(t.Context(), opts)
		require.NoError(t, err)
		assert.Less(t, time.Since(began), herokubuild.GatePatience)
	})
}
