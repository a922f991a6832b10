package herokubuild

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
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

// Load returns the Checkpoint of the file, or the zero Checkpoint if there is no
// file. Anything other than a regular file is an error.
func (f CheckpointFile) Load() (Checkpoint, error) {
	var c Checkpoint
	text, err := readSmallFile(string(f), maxCheckpoint)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &c)
	}
	if err != nil {
		return Checkpoint{}, fmt.Errorf("checkpoint file: %w", err)
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
func (f CheckpointFile) OnEvent(next func(ctx context.Context, e DeployEvent) error) func(ctx context.Context, e DeployEvent) error {
	var saved Checkpoint
	return func(ctx context.Context, e DeployEvent) error {
		// The first phase may be that of another call, which finds a changed file.
		if !reflect.DeepEqual(e.Checkpoint, saved) || e.Kind == EventPhase && !e.Checkpoint.IsZero() {
			if err := f.Save(e.Checkpoint); err != nil {
				return err
			}
			saved = e.Checkpoint
		}
		if next == nil {
			return nil
		}
		return next(ctx, e)
	}
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
