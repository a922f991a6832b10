package logstream

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild/internal/ioutil"
)

var errReset = errors.New("connection reset")

// host is a stream host. Each connection uses the next of dials, and the last of
// them from then on.
type host struct {
	dials []func(ctx context.Context, from int64) (*Response, error)
	froms []int64
	// polls counts the status requests, the last of which report that it is final.
	polls, pending int
	pollErr        error
	reconnects     []error
}

func (h *host) dial(ctx context.Context, from int64) (*Response, error) {
	dial := h.dials[min(len(h.froms), len(h.dials)-1)]
	h.froms = append(h.froms, from)
	return dial(ctx, from)
}

func (h *host) status(context.Context) (bool, error) {
	h.polls++
	return h.polls > h.pending, h.pollErr
}

func (h *host) config() Config {
	return Config{
		Dial: h.dial, Status: h.status, IdleTimeout: time.Minute, FinalTimeout: 15 * time.Second,
		Backoff:     func(n int) time.Duration { return time.Second },
		OnReconnect: func(_ int64, cause error) { h.reconnects = append(h.reconnects, cause) },
	}
}

// sends responds with text that ends with err.
func sends(text string, err error) func(context.Context, int64) (*Response, error) {
	return func(context.Context, int64) (*Response, error) {
		body := io.Reader(strings.NewReader(text))
		if !ioutil.IsEOF(err) {
			body = io.MultiReader(body, iotest.ErrReader(err))
		}
		return &Response{Content: Whole, Start: Unknown, Total: Unknown, Body: io.NopCloser(body)}, nil
	}
}

func fails(err error) func(context.Context, int64) (*Response, error) {
	return func(context.Context, int64) (*Response, error) { return nil, err }
}

// hangs never delivers anything.
func hangs(ctx context.Context, _ int64) (*Response, error) {
	r, w := io.Pipe()
	context.AfterFunc(ctx, func() { _ = w.CloseWithError(ctx.Err()) })
	return &Response{Content: Whole, Start: Unknown, Total: Unknown, Body: r}, nil
}

func TestReaderDeliversALogOverSeveralConnections(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := &host{dials: []func(context.Context, int64) (*Response, error){
			fails(&Error{Kind: Missing, Status: 404, Err: io.EOF}), sends("one\x00\n", errReset), sends("one\ntwo\n", io.EOF),
		}}
		r := New(t.Context(), h.config())
		got, err := io.ReadAll(r)
		require.NoError(t, err)
		assert.Equal(t, "one\ntwo\n", string(got))
		assert.EqualValues(t, 8, r.Position())
		assert.Equal(t, []int64{All, 0, 0, 0}, h.froms[:4])
		require.Len(t, h.reconnects, 1)
		require.ErrorIs(t, h.reconnects[0], errReset)
	})
}

func TestReaderErrors(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		dials  []func(context.Context, int64) (*Response, error)
		poll   error
		want   error
		status int
		// connections is how many there are before the stream gives up.
		connections int
	}{
		"permanent":        {dials: []func(context.Context, int64) (*Response, error){fails(&Error{Kind: Permanent, Status: 302, Err: errReset})}, want: errReset, status: 302, connections: 1},
		"unavailable":      {dials: []func(context.Context, int64) (*Response, error){fails(errReset)}, want: errReset, connections: 18},
		"gone":             {dials: []func(context.Context, int64) (*Response, error){sends("x", errReset), fails(&Error{Kind: Missing, Status: 404, Err: errReset})}, want: errReset, status: 404, connections: 5},
		"stalled":          {dials: []func(context.Context, int64) (*Response, error){sends("x", errReset), hangs}, want: ErrStalled, connections: 5},
		"beginning lost":   {dials: []func(context.Context, int64) (*Response, error){sends("x", errReset), sends("y", errReset)}, want: ErrTruncated, connections: 2},
		"no status":        {dials: []func(context.Context, int64) (*Response, error){sends("x", io.EOF)}, poll: errReset, want: errReset, connections: 3},
		"status refused":   {dials: []func(context.Context, int64) (*Response, error){sends("x", io.EOF)}, poll: &Error{Kind: Permanent, Err: errReset}, want: errReset, connections: 1},
		"form is refused":  {dials: []func(context.Context, int64) (*Response, error){fails(&Error{Kind: Unsupported, Status: 400, Err: errReset})}, want: errReset, status: 400, connections: 1},
		"no gzip":          {dials: []func(context.Context, int64) (*Response, error){compressed([]byte("no gzip data"))}, want: gzip.ErrHeader, connections: 18},
		"nothing, forever": {dials: []func(context.Context, int64) (*Response, error){empty}, want: io.ErrNoProgress, connections: 18},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := &host{dials: tt.dials, pollErr: tt.poll}
				r := New(t.Context(), h.config())
				_, err := io.ReadAll(r)
				require.ErrorIs(t, err, tt.want)
				var failed *Error
				require.ErrorAs(t, err, &failed)
				assert.Equal(t, tt.status, failed.Status)
				assert.Len(t, h.froms, tt.connections)
				_, again := r.Read(make([]byte, 1))
				assert.Equal(t, err, again)
			})
		})
	}
}

func compressed(body []byte) func(context.Context, int64) (*Response, error) {
	return func(context.Context, int64) (*Response, error) {
		return &Response{Content: Whole, Start: Unknown, Total: Unknown, Gzip: true, Body: io.NopCloser(bytes.NewReader(body))}, nil
	}
}

type silentReader struct{}

func (silentReader) Read([]byte) (int, error) { return 0, nil }

func empty(context.Context, int64) (*Response, error) {
	return &Response{Content: Whole, Start: Unknown, Total: Unknown, Body: io.NopCloser(silentReader{})}, nil
}

func TestReaderDecompresses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var packed bytes.Buffer
		zw := gzip.NewWriter(&packed)
		_, _ = io.WriteString(zw, "text")
		require.NoError(t, zw.Close())
		h := &host{dials: []func(context.Context, int64) (*Response, error){compressed(packed.Bytes())}}
		got, err := io.ReadAll(New(t.Context(), h.config()))
		require.NoError(t, err)
		assert.Equal(t, "text", string(got))
	})
}

func TestReaderEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cause := errors.New("stopped")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(5*time.Second, func() { cancel(cause) })
		h := &host{dials: []func(context.Context, int64) (*Response, error){hangs}, pending: 1000}
		started := time.Now()
		_, err := New(ctx, h.config()).Read(make([]byte, 1))
		require.ErrorIs(t, err, cause)
		assert.Equal(t, 5*time.Second, time.Since(started))
		assert.Empty(t, h.reconnects)
	})
}

func TestLateOutput(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		reads   int
		pending time.Duration
		n       int
		finite  bool
		want    bool
	}{
		"within the timeout":            {15, time.Second, 10, false, true},
		"slowly, beyond the timeout":    {16, time.Second, 10, false, false},
		"as fast as a stored log":       {100, time.Second, finalRate, false, true},
		"more than any stored log":      {1 + maxFinalOutput/finalRate, time.Second / 10, finalRate, false, false},
		"of a known length":             {100, time.Second, finalKnownRate, true, true},
		"of a known length, too slowly": {100, time.Second, finalKnownRate / 8, true, false},
		"large, of a known length":      {1 + maxFinalOutput/finalRate, time.Second / 10, finalRate, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := afterFinal{timeout: 15 * time.Second}
			ok := true
			for range tt.reads {
				l.pending = tt.pending
				ok = l.add(tt.n, tt.n, tt.finite)
			}
			assert.Equal(t, tt.want, ok)
		})
	}
}

func TestStatusPolls(t *testing.T) {
	t.Parallel()
	t.Run("of a log that does not exist yet", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s := newStatus(func(context.Context) (bool, error) { return false, nil }, false)
			polls := 0
			for range 10 * 60 * 10 {
				time.Sleep(time.Second / 10)
				if s.due() {
					polls++
					require.NoError(t, s.poll(t.Context()))
				}
			}
			assert.InDelta(t, 65, polls, 5)
			s.final = true
			assert.True(t, s.due(), "a final status is verified at once")
		})
	})
	t.Run("while output comes", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			polls := 0
			s := newStatus(func(context.Context) (bool, error) { polls++; return false, errReset }, false)
			for range 3600 {
				time.Sleep(time.Second)
				s.watch(t.Context(), time.Now())
			}
			assert.InDelta(t, 12, polls, 2)
			assert.False(t, s.seenFinal)
		})
	})
	t.Run("that fail", func(t *testing.T) {
		t.Parallel()
		s := newStatus(func(context.Context) (bool, error) { return false, errReset }, false)
		require.NoError(t, s.poll(t.Context()))
		require.NoError(t, s.poll(t.Context()))
		require.ErrorIs(t, s.poll(t.Context()), errReset)
	})
	t.Run("that find it final, and then not", func(t *testing.T) {
		t.Parallel()
		final := true
		s := newStatus(func(context.Context) (bool, error) { return final, nil }, false)
		require.NoError(t, s.poll(t.Context()))
		final = false
		require.NoError(t, s.poll(t.Context()))
		assert.False(t, s.final)
		assert.True(t, s.seenFinal)
	})
}

// partOf responds with the log from the offset.
func partOf(text string) func(context.Context, int64) (*Response, error) {
	return func(_ context.Context, from int64) (*Response, error) {
		from = max(from, 0)
		return &Response{Content: Part, Start: from, Total: int64(len(text)), Body: io.NopCloser(strings.NewReader(text[from:]))}, nil
	}
}

func TestFinalTimeoutExcludesDelaysAndPolls(t *testing.T) {
	t.Parallel()
	text := logText(1, 100000)
	for name, change := range map[string]func(*Config){
		"slow status": func(c *Config) {
			c.Status = func(context.Context) (bool, error) { time.Sleep(time.Minute); return true, nil }
		},
		"long backoff": func(c *Config) { c.Backoff = func(int) time.Duration { return time.Minute } },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := &host{dials: []func(context.Context, int64) (*Response, error){
					sends(text[:1000], errReset), fails(errReset), fails(errReset), fails(errReset), partOf(text),
				}}
				cfg := h.config()
				change(&cfg)
				got, err := io.ReadAll(New(t.Context(), cfg))
				require.NoError(t, err)
				assert.Equal(t, text, string(got))
			})
		})
	}
}

func TestSlowStatusDoesNotHoldUpOutput(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStatus(func(ctx context.Context) (bool, error) {
			<-ctx.Done()
			return false, ctx.Err()
		}, false)
		time.Sleep(2 * quietLimit)
		started := time.Now()
		assert.False(t, s.finalDuring(t.Context(), 2*quietLimit))
		assert.Equal(t, watchTimeout, time.Since(started))
	})
}
