package herokubuild_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
)

// logHost emulates the API and the stream host of one build. Each connection to the
// stream uses the next of conns; after the last of them, everything succeeds.
type logHost struct {
	// text is the build's output, NULs of its own included.
	text string
	// pending is how many polls return a pending status.
	pending int
	// status is the final one; default succeeded.
	status string
	conns  []logConn

	// opened reports that the stream has its first status, which is pending unless
	// the build is over.
	opened, over bool

	polls   int
	dialed  int
	ranges  []string
	queries []string
}

// How a connection responds to a request for a part.
const (
	honours    = iota // 206 with a Content-Range
	ignores           // 200 with everything
	silent            // 200 with the part
	shifted           // 206 with another part than the requested one
	neverParts        // 400
	endOfParts        // 206 without a Content-Range
	howManyWays
)

// How a connection ends after the bytes that it has.
const (
	whole   = iota // at the end of the log
	reset          // broken off
	clean          // properly, too early
	stalls         // never, without a heartbeat
	beats          // never, with heartbeats
	refused        // before any output: the status of the response is refusal
	unheard        // before any output: no response
	howManyEnds
)

type logConn struct {
	way, end int
	// after is how many of the requested bytes are sent before the end.
	after int
	// refusal is the status of the response if end is refused.
	refusal int
	// head is how much of the log's head has been lost by now.
	head int
	// changed, if positive, is where a byte of the log has changed by now.
	changed int
	// slow sends one byte per read, with a heartbeat after each.
	slow bool
}

func (h *logHost) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	if req.URL.Host == "api.heroku.com" {
		return h.respondStatus(req)
	}
	return h.respondOutput(req)
}

func (h *logHost) final() bool { return h.polls >= h.pending }

func (h *logHost) build() *herokubuild.Build {
	b := new(herokubuild.Build)
	b.ID, b.App.ID = buildID, "a526a8b7-0c5a-4a43-8e3b-5d0a5a8e4f11"
	b.OutputStreamURL = herokubuild.SecretURL(fmt.Sprintf("%s?X-Amz-Signature=fake%d", outputURL, h.polls))
	b.Status = "pending"
	if h.final() {
		b.Status = herokubuild.Status(h.status)
		if h.status == "" {
			b.Status = "succeeded"
		}
	}
	return b
}

func (h *logHost) respondStatus(req *http.Request) (*http.Response, error) {
	if h.opened {
		h.polls++
	}
	b := h.build()
	if !h.opened && !h.over {
		b.Status = herokubuild.StatusPending
	}
	h.opened = true
	body, err := json.Marshal(map[string]any{
		"id": b.ID, "app": b.App, "status": b.Status, "output_stream_url": b.OutputStreamURL.Reveal(),
	})
	if err != nil {
		return nil, err
	}
	return reply(200, string(body))(req)
}

func (h *logHost) respondOutput(req *http.Request) (*http.Response, error) {
	h.ranges = append(h.ranges, req.Header.Get("Range"))
	h.queries = append(h.queries, req.URL.RawQuery)
	var c logConn
	if h.dialed < len(h.conns) {
		c = h.conns[h.dialed]
	} else if !h.final() {
		// Nothing more is sent before the status is final.
		c = logConn{end: beats, after: len(h.text)}
	}
	h.dialed++
	switch c.end {
	case refused:
		return reply(c.refusal, "no\n")(req)
	case unheard:
		return nil, errDropped
	}
	text := h.text[min(c.head, len(h.text)):]
	if c.changed > 0 {
		text = text[:c.changed] + "?" + text[c.changed+1:]
	}
	from, ranged := 0, false
	if text, ok := strings.CutPrefix(req.Header.Get("Range"), "bytes="); ok {
		n, err := strconv.Atoi(strings.TrimSuffix(text, "-"))
		if err != nil {
			return nil, err
		}
		from, ranged = n, true
	}
	status, header := 200, http.Header{}
	if ranged {
		switch c.way {
		case honours, shifted:
			status = 206
			if c.way == shifted {
				from = max(from-7, 0)
			}
			switch {
			case h.final() && from == len(text):
				return reply(204, "")(req)
			case h.final() && from > len(text):
				return reply(416, "", "Content-Range", fmt.Sprintf("bytes */%d", len(text)))(req)
			case h.final():
				header.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(text)-1, len(text)))
			default:
				header.Set("Content-Range", fmt.Sprintf("bytes %d-*/*", from))
			}
		case ignores:
			from = 0
		case neverParts:
			return reply(400, "no parts here")(req)
		case endOfParts:
			status = 206
		}
	}
	b := &logBody{ctx: req.Context(), rest: text[min(from, len(text)):], end: c.end, slow: c.slow}
	if b.end != whole {
		b.rest = b.rest[:min(c.after, len(b.rest))]
	}
	return &http.Response{StatusCode: status, Header: header, Body: b, Request: req}, nil
}

// logBody is the body of one response.
type logBody struct {
	ctx  context.Context
	rest string
	end  int
	slow bool
	beat bool
}

func (b *logBody) Read(p []byte) (int, error) {
	if b.ctx.Err() != nil {
		return 0, b.ctx.Err()
	}
	if b.slow && b.beat {
		b.beat = false
		p[0] = 0
		return 1, nil
	}
	if b.rest != "" {
		most := len(p)
		if b.slow {
			most = 1
		}
		n := copy(p[:most], b.rest)
		b.rest = b.rest[n:]
		b.beat = true
		return n, nil
	}
	switch b.end {
	case reset:
		return 0, errDropped
	case stalls:
		<-b.ctx.Done()
		return 0, b.ctx.Err()
	case beats:
		select {
		case <-b.ctx.Done():
			return 0, b.ctx.Err()
		case <-time.After(10 * time.Second):
			p[0] = 0
			return 1, nil
		}
	}
	return 0, io.EOF
}

func (b *logBody) Close() error { return nil }

func (h *logHost) open(ctx context.Context, t *testing.T, opts *herokubuild.StreamOptions) *herokubuild.OutputStream {
	t.Helper()
	a := newAPI(t, herokubuild.WithTransport(h))
	s, err := a.Builds.Output(ctx, appName, buildID, opts)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	return s
}

// Reading the log of a finished build takes one request, unless the connection breaks.
func TestStreamOfAFinishedBuild(t *testing.T) {
	t.Parallel()
	text := buildLog(4, 3000)
	for name, tt := range map[string]struct {
		text   string
		conns  []logConn
		ranges []string
	}{
		"nothing happens": {text, nil, []string{"bytes=0-"}},
		"an empty log":    {"", nil, []string{"bytes=0-"}},
		"range ignored":   {text, []logConn{{way: ignores}, {way: ignores}}, []string{"bytes=0-", "bytes=2744-"}},
		"ends early":      {text, []logConn{{end: clean, after: 1000}}, []string{"bytes=0-", "bytes=744-"}},
		"not there yet":   {text, []logConn{{end: refused, refusal: 404}}, []string{"bytes=0-", "bytes=0-"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := &logHost{text: tt.text, conns: tt.conns, over: true}
				a := newAPI(t, herokubuild.WithTransport(h))
				s, err := a.Builds.Output(t.Context(), appName, buildID, nil)
				require.NoError(t, err)
				got, err := io.ReadAll(s)
				require.NoError(t, err)
				assert.Equal(t, tt.text, string(got))
				assert.Equal(t, tt.ranges, h.ranges)
			})
		})
	}
}

// buildLog returns text without a period, in lines of all lengths.
func buildLog(seed uint64, size int) string {
	r := rand.New(rand.NewPCG(seed, 1))
	var b strings.Builder
	for n := 0; b.Len() < size; n++ {
		fmt.Fprintf(&b, "-----> %d é %s\n", n, strings.Repeat("x", r.IntN(60)))
	}
	return b.String()[:size]
}

func TestStreamResumes(t *testing.T) {
	t.Parallel()
	text := buildLog(1, 3000)
	zeros := strings.Repeat("0123456789\n", 200)
	tests := map[string]struct {
		text    string
		pending int
		conns   []logConn
		// ranges are the requested ones, where they matter.
		ranges []string
	}{
		"nothing happens":    {text: text, ranges: []string{"", "bytes=2744-"}},
		"an empty log":       {text: "", ranges: []string{"", "bytes=0-"}},
		"reset":              {text: text, conns: []logConn{{end: reset, after: 1000}}, ranges: []string{"", "bytes=744-", "bytes=2744-"}},
		"reset at byte 0":    {text: text, conns: []logConn{{end: reset}}, ranges: []string{"", "bytes=0-", "bytes=2744-"}},
		"resets everywhere":  {text: text[:300], conns: resets(300)},
		"no response":        {text: text, conns: []logConn{{end: unheard}, {end: unheard}, {end: unheard}}},
		"5xx and 429":        {text: text, conns: []logConn{{end: refused, refusal: 500}, {end: refused, refusal: 503}, {end: refused, refusal: 429}}},
		"not there yet":      {text: text, pending: 3, conns: []logConn{{end: refused, refusal: 404}, {end: refused, refusal: 404}, {end: refused, refusal: 404}}},
		"expired meanwhile":  {text: text, pending: 1, conns: []logConn{{end: reset, after: 1000}, {end: refused, refusal: 404}, {}}},
		"forbidden":          {text: text, pending: 1, conns: []logConn{{end: clean, after: 1000}, {end: refused, refusal: 403}, {}}},
		"stall":              {text: text, pending: 1, conns: []logConn{{end: stalls, after: 1000}, {end: stalls, after: 1000}}},
		"stall at the end":   {text: text, conns: []logConn{{end: stalls, after: 3000}, {}}},
		"heartbeats forever": {text: text, pending: 3, conns: []logConn{{end: beats, after: 3000}, {}}},
		"ends early":         {text: text, pending: 2, conns: []logConn{{end: clean, after: 1}, {end: clean, after: 500}, {end: clean}, {}}},
		"ends early, final":  {text: text, conns: []logConn{{end: clean, after: 1000}, {end: clean, after: 256}, {end: clean, after: 700}}},
		"range ignored":      {text: text, conns: []logConn{{end: reset, after: 1000}, {way: ignores}}, ranges: []string{"", "bytes=744-", "bytes=2744-"}},
		"ignored, in pieces": {text: text, conns: []logConn{{end: reset, after: 1000}, {way: ignores, end: reset, after: 500}, {way: ignores, end: reset, after: 1500, slow: true}}},
		"silently honored":   {text: text, conns: []logConn{{end: reset, after: 1000}, {way: silent, slow: true}}, ranges: []string{"", "bytes=744-", "bytes=0-"}},
		"cannot be distinguished": {
			text: zeros + zeros, conns: []logConn{{end: reset, after: 1026}, {way: ignores}, {way: ignores}},
			ranges: []string{"", "bytes=770-", "bytes=0-", "bytes=0-"},
		},
		"another part":         {text: text, conns: []logConn{{end: reset, after: 1000}, {way: shifted}, {}}, ranges: []string{"", "bytes=744-", "bytes=0-", "bytes=0-"}},
		"a part of nothing":    {text: text, conns: []logConn{{end: reset, after: 1000}, {way: endOfParts}, {way: endOfParts}, {}}, ranges: []string{"", "bytes=744-", "bytes=0-", "", ""}},
		"parts are refused":    {text: text, conns: []logConn{{end: reset, after: 1000}, {way: neverParts}, {}}, ranges: []string{"", "bytes=744-", "", ""}},
		"NULs in the output":   {text: "a\x00b" + text[:100] + "\x00" + text[100:], conns: []logConn{{end: reset, after: 1000}}},
		"NULs at the end":      {text: text + "\x00\x00", conns: []logConn{{end: reset, after: 1000}}},
		"cut in a UTF-8 rune":  {text: "ab é", conns: []logConn{{end: reset, after: 4}}},
		"heartbeats at a cut":  {text: text, conns: []logConn{{end: reset, after: 1000, slow: true}, {slow: true, end: reset, after: 1000}, {slow: true}}},
		"overlap cut":          {text: text, conns: []logConn{{end: reset, after: 1000}, {end: reset, after: 100}, {way: silent, end: clean, after: 100}, {way: ignores, end: clean, after: 999}}},
		"fails and is silent":  {text: text, pending: 1, conns: []logConn{{end: stalls}, {end: reset, after: 2999}, {end: clean, after: 300}}},
		"final and unreliable": {text: text, conns: []logConn{{end: reset}, {end: unheard}, {end: refused, refusal: 503}, {end: reset}, {end: clean}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := &logHost{text: tt.text, pending: tt.pending, conns: tt.conns}
				s := h.open(t.Context(), t, nil)
				got, err := io.ReadAll(s)
				require.NoError(t, err)
				want := strings.ReplaceAll(tt.text, "\x00", "")
				assert.Equal(t, want, string(got))
				assert.EqualValues(t, len(want), s.Offset())
				assert.GreaterOrEqual(t, h.polls, max(tt.pending, 1), "the end is not trusted before the status is final")
				if tt.ranges != nil {
					assert.Equal(t, tt.ranges, h.ranges)
				}
			})
		})
	}
}

func resets(n int) []logConn {
	conns := make([]logConn, n)
	for i := range conns {
		// The overlap, and then one byte.
		conns[i] = logConn{end: reset, after: min(i, 256) + 1}
	}
	return conns
}

// If the platform loses bytes, or the stream is gone, the stream ends in bounded time
// with an error.
func TestStreamThatCannotResume(t *testing.T) {
	t.Parallel()
	text := buildLog(2, 3000)
	dead := func(c logConn) []logConn {
		all := []logConn{{end: reset, after: 1000}}
		for range 50 {
			all = append(all, c)
		}
		return all
	}
	tests := map[string]struct {
		text   string
		conns  []logConn
		want   error
		status int
		within time.Duration
	}{
		"head is gone":             {text: text, conns: dead(logConn{head: 400}), want: herokubuild.ErrOutputTruncated},
		"head is gone, to the end": {text: text, conns: dead(logConn{head: 2500}), want: herokubuild.ErrOutputTruncated},
		"head is gone, silently":   {text: text, conns: dead(logConn{head: 400, way: silent}), want: herokubuild.ErrOutputTruncated},
		"head is gone, replayed":   {text: text, conns: dead(logConn{head: 400, way: ignores}), want: herokubuild.ErrOutputTruncated},
		"another log":              {text: text[:1000] + strings.Repeat("?", 500), conns: dead(logConn{head: 1, way: ignores}), want: herokubuild.ErrOutputTruncated},
		"another log, later":       {text: text, conns: append([]logConn{{end: reset, after: 2000}}, dead(logConn{changed: 1500, way: ignores})[1:]...), want: herokubuild.ErrOutputTruncated},
		"gone":                     {text: text, conns: dead(logConn{end: refused, refusal: 404}), status: 404, within: 5 * time.Second},
		"never there":              {text: text, conns: dead(logConn{end: refused, refusal: 404})[1:], status: 404, within: 30 * time.Second},
		"resets":                   {text: text, conns: dead(logConn{end: reset}), want: errDropped, within: 30 * time.Second},
		"no responses":             {text: text, conns: dead(logConn{end: unheard}), want: errDropped, within: 30 * time.Second},
		"5xx":                      {text: text, conns: dead(logConn{end: refused, refusal: 503}), status: 503, within: 30 * time.Second},
		"stalls":                   {text: text, conns: dead(logConn{end: stalls, after: 256}), want: herokubuild.ErrStreamStalled, within: 2 * time.Minute},
		"stalls from the start":    {text: text, conns: dead(logConn{end: stalls})[1:], want: herokubuild.ErrStreamStalled, within: 2 * time.Minute},
		"heartbeats":               {text: text, conns: dead(logConn{end: beats, after: 256}), within: 2 * time.Minute},
		"short of its own length":  {text: text, conns: dead(logConn{end: clean, after: 256}), want: io.ErrUnexpectedEOF, within: 30 * time.Second},
		"nothing of what it had":   {text: text, conns: dead(logConn{end: refused, refusal: 204}), within: 30 * time.Second},
		"other responses":          {text: text, conns: dead(logConn{end: refused, refusal: 400}), status: 400},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := &logHost{text: tt.text, conns: tt.conns}
				s := h.open(t.Context(), t, nil)
				started := time.Now()
				got, err := io.ReadAll(s)
				failed := requireStreamError(t, err)
				if tt.want != nil {
					require.ErrorIs(t, err, tt.want)
				}
				assert.Equal(t, tt.status, failed.StatusCode)
				assert.EqualValues(t, len(got), failed.Offset)
				assert.True(t, strings.HasPrefix(text, string(got)), "what was read is correct")
				assert.LessOrEqual(t, time.Since(started), tt.within)
				_, again := s.Read(make([]byte, 1))
				assert.Equal(t, err, again)
			})
		})
	}
}

// While the build runs, the stream does not give up, however long that takes, and
// polls the status rarely.
func TestStreamOfALongBuild(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]int{"without heartbeats": stalls, "with heartbeats": beats} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := &logHost{text: "text", pending: 1 << 30, conns: []logConn{{end: end, after: 2}}}
				for range 1000 {
					h.conns = append(h.conns, logConn{end: end})
				}
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
				defer cancel()
				got, err := io.ReadAll(h.open(ctx, t, nil))
				require.ErrorIs(t, err, context.DeadlineExceeded)
				assert.Equal(t, "te", string(got))
				assert.LessOrEqual(t, h.polls, 10)
				assert.LessOrEqual(t, h.dialed, 11)
			})
		})
	}
}

// Every new connection uses the URL that came with the last status.
func TestStreamURLIsRenewed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := &logHost{text: "text", pending: 2, conns: []logConn{{end: refused, refusal: 404}, {end: refused, refusal: 403}, {}}}
		_, err := io.ReadAll(h.open(t.Context(), t, nil))
		require.NoError(t, err)
		// A missing stream may appear; a refused URL needs renewal.
		assert.Equal(t, []string{"X-Amz-Signature=fake0", "X-Amz-Signature=fake0", "X-Amz-Signature=fake1"}, h.queries[:3])
	})
}

// A stream that does not exist for some seconds uses little of the rate limit,
// although it is requested often: it may appear any moment.
func TestStreamThatDoesNotExistYetPollsRarely(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		after            time.Duration
		connections      int // at least
		polls, exactness float64
	}{
		{8 * time.Second, 14, 4, 2},
		// The status is polled nevertheless: the build may be over.
		{10 * time.Minute, 100, 55, 12},
	} {
		synctest.Test(t, func(t *testing.T) {
			h := &logHost{text: "text", pending: 1000, conns: slices.Repeat([]logConn{{end: refused, refusal: 404}}, 600)}
			ctx, cancel := context.WithTimeout(t.Context(), tt.after)
			defer cancel()
			_, err := io.ReadAll(h.open(ctx, t, nil))
			require.ErrorIs(t, err, context.DeadlineExceeded)
			assert.GreaterOrEqual(t, len(h.queries), tt.connections)
			assert.InDelta(t, tt.polls, h.polls, tt.exactness)
		})
	}
}

// Another process continues a stream from the offset that the first one reached,
// whether or not the host honors offsets.
func TestStreamOffset(t *testing.T) {
	t.Parallel()
	text := buildLog(3, 3000)
	for name, conns := range map[string][]logConn{
		"honored":               nil,
		"ignored":               {{way: ignores}, {way: ignores}, {way: ignores}},
		"silently honored":      {{way: silent}, {way: silent}, {way: silent}},
		"with a reset":          {{end: reset, after: 700}},
		"ignored, with a reset": {{way: ignores, end: reset, after: 1500}, {way: ignores, end: reset, after: 1600}, {way: ignores}, {way: ignores}},
	} {
		for _, offset := range []int{1, 1200, 3000} {
			t.Run(fmt.Sprintf("%s, %d", name, offset), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					h := &logHost{text: text, conns: conns}
					s := h.open(t.Context(), t, &herokubuild.StreamOptions{Offset: int64(offset)})
					assert.EqualValues(t, offset, s.Offset())
					got, err := io.ReadAll(s)
					require.NoError(t, err)
					assert.Equal(t, text[offset:], string(got))
					assert.EqualValues(t, 3000, s.Offset())
				})
			})
		}
	}
	t.Run("beyond the end", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			h := &logHost{text: text}
			_, err := io.ReadAll(h.open(t.Context(), t, &herokubuild.StreamOptions{Offset: 4000}))
			requireStreamError(t, err)
			require.ErrorIs(t, err, herokubuild.ErrOutputTruncated)
		})
	})
}

// A failed status request ends the stream if the failure is permanent or lasts.
func TestStreamWithoutAStatus(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		status int
		want   error
	}{
		"key revoked": {401, herokubuild.ErrUnauthorized}, "build gone": {404, herokubuild.ErrNotFound}, "platform down": {503, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := &logHost{text: "text", conns: []logConn{{end: clean, after: 2}}}
				for range 100 {
					h.conns = append(h.conns, logConn{end: reset})
				}
				a := newAPI(t, herokubuild.WithTransport(roundTripper(func(req *http.Request) (*http.Response, error) {
					if req.URL.Host == "api.heroku.com" && h.opened {
						return reply(tt.status, `{"id":"x","message":"No."}`)(req)
					}
					return h.RoundTrip(req)
				})))
				s, err := a.Builds.Output(t.Context(), appName, buildID, nil)
				require.NoError(t, err)
				got, err := io.ReadAll(s)
				assert.Equal(t, "te", string(got))
				requireStreamError(t, err)
				var refused *herokubuild.APIError
				require.ErrorAs(t, err, &refused)
				if tt.want != nil {
					require.ErrorIs(t, err, tt.want)
				}
			})
		})
	}
}

// FuzzStreamResume reads a log over connections of all kinds. However they end,
// what is read is the log, each byte once.
func FuzzStreamResume(f *testing.F) {
	f.Add(uint64(1), uint16(3000), byte(0), byte(0), []byte{})
	f.Add(uint64(2), uint16(900), byte(3), byte(1), []byte{0, 1, 90, 1, 2, 60, 2, 3, 10, 3, 4, 0})
	f.Add(uint64(3), uint16(300), byte(1), byte(2), []byte{0, 1, 20, 0, 5, 1, 4, 6, 0, 5, 2, 40, 1, 1, 255})
	f.Add(uint64(4), uint16(600), byte(9), byte(3), []byte{0, 1, 20, 64, 1, 30, 65, 2, 200, 66, 1, 9})
	f.Fuzz(func(t *testing.T, seed uint64, size uint16, pending, kind byte, script []byte) {
		size %= 5000
		text := buildLog(seed, int(size))
		switch kind % 4 {
		case 1: // one that repeats itself
			text = strings.Repeat("tick\n", 1000)[:size]
		case 2:
			text = strings.Repeat("x", int(size))
		case 3: // with NULs of its own
			text = strings.ReplaceAll(text, "7", "\x00")
		}
		h := &logHost{text: text, pending: int(pending) % 12}
		for len(script) >= 3 && len(h.conns) < 40 {
			c := logConn{
				way: int(script[0]&0x3f) % howManyWays, slow: script[0]&0x40 != 0,
				end: int(script[1]) % howManyEnds, after: int(script[2]) * 13,
				refusal: []int{404, 403, 500, 503, 429}[int(script[2])%5],
			}
			script = script[3:]
			h.conns = append(h.conns, c)
		}
		synctest.Test(t, func(t *testing.T) {
			s := h.open(t.Context(), t, nil)
			var got bytes.Buffer
			_, err := s.WriteTo(&got)
			want := strings.ReplaceAll(text, "\x00", "")
			var failed *herokubuild.StreamError
			switch {
			case errors.As(err, &failed):
				// A stream does not give up after a few bad connections.
				require.True(t, len(h.conns) > 3 || kind%4 != 0, "%v", err)
				require.True(t, strings.HasPrefix(want, got.String()), "%d bytes: %v", got.Len(), err)
			case err != nil:
				t.Fatal(err)
			case h.lied():
				// An early end cannot be distinguished from the real one.
				require.True(t, strings.HasPrefix(want, got.String()))
			default:
				require.Equal(t, want, got.String())
			}
			require.EqualValues(t, got.Len(), s.Offset())
		})
	})
}

// lied reports whether a connection ended properly before the end of the log, without
// an announced length: that cannot be detected.
func (h *logHost) lied() bool {
	for _, c := range h.conns[:min(h.dialed, len(h.conns))] {
		if c.end == clean && c.way != honours {
			return true
		}
	}
	return false
}
