package platform_test

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild/internal/platform"
)

func (r *rig) webURL(app string) string {
	r.t.Helper()
	a := r.api("GET", "/apps/"+app, "")
	require.Equal(r.t, 200, a.status)
	web := a.json(r.t)["web_url"].(string)
	assert.Equal(r.t, r.WebURL(app), web)
	u, err := url.Parse(web)
	require.NoError(r.t, err)
	assert.Equal(r.t, "127.0.0.1", u.Hostname(), "an app is not on the internet")
	return web
}

func text(body string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, body+" "+r.URL.RequestURI())
	})
}

func TestAppWithoutHandlerIsUnavailable(t *testing.T) {
	t.Parallel()
	r := start(t, platform.Options{})
	web := r.webURL("example-app")
	assert.NotEqual(t, web, r.webURL("other-app"))
	a := r.send("GET", web+"healthz", nil)
	assert.Equal(t, 503, a.status)
	assert.Equal(t, "text/html; charset=utf-8", a.header.Get("Content-Type"))
	require.NoError(t, r.Rename("example-app", "new-name"))
	assert.Equal(t, 404, r.send("GET", web, nil).status, "there is no app of the old name")
	assert.Equal(t, 503, r.send("GET", r.webURL("new-name"), nil).status)
	assert.Empty(t, r.WebURL("no-app"))
}

func TestServeApp(t *testing.T) {
	t.Parallel()
	r := start(t, platform.Options{Builder: platform.BuilderFunc(compiled)})
	before := r.webURL("example-app")
	web, err := r.Serve("example-app", text("first"))
	require.NoError(t, err)
	assert.Equal(t, web, r.webURL("example-app"))
	u, err := url.Parse(web)
	require.NoError(t, err)
	assert.Equal(t, "/", u.Path, "an app is at the root of its URL")
	assert.Equal(t, "first /a%2Fb?c=d", string(r.send("GET", web+"a%2Fb?c=d", nil).body))
	assert.Equal(t, "first /a%2Fb?c=d", string(r.send("GET", before+"a%2Fb?c=d", nil).body), "the router redirects")

	require.NoError(t, r.Rename("example-app", "new-name"))
	again, err := r.Serve("new-name", text("second"))
	require.NoError(t, err)
	assert.Equal(t, web, again)
	assert.Equal(t, "second /", string(r.send("GET", web, nil).body))
	all := r.Requests()
	last := all[len(all)-1]
	assert.Equal(t, "web", last.Host)
	assert.Equal(t, "new-name", last.App)
	assert.Equal(t, 200, last.Status)

	_, out := r.builtBy("new-name", r.build("new-name", targz(t, entry{name: "x"})))
	assert.Contains(t, out, "       "+web+" deployed to Heroku\n")

	_, err = r.Serve("new-name", nil)
	require.NoError(t, err)
	assert.Equal(t, 503, r.send("GET", web, nil).status)
	_, err = r.Serve("no-app", text(""))
	require.Error(t, err)
	require.NoError(t, r.Close())
	_, err = r.Serve("new-name", text(""))
	require.Error(t, err)
	_, err = r.http.Get(web)
	require.Error(t, err)
}

func TestServedAppStreamsAndFails(t *testing.T) {
	t.Parallel()
	next := make(chan struct{})
	r := start(t, platform.Options{Faults: func(at platform.FaultPoint) platform.Fault {
		switch {
		case at.Host != "web":
			return platform.Fault{}
		case at.Path == "/down":
			return platform.Fault{Status: 503}
		default:
			return platform.Fault{Delay: 1}
		}
	}})
	web, err := r.Serve("example-app", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "a")
		w.(http.Flusher).Flush()
		<-next
		_, _ = io.WriteString(w, "b")
	}))
	require.NoError(t, err)
	resp, err := r.http.Get(web)
	require.NoError(t, err)
	defer resp.Body.Close() //nolint:errcheck
	first := make([]byte, 1)
	_, err = io.ReadFull(resp.Body, first)
	require.NoError(t, err)
	close(next)
	rest, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	assert.Equal(t, "ab", string(first)+string(rest))

	a := r.send("GET", web+"down", nil)
	assert.Equal(t, 503, a.status)
	assert.Equal(t, "text/html; charset=utf-8", a.header.Get("Content-Type"))
}

func TestServedAppUpgradesConnections(t *testing.T) {
	t.Parallel()
	r := start(t, platform.Options{})
	web, err := r.Serve("example-app", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if !assert.NoError(t, err) {
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi")
		_ = conn.Close()
	}))
	require.NoError(t, err)
	assert.Equal(t, "hi", string(r.send("GET", web, nil).body))
}

func TestCloseEndsRequestsToApps(t *testing.T) {
	t.Parallel()
	r := start(t, platform.Options{})
	began := make(chan struct{})
	web, err := r.Serve("example-app", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(began)
		<-r.Context().Done()
	}))
	require.NoError(t, err)
	ended := make(chan error)
	go func() {
		resp, err := r.http.Get(web)
		if err == nil {
			err = resp.Body.Close()
		}
		ended <- err
	}()
	<-began
	require.NoError(t, r.Close())
	require.Error(t, <-ended)
}

func TestCurrentRelease(t *testing.T) {
	t.Parallel()
	failing := make(chan bool, 1)
	r := start(t, platform.Options{Builder: platform.BuilderFunc(compiled), ReleasePhase: func(context.Context, *platform.Phase) error {
		if <-failing {
			return assert.AnError
		}
		return nil
	}})
	for _, step := range []struct{ fails, release bool }{{}, {release: true}, {release: true, fails: true}} {
		if step.release {
			failing <- step.fails
			r.phaseOf(targz(t, entry{name: "Procfile", body: "release: true\n"}))
		}
		current, ok := r.Current("example-app")
		require.True(t, ok)
		all := r.Releases("example-app")
		want := all[len(all)-1]
		if step.fails {
			want = all[len(all)-2]
		}
		assert.Equal(t, want, current)
	}
	_, ok := r.Current("no-app")
	assert.False(t, ok)
}
