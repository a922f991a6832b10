package herokubuild

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

// This file is the account's rate limit: what is left of it, and who has to
// wait for more.

// RateLimitRemaining returns how many requests the account may still make. The
// platform gives each account a pool of 4500 that refills by 75 a minute. The
// question is free.
//
// Endpoint: GET /account/rate-limits (schema: rate-limit, Info). Errors:
// [*APIError], [*RequestError], [*ResponseError].
func (c *Client) RateLimitRemaining(ctx context.Context) (int, error) {
	var out struct {
		Remaining *int `json:"remaining"`
	}
	a := apiCall{method: http.MethodGet, path: apiPath("account", "rate-limits")}
	resp, err := c.call(ctx, a, &out)
	if err != nil {
		return 0, err
	}
	if out.Remaining == nil {
		// Taken for none, it would be waited on for ever.
		return 0, resp.unexpected(errors.New("it does not say how many requests remain"))
	}
	left := max(*out.Remaining, 0)
	c.rate.set(left)
	return left, nil
}

// rateLimit is what the platform last said of the account's rate limit.
type rateLimit struct {
	// remaining is one more than what is left, so that zero is "not known".
	remaining atomic.Int64
}

// rateHeader is in its canonical form, for a look-up that allocates nothing.
const rateHeader = "Ratelimit-Remaining"

func (l *rateLimit) note(header http.Header) {
	if values := header[rateHeader]; len(values) > 0 {
		if n, err := strconv.Atoi(values[0]); err == nil {
			l.set(n)
		}
	}
}

func (l *rateLimit) set(remaining int) { l.remaining.Store(int64(max(remaining, 0)) + 1) }

func (l *rateLimit) left() (n int, known bool) {
	n = int(l.remaining.Load())
	return n - 1, n > 0
}

// pacer holds back requests that would use up the account's rate limit. It holds
// them back for about an hour at most, in which an empty pool refills, and then lets
// them through: whether the platform refuses them is for the platform to decide.
type pacer struct {
	client *Client
	// reserve is never touched: as many requests may be under way unseen.
	reserve int
	// onWait is called before each wait unless it is nil, from one goroutine at a
	// time.
	onWait func(left int, wait time.Duration)

	// turn has room for the one goroutine that checks the pool for all others.
	turn chan struct{}
	// waited is how long the pool has been short without a break. It belongs to
	// the goroutine that has the turn.
	waited time.Duration
}

func newPacer(c *Client, reserve int) *pacer {
	return &pacer{client: c, reserve: reserve, turn: make(chan struct{}, 1)}
}

const (
	// poolSize and poolRefill are what the platform documents: an empty pool is full
	// again after an hour. refill is how long one request takes to come back.
	poolSize   = 4500
	poolRefill = time.Hour
	refill     = poolRefill / poolSize
	// maxPace bounds the wait between two questions.
	maxPace = 15 * time.Second
)

// wait returns once there is a request to spare, or the pool has been short for as
// long as it takes to refill.
func (p *pacer) wait(ctx context.Context) error {
	if p.enough() {
		return nil
	}
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return contextError(ctx)
	}
	for !p.enough() && p.waited < poolRefill {
		left, err := p.client.RateLimitRemaining(ctx)
		if err != nil {
			return err
		}
		if left > p.reserve {
			break
		}
		wait := p.pause(left)
		if p.onWait != nil {
			p.onWait(left, wait)
		}
		p.client.log.LogAttrs(ctx, slog.LevelInfo, "herokubuild: waiting for the account's rate limit",
			slog.Int("rate_remaining", left), slog.Duration("wait", wait))
		if err := sleep(ctx, wait); err != nil {
			return err
		}
		p.waited += wait
		if _, err := p.client.RateLimitRemaining(ctx); err != nil {
			return err
		}
	}
	if p.enough() {
		p.waited = 0
	}
	return nil
}

// pause is how long it takes until there is enough for all that wait, so that one
// status request is enough for them.
func (p *pacer) pause(left int) time.Duration {
	missing := min(p.reserve+p.reserve/2-left, poolSize)
	return min(max(time.Duration(missing)*refill, refill), maxPace)
}

func (p *pacer) enough() bool {
	left, known := p.client.rate.left()
	return !known || left > p.reserve
}
