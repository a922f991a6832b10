package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/herokubuild/herokubuild/internal/ioutil"
)

// idleTimer ends an attempt that waits for the network for too long. It runs from the
// beginning, and can be paused while something else than the network is waited for.
type idleTimer struct {
	limit  time.Duration
	reason error
	cancel context.CancelCauseFunc

	mu               sync.Mutex
	timer            *time.Timer
	expired, stopped bool
	body             io.Closer
}

// newIdleTimer starts a timer that cancels a context with the reason, unless it is stopped.
func newIdleTimer(limit time.Duration, cancel context.CancelCauseFunc, reason error) *idleTimer {
	t := &idleTimer{limit: limit, reason: reason, cancel: cancel}
	t.timer = time.AfterFunc(limit, t.expire)
	return t
}

func (t *idleTimer) expire() {
	t.cancel(t.reason)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expired = true
	if t.body != nil {
		_ = t.body.Close()
	}
}

// hold has the timer close the body of a response when it expires: not every transport
// ends a read with the context.
func (t *idleTimer) hold(body io.Closer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.body = body; t.expired {
		_ = body.Close()
	}
}

// errorOf replaces the error of an attempt that the timer ended.
func (t *idleTimer) errorOf(ctx context.Context, err error) error {
	if err != nil && errors.Is(context.Cause(ctx), t.reason) {
		return fmt.Errorf("%w for %v", t.reason, t.limit)
	}
	return err
}

func (t *idleTimer) pause() { t.timer.Stop() }

// resume starts the timer from the beginning.
func (t *idleTimer) resume() {
	t.mu.Lock()
	defer t.mu.Unlock()
	// net/http may still read a request's body after the response to it.
	if !t.stopped {
		t.timer.Reset(t.limit)
	}
}

func (t *idleTimer) stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stopped = true
	t.timer.Stop()
}

// timedBody runs the timer from each read of a request's body to the next: while the
// network sends what was read. The time that the body itself needs does not count.
type timedBody struct {
	io.ReadCloser
	timer *idleTimer
}

func (b *timedBody) Read(p []byte) (int, error) {
	b.timer.pause()
	defer b.timer.resume()
	return b.ReadCloser.Read(p)
}

// withTimedBody replaces the body of a request that is the caller's own copy.
func withTimedBody(req *http.Request, timer *idleTimer) *http.Request {
	if req.Body == nil || req.Body == http.NoBody {
		return req
	}
	req.Body = &timedBody{req.Body, timer}
	if open := req.GetBody; open != nil {
		// net/http opens another body where a kept connection turns out to be dead.
		req.GetBody = func() (io.ReadCloser, error) {
			body, err := open()
			if err != nil {
				return nil, err
			}
			return &timedBody{body, timer}, nil
		}
	}
	return req
}

// idleBody is the body of a response whose reads wait for the network no longer than a
// time limit. A read that waited longer fails with an error that matches [ErrIdle]. Reads
// also end with the context of the request, which not every transport ensures. A body that
// keeps returning nothing fails with io.ErrNoProgress.
type idleBody struct {
	body     io.ReadCloser
	timer    *idleTimer
	progress ioutil.Progress
	// ctx is the context of the attempt, which cancel ends.
	ctx    context.Context //nolint:containedctx // it is for the cause of its end
	cancel context.CancelCauseFunc
	// release detaches the body from the context of the request.
	release func() bool
}

// idleRoundTrip sends a request through next. The time limit applies to the wait for
// the response's head and to each wait for more of its body, which is an idleBody.
func idleRoundTrip(next http.RoundTripper, req *http.Request, limit time.Duration) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	timer := newIdleTimer(limit, cancel, ErrIdle)
	resp, err := checked(next.RoundTrip(req.WithContext(ctx)))
	timer.pause()
	if err != nil {
		err = timer.errorOf(ctx, err)
		timer.stop()
		cancel(nil)
		return nil, err
	}
	body := resp.Body
	timer.hold(body)
	resp.Body = &idleBody{
		body: body, timer: timer, ctx: ctx, cancel: cancel,
		release: context.AfterFunc(req.Context(), func() { _ = body.Close() }),
	}
	return resp, nil
}

// Read implements io.Reader.
func (b *idleBody) Read(p []byte) (int, error) {
	b.timer.resume()
	n, err := b.body.Read(p)
	b.timer.pause()
	return n, b.timer.errorOf(b.ctx, b.progress.Check(n, err))
}

// Close closes the body. A Read that waits for the network returns.
func (b *idleBody) Close() error {
	b.timer.stop()
	b.release()
	err := b.body.Close()
	b.cancel(nil)
	return err
}
