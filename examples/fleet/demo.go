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
	"sync/atomic"
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
		{"freeze", "freeze a worker just before it creates a build, and thaw it when another one has", demoFreeze},
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
			fmt.Fprintf(stderr, "  %-7s %s\n", d.name, d.about)
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
	spec := DeploySpec{Account: "default", App: app, Source: d.heroku.source, Version: "v1", Heartbeat: heartbeatTimeout}
	if len(releaseTo) > 0 {
		spec.Fleets = []FleetSpec{{Account: "default", Apps: releaseTo}}
	}
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

// killMoments are the times after the first output of a build of 3 s.
func killMoments() []time.Duration {
	return []time.Duration{300 * time.Millisecond, 0, time.Second, 2 * time.Second, 2900 * time.Millisecond}
}

// demoKill kills the worker that follows a build, in five deploys at five moments.
func demoKill(ctx context.Context, d *demo) error {
	moments := killMoments()[:d.kills]
	var apps []string
	for i := range moments {
		apps = append(apps, fmt.Sprintf("shop-%d", i+1), fmt.Sprintf("shop-%d-eu", i+1), fmt.Sprintf("shop-%d-us", i+1))
	}
	if err := d.begin(ctx, emulatorOptions{apps: apps, build: 3 * time.Second, phase: 200 * time.Millisecond}, "worker-a", "worker-b"); err != nil {
		return err
	}
	var errs []error
	for i, moment := range moments {
		app := apps[3*i]
		if err := killOnce(ctx, d, app, moment, apps[3*i+1:3*i+3]...); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", app, err))
		}
	}
	return errors.Join(errs...)
}

// killOnce kills the worker some time after the build of an app has begun to print.
func killOnce(ctx context.Context, d *demo, app string, moment time.Duration, releaseTo ...string) error {
	run, err := d.start(ctx, app, releaseTo...)
	if err != nil {
		return err
	}
	if err := d.awaitOutput(ctx, app); err != nil {
		return err
	}
	pause(ctx, moment)
	victim, err := d.follower(ctx, run.GetID())
	if err != nil {
		return err
	}
	killed := time.Now()
	takeover := "it had handed the build back"
	if w := d.workers[victim]; w != nil {
		w.kill()
		next, err := d.awaitFollower(ctx, run.GetID(), victim)
		if err != nil {
			return err
		}
		takeover = fmt.Sprintf("%s took over %v later", next, since(killed))
		if err := d.startWorker(ctx, victim); err != nil {
			return err
		}
	}
	if err := run.Get(ctx, nil); err != nil {
		return err
	}
	if err := d.check(run, app, releaseTo...); err != nil {
		return err
	}
	d.printf("%s: killed %s %v into the build, %s: one build, one release of each of 3 apps, the whole output", app, victim, moment, takeover)
	return nil
}

// demoFlight kills one of two workers while 200 deploys are under way.
func demoFlight(ctx context.Context, d *demo) error {
	const deploys = 200
	var apps []string
	for i := range deploys {
		apps = append(apps, fmt.Sprintf("app-%03d", i+1))
	}
	if err := d.begin(ctx, emulatorOptions{apps: apps, build: 3 * time.Second, rate: 1_000_000}, "worker-a", "worker-b"); err != nil {
		return err
	}
	began := time.Now()
	runs, err := d.startAll(ctx, apps)
	if err != nil {
		return err
	}
	begun := func(app string) bool { return len(d.heroku.Builds(app)) > 0 }
	if err := poll(ctx, func() (bool, error) { return d.count(apps, begun) == deploys, nil }); err != nil {
		return err
	}
	held, err := d.held(ctx, runs)
	if err != nil {
		return err
	}
	d.workers["worker-b"].kill()
	d.printf("killed worker-b, which had %d deploys; worker-a had %d, and %d of %d were done", held["worker-b"], held["worker-a"], d.count(apps, d.heroku.released), deploys)
	var errs []error
	for i, run := range runs {
		if err := errors.Join(run.Get(ctx, nil), d.check(run, apps[i])); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", apps[i], err))
		}
	}
	d.printf("%d of %d deploys have one build, one release and the whole output, %v after the start", deploys-len(errs), deploys, since(began))
	return errors.Join(errs...)
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

// demoFleet kills the worker that has batches of a fleet.
func demoFleet(ctx context.Context, d *demo) error {
	const fleetSize = 300
	var apps []string
	for i := range fleetSize {
		apps = append(apps, fmt.Sprintf("site-%03d", i+1))
	}
	if err := d.begin(ctx, emulatorOptions{apps: append(slices.Clone(apps), "source"), build: time.Second, phase: 50 * time.Millisecond}, "worker-a", "worker-b"); err != nil {
		return err
	}
	began := time.Now()
	run, err := d.start(ctx, "source", apps...)
	if err != nil {
		return err
	}
	if err := poll(ctx, func() (bool, error) { return d.count(apps, d.heroku.released) >= fleetSize/3, nil }); err != nil {
		return err
	}
	victim, err := d.awaitFollower(ctx, run.GetID()+"/fleet-1", "")
	if err != nil {
		return err
	}
	d.workers[victim].kill()
	d.printf("killed %s when %d of %d apps were released", victim, d.count(apps, d.heroku.released), fleetSize)
	if err := run.Get(ctx, nil); err != nil {
		return err
	}
	if err := d.check(run, "source", apps...); err != nil {
		return err
	}
	d.printf("one build and one release of each of %d apps, %v after the start, with %d requests to the API", fleetSize, since(began), d.heroku.apiRequests())
	return nil
}

// demoFreeze freezes a worker between the last heartbeat and the request that creates
// the build, and thaws it when another worker has created the build.
func demoFreeze(ctx context.Context, d *demo) error {
	if err := d.begin(ctx, emulatorOptions{apps: []string{"shop"}, build: 2 * time.Second}); err != nil {
		return err
	}
	if err := d.startWorker(ctx, "worker-a", "-freeze"); err != nil {
		return err
	}
	run, err := d.start(ctx, "shop")
	if err != nil {
		return err
	}
	frozen := d.workers["worker-a"].cmd.Process.Pid
	if err := poll(ctx, func() (bool, error) { return isFrozen(frozen), nil }); err != nil {
		return err
	}
	d.printf("worker-a is frozen before it creates the build; the platform has %d builds", len(d.heroku.Builds("shop")))
	if err := d.startWorker(ctx, "worker-b"); err != nil {
		return err
	}
	if err := d.awaitOutput(ctx, "shop"); err != nil {
		return err
	}
	if err := thaw(frozen); err != nil {
		return err
	}
	d.printf("worker-b has created a build; worker-a continues")
	if err := run.Get(ctx, nil); err != nil {
		return err
	}
	pause(ctx, 2*time.Second) // A second build would be created in this time.
	if err := d.check(run, "shop"); err != nil {
		return err
	}
	d.printf("worker-a has created nothing: one build, one release, the whole output")
	return nil
}

// demoCancel measures how long it takes until a canceled deploy has no running build.
func demoCancel(ctx context.Context, d *demo) error {
	apps := []string{"shop-1", "shop-2", "shop-3", "shop-4", "shop-5", "shop-6"}
	if err := d.begin(ctx, emulatorOptions{apps: apps, build: time.Minute}, "worker-a", "worker-b"); err != nil {
		return err
	}
	for i, app := range apps {
		isLast := i == len(apps)-1
		latency, err := cancelOnce(ctx, d, app, isLast)
		if err != nil {
			return fmt.Errorf("%s: %w", app, err)
		}
		worker := "its worker alive"
		if isLast {
			worker = "its worker dead"
		}
		d.printf("%s: canceled with %s; the build ended %v later", app, worker, latency.Round(time.Millisecond))
		if limit := time.Second; latency > limit && !isLast {
			return fmt.Errorf("%s: the build ended later than %v", app, limit)
		}
	}
	return nil
}

// cancelOnce returns the time between the cancellation of a deploy and the end of its
// build.
func cancelOnce(ctx context.Context, d *demo, app string, kill bool) (time.Duration, error) {
	run, err := d.start(ctx, app)
	if err != nil {
		return 0, err
	}
	if err := d.awaitOutput(ctx, app); err != nil {
		return 0, err
	}
	pause(ctx, time.Second)
	if kill {
		victim, err := d.awaitFollower(ctx, run.GetID(), "")
		if err != nil {
			return 0, err
		}
		d.workers[victim].kill()
	}
	began := time.Now()
	if err := d.temporal.CancelWorkflow(ctx, run.GetID(), ""); err != nil {
		return 0, err
	}
	err = poll(ctx, func() (bool, error) { return d.heroku.Builds(app)[0].Status != "pending", nil })
	latency := time.Since(began)
	if err != nil {
		return 0, err
	}
	if err := run.Get(ctx, nil); err == nil {
		return 0, errors.New("the workflow has succeeded")
	}
	if n := len(d.heroku.Builds(app)); n != 1 {
		return 0, fmt.Errorf("the platform has %d builds", n)
	}
	return latency, nil
}

// demoStop ends the worker of a deploy with SIGTERM.
func demoStop(ctx context.Context, d *demo) error {
	if err := d.begin(ctx, emulatorOptions{apps: []string{"shop"}, build: 3 * time.Second}, "worker-a", "worker-b"); err != nil {
		return err
	}
	run, err := d.start(ctx, "shop")
	if err != nil {
		return err
	}
	if err := d.awaitOutput(ctx, "shop"); err != nil {
		return err
	}
	pause(ctx, time.Second)
	name, err := d.awaitFollower(ctx, run.GetID(), "")
	if err != nil {
		return err
	}
	began := time.Now()
	var exited atomic.Int64
	go func() {
		<-d.workers[name].gone
		exited.Store(int64(since(began)))
	}()
	if err := terminate(d.workers[name].cmd.Process.Pid); err != nil {
		return err
	}
	next, err := d.awaitFollower(ctx, run.GetID(), name)
	if err != nil {
		return err
	}
	d.printf("%s got SIGTERM; %s took over %v later", name, next, since(began))
	<-d.workers[name].gone
	if err := run.Get(ctx, nil); err != nil {
		return err
	}
	if err := d.check(run, "shop"); err != nil {
		return err
	}
	d.printf("%s ended after %v: one build, one release, the whole output", name, time.Duration(exited.Load()))
	return nil
}

// isFrozen reports whether Linux or the BSD ps shows a process as stopped.
func isFrozen(pid int) bool {
	if text, err := os.ReadFile(filepath.Join("/proc", fmt.Sprint(pid), "stat")); err == nil { //nolint:gosec // a number
		_, state, _ := strings.Cut(string(text), ") ")
		return strings.HasPrefix(state, "T")
	}
	text, err := exec.Command("ps", "-o", "stat=", "-p", fmt.Sprint(pid)).Output() //nolint:gosec,noctx // a number
	return err == nil && strings.HasPrefix(strings.TrimSpace(string(text)), "T")
}
