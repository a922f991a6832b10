// Package logstream reads a log that is written while it is read, over as many
// connections as that takes. It delivers each byte once and in order.
//
// The end of a connection is not the end of the log. It is the end if the status
// was final before the connection was opened and the connection has shown that
// nothing is missing: by the length of the whole log, or by ending properly
// where the last one had.
//
// The package does not use HTTP. [Config].Dial makes a connection, a policy
// decides what follows its end, and a splicer removes heartbeats and bytes that
// were received before.
package logstream

import (
	"context"
	"errors"
	"io"
	"time"
)

// All is the offset of a request for the whole log.
const All = -1

// Content is what a response contains.
type Content int

const (
	// Whole is the log from its beginning, unless the host has honored an offset
	// without saying so.
	Whole Content = iota
	// Part is the log from Response.Start.
	Part
	// Nothing means that there is nothing from the requested offset.
	Nothing
)

// Unknown is a length or offset that the host has not announced.
const Unknown = -1

// Response is the host's response to a request for the log.
type Response struct {
	Content Content
	// Start is where a Part begins, or Unknown.
	Start int64
	// Total is the length of the whole log, or Unknown.
	Total int64
	// Status is the status code, for an error.
	Status int
	// Gzip reports that Body is compressed. Start and Total count compressed bytes.
	Gzip bool
	// Body is never nil. The Reader closes it.
	Body io.ReadCloser
}

// Kind classifies an [Error] by what another request can achieve.
type Kind int

const (
	// Unavailable is a failure that may be over at the next request.
	Unavailable Kind = iota
	// Missing is a log that does not exist yet or was deleted.
	Missing
	// Denied is a URL that is no longer accepted, or a deleted log.
	Denied
	// Unsupported is a request that the host does not accept in this form.
	Unsupported
	// Permanent is a failure that every further request would repeat.
	Permanent
)

// Error is a failure to read the log. Dial and Status return it to classify a
// failure; any other error of theirs is Unavailable. Every error of a Reader
// except io.EOF is an *Error.
type Error struct {
	Kind Kind
	// Status is the status code of the host's response, 0 if there was none.
	Status int
	// Err is the cause.
	Err error
}

// Error implements error.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

var (
	// ErrStalled reports that nothing has arrived for the idle timeout.
	ErrStalled = errors.New("output stream stalled")
	// ErrTruncated reports that the host no longer has the beginning of the log.
	ErrTruncated = errors.New("the platform no longer has all of the output")
)

// How a connection can end, in addition to the errors of Dial and of the network.
var (
	errClean    = errors.New("the stream ended early")
	errComplete = errors.New("the stream ended early, by its own length")
	errUnproven = errors.New("the stream host does not resume")
	errQuiet    = errors.New("nothing but heartbeats")
	errEndless  = errors.New("the output did not end after the final status")
)

// Config describes a log. Every field is required unless its comment has a default.
type Config struct {
	// Dial requests the log from an offset, or all of it if from is All.
	Dial func(ctx context.Context, from int64) (*Response, error)
	// Status reports whether the status is final, which means that nothing is
	// written to the log anymore. It may also renew the URL that Dial uses.
	Status func(ctx context.Context) (final bool, err error)
	// Final is the status when New is called. Default: pending.
	Final bool
	// Offset is how many bytes of the log to skip. Default 0.
	Offset int64
	// IdleTimeout is the silence after which a connection is replaced.
	IdleTimeout time.Duration
	// FinalTimeout bounds how long output may continue once the status is final.
	FinalTimeout time.Duration
	// Backoff is the delay after the nth connection in a row without new output.
	Backoff func(n int) time.Duration
	// OnHeartbeat is called for a read that contained only heartbeats, at most once a
	// second. quiet is the time since the last output. Default: none.
	OnHeartbeat func(quiet time.Duration)
	// OnReconnect is called before an interrupted connection is replaced.
	OnReconnect func(offset int64, cause error)
}
