package platform

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Fault is a fault to inject into one request. The zero Fault is none.
//
// Delay can be combined with any other field, and RetryAfter and HTML modify
// Status and StatusAfter. Of the others only one should be set, since each
// decides how the request ends.
type Fault struct {
	// Delay is how long to wait before the request is handled.
	Delay time.Duration
	// Status is the status of an error response that is sent without handling
	// the request. Its body is JSON from the API, XML from the blob store,
	// text from the stream host and Heroku's HTML error page from apps.
	Status int
	// StatusAfter is the status of an error response that is sent instead of
	// the real one after handling the request. On the stream host it is the
	// same as Status.
	StatusAfter int
	// RetryAfter is the Retry-After header for Status and StatusAfter.
	RetryAfter string
	// HTML makes the API send Heroku's HTML error page with Status and
	// StatusAfter, as its routers do for an app that does not respond.
	HTML bool
	// Lost resets the connection after handling the request, without sending a
	// byte of the response.
	Lost bool
	// CutRequestAfter, if positive, resets the connection after that many bytes
	// of the request body, or at its end, without handling the request. The API
	// resets it at the end of the body.
	CutRequestAfter int64
	// CutResponseAfter, if positive, closes the connection after that many bytes
	// of the response body, including heartbeats, and in the middle of a chunk
	// if the response is chunked. It has no effect on a shorter response, nor on
	// one of exactly that length that has a Content-Length.
	CutResponseAfter int64
	// StallResponseAfter, if positive, is the number of bytes of the response
	// body, including heartbeats, after which nothing more is sent until the
	// client disconnects or the platform is closed. It has no effect where
	// CutResponseAfter has none.
	StallResponseAfter int64

	// The faults below are those of the stream host; other origins ignore them.

	// IgnoreRange sends the whole output with a 200 although a range was
	// requested.
	IgnoreRange bool
	// SilentRange sends the requested range, but with a 200 and without
	// Content-Range.
	SilentRange bool
	// EndAfter, if positive, is the number of bytes of output, excluding
	// heartbeats, after which the response ends as if it were complete.
	EndAfter int64
	// EndNow ends the response before its first byte as if it were complete.
	EndNow bool
	// NotFound sends a 404, as if the stream did not exist.
	NotFound bool
	// Gone416 sends a 416 instead of a 204 to a request for the range that
	// starts at the end of the output.
	Gone416 bool
	// Gone204 sends a 204 instead of a 416 to a request for a range beyond the
	// end of the output.
	Gone204 bool
}

// applicable returns the part of a fault that applies to a request.
func (f Fault) applicable(role, method string) Fault {
	if role != roleStream {
		f.IgnoreRange, f.SilentRange, f.NotFound, f.Gone416, f.Gone204 = false, false, false, false, false
		f.EndAfter, f.EndNow = 0, false
	}
	if method == http.MethodHead {
		f.CutResponseAfter, f.StallResponseAfter = 0, 0
	}
	return f
}

// FaultPoint describes a request that is about to be served.
type FaultPoint struct {
	// Host is the origin: "api", "blob", "stream" or "web".
	Host string
	// Method and Path are as in the journal.
	Method, Path string
	// App is the name of the app in the path, however the path names it; empty if there
	// is none.
	App string
	// N counts the requests to the platform, from 0.
	N int
	// Nth counts those with the same host, method and path, from 0.
	Nth int
	// Attempted counts the faults chosen for these so far, including those that
	// had no effect.
	Attempted int
}

// FaultFunc chooses the fault to inject into a request. It is called for one
// request at a time and must not wait for another.
//
// It is not called for the platform's own downloads of sources, which are not
// counted either.
type FaultFunc func(FaultPoint) Fault

// SetFaults chooses the faults for later requests with f. If f is nil, no faults
// are injected.
func (p *Platform) SetFaults(f FaultFunc) { p.faults.fn.Store(&f) }

// FaultsInjected returns how often each kind of fault was injected, by the name
// of its field in [Fault]. Faults without effect, such as a cut beyond the end
// of a response, are not counted.
func (p *Platform) FaultsInjected() map[string]int {
	p.faults.mu.Lock()
	defer p.faults.mu.Unlock()
	return maps.Clone(p.faults.injected)
}

type faults struct {
	fn atomic.Pointer[FaultFunc]

	// drawMu is separate from mu so that a FaultFunc may call FaultsInjected.
	drawMu  sync.Mutex
	n       int
	targets map[target]*tally

	mu       sync.Mutex
	injected map[string]int
}

type target struct{ host, method, path string }

type tally struct{ requests, faults int }

func newFaults(f FaultFunc) *faults {
	all := &faults{targets: map[target]*tally{}, injected: map[string]int{}}
	all.fn.Store(&f)
	return all
}

// draw chooses the fault for a request. appOf returns the name of the app in a path.
func (a *faults) draw(role string, appOf func(path string) string, r *http.Request) Fault {
	a.drawMu.Lock()
	defer a.drawMu.Unlock()
	key := target{role, r.Method, r.URL.Path}
	t := a.targets[key]
	if t == nil {
		t = &tally{}
		a.targets[key] = t
	}
	point := FaultPoint{Host: role, Method: r.Method, Path: r.URL.Path, N: a.n, Nth: t.requests, Attempted: t.faults}
	a.n++
	t.requests++
	var fault Fault
	if f := *a.fn.Load(); f != nil {
		point.App = appOf(r.URL.Path)
		fault = f(point)
	}
	if fault != (Fault{}) {
		t.faults++
	}
	return fault
}

// injectFaults wraps a handler with the faults of the platform.
func (p *Platform) injectFaults(role string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.UserAgent() == fetcherAgent {
			next.ServeHTTP(w, r)
			return
		}
		if role == roleAPI {
			receive(r)
		}
		fault := p.faults.draw(role, p.appInPath, r).applicable(role, r.Method)
		if fault == (Fault{}) {
			next.ServeHTTP(w, r)
			return
		}
		f := &faultWriter{ResponseWriter: w, p: p, r: r, body: r.Body, role: role, fault: fault}
		f.serve(next, r)
	})
}

// appInPath returns the name of the app of a request to the API, or an empty string.
func (p *Platform) appInPath(path string) string {
	rest, ok := strings.CutPrefix(path, "/apps/")
	if !ok {
		return ""
	}
	id, _, _ := strings.Cut(rest, "/")
	return p.AppName(id)
}

// receive waits for the body of a request to the API, which clients send after the head:
// whoever draws a fault may end the client at once, and the request has arrived by then.
func receive(r *http.Request) {
	var start bytes.Buffer
	// Whoever reads the rest sees the error.
	_, _ = io.CopyN(&start, r.Body, maxBody+1)
	r.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(&start, r.Body), r.Body}
}

// errEndedEarly stops copying an output, so that the response ends as if it were
// complete.
var errEndedEarly = errors.New("ended early")

// faultWriter is the response to a request with a fault.
type faultWriter struct {
	http.ResponseWriter
	p     *Platform
	r     *http.Request
	body  io.Reader // original body of r, without the limits that handlers add
	role  string
	fault Fault

	status int
	sent   int64 // bytes of the body
	output int64 // the same without heartbeats
	beat   bool  // the next Write is a heartbeat
}

// hit records that a fault took effect.
func (f *faultWriter) hit(kind string) {
	f.p.faults.mu.Lock()
	f.p.faults.injected[kind]++
	f.p.faults.mu.Unlock()
	if rec, ok := f.ResponseWriter.(*recorder); ok {
		rec.markFault(kind)
	}
}

func (f *faultWriter) serve(next http.Handler, r *http.Request) {
	if f.fault.Delay > 0 {
		f.hit("Delay")
		f.delay()
	}
	switch {
	case f.fault.Status != 0:
		f.hit("Status")
		f.writeStatus(f.fault.Status)
	case f.fault.NotFound:
		f.hit("NotFound")
		notRegistered(f.ResponseWriter)
	case f.fault.CutRequestAfter > 0:
		f.hit("CutRequestAfter")
		_, _ = io.CopyN(io.Discard, f.body, f.fault.CutRequestAfter) // the connection is reset even if the body is shorter
		f.drop()
	case f.fault.StatusAfter != 0:
		f.hit("StatusAfter")
		f.act(next)
		f.writeStatus(f.fault.StatusAfter)
	case f.fault.Lost:
		f.hit("Lost")
		f.act(next)
		f.drop()
	default:
		if f.fault.IgnoreRange {
			r = r.Clone(r.Context())
			r.Header.Del("Range")
			r.Header.Del("Last-Event-Id")
		}
		next.ServeHTTP(f, r)
	}
}

// act handles the request and discards the response. Requests to the stream host
// change nothing and may take as long as a build, so they are not handled.
func (f *faultWriter) act(next http.Handler) {
	if f.role != roleStream {
		next.ServeHTTP(discardedResponse{}, f.r)
	}
}

// delay waits even if the client disconnects, and the request is handled later.
func (f *faultWriter) delay() {
	f.p.pause(f.fault.Delay)
	if f.p.ctx.Err() != nil {
		panic(http.ErrAbortHandler)
	}
}

// discardedResponse is an http.ResponseWriter that discards the response.
type discardedResponse map[string][]string

func (u discardedResponse) Header() http.Header         { return http.Header(u) }
func (u discardedResponse) Write(b []byte) (int, error) { return len(b), nil }
func (u discardedResponse) WriteHeader(int)             {}

// writeStatus sends an error response that does not depend on the request.
func (f *faultWriter) writeStatus(status int) {
	w, text := f.ResponseWriter, http.StatusText(status)
	if f.fault.RetryAfter != "" {
		w.Header().Set("Retry-After", f.fault.RetryAfter)
	}
	switch {
	case f.role == roleAPI && f.fault.HTML, f.role == roleWeb:
		writeRouterPage(w, status)
	case f.role == roleAPI:
		e := &apiError{status: status, ID: strings.ReplaceAll(strings.ToLower(text), " ", "_"), Message: text + "."}
		if status == http.StatusTooManyRequests {
			e.ID, e.Message = "rate_limit", "Your account reached the API rate limit. Please wait a few minutes before making new requests"
		}
		w.Header().Set("Request-Id", requestID(f.r.Header.Get("Request-Id")))
		f.p.writeError(w, f.r, e)
	case f.role == roleBlob:
		e := &s3Error{status: status, Code: strings.ReplaceAll(text, " ", ""), Message: text}
		switch status {
		case http.StatusInternalServerError:
			e.Code, e.Message = "InternalError", "We encountered an internal error. Please try again."
		case http.StatusServiceUnavailable:
			e.Code, e.Message = "SlowDown", "Please reduce your request rate."
		}
		setS3Headers(w.Header())
		writeS3Error(w, e)
	default:
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
	}
}

type connKey struct{}

func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

func (f *faultWriter) conn() net.Conn {
	return f.r.Context().Value(connKey{}).(net.Conn)
}

// drop resets the connection. It does not leave that to the server, which would
// wait for the rest of the request.
func (f *faultWriter) drop() {
	c := f.conn()
	if l, ok := c.(interface{ SetLinger(int) error }); ok {
		_ = l.SetLinger(0)
	}
	_ = c.Close()
	panic(http.ErrAbortHandler)
}

// cut sends n more bytes of b and closes the connection where the client expects
// another byte.
func (f *faultWriter) cut(b []byte, n int64) {
	f.hit("CutResponseAfter")
	if f.flush() == nil {
		var text []byte
		if f.chunked() {
			text = fmt.Appendf(text, "%x\r\n", max(int64(len(b)), n+1))
		}
		// The server writes only whole chunks, so write to the connection
		// directly.
		_, _ = f.conn().Write(append(text, b[:n]...))
	}
	panic(http.ErrAbortHandler)
}

// chunked reports whether the server sends this response in chunks.
func (f *faultWriter) chunked() bool {
	return f.r.ProtoAtLeast(1, 1) && f.Header().Get("Content-Length") == ""
}

// stall sends n more bytes of b, and then nothing.
func (f *faultWriter) stall(b []byte, n int64) {
	f.hit("StallResponseAfter")
	_, err := f.ResponseWriter.Write(b[:n])
	if err = errors.Join(err, f.flush()); err == nil {
		// The server detects a disconnect only after reading the whole request.
		_, _ = io.Copy(io.Discard, f.body)
		select {
		case <-f.r.Context().Done():
		case <-f.p.ctx.Done():
		}
	}
	panic(http.ErrAbortHandler)
}

func (f *faultWriter) flush() error {
	return http.NewResponseController(f.ResponseWriter).Flush()
}

// streaming reports whether the response contains output.
func (f *faultWriter) streaming() bool {
	return f.status == http.StatusOK || f.status == http.StatusPartialContent
}

func (f *faultWriter) WriteHeader(status int) {
	if status < 200 || f.status != 0 {
		f.ResponseWriter.WriteHeader(status)
		return
	}
	h := f.Header()
	offset, ranged := streamOffset(f.r.Header)
	switch {
	case status == http.StatusOK && f.fault.IgnoreRange && ranged:
		f.hit("IgnoreRange")
	case status == http.StatusPartialContent && f.fault.SilentRange:
		f.hit("SilentRange")
		status = http.StatusOK
		h.Del("Content-Range")
	case status == http.StatusNoContent && f.fault.Gone416 && ranged:
		f.hit("Gone416")
		status = http.StatusRequestedRangeNotSatisfiable
		h.Set("Content-Range", fmt.Sprintf("bytes */%d", offset)) // a 204 means that the output ends at offset
		h.Set("Content-Type", "text/plain; charset=utf-8")
	case status == http.StatusRequestedRangeNotSatisfiable && f.fault.Gone204:
		f.hit("Gone204")
		status = http.StatusNoContent
		h.Del("Content-Range")
		h.Del("Content-Type")
	}
	f.status = status
	f.ResponseWriter.WriteHeader(status)
}

func (f *faultWriter) Write(b []byte) (int, error) {
	beat := f.beat
	f.beat = false
	if f.status == 0 {
		f.WriteHeader(http.StatusOK)
	}
	size := int64(len(b))
	if at := f.fault.CutResponseAfter; f.breaksAt(at, size) {
		f.cut(b, at-f.sent)
	}
	if at := f.fault.StallResponseAfter; f.breaksAt(at, size) {
		f.stall(b, at-f.sent)
	}
	var end error
	if at := f.fault.EndAfter; at > 0 && !beat && f.streaming() && f.output+size >= at {
		f.hit("EndAfter")
		b, end = b[:at-f.output], errEndedEarly
	}
	n, err := f.ResponseWriter.Write(b)
	f.sent += int64(n)
	if !beat {
		f.output += int64(n)
	}
	return n, errors.Join(err, end)
}

// breaksAt reports whether a response is to break off at byte at, which is
// among the next size bytes or directly after them. In the latter case only a
// chunked response breaks off: a client with a complete response would not
// notice the cut, and a stall would block its next request.
func (f *faultWriter) breaksAt(at, size int64) bool {
	return at > 0 && (f.sent+size > at || f.sent+size == at && f.chunked())
}

// FlushError implements flushing for an http.ResponseController.
func (f *faultWriter) FlushError() error {
	if err := f.flush(); err != nil {
		return err
	}
	if f.fault.EndNow && f.streaming() {
		f.hit("EndNow")
		return errEndedEarly
	}
	return nil
}

// Unwrap lets an http.ResponseController reach the connection.
func (f *faultWriter) Unwrap() http.ResponseWriter { return f.ResponseWriter }

// randomPart matches the parts of paths that differ between runs: IDs, and
// directories named after their first characters.
var randomPart = regexp.MustCompile(`([0-9a-f]{2}/)?[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)

// RandomFaults returns a FaultFunc that chooses random faults. The fault of a
// request depends only on the seed, the host, the method, the path without IDs,
// and Nth, and not on the order in which requests arrive.
//
// The rate is the share of requests, from 0 to 1, with a fault. Requests with
// the same host, method and path get at most maxPerRequest faults, so that a
// client that retries eventually succeeds. Some faults have no effect.
// Downloads from the blob store get no faults.
func RandomFaults(seed uint64, rate float64, maxPerRequest int) FaultFunc {
	return func(at FaultPoint) Fault {
		if at.Attempted >= maxPerRequest {
			return Fault{}
		}
		h := fnv.New64a()
		_, _ = fmt.Fprintf(h, "%s %s %s %d", at.Host, at.Method, randomPart.ReplaceAllString(at.Path, "*"), at.Nth)
		d := faultDice{rand.New(rand.NewPCG(seed, h.Sum64()))}
		if d.Float64() >= rate {
			return Fault{}
		}
		switch {
		case at.Host == roleAPI && (at.Method == http.MethodGet || at.Method == http.MethodHead):
			return d.apiRead()
		case at.Host == roleAPI:
			return d.apiWrite()
		case at.Host == roleBlob && at.Method == http.MethodPut:
			return d.upload()
		case at.Host == roleStream && at.Method == http.MethodGet:
			return d.stream()
		default:
			return Fault{}
		}
	}
}

// faultDice chooses faults at random.
type faultDice struct{ *rand.Rand }

// bytes returns a number from 1 to 2^bits. Small numbers are the most likely,
// since most bodies are small.
func (d faultDice) bytes(bits int) int64 { return 1 + d.Int64N(1<<d.IntN(bits+1)) }

func (d faultDice) status(of ...int) int { return of[d.IntN(len(of))] }

func (d faultDice) coin() bool { return d.IntN(2) == 0 }

func (d faultDice) apiRead() Fault {
	switch d.IntN(6) {
	case 0:
		return Fault{Delay: time.Duration(1 + d.Int64N(int64(5*time.Millisecond)))}
	case 1:
		f := Fault{Status: http.StatusTooManyRequests}
		if d.coin() {
			f.RetryAfter = "0"
		}
		return f
	case 2:
		f := Fault{Status: d.status(500, 502, 503, 504)}
		f.HTML = f.Status != http.StatusInternalServerError && d.coin()
		return f
	case 3:
		f := Fault{StatusAfter: d.status(500, 502, 503, 504)}
		f.HTML = f.StatusAfter != http.StatusInternalServerError && d.coin()
		return f
	case 4:
		return Fault{Lost: true}
	default:
		return Fault{CutResponseAfter: d.bytes(10)}
	}
}

func (d faultDice) apiWrite() Fault {
	if d.IntN(7) == 0 {
		return Fault{CutRequestAfter: d.bytes(8)}
	}
	return d.apiRead()
}

func (d faultDice) upload() Fault {
	switch d.IntN(5) {
	case 0:
		return Fault{Status: d.status(500, 503)}
	case 1:
		return Fault{StatusAfter: d.status(500, 503)}
	case 2:
		return Fault{Lost: true}
	default: // twice as likely, since there are many points at which to cut
		return Fault{CutRequestAfter: d.bytes(20)}
	}
}

func (d faultDice) stream() Fault {
	switch d.IntN(41) {
	case 0: // rare, since it lasts until the client times out
		return Fault{StallResponseAfter: d.bytes(12)}
	case 1, 2, 3, 4, 5, 6, 7, 8:
		return Fault{CutResponseAfter: d.bytes(12)}
	case 9, 10, 11, 12, 13, 14, 15, 16:
		return Fault{EndAfter: d.bytes(12)}
	case 17, 18, 19:
		return Fault{EndNow: true}
	case 20, 21, 22, 23:
		return Fault{IgnoreRange: true}
	case 24, 25, 26, 27:
		return Fault{SilentRange: true}
	case 28, 29, 30:
		return Fault{NotFound: true}
	case 31, 32, 33:
		return Fault{Status: d.status(500, 503)}
	case 34, 35, 36:
		return Fault{Lost: true}
	case 37, 38:
		return Fault{Gone204: true}
	default:
		return Fault{Gone416: true}
	}
}
