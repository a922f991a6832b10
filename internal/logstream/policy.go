package logstream

import (
	"errors"
	"time"
)

// end is how a connection ended.
type end int

const (
	// broken: the network or the host failed, or the connection ended before any new
	// output.
	broken end = iota
	// silent: nothing arrived for the idle timeout.
	silent
	// quiet: nothing but heartbeats arrived for long.
	quiet
	// notStarted: the log does not exist yet.
	notStarted
	// denied: the host refuses the URL of a log that has never been read.
	denied
	// gone: a log that existed is missing, or its URL is refused.
	gone
	// clean: the host ended the connection properly, at an unknown length.
	clean
	// complete: the log was read up to its announced length, but its status is
	// not final.
	complete
	// finished: the log was read up to its announced length, and the status was
	// final before.
	finished
	// unproven: the response does not prove where it starts.
	unproven
	// truncated: the host no longer has the beginning of the log.
	truncated
	// endless: the status is final, and output continues.
	endless
	// rejected: the host would refuse every further request.
	rejected
)

// classify returns how a connection ended. opened reports whether the log has
// existed, final whether the status was final before the connection was opened.
func classify(err error, opened, final bool) end {
	var e *Error
	switch {
	case errors.Is(err, errUnproven):
		return unproven
	case errors.Is(err, ErrTruncated):
		return truncated
	case errors.Is(err, errEndless):
		return endless
	case errors.Is(err, errComplete) && final:
		return finished
	case errors.Is(err, errComplete):
		return complete
	case errors.Is(err, errClean):
		return clean
	case errors.Is(err, errQuiet):
		return quiet
	case errors.Is(err, ErrStalled):
		return silent
	case errors.As(err, &e):
		return e.Kind.end(opened)
	}
	return broken
}

// end returns how a request that failed like this ended.
func (k Kind) end(opened bool) end {
	switch k {
	case Missing:
		if opened {
			return gone
		}
		return notStarted
	case Denied:
		if opened {
			return gone
		}
		return denied
	case Unsupported, Permanent:
		return rejected
	case Unavailable:
	}
	return broken
}

// interrupted reports whether a connection failed that was to deliver more.
func (e end) interrupted() bool { return e == broken || e == silent || e == quiet }

// action is what follows the end of a connection.
type action int

const (
	// reconnect connects at once.
	reconnect action = iota
	// restart connects at once and requests the whole log.
	restart
	// poll waits, polls the status and connects.
	poll
	// await waits and connects, and polls the status only now and then.
	await
	// finish ends the stream: all of the log has been read.
	finish
	// fail ends the stream with an error.
	fail
)

// Once the status is final, a stream gives up after so many connections in a row
// without new output. maxEmpty bounds all of them; with the default delays it takes
// about 10 s. The lower limits are for ends that are not likely to change.
const (
	maxEmpty  = 16
	maxGone   = 3
	maxSilent = 3
)

// rule is what follows one way in which a connection can end.
type rule struct {
	// first applies to the first connection, and to one after which output has
	// been delivered. Connections without new output follow pending or final,
	// which is the status.
	first, pending, final action
	// giveUp is how many connections in a row without new output make poll and await
	// fail, once the status is final. If it is lower than maxEmpty, only ends with
	// such a lower limit count towards it.
	giveUp int
	// later is added to the number of connections that the delay depends on.
	later int
}

// rules decide when a stream resumes, when it is at its end, and when it gives up.
var rules = map[end]rule{
	broken:     {first: reconnect, pending: poll, final: poll, giveUp: maxEmpty},
	silent:     {first: poll, pending: poll, final: poll, giveUp: maxSilent},
	quiet:      {first: poll, pending: poll, final: poll, giveUp: maxSilent},
	notStarted: {first: await, pending: await, final: await, giveUp: maxEmpty, later: 1},
	denied:     {first: poll, pending: poll, final: poll, giveUp: maxEmpty, later: 1},
	gone:       {first: poll, pending: poll, final: poll, giveUp: maxGone, later: 1},
	clean:      {first: poll, pending: poll, final: finish, giveUp: maxEmpty},
	complete:   {first: poll, pending: poll, final: poll, giveUp: maxEmpty},
	finished:   {first: finish, pending: finish, final: finish},
	unproven:   {first: restart, pending: restart, final: restart},
	truncated:  {first: fail, pending: fail, final: fail},
	endless:    {first: fail, pending: fail, final: fail},
	rejected:   {first: fail, pending: fail, final: fail},
}

// policy applies the rules. Its counts are of connections in a row without new
// output: empty is all of them, emptyFinal those since the status is final, and
// emptyLimited those of the latter whose limit is lower than maxEmpty.
type policy struct {
	backoff                         func(n int) time.Duration
	empty, emptyFinal, emptyLimited int
}

// delivered notes that a connection has delivered output.
func (p *policy) delivered() { p.empty, p.emptyFinal, p.emptyLimited = 0, 0, 0 }

// next returns what follows a connection, and the delay before that.
func (p *policy) next(how end, final bool) (action, time.Duration) {
	r := rules[how]
	next := r.pending
	if final {
		next = r.final
	}
	if p.empty == 0 {
		next = r.first
	}
	switch next {
	case restart, finish, fail:
		// The next request, if any, is not a repetition.
		return next, 0
	case reconnect:
		p.empty++
		return next, 0
	case poll, await:
	}
	n := p.empty
	p.empty++
	if final {
		n = p.emptyFinal
		p.emptyFinal++
		if r.giveUp < maxEmpty {
			p.emptyLimited++
			if p.emptyLimited >= r.giveUp {
				return fail, 0
			}
		}
		if p.emptyFinal >= maxEmpty {
			return fail, 0
		}
	}
	if n += r.later; n == 0 {
		return next, 0
	}
	return next, max(p.backoff(n), time.Millisecond)
}
