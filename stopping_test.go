package herokubuild_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jarcoal/httpmock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
	"github.com/herokubuild/herokubuild/herokutest"
	"github.com/herokubuild/herokubuild/internal/platform"
)

// A caller that detaches leaves the build running and the releases as they are, for
// another call to resume.
func TestDetachLeavesBuildAndReleases(t *testing.T) {
	t.Parallel()
	ways := map[string]func(cancel context.CancelCauseFunc) error{
		"by the context": func(cancel context.CancelCauseFunc) error {
			cancel(herokubuild.ErrDetached)
			return nil
		},
		"by OnEvent": func(context.CancelCauseFunc) error { return herokubuild.ErrDetached },
	}
	for name, way := range ways {
		for _, kind := range []herokubuild.DeployEventKind{herokubuild.EventBuildCreated, herokubuild.EventReleaseCreated, herokubuild.EventReleaseDone} {
			t.Run(name+", "+string(kind), func(t *testing.T) {
				t.Parallel()
				proceed := make(chan struct{})
				p, client := startPlatform(t, platform.Options{Builder: platform.BuilderFunc(func(ctx context.Context, _ *platform.Job) error {
					select {
					case <-proceed:
					case <-ctx.Done():
					}
					return ctx.Err()
				})}, quickRetry())
				if kind != herokubuild.EventBuildCreated {
					close(proceed)
				}
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				opts := deploy()
				opts.Archive = archiveOf(t)
				opts.Rollout = herokubuild.RolloutPolicy{Rollback: herokubuild.RollbackAll, Verify: unhealthy()}
				opts.OnEvent = func(_ context.Context, e herokubuild.DeployEvent) error {
					if e.Kind == kind {
						return way(cancel)
					}
					return nil
				}
				_, err := client.BuildAndRelease(ctx, opts)
				require.ErrorIs(t, err, herokubuild.ErrDetached)
				var failed *herokubuild.DeployError
				require.ErrorAs(t, err, &failed)
				assert.False(t, failed.Canceled)
				require.NoError(t, failed.CancelErr)
				require.NotErrorIs(t, err, herokubuild.ErrRolledBack)
				assert.Equal(t, p.Builds("example-app")[0].ID, failed.Checkpoint.BuildID)
				if kind == herokubuild.EventBuildCreated {
					assert.Equal(t, "pending", p.Builds("example-app")[0].Status)
					close(proceed)
				}
				opts.OnEvent, opts.Checkpoint = nil, checkpointOf(t, err)
				_, err = client.BuildAndRelease(t.Context(), opts)
				require.NoError(t, err)
				assert.Len(t, p.Builds("example-app"), 1)
				assert.Equal(t, 1, releasesOf(p, "other-app"))
			})
		}
	}
}

// newPendingBuild mocks an app whose build prints a line and stays pending. cancel
// responds to the request that cancels the build.
func newPendingBuild(t *testing.T, cancel httpmock.Responder) *api {
	t.Helper()
	a := newAPI(t)
	a.on("GET", apiURL+"/apps/"+appName, replyFile(t, 200, "app.json"))
	a.on("GET", appBuildsURL, reply(200, "[]"))
	a.on("POST", appBuildsURL, replyFile(t, 201, "build_pending.json"))
	a.on("GET", appBuildsURL+"/"+buildID, replyFile(t, 200, "build_pending.json"))
	a.on("DELETE", appBuildsURL+"/"+buildID, cancel)
	responder, w := live(200)
	a.on("GET", outputURL, responder)
	go func() { _, _ = io.WriteString(w, "compiling\n") }()
	return a
}

// A writer that blocks must delay neither the end of the context nor Timeout, and the
// build must be canceled.
func TestBuildAndReleaseEndsAlthoughOutputBlocks(t *testing.T) {
	t.Parallel()
	for name, stop := range map[string]func(context.CancelFunc, *herokubuild.BuildAndReleaseOptions){
		"context": func(cancel context.CancelFunc, _ *herokubuild.BuildAndReleaseOptions) {
			time.AfterFunc(time.Minute, cancel)
		},
		"timeout": func(_ context.CancelFunc, o *herokubuild.BuildAndReleaseOptions) { o.Timeout = time.Minute },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var canceledAt atomic.Value
				start := time.Now()
				a := newPendingBuild(t, func(req *http.Request) (*http.Response, error) {
					canceledAt.Store(time.Since(start))
					return reply(200, strings.Replace(golden(t, "build_pending.json"), `"pending"`, `"failed"`, 1))(req)
				})
				unblock := make(chan struct{})
				defer close(unblock)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				events := 0 // the race detector checks that OnEvent is not called concurrently
				opts := herokubuild.BuildAndReleaseOptions{
					BuildApp: appName, SourceURL: sourceURL,
					Output: writer(func(p []byte) (int, error) {
						<-unblock
						return len(p), nil
					}),
					OnEvent: func(context.Context, herokubuild.DeployEvent) error {
						events++
						return nil
					},
				}
				stop(cancel, &opts)
				_, err := a.BuildAndRelease(ctx, opts)
				require.ErrorIs(t, err, map[string]error{"context": context.Canceled, "timeout": herokubuild.ErrWaitTimeout}[name])
				var failed *herokubuild.DeployError
				require.ErrorAs(t, err, &failed)
				assert.True(t, failed.Canceled)
				assert.Equal(t, time.Minute, canceledAt.Load(), "the build is canceled before the writer returns")
				assert.LessOrEqual(t, time.Since(start), time.Minute+20*time.Second)
				require.Error(t, failed.Result.OutputErr)
			})
		})
	}
}

// The platform may accept the request to cancel a build and end the build later.
func TestBuildAndReleaseReportsOutcomeOfAcceptedCancel(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		then     string
		canceled bool
	}{
		"build succeeds":      {then: "succeeded"},
		"build fails":         {then: "failed", canceled: true},
		"build keeps running": {then: "pending"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				var accepted atomic.Bool
				build := func(status string) string {
					return strings.Replace(golden(t, "build_pending.json"), `"pending"`, `"`+status+`"`, 1)
				}
				a := newPendingBuild(t, func(req *http.Request) (*http.Response, error) {
					accepted.Store(true)
					return reply(202, build("pending"))(req)
				})
				a.on("GET", appBuildsURL+"/"+buildID, func(req *http.Request) (*http.Response, error) {
					if accepted.Load() && time.Since(start) > 63*time.Second {
						return reply(200, build(tt.then))(req)
					}
					return reply(200, build("pending"))(req)
				})
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				_, err := a.BuildAndRelease(ctx, herokubuild.BuildAndReleaseOptions{BuildApp: appName, SourceURL: sourceURL})
				require.ErrorIs(t, err, context.DeadlineExceeded)
				var failed *herokubuild.DeployError
				require.ErrorAs(t, err, &failed)
				assert.Equal(t, tt.canceled, failed.Canceled)
				assert.Equal(t, tt.canceled, failed.Checkpoint.IsZero(), "a build that was not canceled can be resumed")
				assert.Equal(t, tt.then == "pending", failed.CancelErr != nil)
				assert.LessOrEqual(t, time.Since(start), 75*time.Second)
			})
		})
	}
}

// A panic of a callback reaches the caller in its own goroutine, after the build was
// canceled.
func TestBuildAndReleasePassesOnPanicsOfCallbacks(t *testing.T) {
	t.Parallel()
	panicAt := func(kind herokubuild.DeployEventKind) func(context.Context, herokubuild.DeployEvent) error {
		return when(kind, func() { panic("boom") })
	}
	for name, set := range map[string]func(*herokubuild.BuildAndReleaseOptions){
		"OnEvent of the upload":  func(o *herokubuild.BuildAndReleaseOptions) { o.OnEvent = panicAt(herokubuild.EventUpload) },
		"OnEvent of the build":   func(o *herokubuild.BuildAndReleaseOptions) { o.OnEvent = panicAt(herokubuild.EventBuildCreated) },
		"OnEvent of the release": func(o *herokubuild.BuildAndReleaseOptions) { o.OnEvent = panicAt(herokubuild.EventReleaseCreated) },
		"Output": func(o *herokubuild.BuildAndReleaseOptions) {
			o.Output = writer(func([]byte) (int, error) { panic("boom") })
		},
		"Verify": func(o *herokubuild.BuildAndReleaseOptions) {
			o.Rollout.Verify = func(context.Context, string, *herokubuild.Release) error { panic("boom") }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, client := startPlatform(t, platform.Options{Builder: printing("compiled\n")}, quickRetry())
			opts := deploy()
			opts.Archive = archiveOf(t)
			set(&opts)
			assert.PanicsWithValue(t, "boom", func() { _, _ = client.BuildAndRelease(t.Context(), opts) })
			for _, b := range p.Builds("example-app") {
				assert.NotEqual(t, "pending", b.Status)
			}
		})
	}
}

// The HTTP transport reads the body of an upload in a goroutine of its own.
func TestUploadPassesOnPanicsOfReaderAndProgress(t *testing.T) {
	t.Parallel()
	_, client := startPlatform(t, platform.Options{}, quickRetry())
	good := archiveOf(t)
	bad := *good
	bad.Open = func() (io.ReadCloser, error) { return io.NopCloser(panicReader{}), nil }
	assert.PanicsWithValue(t, "boom", func() { _, _ = client.Sources.Upload(t.Context(), &bad, nil) })
	assert.PanicsWithValue(t, "boom", func() {
		_, _ = client.Sources.Upload(t.Context(), good, &herokubuild.UploadOptions{OnProgress: func(int64, int64) { panic("boom") }})
	})
}

type panicReader struct{}

func (panicReader) Read([]byte) (int, error) { panic("boom") }

// A writer that breaks the rules of io.Writer must not lead to a wrong checkpoint.
func TestBuildAndReleaseRejectsWrongWriteCounts(t *testing.T) {
	t.Parallel()
	for _, n := range []int{-1, 1 << 20, 0} {
		_, client := startPlatform(t, platform.Options{Builder: printing("compiled\n")}, quickRetry())
		opts := deploy()
		opts.Archive = archiveOf(t)
		opts.Output = writer(func([]byte) (int, error) { return n, nil })
		_, err := client.BuildAndRelease(t.Context(), opts)
		var failed *herokubuild.DeployError
		require.ErrorAs(t, err, &failed)
		assert.Zero(t, failed.Checkpoint.OutputOffset)
		if n == 0 {
			require.ErrorIs(t, err, io.ErrShortWrite)
		}
	}
}

// An ArgumentError that a callback returns is not about the arguments of the deploy.
func TestArgumentErrorOfCallbackIsNotOfTheCall(t *testing.T) {
	t.Parallel()
	_, client := startPlatform(t, platform.Options{Builder: printing("compiled\n")}, quickRetry())
	own := errors.New("error of the callback")
	opts := deploy()
	opts.Archive = archiveOf(t)
	opts.Rollout.Verify = func(ctx context.Context, _ string, _ *herokubuild.Release) error {
		_, err := client.Apps.Get(ctx, "?")
		return errors.Join(own, err)
	}
	_, err := client.BuildAndRelease(t.Context(), opts)
	require.ErrorIs(t, err, herokubuild.ErrVerifyFailed)
	require.ErrorIs(t, err, own)
	require.NotErrorIs(t, err, herokubuild.ErrInvalidArgument)
	var bad *herokubuild.ArgumentError
	assert.NotErrorAs(t, err, &bad)
}

// A Verify that is canceled has not found the app unhealthy.
func TestRolloutCanceledDuringVerifyIsNotVerifyFailed(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1, "web: new\n", platform.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	result, err := f.client.Rollout(ctx, f.release, f.apps, &herokubuild.RolloutOptions{
		Policy: herokubuild.RolloutPolicy{
			Verify: func(ctx context.Context, _ string, _ *herokubuild.Release) error {
				cancel()
				return ctx.Err()
			},
		},
	})
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, result.Apps[0].Err, herokubuild.ErrVerifyFailed)
}

// Output that cannot be read does not affect the outcome of the deploy.
func TestBuildAndReleaseReportsLostOutputInResult(t *testing.T) {
	t.Parallel()
	_, client := startPlatform(t, platform.Options{Builder: printing("compiled\n"), Faults: func(at platform.FaultPoint) platform.Fault {
		if at.Host == "stream" {
			return platform.Fault{Status: 404}
		}
		return platform.Fault{}
	}}, quickRetry())
	opts := deploy()
	opts.Archive = archiveOf(t, file{name: "Procfile", content: "release: echo migrating\n"})
	result, err := client.BuildAndRelease(t.Context(), opts)
	require.NoError(t, err)
	var lost *herokubuild.StreamError
	require.ErrorAs(t, result.OutputErr, &lost)
	for _, out := range result.Apps {
		require.ErrorAs(t, out.OutputErr, &lost)
		assertErrorClean(t, out.OutputErr)
	}
}

// A callback that returns why the context has ended does not fail by itself.
func TestCallbackThatReturnsTheCauseAddsNothing(t *testing.T) {
	t.Parallel()
	shutdown := errors.New("shutting down")
	for name, c := range map[string]struct {
		returned error
		adds     bool
	}{
		"the cause":     {shutdown, false},
		"a wrapped one": {fmt.Errorf("store the checkpoint: %w", shutdown), true},
		"another error": {errors.New("disk full"), true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, client := startPlatform(t, platform.Options{Builder: printing("")})
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			_, err := client.BuildAndRelease(ctx, herokubuild.BuildAndReleaseOptions{
				BuildApp: "example-app", ReleaseTo: []string{"other-app"}, Dir: sourceDir(t, map[string]string{"Procfile": "web: x\n"}),
				OnEvent: func(_ context.Context, e herokubuild.DeployEvent) error {
					if e.Kind != herokubuild.EventReleaseDone {
						return nil
					}
					cancel(shutdown)
					return c.returned
				},
			})
			var failed *herokubuild.DeployError
			require.ErrorAs(t, err, &failed)
			require.ErrorIs(t, err, shutdown)
			_, isRollout := failed.Err.(*herokubuild.RolloutError) //nolint:errorlint // the cause itself
			assert.Equal(t, c.adds, !isRollout)
			require.ErrorIs(t, err, c.returned)
		})
	}
}

// sliceError cannot be compared, and neither can an error whose field it is.
type sliceError []string

func (e sliceError) Error() string { return e[0] }

type fieldError struct{ error }

func TestCauseThatCannotBeComparedIsReturned(t *testing.T) {
	t.Parallel()
	for _, cause := range []error{sliceError{"gone"}, fieldError{sliceError{"gone"}}} {
		_, client := startPlatform(t, platform.Options{Builder: printing("")})
		ctx, cancel := context.WithCancelCause(t.Context())
		_, err := client.BuildAndRelease(ctx, herokubuild.BuildAndReleaseOptions{
			BuildApp: "example-app", Dir: sourceDir(t, map[string]string{"Procfile": "web: x\n"}),
			OnEvent: func(context.Context, herokubuild.DeployEvent) error {
				cancel(cause)
				return context.Cause(ctx)
			},
		})
		require.ErrorIs(t, err, context.Canceled)
		assert.Contains(t, err.Error(), "gone")
	}
}

// What BeforeChange has stopped was not sent, also if it returns why the context has ended.
func TestBeforeChangeThatReturnsTheCauseIsReported(t *testing.T) {
	t.Parallel()
	shutdown := errors.New("shutting down")
	synctest.Test(t, func(t *testing.T) {
		srv := herokutest.NewServer(t, &herokutest.Options{Apps: []string{"shop"}, InMemory: true, Build: func(ctx context.Context, job *herokutest.BuildJob) error { return job.Sleep(ctx, time.Hour) }})
		ctx, cancel := context.WithCancelCause(t.Context())
		_, err := srv.Client().BuildAndRelease(ctx, herokubuild.BuildAndReleaseOptions{
			BuildApp: "shop", Dir: sourceDir(t, map[string]string{"Procfile": "web: x\n"}),
			OnEvent: func(_ context.Context, e herokubuild.DeployEvent) error {
				if e.Kind == herokubuild.EventBuildCreated {
					time.AfterFunc(time.Second, func() { cancel(shutdown) })
				}
				return nil
			},
			BeforeChange: func(context.Context, herokubuild.Change) error { return context.Cause(ctx) },
		})
		require.ErrorIs(t, err, herokubuild.ErrNotSent)
		require.ErrorIs(t, err, shutdown)
	})
}

// A transport of the caller's may panic or end its goroutine, as t.FailNow does.
func TestTransportThatDoesNotReturnEndsTheDeploy(t *testing.T) {
	t.Parallel()
	dir := sourceDir(t, map[string]string{"Procfile": "web: x\n"})
	for name, tt := range map[string]struct {
		end      func()
		panicked any
	}{
		"panics": {func() { panic("mine") }, "mine"}, "ends its goroutine": {runtime.Goexit, nil},
	} {
		for _, lookups := range []int{0, 1} {
			t.Run(fmt.Sprintf("%s after %d lookups", name, lookups), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					srv := herokutest.NewServer(t, &herokutest.Options{Apps: []string{"shop", "shop-eu"}, InMemory: true})
					var requests, events atomic.Int64
					client := srv.Client(herokubuild.WithTransport(roundTripper(func(req *http.Request) (*http.Response, error) {
						if int(requests.Add(1)) > lookups {
							tt.end()
						}
						return srv.Transport().RoundTrip(req)
					})))
					func() {
						defer func() { assert.Equal(t, tt.panicked, recover()) }()
						_, err := client.BuildAndRelease(t.Context(), herokubuild.BuildAndReleaseOptions{
							BuildApp: "shop", Dir: dir, ReleaseTo: []string{"shop-eu"}, ProgressInterval: time.Second,
							OnEvent: func(context.Context, herokubuild.DeployEvent) error {
								events.Add(1)
								return nil
							},
						})
						require.Error(t, err)
					}()
					before := events.Load()
					time.Sleep(time.Minute)
					assert.Equal(t, before, events.Load(), "no event follows the call")
				})
			})
		}
	}
}
