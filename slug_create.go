package herokubuild

import (
	"context"
	"errors"
	"io/fs"
	"os"
)

// SlugDirOptions says what [SlugsService.CreateFromDir] makes of a directory.
type SlugDirOptions struct {
	// ProcessTypes maps a process type to its command, instead of the
	// directory's Procfile. It may be empty; nil is for the Procfile.
	ProcessTypes map[string]string
	// Stack is the name or id of the stack that the slug runs on. Default:
	// that of the app's next build.
	Stack string
	// Commit says which source this is; optional.
	Commit string
	// CommitDescription describes it; optional.
	CommitDescription string
	// BuildpackProvidedDescription names what made the slug, as the app's
	// language on the platform's pages; optional.
	BuildpackProvidedDescription string
	// TempDir is where the archive is spooled. Default: the system's
	// directory for temporary files.
	TempDir string
	// Progress is [UploadOptions].Progress.
	Progress func(done, total int64)
}

// CreateFromDir makes a slug of a directory without a build: it packs everything
// in it, as [PackDir] does, under ./app, with the process types of the
// directory's Procfile, and uploads it. What git ignores is packed too, since
// that is where programs that were compiled are; ".git" and what a .slugignore
// names is not. What is in the directory runs as it
// is on the slug's stack: programs have to be compiled. The slug is returned
// with the address of the upload; release it with [ReleasesService.Create], to
// this app or another.
//
// The platform destroys a slug that is not released for long.
//
// Endpoints: GET /apps/{app}, for the stack and the generation, and POST
// /apps/{app}/slugs. Errors: an [*ArgumentError] for a directory without a
// Procfile if ProcessTypes is nil, and where [ParseProcfile] or [PackDir]
// has one; a [*GenerationError] for a Fir app, which runs no slugs; one that
// matches [ErrArchiveChanged]; and those of [AppsService.Get],
// [SlugsService.Create] and [SlugsService.Put]. A slug that was created and
// not uploaded cannot be released and does no harm, so that the call can be
// repeated after any error.
func (s SlugsService) CreateFromDir(ctx context.Context, app, dir string, opts SlugDirOptions) (*Slug, error) {
	if err := checkApp("app", app); err != nil {
		return nil, err
	}
	if err := checkDir("dir", dir); err != nil {
		return nil, err
	}
	types, err := opts.processTypes(dir)
	if err != nil {
		return nil, err
	}
	create := SlugCreateOptions{
		ProcessTypes: types, Stack: opts.Stack,
		Commit: opts.Commit, CommitDescription: opts.CommitDescription,
		BuildpackProvidedDescription: opts.BuildpackProvidedDescription,
	}
	if err := create.check(); err != nil {
		return nil, err
	}
	// A wrong key or name is found out before anything is packed.
	of, err := AppsService(s).Get(ctx, app)
	if err != nil {
		return nil, err
	}
	if of.IsFir() {
		return nil, &GenerationError{App: app, Generation: of.Generation.Name, Reason: "it runs images, not slugs"}
	}
	if create.Stack == "" {
		create.Stack = of.BuildStack.Name
	}
	archive, err := packSlug(ctx, dir, opts.TempDir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = archive.Close() }()
	create.Checksum = archive.Checksum()
	slug, err := s.Create(ctx, app, create)
	if err != nil {
		return nil, err
	}
	if err := s.Put(ctx, slug, archive, &UploadOptions{Progress: opts.Progress}); err != nil {
		return nil, err
	}
	return slug, nil
}

func (o SlugDirOptions) processTypes(dir string) (map[string]string, error) {
	if o.ProcessTypes != nil {
		return o.ProcessTypes, nil
	}
	bad := func(reason string, err error) error {
		return &ArgumentError{Name: "dir", Reason: "the Procfile of " + quote(dir) + " " + reason, Err: err}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, bad("cannot be read", err)
	}
	defer func() { _ = root.Close() }()
	// A link may lead to a file elsewhere in the directory, and not out of it.
	switch info, err := root.Stat("Procfile"); {
	case errors.Is(err, fs.ErrNotExist):
		return nil, bad("is missing: add one, or set ProcessTypes", err)
	case err != nil:
		return nil, bad("cannot be read", err)
	case !info.Mode().IsRegular():
		return nil, bad("is not a file", nil)
	}
	f, err := root.Open("Procfile")
	if err != nil {
		return nil, bad("cannot be read", err)
	}
	defer func() { _ = f.Close() }()
	return ParseProcfile(f)
}
