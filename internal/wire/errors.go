package wire

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/herokubuild/herokubuild/internal/redact"
)

// Kind classifies an [Error].
type Kind int

const (
	// Invalid is a request that cannot be built: Field is what is wrong, as the user of
	// the library names it, and Reason is why.
	Invalid Kind = iota
	// NotSent is an error of Config.Token or Transfer.Body: Err is what it returned.
	NotSent
	// NoResponse is a request without a response: Err is the cause.
	NoResponse
	// Unusable is a successful response whose content cannot be used: Err is why.
	Unusable
	// Refused is a response of the API that is not a success.
	Refused
	// RefusedByStorage is a response of a storage host that is not a success.
	RefusedByStorage
)

// Error reports a request that failed. Apart from Err, its texts are clean and have no
// secrets.
type Error struct {
	Kind          Kind
	Field, Reason string
	Method        string
	// Path is that of a request to the API, and URL that of any request without its
	// secrets.
	Path, URL string
	// Status is that of the response, 0 if there is none.
	Status int
	// RequestID is the id by which Heroku's support can find the request.
	RequestID string
	// Attempts is how often the request was sent.
	Attempts int
	// RetryAfter is the wait that the response requested.
	RetryAfter time.Duration
	// MaybeApplied is set if the request may have changed something nevertheless.
	MaybeApplied bool
	// Document is the body of a response that is not a success.
	Document Document
	// Err is the cause. It shows no secrets, unless the kind is Invalid or NotSent.
	Err error
	// Last is the response to the attempt before, where the context ended during the
	// wait after it.
	Last *Error
}

// Error implements error.
func (e *Error) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s %s: %v", e.Method, e.URL, e.Err)
	}
	return fmt.Sprintf("%s %s: %d %s", e.Method, e.URL, e.Status, e.Reason)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Document describes an error in the body of a response.
type Document struct {
	// ID and Message are the name of the error and its explanation.
	ID, Message string
	// URL is a page that explains more, and Resource the kind of thing that was not found.
	URL, Resource string
	// Body is the start of a body that has another form.
	Body string
}

// apiDocument parses an error response of the API, of whose body a part may have been
// kept.
func apiDocument(resp *http.Response, body []byte, hide redact.Redactor) Document {
	var doc struct {
		ID       lenientString `json:"id"`
		Message  lenientString `json:"message"`
		URL      lenientString `json:"url"`
		Resource lenientString `json:"resource"`
	}
	if json.Unmarshal(body, &doc) == nil && (doc.ID != "" || doc.Message != "") {
		return Document{
			ID: hide.Line(string(doc.ID), redact.MaxHeader), Message: hide.Line(string(doc.Message), redact.MaxText),
			URL: hide.Line(redact.Link(string(doc.URL)), redact.MaxHeader), Resource: hide.Line(string(doc.Resource), redact.MaxHeader),
		}
	}
	d := Document{Body: hide.Lines(string(body), redact.MaxText)}
	if resp.StatusCode >= 300 && resp.StatusCode < 400 {
		location := hide.Line(redact.URL(resp.Header.Get("Location")), redact.MaxHeader)
		d.Message = "redirects of the API are not followed; its base URL may be wrong (Location: " + location + ")"
	}
	return d
}

// lenientString decodes a string and ignores anything else, so that one field of an
// unexpected type does not hide the others.
type lenientString string

func (s *lenientString) UnmarshalJSON(b []byte) error {
	var text string
	if json.Unmarshal(b, &text) == nil {
		*s = lenientString(text)
	}
	return nil
}

// storageDocument parses an error response of a storage host. Only Code and Message of
// its XML are kept, because the rest can contain parts of the signature.
func storageDocument(body []byte, hide redact.Redactor) Document {
	var doc struct {
		XMLName xml.Name `xml:"Error"`
		Code    string   `xml:"Code"`
		Message string   `xml:"Message"`
	}
	dec := xml.NewDecoder(bytes.NewReader(body))
	// The two elements that are kept are ASCII in every encoding in use.
	dec.CharsetReader = func(_ string, r io.Reader) (io.Reader, error) { return r, nil }
	if dec.Decode(&doc) == nil && (doc.Code != "" || doc.Message != "") {
		return Document{ID: hide.Line(doc.Code, redact.MaxHeader), Message: hide.Line(doc.Message, redact.MaxText)}
	}
	if text := string(body); !strings.Contains(text, "<Error") && !strings.HasPrefix(text, "<?xml") {
		return Document{Body: hide.Lines(text, redact.MaxText)}
	}
	return Document{}
}
