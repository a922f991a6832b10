// Command platform runs an emulator of Heroku's Platform API on this machine until it is
// interrupted. Use it to try out programs, curl commands and Heroku's own command line
// without an account. Builds (of Go modules and of apps with a bin/compile) and release
// phases run on this machine as the current user: only give it code that you trust.
//
//	go run ./examples/platform
//	go run ./examples/platform -apps builder,shop-eu -fir-apps shop-fir -v
//	go run ./examples/platform -instant -faults 0.2
//
// It prints the environment variables that a client needs. Heroku's own command line
// needs HEROKU_HOST instead of HEROKU_API_URL. Only the apps of -apps and -fir-apps exist.
// The URL of each responds with the release that the app runs; web processes do not run.
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
	"strings"
	"syscall"

	"github.com/herokubuild/herokubuild/examples/internal/site"
	"github.com/herokubuild/herokubuild/herokutest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	opts, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		fmt.Fprintln(stderr, "Error:", err)
		return exitUsage
	}
	if err := serve(ctx, opts, stdout, stderr); err != nil {
		fmt.Fprintln(stderr, "Error:", err)
		if errors.Is(err, syscall.EADDRINUSE) {
			fmt.Fprintln(stderr, "Use -addr 127.0.0.1:0 for a free port.")
		}
		return exitFailed
	}
	return exitOK
}

func parse(args []string, stderr io.Writer) (*herokutest.Options, error) {
	opts := herokutest.Realistic()
	flags := flag.NewFlagSet("platform", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&opts.Addr, "addr", "127.0.0.1:5000", "`address` of the API; the other hosts use free ports")
	apps := flags.String("apps", "example-app,other-app", "`names` of the apps, separated by commas")
	firApps := flags.String("fir-apps", "", "`names` of apps of the Fir generation, separated by commas")
	flags.StringVar(&opts.Token, "token", "", "API `key` to accept (default: a random one)")
	instant := flags.Bool("instant", false, "compile nothing, run no release commands and wait for nothing")
	flags.DurationVar(&opts.StatusLag, "status-lag", opts.StatusLag, "how `long` a build or release stays pending after its output; 0s for clients that do not wait")
	flags.IntVar(&opts.RateLimit, "rate-limit", 4500, "`number` of requests an hour that the account may make")
	faults := flags.Float64("faults", 0, "`share` of the requests that fail at random, from 0 to 1")
	seed := flags.Uint64("seed", 1, "`number` that decides which requests fail")
	verbose := flags.Bool("v", false, "log every request")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(stderr, "Usage: platform [flags]")
			flags.SetOutput(stderr)
			flags.PrintDefaults()
		}
		return nil, err
	}
	switch {
	case flags.NArg() > 0:
		return nil, fmt.Errorf("unexpected argument %q: the names of apps belong to -apps", flags.Arg(0))
	case *faults < 0 || *faults > 1:
		return nil, fmt.Errorf("-faults must be from 0 to 1, not %v", *faults)
	case opts.RateLimit <= 0:
		return nil, fmt.Errorf("-rate-limit must be positive, not %d", opts.RateLimit)
	case opts.StatusLag < 0:
		return nil, fmt.Errorf("-status-lag must not be negative, not %v", opts.StatusLag)
	}
	opts.Apps, opts.FirApps = names(*apps), names(*firApps)
	if len(opts.Apps)+len(opts.FirApps) == 0 {
		return nil, errors.New("name at least one app with -apps or -fir-apps")
	}
	if *instant {
		opts.Build, opts.ReleasePhase, opts.StatusLag, opts.StreamDelay = nil, nil, 0, 0
	}
	if *faults > 0 {
		opts.Faults = []herokutest.Fault{herokutest.Random(*seed, *faults)}
	}
	if *verbose {
		opts.Logger = slog.New(slog.NewTextHandler(stderr, nil))
	}
	return opts, nil
}

// names splits a list of names, which may have spaces after the commas.
func names(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
}

func serve(ctx context.Context, opts *herokutest.Options, stdout, stderr io.Writer) error {
	srv, err := herokutest.Start(opts)
	if err != nil {
		return err
	}
	var lines strings.Builder
	for _, app := range append(opts.Apps, opts.FirApps...) {
		url, err := site.Serve(srv, app)
		if err != nil {
			return errors.Join(err, srv.Close())
		}
		fmt.Fprintf(&lines, "# %s: %s\n", app, url)
	}
	fmt.Fprintf(stdout, "export HEROKU_API_URL=%s\nexport HEROKU_API_KEY=%s\n", srv.URL(), srv.Token())
	fmt.Fprintf(stderr, "%s# Interrupt to stop.\n", lines.String())
	<-ctx.Done()
	return srv.Close()
}
