package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dlclark/regexp2"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
	"github.com/herokubuild/herokubuild/internal/platform"
)

// hyperSchema is Heroku's description of its API.
type hyperSchema struct {
	doc      map[string]any
	compiler *jsonschema.Compiler
}

const schemaURL = "https://api.heroku.com/schema"

func loadSchema(t *testing.T) *hyperSchema {
	t.Helper()
	file := os.Getenv("HEROKU_API_SCHEMA")
	if file == "" {
		t.Skip("HEROKU_API_SCHEMA does not name a file with Heroku's hyper-schema: nothing to compare with")
	}
	f, err := os.Open(file)
	require.NoError(t, err)
	defer func() { _ = f.Close() }()
	doc, err := jsonschema.UnmarshalJSON(f)
	require.NoError(t, err)
	s := &hyperSchema{doc: doc.(map[string]any), compiler: jsonschema.NewCompiler()}
	dropMetaSchemas(s.doc)
	s.compiler.DefaultDraft(jsonschema.Draft4)
	s.compiler.AssertFormat()
	// Its patterns look ahead, which those of Go cannot.
	s.compiler.UseRegexpEngine(func(pattern string) (jsonschema.Regexp, error) {
		re, err := regexp2.Compile(pattern, regexp2.ECMAScript)
		return ecmaScript{re}, err
	})
	require.NoError(t, s.compiler.AddResource(schemaURL, s.doc))
	return s
}

type ecmaScript struct{ *regexp2.Regexp }

func (e ecmaScript) MatchString(s string) bool {
	ok, err := e.Regexp.MatchString(s)
	return ok && err == nil
}

// dropMetaSchemas removes what the schema says that it is: extensions of draft 4
// that change nothing here.
func dropMetaSchemas(v any) {
	switch v := v.(type) {
	case map[string]any:
		delete(v, "$schema")
		for _, inner := range v {
			dropMetaSchemas(inner)
		}
	case []any:
		for _, inner := range v {
			dropMetaSchemas(inner)
		}
	}
}

func (s *hyperSchema) definition(t *testing.T, name string) map[string]any {
	t.Helper()
	d, ok := s.doc["definitions"].(map[string]any)[name].(map[string]any)
	require.True(t, ok, name)
	return d
}

// resolve follows references.
func (s *hyperSchema) resolve(v map[string]any) map[string]any {
	for {
		ref, ok := v["$ref"].(string)
		if !ok {
			return v
		}
		var at any = s.doc
		for part := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
			at = at.(map[string]any)[part]
		}
		v = at.(map[string]any)
	}
}

// link is an endpoint of the schema.
type link struct {
	name    string
	method  string
	path    *regexp.Regexp
	request string // pointers into the schema; empty if there is none
	answer  string
	list    bool
	seen    int
}

var placeholder = regexp.MustCompile(`\{[^}]*\}`)

// links are the endpoints of a resource.
func (s *hyperSchema) links(t *testing.T, resource string) []*link {
	t.Helper()
	var all []*link
	for i, v := range s.definition(t, resource)["links"].([]any) {
		l := v.(map[string]any)
		at := fmt.Sprintf("#/definitions/%s/links/%d", resource, i)
		one := &link{
			name: resource + " " + l["title"].(string), method: l["method"].(string),
			path: regexp.MustCompile("^" + placeholder.ReplaceAllString(l["href"].(string), "[^/]+") + "$"),
			list: l["rel"] == "instances",
		}
		if l["schema"] != nil {
			one.request = at + "/schema"
		}
		if l["targetSchema"] != nil {
			one.answer = at + "/targetSchema"
		}
		all = append(all, one)
	}
	return all
}

// covered are the endpoints for which the library has a method.
var covered = []string{
	"app Info", "build Create", "build Info", "build List", "build Delete cache", "build Cancel",
	"source Create", "source Create - Deprecated", "slug Info", "slug Create",
	"release Info", "release List", "release Create", "release Rollback", "rate-limit Info",
}

// exchange is a request to the API and its answer.
type exchange struct {
	method, path string
	status       int
	request      []byte
	answer       []byte
}

// recorder keeps what goes to the API and what comes back.
type recorder struct {
	api string
	mu  sync.Mutex
	all []exchange
}

func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Host != r.api {
		return http.DefaultTransport.RoundTrip(req)
	}
	e := exchange{method: req.Method, path: req.URL.Path}
	if req.Body != nil {
		var err error
		if e.request, err = io.ReadAll(req.Body); err != nil {
			return nil, err
		}
		req.Body = io.NopCloser(bytes.NewReader(e.request))
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	e.status = resp.StatusCode
	if e.answer, err = io.ReadAll(resp.Body); err != nil {
		return nil, err
	}
	_ = resp.Body.Close()
	resp.Body = io.NopCloser(bytes.NewReader(e.answer))
	r.mu.Lock()
	r.all = append(r.all, e)
	r.mu.Unlock()
	return resp, nil
}

// TestTraffic calls every method of the library on the embedded platform and
// validates both sides of each call.
func TestTraffic(t *testing.T) {
	s := loadSchema(t)
	exchanges := traffic(t)
	var links []*link
	for _, resource := range []string{"app", "build", "source", "slug", "release", "rate-limit"} {
		links = append(links, s.links(t, resource)...)
	}
	for _, e := range exchanges {
		l := s.find(t, links, e)
		require.NotNil(t, l, "no endpoint of the schema is %s %s", e.method, e.path)
		if e.status >= 300 {
			continue
		}
		l.seen++
		what := fmt.Sprintf("%s (%s %s)", l.name, e.method, e.path)
		if l.request != "" {
			s.validate(t, what+", request", l.request, e.request)
		} else {
			assert.Empty(t, string(e.request), "%s takes no body", what)
		}
		switch {
		case l.answer == "":
			assert.Empty(t, string(e.answer), "%s has no answer", what)
		case l.list:
			var items []json.RawMessage
			require.NoError(t, json.Unmarshal(e.answer, &items), what)
			s.validate(t, what+", answer", l.answer, e.answer)
		default:
			s.validate(t, what+", answer", l.answer, e.answer)
		}
	}
	for _, l := range links {
		if slices.Contains(covered, l.name) {
			assert.NotZero(t, l.seen, "%s was not called", l.name)
		} else {
			assert.Zero(t, l.seen, "%s is covered: say so", l.name)
		}
	}
}

// find returns the endpoint of an exchange. Two are told apart by their bodies.
func (s *hyperSchema) find(t *testing.T, links []*link, e exchange) *link {
	t.Helper()
	var found *link
	for _, l := range links {
		if l.method != e.method || !l.path.MatchString(e.path) {
			continue
		}
		if found == nil || l.name == "release Rollback" && bytes.Contains(e.request, []byte(`"release":`)) {
			found = l
		}
	}
	return found
}

func (s *hyperSchema) validate(t *testing.T, what, pointer string, text []byte) {
	t.Helper()
	schema, err := s.compiler.Compile(schemaURL + pointer)
	require.NoError(t, err, what)
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	require.NoError(t, err, "%s: %s", what, text)
	assert.NoError(t, schema.Validate(v), "%s: %s", what, text)
}

// traffic is every method of the library, on the embedded platform.
func traffic(t *testing.T) []exchange {
	t.Helper()
	held := make(chan struct{})
	p, err := platform.Start(platform.Options{FirApps: []string{"fir-app"}, Builder: platform.BuilderFunc(func(ctx context.Context, j *platform.Job) error {
		_, _ = fmt.Fprintln(j.Output, "compiling")
		if strings.HasPrefix(j.SourceVersion, "held") {
			close(held)
			<-ctx.Done()
		}
		return ctx.Err()
	})})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, p.Close()) })
	base, err := url.Parse(p.URL())
	require.NoError(t, err)
	rec := &recorder{api: base.Host}
	client, err := herokubuild.NewClient(herokubuild.WithBaseURL(p.URL()), herokubuild.WithToken(p.Token()), herokubuild.WithHTTPClient(&http.Client{Transport: rec}))
	require.NoError(t, err)
	ctx := t.Context()

	dir := t.TempDir()
	for name, text := range map[string]string{"Procfile": "web: serve\nrelease: echo migrating\n", "serve": "#!/bin/sh\n"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	result, err := client.BuildAndRelease(ctx, herokubuild.BuildAndReleaseOptions{
		BuildApp: "example-app", Dir: dir, ReleaseTo: []string{"other-app"}, Version: "v1", VersionDescription: "the first",
		Buildpacks: []herokubuild.Buildpack{{URL: "https://github.com/heroku/heroku-buildpack-go"}, {Name: "heroku/ruby"}},
	})
	require.NoError(t, err)
	for _, err := range client.Builds.List(ctx, "example-app", nil) {
		require.NoError(t, err)
	}
	for _, err := range client.Releases.List(ctx, "example-app", nil) {
		require.NoError(t, err)
	}
	_, err = client.Slugs.Get(ctx, "example-app", result.Slug)
	require.NoError(t, err)
	slug, err := client.Slugs.CreateFromDir(ctx, "example-app", dir, herokubuild.SlugDirOptions{})
	require.NoError(t, err)
	_, err = client.Releases.ReleaseToApps(ctx, herokubuild.ReleaseCreateOptions{Slug: slug.ID}, []string{"other-app"}, nil)
	require.NoError(t, err)
	_, err = client.Releases.Rollback(ctx, "other-app", "v3")
	require.NoError(t, err)
	_, err = client.Releases.Promote(ctx, "example-app", "other-app", "")
	require.NoError(t, err)
	source, err := client.Sources.CreateForApp(ctx, "example-app")
	require.NoError(t, err)
	archive, err := herokubuild.ArchiveDir(ctx, dir, nil)
	require.NoError(t, err)
	defer func() { _ = archive.Close() }()
	require.NoError(t, client.Sources.Put(ctx, source, archive, nil))
	build, err := client.Builds.Create(ctx, "example-app", herokubuild.BuildCreateOptions{SourceBlob: herokubuild.SourceBlob{URL: source.SourceBlob.GetURL, Version: "held"}})
	require.NoError(t, err)
	<-held
	_, err = client.Builds.Cancel(ctx, "example-app", build.ID)
	require.NoError(t, err)
	require.NoError(t, client.Builds.DeleteCache(ctx, "example-app"))
	_, err = client.BuildAndRelease(ctx, herokubuild.BuildAndReleaseOptions{BuildApp: "fir-app", Dir: dir})
	require.NoError(t, err)
	_, err = client.RateLimitRemaining(ctx)
	require.NoError(t, err)
	_, err = client.Apps.Get(ctx, "nobody")
	require.ErrorIs(t, err, herokubuild.ErrNotFound)
	return rec.all
}

// TestTypes compares the fields of the library's types with the properties of
// the schema: their names, types, and whether they may be null.
func TestTypes(t *testing.T) {
	s := loadSchema(t)
	for name, tt := range map[string]struct {
		of any
		at string
		// without are the properties that the type leaves out on purpose; extra
		// the fields that the schema does not have, or has elsewhere.
		without, extra []string
	}{
		"App": {
			of: herokubuild.App{}, at: "app",
			// They have to do neither with builds nor with releases.
			without: []string{"acm", "archived_at", "git_url", "internal_routing", "organization", "owner", "repo_size"},
		},
		"Build":   {of: herokubuild.Build{}, at: "build"},
		"Source":  {of: herokubuild.Source{}, at: "source"},
		"Slug":    {of: herokubuild.Slug{}, at: "slug"},
		"Release": {of: herokubuild.Release{}, at: "release"},
	} {
		t.Run(name, func(t *testing.T) {
			s.compare(t, name, reflect.TypeOf(tt.of), s.definition(t, tt.at), tt.without, tt.extra)
		})
	}
	for name, tt := range map[string]struct {
		of       any
		resource string
		title    string
		extra    []string
	}{
		"BuildCreateOptions": {of: herokubuild.BuildCreateOptions{}, resource: "build", title: "Create"},
		"SlugCreateOptions":  {of: herokubuild.SlugCreateOptions{}, resource: "slug", title: "Create"},
		// Images are in the variant of the API for Fir apps.
		"ReleaseCreateOptions": {of: herokubuild.ReleaseCreateOptions{}, resource: "release", title: "Create", extra: []string{"oci_image"}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, v := range s.definition(t, tt.resource)["links"].([]any) {
				if l := v.(map[string]any); l["title"] == tt.title {
					s.compare(t, name, reflect.TypeOf(tt.of), l["schema"].(map[string]any), nil, tt.extra)
				}
			}
		})
	}
}

func (s *hyperSchema) compare(t *testing.T, at string, of reflect.Type, schema map[string]any, without, extra []string) {
	t.Helper()
	schema = s.resolve(schema)
	properties, _ := schema["properties"].(map[string]any)
	fields := map[string]reflect.StructField{}
	for i := range of.NumField() {
		f := of.Field(i)
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" && name != "-" {
			fields[name] = f
		}
	}
	for name, v := range properties {
		f, ok := fields[name]
		if !ok {
			assert.Contains(t, without, name, "%s has no field for %q", at, name)
			continue
		}
		assert.NotContains(t, without, name)
		s.compareType(t, at+"."+name, f.Type, v.(map[string]any))
	}
	for name := range fields {
		if _, ok := properties[name]; !ok {
			assert.Contains(t, extra, name, "%s: the schema has no %q", at, name)
		}
	}
}

// compareType compares a field's type with a property. Null is the zero value
// everywhere, which decoding JSON gives it.
func (s *hyperSchema) compareType(t *testing.T, at string, of reflect.Type, schema map[string]any) {
	t.Helper()
	schema = s.resolve(schema)
	var kinds []string
	switch v := schema["type"].(type) {
	case string:
		kinds = []string{v}
	case []any:
		for _, k := range v {
			if k != "null" {
				kinds = append(kinds, k.(string))
			}
		}
	}
	if choices, ok := schema["anyOf"].([]any); ok && len(kinds) == 0 {
		for _, one := range choices {
			s.compareType(t, at, of, one.(map[string]any))
		}
		return
	}
	require.NotEmpty(t, kinds, "%s has no type in the schema: %v", at, schema)
	var want string
	switch {
	case of == reflect.TypeFor[time.Time]():
		want = "string"
		assert.Equal(t, "date-time", schema["format"], at)
	case of.Kind() == reflect.String:
		want = "string"
	case of.Kind() == reflect.Bool:
		want = "boolean"
	case of.Kind() == reflect.Int, of.Kind() == reflect.Int64:
		want = "integer"
	case of.Kind() == reflect.Slice:
		want = "array"
		items, _ := schema["items"].(map[string]any)
		if items != nil {
			s.compareType(t, at+"[]", of.Elem(), items)
		}
	case of.Kind() == reflect.Map:
		want = "object"
	case of.Kind() == reflect.Struct:
		want = "object"
		if properties, ok := schema["properties"].(map[string]any); ok {
			s.compareObject(t, at, of, properties)
		}
	}
	// The schema calls sizes numbers now and then.
	if want == "integer" && slices.Contains(kinds, "number") {
		want = "number"
	}
	assert.Contains(t, kinds, want, "%s is %s in Go", at, of)
}

// compareObject demands that an object within a resource has no property that
// its type would drop, but for those of references to other resources, of which
// id and name are kept.
func (s *hyperSchema) compareObject(t *testing.T, at string, of reflect.Type, properties map[string]any) {
	t.Helper()
	fields := map[string]reflect.Type{}
	for i := range of.NumField() {
		name, _, _ := strings.Cut(of.Field(i).Tag.Get("json"), ",")
		fields[name] = of.Field(i).Type
	}
	for name, v := range properties {
		if f, ok := fields[name]; ok {
			s.compareType(t, at+"."+name, f, v.(map[string]any))
			continue
		}
		assert.Equal(t, reflect.TypeFor[herokubuild.Ref](), of, "%s has no field for %q", at, name)
	}
}
