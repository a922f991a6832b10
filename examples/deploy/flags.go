package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/herokubuild/herokubuild"
	"github.com/herokubuild/herokubuild/examples/internal/sample"
)

const usage = `Usage: deploy [flags] [DIR]

Builds DIR (default: a sample app) and releases it: with -app on Heroku, otherwise
on an embedded emulator that needs no account. The API key is read from
HEROKU_API_KEY or ~/.netrc, and the base URL from HEROKU_API_URL.

`

const usageEnd = `
Exit status:
  0    released to all apps; or, with -detach, the build was started
  1    something failed
  2    the command line is invalid, or DIR cannot be packed
  130  interrupted (SIGINT or SIGTERM): a running build is canceled, releases continue

Examples:
  deploy -app shop-build -release-to shop-eu,shop-us -canaries 1 -check /health -rollback all DIR
  deploy -app shop-eu -json "$RUNNER_TEMP/deploy.json" DIR
  deploy -app shop-eu -checkpoint /var/lib/deploys/shop.json DIR   # run again to resume
  deploy -app shop-eu -detach -json - DIR                          # start the build and leave
  deploy -local -app shop -release-to shop-eu -check / DIR         # try it on the emulator

herokubuild `

// settings are the values of the command line.
type settings struct {
	app          string
	releaseTo    []string
	version      string
	timeout      time.Duration
	idleTimeout  time.Duration
	canaries     int
	check        string
	checkTimeout time.Duration
	rollback     herokubuild.RollbackPolicy
	checkpoint   string
	detach       bool
	json         string
	local        bool
	verbose      bool
	dryRun       bool
	dir          string
}

// parse reads the command line. It prints why it is invalid.
func parse(args []string, stderr io.Writer) (*settings, error) {
	s := new(settings)
	flags := flag.NewFlagSet("deploy", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	s.define(flags)
	err := flags.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		flags.SetOutput(stderr)
		fmt.Fprint(stderr, usage)
		flags.PrintDefaults()
		fmt.Fprintln(stderr, usageEnd+herokubuild.Version)
		return nil, err
	}
	set := map[string]bool{}
	flags.Visit(func(f *flag.Flag) { set[f.Name] = true })
	if err == nil {
		err = s.complete(flags.Args(), set)
	}
	if err != nil {
		fmt.Fprintf(stderr, "deploy: %v\nRun deploy -h for help.\n", err)
		return nil, err
	}
	return s, nil
}

func (s *settings) define(flags *flag.FlagSet) {
	flags.StringVar(&s.app, "app", "", "the `app` to build on")
	flags.Func("release-to", "additional `apps` to release to, separated by commas", func(list string) error {
		s.releaseTo = nil
		for app := range strings.SplitSeq(list, ",") {
			if list != "" {
				s.releaseTo = append(s.releaseTo, strings.TrimSpace(app))
			}
		}
		return nil
	})
	flags.StringVar(&s.version, "version", "", "source `version` (default: the git commit of DIR, with -dirty if there are changes, or else the SHA-256 of the archive)")
	flags.DurationVar(&s.timeout, "timeout", time.Hour, "time limit for the whole run")
	flags.DurationVar(&s.idleTimeout, "idle-timeout", time.Minute, "reconnect the output stream after this long without data")
	flags.IntVar(&s.canaries, "canaries", 0, "release to the first `N` apps of -release-to before the others")
	flags.StringVar(&s.check, "check", "", "`path` that must return a 2xx status on each app after its release, such as /health; -app is checked first")
	flags.DurationVar(&s.checkTimeout, "check-timeout", 2*time.Minute, "how long each app may take to pass its -check")
	flags.Func("rollback", "`which` apps of -release-to to roll back after a failure: none, failed (those that failed -check) or all (default none)", func(word string) error {
		var ok bool
		s.rollback, ok = map[string]herokubuild.RollbackPolicy{
			"none": herokubuild.RollbackNone, "failed": herokubuild.RollbackVerifyFailed, "all": herokubuild.RollbackAll,
		}[word]
		if !ok {
			return errors.New("must be none, failed or all")
		}
		return nil
	})
	flags.StringVar(&s.checkpoint, "checkpoint", "", "`file` from which a later run resumes; removed after a success")
	flags.BoolVar(&s.detach, "detach", false, "start the build and leave")
	flags.StringVar(&s.json, "json", "", "write a report to a `file`; - is standard output, with -detach only")
	flags.BoolVar(&s.local, "local", false, "deploy to the embedded emulator, not to Heroku")
	flags.BoolVar(&s.dryRun, "dry-run", false, "only print what would be packed")
	flags.BoolVar(&s.verbose, "v", false, "log every request")
}

// complete sets the defaults and refuses combinations that make no sense, before
// anything is sent.
func (s *settings) complete(args []string, set map[string]bool) error {
	if len(args) > 1 {
		return errors.New("at most one directory is allowed, after the flags")
	}
	s.dir = strings.Join(args, "")
	switch {
	case len(args) == 1 && s.dir == "":
		return errors.New("the name of the directory is empty")
	case s.app == "" && set["app"]:
		return errors.New("-app is empty")
	case s.app != "" && s.dir == "" && !s.local && !s.dryRun:
		if err := sample.Refuse(); err != nil {
			return err
		}
	}
	if s.app == "" {
		if !s.local && !s.dryRun && os.Getenv("HEROKU_API_URL") != "" {
			return errors.New("HEROKU_API_URL is set: either -app or -local is required")
		}
		s.local, s.app = true, "example-app"
		if len(s.releaseTo) == 0 {
			s.releaseTo = []string{"other-app"}
		}
	}
	return cmp.Or(s.checkReport(), s.checkCheckpoint(), s.checkRollout(), s.checkHealth(set))
}

func (s *settings) checkReport() error {
	switch {
	case s.json == "":
		return nil
	case s.dryRun:
		return errors.New("-json: -dry-run has nothing to report")
	case s.json == "-" && !s.detach:
		return errors.New("-json -: standard output has the build's output, except with -detach; name a file")
	case s.json == "-":
		return nil
	case s.json == s.checkpoint:
		return errors.New("-json and -checkpoint must be different files")
	}
	return outside("-json", s.json, s.dir)
}

func (s *settings) checkCheckpoint() error {
	const lasting = " requires Heroku (-app), or an emulator that outlives this program (see examples/platform)"
	switch {
	case s.detach && s.local:
		return errors.New("-detach" + lasting)
	case s.checkpoint != "" && s.local:
		return errors.New("-checkpoint" + lasting)
	case s.checkpoint != "":
		return outside("-checkpoint", s.checkpoint, s.dir)
	case s.detach && (len(s.releaseTo) > 0 || s.check != ""):
		return errors.New("-detach with -release-to or -check requires -checkpoint: a later run without -detach releases and checks")
	}
	return nil
}

func (s *settings) checkRollout() error {
	switch {
	case s.canaries < 0:
		return errors.New("-canaries must not be negative")
	case len(s.releaseTo) == 0 && s.canaries > 0:
		return errors.New("-canaries requires -release-to: the app that builds always comes first")
	case len(s.releaseTo) == 0 && s.rollback != herokubuild.RollbackNone:
		return errors.New("-rollback requires -release-to: the app that builds is not rolled back")
	case s.check == "" && s.rollback == herokubuild.RollbackVerifyFailed:
		return errors.New("-rollback failed requires -check: an app whose release failed still runs what it ran before")
	}
	return nil
}

func (s *settings) checkHealth(set map[string]bool) error {
	switch {
	case !set["check"] && set["check-timeout"]:
		return errors.New("-check-timeout requires -check")
	case !set["check"]:
		return nil
	case s.checkTimeout <= 0:
		return errors.New("-check-timeout must be positive")
	}
	if !strings.HasPrefix(s.check, "/") {
		return errors.New("-check must be a path such as /health")
	}
	return nil
}

// outside refuses a file in the directory that is deployed: it would be packed, and
// would change the version of the source.
func outside(name, file, dir string) error {
	if dir == "" {
		return nil // the sample app is elsewhere
	}
	if info, err := os.Stat(file); err == nil && info.IsDir() {
		return fmt.Errorf("%s: %s is a directory", name, file)
	}
	parent, err := realPath(filepath.Dir(file))
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	root, err := realPath(dir)
	if err != nil {
		return nil //nolint:nilerr // the library reports a missing directory
	}
	if rel, err := filepath.Rel(root, parent); err == nil && filepath.IsLocal(rel) {
		return fmt.Errorf("%s: %s is inside of the directory that is deployed, which it would change", name, file)
	}
	return nil
}

func realPath(path string) (string, error) {
	resolved, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", err
	}
	return filepath.Abs(resolved)
}
