package herokubuild

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/herokubuild/herokubuild/internal/callback"
	"github.com/herokubuild/herokubuild/internal/check"
	"github.com/herokubuild/herokubuild/internal/download"
	"github.com/herokubuild/herokubuild/internal/ioutil"
	"github.com/herokubuild/herokubuild/internal/redact"
	"github.com/herokubuild/herokubuild/internal/targz"
	"github.com/herokubuild/herokubuild/internal/transport"
	"github.com/herokubuild/herokubuild/internal/wire"
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

// putArchive sends an archive to a signed URL.
func (c *apiClient) putArchive(ctx context.Context, method string, signed SecretURL, archive *Archive, opts *UploadOptions) error {
	if err := archive.check(); err != nil {
		return err
	}
	if err := c.checkSigned(signed); err != nil {
		return err
	}
	progress := progressGate{report: orZero(opts).OnProgress}
	// net/http may still read the archive after an early refusal, which must not be
	// reported to the caller.
	defer progress.shut()
	open := func() (io.ReadCloser, error) {
		src, err := archive.Open()
		if err != nil {
			return nil, &ArgumentError{Name: "archive", Reason: "cannot be opened", Err: err}
		}
		if src == nil {
			return nil, &ArgumentError{Name: "archive", Reason: "its Open function returns nothing"}
		}
		return &exactReader{src: src, size: archive.Size, progress: &progress}, nil
	}
	_, err := c.wire.Transfer(ctx, wire.Transfer{ //nolint:bodyclose // The response to an upload has no body.
		Kind: transport.Upload, Method: method, URL: signed.Reveal(), Body: open, Size: archive.Size,
		Success: []int{http.StatusOK, http.StatusCreated, http.StatusNoContent},
	})
	progress.panics.Rethrow()
	return requestFailure(ctx, err)
}

// checkSigned checks a signed URL.
func (c *apiClient) checkSigned(signed SecretURL) error {
	if err := c.check(); err != nil {
		return err
	}
	return checkWebURL("URL", signed.Reveal())
}

// download requests an archive, by GET. Its time limit applies to each wait for the
// storage host.
func (c *apiClient) download(ctx context.Context, signed SecretURL, t wire.Transfer) (*http.Response, error) {
	if err := c.checkSigned(signed); err != nil {
		return nil, err
	}
	t.Kind, t.Method, t.URL = transport.Download, http.MethodGet, signed.Reveal()
	resp, err := c.wire.Transfer(ctx, t)
	if err != nil {
		return nil, requestFailure(ctx, err)
	}
	return resp, nil
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

// FetchArchiveOptions sets how [Client.FetchArchive] downloads. nil is the
// default.
type FetchArchiveOptions struct {
	// Header is sent with the request, such as the Authorization that the archive
	// of a private repository requires. It is sent only to the scheme, host and
	// port of the URL, never to the target of a redirect. Its values are not
	// printed, logged or written as JSON, except by fmt's verbs %p and %w, which
	// call no method.
	Header http.Header
	// MaxBytes is the maximum size of the archive. Default: 2 GiB.
	MaxBytes int64
	// TempDir is the directory of the temporary file that holds the archive.
	// Default: the system's directory for temporary files.
	TempDir string
}

// Format prints the options without the header's values, for every verb.
func (o FetchArchiveOptions) Format(f fmt.State, _ rune) {
	names := slices.Sorted(maps.Keys(o.Header))
	_, _ = fmt.Fprintf(f, "{Header:%q MaxBytes:%d TempDir:%q}", names, o.MaxBytes, o.TempDir)
}

// LogValue implements slog.LogValuer. It omits the values of the header.
func (o FetchArchiveOptions) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(o)) }

const (
	defaultMaxFetch = 2 << 30
	// fetchIdle is how long a download may make no progress.
	fetchIdle = time.Minute
)

// FetchArchive downloads a gzipped tar archive to a temporary file, which
// [Archive.Close] removes, so that it can be uploaded to the platform: for example
// that of a private repository to which the platform has no access.
//
// The request is retried like a GET of the API. Redirects are followed, but not from
// https to http. The API key is not sent. A download that is interrupted, or makes
// no progress for a minute, is not retried.
//
// Errors: [*ArgumentError]; [*StorageError] if the host refuses; [*RequestError]; an
// [*ResponseError] for a response that is too large, has a Content-Encoding, or is not
// a gzipped tar archive with at least one entry.
func (c *Client) FetchArchive(ctx context.Context, from SecretURL, opts *FetchArchiveOptions) (*Archive, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	o := orZero(opts)
	if o.MaxBytes == 0 {
		o.MaxBytes = defaultMaxFetch
	}
	if o.MaxBytes < 0 {
		return nil, &ArgumentError{Name: "MaxBytes", Reason: "is negative"}
	}
	if err := invalid("Header", check.Header(o.Header)); err != nil {
		return nil, err
	}
	resp, err := c.api.download(ctx, from, wire.Transfer{OriginHeader: o.Header, Success: []int{http.StatusOK}, Timeout: fetchIdle})
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	f := &archiveFetch{ctx: ctx, maxBytes: o.MaxBytes, origin: archiveOrigin{
		url:  from.String(),
		hide: redact.New(from.secrets()...).With(redact.OfHeader(o.Header)...).After(resp),
	}}
	if f.content, err = download.NewContent(resp); err != nil {
		return nil, f.origin.failure(ctx, err)
	}
	return spoolArchive(o.TempDir, f.writeTo)
}

// archiveFetch is the download of an archive whose response has begun.
type archiveFetch struct {
	ctx      context.Context
	content  *download.Content
	maxBytes int64
	origin   archiveOrigin
}

// writeTo downloads the archive to a spool and checks it.
func (f *archiveFetch) writeTo(spool *targz.Spool) error {
	if err := f.content.CopyTo(f.ctx, spool, f.maxBytes); err != nil {
		return f.origin.failure(f.ctx, err)
	}
	archive, err := spool.Open()
	if err != nil {
		return err
	}
	defer func() { _ = archive.Close() }()
	if _, _, err := targz.Check(&ioutil.ContextReader{Context: f.ctx, Reader: archive}); err != nil {
		return f.origin.failure(f.ctx, f.content.NotArchive(f.ctx, withoutEOF(err)))
	}
	return nil
}
