package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/workflow"
)

// demonstration is one mode of the command demo.
type demonstration struct {
	name, about string
	run         func(context.Context, *demo) error
}

func demonstrations() []demonstration {
	return []demonstration{
		{"kill", "kill the workers of deploys, at different moments", demoKill},
		{"flight", "kill one of two workers with 200 deploys in flight", demoFlight},
		{"fleet", "kill the worker that releases to 300 apps", demoFleet},
		{"rollback", "kill the worker that rolls a second version back, after a failure and after a cancellation", demoRollback},
		{"freeze", "freeze a worker right before it creates a build, releases or rolls back, and thaw it when another one has", demoFreeze},
		{"cancel", "cancel deploys, also without a worker, and measure when the build ends", demoCancel},
		{"stop", "stop a worker with SIGTERM, which hands its deploy over", demoStop},
	}
}

// heartbeatTimeout is that of the demonstrations, which are in a hurry.
const heartbeatTimeout = 3 * time.Second

func runDemo(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := newFlags("demo", stderr)
	flags.Usage = func() {
		fmt.Fprintln(stderr, "Usage: fleet demo [-kills N] [MODE...], where MODE is all or:")
		for _, d := range demonstrations() {
			fmt.Fprintf(stderr, "  %-8s %s\n", d.name, d.about)
		}
	}
	kills := flags.Int("kills", len(killMoments()), "how many deploys lose their worker in the mode kill")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return err
	case err != nil:
		return errUsage
	case *kills < 1 || *kills > len(killMoments()):
		return usage(flags, "-kills must be 1 to 5")
	}
	chosen, err := choose(flags.Args())
	if err != nil {
		return usage(flags, err.Error())
	}
	if !canFreeze {
		return errors.New("the demonstrations need the signals of Unix")
	}
	server, err := useServer(ctx, stderr)
	if err != nil {
		return err
	}
	err = demonstrate(ctx, chosen, *kills, stdout)
	return errors.Join(err, server.Close())
}

func choose(names []string) ([]demonstration, error) {
	all := demonstrations()
	switch {
	case len(names) == 0:
		return all[:1], nil
	case slices.Equal(names, []string{"all"}):
		return all, nil
	}
	var chosen []demonstration
	for _, name := range names {
		i := slices.IndexFunc(all, func(d demonstration) bool { return d.name == name })
		if i < 0 {
			return nil, fmt.Errorf("%q is not a mode", name)
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

func demonstrate(ctx context.Context, chosen []demonstration, kills int, stdout io.Writer) error {
	c, err := dial("fleet demo", slog.LevelError)
	if err != nil {
		return err
	}
	defer c.Close()
	logs, err := os.MkdirTemp("", "fleet-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(logs) }()
	var errs []error
	for _, mode := range chosen {
		fmt.Fprintf(stdout, "\n== %s: %s\n", mode.name, mode.about)
		d := &demo{kills: kills, out: stdout, temporal: c, logs: logs, workers: map[string]*workerProcess{}}
		err := errors.Join(mode.run(ctx, d), d.close())
		if err != nil {
			err = fmt.Errorf("%s: %w", mode.name, err)
			fmt.Fprintln(stdout, "FAILED:", err)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// demo is what one demonstration uses.
type demo struct {
	kills    int
	out      io.Writer
	temporal client.Client
	heroku   *emulator
	logs     string
	workers  map[string]*workerProcess
}

func (d *demo) printf(format string, args ...any) { fmt.Fprintf(d.out, format+"\n", args...) }

// begin starts the emulated Heroku and the first workers.
func (d *demo) begin(ctx context.Context, o emulatorOptions, workers ...string) error {
	var err error
	if d.heroku, err = startEmulator(ctx, o); err != nil {
		return err
	}
	for _, name := range workers {
		if err := d.startWorker(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) close() error {
	var errs []error
	for _, w := range d.workers {
		w.kill()
	}
	if d.heroku != nil {
		errs = append(errs, d.heroku.Close())
	}
	return errors.Join(errs...)
}

// workerProcess is a worker in a process of its own.
type workerProcess struct {
	cmd  *exec.Cmd
	gone chan struct{}
}

// startWorker starts a worker. A worker of the same name must have ended.
func (d *demo) startWorker(_ context.Context, name string, flags ...string) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	args := append([]string{"worker", "-name", name, "-logs", d.logs, "-settle", "2s", "-batch-rate", "1000", "-slots", "200", "-log", "ERROR+1"}, flags...)
	w := &workerProcess{cmd: exec.Command(program, args...), gone: make(chan struct{})} //nolint:gosec,noctx // This program; it ends by kill.
	w.cmd.Env = append(os.Environ(), d.heroku.environment()...)
	w.cmd.Stderr = os.Stderr
	if err := w.cmd.Start(); err != nil {
		return err
	}
	go func() {
		_ = w.cmd.Wait() // Workers are killed.
		close(w.gone)
	}()
	d.workers[name] = w
	return nil
}

// kill ends a worker with SIGKILL.
func (w *workerProcess) kill() {
	_ = w.cmd.Process.Kill() // It may have ended.
	<-w.gone
}

// start starts a deploy with the settings of the demonstrations.
func (d *demo) start(ctx context.Context, app string, releaseTo ...string) (client.WorkflowRun, error) {
	return startDeploy(ctx, d.temporal, d.spec(app, releaseTo...))
}

func (d *demo) spec(app string, releaseTo ...string) DeploySpec {
	spec := DeploySpec{Account: "default", App: app, Source: d.heroku.source, Version: "v1", Heartbeat: heartbeatTimeout}
	if len(releaseTo) > 0 {
		spec.Fleets = []FleetSpec{{Account: "default", Apps: releaseTo}}
	}
	return spec
}

// startSecond deploys a first version, and starts the deploy of a second one that is
// rolled back if it stops.
func (d *demo) startSecond(ctx context.Context, app string, releaseTo ...string) (client.WorkflowRun, error) {
	first, err := d.start(ctx, app, releaseTo...)
	if err != nil {
		return nil, err
	}
	if err := first.Get(ctx, nil); err != nil {
		return nil, err
	}
	spec := d.spec(app, releaseTo...)
	spec.Version = "v2"
	fleet := &spec.Fleets[0]
	fleet.Batch, fleet.Parallel, fleet.RollBack = 10, 2, true
	return startDeploy(ctx, d.temporal, spec)
}

// check returns an error unless the platform has one build and one release an app, and
// the log file the whole output.
func (d *demo) check(run client.WorkflowRun, app string, releaseTo ...string) error {
	mark := markOf(workflow.Execution{ID: run.GetID(), RunID: run.GetRunID()})
	return errors.Join(
		d.heroku.CheckDeployedOnce(app, releaseTo...),
		d.heroku.checkLog(app, logFile(d.logs, mark)),
	)
}

// follower is the worker that has the activity of a workflow; empty if none has it.
func (d *demo) follower(ctx context.Context, workflowID string) (string, error) {
	response, err := d.temporal.DescribeWorkflowExecution(ctx, workflowID, "")
	if err != nil {
		return "", err
	}
	for _, a := range response.PendingActivities {
		if a.State == enums.PENDING_ACTIVITY_STATE_STARTED {
			return a.LastWorkerIdentity, nil
		}
	}
	return "", nil
}

// awaitFollower waits until a worker other than one has the activity.
func (d *demo) awaitFollower(ctx context.Context, workflowID, other string) (string, error) {
	var name string
	err := poll(ctx, func() (bool, error) {
		var err error
		name, err = d.follower(ctx, workflowID)
		return name != "" && name != other, err
	})
	return name, err
}

// awaitOutput waits until the newest build of an app runs and has printed something.
func (d *demo) awaitOutput(ctx context.Context, app string) error {
	return poll(ctx, func() (bool, error) {
		builds := d.heroku.Builds(app)
		return len(builds) > 0 && builds[len(builds)-1].OutputSize > 0, nil
	})
}

// startAll starts a deploy of each app.
func (d *demo) startAll(ctx context.Context, apps []string) ([]client.WorkflowRun, error) {
	runs := make([]client.WorkflowRun, len(apps))
	errs := make([]error, len(apps))
	slots := make(chan struct{}, 16)
	var group sync.WaitGroup
	for i, app := range apps {
		group.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			runs[i], errs[i] = d.start(ctx, app)
		})
	}
	group.Wait()
	return runs, errors.Join(errs...)
}

// held counts the activities that each worker has.
func (d *demo) held(ctx context.Context, runs []client.WorkflowRun) (map[string]int, error) {
	held := map[string]int{}
	for _, run := range runs {
		name, err := d.follower(ctx, run.GetID())
		if err != nil {
			return nil, err
		}
		held[name]++
	}
	return held, nil
}

func (d *demo) count(apps []string, is func(string) bool) int {
	n := 0
	for _, app := range apps {
		if is(app) {
			n++
		}
	}
	return n
}

func numbered(name string, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("%s-%03d", name, i+1)
	}
	return all
}

// poll waits for a condition, for two minutes at most.
func poll(ctx context.Context, condition func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if ok, err := condition(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the demonstration: %w", context.Cause(ctx))
		case <-tick.C:
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func since(t time.Time) time.Duration { return time.Since(t).Round(10 * time.Millisecond) }

// isFrozen reports whether Linux or the BSD ps shows a process as stopped.
func isFrozen(pid int) bool {
	if text, err := os.ReadFile(filepath.Join("/proc", fmt.Sprint(pid), "stat")); err == nil { //nolint:gosec // a number
		_, state, _ := strings.Cut(string(text), ") ")
		return strings.HasPrefix(state, "T")
	}
	text, err := exec.Command("ps", "-o", "stat=", "-p", fmt.Sprint(pid)).Output() //nolint:gosec,noctx // a number
	return err == nil && strings.HasPrefix(strings.TrimSpace(string(text)), "T")
}
