package jsonlimit_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild/internal/jsonlimit"
)

func array(n int) string { return "[" + strings.TrimSuffix(strings.Repeat("1,", n), ",") + "]" }

func nested(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }

func TestCheck(t *testing.T) {
	t.Parallel()
	limits := jsonlimit.Limits{Bytes: 200, Items: 3, Elements: 5, Values: 12}
	tests := map[string]struct {
		text string
		want *jsonlimit.Error
	}{
		"empty":                           {"", nil},
		"scalar":                          {"7", nil},
		"items":                           {array(3), nil},
		"one item too many":               {array(4), &jsonlimit.Error{Bound: jsonlimit.Elements, Limit: 3}},
		"fields":                          {`{"a":1,"b":2,"c":3}`, nil},
		"one field too many":              {`{"a":1,"b":2,"c":3,"d":4}`, &jsonlimit.Error{Bound: jsonlimit.Elements, Limit: 3}},
		"the same field again":            {`{"a":1,"a":2,"a":3,"a":4}`, &jsonlimit.Error{Bound: jsonlimit.Elements, Limit: 3}},
		"elements of an item":             {`[1,` + array(5) + `]`, nil},
		"one element too many in an item": {`[1,` + array(6) + `]`, &jsonlimit.Error{Bound: jsonlimit.Elements, Limit: 5}},
		"values":                          {"[" + array(5) + "," + array(5) + "]", nil},
		"one value too many":              {"[" + array(5) + "," + array(5) + ",1]", &jsonlimit.Error{Bound: jsonlimit.Values, Limit: 12}},
		"empty arrays count as one value": {"[" + "[[],[],[],[],[]]," + "[[],[],[]]" + "]", &jsonlimit.Error{Bound: jsonlimit.Values, Limit: 12}},
		"bytes":                           {`"` + strings.Repeat("x", 198) + `"`, nil},
		"one byte too many":               {`"` + strings.Repeat("x", 199) + `"`, &jsonlimit.Error{Bound: jsonlimit.Bytes, Limit: 200}},
		"brackets in a string":            {`"` + strings.Repeat(`[{,`, 20) + `"`, nil},
		"escapes in a string":             {`"` + strings.Repeat(`[{,\"\\`, 20) + `"`, nil},
		"string that ends in a backslash": {`["\\",` + array(6) + `]`, &jsonlimit.Error{Bound: jsonlimit.Elements, Limit: 5}},
		"string without an end":           {`"` + strings.Repeat(`[\"`, 20), nil},
		"brackets in a key":               {`{"[,[,[,[,\\":[1]}`, nil},
		"more ends than beginnings":       {`]]]}` + array(3), nil},
		"commas outside of an array":      {",,,,,,", &jsonlimit.Error{Bound: jsonlimit.Elements, Limit: 5}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := limits.Check([]byte(tt.text))
			if tt.want == nil {
				require.NoError(t, err)
				return
			}
			assert.Equal(t, tt.want, err)
			assert.NotEmpty(t, err.Error())
		})
	}
}

func TestCheckDepth(t *testing.T) {
	t.Parallel()
	limits := jsonlimit.Limits{Bytes: 1 << 20, Items: 1 << 20, Elements: 1 << 20, Values: 1 << 20}
	tests := map[string]struct {
		text string
		ok   bool
	}{
		"at the limit":          {nested(jsonlimit.MaxDepth), true},
		"one level deeper":      {nested(jsonlimit.MaxDepth + 1), false},
		"objects":               {strings.Repeat(`{"a":`, jsonlimit.MaxDepth+1), false},
		"deep, several times":   {"[" + nested(jsonlimit.MaxDepth-1) + "," + nested(jsonlimit.MaxDepth-1) + "]", true},
		"deep, without an end":  {strings.Repeat("[", 10*jsonlimit.MaxDepth), false},
		"deeper than allocated": {strings.Repeat("[", 100_000), false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := limits.Check([]byte(tt.text))
			if tt.ok {
				require.NoError(t, err)
				return
			}
			assert.Equal(t, &jsonlimit.Error{Bound: jsonlimit.Depth, Limit: jsonlimit.MaxDepth}, err)
		})
	}
}

// FuzzCheck compares the count with that of the decoder: what Check accepts is decoded
// into no more values than it permits.
func FuzzCheck(f *testing.F) {
	for _, seed := range []string{`{"a":[1,2,"x\"y\\"]}`, `[[[[]]],{}]`, `"\\\"`, `{"a":`, `]]]]`, `,,,,`, "\x00", `"[[[["`, array(20), nested(70)} {
		f.Add(seed, uint8(8))
		f.Add(seed, uint8(255))
	}
	f.Fuzz(func(t *testing.T, text string, most uint8) {
		limits := jsonlimit.Limits{Bytes: 1 << 20, Items: int(most), Elements: int(most), Values: int(most)}
		err := limits.Check([]byte(text))
		var decoded any
		if json.Unmarshal([]byte(text), &decoded) != nil {
			return
		}
		if err == nil {
			assert.LessOrEqual(t, countValues(decoded), int(most))
			return
		}
		// Each value takes at least a byte, and each level of nesting two.
		assert.Greater(t, len(text), min(int(most), 2*jsonlimit.MaxDepth), err)
	})
}

// countValues counts the elements of all arrays and objects.
func countValues(decoded any) int {
	n := 0
	switch v := decoded.(type) {
	case []any:
		for _, element := range v {
			n += 1 + countValues(element)
		}
	case map[string]any:
		for _, element := range v {
			n += 1 + countValues(element)
		}
	}
	return n
}
