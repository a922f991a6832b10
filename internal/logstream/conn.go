package logstream

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/herokubuild/herokubuild/internal/ioutil"
)

// conn is one connection. A timer ends it when nothing arrives for long; the timer
// runs only while a read waits for the network.
type conn struct {
	ctx    context.Context //nolint:containedctx // It ends with the connection.
	cancel context.CancelCauseFunc
	idle   *time.Timer
	limit  time.Duration
	body   io.ReadCloser
	// content is the body, decompressed.
	content  io.Reader
	progress ioutil.Progress
	// unwatch ends the watch that closes the body with the context.
	unwatch func() bool

	opened time.Time
	// moved is when text last arrived.
	moved time.Time
	// delivered reports that some of the text was new.
	delivered bool
}

func newConn(ctx context.Context, limit time.Duration) *conn {
	c := &conn{limit: limit, opened: time.Now()}
	c.ctx, c.cancel = context.WithCancelCause(ctx)
	c.idle = time.AfterFunc(limit, func() { c.cancel(ErrStalled) })
	return c
}

func (c *conn) dial(dial func(context.Context, int64) (*Response, error), from int64) (*Response, error) {
	resp, err := dial(c.ctx, from)
	c.idle.Stop()
	if err != nil {
		return nil, c.cause(err)
	}
	body := resp.Body
	c.body = body
	// Not every transport ends a read with the context.
	c.unwatch = context.AfterFunc(c.ctx, func() { _ = body.Close() })
	c.content = bodyReader{c}
	if resp.Gzip {
		c.content = &gunzip{r: c.content}
	}
	return resp, nil
}

func (c *conn) close() {
	c.idle.Stop()
	if c.body != nil {
		c.unwatch()
		_ = c.body.Close()
	}
	c.cancel(nil)
}

// cause returns the idle timeout instead of the network's error if that was what
// ended the connection.
func (c *conn) cause(err error) error {
	if e := (*Error)(nil); !errors.As(err, &e) && errors.Is(context.Cause(c.ctx), ErrStalled) {
		return fmt.Errorf("%w for %v", ErrStalled, c.limit)
	}
	return err
}

// Read reads the content.
func (c *conn) Read(p []byte) (int, error) { return c.content.Read(p) }

// bodyReader reads the body of a connection as it arrives.
type bodyReader struct{ c *conn }

func (r bodyReader) Read(p []byte) (int, error) {
	c := r.c
	c.idle.Reset(c.limit)
	n, err := c.body.Read(p)
	c.idle.Stop()
	if err != nil && !ioutil.IsEOF(err) {
		return n, c.cause(err)
	}
	return n, c.progress.Check(n, err)
}

// gunzip decompresses r as it arrives. The first read waits for the header.
type gunzip struct {
	r  io.Reader
	zr *gzip.Reader
}

func (g *gunzip) Read(p []byte) (int, error) {
	if g.zr == nil {
		zr, err := gzip.NewReader(g.r)
		if err != nil {
			return 0, err
		}
		g.zr = zr
	}
	return g.zr.Read(p)
}
