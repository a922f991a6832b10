package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/worker"

	"github.com/herokubuild/herokubuild"
)

// dial connects to the Temporal server of the environment: TEMPORAL_ADDRESS,
// TEMPORAL_NAMESPACE and, for a server with TLS and API keys, TEMPORAL_API_KEY.
func dial(identity string, level slog.Level) (client.Client, error) {
	opts := client.Options{
		HostPort:  cmp.Or(os.Getenv("TEMPORAL_ADDRESS"), client.DefaultHostPort),
		Namespace: os.Getenv("TEMPORAL_NAMESPACE"),
		Identity:  identity,
		Logger:    log.NewStructuredLogger(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))),
	}
	if key := os.Getenv("TEMPORAL_API_KEY"); key != "" {
		opts.Credentials = client.NewAPIKeyStaticCredentials(key)
		opts.ConnectionOptions.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	return client.Dial(opts)
}

// workerOptions are the options of one worker process.
type workerOptions struct {
	name string
	// accounts are the accounts whose builds and releases it works on.
	accounts []string
	logDir   string
	// slots is how many builds, and how many batches, it follows at the same time.
	slots int
	// batchRate is how many batches of an account begin in a second, over all workers.
	batchRate float64
	// settle is herokubuild.WithSettleTime; 0 for its default.
	settle time.Duration
	// stopTime is how long it may take to hand its activities over.
	stopTime time.Duration
	// freeze stops the process before its first change of this kind, for the
	// demonstration of the fence.
	freeze herokubuild.ChangeKind
	// level is that of the log of the Temporal client.
	level slog.Level
}

// runWorker works until ctx ends, and then hands over what it follows.
func runWorker(ctx context.Context, o workerOptions) error {
	c, err := dial(o.name, o.level)
	if err != nil {
		return err
	}
	defer c.Close()
	a, err := newActivities(c, o)
	if err != nil {
		return err
	}
	workers := newWorkers(c, a, o)
	for i, w := range workers {
		if err := w.Start(); err != nil {
			return errors.Join(err, stopAll(workers[:i]))
		}
	}
	fmt.Fprintf(os.Stderr, "Worker %s is ready for the accounts %s.\n", o.name, strings.Join(o.accounts, ", "))
	<-ctx.Done()
	return stopAll(workers)
}

func stopAll(workers []worker.Worker) error {
	var group sync.WaitGroup
	for _, w := range workers {
		group.Go(w.Stop)
	}
	group.Wait()
	return nil
}

func newActivities(c client.Client, o workerOptions) (*Activities, error) {
	a := &Activities{Heartbeats: c, Accounts: map[string]*herokubuild.Client{}, LogDir: o.logDir, SourceHeader: http.Header{}}
	if token := os.Getenv("FLEET_SOURCE_TOKEN"); token != "" {
		a.SourceHeader.Set("Authorization", "Bearer "+token)
	}
	stop := sync.OnceFunc(func() {
		fmt.Fprintf(os.Stderr, "Worker %s freezes.\n", o.name)
		_ = freeze(os.Getpid())            // If it fails, the demonstration reports that nothing was frozen.
		time.Sleep(100 * time.Millisecond) // The signal takes a moment, in which the request would be sent.
	})
	a.BeforeChange = func(c herokubuild.Change) {
		if c.Kind == o.freeze {
			stop()
		}
	}
	for _, account := range o.accounts {
		opts := []herokubuild.Option{herokubuild.WithTransport(newTransport())}
		if key := accountKey(account); key != "" {
			opts = append(opts, herokubuild.WithToken(key))
		}
		if o.settle > 0 {
			opts = append(opts, herokubuild.WithSettleTime(o.settle))
		}
		var err error
		if a.Accounts[account], err = herokubuild.NewClient(opts...); err != nil {
			return nil, fmt.Errorf("account %s: %w", account, err)
		}
	}
	return a, nil
}

// newTransport returns a transport with as many idle connections as a worker uses.
func newTransport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost = 64
	return t
}

// accountKey is the API key of an account: that of HEROKU_API_KEY_EAST for the account
// "east". Without one, herokubuild uses HEROKU_API_KEY or the netrc file.
func accountKey(account string) string {
	return os.Getenv("HEROKU_API_KEY_" + strings.ToUpper(strings.ReplaceAll(account, "-", "_")))
}

// newWorkers returns the workers of a process: one for the workflows, and two for each
// account.
func newWorkers(c client.Client, a *Activities, o workerOptions) []worker.Worker {
	flows := worker.New(c, workflowQueue, worker.Options{
		// The tasks of a worker that died go to the others after this time.
		StickyScheduleToStartTimeout: time.Second,
		WorkerStopTimeout:            o.stopTime,
	})
	flows.RegisterWorkflow(Deploy)
	flows.RegisterWorkflow(Fleet)
	all := []worker.Worker{flows}
	for _, account := range o.accounts {
		following := worker.Options{
			DisableWorkflowWorker:              true,
			MaxConcurrentActivityExecutionSize: o.slots,
			WorkerStopTimeout:                  o.stopTime,
		}
		builds := worker.New(c, buildQueue(account), following)
		builds.RegisterActivity(a.Build)
		builds.RegisterActivity(a.CancelBuild)
		following.TaskQueueActivitiesPerSecond = o.batchRate
		releases := worker.New(c, releaseQueue(account), following)
		releases.RegisterActivity(a.Release)
		releases.RegisterActivity(a.RollBack)
		all = append(all, builds, releases)
	}
	return all
}

// startDeploy starts a deploy. It fails if one of the same app is running.
func startDeploy(ctx context.Context, c client.Client, spec DeploySpec) (client.WorkflowRun, error) {
	return c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID:                                       deployID(spec.App),
		TaskQueue:                                workflowQueue,
		WorkflowIDReusePolicy:                    enums.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
		WorkflowIDConflictPolicy:                 enums.WORKFLOW_ID_CONFLICT_POLICY_FAIL,
		WorkflowExecutionErrorWhenAlreadyStarted: true,
	}, Deploy, spec)
}

func deployID(app string) string { return "deploy/" + app }
