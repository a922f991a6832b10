package platform_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild/internal/platform"
)

const accept = "application/vnd.heroku+json; version=3"

// deadline is generous, since it is only reached if something is broken.
const deadline = 2 * time.Minute

type rig struct {
	*platform.Platform
	t    *testing.T
	http *http.Client
}

func start(t *testing.T, opts platform.Options) *rig {
	t.Helper()
	if opts.StatusLag == 0 {
		opts.StatusLag = -1
	}
	if opts.ReleaseStreamDelay == 0 {
		opts.ReleaseStreamDelay = -1
	}
	if opts.RateLimit == 0 {
		opts.RateLimit = 1_000_000 // the helpers poll often
	}
	p, err := platform.Start(opts)
	require.NoError(t, err)
	c := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(func() {
		c.CloseIdleConnections()
		assert.NoError(t, p.Close())
	})
	return &rig{Platform: p, t: t, http: c}
}

type response struct {
	status int
	header http.Header
	body   []byte
}

func (a response) json(t *testing.T) map[string]any {
	t.Helper()
	var v map[string]any
	require.NoError(t, json.Unmarshal(a.body, &v), "%s", a.body)
	return v
}

func (a response) list(t *testing.T) []map[string]any {
	t.Helper()
	var v []map[string]any
	require.NoError(t, json.Unmarshal(a.body, &v), "%s", a.body)
	return v
}

// send sends a request. The headers are pairs of name and value; an empty value
// removes a header.
func (r *rig) send(method, url string, body io.Reader, headers ...string) response {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), deadline)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	require.NoError(r.t, err)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
		if headers[i+1] == "" {
			req.Header.Del(headers[i])
		}
	}
	resp, err := r.http.Do(req)
	require.NoError(r.t, err)
	defer resp.Body.Close() //nolint:errcheck
	b, err := io.ReadAll(resp.Body)
	require.NoError(r.t, err)
	return response{resp.StatusCode, resp.Header, b}
}

// api sends an authorized request to the API.
func (r *rig) api(method, path, body string, headers ...string) response {
	r.t.Helper()
	all := append([]string{"Accept", accept, "Authorization", "Bearer " + r.Token()}, headers...)
	return r.send(method, r.URL()+path, strings.NewReader(body), all...)
}

func (r *rig) upload(archive []byte) (getURL string) {
	r.t.Helper()
	a := r.api("POST", "/sources", "")
	require.Equal(r.t, 201, a.status, "%s", a.body)
	blob := a.json(r.t)["source_blob"].(map[string]any)
	a = r.send("PUT", blob["put_url"].(string), bytes.NewReader(archive))
	require.Equal(r.t, 200, a.status, "%s", a.body)
	return blob["get_url"].(string)
}

// build starts a build and returns its ID.
func (r *rig) build(app string, archive []byte, source ...string) string {
	r.t.Helper()
	blob := map[string]string{"url": r.upload(archive)}
	for i := 0; i < len(source); i += 2 {
		blob[source[i]] = source[i+1]
	}
	body, err := json.Marshal(map[string]any{"source_blob": blob})
	require.NoError(r.t, err)
	a := r.api("POST", "/apps/"+app+"/builds", string(body))
	require.Equal(r.t, 201, a.status, "%s", a.body)
	v := a.json(r.t)
	require.Equal(r.t, "pending", v["status"])
	require.Nil(r.t, v["slug"])
	require.Nil(r.t, v["release"])
	return v["id"].(string)
}

func (r *rig) waitFor(what string, ok func() bool) {
	r.t.Helper()
	for end := time.Now().Add(deadline); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			require.FailNow(r.t, "timed out waiting for "+what)
		}
	}
}

// waitForRemoval waits until a directory is removed.
func (r *rig) waitForRemoval(dir string) {
	r.t.Helper()
	r.waitFor("the removal of "+dir, func() bool {
		_, err := os.Stat(dir)
		return errors.Is(err, fs.ErrNotExist)
	})
}

// settled waits for the final status of a build or release and returns it as the
// API does.
func (r *rig) settled(path string) map[string]any {
	r.t.Helper()
	var v map[string]any
	r.waitFor(path, func() bool {
		v = r.api("GET", path, "").json(r.t)
		return v["status"] != "pending"
	})
	return v
}

func (r *rig) built(id string) (build map[string]any, output string) {
	r.t.Helper()
	return r.builtBy("example-app", id)
}

func (r *rig) builtBy(app, id string) (build map[string]any, output string) {
	r.t.Helper()
	build = r.settled("/apps/" + app + "/builds/" + id)
	r.waitFor("the end of the output", func() bool { // the status of a canceled build is final before its output ends
		a := r.send("GET", build["output_stream_url"].(string), nil)
		output = string(a.body)
		return a.status != 404
	})
	return build, output
}

type entry struct {
	name, body, link string
	kind             byte
	mode             int64
	pax              map[string]string
}

func targz(t *testing.T, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	zw := gzip.NewWriter(&b)
	tw := tar.NewWriter(zw)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Typeflag: e.kind, Linkname: e.link, Mode: e.mode, Size: int64(len(e.body))}
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if e.pax != nil {
			h = &tar.Header{Typeflag: e.kind, PAXRecords: e.pax}
		} else if h.Mode == 0 {
			h.Mode = 0o644
		}
		require.NoError(t, tw.WriteHeader(h))
		_, err := io.WriteString(tw, e.body)
		require.NoError(t, err)
	}
	require.NoError(t, tw.Close())
	require.NoError(t, zw.Close())
	return b.Bytes()
}

// needUnix skips a test on Windows. Such tests run shell scripts, tar or the
// programs that they build.
func needUnix(t *testing.T) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("requires a POSIX system to run shell scripts and built programs")
	}
}

// inline returns the archive of an app that is compiled by the given shell
// script.
func inline(t *testing.T, script string, more ...entry) []byte {
	t.Helper()
	needUnix(t)
	return targz(t, append([]entry{{name: "./bin/compile", body: "#!/bin/sh\nset -e\n" + script, mode: 0o755}, {name: "./README", body: "hello"}}, more...)...)
}
