package herokubuild_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/jarcoal/httpmock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
)

// output opens the stream of a build whose host responds like this. The build is
// pending until a connection has ended. If the last connection ends properly, the host
// sends the same again, as for a stream that verifies the end.
func (a *api) output(ctx context.Context, t *testing.T, opts *herokubuild.StreamOptions, responses ...httpmock.Responder) *herokubuild.OutputStream {
	t.Helper()
	host := new(recordingHost)
	a.mock.RegisterResponder("GET", buildURL, func(req *http.Request) (*http.Response, error) {
		status := "pending"
		if host.ended.Load() {
			status = "succeeded"
		}
		return reply(200, buildJSON(status, outputURL+outputSign))(req)
	})
	for i, response := range responses {
		responses[i] = host.record(response, i == len(responses)-1)
	}
	a.on("GET", outputURL, responses...)
	s, err := a.Builds.Output(ctx, appName, buildID, opts)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	return s
}

// recordingHost is a stream host that can repeat its last response.
type recordingHost struct {
	// ended reports that a connection has ended. Another goroutine may close it.
	ended atomic.Bool
	last  *http.Response
	sent  bytes.Buffer
}

func (h *recordingHost) record(response httpmock.Responder, last bool) httpmock.Responder {
	return func(req *http.Request) (*http.Response, error) {
		if h.last != nil {
			repeated := *h.last
			repeated.Body, repeated.Request = io.NopCloser(bytes.NewReader(h.sent.Bytes())), req
			return &repeated, nil
		}
		resp, err := response(req)
		if err != nil || resp.StatusCode != 200 {
			h.ended.Store(true)
			return resp, err
		}
		h.sent.Reset()
		body := resp.Body
		resp.Body = struct {
			io.Reader
			io.Closer
		}{readerFunc(func(p []byte) (int, error) {
			n, err := body.Read(p)
			h.sent.Write(p[:n])
			if errors.Is(err, io.EOF) && last {
				h.last = resp
			}
			return n, err
		}), closer(func() error {
			h.ended.Store(true)
			return body.Close()
		})}
		return resp, nil
	}
}

type closer func() error

func (c closer) Close() error { return c() }

// buildJSON is a build with output at a URL.
func buildJSON(status, url string) string {
	return fmt.Sprintf(`{"id":%q,"status":%q,"output_stream_url":%q}`, buildID, status, url)
}

// serveBuild adds a build that has succeeded, with output at a URL.
func (a *api) serveBuild(url string) {
	a.mock.RegisterResponder("GET", buildURL, reply(200, buildJSON("succeeded", url)))
}

// withBuild adds a build that has succeeded to a server, with output at /log.
func withBuild(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/apps/"+appName+"/builds/"+buildID {
			next(w, r)
			return
		}
		scheme := "http"
		if r.TLS != nil {
			scheme = "https"
		}
		_, _ = io.WriteString(w, buildJSON("succeeded", scheme+"://"+r.Host+"/log"+outputSign))
	}
}

func requireStreamError(t *testing.T, err error) *herokubuild.StreamError {
	t.Helper()
	var broken *herokubuild.StreamError
	require.ErrorAs(t, err, &broken)
	assertErrorClean(t, err)
	return broken
}

func TestStreamRequest(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	s := a.output(t.Context(), t, nil, reply(200, "done\n"))
	assert.Empty(t, a.seen(), "nothing is sent before the first read")
	assert.Equal(t, outputURL+"?REDACTED", s.String())
	got, err := io.ReadAll(s)
	require.NoError(t, err)
	assert.Equal(t, "done\n", string(got))
	seen := a.seen()
	require.Len(t, seen, 2, "the end is verified")
	assert.Equal(t, outputURL+outputSign, seen[0].URL, "the URL is used as it is")
	assert.NotContains(t, seen[0].Header, "Authorization")
	assert.Equal(t, "identity", seen[0].Header.Get("Accept-Encoding"))
	assert.Equal(t, "text/plain", seen[0].Header.Get("Accept"))
	assert.True(t, strings.HasPrefix(seen[0].Header.Get("User-Agent"), "herokubuild/"))
}

func TestStreamRead(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ sent, want string }{
		"text":               {"a\nb\n", "a\nb\n"},
		"no line end":        {"a\nb", "a\nb"},
		"nothing":            {"", ""},
		"heartbeats only":    {strings.Repeat("\x00", 100), ""},
		"heartbeats between": {"\x00a\x00\x00b\n\x00", "ab\n"},
		"colors and UTF-8":   {"\x1b[1mé\x1b[0m\r\n", "\x1b[1mé\x1b[0m\r\n"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newAPI(t).output(t.Context(), t, nil, reply(200, tt.sent))
			assert.True(t, s.LastActivity().IsZero())
			got, err := io.ReadAll(iotest.OneByteReader(s))
			require.NoError(t, err)
			assert.Equal(t, tt.want, string(got))
			assert.EqualValues(t, len(tt.want), s.Offset(), "heartbeats are not output")
			assert.Equal(t, tt.sent == "", s.LastActivity().IsZero())
			n, err := s.Read(make([]byte, 1))
			assert.Zero(t, n)
			require.ErrorIs(t, err, io.EOF)
			n, err = s.Read(nil)
			assert.Zero(t, n)
			require.NoError(t, err)

			var all bytes.Buffer
			written, err := newAPI(t).output(t.Context(), t, nil, reply(200, tt.sent)).WriteTo(&all)
			require.NoError(t, err)
			assert.Equal(t, tt.want, all.String())
			assert.EqualValues(t, len(tt.want), written)
		})
	}
}

func TestStreamWriteToFails(t *testing.T) {
	t.Parallel()
	full := errors.New("the disk is full")
	for name, w := range map[string]struct {
		w    io.Writer
		n    int64
		want error
	}{
		"error":       {writer(func(p []byte) (int, error) { return 2, full }), 2, full},
		"short write": {writer(func(p []byte) (int, error) { return 1, nil }), 1, io.ErrShortWrite},
	} {
		s := newAPI(t).output(t.Context(), t, nil, reply(200, "text"))
		n, err := s.WriteTo(w.w)
		require.ErrorIs(t, err, w.want, name)
		assert.Equal(t, w.n, n)
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

func TestStreamLines(t *testing.T) {
	t.Parallel()
	const most = 64 << 10
	long := strings.Repeat("x", most)
	tests := map[string]struct {
		sent string
		want []string
	}{
		"lines":                    {"a\nb\n", []string{"a", "b"}},
		"empty lines":              {"\n\na\n\n", []string{"", "", "a", ""}},
		"last without end":         {"a\nb", []string{"a", "b"}},
		"carriage returns":         {"a\r\nb\r\n", []string{"a", "b"}},
		"progress bar":             {"10%\r20%\rdone\n", []string{"10%\r20%\rdone"}},
		"heartbeats":               {"\x00a\x00b\x00\n\x00c\n", []string{"ab", "c"}},
		"nothing":                  {"", nil},
		"carriage return at end":   {"50%\r", []string{"50%\r"}},
		"longest line":             {long + "\na\n", []string{long, "a"}},
		"longest, carriage return": {long + "\r\na\n", []string{long, "a"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for line, err := range newAPI(t).output(t.Context(), t, nil, reply(200, tt.sent)).Lines() {
				require.NoError(t, err)
				got = append(got, line)
			}
			assert.True(t, equal(tt.want, got), "%d lines for %d", len(got), len(tt.want))
		})
	}
	t.Run("too long a line", func(t *testing.T) {
		t.Parallel()
		// Wherever the parts end, one of these has a carriage return there.
		for shift := range 11 {
			text := strings.Repeat("x", shift) + strings.Repeat("0123456789\r", 20_000) + "."
			var got strings.Builder
			for line, err := range newAPI(t).output(t.Context(), t, nil, reply(200, text+"\n")).Lines() {
				require.NoError(t, err)
				assert.LessOrEqual(t, len(line), most+2)
				got.WriteString(line)
			}
			assert.Equal(t, len(text), got.Len(), "a part of it is lost")
		}
	})
	t.Run("break", func(t *testing.T) {
		t.Parallel()
		n := 0
		for range newAPI(t).output(t.Context(), t, nil, reply(200, "a\nb\n")).Lines() {
			n++
			break
		}
		assert.Equal(t, 1, n)
	})
	t.Run("error", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			var lines []string
			var last error
			for line, err := range newAPI(t).output(t.Context(), t, nil, broken("a\nb"), fail(errDropped)).Lines() {
				require.NoError(t, last, "an error ends the iteration")
				lines, last = append(lines, line), err
			}
			assert.Equal(t, []string{"a", "b", ""}, lines)
			requireStreamError(t, last)
		})
	})
}

func equal(a, b []string) bool {
	return len(a) == len(b) && strings.Join(a, "\x01") == strings.Join(b, "\x01")
}

// broken responds with a connection that is lost after some text.
func broken(text string) httpmock.Responder {
	return func(req *http.Request) (*http.Response, error) {
		body := io.MultiReader(strings.NewReader(text), iotest.ErrReader(errDropped))
		return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(body), Request: req}, nil
	}
}

func TestStreamDeliversBytesAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		response, w := live(200)
		s := newAPI(t).output(t.Context(), t, nil, response)
		r := bufio.NewReaderSize(s, 64)
		go func() {
			for _, part := range []string{"-", "----> Building", "\x00", "\n", "\x00\x00x"} {
				time.Sleep(10 * time.Second)
				_, _ = io.WriteString(w, part)
			}
			_ = w.Close()
		}()
		started := time.Now()
		for _, want := range []struct {
			b  byte
			at time.Duration
		}{{'-', 10 * time.Second}, {'-', 20 * time.Second}} {
			b, err := r.ReadByte()
			require.NoError(t, err)
			assert.Equal(t, want.b, b)
			assert.Equal(t, want.at, time.Since(started))
		}
		line, err := r.ReadString('\n')
		require.NoError(t, err)
		assert.Equal(t, "---> Building\n", line)
		assert.Equal(t, 40*time.Second, time.Since(started))
		assert.Equal(t, started.Add(40*time.Second), s.LastActivity())
		rest, err := io.ReadAll(r)
		require.NoError(t, err)
		assert.Equal(t, "x", string(rest))
	})
}

func TestStreamReportsHeartbeats(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		response, w := live(200)
		var quiet []time.Duration
		s := newAPI(t).output(t.Context(), t, &herokubuild.StreamOptions{
			OnHeartbeat: func(d time.Duration) { quiet = append(quiet, d) },
		}, response)
		go func() {
			for _, part := range []string{"\x00", "\x00", "text", "\x00\x00", "\x00more", "more", "\x00"} {
				time.Sleep(10 * time.Second)
				_, _ = io.WriteString(w, part)
			}
			_ = w.Close()
		}()
		got, err := io.ReadAll(s)
		require.NoError(t, err)
		assert.Equal(t, "textmoremore", string(got))
		assert.Equal(t, []time.Duration{10 * time.Second, 20 * time.Second, 10 * time.Second, 10 * time.Second}, quiet)
	})
}

func TestHeartbeatsKeepTheStreamAlive(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		response, w := live(200)
		s := newAPI(t).output(t.Context(), t, nil, response)
		go func() {
			for range 90 {
				time.Sleep(10 * time.Second)
				_, _ = w.Write([]byte{0})
			}
			_, _ = io.WriteString(w, "done")
			_ = w.Close()
		}()
		started := time.Now()
		got, err := io.ReadAll(s)
		require.NoError(t, err)
		assert.Equal(t, "done", string(got))
		assert.Equal(t, 15*time.Minute, time.Since(started))
	})
}

// The time that the reader takes does not count as silence of the stream.
func TestSlowReaderIsNotAStall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newAPI(t).output(t.Context(), t, nil, reply(200, "text"))
		buf := make([]byte, 2)
		_, err := s.Read(buf)
		require.NoError(t, err)
		time.Sleep(2 * time.Hour)
		rest, err := io.ReadAll(s)
		require.NoError(t, err)
		assert.Equal(t, "xt", string(rest))
	})
}

func TestStreamThatDoesNotExistYet(t *testing.T) {
	t.Parallel()
	missing := reply(404, "Channel is not registered.\n")
	t.Run("appears", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			a := newAPI(t)
			s := a.output(t.Context(), t, nil, missing, missing, missing, reply(200, "text"))
			got, err := io.ReadAll(s)
			require.NoError(t, err)
			assert.Equal(t, "text", string(got))
			assert.Len(t, a.seen(), 5, "the end is verified")
			for _, gap := range a.gaps()[:3] {
				assert.GreaterOrEqual(t, gap, 50*time.Millisecond)
				assert.LessOrEqual(t, gap, 2*time.Second)
			}
		})
	})
	t.Run("canceled meanwhile", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			cause := errors.New("stopped by the operator")
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(3*time.Second, func() { cancel(cause) })
			s := newAPI(t).output(ctx, t, nil, missing)
			started := time.Now()
			_, err := io.ReadAll(s)
			require.ErrorIs(t, err, context.Canceled)
			require.ErrorIs(t, err, cause)
			requireStreamError(t, err)
			assert.Equal(t, 3*time.Second, time.Since(started))
		})
	})
}

func TestStreamResponses(t *testing.T) {
	t.Parallel()
	t.Run("204 is a finished stream with nothing in it", func(t *testing.T) {
		t.Parallel()
		got, err := io.ReadAll(newAPI(t).output(t.Context(), t, nil, reply(204, "")))
		require.NoError(t, err)
		assert.Empty(t, got)
	})
	for _, status := range []int{206, 302, 400, 405} {
		s := newAPI(t).output(t.Context(), t, nil, reply(status, "see https://h.example.com/?Signature=fake\nmore"))
		_, err := io.ReadAll(s)
		assert.Equal(t, status, requireStreamError(t, err).StatusCode)
	}
}

func TestStreamCloseFromAnotherGoroutine(t *testing.T) {
	t.Parallel()
	for name, status := range map[string]int{"while reading": 200, "while waiting for it": 404, "before the response": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				response := reply(status, "")
				switch status {
				case 0:
					response = hang
				case 200:
					response, _ = live(200)
				}
				s := newAPI(t).output(t.Context(), t, nil, response)
				time.AfterFunc(2*time.Second, func() { assert.NoError(t, s.Close()) })
				started := time.Now()
				_, err := s.Read(make([]byte, 10))
				require.ErrorContains(t, err, "closed")
				require.NotErrorIs(t, err, io.EOF)
				assert.Equal(t, 2*time.Second, time.Since(started))
				require.NoError(t, s.Close())
				_, again := s.Read(make([]byte, 10))
				assert.Equal(t, err, again)
			})
		})
	}
}

// Not every transport checks the context of a request before it responds.
func TestStreamClosedBeforeRead(t *testing.T) {
	t.Parallel()
	a := newAPI(t, herokubuild.WithTransport(roundTripper(func(req *http.Request) (*http.Response, error) {
		if req.URL.Host == "api.heroku.com" {
			return reply(200, buildJSON("pending", outputURL))(req)
		}
		return reply(200, "text")(req)
	})))
	s, err := a.Builds.Output(t.Context(), appName, buildID, nil)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	_, err = s.Read(make([]byte, 1))
	require.ErrorContains(t, err, "closed")
}

type roundTripper func(*http.Request) (*http.Response, error)

func (r roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return r(req) }

func TestStreamContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		response, _ := live(200)
		cause := errors.New("stopped by the operator")
		ctx, cancel := context.WithTimeoutCause(t.Context(), 7*time.Second, cause)
		defer cancel()
		s := newAPI(t).output(ctx, t, nil, response)
		started := time.Now()
		_, err := io.ReadAll(s)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorIs(t, err, cause)
		require.NotErrorIs(t, err, herokubuild.ErrStreamStalled)
		assert.Equal(t, 7*time.Second, time.Since(started))
	})
}

func TestStreamRefuses(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	for url, refuses := range map[string]func(error){
		"": func(err error) { require.ErrorIs(t, err, herokubuild.ErrNoOutput) },
		"http://build-output.heroku.com/" + outputSign: func(err error) { require.ErrorIs(t, err, herokubuild.ErrUnexpectedResponse) },
	} {
		a.serveBuild(url)
		_, err := a.Builds.Output(t.Context(), appName, buildID, nil)
		refuses(err)
	}
	calls := a.mock.GetTotalCallCount()
	_, err := a.Builds.Output(t.Context(), appName, buildID, &herokubuild.StreamOptions{IdleTimeout: -1})
	requireInvalid(t, err, "StreamOptions.IdleTimeout")
	_, err = a.Builds.Output(t.Context(), appName, buildID, &herokubuild.StreamOptions{Offset: -1})
	requireInvalid(t, err, "StreamOptions.Offset")
	assert.Equal(t, calls, a.mock.GetTotalCallCount(), "nothing is sent")
}

// Over a real connection, a flushed byte arrives before the next is written, a redirect
// is followed without key and referer, and a cut chunk is not the end.
func TestStreamOverTheWire(t *testing.T) {
	t.Parallel()
	const text = "abcd"
	got := make(chan byte)
	var dialed atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.NotContains(t, r.Header, "Authorization")
		assert.NotContains(t, r.Header, "Referer")
		if dialed.Add(1) > 1 {
			assert.Equal(t, "bytes=0-", r.Header.Get("Range"))
			w.Header().Set("Content-Range", "bytes 0-3/4")
			w.WriteHeader(http.StatusPartialContent)
			_, _ = io.WriteString(w, text)
			return
		}
		for _, b := range []byte(text[:3]) {
			_, _ = w.Write([]byte{0, b})
			_ = http.NewResponseController(w).Flush()
			select {
			case seen := <-got:
				assert.Equal(t, b, seen)
			case <-r.Context().Done():
				return
			}
		}
		panic(http.ErrAbortHandler)
	}))
	t.Cleanup(other.Close)
	client, _ := newServer(t, withBuild(func(w http.ResponseWriter, r *http.Request) {
		assert.NotContains(t, r.Header, "Authorization")
		http.Redirect(w, r, other.URL+"/log"+outputSign, http.StatusFound)
	}))
	s, err := client.Builds.Output(t.Context(), appName, buildID, nil)
	require.NoError(t, err)
	buf := make([]byte, 100)
	for range 3 {
		n, err := s.Read(buf)
		require.NoError(t, err)
		require.Equal(t, 1, n)
		got <- buf[0]
	}
	rest, err := io.ReadAll(s)
	require.NoError(t, err)
	assert.Equal(t, "d", string(rest))
}

func TestDropHeartbeats(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "\x00", "\x00\x00\x00", "abc", "\x00abc", "abc\x00", "a\x00b\x00\x00c", "\x00a\x00", strings.Repeat("ab\x00", 5000)} {
		want := strings.ReplaceAll(text, "\x00", "")
		for name, wrap := range map[string]func(io.Reader) io.Reader{
			"plain": func(r io.Reader) io.Reader { return r }, "one byte": iotest.OneByteReader, "half": iotest.HalfReader, "data with EOF": iotest.DataErrReader,
		} {
			require.NoError(t, iotest.TestReader(herokubuild.DropHeartbeats(wrap(strings.NewReader(text))), []byte(want)), "%s of %q", name, text)
		}
	}
}

func TestDropHeartbeatsNeverReturnsNothing(t *testing.T) {
	t.Parallel()
	r := herokubuild.DropHeartbeats(io.MultiReader(strings.NewReader(strings.Repeat("\x00", 10_000)), strings.NewReader("x")))
	buf := make([]byte, 16)
	n, err := r.Read(buf)
	require.NoError(t, err)
	assert.Equal(t, "x", string(buf[:n]))
	n, err = r.Read(nil)
	assert.Zero(t, n)
	require.NoError(t, err)

	// Data that comes together with the error is not lost.
	r = herokubuild.DropHeartbeats(iotest.DataErrReader(io.MultiReader(strings.NewReader("a\x00"), iotest.ErrReader(errDropped))))
	n, err = io.ReadFull(r, buf)
	assert.Equal(t, "a", string(buf[:n]))
	require.ErrorIs(t, err, errDropped)
	_, err = herokubuild.DropHeartbeats(iotest.ErrReader(errDropped)).Read(buf)
	require.ErrorIs(t, err, errDropped)
}

// The input is runs of text, NULs at every second byte in either phase, and mixtures.
func TestDropHeartbeatsOfEveryDensity(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	stretches := []func(n int) []byte{
		func(n int) []byte { return bytes.Repeat([]byte("\xfftext\x01"), n) },
		func(n int) []byte { return bytes.Repeat([]byte("a\x00"), n) },
		func(n int) []byte { return bytes.Repeat([]byte("\x00\x80"), n) },
		func(n int) []byte { return bytes.Repeat([]byte("\x00\x00ab\x00"), n) },
		func(n int) []byte { return make([]byte, n) },
		func(n int) []byte {
			b := make([]byte, n)
			for i := range b {
				b[i] = byte(random.IntN(2) * random.IntN(256))
			}
			return b
		},
	}
	for range 2000 {
		var text []byte
		for range 1 + random.IntN(6) {
			text = append(text, stretches[random.IntN(len(stretches))](random.IntN(80))...)
		}
		got, err := io.ReadAll(herokubuild.DropHeartbeats(bytes.NewReader(text)))
		require.NoError(t, err)
		if want := bytes.ReplaceAll(text, []byte{0}, nil); !bytes.Equal(want, got) {
			t.Fatalf("of %q: %q, want %q", text, got, want)
		}
	}
}

// FuzzDropHeartbeats splits the text into reads of the sizes in cuts.
func FuzzDropHeartbeats(f *testing.F) {
	f.Add([]byte("a\x00b"), []byte{1, 2}, 3)
	f.Add([]byte("\x00\x00\x00"), []byte{1}, 1)
	f.Add([]byte(""), []byte{}, 0)
	f.Add([]byte("ab\x00\x00cd\x00"), []byte{0, 3, 1}, 2)
	f.Add(bytes.Repeat([]byte("a\x00"), 100), []byte{255}, 1000)
	f.Add(append([]byte("\x00\x00text"), bytes.Repeat([]byte("\x00\xff"), 50)...), []byte{255}, 1000)
	f.Fuzz(func(t *testing.T, text, cuts []byte, size int) {
		buf := make([]byte, 1+(size%1024+1024)%1024)
		src := &pieces{rest: bytes.Clone(text), cuts: cuts}
		r := herokubuild.DropHeartbeats(src)
		var got []byte
		taken, arrived := 0, 0
		for {
			n, err := r.Read(buf)
			require.False(t, n == 0 && err == nil, "a read returned nothing")
			got = append(got, buf[:n]...)
			if err != nil {
				require.ErrorIs(t, err, io.EOF)
				break
			}
			next := len(text) - len(src.rest)
			arrived += next - taken - bytes.Count(text[taken:next], []byte{0})
			taken = next
			require.Len(t, got, arrived, "a byte was held back")
		}
		assert.True(t, bytes.Equal(bytes.ReplaceAll(text, []byte{0}, nil), got))
	})
}

type pieces struct {
	rest, cuts []byte
	reads      int
}

func (p *pieces) Read(b []byte) (int, error) {
	n := min(len(b), len(p.rest))
	if len(p.cuts) > 0 {
		n = min(n, 1+int(p.cuts[p.reads%len(p.cuts)]))
		p.reads++
	}
	copy(b, p.rest[:n])
	p.rest = p.rest[n:]
	if len(p.rest) == 0 {
		return n, io.EOF
	}
	return n, nil
}

// However fast heartbeats come, they are reported once a second.
func TestStreamReportsAFloodOfHeartbeatsOnceASecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		response, w := live(200)
		var at []time.Duration
		started := time.Now()
		s := newAPI(t).output(t.Context(), t, &herokubuild.StreamOptions{
			OnHeartbeat: func(quiet time.Duration) {
				assert.Equal(t, time.Since(started), quiet)
				at = append(at, quiet)
			},
		}, response)
		go func() {
			for range 50 {
				time.Sleep(100 * time.Millisecond)
				_, _ = w.Write([]byte{0})
			}
			_ = w.Close()
		}()
		_, err := io.ReadAll(s)
		require.NoError(t, err)
		assert.Equal(t, []time.Duration{100 * time.Millisecond, 1100 * time.Millisecond, 2100 * time.Millisecond, 3100 * time.Millisecond, 4100 * time.Millisecond}, at)
	})
}
