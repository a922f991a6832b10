package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/herokubuild/herokubuild"
	"github.com/herokubuild/herokubuild/internal/peak"
	"github.com/herokubuild/herokubuild/internal/platform"
)

// load is what a process whose memory is measured deploys: a tree of some size, in a
// number of calls at once with one client, of which some deploy and the others wait.
type load struct {
	tree           int64
	calls, deploys int
}

// deployMemory returns the peak memory of a process that deploys to an emulator in this
// process, and how long that took.
func deployMemory(ctx context.Context, l load) (measured string, took time.Duration, err error) {
	dir, err := os.MkdirTemp("", "bench-tree-")
	if err != nil {
		return "", 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := writeTree(dir, l.tree); err != nil {
		return "", 0, err
	}
	apps := make([]string, l.calls)
	for i := range apps {
		apps[i] = appName(i)
	}
	p, err := platform.Start(platform.Options{
		MaxSourceBytes: 4 << 30, Apps: apps,
		// Packing a slug would only take time.
		Builder: platform.BuilderFunc(func(_ context.Context, j *platform.Job) error {
			parts, err := filepath.Glob(filepath.Join(j.BuildDir, "*"))
			for _, part := range parts {
				err = errors.Join(err, os.RemoveAll(part))
			}
			return err
		}),
	})
	if err != nil {
		return "", 0, err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	self, err := os.Executable()
	if err != nil {
		return "", 0, err
	}
	cmd := exec.CommandContext(ctx, self, "-deploy", dir, "-calls", strconv.Itoa(l.calls), "-deploys", strconv.Itoa(l.deploys)) //nolint:gosec // runs this program
	cmd.Env = append(os.Environ(), "HEROKU_API_URL="+p.URL(), "HEROKU_API_KEY="+p.Token())
	cmd.Stderr = os.Stderr
	began := time.Now()
	if err := cmd.Run(); err != nil {
		return "", 0, err
	}
	return peak.MiB(cmd.ProcessState) + " MiB", time.Since(began), nil
}

func appName(i int) string { return fmt.Sprintf("bench-app-%d", i) }

// deploy deploys dir in several calls at once, until some have succeeded. The others wait:
// a call that packs after that many have holds the rest up. It runs in the process whose
// memory is measured.
func deploy(ctx context.Context, dir string, calls, deploys int) error {
	client, err := herokubuild.NewClient()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var packed atomic.Int64
	hold := func(_ context.Context, e herokubuild.DeployEvent) error {
		if e.Kind == herokubuild.EventPacked && packed.Add(1) > int64(deploys) {
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	}
	errs := make(chan error, calls)
	for i := range calls {
		go func() {
			_, err := client.BuildAndRelease(ctx, herokubuild.BuildAndReleaseOptions{BuildApp: appName(i), Dir: dir, Output: io.Discard, OnEvent: hold})
			errs <- err
		}()
	}
	for range deploys {
		if err := <-errs; err != nil {
			return err
		}
	}
	cancel()
	for range calls - deploys {
		if err := <-errs; err != nil && !errors.Is(err, context.Canceled) {
			return err
		}
	}
	return nil
}

// writeTree writes incompressible files of 1 KiB to 16 MiB.
func writeTree(dir string, bytes int64) error {
	r := rand.NewChaCha8([32]byte{1})
	for n := 0; bytes > 0; n++ {
		size := min(bytes, 1<<(10+n%15))
		bytes -= size
		f, err := os.Create(filepath.Join(dir, fmt.Sprint("f", n))) //nolint:gosec // in a temporary directory
		if err != nil {
			return err
		}
		_, err = io.CopyN(f, r, size)
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return nil
}
