package herokubuild

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/herokubuild/herokubuild/internal/check"
	"github.com/herokubuild/herokubuild/internal/download"
	"github.com/herokubuild/herokubuild/internal/ioutil"
	"github.com/herokubuild/herokubuild/internal/redact"
	"github.com/herokubuild/herokubuild/internal/targz"
	"github.com/herokubuild/herokubuild/internal/wire"
)

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
	// OnProgress is called with the bytes received so far and the length that the host
	// has announced, -1 if it has announced none. It must not block.
	OnProgress func(done, total int64)
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
	var refused *StorageError
	if errors.As(err, &refused) {
		refused.given = true
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	f := &archiveFetch{ctx: ctx, maxBytes: o.MaxBytes, origin: archiveOrigin{
		url:  from.String(),
		hide: redact.New(from.secrets()...).With(redact.OfHeader(o.Header)...).After(resp),
	}, report: func(int64) {}}
	if o.OnProgress != nil {
		f.report = func(done int64) { o.OnProgress(done, resp.ContentLength) }
	}
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
	// report is called with the bytes received so far.
	report func(done int64)
}

// writeTo downloads the archive to a spool and checks it.
func (f *archiveFetch) writeTo(spool *targz.Spool) error {
	into := &progressWriter{w: spool, progress: func() { f.report(spool.Size()) }}
	if err := f.content.CopyTo(f.ctx, into, f.maxBytes); err != nil {
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
