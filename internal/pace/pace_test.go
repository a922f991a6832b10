package pace

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// pool is a rate limit that refills.
type pool struct {
	mu    sync.Mutex
	left  int
	polls int
	grows int
}

func (p *pool) known() (int, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.left, true
}

func (p *pool) poll(context.Context) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.polls++
	p.left += p.grows
	return p.left, nil
}

func (p *pool) pacer(reserve int, waits *[]time.Duration) *Pacer {
	return New(Config{Reserve: reserve, Left: p.known, Poll: p.poll, OnWait: func(_ context.Context, _ int, wait time.Duration) { *waits = append(*waits, wait) }})
}

func TestNothingIsPolledWhileThereIsEnough(t *testing.T) {
	t.Parallel()
	for name, left := range map[string]func() (int, bool){
		"enough":    func() (int, bool) { return 11, true },
		"not known": func() (int, bool) { return 0, false },
	} {
		p := New(Config{Reserve: 10, Left: left})
		assert.NoError(t, p.Wait(t.Context()), name)
	}
}

func TestOnePollServesAllThatWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limit := &pool{left: 4, grows: 4}
		var waits []time.Duration
		p := limit.pacer(10, &waits)
		var done sync.WaitGroup
		for range 5 {
			done.Go(func() { assert.NoError(t, p.Wait(t.Context())) })
		}
		done.Wait()
		assert.Equal(t, 2, limit.polls)
		// It waits until half of the reserve is there in addition.
		assert.Equal(t, []time.Duration{7 * refill}, waits)
	})
}

func TestPoolThatDoesNotRefillIsGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limit := new(pool)
		var waits []time.Duration
		p := limit.pacer(100, &waits)
		start := time.Now()
		require.NoError(t, p.Wait(t.Context()))
		assert.Equal(t, poolRefill, time.Since(start))
		require.NoError(t, p.Wait(t.Context()))
		assert.Equal(t, poolRefill, time.Since(start), "the next one does not wait")
		for _, wait := range waits {
			assert.LessOrEqual(t, wait, maxPause)
		}
	})
}

func TestWaitEndsWithTheContextOrThePoll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var waits []time.Duration
		p := new(pool).pacer(10, &waits)
		var done sync.WaitGroup
		for range 2 {
			done.Go(func() { assert.ErrorIs(t, p.Wait(ctx), ErrInterrupted) })
		}
		done.Wait()
	})
	failed := errors.New("failed")
	p := New(Config{Left: new(pool).known, Poll: func(context.Context) (int, error) { return 0, failed }})
	assert.Equal(t, failed, p.Wait(t.Context()))
}
