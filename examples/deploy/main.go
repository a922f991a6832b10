// Command deploy builds a source directory and releases it to one or more apps,
// on Heroku or on an embedded emulator that needs no account.
//
//	go run ./examples/deploy                  # deploy the sample app to the emulator
//	go run ./examples/deploy -local DIR       # deploy DIR to the emulator
//	go run ./examples/deploy -app my-app DIR  # deploy DIR to Heroku
//	go run ./examples/deploy -dry-run DIR     # only list the files to be packed
//	go run ./examples/deploy -h               # all flags, with examples for CI
//
// Only the build's output is written to standard output, byte for byte. Progress
// is reported on standard error: on a terminal with a status line at the bottom,
// otherwise in plain lines, at least one a minute. With -json a report is written
// to a file (see report.go).
//
// In a GitHub workflow (if GITHUB_ACTIONS is "true" and standard output is not
// a file) everything except the debug log is written to standard output, with a
// group for each phase and annotations for warnings and errors.
//
// The exit status is 0 if the release succeeded on all apps, or the build was
// started with -detach; 1 if something failed; 2 if the command line is invalid or
// the directory cannot be packed; and 130 if the program was interrupted or
// terminated, which cancels a build that is running; releases that have begun continue.
package main

import (
	"cmp"
	"context"
	"embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/herokubuild/herokubuild"
	"github.com/herokubuild/herokubuild/examples/internal/sample"
	"github.com/herokubuild/herokubuild/examples/internal/site"
	"github.com/herokubuild/herokubuild/examples/internal/terminal"
	"github.com/herokubuild/herokubuild/herokutest"
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

// sampleApp is the source that is deployed if none is named.
//
//go:embed all:testdata/app
var sampleApp embed.FS

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	s, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		return exitUsage
	}
	view := terminal.New(stdout, stderr, terminal.Options{
		App: s.app, ReleaseTo: s.releaseTo, Dir: cmp.Or(s.dir, "the sample app"), Detach: s.detach,
		Lines:    s.verbose, // the debug log would be overwritten
		NoStdout: s.json == "-", Check: s.check != "",
	})
	defer view.Close()
	if s.dir == "" {
		dir, remove, err := sample.Write(sampleApp)
		if err != nil {
			view.Fail(err)
			return exitFailed
		}
		defer remove()
		s.dir = dir
	}
	if s.dryRun {
		err := dryRun(ctx, s.dir, stdout)
		s.conclude(ctx, view, nil, err)
		return exitCode(ctx, err)
	}
	report, err := newReport(s, stdout)
	if err != nil {
		view.Fail(err)
		return exitUsage
	}
	result, err := s.deploy(ctx, view, stderr)
	err = explained(err)
	view.Close()
	s.conclude(ctx, view, result, err)
	code := exitCode(ctx, err)
	if err := report.finish(ctx, result, err, code); err != nil {
		view.Fail(err)
		code = max(code, exitFailed)
	}
	return code
}

func exitCode(ctx context.Context, err error) int {
	switch {
	case err == nil, errors.Is(err, herokubuild.ErrDetached):
		return exitOK
	case ctx.Err() != nil:
		return exitInterrupted
	case errors.Is(err, herokubuild.ErrInvalidArgument):
		return exitUsage
	}
	return exitFailed
}

// deploy creates a client and deploys with BuildAndRelease.
func (s *settings) deploy(ctx context.Context, view *terminal.View, stderr io.Writer) (*herokubuild.DeployResult, error) {
	var opts []herokubuild.Option
	if s.verbose {
		opts = append(opts, herokubuild.WithLogger(slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))))
	}
	if s.local {
		view.Info("Deploying to an embedded Heroku emulator (use -app to deploy to Heroku).")
		server, stop, err := emulate(append([]string{s.app}, s.releaseTo...))
		if err != nil {
			return nil, err
		}
		defer stop()
		opts = append(server, opts...)
	}
	client, err := herokubuild.NewClient(opts...)
	if err != nil {
		return nil, err
	}

	deploy := herokubuild.BuildAndReleaseOptions{
		BuildApp:    s.app,
		Dir:         s.dir,
		Version:     s.version,
		ReleaseTo:   s.releaseTo,
		Rollout:     herokubuild.RolloutPolicy{Canaries: s.canaries, Rollback: s.rollback},
		Output:      view,
		OnEvent:     view.Event,
		Timeout:     s.timeout,
		IdleTimeout: s.idleTimeout,
	}
	if s.check != "" {
		verify, err := client.HealthCheck(s.check, &herokubuild.HealthCheckOptions{Timeout: s.checkTimeout})
		if err != nil {
			return nil, err
		}
		deploy.Rollout.Verify = verify
		deploy.OnEvent = checkBuildApp(s.app, verify, deploy.OnEvent)
	}
	if s.detach {
		deploy.OnEvent = detach(deploy.OnEvent)
	}
	if s.checkpoint != "" {
		return resume(ctx, client, deploy, herokubuild.CheckpointFile(s.checkpoint), view)
	}
	return client.BuildAndRelease(ctx, deploy)
}

// emulate starts an emulator with these apps. It returns the options of a client.
func emulate(apps []string) (opts []herokubuild.Option, stop func(), err error) {
	srv, err := herokutest.Start(herokutest.Realistic())
	if err != nil {
		return nil, nil, err
	}
	for _, app := range apps {
		_ = srv.AddApp(app) // It exists, or the client rejects its name later.
		if srv.AppID(app) == "" {
			continue
		}
		if _, err := site.Serve(srv, app); err != nil {
			return nil, nil, errors.Join(err, srv.Close())
		}
	}
	return srv.ClientOptions(), func() { _ = srv.Close() }, nil
}

// conclude prints how the deploy has ended.
func (s *settings) conclude(ctx context.Context, view *terminal.View, result *herokubuild.DeployResult, err error) {
	var unhealthy *checkError
	switch {
	case err == nil && result == nil: // a dry run
	case err == nil:
		view.Info(summary(result))
	case errors.Is(err, herokubuild.ErrDetached):
		s.detached(view, result)
	case ctx.Err() != nil:
		view.Info("Interrupted.")
		view.Fail(err, s.resumeHint())
	case errors.Is(err, herokubuild.ErrNoCredential):
		view.Fail(err, "Set HEROKU_API_KEY, or run `heroku login`, which writes ~/.netrc. Without -app, no account is needed.")
	case errors.As(err, &unhealthy):
		view.Fail(err, fmt.Sprintf("%s runs v%d, and no other app got it. %s", s.app, unhealthy.version, s.resumeHint()))
	case errors.Is(err, herokubuild.ErrCheckpointMismatch):
		view.Fail(err, "Delete "+s.checkpoint+" to start a new deploy.")
	default:
		view.Fail(err, s.resumeHint())
	}
}

// maxNamed limits the number of apps in the summary.
const maxNamed = 12

func summary(r *herokubuild.DeployResult) string {
	if len(r.Apps) > maxNamed {
		return fmt.Sprintf("Released: %d apps", len(r.Apps))
	}
	var apps []string
	for _, rel := range r.Apps {
		apps = append(apps, fmt.Sprintf("%s v%d", rel.App, rel.Release.Version))
	}
	return "Released: " + strings.Join(apps, ", ")
}
