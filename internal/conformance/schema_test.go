package conformance

import (
	"encoding/json"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/dlclark/regexp2"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
)

const schemaVariable = "HEROKU_API_SCHEMA"

// object is a JSON object, such as a schema.
type object = map[string]any

// hyperSchema is Heroku's description of its API.
type hyperSchema struct {
	doc   object
	links []*link
	// requests and responses compile parts of doc. They differ in the
	// properties that an object must have; see newCompiler.
	requests, responses *jsonschema.Compiler
}

// link is an endpoint.
type link struct {
	resource, title, method, href, rel string
	ranges                             []string
	// path matches the request's path; identities are pointers to the schemas
	// of its submatches.
	path       *regexp.Regexp
	identities []string
	// schema and target are pointers to the schemas of the bodies of the
	// request and the response; empty if there is none.
	schema, target string
}

func (l *link) String() string { return l.resource + " " + l.title }

// loadSchema reads the schema, or skips the test if there is none.
func loadSchema(t *testing.T) *hyperSchema {
	t.Helper()
	name := os.Getenv(schemaVariable)
	if name == "" {
		t.Skip(schemaVariable + " is not set to the file with Heroku's API schema (see the package documentation)")
	}
	text, err := os.ReadFile(filepath.Clean(name))
	require.NoError(t, err)
	s := &hyperSchema{doc: decode(t, text).(object)}
	s.requests = newCompiler(t, text, false)
	s.responses = newCompiler(t, text, true)
	for _, resource := range slices.Sorted(maps.Keys(s.doc["definitions"].(object))) {
		s.addLinks(t, resource)
	}
	require.NotEmpty(t, s.links)
	return s
}

func decode(t *testing.T, text []byte) any {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(string(text)))
	require.NoError(t, err, "%s", text)
	return v
}

// newCompiler makes the schema stricter. An object must have no properties other
// than those listed, since Heroku silently ignores unknown ones. In a response it
// must have all of them, as Heroku's responses do; in a request only the required
// ones, since Heroku's examples omit the others.
func newCompiler(t *testing.T, text []byte, responses bool) *jsonschema.Compiler {
	t.Helper()
	doc := decode(t, text).(object)
	strict := func(o object) {
		// The meta-schemas are not published; they are based on this draft.
		delete(o, "$schema")
		properties, ok := o["properties"].(object)
		if !ok || o["type"] == nil {
			return
		}
		if _, open := o["patternProperties"]; !open {
			o["additionalProperties"] = false
		}
		if responses && len(properties) > 0 {
			o["required"] = names(properties)
		}
	}
	walk(doc, strict)
	if responses {
		allowValues(t, doc)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft4)
	c.AssertFormat()
	c.UseRegexpEngine(compilePattern)
	require.NoError(t, c.AddResource(schemaURL, doc))
	return c
}

// allowValues removes the patterns that the emulator's values deliberately do not match.
func allowValues(t *testing.T, doc object) {
	t.Helper()
	for name := range valueDifferences() {
		resource, field, _ := strings.Cut(name, ".")
		definition := doc["definitions"].(object)[resource].(object)["definitions"].(object)[field].(object)
		require.Contains(t, definition, "pattern", "%s is no longer a difference: remove it from the list", name)
		delete(definition, "pattern")
	}
}

const schemaURL = "http://api.heroku.com/schema"

// walk visits all objects within v.
func walk(v any, visit func(object)) {
	switch v := v.(type) {
	case object:
		visit(v)
		for _, child := range v {
			walk(child, visit)
		}
	case []any:
		for _, child := range v {
			walk(child, visit)
		}
	}
}

func names(o object) []any {
	var all []any
	for _, name := range slices.Sorted(maps.Keys(o)) {
		all = append(all, name)
	}
	return all
}

// pattern is an ECMAScript pattern. The schema uses lookahead, which the standard
// library does not support.
type pattern regexp2.Regexp

func (p *pattern) MatchString(s string) bool {
	matched, err := (*regexp2.Regexp)(p).MatchString(s)
	return err == nil && matched
}

func (p *pattern) String() string { return (*regexp2.Regexp)(p).String() }

func compilePattern(text string) (jsonschema.Regexp, error) {
	re, err := regexp2.Compile(text, regexp2.ECMAScript)
	if err != nil {
		return nil, err
	}
	return (*pattern)(re), nil
}

var placeholder = regexp.MustCompile(`\{\(([^)]*)\)\}`)

func (s *hyperSchema) addLinks(t *testing.T, resource string) {
	t.Helper()
	pointer := "#/definitions/" + resource
	links, _ := s.at(pointer)["links"].([]any)
	for i, v := range links {
		o := v.(object)
		l := &link{resource: resource}
		l.title, _ = o["title"].(string)
		l.method, _ = o["method"].(string)
		l.href, _ = o["href"].(string)
		l.rel, _ = o["rel"].(string)
		ranges, _ := o["ranges"].([]any)
		for _, attribute := range ranges {
			l.ranges = append(l.ranges, attribute.(string))
		}
		self := pointer + "/links/" + strconv.Itoa(i)
		if o["schema"] != nil {
			l.schema = self + "/schema"
		}
		if o["targetSchema"] != nil {
			l.target = self + "/targetSchema"
		}
		for _, m := range placeholder.FindAllStringSubmatch(l.href, -1) {
			identity, err := url.PathUnescape(m[1])
			require.NoError(t, err)
			l.identities = append(l.identities, identity)
		}
		parts := placeholder.Split(l.href, -1)
		for i, part := range parts {
			parts[i] = regexp.QuoteMeta(part)
		}
		l.path = regexp.MustCompile("^" + strings.Join(parts, "([^/]+)") + "$")
		s.links = append(s.links, l)
	}
}

// at resolves a pointer such as "#/definitions/build".
func (s *hyperSchema) at(pointer string) object {
	var v any = s.doc
	for _, name := range strings.Split(pointer, "/")[1:] {
		switch parent := v.(type) {
		case object:
			v = parent[name]
		case []any:
			i, err := strconv.Atoi(name)
			if err != nil || i >= len(parent) {
				return nil
			}
			v = parent[i]
		}
	}
	o, _ := v.(object)
	return o
}

// resolve follows the references of a schema.
func (s *hyperSchema) resolve(schema object) object {
	for {
		ref, ok := schema["$ref"].(string)
		if !ok {
			return schema
		}
		schema = s.at(ref)
	}
}

// validate validates a value against the schema at a pointer.
func validate(c *jsonschema.Compiler, pointer string, v any) error {
	compiled, err := c.Compile(schemaURL + pointer)
	if err != nil {
		return err
	}
	return compiled.Validate(v)
}

// find returns the endpoints with a method and path. If there are several, they
// differ in the body.
func (s *hyperSchema) find(method, path string) []*link {
	var found []*link
	for _, l := range s.links {
		if l.method == method && l.path.MatchString(path) {
			found = append(found, l)
		}
	}
	return found
}

// types returns the JSON types that a schema allows.
func (s *hyperSchema) types(schema object) []string {
	schema = s.resolve(schema)
	var all []string
	switch t := schema["type"].(type) {
	case string:
		all = append(all, t)
	case []any:
		for _, name := range t {
			all = append(all, name.(string))
		}
	}
	alternatives, _ := schema["anyOf"].([]any)
	for _, a := range alternatives {
		all = append(all, s.types(a.(object))...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// example returns the example of a schema, or one built from the examples of its
// properties.
func (s *hyperSchema) example(t *testing.T, schema object) any {
	t.Helper()
	schema = s.resolve(schema)
	// A zero would not show whether the field was decoded.
	if example := schema["example"]; example != nil && example != json.Number("0") {
		return clone(t, example)
	}
	if properties, ok := schema["properties"].(object); ok {
		o := object{}
		for name, p := range properties {
			o[name] = s.example(t, p.(object))
		}
		return o
	}
	if items, ok := schema["items"].(object); ok {
		return []any{s.example(t, items)}
	}
	if alternatives, ok := schema["anyOf"].([]any); ok {
		return s.example(t, alternatives[0].(object))
	}
	switch types := s.types(schema); {
	case slices.Contains(types, "string") && schema["format"] == "date-time":
		return "2012-01-01T12:00:00Z"
	case slices.Contains(types, "string"):
		return "text"
	case slices.Contains(types, "integer"):
		return json.Number("7")
	case slices.Contains(types, "boolean"):
		return true
	}
	require.Fail(t, "no example", "%v", schema)
	return nil
}

func clone(t *testing.T, v any) any {
	t.Helper()
	text, err := json.Marshal(v)
	require.NoError(t, err)
	return decode(t, text)
}
