package herokubuild

import (
	"context"
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
	c.Token, c.SourceDigest = newToken(), sourceDigest(blob.URL)
	c.Before, err = earlierBuilds(ctx, d.client, d.buildApp(), identity.Source{Address: sourceAddress(blob.URL), Digest: c.SourceDigest, Version: blob.Version, Checksum: blob.Checksum})
	blob.VersionDescription = withToken(blob.VersionDescription, "deploy", c.Token)
	return err
}

// upload packs and uploads the source. It returns the commit of a directory
// without uncommitted changes.
func (d *deploy) upload(ctx context.Context, blob *SourceBlob) (commit string, err error) {
	archive := d.opts.Archive
	if archive == nil {
		d.begin(ctx, PhasePack)
		var versionErr error
		err := d.client.api.packers.run(ctx, d.opts.Dir, func(p packing) (err error) {
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
		archive = archive.withoutPlan()
	} else {
		d.packed(ctx, archive, nil)
	}
	blob.Checksum = archive.Checksum()
	if blob.Version == "" {
		blob.Version = strings.TrimPrefix(blob.Checksum, "SHA256:")
	}
	d.begin(ctx, PhaseUpload)
	source, err := d.client.Sources.Upload(ctx, archive, &UploadOptions{OnProgress: d.progress(ctx)})
	if err != nil {
		return "", err
	}
	blob.URL = source.SourceBlob.GetURL
	return commit, nil
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
