package herokubuild

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"

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
	// ([BuildAndReleaseOptions].BeforeChange, [RolloutOptions].BeforeChange), so that
	// its request was certainly not sent. The error matches that of BeforeChange, too.
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

// timeoutError is a time limit of the caller's that ran out. It also matches the
// context's error, whose text would add nothing.
type timeoutError struct{ cause, ctx error }

func (e *timeoutError) Error() string { return e.cause.Error() }

func (e *timeoutError) Unwrap() []error { return []error{e.ctx, e.cause} }

// contextError is why a context ended: its error, and its cause if that adds to it.
func contextError(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if cause == nil || errors.Is(cause, err) {
		return cause
	}
	if errors.Is(cause, ErrWaitTimeout) {
		return &timeoutError{cause: cause, ctx: err}
	}
	return fmt.Errorf("%w: %w", err, cause)
}

// cleanURLError removes the URL from an error of net/http. A transport that is a client
// itself adds another one.
func cleanURLError(err error) error {
	var ue *url.Error
	for errors.As(err, &ue) && ue.Err != nil {
		err = ue.Err
	}
	return err
}

// withoutEOF returns an error that no caller can mistake for the end of a stream.
// net/http reports a connection that was closed before the response as io.EOF, which is
// also what a reader returns when everything has been read. An error that wraps io.EOF
// matches io.ErrUnexpectedEOF instead.
//
// Every reader of this package returns io.EOF itself at the end, and passes any other
// error through withoutEOF. The error types do the same with their cause.
func withoutEOF(err error) error {
	switch {
	case ioutil.IsEOF(err):
		return io.ErrUnexpectedEOF
	case errors.Is(err, io.EOF):
		return &unexpectedEOF{err}
	}
	return err
}

// unexpectedEOF hides the io.EOF that err wraps and nothing else of it.
type unexpectedEOF struct{ err error }

func (e *unexpectedEOF) Error() string { return e.err.Error() }

func (e *unexpectedEOF) Is(target error) bool {
	return target == io.ErrUnexpectedEOF || target != io.EOF && errors.Is(e.err, target)
}

func (e *unexpectedEOF) As(target any) bool { return errors.As(e.err, target) }

// StreamError reports that the rest of an output stream could not be read. It wraps
// the cause. The build or release continues without it. It never matches io.EOF: a
// lost connection matches io.ErrUnexpectedEOF.
type StreamError struct {
	// URL is the stream's URL without its signature.
	URL string
	// StatusCode is the status of the stream host's response, 0 if there was none.
	StatusCode int
	// Offset is how many bytes of output had been read.
	Offset int64
	// Err is the cause.
	Err error
}

// Error implements error.
func (e *StreamError) Error() string {
	return clean.Line(fmt.Sprintf("output stream %s, after %d bytes: %s", e.URL, e.Offset, redactText(errorText(e.Err))))
}

// Unwrap returns the cause.
func (e *StreamError) Unwrap() error { return withoutEOF(e.Err) }
