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

// The steps of a deploy one by one, for a program that wants something in
// between; [Client.BuildAndRelease] makes them all.
func ExampleBuildsService_Create() {
	client, stop := exampleClient()
	defer stop()
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
	fmt.Println("the build is", build.Status)

	output, err := client.Builds.Output(ctx, build, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = output.Close() }()
	if _, err := io.Copy(os.Stderr, output); err != nil {
		log.Fatal(err)
	}
	// The end of the output is not the outcome, and a build that succeeded is
	// not yet a release that runs.
	build, err = client.Builds.Wait(ctx, "example-app", build.ID, nil)
	if err != nil {
		log.Fatal(err)
	}
	release, err := client.Releases.Wait(ctx, "example-app", build.Release.ID, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("the build %s, and v%d %s\n", build.Status, release.Version, release.Status)
	// Output:
	// the build is pending
	// the build succeeded, and v3 succeeded
}

func ExampleBuildsService_Output() {
	client, stop := exampleClient()
	defer stop()
	ctx := context.Background()
	build := exampleBuild(ctx, client, "main.go")

	output, err := client.Builds.Output(ctx, build, &herokubuild.StreamOptions{
		OnHeartbeat: func(quiet time.Duration) { fmt.Println("alive, quiet for", quiet) },
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
	client, stop := exampleClient()
	defer stop()
	ctx := context.Background()
	build := exampleBuild(ctx, client, "broken.go")

	_, err := client.Builds.Wait(ctx, "example-app", build.ID, &herokubuild.WaitOptions[herokubuild.Build]{Timeout: time.Hour})
	var failed *herokubuild.BuildError
	switch {
	case errors.As(err, &failed):
		fmt.Println("the build", failed.Build.Status)
	case errors.Is(err, herokubuild.ErrWaitTimeout):
		fmt.Println("it takes longer than an hour")
	}
	// Output: the build failed
}

func ExampleBuildsService_List() {
	client, stop := exampleClient()
	defer stop()
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
	client, stop := exampleClient()
	defer stop()
	ctx := context.Background()
	build := exampleBuild(ctx, client, "endless.go")

	build, err := client.Builds.Cancel(ctx, "example-app", build.ID)
	if err != nil {
		log.Fatal(err)
	}
	// The platform has no other word for it.
	fmt.Println(build.Status)
	// Output: failed
}

// A reader that comes from elsewhere, such as a recording of a stream made with
// curl.
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
	client, stop := exampleClient()
	defer stop()
	dir, remove := exampleDir("main.go")
	defer remove()
	ctx := context.Background()

	archive, err := herokubuild.PackDir(ctx, dir, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = archive.Close() }()
	source, err := client.Sources.Upload(ctx, archive, &herokubuild.UploadOptions{
		Progress: func(done, total int64) { fmt.Printf("%d%%\n", 100*done/total) },
	})
	if err != nil {
		log.Fatal(err)
	}
	// Signed addresses print without what grants access.
	fmt.Println(strings.HasSuffix(source.SourceBlob.GetURL.String(), "?REDACTED"))
	// Output:
	// 100%
	// true
}
