package platform_test

import (
	"bufio"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild/internal/platform"
)

func (r *rig) source() (get, put string) {
	r.t.Helper()
	blob := r.api("POST", "/apps/example-app/sources", "").json(r.t)["source_blob"].(map[string]any)
	return blob["get_url"].(string), blob["put_url"].(string)
}

func TestBlobRoundTrip(t *testing.T) {
	t.Parallel()
	r := start(t, platform.Options{})
	get, put := r.source()
	a := r.send("GET", get, nil)
	assert.Equal(t, 404, a.status)
	assert.Contains(t, string(a.body), "<Code>NoSuchKey</Code>")

	a = r.send("PUT", put, strings.NewReader("hello world"))
	require.Equal(t, 200, a.status, "%s", a.body)
	sum := md5.Sum([]byte("hello world"))
	etag := `"` + hex.EncodeToString(sum[:]) + `"`
	assert.Equal(t, etag, a.header.Get("ETag"))

	a = r.send("GET", get, nil)
	assert.Equal(t, "hello world", string(a.body))
	assert.Equal(t, etag, a.header.Get("ETag"))
	assert.Equal(t, "11", a.header.Get("Content-Length"))
	a = r.send("GET", get, nil, "Range", "bytes=6-")
	assert.Equal(t, 206, a.status)
	assert.Equal(t, "world", string(a.body))

	require.Equal(t, 200, r.send("PUT", put, strings.NewReader("")).status, "a PUT must replace the object")
	assert.Empty(t, r.send("GET", get, nil).body)
	assert.Equal(t, 200, r.send("PUT", put, strings.NewReader("x"), "Expect", "100-continue").status)
}

func TestBlobStoreIsAsStrictAsS3(t *testing.T) {
	t.Parallel()
	r := start(t, platform.Options{})
	get, put := r.source()
	otherGet, _ := r.source()
	swap := func(u, key, value string) string {
		v, err := url.Parse(u)
		require.NoError(t, err)
		q := v.Query()
		q.Set(key, value)
		v.RawQuery = q.Encode()
		return v.String()
	}
	path := func(u string) string {
		v, err := url.Parse(u)
		require.NoError(t, err)
		return v.Path
	}
	for _, c := range []struct {
		name, method, url string
		header            []string
		status            int
		code              string
	}{
		{"content type", "PUT", put, []string{"Content-Type", "application/gzip"}, 403, "SignatureDoesNotMatch"},
		{"content md5", "PUT", put, []string{"Content-MD5", "x"}, 403, "SignatureDoesNotMatch"},
		{"amz header", "PUT", put, []string{"X-Amz-Acl", "public-read"}, 403, "SignatureDoesNotMatch"},
		{"bearer", "PUT", put, []string{"Authorization", "Bearer x"}, 400, "InvalidArgument"},
		{"bearer on get", "GET", get, []string{"Authorization", "Bearer x"}, 400, "InvalidArgument"},
		{"put to get", "PUT", get, nil, 403, "SignatureDoesNotMatch"},
		{"get from put", "GET", put, nil, 403, "SignatureDoesNotMatch"},
		{"head of get", "HEAD", get, nil, 403, ""},
		{"delete", "DELETE", put, nil, 403, "SignatureDoesNotMatch"},
		{"other object", "GET", strings.Replace(get, path(get), path(otherGet), 1), nil, 403, "SignatureDoesNotMatch"},
		{"longer life", "GET", swap(get, "Expires", "9999999999"), nil, 403, "SignatureDoesNotMatch"},
		{"past", "GET", swap(get, "Expires", "1"), nil, 403, "AccessDenied"},
		{"no number", "GET", swap(get, "Expires", "soon"), nil, 403, "AccessDenied"},
		{"other key", "GET", swap(get, "AWSAccessKeyId", "AKIA"), nil, 403, "InvalidAccessKeyId"},
		{"no signature", "GET", swap(get, "Signature", ""), nil, 403, "AccessDenied"},
	} {
		a := r.send(c.method, c.url, strings.NewReader("x"), c.header...)
		assert.Equal(t, c.status, a.status, c.name)
		assert.Equal(t, "application/xml", a.header.Get("Content-Type"), c.name)
		if c.method == "HEAD" {
			continue // there is no body
		}
		assert.Contains(t, string(a.body), "<Error><Code>"+c.code+"</Code>", c.name)
		if c.code == "SignatureDoesNotMatch" {
			assert.Contains(t, string(a.body), "<StringToSign>", c.name)
			assert.Contains(t, string(a.body), "<AWSAccessKeyId>", c.name)
		}
	}
	a := r.send("PUT", put, io.MultiReader(strings.NewReader("chunked")))
	assert.Equal(t, 411, a.status)
	assert.Contains(t, string(a.body), "MissingContentLength")
	assert.Equal(t, 404, r.send("GET", get, nil).status, "nothing must be stored")
}

func TestBlobURLsExpire(t *testing.T) {
	t.Parallel()
	r := start(t, platform.Options{SourceTTL: -time.Minute})
	get, put := r.source()
	for _, a := range []response{r.send("PUT", put, strings.NewReader("x")), r.send("GET", get, nil)} {
		assert.Equal(t, 403, a.status)
		assert.Contains(t, string(a.body), "<Code>AccessDenied</Code><Message>Request has expired</Message>")
	}
}

func TestShortUploadStoresNothing(t *testing.T) {
	t.Parallel()
	r := start(t, platform.Options{})
	get, put := r.source()
	u, err := url.Parse(put)
	require.NoError(t, err)
	conn, err := net.Dial("tcp", u.Host)
	require.NoError(t, err)
	_, err = fmt.Fprintf(conn, "PUT %s HTTP/1.1\r\nHost: %s\r\nContent-Length: 10\r\n\r\nshort", u.RequestURI(), u.Host)
	require.NoError(t, err)
	require.NoError(t, conn.(*net.TCPConn).CloseWrite())
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.NoError(t, conn.Close())
	assert.Equal(t, 400, resp.StatusCode)
	assert.Contains(t, string(body), "IncompleteBody")
	assert.Equal(t, 404, r.send("GET", get, nil).status)

	conn, err = net.Dial("tcp", u.Host)
	require.NoError(t, err)
	_, err = fmt.Fprintf(conn, "PUT %s HTTP/1.1\r\nHost: %s\r\n\r\n", u.RequestURI(), u.Host)
	require.NoError(t, err)
	resp, err = http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.NoError(t, conn.Close())
	assert.Equal(t, 411, resp.StatusCode, "a PUT without Content-Length must fail")
}
