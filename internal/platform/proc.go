package platform

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"runtime"
	"time"
)

// drain is how long the rest of the output may take after the end of a program.
const drain = 2 * time.Second

// baseEnv is all that a child gets of the environment: the parent's may hold
// credentials.
func baseEnv(home, tmp string) []string {
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "TMPDIR=" + tmp}
	if runtime.GOOS == "windows" {
		// Its own names for the two, and what nothing runs without.
		env = append(env, "USERPROFILE="+home, "TMP="+tmp, "TEMP="+tmp)
		for _, k := range []string{"SYSTEMROOT", "COMSPEC", "PATHEXT"} {
			env = append(env, k+"="+os.Getenv(k))
		}
	}
	return env
}

// run runs a program and copies what it prints as it comes. When the program
// or ctx ends, so does everything that the program has started.
func run(ctx context.Context, dir string, env []string, out io.Writer, name string, args ...string) error {
	pr, pw, err := os.Pipe()
	if err != nil {
		return err
	}
	defer pr.Close() //nolint:errcheck // only read
	name, args, err = command(name, args)
	if err != nil {
		_ = pw.Close()
		return err
	}
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, env
	// One pipe, and a file rather than a Writer: then Wait does not wait for
	// grandchildren that hold it, and the two outputs keep their order.
	cmd.Stdout, cmd.Stderr = pw, pw
	g, err := newGroup(cmd)
	if err != nil {
		_ = pw.Close()
		return err
	}
	defer g.close()
	cmd.Cancel = func() error { return g.kill(cmd.Process) }
	err = cmd.Start()
	_ = pw.Close()
	if err != nil {
		return err
	}
	g.started(cmd.Process)

	copied := make(chan error, 1)
	go func() {
		_, err := io.Copy(out, pr)
		// A program that cannot print would hang.
		_, _ = io.Copy(io.Discard, pr)
		copied <- err
	}()
	err = cmd.Wait()
	_ = g.kill(cmd.Process)
	// Whoever has left the group may hold the pipe for ever. Not all systems
	// have deadlines for pipes.
	_ = pr.SetReadDeadline(time.Now().Add(drain))
	stuck := time.NewTimer(2 * drain)
	defer stuck.Stop()
	select {
	case cerr := <-copied:
		if !errors.Is(cerr, os.ErrDeadlineExceeded) {
			err = errors.Join(err, cerr)
		}
	case <-stuck.C:
	}
	return err
}
