package herokubuild

import (
	"context"
	"errors"
	"net/http"
)

// SourcesService makes room for source archives and uploads them.
type SourcesService struct{ client *Client }

// Source is a place for one source archive: an address to put it to and one to
// build it from. Both are signed and expire after an hour. Source: the
// schema's source.
type Source struct {
	SourceBlob struct {
		// GetURL is for [SourceBlob].URL.
		GetURL SecretURL `json:"get_url"`
		// PutURL is where the archive is uploaded to.
		PutURL SecretURL `json:"put_url"`
	} `json:"source_blob"`
}

// Create makes room for a source archive. The request is repeated like a GET:
// room that nobody uses costs nothing and expires.
//
// Endpoint: POST /sources (schema: source, Create). Errors: [*APIError],
// [*RequestError], [*ResponseError].
func (s SourcesService) Create(ctx context.Context) (*Source, error) {
	return fetch[Source](ctx, s.client, apiCall{method: http.MethodPost, path: apiPath("sources"), repeatable: true})
}

// CreateForApp makes room for a source archive by the older endpoint, which
// Heroku's article "Building and Releasing Using the Platform API" shows and
// its schema calls deprecated. Prefer [SourcesService.Create].
//
// Endpoint: POST /apps/{app}/sources (schema: source, Create - Deprecated).
// Errors: [*ArgumentError], [*APIError], [*RequestError], [*ResponseError].
func (s SourcesService) CreateForApp(ctx context.Context, app string) (*Source, error) {
	if err := checkApp("app", app); err != nil {
		return nil, err
	}
	return fetch[Source](ctx, s.client, apiCall{method: http.MethodPost, path: apiPath("apps", app, "sources"), repeatable: true})
}

// Put uploads an archive to a source. The archive is opened anew for every
// attempt and streamed, whatever its size.
//
// The request goes to the storage host, without the API key, with the exact
// length and without a Content-Type, as the signature demands. It succeeds with
// status 200, 201 or 204, and only after all of the archive has been read to be
// sent. Errors: [*ArgumentError]; [*StorageError] for any other status;
// [*RequestError]; one that matches [ErrArchiveChanged] if the archive is no
// longer as long as it was.
func (s SourcesService) Put(ctx context.Context, source *Source, archive *Archive, opts *UploadOptions) error {
	if source == nil {
		return &ArgumentError{Name: "source", Reason: "is nil"}
	}
	return s.client.putArchive(ctx, http.MethodPut, source.SourceBlob.PutURL, archive, opts)
}

// Upload makes room for an archive and puts it there:
// [SourcesService.Create] and [SourcesService.Put]. Where the storage host
// refuses the address, as it does once that has expired, it is tried once more
// with a new one. Errors: those of the two.
func (s SourcesService) Upload(ctx context.Context, archive *Archive, opts *UploadOptions) (*Source, error) {
	if err := archive.check(); err != nil {
		return nil, err
	}
	for again := false; ; again = true {
		source, err := s.Create(ctx)
		if err != nil {
			return nil, err
		}
		err = s.Put(ctx, source, archive, opts)
		if err == nil {
			return source, nil
		}
		if again || !errors.Is(err, ErrForbidden) {
			return nil, err
		}
	}
}
