package herokubuild

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-retryablehttp"
)

// UploadOptions sets how an archive is uploaded. nil is the default.
type UploadOptions struct {
	// Progress is called while the archive is sent, with the bytes handed to
	// the network so far and those in all. An attempt that has to be repeated
	// starts again at 0. It must not block.
	Progress func(done, total int64)
}

// storageCall makes the retrier of a request to a signed URL, of which the
// statuses are those of success. Nothing here ever sees the API key.
func (c *Client) storageCall(method string, signed SecretURL, statuses ...int) *retrier {
	r := &retrier{
		opts: c.retry, log: c.log, method: method, url: signed.String(),
		// Putting the same bytes to the same address twice is putting them
		// once.
		idempotent: true,
		secrets:    newRedactor(secretsOf(signed.Reveal())...),
		success:    func(status int) bool { return slices.Contains(statuses, status) },
	}
	r.answered = func(r *retrier, status int, _ http.Header, body []byte) error {
		if method == http.MethodGet && status >= 200 && status < 300 {
			return &ResponseError{Method: method, Path: signed.String(), StatusCode: status, Err: errors.New("a response without an archive")}
		}
		e := newUploadError(method, signed, status, body, r.hide)
		e.Attempts = r.attempts
		return e
	}
	return r
}

func (c *Client) storageRequest(ctx context.Context, method string, signed SecretURL, body any) (*retryablehttp.Request, error) {
	if c == nil || c.storage == nil {
		return nil, &ArgumentError{Name: "Client", Reason: errNoClient.Error()}
	}
	if _, err := checkWebURL("URL", signed.Reveal()); err != nil {
		return nil, err
	}
	req, err := retryablehttp.NewRequestWithContext(ctx, method, signed.Reveal(), body)
	var bad *ArgumentError
	if errors.As(err, &bad) {
		return nil, bad
	}
	if err != nil {
		// The text of err may quote the URL.
		return nil, &ArgumentError{Name: "URL", Reason: quote(signed.String()) + " cannot be requested"}
	}
	req.Header.Set("User-Agent", c.userAgent)
	return req, nil
}

// putArchive sends an archive to a signed URL.
func (c *Client) putArchive(ctx context.Context, method string, signed SecretURL, archive *Archive, opts *UploadOptions) error {
	if err := archive.check(); err != nil {
		return err
	}
	var progress progressGate
	if opts != nil {
		progress.report = opts.Progress
	}
	// The network library may still be reading when an early refusal has been
	// answered: the caller must not hear of that.
	defer progress.shut()
	var body sentBody
	open := retryablehttp.ReaderFunc(func() (io.Reader, error) {
		src, err := archive.Open()
		if err != nil {
			return nil, &ArgumentError{Name: "archive", Reason: "cannot be opened", Err: err}
		}
		if src == nil {
			return nil, &ArgumentError{Name: "archive", Reason: "its Open function returns nothing"}
		}
		r := &exactReader{src: src, size: archive.Size, progress: &progress}
		body.latest.Store(r)
		return r, nil
	})
	req, err := c.storageRequest(ctx, method, signed, open)
	if err != nil {
		return err
	}
	// Without it the body goes out chunked, which the storage refuses.
	req.ContentLength = archive.Size

	hc := *c.storage
	body.next = hc.Transport
	hc.Transport = &body
	resp, err := c.storageCall(method, signed, http.StatusOK, http.StatusCreated, http.StatusNoContent).do(ctx, &hc, req)
	progress.panics.rethrow()
	if err != nil {
		return err
	}
	_ = readErrorBody(resp)
	return nil
}

// sentBody makes an error of a success that came before the archive had been
// sent: the storage host does not have it.
type sentBody struct {
	next   http.RoundTripper
	latest atomic.Pointer[exactReader]
}

var errAnsweredEarly = errors.New("the storage host reported success before it had the archive")

func (b *sentBody) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := b.next.RoundTrip(req)
	if err != nil || resp.StatusCode < 200 || resp.StatusCode >= 300 {
		return resp, err
	}
	if r := b.latest.Load(); r == nil || r.done.Load() != r.size {
		closeBody(resp)
		return nil, errAnsweredEarly
	}
	return resp, nil
}

// openBlob asks for what a signed URL points to, from an offset on. The beginning of
// a response has to come within idle.
func (c *Client) openBlob(ctx context.Context, signed SecretURL, from int64, idle time.Duration) (*http.Response, error) {
	req, err := c.storageRequest(ctx, http.MethodGet, signed, nil)
	if err != nil {
		return nil, err
	}
	// The archive is wanted as it is stored, not as the transport unpacks it.
	req.Header.Set("Accept-Encoding", "identity")
	if from > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", from))
	}
	hc := *c.storage
	hc.Transport = &promptTransport{next: hc.Transport, limit: idle}
	return c.storageCall(http.MethodGet, signed, http.StatusOK, http.StatusPartialContent).do(ctx, &hc, req)
}

// promptTransport bounds how long the beginning of a response is waited for: not
// every transport does.
type promptTransport struct {
	next  http.RoundTripper
	limit time.Duration
}

func (t *promptTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	// It has to outlive the call, for the body, and ends with the connection's.
	ctx, cancel := context.WithCancelCause(req.Context())
	timer := time.AfterFunc(t.limit, func() { cancel(errSilent) })
	resp, err := t.next.RoundTrip(req.WithContext(ctx))
	timer.Stop()
	if errors.Is(context.Cause(ctx), errSilent) {
		closeBody(resp)
		return nil, fmt.Errorf("%w for %v", errSilent, t.limit)
	}
	return resp, err
}

// exactReader reads exactly size bytes of src and fails if there are fewer or
// more: the network library would notice too, in words that quote the URL.
type exactReader struct {
	src  io.ReadCloser
	size int64
	// done is read by another goroutine than the network's, too.
	done     atomic.Int64
	progress *progressGate
}

// progressGate passes reports on until it is shut. The network library reads the
// archive, and so reports, in a goroutine of its own, in which a panic of the
// caller's code would end the process.
type progressGate struct {
	mu     sync.Mutex
	report func(done, total int64)

	panics firstPanic
}

func (g *progressGate) tell(done, total int64) {
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

func (r *exactReader) Read(p []byte) (n int, err error) {
	defer func() {
		// It would end the program, whether the caller recovers or not.
		if v := recover(); v != nil {
			r.progress.panics.keep(v)
			n, err = 0, errPanicked
		}
	}()
	n, err = r.src.Read(p)
	if n < 0 || n > len(p) {
		return 0, &ArgumentError{Name: "archive", Reason: "its reader returned an impossible count"}
	}
	done := r.done.Load() + int64(n)
	if done == r.size && err == nil {
		// A storage host that has the announced length has the archive: the
		// last bytes are kept back until it is known that they are the last.
		var more int
		more, err = io.ReadFull(r.src, make([]byte, 1))
		done += int64(more)
	}
	r.done.Store(done)
	switch {
	case done > r.size:
		return 0, fmt.Errorf("the archive is longer than its %d bytes: %w", r.size, ErrArchiveChanged)
	case isEOF(err) && done < r.size:
		return 0, fmt.Errorf("the archive ended after %d of its %d bytes: %w", done, r.size, ErrArchiveChanged)
	}
	if n > 0 {
		r.progress.tell(done, r.size)
	}
	return n, err
}

func (r *exactReader) Close() error { return r.src.Close() }

// newUploadError reads a refusal of a storage host. Of its XML only Code and
// Message are kept: the rest can carry the signature's own ingredients.
func newUploadError(method string, signed SecretURL, status int, body []byte, hide redactor) *StorageError {
	e := &StorageError{Method: method, URL: SecretURL(signed.String()), StatusCode: status}
	var doc struct {
		XMLName xml.Name `xml:"Error"`
		Code    string   `xml:"Code"`
		Message string   `xml:"Message"`
	}
	dec := xml.NewDecoder(bytes.NewReader(body))
	// The two elements that are kept are ASCII in every encoding seen.
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
