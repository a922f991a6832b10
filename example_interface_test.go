package herokubuild_test

import (
	"context"
	"fmt"

	"github.com/herokubuild/herokubuild"
)

// deployer is what this program needs of a *herokubuild.Client.
type deployer interface {
	BuildAndRelease(ctx context.Context, opts herokubuild.BuildAndReleaseOptions) (*herokubuild.DeployResult, error)
}

// ship is the program's own code.
func ship(ctx context.Context, d deployer, app string) string {
	result, err := d.BuildAndRelease(ctx, herokubuild.BuildAndReleaseOptions{BuildApp: app, Dir: "."})
	if err != nil {
		return app + " is as it was: " + err.Error()
	}
	return fmt.Sprintf("%s runs v%d", app, result.Apps[0].Release.Version)
}

// fakeDeployer deploys nothing, and fails if it is told to. All fields of the
// package's types and errors can be set.
type fakeDeployer struct{ err error }

func (f fakeDeployer) BuildAndRelease(_ context.Context, opts herokubuild.BuildAndReleaseOptions) (*herokubuild.DeployResult, error) {
	if f.err != nil {
		return nil, f.err
	}
	release := &herokubuild.Release{Version: 7, Status: herokubuild.StatusSucceeded}
	return &herokubuild.DeployResult{Apps: []herokubuild.AppResult{{App: opts.BuildApp, Release: release}}}, nil
}

// A program tests its own code with a fake of a small interface of its own.
func Example_ownInterface() {
	ctx := context.Background()
	fmt.Println(ship(ctx, fakeDeployer{}, "shop"))

	failed := &herokubuild.BuildError{App: "shop", Build: &herokubuild.Build{ID: "7f", Status: herokubuild.StatusFailed}}
	fmt.Println(ship(ctx, fakeDeployer{err: failed}, "shop"))
	// Output:
	// shop runs v7
	// shop is as it was: herokubuild: build 7f of shop failed
}
