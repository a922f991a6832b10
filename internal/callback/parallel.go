package callback

import "sync"

// Parallel calls f for 0 to n-1, at most limit at a time, and returns when all calls
// have returned. It panics with the value of the first panic of f.
func Parallel(n, limit int, f func(i int)) {
	var wg sync.WaitGroup
	var panics FirstPanic
	slots := make(chan struct{}, limit)
	for i := range n {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() {
				if v := recover(); v != nil {
					panics.Keep(v)
				}
				<-slots
			}()
			f(i)
		})
	}
	wg.Wait()
	panics.Rethrow()
}

// FirstPanic keeps the value of the first panic of several goroutines, until it can
// panic in the user's own. The zero value is ready, and safe for concurrent use.
type FirstPanic struct {
	mu    sync.Mutex
	value any
}

// Keep keeps the value of a panic, unless there is one already.
func (p *FirstPanic) Keep(v any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.value == nil {
		p.value = v
	}
}

// Rethrow panics with the value that was kept, if any.
func (p *FirstPanic) Rethrow() {
	p.mu.Lock()
	v := p.value
	p.mu.Unlock()
	if v != nil {
		panic(v)
	}
}
