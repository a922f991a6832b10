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
	"os"
	"path/filepath"
	"slices"

	"github.com/herokubuild/herokubuild/internal/redact"
)

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

// Load returns the Checkpoint of the file, or the zero Checkpoint if there is no file.
// The error is that of package os, or of a file that is not a regular one, is larger than
// 64 MiB, or has no Checkpoint.
func (f CheckpointFile) Load() (Checkpoint, error) {
	text, err := readSmallFile(string(f), maxCheckpoint)
	if errors.Is(err, fs.ErrNotExist) {
		return Checkpoint{}, nil
	}
	var c Checkpoint
	if err == nil {
		if c, err = decodeCheckpointFile(text); err != nil {
			err = redact.CleanError(fmt.Errorf("%s: %w", f, err))
		}
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
// a crash, finds the old Checkpoint or the new one. It removes the file if c is zero. The
// error is that of package os.
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

// Remove deletes the file, if there is one. The error is that of package os.
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
// killed after its last event, or wakes up after another one has taken over: what is written
// twice are the same bytes at the same place.
//
// w is not truncated: use a new file for each deploy. The file must not be opened with
// os.O_APPEND, which does not permit writing at an offset.
func OutputAt(w io.WriterAt, c Checkpoint) io.Writer {
	return io.NewOffsetWriter(w, c.OutputOffset)
}
