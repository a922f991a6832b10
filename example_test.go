package herokubuild_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing/fstest"
	"time"

	"github.com/jarcoal/httpmock"

	"github.com/herokubuild/herokubuild"
	"github.com/herokubuild/herokubuild/internal/platform"
)

// startEmulator starts an emulator with the given apps, besides example-app and
// other-app, and sets HEROKU_API_URL and HEROKU_API_KEY so that NewClient uses it.
func startEmulator(apps ...string) (stop func()) {
	p, err := platform.Start(platform.Options{
		StatusLag: -1, ReleaseStreamDelay: -1,
		Apps: append([]string{"example-app", "other-app"}, apps...),
		Builder: platform.BuilderFunc(func(ctx context.Context, j *platform.Job) error {
			if _, err := os.Stat(filepath.Join(j.BuildDir, "broken.go")); err == nil {
				_, _ = fmt.Fprintln(j.Output, "broken.go:1:1: expected 'package'")
				return errors.New("failed")
			}
			if _, err := os.Stat(filepath.Join(j.BuildDir, "endless.go")); err == nil {
				<-ctx.Done()
			}
			return ctx.Err()
		}),
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, app := range apps {
		// The emulator does not run web processes.
		if _, err := p.Serve(app, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "v7") })); err != nil {
			log.Fatal(err)
		}
	}
	if err := errors.Join(os.Setenv("HEROKU_API_URL", p.URL()), os.Setenv("HEROKU_API_KEY", p.Token())); err != nil {
		log.Fatal(err)
	}
	return func() {
		_ = errors.Join(os.Unsetenv("HEROKU_API_URL"), os.Unsetenv("HEROKU_API_KEY"), p.Close())
	}
}

// exampleDir creates a directory with the given files.
func exampleDir(names ...string) (dir string, remove func()) {
	dir, err := os.MkdirTemp("", "example-")
	if err != nil {
		log.Fatal(err)
	}
	for _, name := range names {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte("hello\n"), 0o600)); err != nil {
			log.Fatal(err)
		}
	}
	return dir, func() { _ = os.RemoveAll(dir) }
}

// exampleArchive returns an archive of a small source tree.
func exampleArchive(ctx context.Context) *herokubuild.Archive {
	archive, err := herokubuild.NewArchive(exampleTarball(ctx))
	if err != nil {
		log.Fatal(err)
	}
	return archive
}

// exampleTarball returns the bytes of such an archive.
func exampleTarball(ctx context.Context) []byte {
	archive, err := herokubuild.PackFS(ctx, fstest.MapFS{"main.go": {Data: []byte("package main\n")}}, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = archive.Close() }()
	r, err := archive.Open()
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	content, err := io.ReadAll(r)
	if err != nil {
		log.Fatal(err)
	}
	return content
}

// exampleBuild starts a build of a source tree with one file.
func exampleBuild(ctx context.Context, client *herokubuild.Client, file string) *herokubuild.Build {
	archive, err := herokubuild.PackFS(ctx, fstest.MapFS{file: {Data: []byte("package main\n")}}, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = archive.Close() }()
	source, err := client.Sources.Upload(ctx, archive, nil)
	if err != nil {
		log.Fatal(err)
	}
	build, err := client.Builds.Create(ctx, "example-app", herokubuild.BuildCreateOptions{
		SourceBlob: herokubuild.SourceBlob{URL: source.SourceBlob.GetURL, Version: "v1"},
	})
	if err != nil {
		log.Fatal(err)
	}
	return build
}

// exampleSlug creates a slug with a release phase and returns its id.
func exampleSlug(ctx context.Context, client *herokubuild.Client) string {
	dir, remove := exampleDir("index.html")
	defer remove()
	slug, err := client.Slugs.CreateFromDir(ctx, "example-app", dir, &herokubuild.SlugDirOptions{
		ProcessTypes: map[string]string{"release": "echo migrating"},
	})
	if err != nil {
		log.Fatal(err)
	}
	return slug.ID
}

func ExampleClient_BuildAndRelease() {
	defer startEmulator()() // sets HEROKU_API_URL and HEROKU_API_KEY
	client, err := herokubuild.NewClient()
	if err != nil {
		log.Fatal(err)
	}
	dir, remove := exampleDir("main.go")
	defer remove()

	result, err := client.BuildAndRelease(context.Background(), herokubuild.BuildAndReleaseOptions{
		BuildApp:  "example-app",
		Dir:       dir,
		ReleaseTo: []string{"other-app"},
		Output:    os.Stderr,
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("build", result.Build.Status)
	for _, r := range result.Apps {
		fmt.Printf("%s runs v%d\n", r.App, r.Release.Version)
	}
	// Output:
	// build succeeded
	// example-app runs v3
	// other-app runs v3
}

func ExampleClient_BuildAndRelease_errors() {
	defer startEmulator()() // sets HEROKU_API_URL and HEROKU_API_KEY
	client, err := herokubuild.NewClient()
	if err != nil {
		log.Fatal(err)
	}
	dir, remove := exampleDir("broken.go")
	defer remove()

	_, err = client.BuildAndRelease(context.Background(), herokubuild.BuildAndReleaseOptions{BuildApp: "example-app", Dir: dir})
	var build *herokubuild.BuildError
	var release *herokubuild.ReleaseError
	switch {
	case errors.As(err, &build):
		fmt.Println("the build failed:")
		for line := range strings.Lines(build.Tail) {
			if strings.HasPrefix(line, "broken.go:") {
				fmt.Print(line)
			}
		}
	case errors.As(err, &release):
		fmt.Printf("the release phase of v%d failed on %s:\n%s", release.Release.Version, release.App, release.Tail)
	case errors.Is(err, herokubuild.ErrNotFound):
		fmt.Println("there is no such app")
	case err != nil:
		fmt.Println("the deploy failed:", err)
	}
	// Output:
	// the build failed:
	// broken.go:1:1: expected 'package'
}

func ExampleReleasesService_List() {
	defer startEmulator()() // sets HEROKU_API_URL and HEROKU_API_KEY
	client, err := herokubuild.NewClient()
	if err != nil {
		log.Fatal(err)
	}

	newest := &herokubuild.ListOptions{SortBy: "version", Order: herokubuild.Descending, Limit: 10}
	for release, err := range client.Releases.List(context.Background(), "example-app", newest) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("v%d %s\n", release.Version, release.Description)
	}
	// Output:
	// v2 Enable Logplex
	// v1 Initial release
}

func ExampleAPIError() {
	defer startEmulator()() // sets HEROKU_API_URL and HEROKU_API_KEY
	client, err := herokubuild.NewClient()
	if err != nil {
		log.Fatal(err)
	}

	_, err = client.Apps.Get(context.Background(), "no-such-app")
	var api *herokubuild.APIError
	if errors.As(err, &api) {
		fmt.Println(api.StatusCode, api.ID, api.Message)
	}
	fmt.Println(errors.Is(err, herokubuild.ErrNotFound))
	// Output:
	// 404 not_found Couldn't find that app.
	// true
}

func ExampleClient_Do() {
	defer startEmulator()() // sets HEROKU_API_URL and HEROKU_API_KEY
	client, err := herokubuild.NewClient()
	if err != nil {
		log.Fatal(err)
	}

	// The package has no method for this endpoint.
	var limits struct {
		Remaining int `json:"remaining"`
	}
	if _, err := client.Do(context.Background(), "GET", "/account/rate-limits", &herokubuild.DoOptions{Out: &limits}); err != nil {
		log.Fatal(err)
	}
	fmt.Println(limits.Remaining > 0)
	// Output: true
}

func ExampleNewClient() {
	_, err := herokubuild.NewClient(
		herokubuild.WithToken("HRKU-0123"), // default: HEROKU_API_KEY or ~/.netrc
		herokubuild.WithUserAgent("shop-ci/1.4"),
		herokubuild.WithRetry(herokubuild.RetryOptions{MaxAttempts: 3, MaxWait: 10 * time.Second}),
	)
	if err != nil {
		log.Fatal(err)
	}

	// Invalid options are rejected before anything is sent.
	_, err = herokubuild.NewClient(herokubuild.WithBaseURL("http://api.example.com"))
	fmt.Println(err)
	// Output: WithBaseURL: "http://api.example.com" is not https (plain http is for loopback addresses only)
}

func ExampleWithTokenSource() {
	// A key that is rotated while the program runs.
	fromVault := herokubuild.TokenSourceFunc(func(context.Context) (string, error) {
		return "", errors.New("the vault is sealed")
	})
	client, err := herokubuild.NewClient(herokubuild.WithTokenSource(fromVault))
	if err != nil {
		log.Fatal(err)
	}
	_, err = client.Apps.Get(context.Background(), "example-app")
	fmt.Println(err)
	// Output: getting the API key: the vault is sealed
}

func ExampleWithLogger() {
	defer startEmulator()() // sets HEROKU_API_URL and HEROKU_API_KEY
	logger := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			switch a.Key {
			case "time", "host", "duration", "request_id":
				return slog.Attr{} // these differ in every run
			}
			return a
		},
	}))
	client, err := herokubuild.NewClient(herokubuild.WithLogger(logger))
	if err != nil {
		log.Fatal(err)
	}
	if _, err := client.Apps.Get(context.Background(), "example-app"); err != nil {
		log.Fatal(err)
	}
	// Output: level=DEBUG msg="herokubuild: request" method=GET path=/apps/example-app attempt=1 status=200 rate_remaining=4499
}

// A program can test its use of this package without a network.
func ExampleWithTransport() {
	mock := httpmock.NewMockTransport()
	mock.RegisterResponder("GET", "https://api.heroku.com/apps/shop/releases",
		httpmock.NewStringResponder(200, `[{"id": "0fd8f4a2-5c1b-4f7a-9d8e-3b2a1c0d9e8f", "version": 7, "status": "succeeded", "current": true}]`))
	client, err := herokubuild.NewClient(
		herokubuild.WithToken("any"),
		herokubuild.WithBaseURL(herokubuild.DefaultBaseURL), // ignores HEROKU_API_URL
		herokubuild.WithTransport(mock),
	)
	if err != nil {
		log.Fatal(err)
	}

	release, err := client.Releases.Current(context.Background(), "shop")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("shop runs v%d\n", release.Version)
	// Output: shop runs v7
}

func ExampleClient_RateLimitRemaining() {
	defer startEmulator()() // sets HEROKU_API_URL and HEROKU_API_KEY
	client, err := herokubuild.NewClient()
	if err != nil {
		log.Fatal(err)
	}
	left, err := client.RateLimitRemaining(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(left, "requests left")
	// Output: 4500 requests left
}

func ExampleSecretURL() {
	signed := herokubuild.SecretURL("https://storage.example.com/source.tgz?Signature=abc")
	fmt.Println(signed)
	fmt.Println(signed.Reveal())
	// Output:
	// https://storage.example.com/source.tgz?REDACTED
	// https://storage.example.com/source.tgz?Signature=abc
}

// OnEvent receives every step, to show the progress.
func ExampleClient_BuildAndRelease_events() {
	defer startEmulator()() // sets HEROKU_API_URL and HEROKU_API_KEY
	client, err := herokubuild.NewClient()
	if err != nil {
		log.Fatal(err)
	}

	_, err = client.BuildAndRelease(context.Background(), herokubuild.BuildAndReleaseOptions{
		BuildApp: "example-app",
		Archive:  exampleArchive(context.Background()),
		OnEvent: func(_ context.Context, e herokubuild.DeployEvent) error {
			switch e.Kind {
			case herokubuild.EventPhase:
				fmt.Println("==>", e.Phase)
			case herokubuild.EventUpload:
				fmt.Printf("    %d%%\n", 100*e.Done/e.Total)
			case herokubuild.EventBuildDone:
				fmt.Println("    build", e.Build.Status)
			case herokubuild.EventReleaseDone:
				fmt.Printf("    %s v%d %s\n", e.App, e.Release.Version, e.Release.Status)
			default: // there are more kinds, and later versions may add some
			}
			return nil
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output:
	// ==> check
	// ==> upload
	//     100%
	// ==> build
	//     build succeeded
	// ==> release
	//     example-app v3 succeeded
}

// If the process of a deploy is killed, another one resumes it from a stored
// Checkpoint, with the same build and one release per app. [CheckpointFile] stores
// the Checkpoint in a file; this example does that by hand.
func ExampleCheckpoint() {
	defer startEmulator()() // sets HEROKU_API_URL and HEROKU_API_KEY
	// A request to the emulator takes effect at once, or never; one to Heroku within 30 s.
	client, err := herokubuild.NewClient(herokubuild.WithSettleTime(time.Second))
	if err != nil {
		log.Fatal(err)
	}
	dir, remove := exampleDir()
	defer remove()
	file := filepath.Join(dir, "deploy.json")
	// Renaming the file ensures that it is never incomplete.
	save := func(_ context.Context, e herokubuild.DeployEvent) error {
		text, err := json.Marshal(e.Checkpoint)
		if err != nil {
			return err
		}
		return errors.Join(os.WriteFile(file+".new", text, 0o600), os.Rename(file+".new", file))
	}

	opts := herokubuild.BuildAndReleaseOptions{
		BuildApp: "example-app", Archive: exampleArchive(context.Background()), ReleaseTo: []string{"other-app"},
		KeepBuildOnCancel: true,
	}
	opts.OnEvent = func(ctx context.Context, e herokubuild.DeployEvent) error {
		if e.Kind == herokubuild.EventBuildCreated {
			return errors.Join(save(ctx, e), errors.New("the machine is going down"))
		}
		return save(ctx, e)
	}
	_, err = client.BuildAndRelease(context.Background(), opts)
	fmt.Println("stopped:", err != nil)

	// The next process has only the file.
	text, err := os.ReadFile(file)
	if err != nil {
		log.Fatal(err)
	}
	var checkpoint herokubuild.Checkpoint
	if err := json.Unmarshal(text, &checkpoint); err != nil {
		log.Fatal(err)
	}
	result, err := client.BuildAndRelease(context.Background(), herokubuild.BuildAndReleaseOptions{
		BuildApp: checkpoint.BuildApp, Checkpoint: checkpoint, OnEvent: save,
	})
	if err != nil {
		log.Fatal(err)
	}
	// The deploy has succeeded, so that there is nothing to resume.
	if err := os.Remove(file); err != nil {
		log.Fatal(err)
	}
	fmt.Println("the same build:", result.Build.ID == checkpoint.BuildID)
	for _, r := range result.Apps {
		fmt.Printf("%s runs v%d\n", r.App, r.Release.Version)
	}
	// Output:
	// stopped: true
	// the same build: true
	// example-app runs v3
	// other-app runs v3
}
