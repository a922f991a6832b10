package platform_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild/internal/platform"
)

// TestListsOfResourcesThatNoAppHas covers the lists that clients request beside
// the app. They are empty for an app that exists, and 404 otherwise.
func TestListsOfResourcesThatNoAppHas(t *testing.T) {
	t.Parallel()
	r := start(t, platform.Options{FirApps: []string{"fir-one"}})
	for _, list := range []string{"addons", "addon-attachments", "domains", "dynos", "features", "log-drains", "sni-endpoints", "webhooks"} {
		for _, app := range []string{"example-app", r.AppID("example-app"), "fir-one"} {
			a := r.api("GET", "/apps/"+app+"/"+list, "", "Range", "id ]..; max=1000")
			assert.Equal(t, 200, a.status, list)
			assert.Equal(t, "[]\n", string(a.body), list)
		}
		a := r.api("GET", "/apps/no-such-app/"+list, "")
		assert.Equal(t, 404, a.status, list)
		assert.Equal(t, "app", a.json(t)["resource"], list)
	}
	for _, list := range []string{"/addons", "/addon-attachments", "/pipelines", "/pipeline-couplings", "/spaces", "/teams", "/users/~/addons", "/users/~/pipeline-couplings"} {
		a := r.api("GET", list, "")
		assert.Equal(t, 200, a.status, list)
		assert.Equal(t, "[]\n", string(a.body), list)
	}
}

// TestPipelineCouplingOfAppIsMissing checks that a single resource is missing
// rather than empty: clients read the stage of any coupling that they get.
func TestPipelineCouplingOfAppIsMissing(t *testing.T) {
	t.Parallel()
	r := start(t, platform.Options{})
	for app, resource := range map[string]string{"example-app": "pipeline_coupling", "no-such-app": "app"} {
		a := r.api("GET", "/apps/"+app+"/pipeline-couplings", "")
		assert.Equal(t, 404, a.status, app)
		assert.Equal(t, resource, a.json(t)["resource"], app)
	}
}

func TestOwnerIsTheOnlyCollaborator(t *testing.T) {
	t.Parallel()
	r := start(t, platform.Options{Email: "me@example.com"})
	all := r.api("GET", "/apps/example-app/collaborators", "").list(t)
	require.Len(t, all, 1)
	assert.Equal(t, "me@example.com", all[0]["user"].(map[string]any)["email"])
	assert.Equal(t, "owner", all[0]["role"])
	assert.Equal(t, 404, r.api("GET", "/apps/no-such-app/collaborators", "").status)
}

func TestUserIsTheAccount(t *testing.T) {
	t.Parallel()
	r := start(t, platform.Options{Email: "me@example.com"})
	account := r.api("GET", "/account", "").json(t)
	apps := r.api("GET", "/apps", "").list(t)
	for _, user := range []string{"~", "me@example.com", account["id"].(string)} {
		assert.Equal(t, account, r.api("GET", "/users/"+user, "").json(t), user)
		assert.Equal(t, apps, r.api("GET", "/users/"+user+"/apps", "").list(t), user)
	}
	a := r.api("GET", "/users/~/apps", "", "Range", "name ..; max=1")
	assert.Equal(t, 206, a.status)
	assert.Len(t, a.list(t), 1)
	for _, path := range []string{"/users/other@example.com", "/users/other@example.com/apps", "/users/other@example.com/addons"} {
		a := r.api("GET", path, "")
		assert.Equal(t, 404, a.status, path)
		assert.Equal(t, "user", a.json(t)["resource"], path)
	}
}

func TestFormationListsProcessTypesOfCurrentSlug(t *testing.T) {
	t.Parallel()
	r := start(t, platform.Options{FirApps: []string{"fir-one"}})
	const path = "/apps/example-app/formation"
	assert.Equal(t, "[]\n", string(r.api("GET", path, "").body), "an app without code has no process types")
	r.release("example-app", `{"slug":"`+r.createSlug(`{"old":"./old"}`, targz(t, entry{name: "./app/x"}))+`"}`)
	r.release("example-app", `{"slug":"`+r.createSlug(`{"web":"./run","worker":"./work"}`, targz(t, entry{name: "./app/x"}))+`"}`)

	all := r.api("GET", path, "").list(t)
	require.Len(t, all, 2)
	assert.Equal(t, []any{"web", "./run"}, []any{all[0]["type"], all[0]["command"]})
	assert.Equal(t, []any{"worker", "./work"}, []any{all[1]["type"], all[1]["command"]})
	assert.EqualValues(t, 0, all[0]["quantity"], "the emulator runs no dynos")
	assert.NotEqual(t, all[0]["id"], all[1]["id"])
	assert.Equal(t, all, r.api("GET", path, "").list(t), "ids must be stable")
	assert.Equal(t, "[]\n", string(r.api("GET", "/apps/fir-one/formation", "").body))
	assert.Equal(t, 404, r.api("GET", "/apps/no-such-app/formation", "").status)
}
