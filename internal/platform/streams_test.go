package platform_test

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild/internal/platform"
)

// printer returns a Builder that prints the lines sent to the channel.
func printer() (chan<- string, platform.Builder) {
	lines := make(chan string)
	return lines, platform.BuilderFunc(func(ctx context.Context, j *platform.Job) error {
		for {
			select {
			case s, ok := <-lines:
				if !ok {
					return nil
				}
				if _, err := io.WriteString(j.Output, s); err != nil {
					return err
				}
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
}

const head = "-----> Building on the Heroku-24 stack\n"

func (r *rig) live(url string, headers ...string) *http.Response {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), "GET", url, nil)
	require.NoError(r.t, err)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := r.http.Do(req)
	require.NoError(r.t, err)
	r.t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

func read(t *testing.T, resp *http.Response, n int) string {
	t.Helper()
	b := make([]byte, n)
	_, err := io.ReadFull(resp.Body, b)
	require.NoError(t, err)
	return string(b)
}

func TestStream(t *testing.T) {
	t.Parallel()
	lines, builder := printer()
	r := start(t, platform.Options{Builder: builder})
	id := r.build("example-app", targz(t, entry{name: "a", body: "x"}))
	url := r.api("GET", "/apps/example-app/builds/"+id, "").json(t)["output_stream_url"].(string)
	assert.Regexp(t, `/streams/[0-9a-f]{2}/[0-9a-f-]{36}/logs/[0-9a-f]{2}/[0-9a-f-]{36}\.log\?.*&X-Amz-Expires=86400&X-Amz-Signature=[0-9a-f]{64}`, url)

	whole := r.live(url)
	assert.Equal(t, 200, whole.StatusCode)
	assert.Equal(t, []string{"chunked"}, whole.TransferEncoding)
	assert.Equal(t, head, read(t, whole, len(head)))
	lines <- "one\x00two"
	assert.Equal(t, "one\x00two", read(t, whole, 7), "output must arrive immediately, including its own NULs")

	late := r.live(url, "Range", "bytes=5-")
	assert.Equal(t, 206, late.StatusCode)
	assert.Equal(t, "bytes 5-*/*", late.Header.Get("Content-Range"))
	assert.Equal(t, (head + "one")[5:], read(t, late, len(head)-2))
	ahead := r.live(url, "Range", "bytes=50-")
	assert.Equal(t, 206, ahead.StatusCode, "a range beyond the current end must wait for output")
	lines <- "three\n"
	assert.Equal(t, (head + "one\x00two" + "three\n")[50:52], read(t, ahead, 2))
	close(lines)

	build, out := r.built(id)
	assert.Equal(t, "succeeded", build["status"])
	rest, err := io.ReadAll(whole.Body)
	require.NoError(t, err)
	assert.Equal(t, out, head+"one\x00two"+string(rest))

	n := len(out)
	for _, c := range []struct {
		header, value string
		status        int
		contentRange  string
		body          string
	}{
		{"Range", "bytes=0-", 206, "bytes 0-" + itoa(n-1) + "/" + itoa(n), out},
		{"Range", "bytes=7-", 206, "bytes 7-" + itoa(n-1) + "/" + itoa(n), out[7:]},
		{"Range", "7-", 206, "bytes 7-" + itoa(n-1) + "/" + itoa(n), out[7:]},
		{"Last-Event-Id", "7", 206, "bytes 7-" + itoa(n-1) + "/" + itoa(n), out[7:]},
		{"Range", "bytes=" + itoa(n) + "-", 204, "", ""},
		{"Range", "bytes=" + itoa(n+1) + "-", 416, "bytes */" + itoa(n), ""},
		{"Range", "bytes=-7", 200, "", out},
		{"Range", "lines=7-", 200, "", out},
		{"Range", "bytes=1-2", 200, "", out},
		{"Authorization", "Bearer x", 200, "", out},
	} {
		a := r.send("GET", url, nil, c.header, c.value)
		assert.Equal(t, c.status, a.status, c.value)
		assert.Equal(t, c.body, string(a.body), c.value)
		assert.Equal(t, c.contentRange, a.header.Get("Content-Range"), c.value)
	}
	a := r.send("GET", url, nil, "Range", "bytes=3-", "Last-Event-Id", "9")
	assert.Equal(t, out[9:], string(a.body), "Last-Event-Id must take precedence")
	assert.Equal(t, 200, r.send("HEAD", url, nil).status)
	assert.Equal(t, 405, r.send("POST", url, nil).status)
}

func itoa(n int) string { return strconv.Itoa(n) }

func TestHeartbeats(t *testing.T) {
	t.Parallel()
	lines, builder := printer()
	r := start(t, platform.Options{Builder: builder, Heartbeat: 5 * time.Millisecond})
	id := r.build("example-app", targz(t, entry{name: "a", body: "x"}))
	lines <- "begun" // so that there is output to read past
	url := r.api("GET", "/apps/example-app/builds/"+id, "").json(t)["output_stream_url"].(string)
	s := r.live(url, "Range", "bytes="+itoa(len(head)+5)+"-")
	assert.Equal(t, "\x00\x00\x00", read(t, s, 3))
	lines <- "text"
	var text strings.Builder
	for text.Len() < 4 {
		if b := read(t, s, 1); b != "\x00" {
			text.WriteString(b)
		}
	}
	assert.Equal(t, "text", text.String())
	close(lines)
	_, out := r.built(id)
	assert.NotContains(t, out, "\x00", "heartbeats must not be part of the output")
}

func TestStreamURLs(t *testing.T) {
	t.Parallel()
	r := start(t, platform.Options{})
	id := r.build("example-app", inline(t, ""))
	build, _ := r.built(id)
	url := build["output_stream_url"].(string)
	path, _, _ := strings.Cut(url, "?")
	for _, u := range []string{
		path,
		strings.Replace(url, "X-Amz-Expires=86400", "X-Amz-Expires=86401", 1),
		url + "0",
		strings.Replace(url, "/logs/", "/logs/x", 1),
		strings.Replace(url, id+".log", "none.log", 1),
	} {
		a := r.send("GET", u, nil)
		assert.Equal(t, 404, a.status, u)
		assert.Equal(t, "Channel is not registered.", string(a.body))
		assert.Contains(t, a.header.Get("Content-Type"), "text/plain")
	}

	expired := start(t, platform.Options{StreamTTL: -time.Second})
	id = expired.build("example-app", inline(t, ""))
	build = expired.settled("/apps/example-app/builds/" + id)
	assert.Equal(t, 404, expired.send("GET", build["output_stream_url"].(string), nil).status)
}

func TestReleaseStreamDelay(t *testing.T) {
	t.Parallel()
	r := start(t, platform.Options{ReleaseStreamDelay: time.Hour})
	v, out := r.phase("echo x")
	assert.Equal(t, "succeeded", v["status"])
	assert.Equal(t, "Channel is not registered.", out)

	soon := start(t, platform.Options{ReleaseStreamDelay: 50 * time.Millisecond})
	v, _ = soon.phase("echo x")
	soon.waitFor("the stream", func() bool { return soon.send("GET", v["output_stream_url"].(string), nil).status == 200 })
}

func TestStatusLag(t *testing.T) {
	t.Parallel()
	r := start(t, platform.Options{StatusLag: time.Hour})
	id := r.build("example-app", inline(t, ""))
	url := r.api("GET", "/apps/example-app/builds/"+id, "").json(t)["output_stream_url"].(string)
	_, err := io.ReadAll(r.live(url).Body)
	require.NoError(t, err)
	v := r.api("GET", "/apps/example-app/builds/"+id, "").json(t)
	assert.Equal(t, "pending", v["status"])
	assert.Nil(t, v["release"])
	assert.Equal(t, 422, r.api("DELETE", "/apps/example-app/builds/"+id, "").status, "the build can no longer be canceled")
	require.NoError(t, r.Close(), "Close must not wait for the status")
}

// TestLargeOutput reads more output than any buffer holds with a slow reader.
func TestLargeOutput(t *testing.T) {
	t.Parallel()
	lines, builder := printer()
	r := start(t, platform.Options{Builder: builder})
	id := r.build("example-app", targz(t, entry{name: "a", body: "x"}))
	url := r.api("GET", "/apps/example-app/builds/"+id, "").json(t)["output_stream_url"].(string)
	s := r.live(url)
	block := strings.Repeat("0123456789abcdef", 1<<16)
	for range 16 {
		lines <- block
	}
	close(lines)
	all, err := io.ReadAll(s.Body)
	require.NoError(t, err)
	_, out := r.built(id)
	assert.Equal(t, out, string(all))
	assert.Contains(t, out, strings.Repeat(block, 16))
}
