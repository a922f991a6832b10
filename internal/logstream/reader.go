package logstream

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/herokubuild/herokubuild/internal/ioutil"
)

const (
	// heartbeatPause is the least time between two calls of OnHeartbeat.
	heartbeatPause = time.Second
	// quietLimit is the silence, heartbeats excluded, after which the status is
	// polled: a stream may never end.
	quietLimit = time.Minute
	// quietLimitFinal is how long a connection may be silent, with or without
	// heartbeats, once the status is final.
	quietLimitFinal = 10 * time.Second
)

// Reader reads a log. Its methods are for one goroutine at a time, except Active.
type Reader struct {
	ctx        context.Context //nolint:containedctx // It governs the whole of the stream.
	cfg        Config
	status     status
	policy     policy
	splice     *splicer
	afterFinal afterFinal
	conn       *conn

	// last is how the last connection ended, nil before the first. err ends the
	// stream.
	last, err error
	// opened is when the first connection was made, heard when output last arrived,
	// and beat when a heartbeat was last reported.
	opened, heard, beat time.Time
	// active is when anything last arrived, in nanoseconds since 1970.
	active atomic.Int64
}

// New returns a reader of the log. The first Read connects. The context governs
// the whole of the stream, and its end closes the connection.
func New(ctx context.Context, cfg Config) *Reader {
	return &Reader{
		ctx: ctx, cfg: cfg,
		status:     newStatus(cfg.Status, cfg.Final),
		policy:     policy{backoff: cfg.Backoff},
		splice:     newSplicer(cfg.Offset),
		afterFinal: afterFinal{timeout: cfg.FinalTimeout},
	}
}

// Position returns how many bytes of the log have been read, those before
// Config.Offset included.
func (r *Reader) Position() int64 { return r.splice.position }

// Active returns when output or a heartbeat last arrived, the zero time before the
// first. It is safe for concurrent use.
func (r *Reader) Active() time.Time {
	if ns := r.active.Load(); ns != 0 {
		return time.Unix(0, ns)
	}
	return time.Time{}
}

// Read reads output into p, which must not be empty. At the end of the log it
// returns io.EOF. Every other error is an [*Error].
func (r *Reader) Read(p []byte) (int, error) {
	for r.err == nil {
		if r.conn == nil {
			r.conn, r.err = r.connect()
			continue
		}
		n, err := r.receive(p)
		if err != nil {
			r.disconnect(err)
		}
		if n > 0 {
			return n, nil
		}
	}
	return 0, r.err
}

// receive reads from the connection. Its error is how the connection ended.
func (r *Reader) receive(p []byte) (int, error) {
	finite := r.splice.finite()
	var began time.Time
	if r.status.seenFinal {
		began = time.Now()
	}
	n, err := r.conn.Read(p)
	now := time.Now()
	if n > 0 {
		r.active.Store(now.UnixNano())
	}
	fresh, text, mismatch := r.splice.feed(p[:n])
	switch {
	case text > 0:
		r.conn.moved = now
	case n > 0:
		r.heartbeat(now)
	}
	switch {
	case mismatch != nil:
		err = mismatch
	case ioutil.IsEOF(err):
		err = r.splice.end()
	}
	n = copy(p, fresh)
	if n > 0 {
		r.policy.delivered()
		r.heard, r.conn.delivered = now, true
	}
	switch {
	case err != nil:
	case n > 0:
		r.status.watch(r.ctx, now)
	default:
		err = r.checkSilence()
	}
	if began.IsZero() {
		return n, err
	}
	r.afterFinal.pending += now.Sub(began)
	if text > 0 && !r.afterFinal.add(text, n, finite) {
		err = errEndless
	}
	return n, err
}

func (r *Reader) disconnect(err error) {
	r.conn.close()
	if !r.conn.delivered {
		// The policy bounds the number of connections without output.
		r.afterFinal.pending = 0
	}
	r.conn, r.last = nil, err
}

// heartbeat reports a read that contained only heartbeats.
func (r *Reader) heartbeat(now time.Time) {
	if r.cfg.OnHeartbeat == nil || !r.beat.IsZero() && now.Sub(r.beat) < heartbeatPause {
		return
	}
	r.beat = now
	since := r.heard
	if since.IsZero() {
		since = r.opened
	}
	r.cfg.OnHeartbeat(now.Sub(since))
}

// checkSilence ends a connection that has delivered only heartbeats for long, if
// the status is final.
func (r *Reader) checkSilence() error {
	since := r.heard
	for _, t := range []time.Time{r.conn.opened, r.conn.moved} {
		if t.After(since) {
			since = t
		}
	}
	silence := time.Since(since)
	if r.status.final {
		if silence >= quietLimitFinal {
			return errQuiet
		}
		return nil
	}
	if silence >= quietLimit && r.status.finalDuring(r.ctx, silence) {
		return errQuiet
	}
	return nil
}

// maxCountedWait is the part of the wait before a connection that counts as time that
// the output took: the delay and the status poll are not the stream host's.
const maxCountedWait = time.Second

// connect replaces the last connection, after the delay and the status poll that
// the policy demands. It returns io.EOF if that was the end of the log.
func (r *Reader) connect() (*conn, error) {
	began := time.Now()
	for {
		if r.last != nil {
			if err := r.prepare(); err != nil {
				return nil, err
			}
		}
		if r.ctx.Err() != nil {
			return nil, r.fail(context.Cause(r.ctx))
		}
		if counted := time.Now().Add(-maxCountedWait); began.Before(counted) {
			began = counted
		}
		c, err := r.open()
		if err == nil {
			if r.status.seenFinal {
				r.afterFinal.pending += time.Since(began)
			}
			return c, nil
		}
		began, r.afterFinal.pending = time.Now(), 0
		r.last = err
	}
}

// prepare carries out what the policy demands after the last connection. An error
// ends the stream.
func (r *Reader) prepare() error {
	how := classify(r.last, !r.opened.IsZero(), r.status.final)
	next, delay := r.policy.next(how, r.status.final)
	switch {
	case next == finish:
		return io.EOF
	case next == fail:
		return r.fail(r.last)
	case r.ctx.Err() != nil:
		return r.fail(context.Cause(r.ctx))
	case next == restart:
		r.splice.fromStart = true
		return nil
	}
	if how.interrupted() {
		r.cfg.OnReconnect(r.splice.position, r.last)
	}
	if next == reconnect {
		return nil
	}
	if !ioutil.Sleep(r.ctx, delay) {
		return r.fail(context.Cause(r.ctx))
	}
	if next == await && !r.status.due() {
		return nil
	}
	if err := r.status.poll(r.ctx); err != nil {
		return r.fail(err)
	}
	return nil
}

// open makes a connection.
func (r *Reader) open() (*conn, error) {
	from := r.splice.from(r.last == nil && !r.status.final)
	idle := r.cfg.IdleTimeout
	if r.status.final {
		idle = min(idle, quietLimitFinal)
	}
	c := newConn(r.ctx, idle)
	resp, err := c.dial(r.cfg.Dial, from)
	if err == nil {
		err = r.splice.begin(from, resp, r.status.final)
	} else {
		err = r.splice.refused(from, err)
	}
	if err != nil {
		c.close()
		return nil, err
	}
	if r.opened.IsZero() {
		r.opened = c.opened
	}
	return c, nil
}

// fail returns the error that ends the stream.
func (r *Reader) fail(err error) error {
	if e := (*Error)(nil); errors.As(err, &e) {
		return e
	}
	return &Error{Err: err}
}
