package herokubuild_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"

	"github.com/herokubuild/herokubuild"
	"github.com/herokubuild/herokubuild/internal/platform"
)

// exampleClient returns a client of an embedded platform, so that the examples
// run. A program calls herokubuild.NewClient() with no options instead.
func exampleClient() (client *herokubuild.Client, stop func()) {
	p, err := platform.Start(platform.Options{
		Builder: platform.BuilderFunc(func(_ context.Context, j *platform.Job) error {
			if _, err := os.Stat(filepath.Join(j.BuildDir, "broken.go")); err == nil {
				_, _ = fmt.Fprintln(j.Output, "broken.go:1:1: expected 'package'")
				return errors.New("failed")
			}
			return nil
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

// exampleDir is a directory with one source file.
func exampleDir(name string) (dir string, remove func()) {
	dir, err := os.MkdirTemp("", "example-")
	if err != nil {
		log.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), []byte("hello\n"), 0o600); err != nil {
		log.Fatal(err)
	}
	return dir, func() { _ = os.RemoveAll(dir) }
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
	for _, r := range result.Releases {
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
