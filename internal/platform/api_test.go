package platform_test

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild/internal/platform"
)

func TestStartRejectsNonLoopbackAddress(t *testing.T) {
	t.Parallel()
	for _, addr := range []string{"0.0.0.0:0", ":0", "192.0.2.1:0", "nonsense"} {
		_, err := platform.Start(platform.Options{Addr: addr})
		require.Error(t, err, addr)
	}
	_, err := platform.Start(platform.Options{Apps: []string{"Not_A_Name"}})
	require.Error(t, err)
	_, err = platform.Start(platform.Options{Apps: []string{"twice", "twice"}})
	require.Error(t, err)
}

func TestAcceptHeader(t *testing.T) {
	t.Parallel()
	r := start(t, platform.Options{})
	for value, want := range map[string]int{
		"":                                       406,
		"*/*":                                    406,
		"application/json":                       406,
		"application/vnd.heroku+json":            406,
		"application/vnd.heroku+json; version=2": 406,
		"application/vnd.heroku+json; version=3.": 406,
		"application/vnd.heroku+json; version=30": 406,
		accept:                                  200,
		"application/vnd.heroku+json;version=3": 200,
		"application/vnd.heroku+json; version=3.sdk":                     200,
		"application/vnd.heroku+json; version=3.cancel-build":            200,
		"text/plain, application/vnd.heroku+json; version=3; charset=u8": 200,
	} {
		a := r.api("GET", "/account", "", "Accept", value)
		assert.Equal(t, want, a.status, value)
		if want == 406 {
			assert.Equal(t, "not_acceptable", a.json(t)["id"], value)
		}
	}
}

func TestAuthorization(t *testing.T) {
	t.Parallel()
	r := start(t, platform.Options{Token: "secret"})
	encoded := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	basic := func(s string) string { return "Basic " + encoded(s) }
	for value, want := range map[string]int{
		"":                               401,
		"Bearer":                         401,
		"Bearer other":                   401,
		"secret":                         401,
		basic("secret"):                  401,
		basic("secret:"):                 401,
		basic(":secre"):                  401,
		encoded("secret"):                401,
		encoded(":other"):                401,
		"Token " + encoded(":secret"):    401,
		"Bearer " + encoded(":secret"):   401,
		"Bearer secret":                  200,
		"bearer secret":                  200,
		basic(":secret"):                 200,
		basic("user@example.com:secret"): 200,
		"basic " + encoded(":secret"):    200,
		// Heroku's own Java client sends credentials without a scheme.
		encoded(":secret"):                 200,
		encoded("user@example.com:secret"): 200,
	} {
		a := r.api("GET", "/account", "", "Authorization", value)
		assert.Equal(t, want, a.status, value)
		if want == 401 {
			assert.Equal(t, map[string]any{"id": "unauthorized", "message": "Invalid credentials provided."}, a.json(t))
		}
	}
	for _, req := range r.Requests() {
		assert.Contains(t, []string{"", "present"}, req.Header.Get("Authorization"))
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	r := start(t, platform.Options{})
	const unknown = "01234567-89ab-4def-8123-456789abcdef"
	slug := r.api("POST", "/apps/example-app/slugs", `{"process_types":{}}`).json(t)["id"].(string)
	for _, c := range []struct {
		method, path, body string
		status             int
		id, resource       string
	}{
		{"GET", "/apps/nope", "", 404, "not_found", "app"},
		{"GET", "/apps/nope/builds", "", 404, "not_found", "app"},
		{"POST", "/apps/nope/builds", "{", 404, "not_found", "app"},
		{"POST", "/apps/nope/sources", "", 404, "not_found", "app"},
		{"GET", "/apps/example-app/builds/" + unknown, "", 404, "not_found", "build"},
		{"DELETE", "/apps/example-app/builds/" + unknown, "", 404, "not_found", "build"},
		{"GET", "/apps/example-app/releases/99", "", 404, "not_found", "release"},
		{"GET", "/apps/example-app/releases/v1", "", 404, "not_found", "release"},
		{"GET", "/apps/example-app/slugs/" + unknown, "", 404, "not_found", "slug"},
		{"POST", "/apps/example-app/releases", `{"slug":"` + unknown + `"}`, 404, "not_found", "slug"},
		{"POST", "/apps/example-app/releases", `{"release":"` + unknown + `"}`, 404, "not_found", "release"},
		{"POST", "/apps/example-app/releases", `{"release":"2"}`, 404, "not_found", "release"}, // an ID, not a version
		{"POST", "/apps/example-app/releases", `{}`, 422, "invalid_params", ""},
		{"POST", "/apps/example-app/releases", ``, 422, "invalid_params", ""},
		{"POST", "/apps/example-app/releases", `{"slug":"x","release":"y"}`, 422, "invalid_params", ""},
		{"POST", "/apps/example-app/releases", `{"slug":"` + slug + `"}`, 422, "invalid_params", ""},
		{"POST", "/apps/example-app/slugs", `{}`, 422, "invalid_params", ""},
		{"POST", "/apps/example-app/slugs", `{"process_types":{"a b":"x"}}`, 422, "invalid_params", ""},
		{"POST", "/apps/example-app/slugs", `{"process_types":{},"stack":"cedar-10"}`, 404, "not_found", "stack"},
		{"POST", "/apps/example-app/builds", `{"source_blob":`, 400, "bad_request", ""},
		{"POST", "/apps/example-app/builds", `[]`, 400, "bad_request", ""},
		{"POST", "/apps/example-app/builds", `{} {}`, 400, "bad_request", ""},
		{"POST", "/apps/example-app/builds", `{}`, 422, "invalid_params", ""},
		{"POST", "/apps/example-app/builds", `{"source_blob":{"url":7}}`, 422, "invalid_params", ""},
		{"POST", "/apps/example-app/builds", `{"source_blob":{"url":"http://example.com/x"}}`, 422, "invalid_params", ""},
		{"POST", "/apps/example-app/builds", `{"source_blob":{"url":"ftp://127.0.0.1/x"}}`, 422, "invalid_params", ""},
		{"POST", "/apps/example-app/builds", `{"source_blob":{"url":"https://example.com/x"},"buildpacks":[{}]}`, 422, "invalid_params", ""},
		{"PATCH", "/apps/example-app/config-vars", `{"A-B":"x"}`, 422, "invalid_params", ""},
		{"PATCH", "/apps/example-app/config-vars", `{"A":{}}`, 422, "invalid_params", ""},
		{"GET", "/nope", "", 404, "not_found", ""},
		{"GET", "/", "", 404, "not_found", ""},
		{"GET", "/apps//example-app", "", 404, "not_found", ""},
		{"GET", "/apps/example-app/", "", 404, "not_found", ""},
		{"PUT", "/apps/example-app/builds", "", 405, "method_not_allowed", ""},
		{"POST", "/account", "", 405, "method_not_allowed", ""},
		{"POST", "/apps/example-app/builds", strings.Repeat(" ", 1<<20+1), 413, "bad_request", ""},
	} {
		a := r.api(c.method, c.path, c.body)
		name := c.method + " " + c.path + " " + c.body[:min(99, len(c.body))]
		assert.Equal(t, c.status, a.status, "%s: %s", name, a.body)
		v := a.json(t)
		assert.Equal(t, c.id, v["id"], name)
		assert.NotEmpty(t, v["message"], name)
		if c.resource != "" {
			assert.Equal(t, c.resource, v["resource"], name)
			assert.Equal(t, "Couldn't find that "+c.resource+".", v["message"], name)
		}
		assert.NotEmpty(t, a.header.Get("Request-Id"), name)
		assert.NotEmpty(t, a.header.Get("RateLimit-Remaining"), name)
	}
	assert.Contains(t, string(r.api("POST", "/apps/example-app/builds", `{"source_blob":{"url":"http://example.com/x"}}`).body), "https is required for source_blob:url")
}

// TestEmptyStringsOfRequestHaveNoEffect sends empty and null strings where clients
// that cannot omit a field do. Texts are returned as they were sent: Heroku's CLI
// sends an empty version and fails on null.
func TestEmptyStringsOfRequestHaveNoEffect(t *testing.T) {
	t.Parallel()
	r := start(t, platform.Options{FirApps: []string{"fir-one"}})
	for none, want := range map[string]any{`""`: "", `null`: nil} {
		body := strings.ReplaceAll(`{"process_types":{"web":"x"},"stack":NONE,"commit":NONE,"commit_description":NONE,"checksum":NONE,"buildpack_provided_description":NONE}`, "NONE", none)
		a := r.api("POST", "/apps/example-app/slugs", body)
		require.Equal(t, 201, a.status, "%s", a.body)
		slug := a.json(t)
		for _, field := range []string{"commit", "commit_description", "checksum", "buildpack_provided_description"} {
			assert.Equal(t, want, slug[field], field)
		}
		assert.Equal(t, "heroku-24", slug["stack"].(map[string]any)["name"])

		body = strings.ReplaceAll(`{"source_blob":{"url":"http://127.0.0.1:1/x","checksum":NONE,"version":NONE,"version_description":NONE},"buildpacks":[{"url":NONE,"name":"heroku/go"},{"url":"https://example.com/b","name":NONE}]}`, "NONE", none)
		a = r.api("POST", "/apps/example-app/builds", body)
		require.Equal(t, 201, a.status, "%s", a.body)
		source := a.json(t)["source_blob"].(map[string]any)
		for _, field := range []string{"checksum", "version", "version_description"} {
			assert.Equal(t, want, source[field], field)
		}
		for _, body := range []string{`{"source_blob":{"url":NONE}}`, `{"source_blob":{"url":"https://example.com/x"},"buildpacks":[{"url":NONE,"name":NONE}]}`} {
			assert.Equal(t, 422, r.api("POST", "/apps/example-app/builds", strings.ReplaceAll(body, "NONE", none)).status, body)
		}

		id := r.createSlug(`{"web":"x"}`, targz(t, entry{name: "./app/x"}))
		v := r.release("example-app", strings.ReplaceAll(`{"slug":"`+id+`","oci_image":NONE,"release":NONE,"description":NONE}`, "NONE", none))
		assert.Equal(t, "Deploy fedcba98", v["description"])
		v = r.release("example-app", strings.ReplaceAll(`{"slug":NONE,"release":"`+v["id"].(string)+`"}`, "NONE", none))
		assert.Contains(t, v["description"], "Rollback to v")
		assert.Equal(t, 422, r.api("POST", "/apps/example-app/releases", strings.ReplaceAll(`{"slug":NONE,"oci_image":NONE,"release":NONE}`, "NONE", none)).status)
	}
}

func TestProtocolHeaders(t *testing.T) {
	t.Parallel()
	r := start(t, platform.Options{RateLimit: 4500})
	a := r.api("GET", "/apps/example-app", "")
	require.Equal(t, 200, a.status)
	assert.Equal(t, "application/json", a.header.Get("Content-Type"))
	assert.Equal(t, "Accept-Encoding", a.header.Get("Vary"))
	assert.Len(t, a.header.Get("Request-Id"), 36)
	assert.Equal(t, "4499", a.header.Get("RateLimit-Remaining"))

	etag := a.header.Get("ETag")
	require.NotEmpty(t, etag)
	b := r.api("GET", "/apps/example-app", "", "If-None-Match", `"x", W/`+etag, "Request-Id", "mine")
	assert.Equal(t, 304, b.status)
	assert.Empty(t, b.body)
	assert.Regexp(t, `^mine,[0-9a-f-]{36}$`, b.header.Get("Request-Id"))
	assert.Equal(t, 200, r.api("GET", "/apps/example-app", "", "If-None-Match", `"x"`).status)

	// The transport does not decompress the response if the header is explicit.
	z := r.api("GET", "/apps/example-app", "", "Accept-Encoding", "gzip")
	require.Equal(t, "gzip", z.header.Get("Content-Encoding"))
	zr, err := gzip.NewReader(bytes.NewReader(z.body))
	require.NoError(t, err)
	plain, err := io.ReadAll(zr)
	require.NoError(t, err)
	assert.Equal(t, string(a.body), string(plain))
	assert.Empty(t, r.api("GET", "/apps/example-app", "", "Accept-Encoding", "identity, gzip;q=0").header.Get("Content-Encoding"))

	assert.Contains(t, string(r.api("POST", "/sources", "").body), "&Signature=", "ampersands must not be escaped")
}

func TestRateLimit(t *testing.T) {
	t.Parallel()
	r := start(t, platform.Options{RateLimit: 3})
	assert.Equal(t, 401, r.api("GET", "/account", "", "Authorization", "Bearer x").status, "an unauthorized request must not use a request token")
	for want := 2; want >= 0; want-- {
		a := r.api("GET", "/account", "")
		require.Equal(t, 200, a.status)
		assert.Equal(t, strconv.Itoa(want), a.header.Get("RateLimit-Remaining"))
	}
	a := r.api("GET", "/account", "")
	assert.Equal(t, 429, a.status)
	assert.Equal(t, "rate_limit", a.json(t)["id"])
	a = r.api("GET", "/account/rate-limits", "")
	assert.Equal(t, 200, a.status)
	assert.EqualValues(t, 0, a.json(t)["remaining"])
}

func TestAppsAndAccount(t *testing.T) {
	t.Parallel()
	r := start(t, platform.Options{Email: "me@example.com"})
	require.NoError(t, r.AddApp("third-app"))
	require.Error(t, r.AddApp("third-app"))
	require.Error(t, r.AddApp("no spaces"))
	assert.Equal(t, []string{"example-app", "other-app", "third-app"}, r.AppNames())

	a := r.api("GET", "/apps/third-app", "").json(t)
	assert.Equal(t, "third-app", a["name"])
	assert.Equal(t, a, r.api("GET", "/apps/"+a["id"].(string), "").json(t))
	assert.Len(t, r.api("GET", "/apps", "").list(t), 3)
	assert.Equal(t, "me@example.com", r.api("GET", "/account", "").json(t)["email"])
	stacks := r.api("GET", "/stacks", "").list(t)
	require.Len(t, stacks, 2)
	assert.Equal(t, stacks[1], r.api("GET", "/stacks/heroku-24", "").json(t))
	assert.Equal(t, "stack", r.api("GET", "/stacks/nope", "").json(t)["resource"])
}

func TestConfigVars(t *testing.T) {
	t.Parallel()
	r := start(t, platform.Options{})
	require.NoError(t, r.SetConfigVars("example-app", map[string]string{"A": "1"}))
	require.Error(t, r.SetConfigVars("nope", nil))
	require.Error(t, r.SetConfigVars("example-app", map[string]string{"../x": ""}))
	assert.Equal(t, map[string]any{"A": "1"}, r.api("GET", "/apps/example-app/config-vars", "").json(t))
	assert.Len(t, r.Releases("example-app"), 2)

	a := r.api("PATCH", "/apps/example-app/config-vars", `{"A":null,"B":"2","C":null}`)
	assert.Equal(t, 200, a.status)
	assert.Equal(t, map[string]any{"B": "2"}, a.json(t))
	all := r.Releases("example-app")
	require.Len(t, all, 3)
	assert.Equal(t, "Set B config vars, Remove A config vars", all[2].Description)
	assert.True(t, all[2].Current)
	assert.Equal(t, map[string]any{}, r.api("GET", "/apps/example-app/releases/2/config-vars", "").json(t))

	r.api("PATCH", "/apps/example-app/config-vars", `{"B":"2"}`)
	assert.Len(t, r.Releases("example-app"), 3, "no release if nothing has changed")
}

func TestBuildCacheResponseIsEmptyJSON(t *testing.T) {
	t.Parallel()
	r := start(t, platform.Options{})
	a := r.api("DELETE", "/apps/example-app/build-cache", "")
	assert.Equal(t, 202, a.status)
	assert.Empty(t, a.body)
	assert.Equal(t, "application/json", a.header.Get("Content-Type"))
}

func TestJournal(t *testing.T) {
	t.Parallel()
	r := start(t, platform.Options{})
	r.upload([]byte("x"))
	r.send("PUT", r.URL()+"/apps/example-app?secret=1", io.MultiReader(strings.NewReader("x")))
	all := r.Requests()
	require.Len(t, all, 3)
	assert.Equal(t, []string{"api", "blob", "api"}, []string{all[0].Host, all[1].Host, all[2].Host})
	assert.Equal(t, []int{201, 200, 406}, []int{all[0].Status, all[1].Status, all[2].Status})
	assert.Equal(t, "present", all[0].Header.Get("Authorization"))
	assert.NotContains(t, all[1].Header, "Authorization")
	assert.EqualValues(t, 1, all[1].ContentLength)
	assert.Equal(t, "/apps/example-app", all[2].Path)
	assert.Equal(t, []string{"chunked"}, all[2].TransferEncoding)
	all[0].Header.Set("Authorization", "changed")
	assert.Equal(t, "present", r.Requests()[0].Header.Get("Authorization"), "Requests must return a copy")
	text, err := json.Marshal(all)
	require.NoError(t, err)
	assert.NotContains(t, string(text), r.Token())
	assert.NotContains(t, string(text), "Signature=")
	assert.Equal(t, http.MethodPut, all[2].Method)
}
