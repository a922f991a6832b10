package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"

	"github.com/herokubuild/herokubuild"
)

// state is what the heartbeats of an activity carry: what its next attempt resumes
// from, on whatever worker.
type state struct {
	Checkpoint herokubuild.Checkpoint `json:"checkpoint"`
	// Failed are the apps of a batch that are not tried again.
	Failed []AppOutcome `json:"failed,omitempty"`
}

// heartbeats is the part of a Temporal client that a lease uses.
type heartbeats interface {
	RecordActivityHeartbeat(ctx context.Context, taskToken []byte, details ...any) error
}

var errWorkerStopped = errors.New("the worker is stopping")

// lease is a worker's hold on an activity. Each heartbeat stores the state and renews
// the lease; the first that the server refuses ends it, because another worker may have
// the activity by then, or the deploy was canceled.
//
// The heartbeats are calls of the client, not activity.RecordHeartbeat, which delays
// them by up to 80 % of the timeout: a worker that was killed in that time would leave
// a state of before the build, and the next one would start a second build.
type lease struct {
	// leave ends the context of the lease.
	leave      func(cause error)
	heartbeats heartbeats
	token      []byte
	timeout    time.Duration
	// beforeChange is called before each check of the lease; see Activities.
	beforeChange func(herokubuild.Change)

	done    chan struct{}
	renewal sync.WaitGroup

	// mu is held during a heartbeat, so that an older one does not replace a newer.
	mu      sync.Mutex
	state   state
	refused error
}

// newLease returns the lease of the activity that runs in ctx, with the state of its
// last attempt. The caller closes it.
//
// The context is for the calls of herokubuild. It ends with the lease, always with
// herokubuild.ErrDetached as its cause: what happens to a build that is left is decided
// by the workflow.
func newLease(ctx context.Context, h heartbeats) (context.Context, *lease, error) {
	info := activity.GetInfo(ctx)
	l := &lease{heartbeats: h, token: info.TaskToken, timeout: cmp.Or(info.HeartbeatTimeout, defaultHeartbeat), done: make(chan struct{})}
	if activity.HasHeartbeatDetails(ctx) {
		if err := activity.GetHeartbeatDetails(ctx, &l.state); err != nil {
			return nil, nil, err
		}
	}
	leased, end := context.WithCancelCause(context.WithoutCancel(ctx))
	l.leave = func(cause error) { end(fmt.Errorf("%w: %w", herokubuild.ErrDetached, cause)) }
	stopping := activity.GetWorkerStopChannel(ctx)
	// An activity that takes too long, or whose worker has no more time, is left as well.
	stopWaiting := context.AfterFunc(ctx, func() { l.leave(context.Cause(ctx)) })
	l.renewal.Go(func() {
		defer stopWaiting()
		l.renew(leased, stopping)
	})
	return leased, l, nil
}

// close ends the renewal. The lease remains with the worker until the activity returns.
func (l *lease) close() {
	close(l.done)
	l.renewal.Wait()
	l.leave(context.Canceled)
}

// renew renews the lease in time, also while nothing happens.
func (l *lease) renew(ctx context.Context, stopping <-chan struct{}) {
	tick := time.NewTicker(l.timeout / 4)
	defer tick.Stop()
	for {
		select {
		case <-l.done:
			return
		case <-ctx.Done():
			return
		case <-stopping:
			l.leave(errWorkerStopped)
		case <-tick.C:
			_ = l.check(ctx) // A refusal ends ctx.
		}
	}
}

// fence checks the lease right before a request that changes something. A check that took
// long proves nothing, because the process may have been frozen after the server sent its
// response: it is repeated.
func (l *lease) fence(ctx context.Context, c herokubuild.Change) error {
	if l.beforeChange != nil {
		l.beforeChange(c)
	}
	for {
		began := time.Now()
		if err := l.check(ctx); err != nil {
			return err
		}
		if elapsed(began) < l.timeout/4 {
			return nil
		}
	}
}

// elapsed is the time since t. A machine that is suspended may stop the monotonic
// clock, so that the clock on the wall counts as well.
func elapsed(t time.Time) time.Duration {
	return max(time.Since(t), time.Now().Round(0).Sub(t.Round(0)))
}

// check renews the lease and returns an error if the activity is no longer this
// worker's.
func (l *lease) check(ctx context.Context) error { return l.save(ctx, func(*state) {}) }

// save changes the state and stores it before it returns.
func (l *lease) save(ctx context.Context, change func(*state)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(&l.state)
	// The client repeats the call within this time if the server cannot be reached.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.timeout/2)
	defer cancel()
	if err := l.heartbeats.RecordActivityHeartbeat(ctx, l.token, l.state); err != nil {
		l.refused = err
		l.leave(err)
		return fmt.Errorf("%w: %w", herokubuild.ErrDetached, err)
	}
	return nil
}

// saveCheckpoint stores a checkpoint that differs from the last. The zero Checkpoint is
// not stored, so that the next attempt finds a build that has failed, and fails as well.
func (l *lease) saveCheckpoint(ctx context.Context, c herokubuild.Checkpoint) error {
	if !l.setCheckpoint(c) {
		return nil
	}
	return l.check(ctx)
}

// setCheckpoint sets the checkpoint of the next heartbeat, and reports whether it
// differs from the last.
func (l *lease) setCheckpoint(c herokubuild.Checkpoint) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.IsZero() {
		return false
	}
	last := l.state.Checkpoint
	l.state.Checkpoint = c
	return !sameJSON(c, last)
}

func sameJSON(a, b any) bool {
	first, err := json.Marshal(a)
	if err != nil {
		return false
	}
	second, err := json.Marshal(b)
	return err == nil && bytes.Equal(first, second)
}

// end ends an attempt that has failed, and returns the error of the activity: there is
// another attempt unless that would fail as well.
func (l *lease) end(ctx context.Context, err error) error {
	again := l.again(ctx, err)
	if !herokubuild.Retryable(err) {
		return temporal.NewNonRetryableApplicationError(clip(err.Error()), "Final", nil)
	}
	return again
}

// again ends an attempt whose next one is to do the rest. It stores the last state, and
// returns the error of the activity.
func (l *lease) again(ctx context.Context, err error) error {
	_ = l.check(ctx) // Whether it is refused is examined below.
	l.mu.Lock()
	defer l.mu.Unlock()
	var canceled *temporal.CanceledError
	switch {
	case errors.As(l.refused, &canceled):
		return temporal.NewCanceledError(l.state)
	case errors.Is(context.Cause(ctx), errWorkerStopped):
		return temporal.NewApplicationErrorWithOptions("handed over to another worker", "HandOver",
			temporal.ApplicationErrorOptions{NextRetryDelay: time.Millisecond})
	case errors.Is(err, herokubuild.ErrMaybeApplied):
		// The next attempt would not find what takes effect after it has begun.
		return temporal.NewApplicationErrorWithOptions(clip(err.Error()), "MaybeApplied",
			temporal.ApplicationErrorOptions{NextRetryDelay: l.timeout})
	}
	return errors.New(clip(err.Error()))
}
