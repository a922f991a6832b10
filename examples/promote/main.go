// Command promote releases the slug of one app to many others: first to a few
// canaries, which are checked, and then to the rest. It uses Heroku, or an
// embedded emulator that needs no account.
//
//	go run ./examples/promote                            # five apps on the emulator
//	go run ./examples/promote -fail app-4 -rollback all  # one of them fails its check
//	go run ./examples/promote -from shop-staging -to shop-eu,shop-us -canaries 1 -check /health
//
// With -checkpoint, the next run resumes one that was interrupted.
//
// The exit status is 0 if the release succeeded on all apps, 1 if something
// failed, 2 if the command line is invalid, and 130 if the program was
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
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
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
	from         string
	to           []string
	canaries     int
	concurrency  int
	stopOnError  bool
	rollback     herokubuild.RollbackPolicy
	check        string
	checkTimeout time.Duration
	fail         string
	description  string
	checkpoint   string
	local        bool
	verbose      bool
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
	err = s.promote(ctx, stdout, stderr)
	switch {
	case err == nil:
		return exitOK
	case ctx.Err() != nil:
		fmt.Fprintln(stderr, "Interrupted.")
		return exitInterrupted
	}
	fmt.Fprintln(stderr, "Error: "+err.Error())
	if errors.Is(err, herokubuild.ErrInvalidArgument) {
		return exitUsage
	}
	return exitFailed
}

func parse(args []string, stderr io.Writer) (*settings, error) {
	s := new(settings)
	var to, rollback string
	flags := flag.NewFlagSet("promote", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&s.from, "from", "", "the `app` to promote from")
	flags.StringVar(&to, "to", "", "the `apps` to release to, separated by commas")
	flags.IntVar(&s.canaries, "canaries", 1, "number of canary apps")
	flags.IntVar(&s.concurrency, "concurrency", 0, "number of concurrent releases (default 16)")
	flags.BoolVar(&s.stopOnError, "stop-on-error", false, "start no more releases after a failure")
	flags.StringVar(&rollback, "rollback", "none", "apps to roll back after a failure: none, failed (those that failed -check) or all")
	flags.StringVar(&s.check, "check", "", "`path` that must return a 2xx status on each app, such as /health")
	flags.DurationVar(&s.checkTimeout, "check-timeout", 2*time.Minute, "how long each app may take to pass its -check")
	flags.StringVar(&s.fail, "fail", "", "the `app` of the emulator whose check should fail")
	flags.StringVar(&s.description, "description", "", "release description")
	flags.StringVar(&s.checkpoint, "checkpoint", "", "`file` to store the checkpoint in")
	flags.BoolVar(&s.local, "local", false, "use the embedded emulator, not Heroku")
	flags.BoolVar(&s.verbose, "v", false, "log every request")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	usageError := func(text string) (*settings, error) {
		fmt.Fprintln(stderr, "promote: "+text)
		flags.Usage()
		return nil, errors.New(text)
	}
	var ok bool
	s.rollback, ok = map[string]herokubuild.RollbackPolicy{
		"none": herokubuild.RollbackNone, "failed": herokubuild.RollbackVerifyFailed, "all": herokubuild.RollbackAll,
	}[rollback]
	if to != "" {
		for app := range strings.SplitSeq(to, ",") {
			s.to = append(s.to, strings.TrimSpace(app))
		}
	}
	if s.from == "" && to == "" && os.Getenv("HEROKU_API_URL") == "" {
		s.local = true
	}
	if s.local {
		if s.from == "" {
			s.from = "example-app"
		}
		if to == "" {
			s.to = []string{"app-1", "app-2", "app-3", "app-4", "app-5"}
		}
	}
	switch {
	case !ok:
		return usageError("-rollback must be none, failed or all")
	case flags.NArg() > 0:
		return usageError("unexpected arguments")
	case !s.local && (s.from == "" || to == ""):
		return usageError("-from and -to are required, unless all of -from, -to and HEROKU_API_URL are unset, which selects the emulator")
	case s.fail != "" && !s.local:
		return usageError("-fail requires the emulator")
	case s.fail != "" && !slices.Contains(s.to, s.fail):
		return usageError("-fail must be one of the apps of -to")
	case s.check != "" && (!strings.HasPrefix(s.check, "/") || strings.HasPrefix(s.check, "//")):
		return usageError("-check must be a path such as /health")
	case s.checkTimeout <= 0:
		return usageError("-check-timeout must be positive")
	case s.rollback == herokubuild.RollbackVerifyFailed && s.check == "" && !s.local:
		return usageError("-rollback failed requires -check")
	}
	return s, nil
}

// sampleApp is the source that is deployed if none is named.
//
//go:embed all:testdata/app
var sampleApp embed.FS

// promote releases the slug of one app to the others.
func (s *settings) promote(ctx context.Context, stdout, stderr io.Writer) error {
	var opts []herokubuild.Option
	if s.verbose {
		opts = append(opts, herokubuild.WithLogger(slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))))
	}
	if s.local {
		server := herokutest.Realistic()
		server.Apps = []string{s.from}
		srv, err := herokutest.Start(server)
		if err != nil {
			return fmt.Errorf("start emulator: %w", err)
		}
		defer func() { _ = srv.Close() }()
		for _, app := range s.to {
			// The client rejects invalid names later.
			_ = srv.AddApp(app)
		}
		opts = append(srv.ClientOptions(), opts...)
	}
	client, err := herokubuild.NewClient(opts...)
	if err != nil {
		return err
	}
	if s.local {
		fmt.Fprintf(stderr, "Building a sample app on %s of an embedded Heroku emulator (use -from and -to for Heroku).\n", s.from)
		dir, remove, err := sample.Write(sampleApp)
		if err != nil {
			return err
		}
		defer remove()
		// The first build is released to all apps, so that they can be rolled
		// back to it. The second one is promoted.
		for _, apps := range [][]string{s.to, nil} {
			if _, err := client.BuildAndRelease(ctx, herokubuild.BuildAndReleaseOptions{BuildApp: s.from, Dir: dir, ReleaseTo: apps}); err != nil {
				return err
			}
		}
	}

	current, err := client.Releases.Current(ctx, s.from)
	if err != nil {
		return err
	}
	runs := current.Artifact()
	if runs.IsZero() {
		return fmt.Errorf("v%d of %s: %w", current.Version, s.from, herokubuild.ErrNoArtifact)
	}
	code := herokubuild.ReleaseCreateOptions{SlugID: runs.SlugID, ImageID: runs.ImageID, Description: s.description}
	if code.Description == "" {
		code.Description = fmt.Sprintf("Promote %s v%d", s.from, current.Version)
	}
	fmt.Fprintf(stderr, "Promoting v%d of %s to %s.\n", current.Version, s.from, count(len(s.to), "app"))

	rollout := &herokubuild.RolloutOptions{
		Policy: herokubuild.RolloutPolicy{
			Concurrency: s.concurrency, StopOnError: s.stopOnError, Canaries: s.canaries, Rollback: s.rollback,
		},
	}
	if s.check != "" || s.local {
		if rollout.Policy.Verify, err = s.verify(client); err != nil {
			return err
		}
	}
	rollout.OnEvent = func(_ context.Context, e herokubuild.DeployEvent) error {
		printEvent(stderr, e)
		return nil
	}
	file := herokubuild.CheckpointFile(s.checkpoint)
	if s.checkpoint != "" {
		if rollout.Checkpoint, err = file.Load(); err != nil {
			return err
		}
		rollout.OnEvent = file.OnEvent(rollout.OnEvent)
	}
	result, err := client.Rollout(ctx, code, s.to, rollout)
	if result != nil {
		printTable(stdout, result.Apps)
	}
	if s.checkpoint != "" {
		err = errors.Join(err, file.Finish(err))
	}
	return err
}

// verify returns a function that checks whether an app is healthy. The emulator
// does not run web processes; there, only the check of the -fail app fails.
func (s *settings) verify(client *herokubuild.Client) (func(context.Context, string, *herokubuild.Release) error, error) {
	if s.local {
		simulated := func(_ context.Context, app string, _ *herokubuild.Release) error {
			if app == s.fail {
				return errors.New("simulated failure (-fail)")
			}
			return nil
		}
		return simulated, nil
	}
	return client.HealthCheck(s.check, &herokubuild.HealthCheckOptions{Timeout: s.checkTimeout})
}

func printEvent(w io.Writer, e herokubuild.DeployEvent) {
	text := ""
	switch e.Kind {
	case herokubuild.EventReleaseCreated:
		text = fmt.Sprintf("v%d", e.Release.Version)
	case herokubuild.EventReleaseOutput:
		text = "| " + e.Line
	case herokubuild.EventReleaseDone:
		text = fmt.Sprintf("v%d %s", e.Release.Version, e.Release.Status)
	case herokubuild.EventVerified:
		text = "verified"
	case herokubuild.EventRolledBack:
		text = "rolled back"
	case herokubuild.EventOutputLost:
		text = "lost its output"
	default:
		return
	}
	switch {
	case e.Err != nil && e.Kind == herokubuild.EventVerified:
		text = strings.TrimPrefix(e.Err.Error(), e.App+": ")
	case e.Err != nil && e.Kind == herokubuild.EventRolledBack:
		text = "not rolled back: " + e.Err.Error()
	case e.Release != nil && e.Kind == herokubuild.EventRolledBack:
		text += fmt.Sprintf(" by v%d", e.Release.Version)
	}
	fmt.Fprintf(w, "%-12s %s\n", e.App, text)
}

func printTable(w io.Writer, outcomes []herokubuild.AppResult) {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, out := range outcomes {
		version, outcome := "-", "released"
		if out.Release != nil {
			version = fmt.Sprintf("v%d", out.Release.Version)
		}
		switch {
		case errors.Is(out.Err, herokubuild.ErrNotAttempted):
			outcome = "not attempted"
		case errors.Is(out.Err, herokubuild.ErrVerifyFailed):
			outcome = "failed verification"
		case errors.Is(out.Err, herokubuild.ErrReleaseFailed):
			outcome = "release failed"
		case errors.Is(out.Err, herokubuild.ErrSuperseded):
			outcome = "superseded"
		case errors.Is(out.Err, herokubuild.ErrRolledBack), errors.Is(out.Err, herokubuild.ErrRollbackFailed):
			outcome = "released"
		case out.Err != nil:
			outcome = "failed"
		}
		switch {
		case out.RollbackErr != nil:
			outcome += ", NOT ROLLED BACK: " + out.RollbackErr.Error()
		case out.RolledBack != nil:
			outcome += fmt.Sprintf(", rolled back by v%d", out.RolledBack.Version)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\n", out.App, version, terminal.Line(outcome))
	}
	_ = t.Flush()
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
