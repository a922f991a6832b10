package platform_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
	"github.com/herokubuild/herokubuild/internal/platform"
)

// inBubble runs a test of the SDK and a platform in memory with fake time. It fails if
// a goroutine is left when the platform is closed.
func inBubble(t *testing.T, opts platform.Options, test func(t *testing.T, p *platform.Platform, client *herokubuild.Client)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		opts.InMemory = true
		p, err := platform.Start(opts)
		require.NoError(t, err)
		defer func() { assert.NoError(t, p.Close()) }()
		client, err := herokubuild.NewClient(herokubuild.WithBaseURL(p.URL()), herokubuild.WithToken(p.Token()), herokubuild.WithTransport(p.Transport()))
		require.NoError(t, err)
		test(t, p, client)
	})
}

func deployOptions(t *testing.T, procfile string) herokubuild.BuildAndReleaseOptions {
	t.Helper()
	archive, err := herokubuild.NewArchive(targz(t, entry{name: "Procfile", body: procfile}))
	require.NoError(t, err)
	return herokubuild.BuildAndReleaseOptions{BuildApp: "example-app", Archive: archive}
}

// slowly prints a line every so often.
func slowly(lines int, every time.Duration) platform.Builder {
	return platform.BuilderFunc(func(ctx context.Context, j *platform.Job) error {
		for i := range lines {
			select {
			case <-time.After(every):
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			if _, err := fmt.Fprintf(j.Output, "step %d\n", i); err != nil {
				return err
			}
		}
		return nil
	})
}

func TestLongBuildInFakeTime(t *testing.T) {
	t.Parallel()
	opts := platform.Options{Builder: slowly(4, 10*time.Minute), BuildTimeout: time.Hour, ReleasePhase: func(_ context.Context, ph *platform.Phase) error {
		time.Sleep(30 * time.Minute)
		_, err := io.WriteString(ph.Output, "migrated\n")
		return err
	}}
	inBubble(t, opts, func(t *testing.T, p *platform.Platform, client *herokubuild.Client) {
		deploy := deployOptions(t, "release: migrate\n")
		deploy.ReleaseTo = []string{"other-app"}
		var output strings.Builder
		deploy.Output = &output
		quiet := 0
		deploy.OnEvent = func(_ context.Context, e herokubuild.DeployEvent) error {
			if e.Kind == herokubuild.EventHeartbeat {
				quiet++
			}
			return nil
		}
		began := time.Now()
		result, err := client.BuildAndRelease(t.Context(), deploy)
		require.NoError(t, err)
		took := time.Since(began)
		assert.GreaterOrEqual(t, took, 100*time.Minute)
		assert.Less(t, took, 101*time.Minute)
		assert.Greater(t, quiet, 500, "there is a heartbeat every 10 s")
		want, err := p.Output(result.Build.ID)
		require.NoError(t, err)
		assert.Equal(t, string(want), output.String())
		current, ok := p.Current("other-app")
		require.True(t, ok)
		assert.Equal(t, result.Apps[1].Release.ID, current.ID)
	})
}

func TestBuildTimeoutInFakeTime(t *testing.T) {
	t.Parallel()
	inBubble(t, platform.Options{Builder: slowly(1000, time.Minute)}, func(t *testing.T, p *platform.Platform, client *herokubuild.Client) {
		began := time.Now()
		_, err := client.BuildAndRelease(t.Context(), deployOptions(t, "web: x\n"))
		require.ErrorIs(t, err, herokubuild.ErrBuildFailed)
		assert.GreaterOrEqual(t, time.Since(began), 25*time.Minute)
		assert.Equal(t, "failed", p.Builds("example-app")[0].Status)
	})
}

func TestCloseDuringBuildInFakeTime(t *testing.T) {
	t.Parallel()
	inBubble(t, platform.Options{Builder: slowly(1000, time.Minute)}, func(t *testing.T, p *platform.Platform, client *herokubuild.Client) {
		time.AfterFunc(10*time.Minute, func() { assert.NoError(t, p.Close()) })
		_, err := client.BuildAndRelease(t.Context(), deployOptions(t, "web: x\n"))
		require.Error(t, err)
		assert.Equal(t, "failed", p.Builds("example-app")[0].Status)
	})
}

func TestIdleTimeoutOfOutputInFakeTime(t *testing.T) {
	t.Parallel()
	opts := platform.Options{Builder: slowly(4, time.Minute), Faults: func(at platform.FaultPoint) platform.Fault {
		if at.Host == "stream" && at.Attempted == 0 {
			return platform.Fault{StallResponseAfter: 10}
		}
		return platform.Fault{}
	}}
	inBubble(t, opts, func(t *testing.T, p *platform.Platform, client *herokubuild.Client) {
		deploy := deployOptions(t, "web: x\n")
		deploy.IdleTimeout = 20 * time.Second
		var output strings.Builder
		deploy.Output = &output
		result, err := client.BuildAndRelease(t.Context(), deploy)
		require.NoError(t, err)
		assert.Equal(t, 1, p.FaultsInjected()["StallResponseAfter"])
		want, err := p.Output(result.Build.ID)
		require.NoError(t, err)
		assert.Equal(t, string(want), output.String())
	})
}

func TestRateLimitInFakeTime(t *testing.T) {
	t.Parallel()
	opts := platform.Options{Builder: platform.BuilderFunc(compiled), RateLimit: 60}
	for i := range 40 {
		opts.Apps = append(opts.Apps, fmt.Sprint("app-", i))
	}
	inBubble(t, opts, func(t *testing.T, p *platform.Platform, client *herokubuild.Client) {
		deploy := deployOptions(t, "web: x\n")
		deploy.BuildApp, deploy.ReleaseTo = opts.Apps[0], opts.Apps[1:]
		began := time.Now()
		_, err := client.BuildAndRelease(t.Context(), deploy)
		require.NoError(t, err)
		assert.Greater(t, time.Since(began), 10*time.Minute, "the pool gets one token a minute")
		for _, app := range opts.Apps {
			current, _ := p.Current(app)
			assert.NotEmpty(t, current.SlugID, app)
		}
	})
}

func TestFaultsInMemory(t *testing.T) {
	t.Parallel()
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			opts := platform.Options{Builder: slowly(5, 3*time.Second), Heartbeat: time.Second, Faults: platform.RandomFaults(seed, 0.4, 2)}
			inBubble(t, opts, func(t *testing.T, p *platform.Platform, client *herokubuild.Client) {
				deploy := deployOptions(t, "web: x\n")
				deploy.IdleTimeout = 20 * time.Second
				var output strings.Builder
				deploy.Output = &output
				result, err := client.BuildAndRelease(t.Context(), deploy)
				require.NoError(t, err, "%v", p.FaultsInjected())
				want, err := p.Output(result.Build.ID)
				require.NoError(t, err)
				assert.Equal(t, string(want), output.String())
				assert.Len(t, p.Builds("example-app"), 1)
			})
		})
	}
}

func TestLostResponseResetsConnectionInMemory(t *testing.T) {
	t.Parallel()
	opts := platform.Options{Faults: func(platform.FaultPoint) platform.Fault { return platform.Fault{Lost: true} }}
	inBubble(t, opts, func(t *testing.T, p *platform.Platform, _ *herokubuild.Client) {
		_, err := (&http.Client{Transport: p.Transport()}).Get(p.URL() + "/apps")
		require.ErrorIs(t, err, errReset)
	})
}

func TestProgramsRunInMemoryPlatform(t *testing.T) {
	t.Parallel()
	needUnix(t)
	inBubble(t, platform.Options{}, func(t *testing.T, p *platform.Platform, client *herokubuild.Client) {
		archive, err := herokubuild.NewArchive(inline(t, "echo built", entry{name: "Procfile", body: "release: echo released\n"}))
		require.NoError(t, err)
		result, err := client.BuildAndRelease(t.Context(), herokubuild.BuildAndReleaseOptions{BuildApp: "example-app", Archive: archive})
		require.NoError(t, err)
		out, err := p.Output(result.Build.ID)
		require.NoError(t, err)
		assert.Contains(t, string(out), "built\n")
		out, err = p.Output(result.Apps[0].Release.ID)
		require.NoError(t, err)
		assert.Equal(t, "released\n", string(out))
	})
}

func TestAppInMemory(t *testing.T) {
	t.Parallel()
	inBubble(t, platform.Options{}, func(t *testing.T, p *platform.Platform, client *herokubuild.Client) {
		web, err := p.Serve("example-app", text("hello"))
		require.NoError(t, err)
		app, err := client.Apps.Get(t.Context(), "example-app")
		require.NoError(t, err)
		assert.Equal(t, web, app.WebURL)
		hc := &http.Client{Transport: p.Transport()}
		resp, err := hc.Get(app.WebURL + "path")
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, errors.Join(err, resp.Body.Close()))
		assert.Equal(t, "hello /path", string(body))
		resp, err = hc.Get(p.WebURL("other-app"))
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		assert.Equal(t, 503, resp.StatusCode)
	})
}

func TestMemoryHasNoWayOut(t *testing.T) {
	t.Parallel()
	outside, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer outside.Close() //nolint:errcheck
	from := "http://" + outside.Addr().String() + "/source.tgz"
	inBubble(t, platform.Options{}, func(t *testing.T, p *platform.Platform, client *herokubuild.Client) {
		_, err := (&http.Client{Transport: p.Transport()}).Get(from)
		var failed *net.OpError
		require.ErrorAs(t, err, &failed)
		assert.Equal(t, "dial", failed.Op)
		_, err = client.BuildAndRelease(t.Context(), herokubuild.BuildAndReleaseOptions{BuildApp: "example-app", SourceURL: herokubuild.SecretURL(from)})
		require.ErrorIs(t, err, herokubuild.ErrBuildFailed)
		out, err := p.Output(p.Builds("example-app")[0].ID)
		require.NoError(t, err)
		assert.Contains(t, string(out), "Unable to fetch the source")

		source, err := client.Sources.Create(t.Context())
		require.NoError(t, err)
		for _, raw := range []string{p.URL(), p.WebURL("example-app"), source.SourceBlob.GetURL.Reveal()} {
			u, err := url.Parse(raw)
			require.NoError(t, err)
			assert.Equal(t, "127.0.0.1", u.Hostname())
			port, err := strconv.Atoi(u.Port())
			require.NoError(t, err)
			assert.Greater(t, port, 65535, "TCP has no such port")
		}
	})
	_, err = platform.Start(platform.Options{InMemory: true, Addr: "127.0.0.1:5000"})
	require.Error(t, err)
}

func TestTransportReachesSockets(t *testing.T) {
	t.Parallel()
	r := start(t, platform.Options{})
	web, err := r.Serve("example-app", text("hello"))
	require.NoError(t, err)
	resp, err := (&http.Client{Transport: r.Transport()}).Get(web)
	require.NoError(t, err)
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, errors.Join(err, resp.Body.Close()))
	assert.Equal(t, "hello /", string(body))
}
