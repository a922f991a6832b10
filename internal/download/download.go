// Package download reads an archive from a storage host. A [Reader] reads it over as
// many connections as necessary and verifies it; [Content] is the archive in a single
// response.
//
// The package makes no requests: [Config].Dial does. The errors of the package are
// an [*Error], from which the library builds its own.
package download

import (
	"context"
	"errors"
	"net/http"
	"time"
)

// Config describes an archive. Every field except SHA256, Size and OnProgress is
// required.
type Config struct {
	// Dial requests the archive from an offset, which is 0 for the whole archive. For
	// a response that is not a success it returns an [*Error] of the kind Refused with
	// the status.
	Dial func(ctx context.Context, from int64) (*http.Response, error)
	// Renew gives Dial a fresh URL. It reports whether there is one.
	Renew func(ctx context.Context) (bool, error)
	// SHA256 is the archive's checksum in lower-case hex digits; empty means that the
	// checksum is not verified.
	SHA256 string
	// Size is the archive's size, 0 if it is not known.
	Size int64
	// MaxAttempts is how many connections in a row may deliver too little.
	MaxAttempts int
	// Backoff is the delay after the nth of them.
	Backoff func(n int) time.Duration
	// OnProgress, if not nil, is called with the bytes delivered so far and the
	// archive's size, which is -1 while it is not known.
	OnProgress func(done, total int64)
}

// Kind classifies an [Error].
type Kind int

const (
	// Failed is a failure of the network, or a response with another range than the
	// requested one.
	Failed Kind = iota
	// Canceled means that the context has ended.
	Canceled
	// Refused is an error of Dial or Renew.
	Refused
	// Unusable is a response that does not contain the archive.
	Unusable
	// Changed means that the archive was replaced during the download.
	Changed
	// WrongSize is an archive of another size than Config.Size.
	WrongSize
	// WrongChecksum is an archive with another checksum than Config.SHA256.
	WrongChecksum
)

// Error reports that an archive could not be downloaded.
type Error struct {
	Kind Kind
	// Status is the status of the response that was refused or is unusable, 0 if there
	// was none.
	Status int
	// Attempts is how many connections in a row delivered too little, at least 1. It is
	// 0 for an error of Dial or Renew.
	Attempts int
	// Received is the number of bytes that a Reader delivered, and SHA256 their checksum
	// if the kind is WrongChecksum.
	Received int64
	SHA256   string
	// Err is the cause, which may show the URL.
	Err error
}

// Error implements error.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

var (
	errChanged       = errors.New("the archive changed during the download")
	errWrongSize     = errors.New("the archive has another size")
	errWrongChecksum = errors.New("the archive has another checksum")
	errOtherRange    = errors.New("the storage host sent another range than the requested one")
)

// asError returns an *Error as it is. Any other error is one of Dial or Renew.
func asError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Kind: Refused, Err: err}
}

// rangeRefused reports whether the storage host has refused to send a range.
func (e *Error) rangeRefused() bool {
	return e.Kind == Refused && e.Status == http.StatusRequestedRangeNotSatisfiable
}

// expired reports whether another URL may help.
func (e *Error) expired() bool {
	return e.Kind == Refused && (e.Status == http.StatusForbidden || e.Status == http.StatusNotFound)
}
