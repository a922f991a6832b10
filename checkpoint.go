package herokubuild

import (
	"errors"
	"maps"
	"reflect"
	"slices"
	"time"
)

// Checkpoint is how far a deploy has come: a small value that JSON carries, for
// a later process to resume from ([BuildAndReleaseOptions].Checkpoint,
// [RolloutPolicy].Checkpoint). Every [DeployEvent], [DeployResult], [DeployError] and
// [RolloutError] has one. It contains no secrets. The rules:
//
//   - Store each new one before returning from OnEvent, and resume from the
//     last; [CheckpointFile] does. Even an older one never leads to a second
//     build, or to a second release of an app.
//   - The zero Checkpoint has nothing to resume, nor has one after a build that
//     failed or was canceled, or whose release failed on BuildApp: the next call
//     starts from scratch. Any other is for the same BuildApp and source only
//     ([ErrCheckpointMismatch]); the other apps may differ. See [Checkpoint.Resumable].
//   - An app gets another release only if its release failed or was rolled back.
//     One that runs what somebody else has released since is left alone
//     ([ErrSuperseded]).
//   - An interrupted rollback is finished before anything else, and the call
//     then fails with what caused the rollback. After a finished rollback the
//     next call releases the same build again.
//   - Delete it when the deploy has succeeded.
//
// The fields are for reading and storing. Maps are keyed by app as the caller
// named it and are shared by events: do not change them.
type Checkpoint struct {
	// BuildApp is the app that builds.
	BuildApp string `json:"build_app,omitzero"`
	// Token identifies the rollout, or the build of a SourceURL, on the
	// platform: it is part of the description that is sent with each.
	Token string `json:"token,omitzero"`
	// Source is the URL of the source without its query, which identifies the
	// build of an uploaded source. SourceDigest is a hash of the whole URL
	// without its signature, for a SourceURL, and Before are the ids of earlier
	// builds of that URL.
	Source       string   `json:"source,omitzero"`
	SourceDigest string   `json:"source_digest,omitzero"`
	Before       []string `json:"before,omitempty"`
	// Version and Checksum are those of the source.
	Version  string `json:"version,omitzero"`
	Checksum string `json:"checksum,omitzero"`
	// Commit is that of the directory, if the version was not given and there
	// were no uncommitted changes.
	Commit string `json:"commit,omitzero"`
	// Build is the id of the build.
	BuildID string `json:"build,omitzero"`
	// Output is how many bytes of the build's output had been written. There is
	// no event for output: what a process that was killed wrote after its last
	// event is written again.
	OutputOffset int64 `json:"output,omitzero"`
	// ReleaseTo are the apps that get the slug, besides BuildApp, and
	// Description is that of their releases.
	ReleaseTo   []string `json:"release_to,omitempty"`
	Description string   `json:"description,omitzero"`
	// Slug is what is released to many apps without a build, a slug or image,
	// and Started when that began.
	ArtifactID string    `json:"slug,omitzero"`
	Started    time.Time `json:"started,omitzero"`
	// Apps are the ids of the apps, once known. A resumed deploy uses them, so
	// that it stays with an app that was renamed meanwhile.
	AppIDs map[string]string `json:"apps,omitempty"`
	// Releases are the ids of the newest releases that the deploy made.
	ReleaseIDs map[string]string `json:"releases,omitempty"`
	// Rollbacks has the apps of a rollback that is not finished: the id of the
	// release that took the app back, empty while there is none. Failures says
	// why the rollback began.
	RollbackIDs map[string]string            `json:"rollbacks,omitempty"`
	Failures    map[string]CheckpointFailure `json:"failures,omitempty"`
	// MayRollBack says that the deploy rolls apps back if something fails, so
	// that a rollback may be under way.
	MayRollBack bool `json:"may_roll_back,omitzero"`
	// Settled says that no request was under way any more: a call that resumes
	// need not wait for its effect. No Checkpoint of an event has it.
	Settled bool `json:"settled,omitzero"`
	// Done says that the deploy succeeded.
	Done bool `json:"done,omitzero"`
}

// CheckpointFailure is why an app failed, as a Checkpoint carries it.
type CheckpointFailure struct {
	// Reason is the text of the error.
	Reason string `json:"reason"`
	// Verify says that the app's release succeeded and failed Verify.
	Verify bool `json:"verify,omitzero"`
}

// IsZero reports whether this is the zero Checkpoint.
func (c Checkpoint) IsZero() bool { return reflect.ValueOf(c).IsZero() }

// Resumable reports whether there is something to resume: a build that was
// started or may have been, or a rollout that has not succeeded. It is false for
// the zero Checkpoint and for that of a deploy that has succeeded.
func (c Checkpoint) Resumable() bool {
	return !c.Done && c.started()
}

// started says that there is, or may be, something on the platform to resume.
func (c Checkpoint) started() bool { return c.attaches() || c.ArtifactID != "" || !c.Started.IsZero() }

func (c Checkpoint) check(buildApp string) error {
	if c.BuildApp != "" && c.BuildApp != buildApp && c.started() {
		return mismatch("a deploy of "+quote(c.BuildApp), quote(buildApp))
	}
	if c.OutputOffset < 0 {
		return &ArgumentError{Name: "Checkpoint.OutputOffset", Reason: "is negative"}
	}
	ids := map[string][]string{"Build": {c.BuildID}, "Before": c.Before}
	for name, m := range map[string]map[string]string{"Apps": c.AppIDs, "Releases": c.ReleaseIDs, "Rollbacks": c.RollbackIDs} {
		ids[name] = slices.Collect(maps.Values(m))
	}
	for name, ids := range ids {
		for _, id := range ids {
			if id == "" {
				continue
			}
			if err := checkUUID("Checkpoint."+name, id); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkRollbacks refuses a call that leaves out an app of an unfinished rollback,
// or names it otherwise: its rollback would be forgotten.
func (c Checkpoint) checkRollbacks(apps []string) error {
	for _, app := range slices.Sorted(maps.Keys(c.RollbackIDs)) {
		if c.started() && !slices.Contains(apps, app) {
			return mismatch("an unfinished rollback of "+quote(app), "apps that include it by that name")
		}
	}
	return nil
}

// mismatch is the error for a Checkpoint of something else than the call is
// for: what is given would not be deployed.
func mismatch(have, given string) error {
	return &ArgumentError{Name: "Checkpoint", Reason: "is of " + have + ", not of " + given, Err: ErrCheckpointMismatch}
}

// end records how a call has ended: whether it succeeded, and whether a request
// may still be under way.
func (c *Checkpoint) end(err error, settledAt time.Time) {
	c.Done = err == nil
	c.Settled = err == nil || !errors.Is(err, ErrMaybeApplied) && !time.Now().Before(settledAt)
}

// attaches says that there is a build to resume, or that there may be.
func (c Checkpoint) attaches() bool { return c.BuildID != "" || c.Source != "" }

// clone is a copy that later steps do not change.
func (c Checkpoint) clone() Checkpoint {
	c.AppIDs = maps.Clone(c.AppIDs)
	c.ReleaseIDs = maps.Clone(c.ReleaseIDs)
	c.RollbackIDs = maps.Clone(c.RollbackIDs)
	c.Failures = maps.Clone(c.Failures)
	return c
}
