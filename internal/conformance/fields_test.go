package conformance

import (
	"bytes"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
)

// responseTypes returns the types into which responses are decoded, by
// definition.
func responseTypes() map[string]any {
	return map[string]any{
		"#/definitions/app":     herokubuild.App{},
		"#/definitions/build":   herokubuild.Build{},
		"#/definitions/release": herokubuild.Release{},
		"#/definitions/slug":    herokubuild.Slug{},
		"#/definitions/source":  herokubuild.Source{},
	}
}

// requestTypes returns the types from which requests are encoded, by endpoint.
// That of Rollback is not exported; only its calls are checked.
func requestTypes() map[string]any {
	return map[string]any{
		"build Create":   herokubuild.BuildCreateOptions{},
		"release Create": herokubuild.ReleaseCreateOptions{},
		"slug Create":    herokubuild.SlugCreateOptions{},
	}
}

func TestFieldsMatchSchema(t *testing.T) {
	t.Parallel()
	s := loadSchema(t)
	c := &fieldCheck{t: t, schema: s, known: fieldDifferences()}
	for pointer, v := range responseTypes() {
		typ := reflect.TypeOf(v)
		c.compare(typ.Name(), typ, s.at(pointer))
	}
	c.request = true
	for name, v := range requestTypes() {
		typ := reflect.TypeOf(v)
		c.compare(typ.Name(), typ, s.at(s.link(t, name).schema))
	}
	c.known.requireUsed(t)
}

func (s *hyperSchema) link(t *testing.T, name string) *link {
	t.Helper()
	i := slices.IndexFunc(s.links, func(l *link) bool { return l.String() == name })
	require.GreaterOrEqual(t, i, 0, "the schema has no %s", name)
	return s.links[i]
}

type fieldCheck struct {
	t      *testing.T
	schema *hyperSchema
	known  *differences
	// request is set for types of requests, whose optional fields must be omitted
	// when empty.
	request bool
}

// compare compares a struct with the schema of an object.
func (c *fieldCheck) compare(name string, typ reflect.Type, schema object) {
	schema = c.schema.resolve(schema)
	properties, _ := schema["properties"].(object)
	required, _ := schema["required"].([]any)
	fields := jsonFields(typ)
	for _, property := range slices.Sorted(maps.Keys(properties)) {
		at := name + "." + property
		f, ok := fields[property]
		if !ok {
			assert.True(c.t, c.known.allow(at), "property %s of the schema has no field", at)
			continue
		}
		c.compareField(at, f, properties[property].(object), slices.Contains(required, any(property)))
	}
	for _, field := range slices.Sorted(maps.Keys(fields)) {
		if _, ok := properties[field]; !ok {
			at := name + "." + field
			assert.True(c.t, c.known.allow(at), "%s is not a property of the schema", at)
		}
	}
}

func (c *fieldCheck) compareField(at string, f field, schema object, required bool) {
	types := c.schema.types(schema)
	nullable := slices.Contains(types, "null")
	if nullable && !f.omitted {
		assert.Fail(c.t, at+" is nullable: its field must have omitzero, so that null is not encoded as a value")
	}
	if c.request && required && f.omitted {
		assert.True(c.t, c.known.allow(at+" is required"), "%s is required: its field must always be encoded", at)
	}
	if c.request && !required && !f.omitted && len(types) > 0 && !alwaysSent(at) {
		assert.Fail(c.t, at+" is optional: its field must be omitted when empty")
	}
	types = slices.DeleteFunc(types, func(s string) bool { return s == "null" })
	if !assert.Len(c.t, types, 1, at) {
		return
	}
	c.compareType(at, f.typ, types[0], c.schema.resolve(schema))
}

// alwaysSent reports whether a request is useless without a field, although the
// schema does not require it.
func alwaysSent(at string) bool { return at == "BuildCreateOptions.source_blob.url" }

func (c *fieldCheck) compareType(at string, typ reflect.Type, want string, schema object) {
	isTime := typ == reflect.TypeFor[time.Time]()
	got := map[reflect.Kind]string{
		reflect.String: "string", reflect.Bool: "boolean", reflect.Int: "integer", reflect.Int64: "integer",
		reflect.Slice: "array", reflect.Map: "object", reflect.Struct: "object",
	}[typ.Kind()]
	if isTime {
		got = "string"
	}
	if !assert.Equal(c.t, want, got, "%s is a %v", at, typ) {
		return
	}
	if want == "string" {
		assert.Equal(c.t, schema["format"] == "date-time", isTime, "%s is a %v, its format is %v", at, typ, schema["format"])
		return
	}
	switch typ.Kind() {
	case reflect.Slice:
		items := c.schema.resolve(schema["items"].(object))
		types := c.schema.types(items)
		require.Len(c.t, types, 1, at)
		c.compareType(at, typ.Elem(), types[0], items)
	case reflect.Map:
		for _, p := range schema["patternProperties"].(object) {
			require.Equal(c.t, []string{"string"}, c.schema.types(p.(object)), at)
			assert.Equal(c.t, reflect.String, typ.Elem().Kind(), at)
		}
	case reflect.Struct:
		c.compare(at, typ, schema)
	default:
	}
}

type field struct {
	typ reflect.Type
	// omitted reports whether the field is not encoded when empty.
	omitted bool
}

// jsonFields returns the fields of a struct by their JSON names.
func jsonFields(typ reflect.Type) map[string]field {
	all := map[string]field{}
	for i := range typ.NumField() {
		f := typ.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		all[name] = field{typ: f.Type, omitted: strings.HasPrefix(options, "omit")}
	}
	return all
}

// TestSchemaExamplesRoundTrip decodes and encodes the examples of the schema.
// Status, SecretURL and Ref have their own methods for that, which comparing
// types does not cover.
func TestSchemaExamplesRoundTrip(t *testing.T) {
	t.Parallel()
	s := loadSchema(t)
	known := fieldDifferences()
	for pointer, v := range responseTypes() {
		typ := reflect.TypeOf(v)
		t.Run(typ.Name(), func(t *testing.T) {
			whole := s.example(t, s.at(pointer)).(object)
			require.NoError(t, validate(s.responses, pointer, whole), "the example must be valid")
			want := clone(t, whole).(object)
			removeKnown(typ.Name(), want, known)
			assert.Equal(t, redacted(want), roundTrip(t, typ, want))

			for property, p := range s.at(pointer)["properties"].(object) {
				if _, kept := want[property]; !kept || !slices.Contains(s.types(p.(object)), "null") {
					continue
				}
				null := clone(t, want).(object)
				null[property] = nil
				less := clone(t, want).(object)
				delete(less, property)
				assert.Equal(t, redacted(less), roundTrip(t, typ, null), "%s is null", property)
			}
		})
	}
	for name, v := range requestTypes() {
		typ := reflect.TypeOf(v)
		t.Run(typ.Name(), func(t *testing.T) {
			want := s.example(t, s.at(s.link(t, name).schema))
			assert.Equal(t, redacted(want), roundTrip(t, typ, want))
		})
	}
}

// redacted returns a value without the queries of its URLs, which are not
// encoded.
func redacted(v any) any {
	switch v := v.(type) {
	case object:
		out := object{}
		for name, child := range v {
			out[name] = redacted(child)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, child := range v {
			out[i] = redacted(child)
		}
		return out
	case string:
		if strings.HasPrefix(v, "https://") {
			return herokubuild.SecretURL(v).String()
		}
	}
	return v
}

// removeKnown removes the properties that the library omits on purpose.
func removeKnown(name string, v object, known *differences) {
	for property, child := range v {
		at := name + "." + property
		if known.allow(at) {
			delete(v, property)
		} else if o, ok := child.(object); ok {
			removeKnown(at, o, known)
		}
	}
}

// roundTrip decodes a value into a type and encodes it again.
func roundTrip(t *testing.T, typ reflect.Type, v any) any {
	t.Helper()
	text, err := json.Marshal(v)
	require.NoError(t, err)
	into := reflect.New(typ)
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	require.NoError(t, dec.Decode(into.Interface()), "%s", text)
	text, err = json.Marshal(into.Interface())
	require.NoError(t, err)
	return decode(t, text)
}

func TestSchemaStatuses(t *testing.T) {
	t.Parallel()
	s := loadSchema(t)
	for _, pointer := range []string{"#/definitions/build/definitions/status", "#/definitions/release/definitions/status"} {
		for _, v := range s.at(pointer)["enum"].([]any) {
			status := herokubuild.Status(v.(string))
			assert.True(t, status.Final() || status == herokubuild.StatusPending, "%s: %s", pointer, status)
		}
	}
}
