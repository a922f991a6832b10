// Command follow attaches to what is under way: the output of a build or of a
// release phase by its id, or a whole deploy by the checkpoint that another
// process left. On Heroku, or on an embedded look-alike that needs no account.
//
//	go run ./examples/follow                             # a deploy that dies and is gone on with
//	go run ./examples/follow -app my-app -build ID
//	go run ./examples/follow -app my-app -release v12
//	go run ./examples/follow -checkpoint deploy.json
//
// Standard output carries the output, byte for byte, and nothing else. The exit
// status is 0 if the build or release succeeded, 1 if it did not, 2 for a wrong
// command line, and 130 if it was interrupted; what is followed goes on then.
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
	"strings"
	"syscall"
	"time"

	"github.com/herokubuild/herokubuild"
	"github.com/herokubuild/herokubuild/internal/clean"
	"github.com/herokubuild/herokubuild/internal/platform"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second interrupt ends the program at once.
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

// settings is the command line.
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
	// What the platform says is not to steer the terminal.
	stderr = clean.Writer(stderr)
	err = s.follow(ctx, stdout, stderr)
	switch {
	case err == nil:
		return exitOK
	case ctx.Err() != nil:
		fmt.Fprintln(stderr, "Interrupted.")
		return exitInterrupted
	}
	fmt.Fprintln(stderr, "Error: "+strings.TrimPrefix(err.Error(), "herokubuild: "))
	if errors.Is(err, herokubuild.ErrInvalidArgument) && !errors.Is(err, herokubuild.ErrNoCredential) {
		return exitUsage
	}
	return exitFailed
}

func parse(args []string, stderr io.Writer) (*settings, error) {
	s := new(settings)
	flags := flag.NewFlagSet("follow", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&s.app, "app", "", "the `app` of the build or release")
	flags.StringVar(&s.build, "build", "", "the `id` of a build")
	flags.StringVar(&s.release, "release", "", "the `id` or version of a release")
	flags.StringVar(&s.checkpoint, "checkpoint", "", "the `file` with the checkpoint of a deploy to go on with")
	flags.Int64Var(&s.offset, "offset", 0, "how many `bytes` of the output to leave out")
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
		fmt.Fprintln(stderr, "follow: one of -build, -release and -checkpoint is needed")
		flags.Usage()
		return nil, errors.New("usage")
	case s.checkpoint == "" && s.app == "":
		fmt.Fprintln(stderr, "follow: -app is needed")
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
		return goOn(ctx, client, s.checkpoint, stdout, stderr)
	case s.build != "":
		return s.followBuild(ctx, client, stdout, stderr)
	}
	return s.followRelease(ctx, client, stdout, stderr)
}

func (s *settings) followBuild(ctx context.Context, client *herokubuild.Client, stdout, stderr io.Writer) error {
	build, err := client.Builds.Get(ctx, s.app, s.build)
	if err != nil {
		return err
	}
	stream, err := client.Builds.Output(ctx, build, &herokubuild.StreamOptions{Offset: s.offset})
	if err := write(ctx, stream, err, stdout, stderr); err != nil {
		return err
	}
	// The end of the output is not the outcome.
	build, err = client.Builds.Wait(ctx, s.app, s.build, nil)
	if err == nil {
		fmt.Fprintf(stderr, "Build %s of %s %s.\n", build.ID, s.app, build.Status)
	}
	return err
}

func (s *settings) followRelease(ctx context.Context, client *herokubuild.Client, stdout, stderr io.Writer) error {
	release, err := client.Releases.Get(ctx, s.app, s.release)
	if err != nil {
		return err
	}
	stream, err := client.Releases.Output(ctx, release, &herokubuild.StreamOptions{Offset: s.offset})
	if err := write(ctx, stream, err, stdout, stderr); err != nil {
		return err
	}
	release, err = client.Releases.Wait(ctx, s.app, release.ID, nil)
	if err == nil {
		fmt.Fprintf(stderr, "Release v%d of %s %s.\n", release.Version, s.app, release.Status)
	}
	return err
}

// write writes the output of a stream that could be opened, and says when it is
// quiet for long. Output that is lost is no reason not to ask for the outcome.
func write(ctx context.Context, stream *herokubuild.OutputStream, err error, stdout, stderr io.Writer) error {
	switch {
	case errors.Is(err, herokubuild.ErrNoOutput):
		return nil
	case err != nil:
		return err
	}
	defer func() { _ = stream.Close() }()
	done := make(chan struct{})
	told := make(chan struct{})
	go func() {
		defer close(told)
		tell := time.NewTicker(time.Minute)
		defer tell.Stop()
		last := int64(-1)
		for {
			select {
			case <-done:
				return
			case <-tell.C:
				if at := stream.Offset(); at == last {
					fmt.Fprintf(stderr, "Quiet; the last sign of life was %v ago.\n", time.Since(stream.LastActivity()).Round(time.Second))
				}
				last = stream.Offset()
			}
		}
	}()
	_, err = stream.WriteTo(stdout)
	close(done)
	<-told
	var lost *herokubuild.StreamError
	if errors.As(err, &lost) && ctx.Err() == nil {
		fmt.Fprintln(stderr, "The output is lost:", err)
		return nil
	}
	return err
}

// goOn goes on with a deploy of which another process left the checkpoint.
func goOn(ctx context.Context, client *herokubuild.Client, file string, stdout, stderr io.Writer) error {
	text, err := os.ReadFile(file) //nolint:gosec // the user names it
	if err != nil {
		return err
	}
	var checkpoint herokubuild.Checkpoint
	if err := json.Unmarshal(text, &checkpoint); err != nil {
		return err
	}
	if checkpoint.BuildID == "" {
		return errors.New("the checkpoint names no build: there is nothing to follow")
	}
	fmt.Fprintf(stderr, "Going on with build %s of %s, after %d bytes of its output.\n", checkpoint.BuildID, checkpoint.BuildApp, checkpoint.OutputOffset)
	result, err := client.BuildAndRelease(ctx, herokubuild.BuildAndReleaseOptions{
		// It knows the other apps, too.
		BuildApp: checkpoint.BuildApp, Checkpoint: checkpoint, Output: stdout,
		// It is somebody else's deploy: an interrupt ends the following only.
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

// demonstrate has a deploy die in the middle of its build, and goes on with it
// from the file that it left.
func demonstrate(ctx context.Context, stdout, stderr io.Writer) error {
	p, err := platform.Start(platform.Options{})
	if err != nil {
		return fmt.Errorf("starting the embedded platform: %w", err)
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

	fmt.Fprintln(stderr, "Deploying a sample app on an embedded platform on this machine.")
	var all bytes.Buffer
	out := io.MultiWriter(stdout, &all)
	died, err := half(ctx, client, dir, out)
	if err != nil {
		return err
	}
	text, err := json.Marshal(died)
	if err != nil {
		return err
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return err
	}
	fmt.Fprintf(stderr, "\nThe process that deployed has died. This is what it left:\n%s\n\n", text)
	if err := goOn(ctx, client, file, out, stderr); err != nil {
		return err
	}
	whole, err := p.Output(died.BuildID)
	if err != nil {
		return err
	}
	if !bytes.Equal(whole, all.Bytes()) {
		return fmt.Errorf("the build printed %d bytes, and the two parts together are %d", len(whole), all.Len())
	}
	fmt.Fprintf(stderr, "The two parts together are the build's output, all %d bytes of it, each once.\n", all.Len())
	return nil
}

// half deploys until the middle of the build and returns how far that came.
func half(ctx context.Context, client *herokubuild.Client, dir string, out io.Writer) (herokubuild.Checkpoint, error) {
	ctx, die := context.WithCancel(ctx)
	defer die()
	w := writer(func(b []byte) (int, error) {
		if bytes.Contains(b, []byte("Step 4")) {
			die()
		}
		return out.Write(b)
	})
	_, err := client.BuildAndRelease(ctx, herokubuild.BuildAndReleaseOptions{
		BuildApp: "example-app", Dir: dir, Output: w, KeepBuildOnCancel: true,
	})
	var died *herokubuild.DeployError
	if errors.As(err, &died) && died.Checkpoint.BuildID != "" {
		return died.Checkpoint, nil
	}
	return herokubuild.Checkpoint{}, fmt.Errorf("it did not die: %w", err)
}

type writer func(b []byte) (int, error)

func (w writer) Write(b []byte) (int, error) { return w(b) }

// sampleDir is where the sample app is: beside this file, which is there
// whenever the program is run from a clone.
func sampleDir() (string, error) {
	_, file, _, ok := runtime.Caller(0)
	if ok {
		dir := filepath.Join(filepath.Dir(file), "testdata", "app")
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			return dir, nil
		}
	}
	return "", errors.New("the sample app is not where this program was compiled")
}
