package herokubuild_test

import (
	"context"
	"fmt"

	"github.com/herokubuild/herokubuild"
)

// deployer is the part of *herokubuild.Client that the program uses.
type deployer interface {
	BuildAndRelease(ctx context.Context, opts herokubuild.BuildAndReleaseOptions) (*herokubuild.DeployResult, error)
}

// ship is the code to be tested.
func ship(ctx context.Context, d deployer, app string) string {
	result, err := d.BuildAndRelease(ctx, herokubuild.BuildAndReleaseOptions{BuildApp: app, Dir: "."})
	if err != nil {
		return app + " was not deployed: " + err.Error()
	}
	return fmt.Sprintf("%s runs v%d", app, result.Apps[0].Release.Version)
}

// fakeDeployer is a deployer for tests that fails with err, if that is set. All fields
// of the package's types and errors can be set.
type fakeDeployer struct{ err error }

func (f fakeDeployer) BuildAndRelease(_ context.Context, opts herokubuild.BuildAndReleaseOptions) (*herokubuild.DeployResult, error) {
	if f.err != nil {
		return nil, f.err
	}
	release := &herokubuild.Release{Version: 7, Status: herokubuild.StatusSucceeded}
	return &herokubuild.DeployResult{Apps: []herokubuild.AppResult{{App: opts.BuildApp, Release: release}}}, nil
}

// A program can test its own code with a small interface and a fake.
// [NewClient] returns the real one.
func Example_ownInterface() {
	ctx := context.Background()
	fmt.Println(ship(ctx, fakeDeployer{}, "shop"))

	failed := &herokubuild.BuildError{App: "shop", Build: &herokubuild.Build{ID: "7f", Status: herokubuild.StatusFailed}}
	fmt.Println(ship(ctx, fakeDeployer{err: failed}, "shop"))
	// Output:
	// shop runs v7
	// shop was not deployed: build 7f of shop failed
}
