package herokubuild

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"
)

func (c *apiClient) rateLimitRemaining(ctx context.Context, opts ...RequestOption) (int, error) {
	var out struct {
		Remaining *int `json:"remaining"`
	}
	a := apiCall{method: http.MethodGet, path: apiPath("account", "rate-limits")}
	resp, err := c.call(ctx, a, &out, opts...)
	if err != nil {
		return 0, err
	}
	if out.Remaining == nil {
		// As a 0 it would be waited for without an end.
		return 0, resp.unexpected(errors.New("the response has no remaining"))
	}
	left := max(*out.Remaining, 0)
	c.rate.set(left)
	return left, nil
}

// pacer delays requests that would use up the account's rate limit. It delays them for
// about an hour at most, in which an empty pool refills, and then lets them pass: Heroku
// decides whether to refuse them.
type pacer struct {
	api *apiClient
	// reserve is never used: as many requests may be in flight unseen.
	reserve int
	// onWait is called before each wait unless it is nil, from one goroutine at a time.
	onWait func(left int, wait time.Duration)

	// turn is held by the one goroutine that polls the pool for all others.
	turn chan struct{}
	// waited is how long the pool has been short without a break. It belongs to the
	// goroutine that holds turn.
	waited time.Duration
}

func newPacer(c *apiClient, reserve int) *pacer {
	return &pacer{api: c, reserve: reserve, turn: make(chan struct{}, 1)}
}

const (
	// poolSize and poolRefill are documented by Heroku: an empty pool is full again
	// after an hour. refill is the time until one more request is available.
	poolSize   = 4500
	poolRefill = time.Hour
	refill     = poolRefill / poolSize
	// maxPace bounds the time between two polls.
	maxPace = 15 * time.Second
)

// wait returns once there is a request to spare, or once the pool has been short for as
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
		left, err := p.api.rateLimitRemaining(ctx)
		if err != nil {
			return err
		}
		if left > p.reserve {
			break
		}
		if err := p.sleep(ctx, left); err != nil {
			return err
		}
	}
	if p.enough() {
		p.waited = 0
	}
	return nil
}

// sleep waits for the pool to refill and reports the wait.
func (p *pacer) sleep(ctx context.Context, left int) error {
	wait := p.pause(left)
	if p.onWait != nil {
		p.onWait(left, wait)
	}
	p.api.log.LogAttrs(ctx, slog.LevelInfo, "herokubuild: waiting for the account's rate limit",
		slog.Int("rate_remaining", left), slog.Duration("wait", wait))
	if err := sleep(ctx, wait); err != nil {
		return err
	}
	p.waited += wait
	return nil
}

// pause returns the time until there is enough for all goroutines that wait, so that one
// poll serves them all.
func (p *pacer) pause(left int) time.Duration {
	missing := min(p.reserve+p.reserve/2-left, poolSize)
	return min(max(time.Duration(missing)*refill, refill), maxPace)
}

func (p *pacer) enough() bool {
	left, known := p.api.rate.left()
	return !known || left > p.reserve
}
