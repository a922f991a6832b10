package site_test

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/herokubuild/herokubuild"
	"github.com/herokubuild/herokubuild/examples/internal/site"
	"github.com/herokubuild/herokubuild/herokutest"
)

func TestAnAppRespondsOnceItHasAReleaseWithAWebProcess(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "Procfile"), []byte("web: server\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	srv := herokutest.NewServer(t, &herokutest.Options{Apps: []string{"shop"}, FirApps: []string{"shop-fir"}})
	for _, app := range []string{"shop", "shop-fir"} {
		url, err := site.Serve(srv, app)
		if err != nil {
			t.Fatal(err)
		}
		if status, _ := get(t, url); status != http.StatusServiceUnavailable {
			t.Errorf("%s responds with %d before its first build", app, status)
		}
		if _, err := srv.Client().BuildAndRelease(t.Context(), herokubuild.BuildAndReleaseOptions{BuildApp: app, Dir: dir}); err != nil {
			t.Fatal(err)
		}
		version := srv.Releases(app)[len(srv.Releases(app))-1].Version
		if status, body := get(t, url+"health"); status != http.StatusOK || body != app+" v3\n" || version != 3 {
			t.Errorf("%s v%d responds with %d %q", app, version, status, body)
		}
	}
	if _, err := site.Serve(srv, "unknown"); err == nil {
		t.Error("no error for an app that does not exist")
	}
}

func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}
