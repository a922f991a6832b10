// Command deploy builds a directory of source code and releases it to one app or
// to several: on Heroku, or on an embedded look-alike that needs no account.
//
//	go run ./examples/deploy                      # the sample app, on this machine
//	go run ./examples/deploy -local DIR           # a directory of yours, on this machine
//	go run ./examples/deploy -app my-app DIR      # on Heroku
//	go run ./examples/deploy -dry-run DIR         # only say what would be packed
//
// Standard output carries the build's output, byte for byte, and nothing else;
// what happens besides is told on standard error: on a terminal with what goes on
// in a line at the bottom, elsewhere in lines, with a sign of life each minute.
//
// In a GitHub workflow (GITHUB_ACTIONS is "true" and standard output is no file)
// all of it but the debug log goes to standard output, in a group for each phase
// and with annotations for warnings and errors.
//
// The exit status is 0 if every app runs the release, 1 if something failed, 2
// for a wrong command line or a directory that cannot be packed, and 130 if it
// was interrupted (the build is then canceled).
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
	view := newView(stdout, stderr, s)
	err = s.deploy(ctx, view, stdout, stderr)
	view.close()
	switch {
	case err == nil:
		return exitOK
	case ctx.Err() != nil:
		view.say("Interrupted.")
		view.explain(err)
		return exitInterrupted
	}
	view.explain(err)
	if errors.Is(err, herokubuild.ErrInvalidArgument) && !errors.Is(err, herokubuild.ErrNoCredential) {
		return exitUsage
	}
	return exitFailed
}

func parse(args []string, stderr io.Writer) (*settings, error) {
	s := new(settings)
	var releaseTo string
	flags := flag.NewFlagSet("deploy", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&s.app, "app", "", "the `app` that builds")
	flags.StringVar(&releaseTo, "release-to", "", "further `apps` that get the slug, separated by commas")
	flags.StringVar(&s.version, "version", "", "source `version` (default: the git commit of DIR, with -dirty if it has changes, else the archive's SHA-256)")
	flags.DurationVar(&s.timeout, "timeout", time.Hour, "bound on the whole run")
	flags.DurationVar(&s.idleTimeout, "idle-timeout", time.Minute, "silence after which the output stream is connected anew")
	flags.BoolVar(&s.local, "local", false, "deploy to the embedded platform, not to Heroku")
	flags.BoolVar(&s.dryRun, "dry-run", false, "say what would be packed, and do nothing")
	flags.BoolVar(&s.verbose, "v", false, "log every request")
	flags.Usage = func() {
		fmt.Fprint(stderr, "Usage: deploy [flags] [DIR]\n\n"+
			"Builds DIR (default: a sample app) and releases it. Without -app, on an embedded\n"+
			"platform that needs no account; with it, on Heroku, with the API key from\n"+
			"HEROKU_API_KEY or ~/.netrc and the base URL from HEROKU_API_URL.\n\n")
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	wrong := func(text string) (*settings, error) {
		fmt.Fprintln(stderr, "deploy: "+text)
		flags.Usage()
		return nil, errors.New(text)
	}
	if releaseTo != "" {
		s.releaseTo = strings.Split(releaseTo, ",")
	}
	switch {
	case flags.NArg() > 1:
		return wrong("more than one directory")
	case flags.NArg() == 1:
		s.dir = flags.Arg(0)
	}
	switch {
	case s.app == "" && !s.local && os.Getenv("HEROKU_API_URL") != "":
		return wrong("HEROKU_API_URL is set: name the app to build with -app, or say -local")
	case s.app == "":
		s.local = true
		s.app = "example-app"
		if releaseTo == "" {
			s.releaseTo = []string{"other-app"}
		}
	}
	return s, nil
}

// deploy is what the program is about: a client, and one call of it.
func (s *settings) deploy(ctx context.Context, view *view, stdout, stderr io.Writer) (err error) {
	if s.dir == "" {
		if s.dir, err = sampleDir(); err != nil {
			return err
		}
	}
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
			return fmt.Errorf("starting the embedded platform: %w", err)
		}
		defer func() { _ = p.Close() }()
		for _, app := range append([]string{s.app}, s.releaseTo...) {
			// A name that no app can have is the library's to refuse.
			_ = p.AddApp(app)
		}
		view.say("Deploying to an embedded platform on this machine (with -app, to Heroku).")
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
		OnEvent:     view.event,
		Timeout:     s.timeout,
		IdleTimeout: s.idleTimeout,
	})
	if err != nil {
		return err
	}
	view.close()
	view.say(summary(result))
	return nil
}

func summary(r *herokubuild.DeployResult) string {
	if len(r.Apps) > mostLines {
		return fmt.Sprintf("Released: %d apps", len(r.Apps))
	}
	var apps []string
	for _, rel := range r.Apps {
		apps = append(apps, fmt.Sprintf("%s v%d", rel.App, rel.Release.Version))
	}
	return "Released: " + strings.Join(apps, ", ")
}

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
	return "", errors.New("the sample app is not where this program was compiled: name a directory")
}
