package gate_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild/internal/gate"
)

const patience = 10 * time.Second

func TestGateAdmitsAsManyAsItHasPlaces(t *testing.T) {
	t.Parallel()
	for places := 1; places <= 3; places++ {
		synctest.Test(t, func(t *testing.T) {
			g := gate.New(places, patience)
			var inside, most atomic.Int32
			start := time.Now()
			var all sync.WaitGroup
			for range 12 {
				all.Go(func() {
					place, err := g.Enter(t.Context())
					if err != nil {
						t.Error(err)
						return
					}
					defer place.Leave()
					if n := inside.Add(1); n > most.Load() {
						most.Store(n)
					}
					for range 3 * int(patience/time.Second) {
						time.Sleep(time.Second)
						place.Progress()
					}
					inside.Add(-1)
				})
			}
			all.Wait()
			assert.EqualValues(t, places, most.Load())
			assert.Equal(t, time.Duration(12/places)*3*patience, time.Since(start), "no place is empty while somebody waits")
		})
	}
}

func TestWaitEndsWithTheContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := gate.New(1, patience)
		place, err := g.Enter(t.Context())
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = g.Enter(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		place.Leave()
		_, err = g.Enter(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded, "an ended context is not admitted to a free place")
		next, err := g.Enter(t.Context())
		require.NoError(t, err)
		next.Leave()
	})
}

func TestWorkThatHangsDoesNotBlockTheRest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := gate.New(1, patience)
		hanging, err := g.Enter(t.Context())
		require.NoError(t, err)
		time.Sleep(patience / 2)
		hanging.Progress()
		start := time.Now()
		second, err := g.Enter(t.Context())
		require.NoError(t, err)
		assert.Equal(t, patience, time.Since(start))

		// The work that hung continues, and frees nobody else's place.
		hanging.Progress()
		hanging.Leave()
		hanging.Leave()
		ctx, cancel := context.WithTimeout(t.Context(), patience/2)
		defer cancel()
		_, err = g.Enter(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		second.Leave()
		third, err := g.Enter(t.Context())
		require.NoError(t, err)
		third.Leave()
	})
}

// Work that continues after it had lost its place counts again, so that others wait.
func TestWorkThatContinuesCountsAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := gate.New(1, patience)
		slow, err := g.Enter(t.Context())
		require.NoError(t, err)
		time.Sleep(2 * patience)
		second, err := g.Enter(t.Context())
		require.NoError(t, err, "the first does not count")
		slow.Progress()
		second.Leave()
		ctx, cancel := context.WithTimeout(t.Context(), patience/2)
		defer cancel()
		_, err = g.Enter(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded, "the first counts")
		slow.Leave()
		third, err := g.Enter(t.Context())
		require.NoError(t, err)
		third.Progress()
		third.Leave()
		third.Progress() // too late to have an effect
		fourth, err := g.Enter(t.Context())
		require.NoError(t, err)
		fourth.Leave()
	})
}

func TestKeptPlaceNeedsNoProgress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := gate.New(1, patience)
		kept, err := g.Enter(t.Context())
		require.NoError(t, err)
		kept.Keep()
		ctx, cancel := context.WithTimeout(t.Context(), 10*patience)
		defer cancel()
		_, err = g.Enter(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		kept.Progress()
		start := time.Now()
		next, err := g.Enter(t.Context())
		require.NoError(t, err)
		assert.Equal(t, patience, time.Since(start))
		next.Leave()
		kept.Leave()
	})
}

// A wait that ends at the moment at which a place is free gives that on.
func TestPlaceOfAnEndedWaitIsNotLost(t *testing.T) {
	t.Parallel()
	for range 200 {
		synctest.Test(t, func(t *testing.T) {
			g := gate.New(1, time.Hour)
			first, err := g.Enter(t.Context())
			require.NoError(t, err)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			var all sync.WaitGroup
			all.Go(func() {
				if p, err := g.Enter(ctx); err == nil {
					p.Leave()
				}
			})
			all.Go(func() {
				time.Sleep(time.Second)
				first.Leave()
			})
			all.Wait()
			last, err := g.Enter(t.Context())
			require.NoError(t, err)
			last.Leave()
		})
	}
}
