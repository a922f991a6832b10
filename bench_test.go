package herokubuild_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
)

// The benchmarks come in pairs: this package, and the same work with net/http as the
// reference of internal/bench. "benchstat -col /impl" compares them.

// benchServer starts a server and returns its URL, a client for it and an HTTP client.
func benchServer(b *testing.B, handler http.HandlerFunc) (url string, client *herokubuild.Client, hc *http.Client) {
	b.Helper()
	server := httptest.NewServer(handler)
	b.Cleanup(server.Close)
	hc = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}
	b.Cleanup(hc.CloseIdleConnections)
	client, err := herokubuild.NewClient(herokubuild.WithToken(testToken), herokubuild.WithBaseURL(server.URL), herokubuild.WithTransport(hc.Transport))
	require.NoError(b, err)
	return server.URL, client, hc
}

// bareGet makes a GET request with net/http and decodes its JSON.
func bareGet(b testing.TB, hc *http.Client, url string, out any) {
	req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, url, nil)
	if err != nil {
		b.Fatal(err)
	}
	req.Header.Set("Accept", accept)
	req.Header.Set("Authorization", "Bearer "+testToken)
	req.Header.Set("User-Agent", "bench")
	req.Header.Set("Request-Id", buildID)
	resp, err := hc.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err == nil {
		err = json.Unmarshal(body, out)
	}
	if err != nil {
		b.Fatal(err)
	}
}

func BenchmarkGet(b *testing.B) {
	text := golden(b, "build_succeeded.json")
	url, client, hc := benchServer(b, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, text)
	})
	b.Run("impl=bare", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			bareGet(b, hc, url+"/apps/"+appName+"/builds/"+buildID, new(herokubuild.Build))
		}
	})
	b.Run("impl=herokubuild", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := client.Builds.Get(b.Context(), appName, buildID); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkList(b *testing.B) {
	one := golden(b, "build_succeeded.json")
	builds := make([]string, 1000)
	for i := range builds {
		// The iterator yields each id once.
		builds[i] = strings.Replace(one, buildID, fmt.Sprintf("%08d%s", i, buildID[8:]), 1)
	}
	text := "[" + strings.Join(builds, ",") + "]"
	url, client, hc := benchServer(b, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, text)
	})
	b.Run("impl=bare", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var builds []*herokubuild.Build
			bareGet(b, hc, url+"/apps/"+appName+"/builds", &builds)
		}
	})
	b.Run("impl=herokubuild", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			n := 0
			for _, err := range client.Builds.List(b.Context(), appName, &herokubuild.ListOptions{PageSize: 1000}) {
				if err != nil {
					b.Fatal(err)
				}
				n++
			}
			if n != 1000 {
				b.Fatal(n)
			}
		}
	})
}

const logSize = 16 << 20

// logs returns log texts of about the given size, by how often they have heartbeats.
func logs(size int) map[string][]byte {
	text := []byte(buildLog(1, size))
	block := append(bytes.Clone(text[:4096]), 0)
	every := make([]byte, 0, size)
	for _, c := range text[:size/2] {
		every = append(every, c, 0)
	}
	return map[string][]byte{
		"none":           text,
		"every-4KB":      bytes.Repeat(block, 1+size/len(block)),
		"every-2nd-byte": every,
	}
}

// BenchmarkStreamMemory reads a log that fits in the processor's cache, so that the
// memory is not what limits it.
func BenchmarkStreamMemory(b *testing.B) {
	for name, text := range logs(1 << 18) {
		b.Run("heartbeats="+name+"/impl=bare", func(b *testing.B) { copyLog(b, text, func(r io.Reader) io.Reader { return r }) })
		b.Run("heartbeats="+name+"/impl=herokubuild", func(b *testing.B) { copyLog(b, text, herokubuild.DropHeartbeats) })
	}
}

func copyLog(b *testing.B, text []byte, wrap func(io.Reader) io.Reader) {
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	src := bytes.NewReader(text)
	buf := make([]byte, 32<<10)
	for b.Loop() {
		src.Reset(text)
		// The wrappers hide WriterTo and ReaderFrom.
		_, err := io.CopyBuffer(struct{ io.Writer }{Writer: io.Discard}, struct{ io.Reader }{Reader: wrap(src)}, buf)
		if err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkStreamLoopback reads a log from a server: in one chunk, and in chunks as
// the platform sends it, with each heartbeat in a chunk of its own.
func BenchmarkStreamLoopback(b *testing.B) {
	for name, text := range logs(logSize) {
		b.Run("heartbeats="+name, func(b *testing.B) { streamLoopback(b, len(text), chunked(text)) })
	}
	text := []byte(buildLog(1, logSize))
	var pieces [][]byte
	for block := range slices.Chunk(text, 4096) {
		pieces = append(pieces, block, []byte{0})
	}
	b.Run("heartbeats=every-4KB-chunks", func(b *testing.B) { streamLoopback(b, len(text)+len(pieces)/2, chunked(pieces...)) })
	pieces = nil
	text = text[:len(text)/64]
	for i := range text {
		pieces = append(pieces, text[i:i+1], []byte{0})
	}
	b.Run("heartbeats=every-2nd-byte-chunks", func(b *testing.B) { streamLoopback(b, 2*len(text), chunked(pieces...)) })
}

// chunked encodes a response's body in the given chunks.
func chunked(pieces ...[]byte) []byte {
	var wire []byte
	for _, p := range pieces {
		wire = fmt.Appendf(wire, "%x\r\n%s\r\n", len(p), p)
	}
	return append(wire, "0\r\n\r\n"...)
}

// serveWire responds to every request with a body of the given size and encoding. A
// server of net/http would choose the chunks itself.
func serveWire(b *testing.B, size int, wire []byte) (url string) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	b.Cleanup(func() {
		_ = listener.Close()
		stop()
		wg.Wait()
	})
	// A stored log has no heartbeats, and its length does not include any.
	total := size - bytes.Count(wire, []byte{0})
	serve := func(conn net.Conn) {
		// The client may keep an idle connection open.
		context.AfterFunc(ctx, func() { _ = conn.Close() })
		for r := bufio.NewReader(conn); ; {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			if strings.HasPrefix(req.URL.Path, "/apps/") {
				text := buildJSON("succeeded", "http://"+req.Host+"/")
				_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(text), text)
				continue
			}
			head := "HTTP/1.1 200 OK\r\n"
			if req.Header.Get("Range") != "" {
				head = fmt.Sprintf("HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-%d/%d\r\n", total-1, total)
			}
			_, _ = io.WriteString(conn, head+"Transfer-Encoding: chunked\r\n\r\n")
			_, _ = conn.Write(wire)
		}
	}
	wg.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { serve(conn) })
		}
	})
	return "http://" + listener.Addr().String()
}

func streamLoopback(b *testing.B, size int, wire []byte) {
	url := serveWire(b, size, wire)
	hc := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}
	b.Cleanup(hc.CloseIdleConnections)
	// The client uses its default transport, as most programs do.
	client, err := herokubuild.NewClient(herokubuild.WithToken(testToken), herokubuild.WithBaseURL(url))
	require.NoError(b, err)
	b.Run("impl=bare", func(b *testing.B) {
		b.SetBytes(int64(size))
		b.ReportAllocs()
		for b.Loop() {
			resp, err := hc.Get(url)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := io.Copy(struct{ io.Writer }{Writer: io.Discard}, resp.Body); err != nil {
				b.Fatal(err)
			}
			_ = resp.Body.Close()
		}
	})
	b.Run("impl=herokubuild", func(b *testing.B) {
		b.SetBytes(int64(size))
		b.ReportAllocs()
		for b.Loop() {
			s, err := client.Builds.Output(b.Context(), appName, buildID, nil)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := io.Copy(struct{ io.Writer }{Writer: io.Discard}, s); err != nil {
				b.Fatal(err)
			}
			_ = s.Close()
		}
	})
}

// BenchmarkRollout releases to 1,000 apps with 50 ms per request. The floor is the
// time of the requests, 16 at a time.
func BenchmarkRollout(b *testing.B) {
	const n, delay, concurrency = 1000, 50 * time.Millisecond, 16
	apps := make([]string, n)
	for i := range apps {
		apps[i] = fmt.Sprintf("app-%d", i)
	}
	client, err := herokubuild.NewClient(herokubuild.WithToken(testToken), herokubuild.WithBaseURL(apiURL),
		herokubuild.WithTransport(&distant{delay: delay}))
	require.NoError(b, err)
	for b.Loop() {
		_, err := client.Rollout(b.Context(), herokubuild.ReleaseCreateOptions{SlugID: slugID}, apps, &herokubuild.RolloutOptions{Policy: herokubuild.RolloutPolicy{Concurrency: concurrency}})
		if err != nil {
			b.Fatal(err)
		}
	}
	floor := (n*delay + concurrency - 1) / concurrency
	b.ReportMetric(float64(b.Elapsed())/float64(b.N)/float64(floor), "x-floor")
}

// Allocations do not depend on the machine, so that a test can check them.
func TestAllocations(t *testing.T) {
	text := golden(t, "build_succeeded.json")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }))
	defer server.Close()
	hc := &http.Client{Transport: &http.Transport{}}
	defer hc.CloseIdleConnections()
	client, err := herokubuild.NewClient(herokubuild.WithToken(testToken), herokubuild.WithBaseURL(server.URL), herokubuild.WithTransport(hc.Transport))
	require.NoError(t, err)
	reference := testing.AllocsPerRun(200, func() { bareGet(t, hc, server.URL+"/apps/"+appName+"/builds/"+buildID, new(herokubuild.Build)) })
	ours := testing.AllocsPerRun(200, func() { _, _ = client.Builds.Get(t.Context(), appName, buildID) })
	// There are 12 more with Go 1.26, and 14 with 1.25, whose library allocates more.
	assert.LessOrEqual(t, ours, reference+14, "a GET, compared with net/http")

	list := "[" + strings.TrimSuffix(strings.Repeat(text+",", 100), ",") + "]"
	a := newAPI(t)
	a.mock.RegisterResponder("GET", buildsURL, reply(200, list))
	reference = testing.AllocsPerRun(20, func() {
		var builds []*herokubuild.Build
		bareGet(t, &http.Client{Transport: a.mock}, buildsURL, &builds)
	})
	ours = testing.AllocsPerRun(20, func() {
		for _, err := range a.Builds.List(t.Context(), appName, nil) {
			require.NoError(t, err)
		}
	})
	assert.LessOrEqual(t, ours, reference*1.05, "a list of 100 builds, compared with one GET of net/http")

	for name, text := range logs(1 << 16) {
		src := bytes.NewReader(text[:1<<16])
		r := herokubuild.DropHeartbeats(src)
		buf := make([]byte, 4096)
		assert.Zero(t, testing.AllocsPerRun(100, func() {
			src.Reset(text[:1<<16])
			for {
				if _, err := r.Read(buf); err != nil {
					return
				}
			}
		}), "a Read of DropHeartbeats, heartbeats %s", name)
	}

	logs := httptest.NewServer(withBuild(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }))
	defer logs.Close()
	reading, err := herokubuild.NewClient(herokubuild.WithToken(testToken), herokubuild.WithBaseURL(logs.URL), herokubuild.WithTransport(hc.Transport))
	require.NoError(t, err)
	s, err := reading.Builds.Output(t.Context(), appName, buildID, nil)
	require.NoError(t, err)
	defer func() { assert.NoError(t, s.Close()) }()
	_, err = s.Read(make([]byte, 1))
	require.NoError(t, err)
	one := make([]byte, 1)
	assert.Zero(t, testing.AllocsPerRun(100, func() { _, _ = s.Read(one) }), "a Read of a stream")
}
