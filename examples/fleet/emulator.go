package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing/fstest"
	"time"

	"github.com/herokubuild/herokubuild"
	"github.com/herokubuild/herokubuild/herokutest"
)

// emulatorOptions are the options of an emulator.
type emulatorOptions struct {
	apps []string
	// build and phase are how long a build and a release phase take. A negative build
	// fails, and without a phase there is none.
	build, phase time.Duration
	// fails reports whether the release phase of a version of an app fails; nil if none
	// does.
	fails func(app string, version int) bool
	// rate is the account's limit of requests an hour; 0 for that of Heroku.
	rate int
}

// emulator is an emulated Heroku, and a host of its source.
type emulator struct {
	*herokutest.Server
	sources *http.Server
	source  string
}

func startEmulator(ctx context.Context, o emulatorOptions) (*emulator, error) {
	opts := &herokutest.Options{
		Apps: o.apps, RateLimit: o.rate, StatusLag: 50 * time.Millisecond,
		Build: func(ctx context.Context, job *herokutest.BuildJob) error {
			if o.phase > 0 {
				job.SetProcessType("release", "migrate")
			}
			return compile(ctx, job, o.build)
		},
		ReleasePhase: func(ctx context.Context, job *herokutest.ReleaseJob) error {
			if o.fails != nil && o.fails(job.App, job.Version) {
				return errors.New("the migration has failed")
			}
			return job.Sleep(ctx, o.phase)
		},
	}
	server, err := herokutest.Start(opts) //nolint:contextcheck // It ends when it is closed.
	if err != nil {
		return nil, err
	}
	e := &emulator{Server: server}
	if err := e.serveSource(ctx); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

// compile is a build that prints for some time.
func compile(ctx context.Context, job *herokutest.BuildJob, duration time.Duration) error {
	const pause = 50 * time.Millisecond
	if duration < 0 {
		return errors.New("the source does not compile")
	}
	for i := range max(1, int(duration/pause)) {
		job.Printf("-----> Step %d of the build of %s\n", i+1, job.App)
		if err := job.Sleep(ctx, pause); err != nil {
			return err
		}
	}
	return nil
}

// serveSource serves a small source, as a host of repositories would.
func (e *emulator) serveSource(ctx context.Context) error {
	archive, err := herokubuild.PackFS(ctx, fstest.MapFS{"Procfile": {Data: []byte("web: server\n")}}, nil)
	if err != nil {
		return err
	}
	defer func() { _ = archive.Close() }()
	content, err := readArchive(archive)
	if err != nil {
		return err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	const path = "/source.tar.gz"
	mux := http.NewServeMux()
	mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, path, time.Time{}, bytes.NewReader(content))
	})
	e.source = "http://" + listener.Addr().String() + path
	e.sources = &http.Server{ReadHeaderTimeout: time.Minute, Handler: mux}
	go func() { _ = e.sources.Serve(listener) }() // It returns when e is closed.
	return nil
}

func readArchive(a *herokubuild.Archive) ([]byte, error) {
	r, err := a.Open()
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(r)
	return content, errors.Join(err, r.Close())
}

// Close stops the emulator and the host of its source.
func (e *emulator) Close() error {
	var err error
	if e.sources != nil {
		err = e.sources.Close()
	}
	return errors.Join(err, e.Server.Close())
}

// environment has the variables that a worker needs to use the emulator.
func (e *emulator) environment() []string {
	return []string{"HEROKU_API_URL=" + e.URL(), "HEROKU_API_KEY=" + e.Token()}
}

// apiRequests is how many requests of the API the platform has received.
func (e *emulator) apiRequests() int {
	n := 0
	for _, r := range e.Requests() {
		if r.Host == "api" {
			n++
		}
	}
	return n
}

// released reports whether an app has a release of code that succeeded.
func (e *emulator) released(app string) bool {
	for _, r := range e.Releases(app) {
		if r.ArtifactID != "" && r.Status == "succeeded" {
			return true
		}
	}
	return false
}

// changes is how many builds and releases the apps have.
func (e *emulator) changes(apps ...string) int {
	n := 0
	for _, app := range apps {
		n += len(e.Builds(app)) + len(e.Releases(app))
	}
	return n
}

// rolledBack reports whether an app runs a rollback.
func (e *emulator) rolledBack(app string) bool {
	return slices.ContainsFunc(e.Releases(app), func(r herokutest.Release) bool { return r.Current && isRollback(r) })
}

func isRollback(r herokutest.Release) bool { return strings.HasPrefix(r.Description, "Rollback to v") }

// checkRolledBack returns an error unless all apps run what the first of two builds of
// buildApp has built, because each that ran the second was rolled back once. It returns
// how many of them were, and how many never had a release of the second.
func (e *emulator) checkRolledBack(buildApp string, apps ...string) (back, untouched int, err error) {
	builds := e.Builds(buildApp)
	if len(builds) != 2 {
		return 0, 0, fmt.Errorf("%s has %d builds, not 2", buildApp, len(builds))
	}
	first, second := builds[0].ArtifactID, builds[1].ArtifactID
	var errs []error
	for _, app := range apps {
		had, err := checkReturned(e.Releases(app), first, second)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", app, err))
		}
		switch {
		case e.rolledBack(app):
			back++
		case !had:
			untouched++
		}
	}
	if back == 0 {
		errs = append(errs, errors.New("no app was rolled back"))
	}
	return back, untouched, errors.Join(errs...)
}

// checkReturned returns an error unless an app has one release of the first artifact and
// at most one of the second, which was rolled back once if it succeeded. It reports
// whether the app had one of the second.
func checkReturned(releases []herokutest.Release, first, second string) (had bool, err error) {
	var firsts, seconds, rollbacks, toUndo int
	for _, r := range releases {
		switch {
		case r.ArtifactID == second:
			seconds++
			if r.Status == "succeeded" {
				toUndo++
			}
		case isRollback(r):
			rollbacks++
		case r.ArtifactID == first:
			firsts++
		}
	}
	last := releases[slices.IndexFunc(releases, func(r herokutest.Release) bool { return r.Current })]
	if firsts != 1 || seconds > 1 || rollbacks != toUndo || last.ArtifactID != first {
		return seconds > 0, fmt.Errorf("has %d and %d releases of the two builds, and %d rollbacks; it runs %s", firsts, seconds, rollbacks, last.Description)
	}
	return seconds > 0, nil
}

// checkLog returns an error unless a file has the whole output of the app's build.
func (e *emulator) checkLog(app, file string) error {
	builds := e.Builds(app)
	if len(builds) == 0 {
		return fmt.Errorf("%s has no build", app)
	}
	want, err := e.Output(builds[0].ID)
	if err != nil {
		return err
	}
	got, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if string(got) != want {
		return fmt.Errorf("%s has %d bytes that differ from the %d of the build's output", file, len(got), len(want))
	}
	return nil
}
