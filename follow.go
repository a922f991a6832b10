package herokubuild

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"
)

// target is an app of a rollout: its outcome, and the name or id by which it is
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
	var tail logTail
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

func (f *follower) output(ctx context.Context, out *AppResult, get func(context.Context) (*Release, error), tail *logTail) error {
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
		tail.add([]byte(line + "\n"))
		f.log.emit(ctx, DeployEvent{Kind: EventReleaseOutput, App: out.App, Release: out.Release, Line: line})
	}
	return nil
}

// outcome waits for the final status, unless the stream has seen it.
func (f *follower) outcome(ctx context.Context, out *AppResult, get func(context.Context) (*Release, error)) error {
	if !out.Release.Status.Final() {
		if _, err := waitFinal(ctx, nil, f.backoff, get, statusOf); err != nil {
			return err
		}
	}
	return out.Release.outcome(out.App)
}

// backoff is the client's, made slower by the number of releases that are
// followed and by the time that has passed: the polling rate does not grow with
// the number of apps.
func (f *follower) backoff(polls int) time.Duration {
	const alone, each = 8, 100 * time.Millisecond
	crowd := time.Duration(max(f.following.Load()-alone, 0)) * each
	return max(f.client.api.poll(polls), crowd+time.Duration(float64(crowd)*time.Since(f.since).Minutes()))
}
