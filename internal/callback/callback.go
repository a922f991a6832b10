// Package callback calls functions of the library's user, which may block, panic, exit
// their goroutine or fail, without harm to the call that they belong to.
package callback

import (
	"context"
	"errors"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"
)

// Grace is how long a function that is running when the context ends may delay the end
// of the call.
const Grace = 10 * time.Second

var (
	// ErrPanicked reports that a function panicked.
	ErrPanicked = errors.New("panicked")
	// ErrNotReturned reports that a function ended its goroutine, as t.FailNow does.
	ErrNotReturned = errors.New("a callback did not return")
)

// Config sets up a [Caller].
type Config struct {
	// GiveUp ends the context of the whole call.
	GiveUp context.CancelCauseFunc
	// Logger receives the stack of a panic.
	Logger *slog.Logger
	// NewError returns the error of the named function that failed with err.
	NewError func(name string, err error) error
}

// Caller calls the user's functions and keeps their errors and panics. Those that are
// called between Enter and Leave run one at a time. It is safe for concurrent use.
type Caller struct {
	config Config
	// turn is held while one of the functions runs.
	turn chan struct{}

	// mu guards err and blocked. It is never held while a function runs.
	mu      sync.Mutex
	err     error
	blocked bool

	panics FirstPanic
}

// New returns a caller.
func New(config Config) *Caller {
	return &Caller{config: config, turn: make(chan struct{}, 1)}
}

// Enter waits for the turn to call a function. It returns false if the context has ended
// while another function does not return: a write to a stopped terminal, for example.
func (c *Caller) Enter(ctx context.Context) bool {
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
	grace := time.NewTimer(Grace)
	defer grace.Stop()
	select {
	case c.turn <- struct{}{}:
		return true
	case <-grace.C:
	}
	c.block()
	return false
}

// Leave ends the turn that Enter began.
func (c *Caller) Leave() { <-c.turn }

// Await waits until done is closed. It returns false if that has not happened when the
// context has ended and [Grace] has passed: a function that blocks cannot be stopped.
func (c *Caller) Await(ctx context.Context, done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	case <-ctx.Done():
	}
	grace := time.NewTimer(Grace)
	defer grace.Stop()
	select {
	case <-done:
		return true
	case <-grace.C:
	}
	c.block()
	return false
}

// block records that a function does not return, so that nothing waits for it again.
func (c *Caller) block() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.blocked = true
}

func (c *Caller) isBlocked() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.blocked
}

// Guard calls one of the user's functions and returns its error. It may run in a
// goroutine of the library, where a panic would end the process: the panic ends the
// whole call and is kept for Rethrow.
func (c *Caller) Guard(name string, call func() error) (err error) {
	returned := false
	defer func() {
		v := recover()
		switch {
		case v != nil:
			c.config.Logger.Error("herokubuild: callback panicked", slog.String("callback", name), slog.String("stack", string(debug.Stack())))
			c.panics.Keep(v)
			err = c.config.NewError(name, ErrPanicked)
			c.GiveUp(err)
		case !returned:
			// runtime.Goexit must not pass for a success.
			c.Fail(c.config.NewError(name, ErrNotReturned))
		}
	}()
	err = call()
	if returned = true; err != nil {
		return c.config.NewError(name, err)
	}
	return nil
}

// GiveUp ends the context of the whole call.
func (c *Caller) GiveUp(cause error) { c.config.GiveUp(cause) }

// Fail ends the whole call with an error of a function, and keeps it for Failure.
func (c *Caller) Fail(err error) {
	c.mu.Lock()
	if c.err == nil {
		c.err = err
	}
	c.mu.Unlock()
	c.GiveUp(err)
}

// Failure returns the first error that was passed to Fail.
func (c *Caller) Failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Rethrow panics with the first panic of a function, if there was one. It is for the
// user's goroutine, after everything else has been completed.
func (c *Caller) Rethrow() { c.panics.Rethrow() }
