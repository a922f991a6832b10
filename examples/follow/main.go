// Command follow follows the output of a running build or release phase, or
// resumes a deploy from the checkpoint of another process. It uses Heroku, or
// an embedded emulator that needs no account.
//
//	go run ./examples/follow                           # interrupt and resume a deploy
//	go run ./examples/follow -app my-app -build ID
//	go run ./examples/follow -app my-app -release v12
//	go run ./examples/follow -checkpoint deploy.json
//
// Only the output of the build or release phase is written to standard output,
// byte for byte. The exit status is 0 if the build or release succeeded, 1 if
// it failed, 2 if the command line is invalid, and 130 if the program was
// interrupted, which does not cancel the build.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/herokubuild/herokubuild"
	"github.com/herokubuild/herokubuild/examples/internal/terminal"
	"github.com/herokubuild/herokubuild/internal/platform"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second interrupt ends the program immediately.
	context.AfterFunc(ctx, stop)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130
)

// settings are the values of the command line.
type settings struct {
	app        string
	build      string
	release    string
	checkpoint string
	offset     int64
	verbose    bool
	local      bool
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	s, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		return exitUsage
	}
	// Control characters in texts from Heroku must not reach the terminal.
	stderr = terminal.Writer(stderr)
	err = s.follow(ctx, stdout, stderr)
	switch {
	case err == nil:
		return exitOK
	case ctx.Err() != nil:
		fmt.Fprintln(stderr, "Interrupted.")
		return exitInterrupted
	}
	fmt.Fprintln(stderr, "Error: "+err.Error())
	if errors.Is(err, herokubuild.ErrInvalidArgument) {
		return exitUsage
	}
	return exitFailed
}

func parse(args []string, stderr io.Writer) (*settings, error) {
	s := new(settings)
	flags := flag.NewFlagSet("follow", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&s.app, "app", "", "the `app` of the build or release")
	flags.StringVar(&s.build, "build", "", "`ID` of a build")
	flags.StringVar(&s.release, "release", "", "`ID` or version of a release")
	flags.StringVar(&s.checkpoint, "checkpoint", "", "`file` with the checkpoint of a deploy to resume")
	flags.Int64Var(&s.offset, "offset", 0, "number of `bytes` of the output to skip")
	flags.BoolVar(&s.verbose, "v", false, "log every request")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	given := 0
	for _, text := range []string{s.build, s.release, s.checkpoint} {
		if text != "" {
			given++
		}
	}
	s.local = len(args) == 0
	switch {
	case s.local:
	case given != 1 || flags.NArg() > 0:
		fmt.Fprintln(stderr, "follow: exactly one of -build, -release and -checkpoint is required")
		flags.Usage()
		return nil, errors.New("usage")
	case s.checkpoint == "" && s.app == "":
		fmt.Fprintln(stderr, "follow: -app is required")
		flags.Usage()
		return nil, errors.New("usage")
	}
	return s, nil
}

func (s *settings) follow(ctx context.Context, stdout, stderr io.Writer) error {
	if s.local {
		return demonstrate(ctx, stdout, stderr)
	}
	var opts []herokubuild.Option
	if s.verbose {
		opts = append(opts, herokubuild.WithLogger(slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))))
	}
	client, err := herokubuild.NewClient(opts...)
	if err != nil {
		return err
	}
	switch {
	case s.checkpoint != "":
		return resumeDeploy(ctx, client, s.checkpoint, stdout, stderr)
	case s.build != "":
		return s.followBuild(ctx, client, stdout, stderr)
	}
	return s.followRelease(ctx, client, stdout, stderr)
}

func (s *settings) followBuild(ctx context.Context, client *herokubuild.Client, stdout, stderr io.Writer) error {
	stream, err := client.Builds.Output(ctx, s.app, s.build, &herokubuild.StreamOptions{Offset: s.offset})
	if err := write(ctx, stream, err, stdout, stderr); err != nil {
		return err
	}
	// The output has ended, but the status may still be pending.
	build, err := client.Builds.Wait(ctx, s.app, s.build, nil)
	if err == nil {
		fmt.Fprintf(stderr, "Build %s of %s %s.\n", build.ID, s.app, build.Status)
	}
	return err
}

func (s *settings) followRelease(ctx context.Context, client *herokubuild.Client, stdout, stderr io.Writer) error {
	stream, err := client.Releases.Output(ctx, s.app, s.release, &herokubuild.StreamOptions{Offset: s.offset})
	if err := write(ctx, stream, err, stdout, stderr); err != nil {
		return err
	}
	release, err := client.Releases.Wait(ctx, s.app, s.release, nil)
	if err == nil {
		fmt.Fprintf(stderr, "Release v%d of %s %s.\n", release.Version, s.app, release.Status)
	}
	return err
}

// write copies the output of a stream to stdout, and reports each minute
// without output. Lost output is not an error, since the result can still be
// polled. The err parameter is the error of opening the stream.
func write(ctx context.Context, stream *herokubuild.OutputStream, err error, stdout, stderr io.Writer) error {
	switch {
	case errors.Is(err, herokubuild.ErrNoOutput):
		return nil
	case err != nil:
		return err
	}
	defer func() { _ = stream.Close() }()
	done := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		ticker := time.NewTicker(time.Minute)
		defer ticker.Stop()
		last := int64(-1)
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				if at := stream.Offset(); at == last {
					fmt.Fprintf(stderr, "No output for a minute; last heartbeat %v ago.\n", time.Since(stream.LastActivity()).Round(time.Second))
				}
				last = stream.Offset()
			}
		}
	}()
	_, err = stream.WriteTo(stdout)
	close(done)
	<-stopped
	var lost *herokubuild.StreamError
	if errors.As(err, &lost) && ctx.Err() == nil {
		fmt.Fprintln(stderr, "Lost the output:", err)
		return nil
	}
	return err
}

// resumeDeploy resumes a deploy from the checkpoint in a file.
func resumeDeploy(ctx context.Context, client *herokubuild.Client, file string, stdout, stderr io.Writer) error {
	text, err := os.ReadFile(file) //nolint:gosec // chosen by the user
	if err != nil {
		return err
	}
	var checkpoint herokubuild.Checkpoint
	if err := json.Unmarshal(text, &checkpoint); err != nil {
		return err
	}
	if checkpoint.BuildID == "" {
		return errors.New("checkpoint has no build to follow")
	}
	fmt.Fprintf(stderr, "Resuming build %s of %s after %d bytes of output.\n", checkpoint.BuildID, checkpoint.BuildApp, checkpoint.OutputOffset)
	result, err := client.BuildAndRelease(ctx, herokubuild.BuildAndReleaseOptions{
		// The checkpoint also contains the other apps.
		BuildApp: checkpoint.BuildApp, Checkpoint: checkpoint, Output: stdout,
		// An interrupt must not cancel the build of another process.
		KeepBuildOnCancel: true,
	})
	if err != nil {
		return err
	}
	for _, r := range result.Apps {
		fmt.Fprintf(stderr, "Released: %s v%d\n", r.App, r.Release.Version)
	}
	return nil
}

// demonstrate interrupts a deploy during its build and resumes it from a file
// with its checkpoint.
func demonstrate(ctx context.Context, stdout, stderr io.Writer) error {
	p, err := platform.Start(platform.Options{})
	if err != nil {
		return fmt.Errorf("start emulator: %w", err)
	}
	defer func() { _ = p.Close() }()
	client, err := herokubuild.NewClient(herokubuild.WithBaseURL(p.URL()), herokubuild.WithToken(p.Token()))
	if err != nil {
		return err
	}
	dir, err := sampleDir()
	if err != nil {
		return err
	}
	temp, err := os.MkdirTemp("", "follow-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(temp) }()
	file := filepath.Join(temp, "deploy.json")

	fmt.Fprintln(stderr, "Deploying a sample app to an embedded Heroku emulator.")
	var all bytes.Buffer
	out := io.MultiWriter(stdout, &all)
	checkpoint, err := interruptedDeploy(ctx, client, dir, out)
	if err != nil {
		return err
	}
	text, err := json.Marshal(checkpoint)
	if err != nil {
		return err
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return err
	}
	fmt.Fprintf(stderr, "\nThe deploying process was killed, leaving this checkpoint:\n%s\n\n", text)
	if err := resumeDeploy(ctx, client, file, out, stderr); err != nil {
		return err
	}
	whole, err := p.Output(checkpoint.BuildID)
	if err != nil {
		return err
	}
	if !bytes.Equal(whole, all.Bytes()) {
		return fmt.Errorf("the build's output has %d bytes, but both parts together have %d", len(whole), all.Len())
	}
	fmt.Fprintf(stderr, "Both parts together match the build's output (%d bytes, no gaps or duplicates).\n", all.Len())
	return nil
}

// interruptedDeploy deploys until the middle of the build and returns the
// checkpoint.
func interruptedDeploy(ctx context.Context, client *herokubuild.Client, dir string, out io.Writer) (herokubuild.Checkpoint, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w := writer(func(b []byte) (int, error) {
		if bytes.Contains(b, []byte("Step 4")) {
			cancel()
		}
		return out.Write(b)
	})
	_, err := client.BuildAndRelease(ctx, herokubuild.BuildAndReleaseOptions{
		BuildApp: "example-app", Dir: dir, Output: w, KeepBuildOnCancel: true,
	})
	var deployErr *herokubuild.DeployError
	if errors.As(err, &deployErr) && deployErr.Checkpoint.BuildID != "" {
		return deployErr.Checkpoint, nil
	}
	return herokubuild.Checkpoint{}, fmt.Errorf("expected the deploy to be interrupted: %w", err)
}

// writer adapts a function to an io.Writer.
type writer func(b []byte) (int, error)

func (w writer) Write(b []byte) (int, error) { return w(b) }

// sampleDir returns the directory of the sample app, which is next to this source
// file in a clone of the repository.
func sampleDir() (string, error) {
	_, file, _, ok := runtime.Caller(0)
	if ok {
		dir := filepath.Join(filepath.Dir(file), "testdata", "app")
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			return dir, nil
		}
	}
	return "", errors.New("sample app not found")
}
