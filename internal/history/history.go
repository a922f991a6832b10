// Package history keeps a map of which every earlier state remains readable.
package history

import (
	"iter"
	"sync"
)

// Map is an immutable map. With returns a changed one and leaves the receiver as it is. A
// key with the zero value is not in the map.
// The states of a map share one log of changes, so that a change of the newest state
// costs the same however large the map is. The zero Map is empty. It is safe for
// concurrent use.
type Map[V comparable] struct {
	log *changes[V]
	// n is how many changes of the log belong to this state; size is the number of keys.
	n, size int
}

// changes is an append-only log. Changes that have been appended stay as they are.
type changes[V comparable] struct {
	mu     sync.RWMutex
	n      int
	blocks []*[blockSize]change[V]
	// newest has the position of the last change of each key.
	newest map[string]int
}

type change[V comparable] struct {
	key   string
	value V
	// before is the position of the previous change of the key, or none.
	before int
}

const (
	// blockSize is how many changes are allocated at once. A slice that grows would
	// copy all of them again and again.
	blockSize = 8
	none      = -1
)

// Of returns a Map with the content of a map.
func Of[V comparable](content map[string]V) (m Map[V]) {
	for key, value := range content {
		m = m.With(key, value)
	}
	return m
}

// Len returns the number of keys.
func (m Map[V]) Len() int { return m.size }

// Get returns the value of a key, or zero.
func (m Map[V]) Get(key string) (value V) {
	if m.log == nil {
		return value
	}
	m.log.mu.RLock()
	defer m.log.mu.RUnlock()
	if at := m.log.find(key, m.n); at != none {
		return m.log.at(at).value
	}
	return value
}

// With returns a Map in which a key has another value. It copies the Map unless that is
// the newest state of its log.
func (m Map[V]) With(key string, value V) Map[V] {
	if changed, ok := m.append(key, value); ok {
		return changed
	}
	fork := Map[V]{log: &changes[V]{newest: make(map[string]int, m.size)}}
	for k, v := range m.All() {
		fork, _ = fork.append(k, v)
	}
	fork, _ = fork.append(key, value)
	return fork
}

// append appends to the log, unless that has changes that do not belong to this state.
func (m Map[V]) append(key string, value V) (Map[V], bool) {
	if m.log == nil {
		return m, false
	}
	l := m.log
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.find(key, m.n)
	var old, zero V
	if before != none {
		old = l.at(before).value
	}
	switch {
	case old == value:
		return m, true
	case l.n != m.n:
		return m, false
	case old == zero:
		m.size++
	case value == zero:
		m.size--
	}
	if l.n%blockSize == 0 {
		l.blocks = append(l.blocks, new([blockSize]change[V]))
	}
	*l.at(l.n) = change[V]{key: key, value: value, before: before}
	l.newest[key] = l.n
	l.n++
	m.n = l.n
	return m, true
}

// All iterates over the keys and values, in the order in which they were last changed.
func (m Map[V]) All() iter.Seq2[string, V] {
	return func(yield func(string, V) bool) {
		var zero V
		for i := range m.n {
			if c, last := m.log.read(i, m.n); last && c.value != zero && !yield(c.key, c.value) {
				return
			}
		}
	}
}

// ChangedSince iterates over the keys whose values may differ between an earlier state
// and m. If both have the same log, it costs as much as there are changes in between. A
// key may occur twice.
func (m Map[V]) ChangedSince(earlier Map[V]) iter.Seq[string] {
	return func(yield func(string) bool) {
		start := 0
		if m.log == earlier.log && earlier.n <= m.n {
			start = earlier.n
		} else {
			for key := range earlier.All() {
				if !yield(key) {
					return
				}
			}
		}
		for i := start; i < m.n; i++ {
			if c, last := m.log.read(i, m.n); last && !yield(c.key) {
				return
			}
		}
	}
}

// read returns a change, and whether it is the last one of its key among the first n.
func (l *changes[V]) read(i, n int) (c change[V], last bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	c = *l.at(i)
	return c, l.find(c.key, n) == i
}

// find returns the position of the last change of a key among the first n, or none.
func (l *changes[V]) find(key string, n int) int {
	at, known := l.newest[key]
	if !known {
		return none
	}
	for at != none && at >= n {
		at = l.at(at).before
	}
	return at
}

func (l *changes[V]) at(i int) *change[V] { return &l.blocks[i/blockSize][i%blockSize] }
