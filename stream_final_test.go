package herokubuild_test

import (
	"cmp"
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
)

// pacedHost emulates the API and a stream host that sends a piece after each pause,
// most times, or forever if that is 0. The build is pending for a time.
type pacedHost struct {
	pending time.Duration
	pause   time.Duration
	piece   string
	most    int
	// pieces is how many a connection sends before it breaks; 0 is all.
	pieces int
	// total is what a response announces as the length of the whole.
	total string
	// clean ends connections properly.
	clean bool

	started  time.Time
	sent     int
	requests []time.Duration
	streams  int
}

func (h *pacedHost) build() *herokubuild.Build {
	b := new(herokubuild.Build)
	b.ID, b.App.ID, b.Status = buildID, "a526a8b7-0c5a-4a43-8e3b-5d0a5a8e4f11", herokubuild.StatusPending
	if time.Since(h.started) >= h.pending {
		b.Status = herokubuild.StatusSucceeded
	}
	b.OutputStreamURL = outputURL + outputSign
	return b
}

func (h *pacedHost) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Host == "api.heroku.com" {
		h.requests = append(h.requests, time.Since(h.started))
		b := h.build()
		return reply(200, buildJSON(string(b.Status), b.OutputStreamURL.Reveal()))(req)
	}
	h.streams++
	at, header, status := 0, http.Header{}, 200
	if from, ok := strings.CutPrefix(req.Header.Get("Range"), "bytes="); ok {
		status = 206
		header.Set("Content-Range", "bytes "+from+"*/"+cmp.Or(h.total, "*"))
		n, err := strconv.Atoi(strings.TrimSuffix(from, "-"))
		if err != nil {
			return nil, err
		}
		at = n
	}
	left := h.pieces
	body := readerFunc(func(p []byte) (int, error) {
		if at == h.sent {
			switch {
			case h.pieces > 0 && left == 0 && h.clean, h.most > 0 && h.sent == h.most*len(h.piece):
				return 0, io.EOF
			case h.pieces > 0 && left == 0:
				return 0, errDropped
			}
			left--
			h.sent += len(h.piece)
			time.Sleep(h.pause)
		}
		// Every piece is the same.
		n := copy(p[:min(len(p), h.sent-at)], h.piece[at%len(h.piece):])
		at += n
		return n, req.Context().Err()
	})
	return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(body), Request: req, ContentLength: -1}, nil
}

func (h *pacedHost) open(ctx context.Context, t *testing.T, opts *herokubuild.StreamOptions) *herokubuild.OutputStream {
	t.Helper()
	h.started = time.Now()
	a := newAPI(t, herokubuild.WithTransport(h))
	s, err := a.Builds.Output(ctx, appName, buildID, opts)
	require.NoError(t, err)
	h.requests = nil
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	return s
}

// Output that continues after the build has ended ends the stream with an error, at
// any pace.
func TestStreamOutputAfterTheFinalStatus(t *testing.T) {
	t.Parallel()
	const line = "again\n"
	for name, tt := range map[string]struct {
		host   pacedHost
		within time.Duration
	}{
		"final before":         {pacedHost{pause: time.Second / 2, piece: line}, 16 * time.Second},
		"final meanwhile":      {pacedHost{pause: time.Second / 2, piece: line, pending: 3 * time.Second}, 22 * time.Second},
		"after long":           {pacedHost{pause: time.Second, piece: line, pending: 10 * time.Minute}, 16 * time.Minute},
		"slowly":               {pacedHost{pause: 9 * time.Second, piece: line}, 30 * time.Second},
		"fast":                 {pacedHost{pause: time.Millisecond, piece: line}, 16 * time.Second},
		"much":                 {pacedHost{pause: time.Second / 10, piece: strings.Repeat("x", 100_000)}, 25 * time.Second},
		"a line a connection":  {pacedHost{pause: time.Second / 2, piece: line, pieces: 1}, 20 * time.Second},
		"properly ended":       {pacedHost{pause: time.Second / 2, piece: line, pieces: 1, clean: true}, 20 * time.Second},
		"of an announced size": {pacedHost{pause: time.Second / 2, piece: line, total: "100000000000"}, 20 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := tt.host
				s := h.open(t.Context(), t, nil)
				n, err := s.WriteTo(io.Discard)
				requireStreamError(t, err)
				assert.Equal(t, s.Offset(), n, "what came is delivered")
				assert.LessOrEqual(t, time.Since(h.started), tt.within)
			})
		})
	}
}

// A stored log is delivered, however large it is and however slow the reader.
func TestStreamOfALargeLogAfterTheEnd(t *testing.T) {
	t.Parallel()
	big := strings.Repeat("0123456789abcde\n", 4<<10)
	for name, h := range map[string]pacedHost{
		"quick, of no known length": {pause: 10 * time.Millisecond, piece: big, most: 2000},
		"of a known length":         {pause: time.Second, piece: big, most: 500, total: "32768000"},
		"slow, and small":           {pause: time.Second, piece: big, most: 14},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				n, err := h.open(t.Context(), t, nil).WriteTo(writer(func(p []byte) (int, error) {
					time.Sleep(time.Minute)
					return len(p), nil
				}))
				require.NoError(t, err)
				assert.EqualValues(t, h.most*len(big), n)
			})
		})
	}
	t.Run("as long as the caller wants", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			h := pacedHost{pause: time.Second, piece: big, most: 3000}
			n, err := h.open(t.Context(), t, &herokubuild.StreamOptions{FinalTimeout: time.Hour}).WriteTo(io.Discard)
			require.NoError(t, err)
			assert.EqualValues(t, h.most*len(big), n)
		})
	})
}

// Skipping what was read before does not count as silence, however long it takes.
func TestStreamSkipsALargeOffset(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := pacedHost{pause: time.Second / 10, piece: strings.Repeat("x", 32<<10), most: 400}
		offset := int64(399 * 32 << 10)
		h.total = strconv.Itoa(h.most * len(h.piece))
		n, err := h.open(t.Context(), t, &herokubuild.StreamOptions{Offset: offset}).WriteTo(io.Discard)
		require.NoError(t, err)
		assert.EqualValues(t, 32<<10, n)
		assert.Equal(t, 1, h.streams)
	})
}

// While output comes, the status is requested rarely, and a platform that is down
// does not hold the output up for long.
func TestStreamWatchesTheStatus(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		h := &pacedHost{pause: time.Second, piece: "a\n", pending: 1 << 60}
		_, err := io.ReadAll(h.open(ctx, t, nil))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.LessOrEqual(t, len(h.requests), 13)
		assert.Equal(t, 5*time.Second, h.requests[0])
	})
	synctest.Test(t, func(t *testing.T) {
		h := &pacedHost{pause: time.Second, piece: "a\n", most: 60, pending: time.Minute}
		a := newAPI(t, herokubuild.WithTransport(roundTripper(func(req *http.Request) (*http.Response, error) {
			if req.URL.Host == "api.heroku.com" && h.streams > 0 && time.Since(h.started) < time.Minute {
				return hang(req)
			}
			return h.RoundTrip(req)
		})))
		h.started = time.Now()
		s, err := a.Builds.Output(t.Context(), appName, buildID, nil)
		require.NoError(t, err)
		var longest time.Duration
		last := time.Now()
		for _, err := range s.Lines() {
			require.NoError(t, err)
			longest = max(longest, time.Since(last))
			last = time.Now()
		}
		assert.EqualValues(t, 120, s.Offset())
		assert.LessOrEqual(t, longest, 6*time.Second)
	})
}

// All of the output is requested from a host that has some and sends none for a
// request with a range.
func TestStreamHostThatRefusesParts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAPI(t)
		a.on("GET", outputURL, func(req *http.Request) (*http.Response, error) {
			if req.Header.Get("Range") != "" {
				return reply(416, "", "Content-Range", "bytes */5")(req)
			}
			return reply(200, "done\n")(req)
		})
		a.serveBuild(outputURL)
		s, err := a.Builds.Output(t.Context(), appName, buildID, nil)
		require.NoError(t, err)
		got, err := io.ReadAll(s)
		require.NoError(t, err)
		assert.Equal(t, "done\n", string(got))
	})
}
