package wire

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild/internal/logstream"
	"github.com/herokubuild/herokubuild/internal/transport"
)

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

const token = "HRKU-0123456789abcdef"

// client returns a client whose requests all get one response, and the last request.
func client(status int, header http.Header, body string) (*Client, *http.Request) {
	var last http.Request
	return newClient(func(r *http.Request) (*http.Response, error) {
		last = *r
		return &http.Response{StatusCode: status, Header: header.Clone(), Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
	}), &last
}

func newClient(rt roundTrip) *Client {
	return New(Config{
		Base: "https://api.example.com", Token: func(context.Context) (string, error) { return token, nil }, UserAgent: "test",
		Log: slog.New(slog.DiscardHandler), Policy: transport.Policy{MaxAttempts: 1}.WithDefaults(), Timeout: time.Minute, Transport: rt,
	})
}

func failure(t *testing.T, err error) *Error {
	t.Helper()
	var e *Error
	require.ErrorAs(t, err, &e)
	assert.NotContains(t, e.Error(), token)
	return e
}

func TestCallsFollowTheConventions(t *testing.T) {
	t.Parallel()
	c, sent := client(200, http.Header{"Ratelimit-Remaining": {"7"}, "Request-Id": {"r1"}, "Next-Range": {"id ]a.."}}, `{"id":"x"}`)
	var out struct{ ID string }
	resp, err := c.Do(t.Context(), Call{
		Method: "POST", Path: "/apps", Query: "a=b", Variant: ".v", Body: map[string]string{"u": "a&b"},
		UserHeader: http.Header{"X-A": {"1"}, "Accept": {"no"}}, Header: http.Header{"Range": {"id"}},
	}, &out)
	require.NoError(t, err)
	assert.Equal(t, "x", out.ID)
	assert.Equal(t, "https://api.example.com/apps?a=b", sent.URL.String())
	for name, want := range map[string]string{
		"Accept": acceptHeader + ".v", "Authorization": "Bearer " + token, "User-Agent": "test", "Content-Type": "application/json", "X-A": "1", "Range": "id",
	} {
		assert.Equal(t, []string{want}, sent.Header.Values(name), name)
	}
	assert.Equal(t, "r1", resp.RequestID())
	assert.Equal(t, "id ]a..", resp.NextRange())
	left, known := c.Rate.Left()
	assert.Equal(t, 7, left)
	assert.True(t, known)
}

func TestFailuresOfCallsAreClassified(t *testing.T) {
	t.Parallel()
	partial, wrong := errors.New("partial"), errors.New("wrong")
	for name, tt := range map[string]struct {
		status int
		header http.Header
		body   string
		call   Call
		want   Kind
		err    error
	}{
		"refused":           {status: 422, body: `{"id":"invalid_params","message":"no"}`, want: Refused},
		"not JSON":          {status: 200, body: `<html>`, want: Unusable},
		"empty":             {status: 200, want: Unusable},
		"null":              {status: 200, body: " null", want: Unusable},
		"too large":         {status: 200, body: `"` + strings.Repeat("x", maxObjectBytes) + `"`, want: Unusable, err: transport.ErrTooLarge},
		"too many elements": {status: 200, body: `[` + strings.Repeat("1,", maxElements) + `1]`, want: Unusable},
		"the first page":    {status: 206, header: http.Header{"Next-Range": {"id x.."}}, body: `[]`, call: Call{Partial: partial}, want: Unusable, err: partial},
		"not valid":         {status: 200, body: `{}`, call: Call{Validate: func(any) error { return wrong }}, want: Unusable, err: wrong},
		"body":              {status: 200, call: Call{Body: func() {}}, want: Invalid},
		"method":            {status: 200, call: Call{Method: "A B"}, want: Invalid},
	} {
		c, _ := client(tt.status, tt.header, tt.body)
		call := tt.call
		if call.Method == "" {
			call.Method = http.MethodGet
		}
		call.Path = "/x"
		var out any
		_, err := c.Do(t.Context(), call, &out)
		e := failure(t, err)
		assert.Equal(t, tt.want, e.Kind, name)
		if tt.err != nil {
			assert.ErrorIs(t, e, tt.err, name)
		}
	}
}

func TestFailuresBeforeAResponse(t *testing.T) {
	t.Parallel()
	lost := errors.New("lost " + token)
	e := failure(t, second(newClient(func(*http.Request) (*http.Response, error) { return nil, lost }).Do(t.Context(), Call{Method: "POST", Path: "/x"}, nil)))
	assert.Equal(t, NoResponse, e.Kind)
	assert.Equal(t, 1, e.Attempts)
	assert.True(t, e.MaybeApplied)
	assert.NotEmpty(t, e.RequestID)

	c := newClient(nil)
	none := errors.New("no key")
	c.config.Token = func(context.Context) (string, error) { return "", none }
	e = failure(t, second(c.Do(t.Context(), Call{Method: "GET", Path: "/x"}, nil)))
	assert.Equal(t, NotSent, e.Kind)
	assert.Equal(t, none, e.Err)
}

func second[T any](_ T, err error) error { return err }

func TestDocumentsOfErrors(t *testing.T) {
	t.Parallel()
	c, _ := client(404, nil, `{"id":"not_found","message":"no `+token+`","url":7,"resource":"app"}`)
	e := failure(t, second(c.Do(t.Context(), Call{Method: "GET", Path: "/x"}, nil)))
	assert.Equal(t, Document{ID: "not_found", Message: "no REDACTED", Resource: "app"}, e.Document)

	c, _ = client(302, http.Header{"Location": {"https://h.example.com/?key=1"}}, "moved")
	e = failure(t, second(c.Do(t.Context(), Call{Method: "GET", Path: "/x"}, nil)))
	assert.Equal(t, "moved", e.Document.Body)
	assert.Contains(t, e.Document.Message, "https://h.example.com/?REDACTED")

	for body, want := range map[string]Document{
		`<?xml version="1.0" encoding="UTF-16"?><Error><Code>AccessDenied</Code><Message>no</Message><StringToSign>s</StringToSign></Error>`: {ID: "AccessDenied", Message: "no"},
		`<Error><StringToSign>s</StringToSign></Error>`: {},
		"plain": {Body: "plain"},
	} {
		c, _ = client(403, nil, body)
		resp, err := c.Transfer(t.Context(), Transfer{Kind: transport.Download, Method: "GET", URL: "https://s.example.com/a?sig=1", Success: []int{200}}) //nolint:bodyclose // there is none
		assert.Nil(t, resp)
		e = failure(t, err)
		assert.Equal(t, RefusedByStorage, e.Kind)
		assert.Equal(t, want, e.Document, body)
		assert.NotContains(t, e.URL, "sig")
	}
}

func TestTransfersHaveNoKey(t *testing.T) {
	t.Parallel()
	c, sent := client(206, nil, "archive")
	resp, err := c.Transfer(t.Context(), Transfer{
		Kind: transport.Download, Method: "GET", URL: "https://s.example.com/a?sig=1", Success: []int{206}, From: 3, OriginHeader: http.Header{"X-A": {"1"}},
	})
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	assert.Empty(t, sent.Header.Get("Authorization"))
	assert.Equal(t, "bytes=3-", sent.Header.Get("Range"))
	assert.Equal(t, "identity", sent.Header.Get("Accept-Encoding"))
	assert.Equal(t, "1", sent.Header.Get("X-A"))

	bad := errors.New("bad archive")
	_, err = c.Transfer(t.Context(), Transfer{ //nolint:bodyclose // there is none
		Kind: transport.Upload, Method: "PUT", URL: "https://s.example.com/a", Body: func() (io.ReadCloser, error) { return nil, bad }, Size: 1,
	})
	e := failure(t, err)
	assert.Equal(t, NotSent, e.Kind)
	assert.Equal(t, bad, e.Err)

	c, _ = client(204, nil, "")
	_, err = c.Transfer(t.Context(), Transfer{Kind: transport.Download, Method: "GET", URL: "https://s.example.com/a", Success: []int{200}}) //nolint:bodyclose // there is none
	assert.Equal(t, Unusable, failure(t, err).Kind)
}

func TestResponsesOfStreamHosts(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		status int
		header http.Header
		want   logstream.Response
		kind   logstream.Kind
	}{
		"whole":          {status: 200, want: logstream.Response{Content: logstream.Whole, Start: logstream.Unknown, Total: logstream.Unknown}},
		"part":           {status: 206, header: http.Header{"Content-Range": {"bytes 5-9/10"}}, want: logstream.Response{Content: logstream.Part, Start: 5, Total: 10}},
		"part, no range": {status: 206, want: logstream.Response{Content: logstream.Part, Start: logstream.Unknown, Total: logstream.Unknown}},
		"nothing":        {status: 204, want: logstream.Response{Content: logstream.Nothing, Start: logstream.Unknown, Total: logstream.Unknown}},
		"beyond the end": {status: 416, header: http.Header{"Content-Range": {"bytes */10"}}, want: logstream.Response{Content: logstream.Nothing, Start: logstream.Unknown, Total: 10}},
		"compressed":     {status: 200, header: http.Header{"Content-Encoding": {"gzip"}}, want: logstream.Response{Content: logstream.Whole, Start: logstream.Unknown, Total: logstream.Unknown, Gzip: true}},
		"other encoding": {status: 200, header: http.Header{"Content-Encoding": {"br"}}, kind: logstream.Permanent},
		"not there":      {status: 404, kind: logstream.Missing},
		"expired":        {status: 403, kind: logstream.Denied},
		"gone":           {status: 410, kind: logstream.Denied},
		"busy":           {status: 503, kind: logstream.Unavailable},
		"limited":        {status: 429, kind: logstream.Unavailable},
		"teapot":         {status: 418, kind: logstream.Unsupported},
	} {
		c, sent := client(tt.status, tt.header, "text")
		got, err := c.NewStream("https://h.example.com/s?sig=1").Dial(t.Context(), 5) //nolint:bodyclose // It is in memory.
		assert.Empty(t, sent.Header.Get("Authorization"), name)
		assert.Equal(t, "bytes=5-", sent.Header.Get("Range"), name)
		if err != nil {
			var e *logstream.Error
			require.ErrorAs(t, err, &e, name)
			assert.Equal(t, tt.kind, e.Kind, name)
			continue
		}
		tt.want.Status, tt.want.Body = tt.status, got.Body
		assert.Equal(t, &tt.want, got, name)
	}
}

func TestUndecodableValues(t *testing.T) {
	t.Parallel()
	var channel chan int
	var reader io.Reader
	for _, bad := range []any{1, (*int)(nil), &channel, &reader, new([]func()), struct{}{}} {
		assert.NotEmpty(t, Undecodable(bad), "%T", bad)
	}
	for _, good := range []any{new(int), new(any), new(map[string]any), new([]struct{ ID string })} {
		assert.Empty(t, Undecodable(good), "%T", good)
	}
	assert.True(t, Decodable(reflect.TypeFor[*struct{}]()))
}
