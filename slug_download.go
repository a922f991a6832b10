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
)

// DownloadOptions sets how an archive is downloaded. nil is the default.
type DownloadOptions struct {
	// IdleTimeout is the silence after which a connection is taken for dead
	// and replaced. Default 60 s.
	IdleTimeout time.Duration
	// Progress is called with the bytes read so far and those in all, which
	// are -1 as long as they are not known. It must not block.
	Progress func(done, total int64)
}

func (o *DownloadOptions) withDefaults() (DownloadOptions, error) {
	var d DownloadOptions
	if o != nil {
		d = *o
	}
	if d.IdleTimeout < 0 {
		return d, &ArgumentError{Name: "DownloadOptions.IdleTimeout", Reason: "is negative"}
	}
	if d.IdleTimeout == 0 {
		d.IdleTimeout = time.Minute
	}
	return d, nil
}

// Download opens the archive of a slug, a gzipped tar with everything under
// ./app, for reading; see [UnpackSlug]. Close it when done. The context governs
// the reading too.
//
// The reader delivers the archive's bytes once and in order, and io.EOF only
// when all of them have come and their SHA-256 is the slug's checksum; before
// that, they are not to be trusted. A slug without a checksum is complete when
// as many bytes have come as its Size says and as the storage host announced;
// where neither is known, a connection that was closed early cannot be detected.
// Nothing at all is never an archive. A connection that breaks or stalls is replaced by one that goes on where it
// ended, up to RetryOptions.MaxAttempts times in a row that bring less than
// 64 KiB. Where the address has expired (403 or 404), the slug is asked for
// again, for a fresh one: app is the name or id of an app of its account.
//
// The requests go to the storage host, without the API key. Errors, of Download
// and of the reader: [*ArgumentError]; [*StorageError] where the storage host
// refuses; [*ResponseError] where it sends something else than an archive, or one
// that is compressed once more or in another way; [*RequestError]; a
// [*ChecksumError], which matches [ErrChecksumMismatch]; one that matches [ErrArchiveChanged] where the archive became another one
// meanwhile, or [ErrArtifactExpired] where the platform has destroyed it; and those of
// [SlugsService.Get].
func (s SlugsService) Download(ctx context.Context, app string, slug *Slug, opts *DownloadOptions) (io.ReadCloser, error) {
	o, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := checkApp("app", app); err != nil {
		return nil, err
	}
	if err := checkDownload(slug); err != nil {
		return nil, err
	}
	if s.client == nil {
		return nil, &ArgumentError{Name: "Client", Reason: errNoClient.Error()}
	}
	d := &download{slugs: s, app: app, slug: *slug, opts: o, total: -1, hash: sha256.New()}
	d.use(slug.Blob.URL)
	d.ctx, d.cancel = context.WithCancelCause(ctx)
	if d.conn, err = d.open(); err != nil {
		d.cancel(nil)
		return nil, err
	}
	return d, nil
}

func checkDownload(slug *Slug) error {
	if slug == nil {
		return &ArgumentError{Name: "slug", Reason: "is nil"}
	}
	if method := strings.ToUpper(slug.Blob.Method); method != http.MethodGet {
		return &ArgumentError{Name: "slug", Reason: "its blob is for " + quote(slug.Blob.Method) + ", not for downloading: get the slug again"}
	}
	if slug.Checksum != "" && !checksumRE.MatchString(normalChecksum(slug.Checksum)) {
		return &ArgumentError{Name: "slug", Reason: "its checksum " + quote(slug.Checksum) + " is of no kind that can be verified; without a Checksum it is downloaded unverified"}
	}
	return nil
}

// normalChecksum writes a checksum as this package does.
func normalChecksum(sum string) string {
	kind, digits, _ := strings.Cut(sum, ":")
	return strings.ToUpper(kind) + ":" + strings.ToLower(digits)
}

// ChecksumError is an archive that is not what its checksum says. It matches
// [ErrChecksumMismatch].
type ChecksumError struct {
	// Slug is the slug's id.
	SlugID string
	// Want is the slug's checksum, Got that of what was downloaded.
	Want, Got string
	// Size is how many bytes were downloaded.
	Size int64
}

// Error implements error.
func (e *ChecksumError) Error() string {
	return clip(fmt.Sprintf("herokubuild: slug %s: the archive of %d bytes has the checksum %s, not %s", e.SlugID, e.Size, e.Got, e.Want), maxErrorText)
}

// Is matches ErrChecksumMismatch.
func (e *ChecksumError) Is(target error) bool { return target == ErrChecksumMismatch }

// progressStep is what a connection has to bring to count as progress, so that
// the number of connections is bounded by the size of the archive.
const progressStep = 64 << 10

// download reads one archive over as many connections as it takes.
type download struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	slugs  SlugsService
	app    string
	slug   Slug
	opts   DownloadOptions
	// address is the slug's, in a closure because fmt prints unexported fields.
	address func() SecretURL
	// hide knows the address of the last connection.
	hide redactor

	conn *blobConn
	err  error
	// hash is of the offset bytes that have been delivered.
	hash   hash.Hash
	offset int64
	// total is the archive's size, -1 while it is not known.
	total int64
	etag  string
	// whole says that the storage host does not honour a range.
	whole bool
	// breaks counts connections that brought little, since mark.
	breaks int
	mark   int64
	// wait is before the next connection.
	wait time.Duration
}

var errDownloadClosed = errors.New("herokubuild: the download is closed")

// Close ends the download; a read that waits returns at once.
func (d *download) Close() error {
	// The connection's body hangs on the context.
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
		n, err := d.conn.read(p)
		n, same := d.pass(p[:n])
		if !same {
			err = d.requestError(errOtherArchive)
		} else {
			d.hash.Write(p[:n])
			d.offset += int64(n)
		}
		if isEOF(err) && d.conn.skip > 0 {
			// It has not come as far as the one before.
			err = io.ErrUnexpectedEOF
		}
		if err == nil && d.oversized() {
			err = d.requestError(errOtherArchive)
		}
		if err != nil {
			d.conn.close()
			d.conn = nil
			d.err = d.ended(err)
		}
		if n > 0 {
			if d.opts.Progress != nil {
				d.opts.Progress(d.offset, d.total)
			}
			return n, nil
		}
	}
	return 0, d.err
}

// errOtherArchive is found on a later connection.
var errOtherArchive = fmt.Errorf("the archive %w", ErrArchiveChanged)

// pass leaves out what has been delivered, where a connection begins before
// that, and says whether it is the same. What is left is at the start of p.
func (d *download) pass(p []byte) (n int, same bool) {
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

// ended decides what the end of a connection means: nil is for going on.
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
	if d.breaks >= d.slugs.client.retry.MaxAttempts {
		return d.requestError(err)
	}
	d.wait = d.slugs.client.retry.wait(d.breaks)
	return nil
}

func (d *download) requestError(err error) error {
	return &RequestError{Method: http.MethodGet, URL: d.address().String(), Attempts: max(d.breaks, 1), Err: withoutEOF(cleanURLError(d.hide.err(err)))}
}

// String names the archive by its address without the signature.
func (d *download) String() string { return d.address().String() }

// verify is called when as much has come as the storage host meant to send. It
// returns nil if that cannot be all: the host had not announced a length, and
// there is less than the slug's record says.
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

// oversized reports whether more has come than the slug has. A checksum tells at
// the end; without one there may be none.
func (d *download) oversized() bool {
	return d.slug.Checksum == "" && d.slug.Size > 0 && d.offset > d.slug.Size
}

// open makes a connection that goes on at the offset. It takes a fresh address
// if the one that there is has expired, and the whole archive from a storage
// host that does not give a part of it, once each.
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
		case renewed || !expiredAddress(err) || !isUUID(d.slug.ID):
			return nil, err
		}
		if err := d.renew(); err != nil {
			return nil, err
		}
		renewed = true
	}
}

func expiredAddress(err error) bool {
	var refused *StorageError
	return errors.As(err, &refused) && (refused.StatusCode == http.StatusForbidden || refused.StatusCode == http.StatusNotFound)
}

func (d *download) renew() error {
	fresh, err := d.slugs.Get(d.ctx, d.app, d.slug.ID)
	if err != nil {
		return err
	}
	if !fresh.DeletedAt.IsZero() {
		return fmt.Errorf("herokubuild: slug %s: its archive was destroyed at %s: %w", d.slug.ID, fresh.DeletedAt.UTC().Format(time.RFC3339), ErrArtifactExpired)
	}
	if err := checkDownload(fresh); err != nil {
		return err
	}
	d.use(fresh.Blob.URL)
	return nil
}

// use makes url the address of the archive.
func (d *download) use(url SecretURL) {
	d.slug.Blob = Blob{}
	d.address = func() SecretURL { return url }
	d.hide = newRedactor(secretsOf(url.Reveal())...)
}

func (d *download) dial() (*blobConn, error) {
	conn := newBlobConn(d.ctx, d.opts.IdleTimeout)
	from := d.offset
	if d.whole {
		from = 0
	}
	resp, err := d.slugs.client.openBlob(conn.ctx, d.address(), from, d.opts.IdleTimeout)
	if err == nil {
		d.hide = newRedactor(secretsOf(d.address().Reveal())...).after(resp)
		conn.hold(resp.Body)
		err = d.begin(conn, resp, from)
	}
	if err != nil {
		conn.close()
		var refused *StorageError
		if errors.As(err, &refused) && refused.StatusCode == http.StatusRequestedRangeNotSatisfiable && from > 0 {
			d.whole = true
		}
		return nil, err
	}
	return conn, nil
}

// begin looks at what an answer says that it brings.
func (d *download) begin(conn *blobConn, resp *http.Response, from int64) error {
	start, total := int64(0), resp.ContentLength
	if total == 0 {
		// No archive is empty, but some transports do not say.
		total = -1
	}
	if resp.StatusCode == http.StatusPartialContent {
		var ok bool
		start, total, ok = parseContentRange(resp.Header.Get("Content-Range"))
		if !ok || start != from {
			d.whole = true
			return d.requestError(errors.New("the storage host answered with another range than the one asked for"))
		}
	}
	etag := resp.Header.Get("Etag")
	if d.total >= 0 && total >= 0 && total != d.total || d.etag != "" && etag != "" && etag != d.etag {
		return d.requestError(errOtherArchive)
	}
	if total >= 0 {
		d.total = total
	}
	if etag != "" {
		d.etag = etag
	}
	if conn.skip = d.offset - start; conn.skip > 0 {
		conn.seen = sha256.New()
	}
	if start > 0 {
		return nil
	}
	return conn.checkEncoding(resp, d.slug.Blob.URL)
}

// blobConn is one connection of a download.
type blobConn struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	// idle runs while a read waits for the network, and ends the connection.
	idle        *time.Timer
	idleTimeout time.Duration
	body        io.ReadCloser
	// content is the body, or what has been read ahead of it and the rest.
	content  io.Reader
	progress progress
	// release ends the watch that closes the body with the context.
	release func() bool
	// skip is how much of what has been delivered is still to come, and seen
	// the hash of what has come of it.
	skip int64
	seen hash.Hash
}

var errSilent = errors.New("nothing came from the storage host")

func newBlobConn(ctx context.Context, idleTimeout time.Duration) *blobConn {
	c := &blobConn{idleTimeout: idleTimeout}
	c.ctx, c.cancel = context.WithCancelCause(ctx)
	c.idle = time.AfterFunc(idleTimeout, func() { c.cancel(errSilent) })
	// It runs while a read waits, and not before.
	c.idle.Stop()
	return c
}

// hold takes the body on. Not every transport ends a read with the context.
func (c *blobConn) hold(body io.ReadCloser) {
	c.body, c.content = body, readerFunc(c.readBody)
	c.release = context.AfterFunc(c.ctx, func() { _ = body.Close() })
}

func (c *blobConn) read(p []byte) (int, error) { return c.content.Read(p) }

// checkEncoding refuses a response that is not the archive itself, of which it
// brings the beginning.
func (c *blobConn) checkEncoding(resp *http.Response, from SecretURL) error {
	gzipped, err := gzipEncoded(resp.Header)
	if gzipped {
		ahead := bufio.NewReaderSize(c.content, archiveHead)
		c.content = ahead
		if head, _ := ahead.Peek(archiveHead); compressedTwice(head) {
			err = errors.New("the archive is compressed once more, as its content encoding says")
		}
	}
	if err == nil {
		return nil
	}
	return &ResponseError{Method: http.MethodGet, Path: from.String(), StatusCode: resp.StatusCode, Err: err}
}

func (c *blobConn) readBody(p []byte) (int, error) {
	c.idle.Reset(c.idleTimeout)
	n, err := c.body.Read(p)
	c.idle.Stop()
	err = c.progress.check(n, err)
	if err != nil && errors.Is(context.Cause(c.ctx), errSilent) {
		err = fmt.Errorf("%w for %v", errSilent, c.idleTimeout)
	}
	return n, err
}

func (c *blobConn) close() {
	c.idle.Stop()
	if c.body != nil {
		c.release()
		_ = c.body.Close()
	}
	c.cancel(nil)
}
