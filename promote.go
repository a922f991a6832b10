package herokubuild

import (
	"context"
	"fmt"
)

// Promote releases to an app what another one runs: the slug, or for Fir apps
// the image, of the current release of from, which is the newest that
// succeeded. The platform shares slugs between apps; nothing is copied, and
// config vars stay those of to. Description is shown in the history of to;
// default "Promote", the app and its version. Like that of
// [ReleasesService.Create], the release that is returned may be pending; see
// [ReleasesService.Wait].
//
// Endpoints: GET /apps/{app}/releases of from, GET /apps/{app} of to and
// POST /apps/{app}/releases of to. Errors: an [*ArgumentError] if both are the
// same app; one that matches [ErrNotFound] if from has no current release, or
// [ErrNoArtifact] if that has neither slug nor image; a [*GenerationError] if to
// runs the other of the two; and those of [ReleasesService.Current],
// [AppsService.Get] and [ReleasesService.Create].
func (s ReleasesService) Promote(ctx context.Context, from, to, description string) (*Release, error) {
	if err := checkApp("from", from); err != nil {
		return nil, err
	}
	if err := checkApp("to", to); err != nil {
		return nil, err
	}
	if from == to {
		return nil, sameApp(from, to)
	}
	current, err := s.Current(ctx, from)
	if err != nil {
		return nil, err
	}
	code, ok := current.Code()
	if !ok {
		return nil, fmt.Errorf("herokubuild: promoting v%d of %s: %w", current.Version, from, ErrNoArtifact)
	}
	target, err := AppsService(s).Get(ctx, to)
	switch {
	case err != nil:
		return nil, err
	case target.ID != "" && target.ID == current.App.ID:
		return nil, sameApp(from, to)
	case target.IsFir() && code.Slug != "":
		return nil, &GenerationError{App: to, Generation: target.Generation.Name, Reason: "it does not run the slug of " + from}
	case !target.IsFir() && target.Generation.Name != "" && code.OCIImage != "":
		return nil, &GenerationError{App: to, Generation: target.Generation.Name, Reason: "it does not run the image of " + from}
	}
	if code.Description = description; description == "" {
		code.Description = fmt.Sprintf("Promote %s v%d", from, current.Version)
	}
	return s.Create(ctx, to, code)
}

func sameApp(from, to string) error {
	return &ArgumentError{Name: "to", Reason: quote(to) + " is the app that is promoted from, " + quote(from)}
}
