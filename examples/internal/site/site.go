// Package site serves the apps of an emulated Heroku in place of their web processes, which
// the emulator does not run.
package site

import (
	"fmt"
	"net/http"

	"github.com/herokubuild/herokubuild/herokutest"
)

// Serve serves an app and returns its URL. Every path responds with the app's name and its
// release, or with 503 if that has no web process.
func Serve(srv *herokutest.Server, app string) (url string, err error) {
	return srv.Serve(app, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		version := webVersion(srv, app)
		if version == 0 {
			http.Error(w, "no web process is running", http.StatusServiceUnavailable)
			return
		}
		_, _ = fmt.Fprintf(w, "%s v%d\n", app, version)
	}))
}

// webVersion returns the version of the release that an app runs, or 0 if that has no web
// process.
func webVersion(srv *herokutest.Server, app string) int {
	for _, r := range srv.Releases(app) {
		if !r.Current || r.ArtifactID == "" {
			continue
		}
		if slug, ok := srv.Slug(r.ArtifactID); ok && slug.ProcessTypes["web"] != "" {
			return r.Version
		}
	}
	return 0
}
