// Command deploy builds a source directory and releases it to one or more apps,
// on Heroku or on an embedded emulator that needs no account.
//
//	go run ./examples/deploy                  # deploy the sample app to the emulator
//	go run ./examples/deploy -local DIR       # deploy DIR to the emulator
//	go run ./examples/deploy -app my-app DIR  # deploy DIR to Heroku
//	go run ./examples/deploy -dry-run DIR     # only list the files to be packed
//
// Only the build's output is written to standard output, byte for byte. Progress
// is reported on standard error: on a terminal with a status line at the bottom,
// otherwise in plain lines, at least one a minute.
//
// In a GitHub workflow (if GITHUB_ACTIONS is "true" and standard output is not
// a file) everything except the debug log is written to standard output, with a
// group for each phase and annotations for warnings and errors.
//
// The exit status is 0 if the release succeeded on all apps, 1 if something
// failed, 2 if the command line is invalid or the directory cannot be packed,
// and 130 if the program was interrupted, which cancels the build.
package main

import (
	"context"
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
	app         string
	releaseTo   []string
	version     string
	timeout     time.Duration
	idleTimeout time.Duration
	local       bool
	verbose     bool
	dryRun      bool
	dir         string
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	s, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		return exitUsage
	}
	// The debug log would be overwritten by a display that is updated in place.
	view := terminal.New(stdout, stderr, terminal.Options{App: s.app, ReleaseTo: s.releaseTo, Dir: s.dir, Lines: s.verbose})
	err = s.deploy(ctx, view, stdout, stderr)
	view.Close()
	switch {
	case err == nil:
		return exitOK
	case ctx.Err() != nil:
		view.Info("Interrupted.")
		view.Fail(err, hint(err))
		return exitInterrupted
	}
	view.Fail(err, hint(err))
	if errors.Is(err, herokubuild.ErrInvalidArgument) {
		return exitUsage
	}
	return exitFailed
}

// hint returns what to do about an error, if that is known.
func hint(err error) string {
	if errors.Is(err, herokubuild.ErrNoCredential) {
		return "Set HEROKU_API_KEY, or run `heroku login`, which writes ~/.netrc. Without -app, no account is needed."
	}
	return ""
}

func parse(args []string, stderr io.Writer) (*settings, error) {
	s := new(settings)
	var releaseTo string
	flags := flag.NewFlagSet("deploy", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&s.app, "app", "", "the `app` to build on")
	flags.StringVar(&releaseTo, "release-to", "", "additional `apps` to release to, separated by commas")
	flags.StringVar(&s.version, "version", "", "source `version` (default: the git commit of DIR, with -dirty if there are changes, or else the SHA-256 of the archive)")
	flags.DurationVar(&s.timeout, "timeout", time.Hour, "time limit for the whole run")
	flags.DurationVar(&s.idleTimeout, "idle-timeout", time.Minute, "reconnect the output stream after this long without data")
	flags.BoolVar(&s.local, "local", false, "deploy to the embedded emulator, not to Heroku")
	flags.BoolVar(&s.dryRun, "dry-run", false, "only print what would be packed")
	flags.BoolVar(&s.verbose, "v", false, "log every request")
	flags.Usage = func() {
		fmt.Fprint(stderr, "Usage: deploy [flags] [DIR]\n\n"+
			"Builds DIR (default: a sample app) and releases it: with -app on Heroku, otherwise\n"+
			"on an embedded emulator that needs no account. The API key is read from\n"+
			"HEROKU_API_KEY or ~/.netrc, and the base URL from HEROKU_API_URL.\n\n")
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	usageError := func(text string) (*settings, error) {
		fmt.Fprintln(stderr, "deploy: "+text)
		flags.Usage()
		return nil, errors.New(text)
	}
	if releaseTo != "" {
		s.releaseTo = strings.Split(releaseTo, ",")
	}
	switch {
	case flags.NArg() > 1:
		return usageError("at most one directory is allowed")
	case flags.NArg() == 1:
		s.dir = flags.Arg(0)
	default:
		dir, err := sampleDir()
		if err != nil {
			return usageError(err.Error())
		}
		s.dir = dir
	}
	switch {
	case s.app == "" && !s.local && os.Getenv("HEROKU_API_URL") != "":
		return usageError("HEROKU_API_URL is set: either -app or -local is required")
	case s.app == "":
		s.local = true
		s.app = "example-app"
		if releaseTo == "" {
			s.releaseTo = []string{"other-app"}
		}
	}
	return s, nil
}

// deploy creates a client and deploys with BuildAndRelease.
func (s *settings) deploy(ctx context.Context, view *terminal.View, stdout, stderr io.Writer) error {
	if s.dryRun {
		return dryRun(ctx, s.dir, stdout)
	}
	var opts []herokubuild.Option
	if s.verbose {
		opts = append(opts, herokubuild.WithLogger(slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))))
	}
	if s.local {
		p, err := platform.Start(platform.Options{})
		if err != nil {
			return fmt.Errorf("start emulator: %w", err)
		}
		defer func() { _ = p.Close() }()
		for _, app := range append([]string{s.app}, s.releaseTo...) {
			// The client rejects invalid names later.
			_ = p.AddApp(app)
		}
		view.Info("Deploying to an embedded Heroku emulator (use -app to deploy to Heroku).")
		opts = append(opts, herokubuild.WithBaseURL(p.URL()), herokubuild.WithToken(p.Token()))
	}
	client, err := herokubuild.NewClient(opts...)
	if err != nil {
		return err
	}

	result, err := client.BuildAndRelease(ctx, herokubuild.BuildAndReleaseOptions{
		BuildApp:    s.app,
		Dir:         s.dir,
		Version:     s.version,
		ReleaseTo:   s.releaseTo,
		Output:      view,
		OnEvent:     view.Event,
		Timeout:     s.timeout,
		IdleTimeout: s.idleTimeout,
	})
	if err != nil {
		return err
	}
	view.Close()
	view.Info(summary(result))
	return nil
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
	return "", errors.New("sample app not found: specify a directory")
}
