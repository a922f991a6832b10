package platform_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild/internal/platform"
)

// versions returns the versions of a page of releases.
func versions(t *testing.T, a response) string {
	t.Helper()
	var all []string
	for _, v := range a.list(t) {
		all = append(all, fmt.Sprint(v["version"]))
	}
	return strings.Join(all, " ")
}

// withReleases starts a platform with an app that has ten releases, most of them
// created within the same second.
func withReleases(t *testing.T) *rig {
	r := start(t, platform.Options{})
	for i := range 8 {
		a := r.api("PATCH", "/apps/example-app/config-vars", fmt.Sprintf(`{"N":"%d"}`, i))
		require.Equal(t, 200, a.status)
	}
	return r
}

func TestListRanges(t *testing.T) {
	t.Parallel()
	r := withReleases(t)
	for _, c := range []struct {
		header string
		status int
		want   string
		next   string
	}{
		{"", 200, "1 2 3 4 5 6 7 8 9 10", ""},
		{"version ..", 200, "1 2 3 4 5 6 7 8 9 10", ""},
		{"version ..; max=3", 206, "1 2 3", "version ]3..; max=3"},
		{"version ]3..; max=3", 206, "4 5 6", "version ]6..; max=3"},
		{"version ]9..; max=3", 200, "10", ""},
		{"version ]10..; max=3", 200, "", ""},
		{"version ..; max=2, order=desc", 206, "10 9", "version ]9..; max=2, order=desc"},
		{"version ..;order=desc,max=2", 206, "10 9", "version ]9..; max=2, order=desc"},
		{"version ..; order=desc", 200, "10 9 8 7 6 5 4 3 2 1", ""},
		{"version ]9..; max=2, order=desc", 206, "8 7", "version ]7..; max=2, order=desc"},
		{"version 4..6", 200, "4 5 6", ""},
		{"version ]4..6[", 200, "5", ""},
		{"version [4..6]", 200, "4 5 6", ""},
		{"version 4..6; order=desc", 200, "6 5 4", ""},
		{"version 6..4[; order=desc", 200, "6 5", ""},
		{"version 3..8[; max=2", 206, "3 4", "version ]4..8[; max=2"},
		{"version ..; max=1000", 200, "1 2 3 4 5 6 7 8 9 10", ""},
		// An open end has no exclusivity.
		{"version ]..; max=2", 206, "1 2", "version ]2..; max=2"},
		{"version ..[", 200, "1 2 3 4 5 6 7 8 9 10", ""},
		{"version ]..[", 200, "1 2 3 4 5 6 7 8 9 10", ""},
		{"version [..]", 200, "1 2 3 4 5 6 7 8 9 10", ""},
		{"version ]..; order=desc, max=2", 206, "10 9", "version ]9..; max=2, order=desc"},
		{"version ]8..[", 200, "9 10", ""},
		{"version ]..3[", 200, "1 2", ""},
	} {
		a := r.api("GET", "/apps/example-app/releases", "", "Range", c.header)
		assert.Equal(t, c.status, a.status, "%s: %s", c.header, a.body)
		assert.Equal(t, c.want, versions(t, a), c.header)
		assert.Equal(t, c.next, a.header.Get("Next-Range"), c.header)
		assert.Equal(t, "version, id, created_at", a.header.Get("Accept-Ranges"))
		assert.True(t, strings.HasPrefix(a.header.Get("Content-Range"), "version "), c.header)
	}
	for _, header := range []string{
		"version", "version 1", "..; max=2", "nope ..", "bytes=0-", "version x..", "version ..y",
		"version ..; max=0", "version ..; max=1001", "version ..; max=x", "version ..; order=up", "version ..; limit=3",
		"created_at yesterday..",
	} {
		a := r.api("GET", "/apps/example-app/releases", "", "Range", header)
		assert.Equal(t, 416, a.status, header)
		assert.Equal(t, "requested_range_not_satisfiable", a.json(t)["id"], header)
	}
	assert.Equal(t, "[]\n", string(r.api("GET", "/apps/example-app/builds", "").body), "an empty list must not be null")
}

// TestListPaging follows Next-Range, which must return every item once for each
// attribute.
func TestListPaging(t *testing.T) {
	t.Parallel()
	r := withReleases(t)
	for _, attr := range []string{"version", "id", "created_at"} {
		for _, order := range []string{"asc", "desc"} {
			whole := r.api("GET", "/apps/example-app/releases", "", "Range", attr+" ..; order="+order).list(t)
			require.Len(t, whole, 10)
			var paged []map[string]any
			for next := attr + " ..; max=3,order=" + order; next != ""; {
				a := r.api("GET", "/apps/example-app/releases", "", "Range", next)
				require.Contains(t, []int{200, 206}, a.status)
				paged = append(paged, a.list(t)...)
				next = a.header.Get("Next-Range")
				assert.Equal(t, next != "", a.status == 206)
				require.LessOrEqual(t, len(paged), 10)
			}
			assert.Equal(t, whole, paged, "%s %s", attr, order)
		}
	}
	newest := r.api("GET", "/apps/example-app/releases", "", "Range", "created_at ..; order=desc, max=1")
	assert.Equal(t, "10", versions(t, newest), "items created within the same second must be in order of creation")
	for _, header := range []string{"id ..; max=1", "name ..; max=1", "updated_at ..; max=1"} {
		assert.Equal(t, 206, r.api("GET", "/apps", "", "Range", header).status, header)
	}
}
