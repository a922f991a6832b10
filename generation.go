package herokubuild

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/herokubuild/herokubuild/internal/clean"
)

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

// ociImage is what this package needs to know of an image. Source: the schema's
// oci-image.
type ociImage struct {
	ID     string `json:"id"`
	Digest string `json:"digest"`
}

func (i *ociImage) validate() error { return requireID("id", i.ID) }

// ImageID returns the id of an OCI image that is named by its digest ("sha256:…") or
// id. Releases name their image by id only (see [Release.Image]); the app is any Fir
// app that can use the image.
//
// Endpoint: GET /apps/{app}/oci-images/{image} (schema: oci-image, Info; stability
// prototype). Errors: [*ArgumentError], [*APIError] (matching [ErrNotFound] if there
// is no such image), [*RequestError], [*ResponseError].
func (s ReleasesService) ImageID(ctx context.Context, app, idOrDigest string) (string, error) {
	if err := checkApp("app", app); err != nil {
		return "", err
	}
	if err := checkImage("image", idOrDigest); err != nil {
		return "", err
	}
	a := apiCall{method: http.MethodGet, path: apiPath("apps", app, "oci-images", idOrDigest)}
	// The endpoint returns a list, although it is of one image.
	var images items[ociImage]
	resp, err := s.client.call(ctx, a, &images)
	if err != nil {
		return "", err
	}
	for _, image := range images {
		if strings.EqualFold(image.Digest, idOrDigest) || strings.EqualFold(image.ID, idOrDigest) {
			return image.ID, nil
		}
	}
	return "", resp.unexpected(fmt.Errorf("none of its %d images is the one that was asked for", len(images)))
}

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
// [ErrUnsupportedGeneration]. Nothing was changed.
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
	return clean.Line("herokubuild: " + e.App + " is a " + clip(e.Generation, maxHeaderText) + " app: " + e.Reason)
}

// Is matches ErrUnsupportedGeneration.
func (e *GenerationError) Is(target error) bool { return target == ErrUnsupportedGeneration }
