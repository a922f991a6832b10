package herokubuild_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
)

// instant is a RoundTripper that responds to every request with the same JSON, without
// delay.
type instant string

func (body instant) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
	return &http.Response{
		StatusCode: http.StatusCreated, Header: http.Header{}, Request: req,
		ContentLength: int64(len(body)), Body: io.NopCloser(strings.NewReader(string(body))),
	}, nil
}

// instantRollout returns a function that releases to n apps of a platform without delay.
func instantRollout(tb testing.TB, n int, onEvent func(context.Context, herokubuild.DeployEvent) error) (rollout func()) {
	tb.Helper()
	apps := make([]string, n)
	for i := range apps {
		apps[i] = fmt.Sprintf("app-%06d", i)
	}
	body := instant(fmt.Sprintf(`{"id":%q,"version":2,"status":"succeeded","current":true,"slug":{"id":%q},"app":{"id":%q}}`, releaseID, slugID, appID))
	client, err := herokubuild.NewClient(herokubuild.WithToken(testToken), herokubuild.WithBaseURL(apiURL), herokubuild.WithTransport(body))
	require.NoError(tb, err)
	return func() {
		_, err := client.Rollout(tb.Context(), herokubuild.ReleaseCreateOptions{SlugID: slugID}, apps, &herokubuild.RolloutOptions{OnEvent: onEvent})
		require.NoError(tb, err)
	}
}

// BenchmarkRolloutGrowth measures what an app costs as the number of apps of a rollout
// grows. The platform responds without delay.
func BenchmarkRolloutGrowth(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 40_000} {
		b.Run(fmt.Sprintf("apps=%d", n), func(b *testing.B) {
			rollout := instantRollout(b, n, func(context.Context, herokubuild.DeployEvent) error { return nil })
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			for b.Loop() {
				rollout()
			}
			runtime.ReadMemStats(&after)
			all := float64(b.N * n)
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/all, "ns/app")
			b.ReportMetric(float64(after.Mallocs-before.Mallocs)/all, "allocs/app")
			b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/all, "B/app")
		})
	}
}

// Allocations do not depend on the machine, so that a test can check them: an app of a large
// rollout costs what an app of a small one does.
func TestAnAppOfALargeRolloutCostsNoMore(t *testing.T) {
	cost := func(n int) (allocs, bytes float64) {
		var last herokubuild.Checkpoint
		rollout := instantRollout(t, n, func(_ context.Context, e herokubuild.DeployEvent) error {
			_, err := e.Checkpoint.UpdateSince(last)
			last = e.Checkpoint
			return err
		})
		rollout()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		rollout()
		runtime.ReadMemStats(&after)
		return float64(after.Mallocs-before.Mallocs) / float64(n), float64(after.TotalAlloc-before.TotalAlloc) / float64(n)
	}
	fewAllocs, fewBytes := cost(500)
	manyAllocs, manyBytes := cost(4000)
	assert.LessOrEqual(t, manyAllocs, 1.1*fewAllocs, "allocations an app")
	assert.LessOrEqual(t, manyBytes, 1.1*fewBytes, "bytes an app")
}
