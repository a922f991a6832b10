package herokubuild

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/herokubuild/herokubuild/internal/targz"
)

// FetchArchiveOptions sets how [Client.FetchArchive] downloads. nil is the
// default.
type FetchArchiveOptions struct {
	// Header is sent along, such as the Authorization that a private
	// repository's archive needs. It goes to the URL's own scheme, host and
	// port only: not to where a redirect leads. Its values are neither printed
	// nor logged nor in JSON; fmt's verbs %p and %w ask no method, and print them.
	Header http.Header
	// MaxBytes is the most that is downloaded. Default: 2 GiB.
	MaxBytes int64
	// TempDir is where the archive is spooled. Default: the system's
	// directory for temporary files.
	TempDir string
}

// Format prints the options without the header's values, for every verb.
func (o FetchArchiveOptions) Format(f fmt.State, _ rune) {
	names := slices.Sorted(maps.Keys(o.Header))
	_, _ = fmt.Fprintf(f, "{Header:%q MaxBytes:%d TempDir:%q}", names, o.MaxBytes, o.TempDir)
}

// LogValue implements slog.LogValuer; the header's values are left out.
func (o FetchArchiveOptions) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(o)) }

const (
	defaultMaxFetch = 2 << 30
	// fetchIdle is how long a download may bring nothing.
	fetchIdle = time.Minute
)

// FetchArchive downloads a gzipped tar archive, so that it can be uploaded to
// the platform: one of a private repository, for example, that the platform
// itself has no access to. It is spooled to a temporary file, which
// [Archive.Close] removes.
//
// The request is repeated as a GET of the API is, and redirects are followed,
// but not from https to http; the API key is not sent. A download that breaks
// off, or brings nothing for a minute, is not repeated.
//
// Errors: [*ArgumentError], [*UploadError] where the host refuses,
// [*RequestError]; an [*AnswerError] for what is too large, compressed once more
// or in another way, or not a gzipped tar archive with at least one entry.
func (c *Client) FetchArchive(ctx context.Context, from SecretURL, opts *FetchArchiveOptions) (*Archive, error) {
	o := FetchArchiveOptions{}
	if opts != nil {
		o = *opts
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = defaultMaxFetch
	}
	if o.MaxBytes < 0 {
		return nil, &ArgumentError{Name: "MaxBytes", Reason: "is negative"}
	}
	if err := checkHeader(o.Header); err != nil {
		return nil, err
	}
	conn := newBlobConn(ctx, fetchIdle)
	defer conn.close()
	resp, err := c.openArchive(conn.ctx, from, o.Header) //nolint:bodyclose,contextcheck // conn closes what it holds, and its context is a child
	if err != nil {
		return nil, err
	}
	conn.hold(resp.Body)
	if err := conn.checkEncoding(resp, from); err != nil {
		return nil, err
	}
	f := &archiveFetch{
		ctx: ctx, conn: conn, url: from.String(), status: resp.StatusCode, maxBytes: o.MaxBytes,
		hide: newRedactor(secretsOf(from.Reveal())...).and(secretsOfHeader(o.Header)...).after(resp),
	}
	return spoolArchive(o.TempDir, f.writeTo)
}

// archiveFetch is the download of an archive whose response has begun.
type archiveFetch struct {
	ctx      context.Context
	conn     *blobConn
	url      string
	status   int
	maxBytes int64
	hide     redactor
}

// writeTo downloads the archive to a spool and checks it.
func (f *archiveFetch) writeTo(spool *targz.Spool) error {
	body := &blobReader{conn: f.conn}
	n, err := io.Copy(spool, io.LimitReader(body, min(f.maxBytes, math.MaxInt64-1)+1))
	switch {
	case body.err != nil:
		return f.interrupted(body.err)
	case n > f.maxBytes:
		return f.unusable(fmt.Errorf("larger than %d bytes", f.maxBytes))
	case err != nil:
		return err
	}
	content, err := spool.Open()
	if err != nil {
		return err
	}
	defer func() { _ = content.Close() }()
	if _, _, err := targz.Check(&contextReader{ctx: f.ctx, r: content}); err != nil {
		if f.ctx.Err() != nil {
			return f.interrupted(err)
		}
		return f.unusable(fmt.Errorf("not a gzipped tar archive: %w", withoutEOF(err)))
	}
	return nil
}

// interrupted returns the error of a download that failed midway.
func (f *archiveFetch) interrupted(err error) error {
	err = cleanURLError(f.hide.err(err))
	if f.ctx.Err() != nil {
		err = contextError(f.ctx)
	}
	return &RequestError{Method: http.MethodGet, URL: f.url, Attempts: 1, Err: withoutEOF(err)}
}

// unusable returns the error of a response that is not an archive.
func (f *archiveFetch) unusable(err error) error {
	return &AnswerError{Method: http.MethodGet, Path: f.url, StatusCode: f.status, Err: err}
}

func (c *Client) openArchive(ctx context.Context, from SecretURL, header http.Header) (*http.Response, error) {
	req, err := c.storageRequest(ctx, http.MethodGet, from, nil)
	if err != nil {
		return nil, err
	}
	// The archive is wanted as it is, not as the transport unpacks it.
	req.Header.Set("Accept-Encoding", "identity")
	hc := *c.storage
	prompt := &promptTransport{next: hc.Transport, limit: fetchIdle}
	hc.Transport = &originHeader{next: prompt, scheme: req.URL.Scheme, host: req.URL.Host, header: header.Clone()}
	call := c.storageCall(http.MethodGet, from, http.StatusOK)
	call.secrets = call.secrets.and(secretsOfHeader(header)...)
	return call.do(ctx, &hc, req)
}

// blobReader keeps what the network failed with: what the disk failed with is
// another matter.
type blobReader struct {
	conn *blobConn
	err  error
}

func (b *blobReader) Read(p []byte) (int, error) {
	n, err := b.conn.read(p)
	if err != nil && !isEOF(err) {
		b.err = err
	}
	return n, err
}

// originHeader adds a header to requests to one origin. The client knows nothing
// of it, and so does not take it along a redirect: of its own it would keep any
// that is not called Authorization, and that one too for a subdomain.
type originHeader struct {
	next         http.RoundTripper
	scheme, host string
	header       http.Header
}

func (o *originHeader) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme == o.scheme && strings.EqualFold(req.URL.Host, o.host) {
		req = req.Clone(req.Context())
		for name, values := range o.header {
			req.Header[http.CanonicalHeaderKey(name)] = values
		}
	}
	return o.next.RoundTrip(req)
}

// checkHeader refuses what cannot be sent. It never quotes a value.
func checkHeader(h http.Header) error {
	for name, values := range h {
		if name == "" || strings.ContainsFunc(name, func(r rune) bool {
			return r <= ' ' || r > '~' || strings.ContainsRune(`()<>@,;:\"/[]?={}`, r)
		}) {
			return &ArgumentError{Name: "Header", Reason: quote(name) + " is not a header's name"}
		}
		switch http.CanonicalHeaderKey(name) {
		case "Host", "Content-Length", "Transfer-Encoding", "Connection":
			return &ArgumentError{Name: "Header", Reason: quote(name) + " is not the caller's to set"}
		}
		for _, value := range values {
			if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
				return &ArgumentError{Name: "Header", Reason: "the value of " + quote(name) + " has a line break or another character that no header has"}
			}
		}
	}
	return nil
}
