// Command slug makes a slug of a directory without a build, and releases it: on
// Heroku, or on an embedded look-alike that needs no account.
//
//	go run ./examples/slug                      # the sample app, on this machine
//	go run ./examples/slug -local DIR           # a directory of yours, on this machine
//	go run ./examples/slug -app my-app DIR      # on Heroku
//
// What is in the directory runs as it is, as its Procfile says: programs have to
// be compiled, for Linux. Then the slug is downloaded again and unpacked into
// the directory that -unpack names, if it names one.
//
// Standard output carries the output of the release phase, and nothing else;
// what happens besides is told on standard error.
//
// The exit status is 0 if the app runs the release, 1 if something failed, 2 for
// a wrong command line or directory, and 130 if it was interrupted.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
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
	app     string
	stack   string
	commit  string
	unpack  string
	timeout time.Duration
	local   bool
	verbose bool
	dir     string
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
	timed, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	err = s.release(timed, stdout, stderr)
	if err == nil {
		return exitOK
	}
	fmt.Fprintln(stderr, "Error: "+strings.TrimPrefix(err.Error(), "herokubuild: "))
	switch {
	case ctx.Err() != nil:
		return exitInterrupted
	case errors.Is(err, herokubuild.ErrNoCredential):
		fmt.Fprintln(stderr, "Set HEROKU_API_KEY, or run `heroku login`, which writes ~/.netrc. Without -app, no account is needed.")
	case errors.Is(err, herokubuild.ErrInvalidArgument):
		return exitUsage
	}
	return exitFailed
}

func parse(args []string, stderr io.Writer) (*settings, error) {
	s := new(settings)
	flags := flag.NewFlagSet("slug", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&s.app, "app", "", "the `app` that gets the slug")
	flags.StringVar(&s.stack, "stack", "", "`stack` that the slug runs on (default: the app's)")
	flags.StringVar(&s.commit, "commit", "", "`version` of the source, for the app's history")
	flags.StringVar(&s.unpack, "unpack", "", "`directory` to unpack the released slug into")
	flags.DurationVar(&s.timeout, "timeout", time.Hour, "bound on the whole run")
	flags.BoolVar(&s.local, "local", false, "release to the embedded platform, not to Heroku")
	flags.BoolVar(&s.verbose, "v", false, "log every request")
	flags.Usage = func() {
		fmt.Fprint(stderr, "Usage: slug [flags] [DIR]\n\n"+
			"Makes a slug of DIR (default: a sample app) and releases it. Without -app, on an\n"+
			"embedded platform that needs no account; with it, on Heroku, with the API key from\n"+
			"HEROKU_API_KEY or ~/.netrc and the base URL from HEROKU_API_URL.\n\n")
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	wrong := func(text string) (*settings, error) {
		fmt.Fprintln(stderr, "slug: "+text)
		flags.Usage()
		return nil, errors.New(text)
	}
	switch {
	case flags.NArg() > 1:
		return wrong("more than one directory")
	case s.app == "" && !s.local && os.Getenv("HEROKU_API_URL") != "":
		return wrong("HEROKU_API_URL is set: name the app with -app, or say -local")
	}
	s.dir = flags.Arg(0)
	if s.app == "" {
		s.local, s.app = true, "example-app"
	}
	return s, nil
}

// release is what the program is about.
func (s *settings) release(ctx context.Context, stdout, stderr io.Writer) (err error) {
	if s.dir == "" {
		if s.dir, err = sampleDir(); err != nil {
			return err
		}
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
		// A name that no app can have is the library's to refuse.
		_ = p.AddApp(s.app)
		fmt.Fprintln(stderr, "Releasing to an embedded platform on this machine (with -app, to Heroku).")
		opts = append(opts, herokubuild.WithBaseURL(p.URL()), herokubuild.WithToken(p.Token()))
	}
	client, err := herokubuild.NewClient(opts...)
	if err != nil {
		return err
	}

	slug, err := client.Slugs.CreateFromDir(ctx, s.app, s.dir, herokubuild.SlugDirOptions{
		Stack: s.stack, Commit: s.commit, BuildpackProvidedDescription: "Slug by hand",
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(stderr, "==> Slug %s for %s\n    %s\n", slug.ID, slug.Stack.Name, slug.Checksum)
	for _, name := range slices.Sorted(maps.Keys(slug.ProcessTypes)) {
		fmt.Fprintf(stderr, "    %s: %s\n", name, slug.ProcessTypes[name])
	}
	release, err := client.Releases.Create(ctx, s.app, herokubuild.ReleaseCreateOptions{Slug: slug.ID})
	if err != nil {
		return err
	}
	fmt.Fprintf(stderr, "==> Release v%d of %s\n", release.Version, s.app)
	if err := follow(ctx, client, release, stdout); err != nil {
		// The outcome does not depend on it.
		fmt.Fprintln(stderr, "    the output of the release phase was lost:", err)
	}
	release, err = client.Releases.Wait(ctx, s.app, release.ID, nil)
	if err != nil {
		return err
	}
	fmt.Fprintf(stderr, "Released: %s v%d\n", s.app, release.Version)
	if s.unpack == "" {
		return nil
	}
	return s.download(ctx, client, slug.ID, stderr)
}

// follow copies the output of a release phase, if there is one.
func follow(ctx context.Context, client *herokubuild.Client, release *herokubuild.Release, stdout io.Writer) error {
	output, err := client.Releases.Output(ctx, release, nil)
	if errors.Is(err, herokubuild.ErrNoOutput) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = io.Copy(stdout, output)
	return errors.Join(err, output.Close())
}

// download unpacks what the platform has of the slug, verified.
func (s *settings) download(ctx context.Context, client *herokubuild.Client, id string, stderr io.Writer) error {
	slug, err := client.Slugs.Get(ctx, s.app, id)
	if err != nil {
		return err
	}
	archive, err := client.Slugs.Download(ctx, s.app, slug, nil)
	if err != nil {
		return err
	}
	err = herokubuild.UnpackSlug(ctx, archive, s.unpack, nil)
	if err := errors.Join(err, archive.Close()); err != nil {
		return err
	}
	fmt.Fprintf(stderr, "Unpacked: %s\n", s.unpack)
	return nil
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
