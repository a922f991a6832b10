package herokutest_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
	"github.com/herokubuild/herokubuild/herokutest"
)

// Each fault happens, and the deploy is nevertheless made exactly once.
func TestDeploysOnceDespiteFaults(t *testing.T) {
	t.Parallel()
	for _, f := range []herokutest.Fault{
		herokutest.LoseResponse(herokutest.CreateBuild),
		herokutest.LoseResponse(herokutest.CreateRelease),
		herokutest.LoseRequest(herokutest.CreateRelease).Times(2),
		herokutest.RespondWith(herokutest.Upload, 503).Times(3),
		herokutest.RespondWith(herokutest.GetBuild, 500),
		herokutest.HandleAndRespondWith(herokutest.CreateBuild, 502),
		herokutest.RateLimit(herokutest.CreateSource, 0),
		herokutest.Delay(herokutest.CreateSource, time.Millisecond),
		herokutest.CutResponse(herokutest.CreateSource, 10),
		herokutest.CutResponse(herokutest.ReadOutput, 100),
		herokutest.EndOutput(100),
		herokutest.EndOutput(0),
		herokutest.HideOutput(),
		herokutest.IgnoreRange().After(1),
	} {
		t.Run(f.String(), func(t *testing.T) {
			t.Parallel()
			srv := herokutest.NewServer(t, &herokutest.Options{Build: longOutput})
			srv.Inject(f)
			result, out, err := deploy(t, srv.Client(), []string{"other-app"})
			require.NoError(t, err)
			require.NoError(t, srv.CheckDeployedOnce("example-app", "other-app"))
			printed, err := srv.Output(result.Build.ID)
			require.NoError(t, err)
			assert.True(t, strings.HasPrefix(out, printed), "every byte of output must be printed once")
		})
	}
}

// longOutput is a build whose output is longer than what faults leave of it, and slow
// enough that a client reads it in several parts.
func longOutput(ctx context.Context, b *herokutest.BuildJob) error {
	for range 3 {
		b.Printf("%s\n", strings.Repeat("x", 200))
		if err := b.Sleep(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

func TestStalledOutputIsReadAgain(t *testing.T) {
	t.Parallel()
	srv := herokutest.NewServer(t, &herokutest.Options{Build: longOutput})
	srv.Inject(herokutest.StallResponse(herokutest.ReadOutput, 50))
	_, err := srv.Client().BuildAndRelease(t.Context(), herokubuild.BuildAndReleaseOptions{
		BuildApp: "example-app", Archive: source(t), IdleTimeout: 100 * time.Millisecond,
	})
	require.NoError(t, err)
	require.NoError(t, srv.CheckDeployedOnce("example-app"))
}

func TestRandomFaultsAreSurvived(t *testing.T) {
	t.Parallel()
	srv := herokutest.NewServer(t, &herokutest.Options{Faults: []herokutest.Fault{herokutest.Random(7, 0.3)}})
	_, err := srv.Client().BuildAndRelease(t.Context(), herokubuild.BuildAndReleaseOptions{
		BuildApp: "example-app", ReleaseTo: []string{"other-app"}, Archive: source(t), IdleTimeout: time.Second,
	})
	require.NoError(t, err)
	require.NoError(t, srv.CheckDeployedOnce("example-app", "other-app"))
	faults := 0
	for _, r := range srv.Requests() {
		if r.Fault {
			faults++
		}
	}
	assert.Positive(t, faults)
}

func TestFaultsAreOfTheRequestsThatMatch(t *testing.T) {
	t.Parallel()
	srv := herokutest.NewServer(t, nil)
	client := srv.Client(herokubuild.WithRetry(herokubuild.RetryOptions{MaxAttempts: 1}))
	status := func(app string) int {
		_, err := client.Apps.Get(t.Context(), app)
		var apiErr *herokubuild.APIError
		switch {
		case err == nil:
			return http.StatusOK
		case assert.ErrorAs(t, err, &apiErr):
			return apiErr.StatusCode
		default:
			return 0
		}
	}
	// The app is found by its name, even where a client sends its ID.
	srv.Inject(herokutest.RespondWith("GET /apps/other-app", 500).Times(2))
	assert.Equal(t, 200, status("example-app"))
	assert.Equal(t, 500, status("other-app"))
	assert.Equal(t, 500, status(srv.AppID("other-app")))
	assert.Equal(t, 200, status("other-app"))

	srv.Inject(herokutest.RespondWith(herokutest.GetApp, 502).After(1), herokutest.RespondWith(herokutest.GetApp, 503).After(1))
	var all []int
	for range 5 {
		all = append(all, status("example-app"))
	}
	assert.Equal(t, []int{200, 502, 503, 200, 200}, all)

	srv.Inject(herokutest.RespondWith(herokutest.AnyRequest, 500).Always())
	assert.Equal(t, 500, status("example-app"))
	assert.Equal(t, 500, status("example-app"))
}
