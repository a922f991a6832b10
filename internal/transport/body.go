package transport

import (
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// ErrTooLarge reports a response that is larger than [Request].MaxBytes.
var ErrTooLarge = errors.New("the response is larger than this package accepts")

const (
	maxErrorBody     = 1 << 20
	errorBodyTimeout = 5 * time.Second
)

// ReadErrorBody reads the beginning of the body of a response that is not a success,
// and closes it. It is bounded in size and time: a body without an end would otherwise
// hold the request up until its context ends.
func ReadErrorBody(resp *http.Response) []byte {
	body := resp.Body
	// A Read that waits for the network returns when the body is closed.
	timer := time.AfterFunc(errorBodyTimeout, func() { _ = body.Close() })
	defer timer.Stop()
	content, _ := readBody(body, resp.ContentLength, maxErrorBody)
	resp.Body = http.NoBody
	return content
}

// readBody reads and closes a body. size is the length that the host has announced,
// or -1. What was read is returned with the error too.
func readBody(body io.ReadCloser, size, limit int64) ([]byte, error) {
	defer func() { _ = body.Close() }()
	if size > limit {
		size = -1
	}
	if size > 0 {
		// A buffer that grows would be allocated and copied several times.
		b := make([]byte, size)
		n, err := io.ReadFull(body, b)
		return b[:n], err
	}
	b, err := io.ReadAll(io.LimitReader(body, limit+1))
	if int64(len(b)) > limit {
		return b[:limit], ErrTooLarge
	}
	return b, err
}

// sentBody counts how much of a request's body has been read. A goroutine of net/http
// reads it.
type sentBody struct {
	io.ReadCloser
	read atomic.Int64
}

func (b *sentBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.read.Add(int64(n))
	return n, err
}
