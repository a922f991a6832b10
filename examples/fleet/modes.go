package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"go.temporal.io/sdk/client"

	"github.com/herokubuild/herokubuild"
)

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
	apps := numbered("app", deploys)
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

// demoFleet kills the worker that has batches of a fleet.
func demoFleet(ctx context.Context, d *demo) error {
	const fleetSize = 300
	apps := numbered("site", fleetSize)
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

// secondRelease is the version of an app's release of the second deploy. An app begins
// with two releases without code.
const secondRelease = 4

// demoRollback kills the worker that rolls apps back, after a release that failed and
// after a cancellation.
func demoRollback(ctx context.Context, d *demo) error {
	failing, canceled := numbered("failing", 60), numbered("canceled", 60)
	o := emulatorOptions{
		apps: append(slices.Concat(failing, canceled), "failing", "canceled"), build: time.Second, phase: 100 * time.Millisecond, rate: 1_000_000,
		fails: func(app string, version int) bool { return app == failing[25] && version == secondRelease },
	}
	if err := d.begin(ctx, o, "worker-a", "worker-b"); err != nil {
		return err
	}
	run, err := d.startSecond(ctx, "failing", failing...)
	if err != nil {
		return err
	}
	if err := killRollback(ctx, d, run, "failing", failing); err != nil {
		return err
	}
	if run, err = d.startSecond(ctx, "canceled", canceled...); err != nil {
		return err
	}
	second := func(app string) bool { return len(d.heroku.Releases(app)) >= secondRelease }
	if err := poll(ctx, func() (bool, error) { return d.count(canceled, second) >= 25, nil }); err != nil {
		return err
	}
	if err := d.temporal.CancelWorkflow(ctx, run.GetID(), ""); err != nil {
		return err
	}
	return killRollback(ctx, d, run, "canceled", canceled)
}

// killRollback kills the worker that rolls a deploy back, and checks the apps.
func killRollback(ctx context.Context, d *demo, run client.WorkflowRun, app string, releaseTo []string) error {
	if err := poll(ctx, func() (bool, error) { return d.count(releaseTo, d.heroku.rolledBack) >= 13, nil }); err != nil {
		return err
	}
	victim, err := d.awaitFollower(ctx, run.GetID()+"/fleet-1", "")
	if err != nil {
		return err
	}
	d.workers[victim].kill()
	killed, done := time.Now(), d.count(releaseTo, d.heroku.rolledBack)
	next, err := d.awaitFollower(ctx, run.GetID()+"/fleet-1", victim)
	if err != nil {
		return err
	}
	takeover := since(killed)
	if err := run.Get(ctx, nil); err == nil {
		return errors.New("the workflow has succeeded")
	}
	back, untouched, err := d.heroku.checkRolledBack(app, releaseTo...)
	if err != nil {
		return err
	}
	d.printf("%s: killed %s after %d rollbacks, %s took over %v later: %d apps with one rollback each, %d of %d without the second version, all run the first",
		app, victim, done, next, takeover, back, untouched, len(releaseTo))
	return d.startWorker(ctx, victim)
}

// demoFreeze freezes a worker between the last heartbeat and a request that changes
// something, and thaws it when another worker has sent that request.
func demoFreeze(ctx context.Context, d *demo) error {
	var apps []string
	kinds := []herokubuild.ChangeKind{herokubuild.ChangeBuild, herokubuild.ChangeRelease, herokubuild.ChangeRollback}
	for _, kind := range kinds {
		apps = append(append(apps, string(kind)), numbered(string(kind), 10)...)
	}
	o := emulatorOptions{
		apps: apps, build: 2 * time.Second, phase: 200 * time.Millisecond,
		fails: func(app string, version int) bool { return app == "rollback-005" && version == secondRelease },
	}
	if err := d.begin(ctx, o); err != nil {
		return err
	}
	for _, kind := range kinds {
		if err := freezeOnce(ctx, d, kind); err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
	}
	return nil
}

// freezeOnce freezes a worker before its first change of a kind.
func freezeOnce(ctx context.Context, d *demo, kind herokubuild.ChangeKind) error {
	app, releaseTo := string(kind), numbered(string(kind), 10)
	first, second := app+"-a", app+"-b"
	if err := d.startWorker(ctx, first, "-freeze", app); err != nil {
		return err
	}
	defer d.workers[first].kill()
	start := d.start
	if kind == herokubuild.ChangeRollback {
		start = d.startSecond
	}
	run, err := start(ctx, app, releaseTo...)
	if err != nil {
		return err
	}
	frozen := d.workers[first].cmd.Process.Pid
	if err := poll(ctx, func() (bool, error) { return isFrozen(frozen), nil }); err != nil {
		return err
	}
	all := append(releaseTo, app)
	before := d.heroku.changes(all...)
	if err := d.startWorker(ctx, second); err != nil {
		return err
	}
	defer d.workers[second].kill()
	if err := poll(ctx, func() (bool, error) { return d.heroku.changes(all...) > before, nil }); err != nil {
		return err
	}
	if err := thaw(frozen); err != nil {
		return err
	}
	err = run.Get(ctx, nil)
	pause(ctx, 2*time.Second) // A second change would be made in this time.
	if kind == herokubuild.ChangeRollback {
		back, _, err := d.heroku.checkRolledBack(app, releaseTo...)
		d.printf("%s: frozen before it, thawed after another worker's: %d apps with one rollback each", kind, back)
		return err
	}
	if err := errors.Join(err, d.check(run, app, releaseTo...)); err != nil {
		return err
	}
	d.printf("%s: frozen before it, thawed after another worker's: one build, one release of each of %d apps, the whole output", kind, len(all))
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
