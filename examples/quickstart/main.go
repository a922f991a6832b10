// Command quickstart is the program in the README: it builds the current directory on
// one app and releases it to another. It needs an API key, and apps of these names.
package main

import (
	"context"
	"log"
	"os"
	"os/signal"

	"github.com/herokubuild/herokubuild"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt) // cancels the build
	defer stop()
	client, err := herokubuild.NewClient() // HEROKU_API_KEY, or the ~/.netrc of heroku login
	if err != nil {
		log.Fatal(err)
	}
	result, err := client.BuildAndRelease(ctx, herokubuild.BuildAndReleaseOptions{
		BuildApp: "my-app", Dir: ".", ReleaseTo: []string{"my-other-app"}, Output: os.Stdout,
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, app := range result.Apps {
		log.Printf("%s runs v%d", app.App, app.Release.Version)
	}
}
