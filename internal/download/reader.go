package download

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"
	"net/http"
	"time"

	"github.com/herokubuild/herokubuild/internal/ioutil"
)

// Reader reads an archive over as many connections as necessary. It delivers each byte
// once and in order, and io.EOF only when the archive is complete and verified. The
// context that it was opened with ends it, including a Read that waits.
type Reader struct {
	ctx  context.Context //nolint:containedctx // It governs the whole download.
	cfg  Config
	conn *conn
	err  error
	// offset is the number of bytes that have been delivered, and hash their hash.
	offset int64
	hash   hash.Hash
	known  identity
	// whole is set when the storage host does not support ranges.
	whole  bool
	breaks breaks
	// wait is the delay before the next connection.
	wait time.Duration
}

// Open connects to the storage host. Its errors and those of Read are an [*Error].
func Open(ctx context.Context, cfg Config) (*Reader, error) {
	r := &Reader{ctx: ctx, cfg: cfg, hash: sha256.New(), known: identity{total: -1}}
	if err := r.connect(); err != nil {
		return nil, err
	}
	return r, nil
}

// Read reads the archive. It returns 0 bytes only with an error or for an empty p.
func (r *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for r.err == nil {
		if r.conn == nil {
			r.err = r.connect()
			continue
		}
		n, err := r.receive(p)
		if err != nil {
			r.conn.close()
			r.conn = nil
			r.err = r.ended(err)
		}
		if n > 0 {
			if r.cfg.OnProgress != nil {
				r.cfg.OnProgress(r.offset, r.known.total)
			}
			return n, nil
		}
	}
	return 0, r.err
}

// receive reads from the connection. An error is the end of the connection.
func (r *Reader) receive(p []byte) (int, error) {
	n, err := r.conn.content.Read(p)
	n, same := r.conn.dropRepeated(p[:n], r.hash)
	if !same {
		return 0, errChanged
	}
	r.hash.Write(p[:n])
	r.offset += int64(n)
	switch {
	case ioutil.IsEOF(err) && r.conn.repeated > 0:
		// The connection ended before it reached the offset.
		err = io.ErrUnexpectedEOF
	case err == nil && r.cfg.oversized(r.offset):
		err = errChanged
	}
	return n, err
}

// ended returns what the end of a connection means for the download; nil means that it
// continues on another connection.
func (r *Reader) ended(err error) error {
	switch classify(r.ctx, err, r.offset, r.known.total) {
	case canceled:
		return r.fail(Canceled, context.Cause(r.ctx))
	case changed:
		return r.fail(Changed, errChanged)
	case drained:
		if end := r.verified(); end != nil {
			return end
		}
		err = io.ErrUnexpectedEOF
	case broken:
		if ioutil.IsEOF(err) {
			err = io.ErrUnexpectedEOF
		}
	}
	n := r.breaks.add(r.offset)
	switch {
	case n == 0:
		return nil
	case n >= r.cfg.MaxAttempts:
		return r.fail(Failed, err)
	}
	r.wait = r.cfg.Backoff(n)
	return nil
}

// verified returns io.EOF if the archive is complete after the storage host has sent
// everything that it announced, and nil if something must be missing.
func (r *Reader) verified() error {
	switch r.cfg.verify(r.sum(), r.offset, r.known.total) {
	case complete:
		return io.EOF
	case wrongSize:
		return r.fail(WrongSize, errWrongSize)
	case wrongChecksum:
		e := r.fail(WrongChecksum, errWrongChecksum)
		e.SHA256 = r.sum()
		return e
	case incomplete:
	}
	return nil
}

func (r *Reader) sum() string { return hex.EncodeToString(r.hash.Sum(nil)) }

func (r *Reader) fail(kind Kind, err error) *Error {
	return &Error{Kind: kind, Attempts: max(r.breaks.count, 1), Received: r.offset, Err: err}
}

// connect opens a connection at the offset. It renews the URL if that has expired, and
// requests the whole archive from a storage host that does not support ranges, once
// each.
func (r *Reader) connect() error {
	if !ioutil.Sleep(r.ctx, r.wait) {
		return r.fail(Canceled, context.Cause(r.ctx))
	}
	r.wait = 0
	renewed := false
	for {
		ranges := !r.whole
		failed := r.dial()
		switch {
		case failed == nil:
			return nil
		case ranges && r.whole:
			continue
		case renewed || !failed.expired():
			return failed
		}
		var err error
		if renewed, err = r.cfg.Renew(r.ctx); err != nil {
			return asError(err)
		}
		if !renewed {
			return failed
		}
	}
}

func (r *Reader) dial() *Error {
	from := r.offset
	if r.whole {
		from = 0
	}
	resp, err := r.cfg.Dial(r.ctx, from)
	if err != nil {
		failed := asError(err)
		r.whole = r.whole || from > 0 && failed.rangeRefused()
		return failed
	}
	if failed := r.begin(resp, from); failed != nil {
		_ = resp.Body.Close()
		return failed
	}
	return nil
}

// begin checks the header of a response against what is known of the archive, and uses
// its connection.
func (r *Reader) begin(resp *http.Response, from int64) *Error {
	start, total, ok := contentRange(resp, from)
	if !ok {
		r.whole = true
		return r.fail(Failed, errOtherRange)
	}
	if !r.known.accept(total, resp.Header.Get("Etag")) {
		return r.fail(Changed, errChanged)
	}
	conn, err := newConn(resp, start, r.offset)
	if err != nil {
		return asError(err)
	}
	r.conn = conn
	return nil
}
