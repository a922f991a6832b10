package download

import (
	"bytes"
	"crypto/sha256"
	"hash"
	"io"
	"net/http"

	"github.com/herokubuild/herokubuild/internal/transport"
)

// conn is one connection of a download.
type conn struct {
	body io.Closer
	// content is the body, which may have been read ahead.
	content io.Reader
	// repeated is the number of outstanding bytes that an earlier connection has
	// delivered, and seen the hash of those that have arrived.
	repeated int64
	seen     hash.Hash
}

// newConn returns a connection whose content begins at start, while offset bytes have
// been delivered.
func newConn(resp *http.Response, start, offset int64) (*conn, error) {
	c := &conn{body: resp.Body, content: resp.Body, repeated: offset - start}
	if c.repeated > 0 {
		c.seen = sha256.New()
	}
	if start > 0 {
		return c, nil
	}
	content, err := NewContent(resp)
	if err != nil {
		return nil, err
	}
	c.content = content
	return c, nil
}

func (c *conn) close() { _ = c.body.Close() }

// dropRepeated removes the bytes that an earlier connection has delivered. It moves the
// rest to the start of p, and reports whether the removed bytes have the hash of what was
// delivered.
func (c *conn) dropRepeated(p []byte, delivered hash.Hash) (n int, same bool) {
	if c.repeated == 0 {
		return len(p), true
	}
	k := min(c.repeated, int64(len(p)))
	c.seen.Write(p[:k])
	if c.repeated -= k; c.repeated > 0 {
		return 0, true
	}
	if !bytes.Equal(c.seen.Sum(nil), delivered.Sum(nil)) {
		return 0, false
	}
	return copy(p, p[k:]), true
}

// contentRange returns where the content of a response starts in the archive, and the
// size of the archive, -1 if it is not known. It is not ok if that is neither the start
// of the archive nor the range from the requested offset.
func contentRange(resp *http.Response, from int64) (start, total int64, ok bool) {
	switch {
	case resp.StatusCode == http.StatusPartialContent:
		start, total, ok = transport.ContentRange(resp.Header.Get("Content-Range"))
		return start, total, ok && start == from
	case resp.ContentLength == 0:
		// No archive is empty, but some transports report no length as 0.
		return 0, -1, true
	}
	return 0, resp.ContentLength, true
}

// identity is what responses have announced about the archive: its size, -1 while it is
// not known, and its ETag.
type identity struct {
	total int64
	etag  string
}

// accept records what a response announces. It reports whether that agrees with earlier
// responses.
func (i *identity) accept(total int64, etag string) bool {
	if i.total >= 0 && total >= 0 && total != i.total || i.etag != "" && etag != "" && etag != i.etag {
		return false
	}
	if total >= 0 {
		i.total = total
	}
	if etag != "" {
		i.etag = etag
	}
	return true
}
