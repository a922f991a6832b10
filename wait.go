package herokubuild

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/herokubuild/herokubuild/internal/ioutil"
)

// Status is the state of a build or release. The platform may add others to these;
// they are kept as they are and are neither success nor failure.
type Status string

// The statuses of the schema. Only releases expire: the slug or image of one that
// has was destroyed.
const (
	StatusPending   Status = "pending"
	StatusSucceeded Status = "succeeded"
	StatusFailed    Status = "failed"
	StatusExpired   Status = "expired"
)

// UnmarshalJSON treats "successful" as [StatusSucceeded]: Heroku's article on builds
// has the former, its schema and its responses the latter.
func (s *Status) UnmarshalJSON(b []byte) error {
	var text *string
	if err := json.Unmarshal(b, &text); err != nil {
		return err
	}
	switch {
	case text == nil:
		*s = ""
	case *text == "successful":
		*s = StatusSucceeded
	default:
		*s = Status(*text)
	}
	return nil
}

// Final reports whether the status is final: it does not change any more.
func (s Status) Final() bool {
	return s == StatusSucceeded || s == StatusFailed || s == StatusExpired
}

// WaitOptions configures a Wait call. nil is the default, which waits as long as the
// context allows, with the client's backoff.
type WaitOptions struct {
	// Timeout bounds the wait; the error then matches [ErrWaitTimeout].
	// 0 means that only the context bounds it.
	Timeout time.Duration
	// Backoff overrides the client's (see [WithPollBackoff]).
	Backoff Backoff
	// OnPoll, if not nil, is called after every poll, including the last, with the
	// status that the platform reported. It runs in the caller's goroutine.
	OnPoll func(Status)
}

// withTimeout bounds a call that the caller has given a time limit, unless that is 0.
func withTimeout(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	if limit == 0 {
		return ctx, func() {}
	}
	return context.WithTimeoutCause(ctx, limit, fmt.Errorf("%w (%v)", ErrWaitTimeout, limit))
}

// waitFinal polls until the status is final.
func waitFinal[T any](ctx context.Context, opts *WaitOptions, backoff Backoff, get func(context.Context) (T, error), status func(T) Status) (T, error) {
	var none T
	o := orZero(opts)
	if o.Timeout < 0 {
		return none, &ArgumentError{Name: "WaitOptions.Timeout", Reason: "is negative"}
	}
	if o.Backoff != nil {
		backoff = o.Backoff
	}
	ctx, stopTimer := withTimeout(ctx, o.Timeout)
	defer stopTimer()
	for polls := 1; ; polls++ {
		v, err := get(ctx)
		if err != nil {
			return none, err
		}
		now := status(v)
		if o.OnPoll != nil {
			o.OnPoll(now)
		}
		switch {
		case now.Final():
			return v, nil
		case now != StatusPending:
			return none, fmt.Errorf("%w %s", ErrUnknownStatus, quote(string(now)))
		}
		if err := sleep(ctx, max(backoff(polls), time.Millisecond)); err != nil {
			return none, fmt.Errorf("still pending: %w", err)
		}
	}
}

// process is a build or a release: it has a status, and perhaps output until that is
// final.
type process interface {
	// name identifies the process within its app.
	name() string
	// state returns the status and the URL of the output, which may be empty.
	state() (Status, SecretURL)
	// outcome returns the error of a final status that is not success.
	outcome(app string) error
}

// waitFor polls a process of an app until its status is final, and returns it if
// that is success.
func waitFor[T process](ctx context.Context, c *apiClient, app string, opts *WaitOptions, get func(context.Context) (T, error)) (T, error) {
	var none T
	if err := c.check(); err != nil {
		return none, err
	}
	v, err := waitProcess(ctx, app, opts, c.poll, get)
	if err == nil {
		err = v.outcome(app)
	}
	if err != nil {
		return none, err
	}
	return v, nil
}

// waitProcess is waitFinal for a process of an app, which its errors name unless they are
// those of get.
func waitProcess[T process](ctx context.Context, app string, opts *WaitOptions, backoff Backoff, get func(context.Context) (T, error)) (T, error) {
	var latest T
	polled := false
	v, err := waitFinal(ctx, opts, backoff, func(ctx context.Context) (v T, err error) {
		latest, err = get(ctx)
		polled = err == nil
		return latest, err
	}, statusOf[T])
	if err != nil && polled {
		err = fmt.Errorf("%s of %s: %w", latest.name(), app, err)
	}
	return v, err
}

func statusOf[T process](v T) Status {
	status, _ := v.state()
	return status
}

// sleep waits for d or the context, whichever ends first.
func sleep(ctx context.Context, d time.Duration) error {
	if ctx.Err() != nil || !ioutil.Sleep(ctx, d) {
		return contextError(ctx)
	}
	return nil
}
