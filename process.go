package herokubuild

import (
	"context"

	"github.com/herokubuild/herokubuild/internal/logstream"
)

// This file follows builds and releases, which have a status and output alike.

// waitFor polls a process of an app until its status is final, and returns it if
// that is success.
func waitFor[T process](ctx context.Context, c *apiClient, app string, opts *WaitOptions, get func(context.Context) (T, error)) (T, error) {
	var none T
	if err := c.check(); err != nil {
		return none, err
	}
	v, err := waitFinal(ctx, opts, c.poll, get, statusOf[T])
	if err == nil {
		err = v.outcome(app)
	}
	if err != nil {
		return none, err
	}
	return v, nil
}

// openOutput gets a process and opens its output stream.
func openOutput[T process](ctx context.Context, c *apiClient, opts *StreamOptions, get func(context.Context) (T, error)) (*OutputStream, error) {
	if _, err := opts.withDefaults(); err != nil {
		return nil, err
	}
	now, err := get(ctx)
	if err != nil {
		return nil, err
	}
	return followOutput(ctx, c, now, opts, get)
}

// followOutput opens the output stream of a process in the state now. get requests
// its state again. The first read connects.
func followOutput[T process](ctx context.Context, c *apiClient, now T, opts *StreamOptions, get func(context.Context) (T, error)) (*OutputStream, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	o, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	status, signed := now.state()
	if signed == "" {
		return nil, ErrNoOutput
	}
	if _, err := checkWebURL("OutputStreamURL", signed.Reveal()); err != nil {
		return nil, err
	}
	renew := func(ctx context.Context) (Status, SecretURL, error) {
		latest, err := get(ctx)
		if err != nil {
			return "", "", err
		}
		status, signed := latest.state()
		return status, signed, nil
	}
	host := &streamHost{api: c, url: signed, renew: renew}
	s := &OutputStream{name: signed.String(), host: host}
	s.ctx, s.cancel = context.WithCancelCause(ctx)
	s.offset.Store(o.Offset)
	backoff := c.poll
	if o.backoff != nil {
		backoff = o.backoff
	}
	s.reader = logstream.New(s.ctx, logstream.Config{ //nolint:contextcheck // It is made from ctx.
		Dial: host.dial, Status: host.status, Final: outputEnds(status),
		Offset: o.Offset, IdleTimeout: o.IdleTimeout, FinalTimeout: o.FinalTimeout,
		Backoff: backoff, OnHeartbeat: o.OnHeartbeat, OnReconnect: s.logInterruption,
	})
	return s, nil
}
