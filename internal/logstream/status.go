package logstream

import (
	"context"
	"errors"
	"time"
)

const (
	// missingInterval is how long a log that does not exist yet is requested before
	// the status is polled: requests for the log cost nothing of the rate limit.
	// missingMax bounds the time between two polls, since the log may be over.
	missingInterval = time.Second
	missingMax      = 10 * time.Second
	// maxPollFailures is how many polls in a row may fail.
	maxPollFailures = 3
	// watchInterval is the least time between two polls while output arrives, and
	// watchTimeout how long a poll during a connection may take.
	watchInterval = 5 * time.Second
	watchTimeout  = 5 * time.Second
)

// status is what is known of the status of the log.
type status struct {
	get func(ctx context.Context) (final bool, err error)
	// final is the status when it was last polled for a new connection, so that a
	// connection that was opened since delivers the complete log. seenFinal is set once
	// any poll has found it final.
	final, seenFinal bool
	// started is when the stream was created, polled when the status was last
	// requested.
	started, polled time.Time
	// failures counts the polls in a row that failed.
	failures int
}

func newStatus(get func(context.Context) (bool, error), final bool) status {
	now := time.Now()
	return status{get: get, final: final, seenFinal: final, started: now, polled: now}
}

// due reports whether the status of a log that does not exist yet is to be polled.
func (s *status) due() bool {
	return s.final || time.Since(s.polled) >= min(max(missingInterval, time.Since(s.started)/2), missingMax)
}

// poll requests the status for a new connection. An error ends the stream.
func (s *status) poll(ctx context.Context) error {
	final, err := s.get(ctx)
	s.polled = time.Now()
	if err == nil {
		s.failures = 0
		s.final, s.seenFinal = final, s.seenFinal || final
		return nil
	}
	s.failures++
	var e *Error
	if s.failures >= maxPollFailures || ctx.Err() != nil || errors.As(err, &e) && e.Kind == Permanent {
		return err
	}
	return nil
}

// watch requests the status at growing intervals while output arrives, because a host
// may send output forever. A failed request does not disturb the output.
func (s *status) watch(ctx context.Context, now time.Time) {
	if s.seenFinal || now.Sub(s.polled) < max(watchInterval, now.Sub(s.started)/2) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, watchTimeout)
	defer cancel()
	final, err := s.get(ctx)
	s.polled = time.Now()
	s.seenFinal = final && err == nil
}

// finalDuring reports whether the status has become final during a silence. The
// longer it lasts, the longer are the intervals.
func (s *status) finalDuring(ctx context.Context, silence time.Duration) bool {
	if time.Since(s.polled) < max(quietLimit, silence/2) {
		return false
	}
	s.polled = time.Now()
	// The connection is open: output may arrive during the request.
	ctx, cancel := context.WithTimeout(ctx, watchTimeout)
	defer cancel()
	final, err := s.get(ctx)
	return final && err == nil
}
