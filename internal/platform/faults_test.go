package platform_test

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"math"
	"net"
	"net/http"
	"net/url"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild/internal/platform"
)

// quick is a Builder that prints one line.
var quick = platform.BuilderFunc(func(_ context.Context, j *platform.Job) error {
	_, err := io.WriteString(j.Output, "compiled\n")
	return err
})

// always returns a FaultFunc that injects f into all requests with the given host
// and method.
func always(host, method string, f platform.Fault) platform.FaultFunc {
	return func(at platform.FaultPoint) platform.Fault {
		if at.Host == host && at.Method == method {
			return f
		}
		return platform.Fault{}
	}
}

func (r *rig) request(method, url string, body io.Reader, headers ...string) *http.Request {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, url, body)
	require.NoError(r.t, err)
	if strings.HasPrefix(url, r.URL()) {
		req.Header.Set("Accept", accept)
		req.Header.Set("Authorization", "Bearer "+r.Token())
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	return req
}

// try sends a request that may fail. It opens a new connection, since net/http
// retries some requests that fail on a reused one.
func (r *rig) try(method, url, body string, headers ...string) (response, error) {
	r.t.Helper()
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true}, Timeout: deadline}
	resp, err := c.Do(r.request(method, url, strings.NewReader(body), headers...))
	if err != nil {
		return response{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return response{resp.StatusCode, resp.Header, b}, err
}

// dial sends a request and reads the header of the response. It also returns the
// connection.
func (r *rig) dial(req *http.Request) (*net.TCPConn, *http.Response) {
	r.t.Helper()
	c, err := net.Dial("tcp", req.URL.Host)
	require.NoError(r.t, err)
	r.t.Cleanup(func() { _ = c.Close() })
	require.NoError(r.t, c.SetDeadline(time.Now().Add(deadline)))
	require.NoError(r.t, req.Write(c))
	resp, err := http.ReadResponse(bufio.NewReader(c), req)
	require.NoError(r.t, err)
	return c.(*net.TCPConn), resp
}

// finished returns a build that has succeeded.
func (r *rig) finished() (build map[string]any, out string) {
	r.t.Helper()
	build, out = r.built(r.build("example-app", targz(r.t, entry{name: "a", body: "x"})))
	require.Equal(r.t, "succeeded", build["status"], out)
	return build, out
}

// resources returns a URL to GET from each origin, and the expected body.
func (r *rig) resources() (urls, bodies map[string]string) {
	r.t.Helper()
	build, out := r.finished()
	get := r.upload([]byte("an archive"))
	urls = map[string]string{"api": r.URL() + "/account", "blob": get, "stream": build["output_stream_url"].(string)}
	a, err := r.try("GET", urls["api"], "")
	require.NoError(r.t, err)
	return urls, map[string]string{"api": string(a.body), "blob": "an archive", "stream": out}
}

// action is a request that has an effect when it is handled.
type action struct {
	name, host, method, url, body string
	done                          func() bool
}

func (a action) path() string {
	u, _ := url.Parse(a.url)
	return u.Path
}

func (r *rig) actions() []action {
	r.t.Helper()
	build, _ := r.finished()
	source := r.upload(targz(r.t, entry{name: "a", body: "x"}))
	get, put := r.source()
	require.NoError(r.t, r.AddApp("third-app"))
	return []action{
		{"build", "api", "POST", r.URL() + "/apps/other-app/builds", `{"source_blob":{"url":"` + source + `"}}`, func() bool { return len(r.Builds("other-app")) == 1 }},
		{"release", "api", "POST", r.URL() + "/apps/third-app/releases", `{"slug":"` + build["slug"].(map[string]any)["id"].(string) + `"}`, func() bool { return len(r.Releases("third-app")) == 3 }},
		{"upload", "blob", "PUT", put, "an archive", func() bool { return r.send("GET", get, nil).status == 200 }},
	}
}

// faulty returns the statuses of the journal entries of a path that have a fault.
func (r *rig) faulty(path string) []int {
	var marked []int
	for _, e := range r.Requests() {
		if e.Path == path && e.Fault {
			marked = append(marked, e.Status)
		}
	}
	return marked
}

func TestFaultsBeforeAndAfterHandling(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		kind   string
		fault  platform.Fault
		status int // 0 for a reset connection
		done   bool
	}{
		{"Status", platform.Fault{Status: 503}, 503, false},
		{"StatusAfter", platform.Fault{StatusAfter: 503}, 503, true},
		{"Lost", platform.Fault{Lost: true}, 0, true},
		{"CutRequestAfter", platform.Fault{CutRequestAfter: 1}, 0, false},
		{"CutRequestAfter", platform.Fault{CutRequestAfter: 1 << 40}, 0, false}, // at the end of the body
	} {
		t.Run(fmt.Sprint(c.kind, c.fault.CutRequestAfter), func(t *testing.T) {
			t.Parallel()
			r := start(t, platform.Options{Builder: quick})
			actions := r.actions()
			r.SetFaults(func(at platform.FaultPoint) platform.Fault {
				for _, a := range actions {
					if at.Host == a.host && at.Method == a.method && at.Path == a.path() && at.Attempted == 0 {
						return c.fault
					}
				}
				return platform.Fault{}
			})
			for i, a := range actions {
				got, err := r.try(a.method, a.url, a.body)
				if c.status == 0 {
					require.ErrorIs(t, err, errReset, a.name)
				} else {
					require.NoError(t, err, a.name)
					assert.Equal(t, c.status, got.status, a.name)
				}
				assert.Equal(t, c.done, a.done(), a.name)
				assert.Equal(t, []int{c.status}, r.faulty(a.path()), a.name)
				assert.Equal(t, map[string]int{c.kind: i + 1}, r.FaultsInjected(), a.name)
				if c.done {
					continue
				}
				got, err = r.try(a.method, a.url, a.body)
				require.NoError(t, err, a.name)
				assert.Less(t, got.status, 300, a.name)
				assert.True(t, a.done(), a.name)
				assert.Equal(t, []int{c.status}, r.faulty(a.path()), "%s: the second request must have no fault", a.name)
			}
		})
	}
}

func TestFaultStatusBodies(t *testing.T) {
	t.Parallel()
	r := start(t, platform.Options{Builder: quick})
	urls, _ := r.resources()
	for _, c := range []struct {
		host        string
		fault       platform.Fault
		status      int
		contentType string
		body        string
	}{
		{"api", platform.Fault{Status: 500}, 500, "application/json", `{"id":"internal_server_error","message":"Internal Server Error."}`},
		{"api", platform.Fault{Status: 503, RetryAfter: "7"}, 503, "application/json", `{"id":"service_unavailable",`},
		{"api", platform.Fault{StatusAfter: 504, RetryAfter: "7"}, 504, "application/json", `{"id":"gateway_timeout",`},
		{"api", platform.Fault{Status: 429, RetryAfter: "Fri, 31 Dec 1999 23:59:59 GMT"}, 429, "application/json", `{"id":"rate_limit","message":"Your account reached the API rate limit.`},
		{"api", platform.Fault{Status: 502, HTML: true}, 502, "text/html; charset=utf-8", "<title>Application Error</title>"},
		{"api", platform.Fault{StatusAfter: 503, HTML: true, RetryAfter: "1"}, 503, "text/html; charset=utf-8", "<title>Application Error</title>"},
		{"blob", platform.Fault{Status: 500}, 500, "application/xml", "<Error><Code>InternalError</Code>"},
		{"blob", platform.Fault{Status: 503, HTML: true, RetryAfter: "7"}, 503, "application/xml", "<Error><Code>SlowDown</Code>"},
		{"blob", platform.Fault{StatusAfter: 502}, 502, "application/xml", "<Error><Code>BadGateway</Code><Message>Bad Gateway</Message>"},
		{"stream", platform.Fault{Status: 503, HTML: true, RetryAfter: "7"}, 503, "text/plain; charset=utf-8", "Service Unavailable"},
		{"stream", platform.Fault{StatusAfter: 500}, 500, "text/plain; charset=utf-8", "Internal Server Error"},
	} {
		name := fmt.Sprintf("%s %+v", c.host, c.fault)
		before := r.FaultsInjected()
		r.SetFaults(always(c.host, "GET", c.fault))
		a, err := r.try("GET", urls[c.host], "")
		require.NoError(t, err, name)
		assert.Equal(t, c.status, a.status, name)
		assert.Equal(t, c.contentType, a.header.Get("Content-Type"), name)
		assert.Equal(t, c.fault.RetryAfter, a.header.Get("Retry-After"), name)
		assert.Contains(t, string(a.body), c.body, name)
		assert.Equal(t, c.host == "blob", a.header.Get("X-Amz-Request-Id") != "", name)
		kind := "Status"
		if c.fault.StatusAfter != 0 {
			kind = "StatusAfter"
		}
		before[kind]++
		assert.Equal(t, before, r.FaultsInjected(), name)
	}
}

func TestFaultLostOnReads(t *testing.T) {
	t.Parallel()
	r := start(t, platform.Options{Builder: quick})
	urls, _ := r.resources()
	for host, u := range urls {
		for _, f := range []platform.Fault{{Lost: true}, {CutRequestAfter: 1}} {
			r.SetFaults(always(host, "GET", f))
			a, err := r.try("GET", u, "")
			require.ErrorIs(t, err, errReset, host)
			assert.Zero(t, a.status, host)
		}
	}
	assert.Equal(t, map[string]int{"Lost": 3, "CutRequestAfter": 3}, r.FaultsInjected())
}

// TestFaultLostOnLiveStream expects the connection to be reset before the build
// ends.
func TestFaultLostOnLiveStream(t *testing.T) {
	t.Parallel()
	lines, builder := printer()
	r := start(t, platform.Options{Builder: builder})
	u := r.liveURL()
	for _, f := range []platform.Fault{{Lost: true}, {StatusAfter: 500}} {
		r.SetFaults(always("stream", "GET", f))
		a, err := r.try("GET", u, "")
		assert.Equal(t, f.StatusAfter, a.status)
		assert.Equal(t, f.Lost, err != nil)
	}
	assert.Equal(t, "pending", r.Builds("example-app")[0].Status)
	close(lines)
}

// liveURL starts a build and returns the URL of its output.
func (r *rig) liveURL() string {
	r.t.Helper()
	id := r.build("example-app", targz(r.t, entry{name: "a", body: "x"}))
	return r.api("GET", "/apps/example-app/builds/"+id, "").json(r.t)["output_stream_url"].(string)
}

// The blob store resets a request before the rest of its body is sent, and the API at its
// end.
func TestFaultCutRequestInTheMiddle(t *testing.T) {
	t.Parallel()
	for _, i := range []int{0, 1, 2} {
		r := start(t, platform.Options{Builder: quick})
		a := r.actions()[i]
		r.SetFaults(always(a.host, a.method, platform.Fault{CutRequestAfter: 10}))
		u, err := url.Parse(a.url)
		require.NoError(t, err)
		c, err := net.Dial("tcp", u.Host)
		require.NoError(t, err)
		require.NoError(t, c.SetDeadline(time.Now().Add(deadline)))
		body := "0123456789"
		if a.host == "api" {
			body = strings.Repeat("0123456789", 100)
		}
		_, err = fmt.Fprintf(c, "%s %s HTTP/1.1\r\nHost: %s\r\nAccept: %s\r\nContent-Length: 1000\r\n\r\n%s", a.method, u.RequestURI(), u.Host, accept, body)
		require.NoError(t, err)
		got, err := io.ReadAll(c)
		require.ErrorIs(t, err, errReset, a.name)
		assert.Empty(t, got, a.name)
		require.NoError(t, c.Close())
		assert.False(t, a.done(), a.name)
		assert.Equal(t, map[string]int{"CutRequestAfter": 1}, r.FaultsInjected())
		assert.Equal(t, []int{0}, r.faulty(a.path()), a.name)
	}
}

func TestFaultCutResponses(t *testing.T) {
	t.Parallel()
	r := start(t, platform.Options{Builder: quick})
	urls, _ := r.resources()
	for _, c := range []struct {
		name, host, url string
		header          []string
		chunked         bool // when it is cut
	}{
		{"api", "api", urls["api"], nil, false},
		{"api, packed", "api", urls["api"], []string{"Accept-Encoding", "gzip"}, false},
		{"api, error", "api", r.URL() + "/apps/none", nil, false},
		{"blob", "blob", urls["blob"], nil, false},
		{"blob, part", "blob", urls["blob"], []string{"Range", "bytes=3-"}, false},
		{"blob, error", "blob", urls["blob"] + "0", nil, true},
		{"stream", "stream", urls["stream"], nil, true},
		{"stream, part", "stream", urls["stream"], []string{"Range", "bytes=3-"}, true},
		{"stream, error", "stream", urls["stream"] + "0", nil, true},
	} {
		r.SetFaults(nil)
		whole, err := r.try("GET", c.url, "", c.header...)
		require.NoError(t, err, c.name)
		n := len(whole.body)
		for _, at := range []int{1, n / 2, n - 1, n, n + 1} {
			before := r.FaultsInjected()["CutResponseAfter"]
			r.SetFaults(always(c.host, "GET", platform.Fault{CutResponseAfter: int64(at)}))
			a, err := r.try("GET", c.url, "", c.header...)
			name := fmt.Sprintf("%s: %d of %d", c.name, at, n)
			if at < n || at == n && c.chunked {
				require.Equal(t, io.ErrUnexpectedEOF, err, name)
				assert.Len(t, a.body, at, name)
				before++
			} else {
				require.NoError(t, err, name)
				assert.Len(t, a.body, n, name)
			}
			assert.Equal(t, whole.status, a.status, name)
			if c.name != "blob, error" { // it contains new IDs each time
				assert.Equal(t, string(whole.body[:len(a.body)]), string(a.body), name)
			}
			assert.Equal(t, before, r.FaultsInjected()["CutResponseAfter"], name)
			all := r.Requests()
			assert.Equal(t, at < n || at == n && c.chunked, all[len(all)-1].Fault, name)
		}
	}
	injected := r.FaultsInjected()
	r.SetFaults(func(platform.FaultPoint) platform.Fault {
		return platform.Fault{CutResponseAfter: 1, StallResponseAfter: 1}
	})
	assert.Equal(t, 200, r.send("HEAD", urls["stream"], nil).status, "there is no body to cut")
	assert.Equal(t, injected, r.FaultsInjected())
}

// TestFaultsWithoutEffectKeepConnection expects further requests to succeed on a
// connection after a fault beyond the end of the response.
func TestFaultsWithoutEffectKeepConnection(t *testing.T) {
	t.Parallel()
	r := start(t, platform.Options{Builder: quick})
	_, bodies := r.resources()
	n := int64(len(bodies["api"]))
	for _, f := range []platform.Fault{{CutResponseAfter: n}, {StallResponseAfter: n}, {StallResponseAfter: n + 1}} {
		r.SetFaults(always("api", "GET", f))
		for range 3 {
			a := r.api("GET", "/account", "", "Accept-Encoding", "identity")
			assert.Equal(t, bodies["api"], string(a.body))
		}
	}
	assert.Empty(t, r.FaultsInjected())
}

// TestFaultCutIsInsideChunk expects the last chunk to announce more bytes than
// are sent, even at the end of the output.
func TestFaultCutIsInsideChunk(t *testing.T) {
	t.Parallel()
	r := start(t, platform.Options{Builder: quick})
	urls, bodies := r.resources()
	out := bodies["stream"]
	for _, at := range []int{1, len(out) / 2, len(out)} {
		r.SetFaults(always("stream", "GET", platform.Fault{CutResponseAfter: int64(at)}))
		req := r.request("GET", urls["stream"], nil)
		c, err := net.Dial("tcp", req.URL.Host)
		require.NoError(t, err)
		require.NoError(t, c.SetDeadline(time.Now().Add(deadline)))
		require.NoError(t, req.Write(c))
		raw, err := io.ReadAll(c)
		require.NoError(t, err, "the connection must be closed, not reset")
		require.NoError(t, c.Close())
		_, body, _ := strings.Cut(string(raw), "\r\n\r\n")
		size, data, _ := strings.Cut(body, "\r\n")
		n, err := strconv.ParseInt(size, 16, 64)
		require.NoError(t, err)
		assert.Greater(t, n, int64(at))
		assert.Equal(t, out[:at], data)
	}
}

func TestFaultCutOfLiveOutput(t *testing.T) {
	t.Parallel()
	lines, builder := printer()
	r := start(t, platform.Options{Builder: builder})
	u := r.liveURL()
	r.SetFaults(always("stream", "GET", platform.Fault{CutResponseAfter: int64(len(head) + 4)}))
	s := r.live(u)
	assert.Equal(t, []string{"chunked"}, s.TransferEncoding)
	assert.Equal(t, head, read(t, s, len(head)))
	lines <- "one"
	assert.Equal(t, "one", read(t, s, 3))
	lines <- "two"
	rest, err := io.ReadAll(s.Body)
	assert.Equal(t, io.ErrUnexpectedEOF, err)
	assert.Equal(t, "t", string(rest))
	close(lines)
}

func TestFaultsAndHeartbeats(t *testing.T) {
	t.Parallel()
	lines, builder := printer()
	r := start(t, platform.Options{Builder: builder, Heartbeat: time.Millisecond})
	u := r.liveURL()
	lines <- "begun"
	from := []string{"Range", "bytes=" + itoa(len(head)+5) + "-"}

	r.SetFaults(always("stream", "GET", platform.Fault{CutResponseAfter: 3}))
	a, err := r.try("GET", u, "", from...)
	assert.Equal(t, io.ErrUnexpectedEOF, err)
	assert.Equal(t, "\x00\x00\x00", string(a.body), "heartbeats must count")

	r.SetFaults(always("stream", "GET", platform.Fault{StallResponseAfter: 3}))
	c, resp := r.dial(r.request("GET", u, nil, from...))
	assert.Equal(t, "\x00\x00\x00", read(t, resp, 3), "heartbeats must count")
	require.NoError(t, c.CloseWrite())
	rest, err := io.ReadAll(resp.Body)
	assert.Equal(t, io.ErrUnexpectedEOF, err)
	assert.Empty(t, rest, "nothing must follow")

	r.SetFaults(always("stream", "GET", platform.Fault{EndAfter: 4}))
	s := r.live(u, from...)
	assert.Equal(t, "\x00\x00\x00\x00\x00", read(t, s, 5), "heartbeats must not count")
	lines <- "texts"
	rest, err = io.ReadAll(s.Body)
	require.NoError(t, err)
	assert.Equal(t, "text", strings.ReplaceAll(string(rest), "\x00", ""))
	assert.Equal(t, map[string]int{"CutResponseAfter": 1, "StallResponseAfter": 1, "EndAfter": 1}, r.FaultsInjected())
	close(lines)
}

// TestFaultStallEndsOnDisconnect half-closes the connection, so that the client
// can detect the end of the handler.
func TestFaultStallEndsOnDisconnect(t *testing.T) {
	t.Parallel()
	r := start(t, platform.Options{Builder: quick})
	urls, bodies := r.resources()
	actions := r.actions()
	_, put := r.source()
	large := strings.Repeat(" ", 2<<20)
	for _, c := range []struct {
		name, host, method, url, body string
		header                        []string
		status                        int
		begin                         string
	}{
		{"api", "api", "GET", urls["api"], "", nil, 200, bodies["api"][:5]},
		{"blob", "blob", "GET", urls["blob"], "", nil, 200, bodies["blob"][:5]},
		{"stream", "stream", "GET", urls["stream"], "", nil, 200, bodies["stream"][:5]},
		{"stream, part", "stream", "GET", urls["stream"], "", []string{"Range", "bytes=7-"}, 206, bodies["stream"][7:12]},
		{"build", "api", "POST", actions[0].url, actions[0].body, nil, 201, `{"app`},
		{"unread body", "api", "POST", actions[0].url, actions[0].body, []string{"Authorization", "Bearer x"}, 401, `{"id"`},
		{"unread large body", "api", "POST", actions[0].url, large, []string{"Authorization", "Bearer x"}, 401, `{"id"`},
		{"body beyond the limit", "api", "POST", actions[0].url, large, nil, 413, `{"id"`},
		{"rejected upload", "blob", "PUT", put + "0", large, nil, 403, `<?xml`},
	} {
		r.SetFaults(always(c.host, c.method, platform.Fault{StallResponseAfter: 5}))
		before := r.FaultsInjected()["StallResponseAfter"]
		conn, resp := r.dial(r.request(c.method, c.url, strings.NewReader(c.body), c.header...))
		assert.Equal(t, c.status, resp.StatusCode, c.name)
		assert.Equal(t, c.begin, read(t, resp, 5), c.name)
		require.NoError(t, conn.CloseWrite(), c.name)
		rest, err := io.ReadAll(resp.Body)
		assert.Equal(t, io.ErrUnexpectedEOF, err, c.name)
		assert.Empty(t, rest, c.name)
		assert.Equal(t, before+1, r.FaultsInjected()["StallResponseAfter"], c.name)
	}
	assert.True(t, actions[0].done(), "the request must be handled")
}

// TestFaultStallAtEndOfOutput stalls a chunked response after its last byte but
// before its end.
func TestFaultStallAtEndOfOutput(t *testing.T) {
	t.Parallel()
	r := start(t, platform.Options{Builder: quick})
	urls, bodies := r.resources()
	n := len(bodies["stream"])
	r.SetFaults(always("stream", "GET", platform.Fault{StallResponseAfter: int64(n)}))
	c, resp := r.dial(r.request("GET", urls["stream"], nil))
	assert.Equal(t, bodies["stream"], read(t, resp, n))
	require.NoError(t, c.CloseWrite())
	rest, err := io.ReadAll(resp.Body)
	assert.Equal(t, io.ErrUnexpectedEOF, err)
	assert.Empty(t, rest)

	r.SetFaults(always("stream", "GET", platform.Fault{StallResponseAfter: int64(n + 1)}))
	a, err := r.try("GET", urls["stream"], "")
	require.NoError(t, err)
	assert.Equal(t, bodies["stream"], string(a.body))
	assert.Equal(t, map[string]int{"StallResponseAfter": 1}, r.FaultsInjected())
}

// TestCloseEndsFaults expects Close not to wait for stalled and delayed
// requests, and to leave no goroutines behind. It is not parallel since it
// counts all goroutines.
func TestCloseEndsFaults(t *testing.T) {
	before := runtime.NumGoroutine()
	r := start(t, platform.Options{Builder: quick})
	urls, bodies := r.resources()
	actions := r.actions()
	for _, f := range []platform.Fault{{Lost: true}, {CutResponseAfter: 3}, {CutRequestAfter: 3}, {EndAfter: 3}, {EndNow: true}, {StatusAfter: 500}} {
		r.SetFaults(func(platform.FaultPoint) platform.Fault { return f })
		for _, u := range urls {
			_, _ = r.try("GET", u, "")
		}
	}

	r.SetFaults(func(platform.FaultPoint) platform.Fault { return platform.Fault{StallResponseAfter: 3} })
	var stalled []*http.Response
	for host, u := range urls {
		c, resp := r.dial(r.request("GET", u, nil))
		assert.Equal(t, bodies[host][:3], read(t, resp, 3))
		// The server does not detect a disconnect after the start of another
		// request.
		_, err := io.WriteString(c, "GET ")
		require.NoError(t, err)
		stalled = append(stalled, resp)
	}
	r.SetFaults(func(platform.FaultPoint) platform.Fault { return platform.Fault{Delay: time.Hour} })
	delayed := make([]error, len(actions))
	var clients sync.WaitGroup
	for i, a := range actions {
		clients.Go(func() { _, delayed[i] = r.try(a.method, a.url, a.body) })
	}
	r.waitFor("the requests", func() bool { return r.FaultsInjected()["Delay"] == len(actions) })

	require.NoError(t, r.Close())
	clients.Wait()
	for i, a := range actions {
		require.Error(t, delayed[i], a.name)
		if a.host == "api" {
			assert.False(t, a.done(), a.name)
		}
		marked := r.faulty(a.path())
		assert.Equal(t, 0, marked[len(marked)-1], "there must be no response")
	}
	for _, resp := range stalled {
		rest, err := io.ReadAll(resp.Body)
		require.Error(t, err)
		assert.Empty(t, rest)
	}
	r.http.CloseIdleConnections()
	r.waitFor("goroutines to end", func() bool { return runtime.NumGoroutine() <= before })
}

// A client may end as soon as a fault is drawn, and the request takes effect.
func TestFaultsAreOfRequestsThatHaveArrived(t *testing.T) {
	t.Parallel()
	r := start(t, platform.Options{})
	u, err := url.Parse(r.URL())
	require.NoError(t, err)
	c, err := net.Dial("tcp", u.Host)
	require.NoError(t, err)
	before := len(r.Releases("example-app"))
	r.SetFaults(func(platform.FaultPoint) platform.Fault {
		_ = c.Close()
		return platform.Fault{Delay: time.Millisecond}
	})
	body := `{"N":"1"}`
	_, err = fmt.Fprintf(c, "PATCH /apps/example-app/config-vars HTTP/1.1\r\nHost: %s\r\nAccept: %s\r\nAuthorization: Bearer %s\r\n"+
		"Content-Type: application/json\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", u.Host, accept, r.Token(), len(body))
	require.NoError(t, err)
	line, err := bufio.NewReader(c).ReadString('\n')
	require.NoError(t, err, "the body must be read before a fault is drawn")
	require.Contains(t, line, "100 Continue")
	_, err = io.WriteString(c, body)
	require.NoError(t, err)
	r.waitFor("the release", func() bool { return len(r.Releases("example-app")) == before+1 })
}

func TestFaultDelay(t *testing.T) {
	t.Parallel()
	r := start(t, platform.Options{Builder: quick})
	actions := r.actions()
	r.SetFaults(func(at platform.FaultPoint) platform.Fault {
		switch {
		case at.Path == actions[0].path():
			return platform.Fault{Delay: 20 * time.Millisecond}
		case at.Path == actions[1].path():
			return platform.Fault{Delay: time.Millisecond, StatusAfter: 500}
		case at.Path == actions[2].path() && at.Method == "PUT":
			return platform.Fault{Delay: time.Millisecond}
		default:
			return platform.Fault{}
		}
	})

	// The client disconnects as soon as the request has arrived.
	ctx, cancel := context.WithCancel(t.Context())
	req := r.request(actions[0].method, actions[0].url, strings.NewReader(actions[0].body)).WithContext(ctx)
	ended := make(chan error, 1)
	go func() {
		resp, err := r.http.Do(req)
		if err == nil {
			err = resp.Body.Close()
		}
		ended <- err
	}()
	r.waitFor("the request", func() bool { return len(r.faulty(actions[0].path())) == 1 })
	cancel()
	<-ended
	r.waitFor("the build", actions[0].done)
	assert.Equal(t, map[string]int{"Delay": 1}, r.FaultsInjected())

	a, err := r.try(actions[1].method, actions[1].url, actions[1].body)
	require.NoError(t, err)
	assert.Equal(t, 500, a.status)
	assert.True(t, actions[1].done())
	assert.Equal(t, map[string]int{"Delay": 2, "StatusAfter": 1}, r.FaultsInjected(), "both faults must be injected")

	a, err = r.try(actions[2].method, actions[2].url, actions[2].body)
	require.NoError(t, err)
	assert.Equal(t, 200, a.status)
	assert.True(t, actions[2].done())
	assert.Equal(t, []int{200}, r.faulty(actions[2].path()))
}

func TestFaultsOfStreams(t *testing.T) {
	t.Parallel()
	r := start(t, platform.Options{Builder: quick})
	urls, bodies := r.resources()
	u, out := urls["stream"], bodies["stream"]
	n := len(out)
	rangeFrom := func(i int) []string { return []string{"Range", "bytes=" + itoa(i) + "-"} }
	part := func(i int) string { return fmt.Sprintf("bytes %d-%d/%d", i, n-1, n) }
	none, gone := "", fmt.Sprintf("bytes */%d", n)
	for _, c := range []struct {
		fault        platform.Fault
		header       []string
		status       int
		contentRange string
		body         string
		kind         string // "" if the fault has no effect
	}{
		{platform.Fault{IgnoreRange: true}, rangeFrom(7), 200, none, out, "IgnoreRange"},
		{platform.Fault{IgnoreRange: true}, []string{"Range", "7-"}, 200, none, out, "IgnoreRange"},
		{platform.Fault{IgnoreRange: true}, []string{"Last-Event-Id", "7"}, 200, none, out, "IgnoreRange"},
		{platform.Fault{IgnoreRange: true}, []string{"Last-Event-Id", "7", "Range", "9-"}, 200, none, out, "IgnoreRange"},
		{platform.Fault{IgnoreRange: true}, rangeFrom(n), 200, none, out, "IgnoreRange"},
		{platform.Fault{IgnoreRange: true}, nil, 200, none, out, ""},

		{platform.Fault{SilentRange: true}, rangeFrom(7), 200, none, out[7:], "SilentRange"},
		{platform.Fault{SilentRange: true}, []string{"Last-Event-Id", "7"}, 200, none, out[7:], "SilentRange"},
		{platform.Fault{SilentRange: true}, rangeFrom(0), 200, none, out, "SilentRange"},
		{platform.Fault{SilentRange: true}, rangeFrom(n), 204, none, "", ""},
		{platform.Fault{SilentRange: true}, nil, 200, none, out, ""},

		{platform.Fault{EndAfter: 1}, nil, 200, none, out[:1], "EndAfter"},
		{platform.Fault{EndAfter: 5}, rangeFrom(7), 206, part(7), out[7:12], "EndAfter"},
		{platform.Fault{EndAfter: int64(n + 1)}, nil, 200, none, out, ""},
		{platform.Fault{EndAfter: 1}, rangeFrom(n), 204, none, "", ""},

		{platform.Fault{EndNow: true}, nil, 200, none, "", "EndNow"},
		{platform.Fault{EndNow: true}, rangeFrom(7), 206, part(7), "", "EndNow"},
		{platform.Fault{EndNow: true}, rangeFrom(n), 204, none, "", ""},

		{platform.Fault{NotFound: true}, nil, 404, none, "Channel is not registered.", "NotFound"},
		{platform.Fault{NotFound: true}, rangeFrom(7), 404, none, "Channel is not registered.", "NotFound"},

		{platform.Fault{Gone416: true}, rangeFrom(n), 416, gone, "", "Gone416"},
		{platform.Fault{Gone416: true}, rangeFrom(n + 1), 416, gone, "", ""},
		{platform.Fault{Gone416: true}, rangeFrom(7), 206, part(7), out[7:], ""},
		{platform.Fault{Gone416: true}, nil, 200, none, out, ""},

		{platform.Fault{Gone204: true}, rangeFrom(n + 1), 204, none, "", "Gone204"},
		{platform.Fault{Gone204: true}, rangeFrom(n), 204, none, "", ""},
		{platform.Fault{Gone204: true}, rangeFrom(7), 206, part(7), out[7:], ""},
	} {
		name := fmt.Sprintf("%+v %v", c.fault, c.header)
		want := r.FaultsInjected()
		if c.kind != "" {
			want[c.kind]++
		}
		r.SetFaults(always("stream", "GET", c.fault))
		a, err := r.try("GET", u, "", c.header...)
		require.NoError(t, err, name)
		assert.Equal(t, c.status, a.status, name)
		assert.Equal(t, c.contentRange, a.header.Get("Content-Range"), name)
		assert.Equal(t, c.body, string(a.body), name)
		assert.Equal(t, want, r.FaultsInjected(), name)
		all := r.Requests()
		assert.Equal(t, c.kind != "", all[len(all)-1].Fault, name)
		assert.Equal(t, c.status, all[len(all)-1].Status, name)
	}
}

// TestStreamFaultsMatchRealResponses compares injected responses with genuine
// ones.
func TestStreamFaultsMatchRealResponses(t *testing.T) {
	t.Parallel()
	r := start(t, platform.Options{Builder: quick})
	urls, bodies := r.resources()
	u, n := urls["stream"], len(bodies["stream"])
	at, beyond := []string{"Range", "bytes=" + itoa(n) + "-"}, []string{"Range", "bytes=" + itoa(n+1) + "-"}
	for _, c := range []struct {
		fault      platform.Fault
		header     []string
		realURL    string
		realHeader []string
		status     int
	}{
		{platform.Fault{Gone416: true}, at, u, beyond, 416},
		{platform.Fault{Gone204: true}, beyond, u, at, 204},
		{platform.Fault{NotFound: true}, nil, u + "0", nil, 404},
	} {
		r.SetFaults(always("stream", "GET", c.fault))
		fake, err := r.try("GET", u, "", c.header...)
		require.NoError(t, err)
		r.SetFaults(nil)
		genuine, err := r.try("GET", c.realURL, "", c.realHeader...)
		require.NoError(t, err)
		assert.Equal(t, c.status, genuine.status)
		fake.header.Del("Date")
		genuine.header.Del("Date")
		if c.fault.NotFound { // it is sent without reaching the stream host
			genuine.header.Del("Cache-Control")
		}
		assert.Equal(t, genuine, fake)
	}
}

// TestFaultGone416NeedsARange requests an empty output, which has status 204 even
// without a range.
func TestFaultGone416NeedsARange(t *testing.T) {
	t.Parallel()
	r := start(t, platform.Options{Builder: quick, Faults: always("stream", "GET", platform.Fault{Gone416: true})})
	v := r.release("example-app", `{"slug":"`+r.createSlug(`{"release":"true"}`, targz(t, entry{name: "./app/x", body: "x"}))+`"}`)
	v = r.settled("/apps/example-app/releases/" + v["id"].(string))
	a, err := r.try("GET", v["output_stream_url"].(string), "")
	require.NoError(t, err)
	assert.Equal(t, 204, a.status)
	assert.Empty(t, r.FaultsInjected())
	a, err = r.try("GET", v["output_stream_url"].(string), "", "Range", "bytes=0-")
	require.NoError(t, err)
	assert.Equal(t, 416, a.status)
	assert.Equal(t, "bytes */0", a.header.Get("Content-Range"))
}

// TestFaultsOfLiveStreams expects responses to end properly while the build is
// running.
func TestFaultsOfLiveStreams(t *testing.T) {
	t.Parallel()
	lines, builder := printer()
	r := start(t, platform.Options{Builder: builder})
	u := r.liveURL()
	lines <- "one" // the head has been printed before
	for _, c := range []struct {
		fault        platform.Fault
		header       []string
		status       int
		contentRange string
		body         string
	}{
		{platform.Fault{EndNow: true}, nil, 200, "", ""},
		{platform.Fault{EndNow: true}, []string{"Range", "bytes=5-"}, 206, "bytes 5-*/*", ""},
		{platform.Fault{EndAfter: 3}, []string{"Range", "bytes=5-"}, 206, "bytes 5-*/*", head[5:8]},
		{platform.Fault{EndAfter: 3, SilentRange: true}, []string{"Range", "bytes=5-"}, 200, "", head[5:8]},
		{platform.Fault{EndAfter: 3, IgnoreRange: true}, []string{"Range", "bytes=5-"}, 200, "", head[:3]},
		{platform.Fault{EndAfter: int64(len(head) + 3)}, nil, 200, "", head + "one"},
	} {
		name := fmt.Sprintf("%+v", c.fault)
		r.SetFaults(always("stream", "GET", c.fault))
		a, err := r.try("GET", u, "", c.header...)
		require.NoError(t, err, name)
		assert.Equal(t, c.status, a.status, name)
		assert.Equal(t, c.contentRange, a.header.Get("Content-Range"), name)
		assert.Equal(t, c.body, string(a.body), name)
	}
	assert.Equal(t, "pending", r.Builds("example-app")[0].Status)
	assert.Equal(t, map[string]int{"EndNow": 2, "EndAfter": 4, "SilentRange": 1, "IgnoreRange": 1}, r.FaultsInjected())
	close(lines)
}

func TestOtherOriginsIgnoreStreamFaults(t *testing.T) {
	t.Parallel()
	r := start(t, platform.Options{Builder: quick})
	urls, bodies := r.resources()
	r.SetFaults(func(platform.FaultPoint) platform.Fault {
		return platform.Fault{IgnoreRange: true, SilentRange: true, EndAfter: 1, EndNow: true, NotFound: true, Gone416: true, Gone204: true}
	})
	for _, host := range []string{"api", "blob"} {
		a, err := r.try("GET", urls[host], "")
		require.NoError(t, err)
		assert.Equal(t, 200, a.status, host)
		assert.Equal(t, bodies[host], string(a.body), host)
	}
	a, err := r.try("GET", urls["blob"], "", "Range", "bytes=3-")
	require.NoError(t, err)
	assert.Equal(t, 206, a.status)
	assert.Equal(t, bodies["blob"][3:], string(a.body))
	a, err = r.try("GET", urls["blob"], "", "Range", "bytes=1000-")
	require.NoError(t, err)
	assert.Equal(t, 416, a.status)
	assert.Empty(t, r.FaultsInjected())
	for _, e := range r.Requests() {
		assert.False(t, e.Fault, e.Path)
	}
}

// faultRecorder records the arguments and results of a FaultFunc.
type faultRecorder struct {
	mu     sync.Mutex
	points []platform.FaultPoint
	faults []platform.Fault
}

func (p *faultRecorder) record(f platform.FaultFunc) platform.FaultFunc {
	return func(at platform.FaultPoint) platform.Fault {
		fault := f(at)
		p.mu.Lock()
		defer p.mu.Unlock()
		p.points, p.faults = append(p.points, at), append(p.faults, fault)
		return fault
	}
}

func (p *faultRecorder) all() ([]platform.FaultPoint, []platform.Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.points), slices.Clone(p.faults)
}

func TestFaultPoints(t *testing.T) {
	t.Parallel()
	var seen faultRecorder
	r := start(t, platform.Options{Faults: seen.record(func(at platform.FaultPoint) platform.Fault {
		if at.Host == "api" && at.Nth%2 == 1 {
			return platform.Fault{Gone204: true} // has no effect on the API, but counts as attempted
		}
		return platform.Fault{}
	})})
	for range 4 {
		r.api("GET", "/account", "")
	}
	r.api("POST", "/account", "{}")
	r.api("GET", "/stacks?x=y", "")
	stream, _, _ := strings.Cut(r.liveURL(), "?")
	_, err := r.try("HEAD", stream, "")
	require.NoError(t, err)
	assert.Empty(t, r.FaultsInjected())

	points, _ := seen.all()
	assert.Equal(t, []platform.FaultPoint{
		{Host: "api", Method: "GET", Path: "/account", N: 0, Nth: 0, Attempted: 0},
		{Host: "api", Method: "GET", Path: "/account", N: 1, Nth: 1, Attempted: 0},
		{Host: "api", Method: "GET", Path: "/account", N: 2, Nth: 2, Attempted: 1},
		{Host: "api", Method: "GET", Path: "/account", N: 3, Nth: 3, Attempted: 1},
		{Host: "api", Method: "POST", Path: "/account", N: 4, Nth: 0, Attempted: 0},
		{Host: "api", Method: "GET", Path: "/stacks", N: 5, Nth: 0, Attempted: 0},
	}, points[:6])
	for i, at := range points {
		assert.Equal(t, i, at.N)
	}
	assert.Equal(t, "blob", points[7].Host)
	assert.Equal(t, "PUT", points[7].Method)
	last := points[len(points)-1]
	assert.Equal(t, "stream", last.Host)
	assert.Equal(t, "HEAD", last.Method)
	u, err := url.Parse(stream)
	require.NoError(t, err)
	assert.Equal(t, u.Path, last.Path)
}

func TestFaultFuncMayCallPlatform(t *testing.T) {
	t.Parallel()
	r := start(t, platform.Options{})
	r.SetFaults(func(platform.FaultPoint) platform.Fault {
		if r.FaultsInjected()["Status"] == 2 {
			r.SetFaults(nil)
			return platform.Fault{}
		}
		return platform.Fault{Status: 500 + len(r.Requests())}
	})
	var statuses []int
	for range 4 {
		statuses = append(statuses, r.api("GET", "/account", "").status)
	}
	assert.Equal(t, []int{501, 502, 200, 200}, statuses)
	assert.Equal(t, []int{501, 502}, r.faulty("/account"))
	injected := r.FaultsInjected()
	injected["Status"] = 100
	assert.Equal(t, map[string]int{"Status": 2}, r.FaultsInjected(), "FaultsInjected must return a copy")
}

func TestFaultsExcludePlatformDownloads(t *testing.T) {
	t.Parallel()
	var seen faultRecorder
	r := start(t, platform.Options{Builder: quick, Faults: seen.record(always("blob", "GET", platform.Fault{Status: 500}))})
	id := r.build("example-app", targz(t, entry{name: "a", body: "x"}))
	build, out := r.built(id)
	assert.Equal(t, "succeeded", build["status"], out)
	var downloads int
	for _, e := range r.Requests() {
		if e.Host == "blob" && e.Method == "GET" {
			downloads++
			assert.Equal(t, 200, e.Status)
		}
		assert.False(t, e.Fault)
	}
	assert.Equal(t, 1, downloads)
	assert.Empty(t, r.FaultsInjected())
	get := r.Builds("example-app")[0].SourceURL
	assert.Equal(t, 500, r.send("GET", get, nil).status, "a client's download must have the fault")

	points, _ := seen.all()
	for i, at := range points {
		assert.Equal(t, i, at.N, "the platform's downloads must not be counted")
	}
	last := points[len(points)-1]
	assert.Equal(t, "blob", last.Host)
	assert.Zero(t, last.Nth)
}

// kinds returns the names of the fields of a fault that are set.
func kinds(f platform.Fault) map[string]bool {
	set := map[string]bool{}
	v := reflect.ValueOf(f)
	for i := range v.NumField() {
		if !v.Field(i).IsZero() {
			set[v.Type().Field(i).Name] = true
		}
	}
	return set
}

func TestRandomFaultsSuitRequests(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		host, method string
		want         string
	}{
		{"api", "GET", "CutResponseAfter Delay HTML Lost RetryAfter Status StatusAfter"},
		{"api", "POST", "CutRequestAfter CutResponseAfter Delay HTML Lost RetryAfter Status StatusAfter"},
		{"blob", "PUT", "CutRequestAfter Lost Status StatusAfter"},
		{"blob", "GET", ""},
		{"stream", "GET", "CutResponseAfter EndAfter EndNow Gone204 Gone416 IgnoreRange Lost NotFound SilentRange StallResponseAfter Status"},
		{"stream", "HEAD", ""},
	} {
		drawn := map[string]bool{}
		f := platform.RandomFaults(1, 1, 1)
		for i := range 500 {
			fault := f(platform.FaultPoint{Host: c.host, Method: c.method, Path: "/x", Nth: i})
			maps.Copy(drawn, kinds(fault))
			if c.want != "" {
				assert.NotZero(t, fault)
			}
			smallest := min(fault.CutResponseAfter, fault.CutRequestAfter, fault.EndAfter, fault.StallResponseAfter, int64(fault.Delay))
			assert.GreaterOrEqual(t, smallest, int64(0))
		}
		assert.Equal(t, c.want, strings.Join(slices.Sorted(maps.Keys(drawn)), " "), c.host+" "+c.method)
	}
}

func TestRandomFaultsRate(t *testing.T) {
	t.Parallel()
	const draws = 1000
	for _, rate := range []float64{0, 0.05, 0.3, 0.9, 1} {
		for seed := range uint64(3) {
			var n int
			f := platform.RandomFaults(seed, rate, 1)
			for i := range draws {
				if f(platform.FaultPoint{Host: "api", Method: "POST", Path: "/apps/x/builds", Nth: i}) != (platform.Fault{}) {
					n++
				}
			}
			// The tolerance is five standard deviations, and the seeds are fixed.
			assert.InDelta(t, rate*draws, n, 5*math.Sqrt(rate*(1-rate)*draws), "rate %v, seed %d", rate, seed)
		}
	}
}

func TestRandomFaultsIgnoreIDs(t *testing.T) {
	t.Parallel()
	const a, b = "01234567-89ab-4cde-8f01-23456789abcd", "fedcba98-7654-4210-8fed-cba987654321"
	f := platform.RandomFaults(7, 0.5, 1)
	at := func(path string, nth, n int) platform.Fault {
		return f(platform.FaultPoint{Host: "stream", Method: "GET", Path: path, Nth: nth, N: n})
	}
	same := func(x, y string) bool {
		for i := range 100 {
			if at(x, i, 0) != at(y, i, 5) {
				return false
			}
		}
		return true
	}
	stream := func(id string) string { return "/streams/" + id[:2] + "/" + id + "/logs/" + id[:2] + "/" + id + ".log" }
	assert.True(t, same(stream(a), stream(b)))
	assert.True(t, same("/apps/x/builds/"+a, "/apps/x/builds/"+b))
	assert.False(t, same("/apps/x/builds/"+a, "/apps/y/builds/"+a))
	assert.False(t, same("/apps/x/builds/"+a, "/apps/x/releases/"+a))
}

// TestRandomFaultsAreReproducible expects faults to depend on the seed, but not
// on the order in which requests arrive.
func TestRandomFaultsAreReproducible(t *testing.T) {
	t.Parallel()
	paths := []string{"/account", "/stacks", "/apps", "/apps/example-app"}
	const each, most = 8, 3
	run := func(seed uint64, order func(i, j string) int) map[string]platform.Fault {
		var seen faultRecorder
		r := start(t, platform.Options{Faults: seen.record(platform.RandomFaults(seed, 0.6, most))})
		requests := slices.Repeat(paths, each)
		slices.SortStableFunc(requests, order)
		for _, path := range requests {
			_, _ = r.try("GET", r.URL()+path, "")
		}
		all := map[string]platform.Fault{}
		given := map[string]int{}
		points, chosen := seen.all()
		for i, at := range points {
			all[fmt.Sprint(at.Path, " ", at.Nth)] = chosen[i]
			if chosen[i] != (platform.Fault{}) {
				given[at.Path]++
			}
		}
		assert.Len(t, all, each*len(paths))
		for _, path := range paths {
			assert.LessOrEqual(t, given[path], most, path)
		}
		return all
	}
	interleaved := func(_, _ string) int { return 0 }
	one := run(1, interleaved)
	assert.Equal(t, one, run(1, interleaved))
	assert.Equal(t, one, run(1, cmp.Compare[string]))
	assert.NotEqual(t, one, run(2, interleaved))
}

// TestRandomFaultsEndAfterMaxPerRequest expects a request to succeed after
// maxPerRequest retries.
func TestRandomFaultsEndAfterMaxPerRequest(t *testing.T) {
	t.Parallel()
	const most = 2
	for seed := range uint64(4) {
		var seen faultRecorder
		r := start(t, platform.Options{Builder: quick})
		actions := r.actions()
		r.SetFaults(seen.record(platform.RandomFaults(seed, 1, most)))
		for _, a := range actions[1:] { // a repeated build would create a second one
			var got response
			var err error
			for range most + 1 {
				got, err = r.try(a.method, a.url, a.body)
			}
			require.NoError(t, err, a.name)
			assert.Less(t, got.status, 300, a.name)
		}
		points, chosen := seen.all()
		for i, at := range points {
			given := at.Nth < most && (at.Host != "blob" || at.Method == "PUT")
			assert.Equal(t, given, chosen[i] != (platform.Fault{}), "%+v", at)
		}
	}
}

func TestOutputLimit(t *testing.T) {
	t.Parallel()
	lines, builder := printer()
	const limit = 100
	r := start(t, platform.Options{Builder: builder, OutputLimit: limit})
	u := r.liveURL()
	early := r.live(u)
	assert.Equal(t, head, read(t, early, len(head)))
	id := r.Builds("example-app")[0].ID

	ten := "abcdefghi\n"
	lines <- strings.Repeat(ten, 7) // 109 bytes including the head
	assert.Equal(t, strings.Repeat(ten, 7), read(t, early, 70), "an existing reader must get all of the output")
	kept, err := r.Output(id)
	require.NoError(t, err)
	assert.Equal(t, (head + strings.Repeat(ten, 7))[50:], string(kept))

	late := r.live(u, "Range", "bytes=9-")
	assert.Equal(t, 206, late.StatusCode)
	assert.Equal(t, "bytes 9-*/*", late.Header.Get("Content-Range"))
	assert.Equal(t, string(kept[9:]), read(t, late, len(kept)-9), "offsets must count from the new beginning")
	whole := r.live(u)
	assert.Equal(t, string(kept), read(t, whole, len(kept)))
	ahead := r.live(u, "Range", "bytes="+itoa(len(kept)+3)+"-")
	assert.Equal(t, 206, ahead.StatusCode)

	var more strings.Builder
	for i := range 50 {
		line := fmt.Sprintf("line %d\n", i)
		lines <- line
		more.WriteString(line)
	}
	for _, s := range []*http.Response{early, late, whole} {
		assert.Equal(t, more.String(), read(t, s, more.Len()), "dropping output must not affect existing readers")
	}
	assert.Equal(t, more.String()[3:], read(t, ahead, more.Len()-3))
	close(lines)

	tail, err := io.ReadAll(early.Body)
	require.NoError(t, err)
	all := head + strings.Repeat(ten, 7) + more.String() + string(tail)
	assert.EqualValues(t, len(all), r.Builds("example-app")[0].OutputBytes, "dropped output must count")
	kept, err = r.Output(id)
	require.NoError(t, err)
	n := len(kept)
	assert.LessOrEqual(t, n, limit)
	assert.Greater(t, n, limit/2)
	assert.Zero(t, (len(all)-n)%(limit/2), "output must be dropped in halves of the limit")
	assert.True(t, strings.HasSuffix(all, string(kept)))

	r.built(id)
	for _, c := range []struct {
		header       []string
		status       int
		contentRange string
		body         []byte
	}{
		{nil, 200, "", kept},
		{[]string{"Range", "bytes=0-"}, 206, fmt.Sprintf("bytes 0-%d/%d", n-1, n), kept},
		{[]string{"Range", "bytes=7-"}, 206, fmt.Sprintf("bytes 7-%d/%d", n-1, n), kept[7:]},
		{[]string{"Last-Event-Id", "7"}, 206, fmt.Sprintf("bytes 7-%d/%d", n-1, n), kept[7:]},
		{[]string{"Range", "bytes=" + itoa(n) + "-"}, 204, "", nil},
		{[]string{"Range", "bytes=" + itoa(n+1) + "-"}, 416, fmt.Sprintf("bytes */%d", n), nil},
		{[]string{"Range", "bytes=" + itoa(len(all)) + "-"}, 416, fmt.Sprintf("bytes */%d", n), nil},
	} {
		a := r.send("GET", u, nil, c.header...)
		assert.Equal(t, c.status, a.status, c.header)
		assert.Equal(t, c.contentRange, a.header.Get("Content-Range"), c.header)
		assert.Equal(t, string(c.body), string(a.body), c.header)
	}
}

func TestOutputLimits(t *testing.T) {
	t.Parallel()
	const written = 1 << 16
	for limit, check := range map[int64]func(n int64) bool{
		-1:      func(n int64) bool { return n > written },
		0:       func(n int64) bool { return n > written },
		1 << 30: func(n int64) bool { return n > written },
		1:       func(n int64) bool { return n == 1 },
		2:       func(n int64) bool { return n == 2 }, // output is dropped byte by byte
		7:       func(n int64) bool { return n > 7-3 && n <= 7 },
		1 << 10: func(n int64) bool { return n > 1<<9 && n <= 1<<10 },
	} {
		r := start(t, platform.Options{OutputLimit: limit, Builder: platform.BuilderFunc(func(_ context.Context, j *platform.Job) error {
			_, err := j.Output.Write(bytes.Repeat([]byte("x"), written))
			return err
		})})
		build, out := r.finished()
		assert.True(t, check(int64(len(out))), "limit %d: %d bytes", limit, len(out))
		kept, err := r.Output(build["id"].(string))
		require.NoError(t, err)
		assert.Equal(t, string(kept), out)
		assert.Greater(t, r.Builds("example-app")[0].OutputBytes, int64(written))
	}
}

func TestOutputLimitOfReleases(t *testing.T) {
	t.Parallel()
	r := start(t, platform.Options{OutputLimit: 10})
	v := r.release("example-app", `{"slug":"`+r.createSlug(`{"release":"printf 0123456789abcd"}`, targz(t, entry{name: "./app/x", body: "x"}))+`"}`)
	v = r.settled("/apps/example-app/releases/" + v["id"].(string))
	u := v["output_stream_url"].(string)
	assert.Equal(t, "56789abcd", string(r.send("GET", u, nil).body))
	assert.Equal(t, "bcd", string(r.send("GET", u, nil, "Range", "bytes=6-").body))
	assert.EqualValues(t, 14, r.Releases("example-app")[2].OutputBytes)
}
