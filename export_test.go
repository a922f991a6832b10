package herokubuild

import (
	"context"
	"io"
)

// DownloadFrom is [SlugsService.Download] without the request for the slug, so that a
// test can choose what the slug is.
func (s SlugsService) DownloadFrom(ctx context.Context, app string, slug *Slug, opts *DownloadOptions) (io.ReadCloser, error) {
	o, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	return s.download(ctx, app, slug, o)
}
