package herokubuild

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// This file is where an output stream goes on after a connection has ended.
//
// Only an answer that proves where it starts is believed. A new connection asks
// for the output from a little before the offset reached, and the bytes that
// come twice have to be those that came before. An answer without a
// Content-Range can be one of two things: the part that was asked for, or all
// of it. Its first bytes tell which, and then everything up to the offset is
// passed over while it is compared. Where they tell neither, all of the output
// is asked for; where that differs too, the platform has lost the beginning of
// the log.
//
// The end of a connection is not the end of the output. It is the end if the
// status was final before the connection was opened and the connection has
// shown that nothing is missing: by the length of the whole, or by ending
// properly where the last one had.

// streamStatus is what the platform says of what an output belongs to.
type streamStatus struct {
	// url is a freshly signed address of the output.
	url SecretURL
	// final says that there will be no more output.
	final bool
}

// resumption is what a stream knows when it has to connect again.
type resumption struct {
	// dial asks for the output from an offset, or for all of it if that is
	// negative. The closure keeps the signed URL out of what fmt can print.
	dial func(ctx context.Context, from int64) (*http.Response, error)
	// renew asks the platform for the status and has dial use the address that
	// came with it. It is nil where there is nobody to ask.
	renew func(ctx context.Context) (final bool, err error)
	// backoff is the wait after so many fruitless connections.
	backoff Backoff

	// sum is the CRC-32C of what has been delivered since StreamOptions.Offset,
	// which processors compute as fast as they read; head and tail are its
	// first and last bytes.
	sum        uint32
	head, tail []byte
	// nuls is how many NULs have come: heartbeats, and the output's own.
	nuls int64

	// whole says that all of the output has to be asked for: an offset was
	// not honoured in a way that can be told. bare says that the stream host
	// refuses to be asked for a part at all.
	whole, bare bool
	// answered says that the stream has existed.
	answered bool
	// final is the status when it was last requested for a new connection; over
	// says that it has been found to be final since.
	final, over bool
	// late is what has been received since then.
	late lateOutput
	// fruitless counts the connections in a row that brought nothing new; dead
	// those of them since the status is final, and hopeless those of the dead
	// that were long silent, or of a stream that is gone.
	fruitless, dead, hopeless int
	// end is how the last connection ended; nil before the first.
	end error
	// asked is when the status was last asked for, heard when output last
	// came, begun when the stream was made.
	asked, heard, begun time.Time
	// opened is when the first connection that was answered was made, beat when
	// a heartbeat was last reported.
	opened, beat time.Time
	// unanswered counts the failed questions for the status in a row.
	unanswered int

	log *slog.Logger
	// hide knows the address of the last connection.
	hide redactor
	// connections counts all of them.
	connections int
}

const (
	// overlapBytes are asked for twice, as a proof that an answer goes on
	// where the last one ended.
	overlapBytes = 256
	headBytes    = 1 << 10
	// maxDead is how many fruitless connections there are at the most once the
	// status is final, or where there is none to ask for; with the waits
	// between them, about 10 s. maxHopeless is the same for those.
	maxDead     = 16
	maxHopeless = 3
	// askNotYet is how long a stream that does not exist yet is waited for
	// before the status is asked for: streams cost nothing of the rate limit.
	// askAtLast bounds how long there is no question, since it may also be over.
	askNotYet = time.Second
	askAtLast = 10 * time.Second
	// askTries is how many failed questions for the status in a row there are,
	// each of which the client has repeated by its own rules.
	askTries = 3
	// quietLimit is the silence, heartbeats apart, after which the status is
	// asked for: a stream may never end.
	quietLimit = time.Minute
	// quietLimitFinal is how long a connection may be silent, with or without
	// heartbeats, once the status is final.
	quietLimitFinal = 10 * time.Second
	// watchInterval is the least time between two status requests while output
	// comes, watchTimeout how long one may hold up the output.
	watchInterval = 5 * time.Second
	watchTimeout  = 5 * time.Second
	// Once the status is final, output may come for longer than FinalTimeout if
	// it comes at lateRate bytes a second, as a stored log does, or, where its
	// length is known, at lateKnownRate. The platform keeps 300 MB of a log;
	// maxLateOutput is more.
	lateRate      = 4 << 20
	lateKnownRate = 4 << 10
	maxLateOutput = 1 << 30
)

// How a connection can end, besides the errors of the network.
var (
	// errCleanEnd: the host ended it properly.
	errCleanEnd = errors.New("the stream ended early")
	// errAllRead: the host has said that there is no more.
	errAllRead = errors.New("the stream ended early, by its own length")
	// errNoProof: the answer does not prove where it starts.
	errNoProof = errors.New("the stream host does not resume")
	// errRefused: no such stream, not yet or not any more, or an address that
	// has expired.
	errRefused = errors.New("no such stream")
	// errQuiet: nothing but heartbeats for long.
	errQuiet = errors.New("nothing but heartbeats")
	// errEndless: the status is final and output keeps coming.
	errEndless = errors.New("the output did not end after the final status")
)

// answerError is the answer of a stream host that is not output.
type answerError struct {
	status int
	text   string
	// refused makes it match errRefused; final says that another connection
	// would only get it again.
	refused, final bool
}

func (e *answerError) Error() string { return e.text }

func (e *answerError) Is(target error) bool { return target == errRefused && e.refused }

// openStream makes the stream of which now is the status, and status asks for a
// later one. The first read connects.
func openStream(ctx context.Context, c *Client, now streamStatus, opts *StreamOptions, status func(context.Context) (streamStatus, error)) (*OutputStream, error) {
	signed := now.url
	if c == nil || c.storage == nil {
		return nil, &ArgumentError{Name: "Client", Reason: errNoClient.Error()}
	}
	o, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	if signed == "" {
		return nil, fmt.Errorf("herokubuild: %w", ErrNoOutput)
	}
	if _, err := checkWebURL("OutputStreamURL", signed.Reveal()); err != nil {
		return nil, err
	}
	s := &OutputStream{opts: o, name: signed.String()}
	s.ctx, s.cancel = context.WithCancelCause(ctx)
	s.position = o.Offset
	s.offset.Store(o.Offset)
	s.resume.final, s.resume.over = now.final, now.final
	s.resume.begun = time.Now()
	s.resume.asked = s.resume.begun
	s.resume.backoff = c.poll
	if o.backoff != nil {
		s.resume.backoff = o.backoff
	}
	s.resume.log = c.log
	s.resume.dial = func(ctx context.Context, from int64) (*http.Response, error) {
		s.resume.connections++
		attempt := attemptLog{method: http.MethodGet, url: signed.String(), attempt: s.resume.connections, started: time.Now()}
		resp, err := c.dialStream(ctx, signed, from)
		s.resume.hide = newRedactor(secretsOf(signed.Reveal())...).after(resp)
		attempt.hide = s.resume.hide
		attempt.write(ctx, c.log, resp, err)
		return resp, err
	}
	if status != nil {
		s.resume.renew = func(ctx context.Context) (bool, error) {
			now, err := status(ctx)
			if err != nil {
				return false, err
			}
			if _, err := checkWebURL("OutputStreamURL", now.url.Reveal()); err == nil {
				signed = now.url
			}
			return now.final, nil
		}
	}
	return s, nil
}

// dialStream asks a stream host for output. The API key has no place here.
func (c *Client) dialStream(ctx context.Context, signed SecretURL, from int64) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, signed.Reveal(), nil)
	if err != nil {
		return nil, &answerError{text: "the address cannot be requested", final: true}
	}
	req.Header.Set("User-Agent", c.userAgent)
	req.Header.Set("Accept", "text/plain")
	// A compressed stream would be held back until a block is full.
	req.Header.Set("Accept-Encoding", "identity")
	if from >= 0 {
		offset := strconv.FormatInt(from, 10)
		req.Header.Set("Range", "bytes="+offset+"-")
		// The stream host that Heroku has published takes this form of Range
		// for "from 0", and honours the other header for plain text, too.
		req.Header.Set("Last-Event-Id", offset)
	}
	return c.storage.Do(req)
}

// overlapProves reports whether a response that repeats the tail certainly begins
// there. The stream host's offsets count the NULs that the output itself has, and
// ours do not, because nothing distinguishes them from heartbeats. So the host may
// begin up to nuls bytes before the place that was meant. It repeats the tail all
// the same where the text has a period of so many bytes, as a line of dots has.
//
// Without a tail nothing is known of what comes before the offset.
func (r *resumption) overlapProves() bool {
	return len(r.tail) > 0 && int64(period(r.tail)) > r.nuls
}

// period returns the least number of bytes after which p repeats itself, len(p) if
// it does not. It is the last step of the failure function of Knuth, Morris and
// Pratt.
func period(p []byte) int {
	border := make([]int, len(p)+1)
	for i, k := 1, 0; i < len(p); i++ {
		for k > 0 && p[k] != p[i] {
			k = border[k]
		}
		if p[k] == p[i] {
			k++
		}
		border[i+1] = k
	}
	return len(p) - border[len(p)]
}

// delivered takes note of bytes that the caller gets, and that came now.
func (s *OutputStream) delivered(p []byte, now time.Time) {
	r := &s.resume
	s.position += int64(len(p))
	r.sum = checksum(r.sum, p)
	if room := headBytes - len(r.head); room > 0 {
		r.head = append(r.head, p[:min(room, len(p))]...)
	}
	if len(p) >= overlapBytes {
		r.tail = append(r.tail[:0], p[len(p)-overlapBytes:]...)
	} else {
		r.tail = append(r.tail, p...)
		if over := len(r.tail) - overlapBytes; over > 0 {
			r.tail = r.tail[:copy(r.tail, r.tail[over:])]
		}
	}
	r.fruitless, r.dead, r.hopeless = 0, 0, 0
	r.heard = now
	s.conn.brought = true
}

// ended takes note of how a connection ended.
func (s *OutputStream) ended(err error) {
	r := &s.resume
	switch {
	case errors.Is(err, errAllRead) && (r.final || r.renew == nil):
		s.err = io.EOF
	case errors.Is(err, ErrOutputTruncated), errors.Is(err, errEndless):
		s.err = s.streamError(err)
	case errors.Is(err, errNoProof):
		// The next attempt is another kind of request, not a repetition.
		r.whole = true
	}
	r.end = err
	if s.conn != nil && !s.conn.brought {
		// What brings nothing is bounded by the number of connections.
		r.late.pending = 0
	}
}

// heartbeatPause is the least time between two calls of OnHeartbeat.
const heartbeatPause = time.Second

// heartbeat reports to the caller that a read has brought nothing else.
func (s *OutputStream) heartbeat(now time.Time) {
	r := &s.resume
	if s.opts.OnHeartbeat == nil || !r.beat.IsZero() && now.Sub(r.beat) < heartbeatPause {
		return
	}
	r.beat = now
	since := r.heard
	if since.IsZero() {
		since = r.opened
	}
	s.opts.OnHeartbeat(now.Sub(since))
}

// quiet is called when nothing but heartbeats has come. It ends the connection
// of a stream that has nothing more to say and does not end.
func (s *OutputStream) quiet() error {
	r := &s.resume
	if r.renew == nil {
		return nil
	}
	since := r.heard
	for _, t := range []time.Time{s.conn.opened, s.conn.moved} {
		if t.After(since) {
			since = t
		}
	}
	silence := time.Since(since)
	if r.final {
		if silence >= quietLimitFinal {
			return errQuiet
		}
		return nil
	}
	// The longer the silence, the longer it is likely to last.
	if silence < quietLimit || time.Since(r.asked) < max(quietLimit, silence/2) {
		return nil
	}
	r.asked = time.Now()
	if final, err := r.renew(s.ctx); final && err == nil {
		return errQuiet
	}
	// A question that failed is asked again, in its time.
	return nil
}

// watch requests the status now and then while output comes, less and less often:
// a host may send output forever. An error is no reason to disturb the output.
func (s *OutputStream) watch(now time.Time) {
	r := &s.resume
	if r.renew == nil || r.over || now.Sub(r.asked) < max(watchInterval, now.Sub(r.begun)/2) {
		return
	}
	ctx, cancel := context.WithTimeout(s.ctx, watchTimeout)
	defer cancel()
	final, err := r.renew(ctx)
	r.asked = time.Now()
	r.over = final && err == nil
}

// lateOutput measures what is received after the status has become final: pending
// is the time that the network has taken since output last came, open what came
// without a known end, known what came with one.
type lateOutput struct {
	pending     time.Duration
	open, known received
	output      int64
}

type received struct {
	time  time.Duration
	bytes int64
}

// within reports whether no more time has passed than timeout, and a second for
// each rate bytes.
func (r received) within(timeout time.Duration, rate int64) bool {
	return r.time <= timeout || (r.time-timeout).Seconds() <= float64(r.bytes)/float64(rate)
}

// came counts n bytes of a response, of which output are new, and is false if the
// stream has to end.
func (l *lateOutput) came(n, output int, finite bool, timeout time.Duration) bool {
	of := &l.open
	if finite {
		of = &l.known
	}
	of.time += l.pending
	of.bytes += int64(n)
	l.pending = 0
	l.output += int64(output)
	return l.open.within(timeout, lateRate) && l.known.within(timeout, lateKnownRate) && (finite || l.output <= maxLateOutput)
}

// connect opens a connection that goes on where the last one ended, after the
// wait and the questions that its end calls for. It returns io.EOF if that was
// the end of the output.
func (s *OutputStream) connect() (*streamConn, error) {
	r := &s.resume
	began := time.Now()
	for {
		if s.ctx.Err() != nil {
			return nil, s.streamError(contextError(s.ctx))
		}
		if r.end != nil {
			if err := s.again(); err != nil {
				return nil, err
			}
		}
		conn, err := s.open()
		if err == nil {
			if r.over {
				r.late.pending += time.Since(began)
			}
			return conn, nil
		}
		began, r.late.pending = time.Now(), 0
		if s.ended(err); s.err != nil {
			return nil, s.err
		}
	}
}

// again decides whether there is to be another connection, and when.
func (s *OutputStream) again() error {
	r := &s.resume
	var answer *answerError
	switch {
	case errors.As(r.end, &answer) && answer.final:
		return s.streamError(r.end)
	case errors.Is(r.end, errNoProof):
		return nil
	case errors.Is(r.end, errCleanEnd) && (r.renew == nil || r.final && r.fruitless > 0):
		return io.EOF
	}
	tries := r.fruitless
	r.fruitless++
	silent := errors.Is(r.end, errQuiet) || errors.Is(r.end, ErrStreamStalled)
	gone := errors.Is(r.end, errRefused)
	ended := errors.Is(r.end, errCleanEnd) || errors.Is(r.end, errAllRead)
	if tries == 0 && !silent && !gone && !ended {
		// A connection that had brought something broke: go on at once.
		s.logBroken()
		return nil
	}
	if r.final || r.renew == nil {
		// What came before, while there could have been more, does not count.
		tries = r.dead
		r.dead++
		if silent || gone && r.answered {
			r.hopeless++
		}
		if r.dead >= maxDead || r.hopeless >= maxHopeless {
			return s.streamError(r.end)
		}
	}
	if !gone && !ended {
		s.logBroken()
	}
	if gone {
		// What is not there yet is not there a moment later.
		tries++
	}
	if err := s.wait(tries); err != nil || r.renew == nil {
		return err
	}
	notYet := gone && answer.status == http.StatusNotFound && !r.answered && !r.final
	if notYet && time.Since(r.asked) < min(max(askNotYet, time.Since(r.begun)/2), askAtLast) {
		return nil
	}
	return s.ask()
}

func (s *OutputStream) logBroken() {
	s.resume.log.LogAttrs(s.ctx, slog.LevelInfo, "herokubuild: output stream broke off and is connected again",
		slog.String("stream", s.name), slog.Int64("offset", s.position), slog.String("error", clip(cleanURLError(s.resume.hide.err(s.resume.end)).Error(), maxErrorText)))
}

// wait sleeps before another try; the first is at once.
func (s *OutputStream) wait(tries int) error {
	if tries == 0 {
		return nil
	}
	if err := sleep(s.ctx, max(s.resume.backoff(tries), time.Millisecond)); err != nil {
		return s.streamError(err)
	}
	return nil
}

// ask renews the address and the status.
func (s *OutputStream) ask() error {
	r := &s.resume
	final, err := r.renew(s.ctx)
	r.asked = time.Now()
	if err != nil {
		r.unanswered++
		lasting := errors.Is(err, ErrUnauthorized) || errors.Is(err, ErrForbidden) || errors.Is(err, ErrNotFound)
		if lasting || r.unanswered >= askTries || s.ctx.Err() != nil {
			return s.streamError(err)
		}
		return nil
	}
	r.unanswered = 0
	r.final, r.over = final, r.over || final
	return nil
}

// open sends the request and looks at the answer's head.
func (s *OutputStream) open() (*streamConn, error) {
	r := &s.resume
	offset := s.position
	from := offset - int64(len(r.tail))
	switch {
	case r.bare || r.end == nil && offset == 0 && !r.final:
		from = -1
	case r.whole || from > 0 && !r.overlapProves():
		// It tells how long the whole is, where offsets are honoured.
		from = 0
	}
	idle := s.opts.IdleTimeout
	if r.final {
		idle = min(idle, quietLimitFinal)
	}
	conn := newStreamConn(s.ctx, idle)
	resp, err := conn.dial(r.dial, from) //nolint:bodyclose // conn closes what it holds
	if err == nil {
		conn.hold(resp.Body)
		err = s.begin(conn, resp, from, offset)
	}
	if err != nil {
		conn.close()
		return nil, err
	}
	if !r.answered {
		r.answered, r.opened = true, conn.opened
	}
	return conn, nil
}

// begin has the connection pass over what the caller has had already: the
// answer to a request for what follows from, which is -1 for one that did not
// ask for a part.
func (s *OutputStream) begin(conn *streamConn, resp *http.Response, from, offset int64) error {
	r := &s.resume
	gzipped, err := false, error(nil)
	if resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusPartialContent {
		gzipped, err = gzipEncoded(resp.Header)
	}
	switch {
	case err != nil:
		return &answerError{status: resp.StatusCode, text: err.Error(), final: true}
	case gzipped && from > 0:
		// A part cannot be decompressed.
		return errNoProof
	case gzipped:
		conn.content = &gunzip{r: conn.content}
	}
	switch resp.StatusCode {
	case http.StatusOK:
		if from > 0 {
			return conn.guess(offset, s.opts.Offset, r)
		}
		// Whether that was honoured or not, it is everything.
		conn.skipTo(offset, s.opts.Offset, r)
		return nil
	case http.StatusPartialContent:
		start, total, ok := parseContentRange(resp.Header.Get("Content-Range"))
		switch {
		case from < 0:
			return &answerError{status: resp.StatusCode, text: "the stream host sends a part that was not asked for", final: true}
		case !ok && from == 0, start != from && from == 0:
			// Nothing weaker than that can be asked for but everything.
			r.bare = true
			return errNoProof
		case !ok, start != from:
			return errNoProof
		}
		if gzipped {
			// It is how long the compressed output is.
			total = -1
		}
		if r.final && total >= 0 && total < offset {
			return ErrOutputTruncated
		}
		conn.total, conn.position = total, offset
		if from == 0 {
			conn.skipTo(offset, s.opts.Offset, r)
		} else {
			conn.expect = bytes.Clone(r.tail)
		}
		return nil
	case http.StatusNoContent, http.StatusRequestedRangeNotSatisfiable:
		total, known := unsatisfied(resp.Header.Get("Content-Range"))
		switch {
		case known && total < offset:
			return ErrOutputTruncated
		case from > 0 && len(r.tail) > 0:
			// There should have been the overlap, at least.
			return errNoProof
		case known && total > offset && from >= 0:
			// It has more, and does not give it to who asks for a part.
			r.whole, r.bare = true, true
			return errNoProof
		case max(from, 0) < offset:
			return errors.New("the stream host has nothing of what it had")
		}
		return errAllRead
	}
	status := resp.StatusCode
	e := &answerError{status: status, text: answerText(status, r.hide.lines(string(readErrorBody(resp)), maxErrorText))}
	switch {
	case status == http.StatusNotFound, status == http.StatusForbidden, status == http.StatusUnauthorized, status == http.StatusGone:
		e.refused = true
	case status >= 500, status == http.StatusTooManyRequests, status == http.StatusRequestTimeout:
	case from >= 0:
		r.bare = true
		return errNoProof
	default:
		e.final = true
	}
	return e
}

// streamError makes the caller's error.
func (s *OutputStream) streamError(err error) error {
	if errors.Is(context.Cause(s.ctx), errStreamClosed) {
		return errStreamClosed
	}
	e := &StreamError{URL: s.name, Offset: s.position, Err: withoutEOF(cleanURLError(s.resume.hide.err(err)))}
	if s.ctx.Err() != nil {
		err = contextError(s.ctx)
		e.Err = err
	}
	var answer *answerError
	if errors.As(err, &answer) {
		e.StatusCode = answer.status
	}
	return e
}

func answerText(status int, body string) string {
	text := strconv.Itoa(status) + " " + http.StatusText(status)
	if line := firstLine(body); line != "" {
		text += ": " + line
	}
	return text
}

var contentRangeRE = regexp.MustCompile(`^bytes (\d{1,18})-(?:\d{1,18}|\*)?/(\d{1,18}|\*)$`)

// parseContentRange returns where an answer starts and how long the whole is,
// -1 if that is not known.
func parseContentRange(header string) (start, total int64, ok bool) {
	m := contentRangeRE.FindStringSubmatch(header)
	if m == nil {
		return 0, 0, false
	}
	start, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil {
		return 0, 0, false
	}
	total = -1
	if m[2] != "*" {
		if total, err = strconv.ParseInt(m[2], 10, 64); err != nil || total < start {
			return 0, 0, false
		}
	}
	return start, total, true
}

// unsatisfied reads the Content-Range of an answer that has nothing to send:
// how long the whole is.
func unsatisfied(header string) (total int64, ok bool) {
	text, ok := strings.CutPrefix(header, "bytes */")
	if !ok {
		return 0, false
	}
	total, err := strconv.ParseInt(text, 10, 64)
	return total, err == nil && total >= 0
}

// streamConn is one connection of a stream.
type streamConn struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	// idle runs while a read waits for the network, and ends the connection.
	idle        *time.Timer
	idleTimeout time.Duration
	opened      time.Time
	body        io.ReadCloser
	// content is the body as it was before it was compressed.
	content  io.Reader
	progress progress
	// moved is when text last came; brought says that some of it was new.
	moved   time.Time
	brought bool
	// release ends the watch that closes the body with the context.
	release func() bool

	// expect is what is left of the overlap, to be seen again.
	expect []byte
	// replay is what is left of the beginning of the output, which would be
	// seen in the place of the overlap by a host that sends everything; matched
	// is how much was. restart begins to pass over the rest of it.
	replay  []byte
	matched int
	restart func()
	// skip is how much of a whole output is left to pass over; unknown is how
	// much of that was never seen. sum, head and want compare the rest.
	skip, unknown int64
	sum, want     uint32
	head          []byte
	// total is how long the output is, -1 if that is not known. position is
	// how far this connection has come.
	total, position int64
	// nuls is how many NULs it has sent: some may be the output's own, and
	// count in total. Of those before the offset the overlap would have told.
	nuls int64
}

func newStreamConn(ctx context.Context, idleTimeout time.Duration) *streamConn {
	c := &streamConn{idleTimeout: idleTimeout, opened: time.Now(), total: -1}
	c.ctx, c.cancel = context.WithCancelCause(ctx)
	c.idle = time.AfterFunc(idleTimeout, func() { c.cancel(ErrStreamStalled) })
	return c
}

func (c *streamConn) close() {
	c.idle.Stop()
	if c.body != nil {
		c.release()
		_ = c.body.Close()
	}
	c.cancel(nil)
}

func (c *streamConn) dial(dial func(context.Context, int64) (*http.Response, error), from int64) (*http.Response, error) {
	resp, err := dial(c.ctx, from)
	c.idle.Stop()
	if err != nil {
		return nil, c.cause(err)
	}
	return resp, nil
}

// hold takes the body on. Not every transport ends a read with the context.
func (c *streamConn) hold(body io.ReadCloser) {
	c.body, c.content = body, readerFunc(c.readBody)
	c.release = context.AfterFunc(c.ctx, func() { _ = body.Close() })
}

// cause prefers what ended the connection to what the network made of it.
func (c *streamConn) cause(err error) error {
	if errors.Is(err, errRedirect) {
		return &answerError{text: cleanURLError(err).Error(), final: true}
	}
	if errors.Is(context.Cause(c.ctx), ErrStreamStalled) {
		return fmt.Errorf("%w for %v", ErrStreamStalled, c.idleTimeout)
	}
	return err
}

func (c *streamConn) read(p []byte) (int, error) {
	n, err := c.content.Read(p)
	if c.total >= 0 {
		c.nuls += int64(bytes.Count(p[:n], []byte{0}))
	}
	return n, err
}

// readBody reads what comes from the network, and waits for it no longer than the
// idle timeout.
func (c *streamConn) readBody(p []byte) (int, error) {
	c.idle.Reset(c.idleTimeout)
	n, err := c.body.Read(p)
	c.idle.Stop()
	if err = c.progress.check(n, err); err != nil && !isEOF(err) {
		err = c.cause(err)
	}
	return n, err
}

// finite reports whether what is still to come over the connection has an end
// that is known: what has been delivered before, or the length of the whole.
func (c *streamConn) finite() bool {
	return len(c.expect) > 0 || c.skip > 0 || c.total > c.position
}

// skipTo has the connection pass over the first offset bytes, of which those
// before known were never seen.
func (c *streamConn) skipTo(offset, known int64, r *resumption) {
	c.skip, c.unknown = offset, min(known, offset)
	c.head, c.sum, c.want = r.head, 0, r.sum
}

// guess is for an answer that does not say whether it is the part that was
// asked for or everything.
func (c *streamConn) guess(offset, known int64, r *resumption) error {
	if known > 0 || len(r.tail) == 0 || bytes.Equal(r.tail, r.head[:len(r.tail)]) {
		// How the output begins is not known, or is no help.
		return errNoProof
	}
	c.expect, c.replay = bytes.Clone(r.tail), r.head[:len(r.tail)]
	c.restart = func() {
		seen := r.head[:c.matched]
		c.expect, c.replay = nil, nil
		c.skipTo(offset, known, r)
		c.pass(seen)
	}
	return nil
}

// check takes what has been read, without heartbeats, and err, with which the
// read ended. It removes from p what the caller has had already, and returns
// how much is left and how the connection ended, if it did.
func (c *streamConn) check(p []byte, err error) (int, error) {
	kept := p
	if len(c.expect) > 0 {
		var ok bool
		if kept, ok = c.compare(kept); !ok {
			return 0, errNoProof
		}
	}
	if c.skip > 0 {
		var ok bool
		if kept, ok = c.pass(kept); !ok {
			if c.restart != nil {
				// It was only a guess that this is everything.
				return 0, errNoProof
			}
			return 0, ErrOutputTruncated
		}
	}
	n := copy(p, kept)
	c.position += int64(n)
	if !isEOF(err) {
		return n, err
	}
	switch {
	case len(c.expect) > 0, c.skip > 0, c.total > c.position+c.nuls:
		// It ended before it came to anything new, or before its own end.
		return n, io.ErrUnexpectedEOF
	case c.total == c.position:
		return n, errAllRead
	}
	return n, errCleanEnd
}

// compare compares with the overlap and drops it. It is false for an answer
// that starts neither there nor at the beginning.
func (c *streamConn) compare(p []byte) (rest []byte, ok bool) {
	if len(c.replay) > 0 {
		// One of the two is found to be wrong before either is at its end.
		for len(p) > 0 && len(c.replay) > 0 && c.expect[0] == c.replay[0] {
			if p[0] != c.expect[0] {
				return nil, false
			}
			p, c.expect, c.replay = p[1:], c.expect[1:], c.replay[1:]
			c.matched++
		}
		switch {
		case len(p) == 0:
			return p, true
		case p[0] == c.replay[0]:
			c.restart()
			return p, true
		}
		c.replay = nil
	}
	m := min(len(c.expect), len(p))
	if !bytes.Equal(c.expect[:m], p[:m]) {
		return nil, false
	}
	c.expect = c.expect[m:]
	return p[m:], true
}

// pass compares with the beginning of the output and drops it. It is false
// where that is not what was delivered.
func (c *streamConn) pass(p []byte) (rest []byte, ok bool) {
	if m := min(c.unknown, int64(len(p))); m > 0 {
		c.unknown -= m
		c.skip -= m
		p = p[m:]
	}
	m := min(c.skip, int64(len(p)))
	if m == 0 {
		return p, true
	}
	seen := p[:m]
	// The first bytes tell at once; the sum only when all have come.
	k := min(len(c.head), len(seen))
	if !bytes.Equal(c.head[:k], seen[:k]) {
		return nil, false
	}
	c.head = c.head[k:]
	c.sum = checksum(c.sum, seen)
	c.skip -= m
	if c.skip == 0 && c.sum != c.want {
		return nil, false
	}
	return p[m:], true
}

func checksum(sum uint32, p []byte) uint32 {
	return crc32.Update(sum, crc32.MakeTable(crc32.Castagnoli), p)
}
