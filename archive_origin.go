package herokubuild

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/herokubuild/herokubuild/internal/download"
)

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
