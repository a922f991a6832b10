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

// exampleClient returns a client of an embedded platform with these apps, so that
// the examples run. A program calls herokubuild.NewClient() with no options
// instead.
func exampleClient(apps ...string) (client *herokubuild.Client, stop func()) {
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
	client, err = herokubuild.NewClient(herokubuild.WithBaseURL(p.URL()), herokubuild.WithToken(p.Token()))
	if err != nil {
		log.Fatal(err)
	}
	return client, func() { _ = p.Close() }
}

// exampleDir is a directory with these files.
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

// exampleArchive is a small source tree.
func exampleArchive(ctx context.Context) *herokubuild.Archive {
	archive, err := herokubuild.NewArchive(exampleTarball(ctx))
	if err != nil {
		log.Fatal(err)
	}
	return archive
}

// exampleTarball is a gzipped tar archive of a small source tree.
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

// exampleBuild starts a build of one file.
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

// exampleSlug makes a slug with a release phase, and returns its id.
func exampleSlug(ctx context.Context, client *herokubuild.Client) string {
	dir, remove := exampleDir("index.html")
	defer remove()
	slug, err := client.Slugs.CreateFromDir(ctx, "example-app", dir, herokubuild.SlugDirOptions{
		ProcessTypes: map[string]string{"release": "echo migrating"},
	})
	if err != nil {
		log.Fatal(err)
	}
	return slug.ID
}

func ExampleClient_BuildAndRelease() {
	client, stop := exampleClient()
	defer stop()
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
	client, stop := exampleClient()
	defer stop()
	dir, remove := exampleDir("broken.go")
	defer remove()

	_, err := client.BuildAndRelease(context.Background(), herokubuild.BuildAndReleaseOptions{BuildApp: "example-app", Dir: dir})
	var build *herokubuild.BuildError
	var release *herokubuild.ReleaseError
	switch {
	case errors.As(err, &build):
		fmt.Println("the code does not compile; the end of the log says why:")
		fmt.Println(strings.Contains(build.Tail, "broken.go:1:1: expected 'package'"))
	case errors.As(err, &release):
		fmt.Printf("the release phase of v%d failed on %s\n", release.Release.Version, release.App)
	case errors.Is(err, herokubuild.ErrNotFound):
		fmt.Println("there is no such app")
	case err != nil:
		fmt.Println("the deploy did not get that far:", err)
	}
	// Output:
	// the code does not compile; the end of the log says why:
	// true
}

func ExampleReleasesService_List() {
	client, stop := exampleClient()
	defer stop()

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
	client, stop := exampleClient()
	defer stop()

	_, err := client.Apps.Get(context.Background(), "no-such-app")
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
	client, stop := exampleClient()
	defer stop()

	// An endpoint that has no method of its own.
	var limits struct {
		Remaining int `json:"remaining"`
	}
	if err := client.Do(context.Background(), "GET", "/account/rate-limits", nil, nil, &limits); err != nil {
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

	// What cannot work is found out at once. Nothing is sent.
	_, err = herokubuild.NewClient(herokubuild.WithBaseURL("http://api.example.com"))
	fmt.Println(err)
	// Output: herokubuild: WithBaseURL: "http://api.example.com" is not https (plain http is for loopback addresses only)
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
	// Output: herokubuild: getting the API key: the vault is sealed
}

func ExampleWithLogger() {
	p, err := platform.Start(platform.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	logger := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			switch a.Key {
			case "time", "host", "duration", "request_id":
				return slog.Attr{} // they are others in every run
			}
			return a
		},
	}))
	client, err := herokubuild.NewClient(herokubuild.WithBaseURL(p.URL()), herokubuild.WithToken(p.Token()), herokubuild.WithLogger(logger))
	if err != nil {
		log.Fatal(err)
	}
	if _, err := client.Apps.Get(context.Background(), "example-app"); err != nil {
		log.Fatal(err)
	}
	// Output: level=DEBUG msg="herokubuild: request" method=GET path=/apps/example-app attempt=1 status=200 rate_remaining=4499
}

// A test of a program that uses this package, without a network.
func ExampleWithHTTPClient() {
	mock := httpmock.NewMockTransport()
	mock.RegisterResponder("GET", "https://api.heroku.com/apps/shop/releases",
		httpmock.NewStringResponder(200, `[{"id": "0fd8f4a2-5c1b-4f7a-9d8e-3b2a1c0d9e8f", "version": 7, "status": "succeeded", "current": true}]`))
	client, err := herokubuild.NewClient(
		herokubuild.WithToken("any"),
		herokubuild.WithBaseURL(herokubuild.DefaultBaseURL), // whatever HEROKU_API_URL says
		herokubuild.WithHTTPClient(&http.Client{Transport: mock}),
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
	client, stop := exampleClient()
	defer stop()
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

// Progress for people, or for a program: every step is an event.
func ExampleClient_BuildAndRelease_events() {
	client, stop := exampleClient()
	defer stop()

	_, err := client.BuildAndRelease(context.Background(), herokubuild.BuildAndReleaseOptions{
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
			default: // there are more kinds, and may be others some day
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

// A deploy whose process dies is gone on with by the next one: there is one
// build, and one release an app.
func ExampleCheckpoint() {
	client, stop := exampleClient()
	defer stop()
	dir, remove := exampleDir()
	defer remove()
	file := filepath.Join(dir, "deploy.json")
	// What is stored is whole, or what was stored before.
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
	_, err := client.BuildAndRelease(context.Background(), opts)
	fmt.Println("stopped:", err != nil)

	// The next process has nothing but the file.
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
	// Done: the next deploy is another one.
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
