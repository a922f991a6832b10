package herokubuild

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/herokubuild/herokubuild/internal/check"
	"github.com/herokubuild/herokubuild/internal/procfile"
	"github.com/herokubuild/herokubuild/internal/redact"
)

// SlugsService reads and creates slugs.
type SlugsService struct{ api *apiClient }

// Slug is a compiled app, ready to be released.
type Slug struct {
	ID string `json:"id"`
	// Blob is where the slug's archive is downloaded from or, for a slug just
	// created, uploaded to.
	Blob Blob `json:"blob"`
	// BuildpackProvidedDescription is the buildpack's name for the kind of app.
	BuildpackProvidedDescription string `json:"buildpack_provided_description,omitzero"`
	// Checksum is "SHA256:" and the hex SHA-256 of the archive; may be empty.
	Checksum string `json:"checksum,omitzero"`
	// Commit identifies the source; may be empty.
	Commit string `json:"commit,omitzero"`
	// CommitDescription describes the commit; may be empty.
	CommitDescription string `json:"commit_description,omitzero"`
	// ProcessTypes maps a process type to its command: {"web": "bin/web"}.
	ProcessTypes map[string]string `json:"process_types"`
	// Size is the size of the archive in bytes; 0 until it is uploaded.
	Size int64 `json:"size,omitzero"`
	// Stack is the stack that the slug runs on. (A build has a string there.)
	Stack     ResourceRef `json:"stack"`
	CreatedAt time.Time   `json:"created_at"`
	UpdatedAt time.Time   `json:"updated_at"`
	// DeletedAt is when Heroku destroyed the archive; zero while it exists.
	DeletedAt time.Time `json:"deleted_at,omitzero"`
}

// Blob is a signed URL and the method that it is signed for.
type Blob struct {
	// Method is GET or PUT, in upper or lower case.
	Method string `json:"method"`
	// URL is signed and expires.
	URL SecretURL `json:"url"`
}

// SlugCreateOptions is the body of [SlugsService.Create].
type SlugCreateOptions struct {
	// ProcessTypes maps a process type to its command. It may be empty.
	ProcessTypes map[string]string `json:"process_types"`
	// Stack is the name or ID of the stack that the slug runs on. Default: Heroku's
	// default stack.
	Stack string `json:"stack,omitzero"`
	// Checksum is "SHA256:" and the hex SHA-256 of the archive; optional.
	Checksum string `json:"checksum,omitzero"`
	// Commit identifies the source; optional.
	Commit string `json:"commit,omitzero"`
	// CommitDescription describes the commit; optional.
	CommitDescription string `json:"commit_description,omitzero"`
	// BuildpackProvidedDescription names what built the slug; optional.
	BuildpackProvidedDescription string `json:"buildpack_provided_description,omitzero"`
}

func (o SlugCreateOptions) check() error {
	for name, command := range o.ProcessTypes {
		if err := invalid("ProcessTypes", check.ProcessType(name)); err != nil {
			return err
		}
		if command == "" {
			return &ArgumentError{Name: "ProcessTypes", Reason: name + " has no command"}
		}
	}
	return checkChecksum("Checksum", o.Checksum)
}

// Get returns a slug, with a freshly signed URL to download its archive from.
//
// Endpoint: GET /apps/{app}/slugs/{slug} (schema: slug, Info). Errors:
// [*ArgumentError], [*APIError], [*RequestError], [*ResponseError].
func (s SlugsService) Get(ctx context.Context, app, id string, requestOpts ...RequestOption) (*Slug, error) {
	if err := checkAppAndID(app, "slug", id); err != nil {
		return nil, err
	}
	slug, err := fetch[storedSlug](ctx, s.api, apiCall{method: http.MethodGet, path: slugPath(app, id)}, requestOpts...)
	if err != nil {
		return nil, err
	}
	return &slug.Slug, nil
}

func slugPath(app, id string) string { return apiPath("apps", app, "slugs", id) }

// Create registers a slug whose archive is uploaded next, with [SlugsService.Put]. The
// archive is a gzipped tar with everything under ./app.
//
// The request is retried only if the platform cannot have seen it. An error that matches
// [ErrMaybeApplied] leaves open whether there is a slug, which does no harm.
//
// Endpoint: POST /apps/{app}/slugs (schema: slug, Create). Errors:
// [*ArgumentError], [*APIError], [*RequestError], [*ResponseError].
func (s SlugsService) Create(ctx context.Context, app string, opts SlugCreateOptions, requestOpts ...RequestOption) (*Slug, error) {
	if err := checkApp("app", app); err != nil {
		return nil, err
	}
	if err := opts.check(); err != nil {
		return nil, err
	}
	if opts.ProcessTypes == nil {
		// The schema requires an object, not null.
		opts.ProcessTypes = map[string]string{}
	}
	slug, err := fetch[newSlug](ctx, s.api, apiCall{method: http.MethodPost, path: apiPath("apps", app, "slugs"), body: opts}, requestOpts...)
	if err != nil {
		return nil, err
	}
	return &slug.Slug, nil
}

// Put uploads the archive of a slug just created, with the method of its Blob. See
// [SourcesService.Put] for the request and its errors.
func (s SlugsService) Put(ctx context.Context, slug *Slug, archive *Archive, opts *UploadOptions) error {
	if slug == nil {
		return &ArgumentError{Name: "slug", Reason: "is nil"}
	}
	method := strings.ToUpper(slug.Blob.Method)
	if method != http.MethodPut && method != http.MethodPost {
		return &ArgumentError{Name: "slug", Reason: "its blob is for " + quote(slug.Blob.Method) + ", not for uploading: only a slug just created can be uploaded"}
	}
	return s.api.putArchive(ctx, method, slug.Blob.URL, archive, opts)
}

// SlugDirOptions configures [SlugsService.CreateFromDir]. nil is the default.
type SlugDirOptions struct {
	// ProcessTypes maps a process type to its command and replaces the directory's
	// Procfile. It may be empty; nil means the Procfile.
	ProcessTypes map[string]string
	// Stack is the name or ID of the stack that the slug runs on. Default: that of the
	// app's next build.
	Stack string
	// Commit identifies the source; optional.
	Commit string
	// CommitDescription describes the commit; optional.
	CommitDescription string
	// BuildpackProvidedDescription names what built the slug. Heroku's pages show it as
	// the app's language; optional.
	BuildpackProvidedDescription string
	// TempDir is the directory for the temporary archive. Default: the system's
	// directory for temporary files.
	TempDir string
	// OnProgress is [UploadOptions].OnProgress.
	OnProgress func(done, total int64)
}

// CreateFromDir creates a slug from a directory without a build: it packs everything in
// the directory, as [PackDir] does, under ./app, with the process types of the
// directory's Procfile, and uploads it. Files that git ignores are packed, too, since
// compiled programs usually are; ".git" and what a .slugignore matches are excluded.
// The files run on the slug's stack as they are, so programs must be compiled. The slug
// is returned with the URL of the upload; release it with [ReleasesService.Create], to
// this app or another.
//
// Heroku destroys a slug that is not released for long.
//
// Endpoints: GET /apps/{app}, for the stack and the generation, and POST
// /apps/{app}/slugs. Errors: an [*ArgumentError] for a directory without a Procfile if
// ProcessTypes is nil, and where [ParseProcfile] or [PackDir] returns one; a
// [*GenerationError] for a Fir app, which runs no slugs; one that matches
// [ErrArchiveChanged]; and those of [AppsService.Get], [SlugsService.Create] and
// [SlugsService.Put]. A slug that was created and not uploaded cannot be released and
// does no harm, so the call can be repeated after any error.
func (s SlugsService) CreateFromDir(ctx context.Context, app, dir string, opts *SlugDirOptions) (*Slug, error) {
	o := orZero(opts)
	create, err := o.createOptions(app, dir)
	if err != nil {
		return nil, err
	}
	// A wrong key or name is detected before anything is packed.
	target, err := fetch[App](ctx, s.api, apiCall{method: http.MethodGet, path: apiPath("apps", app)})
	if err != nil {
		return nil, err
	}
	if target.IsFir() {
		return nil, &GenerationError{App: app, Generation: target.Generation.Name, Reason: "it runs images, not slugs"}
	}
	if create.Stack == "" {
		create.Stack = target.BuildStack.Name
	}
	job, err := s.api.packers.begin(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer job.end()
	var archive *Archive
	err = job.run(ctx, func(p packing) (err error) {
		archive, err = packDir(ctx, dir, &PackOptions{Prefix: "./app", Include: []string{"*"}, TempDir: o.TempDir}, p)
		return err
	})
	if err != nil {
		return nil, err
	}
	defer func() { _ = archive.Close() }()
	create.Checksum = archive.Checksum()
	slug, err := s.Create(ctx, app, create)
	if err != nil {
		return nil, err
	}
	if err := s.Put(ctx, slug, archive, job.upload(o.OnProgress)); err != nil {
		return nil, err
	}
	return slug, nil
}

// createOptions checks the arguments of CreateFromDir.
func (o SlugDirOptions) createOptions(app, dir string) (SlugCreateOptions, error) {
	create := SlugCreateOptions{
		Stack: o.Stack, Commit: o.Commit, CommitDescription: o.CommitDescription,
		BuildpackProvidedDescription: o.BuildpackProvidedDescription,
	}
	if err := checkApp("app", app); err != nil {
		return create, err
	}
	if err := checkDir("dir", dir); err != nil {
		return create, err
	}
	create.ProcessTypes = o.ProcessTypes
	if o.ProcessTypes == nil {
		types, err := procfile.Read(dir)
		if err != nil {
			return create, procfileError(dir, err)
		}
		create.ProcessTypes = types
	}
	return create, create.check()
}

func (s *Slug) validate() error {
	if s.Size < 0 {
		return fmt.Errorf("the response's size is %d", s.Size)
	}
	return cmp.Or(
		check.RequiredID("id", s.ID),
		check.OptionalURL("blob.url", s.Blob.URL.Reveal()),
	)
}

// newSlug is a slug that was just created and whose archive is uploaded next.
type newSlug struct{ Slug }

func (s *newSlug) validate() error {
	return cmp.Or(
		s.Slug.validate(),
		check.RequiredURL("blob.url", s.Blob.URL.Reveal()),
		blobMethod(s.Blob, http.MethodPut, http.MethodPost),
	)
}

// storedSlug is a slug whose archive can be downloaded, unless Heroku has deleted it.
type storedSlug struct{ Slug }

func (s *storedSlug) validate() error {
	err := s.Slug.validate()
	if err == nil && s.Blob.URL != "" {
		err = blobMethod(s.Blob, http.MethodGet)
	}
	return err
}

func blobMethod(b Blob, want ...string) error {
	if slices.Contains(want, strings.ToUpper(b.Method)) {
		return nil
	}
	return fmt.Errorf("the response's blob.method is %s, not %s", quote(b.Method), strings.Join(want, " or "))
}

// ParseProcfile reads the process types of a Procfile and their commands, for
// [SlugCreateOptions].ProcessTypes.
//
// A line is "type: command", empty, or a comment that starts with "#"; space around the
// type and the command is ignored, and every kind of line break is accepted. If several
// lines have the same type, the last one is used. A Procfile without any type yields an
// empty map.
//
// Heroku's own builds silently skip lines that they cannot parse, so that a process is
// missing. ParseProcfile is stricter: it returns an [*ArgumentError] for a line that is
// none of the above, has no command, or is not plain UTF-8 text, and for a Procfile of
// more than 1 MiB. Other errors are those of r.
func ParseProcfile(r io.Reader) (map[string]string, error) {
	if r == nil {
		return nil, &ArgumentError{Name: "r", Reason: "is nil"}
	}
	types, err := procfile.Parse(r)
	if err != nil {
		return nil, procfileError("", err)
	}
	return types, nil
}

// procfileError converts an error of package procfile.
func procfileError(dir string, err error) error {
	var bad *procfile.Error
	switch {
	case !errors.As(err, &bad):
		return redact.CleanError(fmt.Errorf("read Procfile: %w", withoutEOF(err)))
	case bad.Missing:
		return &ArgumentError{Name: "dir", Reason: "the Procfile of " + quote(dir) + " " + bad.Reason, Err: bad.Err}
	}
	return &ArgumentError{Name: "Procfile", Reason: bad.Reason}
}
