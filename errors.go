package herokubuild

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/herokubuild/herokubuild/internal/clean"
	"github.com/herokubuild/herokubuild/internal/sourcetree"
)

// The sentinels to test for with errors.Is. The error that is returned says
// more, and is a typed one where there is more to say than text; a sentinel is
// its category.
var (
	// ErrInvalidArgument is matched by every [*ArgumentError]: the call was refused
	// before anything was changed, and nearly always before anything was sent.
	ErrInvalidArgument = errors.New("invalid argument")
	// ErrNoCredential is matched where no API key was found at all.
	ErrNoCredential = errors.New("no API key found")

	// ErrUnauthorized is matched by an [*APIError] with status 401.
	ErrUnauthorized = errors.New("unauthorized")
	// ErrForbidden is matched by an [*APIError] or [*StorageError] with status
	// 403.
	ErrForbidden = errors.New("forbidden")
	// ErrNotFound is matched by an [*APIError] or [*StorageError] with status
	// 404, and where an app has no release of the kind that is asked for.
	ErrNotFound = errors.New("not found")
	// ErrRateLimited is matched by an [*APIError] with status 429.
	ErrRateLimited = errors.New("rate limited")

	// ErrMaybeApplied is matched where a request that changes something was
	// sent and its outcome is not known: the connection was lost, or the
	// answer was a 5xx. The platform may or may not have acted on it.
	ErrMaybeApplied = errors.New("the platform may have acted on this request")
	// ErrUnexpectedResponse is matched by every [*ResponseError].
	ErrUnexpectedResponse = errors.New("unexpected answer")
	// ErrUnknownStatus is matched where a build or release reports a status
	// that this version of the package does not know. It is never taken for
	// success or failure.
	ErrUnknownStatus = errors.New("unknown status")

	// ErrBuildFailed is matched by every [*BuildError].
	ErrBuildFailed = errors.New("build failed")
	// ErrReleaseFailed is matched by every [*ReleaseError].
	ErrReleaseFailed = errors.New("release failed")
	// ErrNotAttempted is matched by the outcome of an app that got no release
	// because an earlier one failed or the context ended.
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
	// ErrVerifyFailed is matched by the outcome of an app that was released to
	// and found not to be well ([RolloutPolicy].Verify).
	ErrVerifyFailed = errors.New("verification failed")
	// ErrRolledBack is matched by the outcome of an app that was well and is
	// back at what it ran before, because another one failed.
	ErrRolledBack = errors.New("rolled back")
	// ErrRollbackFailed is matched by the outcome of an app that should be back
	// at what it ran before and is not, or not certainly.
	ErrRollbackFailed = errors.New("not rolled back")
	// ErrNoArtifact is matched where a build succeeded and left neither slug nor
	// image to release to other apps.
	ErrNoArtifact = errors.New("the build has neither slug nor image")
	// ErrNoOutput is matched where a build or release has no output stream,
	// as a release without a release phase.
	ErrNoOutput = errors.New("no output stream")

	// ErrStreamStalled is matched where an output stream delivered neither
	// output nor heartbeat for longer than its idle timeout.
	ErrStreamStalled = errors.New("output stream stalled")
	// ErrOutputTruncated is matched where the platform no longer has the
	// beginning of an output that has been read in part, so that what follows
	// cannot be found: it keeps the end of a log that grows beyond 300 MB.
	ErrOutputTruncated = errors.New("the platform no longer has all of the output")
	// ErrWaitTimeout is matched where a time limit that the caller set on
	// waiting (WaitOptions.Timeout, BuildAndReleaseOptions.Timeout) ran out.
	ErrWaitTimeout = errors.New("timed out waiting")
	// ErrArchiveChanged is matched where a file changed its size while it was
	// packed or uploaded, or an archive its content while it was downloaded.
	ErrArchiveChanged = sourcetree.ErrChanged

	// ErrChecksumMismatch is matched by a [*ChecksumError]: what was downloaded is not
	// what was uploaded.
	ErrChecksumMismatch = errors.New("checksum mismatch")
	// ErrArtifactExpired is matched where the platform has destroyed the archive of a
	// slug, or the slug or image of a release, as it does with those that are
	// old and not in use.
	ErrArtifactExpired = errors.New("no longer kept by the platform")
	// ErrUnsupportedGeneration is matched by a [*GenerationError].
	ErrUnsupportedGeneration = errors.New("not of this app's generation")
	// ErrNotEligible is matched by a [*RollbackError], whatever its reason.
	ErrNotEligible = errors.New("not eligible for rollback")
	// ErrNoArtifact is matched where a release that is to be promoted has neither
	// slug nor image.
	ErrNoArtifact = errors.New("a release without code")
	// ErrUnsafeArchive is matched by an [*UnpackError] for an archive that
	// tries to get out of its directory, or has what no slug has.
	ErrUnsafeArchive = errors.New("unsafe archive")
	// ErrArchiveTooLarge is matched by an [*UnpackError] for an archive that
	// exceeds a limit of [UnpackOptions].
	ErrArchiveTooLarge = errors.New("archive too large")
	// ErrUnsupportedName is matched by an [*UnpackError] for an archive with a
	// name that this system does not have, and others do: "aux.c" on Windows.
	ErrUnsupportedName = errors.New("name not supported by this system")
	// ErrLinksNotPermitted is matched by an [*UnpackError] where this system, or
	// its file system, permits no symbolic links; see [UnpackOptions].SkipLinks.
	ErrLinksNotPermitted = errors.New("symbolic links not permitted")
)

// ArgumentError says which argument of a call is wrong and why. It is returned
// before any request is sent, unless it takes a look at the platform or at files
// to find out, and before anything is changed. It matches [ErrInvalidArgument].
type ArgumentError struct {
	// Name is the argument, option, variable or field that is wrong.
	Name string
	// Reason says what is wrong with it. It never contains a secret.
	Reason string
	// Err is the cause, where there is one (a file that cannot be opened).
	Err error
}

// Error implements error.
func (e *ArgumentError) Error() string {
	return clean.Line("herokubuild: " + e.Name + ": " + e.Reason)
}

// Is makes errors.Is(err, ErrInvalidArgument) true.
func (e *ArgumentError) Is(target error) bool { return target == ErrInvalidArgument }

// Unwrap returns the cause.
func (e *ArgumentError) Unwrap() error { return withoutEOF(e.Err) }

// APIError is an answer of the Platform API other than 2xx. It matches
// [ErrUnauthorized], [ErrForbidden], [ErrNotFound] or [ErrRateLimited] by its
// status, and [ErrMaybeApplied] where the failed request may have changed
// something all the same.
type APIError struct {
	// Method and Path are those of the request; Path has no query.
	Method, Path string
	// StatusCode is the HTTP status.
	StatusCode int
	// ID is the platform's name for the error, such as "not_found" or
	// "invalid_params"; empty where the body was not the platform's JSON.
	// New ids appear without notice.
	ID string
	// Message is the platform's explanation, for people.
	Message string
	// URL is a page that explains more; often empty.
	URL string
	// Resource is the kind of thing that was not found ("app", "build"), on
	// some errors.
	Resource string
	// Body is the start of an answer that was not the platform's JSON (an
	// HTML page of a router, say); empty otherwise. Of control characters it has
	// line breaks and tabs only.
	Body string
	// RequestID is the Request-Id header of the response, or of the request if the
	// response has none: what Heroku's support asks for. It may be a
	// comma-separated list and is opaque.
	RequestID string
	// RetryAfter is the wait that the answer asked for, 0 if it did not.
	RetryAfter time.Duration
	// Attempts is how often the request was sent.
	Attempts int
	// MaybeApplied says that the request would have changed something and may
	// have all the same; the error then matches [ErrMaybeApplied].
	MaybeApplied bool
}

// Error implements error.
func (e *APIError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "herokubuild: %s %s: %d", e.Method, e.Path, e.StatusCode)
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
	return firstLine(e.Body)
}

// Is matches the sentinel of the status.
func (e *APIError) Is(target error) bool {
	switch target {
	case ErrUnauthorized:
		return e.StatusCode == http.StatusUnauthorized
	case ErrForbidden:
		return e.StatusCode == http.StatusForbidden
	case ErrNotFound:
		return e.StatusCode == http.StatusNotFound
	case ErrRateLimited:
		return e.StatusCode == http.StatusTooManyRequests
	case ErrMaybeApplied:
		return e.MaybeApplied
	}
	return false
}

// newAPIError reads an error answer. The body is what was kept of it.
func newAPIError(method, path string, status int, header http.Header, body []byte, hide redactor) *APIError {
	e := &APIError{
		Method: method, Path: path, StatusCode: status,
		RequestID: hide.header(header, "Request-Id"),
	}
	e.RetryAfter, _ = parseRetryAfter(header.Get("Retry-After"), time.Now())
	var doc struct {
		ID       lenientString `json:"id"`
		Message  lenientString `json:"message"`
		URL      lenientString `json:"url"`
		Resource lenientString `json:"resource"`
	}
	if json.Unmarshal(body, &doc) == nil && (doc.ID != "" || doc.Message != "") {
		e.ID, e.Message = hide.line(string(doc.ID), maxHeaderText), hide.line(string(doc.Message), maxErrorText)
		e.URL, e.Resource = hide.line(redactLink(string(doc.URL)), maxHeaderText), hide.line(string(doc.Resource), maxHeaderText)
		return e
	}
	e.Body = hide.lines(string(body), maxErrorText)
	if status >= 300 && status < 400 {
		e.Message = "redirects of the API are not followed; its base URL may be wrong (Location: " + hide.line(redactURL(header.Get("Location")), maxHeaderText) + ")"
	}
	return e
}

// lenientString takes a string and ignores anything else, so that one field of
// an unexpected type does not hide the others.
type lenientString string

func (s *lenientString) UnmarshalJSON(b []byte) error {
	var text string
	if json.Unmarshal(b, &text) == nil {
		*s = lenientString(text)
	}
	return nil
}

// RequestError is a request that got no answer: the network failed or the
// context ended. It wraps the cause, so that errors.Is finds context.Canceled
// and errors.As finds *net.OpError; it never contains the query of a signed
// URL. A connection that was closed without a response matches
// io.ErrUnexpectedEOF, never io.EOF. It matches [ErrMaybeApplied] where the
// request would have changed something and may have reached the platform.
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
	// MaybeApplied says that the request would have changed something and may
	// have reached the platform; the error then matches [ErrMaybeApplied].
	MaybeApplied bool
}

// Error implements error.
func (e *RequestError) Error() string {
	text := "herokubuild: " + e.Method + " " + e.URL + ": " + redactText(errorText(e.Err))
	if e.Attempts > 1 {
		text += " [" + strconv.Itoa(e.Attempts) + " attempts]"
	}
	if e.Last != nil {
		text += " (last response: " + strings.TrimPrefix(e.Last.Error(), "herokubuild: ") + ")"
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

// ResponseError is an answer with a status of success whose content cannot be
// used: not JSON, of another type, larger than the package accepts, empty, or
// without what it must have (as an id).
// It matches [ErrUnexpectedResponse], and [ErrMaybeApplied] where the request
// changed something.
type ResponseError struct {
	// Method and Path are those of the request; Path has no query.
	Method, Path string
	// StatusCode is the HTTP status.
	StatusCode int
	// RequestID is the Request-Id header of the response, or of the request if the
	// response has none.
	RequestID string
	// Err says what is wrong with the answer.
	Err error
	// MaybeApplied says that the request changed something; the error then
	// matches [ErrMaybeApplied].
	MaybeApplied bool
}

// Error implements error.
func (e *ResponseError) Error() string {
	text := fmt.Sprintf("herokubuild: %s %s: unexpected answer (status %d): %s", e.Method, e.Path, e.StatusCode, redactText(errorText(e.Err)))
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

// StorageError is a response of a storage host that is no success: to an upload
// to, or a download from, a signed URL.
type StorageError struct {
	// Method is the request's.
	Method string
	// URL is the address without its signature, which not even Reveal shows.
	URL SecretURL
	// StatusCode is the HTTP status.
	StatusCode int
	// Code and Message are the storage host's, from its XML:
	// "SignatureDoesNotMatch", "AccessDenied" (an expired URL is that too),
	// "MissingContentLength". Empty where the body was something else.
	Code, Message string
	// Body is the start of an answer that was not the storage's XML.
	Body string
	// Attempts is how often the request was sent.
	Attempts int
}

// Error implements error.
func (e *StorageError) Error() string {
	text := fmt.Sprintf("herokubuild: %s %s: %d", e.Method, e.URL, e.StatusCode)
	if e.Code != "" {
		text += " " + e.Code
	} else if status := http.StatusText(e.StatusCode); status != "" {
		text += " " + status
	}
	if e.Message != "" {
		text += ": " + e.Message
	} else if line := firstLine(e.Body); line != "" {
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

// StreamError is an output stream that could not be read on. It wraps the cause
// and says nothing about the build or release, which go on without it. It never
// matches io.EOF: a lost connection matches io.ErrUnexpectedEOF.
type StreamError struct {
	// URL is the stream's address without its signature.
	URL string
	// StatusCode is the stream host's answer, 0 if there was none.
	StatusCode int
	// Offset is how many bytes of output had been read.
	Offset int64
	// Err is the cause.
	Err error
}

// Error implements error.
func (e *StreamError) Error() string {
	return clean.Line(fmt.Sprintf("herokubuild: output stream %s, after %d bytes: %s", e.URL, e.Offset, redactText(errorText(e.Err))))
}

// Unwrap returns the cause.
func (e *StreamError) Unwrap() error { return withoutEOF(e.Err) }

// BuildError is a build whose final status is not success. It matches
// [ErrBuildFailed].
type BuildError struct {
	// App is the app that was built, as the caller named it.
	App string
	// Build is the build as the platform last described it.
	Build *Build
	// Tail is the end of the build's output, at most some 20 lines; empty
	// where the output was not followed. It is what the build printed, colors and
	// other control characters included, but for invalid UTF-8: a program that
	// shows it on a terminal should remove them.
	Tail string
}

// Error implements error. It does not contain the tail.
func (e *BuildError) Error() string {
	b := orZero(e.Build)
	return clip(fmt.Sprintf("herokubuild: build %s of %s %s", b.ID, e.App, b.Status), maxErrorText)
}

// Is matches ErrBuildFailed.
func (e *BuildError) Is(target error) bool { return target == ErrBuildFailed }

// ReleaseError is a release whose final status is not success: its release
// phase failed, or it has expired. It matches [ErrReleaseFailed].
type ReleaseError struct {
	// App is the app that was released to, as the caller named it.
	App string
	// Release is the release as the platform last described it.
	Release *Release
	// Tail is the end of the release phase's output, as [BuildError].Tail is of
	// a build's; empty where it was not followed.
	Tail string
}

// Error implements error.
func (e *ReleaseError) Error() string {
	r := orZero(e.Release)
	return clip(fmt.Sprintf("herokubuild: release v%d of %s %s", r.Version, e.App, r.Status), maxErrorText)
}

// Is matches ErrReleaseFailed.
func (e *ReleaseError) Is(target error) bool { return target == ErrReleaseFailed }

// errorLine is the text of an error about a request: one clean line, which says
// so where the request may have been acted on.
func errorLine(text string, maybeApplied bool) string {
	if maybeApplied {
		text += " (" + ErrMaybeApplied.Error() + ")"
	}
	return clean.Line(text)
}

// orZero and errorText let an error that was made by hand, as a test of the
// caller's makes it, leave out what this package always sets.
func orZero[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

func errorText(err error) string {
	if err == nil {
		return "unknown cause"
	}
	return err.Error()
}

// timeoutError is a time limit of the caller's that ran out. It matches the
// context's error, too, and does not say the same again in its words.
type timeoutError struct{ cause, ctx error }

func (e *timeoutError) Error() string { return e.cause.Error() }

func (e *timeoutError) Unwrap() []error { return []error{e.ctx, e.cause} }

// Limits on the text that an error carries: enough to read, too little to
// bloat a log.
const (
	maxErrorText  = 4 << 10
	maxHeaderText = 512
)

// clip makes text from outside a clean line of a bounded length.
func clip(s string, most int) string { return cut(clean.Line(s), most) }

func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

func firstLine(s string) string {
	s = strings.TrimSpace(s)
	if i := strings.IndexAny(s, "\r\n"); i >= 0 {
		s = strings.TrimSpace(s[:i])
	}
	return clip(s, 200)
}
