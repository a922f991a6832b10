package herokubuild

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/herokubuild/herokubuild/internal/logstream"
	"github.com/herokubuild/herokubuild/internal/transport"
)

// outputEnds reports whether nothing more is written to the output of a process with
// this status. Only a pending process writes, whatever else its status may be.
func outputEnds(status Status) bool { return status != StatusPending }

// streamHost makes the requests for the output of one build or release. An
// OutputStream has a pointer to it, so that fmt does not print the signed URL.
type streamHost struct {
	api *apiClient
	url SecretURL
	// renew returns the current status and a freshly signed URL.
	renew func(context.Context) (Status, SecretURL, error)
	// hide has the secrets of the last connection.
	hide        redactor
	connections int
}

func (h *streamHost) redact(err error) error { return cleanURLError(h.hide.err(err)) }

// status requests whether the status is final, and uses the URL that comes with it
// from now on.
func (h *streamHost) status(ctx context.Context) (bool, error) {
	status, signed, err := h.renew(ctx)
	switch {
	case errors.Is(err, ErrUnauthorized), errors.Is(err, ErrForbidden), errors.Is(err, ErrNotFound):
		return false, &logstream.Error{Kind: logstream.Permanent, Err: err}
	case err != nil:
		return false, err
	}
	if _, err := checkWebURL("OutputStreamURL", signed.Reveal()); err == nil {
		h.url = signed
	}
	return outputEnds(status), nil
}

// dial requests the output from an offset, without the API key.
func (h *streamHost) dial(ctx context.Context, from int64) (*logstream.Response, error) {
	h.connections++
	attempt := attemptLog{method: http.MethodGet, url: h.url.String(), attempt: h.connections, started: time.Now()}
	resp, err := h.request(ctx, from) //nolint:bodyclose // The reader of the output closes it.
	h.hide = newRedactor(secretsOf(h.url.Reveal())...).after(resp)
	attempt.hide = h.hide
	attempt.write(ctx, h.api.log, resp, err)
	switch {
	case errors.Is(err, transport.ErrRedirect):
		return nil, &logstream.Error{Kind: logstream.Permanent, Err: cleanURLError(err)}
	case err != nil:
		return nil, err
	}
	body := resp.Body
	// Not every transport ends a read with the context.
	unwatch := context.AfterFunc(ctx, func() { _ = body.Close() })
	defer unwatch()
	out, err := h.response(resp)
	if err != nil {
		_ = body.Close()
		return nil, err
	}
	return out, nil
}

func (h *streamHost) request(ctx context.Context, from int64) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.url.Reveal(), nil)
	if err != nil {
		return nil, &logstream.Error{Kind: logstream.Permanent, Err: errors.New("the URL cannot be requested")}
	}
	req.Header.Set("User-Agent", h.api.userAgent)
	req.Header.Set("Accept", "text/plain")
	// A compressed stream would be held back until a block is full.
	req.Header.Set("Accept-Encoding", "identity")
	if from >= 0 {
		offset := strconv.FormatInt(from, 10)
		req.Header.Set("Range", "bytes="+offset+"-")
		// Heroku's published stream host treats this Range as "from 0", and honors
		// this header for plain text, too.
		req.Header.Set("Last-Event-Id", offset)
	}
	return h.api.storage.Do(req)
}

// response converts the head of a response.
func (h *streamHost) response(resp *http.Response) (*logstream.Response, error) {
	out := &logstream.Response{Status: resp.StatusCode, Start: logstream.Unknown, Total: logstream.Unknown, Body: resp.Body}
	contentRange := resp.Header.Get("Content-Range")
	switch resp.StatusCode {
	case http.StatusOK:
		out.Content = logstream.Whole
	case http.StatusPartialContent:
		out.Content = logstream.Part
		if start, total, ok := transport.ContentRange(contentRange); ok {
			out.Start, out.Total = start, total
		}
	case http.StatusNoContent, http.StatusRequestedRangeNotSatisfiable:
		out.Content = logstream.Nothing
		if total, ok := unsatisfied(contentRange); ok {
			out.Total = total
		}
		return out, nil
	default:
		return nil, h.refusal(resp)
	}
	gzipped, err := transport.Gzipped(resp.Header)
	if err != nil {
		return nil, &logstream.Error{Kind: logstream.Permanent, Status: resp.StatusCode, Err: err}
	}
	out.Gzip = gzipped
	return out, nil
}

// refusal returns the error of a response that is not output.
func (h *streamHost) refusal(resp *http.Response) error {
	status := resp.StatusCode
	text := strconv.Itoa(status) + " " + http.StatusText(status)
	if line := firstLine(h.hide.lines(string(transport.ReadErrorBody(resp)), maxErrorText)); line != "" {
		text += ": " + line
	}
	e := &logstream.Error{Kind: logstream.Unsupported, Status: status, Err: errors.New(text)}
	switch {
	case status == http.StatusNotFound:
		e.Kind = logstream.Missing
	case status == http.StatusForbidden, status == http.StatusUnauthorized, status == http.StatusGone:
		e.Kind = logstream.Denied
	case status >= 500, status == http.StatusTooManyRequests, status == http.StatusRequestTimeout:
		e.Kind = logstream.Unavailable
	}
	return e
}

// unsatisfied returns the length of the whole from the Content-Range of a response
// without content.
func unsatisfied(header string) (total int64, ok bool) {
	text, ok := strings.CutPrefix(header, "bytes */")
	if !ok {
		return 0, false
	}
	total, err := strconv.ParseInt(text, 10, 64)
	return total, err == nil && total >= 0
}

var errStreamClosed = errors.New("the output stream is closed")
