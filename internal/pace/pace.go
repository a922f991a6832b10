// Package pace delays requests that would use up an account's rate limit.
package pace

import (
	"context"
	"errors"
	"time"

	"github.com/herokubuild/herokubuild/internal/ioutil"
)

// ErrInterrupted reports that the context ended during a wait.
var ErrInterrupted = errors.New("interrupted while waiting for the rate limit")

// Config sets up a Pacer. Every field is required.
type Config struct {
	// Reserve is never used: as many requests may be in flight unseen.
	Reserve int
	// Left returns how many requests are left as far as that is known.
	Left func() (left int, known bool)
	// Poll requests how many are left, which costs nothing.
	Poll func(context.Context) (int, error)
	// OnWait is called before each wait, from one goroutine at a time.
	OnWait func(ctx context.Context, left int, wait time.Duration)
}

// Pacer delays requests for about an hour at most, in which an empty pool refills, and
// then lets them pass: Heroku decides whether to refuse them. It is safe for concurrent
// use.
type Pacer struct {
	config Config
	// turn is held by the one goroutine that polls the pool for all others.
	turn chan struct{}
	// waited is how long the pool has been short without a break. It belongs to the
	// goroutine that holds turn.
	waited time.Duration
}

// New returns a pacer.
func New(config Config) *Pacer { return &Pacer{config: config, turn: make(chan struct{}, 1)} }

const (
	// poolSize and poolRefill are documented by Heroku: an empty pool is full again
	// after an hour. refill is the time until one more request is available.
	poolSize   = 4500
	poolRefill = time.Hour
	refill     = poolRefill / poolSize
	// maxPause bounds the time between two polls.
	maxPause = 15 * time.Second
)

// Wait returns once there is a request to spare, or once the pool has been short for as
// long as it takes to refill. Its errors are those of Poll, and ErrInterrupted.
func (p *Pacer) Wait(ctx context.Context) error {
	if p.enough() {
		return nil
	}
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return ErrInterrupted
	}
	for !p.enough() && p.waited < poolRefill {
		left, err := p.config.Poll(ctx)
		if err != nil {
			return err
		}
		if left > p.config.Reserve {
			break
		}
		wait := p.pause(left)
		p.config.OnWait(ctx, left, wait)
		if ctx.Err() != nil || !ioutil.Sleep(ctx, wait) {
			return ErrInterrupted
		}
		p.waited += wait
	}
	if p.enough() {
		p.waited = 0
	}
	return nil
}

// pause returns the time until there is enough for all goroutines that wait, so that one
// poll serves them all.
func (p *Pacer) pause(left int) time.Duration {
	missing := min(p.config.Reserve+p.config.Reserve/2-left, poolSize)
	return min(max(time.Duration(missing)*refill, refill), maxPause)
}

func (p *Pacer) enough() bool {
	left, known := p.config.Left()
	return !known || left > p.config.Reserve
}
