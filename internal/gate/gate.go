// Package gate bounds how much of a kind of work runs at once.
package gate

import (
	"context"
	"sync"
	"time"
)

// Gate admits a number of holders at a time. A holder that makes no progress for a while
// does not count any more, so that work that hangs, as on a file system that does not
// respond, cannot block the rest. It is safe for concurrent use.
type Gate struct {
	places   chan struct{}
	patience time.Duration
}

// New returns a Gate with a number of places, each of which is free again when its holder
// has left or has made no progress for the given time.
func New(places int, patience time.Duration) *Gate {
	return &Gate{places: make(chan struct{}, places), patience: patience}
}

// Places is how many holders are admitted at a time.
func (g *Gate) Places() int { return cap(g.places) }

// Enter waits for a place. It returns the context's error if the context ends first. The
// holder must call Leave.
func (g *Gate) Enter(ctx context.Context) (*Place, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case g.places <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	p := &Place{gate: g}
	p.timer = time.AfterFunc(g.patience, p.free)
	return p, nil
}

// Place is held by work that the Gate has admitted.
type Place struct {
	gate  *Gate
	timer *time.Timer
	freed sync.Once
}

// Progress reports that the work makes progress.
func (p *Place) Progress() { p.timer.Reset(p.gate.patience) }

// Leave ends the work.
func (p *Place) Leave() {
	p.timer.Stop()
	p.free()
}

func (p *Place) free() { p.freed.Do(func() { <-p.gate.places }) }
