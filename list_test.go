package herokubuild_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/jarcoal/httpmock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
)

func TestRangeHeader(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		opts *herokubuild.ListOptions
		want string
	}{
		"nil":              {nil, ""},
		"zero":             {&herokubuild.ListOptions{}, ""},
		"limit only":       {&herokubuild.ListOptions{Limit: 5}, ""},
		"page size":        {&herokubuild.ListOptions{PageSize: 1000}, "id ..; max=1000"},
		"order":            {&herokubuild.ListOptions{Order: herokubuild.Descending}, "id ..; order=desc"},
		"attribute":        {&herokubuild.ListOptions{SortBy: "created_at"}, "created_at .."},
		"all":              {&herokubuild.ListOptions{SortBy: "version", Order: herokubuild.Ascending, From: "3", To: "9", PageSize: 10, Limit: 2}, "version 3..9; max=10,order=asc"},
		"from":             {&herokubuild.ListOptions{From: buildID}, "id " + buildID + ".."},
		"to":               {&herokubuild.ListOptions{SortBy: "created_at", To: "2024-05-01T10:00:00Z"}, "created_at ..2024-05-01T10:00:00Z"},
		"cursor":           {&herokubuild.ListOptions{Cursor: "]v 12..; max=10, order=desc"}, "]v 12..; max=10, order=desc"},
		"cursor and limit": {&herokubuild.ListOptions{Cursor: "id ]x..", Limit: 3}, "id ]x.."},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t)
			a.on("GET", buildsURL, reply(200, "[]"))
			page, err := a.Builds.ListPage(t.Context(), appName, tt.opts)
			require.NoError(t, err)
			assert.Empty(t, page.Items)
			assert.Empty(t, page.Next)
			r := a.requireCall(t, "GET", buildsURL, "")
			assert.Equal(t, tt.want, r.Header.Get("Range"))
			_, sent := r.Header["Range"]
			assert.Equal(t, tt.want != "", sent)
		})
	}
}

func TestListOptionsRefused(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		opts herokubuild.ListOptions
		name string
	}{
		"negative page":     {herokubuild.ListOptions{PageSize: -1}, "PageSize"},
		"page too large":    {herokubuild.ListOptions{PageSize: 1001}, "PageSize"},
		"negative limit":    {herokubuild.ListOptions{Limit: -1}, "Limit"},
		"order":             {herokubuild.ListOptions{Order: "down"}, "Order"},
		"sort with space":   {herokubuild.ListOptions{SortBy: "id .."}, "SortBy"},
		"sort with break":   {herokubuild.ListOptions{SortBy: "id\r\nX: y"}, "SortBy"},
		"from with params":  {herokubuild.ListOptions{From: "a;max=9"}, "From"},
		"from with a range": {herokubuild.ListOptions{From: "a..b"}, "From"},
		"to with bracket":   {herokubuild.ListOptions{To: "]a"}, "To"},
		"to beyond ASCII":   {herokubuild.ListOptions{To: "é"}, "To"},
		"cursor and order":  {herokubuild.ListOptions{Cursor: "id ..", Order: herokubuild.Ascending}, "Cursor"},
		"cursor and size":   {herokubuild.ListOptions{Cursor: "id ..", PageSize: 5}, "Cursor"},
		"cursor with break": {herokubuild.ListOptions{Cursor: "id ..\nX: y"}, "Cursor"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t)
			page, err := a.Builds.ListPage(t.Context(), appName, &tt.opts)
			assert.Nil(t, page)
			requireInvalid(t, err, "ListOptions."+tt.name)
			items, err := collect(a, &tt.opts)
			assert.Empty(t, items)
			requireInvalid(t, err, "ListOptions."+tt.name)
			assert.Zero(t, a.mock.GetTotalCallCount())
		})
	}
}

// collect lists builds, and fails as soon as an iteration breaks its promises.
func collect(a *api, opts *herokubuild.ListOptions) (ids []string, err error) {
	for b, e := range a.Builds.List(context.Background(), appName, opts) {
		if err != nil {
			return ids, fmt.Errorf("the iteration went on after %w", err)
		}
		if (b == nil) != (e != nil) {
			return ids, fmt.Errorf("build %v came with error %v", b, e)
		}
		if err = e; e == nil {
			ids = append(ids, b.ID)
		}
	}
	return ids, err
}

// pages answers by the Range header: "" is the first page, and the others are
// named by what led to them.
func (a *api) pages(t *testing.T, byRange map[string]httpmock.Responder) {
	t.Helper()
	a.on("GET", buildsURL, func(req *http.Request) (*http.Response, error) {
		answer, ok := byRange[req.Header.Get("Range")]
		if !ok {
			return nil, fmt.Errorf("no page for the range %q", req.Header.Get("Range"))
		}
		return answer(req)
	})
}

func page(next string, ids ...string) httpmock.Responder {
	var items []string
	for _, id := range ids {
		items = append(items, `{"id":"`+id+`"}`)
	}
	body := "[" + strings.Join(items, ",") + "]"
	if next == "" {
		return reply(200, body)
	}
	return reply(206, body, "Next-Range", next)
}

const (
	second = "id ]b..; max=2"
	third  = "id ]d..; max=2"
)

func threePages() map[string]httpmock.Responder {
	return map[string]httpmock.Responder{
		"": page(second, "a", "b"), "id ..; max=2": page(second, "a", "b"), second: page(third, "c", "d"), third: page("", "e"),
	}
}

func TestListFollowsPages(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		opts  *herokubuild.ListOptions
		want  string
		calls int
	}{
		"all":              {nil, "a b c d e", 3},
		"page size":        {&herokubuild.ListOptions{PageSize: 2}, "a b c d e", 3},
		"limit in a page":  {&herokubuild.ListOptions{Limit: 3}, "a b c", 2},
		"limit at its end": {&herokubuild.ListOptions{Limit: 2}, "a b", 1},
		"limit beyond":     {&herokubuild.ListOptions{Limit: 9}, "a b c d e", 3},
		"cursor":           {&herokubuild.ListOptions{Cursor: second}, "c d e", 2},
		"cursor and limit": {&herokubuild.ListOptions{Cursor: second, Limit: 1}, "c", 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t)
			a.pages(t, threePages())
			var before herokubuild.ListOptions
			if tt.opts != nil {
				before = *tt.opts
			}
			ids, err := collect(a, tt.opts)
			require.NoError(t, err)
			assert.Equal(t, tt.want, strings.Join(ids, " "))
			assert.Len(t, a.seen(), tt.calls, "no page is asked for that is not wanted")
			if tt.opts != nil {
				assert.Equal(t, before, *tt.opts, "the caller's options are the caller's")
			}
		})
	}
}

func TestListCanBeIteratedTwice(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.pages(t, threePages())
	list := a.Builds.List(t.Context(), appName, &herokubuild.ListOptions{Limit: 3})
	for range 2 {
		n := 0
		for _, err := range list {
			require.NoError(t, err)
			n++
		}
		assert.Equal(t, 3, n)
	}
}

func TestListBreak(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.pages(t, threePages())
	for b, err := range a.Builds.List(t.Context(), appName, nil) {
		require.NoError(t, err)
		if b.ID == "b" {
			break
		}
	}
	assert.Len(t, a.seen(), 1)
}

func TestListPageCursor(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.pages(t, threePages())
	var ids []string
	for opts := new(herokubuild.ListOptions); ; {
		page, err := a.Builds.ListPage(t.Context(), appName, opts)
		require.NoError(t, err)
		for _, b := range page.Items {
			ids = append(ids, b.ID)
		}
		if page.Next == "" {
			break
		}
		opts = &herokubuild.ListOptions{Cursor: page.Next}
	}
	assert.Equal(t, []string{"a", "b", "c", "d", "e"}, ids)
}

func TestListErrors(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		pages map[string]httpmock.Responder
		want  string
		is    error
	}{
		"first page fails":   {map[string]httpmock.Responder{"": reply(404, "")}, "", herokubuild.ErrNotFound},
		"second page fails":  {map[string]httpmock.Responder{"": page(second, "a"), second: reply(401, "")}, "a", herokubuild.ErrUnauthorized},
		"null item":          {map[string]httpmock.Responder{"": reply(200, `[{"id":"a"},null]`)}, "", herokubuild.ErrUnexpectedAnswer},
		"not a list":         {map[string]httpmock.Responder{"": reply(200, `{"id":"a"}`)}, "", herokubuild.ErrUnexpectedAnswer},
		"null list":          {map[string]httpmock.Responder{"": reply(200, `null`)}, "", herokubuild.ErrUnexpectedAnswer},
		"no list":            {map[string]httpmock.Responder{"": reply(200, ``)}, "", herokubuild.ErrUnexpectedAnswer},
		"range of its own":   {map[string]httpmock.Responder{"": page(second, "a"), second: page(second, "b")}, "a", herokubuild.ErrUnexpectedAnswer},
		"range in a circle":  {map[string]httpmock.Responder{"": page(second, "a"), second: page(third, "b"), third: page(second, "c")}, "a b", herokubuild.ErrUnexpectedAnswer},
		"range after nobody": {map[string]httpmock.Responder{"": page(second)}, "", herokubuild.ErrUnexpectedAnswer},
		"range too long":     {map[string]httpmock.Responder{"": page(strings.Repeat("x", 600), "a")}, "", herokubuild.ErrUnexpectedAnswer},
		"range not text":     {map[string]httpmock.Responder{"": page("id \x00..", "a")}, "", herokubuild.ErrUnexpectedAnswer},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t)
			a.pages(t, tt.pages)
			ids, err := collect(a, nil)
			assert.Equal(t, tt.want, strings.Join(ids, " "))
			require.ErrorIs(t, err, tt.is)
		})
	}
}

func TestListOfBadApp(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	n := 0
	for b, err := range a.Builds.List(t.Context(), "No App", nil) {
		assert.Nil(t, b)
		requireInvalid(t, err, "app")
		n++
	}
	for r, err := range a.Releases.List(t.Context(), "", nil) {
		assert.Nil(t, r)
		requireInvalid(t, err, "app")
		n++
	}
	assert.Equal(t, 2, n)
	_, err := a.Builds.ListPage(t.Context(), "", nil)
	requireInvalid(t, err, "app")
	_, err = a.Releases.ListPage(t.Context(), "", nil)
	requireInvalid(t, err, "app")
}

// FuzzNextRange lets the platform name any next page: the iteration must end,
// and never ask for the same page twice.
func FuzzNextRange(f *testing.F) {
	for _, seed := range []string{"", "id ]x..; max=2", "a", "\r\n", "\x00", "é", strings.Repeat("y", 600)} {
		f.Add(seed, "id ]z..")
	}
	f.Fuzz(func(t *testing.T, first, then string) {
		a := newAPI(t, noRetry())
		asked := map[string]int{}
		a.mock.RegisterResponder("GET", buildsURL, func(req *http.Request) (*http.Response, error) {
			header := req.Header.Get("Range")
			asked[header]++
			next := then
			if len(asked) == 1 {
				next = first
			}
			return reply(206, `[{"id":"a"}]`, "Next-Range", next)(req)
		})
		_, err := collect(a, nil)
		if err != nil {
			require.ErrorIs(t, err, herokubuild.ErrUnexpectedAnswer)
		}
		assert.LessOrEqual(t, len(asked), 3)
		for header, n := range asked {
			assert.Equal(t, 1, n, "%q", header)
		}
	})
}
