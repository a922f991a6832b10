package herokubuild

import (
	"errors"
	"sync"
)

// parallel calls f for 0 to n-1, at most limit at a time, and returns when all calls
// have returned. It panics with the value of the first panic of f.
func parallel(n, limit int, f func(i int)) {
	var wg sync.WaitGroup
	var panics firstPanic
	slots := make(chan struct{}, limit)
	for i := range n {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() {
				if v := recover(); v != nil {
					panics.keep(v)
				}
				<-slots
			}()
			f(i)
		})
	}
	wg.Wait()
	panics.rethrow()
}

// firstPanic keeps the value of a panic of the caller's code in a goroutine other
// than the caller's.
type firstPanic struct {
	mu    sync.Mutex
	value any
}

func (p *firstPanic) keep(v any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.value == nil {
		p.value = v
	}
}

// rethrow panics with the value that was kept. It is for the caller's goroutine,
// after everything else has been completed.
func (p *firstPanic) rethrow() {
	p.mu.Lock()
	v := p.value
	p.mu.Unlock()
	if v != nil {
		panic(v)
	}
}

var errPanicked = errors.New("panicked")
