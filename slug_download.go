package herokubuild

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/herokubuild/herokubuild/internal/transport"
)

// DownloadOptions configures [SlugsService.Download]. nil means the defaults.
type DownloadOptions struct {
	// IdleTimeout is how long a connection may be silent before it is treated as dead
	// and replaced. Default 60 s.
	IdleTimeout time.Duration
	// OnProgress is called with the bytes read so far and the total, which is -1 while
	// it is not known. It must not block.
	OnProgress func(done, total int64)
	// SkipChecksum does not verify the slug's checksum. It is for slugs with a checksum
	// other than a SHA-256, which cannot be verified.
	SkipChecksum bool
}

func (o *DownloadOptions) withDefaults() (DownloadOptions, error) {
	d := orZero(o)
	if d.IdleTimeout < 0 {
		return d, &ArgumentError{Name: "DownloadOptions.IdleTimeout", Reason: "is negative"}
	}
	if d.IdleTimeout == 0 {
		d.IdleTimeout = time.Minute
	}
	return d, nil
}

// Download gets a slug and opens its archive, a gzipped tar with everything under ./app,
// for reading; see [UnpackSlug]. Close it when done. The context also governs the
// reading. The app is the name or ID of an app that the slug belongs to.
//
// The reader delivers the archive's bytes once and in order, and io.EOF only when all of
// them have arrived and their SHA-256 is the slug's checksum; until then they must not
// be trusted. A slug without a checksum is complete when its Size and the
// length that the storage host announced have arrived; if neither is known, a connection
// that was closed early cannot be detected. An empty response is never an archive.
//
// A connection that breaks or stalls is replaced by one that resumes where it ended, up
// to RetryOptions.MaxAttempts times in a row that deliver less than 64 KiB. If the URL
// has expired (403 or 404), the slug is requested again for a fresh one.
//
// Endpoint: GET /apps/{app}/slugs/{slug} (schema: slug, Info). The requests to the
// storage host do not have the API key. Errors, of Download and of the reader: those of
// [SlugsService.Get]; an [*ArgumentError] for a slug whose checksum cannot be verified;
// [*StorageError] if the storage host refuses; [*ResponseError] if it sends something other
// than an archive, or one that is compressed twice or in another way; [*RequestError]; a
// [*ChecksumError], which matches [ErrChecksumMismatch]; one that matches [ErrArchiveChanged] if
// the archive was replaced during the download, or [ErrArtifactExpired] if Heroku has destroyed
// it.
func (s SlugsService) Download(ctx context.Context, app, slugID string, opts *DownloadOptions) (io.ReadCloser, error) {
	o, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	slug, err := s.getStored(ctx, app, slugID)
	if err != nil {
		return nil, err
	}
	return s.download(ctx, app, slug, o)
}

// getStored returns a slug whose archive can be downloaded.
func (s SlugsService) getStored(ctx context.Context, app, id string) (*Slug, error) {
	slug, err := s.Get(ctx, app, id)
	switch {
	case err != nil:
		return nil, err
	case !slug.DeletedAt.IsZero():
		return nil, fmt.Errorf("slug %s: archive destroyed at %s: %w", id, slug.DeletedAt.UTC().Format(time.RFC3339), ErrArtifactExpired)
	case slug.Blob.URL == "":
		return nil, &ResponseError{Method: http.MethodGet, Path: slugPath(app, id), StatusCode: http.StatusOK, Err: errors.New("blob.url is missing")}
	}
	return slug, nil
}

// download opens the archive of a slug.
func (s SlugsService) download(ctx context.Context, app string, slug *Slug, o DownloadOptions) (io.ReadCloser, error) {
	d := &download{slugs: s, app: app, slug: *slug, opts: o, total: -1, hash: sha256.New()}
	if o.SkipChecksum {
		d.slug.Checksum = ""
	}
	if sum := d.slug.Checksum; sum != "" && !checksumRE.MatchString(normalChecksum(sum)) {
		return nil, &ArgumentError{Name: "slugID", Reason: "the slug's checksum " + quote(sum) + " cannot be verified; set DownloadOptions.SkipChecksum to download it unverified"}
	}
	d.use(slug.Blob.URL)
	d.ctx, d.cancel = context.WithCancelCause(ctx)
	var err error
	if d.conn, err = d.open(); err != nil {
		d.cancel(nil)
		return nil, err
	}
	return d, nil
}

// normalChecksum returns a checksum in the form that this package uses.
func normalChecksum(sum string) string {
	kind, digits, _ := strings.Cut(sum, ":")
	return strings.ToUpper(kind) + ":" + strings.ToLower(digits)
}

// ChecksumError reports that an archive does not match its checksum. It matches
// [ErrChecksumMismatch].
type ChecksumError struct {
	// Slug is the slug's ID.
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

// progressStep is how many bytes a connection must deliver to count as progress. It
// bounds the number of connections by the size of the archive.
const progressStep = 64 << 10

// download reads one archive over as many connections as necessary.
type download struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	slugs  SlugsService
	app    string
	slug   Slug
	opts   DownloadOptions
	// url returns the archive's URL. It is a closure because fmt prints unexported
	// fields.
	url func() SecretURL
	// hide has the secrets of the last connection.
	hide redactor

	conn *blobConn
	err  error
	// offset is the number of bytes that have been delivered, and hash their hash.
	hash   hash.Hash
	offset int64
	// total is the archive's size, -1 while it is not known.
	total int64
	etag  string
	// whole is set when the storage host does not support ranges.
	whole bool
	// breaks counts the connections since the offset mark that delivered too little.
	breaks int
	mark   int64
	// wait is the delay before the next connection.
	wait time.Duration
}

var errDownloadClosed = errors.New("download is closed")

// Close ends the download; a blocked Read returns immediately.
func (d *download) Close() error {
	// The end of the context closes the body of the connection.
	d.cancel(errDownloadClosed)
	return nil
}

func (d *download) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for d.err == nil {
		if d.conn == nil {
			d.conn, d.err = d.open()
			d.err = withoutEOF(d.err)
			continue
		}
		n, err := d.receive(p)
		if err != nil {
			d.conn.close()
			d.conn = nil
			d.err = d.ended(err)
		}
		if n > 0 {
			if d.opts.OnProgress != nil {
				d.opts.OnProgress(d.offset, d.total)
			}
			return n, nil
		}
	}
	return 0, d.err
}

// receive reads from the connection. An error is the end of the connection.
func (d *download) receive(p []byte) (int, error) {
	n, err := d.conn.read(p)
	n, same := d.skipDelivered(p[:n])
	if !same {
		return 0, d.requestError(errOtherArchive)
	}
	d.hash.Write(p[:n])
	d.offset += int64(n)
	switch {
	case isEOF(err) && d.conn.skip > 0:
		// The connection ended before it reached the offset.
		err = io.ErrUnexpectedEOF
	case err == nil && d.oversized():
		err = d.requestError(errOtherArchive)
	}
	return n, err
}

// errOtherArchive reports that a later connection delivers another archive.
var errOtherArchive = fmt.Errorf("the archive %w", ErrArchiveChanged)

// skipDelivered removes the bytes that an earlier connection has delivered. It moves the
// rest to the start of p, and reports whether the removed bytes are the same as before.
func (d *download) skipDelivered(p []byte) (n int, same bool) {
	c := d.conn
	if c.skip == 0 {
		return len(p), true
	}
	k := min(c.skip, int64(len(p)))
	c.seen.Write(p[:k])
	if c.skip -= k; c.skip > 0 {
		return 0, true
	}
	if !bytes.Equal(c.seen.Sum(nil), d.hash.Sum(nil)) {
		return 0, false
	}
	return copy(p, p[k:]), true
}

// ended returns what the end of a connection means for the download; nil means that it
// continues on another connection.
func (d *download) ended(err error) error {
	switch {
	case d.ctx.Err() != nil:
		return d.requestError(contextError(d.ctx))
	case errors.Is(err, ErrArchiveChanged):
		return err
	case d.total >= 0 && d.offset > d.total:
		return d.requestError(errOtherArchive)
	case d.offset == d.total, isEOF(err) && d.total < 0:
		if end := d.verify(); end != nil {
			return end
		}
		err = io.ErrUnexpectedEOF
	case isEOF(err):
		err = io.ErrUnexpectedEOF
	}
	if d.offset-d.mark >= progressStep {
		d.breaks, d.mark = 0, d.offset
		return nil
	}
	d.breaks++
	if d.breaks >= d.slugs.api.retry.MaxAttempts {
		return d.requestError(err)
	}
	d.wait = transport.Policy(d.slugs.api.retry).Wait(d.breaks)
	return nil
}

func (d *download) requestError(err error) error {
	return &RequestError{Method: http.MethodGet, URL: d.url().String(), Attempts: max(d.breaks, 1), Err: withoutEOF(cleanURLError(d.hide.err(err)))}
}

// String returns the archive's URL without its signature.
func (d *download) String() string { return d.url().String() }

// verify returns io.EOF if the archive is complete after the storage host has sent
// everything that it wanted to. It returns nil if something must be missing: the host
// did not announce a length, and sent less than the slug's size.
func (d *download) verify() error {
	got := "SHA256:" + hex.EncodeToString(d.hash.Sum(nil))
	same := d.slug.Checksum != "" && normalChecksum(d.slug.Checksum) == got
	short := d.offset == 0 || d.total < 0 && d.offset < d.slug.Size
	switch {
	case same:
		return io.EOF
	case short:
		return nil
	case d.slug.Checksum != "":
		return &ChecksumError{SlugID: d.slug.ID, Want: d.slug.Checksum, Got: got, Size: d.offset}
	case d.slug.Size > 0 && d.slug.Size != d.offset:
		return d.requestError(fmt.Errorf("%d bytes instead of %d: %w", d.offset, d.slug.Size, errOtherArchive))
	}
	return io.EOF
}

// oversized reports whether more has arrived than the slug's size. With a checksum this
// is detected at the end; without one there may be no end.
func (d *download) oversized() bool {
	return d.slug.Checksum == "" && d.slug.Size > 0 && d.offset > d.slug.Size
}

// open connects at the offset. It renews the URL if that has expired, and requests the
// whole archive from a storage host that does not support ranges, once each.
func (d *download) open() (*blobConn, error) {
	if d.wait > 0 {
		if sleep(d.ctx, d.wait) != nil {
			return nil, d.requestError(contextError(d.ctx))
		}
		d.wait = 0
	}
	renewed := false
	for {
		whole := d.whole
		conn, err := d.dial()
		switch {
		case err == nil:
			return conn, nil
		case d.whole && !whole:
			continue
		case renewed || !expiredURL(err) || !isUUID(d.slug.ID):
			return nil, err
		}
		fresh, err := d.slugs.getStored(d.ctx, d.app, d.slug.ID)
		if err != nil {
			return nil, err
		}
		d.use(fresh.Blob.URL)
		renewed = true
	}
}

func expiredURL(err error) bool {
	var refused *StorageError
	return errors.As(err, &refused) && (refused.StatusCode == http.StatusForbidden || refused.StatusCode == http.StatusNotFound)
}

// use sets the URL of the archive.
func (d *download) use(url SecretURL) {
	d.slug.Blob = Blob{}
	d.url = func() SecretURL { return url }
	d.hide = newRedactor(secretsOf(url.Reveal())...)
}

func (d *download) dial() (*blobConn, error) {
	from := d.offset
	if d.whole {
		from = 0
	}
	resp, err := d.slugs.api.openBlob(d.ctx, d.url(), from, d.opts.IdleTimeout) //nolint:bodyclose // conn closes it
	if err != nil {
		var refused *StorageError
		if errors.As(err, &refused) && refused.StatusCode == http.StatusRequestedRangeNotSatisfiable && from > 0 {
			d.whole = true
		}
		return nil, err
	}
	d.hide = newRedactor(secretsOf(d.url().Reveal())...).after(resp)
	conn := newBlobConn(resp)
	if err := d.begin(conn, resp, from); err != nil {
		conn.close()
		return nil, err
	}
	return conn, nil
}

// begin checks the header of a response against what is known of the archive.
func (d *download) begin(conn *blobConn, resp *http.Response, from int64) error {
	start, total, ok := contentRange(resp, from)
	if !ok {
		d.whole = true
		return d.requestError(errors.New("the storage host sent another range than the requested one"))
	}
	if !d.identify(total, resp.Header.Get("Etag")) {
		return d.requestError(errOtherArchive)
	}
	if conn.skip = d.offset - start; conn.skip > 0 {
		conn.seen = sha256.New()
	}
	if start > 0 {
		return nil
	}
	return conn.checkEncoding(resp, d.url())
}

// contentRange returns where the content of a response starts in the archive, and the
// size of the archive, -1 if it is not known. It is not ok if that is neither the start
// of the archive nor the range from the requested offset.
func contentRange(resp *http.Response, from int64) (start, total int64, ok bool) {
	switch {
	case resp.StatusCode == http.StatusPartialContent:
		start, total, ok = transport.ContentRange(resp.Header.Get("Content-Range"))
		return start, total, ok && start == from
	case resp.ContentLength == 0:
		// No archive is empty, but some transports report no length as 0.
		return 0, -1, true
	}
	return 0, resp.ContentLength, true
}

// identify records the size and the ETag of the archive. It reports whether they are
// those of earlier responses.
func (d *download) identify(total int64, etag string) bool {
	if d.total >= 0 && total >= 0 && total != d.total || d.etag != "" && etag != "" && etag != d.etag {
		return false
	}
	if total >= 0 {
		d.total = total
	}
	if etag != "" {
		d.etag = etag
	}
	return true
}

// blobConn is one connection of a download.
type blobConn struct {
	body io.ReadCloser
	// content is the body, with the start that was read ahead.
	content io.Reader
	// skip is the number of bytes to come that have been delivered before, and seen the
	// hash of those that came.
	skip int64
	seen hash.Hash
}

// newBlobConn takes over the body of a response.
func newBlobConn(resp *http.Response) *blobConn {
	return &blobConn{body: resp.Body, content: resp.Body}
}

func (c *blobConn) read(p []byte) (int, error) { return c.content.Read(p) }

func (c *blobConn) close() { _ = c.body.Close() }

// checkEncoding refuses a response that is not the archive itself.
func (c *blobConn) checkEncoding(resp *http.Response, from SecretURL) error {
	gzipped, err := transport.Gzipped(resp.Header)
	if gzipped {
		ahead := bufio.NewReaderSize(c.content, transport.ArchiveHead)
		c.content = ahead
		if head, _ := ahead.Peek(transport.ArchiveHead); transport.CompressedTwice(head) {
			err = errors.New("the archive is compressed twice, according to its content encoding")
		}
	}
	if err == nil {
		return nil
	}
	return &ResponseError{Method: http.MethodGet, Path: from.String(), StatusCode: resp.StatusCode, Err: err}
}
