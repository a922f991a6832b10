// Command slug creates a slug from a directory without a build and releases it,
// on Heroku or on an embedded emulator that needs no account.
//
//	go run ./examples/slug                  # release the sample app on the emulator
//	go run ./examples/slug -local DIR       # release DIR on the emulator
//	go run ./examples/slug -app my-app DIR  # release DIR on Heroku
//
// The directory must contain a Procfile and programs that are compiled for Linux.
// With -unpack the slug is then downloaded and unpacked.
//
// Only the output of the release phase is written to standard output. Progress is
// reported on standard error.
//
// The exit status is 0 if the release succeeded, 1 if something failed, 2 if
// the command line or the directory is invalid, and 130 if the program was
// interrupted.
package main

import (
	"context"
	"embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/herokubuild/herokubuild"
	"github.com/herokubuild/herokubuild/examples/internal/sample"
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

// settings are the values of the command line.
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
	// Control characters in texts from Heroku must not reach the terminal.
	stderr = terminal.Writer(stderr)
	timed, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	err = s.release(timed, stdout, stderr)
	if err == nil {
		return exitOK
	}
	fmt.Fprintln(stderr, "Error: "+err.Error())
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
	flags.StringVar(&s.app, "app", "", "the `app` to release to")
	flags.StringVar(&s.stack, "stack", "", "`stack` of the slug (default: that of the app)")
	flags.StringVar(&s.commit, "commit", "", "`version` of the source, shown in the app's release history")
	flags.StringVar(&s.unpack, "unpack", "", "`directory` to unpack the released slug into")
	flags.DurationVar(&s.timeout, "timeout", time.Hour, "time limit for the whole run")
	flags.BoolVar(&s.local, "local", false, "release to the embedded emulator, not to Heroku")
	flags.BoolVar(&s.verbose, "v", false, "log every request")
	flags.Usage = func() {
		fmt.Fprint(stderr, "Usage: slug [flags] [DIR]\n\n"+
			"Creates a slug from DIR (default: a sample app) and releases it: with -app on Heroku,\n"+
			"otherwise on an embedded emulator that needs no account. The API key is read from\n"+
			"HEROKU_API_KEY or ~/.netrc, and the base URL from HEROKU_API_URL.\n\n")
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	usageError := func(text string) (*settings, error) {
		fmt.Fprintln(stderr, "slug: "+text)
		flags.Usage()
		return nil, errors.New(text)
	}
	switch {
	case flags.NArg() > 1:
		return usageError("at most one directory is allowed")
	case s.app == "" && !s.local && os.Getenv("HEROKU_API_URL") != "":
		return usageError("HEROKU_API_URL is set: either -app or -local is required")
	}
	s.dir = flags.Arg(0)
	if s.app != "" && s.dir == "" && !s.local {
		if err := sample.Refuse(); err != nil {
			return usageError(err.Error())
		}
	}
	if s.app == "" {
		s.local, s.app = true, "example-app"
	}
	return s, nil
}

// sampleApp is the source that is deployed if none is named.
//
//go:embed all:testdata/app
var sampleApp embed.FS

// release creates a slug and releases it.
func (s *settings) release(ctx context.Context, stdout, stderr io.Writer) (err error) {
	if s.dir == "" {
		dir, remove, err := sample.Write(sampleApp)
		if err != nil {
			return err
		}
		defer remove()
		s.dir = dir
	}
	var opts []herokubuild.Option
	if s.verbose {
		opts = append(opts, herokubuild.WithLogger(slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))))
	}
	if s.local {
		srv, err := herokutest.Start(herokutest.Realistic())
		if err != nil {
			return fmt.Errorf("start emulator: %w", err)
		}
		defer func() { _ = srv.Close() }()
		// The client rejects invalid names later.
		_ = srv.AddApp(s.app)
		fmt.Fprintln(stderr, "Releasing to an embedded Heroku emulator (use -app to release to Heroku).")
		opts = append(srv.ClientOptions(), opts...)
	}
	client, err := herokubuild.NewClient(opts...)
	if err != nil {
		return err
	}

	slug, err := client.Slugs.CreateFromDir(ctx, s.app, s.dir, &herokubuild.SlugDirOptions{
		Stack: s.stack, Commit: s.commit, BuildpackProvidedDescription: "Uploaded slug",
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(stderr, "==> Slug %s for %s\n    %s\n", slug.ID, slug.Stack.Name, slug.Checksum)
	for _, name := range slices.Sorted(maps.Keys(slug.ProcessTypes)) {
		fmt.Fprintf(stderr, "    %s: %s\n", name, slug.ProcessTypes[name])
	}
	release, err := client.Releases.Create(ctx, s.app, herokubuild.ReleaseCreateOptions{SlugID: slug.ID})
	if err != nil {
		return err
	}
	fmt.Fprintf(stderr, "==> Release v%d of %s\n", release.Version, s.app)
	if err := follow(ctx, client, s.app, release, stdout); err != nil {
		// The release may succeed all the same.
		fmt.Fprintln(stderr, "    lost the output of the release phase:", err)
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
func follow(ctx context.Context, client *herokubuild.Client, app string, release *herokubuild.Release, stdout io.Writer) error {
	output, err := client.Releases.Output(ctx, app, release.ID, nil)
	if errors.Is(err, herokubuild.ErrNoOutput) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = io.Copy(stdout, output)
	return errors.Join(err, output.Close())
}

// download downloads, verifies and unpacks the slug.
func (s *settings) download(ctx context.Context, client *herokubuild.Client, id string, stderr io.Writer) error {
	archive, err := client.Slugs.Download(ctx, s.app, id, nil)
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
