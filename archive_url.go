package herokubuild

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"net/http"
	"slices"
	"time"

	"github.com/herokubuild/herokubuild/internal/targz"
	"github.com/herokubuild/herokubuild/internal/transport"
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
	o := FetchArchiveOptions{}
	if opts != nil {
		o = *opts
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = defaultMaxFetch
	}
	if o.MaxBytes < 0 {
		return nil, &ArgumentError{Name: "MaxBytes", Reason: "is negative"}
	}
	if err := checkHeader(o.Header); err != nil {
		return nil, err
	}
	resp, err := c.openArchive(ctx, from, o.Header) //nolint:bodyclose // conn closes it
	if err != nil {
		return nil, err
	}
	conn := newBlobConn(resp)
	defer conn.close()
	if err := conn.checkEncoding(resp, from); err != nil {
		return nil, err
	}
	f := &archiveFetch{
		ctx: ctx, conn: conn, url: from.String(), status: resp.StatusCode, maxBytes: o.MaxBytes,
		hide: newRedactor(secretsOf(from.Reveal())...).and(secretsOfHeader(o.Header)...).after(resp),
	}
	return spoolArchive(o.TempDir, f.writeTo)
}

// archiveFetch is the download of an archive whose response has begun.
type archiveFetch struct {
	ctx      context.Context
	conn     *blobConn
	url      string
	status   int
	maxBytes int64
	hide     redactor
}

// writeTo downloads the archive to a spool and checks it.
func (f *archiveFetch) writeTo(spool *targz.Spool) error {
	body := &blobReader{conn: f.conn}
	n, err := io.Copy(spool, io.LimitReader(body, min(f.maxBytes, math.MaxInt64-1)+1))
	switch {
	case body.err != nil:
		return f.interrupted(body.err)
	case n > f.maxBytes:
		return f.unusable(fmt.Errorf("larger than %d bytes", f.maxBytes))
	case err != nil:
		return err
	}
	content, err := spool.Open()
	if err != nil {
		return err
	}
	defer func() { _ = content.Close() }()
	if _, _, err := targz.Check(&contextReader{ctx: f.ctx, r: content}); err != nil {
		if f.ctx.Err() != nil {
			return f.interrupted(err)
		}
		return f.unusable(fmt.Errorf("not a gzipped tar archive: %w", withoutEOF(err)))
	}
	return nil
}

// interrupted returns the error of a download that failed midway.
func (f *archiveFetch) interrupted(err error) error {
	err = cleanURLError(f.hide.err(err))
	if f.ctx.Err() != nil {
		err = contextError(f.ctx)
	}
	return &RequestError{Method: http.MethodGet, URL: f.url, Attempts: 1, Err: withoutEOF(err)}
}

// unusable returns the error of a response that is not an archive.
func (f *archiveFetch) unusable(err error) error {
	return &ResponseError{Method: http.MethodGet, Path: f.url, StatusCode: f.status, Err: err}
}

func (c *Client) openArchive(ctx context.Context, from SecretURL, header http.Header) (*http.Response, error) {
	x, request, err := c.api.storageCall(ctx, transport.Download, http.MethodGet, from, http.StatusOK)
	if err != nil {
		return nil, err
	}
	x.secrets = x.secrets.and(secretsOfHeader(header)...)
	request.OriginHeader, request.Timeout = header.Clone(), fetchIdle
	return c.api.download(ctx, x, request)
}

// blobReader keeps the error of the network, to distinguish it from that of the
// disk.
type blobReader struct {
	conn *blobConn
	err  error
}

func (b *blobReader) Read(p []byte) (int, error) {
	n, err := b.conn.read(p)
	if err != nil && !isEOF(err) {
		b.err = err
	}
	return n, err
}
