package herokubuild_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/herokubuild/herokubuild"
	"github.com/herokubuild/herokubuild/internal/platform"
)

// The examples of this file are those of the guides in docs.

// runsVersion returns a Verify that expects the version from /version of each app.
func runsVersion(client *herokubuild.Client, version string) func(context.Context, string, *herokubuild.Release) error {
	return func(ctx context.Context, name string, _ *herokubuild.Release) error {
		app, err := client.Apps.Get(ctx, name)
		if err != nil {
			return err
		}
		for {
			if got, err := get(ctx, app.WebURL+"version"); err == nil && got == version {
				return nil
			}
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-time.After(5 * time.Second):
			}
		}
	}
}

// get returns the body of a response.
func get(ctx context.Context, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

// The first app is a canary: unless it is healthy, no other app is released, and it is
// rolled back.
func ExampleRolloutPolicy() {
	apps := []string{"shop-eu", "shop-us", "shop-jp"}
	defer startEmulator(apps...)() // sets HEROKU_API_URL and HEROKU_API_KEY
	client, err := herokubuild.NewClient()
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	slugID := exampleSlug(ctx, client)

	healthy, err := client.HealthCheck("/health", nil)
	if err != nil {
		log.Fatal(err)
	}
	release := herokubuild.ReleaseCreateOptions{SlugID: slugID, Description: "Deploy v7"}
	result, err := client.Rollout(ctx, release, apps, &herokubuild.RolloutOptions{
		Policy: herokubuild.RolloutPolicy{
			Canaries: 1,
			Verify:   healthy,
			Rollback: herokubuild.RollbackAll,
		},
	})
	if result == nil { // an argument is invalid: nothing was sent
		log.Fatal(err)
	}
	for _, app := range result.Apps {
		fmt.Println(app.App, app.Outcome(), app.Err)
	}
	fmt.Println("error:", err)
	// Output:
	// shop-eu released <nil>
	// shop-us released <nil>
	// shop-jp released <nil>
	// error: <nil>
}

// An app is healthy when it responds with the version that was released.
func ExampleRolloutPolicy_verify() {
	apps := []string{"shop-eu", "shop-us"}
	defer startEmulator(apps...)() // sets HEROKU_API_URL and HEROKU_API_KEY
	client, err := herokubuild.NewClient()
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	release := herokubuild.ReleaseCreateOptions{SlugID: exampleSlug(ctx, client), Description: "Deploy v7"}
	policy := herokubuild.RolloutPolicy{Verify: runsVersion(client, "v7")}
	_, err = client.Rollout(ctx, release, apps, &herokubuild.RolloutOptions{Policy: policy})
	fmt.Println("error:", err)
	// Output:
	// error: <nil>
}

// The build is released to the canaries, which are checked, and then to the other apps.
func ExampleBuildAndReleaseOptions() {
	defer startEmulator("shop-build", "shop-eu", "shop-us", "shop-jp")() // sets HEROKU_API_URL and HEROKU_API_KEY
	client, err := herokubuild.NewClient()
	if err != nil {
		log.Fatal(err)
	}
	dir, remove := exampleDir("main.go")
	defer remove()
	ctx := context.Background()

	healthy, err := client.HealthCheck("/health", &herokubuild.HealthCheckOptions{Timeout: time.Minute})
	if err != nil {
		log.Fatal(err)
	}
	result, err := client.BuildAndRelease(ctx, herokubuild.BuildAndReleaseOptions{
		BuildApp:  "shop-build",
		Dir:       dir,
		ReleaseTo: []string{"shop-eu", "shop-us", "shop-jp"},
		Rollout: herokubuild.RolloutPolicy{
			Canaries: 1,
			Verify:   healthy,
			Rollback: herokubuild.RollbackAll,
		},
		Timeout: time.Hour,
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, app := range result.Apps {
		fmt.Println(app.App, app.Outcome())
	}
	// Output:
	// shop-build released
	// shop-eu released
	// shop-us released
	// shop-jp released
}

// deployOrResume deploys, or resumes the deploy that an earlier process has not finished.
func deployOrResume(
	ctx context.Context, client *herokubuild.Client, path string, opts herokubuild.BuildAndReleaseOptions,
) (*herokubuild.DeployResult, error) {
	var err error
	file := herokubuild.CheckpointFile(path)
	if opts.Checkpoint, err = file.Load(); err != nil {
		return nil, err
	}
	opts.OnEvent = file.OnEvent(opts.OnEvent)
	result, err := client.BuildAndRelease(ctx, opts)
	return result, errors.Join(err, file.Finish(err))
}

// A deploy is stopped during its build, and a second call resumes it.
func ExampleCheckpointFile() {
	defer startEmulator()() // sets HEROKU_API_URL and HEROKU_API_KEY
	client, err := herokubuild.NewClient()
	if err != nil {
		log.Fatal(err)
	}
	dir, remove := exampleDir("main.go")
	defer remove()
	state, removeState := exampleDir()
	defer removeState()
	path := filepath.Join(state, "shop.json")

	ctx, cancel := context.WithCancelCause(context.Background())
	opts := herokubuild.BuildAndReleaseOptions{
		BuildApp: "example-app", Dir: dir, ReleaseTo: []string{"other-app"},
	}
	opts.OnEvent = func(_ context.Context, e herokubuild.DeployEvent) error {
		if e.Kind == herokubuild.EventBuildCreated {
			cancel(herokubuild.ErrDetached) // stops this call, and not the build
		}
		return nil
	}
	_, err = deployOrResume(ctx, client, path, opts)
	fmt.Println("detached:", errors.Is(err, herokubuild.ErrDetached))

	opts.OnEvent = nil
	result, err := deployOrResume(context.Background(), client, path, opts)
	if err != nil {
		log.Fatal(err)
	}
	for _, app := range result.Apps {
		fmt.Printf("%s runs v%d\n", app.App, app.Release.Version)
	}
	// Output:
	// detached: true
	// example-app runs v3
	// other-app runs v3
}

// A heartbeat shows that a build without output is still running.
func ExampleDeployEvent() {
	defer startEmulator()() // sets HEROKU_API_URL and HEROKU_API_KEY
	client, err := herokubuild.NewClient()
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()

	result, err := client.BuildAndRelease(ctx, herokubuild.BuildAndReleaseOptions{
		BuildApp: "example-app",
		Archive:  exampleArchive(ctx),
		OnEvent: func(_ context.Context, e herokubuild.DeployEvent) error {
			if e.Kind == herokubuild.EventHeartbeat {
				log.Printf("%s is still running, no output for %s", e.App, e.Quiet)
			}
			return nil
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("measured:", result.Durations.Build > 0, result.Durations.Pack)
	// Output: measured: true 0s
}

// A logger receives each request, retry and warning.
func ExampleWithLogger_levels() {
	defer startEmulator()() // sets HEROKU_API_URL and HEROKU_API_KEY

	logger := slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo}))
	client, err := herokubuild.NewClient(herokubuild.WithLogger(logger))
	if err != nil {
		log.Fatal(err)
	}
	app, err := client.Apps.Get(context.Background(), "example-app")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(app.Name)
	// Output: example-app
}

// Apps of the Fir generation run images, which are released like slugs.
func ExampleArtifact() {
	p, err := platform.Start(platform.Options{StatusLag: -1, ReleaseStreamDelay: -1, FirApps: []string{"fir-staging", "fir-eu"},
		Builder: platform.BuilderFunc(func(context.Context, *platform.Job) error { return nil })})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	client, err := herokubuild.NewClient(herokubuild.WithBaseURL(p.URL()), herokubuild.WithToken(p.Token()))
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()

	result, err := client.BuildAndRelease(ctx, herokubuild.BuildAndReleaseOptions{
		BuildApp: "fir-staging", Archive: exampleArchive(ctx),
	})
	if err != nil {
		log.Fatal(err)
	}
	image := result.Artifact.ImageID
	fmt.Println("slug:", result.Artifact.SlugID != "", "image:", image != "")

	_, err = client.Rollout(ctx, herokubuild.ReleaseCreateOptions{ImageID: image}, []string{"fir-eu"}, nil)
	if err != nil {
		log.Fatal(err)
	}
	current, err := client.Releases.Current(ctx, "fir-eu")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("the same image:", current.Artifact().ImageID == image)
	// Output:
	// slug: false image: true
	// the same image: true
}

// The account's rate limit is the same for all programs that use the account.
func ExampleErrRateLimited() {
	defer startEmulator()() // sets HEROKU_API_URL and HEROKU_API_KEY

	client, err := herokubuild.NewClient(
		herokubuild.WithRetry(herokubuild.RetryOptions{
			MaxAttempts:   8,
			MaxRetryAfter: 10 * time.Minute,
		}),
		herokubuild.WithAttemptTimeout(2*time.Minute),
	)
	if err != nil {
		log.Fatal(err)
	}
	_, err = client.Releases.Current(context.Background(), "example-app")
	var api *herokubuild.APIError
	if errors.Is(err, herokubuild.ErrRateLimited) && errors.As(err, &api) {
		fmt.Println("try again in", api.RetryAfter)
	}
	fmt.Println(err)
	// Output: <nil>
}

// Output that is on its way is read to its end before the status is requested.
func ExampleReleasesService_Output() {
	defer startEmulator()() // sets HEROKU_API_URL and HEROKU_API_KEY
	client, err := herokubuild.NewClient()
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	release, err := client.Releases.Create(ctx, "example-app", herokubuild.ReleaseCreateOptions{SlugID: exampleSlug(ctx, client)})
	if err != nil {
		log.Fatal(err)
	}

	output, err := client.Releases.Output(ctx, "example-app", release.ID, &herokubuild.StreamOptions{Offset: 4})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = output.Close() }()
	if _, err := io.Copy(os.Stdout, output); err != nil {
		log.Fatal(err)
	}
	// Output: ating
}
