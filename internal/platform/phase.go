package platform

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// ReleasePhaseFunc runs the release phase of a release. An error fails the
// release, and its text is printed at the end of the output.
type ReleasePhaseFunc func(ctx context.Context, ph *Phase) error

// Phase describes a release phase to a [ReleasePhaseFunc].
type Phase struct {
	// AppName and AppID identify the app, and ReleaseID and Version the release.
	AppName, AppID, ReleaseID string
	Version                   int
	// Command is the command of the Procfile's release process.
	Command string
	// Env is the app's config vars.
	Env map[string]string
	// Output receives the output of the release phase.
	Output io.Writer

	p       *Platform
	slug    *slug
	created time.Time
	work    string // contains the unpacked slug; empty until Unpack
}

// Unpack unpacks the slug, in the first call only, and returns the directory of
// the app. The directory is removed after the release phase.
func (ph *Phase) Unpack(ctx context.Context) (dir string, err error) {
	if ph.work != "" {
		return ph.appDir(), nil
	}
	work, err := os.MkdirTemp(filepath.Join(ph.p.dir, "work"), "release-")
	if err != nil {
		return "", err
	}
	if err := ph.unpackInto(ctx, work); err != nil {
		ph.p.discard(work)
		return "", err
	}
	ph.work = work
	return ph.appDir(), nil
}

func (ph *Phase) appDir() string { return filepath.Join(ph.work, "slug", "app") }

func (ph *Phase) unpackInto(ctx context.Context, work string) error {
	root := filepath.Join(work, "slug")
	for _, d := range []string{root, filepath.Join(work, "tmp")} {
		if err := os.Mkdir(d, 0o700); err != nil {
			return err
		}
	}
	f, _, err := ph.p.blobs.open(slugKey(ph.slug.id))
	if err != nil {
		return err
	}
	_, err = unpack(ctx, f, root, ph.p.unpackLimits())
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("Unable to unpack the slug: %w", err) //nolint:staticcheck // a line of the output
	}
	return os.MkdirAll(filepath.Join(root, "app"), 0o700)
}

// Run runs a program in the directory of the app and copies its output to Output.
// It unpacks the slug first. The environment is that of a one-off dyno, plus env.
// When the program exits or ctx ends, all processes that the program started are
// killed.
func (ph *Phase) Run(ctx context.Context, env []string, name string, args ...string) error {
	home, err := ph.Unpack(ctx)
	if err != nil {
		return err
	}
	all := baseEnv(home, filepath.Join(ph.work, "tmp"))
	all = append(all, "PATH="+os.Getenv("PATH")+string(os.PathListSeparator)+filepath.Join(home, "bin"))
	for k, v := range ph.Env {
		all = append(all, k+"="+v)
	}
	all = append(all,
		"DYNO=release."+strconv.Itoa(1000+ph.Version),
		"PORT=5000",
		"STACK="+ph.slug.stack.Name,
		"HEROKU_APP_ID="+ph.AppID,
		"HEROKU_APP_NAME="+ph.AppName,
		"HEROKU_RELEASE_CREATED_AT="+formatTime(ph.created),
		fmt.Sprintf("HEROKU_RELEASE_VERSION=v%d", ph.Version),
		"HEROKU_SLUG_COMMIT="+str(ph.slug.commit),
		"HEROKU_SLUG_DESCRIPTION="+str(ph.slug.commitDescription),
	)
	return run(ctx, home, append(all, env...), ph.Output, name, args...)
}

// DefaultReleasePhase runs the Command of a phase in a shell. An exit status other
// than 0 fails the release without a text, as on Heroku.
func DefaultReleasePhase(ctx context.Context, ph *Phase) error {
	err := ph.Run(ctx, nil, "sh", "-c", ph.Command)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return &commandFailed{err}
	}
	return err
}

// commandFailed is the failure of a release command, whose output says why.
type commandFailed struct{ err error }

func (e *commandFailed) Error() string { return "release command: " + e.err.Error() }
func (e *commandFailed) Unwrap() error { return e.err }

// runReleasePhase runs the release phase and sets the release's final status.
func (p *Platform) runReleasePhase(a *app, r *release) {
	ctx, cancel := context.WithTimeoutCause(p.ctx, p.opts.ReleaseTimeout, errTimeout)
	defer cancel()
	ph := &Phase{
		AppName:   r.appName,
		AppID:     a.id,
		ReleaseID: r.id,
		Version:   r.version,
		Command:   r.slug.processTypes["release"],
		Env:       maps.Clone(r.config),
		Output:    r.output,
		p:         p,
		slug:      r.slug,
		created:   r.created,
	}
	status := statusFailed
	// The cleanup is deferred because a ReleasePhaseFunc may end the goroutine with
	// runtime.Goexit, as a failing test does.
	defer func() {
		if ph.work != "" {
			p.discard(ph.work)
		}
		r.output.finish()
		p.pause(p.opts.StatusLag)
		p.mu.Lock()
		defer p.mu.Unlock()
		r.status, r.updated = status, time.Now()
		a.updated = r.updated
		p.log.Info("release finished", "app", a.name, "version", r.version, "status", r.status)
	}()

	err := ctx.Err()
	if err == nil {
		err = p.opts.ReleasePhase(ctx, ph)
	}
	var failed *commandFailed
	switch {
	case err == nil:
		status = statusSucceeded
	case errors.Is(context.Cause(ctx), errTimeout):
		r.output.printf("\n !     Release command exceeded the limit of %s\n", p.opts.ReleaseTimeout)
	case !errors.As(err, &failed) && ctx.Err() == nil:
		r.output.printf("\n !     %v\n", err)
	}
}
