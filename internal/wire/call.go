package wire

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"

	"github.com/herokubuild/herokubuild/internal/redact"
	"github.com/herokubuild/herokubuild/internal/transport"
)

// acceptHeader requests the version of the API that the library supports.
const acceptHeader = "application/vnd.heroku+json; version=3"

// callExchange is an exchange with the API.
type callExchange struct {
	exchange
	call Call
	rate *RateLimit
}

// request builds the request of a call, and gets the API key for it.
func (x *callExchange) request(ctx context.Context, c *Client) (transport.Request, error) {
	a := &x.call
	body, err := encodeBody(a.Body)
	if err != nil {
		return transport.Request{}, err
	}
	plain := c.config.Base + a.Path
	full := plain
	if a.Query != "" {
		full += "?" + a.Query
	}
	req, err := http.NewRequestWithContext(ctx, a.Method, full, nil)
	if err != nil {
		return transport.Request{}, &Error{Kind: Invalid, Field: "request", Reason: "the method or path cannot be sent"}
	}
	token, err := c.config.Token(ctx)
	if err != nil {
		return transport.Request{}, &Error{Kind: NotSent, Err: err}
	}
	x.exchange = exchange{
		log: c.config.Log, method: a.Method, url: plain, requestID: transport.NewRequestID(),
		secrets: redact.New(token).With(redact.OfQuery(a.Query)...).With(a.Secrets...).With(redact.OfHeader(a.UserHeader)...),
	}
	r := transport.Request{
		HTTP: req, Idempotent: a.idempotent(), MaxBytes: a.Limits.Bytes,
		Timeout: c.config.Timeout, Policy: c.config.Policy, Observer: x, Before: a.Before,
	}
	if a.Timeout > 0 {
		r.Timeout = a.Timeout
	}
	if a.MaxAttempts > 0 {
		r.Policy.MaxAttempts = a.MaxAttempts
	}
	maps.Copy(req.Header, a.UserHeader)
	maps.Copy(req.Header, a.Header)
	setHeaders(req.Header, [][2]string{
		{"Accept", acceptHeader + a.Variant},
		{"Authorization", "Bearer " + token},
		{"User-Agent", c.config.UserAgent},
		{RequestIDHeader, x.requestID},
	})
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
		r.Size = int64(len(body))
		r.Body = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	}
	return r, nil
}

// encodeBody encodes the body of a call, and returns nil for none.
func encodeBody(v any) ([]byte, error) {
	if v == nil {
		return nil, nil
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	// "&" is in every signed URL, and not every server decodes it where it is escaped.
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, &Error{Kind: Invalid, Field: "DoOptions.Body", Reason: "cannot be encoded as JSON", Err: err}
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}

// setHeaders sets headers whose names are in their canonical form. One array holds
// the values of all.
func setHeaders(header http.Header, lines [][2]string) {
	values := make([]string, len(lines))
	for i, line := range lines {
		values[i] = line[1]
		header[line[0]] = values[i : i+1 : i+1]
	}
}

// Observe logs an attempt and notes the rate limit of its response.
func (x *callExchange) Observe(ctx context.Context, a transport.Attempt) {
	x.exchange.Observe(ctx, a)
	if a.Err == nil {
		x.rate.note(a.Response.Header)
	}
}

// failure returns the error of a call that failed, nil for none.
func (x *callExchange) failure(f *transport.Failure) *Error {
	switch {
	case f == nil:
		return nil
	case errors.Is(f.Err, transport.ErrTooLarge) && f.Response != nil:
		return x.unusable(f.Response.StatusCode, f.Response.Header, transport.ErrTooLarge)
	case f.Err != nil:
		return x.noResponse(f, x.failure(f.Last))
	}
	return &Error{
		Kind: Refused, Method: x.method, Path: x.call.Path, Status: f.Response.StatusCode, RequestID: x.responseID(f.Response.Header),
		Attempts: f.Attempts, RetryAfter: f.RetryAfter, MaybeApplied: f.Ambiguous,
		Document: apiDocument(f.Response, f.Body, x.secrets.After(f.Response)),
	}
}

// unusable returns the error of a successful response that cannot be used.
func (x *callExchange) unusable(status int, header http.Header, err error) *Error {
	return &Error{
		Kind: Unusable, Method: x.method, Path: x.call.Path, Status: status,
		RequestID: x.responseID(header), Err: x.hide.Error(err), MaybeApplied: !x.call.idempotent(),
	}
}

// responseID is the id by which Heroku's support can find a response: its own, or that
// of the request if it has none.
func (x *callExchange) responseID(header http.Header) string {
	if id := x.hide.Header(header, RequestIDHeader); id != "" {
		return id
	}
	return x.requestID
}
