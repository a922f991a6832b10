package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// temporalServer is the embedded server, as a process of its own.
type temporalServer struct {
	cmd   *exec.Cmd
	stdin io.Closer
}

// useServer uses the Temporal server of the environment or, without one, starts the
// embedded server and sets the environment for it. The result may be nil.
func useServer(ctx context.Context, out io.Writer) (*temporalServer, error) {
	if address := os.Getenv("TEMPORAL_ADDRESS"); address != "" {
		fmt.Fprintf(out, "Using the Temporal server at %s.\n", address)
		return nil, nil
	}
	fmt.Fprintln(out, "Starting a Temporal server in memory, because TEMPORAL_ADDRESS is not set.")
	if os.Getenv("FLEET_SERVER") == "" {
		fmt.Fprintln(out, "The first time it is downloaded (230 MB) and compiled: about 2 minutes on 8 fast cores, 10 minutes on 2.")
		fmt.Fprintln(out, "After that it starts in seconds.")
	}
	began := time.Now()
	s, environment, err := startServer(ctx)
	if err != nil {
		return nil, fmt.Errorf("start the Temporal server: %w", err)
	}
	for name, value := range environment {
		if err := os.Setenv(name, value); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	fmt.Fprintf(out, "The Temporal server is ready after %v.\n", time.Since(began).Round(100*time.Millisecond))
	return s, nil
}

// serverCommand is the command that runs the embedded server: the program of
// FLEET_SERVER, or the module in the directory server.
func serverCommand(ctx context.Context) (*exec.Cmd, error) {
	if program := os.Getenv("FLEET_SERVER"); program != "" {
		return exec.CommandContext(ctx, program), nil
	}
	_, file, _, _ := runtime.Caller(0)
	dir := filepath.Join(filepath.Dir(file), "server")
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return nil, errors.New("its source is not on this machine: set TEMPORAL_ADDRESS")
	}
	cmd := exec.CommandContext(ctx, "go", "run", ".")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOWORK=off")
	return cmd, nil
}

// startServer starts the embedded server and returns the variables that it prints.
func startServer(ctx context.Context) (*temporalServer, map[string]string, error) {
	cmd, err := serverCommand(ctx)
	if err != nil {
		return nil, nil, err
	}
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	s := &temporalServer{cmd: cmd, stdin: stdin}
	environment := map[string]string{}
	lines := bufio.NewScanner(stdout)
	for len(environment) < 2 && lines.Scan() {
		if name, value, ok := strings.Cut(strings.TrimPrefix(lines.Text(), "export "), "="); ok {
			environment[name] = value
		}
	}
	if len(environment) < 2 {
		return nil, nil, errors.Join(errors.New("it has not printed its address"), lines.Err(), s.Close())
	}
	return s, environment, nil
}

// Close stops the server, which ends with its standard input.
func (s *temporalServer) Close() error {
	if s == nil {
		return nil
	}
	return errors.Join(s.stdin.Close(), s.cmd.Wait())
}
