package wire

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/herokubuild/herokubuild/internal/clean"
	"github.com/herokubuild/herokubuild/internal/logstream"
	"github.com/herokubuild/herokubuild/internal/redact"
	"github.com/herokubuild/herokubuild/internal/transport"
)

// Stream requests the output of one build or release from its stream host. It is for one
// goroutine at a time.
type Stream struct {
	client *Client
	// url is a closure because fmt prints the unexported fields of a struct.
	url func() string
	// hide has the secrets of the last connection.
	hide        redact.Redactor
	connections int
}

// NewStream returns the Stream of a signed URL.
func (c *Client) NewStream(signed string) *Stream {
	s := &Stream{client: c}
	s.Use(signed)
	return s
}

// Use sets the URL of later requests.
func (s *Stream) Use(signed string) { s.url = func() string { return signed } }

// Redact removes the URL of the last connection and its secrets from an error.
func (s *Stream) Redact(err error) error { return redact.WithoutURL(s.hide.Error(err)) }

// Dial requests the output from an offset, without the API key.
func (s *Stream) Dial(ctx context.Context, from int64) (*logstream.Response, error) {
	s.connections++
	attempt := attemptLog{method: http.MethodGet, url: redact.URL(s.url()), attempt: s.connections, started: time.Now()}
	resp, err := s.request(ctx, from) //nolint:bodyclose // The reader of the output closes it.
	s.hide = redact.New(redact.OfURL(s.url())...).After(resp)
	attempt.hide = s.hide
	attempt.write(ctx, s.client.config.Log, resp, err)
	switch {
	case errors.Is(err, transport.ErrRedirect):
		return nil, &logstream.Error{Kind: logstream.Permanent, Err: redact.WithoutURL(err)}
	case err != nil:
		return nil, err
	}
	body := resp.Body
	// Not every transport ends a read with the context.
	unwatch := context.AfterFunc(ctx, func() { _ = body.Close() })
	defer unwatch()
	out, err := s.response(resp)
	if err != nil {
		_ = body.Close()
		return nil, err
	}
	return out, nil
}

func (s *Stream) request(ctx context.Context, from int64) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url(), nil)
	if err != nil {
		return nil, &logstream.Error{Kind: logstream.Permanent, Err: errors.New("the URL cannot be requested")}
	}
	req.Header.Set("User-Agent", s.client.config.UserAgent)
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
	return s.client.streams.Do(req)
}

// response converts the head of a response.
func (s *Stream) response(resp *http.Response) (*logstream.Response, error) {
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
		return nil, s.refusal(resp)
	}
	gzipped, err := transport.Gzipped(resp.Header)
	if err != nil {
		return nil, &logstream.Error{Kind: logstream.Permanent, Status: resp.StatusCode, Err: err}
	}
	out.Gzip = gzipped
	return out, nil
}

// refusal returns the error of a response that is not output.
func (s *Stream) refusal(resp *http.Response) error {
	status := resp.StatusCode
	text := strconv.Itoa(status) + " " + http.StatusText(status)
	if line := clean.FirstLine(s.hide.Lines(string(transport.ReadErrorBody(resp)), redact.MaxText)); line != "" {
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
