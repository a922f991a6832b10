package herokubuild

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/herokubuild/herokubuild/internal/clean"
)

// DeployResult is what a deploy has done.
type DeployResult struct {
	// Build is the build in its last known state.
	Build *Build
	// Artifact is what was built and released: a slug or, for Fir apps, an image.
	// It is zero until the build succeeded.
	Artifact Artifact
	// Version and Checksum are those of the source.
	Version, Checksum string
	// Apps has the outcome of each app: BuildApp first, then ReleaseTo in their
	// order. It is empty until the build succeeded.
	Apps []AppResult
	// OutputErr is why the build's output was not written to its end; nil if it
	// was. It does not make the deploy a failure.
	OutputErr error
	// Durations are how long this call spent in each phase.
	Durations DeployDurations
	// Checkpoint is what a later call resumes from.
	Checkpoint Checkpoint
}

// DeployDurations are how long each phase of a deploy took, in the call that
// returned them; 0 for a phase that was not reached or not needed.
type DeployDurations struct {
	Check, Pack, Upload, Build, Release time.Duration
}

func (d *DeployDurations) of(p DeployPhase) *time.Duration {
	switch p {
	case PhaseCheck:
		return &d.Check
	case PhasePack:
		return &d.Pack
	case PhaseUpload:
		return &d.Upload
	case PhaseBuild:
		return &d.Build
	default:
		return &d.Release
	}
}

// DeployError is the error of [Client.BuildAndRelease], except for invalid
// arguments. It wraps the cause.
type DeployError struct {
	// Phase is the phase in which the deploy failed.
	Phase DeployPhase
	// App is the app that builds.
	App string
	// Result is what had been done by then, as BuildAndRelease returns it, too; it is
	// never nil. Result.Build is the build, if there is one.
	Result *DeployResult
	// Canceled is true if the build was still running when the deploy was given up
	// and has ended as canceled; a build that fails by itself in that moment cannot
	// be distinguished. CancelErr is why the build may still be running: it could
	// not be canceled, or had not ended 10 s after the platform accepted that.
	Canceled  bool
	CancelErr error
	// Checkpoint is what a later call resumes from; zero if there is nothing to
	// resume.
	Checkpoint Checkpoint
	// Err is the cause.
	Err error
}

// Error implements error.
func (e *DeployError) Error() string {
	text := "deploy " + e.App + ": "
	if !namesItsStep(e.Err) {
		text += string(e.Phase) + ": "
	}
	// The errors of several apps are joined by line breaks.
	text += strings.ReplaceAll(errorText(e.Err), "\n", "; ")
	b := orZero(orZero(e.Result).Build)
	switch {
	case e.Canceled:
		text += " (build " + b.ID + " was canceled)"
	case e.CancelErr != nil && b.ID == "":
		text += " (a build may have been started: " + e.CancelErr.Error() + ")"
	case e.CancelErr != nil:
		text += " (build " + b.ID + " may still be running: canceling it: " + e.CancelErr.Error() + ")"
	}
	return clean.Line(clean.Uncolored(redactText(text)))
}

func (e *DeployError) isOutcome() {}

// namesItsStep reports whether the text of an error begins with what failed.
func namesItsStep(err error) bool {
	switch err.(type) { //nolint:errorlint // Only the outermost error begins the text.
	case *BuildError, *ReleaseError, *RolloutError:
		return true
	}
	return false
}

// Unwrap returns the cause.
func (e *DeployError) Unwrap() error { return withoutEOF(e.Err) }

// RolloutResult is what a rollout has done.
type RolloutResult struct {
	// Apps are the outcomes, in the order in which the apps were given.
	Apps []AppResult `json:"apps"`
	// Checkpoint is what a later call resumes from.
	Checkpoint Checkpoint `json:"checkpoint"`
}

// AppResult is the outcome of one app of a deploy or rollout.
type AppResult struct {
	// App is the app, as the caller named it.
	App string
	// Release is the app's newest release of this deploy in its last known state;
	// nil if there is none or nothing is known of it.
	Release *Release
	// Err is nil if the app runs the release. It is a [*ReleaseError] if the release
	// failed, and matches [ErrNotAttempted] if the app got none, [ErrSuperseded] if
	// the app runs what somebody else has released since, and [ErrVerifyFailed],
	// [ErrRolledBack] and [ErrRollbackFailed] if that is the case. See
	// [AppResult.Outcome] for one word.
	Err error
	// OutputErr is why the output of the release phase was not read to its end; nil
	// if it was. It does not make the release a failure.
	OutputErr error
	// RolledBack is the release that took the app back to what it ran before; nil
	// if there is none. RollbackErr is why a rollback did not succeed, if one was
	// attempted; Err wraps it.
	RolledBack  *Release
	RollbackErr error
	// Duration is how long this call worked on the app: from its first request to
	// the end of Verify, without a rollback. It is 0 if nothing was attempted.
	Duration time.Duration
}

// DeploySummary is the IDs and outcomes of a deploy or rollout: a value of some 150 bytes
// an app that has neither errors nor secrets, and is the same after it has been encoded as
// JSON. It suits the history of a workflow engine.
type DeploySummary struct {
	// BuildID is empty for a rollout.
	BuildID  string       `json:"build_id,omitzero"`
	Artifact Artifact     `json:"artifact,omitzero"`
	Version  string       `json:"version,omitzero"`
	Apps     []AppSummary `json:"apps"`
}

// AppSummary is the outcome of one app.
type AppSummary struct {
	App     string     `json:"app"`
	Outcome AppOutcome `json:"outcome"`
	// ReleaseID and ReleaseVersion are empty if the app got no release.
	ReleaseID      string `json:"release_id,omitzero"`
	ReleaseVersion int    `json:"release_version,omitzero"`
}

// Summary returns the IDs and outcomes of the result.
func (r DeployResult) Summary() DeploySummary {
	s := DeploySummary{Artifact: r.Artifact, Version: r.Version, Apps: summaries(r.Apps)}
	if r.Build != nil {
		s.BuildID = r.Build.ID
	}
	return s
}

// Summary returns the IDs and outcomes of the result.
func (r RolloutResult) Summary() DeploySummary {
	s := DeploySummary{Apps: summaries(r.Apps)}
	for _, a := range r.Apps {
		if a.Release != nil && s.Artifact.IsZero() {
			s.Artifact = a.Release.Artifact()
		}
	}
	return s
}

func summaries(apps []AppResult) []AppSummary {
	all := make([]AppSummary, len(apps))
	for i, a := range apps {
		all[i] = AppSummary{App: a.App, Outcome: a.Outcome()}
		if a.Release != nil {
			all[i].ReleaseID, all[i].ReleaseVersion = a.Release.ID, a.Release.Version
		}
	}
	return all
}

// AppOutcome is the outcome of an app in one word.
type AppOutcome string

// The outcomes of an app.
const (
	// AppReleased: the app runs the release.
	AppReleased AppOutcome = "released"
	// AppFailed: the release failed, or could not be created.
	AppFailed AppOutcome = "failed"
	// AppVerifyFailed: the release succeeded and failed Verify.
	AppVerifyFailed AppOutcome = "verify_failed"
	// AppNotAttempted: the app got no release.
	AppNotAttempted AppOutcome = "not_attempted"
	// AppSuperseded: the app runs what somebody else has released since.
	AppSuperseded AppOutcome = "superseded"
	// AppRolledBack: the app runs what it ran before the deploy. Err tells whether the app
	// was the cause, or another one.
	AppRolledBack AppOutcome = "rolled_back"
	// AppRollbackFailed: the app should have been rolled back and was not, or not
	// certainly.
	AppRollbackFailed AppOutcome = "rollback_failed"
	// AppUnknown: whether the app runs the release, or passes Verify, is not known: the
	// call ended before that, or could not find out.
	AppUnknown AppOutcome = "unknown"
)

// Outcome returns what became of the app. An app whose release failed and that was
// then rolled back is AppRolledBack; Err has the reason.
func (r AppResult) Outcome() AppOutcome {
	switch {
	case r.Err == nil:
		return AppReleased
	case errors.Is(r.Err, ErrRollbackFailed):
		return AppRollbackFailed
	case r.RolledBack != nil, errors.Is(r.Err, ErrRolledBack):
		return AppRolledBack
	case errors.Is(r.Err, ErrSuperseded):
		return AppSuperseded
	case errors.Is(r.Err, ErrVerifyFailed):
		return AppVerifyFailed
	case errors.Is(r.Err, ErrNotAttempted):
		return AppNotAttempted
	case errors.Is(r.Err, ErrReleaseFailed):
		return AppFailed
	}
	var unobserved *unobservedError
	if r.Release != nil || errors.Is(r.Err, ErrMaybeApplied) || errors.As(r.Err, &unobserved) {
		return AppUnknown
	}
	return AppFailed
}

// unobservedError is why it is not known whether an app has a release.
type unobservedError struct{ err error }

func (e *unobservedError) Error() string { return e.err.Error() }

func (e *unobservedError) Unwrap() error { return e.err }

// RolloutError is the error of [Client.Rollout], except for invalid
// arguments. It wraps the apps' errors.
type RolloutError struct {
	// Apps are the outcomes, in the order in which the apps were given.
	Apps []AppResult
	// Checkpoint is what a later call resumes from.
	Checkpoint Checkpoint
	// Err is why the call ended early; nil if the apps' errors are all.
	Err error
}

// Error implements error. It names a few of the apps that failed, or of which nothing is
// known, and counts those that were rolled back or not attempted because of them.
func (e *RolloutError) Error() string {
	var failed, unknown []string
	var skippedErr error
	released, rolledBack, skipped := 0, 0, 0
	for _, a := range e.Apps {
		if a.RolledBack != nil || errors.Is(a.Err, ErrRolledBack) {
			rolledBack++
		}
		switch {
		case a.Err == nil:
			released++
		case a.Outcome() == AppUnknown:
			unknown = append(unknown, a.Err.Error())
		case isCause(a.Err):
			failed = append(failed, a.Err.Error())
		case errors.Is(a.Err, ErrRolledBack):
		default:
			skipped++
			skippedErr = cmp.Or(skippedErr, a.Err)
		}
	}
	text := fmt.Sprintf("released to %d of %d apps", released, len(e.Apps)) + causes(failed, "failed") + causes(unknown, "unknown") + counted(rolledBack, skipped)
	switch {
	case e.Err != nil:
		text += ": " + e.Err.Error()
	case len(failed)+len(unknown) == 0 && skippedErr != nil:
		// What kept the apps from being attempted is the cause.
		text += ": " + skippedErr.Error()
	}
	return clean.Line(clean.Uncolored(redactText(text)))
}

// causes counts apps with the same outcome, and has the texts of some of their errors.
func causes(texts []string, outcome string) string {
	const most = 5
	n := len(texts)
	if n == 0 {
		return ""
	}
	if n > most {
		texts = append(texts[:most], fmt.Sprintf("and %d more", n-most))
	}
	return fmt.Sprintf(", %d %s: %s", n, outcome, strings.Join(texts, "; "))
}

func counted(rolledBack, skipped int) string {
	var counts []string
	if rolledBack > 0 {
		counts = append(counts, fmt.Sprintf("%d rolled back", rolledBack))
	}
	if skipped > 0 {
		counts = append(counts, fmt.Sprintf("%d not attempted", skipped))
	}
	if len(counts) == 0 {
		return ""
	}
	return " (" + strings.Join(counts, ", ") + ")"
}

// isCause reports whether an app's error is one of its own, and not the
// consequence of another app's.
func isCause(err error) bool {
	if errors.Is(err, ErrRollbackFailed) || errors.Is(err, ErrVerifyFailed) || errors.Is(err, ErrReleaseFailed) {
		return true
	}
	return !errors.Is(err, ErrNotAttempted) && !errors.Is(err, ErrRolledBack)
}

func (e *RolloutError) isOutcome() {}

// Unwrap returns the apps' errors.
func (e *RolloutError) Unwrap() []error {
	var errs []error
	for _, a := range e.Apps {
		if a.Err != nil {
			errs = append(errs, a.Err)
		}
	}
	if e.Err != nil {
		errs = append(errs, e.Err)
	}
	return errs
}
