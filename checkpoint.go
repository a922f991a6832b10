package herokubuild

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"strings"
	"time"

	"github.com/herokubuild/herokubuild/internal/history"
)

// Checkpoint is the state of a deploy or rollout: a small value without secrets that
// can be stored as JSON, for a later process to resume from
// ([BuildAndReleaseOptions].Checkpoint, [RolloutOptions].Checkpoint). Every
// [DeployEvent], result and error of a deploy or rollout has one. The rules:
//
//   - Store each new one before returning from OnEvent, and resume from the last;
//     [CheckpointFile] does. Even an older one never leads to a second build, or to
//     a second release of an app.
//   - The zero Checkpoint has nothing to resume, nor has one after a build that
//     failed or was canceled, or whose release failed on BuildApp: the next call
//     starts from scratch. Any other is for the same BuildApp and source only
//     ([ErrCheckpointMismatch]); the other apps may differ. See
//     [Checkpoint.Resumable].
//   - An app gets another release only if its release failed or was rolled back. An
//     app that runs what somebody else has released since is left alone
//     ([ErrSuperseded]).
//   - An interrupted rollback is finished before anything else, and the call then
//     fails with what caused the rollback. After a finished rollback the next call
//     releases the same build again.
//   - Delete it when the deploy has succeeded.
//
// A Checkpoint never changes, so that it can be kept, and encoded in another goroutine.
// It grows with the number of apps; [Checkpoint.UpdateSince] is what has changed. The
// fields are for reading and storing. Two Checkpoints are equal if their JSON is.
type Checkpoint struct {
	// BuildApp is the app that builds.
	BuildApp string `json:"build_app,omitzero"`
	// Token identifies the rollout, or the build of a SourceURL, on the platform: it
	// is part of the description that is sent with each.
	Token string `json:"token,omitzero"`
	// Source is the URL of the source without its query, which identifies the build
	// of an uploaded source. SourceDigest is a hash of the whole URL without its
	// signature, for a SourceURL, and Before are the ids of earlier builds of that
	// URL.
	Source       string   `json:"source,omitzero"`
	SourceDigest string   `json:"source_digest,omitzero"`
	Before       []string `json:"before,omitempty"`
	// Version and Checksum are those of the source.
	Version  string `json:"version,omitzero"`
	Checksum string `json:"checksum,omitzero"`
	// Commit is that of the directory, if the version was not given and there were
	// no uncommitted changes.
	Commit string `json:"commit,omitzero"`
	// BuildID is the id of the build.
	BuildID string `json:"build,omitzero"`
	// OutputOffset is how many bytes of the build's output had been written. There
	// is no event for output: what a process that was killed wrote after its last
	// event is written again. So write at the offset, as [OutputAt] does: what comes
	// twice then replaces itself. [EventProgress] has the current offset.
	OutputOffset int64 `json:"output,omitzero"`
	// ReleaseTo are the apps that get the slug, besides BuildApp, and Description is
	// that of their releases.
	ReleaseTo   []string `json:"release_to,omitempty"`
	Description string   `json:"description,omitzero"`
	// ArtifactID is the id of the slug or image of a rollout without a build, and
	// Started is when the rollout began.
	ArtifactID string    `json:"artifact,omitzero"`
	Started    time.Time `json:"started,omitzero"`
	// MayRollBack is true if the deploy rolls apps back when something fails, so that
	// a rollback may be in progress.
	MayRollBack bool `json:"may_roll_back,omitzero"`
	// Settled is true if no request was in progress any more: a call that resumes need
	// not wait for the effect of one. It is false in the Checkpoint of an event.
	Settled bool `json:"settled,omitzero"`
	// Done is true if the deploy succeeded.
	Done bool `json:"done,omitzero"`

	// apps are what is known of each app, by the name that the caller gave it.
	apps history.Map[CheckpointApp]
}

// CheckpointApp is what a [Checkpoint] has of one app.
type CheckpointApp struct {
	// ID is the id of the app, once known. A resumed deploy uses it, so that an app
	// that was renamed meanwhile stays the same app.
	ID string
	// ReleaseID is the id of the app's newest release of the deploy.
	ReleaseID string
	// RollingBack is true if the rollback of the app has begun and is unfinished.
	// RollbackID is the id of the release that rolled the app back, empty while there
	// is none.
	RollingBack bool
	RollbackID  string
	// Failure is why the app failed, where a rollback is unfinished.
	Failure CheckpointFailure
}

// App returns what the Checkpoint has of an app, as the caller named it; the zero value
// if there is nothing.
func (c Checkpoint) App(app string) CheckpointApp { return c.apps.Get(app) }

// Apps iterates over the apps and what the Checkpoint has of them.
func (c Checkpoint) Apps() iter.Seq2[string, CheckpointApp] { return c.apps.All() }

// CheckpointFailure is why an app failed, as a Checkpoint carries it; zero if it did not.
type CheckpointFailure struct {
	// Reason is the text of the error.
	Reason string `json:"reason"`
	// Verify is true if the app's release succeeded and failed Verify.
	Verify bool `json:"verify,omitzero"`
}

// IsZero reports whether the app has not failed.
func (f CheckpointFailure) IsZero() bool { return f == CheckpointFailure{} }

// IsZero reports whether this is the zero Checkpoint.
func (c Checkpoint) IsZero() bool { return reflect.ValueOf(c).IsZero() }

// Resumable reports whether there is something to resume: a build that was started
// or may have been, or a rollout that has not succeeded. It is false for the zero
// Checkpoint and for that of a deploy that has succeeded.
func (c Checkpoint) Resumable() bool {
	return !c.Done && c.started()
}

// started reports whether the platform may have something to resume.
func (c Checkpoint) started() bool { return c.attaches() || c.ArtifactID != "" || !c.Started.IsZero() }

func (c Checkpoint) check(buildApp string) error {
	if c.BuildApp != "" && c.BuildApp != buildApp && c.started() {
		return mismatch("a deploy of "+quote(c.BuildApp), quote(buildApp))
	}
	if c.OutputOffset < 0 {
		return &ArgumentError{Name: "Checkpoint.OutputOffset", Reason: "is negative"}
	}
	err := checkIDs("BuildID", c.BuildID)
	err = cmp.Or(err, checkIDs("Before", c.Before...))
	for _, app := range c.Apps() {
		if err = cmp.Or(err, checkIDs("Apps", app.ID, app.ReleaseID, app.RollbackID)); err != nil {
			break
		}
	}
	return err
}

// checkIDs refuses ids of a checkpoint that are not, because they become parts of paths.
func checkIDs(name string, ids ...string) error {
	for _, id := range ids {
		if id == "" {
			continue
		}
		if err := checkUUID("Checkpoint."+name, id); err != nil {
			return err
		}
	}
	return nil
}

// checkRollbacks refuses a call that omits an app of an unfinished rollback, or names
// it differently, because its rollback would be forgotten.
func (c Checkpoint) checkRollbacks(apps []string) error {
	if !c.started() || !c.rollingBack() {
		return nil
	}
	given := make(map[string]bool, len(apps))
	for _, app := range apps {
		given[app] = true
	}
	for app, state := range c.Apps() {
		if state.RollingBack && !given[app] {
			return mismatch("an unfinished rollback of "+quote(app), "apps that include it by that name")
		}
	}
	return nil
}

// rollingBack reports whether a rollback is unfinished.
func (c Checkpoint) rollingBack() bool {
	for _, app := range c.Apps() {
		if app.RollingBack {
			return true
		}
	}
	return false
}

// setApp changes what is known of an app.
func (c *Checkpoint) setApp(name string, change func(app *CheckpointApp)) {
	app := c.App(name)
	change(&app)
	c.apps = c.apps.With(name, app)
}

// mismatch is the error for a Checkpoint of another deploy than the call.
func mismatch(have, given string) error {
	return &ArgumentError{Name: "Checkpoint", Reason: "is of " + have + ", not of " + given, Err: ErrCheckpointMismatch}
}

// end records how a call has ended: whether it succeeded, and whether a request may
// still be in progress.
func (c *Checkpoint) end(err error, settledAt time.Time) {
	c.Done = err == nil
	c.Settled = err == nil || !errors.Is(err, ErrMaybeApplied) && !time.Now().Before(settledAt)
}

// attaches reports whether there is, or may be, a build to resume.
func (c Checkpoint) attaches() bool { return c.BuildID != "" || c.Source != "" }

// This file encodes Checkpoints and what has changed between two of them. A whole
// Checkpoint is encoded as its update of the zero one.

// MarshalJSON implements json.Marshaler.
func (c Checkpoint) MarshalJSON() ([]byte, error) {
	text, err := c.UpdateSince(Checkpoint{})
	if text == nil && err == nil {
		return []byte("{}"), nil
	}
	return text, err
}

// UnmarshalJSON implements json.Unmarshaler. It replaces the whole Checkpoint.
func (c *Checkpoint) UnmarshalJSON(text []byte) error {
	if isNull(text) {
		return nil
	}
	decoded, err := Checkpoint{}.Apply(text)
	if err == nil {
		*c = decoded
	}
	return err
}

// String returns the JSON of the Checkpoint, which has no secrets.
func (c Checkpoint) String() string {
	text, err := c.MarshalJSON()
	if err != nil {
		return "Checkpoint(" + err.Error() + ")"
	}
	return string(text)
}

// UpdateSince returns what turns an earlier Checkpoint into c, for [Checkpoint.Apply]:
// the JSON merge patch (RFC 7396) of their JSON. It is nil if nothing has changed. If
// both are of the same call, it costs as much as has changed, however many apps there
// are: to store each Checkpoint of a large rollout, append its update to those before.
//
// The error is that of a Started that JSON does not support.
func (c Checkpoint) UpdateSince(earlier Checkpoint) (json.RawMessage, error) {
	patch := map[string]any{}
	before := reflect.ValueOf(earlier)
	for field, now := range c.fields() {
		value := now.Interface()
		switch {
		case reflect.DeepEqual(before.FieldByIndex(field.Index).Interface(), value):
		case now.IsZero():
			patch[jsonName(field)] = nil
		default:
			patch[jsonName(field)] = value
		}
	}
	for name := range c.apps.ChangedSince(earlier.apps) {
		patchApp(patch, name, earlier.App(name), c.App(name))
	}
	if len(patch) == 0 {
		return nil, nil
	}
	return json.Marshal(patch)
}

// fields iterates over the exported fields.
func (c *Checkpoint) fields() iter.Seq2[reflect.StructField, reflect.Value] {
	return func(yield func(reflect.StructField, reflect.Value) bool) {
		v := reflect.ValueOf(c).Elem()
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() && !yield(f, v.Field(i)) {
				return
			}
		}
	}
}

func jsonName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}

// The names in JSON of what a Checkpoint has of its apps. Each is an object keyed by app.
const (
	jsonApps      = "apps"
	jsonReleases  = "releases"
	jsonRollbacks = "rollbacks"
	jsonFailures  = "failures"
)

// patchApp adds to a merge patch what has changed of an app.
func patchApp(patch map[string]any, name string, before, now CheckpointApp) {
	set := func(field string, present bool, value any) {
		if !present {
			value = nil
		}
		apps, ok := patch[field].(map[string]any)
		if !ok {
			apps = map[string]any{}
			patch[field] = apps
		}
		apps[name] = value
	}
	if now.ID != before.ID {
		set(jsonApps, now.ID != "", now.ID)
	}
	if now.ReleaseID != before.ReleaseID {
		set(jsonReleases, now.ReleaseID != "", now.ReleaseID)
	}
	if now.RollingBack != before.RollingBack || now.RollbackID != before.RollbackID {
		set(jsonRollbacks, now.RollingBack, now.RollbackID)
	}
	if now.Failure != before.Failure {
		failure := map[string]any{"reason": now.Failure.Reason}
		if now.Failure.Verify || before.Failure.Verify {
			failure["verify"] = now.Failure.Verify
		}
		set(jsonFailures, !now.Failure.IsZero(), failure)
	}
}

// Apply returns the Checkpoint that an update of [Checkpoint.UpdateSince] leads to. An
// empty update changes nothing. The error is that of an update that is not such JSON;
// the Checkpoint is then zero.
func (c Checkpoint) Apply(update json.RawMessage) (Checkpoint, error) {
	if len(update) == 0 {
		return c, nil
	}
	var patch map[string]json.RawMessage
	err := json.Unmarshal(update, &patch)
	if err == nil && patch == nil {
		err = errors.New("not a JSON object")
	}
	if err == nil {
		err = c.apply(patch)
	}
	if err != nil {
		return Checkpoint{}, fmt.Errorf("checkpoint: %w", err)
	}
	return c, nil
}

func (c *Checkpoint) apply(patch map[string]json.RawMessage) error {
	for field, value := range c.fields() {
		text, ok := patch[jsonName(field)]
		if !ok {
			continue
		}
		decoded := reflect.New(field.Type)
		if err := json.Unmarshal(text, decoded.Interface()); err != nil {
			return err
		}
		value.Set(decoded.Elem())
	}
	return cmp.Or(
		applyApps(c, patch[jsonApps], func(a *CheckpointApp, id *string) { a.ID = orZero(id) }),
		applyApps(c, patch[jsonReleases], func(a *CheckpointApp, id *string) { a.ReleaseID = orZero(id) }),
		applyApps(c, patch[jsonRollbacks], func(a *CheckpointApp, id *string) { a.RollingBack, a.RollbackID = id != nil, orZero(id) }),
		applyApps(c, patch[jsonFailures], func(a *CheckpointApp, f *CheckpointFailure) { a.Failure = orZero(f) }),
	)
}

// applyApps applies the part of an update that is an object keyed by app. A null, which
// set gets as nil, removes a value; in place of the object it removes all values.
func applyApps[V any](c *Checkpoint, text json.RawMessage, set func(a *CheckpointApp, value *V)) error {
	if len(text) == 0 {
		return nil
	}
	var apps map[string]*V
	if err := json.Unmarshal(text, &apps); err != nil {
		return err
	}
	if apps == nil {
		for name := range c.Apps() {
			c.setApp(name, func(a *CheckpointApp) { set(a, nil) })
		}
	}
	for name, value := range apps {
		c.setApp(name, func(a *CheckpointApp) { set(a, value) })
	}
	return nil
}

func isNull(text []byte) bool { return string(bytes.TrimSpace(text)) == "null" }
