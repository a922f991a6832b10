package herokubuild

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"sync"
	"time"

	"github.com/herokubuild/herokubuild/internal/callback"
	"github.com/herokubuild/herokubuild/internal/ioutil"
)

// eventLog reports the steps of a call to the caller and records them in the
// checkpoint.
type eventLog struct {
	*callback.Caller
	*checkpointLog
	callbacks
}

// callbacks are the functions of the caller that an eventLog calls; each may be nil.
type callbacks struct {
	onEvent      func(ctx context.Context, e DeployEvent) error
	beforeChange func(ctx context.Context, c Change) error
}

func newEventLog(logger *slog.Logger, call callbacks, giveUp context.CancelCauseFunc, checkpoint Checkpoint) *eventLog {
	return &eventLog{
		callbacks:     call,
		Caller:        callback.New(callback.Config{GiveUp: giveUp, Logger: logger, NewError: newCallbackError}),
		checkpointLog: &checkpointLog{checkpoint: checkpoint},
	}
}

// emit passes an event to the caller. An error of OnEvent ends the whole call.
func (l *eventLog) emit(ctx context.Context, e DeployEvent) {
	if l.onEvent == nil || !l.Enter(ctx) {
		return
	}
	defer l.Leave()
	if l.Failure() != nil {
		return
	}
	e.Time = time.Now()
	e.Checkpoint = l.saved()
	if err := l.Guard("OnEvent", func() error { return l.onEvent(ctx, e) }); err != nil {
		l.Fail(err)
	}
}

// reportProgress emits an event at every interval until stop is called, which waits for the
// last one. It does nothing if the interval is 0.
func (l *eventLog) reportProgress(ctx context.Context, interval time.Duration, app string) (stop func()) {
	if interval == 0 || l.onEvent == nil {
		return func() {}
	}
	ended, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				l.emit(ctx, DeployEvent{Kind: EventProgress, App: app})
			case <-ended:
				return
			}
		}
	}()
	return func() {
		close(ended)
		l.Await(ctx, done)
	}
}

// write passes output to the caller's writer and counts it in the checkpoint.
func (l *eventLog) write(ctx context.Context, w io.Writer, p []byte) (n int, err error) {
	if w == nil {
		l.note(func(c *Checkpoint) { c.OutputOffset += int64(len(p)) })
		return len(p), nil
	}
	if !l.Enter(ctx) {
		return 0, contextError(ctx)
	}
	defer l.Leave()
	err = l.Guard("Output", func() error {
		n, err = ioutil.WriteAll(w, p)
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

// note changes the checkpoint.
func (l *checkpointLog) note(change func(c *Checkpoint)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(&l.checkpoint)
}

// noteApp changes what the checkpoint has of an app.
func (l *checkpointLog) noteApp(app string, change func(app *CheckpointApp)) {
	l.note(func(c *Checkpoint) { c.setApp(app, change) })
}

// noteRelease records an app's release, and the app's id if it is known.
func (l *checkpointLog) noteRelease(app, id string, r *Release) {
	l.noteApp(app, func(a *CheckpointApp) { a.ReleaseID, a.ID = r.ID, cmp.Or(id, a.ID) })
}

// saved returns the current checkpoint.
func (l *checkpointLog) saved() Checkpoint {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.checkpoint
}

// callbackError is the error of one of the caller's own functions. It matches what
// that error matches, except what would be a statement about this call: about its
// arguments, the outcome of an app, or its requests.
type callbackError struct {
	name string
	err  error
}

func newCallbackError(name string, err error) error { return &callbackError{name: name, err: err} }

func (e *callbackError) Error() string {
	if e.name == "" {
		return e.err.Error()
	}
	return fmt.Sprintf("%s: %v", e.name, e.err)
}

func (e *callbackError) Is(target error) bool {
	switch target {
	case ErrInvalidArgument, ErrCheckpointMismatch, ErrMaybeApplied, ErrBuildFailed,
		ErrReleaseFailed, ErrNotAttempted, ErrNotSent, ErrSuperseded, ErrVerifyFailed, ErrRolledBack, ErrRollbackFailed:
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
// deploy, or has refused a change, as somebody else may have taken over.
func detached(ctx context.Context) bool {
	cause := context.Cause(ctx)
	return errors.Is(cause, ErrDetached) || errors.Is(cause, ErrNotSent)
}
