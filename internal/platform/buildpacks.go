package platform

import (
	"slices"
	"strings"
)

type buildpackView struct {
	URL  string `json:"url"`
	Name string `json:"name"`
}

// newBuildpack completes a buildpack of which only the URL or the name is given.
func newBuildpack(url, name string) buildpackView {
	switch {
	case url == "" && strings.Contains(name, "://"):
		url = name
	case url == "":
		url = "https://buildpack-registry.s3.amazonaws.com/buildpacks/" + name + ".tgz"
	case name == "":
		name = url
	}
	return buildpackView{URL: url, Name: name}
}

// viewBuildpacks returns the buildpacks of a build: those of the request, those
// that were detected, or else those with which the app was built before. They
// are nil, and null in JSON, only while they are not known.
func (b *build) viewBuildpacks() []buildpackView {
	for _, known := range [][]buildpackView{b.buildpacks, b.detected, b.app.buildpacks} {
		if len(known) > 0 {
			return known
		}
	}
	if b.status == statusPending {
		return nil
	}
	return []buildpackView{}
}

// noteDetected notes the buildpacks that a Builder has detected.
func (p *Platform) noteDetected(b *build, j *Job) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(b.buildpacks) > 0 {
		return
	}
	for _, name := range j.Buildpacks {
		b.detected = append(b.detected, newBuildpack("", name))
	}
}

// install makes the detected buildpacks of a successful build those of the app.
// Unlike on Heroku the next build detects its buildpacks again. The caller must
// hold Platform.mu.
func (b *build) install() {
	if len(b.detected) > 0 {
		b.app.buildpacks = slices.Clone(b.detected)
	}
}
