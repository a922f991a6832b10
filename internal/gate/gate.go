// Package gate bounds how much of a kind of work runs at once.
package gate

import (
	"container/list"
	"context"
	"sync"
	"time"
)

// Gate admits a number of holders at a time, in the order in which they came. A holder that
// makes no progress for a while does not count until it makes progress again, so that work
// that hangs, as on a file system that does not respond, cannot block the rest. It is safe
// for concurrent use.
type Gate struct {
	places   int
	patience time.Duration

	mu sync.Mutex
	// held is how many holders count: more than places while work that had made no progress
	// has continued.
	held int
	// waiting has a channel for each holder that waits, which is closed to admit it.
	waiting list.List
}

// New returns a Gate with a number of places, each of which is free again when its holder
// has left or has made no progress for the given time.
func New(places int, patience time.Duration) *Gate {
	return &Gate{places: places, patience: patience}
}

// Places is how many holders are admitted at a time.
func (g *Gate) Places() int { return g.places }

// Enter waits for a place. It returns the context's error if the context ends first. The
// holder must call Leave.
func (g *Gate) Enter(ctx context.Context) (*Place, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := g.await(ctx); err != nil {
		return nil, err
	}
	p := &Place{gate: g, counts: true, until: time.Now().Add(g.patience)}
	p.timer = time.AfterFunc(g.patience, p.lose)
	return p, nil
}

// await waits until a place is free, and takes it.
func (g *Gate) await(ctx context.Context) error {
	g.mu.Lock()
	if g.held < g.places {
		g.held++
		g.mu.Unlock()
		return nil
	}
	admitted := make(chan struct{})
	waiting := g.waiting.PushBack(admitted)
	g.mu.Unlock()
	select {
	case <-admitted:
		return nil
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-admitted:
		g.free()
	default:
		g.waiting.Remove(waiting)
	}
	return ctx.Err()
}

// free returns a place, which goes to the first that waits. The caller must hold mu.
func (g *Gate) free() {
	g.held--
	first := g.waiting.Front()
	if first == nil || g.held >= g.places {
		return
	}
	g.held++
	close(g.waiting.Remove(first).(chan struct{}))
}

// Place is held by work that the Gate has admitted.
type Place struct {
	gate  *Gate
	timer *time.Timer

	// The mutex of the gate guards these.
	counts, kept, left bool
	// until is when the place is lost, unless it is kept.
	until time.Time
}

// Progress reports that the work makes progress.
func (p *Place) Progress() { p.hold(false) }

// Keep keeps the place without progress until the next Progress, for work that waits for
// other work.
func (p *Place) Keep() { p.hold(true) }

func (p *Place) hold(kept bool) {
	p.gate.mu.Lock()
	defer p.gate.mu.Unlock()
	if p.left {
		return
	}
	p.kept, p.until = kept, time.Now().Add(p.gate.patience)
	p.timer.Reset(p.gate.patience)
	if !p.counts {
		p.counts = true
		p.gate.held++
	}
}

// Leave ends the work. Further calls do nothing.
func (p *Place) Leave() {
	p.timer.Stop()
	p.gate.mu.Lock()
	defer p.gate.mu.Unlock()
	p.left = true
	p.stopCounting()
}

// lose takes the place from work that has made no progress.
func (p *Place) lose() {
	p.gate.mu.Lock()
	defer p.gate.mu.Unlock()
	if !p.kept && !time.Now().Before(p.until) {
		p.stopCounting()
	}
}

// stopCounting frees the place. The caller must hold mu.
func (p *Place) stopCounting() {
	if p.counts {
		p.counts = false
		p.gate.free()
	}
}
