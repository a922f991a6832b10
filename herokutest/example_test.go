package herokutest_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"testing/fstest"
	"time"

	"github.com/herokubuild/herokubuild"
	"github.com/herokubuild/herokubuild/herokutest"
)

// start starts a server. In a test, use NewServer(t, opts), which closes it as well.
func start(opts *herokutest.Options) *herokutest.Server {
	srv, err := herokutest.Start(opts)
	if err != nil {
		log.Fatal(err)
	}
	return srv
}

// deployOnce deploys a small source to example-app, and releases it to other-app.
func deployOnce(client *herokubuild.Client) error {
	ctx := context.Background()
	archive, err := herokubuild.PackFS(ctx, fstest.MapFS{"Procfile": {Data: []byte("web: ./serve\n")}}, nil)
	if err != nil {
		return err
	}
	_, err = client.BuildAndRelease(ctx, herokubuild.BuildAndReleaseOptions{
		BuildApp: "example-app", ReleaseTo: []string{"other-app"}, Archive: archive,
	})
	return err
}

func Example() {
	srv, err := herokutest.Start(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = srv.Close() }()

	if err := deployOnce(srv.Client()); err != nil {
		log.Fatal(err)
	}
	for _, app := range []string{"example-app", "other-app"} {
		releases := srv.Releases(app)
		last := releases[len(releases)-1]
		fmt.Printf("%s v%d %s\n", app, last.Version, last.Status)
	}
	fmt.Println(srv.CheckDeployedOnce("example-app", "other-app"))
	// Output:
	// example-app v3 succeeded
	// other-app v3 succeeded
	// <nil>
}

// A build that prints, takes time and fails.
func ExampleBuildFunc() {
	srv := start(&herokutest.Options{
		Build: func(ctx context.Context, b *herokutest.BuildJob) error {
			b.Printf("compiling %s\n", b.App)
			if err := b.Sleep(ctx, 10*time.Millisecond); err != nil {
				return err
			}
			return errors.New("main.go:7: undefined: run")
		},
	})
	defer func() { _ = srv.Close() }()

	err := deployOnce(srv.Client())
	fmt.Println(errors.Is(err, herokubuild.ErrBuildFailed))
	// Output: true
}

// A release phase that fails for one of the apps.
func ExampleReleasePhaseFunc() {
	srv := start(&herokutest.Options{
		ReleasePhase: func(_ context.Context, r *herokutest.ReleaseJob) error {
			if r.App == "other-app" {
				return errors.New("migration failed")
			}
			return nil
		},
	})
	defer func() { _ = srv.Close() }()
	ctx := context.Background()
	archive, err := herokubuild.PackFS(ctx, fstest.MapFS{"Procfile": {Data: []byte("release: ./migrate\n")}}, nil)
	if err != nil {
		log.Fatal(err)
	}
	result, err := srv.Client().BuildAndRelease(ctx, herokubuild.BuildAndReleaseOptions{
		BuildApp: "example-app", ReleaseTo: []string{"other-app"}, Archive: archive,
	})
	fmt.Println(errors.Is(err, herokubuild.ErrReleaseFailed))
	for _, app := range result.Apps {
		fmt.Println(app.App, app.Outcome())
	}
	// Output:
	// true
	// example-app released
	// other-app failed
}

// The response to the request that creates the build is lost: there is one build
// nevertheless.
func ExampleLoseResponse() {
	srv := start(nil)
	defer func() { _ = srv.Close() }()
	srv.Inject(herokutest.LoseResponse(herokutest.CreateBuild))

	fmt.Println(deployOnce(srv.Client()))
	fmt.Println(len(srv.Builds("example-app")), "build")
	// Output:
	// <nil>
	// 1 build
}

// The first three uploads fail.
func ExampleRespondWith() {
	srv := start(nil)
	defer func() { _ = srv.Close() }()
	srv.Inject(herokutest.RespondWith(herokutest.Upload, http.StatusServiceUnavailable).Times(3))

	fmt.Println(deployOnce(srv.Client()))
	uploads := 0
	for _, r := range srv.Requests() {
		if r.Host == "storage" && r.Method == http.MethodPut {
			uploads++
		}
	}
	fmt.Println(uploads, "uploads")
	// Output:
	// <nil>
	// 4 uploads
}

// The output breaks off in the middle, and the client reads the rest.
func ExampleCutResponse() {
	srv := start(nil)
	defer func() { _ = srv.Close() }()
	srv.Inject(herokutest.CutResponse(herokutest.ReadOutput, 30))

	fmt.Println(deployOnce(srv.Client()))
	// Output: <nil>
}

// The platform responds with 429 and asks for a wait.
func ExampleRateLimit() {
	srv := start(nil)
	defer func() { _ = srv.Close() }()
	srv.Inject(herokutest.RateLimit(herokutest.CreateRelease, time.Second))

	fmt.Println(deployOnce(srv.Client()))
	fmt.Println(srv.CheckDeployedOnce("example-app", "other-app"))
	// Output:
	// <nil>
	// <nil>
}

// A third of all requests fail, in many ways, the same ones in each run.
func ExampleRandom() {
	srv := start(nil)
	defer func() { _ = srv.Close() }()
	srv.Inject(herokutest.Random(1, 0.3))

	fmt.Println(deployOnce(srv.Client()))
	fmt.Println(srv.CheckDeployedOnce("example-app", "other-app"))
	// Output:
	// <nil>
	// <nil>
}

// A health check of a rollout asks the app itself.
func ExampleServer_Serve() {
	srv := start(nil)
	defer func() { _ = srv.Close() }()
	url, err := srv.Serve("example-app", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNoContent)
	}))
	if err != nil {
		log.Fatal(err)
	}
	app, err := srv.Client().Apps.Get(context.Background(), "example-app")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(app.WebURL == url)
	resp, err := http.Get(app.WebURL)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	fmt.Println(resp.StatusCode)
	// Output:
	// true
	// 204
}
