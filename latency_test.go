package herokubuild_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
)

// distant is a transport to a platform that responds after a delay. It records the
// requests and when the build ended.
type distant struct {
	delay time.Duration
	// duration is how long the build takes. It sends a heartbeat every 10 s.
	duration time.Duration

	mu       sync.Mutex
	started  time.Time
	ended    time.Time
	released []time.Time
	requests []string
}

const otherRelease = "7d1c6a80-3c3a-4cf1-9d5e-0a6f1f2b3c4d"

// buildEnded reports whether the build has ended.
func (d *distant) buildEnded(now time.Time) bool {
	return !d.started.IsZero() && now.Sub(d.started) >= d.duration
}

func (d *distant) RoundTrip(req *http.Request) (*http.Response, error) {
	time.Sleep(d.delay)
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	d.requests = append(d.requests, req.Method+" "+req.URL.Path)
	build := func(status, more string) (*http.Response, error) {
		return reply(200, fmt.Sprintf(`{"id":"%s","app":{"id":"%s"},"status":"%s","output_stream_url":"%s","source_blob":{"url":"%s"}%s}`,
			buildID, slugID, status, outputURL, sourceURL, more))(req)
	}
	path := req.URL.Path
	switch {
	case req.URL.Host == "build-output.heroku.com":
		return d.output(req)
	case req.Method == "POST" && strings.HasSuffix(path, "/builds"):
		d.started = now
		return build("pending", "")
	case strings.HasSuffix(path, "/builds"):
		return reply(200, "[]")(req)
	case strings.Contains(path, "/builds/"):
		if !d.buildEnded(now) {
			return build("pending", "")
		}
		return build("succeeded", `,"slug":{"id":"`+slugID+`"},"release":{"id":"`+releaseID+`"}`)
	case req.Method == "POST":
		d.released = append(d.released, now)
		return reply(201, `{"id":"`+otherRelease+`","status":"succeeded","version":4}`)(req)
	case strings.Contains(path, "/releases/"):
		return reply(200, `{"id":"`+releaseID+`","status":"succeeded","version":4}`)(req)
	}
	return reply(200, fmt.Sprintf(`{"id":"%08x-1c3a-4cf1-9d5e-0a6f1f2b3c4d","name":"x"}`, len(d.requests)))(req)
}

const distantLog = "-----> Compiling\n"

// output sends a line, heartbeats until the build ends, and nothing else.
func (d *distant) output(req *http.Request) (*http.Response, error) {
	if req.Header.Get("Range") != "" {
		return reply(206, distantLog, "Content-Range", fmt.Sprintf("bytes 0-%d/%d", len(distantLog)-1, len(distantLog)))(req)
	}
	r, w := io.Pipe()
	wait := d.duration - time.Since(d.started)
	go func() {
		_, _ = io.WriteString(w, distantLog)
		for ; wait > 10*time.Second; wait -= 10 * time.Second {
			time.Sleep(10 * time.Second)
			_, _ = w.Write([]byte{0})
		}
		time.Sleep(wait)
		d.mu.Lock()
		d.ended = time.Now()
		d.mu.Unlock()
		_ = w.Close()
	}()
	return &http.Response{StatusCode: 200, Header: http.Header{}, Body: r, ContentLength: -1, Request: req}, nil
}

// deploy builds appName and releases to the other apps.
func (d *distant) deploy(tb testing.TB, releaseTo ...string) {
	tb.Helper()
	client, err := herokubuild.NewClient(herokubuild.WithToken(testToken), herokubuild.WithBaseURL(apiURL), herokubuild.WithTransport(d))
	require.NoError(tb, err)
	_, err = client.BuildAndRelease(tb.Context(), herokubuild.BuildAndReleaseOptions{
		BuildApp: appName, SourceURL: sourceURL, ReleaseTo: releaseTo,
	})
	require.NoError(tb, err)
	require.Len(tb, d.released, len(releaseTo))
}

// The API requires three consecutive requests between the end of a build and the
// release of its slug: they get the build and its release, and create the release.
// That the output is complete is verified at the same time.
func TestReleaseFollowsBuildWithThreeRequests(t *testing.T) {
	t.Parallel()
	for _, delay := range []time.Duration{0, 20 * time.Millisecond, 100 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			d := &distant{delay: delay, duration: 5 * time.Second}
			d.deploy(t, "other-app")
			assert.Equal(t, 3*delay, d.released[0].Sub(d.ended))
		})
	}
}

// A build without output for ten minutes needs few requests.
func TestLongBuildNeedsFewRequests(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &distant{delay: 20 * time.Millisecond, duration: 10 * time.Minute}
		d.deploy(t)
		t.Logf("%d requests: %s", len(d.requests), strings.Join(d.requests, ", "))
		assert.LessOrEqual(t, len(d.requests), 12)
	})
}
