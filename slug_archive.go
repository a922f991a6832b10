package herokubuild

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/herokubuild/herokubuild/internal/check"
	"github.com/herokubuild/herokubuild/internal/download"
	"github.com/herokubuild/herokubuild/internal/ioutil"
	"github.com/herokubuild/herokubuild/internal/redact"
	"github.com/herokubuild/herokubuild/internal/transport"
	"github.com/herokubuild/herokubuild/internal/untar"
	"github.com/herokubuild/herokubuild/internal/wire"
)

// DownloadOptions configures [SlugsService.Download]. nil is the default.
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
		if !check.IsChecksum(sum) {
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
	h.hide = redact.New(signed.secrets()...)
}

// dial requests the archive from an offset, without the API key.
func (h *slugHost) dial(ctx context.Context, from int64) (*http.Response, error) {
	resp, err := h.slugs.api.download(ctx, h.signed(), wire.Transfer{
		From: from, Timeout: h.idle, Success: []int{http.StatusOK, http.StatusPartialContent},
	})
	var refused *StorageError
	switch {
	case errors.As(err, &refused):
		return nil, &download.Error{Kind: download.Refused, Status: refused.StatusCode, Err: err}
	case err != nil:
		return nil, err
	}
	h.hide = redact.New(h.signed().secrets()...).After(resp)
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
	hide redact.Redactor
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
		failed.Err = withoutEOF(o.hide.Error(contextError(ctx)))
	case download.Changed:
		failed.Err = errOtherArchive
	case download.WrongSize:
		failed.Err = fmt.Errorf("%d bytes instead of %d: %w", e.Received, o.size, errOtherArchive)
	case download.Failed:
		failed.Err = withoutEOF(redact.WithoutURL(o.hide.Error(e.Err)))
	}
	return failed
}

// errOtherArchive reports that a later connection delivers another archive.
var errOtherArchive = fmt.Errorf("the archive %w", ErrArchiveChanged)

// ChecksumError reports that an archive does not match its checksum. It matches
// [ErrChecksumMismatch].
type ChecksumError struct {
	// SlugID is the slug's ID.
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

// UnpackOptions sets the limits of [UnpackSlug]. nil is the default.
type UnpackOptions struct {
	// MaxFiles bounds the number of files, links and directories, including
	// directories that the archive only implies. Default 500,000.
	MaxFiles int
	// MaxBytes bounds the total size of the files. Default 4 GiB.
	MaxBytes int64
	// SkipOutsideLinks skips symbolic links that lead out of the directory, such as
	// bin/python to /usr/bin/python3, instead of refusing the archive.
	SkipOutsideLinks bool
	// SkipLinks skips all symbolic links, wherever they lead. It is for systems that
	// do not permit them, such as Windows without developer mode.
	SkipLinks bool
}

func (o *UnpackOptions) withDefaults() (UnpackOptions, error) {
	d := orZero(o)
	switch {
	case d.MaxFiles < 0:
		return d, &ArgumentError{Name: "UnpackOptions.MaxFiles", Reason: "is negative"}
	case d.MaxBytes < 0:
		return d, &ArgumentError{Name: "UnpackOptions.MaxBytes", Reason: "is negative"}
	}
	if d.MaxFiles == 0 {
		d.MaxFiles = 500_000
	}
	if d.MaxBytes == 0 {
		d.MaxBytes = 4 << 30
	}
	return d, nil
}

// UnpackError reports that an archive was not unpacked. It matches
// [ErrUnsafeArchive] if the archive has what no well-meant archive has,
// [ErrArchiveTooLarge] if it exceeds a limit, [ErrUnsupportedName] if this system
// does not support a name, and [ErrLinksNotPermitted] if it does not permit links;
// otherwise Err is the cause.
type UnpackError struct {
	// Entry is the entry's name in the archive; empty if the error is about the
	// archive as a whole.
	Entry string
	// Reason describes the problem; empty if Err does.
	Reason string
	// Err is the category, or the cause.
	Err error
}

// Error implements error.
func (e *UnpackError) Error() string {
	text := "unpack archive"
	if e.Entry != "" {
		text += ": entry " + quote(e.Entry)
	}
	if e.Reason != "" {
		return clip(text+": "+e.Reason, maxErrorText)
	}
	return text + ": " + causeText(e.Err)
}

// causeText is the text of a cause without its path, which the entry's name already
// shows.
func causeText(err error) string {
	var path *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &path):
		err = fmt.Errorf("%s: %s", path.Op, errorText(path.Err)) //nolint:errorlint // for its text
	case errors.As(err, &link):
		err = fmt.Errorf("%s: %s", link.Op, errorText(link.Err)) //nolint:errorlint // for its text
	}
	return clip(redactText(strings.ReplaceAll(errorText(err), "\n", "; ")), maxErrorText)
}

// Unwrap returns the category or cause.
func (e *UnpackError) Unwrap() error { return withoutEOF(e.Err) }

// unpackError converts an error of untar.Unpack.
func unpackError(ctx context.Context, err error) error {
	var e *untar.EntryError
	if !errors.As(err, &e) {
		return err
	}
	unpacked := &UnpackError{Entry: clip(e.Entry, maxHeaderText), Reason: e.Reason, Err: withoutEOF(e.Err)}
	switch e.Kind {
	case untar.Unsafe:
		unpacked.Err = ErrUnsafeArchive
	case untar.TooLarge:
		unpacked.Err = ErrArchiveTooLarge
	case untar.UnsupportedName:
		unpacked.Err = ErrUnsupportedName
	case untar.LinksNotPermitted:
		unpacked.Err = fmt.Errorf("%w: %w", ErrLinksNotPermitted, e.Err)
	case untar.Canceled:
		unpacked.Err = withoutEOF(contextError(ctx))
	case untar.Failed:
	}
	if e.Cleanup == nil {
		return unpacked
	}
	reason := "the files that were unpacked cannot be removed: " + causeText(e.Cleanup)
	return errors.Join(unpacked, &UnpackError{Reason: reason, Err: e.Cleanup})
}

// UnpackSlug unpacks a gzipped tar archive, such as [SlugsService.Download] returns,
// into a directory. It creates the directory if it does not exist; an existing one
// must be empty. The code of a slug is then in the subdirectory "app". The archive is
// read to its end.
//
// The archive need not be trusted: whatever it contains, nothing outside of the
// directory is written, linked to or read, and the limits of opts hold. Regular
// files, directories, and symbolic and hard links are unpacked. Executable bits are
// kept; owners, times, and the bits that let others write or that change users are
// not. A symbolic link to a path below /app, which is where the slug lies when it
// runs, becomes a relative one. An archive with two names that the system treats as
// the same, for example because they differ only in case, is refused. So is an archive
// with a name that the system does not support or would change, as Windows does with
// "aux.c", "a?b" and "name.".
//
// Symbolic links are created last. On Windows they need developer mode or an
// administrator's rights; set SkipLinks to do without them.
//
// Besides MaxFiles and MaxBytes there are fixed limits: a path has at most 255 parts,
// and the names and targets of symbolic links take at most 64 MiB, since they are kept
// in memory.
//
// After an error, everything that was unpacked has been removed.
//
// Errors: an [*ArgumentError] for a directory that is not empty or cannot be used; an
// [*UnpackError] that names the entry, for an archive that is refused
// ([ErrUnsafeArchive], [ErrArchiveTooLarge], [ErrUnsupportedName],
// [ErrLinksNotPermitted]), damaged, cannot be read (it then wraps r's error, such as
// [ErrChecksumMismatch]) or cannot be written; and the context's error. The context is checked
// before each entry, between two reads of r, and while a large file is written.
func UnpackSlug(ctx context.Context, r io.Reader, dir string, opts *UnpackOptions) error {
	limits, err := opts.withDefaults()
	if err != nil {
		return err
	}
	if r == nil {
		return &ArgumentError{Name: "r", Reason: "is nil"}
	}
	made, err := makeEmptyDir(dir)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return &ArgumentError{Name: "dir", Reason: "cannot open directory " + quote(dir), Err: err}
	}
	err = untar.Unpack(ctx, r, root, untar.Options(limits))
	_ = root.Close()
	if err == nil {
		return nil
	}
	if made {
		_ = os.Remove(dir)
	}
	return unpackError(ctx, err)
}

// makeEmptyDir creates a directory, or checks that an existing one is empty. It
// reports whether it created the directory.
func makeEmptyDir(dir string) (made bool, err error) {
	if dir == "" {
		return false, &ArgumentError{Name: "dir", Reason: "directory is required"}
	}
	switch err := os.Mkdir(dir, 0o750); {
	case err == nil:
		return true, nil
	case !errors.Is(err, fs.ErrExist):
		return false, &ArgumentError{Name: "dir", Reason: "cannot create directory " + quote(dir), Err: err}
	}
	if err := checkDir("dir", dir); err != nil {
		return false, err
	}
	f, err := os.Open(dir)
	if err == nil {
		_, err = f.Readdirnames(1)
		_ = f.Close()
	}
	switch {
	case ioutil.IsEOF(err):
		return false, nil
	case err != nil:
		return false, &ArgumentError{Name: "dir", Reason: "cannot read directory " + quote(dir), Err: err}
	}
	return false, &ArgumentError{Name: "dir", Reason: "directory " + quote(dir) + " is not empty"}
}
