package herokubuild

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"

	"github.com/herokubuild/herokubuild/internal/callback"
	"github.com/herokubuild/herokubuild/internal/ioutil"
	"github.com/herokubuild/herokubuild/internal/transport"
	"github.com/herokubuild/herokubuild/internal/wire"
)

// This file uploads and downloads archives by signed URLs. No request in it has the
// API key.

// UploadOptions sets how an archive is uploaded. nil is the default.
type UploadOptions struct {
	// OnProgress is called while the archive is sent, with the bytes handed to the
	// network so far and the total. A repeated attempt starts again at 0. It must not
	// block.
	OnProgress func(done, total int64)
}

// putArchive sends an archive to a signed URL.
func (c *apiClient) putArchive(ctx context.Context, method string, signed SecretURL, archive *Archive, opts *UploadOptions) error {
	if err := archive.check(); err != nil {
		return err
	}
	if err := c.checkSigned(signed); err != nil {
		return err
	}
	progress := progressGate{report: orZero(opts).OnProgress}
	// net/http may still read the archive after an early refusal, which must not be
	// reported to the caller.
	defer progress.shut()
	open := func() (io.ReadCloser, error) {
		src, err := archive.Open()
		if err != nil {
			return nil, &ArgumentError{Name: "archive", Reason: "cannot be opened", Err: err}
		}
		if src == nil {
			return nil, &ArgumentError{Name: "archive", Reason: "its Open function returns nothing"}
		}
		return &exactReader{src: src, size: archive.Size, progress: &progress}, nil
	}
	_, err := c.wire.Transfer(ctx, wire.Transfer{ //nolint:bodyclose // The response to an upload has no body.
		Kind: transport.Upload, Method: method, URL: signed.Reveal(), Body: open, Size: archive.Size,
		Success: []int{http.StatusOK, http.StatusCreated, http.StatusNoContent},
	})
	progress.panics.Rethrow()
	return requestFailure(ctx, err)
}

// checkSigned checks a signed URL.
func (c *apiClient) checkSigned(signed SecretURL) error {
	if err := c.check(); err != nil {
		return err
	}
	return checkWebURL("URL", signed.Reveal())
}

// download requests an archive, by GET. Its time limit applies to each wait for the
// storage host.
func (c *apiClient) download(ctx context.Context, signed SecretURL, t wire.Transfer) (*http.Response, error) {
	if err := c.checkSigned(signed); err != nil {
		return nil, err
	}
	t.Kind, t.Method, t.URL = transport.Download, http.MethodGet, signed.Reveal()
	resp, err := c.wire.Transfer(ctx, t)
	if err != nil {
		return nil, requestFailure(ctx, err)
	}
	return resp, nil
}

// progressGate passes reports on until it is shut. A goroutine of net/http reads the
// archive and so reports; a panic of the caller's code in it would end the process.
type progressGate struct {
	mu     sync.Mutex
	report func(done, total int64)

	panics callback.FirstPanic
}

func (g *progressGate) pass(done, total int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.report != nil {
		g.report(done, total)
	}
}

func (g *progressGate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.report = nil
}

// exactReader reads exactly size bytes of src and fails if there are fewer or more.
// net/http would fail too, with an error that quotes the URL.
type exactReader struct {
	src        io.ReadCloser
	size, done int64
	progress   *progressGate
}

func (r *exactReader) Read(p []byte) (n int, err error) {
	defer func() {
		// The panic would end the program, whether the caller recovers or not.
		if v := recover(); v != nil {
			r.progress.panics.Keep(v)
			n, err = 0, transport.Permanent(callback.ErrPanicked)
		}
	}()
	n, err = r.src.Read(p)
	if n < 0 || n > len(p) {
		return 0, transport.Permanent(&ArgumentError{Name: "archive", Reason: "its reader returned an impossible count"})
	}
	r.done += int64(n)
	if r.done == r.size && err == nil {
		// A storage host that has received the announced length has the archive. The
		// last bytes are held back until it is certain that they are the last.
		var more int
		more, err = io.ReadFull(r.src, make([]byte, 1))
		r.done += int64(more)
	}
	switch {
	case r.done > r.size:
		return 0, transport.Permanent(fmt.Errorf("the archive is longer than its %d bytes: %w", r.size, ErrArchiveChanged))
	case ioutil.IsEOF(err) && r.done < r.size:
		return 0, transport.Permanent(fmt.Errorf("the archive ended after %d of its %d bytes: %w", r.done, r.size, ErrArchiveChanged))
	}
	if n > 0 {
		r.progress.pass(r.done, r.size)
	}
	return n, err
}

func (r *exactReader) Close() error { return r.src.Close() }
