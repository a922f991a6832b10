// Command promote releases what one app runs to many others: a few first, which
// have to be well, and then the rest. On Heroku, or on an embedded look-alike
// that needs no account.
//
//	go run ./examples/promote                              # five apps on this machine
//	go run ./examples/promote -fail app-4 -rollback all    # one of them turns out not to be well
//	go run ./examples/promote -from staging -to eu,us,asia -canaries 1 -check /health
//
// With -checkpoint, a run that was interrupted is gone on with by the next.
//
// The exit status is 0 if every app runs the release, 1 if something failed, 2
// for a wrong command line, and 130 if it was interrupted.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"text/tabwriter"
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
	from        string
	to          []string
	canaries    int
	concurrency int
	stopOnError bool
	rollback    herokubuild.RollbackPolicy
	check       string
	fail        string
	description string
	checkpoint  string
	local       bool
	verbose     bool
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
	err = s.promote(ctx, stdout, stderr)
	switch {
	case err == nil:
		return exitOK
	case ctx.Err() != nil:
		fmt.Fprintln(stderr, "Interrupted.")
		return exitInterrupted
	}
	fmt.Fprintln(stderr, "Error: "+strings.TrimPrefix(err.Error(), "herokubuild: "))
	if errors.Is(err, herokubuild.ErrInvalidArgument) && !errors.Is(err, herokubuild.ErrNoCredential) {
		return exitUsage
	}
	return exitFailed
}

func parse(args []string, stderr io.Writer) (*settings, error) {
	s := new(settings)
	var to, rollback string
	flags := flag.NewFlagSet("promote", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&s.from, "from", "", "the `app` that runs what is promoted")
	flags.StringVar(&to, "to", "", "the `apps` that get it, separated by commas")
	flags.IntVar(&s.canaries, "canaries", 1, "how many of them are first, and have to be well")
	flags.IntVar(&s.concurrency, "concurrency", 0, "how many are released to at a time (default 16)")
	flags.BoolVar(&s.stopOnError, "stop-on-error", false, "start no more once one has failed")
	flags.StringVar(&rollback, "rollback", "none", "which apps go back when one fails: none, unverified or all")
	flags.StringVar(&s.check, "check", "", "a `path` that each app has to answer with 2xx, such as /health")
	flags.StringVar(&s.fail, "fail", "", "the `app` of the embedded platform that is to turn out not to be well")
	flags.StringVar(&s.description, "description", "", "what stands in the apps' history")
	flags.StringVar(&s.checkpoint, "checkpoint", "", "the `file` that keeps how far it has come")
	flags.BoolVar(&s.local, "local", false, "use the embedded platform, not Heroku")
	flags.BoolVar(&s.verbose, "v", false, "log every request")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	wrong := func(text string) (*settings, error) {
		fmt.Fprintln(stderr, "promote: "+text)
		flags.Usage()
		return nil, errors.New(text)
	}
	var ok bool
	s.rollback, ok = map[string]herokubuild.RollbackPolicy{
		"none": herokubuild.RollbackNone, "unverified": herokubuild.RollbackUnverified, "all": herokubuild.RollbackAll,
	}[rollback]
	if to != "" {
		s.to = strings.Split(to, ",")
	}
	if s.from == "" && to == "" && os.Getenv("HEROKU_API_URL") == "" {
		s.local = true
	}
	switch {
	case !ok:
		return wrong("-rollback is none, unverified or all")
	case flags.NArg() > 0:
		return wrong("there are no arguments besides flags")
	case !s.local && (s.from == "" || to == ""):
		return wrong("-from and -to are needed: only without them, and without HEROKU_API_URL, is it the embedded platform")
	case s.fail != "" && !s.local:
		return wrong("-fail is for the embedded platform")
	case s.rollback == herokubuild.RollbackUnverified && s.check == "" && !s.local:
		return wrong("-rollback unverified needs -check")
	}
	if s.local {
		if s.from == "" {
			s.from = "example-app"
		}
		if to == "" {
			s.to = []string{"app-1", "app-2", "app-3", "app-4", "app-5"}
		}
	}
	return s, nil
}

// promote is what the program is about.
func (s *settings) promote(ctx context.Context, stdout, stderr io.Writer) error {
	var opts []herokubuild.Option
	if s.verbose {
		opts = append(opts, herokubuild.WithLogger(slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))))
	}
	if s.local {
		p, err := platform.Start(platform.Options{Apps: []string{s.from}})
		if err != nil {
			return fmt.Errorf("starting the embedded platform: %w", err)
		}
		defer func() { _ = p.Close() }()
		for _, app := range s.to {
			// A name that no app can have is the library's to refuse.
			_ = p.AddApp(app)
		}
		opts = append(opts, herokubuild.WithBaseURL(p.URL()), herokubuild.WithToken(p.Token()))
	}
	client, err := herokubuild.NewClient(opts...)
	if err != nil {
		return err
	}
	if s.local {
		fmt.Fprintf(stderr, "Building a sample app on %s, on an embedded platform on this machine (with -from and -to, Heroku).\n", s.from)
		dir, err := sampleDir()
		if err != nil {
			return err
		}
		// Once for all, so that there is something to go back to, and once anew.
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
	code, ok := current.Code()
	if !ok {
		return fmt.Errorf("v%d of %s: %w", current.Version, s.from, herokubuild.ErrNoArtifact)
	}
	if code.Description = s.description; s.description == "" {
		code.Description = fmt.Sprintf("Promote %s v%d", s.from, current.Version)
	}
	fmt.Fprintf(stderr, "Promoting v%d of %s to %s.\n", current.Version, s.from, count(len(s.to), "app"))

	fanOut := &herokubuild.RolloutPolicy{
		Concurrency: s.concurrency, StopOnError: s.stopOnError, Canaries: s.canaries, Rollback: s.rollback,
	}
	if s.check != "" || s.local {
		fanOut.Verify = s.verify(client)
	}
	fanOut.OnEvent = func(_ context.Context, e herokubuild.DeployEvent) error {
		tell(stderr, e)
		return nil
	}
	file := herokubuild.CheckpointFile(s.checkpoint)
	if s.checkpoint != "" {
		if fanOut.Checkpoint, err = file.Load(); err != nil {
			return err
		}
		fanOut.OnEvent = file.OnEvent(fanOut.OnEvent)
	}
	outcomes, err := client.Releases.ReleaseToApps(ctx, code, s.to, fanOut)
	if outcomes != nil {
		table(stdout, outcomes)
	}
	if s.checkpoint != "" {
		err = errors.Join(err, file.Finish(err))
	}
	return err
}

// verify asks an app how it is. The embedded platform does not run web
// processes: there, every app but the one of -fail is taken to be well.
func (s *settings) verify(client *herokubuild.Client) func(context.Context, string, *herokubuild.Release) error {
	if s.local {
		return func(_ context.Context, app string, _ *herokubuild.Release) error {
			if app == s.fail {
				return errors.New("it is to fail (-fail)")
			}
			return nil
		}
	}
	web := &http.Client{Timeout: 30 * time.Second}
	return func(ctx context.Context, name string, _ *herokubuild.Release) error {
		app, err := client.Apps.Get(ctx, name)
		if err != nil {
			return err
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(app.WebURL, "/")+s.check, nil)
		if err != nil {
			return err
		}
		resp, err := web.Do(req)
		if err != nil {
			return err
		}
		_ = resp.Body.Close()
		if resp.StatusCode/100 != 2 {
			return fmt.Errorf("%s answers %s", req.URL, resp.Status)
		}
		return nil
	}
}

func tell(w io.Writer, e herokubuild.DeployEvent) {
	text := ""
	switch e.Kind {
	case herokubuild.EventReleaseCreated:
		text = fmt.Sprintf("v%d", e.Release.Version)
	case herokubuild.EventReleaseOutput:
		text = "| " + e.Line
	case herokubuild.EventReleaseDone:
		text = fmt.Sprintf("v%d %s", e.Release.Version, e.Release.Status)
	case herokubuild.EventVerified:
		text = "well"
	case herokubuild.EventRolledBack:
		text = "rolled back"
	case herokubuild.EventOutputLost:
		text = "its output is lost"
	default:
		return
	}
	switch {
	case e.Err != nil && e.Kind == herokubuild.EventVerified:
		text = "not well: " + e.Err.Error()
	case e.Err != nil && e.Kind == herokubuild.EventRolledBack:
		text = "not rolled back: " + e.Err.Error()
	case e.Release != nil && e.Kind == herokubuild.EventRolledBack:
		text += fmt.Sprintf(" by v%d", e.Release.Version)
	}
	fmt.Fprintf(w, "%-12s %s\n", e.App, text)
}

func table(w io.Writer, outcomes []herokubuild.AppResult) {
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
			outcome = "not well"
		case errors.Is(out.Err, herokubuild.ErrReleaseFailed):
			outcome = "release failed"
		case errors.Is(out.Err, herokubuild.ErrRolledBack), errors.Is(out.Err, herokubuild.ErrRollbackFailed):
			outcome = "released"
		case out.Err != nil:
			outcome = "failed"
		}
		switch {
		case out.RollbackErr != nil:
			outcome += ", NOT ROLLED BACK: " + strings.TrimPrefix(out.RollbackErr.Error(), "herokubuild: ")
		case out.RolledBack != nil:
			outcome += fmt.Sprintf(", rolled back by v%d", out.RolledBack.Version)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\n", out.App, version, clean.Line(clean.Uncolored(outcome)))
	}
	_ = t.Flush()
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
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
	return "", errors.New("the sample app is not where this program was compiled")
}
