package herokubuild

import (
	"context"
	"net/http"
	"strings"
	"time"
)

// SlugsService reads and makes slugs.
type SlugsService struct{ client *Client }

// Slug is a compiled app, ready to be released. Source: the schema's slug.
type Slug struct {
	ID string `json:"id"`
	// Blob is where the slug's archive is read from or, on a slug just
	// created, written to.
	Blob Blob `json:"blob"`
	// BuildpackProvidedDescription is what the buildpack called itself.
	BuildpackProvidedDescription string `json:"buildpack_provided_description,omitzero"`
	// Checksum is "SHA256:" and the hex SHA-256 of the archive; may be empty.
	Checksum string `json:"checksum,omitzero"`
	// Commit says which source this is; may be empty.
	Commit string `json:"commit,omitzero"`
	// CommitDescription describes it; may be empty.
	CommitDescription string `json:"commit_description,omitzero"`
	// ProcessTypes maps a process type to its command: {"web": "bin/web"}.
	ProcessTypes map[string]string `json:"process_types"`
	// Size of the archive in bytes; 0 until it is uploaded.
	Size int64 `json:"size,omitzero"`
	// Stack is what the slug runs on. (A build has a string there.)
	Stack     ResourceRef `json:"stack"`
	CreatedAt time.Time   `json:"created_at"`
	UpdatedAt time.Time   `json:"updated_at"`
	// DeletedAt is when the platform destroyed the archive; zero while it
	// exists.
	DeletedAt time.Time `json:"deleted_at,omitzero"`
}

// Blob is a signed address and the method that it is signed for.
type Blob struct {
	// Method is GET or PUT, in either case of letters.
	Method string `json:"method"`
	// URL is signed and expires.
	URL SecretURL `json:"url"`
}

// SlugCreateOptions is the body of [SlugsService.Create].
type SlugCreateOptions struct {
	// ProcessTypes maps a process type to its command. It may be empty.
	ProcessTypes map[string]string `json:"process_types"`
	// Stack is the name or id of the stack that the slug runs on. Default:
	// the platform's.
	Stack string `json:"stack,omitzero"`
	// Checksum is "SHA256:" and the hex SHA-256 of the archive; optional.
	Checksum string `json:"checksum,omitzero"`
	// Commit says which source this is; optional.
	Commit string `json:"commit,omitzero"`
	// CommitDescription describes it; optional.
	CommitDescription string `json:"commit_description,omitzero"`
	// BuildpackProvidedDescription names what made the slug; optional.
	BuildpackProvidedDescription string `json:"buildpack_provided_description,omitzero"`
}

func (o SlugCreateOptions) check() error {
	for name, command := range o.ProcessTypes {
		if !processTypeRE.MatchString(name) {
			return &ArgumentError{Name: "ProcessTypes", Reason: quote(name) + " is not a process type (letters, digits, _ and -, at most 128)"}
		}
		if command == "" {
			return &ArgumentError{Name: "ProcessTypes", Reason: name + " has no command"}
		}
	}
	return checkChecksum("Checksum", o.Checksum)
}

// Get returns a slug, with a freshly signed address to download it from.
//
// Endpoint: GET /apps/{app}/slugs/{slug} (schema: slug, Info). Errors:
// [*ArgumentError], [*APIError], [*RequestError], [*ResponseError].
func (s SlugsService) Get(ctx context.Context, app, id string) (*Slug, error) {
	if err := checkAppAndID(app, "slug", id); err != nil {
		return nil, err
	}
	slug, err := fetch[storedSlug](ctx, s.client, apiCall{method: http.MethodGet, path: apiPath("apps", app, "slugs", id)})
	if err != nil {
		return nil, err
	}
	return &slug.Slug, nil
}

// Create registers a slug whose archive is uploaded next, with
// [SlugsService.Put]. The archive is a gzipped tar with everything under
// ./app.
//
// The request is sent again only where the platform cannot have seen it.
//
// Endpoint: POST /apps/{app}/slugs (schema: slug, Create). Errors:
// [*ArgumentError], [*APIError], [*RequestError], [*ResponseError].
func (s SlugsService) Create(ctx context.Context, app string, opts SlugCreateOptions) (*Slug, error) {
	if err := checkApp("app", app); err != nil {
		return nil, err
	}
	if err := opts.check(); err != nil {
		return nil, err
	}
	if opts.ProcessTypes == nil {
		// The schema wants an object, not null.
		opts.ProcessTypes = map[string]string{}
	}
	slug, err := fetch[newSlug](ctx, s.client, apiCall{method: http.MethodPost, path: apiPath("apps", app, "slugs"), body: opts})
	if err != nil {
		return nil, err
	}
	return &slug.Slug, nil
}

// Put uploads the archive of a slug just created, by the method that its Blob
// names. See [SourcesService.Put] for what is sent and which errors there are.
func (s SlugsService) Put(ctx context.Context, slug *Slug, archive *Archive, opts *UploadOptions) error {
	if slug == nil {
		return &ArgumentError{Name: "slug", Reason: "is nil"}
	}
	method := strings.ToUpper(slug.Blob.Method)
	if method != http.MethodPut && method != http.MethodPost {
		return &ArgumentError{Name: "slug", Reason: "its blob is for " + quote(slug.Blob.Method) + ", not for uploading: only a slug just created can be uploaded"}
	}
	return s.client.putArchive(ctx, method, slug.Blob.URL, archive, opts)
}
