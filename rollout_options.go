package herokubuild

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"
)

// RolloutPolicy sets how many apps get a release: how many at a time, canaries
// first, and what happens when one fails. The zero value releases to 16 apps at a
// time and continues after a failure.
type RolloutPolicy struct {
	// Concurrency is how many apps at most are being released at once, release
	// phase and Verify included. Default 16.
	Concurrency int
	// StopOnError starts no further releases once one has failed. Those under way
	// are awaited. An app that runs something newer ([ErrSuperseded]) has not
	// failed, here and for Rollback; if it is a canary, it keeps the others back.
	StopOnError bool
	// Canaries is how many apps, from the first, are released before all others.
	// The others are released only if every canary succeeded and was verified. If
	// it is not less than the number of apps, all are canaries. Default 0.
	Canaries int
	// Verify is called with every release that succeeded, of canaries and others
	// alike, and returns an error if the app is not healthy: its outcome then
	// matches [ErrVerifyFailed]. It may take its time: its app counts against
	// Concurrency. Calls for several apps overlap. An error after ctx has ended is
	// attributed to the end of ctx. An error matches what the caller's error
	// matches, except this package's own outcomes and invalid arguments.
	Verify func(ctx context.Context, app string, r *Release) error
	// Rollback sets which apps return to the release that they ran before, once
	// everything else is over. Default: none.
	Rollback RollbackPolicy
	// RollbackTimeout bounds the rollback, which continues after the context has
	// ended, unless by [ErrDetached]; the call may return that much later. Default
	// 5 minutes.
	RollbackTimeout time.Duration
}

// RolloutOptions sets how [Client.Rollout] works. nil and the zero value use the
// zero [RolloutPolicy].
type RolloutOptions struct {
	// Policy sets how the apps get the release.
	Policy RolloutPolicy
	// Checkpoint resumes the rollout of an earlier call.
	Checkpoint Checkpoint
	// OnEvent is called with each step. Calls never overlap. It blocks the rollout,
	// so return quickly. An error ends the rollout; it matches what the caller's
	// error matches, except this package's own outcomes and invalid arguments.
	OnEvent func(ctx context.Context, e DeployEvent) error
	// BeforeChange is called before each request that changes something on the
	// platform, and before each further attempt of one: to check, for example, that no
	// other process has taken over while this one was suspended. With its error the
	// request is certainly not sent, and the call ends and leaves everything as it is,
	// as with [ErrDetached]: the error matches [ErrNotSent] and the error of BeforeChange,
	// and never [ErrMaybeApplied] because of that request. Calls for several apps
	// overlap. Default: none.
	BeforeChange func(ctx context.Context, c Change) error
	// ProgressInterval makes OnEvent receive an [EventProgress] that often, until the
	// call ends: a heartbeat for an engine that restarts what does not report. Default:
	// none.
	ProgressInterval time.Duration
	// IdleTimeout is [StreamOptions].IdleTimeout for the output of release phases.
	IdleTimeout time.Duration
}

// RollbackPolicy sets which apps of a rollout return to the release that they ran
// before.
type RollbackPolicy int

const (
	// RollbackNone leaves every app as it is. An app whose release phase failed
	// still runs what it ran before.
	RollbackNone RollbackPolicy = iota
	// RollbackVerifyFailed rolls back the apps whose Verify failed.
	RollbackVerifyFailed
	// RollbackAll rolls back every app that got the release if the release or
	// Verify of one failed, or the context ended. With StopOnError no further app
	// is released before the rollback begins.
	RollbackAll
)

const (
	defaultConcurrency = 16
	rollbackTimeout    = 5 * time.Minute
)

func (p RolloutPolicy) withDefaults(apps int) (RolloutPolicy, error) {
	if err := p.check(); err != nil {
		return p, err
	}
	p.Canaries = min(p.Canaries, apps)
	p.Concurrency = cmp.Or(p.Concurrency, defaultConcurrency)
	p.RollbackTimeout = cmp.Or(p.RollbackTimeout, rollbackTimeout)
	return p, nil
}

func (p RolloutPolicy) check() error {
	bad := func(field, reason string) error {
		return &ArgumentError{Name: "RolloutPolicy." + field, Reason: reason}
	}
	switch {
	case p.Concurrency < 0:
		return bad("Concurrency", "is negative")
	case p.Canaries < 0:
		return bad("Canaries", "is negative")
	case p.Rollback < RollbackNone || p.Rollback > RollbackAll:
		return bad("Rollback", fmt.Sprintf("%d is not a RollbackPolicy", p.Rollback))
	case p.Rollback == RollbackVerifyFailed && p.Verify == nil:
		return bad("Rollback", "RollbackVerifyFailed requires Verify")
	case p.RollbackTimeout < 0:
		return bad("RollbackTimeout", "is negative")
	}
	return nil
}

// check validates the arguments of a rollout and returns the options with their
// defaults.
func (o *RolloutOptions) check(release ReleaseCreateOptions, apps []string) (RolloutOptions, error) {
	checked := orZero(o)
	var err error
	if checked.Policy, err = checked.Policy.withDefaults(len(apps)); err != nil {
		return checked, err
	}
	if checked.IdleTimeout < 0 {
		return checked, &ArgumentError{Name: "RolloutOptions.IdleTimeout", Reason: "is negative"}
	}
	if checked.ProgressInterval < 0 {
		return checked, &ArgumentError{Name: "RolloutOptions.ProgressInterval", Reason: "is negative"}
	}
	if err := release.check(); err != nil {
		return checked, err
	}
	if err := checked.Checkpoint.check(""); err != nil {
		return checked, err
	}
	if err := checked.Checkpoint.checkRollbacks(apps); err != nil {
		return checked, err
	}
	if of := checked.Checkpoint.ArtifactID; of != "" && of != release.artifact().String() {
		return checked, mismatch("a release of "+quote(of), quote(release.artifact().String()))
	}
	return checked, nil
}

// checkDistinct refuses an app that is named twice, also by its name and its id.
func (c *Client) checkDistinct(ctx context.Context, apps []string) error {
	seen := make(map[string]string, len(apps))
	var byID []string
	for _, app := range apps {
		if err := checkApp("apps", app); err != nil {
			return err
		}
		key := strings.ToLower(app)
		if same, ok := seen[key]; ok {
			return sameAppTwice("apps", app, same)
		}
		seen[key] = app
		if isUUID(app) {
			byID = append(byID, app)
		}
	}
	if len(byID) == 0 || len(byID) == len(apps) {
		return nil
	}
	for _, id := range byID {
		app, err := c.Apps.Get(ctx, id)
		if err != nil {
			return err
		}
		if same, ok := seen[app.Name]; ok {
			return sameAppTwice("apps", id, same)
		}
	}
	return nil
}

func sameAppTwice(argument, app, same string) error {
	reason := quote(app) + " is named twice"
	if app != same {
		reason = quote(app) + " and " + quote(same) + " are the same app"
	}
	return &ArgumentError{Name: argument, Reason: reason}
}
