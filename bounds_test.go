package herokubuild_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
)

// serveGzip serves a body in gzip, as a few kilobytes that unpack to megabytes.
func serveGzip(t *testing.T, body string) http.HandlerFunc {
	t.Helper()
	var b bytes.Buffer
	zw := gzip.NewWriter(&b)
	_, err := zw.Write([]byte(body))
	require.NoError(t, err)
	require.NoError(t, zw.Close())
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(b.Bytes())
	}
}

// What is decoded is in proportion to what was asked for. The test is not parallel:
// it counts what the process allocates.
func TestResponseBombs(t *testing.T) {
	many := func(n int, item string) string {
		return "[" + strings.TrimSuffix(strings.Repeat(item+",", n), ",") + "]"
	}
	named := func(field, value string) string {
		return `{"id":"` + buildID + `","version":1,"` + field + `":` + value + `}`
	}
	get := func(c *herokubuild.Client) error { _, err := c.Builds.Get(t.Context(), appName, buildID); return err }
	page := func(size int) func(c *herokubuild.Client) error {
		return func(c *herokubuild.Client) error {
			_, err := c.Builds.ListPage(t.Context(), appName, &herokubuild.ListOptions{PageSize: size})
			return err
		}
	}
	tests := map[string]struct {
		body string
		call func(c *herokubuild.Client) error
		most uint64
	}{
		"a list":                {many(3<<20, "{}"), page(50), 8 << 20},
		"a list of small size":  {many(100_000, "{}"), page(50), 8 << 20},
		"a list without a size": {many(3<<20, "{}"), page(0), 64 << 20},
		"arrays in an item":     {many(1, named("buildpacks", many(200_000, "{}"))), page(1), 8 << 20},
		"buildpacks":            {named("buildpacks", many(3<<20, "{}")), get, 8 << 20},
		"some buildpacks":       {named("buildpacks", many(200_000, "{}")), get, 8 << 20},
		"the same field again":  {"{" + strings.Repeat(`"buildpacks":`+many(2000, "{}")+",", 100) + `"id":"` + buildID + `"}`, get, 8 << 20},
		"unknown fields":        {named("x", many(200_000, "[]")), get, 8 << 20},
		"nested":                {named("x", strings.Repeat("[", 5000)+strings.Repeat("]", 5000)), get, 8 << 20},
		"process types": {named("process_types", "{"+strings.TrimSuffix(strings.Repeat(`"a":"",`, 100_000), ",")+"}"), func(c *herokubuild.Client) error {
			_, err := c.Slugs.Get(t.Context(), appName, slugID)
			return err
		}, 8 << 20},
		"artifacts": {named("artifacts", many(200_000, "{}")), func(c *herokubuild.Client) error {
			_, err := c.Releases.Get(t.Context(), appName, "v1")
			return err
		}, 8 << 20},
		"anything": {many(3<<20, "{}"), func(c *herokubuild.Client) error {
			var out []map[string]any
			return c.Do(t.Context(), "GET", "/x", nil, nil, &out)
		}, 64 << 20},
		"a list of anything": {many(100_000, "{}"), func(c *herokubuild.Client) error {
			for _, err := range herokubuild.List[map[string]any](t.Context(), c, "/x", &herokubuild.ListOptions{PageSize: 10}) {
				return err
			}
			return nil
		}, 8 << 20},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			client, _ := newServer(t, serveGzip(t, tt.body), noRetry())
			before := allocated()
			err := tt.call(client)
			assert.Less(t, allocated()-before, tt.most)
			require.ErrorIs(t, err, herokubuild.ErrUnexpectedResponse)
		})
	}
}

// The bounds themselves are let through, and one more is not.
func TestResponseBounds(t *testing.T) {
	t.Parallel()
	array := func(n int) string { return "[" + strings.TrimSuffix(strings.Repeat("1,", n), ",") + "]" }
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	tests := map[string]struct {
		body string
		ok   bool
	}{
		"elements":            {array(10_000), true},
		"one too many":        {array(10_001), false},
		"within":              {`{"a":[1,` + array(10_000) + `]}`, true},
		"one too many within": {`{"a":[1,` + array(10_001) + `]}`, false},
		"depth":               {deep(64), true},
		"one too deep":        {deep(65), false},
		"deep and back":       {"[" + deep(60) + "," + deep(60) + "," + deep(63) + "]", true},
		"values":              {"[" + strings.TrimSuffix(strings.Repeat(array(9000)+",", 29), ",") + "]", true},
		"too many values":     {"[" + strings.TrimSuffix(strings.Repeat(array(9000)+",", 32), ",") + "]", false},
		"text":                {`"` + strings.Repeat(`[{,\"\\`, 50_000) + `"`, true},
		"keys":                {`{"` + strings.Repeat(`[,`, 50_000) + `\\":[1]}`, true},
		"text without an end": {`"` + strings.Repeat(`[\"`, 50_000), false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t, noRetry())
			a.on("GET", apiURL+"/x", reply(200, tt.body))
			var out any
			err := a.Do(t.Context(), "GET", "/x", nil, nil, &out)
			if tt.ok {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, herokubuild.ErrUnexpectedResponse)
			assert.Nil(t, out)
		})
	}
}

func TestPageOfMoreThanWasAskedFor(t *testing.T) {
	t.Parallel()
	items := func(n int) string {
		return "[" + strings.TrimSuffix(strings.Repeat(`{"id":"`+buildID+`"},`, n), ",") + "]"
	}
	for name, tt := range map[string]struct {
		opts *herokubuild.ListOptions
		most int
	}{
		"of a size":           {&herokubuild.ListOptions{PageSize: 3}, 3},
		"of no size":          {nil, 1000},
		"of a cursor":         {&herokubuild.ListOptions{Cursor: "id ]a..; max=5, order=desc"}, 5},
		"of a cursor, no max": {&herokubuild.ListOptions{Cursor: "id ]a..; max=many"}, 1000},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t)
			a.on("GET", buildsURL, reply(200, items(tt.most)), reply(200, items(tt.most+1)))
			page, err := a.Builds.ListPage(t.Context(), appName, tt.opts)
			require.NoError(t, err)
			assert.Len(t, page.Items, tt.most)
			_, err = a.Builds.ListPage(t.Context(), appName, tt.opts)
			require.ErrorIs(t, err, herokubuild.ErrUnexpectedResponse)
		})
	}
}

// FuzzResponse holds the count of values against the decoder: what is accepted is
// what JSON of these bounds is.
func FuzzResponse(f *testing.F) {
	for _, seed := range []string{`{"a":[1,2,"x\"y\\"]}`, `[[[[]]],{}]`, `"\\\"`, `{"a":`, `]]]]`, `,,,,`, "\x00", `"[[[["`, strings.Repeat("[", 70)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		a := newAPI(t, noRetry())
		a.on("GET", apiURL+"/x", reply(200, body))
		var out, want any
		err := a.Do(t.Context(), "GET", "/x", nil, nil, &out)
		text := strings.TrimSpace(body)
		if json.Unmarshal([]byte(body), &want) != nil || text == "null" {
			if text != "" {
				require.ErrorIs(t, err, herokubuild.ErrUnexpectedResponse)
			}
			return
		}
		if len(body) < 64 {
			require.NoError(t, err)
		}
		if err == nil {
			assert.Equal(t, want, out)
		}
	})
}
