package herokubuild_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
)

// The host's offsets count the NULs that the output itself has. In text that repeats
// itself, the overlap does not show that the host starts elsewhere.
func TestStreamResumesOutputWithNULs(t *testing.T) {
	t.Parallel()
	dots := strings.Repeat(".", 600)
	steps := strings.Repeat("step\n", 200)
	for name, text := range map[string]string{
		"dots":                 dots + "\x00" + dots,
		"dots, several":        "\x00" + dots + "\x00\x00" + dots + "\x00",
		"lines":                steps + "\x00\x00\x00\x00\x00" + steps,
		"before a short text":  "\x00\x00.........." + buildLog(5, 700),
		"in text of no period": buildLog(6, 500) + "\x00" + buildLog(7, 500),
	} {
		for _, way := range []int{honours, ignores, silent, shifted, neverParts} {
			t.Run(fmt.Sprintf("%s, way %d", name, way), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					var conns []logConn
					for _, after := range []int{900, 300, 1100, 400, 1150} {
						conns = append(conns, logConn{way: way, end: reset, after: after})
					}
					h := &logHost{text: text, conns: append(conns, logConn{way: way}, logConn{way: way})}
					got, err := io.ReadAll(h.open(t.Context(), t, nil))
					require.NoError(t, err)
					assert.Equal(t, strings.ReplaceAll(text, "\x00", ""), string(got))
				})
			})
		}
	}
}

// A stream with heartbeats can resume with a part: the overlap proves where that
// begins, unless the text repeats itself after as many bytes as there were NULs.
func TestStreamResumesByAPartAfterHeartbeats(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		text := buildLog(8, 3000)
		h := &logHost{text: text, conns: []logConn{{end: beats, after: 1000}}, pending: 3}
		got, err := io.ReadAll(h.open(t.Context(), t, nil))
		require.NoError(t, err)
		assert.Equal(t, text, string(got))
		assert.Equal(t, []string{"", "bytes=744-"}, h.ranges[:2])
	})
}

// How many NULs the host counts before the offset of another process is unknown.
func TestStreamOffsetWithNULs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		text := "\x00" + strings.Repeat("-", 500) + "\x00" + strings.Repeat("-", 500)
		for _, way := range []int{honours, ignores, silent} {
			h := &logHost{text: text, conns: []logConn{{way: way, end: reset, after: 300}, {way: way, end: reset, after: 700}, {way: way}, {way: way}}}
			s := h.open(t.Context(), t, &herokubuild.StreamOptions{Offset: 600})
			got, err := io.ReadAll(s)
			require.NoError(t, err)
			assert.Equal(t, strings.Repeat("-", 400), string(got))
			assert.EqualValues(t, 1000, s.Offset())
		}
	})
}

// FuzzStreamNULs reads output that repeats itself and has NULs of its own, over
// hosts of all kinds.
func FuzzStreamNULs(f *testing.F) {
	for seed := range uint64(40) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 2))
		size := 1 + r.IntN(1500)
		text := []byte(strings.Repeat(buildLog(seed, 1+r.IntN(8)), size)[:size])
		for range 1 + r.IntN(4) {
			text[r.IntN(size)] = 0
		}
		h := &logHost{text: string(text), pending: r.IntN(4)}
		for range r.IntN(10) {
			// Proper early ends are excluded: they cannot be distinguished from the last.
			end := []int{reset, stalls, unheard, reset}[r.IntN(4)]
			h.conns = append(h.conns, logConn{way: r.IntN(shifted), end: end, after: r.IntN(size), slow: r.IntN(4) == 0})
		}
		synctest.Test(t, func(t *testing.T) {
			var got strings.Builder
			_, err := h.open(t.Context(), t, nil).WriteTo(&got)
			want := strings.ReplaceAll(string(text), "\x00", "")
			if err != nil {
				requireStreamError(t, err)
				require.True(t, strings.HasPrefix(want, got.String()))
				return
			}
			require.Equal(t, want, got.String())
		})
	})
}
