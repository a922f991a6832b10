package herokutest

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/herokubuild/herokubuild/internal/platform"
)

// Build is a build that the server has seen.
type Build struct {
	ID string
	// Status is pending, succeeded or failed.
	Status string
	// SourceURL, SourceVersion and Checksum are those of the request.
	SourceURL, SourceVersion, Checksum string
	// ArtifactID is the ID of the slug, or of the image of a Fir app. It and ReleaseID
	// are empty unless the build succeeded.
	ArtifactID, ReleaseID string
	// OutputSize is the number of bytes of output so far.
	OutputSize           int64
	CreatedAt, UpdatedAt time.Time
}

// Release is a release that the server has seen.
type Release struct {
	ID      string
	Version int
	// Status is pending, succeeded, failed or expired.
	Status string
	// Current reports whether the app runs this release.
	Current     bool
	Description string
	// ArtifactID is the ID of the slug, or of the image of a Fir app. It is empty for a
	// release without code, such as the first of an app.
	ArtifactID string
	// OutputSize is the number of bytes that the release phase has printed so far.
	OutputSize           int64
	CreatedAt, UpdatedAt time.Time
}

// Slug is a slug that the server has, or the image of a Fir app.
type Slug struct {
	ID           string
	ProcessTypes map[string]string
	// Stack is the name of the stack, such as heroku-24.
	Stack  string
	Commit string
	// Size is the number of bytes of the archive, or 0 before it is uploaded.
	Size      int64
	CreatedAt time.Time
}

// Request is a request that the server has received.
type Request struct {
	// Host is what the request was for: api, storage, stream or web.
	Host   string
	Method string
	// Path has no query, which may be a signature.
	Path string
	// Header has "present" instead of a credential.
	Header        http.Header
	ContentLength int64 // -1 if it is not known
	// Status is that of the response, or 0 if there was none.
	Status int
	Time   time.Time // of arrival
	// Fault reports whether a fault was injected.
	Fault bool
}

// Builds returns the builds of an app, by name or ID, oldest first.
func (s *Server) Builds(app string) []Build {
	var all []Build
	for _, b := range s.p.Builds(app) {
		all = append(all, Build{
			ID: b.ID, Status: b.Status,
			SourceURL: b.SourceURL, SourceVersion: b.SourceVersion, Checksum: b.Checksum,
			ArtifactID: b.SlugID, ReleaseID: b.ReleaseID, OutputSize: b.OutputBytes,
			CreatedAt: b.CreatedAt, UpdatedAt: b.UpdatedAt,
		})
	}
	return all
}

// Releases returns the releases of an app, by name or ID, oldest first. A new app has two
// releases without code.
func (s *Server) Releases(app string) []Release {
	var all []Release
	for _, r := range s.p.Releases(app) {
		all = append(all, Release{
			ID: r.ID, Version: r.Version, Status: r.Status, Current: r.Current, Description: r.Description,
			ArtifactID: r.SlugID, OutputSize: r.OutputBytes, CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt,
		})
	}
	return all
}

// Slug returns a slug or an image. ok is false if there is none with this ID.
func (s *Server) Slug(id string) (slug Slug, ok bool) {
	info, ok := s.p.Slug(id)
	return Slug(info), ok
}

// Requests returns all requests that the server has received, in the order of their
// arrival. Of more than 100,000 the oldest are dropped.
func (s *Server) Requests() []Request {
	var all []Request
	for _, r := range s.p.Requests() {
		all = append(all, Request{
			Host: platform.HostName(r.Host), Method: r.Method, Path: r.Path, Header: r.Header, ContentLength: r.ContentLength,
			Status: r.Status, Time: r.Time, Fault: r.Fault,
		})
	}
	return all
}

// Output returns the whole output of a build or release phase, by its ID.
func (s *Server) Output(id string) (string, error) {
	out, err := s.p.Output(id)
	if err != nil {
		return "", named(err)
	}
	return string(out), nil
}

// CheckDeployedOnce returns an error unless the server has seen exactly one deploy: one
// build of buildApp, which succeeded, and one release of its slug or image to each of the
// other apps, which is what they run.
func (s *Server) CheckDeployedOnce(buildApp string, releasedTo ...string) error {
	for _, app := range append([]string{buildApp}, releasedTo...) {
		if s.AppID(app) == "" {
			return fmt.Errorf("herokutest: there is no app %q", app)
		}
	}
	builds := s.Builds(buildApp)
	if len(builds) != 1 {
		return fmt.Errorf("herokutest: %s has %d builds, not 1", buildApp, len(builds))
	}
	b := builds[0]
	if b.Status != "succeeded" {
		return fmt.Errorf("herokutest: build %s of %s is %s", b.ID, buildApp, b.Status)
	}
	var errs []error
	for _, app := range append([]string{buildApp}, releasedTo...) {
		if err := s.checkReleasedOnce(app, b.ArtifactID); err != nil {
			errs = append(errs, fmt.Errorf("herokutest: %s %w", app, err))
		}
	}
	return errors.Join(errs...)
}

func (s *Server) checkReleasedOnce(app, artifact string) error {
	var code []Release
	for _, r := range s.Releases(app) {
		if r.ArtifactID != "" {
			code = append(code, r)
		}
	}
	switch {
	case len(code) != 1:
		return fmt.Errorf("has %d releases of code, not 1", len(code))
	case code[0].ArtifactID != artifact:
		return fmt.Errorf("v%d is of %s, not of the build", code[0].Version, code[0].ArtifactID)
	case code[0].Status != "succeeded" || !code[0].Current:
		return fmt.Errorf("v%d is %s and not current", code[0].Version, code[0].Status)
	}
	return nil
}
