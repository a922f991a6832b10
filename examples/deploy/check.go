package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/herokubuild/herokubuild"
)

// checkError reports that the app that builds failed its check.
type checkError struct {
	app     string
	version int
	err     error
}

func (e *checkError) Error() string {
	return fmt.Sprintf("release v%d of %s failed its check: %v", e.version, e.app, e.err)
}

func (e *checkError) Unwrap() error { return e.err }

// explained returns the error of a deploy, with the failed check of the app that builds
// as its text. The other apps are only its consequence.
func explained(err error) error {
	var failed *checkError
	if errors.As(err, &failed) {
		return &explainedError{text: fmt.Sprintf("deploy %s: %v", failed.app, failed), err: err}
	}
	return err
}

type explainedError struct {
	text string
	err  error
}

func (e *explainedError) Error() string { return e.text }

func (e *explainedError) Unwrap() error { return e.err }

// checkBuildApp checks the app that builds once it has its release, before any other
// app gets the slug. RolloutPolicy.Verify is for the other apps only. A failure ends
// the deploy; the app keeps its release.
//
// The check may take minutes, and OnEvent blocks the deploy, which is intended here:
// nothing else is in progress.
func checkBuildApp(app string, verify func(context.Context, string, *herokubuild.Release) error, next onEvent) onEvent {
	return func(ctx context.Context, e herokubuild.DeployEvent) error {
		released := e.Kind == herokubuild.EventReleaseDone && e.App == app && e.Err == nil
		if err := next(ctx, e); err != nil || !released {
			return err
		}
		err := verify(ctx, app, e.Release)
		if err != nil && ctx.Err() != nil {
			return err
		}
		if err != nil {
			err = &checkError{app: app, version: e.Release.Version, err: err}
		}
		e.Kind, e.Err = herokubuild.EventVerified, err
		if nextErr := next(ctx, e); nextErr != nil {
			return nextErr
		}
		return err
	}
}
