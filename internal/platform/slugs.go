package platform

import (
	"maps"
	"net/http"
	"regexp"
	"time"
)

// slug is a slug, or the OCI image of a Fir app, which is packed in the same way.
// Its archive is in the blob store. It is guarded by Platform.mu.
type slug struct {
	id                string
	image             bool
	created           time.Time
	deleted           time.Time
	stack             namedRef
	processTypes      map[string]string
	commit            *string
	commitDescription *string
	checksum          *string
	buildpack         *string
	buildpacks        []string // by name or URL
}

type slugView struct {
	Blob struct {
		Method string `json:"method"`
		URL    string `json:"url"`
	} `json:"blob"`
	BuildpackProvidedDescription *string           `json:"buildpack_provided_description"`
	Checksum                     *string           `json:"checksum"`
	Commit                       *string           `json:"commit"`
	CommitDescription            *string           `json:"commit_description"`
	CreatedAt                    string            `json:"created_at"`
	DeletedAt                    *string           `json:"deleted_at"`
	ID                           string            `json:"id"`
	ProcessTypes                 map[string]string `json:"process_types"`
	Size                         *int64            `json:"size"`
	Stack                        namedRef          `json:"stack"`
	UpdatedAt                    string            `json:"updated_at"`
}

func (p *Platform) viewSlug(s *slug, method string) slugView {
	v := slugView{
		BuildpackProvidedDescription: s.buildpack,
		Checksum:                     s.checksum,
		Commit:                       s.commit,
		CommitDescription:            s.commitDescription,
		CreatedAt:                    formatTime(s.created),
		ID:                           s.id,
		ProcessTypes:                 maps.Clone(s.processTypes),
		Size:                         p.slugSize(s),
		Stack:                        s.stack,
		UpdatedAt:                    formatTime(s.created),
	}
	if !s.deleted.IsZero() {
		v.DeletedAt = optional(formatTime(s.deleted))
	}
	v.Blob.Method, v.Blob.URL = method, p.blobURL(method, slugKey(s.id))
	return v
}

// slugSize returns the size of the archive, or nil before it is uploaded.
func (p *Platform) slugSize(s *slug) *int64 {
	o, ok := p.blobs.get(slugKey(s.id))
	if !ok {
		return nil
	}
	return &o.size
}

// slugRequest is the body of a request. See buildRequest.
type slugRequest struct {
	ProcessTypes                 map[string]string `json:"process_types"`
	Stack                        string            `json:"stack"`
	Commit                       *string           `json:"commit"`
	CommitDescription            *string           `json:"commit_description"`
	Checksum                     *string           `json:"checksum"`
	BuildpackProvidedDescription *string           `json:"buildpack_provided_description"`
}

func (p *Platform) createSlug(w http.ResponseWriter, r *http.Request) error {
	var body slugRequest
	if _, err := withApp(p, r, func(*app) (any, error) { return nil, nil }); err != nil {
		return err
	}
	if err := decode(r, &body); err != nil {
		return err
	}
	if body.ProcessTypes == nil {
		return invalid("process_types is required.")
	}
	valid := regexp.MustCompile(`^[-\w]{1,128}$`)
	for name := range body.ProcessTypes {
		if !valid.MatchString(name) {
			return invalid("process_types must have names that match ^[-\\w]{1,128}$.")
		}
	}
	v, err := withApp(p, r, func(a *app) (slugView, error) {
		if a.generation == p.fir {
			return slugView{}, invalid("Slugs are not available for Fir-generation apps.")
		}
		stack := p.appStack()
		if body.Stack != "" {
			var ok bool
			if stack, ok = p.findStack(body.Stack); !ok {
				return slugView{}, notFound("stack")
			}
		}
		s := &slug{
			id:                newUUID(),
			created:           time.Now(),
			stack:             stack,
			processTypes:      body.ProcessTypes,
			commit:            body.Commit,
			commitDescription: body.CommitDescription,
			checksum:          body.Checksum,
			buildpack:         body.BuildpackProvidedDescription,
		}
		p.slugs[s.id] = s
		return p.viewSlug(s, http.MethodPut), nil
	})
	if err != nil {
		return err
	}
	return reply(w, r, http.StatusCreated, v)
}

// getSlug returns a slug. As on Heroku, it may belong to another app of the
// account.
func (p *Platform) getSlug(w http.ResponseWriter, r *http.Request) error {
	v, err := withApp(p, r, func(*app) (slugView, error) {
		s := p.slugs[r.PathValue("slug")]
		if s == nil || s.image {
			return slugView{}, notFound("slug")
		}
		return p.viewSlug(s, http.MethodGet), nil
	})
	if err != nil {
		return err
	}
	return reply(w, r, http.StatusOK, v)
}
