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

// drainTimeout limits how long output is read after a program has exited.
const drainTimeout = 2 * time.Second

// baseEnv returns the environment of a child process. It excludes the rest of the
// parent's environment, which may contain credentials.
func baseEnv(home, tmp string) []string {
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "TMPDIR=" + tmp}
	if runtime.GOOS == "windows" {
		// Windows has other names for HOME and TMPDIR, and programs need the
		// variables below.
		env = append(env, "USERPROFILE="+home, "TMP="+tmp, "TEMP="+tmp)
		for _, k := range []string{"SYSTEMROOT", "COMSPEC", "PATHEXT"} {
			env = append(env, k+"="+os.Getenv(k))
		}
	}
	return env
}

// run runs a program and copies its output to out as it arrives. When the program
// exits or ctx ends, all processes that the program started are killed.
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
	// A single pipe keeps stdout and stderr in order. Since it is a file and not
	// another Writer, Wait does not wait for grandchildren that hold it open.
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
		// If out fails, the program would block once the pipe is full.
		_, _ = io.Copy(io.Discard, pr)
		copied <- err
	}()
	err = cmd.Wait()
	_ = g.kill(cmd.Process)
	// A process that has left the group may hold the pipe open forever. Not all
	// systems support deadlines for pipes, hence the timer.
	_ = pr.SetReadDeadline(time.Now().Add(drainTimeout))
	stuck := time.NewTimer(2 * drainTimeout)
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
