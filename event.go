package herokubuild

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"runtime/debug"
	"sync"
	"time"
)

// Phase is a part of a deploy.
type DeployPhase string

// The phases of a deploy, in order.
const (
	// PhaseCheck looks up every app, so that a wrong name or key is found out
	// before anything is packed.
	PhaseCheck DeployPhase = "check"
	// PhasePack packs the directory.
	PhasePack DeployPhase = "pack"
	// PhaseUpload uploads the archive.
	PhaseUpload DeployPhase = "upload"
	// PhaseBuild starts the build and follows it to its final status. The
	// Checkpoint of its event is the first that can be resumed from.
	PhaseBuild DeployPhase = "build"
	// PhaseRelease waits for the build app's own release and then releases
	// to the other apps.
	PhaseRelease DeployPhase = "release"
)

// DeployEventKind says what an [DeployEvent] is about.
type DeployEventKind string

// The kinds of events, in the order in which they first come.
const (
	// EventPhase: a phase begins; Phase says which. App is the one that builds.
	EventPhase DeployEventKind = "phase"
	// EventPacked: the archive is ready; Total is its size, Archive itself.
	EventPacked DeployEventKind = "packed"
	// EventWarning: something about the packed directory looks like a mistake;
	// Line says what. See [ArchivePlan].Warnings.
	EventWarning DeployEventKind = "warning"
	// EventUpload: Done of Total bytes are uploaded.
	EventUpload DeployEventKind = "upload"
	// EventBuildCreated: the platform has accepted the build; see Build. A
	// deploy that is resumed has it, too.
	EventBuildCreated DeployEventKind = "build_created"
	// EventHeartbeat: the build, or App's release phase if Release is not nil,
	// is alive and has printed nothing for the time Quiet. It comes every 10 s
	// or so while that lasts, and never more than once a second.
	EventHeartbeat DeployEventKind = "heartbeat"
	// EventOutputLost: the output of the build or release cannot be followed
	// any further, because of Err. The outcome is still waited for.
	EventOutputLost DeployEventKind = "output_lost"
	// EventBuildDone: the build has ended; see Build, and Err if it failed.
	EventBuildDone DeployEventKind = "build_done"
	// EventReleaseCreated: App has a release of this deploy; see Release. A
	// deploy that is resumed has it, too.
	EventReleaseCreated DeployEventKind = "release_created"
	// EventReleaseOutput: App's release phase printed Line.
	EventReleaseOutput DeployEventKind = "release_output"
	// EventReleaseDone: App's release has ended; see Release, and Err if it
	// did not succeed.
	EventReleaseDone DeployEventKind = "release_done"
	// EventVerified: App's release has been looked at by Verify; see Err.
	EventVerified DeployEventKind = "verified"
	// EventRollback: a rollback begins. The apps that may be rolled back are in
	// Checkpoint.RollbackIDs; App is empty.
	EventRollback DeployEventKind = "rollback"
	// EventRolledBack: App is back at what it ran before, by Release, or is
	// not, because of Err.
	EventRolledBack DeployEventKind = "rolled_back"
	// EventBuildCanceled: the deploy was given up and the build canceled, or
	// not, because of Err. Where it was given up because OnEvent failed, OnEvent
	// is not called for it.
	EventBuildCanceled DeployEventKind = "build_canceled"
)

// Event is one step of a deploy. Kind, Time and Checkpoint are always set; of the
// others those that the kind's comment names.
type DeployEvent struct {
	Kind DeployEventKind
	// Time is when it happened, by this machine's clock.
	Time time.Time
	// Phase is the phase that begins; set for EventPhase only.
	Phase DeployPhase
	// App is the app that the event is about, as the caller named it; empty for
	// the events of an archive (packed, warning, upload).
	App string
	// Archive is what was packed: for EventPacked and EventWarning. It is closed
	// when it has been uploaded, unless it was the caller's.
	Archive *Archive
	// Done and Total are bytes of the archive: for EventUpload, and Total for
	// EventPacked.
	Done, Total int64
	// Build is the build in its last known state, for the events about it.
	Build *Build
	// Release is App's release in its last known state, for the events about it.
	Release *Release
	// Line is a line of output, without its end, for EventReleaseOutput; or the
	// text of EventWarning.
	Line string
	// Quiet is how long there has been no output, for EventHeartbeat.
	Quiet time.Duration
	// Err is what went wrong; nil for most events.
	Err error
	// Checkpoint is what a later call resumes from; zero while there is nothing
	// to resume.
	Checkpoint Checkpoint
}

// eventLog calls the caller's callbacks, one at a time, and keeps the
// checkpoint.
type eventLog struct {
	onEvent func(ctx context.Context, e DeployEvent) error
	// giveUp ends the context of the whole call.
	giveUp context.CancelCauseFunc
	logger *slog.Logger
	// turn is held while one of the caller's callbacks runs.
	turn chan struct{}

	// mu guards what follows. It is never held while a callback runs.
	mu         sync.Mutex
	checkpoint Checkpoint
	err        error
	blocked    bool

	panics firstPanic
}

func newEventLog(c *Client, onEvent func(ctx context.Context, e DeployEvent) error, giveUp context.CancelCauseFunc, checkpoint Checkpoint) *eventLog {
	return &eventLog{onEvent: onEvent, giveUp: giveUp, logger: c.log, turn: make(chan struct{}, 1), checkpoint: checkpoint}
}

// callbackGrace is how long a callback that is running when the context ends
// may hold up the end of the call.
const callbackGrace = cancelTimeout

// enter waits for the turn to call a callback. It returns false if the context
// has ended and a callback that does not return has the turn: a writer to a
// stopped terminal, for example.
func (l *eventLog) enter(ctx context.Context) bool {
	select {
	case l.turn <- struct{}{}:
		return true
	default:
	}
	select {
	case l.turn <- struct{}{}:
		return true
	case <-ctx.Done():
	}
	if l.isBlocked() {
		return false
	}
	grace := time.NewTimer(callbackGrace)
	defer grace.Stop()
	select {
	case l.turn <- struct{}{}:
		return true
	case <-grace.C:
	}
	l.block()
	return false
}

// block records that a callback does not return, so that nothing waits for it
// again.
func (l *eventLog) block() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.blocked = true
}

func (l *eventLog) leave() { <-l.turn }

func (l *eventLog) isBlocked() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.blocked
}

// emit passes an event to the caller. An error of the caller's ends the whole
// call.
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

// guard calls a callback of the caller. A panic must not reach the goroutine
// that guard runs in, which may not be the caller's: it is kept.
func (l *eventLog) guard(name string, call func() error) (err error) {
	returned := false
	defer func() {
		v := recover()
		if v == nil && returned {
			return
		}
		if v == nil {
			// runtime.Goexit, as of t.FailNow: the goroutine ends, the call must not
			// take that for a success.
			l.fail(&callbackError{name: name, err: errNotReturned})
			return
		}
		l.logger.Error("herokubuild: callback panicked", slog.String("callback", name), slog.String("stack", string(debug.Stack())))
		l.panics.keep(v)
		err = &callbackError{name: name, err: errPanicked}
		l.giveUp(err)
	}()
	err = call()
	if returned = true; err != nil {
		return &callbackError{name: name, err: err}
	}
	return nil
}

// firstPanic keeps what the caller's code panicked with in a goroutine that is not
// the caller's, where it would end the process.
type firstPanic struct {
	mu    sync.Mutex
	value any
}

func (p *firstPanic) keep(v any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.value == nil {
		p.value = v
	}
}

// rethrow panics with what was kept: call it in the caller's goroutine, after
// everything has been put in order.
func (p *firstPanic) rethrow() {
	p.mu.Lock()
	v := p.value
	p.mu.Unlock()
	if v != nil {
		panic(v)
	}
}

// fail ends the whole call.
func (l *eventLog) fail(err error) {
	l.mu.Lock()
	if l.err == nil {
		l.err = err
	}
	l.mu.Unlock()
	l.giveUp(err)
}

// failure is why OnEvent ended the call.
func (l *eventLog) failure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// note changes the checkpoint. Events have copies of it, so that its maps are
// replaced and not changed.
func (l *eventLog) note(change func(c *Checkpoint)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(&l.checkpoint)
}

// noteRelease records an app's release, and the app's id if it is known.
func (l *eventLog) noteRelease(app, id string, r *Release) {
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

// saved is the checkpoint as it is now.
func (l *eventLog) saved() Checkpoint {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.checkpoint
}

var (
	errPanicked    = errors.New("panicked")
	errNotReturned = errors.New("a callback did not return")
)

// callbackError is the error of one of the caller's own functions. It matches
// what that error matches, except what would say something of this call: of its
// arguments, of the outcome of an app, or of its requests.
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
	switch target.(type) {
	case **ArgumentError, **DeployError, **RolloutError, **BuildError, **ReleaseError, **RollbackError:
		return false
	}
	return errors.As(e.err, target)
}
