package herokutest

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/herokubuild/herokubuild/internal/platform"
)

// BuildFunc is what a build does. It prints to the job, which is the output of the build.
// An error fails the build, and its text is the end of the output. ctx ends when the build
// is canceled, exceeds [Options.BuildTimeout] or the server is closed.
//
// It may be called by several goroutines at once.
type BuildFunc func(ctx context.Context, job *BuildJob) error

// ReleasePhaseFunc is what a release phase does. It prints to the job. An error fails the
// release, and its text is the end of the output. ctx ends when the server is closed.
//
// It may be called by several goroutines at once.
type ReleasePhaseFunc func(ctx context.Context, job *ReleaseJob) error

// BuildJob is a build that a [BuildFunc] makes. It is an io.Writer of the output.
type BuildJob struct {
	// App, AppID and ID identify the app and the build.
	App, AppID, ID string
	// Stack is the name of the app's stack, such as heroku-24.
	Stack string
	// Buildpacks are those of the request, by name or URL.
	Buildpacks []string
	// SourceVersion and SourceVersionDescription are those of the request.
	SourceVersion, SourceVersionDescription string
	// Dir is the directory of the unpacked source. What it contains after the build
	// becomes the slug.
	Dir string

	output
	job *platform.Job
	// compiler is shared by the builds of a server: it asks the go command for its
	// environment once.
	compiler platform.Builder
}

// SetProcessType declares a process type, such as web, and its command. Those of the
// source's Procfile take precedence.
func (b *BuildJob) SetProcessType(name, command string) { b.job.ProcessTypes[name] = command }

// ReleaseJob is the release phase of a release. It is an io.Writer of its output.
type ReleaseJob struct {
	// App and AppID identify the app.
	App, AppID string
	// ReleaseID and Version identify the release.
	ReleaseID string
	Version   int
	// Command is that of the process type named release.
	Command string
	// Env has the config vars of the app.
	Env map[string]string

	output
	phase *platform.Phase
}

// output is the output of a job.
type output struct {
	write func([]byte) (int, error)
}

// Write prints to the output.
func (o output) Write(p []byte) (int, error) { return o.write(p) }

// Printf prints to the output.
func (o output) Printf(format string, args ...any) {
	_, _ = fmt.Fprintf(o, format, args...) // if writing fails, so does the build itself
}

// Sleep waits for d, or until ctx ends, and returns the cause of that.
func (o output) Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Compile is a [BuildFunc] that runs the source's bin/compile, if there is one, or builds
// its Go module with the local go command and without a network. It runs code of the
// source with the privileges of this process.
func Compile(ctx context.Context, job *BuildJob) error {
	return job.compiler.Build(ctx, job.job)
}

// RunCommand is a [ReleasePhaseFunc] that runs the command with the config vars of the app
// in a copy of the slug. It runs code of the slug with the privileges of this process.
func RunCommand(ctx context.Context, job *ReleaseJob) error {
	return platform.DefaultReleasePhase(ctx, job.phase)
}

// printLine is the default build.
func printLine(_ context.Context, job *BuildJob) error {
	job.Printf("-----> Not compiled, since this is a test\n")
	return nil
}

// printCommand is the default release phase.
func printCommand(_ context.Context, job *ReleaseJob) error {
	job.Printf("Not run, since this is a test: %s\n", job.Command)
	return nil
}

func (f BuildFunc) builder() platform.Builder {
	compiler := platform.DefaultBuilder()
	return platform.BuilderFunc(func(ctx context.Context, j *platform.Job) error {
		return f(ctx, &BuildJob{
			App:                      j.AppName,
			AppID:                    j.AppID,
			ID:                       j.BuildID,
			Stack:                    j.Stack,
			Buildpacks:               j.Buildpacks,
			SourceVersion:            j.SourceVersion,
			SourceVersionDescription: j.SourceVersionDescription,
			Dir:                      j.BuildDir,
			output:                   output{j.Output.Write},
			job:                      j,
			compiler:                 compiler,
		})
	})
}

func (f ReleasePhaseFunc) phase() platform.ReleasePhaseFunc {
	return func(ctx context.Context, ph *platform.Phase) error {
		return f(ctx, &ReleaseJob{
			App:       ph.AppName,
			AppID:     ph.AppID,
			ReleaseID: ph.ReleaseID,
			Version:   ph.Version,
			Command:   ph.Command,
			Env:       maps.Clone(ph.Env),
			output:    output{ph.Output.Write},
			phase:     ph,
		})
	}
}
