package health

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/herokubuild/herokubuild"
)

// oneApp is an app with this web URL.
type oneApp string

func (a oneApp) Get(context.Context, string, ...herokubuild.RequestOption) (*herokubuild.App, error) {
	return &herokubuild.App{WebURL: string(a)}, nil
}

func serve(t *testing.T, h http.HandlerFunc) oneApp {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return oneApp(s.URL + "/")
}

func TestVerifyPollsUntilTheAppIsHealthy(t *testing.T) {
	var requests atomic.Int32
	app := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/health" || r.URL.RawQuery != "deep=1" {
			t.Errorf("request of %s", r.URL)
		}
		if requests.Add(1) == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	if err := Verify(app, "/health?deep=1", time.Minute)(t.Context(), "my-app", nil); err != nil {
		t.Error(err)
	}
	if n := requests.Load(); n != 2 {
		t.Errorf("%d requests, want 2", n)
	}
}

func TestVerifyReportsTheLastResponse(t *testing.T) {
	for name, status := range map[string]int{"unavailable": 503, "redirect": 302, "missing": 404} {
		t.Run(name, func(t *testing.T) {
			app := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/login" {
					return
				}
				w.Header().Set("Location", "/login")
				w.WriteHeader(status)
			})
			err := Verify(app, "/health?token=secret", 50*time.Millisecond)(t.Context(), "my-app", nil)
			if err == nil || !strings.Contains(err.Error(), http.StatusText(status)) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestVerifyReportsARefusedConnection(t *testing.T) {
	s := httptest.NewServer(nil)
	s.Close()
	err := Verify(oneApp(s.URL), "/?token=secret", 50*time.Millisecond)(t.Context(), "my-app", nil)
	if err == nil || strings.Contains(err.Error(), "secret") || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

func TestVerifyReturnsTheCauseOfACanceledContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	app := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		cancel(herokubuild.ErrDetached)
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	if err := Verify(app, "/", time.Minute)(ctx, "my-app", nil); !errors.Is(err, herokubuild.ErrDetached) {
		t.Errorf("%v", err)
	}
}

func TestVerifySendsNothingToAnotherHost(t *testing.T) {
	for path, ok := range map[string]bool{
		"/": true, "/health": true, "/health?a=b": true, "/a//b": true,
		"": false, "health": false, "//example.com/health": false, "https://example.com/": false, "/a#b": false, "/%": false,
	} {
		if err := CheckPath(path); (err == nil) != ok {
			t.Errorf("%q: %v", path, err)
		}
		target, err := resolve("https://my-app.herokuapp.com/", path)
		if ok && (err != nil || target.Host != "my-app.herokuapp.com") {
			t.Errorf("%q: %v, %v", path, target, err)
		}
	}
	if err := Verify(oneApp(""), "/", time.Minute)(t.Context(), "my-app", nil); err == nil {
		t.Error("an app without a web URL is healthy")
	}
}
