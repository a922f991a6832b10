package platform

import (
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

// Fault is what goes wrong with one request. The zero Fault is none.
//
// Delay goes together with any other. Of the others, which all decide how a
// request ends, one at a time makes sense; RetryAfter and HTML only say more
// about a status.
type Fault struct {
	// Delay passes before the request is looked at.
	Delay time.Duration
	// Status is answered without acting: in JSON by the API, in XML by the blob
	// store, as text by the stream host.
	Status int
	// StatusAfter is answered in the place of the real answer, after acting.
	// The stream host, where nothing is acted on, does not tell it from Status.
	StatusAfter int
	// RetryAfter is the header of that name, for Status and StatusAfter.
	RetryAfter string
	// HTML makes Status and StatusAfter of the API the page of a router that
	// did not get an answer from behind it.
	HTML bool
	// Lost resets the connection after acting, without a byte of answer.
	Lost bool
	// CutRequestAfter, if positive, resets the connection after so many bytes
	// of the request body, at the latest at its end, without acting.
	CutRequestAfter int64
	// CutAnswerAfter, if positive, closes the connection after so many bytes of
	// the answer body, heartbeats included, in the midst of a chunk if there are
	// chunks. A shorter answer arrives whole, and so does one of just that
	// length that says how long it is.
	CutAnswerAfter int64
	// StallAnswerAfter, if positive, is the number of bytes of the answer body,
	// heartbeats included, after which nothing is sent any more, until the
	// client leaves or the platform closes. What arrives whole is as with
	// CutAnswerAfter.
	StallAnswerAfter int64

	// The faults below are those of the stream host; other origins ignore them.

	// IgnoreRange sends everything from the start, with a 200, although a part
	// was asked for.
	IgnoreRange bool
	// SilentRange sends the part that was asked for, but with a 200 and without
	// Content-Range.
	SilentRange bool
	// EndAfter, if positive, is the number of bytes of output in this
	// connection, without heartbeats, after which the answer ends as if all of
	// it had been sent.
	EndAfter int64
	// EndNow does so before the first byte.
	EndNow bool
	// NotFound answers 404, as if the stream did not exist.
	NotFound bool
	// Gone416 answers 416, where otherwise 204 would be answered to a client
	// that asks for what follows the end.
	Gone416 bool
	// Gone204 answers 204, where otherwise 416 would be answered to a client
	// that asks for what lies beyond the end.
	Gone204 bool
}

// on is what of a fault applies to a request.
func (f Fault) on(role, method string) Fault {
	if role != roleStream {
		f.IgnoreRange, f.SilentRange, f.NotFound, f.Gone416, f.Gone204 = false, false, false, false, false
		f.EndAfter, f.EndNow = 0, false
	}
	if method == http.MethodHead {
		f.CutAnswerAfter, f.StallAnswerAfter = 0, 0
	}
	return f
}

// FaultPoint describes a request that is about to be served.
type FaultPoint struct {
	// Host is the origin: "api", "blob" or "stream".
	Host string
	// Method and Path are as in the journal.
	Method, Path string
	// N counts the requests to the platform, from 0.
	N int
	// Nth counts those with the same host, method and path, from 0.
	Nth int
	// Attempted counts the faults that these have been given so far, whether or
	// not they came to bear.
	Attempted int
}

// FaultFunc says what goes wrong with a request. It is called for one request
// at a time, so that it has to return without waiting for another.
//
// It is not asked about the downloads of the platform itself, which are not
// counted either: that a build cannot get its source is no news for a client.
type FaultFunc func(FaultPoint) Fault

// SetFaults makes requests that arrive from now on go wrong as f says; with nil
// all goes well.
func (p *Platform) SetFaults(f FaultFunc) { p.faults.fn.Store(&f) }

// FaultsInjected counts the faults that came to bear, under the names of the
// fields of [Fault]. One that did not, as a cut behind the end of an answer, is
// not among them.
func (p *Platform) FaultsInjected() map[string]int {
	p.faults.mu.Lock()
	defer p.faults.mu.Unlock()
	return maps.Clone(p.faults.injected)
}

type faults struct {
	fn atomic.Pointer[FaultFunc]

	// drawing is not mu, so that a FaultFunc may look at what has been injected.
	drawing sync.Mutex
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

func (a *faults) draw(role string, r *http.Request) Fault {
	a.drawing.Lock()
	defer a.drawing.Unlock()
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
		fault = f(point)
	}
	if fault != (Fault{}) {
		t.faults++
	}
	return fault
}

// misbehave lets requests go wrong on their way to next.
func (p *Platform) misbehave(role string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.UserAgent() == fetcherAgent {
			next.ServeHTTP(w, r)
			return
		}
		fault := p.faults.draw(role, r).on(role, r.Method)
		if fault == (Fault{}) {
			next.ServeHTTP(w, r)
			return
		}
		f := &faultWriter{ResponseWriter: w, p: p, r: r, body: r.Body, role: role, fault: fault}
		f.serve(next, r)
	})
}

// errEnded stops the copying of an output of which the client shall believe
// that it has ended.
var errEnded = errors.New("ended early")

// faultWriter is the answer to a request that goes wrong.
type faultWriter struct {
	http.ResponseWriter
	p     *Platform
	r     *http.Request
	body  io.Reader // of r as it arrived: handlers put limits around theirs
	role  string
	fault Fault

	status int
	sent   int64 // of the body
	output int64 // of that, what is no heartbeat
	beat   bool  // the next Write is a heartbeat
}

// hit notes that a fault came to bear.
func (f *faultWriter) hit(kind string) {
	f.p.faults.mu.Lock()
	f.p.faults.injected[kind]++
	f.p.faults.mu.Unlock()
	if rec, ok := f.ResponseWriter.(*recorder); ok {
		rec.markFault()
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
		f.refuse(f.fault.Status)
	case f.fault.NotFound:
		f.hit("NotFound")
		notRegistered(f.ResponseWriter)
	case f.fault.CutRequestAfter > 0:
		f.hit("CutRequestAfter")
		_, _ = io.CopyN(io.Discard, f.body, f.fault.CutRequestAfter) // a client that stops by itself is dropped like any other
		f.drop()
	case f.fault.StatusAfter != 0:
		f.hit("StatusAfter")
		f.act(next)
		f.refuse(f.fault.StatusAfter)
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

// act does what was asked for, and throws the answer away. The stream host has
// nothing but answers, and those can take as long as a build.
func (f *faultWriter) act(next http.Handler) {
	if f.role != roleStream {
		next.ServeHTTP(unseen{}, f.r)
	}
}

// delay does not end with the client: what has arrived is acted on, late.
func (f *faultWriter) delay() {
	f.p.pause(f.fault.Delay)
	if f.p.ctx.Err() != nil {
		panic(http.ErrAbortHandler)
	}
}

// unseen takes an answer that nobody gets.
type unseen map[string][]string

func (u unseen) Header() http.Header         { return http.Header(u) }
func (u unseen) Write(b []byte) (int, error) { return len(b), nil }
func (u unseen) WriteHeader(int)             {}

// routerPage is what the routers of Heroku show for an app that does not
// answer.
const routerPage = `<!DOCTYPE html>
	<html>
	  <head>
		<meta name="viewport" content="width=device-width, initial-scale=1">
		<meta charset="utf-8">
		<title>Application Error</title>
	  </head>
	  <body>
		<iframe src="https://www.herokucdn.com/error-pages/application-error.html"></iframe>
	  </body>
	</html>
`

// refuse answers with a status that has nothing to do with the request.
func (f *faultWriter) refuse(status int) {
	w, text := f.ResponseWriter, http.StatusText(status)
	if f.fault.RetryAfter != "" {
		w.Header().Set("Retry-After", f.fault.RetryAfter)
	}
	switch {
	case f.role == roleAPI && f.fault.HTML:
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Cache-Control", "no-cache, no-store")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, routerPage)
	case f.role == roleAPI:
		e := &apiError{status: status, ID: strings.ReplaceAll(strings.ToLower(text), " ", "_"), Message: text + "."}
		if status == http.StatusTooManyRequests {
			e.ID, e.Message = "rate_limit", "Your account reached the API rate limit. Please wait a few minutes before making new requests"
		}
		w.Header().Set("Request-Id", requestID(f.r.Header.Get("Request-Id")))
		f.p.answer(w, f.r, e)
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

// drop resets the connection. It is closed here and not by the server, which
// would wait for the rest of the request.
func (f *faultWriter) drop() {
	c := f.conn()
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
	panic(http.ErrAbortHandler)
}

// cut sends n more bytes, and closes the connection where the client expects
// the next one.
func (f *faultWriter) cut(b []byte, n int64) {
	f.hit("CutAnswerAfter")
	if f.flush() == nil {
		var text []byte
		if f.chunked() {
			text = fmt.Appendf(text, "%x\r\n", max(int64(len(b)), n+1))
		}
		// Past the server, which writes whole chunks only.
		_, _ = f.conn().Write(append(text, b[:n]...))
	}
	panic(http.ErrAbortHandler)
}

// chunked tells whether the server sends this answer in chunks.
func (f *faultWriter) chunked() bool {
	return f.r.ProtoAtLeast(1, 1) && f.Header().Get("Content-Length") == ""
}

// stall sends n more bytes, and then nothing.
func (f *faultWriter) stall(b []byte, n int64) {
	f.hit("StallAnswerAfter")
	_, err := f.ResponseWriter.Write(b[:n])
	if err = errors.Join(err, f.flush()); err == nil {
		// The server sees a client leave only when it has all of its request.
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

// streaming tells whether the answer consists of output.
func (f *faultWriter) streaming() bool {
	return f.status == http.StatusOK || f.status == http.StatusPartialContent
}

func (f *faultWriter) WriteHeader(status int) {
	if status < 200 || f.status != 0 {
		f.ResponseWriter.WriteHeader(status)
		return
	}
	h := f.Header()
	offset, asked := streamOffset(f.r.Header)
	switch {
	case status == http.StatusOK && f.fault.IgnoreRange && asked:
		f.hit("IgnoreRange")
	case status == http.StatusPartialContent && f.fault.SilentRange:
		f.hit("SilentRange")
		status = http.StatusOK
		h.Del("Content-Range")
	case status == http.StatusNoContent && f.fault.Gone416 && asked:
		f.hit("Gone416")
		status = http.StatusRequestedRangeNotSatisfiable
		h.Set("Content-Range", fmt.Sprintf("bytes */%d", offset)) // where a 204 is due, the output ends there
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
	if at := f.fault.CutAnswerAfter; f.breaksAt(at, size) {
		f.cut(b, at-f.sent)
	}
	if at := f.fault.StallAnswerAfter; f.breaksAt(at, size) {
		f.stall(b, at-f.sent)
	}
	var end error
	if at := f.fault.EndAfter; at > 0 && !beat && f.streaming() && f.output+size >= at {
		f.hit("EndAfter")
		b, end = b[:at-f.output], errEnded
	}
	n, err := f.ResponseWriter.Write(b)
	f.sent += int64(n)
	if !beat {
		f.output += int64(n)
	}
	return n, errors.Join(err, end)
}

// breaksAt tells whether an answer shall break off, after so many bytes in all,
// within the next bytes or right behind them. Behind them it waits for more if
// the client could be content with what it has: it would not notice the cut, and
// a stall would swallow its next request.
func (f *faultWriter) breaksAt(at, size int64) bool {
	return at > 0 && (f.sent+size > at || f.sent+size == at && f.chunked())
}

// FlushError is what an http.ResponseController calls.
func (f *faultWriter) FlushError() error {
	if err := f.flush(); err != nil {
		return err
	}
	if f.fault.EndNow && f.streaming() {
		f.hit("EndNow")
		return errEnded
	}
	return nil
}

// Unwrap lets an http.ResponseController reach the connection.
func (f *faultWriter) Unwrap() http.ResponseWriter { return f.ResponseWriter }

// randomPart is what differs in the paths of two runs: ids, and the directories
// named after their beginnings.
var randomPart = regexp.MustCompile(`([0-9a-f]{2}/)?[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)

// RandomFaults draws faults from a seed. What happens to a request depends on
// nothing but the seed, its host, method and path, without the ids in it, and
// the how manieth of its path it is: not on the order in which requests arrive.
//
// Rate is the share of requests, from 0 to 1, that are given a fault, at most
// maxPerRequest times for the same host, method and path, so that whoever tries
// again gets there. Not every fault comes to bear; downloads from the blob store
// are given none.
func RandomFaults(seed uint64, rate float64, maxPerRequest int) FaultFunc {
	return func(at FaultPoint) Fault {
		if at.Attempted >= maxPerRequest {
			return Fault{}
		}
		h := fnv.New64a()
		_, _ = fmt.Fprintf(h, "%s %s %s %d", at.Host, at.Method, randomPart.ReplaceAllString(at.Path, "*"), at.Nth)
		d := dice{rand.New(rand.NewPCG(seed, h.Sum64()))}
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

type dice struct{ *rand.Rand }

// bytes is a number up to 2^bits, of any magnitude, since most bodies are
// small.
func (d dice) bytes(bits int) int64 { return 1 + d.Int64N(1<<d.IntN(bits+1)) }

func (d dice) status(of ...int) int { return of[d.IntN(len(of))] }

func (d dice) coin() bool { return d.IntN(2) == 0 }

func (d dice) apiRead() Fault {
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
		return Fault{CutAnswerAfter: d.bytes(10)}
	}
}

func (d dice) apiWrite() Fault {
	if d.IntN(7) == 0 {
		return Fault{CutRequestAfter: d.bytes(8)}
	}
	return d.apiRead()
}

func (d dice) upload() Fault {
	switch d.IntN(5) {
	case 0:
		return Fault{Status: d.status(500, 503)}
	case 1:
		return Fault{StatusAfter: d.status(500, 503)}
	case 2:
		return Fault{Lost: true}
	default: // twice as often: there are many points at which to be cut
		return Fault{CutRequestAfter: d.bytes(20)}
	}
}

func (d dice) stream() Fault {
	switch d.IntN(41) {
	case 0: // rare, since only the patience of the client ends it
		return Fault{StallAnswerAfter: d.bytes(12)}
	case 1, 2, 3, 4, 5, 6, 7, 8:
		return Fault{CutAnswerAfter: d.bytes(12)}
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
