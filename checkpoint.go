package herokubuild

import (
	"maps"
	"net/url"
	"time"
)

// Checkpoint is how far a deploy has come: a small value that JSON carries, for
// a later process to go on from ([BuildAndReleaseOptions].Checkpoint). Every
// [Event], [Result] and [DeployError] has one. It contains no secrets.
//
// A deploy that goes on does not upload or build again what is built or being
// built, and does not release again where it has; it looks for what an earlier
// process may have started without hearing the answer. A build that failed or
// was cancelled is nothing to go on with: the Checkpoint then starts anew. An
// app whose release failed gets another.
//
// The Checkpoint of a deploy that has succeeded leads to the same result again,
// and nothing is built: forget it then. One that is given together with another
// source than its own is refused, as far as the two can be told apart.
type Checkpoint struct {
	// BuildApp is the app that builds, as the caller named it.
	BuildApp string `json:"build_app,omitzero"`
	// Source is the address of the source, without its query: what tells the
	// build of this deploy from others. After is the id of the build before
	// it, where the source was not uploaded for this deploy alone.
	Source string `json:"source,omitzero"`
	After  string `json:"after,omitzero"`
	// Version and Checksum are those of the source.
	Version  string `json:"version,omitzero"`
	Checksum string `json:"checksum,omitzero"`
	// Commit is that of the directory, if the version was not given and there
	// were no changes.
	Commit string `json:"commit,omitzero"`
	// Build is the id of the build.
	Build string `json:"build,omitzero"`
	// Output is how many bytes of the build's output had been written at the
	// time. Output makes no events of its own: after a process that was killed,
	// what it wrote since its last event is written again.
	Output int64 `json:"output,omitzero"`
	// ReleaseTo are the apps that get the slug, besides BuildApp.
	ReleaseTo []string `json:"release_to,omitempty"`
	// Slug is what is released to many apps without a build, a slug or image,
	// and Started when that began.
	Slug    string    `json:"slug,omitzero"`
	Started time.Time `json:"started,omitzero"`
	// Releases are the ids of the releases, by app as the caller named it. Not
	// to be changed: events share the map.
	Releases map[string]string `json:"releases,omitempty"`
	// Rollbacks are the ids of the releases that took apps back to what they
	// ran before, empty where there is none yet. Once there is one, what is
	// gone on with is the rollback.
	Rollbacks map[string]string `json:"rollbacks,omitempty"`
}

func (c Checkpoint) check(buildApp string) error {
	if c.BuildApp != "" && c.BuildApp != buildApp {
		return &ArgumentError{Name: "Checkpoint", Reason: "is of a deploy of " + quote(c.BuildApp) + ", not of " + quote(buildApp)}
	}
	if c.Output < 0 {
		return &ArgumentError{Name: "Checkpoint", Reason: "its output is negative"}
	}
	if c.Build != "" {
		if err := checkUUID("Checkpoint.Build", c.Build); err != nil {
			return err
		}
	}
	if c.After != "" {
		if err := checkUUID("Checkpoint.After", c.After); err != nil {
			return err
		}
	}
	for _, id := range c.Releases {
		if err := checkUUID("Checkpoint.Releases", id); err != nil {
			return err
		}
	}
	for _, id := range c.Rollbacks {
		if id == "" {
			continue
		}
		if err := checkUUID("Checkpoint.Rollbacks", id); err != nil {
			return err
		}
	}
	return nil
}

// attaches says that there is, or may be, a build to go on with.
func (c Checkpoint) attaches() bool { return c.Build != "" || c.Source != "" }

func (c Checkpoint) isZero() bool {
	return c.BuildApp+c.Source+c.Build+c.Slug == "" && c.Started.IsZero() && len(c.Releases) == 0
}

// clone is a copy that later steps do not change.
func (c Checkpoint) clone() Checkpoint {
	c.Releases = maps.Clone(c.Releases)
	c.Rollbacks = maps.Clone(c.Rollbacks)
	return c
}

// sourceAddress is what identifies a source: its URL without the signature,
// which the platform may leave out or make anew.
func sourceAddress(u SecretURL) string {
	parsed, err := url.Parse(u.Reveal())
	if err != nil {
		return ""
	}
	return parsed.Scheme + "://" + parsed.Host + parsed.EscapedPath()
}
