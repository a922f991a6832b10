package herokubuild_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
	"github.com/herokubuild/herokubuild/herokutest"
)

// checked runs a health check of the app shop, which h serves, in fake time.
func checked(t *testing.T, h http.HandlerFunc, path string, opts *herokubuild.HealthCheckOptions, check func(t *testing.T, ctx context.Context, took time.Duration, err error)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		srv := herokutest.NewServer(t, &herokutest.Options{Apps: []string{"shop"}, InMemory: true})
		_, err := srv.Serve("shop", h)
		require.NoError(t, err)
		verify, err := srv.Client().HealthCheck(path, opts)
		require.NoError(t, err)
		began := time.Now()
		err = verify(t.Context(), "shop", &herokubuild.Release{})
		check(t, t.Context(), time.Since(began), err)
	})
}

func TestHealthCheckPollsUntilTheAppIsHealthy(t *testing.T) {
	t.Parallel()
	var requests atomic.Int32
	checked(t, func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, "/health?deep=1", r.URL.RequestURI())
		assert.Empty(t, r.Header.Get("Authorization"))
		assert.Contains(t, r.UserAgent(), "herokubuild/")
		if requests.Add(1) < 5 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}, "/health?deep=1", nil, func(t *testing.T, _ context.Context, took time.Duration, err error) {
		require.NoError(t, err)
		assert.EqualValues(t, 5, requests.Load())
		assert.Equal(t, (1+2+4+5)*time.Second, took)
	})
}

func TestHealthCheckReportsTheLastResponse(t *testing.T) {
	t.Parallel()
	for name, status := range map[string]int{"unavailable": 503, "a redirect to a login": 302, "a redirect to nowhere": 307, "missing": 404} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			checked(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/login" {
					return
				}
				w.Header().Set("Location", map[int]string{302: "/login", 307: "http://%"}[status])
				w.WriteHeader(status)
			}, "/health?token=hidden", &herokubuild.HealthCheckOptions{Timeout: 9 * time.Second}, func(t *testing.T, _ context.Context, took time.Duration, err error) {
				var failure *herokubuild.HealthCheckError
				require.ErrorAs(t, err, &failure)
				assert.Equal(t, status, failure.StatusCode)
				require.NoError(t, failure.Err)
				assert.Equal(t, 9*time.Second, failure.Timeout)
				assert.Equal(t, 9*time.Second, took)
				assert.Contains(t, failure.URL, "/health")
				assert.NotContains(t, err.Error(), "hidden")
				require.NotErrorIs(t, err, context.DeadlineExceeded)
			})
		})
	}
}

// An app that accepts the request and does not respond is requested again.
func TestHealthCheckDoesNotWaitForOneResponse(t *testing.T) {
	t.Parallel()
	var requests atomic.Int32
	checked(t, func(_ http.ResponseWriter, r *http.Request) {
		if requests.Add(1) == 1 {
			<-r.Context().Done()
		}
	}, "/", nil, func(t *testing.T, _ context.Context, took time.Duration, err error) {
		require.NoError(t, err)
		assert.Equal(t, 31*time.Second, took)
	})
}

func TestHealthCheckReportsAConnectionThatBreaks(t *testing.T) {
	t.Parallel()
	for name, broken := range map[string]error{"closed": io.EOF, "refused": errors.New("connect: refused")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				srv := herokutest.NewServer(t, &herokutest.Options{Apps: []string{"shop"}, InMemory: true})
				client := srv.Client(herokubuild.WithTransport(roundTripper(func(req *http.Request) (*http.Response, error) {
					if req.URL.Path == "/health" {
						return nil, broken
					}
					return srv.Transport().RoundTrip(req)
				})))
				_, err := srv.Serve("shop", http.NotFoundHandler())
				require.NoError(t, err)
				verify, err := client.HealthCheck("/health?token=hidden", nil)
				require.NoError(t, err)
				err = verify(t.Context(), "shop", nil)
				var failure *herokubuild.HealthCheckError
				require.ErrorAs(t, err, &failure)
				require.Error(t, failure.Err)
				assert.Zero(t, failure.StatusCode)
				assert.NotContains(t, err.Error(), "hidden")
				require.NotErrorIs(t, err, io.EOF)
			})
		})
	}
}

func TestHealthCheckEndsWithTheContext(t *testing.T) {
	t.Parallel()
	srv := herokutest.NewServer(t, &herokutest.Options{Apps: []string{"shop"}})
	ctx, cancel := context.WithCancelCause(t.Context())
	_, err := srv.Serve("shop", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		cancel(herokubuild.ErrDetached)
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	require.NoError(t, err)
	verify, err := srv.Client().HealthCheck("/", nil)
	require.NoError(t, err)
	err = verify(ctx, "shop", nil)
	require.ErrorIs(t, err, herokubuild.ErrDetached)
	require.ErrorIs(t, err, context.Canceled)
}

func TestHealthCheckRefusesOtherHostsAndTimes(t *testing.T) {
	t.Parallel()
	client, err := herokubuild.NewClient(herokubuild.WithToken(testToken))
	require.NoError(t, err)
	for _, path := range []string{"", "health", "//example.com/health", "https://example.com/", "/a#b", "/%", "/\n"} {
		_, err := client.HealthCheck(path, nil)
		require.ErrorIs(t, err, herokubuild.ErrInvalidArgument, path)
	}
	for _, path := range []string{"/", "/health", "/health?a=b", "/a//b", "/\\example.com"} {
		_, err := client.HealthCheck(path, nil)
		require.NoError(t, err, path)
	}
	_, err = client.HealthCheck("/", &herokubuild.HealthCheckOptions{Timeout: -1})
	require.ErrorIs(t, err, herokubuild.ErrInvalidArgument)
	_, err = new(herokubuild.Client).HealthCheck("/", nil)
	require.ErrorIs(t, err, herokubuild.ErrInvalidArgument)
}

// The API may send anything as the web URL of an app.
func TestHealthCheckRequestsTheAppsHostOnly(t *testing.T) {
	t.Parallel()
	for webURL, want := range map[string]string{
		"http://127.0.0.1:5000/shop/": "http://127.0.0.1:5000/shop/\\example.com?a=b",
		"https://shop.herokuapp.com/": "https://shop.herokuapp.com/\\example.com?a=b",
		"http://shop.herokuapp.com":   "http://shop.herokuapp.com/\\example.com?a=b",
		"":                            "", "file:///etc/passwd": "", "shop": "", "https://": "", "https://a\x1b[31m/": "",
	} {
		t.Run(webURL, func(t *testing.T) {
			t.Parallel()
			requested := ""
			encoded, err := json.Marshal(webURL)
			require.NoError(t, err)
			client, err := herokubuild.NewClient(herokubuild.WithToken(testToken), herokubuild.WithBaseURL(apiURL), herokubuild.WithTransport(roundTripper(func(req *http.Request) (*http.Response, error) {
				if strings.HasPrefix(req.URL.String(), apiURL) {
					return instant(`{"id":"` + appID + `","name":"shop","web_url":` + string(encoded) + `}`).RoundTrip(req)
				}
				requested = strings.ReplaceAll(req.URL.String(), "%5C", "\\")
				return instant("").RoundTrip(req)
			})))
			require.NoError(t, err)
			verify, err := client.HealthCheck("/\\example.com?a=b", nil)
			require.NoError(t, err)
			err = verify(t.Context(), "shop", nil)
			assert.Equal(t, want, requested)
			assert.Equal(t, want == "", err != nil)
			if err != nil {
				assert.NotContains(t, err.Error(), "\x1b")
			}
		})
	}
}

// An app that is renamed while it is released is found by the id in its release.
func TestHealthCheckOfARollout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := herokutest.NewServer(t, &herokutest.Options{Apps: []string{"builder", "shop", "sick"}, InMemory: true})
		for app, status := range map[string]int{"shop": http.StatusNoContent, "sick": http.StatusInternalServerError} {
			_, err := srv.Serve(app, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
			require.NoError(t, err)
		}
		client := srv.Client()
		verify, err := client.HealthCheck("/", nil)
		require.NoError(t, err)
		result, err := client.BuildAndRelease(t.Context(), herokubuild.BuildAndReleaseOptions{
			BuildApp: "builder", ReleaseTo: []string{"shop", "sick"}, Dir: sourceDir(t, map[string]string{"Procfile": "web: x\n"}),
			Rollout: herokubuild.RolloutPolicy{Verify: verify},
			OnEvent: func(_ context.Context, e herokubuild.DeployEvent) error {
				if e.Kind == herokubuild.EventReleaseCreated && e.App == "shop" {
					return srv.Rename("shop", "store")
				}
				return nil
			},
		})
		require.ErrorIs(t, err, herokubuild.ErrVerifyFailed)
		assert.Equal(t, herokubuild.AppReleased, result.Apps[1].Outcome())
		assert.Equal(t, herokubuild.AppVerifyFailed, result.Apps[2].Outcome())
		var failure *herokubuild.HealthCheckError
		require.ErrorAs(t, result.Apps[2].Err, &failure)
		assert.Equal(t, http.StatusInternalServerError, failure.StatusCode)
	})
}

func TestHealthCheckOfAnAppThatHangs(t *testing.T) {
	t.Parallel()
	checked(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "/", nil, func(t *testing.T, _ context.Context, took time.Duration, err error) {
		var failure *herokubuild.HealthCheckError
		require.ErrorAs(t, err, &failure)
		assert.Equal(t, 2*time.Minute, took)
		require.Error(t, failure.Err)
		require.NotErrorIs(t, err, context.DeadlineExceeded, "the caller's context has not ended")
	})
}

// A check that fails may roll an app back, so that a hiccup of the API is not one.
func TestHealthCheckRepeatsTheLookup(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := herokutest.NewServer(t, &herokutest.Options{Apps: []string{"shop"}, InMemory: true})
		_, err := srv.Serve("shop", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		require.NoError(t, err)
		verify, err := srv.Client(noRetry()).HealthCheck("/", nil)
		require.NoError(t, err)
		require.ErrorIs(t, verify(t.Context(), "unknown", nil), herokubuild.ErrNotFound)
		srv.Inject(herokutest.RespondWith(herokutest.GetApp, http.StatusServiceUnavailable).Times(5))
		require.NoError(t, verify(t.Context(), "shop", nil))
		srv.Inject(herokutest.RespondWith(herokutest.GetApp, http.StatusServiceUnavailable).Always())
		var refused *herokubuild.APIError
		require.ErrorAs(t, verify(t.Context(), "shop", nil), &refused)
	})
}

// Neither the platform nor a transport puts a secret, control characters or endless text
// into the error.
func TestErrorOfAHealthCheckIsClean(t *testing.T) {
	t.Parallel()
	const evil = "x\x1b[31m\r\ny"
	for name, webURL := range map[string]string{
		"an odd URL": "ftp://" + evil, "no URL": "", "a long host": "https://" + strings.Repeat("a", 100_000) + ".example.com/",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				encoded, err := json.Marshal(map[string]string{"id": appID, "name": evil, "web_url": webURL})
				require.NoError(t, err)
				client, err := herokubuild.NewClient(herokubuild.WithToken(testToken), herokubuild.WithBaseURL(apiURL), herokubuild.WithTransport(roundTripper(func(req *http.Request) (*http.Response, error) {
					if strings.HasPrefix(req.URL.String(), apiURL) {
						return instant(encoded).RoundTrip(req)
					}
					return nil, errors.New("the proxy refused token=hidden12345abc" + evil)
				})))
				require.NoError(t, err)
				verify, err := client.HealthCheck("/?token=hidden12345abc", nil)
				require.NoError(t, err)
				err = verify(t.Context(), "shop", nil)
				require.Error(t, err)
				assertClean(t, err.Error())
				assert.Less(t, len(err.Error()), 10_000)
				for ; err != nil; err = errors.Unwrap(err) {
					assert.NotContains(t, err.Error(), "hidden12345abc")
				}
			})
		})
	}
}
