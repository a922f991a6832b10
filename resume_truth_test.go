package herokubuild_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
	"github.com/herokubuild/herokubuild/internal/platform"
)

// A call that fails before it could search for the build of an earlier one
// leaves that build to the next.
func TestABuildThatWasNotSearchedForIsNotForgotten(t *testing.T) {
	t.Parallel()
	for _, failing := range []string{"", "/builds"} {
		t.Run("GET "+failing, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancelCause(t.Context())
			p, client := startPlatform(t, platform.Options{Builder: printing("")}, quickRetry())
			path := "/apps/" + p.AppID("example-app")
			p.SetFaults(func(at platform.FaultPoint) platform.Fault {
				if at.Method == "POST" && at.Path == path+"/builds" {
					cancel(herokubuild.ErrDetached)
				}
				return platform.Fault{}
			})
			opts := deploy()
			opts.Archive = archiveOf(t)
			_, err := client.BuildAndRelease(ctx, opts)
			require.ErrorIs(t, err, herokubuild.ErrMaybeApplied)
			opts.Checkpoint = checkpointOf(t, err)

			p.SetFaults(func(at platform.FaultPoint) platform.Fault {
				if at.Method == "GET" && at.Path == path+failing {
					return platform.Fault{Status: 503, Delay: 100 * time.Millisecond}
				}
				return platform.Fault{}
			})
			_, err = client.BuildAndRelease(t.Context(), opts)
			var refused *herokubuild.APIError
			require.ErrorAs(t, err, &refused)
			opts.Checkpoint = checkpointOf(t, err)
			assert.True(t, opts.Checkpoint.Resumable())

			p.SetFaults(nil)
			_, err = client.BuildAndRelease(t.Context(), opts)
			require.NoError(t, err)
			assert.Len(t, p.Builds("example-app"), 1)
		})
	}
}

// A status that lags behind one that was final before changes nothing.
func TestABuildThatSeemsPendingAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		build := func(status string) string {
			return strings.Replace(golden(t, "build_pending.json"), `"pending"`, `"`+status+`"`, 1)
		}
		a := newAPI(t)
		a.on("GET", apiURL+"/apps/"+appName, replyFile(t, 200, "app.json"))
		a.on("GET", appBuildsURL, reply(200, "[]"))
		a.on("POST", appBuildsURL, reply(201, build("pending")))
		a.on("GET", appBuildsURL+"/"+buildID, reply(200, build("failed")), reply(200, build("pending")), reply(200, build("failed")))
		a.on("GET", outputURL, reply(503, ""))
		_, err := a.BuildAndRelease(t.Context(), herokubuild.BuildAndReleaseOptions{BuildApp: appName, SourceURL: sourceURL})
		require.ErrorIs(t, err, herokubuild.ErrBuildFailed)
	})
}

// An upload is not the source of a checkpoint that is of a URL, whose checksum
// is not known.
func TestAnUploadIsNotTheURLOfACheckpoint(t *testing.T) {
	t.Parallel()
	p, client := startPlatform(t, platform.Options{Builder: printing("")}, quickRetry())
	opts := herokubuild.BuildAndReleaseOptions{
		BuildApp: "example-app", SourceURL: "https://127.0.0.1:1/a.tgz",
		OnEvent: func(_ context.Context, e herokubuild.Event) error {
			if e.Kind == herokubuild.EventBuildCreated {
				return herokubuild.ErrDetached
			}
			return nil
		},
	}
	_, err := client.BuildAndRelease(t.Context(), opts)
	require.ErrorIs(t, err, herokubuild.ErrDetached)
	c := checkpointOf(t, err)
	for _, opts := range []herokubuild.BuildAndReleaseOptions{{Archive: archiveOf(t)}, {Dir: sourceDir(t, map[string]string{"index.html": "hi"})}} {
		opts.BuildApp, opts.Checkpoint = "example-app", c
		_, err = client.BuildAndRelease(t.Context(), opts)
		require.ErrorIs(t, err, herokubuild.ErrCheckpointMismatch)
	}
	assert.Len(t, p.Builds("example-app"), 1)
}
