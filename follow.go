package herokubuild

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/herokubuild/herokubuild/internal/logstream"
)

// target is an app of a rollout: its outcome, and the name or ID by which it is
// addressed.
type target struct {
	out *AppResult
	app string
}

// follower follows releases to their final status.
type follower struct {
	client *Client
	log    *eventLog
	stream StreamOptions
	// pace delays status requests when little is left of the rate limit.
	pace *pacer
	// since is when following began; following is how many releases are being awaited.
	since     time.Time
	following atomic.Int64
}

// await follows a release phase, if there is one, and waits for the release's
// final status.
func (f *follower) await(ctx context.Context, t *target) error {
	out := t.out
	if out.Release.Status == StatusSucceeded && out.Release.OutputStreamURL == "" {
		f.log.emit(ctx, DeployEvent{Kind: EventReleaseDone, App: out.App, Release: out.Release})
		return nil
	}
	f.following.Add(1)
	defer f.following.Add(-1)
	get := func(ctx context.Context) (*Release, error) {
		if err := f.pace.wait(ctx); err != nil {
			return nil, err
		}
		r, err := f.client.Releases.Get(ctx, t.app, out.Release.ID)
		if err == nil {
			out.Release = r
		}
		return r, err
	}
	var tail logstream.Tail
	if out.Release.OutputStreamURL != "" {
		if out.OutputErr = f.output(ctx, out, get, &tail); out.OutputErr != nil && ctx.Err() == nil {
			f.client.api.log.LogAttrs(ctx, slog.LevelWarn, "herokubuild: release output is incomplete",
				slog.String("app", out.App), slog.String("error", out.OutputErr.Error()))
			f.log.emit(ctx, DeployEvent{Kind: EventOutputLost, App: out.App, Release: out.Release, Err: out.OutputErr})
		}
	}
	err := f.outcome(ctx, out, get)
	var failed *ReleaseError
	if errors.As(err, &failed) {
		failed.Tail = tail.String()
	}
	if out.Release.Status.Final() {
		f.log.emit(ctx, DeployEvent{Kind: EventReleaseDone, App: out.App, Release: out.Release, Err: err})
	}
	return err
}

func (f *follower) output(ctx context.Context, out *AppResult, get func(context.Context) (*Release, error), tail *logstream.Tail) error {
	opts := f.stream
	opts.backoff = f.backoff
	opts.OnHeartbeat = func(quiet time.Duration) {
		f.log.emit(ctx, DeployEvent{Kind: EventHeartbeat, App: out.App, Release: out.Release, Quiet: quiet})
	}
	stream, err := followOutput(ctx, f.client.api, out.Release, &opts, get)
	if err != nil {
		return err
	}
	defer func() { _ = stream.Close() }()
	for line, err := range stream.Lines() { //nolint:contextcheck // It has the context that it was opened with.
		if err != nil {
			return err
		}
		tail.Add([]byte(line + "\n"))
		f.log.emit(ctx, DeployEvent{Kind: EventReleaseOutput, App: out.App, Release: out.Release, Line: line})
	}
	return nil
}

// outcome waits for the final status, unless the stream has seen it.
func (f *follower) outcome(ctx context.Context, out *AppResult, get func(context.Context) (*Release, error)) error {
	if !out.Release.Status.Final() {
		_, err := waitProcess(ctx, out.App, nil, f.backoff, get)
		switch {
		case err == nil, errors.Is(err, ErrReleaseFailed):
		case ctx.Err() != nil:
			return notFollowed(out, contextError(ctx))
		default:
			return notFollowed(out, err)
		}
	}
	return out.Release.outcome(out.App)
}

// notFollowed is why the final status of a release is not known.
func notFollowed(out *AppResult, err error) error {
	r := out.Release
	return fmt.Errorf("release v%d of %s was not followed to its end (%s): %w", r.Version, out.App, clip(string(r.Status), maxHeaderText), err)
}

// backoff is the client's, made slower by the number of releases that are
// followed and by the time that has passed: the polling rate does not grow with
// the number of apps.
func (f *follower) backoff(polls int) time.Duration {
	const alone, each = 8, 100 * time.Millisecond
	crowd := time.Duration(max(f.following.Load()-alone, 0)) * each
	return max(f.client.api.poll(polls), crowd+time.Duration(float64(crowd)*time.Since(f.since).Minutes()))
}

// buildOutput passes a build's output to the caller's writer and keeps its end.
type buildOutput struct {
	ctx context.Context //nolint:containedctx // An io.Writer gets no context.
	w   io.Writer
	log *eventLog
	// latest is the build as the stream last saw it. final is closed when its status is
	// final, done when there is no more output.
	latest      atomic.Pointer[Build]
	final, done chan struct{}
	ended       sync.Once

	// These belong to the goroutine of follow until done is closed: the last lines, the
	// writer's error, and why the output is incomplete.
	tail     logstream.Tail
	writeErr error
	lost     error
}

// followBuild writes the output of a build to w, in a goroutine that join waits for. get
// requests the build.
func followBuild(ctx context.Context, c *Client, log *eventLog, b *Build, opts buildOutputOptions) *buildOutput {
	o := &buildOutput{ctx: ctx, w: opts.output, log: log, final: make(chan struct{}), done: make(chan struct{})}
	get := func(ctx context.Context) (*Build, error) {
		latest, err := c.Builds.Get(ctx, opts.id, b.ID)
		if err == nil {
			o.keep(latest)
		}
		return latest, err
	}
	stream := StreamOptions{IdleTimeout: opts.idleTimeout, Offset: log.saved().OutputOffset}
	stream.OnHeartbeat = func(quiet time.Duration) {
		log.emit(ctx, DeployEvent{Kind: EventHeartbeat, App: opts.app, Build: b, Quiet: quiet})
	}
	go func() {
		defer close(o.done)
		stream, err := followOutput(ctx, c.api, b, &stream, get)
		if err == nil {
			_, err = stream.WriteTo(o) //nolint:contextcheck // It has the context that it was opened with.
			_ = stream.Close()
		}
		o.lost = err
		switch {
		case o.writeErr != nil:
			log.GiveUp(o.writeErr)
		case err != nil && ctx.Err() == nil:
			log.emit(ctx, DeployEvent{Kind: EventOutputLost, App: opts.app, Build: b, Err: err})
		}
	}()
	return o
}

// buildOutputOptions are the app that builds, as the caller named it and by its ID, and
// how its output is followed.
type buildOutputOptions struct {
	app, id     string
	output      io.Writer
	idleTimeout time.Duration
}

// keep stores the last state of the build. A stale response, as of a replica that lags
// behind, does not undo a final status.
func (o *buildOutput) keep(b *Build) {
	if before := o.latest.Load(); before != nil && before.Status.Final() && !b.Status.Final() {
		return
	}
	o.latest.Store(b)
	if b.Status.Final() {
		o.ended.Do(func() { close(o.final) })
	}
}

func (o *buildOutput) Write(p []byte) (int, error) {
	o.tail.Add(p)
	n, err := o.log.write(o.ctx, o.w, p)
	if err != nil && o.ctx.Err() == nil {
		o.writeErr = err
	}
	return n, err
}

// join waits for the end of the output, for a short time if the context has
// ended: a writer that blocks cannot be stopped. It returns the writer's error
// and why the output is incomplete.
func (o *buildOutput) join(ctx context.Context) (writeErr, lost error) {
	if !o.log.Await(ctx, o.done) {
		return nil, contextError(ctx)
	}
	return o.writeErr, o.lost
}

// lastLines returns the end of the output, if that has been reached.
func (o *buildOutput) lastLines() string {
	select {
	case <-o.done:
		return o.tail.String()
	default:
		return ""
	}
}
