package herokubuild

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/herokubuild/herokubuild/internal/identity"
)

// source packs and uploads the source, unless it has a URL already.
func (d *deploy) source(ctx context.Context) (SourceBlob, error) {
	blob := SourceBlob{
		URL: d.opts.SourceURL, Checksum: d.opts.SourceChecksum,
		Version: d.opts.Version, VersionDescription: d.opts.VersionDescription,
	}
	var c Checkpoint
	var err error
	if blob.URL == "" {
		c.Commit, err = d.upload(ctx, &blob)
	} else {
		err = d.identifyURL(ctx, &blob, &c)
	}
	if err != nil {
		return blob, err
	}
	d.result.Version, d.result.Checksum = blob.Version, blob.Checksum
	d.setApps(&c)
	c.Source, c.Version, c.Checksum = sourceAddress(blob.URL), blob.Version, blob.Checksum
	d.log.note(func(old *Checkpoint) { *old = c })
	return blob, nil
}

// identifyURL marks the build of a URL, which may have been built before, with a
// token.
func (d *deploy) identifyURL(ctx context.Context, blob *SourceBlob, c *Checkpoint) (err error) {
	c.Token, c.SourceDigest = identity.NewToken(), sourceDigest(blob.URL)
	c.Before, err = earlierBuilds(ctx, d.client, d.buildApp(), identity.Source{Address: sourceAddress(blob.URL), Digest: c.SourceDigest, Version: blob.Version, Checksum: blob.Checksum})
	blob.VersionDescription = identity.WithToken(blob.VersionDescription, "deploy", c.Token)
	return err
}

// upload packs and uploads the source. It returns the commit of a directory without
// uncommitted changes.
func (d *deploy) upload(ctx context.Context, blob *SourceBlob) (commit string, err error) {
	if d.opts.Archive != nil {
		d.packed(ctx, d.opts.Archive, nil)
		return "", d.uploadArchive(ctx, d.opts.Archive, blob, &UploadOptions{OnProgress: d.progress(ctx)})
	}
	d.begin(ctx, PhasePack)
	job, err := d.client.api.packers.begin(ctx, d.opts.Dir)
	if err != nil {
		return "", err
	}
	defer job.end()
	var archive *Archive
	var versionErr error
	err = job.run(ctx, func(p packing) (err error) {
		if blob.Version == "" {
			// Without a version the archive's checksum identifies the source.
			blob.Version, versionErr = TreeVersion(ctx, d.opts.Dir)
			if blob.Version != "" && !strings.HasSuffix(blob.Version, dirty) {
				commit = blob.Version
			}
		}
		archive, err = packDir(ctx, d.opts.Dir, d.opts.Pack, p)
		return err
	})
	if err != nil {
		return "", err
	}
	defer func() { _ = archive.Close() }()
	d.packed(ctx, archive, versionErr)
	return commit, d.uploadArchive(ctx, archive.withoutPlan(), blob, job.upload(d.progress(ctx)))
}

// uploadArchive uploads the source and completes the blob.
func (d *deploy) uploadArchive(ctx context.Context, archive *Archive, blob *SourceBlob, opts *UploadOptions) error {
	blob.Checksum = archive.Checksum()
	if blob.Version == "" {
		blob.Version = strings.TrimPrefix(blob.Checksum, "SHA256:")
	}
	d.begin(ctx, PhaseUpload)
	source, err := d.client.Sources.Upload(ctx, archive, opts)
	if err != nil {
		return err
	}
	blob.URL = source.SourceBlob.GetURL
	return nil
}

// packed emits the events of a ready archive.
func (d *deploy) packed(ctx context.Context, archive *Archive, versionErr error) {
	d.log.emit(ctx, DeployEvent{Kind: EventPacked, Archive: archive, Total: archive.Size})
	if versionErr != nil {
		d.log.emit(ctx, DeployEvent{Kind: EventWarning, Archive: archive, Line: "the commit is unknown: " + quote(versionErr.Error())})
	}
	if archive.Plan == nil {
		return
	}
	for _, warning := range archive.Plan.Warnings {
		d.log.emit(ctx, DeployEvent{Kind: EventWarning, Archive: archive, Line: warning.String()})
	}
}

// progress emits about a hundred events for an upload instead of one for each read.
func (d *deploy) progress(ctx context.Context) func(done, total int64) {
	var last int64
	return func(done, total int64) {
		if done < last {
			last = 0
		}
		if done == total || done-last >= total/100 {
			last = done
			d.log.emit(ctx, DeployEvent{Kind: EventUpload, Done: done, Total: total})
		}
	}
}

// checkUnchanged refuses a Dir that is not the source of the checkpoint.
func (d *deploy) checkUnchanged(ctx context.Context) error {
	if d.opts.Dir != "" && checkDir("Dir", d.opts.Dir) == nil {
		return d.client.api.packers.run(ctx, d.opts.Dir, func(p packing) error { return d.compareDir(ctx, p) })
	}
	return nil
}

// compareDir compares Dir with the source of the checkpoint, by the commit or else by the
// checksum of its archive.
func (d *deploy) compareDir(ctx context.Context, p packing) error {
	c := d.opts.Checkpoint
	if c.Commit != "" {
		at, err := TreeVersion(ctx, d.opts.Dir)
		if err == nil && at == c.Commit {
			return nil
		}
		if err == nil && at != "" && !strings.HasSuffix(at, dirty) {
			return mismatch("commit "+quote(c.Commit), quote(at))
		}
	}
	if c.Checksum == "" {
		return nil
	}
	archive, err := packDir(ctx, d.opts.Dir, d.opts.Pack, p)
	if err != nil {
		return err
	}
	defer func() { _ = archive.Close() }()
	if archive.Checksum() != c.Checksum {
		return mismatch("a source with checksum "+quote(c.Checksum), "Dir as it is now ("+quote(archive.Checksum())+")")
	}
	return nil
}

// create starts the build.
func (d *deploy) create(ctx context.Context, source SourceBlob) (*Build, error) {
	if ctx.Err() != nil {
		return nil, contextError(ctx)
	}
	opts := BuildCreateOptions{SourceBlob: source, Buildpacks: d.opts.Buildpacks}
	id := identityOf(d.log.saved())
	return once(ctx, d.client,
		func() (*Build, error) {
			return d.client.Builds.Create(ctx, d.buildApp(), opts, d.log.before(ChangeBuild, d.opts.BuildApp))
		},
		func(ctx context.Context) (*Build, error) {
			return findBuild(ctx, d.client, d.buildApp(), id, newest("created_at"))
		})
}

// getBuild returns a function that requests a build of the build app.
func (d *deploy) getBuild(id string) func(context.Context) (*Build, error) {
	return func(ctx context.Context) (*Build, error) { return d.client.Builds.Get(ctx, d.buildApp(), id) }
}

// startOver empties the checkpoint when nothing is left to resume.
func (d *deploy) startOver() {
	d.log.note(func(c *Checkpoint) { *c = Checkpoint{} })
}

// build follows the build to its final status. The stream may still be reading the
// end of the output when build returns; joinOutput waits for that.
func (d *deploy) build(ctx context.Context, b *Build) error {
	d.result.Build = b
	d.log.note(func(c *Checkpoint) { c.BuildID = b.ID })
	d.log.emit(ctx, DeployEvent{Kind: EventBuildCreated, App: d.opts.BuildApp, Build: b})

	d.output = followBuild(ctx, d.client, d.log, b, buildOutputOptions{
		app: d.opts.BuildApp, id: d.buildApp(), output: d.opts.Output, idleTimeout: d.opts.IdleTimeout,
	})
	select {
	case <-d.output.done:
	case <-d.output.final:
	case <-ctx.Done():
	}
	if latest := d.output.latest.Load(); latest != nil {
		d.result.Build = latest
	}
	if err := d.awaitBuild(ctx); err != nil {
		return err
	}
	err := d.result.Build.outcome(d.opts.BuildApp)
	var failed *BuildError
	if errors.As(err, &failed) {
		failed.Tail = d.output.lastLines()
		d.startOver()
	}
	d.log.emit(ctx, DeployEvent{Kind: EventBuildDone, App: d.opts.BuildApp, Build: d.result.Build, Err: err})
	return err
}

// awaitBuild waits for the final status of the build, unless the stream has seen it.
func (d *deploy) awaitBuild(ctx context.Context) error {
	switch status := d.result.Build.Status; {
	case ctx.Err() != nil && status != StatusSucceeded:
		return fmt.Errorf("following build %s: %w", d.result.Build.ID, contextError(ctx))
	case status == StatusFailed:
		// The error of a failed build has the end of its output.
		return d.joinOutput(ctx)
	case status.Final():
		return nil
	}
	request := d.getBuild(d.result.Build.ID)
	get := func(ctx context.Context) (*Build, error) {
		latest, err := request(ctx)
		if err == nil {
			d.result.Build = latest
		}
		return latest, err
	}
	_, err := waitFinal(ctx, nil, d.client.api.poll, get, statusOf)
	return err
}

// joinOutput waits for the end of the output. Its error is the writer's.
func (d *deploy) joinOutput(ctx context.Context) error {
	if d.output == nil {
		return nil
	}
	writeErr, lost := d.output.join(ctx)
	if lost != nil && d.result.OutputErr == nil {
		d.result.OutputErr = lost
	}
	if lost != nil && ctx.Err() == nil {
		d.client.api.log.LogAttrs(ctx, slog.LevelWarn, "herokubuild: build output is incomplete", slog.String("error", lost.Error()))
	}
	if writeErr != nil {
		return fmt.Errorf("writing the build's output: %w", writeErr)
	}
	return nil
}

// cancelBuild cancels the build of a deploy that was given up. It reports whether there
// was a build to cancel.
func (d *deploy) cancelBuild(ctx context.Context, failure *DeployError) bool {
	// The caller's context has ended.
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), cancelTimeout)
	defer stop()
	b := d.result.Build
	if b == nil && d.phase == PhaseBuild && errors.Is(failure.Err, ErrMaybeApplied) {
		b, failure.CancelErr = d.findStarted(ctx)
	}
	if b == nil || d.opts.KeepBuildOnCancel || b.Status != StatusPending {
		return false
	}
	ended, err := d.cancelAndWait(ctx, b)
	failure.CancelErr = err
	if err == nil {
		d.result.Build = ended
		failure.Canceled = ended.Status != StatusSucceeded
	}
	if failure.Canceled {
		d.startOver()
	}
	return true
}

// findStarted searches for the build of a request that was in progress when the deploy
// was given up.
func (d *deploy) findStarted(ctx context.Context) (*Build, error) {
	id := identityOf(d.log.saved())
	b, err := settle(ctx, min(d.client.api.settleTime, cancelSettle), func(ctx context.Context) (*Build, error) {
		return findBuild(ctx, d.client, d.buildApp(), id, newest("created_at"))
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("searching for it: %w", err)
	case b == nil:
		return nil, errors.New("none found so far")
	}
	d.result.Build = b
	d.log.note(func(c *Checkpoint) { c.BuildID = b.ID })
	return b, nil
}

// cancelAndWait cancels the build and returns it once it has ended. The platform accepts
// a cancel before it takes effect.
func (d *deploy) cancelAndWait(ctx context.Context, b *Build) (*Build, error) {
	canceled, err := d.client.Builds.Cancel(ctx, d.buildApp(), b.ID, d.log.before(ChangeBuildCancel, d.opts.BuildApp))
	if err == nil && canceled.Status.Final() {
		return canceled, nil
	}
	var refused *APIError
	if err != nil && !errors.As(err, &refused) {
		return nil, err
	}
	// If the cancel is refused, the build may have ended by itself, or have been
	// canceled by a request whose response was lost. Its status may lag behind.
	ended, waitErr := waitFinal(ctx, nil, d.client.api.poll, d.getBuild(b.ID), statusOf)
	switch {
	case waitErr == nil:
		return ended, nil
	case err != nil:
		return nil, err
	}
	return nil, fmt.Errorf("accepted, but the build has not ended: %w", waitErr)
}
