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

	"github.com/herokubuild/herokubuild"
	"github.com/herokubuild/herokubuild/internal/peak"
	"github.com/herokubuild/herokubuild/internal/platform"
)

// deployMemory returns the peak memory of a process that deploys a tree of 1
// GiB to an emulator in this process.
func deployMemory(ctx context.Context) (measured string, err error) {
	dir, err := os.MkdirTemp("", "bench-tree-")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := writeTree(dir, 1<<30); err != nil {
		return "", err
	}
	p, err := platform.Start(platform.Options{
		MaxSourceBytes: 4 << 30,
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
		return "", err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, self, "-deploy", dir) //nolint:gosec // runs this program
	cmd.Env = append(os.Environ(), "HEROKU_API_URL="+p.URL(), "HEROKU_API_KEY="+p.Token())
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return "", err
	}
	return peak.MiB(cmd.ProcessState) + " MiB", nil
}

// deploy deploys dir. It runs in the process whose memory is measured.
func deploy(ctx context.Context, dir string) error {
	client, err := herokubuild.NewClient()
	if err != nil {
		return err
	}
	_, err = client.BuildAndRelease(ctx, herokubuild.BuildAndReleaseOptions{BuildApp: "example-app", Dir: dir, Output: io.Discard})
	return err
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
