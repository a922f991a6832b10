package conformance

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// rawRequest is a request in exactly the form in which a client sends it.
type rawRequest struct {
	client       string
	method, path string
	headers      map[string]string
	body         string
	status       int
}

const plainAccept = "application/vnd.heroku+json; version=3"

// send sends a request without the headers that Go's client would add.
func (r *rig) send(t *testing.T, req rawRequest) (*http.Response, []byte) {
	t.Helper()
	url := req.path
	if strings.HasPrefix(url, "/") {
		url = r.platform.URL() + url
	}
	var body io.Reader
	if req.body != "" {
		body = strings.NewReader(req.body)
	}
	hr, err := http.NewRequestWithContext(t.Context(), req.method, url, body)
	require.NoError(t, err)
	for name, value := range req.headers {
		hr.Header[http.CanonicalHeaderKey(name)] = []string{value}
	}
	resp, err := http.DefaultClient.Do(hr)
	require.NoError(t, err)
	defer resp.Body.Close() //nolint:errcheck // only read
	content, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp, content
}

// TestRequestsOfOtherClients sends requests that clients of others were recorded
// to send. Clients in Go and Node are tested themselves; see herokugo_test.go and
// cli_test.go.
func TestRequestsOfOtherClients(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	token := r.platform.Token()
	encoded := func(user string) string { return base64.StdEncoding.EncodeToString([]byte(user + ":" + token)) }
	with := func(more ...string) map[string]string {
		h := map[string]string{"Accept": plainAccept, "Authorization": "Bearer " + token}
		for i := 0; i < len(more); i += 2 {
			h[more[i]] = more[i+1]
		}
		return h
	}
	for _, req := range []rawRequest{
		// Its default Range is part of every request, also of those without a list.
		{"heroku-client 2 for Node", "GET", "/apps", with("Range", "id ]..; max=1000"), "", 200},
		{"heroku-client 2 for Node", "GET", "/apps/abc", with("Range", "id ]..; max=1000"), "", 200},
		{"heroku-client 2 for Node", "GET", "/apps/abc/releases", with("Range", "id ]..; max=1000"), "", 200},
		{"heroku-client 2 for Node", "GET", "/apps/abc/builds", with("Range", "id ]..; max=1000"), "", 200},
		{"heroku-client 2 for Node", "GET", "/apps/abc/addons", with("Range", "id ]..; max=1000"), "", 200},
		{"heroku-client 2 for Node", "GET", "/apps/abc/releases", with("Range", "version ]..; max=1, order=desc"), "", 206},
		{"heroku-client 3 for Node", "GET", "/apps/abc/releases", with("Range", "version ..; max=1, order=desc"), "", 206},
		{"heroku-client 3 for Node", "POST", "/sources", with("Content-Type", "application/json"), "", 201},
		{"JVM deployer", "GET", "/account", with("Authorization", encoded("")), "", 200},
		{"JVM deployer", "POST", "/sources", with("Authorization", encoded("")), "", 201},
		{"platform-api for Ruby", "GET", "/apps/abc", with("Authorization", "Basic "+encoded("user@example.com")), "", 200},
		{"heroku3.py", "GET", "/apps/abc/releases", with("Accept", plainAccept+".cedar-acm", "Range", "id ..; ;"), "", 200},
		{"dpl", "POST", "/sources", with("Content-Type", "application/x-www-form-urlencoded"), "", 201},
		{"any with a map for a body", "POST", "/apps/abc/slugs", with("Content-Type", "application/json"), `{"process_types":{},"stack":null,"commit":null,"checksum":null}`, 201},
		{"any without an Accept header", "GET", "/apps/abc", with("Accept", "application/json"), "", 406},
		{"any with the key alone", "GET", "/apps/abc", with("Authorization", token), "", 401},
	} {
		resp, body := r.send(t, req)
		assert.Equal(t, req.status, resp.StatusCode, "%s: %s %s %v: %s", req.client, req.method, req.path, req.headers, body)
	}
}

func TestUploadsOfOtherClients(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	auth := map[string]string{"Accept": plainAccept, "Authorization": "Bearer " + r.platform.Token()}
	resp, body := r.send(t, rawRequest{method: "POST", path: "/sources", headers: auth})
	require.Equal(t, http.StatusCreated, resp.StatusCode)
	var source struct {
		Blob struct {
			GetURL string `json:"get_url"`
			PutURL string `json:"put_url"`
		} `json:"source_blob"`
	}
	require.NoError(t, json.Unmarshal(body, &source))
	for _, c := range []struct {
		client  string
		headers map[string]string
		status  int
	}{
		{"Terraform provider", nil, http.StatusOK},
		{"plugin heroku-builds", map[string]string{"Content-Type": ""}, http.StatusOK},
		{"any that sends a Content-Type", map[string]string{"Content-Type": "application/gzip"}, http.StatusForbidden},
	} {
		resp, body := r.send(t, rawRequest{method: "PUT", path: source.Blob.PutURL, headers: c.headers, body: "archive"})
		assert.Equal(t, c.status, resp.StatusCode, "%s: %s", c.client, body)
	}
	resp, body = r.send(t, rawRequest{method: "GET", path: source.Blob.GetURL})
	assert.Equal(t, http.StatusOK, resp.StatusCode)
	assert.Equal(t, "archive", string(body))

	// heroku-go and platform-api fail on the empty body, as they do at Heroku.
	resp, body = r.send(t, rawRequest{method: "DELETE", path: "/apps/abc/build-cache", headers: auth})
	assert.Equal(t, http.StatusAccepted, resp.StatusCode)
	assert.Equal(t, "application/json", resp.Header.Get("Content-Type"))
	assert.Empty(t, body)
}
