package herokubuild

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/herokubuild/herokubuild/internal/clean"
)

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
	// "invalid_params"; empty if the body was not the platform's JSON. New ids
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
	return firstLine(e.Body)
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

// newAPIError reads an error response, of whose body a part may have been kept.
func newAPIError(method, path string, status int, header http.Header, body []byte, hide redactor) *APIError {
	e := &APIError{
		Method: method, Path: path, StatusCode: status,
		RequestID: hide.header(header, "Request-Id"),
	}
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
// such as an id. It matches [ErrUnexpectedResponse], and [ErrMaybeApplied] if the
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

// errorLine is the text of an error about a request, as one clean line.
func errorLine(text string, maybeApplied bool) string {
	if maybeApplied {
		text += " (" + ErrMaybeApplied.Error() + ")"
	}
	return clean.Line(text)
}

// ChecksumError reports that an archive does not match its checksum. It matches
// [ErrChecksumMismatch].
type ChecksumError struct {
	// SlugID is the slug's ID.
	SlugID string
	// Want is the slug's checksum, Got that of the download.
	Want, Got string
	// Size is the number of bytes that were downloaded.
	Size int64
}

// Error implements error.
func (e *ChecksumError) Error() string {
	return clip(fmt.Sprintf("slug %s: checksum of the archive (%d bytes) is %s, not %s", e.SlugID, e.Size, e.Got, e.Want), maxErrorText)
}

// Is matches ErrChecksumMismatch.
func (e *ChecksumError) Is(target error) bool { return target == ErrChecksumMismatch }
