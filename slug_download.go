package herokubuild

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/herokubuild/herokubuild/internal/download"
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
	if err := s.api.check(); err != nil {
		return nil, err
	}
	cfg := download.Config{Size: slug.Size, OnProgress: o.OnProgress}
	if slug.Checksum != "" && !o.SkipChecksum {
		sum := normalChecksum(slug.Checksum)
		if !checksumRE.MatchString(sum) {
			return nil, &ArgumentError{Name: "slugID", Reason: "the slug's checksum " + quote(slug.Checksum) + " cannot be verified; set DownloadOptions.SkipChecksum to download it unverified"}
		}
		cfg.SHA256 = strings.TrimPrefix(sum, "SHA256:")
	}
	host := newSlugHost(s, app, slug, o.IdleTimeout)
	cfg.Dial, cfg.Renew = host.dial, host.renew
	cfg.MaxAttempts, cfg.Backoff = s.api.retry.MaxAttempts, transport.Policy(s.api.retry).Wait
	ctx, cancel := context.WithCancelCause(ctx)
	archive, err := download.Open(ctx, cfg)
	if err != nil {
		err = host.failure(ctx, err)
		cancel(nil)
		return nil, err
	}
	return &slugReader{ctx: ctx, cancel: cancel, host: host, archive: archive}, nil
}

// normalChecksum returns a checksum in the form that this package uses.
func normalChecksum(sum string) string {
	kind, digits, _ := strings.Cut(sum, ":")
	return strings.ToUpper(kind) + ":" + strings.ToLower(digits)
}

// slugReader is the archive of a slug that is being downloaded.
type slugReader struct {
	ctx     context.Context //nolint:containedctx // It governs the reading, too.
	cancel  context.CancelCauseFunc
	host    *slugHost
	archive *download.Reader
}

var errDownloadClosed = errors.New("download is closed")

// Read implements io.Reader.
func (r *slugReader) Read(p []byte) (int, error) {
	n, err := r.archive.Read(p)
	return n, r.host.failure(r.ctx, err)
}

// Close ends the download; a blocked Read returns immediately.
func (r *slugReader) Close() error {
	// The end of the context closes the body of the connection.
	r.cancel(errDownloadClosed)
	return nil
}

// String returns the archive's URL without its signature.
func (r *slugReader) String() string { return r.host.url }

// slugHost makes the requests for the archive of a slug.
type slugHost struct {
	archiveOrigin
	slugs SlugsService
	app   string
	idle  time.Duration
	// signed returns the archive's URL. It is a closure because fmt prints unexported
	// fields.
	signed func() SecretURL
}

func newSlugHost(slugs SlugsService, app string, slug *Slug, idle time.Duration) *slugHost {
	h := &slugHost{slugs: slugs, app: app, idle: idle}
	h.slugID, h.checksum, h.size = slug.ID, slug.Checksum, slug.Size
	h.use(slug.Blob.URL)
	return h
}

// use sets the URL of the archive.
func (h *slugHost) use(signed SecretURL) {
	h.signed, h.url = func() SecretURL { return signed }, signed.String()
	h.hide = newRedactor(secretsOf(signed.Reveal())...)
}

// dial requests the archive from an offset, without the API key.
func (h *slugHost) dial(ctx context.Context, from int64) (*http.Response, error) {
	resp, err := h.slugs.api.openBlob(ctx, h.signed(), from, h.idle)
	var refused *StorageError
	switch {
	case errors.As(err, &refused):
		return nil, &download.Error{Kind: download.Refused, Status: refused.StatusCode, Err: err}
	case err != nil:
		return nil, err
	}
	h.hide = newRedactor(secretsOf(h.signed().Reveal())...).after(resp)
	return resp, nil
}

// renew requests the slug again for a freshly signed URL.
func (h *slugHost) renew(ctx context.Context) (bool, error) {
	if !isUUID(h.slugID) {
		return false, nil
	}
	fresh, err := h.slugs.getStored(ctx, h.app, h.slugID)
	if err != nil {
		return false, err
	}
	h.use(fresh.Blob.URL)
	return true, nil
}

// archiveOrigin is where an archive is downloaded from.
type archiveOrigin struct {
	// url has no signature.
	url string
	// hide has the secrets of the last connection.
	hide redactor
	// slugID, checksum and size are those of the slug that the archive belongs to.
	slugID, checksum string
	size             int64
}

// failure converts the errors of internal/download.
func (o *archiveOrigin) failure(ctx context.Context, err error) error {
	var e *download.Error
	if !errors.As(err, &e) {
		return err
	}
	failed := &RequestError{Method: http.MethodGet, URL: o.url, Attempts: e.Attempts}
	switch e.Kind {
	case download.Refused:
		return withoutEOF(e.Err)
	case download.Unusable:
		return &ResponseError{Method: http.MethodGet, Path: o.url, StatusCode: e.Status, Err: e.Err}
	case download.WrongChecksum:
		return &ChecksumError{SlugID: o.slugID, Want: o.checksum, Got: "SHA256:" + e.SHA256, Size: e.Received}
	case download.Canceled:
		failed.Err = withoutEOF(o.hide.err(contextError(ctx)))
	case download.Changed:
		failed.Err = errOtherArchive
	case download.WrongSize:
		failed.Err = fmt.Errorf("%d bytes instead of %d: %w", e.Received, o.size, errOtherArchive)
	case download.Failed:
		failed.Err = withoutEOF(cleanURLError(o.hide.err(e.Err)))
	}
	return failed
}

// errOtherArchive reports that a later connection delivers another archive.
var errOtherArchive = fmt.Errorf("the archive %w", ErrArchiveChanged)
