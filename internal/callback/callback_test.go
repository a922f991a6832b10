package callback_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild/internal/callback"
)

// call is one call of the library, and what its caller has done to it.
type call struct {
	*callback.Caller
	ctx    context.Context
	cancel context.CancelCauseFunc
	log    bytes.Buffer
}

// failed is the error of a named function.
type failed struct {
	name string
	err  error
}

func (e *failed) Error() string { return fmt.Sprintf("%s: %v", e.name, e.err) }
func (e *failed) Unwrap() error { return e.err }

func newCall(t *testing.T) *call {
	t.Helper()
	c := &call{}
	c.ctx, c.cancel = context.WithCancelCause(t.Context())
	t.Cleanup(func() { c.cancel(nil) })
	c.Caller = callback.New(callback.Config{
		GiveUp:   c.cancel,
		Logger:   slog.New(slog.NewTextHandler(&c.log, nil)),
		NewError: func(name string, err error) error { return &failed{name: name, err: err} },
	})
	return c
}

func TestGuardReturnsTheNamedError(t *testing.T) {
	t.Parallel()
	c := newCall(t)
	require.NoError(t, c.Guard("OnEvent", func() error { return nil }))
	cause := errors.New("disk full")
	err := c.Guard("OnEvent", func() error { return cause })
	assert.Equal(t, &failed{name: "OnEvent", err: cause}, err)
	require.NoError(t, c.ctx.Err(), "the user of Guard decides whether the call ends")
	require.NoError(t, c.Failure())
	assert.NotPanics(t, c.Rethrow)
}

func TestGuardKeepsAPanicForRethrow(t *testing.T) {
	t.Parallel()
	c := newCall(t)
	err := c.Guard("Verify", func() error { panic("boom") })
	assert.Equal(t, &failed{name: "Verify", err: callback.ErrPanicked}, err)
	assert.Same(t, err, context.Cause(c.ctx))
	require.NoError(t, c.Failure())
	require.Error(t, c.Guard("Verify", func() error { panic("later") }))
	assert.PanicsWithValue(t, "boom", c.Rethrow)
	assert.Contains(t, c.log.String(), "TestGuardKeepsAPanicForRethrow", "the stack is logged")
}

func TestGuardOfAFunctionThatExitsItsGoroutine(t *testing.T) {
	t.Parallel()
	c := newCall(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = c.Guard("OnEvent", func() error { runtime.Goexit(); return nil })
	}()
	<-done
	require.ErrorIs(t, c.Failure(), callback.ErrNotReturned)
	require.ErrorIs(t, context.Cause(c.ctx), callback.ErrNotReturned)
	assert.NotPanics(t, c.Rethrow)
}

func TestFailKeepsTheFirstError(t *testing.T) {
	t.Parallel()
	c := newCall(t)
	first := errors.New("first")
	c.Fail(first)
	c.Fail(errors.New("second"))
	assert.Equal(t, first, c.Failure())
	assert.Equal(t, first, context.Cause(c.ctx))
}

func TestTurnsDoNotOverlap(t *testing.T) {
	t.Parallel()
	c := newCall(t)
	var wg sync.WaitGroup
	running := 0
	for range 20 {
		wg.Go(func() {
			for range 50 {
				if !assert.True(t, c.Enter(c.ctx)) {
					return
				}
				running++
				assert.Equal(t, 1, running)
				running--
				c.Leave()
			}
		})
	}
	wg.Wait()
}

func TestEnterAfterTheContextHasEnded(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		// returnsAfter is when the running function returns; 0 means never.
		returnsAfter time.Duration
		want         bool
		waited       time.Duration
		// waitedAgain is how long the next Enter waits if the first one failed.
		waitedAgain time.Duration
	}{
		"function returns in time":  {returnsAfter: 3 * time.Second, want: true, waited: 3 * time.Second},
		"function does not return":  {want: false, waited: callback.Grace, waitedAgain: 0},
		"function returns too late": {returnsAfter: 2 * callback.Grace, want: false, waited: callback.Grace},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := newCall(t)
				require.True(t, c.Enter(c.ctx))
				c.cancel(nil)
				if tt.returnsAfter > 0 {
					time.AfterFunc(tt.returnsAfter, c.Leave)
				}
				start := time.Now()
				assert.Equal(t, tt.want, c.Enter(c.ctx))
				assert.Equal(t, tt.waited, time.Since(start))
				if !tt.want {
					start = time.Now()
					assert.False(t, c.Enter(c.ctx))
					assert.Equal(t, tt.waitedAgain, time.Since(start), "nothing waits for it again")
				}
				time.Sleep(3 * callback.Grace)
			})
		})
	}
}

func TestEnterOfAFreeTurnIgnoresTheContext(t *testing.T) {
	t.Parallel()
	c := newCall(t)
	c.cancel(nil)
	require.True(t, c.Enter(c.ctx))
	c.Leave()
	require.True(t, c.Enter(c.ctx))
}

func TestAwait(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		canceled  bool
		doneAfter time.Duration
		want      bool
		waited    time.Duration
	}{
		"done, however long it takes": {doneAfter: time.Hour, want: true, waited: time.Hour},
		"done in time":                {canceled: true, doneAfter: time.Second, want: true, waited: time.Second},
		"done too late":               {canceled: true, doneAfter: time.Hour, want: false, waited: callback.Grace},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := newCall(t)
				done := make(chan struct{})
				time.AfterFunc(tt.doneAfter, func() { close(done) })
				if tt.canceled {
					c.cancel(nil)
				}
				start := time.Now()
				assert.Equal(t, tt.want, c.Await(c.ctx, done))
				assert.Equal(t, tt.waited, time.Since(start))
				<-done
			})
		})
	}
}

// A function that Await has given up holds the turn, and nothing waits for it again.
func TestEnterAfterAwaitHasGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCall(t)
		require.True(t, c.Enter(c.ctx))
		c.cancel(nil)
		require.False(t, c.Await(c.ctx, make(chan struct{})))
		start := time.Now()
		assert.False(t, c.Enter(c.ctx))
		assert.Zero(t, time.Since(start))
	})
}

func TestParallelRunsAtMostLimitAtATime(t *testing.T) {
	t.Parallel()
	for limit := 1; limit <= 3; limit++ {
		synctest.Test(t, func(t *testing.T) {
			var running, most atomic.Int32
			called := make([]int, 10)
			callback.Parallel(len(called), limit, func(i int) {
				if n := running.Add(1); n > most.Load() {
					most.Store(n)
				}
				time.Sleep(time.Second)
				called[i]++
				running.Add(-1)
			})
			for i, n := range called {
				assert.Equal(t, 1, n, i)
			}
			assert.Equal(t, limit, int(most.Load()))
		})
	}
	callback.Parallel(0, 1, func(int) { t.Error("called") })
}

func TestParallelPanicsAfterAllCalls(t *testing.T) {
	t.Parallel()
	var called atomic.Int32
	assert.PanicsWithValue(t, 2, func() {
		callback.Parallel(5, 1, func(i int) {
			called.Add(1)
			if i >= 2 {
				panic(i)
			}
		})
	})
	assert.Equal(t, 5, int(called.Load()))
}
