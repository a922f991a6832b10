package platform

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
)

// Serve serves an app with a handler, whatever has been released, and returns the
// app's web_url. The app gets a port of its own and is at the root of its URL, which
// stays the same until the platform is closed, even if the app is renamed.
//
// Another call replaces the handler. With a nil handler, requests get a 503, as those
// to an app without web processes.
//
// Close cancels the contexts of requests and waits for the handler to return.
func (p *Platform) Serve(app string, h http.Handler) (url string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	a := p.findApp(app)
	switch {
	case a == nil:
		return "", fmt.Errorf("no app %q", app)
	case p.ctx.Err() != nil:
		return "", fmt.Errorf("serve %s: %w", a.name, errClosed)
	}
	if a.site == nil {
		site, err := p.listen(roleWeb, p.free, p.siteHandler(a))
		if err != nil {
			return "", fmt.Errorf("serve %s: %w", a.name, err)
		}
		a.site = site
		site.serve()
	}
	a.handler = h
	return p.webURL(a), nil
}

// WebURL returns the web_url of an app, or an empty string if there is no such app.
func (p *Platform) WebURL(app string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if a := p.findApp(app); a != nil {
		return p.webURL(a)
	}
	return ""
}

// webURL returns the URL of an app: that of its own origin, or otherwise a path of the
// router. The caller must hold mu.
func (p *Platform) webURL(a *app) string {
	if a.site != nil {
		return a.site.url + "/"
	}
	return p.web.url + "/" + a.name + "/"
}

// siteHandler serves an app at the root of its own origin.
func (p *Platform) siteHandler(a *app) http.Handler {
	name := func(*http.Request) string {
		p.mu.Lock()
		defer p.mu.Unlock()
		return a.name
	}
	return p.middleware(roleWeb, name, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		h := a.handler
		p.mu.Unlock()
		if h == nil {
			writeRouterPage(w, http.StatusServiceUnavailable)
			return
		}
		h.ServeHTTP(webResponse{w}, r)
	}))
}

// routerHandler serves the apps that have had no handler, each below its name.
func (p *Platform) routerHandler() http.Handler {
	name := func(r *http.Request) string {
		name, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		return name
	}
	return p.middleware(roleWeb, name, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		a := p.findApp(name(r))
		var site *origin
		if a != nil {
			site = a.site
		}
		p.mu.Unlock()
		switch {
		case a == nil:
			writeRouterPage(w, http.StatusNotFound)
		case site == nil:
			writeRouterPage(w, http.StatusServiceUnavailable)
		default: // the URL dates from before the first handler
			_, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.RequestURI(), "/"), "/")
			http.Redirect(w, r, site.url+"/"+rest, http.StatusTemporaryRedirect) //nolint:gosec // a loopback address
		}
	}))
}

// routerPage is the page that Heroku's routers send instead of an app's response.
const routerPage = `<!DOCTYPE html>
	<html>
	  <head>
		<meta name="viewport" content="width=device-width, initial-scale=1">
		<meta charset="utf-8">
		<title>%s</title>
	  </head>
	  <body>
		<iframe src="https://www.herokucdn.com/error-pages/%s.html"></iframe>
	  </body>
	</html>
`

// writeRouterPage sends the page for an app that does not exist if the status is 404,
// and otherwise the one for an app that does not respond, such as one without web
// processes.
func writeRouterPage(w http.ResponseWriter, status int) {
	title, page := "Application Error", "application-error"
	if status == http.StatusNotFound {
		title, page = "No such app", "no-such-app"
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-cache, no-store")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, routerPage, title, page)
}

// webResponse is an http.ResponseWriter that implements the interfaces that handlers
// expect of a server, which the journal and the faults hide.
type webResponse struct{ http.ResponseWriter }

// Flush implements http.Flusher.
func (w webResponse) Flush() { _ = w.FlushError() }

// FlushError implements flushing for an http.ResponseController.
func (w webResponse) FlushError() error {
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Hijack implements http.Hijacker.
func (w webResponse) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return http.NewResponseController(w.ResponseWriter).Hijack()
}

// Unwrap lets an http.ResponseController reach the connection.
func (w webResponse) Unwrap() http.ResponseWriter { return w.ResponseWriter }
