package herokubuild

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/herokubuild/herokubuild/internal/clean"
	"github.com/herokubuild/herokubuild/internal/ioutil"
	"github.com/herokubuild/herokubuild/internal/logstream"
	"github.com/herokubuild/herokubuild/internal/sourcetree"
)

// The sentinels to test for with [errors.Is]. Most errors that a call returns are
// of a type that has more to tell ([errors.As]) and match the sentinel of their
// category.
var (
	// ErrInvalidArgument reports that a call was refused before anything was
	// changed, and nearly always before anything was sent: see [ArgumentError].
	ErrInvalidArgument = errors.New("invalid argument")
	// ErrNoCredential reports that [NewClient] found no API key.
	ErrNoCredential = errors.New("no API key found")

	// ErrUnauthorized reports status 401 of the API: the API key is wrong or has
	// been revoked.
	ErrUnauthorized = errors.New("unauthorized")
	// ErrPaymentRequired reports status 402 of the API: the account is delinquent
	// or has to be verified.
	ErrPaymentRequired = errors.New("payment required")
	// ErrForbidden reports status 403 of the API or a storage host. A signed URL
	// that has expired gives it, too.
	ErrForbidden = errors.New("forbidden")
	// ErrNotFound reports status 404 of the API or a storage host, or that an app
	// has no release of the kind that was searched for.
	ErrNotFound = errors.New("not found")
	// ErrConflict reports status 409 of the API: the request conflicts with the
	// state of the app, which another operation may be changing.
	ErrConflict = errors.New("conflict")
	// ErrUnprocessable reports status 422 of the API: the request was understood
	// and its values were rejected.
	ErrUnprocessable = errors.New("unprocessable")
	// ErrRateLimited reports status 429 of the API.
	ErrRateLimited = errors.New("rate limited")

	// ErrMaybeApplied reports that a request that changes something was sent and
	// its outcome is not known: the connection was lost, or the response was a
	// 5xx. The platform may or may not have acted on it.
	ErrMaybeApplied = errors.New("the platform may have acted on this request")
	// ErrNotSent reports that BeforeChange has returned an error
	// ([BuildAndReleaseOptions].BeforeChange, [RolloutOptions].BeforeChange), or the
	// function of [RequestBefore], so that its request was certainly not sent. The error
	// matches that of the function, too.
	ErrNotSent = errors.New("not sent")
	// ErrUnexpectedResponse reports a successful response whose content cannot be
	// used: see [ResponseError].
	ErrUnexpectedResponse = errors.New("unexpected response")
	// ErrPartialList reports that [Client.Do] got the first page of a list that has
	// more. The error is a [*ResponseError]. [List] reads all pages.
	ErrPartialList = errors.New("the response is only the first page of a list")
	// ErrUnknownStatus reports that a build or release has a status that this
	// version of the package does not know. It is treated neither as success nor as
	// failure.
	ErrUnknownStatus = errors.New("unknown status")

	// ErrBuildFailed reports that a build failed: see [BuildError].
	ErrBuildFailed = errors.New("build failed")
	// ErrReleaseFailed reports that a release failed: see [ReleaseError].
	ErrReleaseFailed = errors.New("release failed")
	// ErrNotAttempted reports that an app got no release, because an earlier one
	// failed or the context ended.
	ErrNotAttempted = errors.New("not attempted")
	// ErrSuperseded reports that an app no longer runs the release of the deploy,
	// because somebody else has released to it since.
	ErrSuperseded = errors.New("superseded")
	// ErrCheckpointMismatch reports that a [Checkpoint] is of another deploy than
	// the call: of other apps, or of another source. Discard the Checkpoint to
	// start from scratch. The error is an [*ArgumentError].
	ErrCheckpointMismatch = errors.New("checkpoint of another deploy")
	// ErrDetached is for callers to end a context with, to stop following a
	// deploy without giving it up:
	//
	//	ctx, cancel := context.WithCancelCause(ctx)
	//	cancel(herokubuild.ErrDetached)
	//
	// The build is not canceled and nothing is rolled back; a later call resumes
	// from the Checkpoint of the error, which matches ErrDetached. OnEvent may
	// return it for the same effect.
	ErrDetached = errors.New("detached")
	// ErrVerifyFailed reports that an app was released but failed verification
	// ([RolloutPolicy].Verify).
	ErrVerifyFailed = errors.New("verification failed")
	// ErrRolledBack reports that an app that was healthy was rolled back, because
	// another one failed, or was rolled back by somebody else.
	ErrRolledBack = errors.New("rolled back")
	// ErrRollbackFailed reports that an app should have been rolled back and was
	// not, or not certainly.
	ErrRollbackFailed = errors.New("not rolled back")
	// ErrNoArtifact reports that a build or release has neither a slug nor an
	// image, so that there is nothing to release to other apps.
	ErrNoArtifact = errors.New("neither a slug nor an image")
	// ErrNoOutput reports that a build or release has no output stream, such as a
	// release without a release phase.
	ErrNoOutput = errors.New("no output stream")

	// ErrStreamStalled reports that an output stream delivered neither output nor
	// a heartbeat for longer than its idle timeout.
	ErrStreamStalled = logstream.ErrStalled
	// ErrOutputTruncated reports that the platform no longer has the beginning of
	// an output that has been read in part, so that the rest cannot be found. The
	// platform keeps the end of a log that grows beyond 300 MB.
	ErrOutputTruncated = logstream.ErrTruncated
	// ErrWaitTimeout reports that a time limit set by the caller ran out
	// ([WaitOptions].Timeout, [BuildAndReleaseOptions].Timeout). The error also matches
	// context.DeadlineExceeded.
	ErrWaitTimeout = errors.New("timed out waiting")
	// ErrArchiveChanged reports that a file changed its size while it was packed or
	// uploaded, or that an archive changed while it was downloaded.
	ErrArchiveChanged = sourcetree.ErrChanged

	// ErrChecksumMismatch reports that a downloaded archive is not the one that was
	// uploaded: see [ChecksumError].
	ErrChecksumMismatch = errors.New("checksum mismatch")
	// ErrArtifactExpired reports that the platform has deleted the archive of a
	// slug, or the slug or image of a release, as it does with old ones that are
	// not in use.
	ErrArtifactExpired = errors.New("no longer kept by the platform")
	// ErrUnsupportedGeneration reports a request that the generation of an app,
	// Cedar or Fir, does not support: see [GenerationError].
	ErrUnsupportedGeneration = errors.New("not supported by this app's generation")
	// ErrNotEligible reports that a release cannot be rolled back to: see
	// [RollbackError].
	ErrNotEligible = errors.New("not eligible for rollback")
	// ErrUnsafeArchive reports an archive that would write outside of its
	// directory, or has entries that no slug has: see [UnpackError].
	ErrUnsafeArchive = errors.New("unsafe archive")
	// ErrArchiveTooLarge reports an archive that exceeds a limit of
	// [UnpackOptions].
	ErrArchiveTooLarge = errors.New("archive too large")
	// ErrUnsupportedName reports an archive with a name that this system does not
	// support and others do, such as "aux.c" on Windows.
	ErrUnsupportedName = errors.New("name not supported by this system")
	// ErrLinksNotPermitted reports that this system, or its file system, permits no
	// symbolic links: see [UnpackOptions].SkipLinks.
	ErrLinksNotPermitted = errors.New("symbolic links not permitted")
)

// ArgumentError reports which argument of a call is wrong and why. It is returned
// before any request is sent, unless the check needs the platform or files, and
// before anything is changed. It matches [ErrInvalidArgument].
type ArgumentError struct {
	// Name is the argument, option, variable or field that is wrong.
	Name string
	// Reason is what is wrong with it. It never contains a secret.
	Reason string
	// Err is the cause, where there is one (a file that cannot be opened).
	Err error
}

// Error implements error.
func (e *ArgumentError) Error() string {
	text := e.Name + ": " + e.Reason
	if e.Err == nil {
		return clean.Line(text)
	}
	cause := e.Err
	if path, ok := cause.(*fs.PathError); ok { //nolint:errorlint // only of Err itself: Reason has the path
		cause = path.Err
	}
	return clean.Line(text + ": " + redactText(errorText(cause)))
}

func (e *ArgumentError) isOutcome() {}

// Is makes errors.Is(err, ErrInvalidArgument) true.
func (e *ArgumentError) Is(target error) bool { return target == ErrInvalidArgument }

// Unwrap returns the cause.
func (e *ArgumentError) Unwrap() error { return withoutEOF(e.Err) }

// orZero returns what p points to. An error that a caller's test creates may lack
// what this package always sets.
func orZero[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// errorText is the text of a cause that may be missing.
func errorText(err error) string {
	if err == nil {
		return "unknown cause"
	}
	return err.Error()
}

// causeError is why this package ended a context: a time limit that ran out, or a callback
// that failed. It also matches the context's error, whose text would add nothing.
type causeError struct{ cause, ctx error }

func (e *causeError) Error() string { return e.cause.Error() }

func (e *causeError) Unwrap() []error { return []error{e.ctx, e.cause} }

// contextError is why a context ended: its error, and its cause if that adds to it.
func contextError(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if cause == nil || errors.Is(cause, err) {
		return cause
	}
	var failed *callbackError
	if errors.Is(cause, ErrWaitTimeout) || errors.As(cause, &failed) {
		return &causeError{cause: cause, ctx: err}
	}
	return fmt.Errorf("%w: %w", err, cause)
}

// withoutEOF returns an error that no caller can mistake for the end of a stream. Every
// reader of this package returns io.EOF itself at the end, and passes any other error
// through withoutEOF. The error types do the same with their cause.
func withoutEOF(err error) error { return ioutil.WithoutEOF(err) }

// APIError is a response of the Platform API other than 2xx. It matches the
// sentinel of its status ([ErrUnauthorized], [ErrPaymentRequired], [ErrForbidden],
// [ErrNotFound], [ErrConflict], [ErrUnprocessable], [ErrRateLimited]), and
// [ErrMaybeApplied] if the failed request may have changed something nevertheless.
type APIError struct {
	// Method and Path are those of the request; Path has no query.
	Method, Path string
	// StatusCode is the HTTP status.
	StatusCode int
	// ID is the platform's name for the error, such as "not_found" or
	// "invalid_params"; empty if the body was not the platform's JSON. New IDs
	// appear without notice.
	ID string
	// Message is the platform's explanation.
	Message string
	// URL is a page that explains more; often empty.
	URL string
	// Resource is the kind of thing that was not found ("app", "build"), on
	// some errors.
	Resource string
	// Body is the start of a response that was not the platform's JSON, such as an
	// HTML page of a router; empty otherwise. Control characters other than line
	// breaks and tabs are removed.
	Body string
	// RequestID is the Request-Id header of the response, or of the request if the
	// response has none: what Heroku's support asks for. It may be a
	// comma-separated list and is opaque.
	RequestID string
	// RetryAfter is the wait that the response demanded, 0 if it did not.
	RetryAfter time.Duration
	// Attempts is how often the request was sent.
	Attempts int
	// MaybeApplied is true if the request may have changed something although it
	// failed; the error then matches [ErrMaybeApplied].
	MaybeApplied bool
}

// Error implements error.
func (e *APIError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s: %d", e.Method, e.Path, e.StatusCode)
	switch {
	case e.ID != "":
		b.WriteString(" " + e.ID)
	case http.StatusText(e.StatusCode) != "":
		b.WriteString(" " + http.StatusText(e.StatusCode))
	}
	if text := e.text(); text != "" {
		b.WriteString(": " + text)
	}
	if e.URL != "" {
		b.WriteString(" (see " + e.URL + ")")
	}
	if e.Attempts > 1 {
		fmt.Fprintf(&b, " [%d attempts]", e.Attempts)
	}
	if e.RequestID != "" {
		b.WriteString(" [Request-Id " + e.RequestID + "]")
	}
	return errorLine(b.String(), e.MaybeApplied)
}

func (e *APIError) text() string {
	if e.Message != "" {
		return e.Message
	}
	return clean.FirstLine(e.Body)
}

// Is matches the sentinel of the status.
func (e *APIError) Is(target error) bool {
	if target == ErrMaybeApplied {
		return e.MaybeApplied
	}
	return target == statusSentinel(e.StatusCode)
}

// statusSentinel returns the sentinel of an HTTP status, or nil if it has none.
func statusSentinel(status int) error {
	switch status {
	case http.StatusUnauthorized:
		return ErrUnauthorized
	case http.StatusPaymentRequired:
		return ErrPaymentRequired
	case http.StatusForbidden:
		return ErrForbidden
	case http.StatusNotFound:
		return ErrNotFound
	case http.StatusConflict:
		return ErrConflict
	case http.StatusUnprocessableEntity:
		return ErrUnprocessable
	case http.StatusTooManyRequests:
		return ErrRateLimited
	}
	return nil
}

// RequestError is a request without a response: the network failed or the context
// ended. It wraps the cause, so that errors.Is finds context.Canceled and errors.As
// finds *net.OpError; it never contains the query of a signed URL. A connection that
// was closed without a response matches io.ErrUnexpectedEOF, never io.EOF. It
// matches [ErrMaybeApplied] if the request may have changed something.
type RequestError struct {
	// Method is the request's.
	Method string
	// URL is the request's URL, its secrets removed.
	URL string
	// RequestID is the Request-Id header that was sent with every attempt, by which
	// Heroku's support can find it; empty for requests to other hosts than the
	// API's.
	RequestID string
	// Attempts is how often the request was sent.
	Attempts int
	// Err is the cause of the last attempt's failure.
	Err error
	// Last is what the attempt before failed with when the context ended
	// during the wait for the next; nil otherwise.
	Last error
	// MaybeApplied is true if the request would have changed something and may have
	// reached the platform; the error then matches [ErrMaybeApplied].
	MaybeApplied bool
}

// Error implements error.
func (e *RequestError) Error() string {
	text := e.Method + " " + e.URL + ": " + redactText(errorText(e.Err))
	if e.Attempts > 1 {
		text += " [" + strconv.Itoa(e.Attempts) + " attempts]"
	}
	if e.Last != nil {
		text += " (last response: " + e.Last.Error() + ")"
	}
	if e.RequestID != "" {
		text += " [Request-Id " + e.RequestID + "]"
	}
	return errorLine(text, e.MaybeApplied)
}

// Is matches ErrMaybeApplied where that is so.
func (e *RequestError) Is(target error) bool {
	return target == ErrMaybeApplied && e.MaybeApplied
}

// Unwrap returns the causes.
func (e *RequestError) Unwrap() []error {
	if e.Last != nil {
		return []error{withoutEOF(e.Err), withoutEOF(e.Last)}
	}
	return []error{withoutEOF(e.Err)}
}

// ResponseError is a successful response whose content cannot be used: not JSON, of
// another type, larger than the package accepts, empty, or without a required field
// such as an ID. It matches [ErrUnexpectedResponse], and [ErrMaybeApplied] if the
// request changed something.
type ResponseError struct {
	// Method and Path are those of the request; Path has no query.
	Method, Path string
	// StatusCode is the HTTP status.
	StatusCode int
	// RequestID is the Request-Id header of the response, or of the request if the
	// response has none.
	RequestID string
	// Err is what is wrong with the response.
	Err error
	// MaybeApplied is true if the request changed something; the error then matches
	// [ErrMaybeApplied].
	MaybeApplied bool
}

// Error implements error.
func (e *ResponseError) Error() string {
	text := fmt.Sprintf("%s %s: unexpected response (status %d): %s", e.Method, e.Path, e.StatusCode, redactText(errorText(e.Err)))
	if e.RequestID != "" {
		text += " [Request-Id " + e.RequestID + "]"
	}
	return errorLine(text, e.MaybeApplied)
}

// Is matches ErrUnexpectedResponse and, where that is so, ErrMaybeApplied.
func (e *ResponseError) Is(target error) bool {
	return target == ErrUnexpectedResponse || target == ErrMaybeApplied && e.MaybeApplied
}

// Unwrap returns the cause.
func (e *ResponseError) Unwrap() error { return withoutEOF(e.Err) }

// StorageError is a response of a storage host other than success, to an upload to
// or a download from a signed URL. It matches [ErrForbidden] or [ErrNotFound] by its
// status.
type StorageError struct {
	// Method is the request's.
	Method string
	// URL is the signed URL without its query, which Reveal does not show either.
	URL SecretURL
	// StatusCode is the HTTP status.
	StatusCode int
	// Code and Message are the storage host's, from its XML:
	// "SignatureDoesNotMatch", "AccessDenied" (an expired URL is that too),
	// "MissingContentLength". Empty where the body was something else.
	Code, Message string
	// Body is the start of a response that was not the storage host's XML.
	Body string
	// Attempts is how often the request was sent.
	Attempts int

	// given is true if the URL is the caller's, so that another call has the same one.
	given bool
}

// Error implements error.
func (e *StorageError) Error() string {
	text := fmt.Sprintf("%s %s: %d", e.Method, e.URL, e.StatusCode)
	if e.Code != "" {
		text += " " + e.Code
	} else if status := http.StatusText(e.StatusCode); status != "" {
		text += " " + status
	}
	if e.Message != "" {
		text += ": " + e.Message
	} else if line := clean.FirstLine(e.Body); line != "" {
		text += ": " + line
	}
	if e.Attempts > 1 {
		text += " [" + strconv.Itoa(e.Attempts) + " attempts]"
	}
	return clean.Line(text)
}

// Is matches ErrForbidden and ErrNotFound by the status.
func (e *StorageError) Is(target error) bool {
	switch target {
	case ErrForbidden:
		return e.StatusCode == http.StatusForbidden
	case ErrNotFound:
		return e.StatusCode == http.StatusNotFound
	}
	return false
}

// errorLine is the text of an error about a request, as one clean line.
func errorLine(text string, maybeApplied bool) string {
	if maybeApplied {
		text += " (" + ErrMaybeApplied.Error() + ")"
	}
	return clean.Line(text)
}

// Retryable reports whether calling again, with the Checkpoint of the error if it has one,
// may succeed although the caller changes nothing: after a network error, a 5xx, a rate
// limit, a timeout, a context that ended, or an error of the caller's own functions. It is
// false for nil, and for what has to be changed first: arguments, the API key and its
// permissions, a source that does not build, a release phase or Verify that fails, an app
// that runs what somebody else has released. Of the errors of several apps, one that needs
// a change makes it false, also for those that were not attempted: to continue with these,
// decide by [AppResult].Err.
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
// call gets a new one, unless the URL is the caller's.
func hasFinalStatus(err error) bool {
	switch e := err.(type) { //nolint:errorlint // The tree is walked below.
	case *APIError:
		return !e.MaybeApplied && !isTransient(e.StatusCode)
	case *StorageError:
		return e.given && !isTransient(e.StatusCode)
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
