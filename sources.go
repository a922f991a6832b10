package herokubuild

import (
	"cmp"
	"context"
	"errors"
	"net/http"

	"github.com/herokubuild/herokubuild/internal/check"
)

// SourcesService allocates upload URLs for source archives and uploads to them.
type SourcesService struct{ api *apiClient }

// Source is a place for one source archive: a URL to upload it to and one to build from.
// Both are signed and expire after an hour.
type Source struct {
	SourceBlob SourceURLs `json:"source_blob"`
}

// SourceURLs are the signed URLs of a [Source].
type SourceURLs struct {
	// GetURL is for [SourceBlob].URL of a build.
	GetURL SecretURL `json:"get_url"`
	// PutURL is where the archive is uploaded to.
	PutURL SecretURL `json:"put_url"`
}

// Create allocates an upload URL for a source archive. The request is retried like a
// GET: URLs that are not used cost nothing and expire.
//
// Endpoint: POST /sources (schema: source, Create). Errors: [*APIError],
// [*RequestError], [*ResponseError].
func (s SourcesService) Create(ctx context.Context, requestOpts ...RequestOption) (*Source, error) {
	return fetch[Source](ctx, s.api, apiCall{method: http.MethodPost, path: apiPath("sources"), repeatable: true}, requestOpts...)
}

// CreateForApp allocates an upload URL for a source archive with the older endpoint that
// Heroku's article "Building and Releasing Using the Platform API" shows.
//
// Endpoint: POST /apps/{app}/sources (schema: source, Create - Deprecated).
// Errors: [*ArgumentError], [*APIError], [*RequestError], [*ResponseError].
//
// Deprecated: Heroku's schema marks the endpoint as deprecated. Use
// [SourcesService.Create].
func (s SourcesService) CreateForApp(ctx context.Context, app string, requestOpts ...RequestOption) (*Source, error) {
	if err := checkApp("app", app); err != nil {
		return nil, err
	}
	return fetch[Source](ctx, s.api, apiCall{method: http.MethodPost, path: apiPath("apps", app, "sources"), repeatable: true}, requestOpts...)
}

// Put uploads an archive to a source. The archive is opened again for every attempt and
// streamed, whatever its size.
//
// The request goes to the storage host, without the API key, with the exact length and
// without a Content-Type, as the signature requires. It succeeds with status 200, 201 or
// 204, and only after the whole archive has been read to be sent. Errors:
// [*ArgumentError]; [*StorageError] for any other status; [*RequestError]; one that
// matches [ErrArchiveChanged] if the archive's length has changed.
func (s SourcesService) Put(ctx context.Context, source *Source, archive *Archive, opts *UploadOptions) error {
	if source == nil {
		return &ArgumentError{Name: "source", Reason: "is nil"}
	}
	return s.api.putArchive(ctx, http.MethodPut, source.SourceBlob.PutURL, archive, opts)
}

// Upload allocates an upload URL and uploads an archive to it, by [SourcesService.Create]
// and [SourcesService.Put]. If the storage host refuses the URL, as it does once that has
// expired, Upload tries once more with a new one. Errors: those of the two methods.
func (s SourcesService) Upload(ctx context.Context, archive *Archive, opts *UploadOptions) (*Source, error) {
	if err := archive.check(); err != nil {
		return nil, err
	}
	source, err := s.upload(ctx, archive, opts)
	if errors.Is(err, ErrForbidden) && source != nil {
		source, err = s.upload(ctx, archive, opts)
	}
	if err != nil {
		return nil, err
	}
	return source, nil
}

// upload tries once. It returns the source also if only the upload failed.
func (s SourcesService) upload(ctx context.Context, archive *Archive, opts *UploadOptions) (*Source, error) {
	source, err := s.Create(ctx)
	if err != nil {
		return nil, err
	}
	return source, s.Put(ctx, source, archive, opts)
}

func (s *Source) validate() error {
	return cmp.Or(
		check.RequiredURL("source_blob.get_url", s.SourceBlob.GetURL.Reveal()),
		check.RequiredURL("source_blob.put_url", s.SourceBlob.PutURL.Reveal()),
	)
}
