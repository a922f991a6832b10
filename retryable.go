package herokubuild

import (
	"errors"
	"net/http"
)

// Retryable reports whether calling again, with the Checkpoint of the error if it has one,
// may succeed although the caller changes nothing: after a network error, a 5xx, a rate
// limit, a timeout, a context that ended, or an error of the caller's own functions. It is
// false for nil, and for what has to be changed first: arguments, the API key and its
// permissions, a source that does not build, a release phase or Verify that fails, an app
// that runs what somebody else has released. Of several apps' errors one such is enough.
func Retryable(err error) bool {
	return err != nil && !isFinal(err)
}

// isFinal reports whether an error, or one that it wraps, would occur again.
func isFinal(err error) bool {
	for _, final := range []error{
		ErrInvalidArgument, ErrNoCredential, ErrUnauthorized, ErrPaymentRequired, ErrNotFound, ErrUnprocessable,
		ErrPartialList, ErrUnknownStatus, ErrBuildFailed, ErrReleaseFailed, ErrVerifyFailed, ErrSuperseded,
		ErrNoArtifact, ErrNoOutput, ErrOutputTruncated, ErrArtifactExpired, ErrUnsupportedGeneration, ErrNotEligible,
		ErrUnsafeArchive, ErrArchiveTooLarge, ErrUnsupportedName, ErrLinksNotPermitted,
	} {
		if errors.Is(err, final) {
			return true
		}
	}
	return hasFinalStatus(err)
}

// hasFinalStatus reports whether an error is, or wraps, a status of the API that another
// call would get again. A storage host refuses a signed URL that has expired, and another
// call gets a new one.
func hasFinalStatus(err error) bool {
	switch e := err.(type) { //nolint:errorlint // The tree is walked below.
	case *APIError:
		return !e.MaybeApplied && !isTransient(e.StatusCode)
	case *StorageError:
		return false
	case interface{ Unwrap() error }:
		return hasFinalStatus(e.Unwrap())
	case interface{ Unwrap() []error }:
		for _, cause := range e.Unwrap() {
			if hasFinalStatus(cause) {
				return true
			}
		}
	}
	return err == ErrForbidden //nolint:errorlint // Only the sentinel itself: types have a status.
}

func isTransient(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusConflict, http.StatusLocked, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	}
	return status >= http.StatusInternalServerError && status != http.StatusNotImplemented
}
