package herokubuild

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/herokubuild/herokubuild/internal/callback"
	"github.com/herokubuild/herokubuild/internal/ioutil"
	"github.com/herokubuild/herokubuild/internal/transport"
)

// This file uploads and downloads archives by signed URLs. No request in it has the
// API key.

// UploadOptions sets how an archive is uploaded. nil is the default.
type UploadOptions struct {
	// OnProgress is called while the archive is sent, with the bytes handed to the
	// network so far and the total. A repeated attempt starts again at 0. It must not
	// block.
	OnProgress func(done, total int64)
}

// storageExchange is an exchange with a storage host.
type storageExchange struct {
	exchange
	// signed has no query.
	signed SecretURL
}

// storageCall prepares a request to a signed URL. Putting the same bytes to the same
// URL twice has the effect of putting them once, so that it may be repeated.
func (c *apiClient) storageCall(ctx context.Context, kind transport.Kind, method string, signed SecretURL, success ...int) (*storageExchange, transport.Request, error) {
	if err := c.check(); err != nil {
		return nil, transport.Request{}, err
	}
	if _, err := checkWebURL("URL", signed.Reveal()); err != nil {
		return nil, transport.Request{}, err
	}
	req, err := http.NewRequestWithContext(ctx, method, signed.Reveal(), nil)
	if err != nil {
		// The text of err may contain the URL.
		return nil, transport.Request{}, &ArgumentError{Name: "URL", Reason: quote(signed.String()) + " cannot be requested"}
	}
	req.Header.Set("User-Agent", c.userAgent)
	x := &storageExchange{signed: SecretURL(signed.String())}
	x.exchange = exchange{log: c.log, method: method, url: signed.String(), secrets: newRedactor(secretsOf(signed.Reveal())...)}
	return x, transport.Request{
		HTTP: req, Kind: kind, Idempotent: true, Success: success,
		Timeout: c.timeout, Policy: transport.Policy(c.retry), Observer: x,
	}, nil
}

// failure returns the error of a request to a storage host that failed.
func (x *storageExchange) failure(ctx context.Context, f *transport.Failure) error {
	var bad *ArgumentError
	switch {
	case f == nil:
		return nil
	case f.Attempts == 0 && errors.As(f.Err, &bad):
		return bad
	case f.Err != nil:
		return x.requestError(ctx, f, x.failure(ctx, f.Last))
	}
	status := f.Response.StatusCode
	if x.method == http.MethodGet && status >= 200 && status < 300 {
		return &ResponseError{Method: x.method, Path: x.url, StatusCode: status, Err: errors.New("a response without an archive")}
	}
	e := newUploadError(x.method, x.signed, status, f.Body, x.secrets.after(f.Response))
	e.Attempts = f.Attempts
	return e
}

// putArchive sends an archive to a signed URL.
func (c *apiClient) putArchive(ctx context.Context, method string, signed SecretURL, archive *Archive, opts *UploadOptions) error {
	if err := archive.check(); err != nil {
		return err
	}
	x, request, err := c.storageCall(ctx, transport.Upload, method, signed, http.StatusOK, http.StatusCreated, http.StatusNoContent)
	if err != nil {
		return err
	}
	progress := progressGate{report: orZero(opts).OnProgress}
	// net/http may still read the archive after an early refusal, which must not be
	// reported to the caller.
	defer progress.shut()
	request.Size = archive.Size
	request.Body = func() (io.ReadCloser, error) {
		src, err := archive.Open()
		if err != nil {
			return nil, &ArgumentError{Name: "archive", Reason: "cannot be opened", Err: err}
		}
		if src == nil {
			return nil, &ArgumentError{Name: "archive", Reason: "its Open function returns nothing"}
		}
		return &exactReader{src: src, size: archive.Size, progress: &progress}, nil
	}
	_, failed := c.wire.Do(request)
	progress.panics.Rethrow()
	return x.failure(ctx, failed)
}

// openBlob requests the content of a signed URL from an offset on. The time limit
// applies to each wait for the storage host.
func (c *apiClient) openBlob(ctx context.Context, signed SecretURL, from int64, idle time.Duration) (*http.Response, error) {
	x, request, err := c.storageCall(ctx, transport.Download, http.MethodGet, signed, http.StatusOK, http.StatusPartialContent)
	if err != nil {
		return nil, err
	}
	if from > 0 {
		request.HTTP.Header.Set("Range", fmt.Sprintf("bytes=%d-", from))
	}
	request.Timeout = idle
	return c.download(ctx, x, request)
}

// download sends a request for an archive, which is wanted as it is stored: with this
// header the transport does not decompress it.
func (c *apiClient) download(ctx context.Context, x *storageExchange, request transport.Request) (*http.Response, error) {
	request.HTTP.Header.Set("Accept-Encoding", "identity")
	resp, failed := c.wire.Do(request)
	if failed != nil {
		return nil, x.failure(ctx, failed)
	}
	return resp.Response, nil
}

// progressGate passes reports on until it is shut. A goroutine of net/http reads the
// archive and so reports; a panic of the caller's code in it would end the process.
type progressGate struct {
	mu     sync.Mutex
	report func(done, total int64)

	panics callback.FirstPanic
}

func (g *progressGate) pass(done, total int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.report != nil {
		g.report(done, total)
	}
}

func (g *progressGate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.report = nil
}

// exactReader reads exactly size bytes of src and fails if there are fewer or more.
// net/http would fail too, with an error that quotes the URL.
type exactReader struct {
	src        io.ReadCloser
	size, done int64
	progress   *progressGate
}

func (r *exactReader) Read(p []byte) (n int, err error) {
	defer func() {
		// The panic would end the program, whether the caller recovers or not.
		if v := recover(); v != nil {
			r.progress.panics.Keep(v)
			n, err = 0, transport.Permanent(callback.ErrPanicked)
		}
	}()
	n, err = r.src.Read(p)
	if n < 0 || n > len(p) {
		return 0, transport.Permanent(&ArgumentError{Name: "archive", Reason: "its reader returned an impossible count"})
	}
	r.done += int64(n)
	if r.done == r.size && err == nil {
		// A storage host that has received the announced length has the archive. The
		// last bytes are held back until it is certain that they are the last.
		var more int
		more, err = io.ReadFull(r.src, make([]byte, 1))
		r.done += int64(more)
	}
	switch {
	case r.done > r.size:
		return 0, transport.Permanent(fmt.Errorf("the archive is longer than its %d bytes: %w", r.size, ErrArchiveChanged))
	case ioutil.IsEOF(err) && r.done < r.size:
		return 0, transport.Permanent(fmt.Errorf("the archive ended after %d of its %d bytes: %w", r.done, r.size, ErrArchiveChanged))
	}
	if n > 0 {
		r.progress.pass(r.done, r.size)
	}
	return n, err
}

func (r *exactReader) Close() error { return r.src.Close() }

// newUploadError parses the response of a storage host that is not a success. Only Code
// and Message of its XML are kept, because the rest can contain parts of the signature.
func newUploadError(method string, signed SecretURL, status int, body []byte, hide redactor) *StorageError {
	e := &StorageError{Method: method, URL: SecretURL(signed.String()), StatusCode: status}
	var doc struct {
		XMLName xml.Name `xml:"Error"`
		Code    string   `xml:"Code"`
		Message string   `xml:"Message"`
	}
	dec := xml.NewDecoder(bytes.NewReader(body))
	// The two elements that are kept are ASCII in every encoding in use.
	dec.CharsetReader = func(_ string, r io.Reader) (io.Reader, error) { return r, nil }
	if dec.Decode(&doc) == nil && (doc.Code != "" || doc.Message != "") {
		e.Code, e.Message = hide.line(doc.Code, maxHeaderText), hide.line(doc.Message, maxErrorText)
		return e
	}
	if text := string(body); !strings.Contains(text, "<Error") && !strings.HasPrefix(text, "<?xml") {
		e.Body = hide.lines(text, maxErrorText)
	}
	return e
}
