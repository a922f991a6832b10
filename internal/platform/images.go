package platform

import (
	"net/http"
	"strings"
)

type processView struct {
	Name       string `json:"name"`
	DisplayCmd string `json:"display_cmd"`
	Command    string `json:"command"`
	WorkingDir string `json:"working_dir"`
	Default    bool   `json:"default"`
}

type imageBuildpack struct {
	ID       string `json:"id"`
	Version  string `json:"version"`
	Homepage string `json:"homepage"`
}

type imageView struct {
	Architecture      string                 `json:"architecture"`
	BaseImageName     string                 `json:"base_image_name"`
	BaseTopLayer      string                 `json:"base_top_layer"`
	Buildpacks        []imageBuildpack       `json:"buildpacks"`
	Commit            string                 `json:"commit"`
	CommitDescription string                 `json:"commit_description"`
	CreatedAt         string                 `json:"created_at"`
	DeletedAt         *string                `json:"deleted_at"`
	Digest            string                 `json:"digest"`
	ID                string                 `json:"id"`
	ImageRepo         string                 `json:"image_repo"`
	ProcessTypes      map[string]processView `json:"process_types"`
	Stack             namedRef               `json:"stack"`
	UpdatedAt         string                 `json:"updated_at"`
}

func (s *slug) digest() string { return strings.ToLower(str(s.checksum)) }

// findImage returns the image with the given ID or digest; if several have the
// same digest, the oldest. The caller must hold mu.
func (p *Platform) findImage(idOrDigest string) *slug {
	var found *slug
	for _, s := range p.slugs {
		if s.image && (s.id == idOrDigest || s.digest() == idOrDigest) && (found == nil || s.created.Before(found.created)) {
			found = s
		}
	}
	return found
}

// getImage responds with a list of one image, as Heroku does.
func (p *Platform) getImage(w http.ResponseWriter, r *http.Request) error {
	v, err := withApp(p, r, func(*app) ([]imageView, error) {
		s := p.findImage(r.PathValue("image"))
		if s == nil {
			return nil, notFound("oci_image")
		}
		v := imageView{
			Architecture:      "arm64",
			BaseImageName:     s.stack.Name,
			Buildpacks:        []imageBuildpack{},
			BaseTopLayer:      "sha256:" + strings.Repeat("0", 64),
			Commit:            str(s.commit),
			CommitDescription: str(s.commitDescription),
			ImageRepo:         s.id + "/builds",
			CreatedAt:         formatTime(s.created),
			Digest:            s.digest(),
			ID:                s.id,
			ProcessTypes:      map[string]processView{},
			Stack:             s.stack,
			UpdatedAt:         formatTime(s.created),
		}
		for _, id := range s.buildpacks {
			v.Buildpacks = append(v.Buildpacks, imageBuildpack{ID: id, Version: "0.0.0", Homepage: newBuildpack("", id).URL})
		}
		for name, command := range s.processTypes {
			v.ProcessTypes[name] = processView{
				Name: name, DisplayCmd: command, Command: "/cnb/process/" + name, WorkingDir: "/workspace", Default: name == "web",
			}
		}
		return []imageView{v}, nil
	})
	if err != nil {
		return err
	}
	return reply(w, r, http.StatusOK, v)
}
