package platform

import (
	"compress/gzip"
	"context"
	"io"
	"sync"
)

// compressors are gzip writers for reuse: a new one clears a megabyte of memory,
// which takes longer than the response or the small slug that it compresses.
type compressors struct{ pool sync.Pool }

// get returns a writer that compresses to w. The caller must close it, and must
// not use it after release.
func (c *compressors) get(w io.Writer) (zw *gzip.Writer, release func()) {
	zw, ok := c.pool.Get().(*gzip.Writer)
	if !ok {
		zw = gzip.NewWriter(w)
	}
	zw.Reset(w)
	return zw, func() { c.pool.Put(zw) }
}

type compressorsKey struct{}

func withCompressors(ctx context.Context, c *compressors) context.Context {
	return context.WithValue(ctx, compressorsKey{}, c)
}

// compressorsOf returns the compressors of the platform that serves a request.
func compressorsOf(ctx context.Context) *compressors {
	c, ok := ctx.Value(compressorsKey{}).(*compressors)
	if !ok {
		return &compressors{}
	}
	return c
}
