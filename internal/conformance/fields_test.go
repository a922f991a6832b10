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

// answerTypes are the types that answers are decoded into.
func answerTypes() map[string]any {
	return map[string]any{
		"#/definitions/app":     herokubuild.App{},
		"#/definitions/build":   herokubuild.Build{},
		"#/definitions/release": herokubuild.Release{},
		"#/definitions/slug":    herokubuild.Slug{},
		"#/definitions/source":  herokubuild.Source{},
	}
}

// requestTypes are the types that requests are encoded from, by the endpoint.
// That of Rollback is not exported; its calls are looked at.
func requestTypes() map[string]any {
	return map[string]any{
		"build Create":   herokubuild.BuildCreateOptions{},
		"release Create": herokubuild.ReleaseCreateOptions{},
		"slug Create":    herokubuild.SlugCreateOptions{},
	}
}

func TestEveryFieldIsAPropertyOfTheSchema(t *testing.T) {
	t.Parallel()
	s := loadSchema(t)
	c := &fieldCheck{t: t, schema: s, known: fieldDifferences()}
	for pointer, v := range answerTypes() {
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
	// request says that the type is encoded: what may be left out must be.
	request bool
}

// compare holds a struct against the schema of an object.
func (c *fieldCheck) compare(name string, typ reflect.Type, schema object) {
	schema = c.schema.resolve(schema)
	properties, _ := schema["properties"].(object)
	required, _ := schema["required"].([]any)
	fields := jsonFields(typ)
	for _, property := range slices.Sorted(maps.Keys(properties)) {
		at := name + "." + property
		f, ok := fields[property]
		if !ok {
			assert.True(c.t, c.known.allow(at), "%s of the schema has no field", at)
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
		assert.Fail(c.t, at+" may be null: its field needs omitzero, so that nothing is told from something when it is encoded")
	}
	if c.request && required && f.omitted {
		assert.True(c.t, c.known.allow(at+" is required"), "%s is required, its field must be encoded always", at)
	}
	if c.request && !required && !f.omitted && len(types) > 0 && !alwaysSent(at) {
		assert.Fail(c.t, at+" is optional: its field must be left out where it is empty")
	}
	types = slices.DeleteFunc(types, func(s string) bool { return s == "null" })
	if !assert.Len(c.t, types, 1, at) {
		return
	}
	c.compareType(at, f.typ, types[0], c.schema.resolve(schema))
}

// alwaysSent are fields that the schema does not call required but that a
// request makes no sense without.
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
	// omitted says that an empty one is not encoded.
	omitted bool
}

// jsonFields are the fields of a struct by their JSON names.
func jsonFields(typ reflect.Type) map[string]field {
	all := map[string]field{}
	for i := range typ.NumField() {
		f := typ.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		all[name] = field{typ: f.Type, omitted: strings.HasPrefix(options, "omit")}
	}
	return all
}

// Names and types are one thing, what decoding makes of them another: Status,
// SecretURL and Ref have their own ideas.
func TestExamplesOfTheSchemaSurviveDecoding(t *testing.T) {
	t.Parallel()
	s := loadSchema(t)
	known := fieldDifferences()
	for pointer, v := range answerTypes() {
		typ := reflect.TypeOf(v)
		t.Run(typ.Name(), func(t *testing.T) {
			whole := s.example(t, s.at(pointer)).(object)
			require.NoError(t, validate(s.answers, pointer, whole), "the example itself")
			want := clone(t, whole).(object)
			leaveOut(typ.Name(), want, known)
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

// redacted is a value without the queries of its URLs, which are not encoded.
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

// leaveOut removes the properties that the library leaves out on purpose.
func leaveOut(name string, v object, known *differences) {
	for property, child := range v {
		at := name + "." + property
		if known.allow(at) {
			delete(v, property)
		} else if o, ok := child.(object); ok {
			leaveOut(at, o, known)
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

func TestEveryStatusOfTheSchemaIsKnown(t *testing.T) {
	t.Parallel()
	s := loadSchema(t)
	for _, pointer := range []string{"#/definitions/build/definitions/status", "#/definitions/release/definitions/status"} {
		for _, v := range s.at(pointer)["enum"].([]any) {
			status := herokubuild.Status(v.(string))
			assert.True(t, status.Final() || status == herokubuild.StatusPending, "%s: %s", pointer, status)
		}
	}
}
