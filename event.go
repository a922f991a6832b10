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

// DeployPhase is a part of a deploy.
type DeployPhase string

// The phases of a deploy, in order.
const (
	// PhaseCheck looks up every app that a Checkpoint does not know, so that a wrong name
	// or API key is detected before anything is packed.
	PhaseCheck DeployPhase = "check"
	// PhasePack packs the directory.
	PhasePack DeployPhase = "pack"
	// PhaseUpload uploads the archive.
	PhaseUpload DeployPhase = "upload"
	// PhaseBuild starts the build and follows it to its final status. The
	// Checkpoint of its event is the first that can be resumed from.
	PhaseBuild DeployPhase = "build"
	// PhaseRelease waits for the build app's own release and then releases to the
	// other apps.
	PhaseRelease DeployPhase = "release"
)

// DeployEventKind is what a [DeployEvent] is about.
type DeployEventKind string

// The kinds of events, in the order in which they first occur.
const (
	// EventPhase: a phase begins; see Phase. App is the app that builds.
	EventPhase DeployEventKind = "phase"
	// EventPacked: the archive is ready; see Archive. Total is its size.
	EventPacked DeployEventKind = "packed"
	// EventWarning: something about the packed directory looks like a mistake; see
	// Line and [ArchivePlan].Warnings.
	EventWarning DeployEventKind = "warning"
	// EventUpload: Done of Total bytes are uploaded.
	EventUpload DeployEventKind = "upload"
	// EventBuildCreated: the platform has accepted the build; see Build. A resumed
	// deploy emits it, too.
	EventBuildCreated DeployEventKind = "build_created"
	// EventHeartbeat: the build, or App's release phase if Release is not nil, is
	// still running and has been silent for Quiet. It comes about every 10 s during
	// silence, and never more than once a second.
	EventHeartbeat DeployEventKind = "heartbeat"
	// EventProgress: the call is alive; Checkpoint is the current one, with the offset of
	// the output that has been written. It comes at every ProgressInterval, whether there
	// is output or silence, and not at all without that option.
	EventProgress DeployEventKind = "progress"
	// EventOutputLost: the rest of the output of the build or release cannot be
	// followed, because of Err. The deploy still waits for the outcome.
	EventOutputLost DeployEventKind = "output_lost"
	// EventBuildDone: the build has ended; see Build, and Err if it failed.
	EventBuildDone DeployEventKind = "build_done"
	// EventReleaseCreated: App has a release of this deploy; see Release. A resumed
	// deploy emits it, too.
	EventReleaseCreated DeployEventKind = "release_created"
	// EventReleaseOutput: App's release phase printed Line.
	EventReleaseOutput DeployEventKind = "release_output"
	// EventReleaseDone: App's release has ended; see Release, and Err if it did not
	// succeed.
	EventReleaseDone DeployEventKind = "release_done"
	// EventVerified: Verify has returned for App's release; see Err.
	EventVerified DeployEventKind = "verified"
	// EventRollback: a rollback begins. [Checkpoint.Apps] has the apps that may be
	// rolled back; App is empty.
	EventRollback DeployEventKind = "rollback"
	// EventRolledBack: App was rolled back by Release, or was not, because of Err.
	EventRolledBack DeployEventKind = "rolled_back"
	// EventBuildCanceled: the deploy was given up and the build canceled, or not,
	// because of Err. If the deploy was given up because OnEvent failed, OnEvent is
	// not called for it.
	EventBuildCanceled DeployEventKind = "build_canceled"
)

// DeployEvent is one step of a deploy or rollout. Kind, Time and Checkpoint are
// always set; the other fields are set as the comment of the kind describes.
type DeployEvent struct {
	Kind DeployEventKind
	// Time is when it happened, by this machine's clock.
	Time time.Time
	// Phase is the phase that begins; set for EventPhase only.
	Phase DeployPhase
	// App is the app that the event is about, as the caller named it; empty for the
	// events of an archive (packed, warning, upload).
	App string
	// Archive is what was packed, for EventPacked and EventWarning. It is closed
	// after the upload, unless the caller provided it.
	Archive *Archive
	// Done and Total are bytes of the archive, for EventUpload; EventPacked has
	// Total.
	Done, Total int64
	// Build is the build in its last known state, for events of the build.
	Build *Build
	// Release is App's release in its last known state, for events of a release.
	Release *Release
	// Line is a line of output without its line end, for EventReleaseOutput, or the
	// text of EventWarning.
	Line string
	// Quiet is how long there has been no output, for EventHeartbeat.
	Quiet time.Duration
	// Err is what went wrong; nil for most events.
	Err error
	// Checkpoint is what a later call resumes from; zero while there is nothing to
	// resume.
	Checkpoint Checkpoint
}

// ChangeKind is what a request changes on the platform.
type ChangeKind string

// The kinds of changes of a deploy or rollout. An upload is none of them: without a
// build it has no effect.
const (
	// ChangeBuild starts the build.
	ChangeBuild ChangeKind = "build"
	// ChangeBuildCancel cancels the build.
	ChangeBuildCancel ChangeKind = "build_cancel"
	// ChangeRelease releases to App.
	ChangeRelease ChangeKind = "release"
	// ChangeRollback rolls App back.
	ChangeRollback ChangeKind = "rollback"
)

// Change is a request that is about to change something on the platform.
type Change struct {
	Kind ChangeKind
	// App is the app that is changed, as the caller named it.
	App string
	// Checkpoint is what a later call resumes from.
	Checkpoint Checkpoint
}

// before returns the option of a request that changes something: it calls the caller's
// BeforeChange before each attempt. An error ends the whole call and leaves everything
// as it is.
func (l *eventLog) before(kind ChangeKind, app string) RequestOption {
	if l.beforeChange == nil {
		return nil
	}
	return func(o *requestOptions) error {
		o.before = func(ctx context.Context) error {
			change := Change{Kind: kind, App: app, Checkpoint: l.saved()}
			err := l.Guard("BeforeChange", func() error { return l.beforeChange(ctx, change) })
			if err != nil {
				err = &notSentError{err}
				l.Fail(err)
			}
			return err
		}
		return nil
	}
}

// notSentError is the error of BeforeChange.
type notSentError struct{ err error }

func (e *notSentError) Error() string { return ErrNotSent.Error() + ": " + e.err.Error() }

func (e *notSentError) Is(target error) bool { return target == ErrNotSent }

func (e *notSentError) Unwrap() error { return e.err }

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

// unreported returns the error of a callback unless reported has it. A callback may fail
// too late to stop anything. One that returns why the context has ended adds nothing.
func (l *eventLog) unreported(ctx context.Context, reported error) error {
	err := l.Failure()
	if errors.Is(reported, err) || repeats(err, context.Cause(ctx)) && errors.Is(reported, context.Cause(ctx)) {
		return nil
	}
	return err
}

// repeats reports whether a callback has returned just this cause.
func repeats(err, cause error) bool {
	failed, ok := err.(*callbackError)                                                      //nolint:errorlint // What wraps it says more.
	return ok && cause != nil && reflect.ValueOf(cause).Comparable() && failed.err == cause //nolint:errorlint // as above
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
// last one. Further calls of stop do nothing. It does nothing if the interval is 0.
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
	return sync.OnceFunc(func() {
		close(ended)
		l.Await(ctx, done)
	})
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
