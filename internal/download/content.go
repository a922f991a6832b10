package download

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"

	"github.com/herokubuild/herokubuild/internal/ioutil"
	"github.com/herokubuild/herokubuild/internal/transport"
)

// Content is the body of a response that has the archive from its first byte on.
type Content struct {
	body   io.Reader
	status int
}

// NewContent returns the content of a response, whose body remains the caller's to
// close. It refuses a response that does not contain the archive itself.
func NewContent(resp *http.Response) (*Content, error) {
	c := &Content{body: resp.Body, status: resp.StatusCode}
	gzipped, err := transport.Gzipped(resp.Header)
	if err != nil {
		return nil, c.unusable(err)
	}
	if !gzipped {
		return c, nil
	}
	ahead := bufio.NewReaderSize(resp.Body, transport.ArchiveHead)
	// An error is returned again by the read that reaches it.
	if head, _ := ahead.Peek(transport.ArchiveHead); transport.CompressedTwice(head) {
		return nil, c.unusable(errors.New("the archive is compressed twice, according to its content encoding"))
	}
	c.body = ahead
	return c, nil
}

// Read implements io.Reader.
func (c *Content) Read(p []byte) (int, error) { return c.body.Read(p) }

// CopyTo writes the content to w. Its errors are an [*Error], or those of w.
func (c *Content) CopyTo(ctx context.Context, w io.Writer, maxBytes int64) error {
	body := &networkReader{r: c.body}
	n, err := io.Copy(w, io.LimitReader(body, min(maxBytes, math.MaxInt64-1)+1))
	switch {
	case body.err != nil && ctx.Err() != nil:
		return canceledBy(ctx)
	case body.err != nil:
		return &Error{Kind: Failed, Attempts: 1, Err: body.err}
	case n > maxBytes:
		return c.unusable(fmt.Errorf("larger than %d bytes", maxBytes))
	}
	return err
}

// NotArchive returns the error of content that turned out not to be an archive, unless
// the check of it failed because the context ended.
func (c *Content) NotArchive(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return canceledBy(ctx)
	}
	return c.unusable(fmt.Errorf("not a gzipped tar archive: %w", err))
}

func canceledBy(ctx context.Context) error {
	return &Error{Kind: Canceled, Attempts: 1, Err: context.Cause(ctx)}
}

func (c *Content) unusable(err error) error {
	return &Error{Kind: Unusable, Status: c.status, Attempts: 1, Err: err}
}

// networkReader keeps the error of the network, to distinguish it from that of the
// writer.
type networkReader struct {
	r   io.Reader
	err error
}

func (r *networkReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if err != nil && !ioutil.IsEOF(err) {
		r.err = err
	}
	return n, err
}
