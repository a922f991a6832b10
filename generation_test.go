package herokubuild_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
)

func TestImageID(t *testing.T) {
	t.Parallel()
	digest := "sha256:" + strings.Repeat("a", 64)
	image := func(id, digest string) string { return `{"id":"` + id + `","digest":"` + digest + `"}` }
	url := apiURL + "/apps/" + appName + "/oci-images/"
	tests := map[string]struct {
		asked, body string
		want        string
		is          error
	}{
		"by digest":        {digest, "[" + image(slugID, digest) + "]", slugID, nil},
		"by id":            {slugID, "[" + image(slugID, digest) + "]", slugID, nil},
		"among others":     {digest, "[" + image(buildID, "sha256:b") + "," + image(slugID, digest) + "]", slugID, nil},
		"another":          {digest, "[" + image(slugID, "sha256:b") + "]", "", herokubuild.ErrUnexpectedResponse},
		"none":             {digest, "[]", "", herokubuild.ErrUnexpectedResponse},
		"not a list":       {digest, image(slugID, digest), "", herokubuild.ErrUnexpectedResponse},
		"id is not a UUID": {digest, "[" + image("x", digest) + "]", "", herokubuild.ErrUnexpectedResponse},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t)
			a.on("GET", url+tt.asked, reply(200, tt.body))
			id, err := a.Releases.ImageID(t.Context(), appName, tt.asked)
			require.ErrorIs(t, err, tt.is)
			assert.Equal(t, tt.want, id)
			a.requireCall(t, "GET", url+tt.asked, "")
		})
	}
	a := newAPI(t)
	a.on("GET", url+digest, reply(404, golden(t, "error_not_found.json")))
	_, err := a.Releases.ImageID(t.Context(), appName, digest)
	require.ErrorIs(t, err, herokubuild.ErrNotFound)
	for _, bad := range []string{"", "latest", "sha256:abc", "../x"} {
		_, err := a.Releases.ImageID(t.Context(), appName, bad)
		requireInvalid(t, err, "image")
	}
	_, err = a.Releases.ImageID(t.Context(), "", digest)
	requireInvalid(t, err, "app")
}
