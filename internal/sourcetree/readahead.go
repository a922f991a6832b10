package sourcetree

import "iter"

// readAheadSize is how many entries a walk may be ahead of its consumer.
const readAheadSize = 1024

// readAhead returns seq, run ahead of its consumer in a goroutine. The goroutine
// has ended when the range over the result does.
func readAhead[T any](seq iter.Seq2[T, error], size int) iter.Seq2[T, error] {
	type result struct {
		value T
		err   error
	}
	return func(yield func(T, error) bool) {
		results, stop := make(chan result, size), make(chan struct{})
		go func() {
			defer close(results)
			for value, err := range seq {
				select {
				case results <- result{value, err}:
				case <-stop:
					return
				}
			}
		}()
		defer func() {
			close(stop)
			for range results { //nolint:revive // It waits for the end.
			}
		}()
		for r := range results {
			if !yield(r.value, r.err) {
				return
			}
		}
	}
}
