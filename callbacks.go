package herokubuild

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"reflect"
	"runtime/debug"
	"sync"
	"time"
)

// eventLog reports the steps of a call to the caller and records them in the
// checkpoint.
type eventLog struct {
	*callbacks
	*checkpointLog
	onEvent func(ctx context.Context, e DeployEvent) error
}

func newEventLog(logger *slog.Logger, onEvent func(ctx context.Context, e DeployEvent) error, giveUp context.CancelCauseFunc, checkpoint Checkpoint) *eventLog {
	return &eventLog{
		callbacks:     &callbacks{giveUp: giveUp, logger: logger, turn: make(chan struct{}, 1)},
		checkpointLog: &checkpointLog{checkpoint: checkpoint},
		onEvent:       onEvent,
	}
}

// emit passes an event to the caller. An error of OnEvent ends the whole call.
func (l *eventLog) emit(ctx context.Context, e DeployEvent) {
	if l.onEvent == nil || !l.enter(ctx) {
		return
	}
	defer l.leave()
	if l.failure() != nil {
		return
	}
	e.Time = time.Now()
	e.Checkpoint = l.saved()
	if err := l.guard("OnEvent", func() error { return l.onEvent(ctx, e) }); err != nil {
		l.fail(err)
	}
}

// write passes output to the caller's writer and counts it in the checkpoint.
func (l *eventLog) write(ctx context.Context, w io.Writer, p []byte) (n int, err error) {
	if w == nil {
		l.note(func(c *Checkpoint) { c.OutputOffset += int64(len(p)) })
		return len(p), nil
	}
	if !l.enter(ctx) {
		return 0, contextError(ctx)
	}
	defer l.leave()
	err = l.guard("Output", func() error {
		n, err = writeAll(w, p)
		return err
	})
	l.note(func(c *Checkpoint) { c.OutputOffset += int64(n) })
	return n, err
}

// checkpointLog keeps the checkpoint of a call.
type checkpointLog struct {
	mu         sync.Mutex
	checkpoint Checkpoint
}

// note changes the checkpoint. Events share its maps, which are therefore replaced
// and not changed.
func (l *checkpointLog) note(change func(c *Checkpoint)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(&l.checkpoint)
}

// noteRelease records an app's release, and the app's id if it is known.
func (l *checkpointLog) noteRelease(app, id string, r *Release) {
	l.note(func(c *Checkpoint) {
		c.ReleaseIDs = with(c.ReleaseIDs, app, r.ID)
		if id != "" && c.AppIDs[app] != id {
			c.AppIDs = with(c.AppIDs, app, id)
		}
	})
}

// with returns a copy of a map with one more entry.
func with[V any](m map[string]V, key string, value V) map[string]V {
	m = maps.Clone(m)
	if m == nil {
		m = map[string]V{}
	}
	m[key] = value
	return m
}

// saved returns the current checkpoint.
func (l *checkpointLog) saved() Checkpoint {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.checkpoint
}

// callbacks calls the caller's functions, one at a time, and keeps their errors and
// panics.
type callbacks struct {
	// giveUp ends the context of the whole call.
	giveUp context.CancelCauseFunc
	logger *slog.Logger
	// turn is held while one of the caller's functions runs.
	turn chan struct{}

	// mu guards err and blocked. It is never held while a callback runs.
	mu      sync.Mutex
	err     error
	blocked bool

	panics firstPanic
}

// callbackGrace is how long a callback that is running when the context ends may
// delay the end of the call.
const callbackGrace = 10 * time.Second

// enter waits for the turn to call a callback. It returns false if the context has
// ended while another callback does not return: a write to a stopped terminal, for
// example.
func (c *callbacks) enter(ctx context.Context) bool {
	select {
	case c.turn <- struct{}{}:
		return true
	default:
	}
	select {
	case c.turn <- struct{}{}:
		return true
	case <-ctx.Done():
	}
	if c.isBlocked() {
		return false
	}
	grace := time.NewTimer(callbackGrace)
	defer grace.Stop()
	select {
	case c.turn <- struct{}{}:
		return true
	case <-grace.C:
	}
	c.block()
	return false
}

func (c *callbacks) leave() { <-c.turn }

// block records that a callback does not return, so that nothing waits for it again.
func (c *callbacks) block() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.blocked = true
}

func (c *callbacks) isBlocked() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.blocked
}

// guard calls one of the caller's functions. It may run in a goroutine of this
// package, where a panic would end the process: the panic is kept for rethrow.
func (c *callbacks) guard(name string, call func() error) (err error) {
	returned := false
	defer func() {
		v := recover()
		switch {
		case v != nil:
			c.logger.Error("herokubuild: callback panicked", slog.String("callback", name), slog.String("stack", string(debug.Stack())))
			c.panics.keep(v)
			err = &callbackError{name: name, err: errPanicked}
			c.giveUp(err)
		case !returned:
			// runtime.Goexit, as of t.FailNow, must not pass for a success.
			c.fail(&callbackError{name: name, err: errNotReturned})
		}
	}()
	err = call()
	if returned = true; err != nil {
		return &callbackError{name: name, err: err}
	}
	return nil
}

// fail ends the whole call.
func (c *callbacks) fail(err error) {
	c.mu.Lock()
	if c.err == nil {
		c.err = err
	}
	c.mu.Unlock()
	c.giveUp(err)
}

// failure returns the error of OnEvent that ended the call, if any.
func (c *callbacks) failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

var errNotReturned = errors.New("a callback did not return")

// callbackError is the error of one of the caller's own functions. It matches what
// that error matches, except what would be a statement about this call: about its
// arguments, the outcome of an app, or its requests.
type callbackError struct {
	name string
	err  error
}

func (e *callbackError) Error() string {
	if e.name == "" {
		return e.err.Error()
	}
	return fmt.Sprintf("%s: %v", e.name, e.err)
}

func (e *callbackError) Is(target error) bool {
	switch target {
	case ErrInvalidArgument, ErrCheckpointMismatch, ErrMaybeApplied, ErrBuildFailed,
		ErrReleaseFailed, ErrNotAttempted, ErrSuperseded, ErrVerifyFailed, ErrRolledBack, ErrRollbackFailed:
		return false
	}
	return errors.Is(e.err, target)
}

func (e *callbackError) As(target any) bool {
	if t := reflect.TypeOf(target); t.Kind() == reflect.Pointer && t.Elem().Implements(outcomeType) {
		return false
	}
	return errors.As(e.err, target)
}

// outcome is implemented by the errors that describe the outcome of a call.
type outcome interface {
	error
	isOutcome()
}

var outcomeType = reflect.TypeFor[outcome]()

// joined is errors.Join, but returns a single error as it is.
func joined(first, second error) error {
	if first == nil {
		return second
	}
	return errors.Join(first, second)
}

// detached reports whether the caller has stopped following without giving up the
// deploy.
func detached(ctx context.Context) bool { return errors.Is(context.Cause(ctx), ErrDetached) }
