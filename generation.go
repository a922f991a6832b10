package herokubuild

import "slices"

// The generations of apps. Cedar apps run slugs, Fir apps images.
const (
	generationFir = "fir"
	artifactSlug  = "slug"
	artifactImage = "oci-image"
)

// IsFir says whether the app is of the Fir generation: its builds make OCI
// images and no slugs, and take no buildpacks.
func (a *App) IsFir() bool { return a.Generation.Name == generationFir }

// Image returns the id of the OCI image that a Fir app's release is of, for
// [ReleaseCreateOptions].OCIImage; empty if there is none.
func (r *Release) Image() string { return r.artifact(artifactImage) }

func (r *Release) artifact(kind string) string {
	i := slices.IndexFunc(r.Artifacts, func(a Artifact) bool { return a.Type == kind })
	if i < 0 {
		return ""
	}
	return r.Artifacts[i].ID
}

// Code returns what the release runs, its slug or its image, as
// [ReleasesService.Create] takes it; false for a release that has none, such
// as the first of every app.
func (r *Release) Code() (ReleaseCreateOptions, bool) {
	var o ReleaseCreateOptions
	if o.Slug = r.Slug.ID; o.Slug == "" {
		o.Slug = r.artifact(artifactSlug)
	}
	if o.Slug == "" {
		o.OCIImage = r.Image()
	}
	return o, o.Slug != "" || o.OCIImage != ""
}

// GenerationError is something asked of an app whose generation does not have
// it: a slug or buildpacks of a Fir app, an image of a Cedar app. It matches
// [ErrGeneration]. Nothing was changed.
type GenerationError struct {
	// App is the app, as the caller named it.
	App string
	// Generation is the app's.
	Generation string
	// Reason says what it does not have.
	Reason string
}

// Error implements error.
func (e *GenerationError) Error() string {
	return "herokubuild: " + e.App + " is a " + clip(e.Generation, maxHeaderText) + " app: " + e.Reason
}

// Is matches ErrGeneration.
func (e *GenerationError) Is(target error) bool { return target == ErrGeneration }
