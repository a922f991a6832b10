package history_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild/internal/history"
)

func TestZeroMapIsEmpty(t *testing.T) {
	t.Parallel()
	var m history.Map[int]
	assert.Zero(t, m.Len())
	assert.Zero(t, m.Get("a"))
	assert.Empty(t, maps.Collect(m.All()))
	assert.Empty(t, slices.Collect(m.ChangedSince(m)))
	assert.Equal(t, history.Map[int]{}, history.Of[int](nil))
}

// Every state stays as it was, whichever states are changed afterwards.
func TestEveryStateStaysAsItWas(t *testing.T) {
	t.Parallel()
	for seed := range uint64(8) {
		r := rand.New(rand.NewPCG(seed, 0))
		states, want := []history.Map[int]{{}}, []map[string]int{{}}
		for range 300 {
			from := len(states) - 1
			if r.IntN(20) == 0 {
				from = r.IntN(len(states)) // a state that is not the newest
			}
			key, value := fmt.Sprint(r.IntN(40)), r.IntN(3)
			changed := maps.Clone(want[from])
			if changed[key] = value; value == 0 {
				delete(changed, key)
			}
			states, want = append(states, states[from].With(key, value)), append(want, changed)
		}
		for i := range states {
			require.Equal(t, want[i], maps.Collect(states[i].All()), "state %d, seed %d", i, seed)
			require.Equal(t, len(want[i]), states[i].Len())
			for key := range 41 {
				require.Equal(t, want[i][fmt.Sprint(key)], states[i].Get(fmt.Sprint(key)))
			}
			j := r.IntN(len(states))
			changed := slices.Collect(states[i].ChangedSince(states[j]))
			for key := range 40 {
				if k := fmt.Sprint(key); want[i][k] != want[j][k] {
					require.Contains(t, changed, k)
				}
			}
		}
	}
}

func TestChangedSinceHasOnlyTheChangesOfALongMap(t *testing.T) {
	t.Parallel()
	content := map[string]int{}
	for i := range 1000 {
		content[fmt.Sprint(i)] = i + 1
	}
	m := history.Of(content)
	assert.Equal(t, content, maps.Collect(m.All()))
	later := m.With("7", 9).With("new", 1).With("7", 10)
	assert.Equal(t, []string{"new", "7"}, slices.Collect(later.ChangedSince(m)))
	assert.Empty(t, slices.Collect(later.With("7", 10).ChangedSince(later)), "the value is the same")
	for key := range later.ChangedSince(history.Of(content)) {
		assert.Contains(t, maps.Collect(later.All()), key)
		break
	}
}

func TestMapIsSafeForConcurrentUse(t *testing.T) {
	t.Parallel()
	m := history.Of(map[string]int{"a": 1})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			own := m
			for n := range 100 {
				own = own.With(fmt.Sprint(i, n), n+1)
				assert.Equal(t, 1, m.Len())
				assert.Equal(t, n+1, own.Get(fmt.Sprint(i, n)))
			}
			assert.Equal(t, 101, own.Len())
			for range own.All() {
				break
			}
		})
	}
	wg.Wait()
	assert.Equal(t, map[string]int{"a": 1}, maps.Collect(m.All()))
}

func TestAChangeCostsTheSameHoweverLargeTheMapIs(t *testing.T) {
	allocs := func(n int) float64 {
		return testing.AllocsPerRun(5, func() {
			var m history.Map[int]
			for i := range n {
				m = m.With(keys[i], i+1)
			}
		}) / float64(n)
	}
	assert.LessOrEqual(t, allocs(len(keys)), 1.2*allocs(len(keys)/20))
}

var keys = func() (keys []string) {
	for i := range 20_000 {
		keys = append(keys, fmt.Sprint(i))
	}
	return keys
}()
