package conformance

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
)

// call is a request to the API with its response.
type call struct {
	method, path, query string
	header              http.Header
	body                []byte

	status         int
	responseHeader http.Header
	response       []byte
}

// recorder is an http.RoundTripper that records the calls to one host.
type recorder struct {
	next http.RoundTripper
	host string

	mu    sync.Mutex
	calls []call
}

func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Host != r.host {
		return r.next.RoundTrip(req)
	}
	c := call{method: req.Method, path: req.URL.EscapedPath(), query: req.URL.RawQuery, header: req.Header.Clone()}
	if req.Body != nil {
		body, err := io.ReadAll(req.Body)
		if err = errors.Join(err, req.Body.Close()); err != nil {
			return nil, err
		}
		c.body = body
		req = req.Clone(req.Context())
		req.Body = io.NopCloser(bytes.NewReader(body))
	}
	resp, err := r.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	c.status, c.responseHeader = resp.StatusCode, resp.Header.Clone()
	c.response, err = io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(c.response))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = append(r.calls, c)
	return resp, nil
}

// take returns the calls recorded since the last take.
func (r *recorder) take() []call {
	r.mu.Lock()
	defer r.mu.Unlock()
	calls := r.calls
	r.calls = nil
	return calls
}

// callCheck validates calls against the schema and counts them by endpoint.
type callCheck struct {
	schema *hyperSchema
	ranges *differences
	seen   map[string]int
}

func (c *callCheck) check(t *testing.T, calls []call) {
	t.Helper()
	for _, call := range calls {
		name := call.method + " " + call.path
		l := c.find(t, call)
		if !assert.NotNil(t, l, "%s %s is not an endpoint of the schema", name, call.body) {
			continue
		}
		c.seen[l.String()]++
		c.checkRequest(t, name, l, call)
		c.checkResponse(t, name, l, call)
	}
}

// find returns the endpoint of a call. Create and Rollback of a release have the
// same URL and are distinguished by the body.
func (c *callCheck) find(t *testing.T, call call) *link {
	t.Helper()
	found := c.schema.find(call.method, call.path)
	if len(found) == 1 {
		return found[0]
	}
	var match *link
	for _, l := range found {
		if l.schema != "" && validate(c.schema.requests, l.schema, decode(t, call.body)) == nil {
			assert.Nil(t, match, "%s %s matches two endpoints", call.method, call.path)
			match = l
		}
	}
	return match
}

var acceptHeader = regexp.MustCompile(`^application/vnd\.heroku\+json; version=3(\.cancel-build)?$`)

func (c *callCheck) checkRequest(t *testing.T, name string, l *link, call call) {
	t.Helper()
	assert.Regexp(t, acceptHeader, call.header.Get("Accept"), name)
	assert.Empty(t, call.query, "%s: the query must be empty", name)
	for i, segment := range l.path.FindStringSubmatch(call.path)[1:] {
		checkValid(t, c.checkIdentity(l.identities[i], segment), name, segment)
	}
	if header := call.header.Get("Range"); header != "" {
		attribute, _, _ := strings.Cut(header, " ")
		if !assert.Equal(t, "instances", l.rel, "%s has a range, but is not a list", name) {
			return
		}
		assert.True(t, slices.Contains(l.ranges, attribute) || c.ranges.allow(l.String()+" by "+attribute), "%s cannot be sorted by %s", l, attribute)
	}
	if l.schema == "" {
		assert.Empty(t, call.body, "%s: the request must have no body", name)
		assert.Empty(t, call.header.Get("Content-Type"), name)
		return
	}
	assert.Equal(t, "application/json", call.header.Get("Content-Type"), name)
	checkValid(t, validate(c.schema.requests, l.schema, decode(t, call.body)), "request of "+name, string(call.body))
}

// checkIdentity validates a segment of a path. A number may be valid as a
// string or as a number.
func (c *callCheck) checkIdentity(pointer, segment string) error {
	err := validate(c.schema.requests, pointer, segment)
	if err == nil || strings.Trim(segment, "0123456789") != "" {
		return err
	}
	return validate(c.schema.requests, pointer, json.Number(segment))
}

func (c *callCheck) checkResponse(t *testing.T, name string, l *link, call call) {
	t.Helper()
	want := map[string][]int{
		"create":    {http.StatusCreated},
		"empty":     {http.StatusAccepted, http.StatusNoContent},
		"instances": {http.StatusOK, http.StatusPartialContent},
		"self":      {http.StatusOK},
		"update":    {http.StatusOK},
	}[l.rel]
	assert.Contains(t, want, call.status, "%s (%s)", name, l.rel)
	assert.NotEmpty(t, call.responseHeader.Get("Request-Id"), name)
	assert.NotEmpty(t, call.responseHeader.Get("RateLimit-Remaining"), name)
	if l.target == "" {
		assert.Empty(t, call.response, "%s: the response must have no body", name)
		return
	}
	assert.Equal(t, "application/json", call.responseHeader.Get("Content-Type"), name)
	checkValid(t, validate(c.schema.responses, l.target, decode(t, call.response)), "response of "+name, string(call.response))
	if l.rel == "instances" {
		assert.Equal(t, call.responseHeader.Get("Next-Range") != "", call.status == http.StatusPartialContent, name)
		for _, attribute := range l.ranges {
			assert.Contains(t, strings.Split(call.responseHeader.Get("Accept-Ranges"), ", "), attribute, name)
		}
	}
}

// checkValid reports a validation error without ending the test, since later
// calls are independent.
func checkValid(t *testing.T, err error, what, value string) {
	t.Helper()
	if err != nil {
		t.Errorf("%s: %v\n%s", what, err, value)
	}
}
