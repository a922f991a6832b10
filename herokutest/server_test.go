package herokutest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
	"github.com/herokubuild/herokubuild/herokutest"
)

// source packs files, given by their names and contents.
func source(t *testing.T, files ...string) *herokubuild.Archive {
	t.Helper()
	tree := fstest.MapFS{"README": {Data: []byte("hello\n")}}
	for i := 0; i < len(files); i += 2 {
		tree[files[i]] = &fstest.MapFile{Data: []byte(files[i+1]), Mode: 0o755}
	}
	archive, err := herokubuild.PackFS(t.Context(), tree, nil)
	require.NoError(t, err)
	return archive
}

// deploy deploys files to example-app and returns the output.
func deploy(t *testing.T, client *herokubuild.Client, releaseTo []string, files ...string) (*herokubuild.DeployResult, string, error) {
	t.Helper()
	var out strings.Builder
	result, err := client.BuildAndRelease(t.Context(), herokubuild.BuildAndReleaseOptions{
		BuildApp: "example-app", ReleaseTo: releaseTo, Archive: source(t, files...), Output: &out,
	})
	return result, out.String(), err
}

func TestDeploysWithoutOptions(t *testing.T) {
	t.Parallel()
	srv := herokutest.NewServer(t, nil)
	result, out, err := deploy(t, srv.Client(), []string{"other-app"}, "Procfile", "web: ./serve\nrelease: ./migrate\n")
	require.NoError(t, err)
	require.NoError(t, srv.CheckDeployedOnce("example-app", "other-app"))

	builds := srv.Builds("example-app")
	require.Len(t, builds, 1)
	assert.Equal(t, result.Build.ID, builds[0].ID)
	assert.Equal(t, "succeeded", builds[0].Status)
	slug, ok := srv.Slug(builds[0].ArtifactID)
	require.True(t, ok)
	assert.Equal(t, map[string]string{"web": "./serve", "release": "./migrate"}, slug.ProcessTypes)
	assert.Positive(t, slug.Size)

	releases := srv.Releases("other-app")
	require.Len(t, releases, 3)
	last := releases[2]
	assert.Equal(t, result.Apps[1].Release.ID, last.ID)
	assert.True(t, last.Current)
	printed, err := srv.Output(last.ID)
	require.NoError(t, err)
	assert.Contains(t, printed, "./migrate")
	printed, err = srv.Output(builds[0].ID)
	require.NoError(t, err)
	assert.True(t, strings.HasPrefix(out, printed), "the deploy must print the build's whole output")
}

func TestNoRequestRevealsSecrets(t *testing.T) {
	t.Parallel()
	srv := herokutest.NewServer(t, &herokutest.Options{Token: "HRKU-secret"})
	_, _, err := deploy(t, srv.Client(), nil)
	require.NoError(t, err)
	hosts := map[string]int{}
	for _, r := range srv.Requests() {
		hosts[r.Host]++
		assert.NotContains(t, fmt.Sprint(r), "HRKU-secret")
		assert.NotContains(t, r.Path, "?")
	}
	assert.Positive(t, hosts["api"])
	assert.Positive(t, hosts["storage"])
	assert.Positive(t, hosts["stream"])
}

func TestBuildsAsTheCallerSays(t *testing.T) {
	t.Parallel()
	boom := errors.New("no such package")
	var job herokutest.BuildJob
	srv := herokutest.NewServer(t, &herokutest.Options{
		Build: func(ctx context.Context, b *herokutest.BuildJob) error {
			job = *b
			if b.SourceVersion == "bad" {
				return boom
			}
			fmt.Fprintln(b, "compiling")
			b.SetProcessType("worker", "./work")
			return b.Sleep(ctx, time.Millisecond)
		},
	})
	client := srv.Client()
	result, out, err := deploy(t, client, nil)
	require.NoError(t, err)
	assert.Contains(t, out, "compiling\n")
	slug, _ := srv.Slug(result.Artifact.SlugID)
	assert.Equal(t, map[string]string{"worker": "./work"}, slug.ProcessTypes)
	assert.Equal(t, "example-app", job.App)
	assert.Equal(t, srv.AppID("example-app"), job.AppID)
	assert.Equal(t, result.Build.ID, job.ID)

	var printed strings.Builder
	_, err = client.BuildAndRelease(t.Context(), herokubuild.BuildAndReleaseOptions{
		BuildApp: "example-app", Archive: source(t), Version: "bad", Output: &printed,
	})
	require.ErrorIs(t, err, herokubuild.ErrBuildFailed)
	assert.Contains(t, printed.String(), boom.Error())
}

func TestRunsReleasePhasesAsTheCallerSays(t *testing.T) {
	t.Parallel()
	srv := herokutest.NewServer(t, &herokutest.Options{
		Apps: []string{"example-app", "good-app", "bad-app"},
		ReleasePhase: func(_ context.Context, r *herokutest.ReleaseJob) error {
			r.Printf("%s v%d: %s %s\n", r.App, r.Version, r.Command, r.Env["LEVEL"])
			if r.App == "bad-app" {
				return errors.New("migration failed")
			}
			return nil
		},
	})
	require.NoError(t, srv.SetConfigVars("good-app", map[string]string{"LEVEL": "7"}))
	_, _, err := deploy(t, srv.Client(), []string{"good-app", "bad-app"}, "Procfile", "release: ./migrate\n")
	require.ErrorIs(t, err, herokubuild.ErrReleaseFailed)
	last := func(app string) herokutest.Release {
		all := srv.Releases(app)
		return all[len(all)-1]
	}
	assert.Equal(t, "failed", last("bad-app").Status)
	assert.Equal(t, "succeeded", last("good-app").Status)
	out, err := srv.Output(last("good-app").ID)
	require.NoError(t, err)
	assert.Equal(t, "good-app v3: ./migrate 7\n", out)
	require.Error(t, srv.CheckDeployedOnce("example-app", "bad-app"))
	require.NoError(t, srv.CheckDeployedOnce("example-app", "good-app"))
}

func TestCompilesIfAsked(t *testing.T) {
	t.Parallel()
	srv := herokutest.NewServer(t, &herokutest.Options{Build: herokutest.Compile, ReleasePhase: herokutest.RunCommand})
	result, out, err := deploy(t, srv.Client(), nil,
		"bin/compile", "#!/bin/sh\necho really compiled\n",
		"Procfile", "release: echo really released\n",
	)
	require.NoError(t, err)
	assert.Contains(t, out, "really compiled\n")
	phase, err := srv.Output(result.Apps[0].Release.ID)
	require.NoError(t, err)
	assert.Contains(t, phase, "really released\n")
}

func TestServesFirApps(t *testing.T) {
	t.Parallel()
	srv := herokutest.NewServer(t, &herokutest.Options{FirApps: []string{"fir-app"}})
	require.NoError(t, srv.AddFirApp("late-fir-app"))
	require.NoError(t, srv.AddApp("late-app"))
	client := srv.Client()
	result, err := client.BuildAndRelease(t.Context(), herokubuild.BuildAndReleaseOptions{
		BuildApp: "fir-app", ReleaseTo: []string{"late-fir-app"}, Archive: source(t),
	})
	require.NoError(t, err)
	assert.NotEmpty(t, result.Artifact.ImageID)
	require.NoError(t, srv.CheckDeployedOnce("fir-app", "late-fir-app"))
	require.Error(t, srv.CheckDeployedOnce("late-app"))
}

func TestServesAppsOnThisMachine(t *testing.T) {
	t.Parallel()
	for _, inMemory := range []bool{false, true} {
		srv := herokutest.NewServer(t, &herokutest.Options{InMemory: inMemory})
		client := srv.Client()
		app, err := client.Apps.Get(t.Context(), "example-app")
		require.NoError(t, err)
		web := &http.Client{Transport: srv.Transport()}
		assert.Equal(t, http.StatusServiceUnavailable, get(t, web, app.WebURL), "an app without a handler has no web processes")

		url, err := srv.Serve("example-app", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/health" {
				w.WriteHeader(http.StatusTeapot)
			}
		}))
		require.NoError(t, err)
		app, err = client.Apps.Get(t.Context(), "example-app")
		require.NoError(t, err)
		assert.Equal(t, url, app.WebURL)
		assert.Equal(t, http.StatusOK, get(t, web, app.WebURL+"health"))
		assert.Equal(t, http.StatusTeapot, get(t, web, app.WebURL))
		_, err = srv.Serve("no-such-app", http.NotFoundHandler())
		require.Error(t, err)
	}
}

func get(t *testing.T, c *http.Client, url string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	resp, err := c.Do(req)
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, resp.Body)
	require.NoError(t, errors.Join(err, resp.Body.Close()))
	return resp.StatusCode
}

func TestRefusesAppNamesThatHerokuRefuses(t *testing.T) {
	t.Parallel()
	srv := herokutest.NewServer(t, nil)
	for _, name := range []string{"", "eu", "Example", "1app", "app-", "example-app", strings.Repeat("a", 31)} {
		require.Error(t, srv.AddApp(name), name)
		require.Error(t, srv.Rename("other-app", name), name)
	}
	require.NoError(t, srv.Rename("other-app", "new-name"))
	_, err := herokutest.Start(&herokutest.Options{Apps: []string{"eu"}})
	require.Error(t, err)
}

// A build of forty minutes with heartbeats takes no time.
func TestTimePassesAtOnceInABubble(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := herokutest.NewServer(t, &herokutest.Options{
			InMemory: true,
			Build: func(ctx context.Context, b *herokutest.BuildJob) error {
				b.Printf("compiling\n")
				return b.Sleep(ctx, 40*time.Minute)
			},
		})
		began := time.Now()
		result, _, err := deploy(t, srv.Client(), []string{"other-app"})
		require.NoError(t, err)
		assert.GreaterOrEqual(t, time.Since(began), 40*time.Minute)
		assert.Less(t, time.Since(began), 41*time.Minute)
		assert.Equal(t, herokubuild.StatusSucceeded, result.Build.Status)
		require.NoError(t, srv.CheckDeployedOnce("example-app", "other-app"))
	})
}

func TestWaitsForTheRateLimitInABubble(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := herokutest.NewServer(t, &herokutest.Options{InMemory: true})
		srv.Inject(herokutest.RateLimit(herokutest.CreateRelease, 90*time.Second))
		began := time.Now()
		_, _, err := deploy(t, srv.Client(), []string{"other-app"})
		require.NoError(t, err)
		assert.GreaterOrEqual(t, time.Since(began), 90*time.Second)
		require.NoError(t, srv.CheckDeployedOnce("example-app", "other-app"))
	})
}

func TestCloseIsRepeatable(t *testing.T) {
	t.Parallel()
	srv, err := herokutest.Start(nil)
	require.NoError(t, err)
	require.NoError(t, srv.Close())
	require.NoError(t, srv.Close())
}

// recorder is a test that records what is reported to it.
type recorder struct {
	mu       sync.Mutex
	cleanups []func()
	errors   []string
	logs     []string
}

func (r *recorder) Helper()          {}
func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }
func (r *recorder) Failed() bool     { return len(r.errors) > 0 }
func (r *recorder) Logf(format string, args ...any) {
	r.logs = append(r.logs, fmt.Sprintf(format, args...))
}

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.errors = append(r.errors, fmt.Sprintf(format, args...))
}
func (r *recorder) Fatalf(format string, args ...any) { r.Errorf(format, args...) }

func (r *recorder) end() {
	for _, f := range r.cleanups {
		f()
	}
}

func TestTestFailsWithTheLogOfTheServer(t *testing.T) {
	t.Parallel()
	test := &recorder{}
	srv := herokutest.NewServer(test, nil)
	_, err := srv.Client().Apps.Get(t.Context(), "no-such-app")
	require.ErrorIs(t, err, herokubuild.ErrNotFound)
	test.end()
	assert.Empty(t, test.logs, "a test that passes logs nothing")

	test = &recorder{}
	srv = herokutest.NewServer(test, nil)
	_, err = srv.Client().Apps.Get(t.Context(), "no-such-app")
	require.ErrorIs(t, err, herokubuild.ErrNotFound)
	test.Errorf("something is wrong")
	test.end()
	require.Len(t, test.logs, 1)
	assert.Contains(t, test.logs[0], "/apps/no-such-app")
	assert.NotContains(t, test.logs[0], srv.Token())
}

func TestTestFailsForWhatIsInvalid(t *testing.T) {
	t.Parallel()
	for name, use := range map[string]func(herokutest.TB){
		"app name":       func(tb herokutest.TB) { herokutest.NewServer(tb, &herokutest.Options{Apps: []string{"x"}}) },
		"address":        func(tb herokutest.TB) { herokutest.NewServer(tb, &herokutest.Options{Addr: "192.0.2.1:0"}) },
		"client options": func(tb herokutest.TB) { herokutest.NewServer(tb, nil).Client(herokubuild.WithBaseURL("ftp://x")) },
		"pattern": func(tb herokutest.TB) {
			herokutest.NewServer(tb, nil).Inject(herokutest.LoseResponse("GET POST"))
		},
		"pattern of the options": func(tb herokutest.TB) {
			herokutest.NewServer(tb, &herokutest.Options{Faults: []herokutest.Fault{herokutest.LoseResponse("{")}})
		},
		"no times": func(tb herokutest.TB) {
			herokutest.NewServer(tb, nil).Inject(herokutest.LoseResponse(herokutest.CreateBuild).Times(0))
		},
		"cut at once": func(tb herokutest.TB) {
			herokutest.NewServer(tb, nil).Inject(herokutest.CutResponse(herokutest.CreateBuild, 0))
		},
		"negative cut": func(tb herokutest.TB) {
			herokutest.NewServer(tb, nil).Inject(herokutest.StallResponse(herokutest.CreateBuild, -1))
		},
		"cut beyond the end": func(tb herokutest.TB) {
			srv := herokutest.NewServer(tb, nil)
			srv.Inject(herokutest.CutResponse(herokutest.GetApp, 1_000_000))
			_, err := srv.Client().Apps.Get(t.Context(), "example-app")
			require.NoError(t, err)
		},
		"range that was not requested": func(tb herokutest.TB) {
			srv := herokutest.NewServer(tb, nil)
			srv.Inject(herokutest.IgnoreRange())
			_, _, err := deploy(t, srv.Client(), nil)
			require.NoError(t, err)
		},
		"fault that nothing met": func(tb herokutest.TB) {
			herokutest.NewServer(tb, nil).Inject(herokutest.LoseResponse(herokutest.CreateBuild))
		},
	} {
		test := &recorder{}
		use(test)
		test.end()
		assert.NotEmpty(t, test.errors, name)
	}
}
