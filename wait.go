package herokubuild

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// Status is how far a build or release has come. The platform may add others
// than these; they are kept as they are and are neither success nor failure.
type Status string

// The statuses that the schema has. Expired is a release's only: its slug or
// image has been destroyed.
const (
	StatusPending   Status = "pending"
	StatusSucceeded Status = "succeeded"
	StatusFailed    Status = "failed"
	StatusExpired   Status = "expired"
)

// UnmarshalJSON takes "successful" for [StatusSucceeded]: Heroku's article on
// builds calls it that, its schema and its answers the other.
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

// Final reports whether the status is one that does not change any more, for
// the better or the worse.
func (s Status) Final() bool {
	return s == StatusSucceeded || s == StatusFailed || s == StatusExpired
}

// Backoff says how long to wait before the next look at something pending.
// looks counts the looks so far and is 1 at the first call. A wait of 0 or less
// is taken for a millisecond.
type Backoff func(looks int) time.Duration

// DefaultPollBackoff waits 0.1 s, doubling to 0.5 s for some seconds, and then
// half as long again each time up to 5 s, each wait made up to a quarter
// shorter at random. A build's status follows the end of its output within a
// fraction of a second as a rule, and up to a minute at times.
func DefaultPollBackoff(looks int) time.Duration {
	const (
		first  = 100 * time.Millisecond
		steady = 500 * time.Millisecond
		quick  = 12
		most   = 5 * time.Second
	)
	d := steady
	if looks < 4 {
		d = min(d, first<<max(looks-1, 0))
	}
	for n := quick; n < looks && d < most; n++ {
		d = min(d+d/2, most)
	}
	return d - rand.N(d/4)
}

// WaitOptions sets how a Wait call waits. nil and the zero value wait as long
// as the context allows, with the client's back-off.
type WaitOptions[T any] struct {
	// Timeout bounds the wait; the error then matches [ErrWaitTimeout].
	// 0 is no bound but the context's.
	Timeout time.Duration
	// Backoff overrides the client's (see [WithPollBackoff]).
	Backoff Backoff
	// OnUpdate is called after every look, the last included, with what the
	// platform said. It runs in the caller's goroutine.
	OnUpdate func(*T)
}

// waitFinal looks until the status is final. The last state is returned with
// every error that is not get's own.
func waitFinal[T any](ctx context.Context, opts *WaitOptions[T], backoff Backoff, get func(context.Context) (*T, error), status func(*T) Status) (*T, error) {
	var o WaitOptions[T]
	if opts != nil {
		o = *opts
	}
	if o.Timeout < 0 {
		return nil, &ArgumentError{Name: "WaitOptions.Timeout", Reason: "is negative"}
	}
	if o.Backoff != nil {
		backoff = o.Backoff
	}
	if o.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, o.Timeout, fmt.Errorf("%w (%v)", ErrWaitTimeout, o.Timeout))
		defer cancel()
	}
	for looks := 1; ; looks++ {
		v, err := get(ctx)
		if err != nil {
			return nil, err
		}
		if o.OnUpdate != nil {
			o.OnUpdate(v)
		}
		switch s := status(v); {
		case s.Final():
			return v, nil
		case s != StatusPending:
			return v, fmt.Errorf("herokubuild: %w %s", ErrUnknownStatus, quote(string(s)))
		}
		if err := sleep(ctx, max(backoff(looks), time.Millisecond)); err != nil {
			return v, fmt.Errorf("herokubuild: still pending: %w", err)
		}
	}
}

// sleep waits for d or the context, whichever ends first.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return contextError(ctx)
	case <-t.C:
		return nil
	}
}

// errNoClient is for methods that need the client before they call it.
var errNoClient = errors.New("the client was not made by NewClient")
