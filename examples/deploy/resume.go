package main

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/herokubuild/herokubuild"
	"github.com/herokubuild/herokubuild/examples/internal/terminal"
)

// onEvent is the type of BuildAndReleaseOptions.OnEvent.
type onEvent = func(ctx context.Context, e herokubuild.DeployEvent) error

// resume deploys with a checkpoint file: it continues the deploy that the file is of,
// if there is one, and keeps the file up to date.
func resume(ctx context.Context, client *herokubuild.Client, deploy herokubuild.BuildAndReleaseOptions, file herokubuild.CheckpointFile, view *terminal.View) (*herokubuild.DeployResult, error) {
	var err error
	if deploy.Checkpoint, err = file.Load(); err != nil {
		return nil, err
	}
	if c := deploy.Checkpoint; c.Resumable() {
		build := "build " + c.BuildID
		if c.BuildID == "" {
			build = "its build may have been started"
		}
		view.Info(fmt.Sprintf("Resuming the deploy of %s from %s (%s).", c.BuildApp, file, build))
		if !c.Settled {
			view.Info("The earlier run was killed: before another release, requests of it get 30 s to take effect.")
		}
	}
	deploy.OnEvent = file.OnEvent(deploy.OnEvent)
	result, err := client.BuildAndRelease(ctx, deploy)
	saveErr := file.Finish(err)
	if saveErr != nil && errors.Is(err, herokubuild.ErrDetached) {
		// Nothing could continue the deploy.
		return result, saveErr
	}
	return result, errors.Join(err, saveErr)
}

// resumeHint returns how to continue a deploy that failed, if that is possible.
func (s *settings) resumeHint() string {
	if s.checkpoint == "" {
		return ""
	}
	if c, err := herokubuild.CheckpointFile(s.checkpoint).Load(); err != nil || !c.Resumable() {
		return ""
	}
	return "Run the same command again to resume from " + s.checkpoint + "."
}

// detach ends the deploy as soon as the build has been created.
func detach(next onEvent) onEvent {
	return func(ctx context.Context, e herokubuild.DeployEvent) error {
		if err := next(ctx, e); err != nil || e.Kind != herokubuild.EventBuildCreated {
			return err
		}
		return herokubuild.ErrDetached
	}
}

// detached prints how to follow the build and how to continue.
func (s *settings) detached(view *terminal.View, result *herokubuild.DeployResult) {
	view.Info(fmt.Sprintf("Detached from build %s on %s. To follow it:", result.Build.ID, s.app))
	view.Info(fmt.Sprintf("    go run %s -app %s -build %s", followProgram(), s.app, result.Build.ID))
	if s.checkpoint != "" {
		view.Info("To continue the deploy, run the same command without -detach.")
	}
}

// followProgram is what to run to follow a build: the program of the same version as this
// one if that was installed, and otherwise that of the working copy.
func followProgram() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || !installed(info) {
		return "./examples/follow"
	}
	return info.Main.Path + "/follow@" + info.Main.Version
}

// installed reports whether a program was built from a published version of its module.
func installed(info *debug.BuildInfo) bool {
	isWorkingCopy := slices.ContainsFunc(info.Settings, func(s debug.BuildSetting) bool { return s.Key == "vcs" })
	return strings.HasPrefix(info.Main.Version, "v") && !isWorkingCopy
}
