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
	"testing/fstest"
	"time"

	"github.com/herokubuild/herokubuild"
	"github.com/herokubuild/herokubuild/internal/platform"
)

// emulatorOptions are the options of an emulator.
type emulatorOptions struct {
	apps []string
	// build and phase are how long a build and a release phase take. A negative build
	// fails.
	build, phase time.Duration
	// rate is the account's limit of requests an hour; 0 for that of Heroku.
	rate int
}

// emulator is an emulated Heroku, with a server of sources.
type emulator struct {
	p       *platform.Platform
	sources *http.Server
	source  string
}

func startEmulator(ctx context.Context, o emulatorOptions) (*emulator, error) {
	opts := platform.Options{
		Apps: o.apps, RateLimit: o.rate, StatusLag: 50 * time.Millisecond, ReleaseStreamDelay: -1,
		Builder: platform.BuilderFunc(func(ctx context.Context, j *platform.Job) error {
			return compile(ctx, j.Output, o.build, j.AppName)
		}),
	}
	p, err := platform.Start(opts) //nolint:contextcheck // It ends when it is closed.
	if err != nil {
		return nil, err
	}
	e := &emulator{p: p}
	if err := e.serveSource(ctx, o.phase); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

// compile is a build that prints for some time.
func compile(ctx context.Context, output io.Writer, duration time.Duration, app string) error {
	if duration < 0 {
		return errors.New("the source does not compile")
	}
	const pause = 50 * time.Millisecond
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for i := range max(1, int(duration/pause)) {
		if _, err := fmt.Fprintf(output, "-----> Step %d of the build of %s\n", i+1, app); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// serveSource serves a small source, as a host of repositories would.
func (e *emulator) serveSource(ctx context.Context, phase time.Duration) error {
	files := fstest.MapFS{"Procfile": {Data: []byte("web: server\n")}}
	if phase > 0 {
		files["Procfile"].Data = fmt.Appendf(nil, "web: server\nrelease: sleep %g\n", phase.Seconds())
	}
	archive, err := herokubuild.PackFS(ctx, files, nil)
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

func (e *emulator) Close() error {
	var err error
	if e.sources != nil {
		err = e.sources.Close()
	}
	return errors.Join(err, e.p.Close())
}

// environment has the variables that a worker needs to use the emulator.
func (e *emulator) environment() []string {
	return []string{"HEROKU_API_URL=" + e.p.URL(), "HEROKU_API_KEY=" + e.p.Token()}
}

// buildState is the state of a build.
type buildState struct {
	id     string
	status string
	output int64
}

// builds are the builds of an app, as the platform has them.
func (e *emulator) builds(app string) []buildState {
	var all []buildState
	for _, b := range e.p.Builds(app) {
		all = append(all, buildState{id: b.ID, status: b.Status, output: b.OutputBytes})
	}
	return all
}

// requests is how many requests of the API the platform has received.
func (e *emulator) requests() int {
	n := 0
	for _, r := range e.p.Requests() {
		if r.Host == "api" {
			n++
		}
	}
	return n
}

// released reports whether an app runs a release of code.
func (e *emulator) released(app string) bool {
	for _, r := range e.p.Releases(app) {
		if r.SlugID != "" && r.Status == "succeeded" {
			return true
		}
	}
	return false
}

// checkDeployedOnce returns an error unless the platform has one build of the app, and
// one release of its slug on each app.
func (e *emulator) checkDeployedOnce(app string, releasedTo ...string) error {
	builds := e.p.Builds(app)
	if len(builds) != 1 || builds[0].Status != "succeeded" {
		return fmt.Errorf("%s has %d builds, not one that succeeded", app, len(builds))
	}
	var errs []error
	for _, to := range append([]string{app}, releasedTo...) {
		releases := 0
		for _, r := range e.p.Releases(to) {
			if r.SlugID != "" {
				releases++
			}
			if r.SlugID != "" && (r.SlugID != builds[0].SlugID || r.Status != "succeeded") {
				errs = append(errs, fmt.Errorf("%s: v%d is %s", to, r.Version, r.Status))
			}
		}
		if releases != 1 {
			errs = append(errs, fmt.Errorf("%s has %d releases of code, not 1", to, releases))
		}
	}
	return errors.Join(errs...)
}

// checkLog returns an error unless a file has the whole output of a build.
func (e *emulator) checkLog(app, file string) error {
	builds := e.p.Builds(app)
	if len(builds) == 0 {
		return fmt.Errorf("%s has no build", app)
	}
	want, err := e.p.Output(builds[0].ID)
	if err != nil {
		return err
	}
	got, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("%s has %d bytes that differ from the %d of the build's output", file, len(got), len(want))
	}
	return nil
}
