// Command trace deploys and shows the deploy as one OpenTelemetry trace: a span
// for the whole, below it one for each phase, and below these the requests and
// the releases of the apps. On Heroku, or on an embedded look-alike that needs
// no account.
//
//	go run ./examples/trace                  # the sample app, on this machine
//	go run ./examples/trace -app my-app DIR  # on Heroku
//
// Standard error has the build's output, standard output the trace. A program of
// yours hands its spans to a collector instead (an exporter of
// go.opentelemetry.io/otel/exporters); tracing.go is what it can copy as it is.
//
// The exit status is 0 if every app runs the release, 1 if something failed, and
// 2 for a wrong command line.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

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

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("trace", flag.ContinueOnError)
	flags.SetOutput(stderr)
	app := flags.String("app", "", "the `app` that builds (default: one of an embedded platform)")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	if flags.NArg() > 1 {
		fmt.Fprintln(stderr, "trace: more than one directory")
		return 2
	}
	dir := flags.Arg(0)
	if dir == "" {
		// The sample app is beside this file, wherever that was compiled.
		_, file, _, _ := runtime.Caller(0)
		dir = filepath.Join(filepath.Dir(file), "..", "deploy", "testdata", "app")
	}

	var shown waterfall
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(&shown))
	err := deploy(ctx, provider, *app, dir, stderr)
	if shutdownErr := provider.Shutdown(context.WithoutCancel(ctx)); err == nil {
		err = shutdownErr
	}
	shown.print(clean.Writer(stdout))
	if err != nil {
		fmt.Fprintln(clean.Writer(stderr), "Error:", err)
		return 1
	}
	return 0
}

// deploy is a deploy like any other, but for tracing.
func deploy(ctx context.Context, provider *sdktrace.TracerProvider, app, dir string, output io.Writer) (err error) {
	tracing := newTracing(provider, http.DefaultTransport)
	opts := []herokubuild.Option{herokubuild.WithTransport(tracing)}
	releaseTo := []string{}
	if app == "" {
		p, err := platform.Start(platform.Options{})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, p.Close()) }()
		app, releaseTo = "example-app", []string{"other-app"}
		opts = append(opts, herokubuild.WithBaseURL(p.URL()), herokubuild.WithToken(p.Token()))
	}
	client, err := herokubuild.NewClient(opts...)
	if err != nil {
		return err
	}

	ctx, end := tracing.begin(ctx, "deploy "+app)
	_, err = client.BuildAndRelease(ctx, herokubuild.BuildAndReleaseOptions{
		BuildApp: app, Dir: dir, ReleaseTo: releaseTo, Output: output, OnEvent: tracing.event,
	})
	end(err)
	return err
}
