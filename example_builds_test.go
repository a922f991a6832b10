package herokubuild_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"strings"
	"time"

	"github.com/herokubuild/herokubuild"
)

// [Client.BuildAndRelease] combines these steps.
func ExampleBuildsService_Create() {
	defer startEmulator()() // sets HEROKU_API_URL and HEROKU_API_KEY
	client, err := herokubuild.NewClient()
	if err != nil {
		log.Fatal(err)
	}
	dir, remove := exampleDir("main.go")
	defer remove()
	ctx := context.Background()

	archive, err := herokubuild.PackDir(ctx, dir, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = archive.Close() }()
	source, err := client.Sources.Upload(ctx, archive, nil)
	if err != nil {
		log.Fatal(err)
	}
	build, err := client.Builds.Create(ctx, "example-app", herokubuild.BuildCreateOptions{
		SourceBlob: herokubuild.SourceBlob{
			URL: source.SourceBlob.GetURL, Checksum: archive.Checksum(), Version: "v7",
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("build", build.Status)

	output, err := client.Builds.Output(ctx, "example-app", build.ID, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = output.Close() }()
	if _, err := io.Copy(os.Stderr, output); err != nil {
		log.Fatal(err)
	}
	// The build may still fail after the end of its output, and the release that
	// follows a successful build may fail, too.
	build, err = client.Builds.Wait(ctx, "example-app", build.ID, nil)
	if err != nil {
		log.Fatal(err)
	}
	release, err := client.Releases.Wait(ctx, "example-app", build.Release.ID, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("build %s, release v%d %s\n", build.Status, release.Version, release.Status)
	// Output:
	// build pending
	// build succeeded, release v3 succeeded
}

func ExampleBuildsService_Output() {
	defer startEmulator()() // sets HEROKU_API_URL and HEROKU_API_KEY
	client, err := herokubuild.NewClient()
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	build := exampleBuild(ctx, client, "main.go")

	output, err := client.Builds.Output(ctx, "example-app", build.ID, &herokubuild.StreamOptions{
		OnHeartbeat: func(quiet time.Duration) { fmt.Println("still running, no output for", quiet) },
	})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = output.Close() }()
	for line, err := range output.Lines() {
		if err != nil {
			log.Fatal(err)
		}
		if step, ok := strings.CutPrefix(line, "-----> "); ok {
			fmt.Println(step)
		}
	}
	// Output:
	// Building on the Heroku-24 stack
	// Discovering process types
	// Compressing...
	// Launching...
}

func ExampleBuildsService_Wait() {
	defer startEmulator()() // sets HEROKU_API_URL and HEROKU_API_KEY
	client, err := herokubuild.NewClient()
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	build := exampleBuild(ctx, client, "broken.go")

	_, err = client.Builds.Wait(ctx, "example-app", build.ID, &herokubuild.WaitOptions{Timeout: time.Hour})
	var failed *herokubuild.BuildError
	switch {
	case errors.As(err, &failed):
		fmt.Println("build", failed.Build.Status)
	case errors.Is(err, herokubuild.ErrWaitTimeout):
		fmt.Println("the build takes longer than an hour")
	case err != nil:
		log.Fatal(err)
	}
	// Output: build failed
}

func ExampleBuildsService_List() {
	defer startEmulator()() // sets HEROKU_API_URL and HEROKU_API_KEY
	client, err := herokubuild.NewClient()
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	exampleBuild(ctx, client, "main.go")

	newest := &herokubuild.ListOptions{SortBy: "created_at", Order: herokubuild.Descending, Limit: 10}
	for build, err := range client.Builds.List(ctx, "example-app", newest) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(build.SourceBlob.Version, build.Stack)
	}
	// Output: v1 heroku-24
}

func ExampleBuildsService_Cancel() {
	defer startEmulator()() // sets HEROKU_API_URL and HEROKU_API_KEY
	client, err := herokubuild.NewClient()
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	build := exampleBuild(ctx, client, "endless.go")

	build, err = client.Builds.Cancel(ctx, "example-app", build.ID)
	if err != nil {
		log.Fatal(err)
	}
	// The API has no separate status for canceled builds.
	fmt.Println(build.Status)
	// Output: failed
}

// The reader can be any output stream, such as one that was recorded with curl.
func ExampleDropHeartbeats() {
	recorded := strings.NewReader("-----> Compiling\n\x00\x00\x00-----> Do\x00ne\n")
	text, err := io.ReadAll(herokubuild.DropHeartbeats(recorded))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(string(text))
	// Output:
	// -----> Compiling
	// -----> Done
}

func ExampleSourcesService_Upload() {
	defer startEmulator()() // sets HEROKU_API_URL and HEROKU_API_KEY
	client, err := herokubuild.NewClient()
	if err != nil {
		log.Fatal(err)
	}
	dir, remove := exampleDir("main.go")
	defer remove()
	ctx := context.Background()

	archive, err := herokubuild.PackDir(ctx, dir, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = archive.Close() }()
	source, err := client.Sources.Upload(ctx, archive, &herokubuild.UploadOptions{
		OnProgress: func(done, total int64) { fmt.Printf("%d%%\n", 100*done/total) },
	})
	if err != nil {
		log.Fatal(err)
	}
	// A signed URL is printed without its query, which grants access.
	fmt.Println(strings.HasSuffix(source.SourceBlob.GetURL.String(), "?REDACTED"))
	// Output:
	// 100%
	// true
}
