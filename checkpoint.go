package herokubuild

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"reflect"
	"slices"
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
	ArtifactID string    `json:"slug,omitzero"`
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

// CheckpointFile is the path of a file that stores the Checkpoint of one deploy. Keep
// it outside of the directory that is deployed, which it would change. To resume
// where an earlier process stopped:
//
//	file := herokubuild.CheckpointFile("/var/lib/deploys/shop.json")
//	opts.Checkpoint, err = file.Load()
//	if err != nil {
//		return err
//	}
//	opts.OnEvent = file.OnEvent(opts.OnEvent)
//	result, err := client.BuildAndRelease(ctx, opts)
//	err = errors.Join(err, file.Finish(err))
type CheckpointFile string

// maxCheckpoint is far more than the Checkpoint of a deploy to thousands of apps.
const maxCheckpoint = 64 << 20

// Load returns the Checkpoint of the file, or the zero Checkpoint if there is no
// file. Anything other than a regular file is an error.
func (f CheckpointFile) Load() (Checkpoint, error) {
	text, err := readSmallFile(string(f), maxCheckpoint)
	if errors.Is(err, fs.ErrNotExist) {
		return Checkpoint{}, nil
	}
	var c Checkpoint
	if err == nil {
		c, err = decodeCheckpointFile(text)
	}
	if err != nil {
		return Checkpoint{}, fmt.Errorf("checkpoint file: %w", err)
	}
	return c, nil
}

// decodeCheckpointFile decodes a Checkpoint and the updates that follow it, one a line.
// The last line is ignored if the process was killed while it wrote that.
func decodeCheckpointFile(text []byte) (c Checkpoint, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	if err := d.Decode(&c); err != nil {
		return c, withoutEOF(err)
	}
	lines := slices.Collect(bytes.Lines(text[d.InputOffset():]))
	for i, line := range lines {
		updated, err := c.Apply(bytes.TrimSpace(line))
		switch {
		case err == nil:
			c = updated
		case i < len(lines)-1:
			return c, err
		}
	}
	return c, nil
}

// Save replaces the content of the file atomically: a concurrent reader, or one after
// a crash, finds the old Checkpoint or the new one. It removes the file if c is zero.
func (f CheckpointFile) Save(c Checkpoint) error {
	if c.IsZero() {
		return f.Remove()
	}
	text, err := json.Marshal(c)
	if err == nil {
		err = replaceFile(string(f), append(text, '\n'))
	}
	if err != nil {
		return fmt.Errorf("checkpoint file: %w", err)
	}
	return nil
}

// Remove deletes the file. It returns no error if there is none.
func (f CheckpointFile) Remove() error {
	if err := os.Remove(string(f)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("checkpoint file: %w", err)
	}
	return nil
}

// OnEvent returns a function for OnEvent that saves the Checkpoint of each event
// in which it has changed, and then calls next, which may be nil. The deploy ends if
// the Checkpoint cannot be saved.
//
// It appends what has changed to the file, and syncs it, so that the events of a large
// rollout cost as much as those of a small one; now and then it calls Save.
func (f CheckpointFile) OnEvent(next func(ctx context.Context, e DeployEvent) error) func(ctx context.Context, e DeployEvent) error {
	w := checkpointWriter{file: f}
	return func(ctx context.Context, e DeployEvent) error {
		// The first phase may be that of another call, which finds a changed file.
		if e.Kind == EventPhase && !e.Checkpoint.IsZero() {
			w.state = nil
		}
		if err := w.save(e.Checkpoint); err != nil {
			return err
		}
		if next == nil {
			return nil
		}
		return next(ctx, e)
	}
}

// checkpointWriter saves the Checkpoints of one call.
type checkpointWriter struct {
	file  CheckpointFile
	saved Checkpoint
	// state is the file as the last save has left it, nil if the next one replaces it.
	state fs.FileInfo
	// whole is the size of the file when it was last replaced.
	whole int64
}

func (w *checkpointWriter) save(c Checkpoint) error {
	update, err := c.UpdateSince(w.saved)
	if err == nil && update == nil && (w.state != nil || c.IsZero()) {
		return nil
	}
	if err == nil && w.appends(int64(len(update)), c) {
		err = w.append(update)
	} else if err == nil {
		err = w.replace(c)
	}
	if err != nil {
		w.state = nil
		return fmt.Errorf("checkpoint file: %w", err)
	}
	w.saved = c
	return nil
}

// appends reports whether an update can be appended: the file is as it was left, and
// does not become so large that reading it takes much longer.
func (w *checkpointWriter) appends(size int64, c Checkpoint) bool {
	const atLeast = 64 << 10
	if w.state == nil || c.IsZero() || w.state.Size()+size > 3*w.whole+atLeast {
		return false
	}
	now, err := os.Stat(string(w.file))
	return err == nil && os.SameFile(now, w.state) && now.Size() == w.state.Size()
}

func (w *checkpointWriter) append(update []byte) error {
	f, err := os.OpenFile(string(w.file), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(append(update, '\n'))
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		w.state, err = f.Stat()
	}
	return cmp.Or(err, f.Close())
}

func (w *checkpointWriter) replace(c Checkpoint) (err error) {
	if err := w.file.Save(c); err != nil || c.IsZero() {
		w.state = nil
		return errors.Unwrap(err)
	}
	w.state, err = os.Stat(string(w.file))
	if err == nil {
		w.whole = w.state.Size()
	}
	return err
}

// Finish stores the Checkpoint of the error of a deploy or rollout, and removes the
// file after a success. An error without a Checkpoint leaves the file unchanged.
func (f CheckpointFile) Finish(err error) error {
	var deploy *DeployError
	var rollout *RolloutError
	switch {
	case err == nil:
		return f.Remove()
	case errors.As(err, &deploy):
		return f.Save(deploy.Checkpoint)
	case errors.As(err, &rollout):
		return f.Save(rollout.Checkpoint)
	}
	return nil
}

// replaceFile writes a new file next to the old one and renames it.
func replaceFile(name string, content []byte) (err error) {
	if target, err := filepath.EvalSymlinks(name); err == nil {
		name = target
	}
	temp, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(temp.Name())
		}
	}()
	_, err = temp.Write(content)
	if err == nil {
		err = temp.Sync()
	}
	if err = cmp.Or(err, temp.Close()); err != nil {
		return err
	}
	return os.Rename(temp.Name(), name)
}

// OutputAt returns a writer for [BuildAndReleaseOptions].Output that writes to w, usually
// an [os.File], from the OutputOffset of a Checkpoint on: the one that the call resumes
// from, or the zero one. So a log has every byte of the output once, even if a process was
// killed after its last event. What w has beyond the offset is removed first if w has a
// method Truncate(size int64) error; otherwise it is overwritten by the same bytes.
//
// The file must not be opened with os.O_APPEND, which does not permit to write at an
// offset. The error is that of Truncate.
func OutputAt(w io.WriterAt, c Checkpoint) (io.Writer, error) {
	if file, ok := w.(interface{ Truncate(size int64) error }); ok {
		if err := file.Truncate(c.OutputOffset); err != nil {
			return nil, err
		}
	}
	return io.NewOffsetWriter(w, c.OutputOffset), nil
}
