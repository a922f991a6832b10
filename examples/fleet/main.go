// Command fleet runs deploys that outlive the processes that run them: workflows on
// Temporal that build with one app and release to thousands. See README.md.
//
//	go run .                 # kill workers in mid-build, against an emulated Heroku
//	go run . demo MODE       # another demonstration; "demo -h" lists them
//	go run . worker          # work on the deploys of the Temporal server
//	go run . deploy -app my-app -source URL -release-to app-1,app-2
//	go run . cancel -app my-app
//
// The exit status is 0 on success, 1 on failure and 2 if the command line is invalid.
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
	"time"

	"go.temporal.io/sdk/client"
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
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// errUsage reports an invalid command line, which has been explained.
var errUsage = errors.New("invalid command line")

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	command := "demo"
	if len(args) > 0 {
		command, args = args[0], args[1:]
	}
	commands := map[string]func(context.Context, []string, io.Writer, io.Writer) error{
		"demo": runDemo, "worker": workerCommand, "deploy": deployCommand, "cancel": cancelCommand,
	}
	call, ok := commands[command]
	if !ok {
		fmt.Fprintf(stderr, "fleet: %q is not one of demo, worker, deploy and cancel\n", command)
		return exitUsage
	}
	switch err := call(ctx, args, stdout, stderr); {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return exitOK
	case errors.Is(err, errUsage):
		return exitUsage
	default:
		fmt.Fprintln(stderr, "Error:", err)
		return exitFailed
	}
}

func newFlags(name string, stderr io.Writer) *flag.FlagSet {
	flags := flag.NewFlagSet("fleet "+name, flag.ContinueOnError)
	flags.SetOutput(stderr)
	return flags
}

// parse parses the command line, which has no arguments apart from flags.
func parse(flags *flag.FlagSet, args []string) error {
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return err
	case err != nil:
		return errUsage
	case flags.NArg() > 0:
		return usage(flags, fmt.Sprintf("unexpected argument %q", flags.Arg(0)))
	}
	return nil
}

func usage(flags *flag.FlagSet, problem string) error {
	fmt.Fprintf(flags.Output(), "%s: %s\n", flags.Name(), problem)
	flags.Usage()
	return errUsage
}

func workerCommand(ctx context.Context, args []string, _, stderr io.Writer) error {
	host, _ := os.Hostname()
	o := workerOptions{}
	var accounts string
	flags := newFlags("worker", stderr)
	flags.StringVar(&o.name, "name", fmt.Sprintf("%s-%d", host, os.Getpid()), "`name` of the worker in the history of workflows")
	flags.StringVar(&accounts, "accounts", "default", "`accounts` to work for, separated by commas; the key of the account east is HEROKU_API_KEY_EAST or, without that, HEROKU_API_KEY")
	flags.StringVar(&o.logDir, "logs", os.TempDir(), "`directory` of the output of builds, which all workers share")
	flags.IntVar(&o.slots, "slots", 100, "`number` of builds, and of batches, to follow at the same time")
	flags.Float64Var(&o.batchRate, "batch-rate", 0.025, "`batches` of an account that begin in a second, over all workers")
	flags.DurationVar(&o.settle, "settle", 0, "`time` in which a request without a response may still take effect (default 30s)")
	flags.DurationVar(&o.stopTime, "stop-time", 10*time.Second, "`time` to hand over before the worker ends")
	flags.TextVar(&o.level, "log", slog.LevelWarn, "lowest `level` that is logged")
	flags.StringVar((*string)(&o.freeze), "freeze", "", "`kind` of change (build, release or rollback) before which the process stops, once, to demonstrate the fence")
	if err := parse(flags, args); err != nil {
		return err
	}
	o.accounts = strings.Split(accounts, ",")
	return runWorker(ctx, o)
}

func deployCommand(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	spec := DeploySpec{}
	fleet := FleetSpec{}
	var releaseTo string
	flags := newFlags("deploy", stderr)
	flags.StringVar(&spec.App, "app", "", "`app` that builds")
	flags.StringVar(&spec.Source, "source", "", "`URL` of a gzipped tar archive, without secrets: FLEET_SOURCE_TOKEN of the workers authorizes its download")
	flags.StringVar(&spec.Version, "version", "", "`version` of the source, such as a commit")
	flags.StringVar(&spec.Account, "account", "default", "`account` that builds and releases")
	flags.StringVar(&releaseTo, "release-to", "", "`apps` that get the release, separated by commas")
	flags.IntVar(&fleet.Canaries, "canaries", 1, "`number` of apps that are released first")
	flags.IntVar(&fleet.Batch, "batch", defaultBatch, "`number` of apps in a batch")
	flags.IntVar(&fleet.MaxFailures, "max-failures", 0, "`number` of apps that may fail before the rollout stops")
	flags.BoolVar(&fleet.RollBack, "rollback", false, "roll all apps back if the rollout stops")
	if err := parse(flags, args); err != nil {
		return err
	}
	if spec.App == "" || spec.Source == "" {
		return usage(flags, "-app and -source are required")
	}
	if releaseTo != "" {
		fleet.Account, fleet.Apps = spec.Account, strings.Split(releaseTo, ",")
		spec.Fleets = []FleetSpec{fleet}
	}
	c, err := dial("fleet deploy", slog.LevelWarn)
	if err != nil {
		return err
	}
	defer c.Close()
	return deploy(ctx, c, spec, stdout)
}

// deploy starts a deploy and waits for its end. An interrupt ends only the wait.
func deploy(ctx context.Context, c client.Client, spec DeploySpec, stdout io.Writer) error {
	started, err := startDeploy(ctx, c, spec)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "Started %s, run %s.\n", started.GetID(), started.GetRunID())
	var result DeployResult
	if err := started.Get(ctx, &result); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("no longer waiting for %s, which continues", started.GetID())
		}
		return err
	}
	fmt.Fprintf(stdout, "Build %s of %s succeeded.\n", result.Built.BuildID, spec.App)
	for _, f := range result.Fleets {
		fmt.Fprintf(stdout, "Released to %d of %d apps.\n", f.Released, f.Apps)
		for _, app := range f.NotReleased {
			fmt.Fprintf(stdout, "%s: %s: %s\n", app.App, app.Outcome, app.Reason)
		}
	}
	return nil
}

func cancelCommand(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var app string
	flags := newFlags("cancel", stderr)
	flags.StringVar(&app, "app", "", "`app` whose deploy is canceled")
	if err := parse(flags, args); err != nil {
		return err
	}
	if app == "" {
		return usage(flags, "-app is required")
	}
	c, err := dial("fleet cancel", slog.LevelWarn)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.CancelWorkflow(ctx, deployID(app), ""); err != nil {
		return err
	}
	fmt.Fprintf(stdout, "Canceling %s.\n", deployID(app))
	return nil
}
