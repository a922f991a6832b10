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
	return fmt.Sprintf("%s: v%d failed its check: %v", e.app, e.version, e.err)
}

func (e *checkError) Unwrap() error { return e.err }

// checkBuildApp checks the app that builds once it has its release, before any other
// app gets the slug. RolloutPolicy.Verify is for the other apps only. A failure ends
// the deploy; the app keeps its release.
//
// The check may take minutes, and OnEvent blocks the deploy, which is intended here:
// nothing else is in progress.
func checkBuildApp(app string, verify func(context.Context, string, *herokubuild.Release) error, next onEvent) onEvent {
	return func(ctx context.Context, e herokubuild.DeployEvent) error {
		if err := next(ctx, e); err != nil {
			return err
		}
		if e.Kind != herokubuild.EventReleaseDone || e.App != app || e.Err != nil {
			return nil
		}
		e.Kind, e.Err = herokubuild.EventVerified, verify(ctx, app, e.Release)
		switch {
		case e.Err == nil:
			return next(ctx, e)
		case ctx.Err() != nil:
			return e.Err
		}
		e.Err = &checkError{app: app, version: e.Release.Version, err: e.Err}
		return errors.Join(next(ctx, e), e.Err)
	}
}
