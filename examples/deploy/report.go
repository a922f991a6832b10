package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/herokubuild/herokubuild"
)

// report is the content of the file of -json. The names and the meaning of the
// fields are stable; fields, outcomes and reasons may be added. Fields without a
// value are omitted, except outcome, app and apps. It contains neither
// secrets nor output of the build.
//
// The file is replaced atomically. It is written at the start, with the outcome
// "running", and at the end: a reader never finds the report of an earlier run.
type report struct {
	// Outcome is "running", "succeeded", "failed", "interrupted" or "detached".
	Outcome string `json:"outcome"`
	// ExitStatus is that of the program, once it has ended.
	ExitStatus *int      `json:"exit_status,omitempty"`
	StartedAt  time.Time `json:"started_at"`
	// Seconds is the duration of this run, and PhaseSeconds that of its phases:
	// check, pack, upload, build and release.
	Seconds      float64            `json:"seconds,omitzero"`
	PhaseSeconds map[string]float64 `json:"phase_seconds,omitempty"`
	// App is the app that builds.
	App string `json:"app"`
	// Version and Checksum are those of the source.
	Version  string `json:"version,omitzero"`
	Checksum string `json:"checksum,omitzero"`
	// BuildID and BuildStatus ("pending", "succeeded" or "failed") are the last known
	// state of the build. BuildCanceled is true if this run canceled it.
	BuildID       string             `json:"build_id,omitzero"`
	BuildStatus   herokubuild.Status `json:"build_status,omitzero"`
	BuildCanceled bool               `json:"build_canceled,omitzero"`
	// SlugID or ImageID is what was released.
	SlugID  string `json:"slug_id,omitzero"`
	ImageID string `json:"image_id,omitzero"`
	// Apps has all apps, the one that builds first.
	Apps []appReport `json:"apps"`
	// Error is why the deploy did not succeed.
	Error *errorReport `json:"error,omitempty"`
}

type appReport struct {
	App string `json:"app"`
	// Outcome is "pending" while the deploy runs or if it is detached; otherwise a
	// herokubuild.AppOutcome: "released", "failed", "verify_failed",
	// "not_attempted", "superseded", "rolled_back", "rollback_failed" or "unknown".
	Outcome        herokubuild.AppOutcome `json:"outcome"`
	ReleaseID      string                 `json:"release_id,omitzero"`
	ReleaseVersion int                    `json:"release_version,omitzero"`
	ReleaseStatus  herokubuild.Status     `json:"release_status,omitzero"`
	// Seconds is the duration of the release, with its release phase and check.
	Seconds float64 `json:"seconds,omitzero"`
	// Error is why the outcome is not "released".
	Error string `json:"error,omitzero"`
	// RollbackReleaseID and RollbackReleaseVersion are the release that took the app
	// back. RollbackError is why there is none, although there should be.
	RollbackReleaseID      string `json:"rollback_release_id,omitzero"`
	RollbackReleaseVersion int    `json:"rollback_release_version,omitzero"`
	RollbackError          string `json:"rollback_error,omitzero"`
}

type errorReport struct {
	// Reason is "interrupted", a word of reasons, "api_error", "no_response" or "other".
	Reason string `json:"reason"`
	// Message is for people: its wording may change.
	Message string `json:"message"`
	// Phase is the phase that failed: check, pack, upload, build or release.
	Phase herokubuild.DeployPhase `json:"phase,omitzero"`
	// HTTPStatus and RequestID are those of the API's response, if that is the cause.
	HTTPStatus int    `json:"http_status,omitzero"`
	RequestID  string `json:"request_id,omitzero"`
}

const (
	outcomeRunning     = "running"
	outcomeSucceeded   = "succeeded"
	outcomeFailed      = "failed"
	outcomeInterrupted = "interrupted"
	outcomeDetached    = "detached"

	appPending herokubuild.AppOutcome = "pending"
)

// reasons are the reasons of a failure; the first that matches counts.
var reasons = []struct {
	word string
	err  error
}{
	{"no_credential", herokubuild.ErrNoCredential},
	{"checkpoint_mismatch", herokubuild.ErrCheckpointMismatch},
	{"invalid_argument", herokubuild.ErrInvalidArgument},
	{"timeout", herokubuild.ErrWaitTimeout},
	{"build_failed", herokubuild.ErrBuildFailed},
	{"release_failed", herokubuild.ErrReleaseFailed},
	{"verify_failed", herokubuild.ErrVerifyFailed},
	{"superseded", herokubuild.ErrSuperseded},
	{"unauthorized", herokubuild.ErrUnauthorized},
	{"payment_required", herokubuild.ErrPaymentRequired},
	{"forbidden", herokubuild.ErrForbidden},
	{"not_found", herokubuild.ErrNotFound},
	{"rate_limited", herokubuild.ErrRateLimited},
	{"maybe_applied", herokubuild.ErrMaybeApplied},
}

// reportFile writes the report of a deploy.
type reportFile struct {
	// name is empty if no report is wanted, and "-" for stdout.
	name   string
	stdout io.Writer
	report report
	apps   []string
}

// newReport writes the first report, which shows that the file can be written.
func newReport(s *settings, stdout io.Writer) (*reportFile, error) {
	f := &reportFile{
		name: s.json, stdout: stdout, apps: append([]string{s.app}, s.releaseTo...),
		report: report{Outcome: outcomeRunning, StartedAt: time.Now().UTC(), App: s.app},
	}
	for _, app := range f.apps {
		f.report.Apps = append(f.report.Apps, appReport{App: app, Outcome: appPending})
	}
	switch {
	case f.name == "" || f.name == "-":
		return f, nil
	case isSame(f.name, stdout):
		return nil, errors.New("-json: standard output goes to the same file")
	case !replaceable(f.name):
		return f, nil
	}
	return f, f.write()
}

// finish writes the report of a deploy that has ended.
func (f *reportFile) finish(ctx context.Context, result *herokubuild.DeployResult, err error, code int) error {
	r := &f.report
	r.ExitStatus = &code
	r.Seconds = seconds(time.Since(r.StartedAt))
	switch {
	case err == nil:
		r.Outcome = outcomeSucceeded
	case code == exitOK:
		r.Outcome = outcomeDetached
	case code == exitInterrupted:
		r.Outcome = outcomeInterrupted
	default:
		r.Outcome = outcomeFailed
	}
	if result != nil {
		r.setResult(result)
	}
	var deploy *herokubuild.DeployError
	if errors.As(err, &deploy) {
		r.BuildCanceled = deploy.Canceled
	}
	r.Apps = nil
	for i, app := range f.apps {
		r.Apps = append(r.Apps, f.app(i, app, result, err))
	}
	if err != nil && code != exitOK {
		r.Error = newErrorReport(ctx, err)
	}
	return f.write()
}

func (r *report) setResult(result *herokubuild.DeployResult) {
	d := result.Durations
	r.PhaseSeconds = map[string]float64{}
	for phase, took := range map[herokubuild.DeployPhase]time.Duration{
		herokubuild.PhaseCheck: d.Check, herokubuild.PhasePack: d.Pack, herokubuild.PhaseUpload: d.Upload,
		herokubuild.PhaseBuild: d.Build, herokubuild.PhaseRelease: d.Release,
	} {
		if took > 0 {
			r.PhaseSeconds[string(phase)] = seconds(took)
		}
	}
	r.Version, r.Checksum = result.Version, result.Checksum
	r.SlugID, r.ImageID = result.Artifact.SlugID, result.Artifact.ImageID
	if b := result.Build; b != nil {
		r.BuildID, r.BuildStatus = b.ID, b.Status
	}
}

// app reports on the app with index i: 0 is the one that builds.
func (f *reportFile) app(i int, name string, result *herokubuild.DeployResult, err error) appReport {
	a := appReport{App: name, Outcome: herokubuild.AppNotAttempted}
	switch {
	case result != nil && i < len(result.Apps):
		a = newAppReport(result.Apps[i])
	case f.report.Outcome == outcomeDetached:
		a.Outcome = appPending
	case i == 0 && f.report.mayBeReleased(err):
		a.Outcome = herokubuild.AppUnknown
	}
	var unhealthy *checkError
	if i == 0 && errors.As(err, &unhealthy) {
		a.Outcome, a.Error = herokubuild.AppVerifyFailed, unhealthy.Error()
	}
	return a
}

// mayBeReleased reports whether the platform may release a build, on the app that
// builds, that was not followed to its end.
func (r *report) mayBeReleased(err error) bool {
	if r.BuildID == "" {
		return errors.Is(err, herokubuild.ErrMaybeApplied)
	}
	return r.BuildStatus != herokubuild.StatusFailed && !r.BuildCanceled
}

func newAppReport(from herokubuild.AppResult) appReport {
	a := appReport{App: from.App, Outcome: from.Outcome(), Seconds: seconds(from.Duration)}
	if r := from.Release; r != nil {
		a.ReleaseID, a.ReleaseVersion, a.ReleaseStatus = r.ID, r.Version, r.Status
	}
	if from.Err != nil {
		a.Error = strings.TrimPrefix(from.Err.Error(), from.App+": ")
	}
	var unhealthy *checkError
	if errors.Is(from.Err, herokubuild.ErrNotAttempted) && errors.As(from.Err, &unhealthy) {
		a.Error = "not attempted: " + unhealthy.Error()
	}
	if r := from.RolledBack; r != nil {
		a.RollbackReleaseID, a.RollbackReleaseVersion = r.ID, r.Version
	}
	if from.RollbackErr != nil {
		a.RollbackError = from.RollbackErr.Error()
	}
	return a
}

func newErrorReport(ctx context.Context, err error) *errorReport {
	e := &errorReport{Reason: reason(ctx, err), Message: err.Error()}
	var deploy *herokubuild.DeployError
	if errors.As(err, &deploy) {
		e.Phase = deploy.Phase
	}
	var api *herokubuild.APIError
	if errors.As(err, &api) {
		e.HTTPStatus, e.RequestID = api.StatusCode, api.RequestID
	}
	return e
}

func reason(ctx context.Context, err error) string {
	if ctx.Err() != nil {
		return outcomeInterrupted
	}
	var unhealthy *checkError
	if errors.As(err, &unhealthy) {
		return string(herokubuild.AppVerifyFailed)
	}
	for _, r := range reasons {
		if errors.Is(err, r.err) {
			return r.word
		}
	}
	var response *herokubuild.APIError
	var request *herokubuild.RequestError
	switch {
	case errors.As(err, &response):
		return "api_error"
	case errors.As(err, &request):
		return "no_response"
	}
	return "other"
}

// seconds rounds to milliseconds.
func seconds(d time.Duration) float64 { return math.Round(d.Seconds()*1000) / 1000 }

func (f *reportFile) write() error {
	if f.name == "" {
		return nil
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	err := encoder.Encode(f.report)
	switch {
	case err != nil:
	case f.name == "-":
		_, err = f.stdout.Write(text.Bytes())
	case replaceable(f.name):
		err = replace(f.name, text.Bytes())
	default:
		err = os.WriteFile(f.name, text.Bytes(), 0o600)
	}
	if err != nil {
		return fmt.Errorf("-json: %w", err)
	}
	return nil
}

// replaceable reports whether a name is that of a file, or of none. Devices and pipes
// are written to directly.
func replaceable(name string) bool {
	info, err := os.Stat(name)
	return err != nil || info.Mode().IsRegular()
}

// isSame reports whether a name is that of the file or pipe that w writes to.
func isSame(name string, w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := os.Stat(name)
	if err != nil || info.Mode()&os.ModeDevice != 0 {
		return false
	}
	other, err := f.Stat()
	return err == nil && os.SameFile(info, other)
}

// replace writes a new file next to the old one and renames it.
func replace(name string, content []byte) (err error) {
	if target, err := filepath.EvalSymlinks(name); err == nil {
		name = target
	}
	temp := filepath.Join(filepath.Dir(name), "."+filepath.Base(name)+"."+rand.Text())
	// The umask decides who may read the report.
	file, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666) //nolint:gosec // it has no secrets
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(temp)
		}
	}()
	_, err = file.Write(content)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	return os.Rename(temp, name)
}
