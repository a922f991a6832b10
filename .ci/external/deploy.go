// Package tool is a deploy tool of another project. CI builds and tests it as a module of
// its own, outside of this repository.
package tool

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/herokubuild/herokubuild"
)

// Deploy builds the source in dir, releases it to the apps and prints a line for each.
func Deploy(ctx context.Context, client *herokubuild.Client, w io.Writer, dir string, apps ...string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Hour)
	defer cancel()
	result, err := client.BuildAndRelease(ctx, herokubuild.BuildAndReleaseOptions{
		BuildApp:  apps[0],
		ReleaseTo: apps[1:],
		Dir:       dir,
	})
	if result != nil {
		for _, app := range result.Apps {
			fmt.Fprintln(w, app.App, app.Outcome())
		}
	}
	return err
}
