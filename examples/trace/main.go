// Command trace deploys an app and prints an OpenTelemetry trace of the deploy.
// The span of the deploy contains one for each phase, and these contain spans
// for requests and for the releases of the apps. It uses Heroku, or an embedded
// emulator that needs no account.
//
//	go run ./examples/trace                  # deploy the sample app to the emulator
//	go run ./examples/trace -app my-app DIR  # deploy DIR to Heroku
//
// The build's output is written to standard error, and the trace to standard
// output. A real program would export its spans to a collector (see
// go.opentelemetry.io/otel/exporters). It can use tracing.go unchanged.
//
// The exit status is 0 if the release succeeded on all apps, 1 if something
// failed, and 2 if the command line is invalid.
package main

import (
	"context"
	"embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

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

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("trace", flag.ContinueOnError)
	flags.SetOutput(stderr)
	app := flags.String("app", "", "the `app` to build on (default: an app of the embedded emulator)")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	if flags.NArg() > 1 {
		fmt.Fprintln(stderr, "trace: at most one directory is allowed")
		return 2
	}
	dir := flags.Arg(0)
	if dir == "" {
		if *app != "" {
			if err := sample.Refuse(); err != nil {
				fmt.Fprintln(stderr, "trace:", err)
				return 2
			}
		}
		written, remove, err := sample.Write(sampleApp)
		if err != nil {
			fmt.Fprintln(stderr, "Error:", err)
			return 1
		}
		defer remove()
		dir = written
	}

	var shown waterfall
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(&shown))
	err := deploy(ctx, provider, *app, dir, stderr)
	if shutdownErr := provider.Shutdown(context.WithoutCancel(ctx)); err == nil {
		err = shutdownErr
	}
	shown.print(terminal.Writer(stdout))
	if err != nil {
		fmt.Fprintln(terminal.Writer(stderr), "Error:", err)
		return 1
	}
	return 0
}

// sampleApp is the source that is deployed if none is named.
//
//go:embed all:testdata/app
var sampleApp embed.FS

// deploy deploys with tracing.
func deploy(ctx context.Context, provider *sdktrace.TracerProvider, app, dir string, output io.Writer) (err error) {
	tracing := newTracing(provider, http.DefaultTransport)
	opts := []herokubuild.Option{herokubuild.WithTransport(tracing)}
	releaseTo := []string{}
	if app == "" {
		srv, err := herokutest.Start(herokutest.Realistic())
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, srv.Close()) }()
		app, releaseTo = "example-app", []string{"other-app"}
		opts = append(srv.ClientOptions(), opts...)
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
