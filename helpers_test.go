package herokubuild_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jarcoal/httpmock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
)

const (
	testToken = "HRKU-not-a-real-key-0123456789"

	appName   = "example-app"
	buildID   = "aeb20ad3-bb9e-4b64-b38b-7a2a8b3e6d8f"
	slugID    = "163a4f3a-1f4e-4a55-8d2c-2f1e0d9c8b7a"
	releaseID = "0fd8f4a2-5c1b-4f7a-9d8e-3b2a1c0d9e8f"
	checksum  = "SHA256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

	apiURL      = "https://api.heroku.com"
	buildsURL   = apiURL + "/apps/" + appName + "/builds"
	buildURL    = buildsURL + "/" + buildID
	releasesURL = apiURL + "/apps/" + appName + "/releases"

	// appID is the id of the app in testdata/app.json.
	appID        = "01234567-89ab-cdef-0123-456789abcde0"
	appBuildsURL = apiURL + "/apps/" + appID + "/builds"

	fakeQuery  = "?AWSAccessKeyId=FAKEKEY&Expires=1893456000&Signature=fake"
	sourceURL  = "https://storage.example.com/sources/1.tgz"
	slugURL    = "https://storage.example.com/slugs/2.tgz"
	outputURL  = "https://build-output.heroku.com/streams/a52/a526a8b7/logs/ae/aeb20ad3.log"
	outputSign = "?X-Amz-Expires=86400&X-Amz-Signature=fake"

	accept = "application/vnd.heroku+json; version=3"
)

// api is a client with a mock transport, which records the requests.
type api struct {
	*herokubuild.Client
	mock *httpmock.MockTransport

	mu       sync.Mutex
	requests []request
}

type request struct {
	Method string
	URL    string
	Header http.Header
	Body   string
	At     time.Time
}

func newAPI(t testing.TB, opts ...herokubuild.Option) *api {
	t.Helper()
	a := &api{mock: httpmock.NewMockTransport()}
	var err error
	a.Client, err = herokubuild.NewClient(append([]herokubuild.Option{
		herokubuild.WithToken(testToken),
		herokubuild.WithBaseURL(apiURL),
		herokubuild.WithTransport(a.mock),
	}, opts...)...)
	require.NoError(t, err)
	return a
}

// on registers the responses to a request. Each request gets the next one, and the
// last one is repeated.
func (a *api) on(method, url string, responses ...httpmock.Responder) {
	calls := 0
	a.mock.RegisterResponder(method, url, func(req *http.Request) (*http.Response, error) {
		r := request{Method: req.Method, URL: req.URL.String(), Header: req.Header.Clone(), At: time.Now()}
		if req.Body != nil {
			body, err := io.ReadAll(req.Body)
			if err != nil {
				return nil, err
			}
			r.Body = string(body)
		}
		a.mu.Lock()
		a.requests = append(a.requests, r)
		respond := responses[min(calls, len(responses)-1)]
		calls++
		a.mu.Unlock()
		return respond(req)
	})
}

// seen returns the requests so far.
func (a *api) seen() []request {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]request(nil), a.requests...)
}

// gaps returns the time between each request and the one before it.
func (a *api) gaps() []time.Duration {
	var gaps []time.Duration
	seen := a.seen()
	for i := 1; i < len(seen); i++ {
		gaps = append(gaps, seen[i].At.Sub(seen[i-1].At))
	}
	return gaps
}

// requireCall checks that exactly one request was made, and that it has what every
// request to the API must have.
func (a *api) requireCall(t *testing.T, method, url, body string) request {
	t.Helper()
	seen := a.seen()
	require.Len(t, seen, 1)
	assertCall(t, seen[0], method, url, body)
	return seen[0]
}

func assertCall(t *testing.T, r request, method, url, body string) {
	t.Helper()
	assert.Equal(t, method, r.Method)
	assert.Equal(t, url, r.URL)
	assert.Equal(t, body, r.Body)
	assert.True(t, strings.HasPrefix(r.Header.Get("Accept"), accept), r.Header.Get("Accept"))
	assert.Equal(t, "Bearer "+testToken, r.Header.Get("Authorization"))
	assert.True(t, strings.HasPrefix(r.Header.Get("User-Agent"), "herokubuild/"+herokubuild.Version+" ("), r.Header.Get("User-Agent"))
	wantType := ""
	if body != "" {
		wantType = "application/json"
	}
	assert.Equal(t, wantType, r.Header.Get("Content-Type"))
}

// reply responds with a status, a body and header fields, which are given in pairs.
func reply(status int, body string, header ...string) httpmock.Responder {
	return func(req *http.Request) (*http.Response, error) {
		resp := httpmock.NewStringResponse(status, body)
		resp.Request = req
		for i := 0; i < len(header); i += 2 {
			resp.Header.Set(header[i], header[i+1])
		}
		return resp, nil
	}
}

func replyFile(t testing.TB, status int, name string) httpmock.Responder {
	t.Helper()
	return reply(status, golden(t, name))
}

func golden(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(t, err)
	return string(b)
}

func fail(err error) httpmock.Responder { return httpmock.NewErrorResponder(err) }

// hang never responds, so that the request ends with its context.
func hang(req *http.Request) (*http.Response, error) {
	<-req.Context().Done()
	return nil, req.Context().Err()
}

var (
	errDial    = &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	errDropped = &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
)

// live responds with a body that the test writes. Like the body of a real
// connection, it fails when the request's context ends.
func live(status int) (httpmock.Responder, *io.PipeWriter) {
	r, w := io.Pipe()
	return func(req *http.Request) (*http.Response, error) {
		ctx := req.Context()
		context.AfterFunc(ctx, func() { _ = r.CloseWithError(ctx.Err()) })
		return &http.Response{StatusCode: status, Header: http.Header{}, Body: r, Request: req}, nil
	}, w
}

// quickRetry shortens all waits, for tests that use real connections.
func quickRetry() herokubuild.Option {
	return herokubuild.WithRetry(herokubuild.RetryOptions{MinWait: time.Microsecond, MaxWait: time.Microsecond, MaxRetryAfter: time.Microsecond})
}

func noRetry() herokubuild.Option {
	return herokubuild.WithRetry(herokubuild.RetryOptions{MaxAttempts: 1})
}

// newServer starts a server on loopback and returns a client for it with its own
// transport.
func newServer(t *testing.T, handler http.HandlerFunc, opts ...herokubuild.Option) (*herokubuild.Client, *httptest.Server) {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	client, err := herokubuild.NewClient(append([]herokubuild.Option{
		herokubuild.WithToken(testToken),
		herokubuild.WithBaseURL(server.URL),
		herokubuild.WithTransport(transport),
		quickRetry(),
	}, opts...)...)
	require.NoError(t, err)
	return client, server
}

// drop closes the connection without a response.
func drop(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	_ = conn.Close()
}

// assertNoSecret checks that a text contains neither the API key nor any part of a
// signature.
func assertNoSecret(t testing.TB, text string) {
	t.Helper()
	for _, secret := range []string{testToken, "Signature=", "FAKEKEY", "fake+signature", "StringToSign"} {
		assert.NotContains(t, text, secret)
	}
}

// assertErrorClean checks that an error prints no secret in any format.
func assertErrorClean(t testing.TB, err error) {
	t.Helper()
	for _, verb := range []string{"%v", "%+v", "%#v", "%q"} {
		assertNoSecret(t, fmt.Sprintf(verb, err))
	}
}

// requireInvalid checks that err is an ArgumentError about the named argument.
func requireInvalid(t testing.TB, err error, name string) *herokubuild.ArgumentError {
	t.Helper()
	var bad *herokubuild.ArgumentError
	require.ErrorAs(t, err, &bad)
	require.ErrorIs(t, err, herokubuild.ErrInvalidArgument)
	assert.Equal(t, name, bad.Name)
	assertErrorClean(t, err)
	return bad
}

func requireAPIError(t testing.TB, err error) *herokubuild.APIError {
	t.Helper()
	var apiErr *herokubuild.APIError
	require.ErrorAs(t, err, &apiErr)
	return apiErr
}

type file struct {
	name, content string
}

// packed returns a gzipped tar archive of the files.
func packed(t testing.TB, files ...file) []byte {
	t.Helper()
	var b bytes.Buffer
	zw := gzip.NewWriter(&b)
	tw := tar.NewWriter(zw)
	for _, f := range files {
		require.NoError(t, tw.WriteHeader(&tar.Header{Name: f.name, Mode: 0o644, Size: int64(len(f.content))}))
		_, err := io.WriteString(tw, f.content)
		require.NoError(t, err)
	}
	require.NoError(t, errors.Join(tw.Close(), zw.Close()))
	return b.Bytes()
}

func testArchive(t testing.TB) (*herokubuild.Archive, []byte) {
	t.Helper()
	b := packed(t, file{name: "main.go", content: "package main\n"}, file{name: "Procfile", content: "web: bin/main\n"})
	a, err := herokubuild.NewArchive(b)
	require.NoError(t, err)
	return a, b
}

func decodeSource(t testing.TB, putURL string) *herokubuild.Source {
	t.Helper()
	signed := herokubuild.SecretURL(putURL)
	return &herokubuild.Source{SourceBlob: herokubuild.SourceURLs{GetURL: signed, PutURL: signed}}
}

func at(t testing.TB, text string) time.Time {
	t.Helper()
	parsed, err := time.Parse(time.RFC3339, text)
	require.NoError(t, err)
	return parsed
}

func countNew(opened interface{ Add(int32) int32 }) func(net.Conn, http.ConnState) {
	return func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
}

// unreachable returns a signed URL of a port on which nothing listens.
func unreachable(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return "http://" + l.Addr().String() + "/blob" + fakeQuery
}

func proxyRefusal() error {
	return &net.OpError{Op: "proxyconnect", Net: "tcp", Err: errors.New("407 Proxy Authentication Required")}
}

func badCertificate() error {
	return &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}
}

func quietLog() *log.Logger { return log.New(io.Discard, "", 0) }

// do is Client.Do for tests that need its error only.
func do(ctx context.Context, c *herokubuild.Client, method, path string, opts *herokubuild.DoOptions) error {
	resp, err := c.Do(ctx, method, path, opts)
	if (resp == nil) != (err != nil) {
		panic("a response and an error, or neither")
	}
	return err
}
