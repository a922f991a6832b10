package herokubuild

import "context"

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
