package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/herokubuild/herokubuild/internal/clean"
	"github.com/herokubuild/herokubuild/internal/redact"
	"github.com/herokubuild/herokubuild/internal/transport"
)

// Transfer is a request that uploads an archive to a signed URL, or downloads one.
type Transfer struct {
	// Kind is transport.Upload or transport.Download.
	Kind   transport.Kind
	Method string
	URL    string
	// Success are the statuses of success.
	Success []int
	// From is the offset from which an archive is downloaded.
	From int64
	// OriginHeader is sent to the scheme and host of the URL only. Its values are secret.
	OriginHeader http.Header
	// Body opens the archive that is uploaded, and Size is its length.
	Body func() (io.ReadCloser, error)
	Size int64
	// Timeout bounds each wait for the network. It replaces that of the client unless it
	// is 0.
	Timeout time.Duration
}

// transferExchange is an exchange with a storage host.
type transferExchange struct{ exchange }

// Transfer sends a request to a storage host. Putting the same bytes to the same URL twice
// has the effect of putting them once, so that it may be repeated. The response to a
// download has a body, which is as it is stored. The error is an [*Error].
func (c *Client) Transfer(ctx context.Context, t Transfer) (*http.Response, error) {
	shown := redact.URL(t.URL)
	req, err := http.NewRequestWithContext(ctx, t.Method, t.URL, nil)
	if err != nil {
		// The text of err may contain the URL.
		return nil, &Error{Kind: Invalid, Field: "URL", Reason: clean.Quote(shown) + " cannot be requested"}
	}
	req.Header.Set("User-Agent", c.config.UserAgent)
	if t.Kind == transport.Download {
		// With this header the transport does not decompress the archive.
		req.Header.Set("Accept-Encoding", "identity")
	}
	if t.From > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", t.From))
	}
	x := &transferExchange{exchange{
		log: c.config.Log, method: t.Method, url: shown,
		secrets: redact.New(redact.OfURL(t.URL)...).With(redact.OfHeader(t.OriginHeader)...),
	}}
	request := transport.Request{
		HTTP: req, OriginHeader: t.OriginHeader.Clone(), Kind: t.Kind, Idempotent: true, Success: t.Success,
		Body: t.Body, Size: t.Size, Timeout: c.config.Timeout, Policy: c.config.Policy, Observer: x,
	}
	if t.Timeout > 0 {
		request.Timeout = t.Timeout
	}
	resp, failed := c.sender.Do(request)
	if failed != nil {
		return nil, x.failure(failed)
	}
	return resp.Response, nil
}

// failure returns the error of a transfer that failed, nil for none.
func (x *transferExchange) failure(f *transport.Failure) *Error {
	switch {
	case f == nil:
		return nil
	case f.Err != nil && f.Attempts == 0:
		return &Error{Kind: NotSent, Err: f.Err}
	case f.Err != nil:
		return x.noResponse(f, x.failure(f.Last))
	}
	e := &Error{Kind: RefusedByStorage, Method: x.method, URL: x.url, Status: f.Response.StatusCode, Attempts: f.Attempts}
	if x.method == http.MethodGet && e.Status >= 200 && e.Status < 300 {
		e.Kind, e.Path, e.Err = Unusable, x.url, errors.New("a response without an archive")
		return e
	}
	e.Document = storageDocument(f.Body, x.secrets.After(f.Response))
	return e
}
