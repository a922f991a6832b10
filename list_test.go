package herokubuild_test

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
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
			ids = append(ids, b.ID[:1])
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

// uuidOf is a UUID of one digit.
func uuidOf(digit string) string {
	return regexp.MustCompile("[0-9a-f]").ReplaceAllString(buildID, digit)
}

func page(next string, ids ...string) httpmock.Responder {
	var items []string
	for _, id := range ids {
		items = append(items, `{"id":"`+uuidOf(id)+`"}`)
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
		if b.ID == uuidOf("b") {
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
			ids = append(ids, b.ID[:1])
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
		"null item":          {map[string]httpmock.Responder{"": reply(200, `[{"id":"`+uuidOf("a")+`"},null]`)}, "", herokubuild.ErrUnexpectedResponse},
		"not a list":         {map[string]httpmock.Responder{"": reply(200, `{"id":"a"}`)}, "", herokubuild.ErrUnexpectedResponse},
		"null list":          {map[string]httpmock.Responder{"": reply(200, `null`)}, "", herokubuild.ErrUnexpectedResponse},
		"no list":            {map[string]httpmock.Responder{"": reply(200, ``)}, "", herokubuild.ErrUnexpectedResponse},
		"range of its own":   {map[string]httpmock.Responder{"": page(second, "a"), second: page(second, "b")}, "a", herokubuild.ErrUnexpectedResponse},
		"range in a circle":  {map[string]httpmock.Responder{"": page(second, "a"), second: page(third, "b"), third: page(second, "c")}, "a b", herokubuild.ErrUnexpectedResponse},
		"range after nobody": {map[string]httpmock.Responder{"": page(second)}, "", herokubuild.ErrUnexpectedResponse},
		"range too long":     {map[string]httpmock.Responder{"": page(strings.Repeat("x", 600), "a")}, "", herokubuild.ErrUnexpectedResponse},
		"range not text":     {map[string]httpmock.Responder{"": page("id \x00..", "a")}, "", herokubuild.ErrUnexpectedResponse},
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
			return reply(206, `[{"id":"`+buildID+`"}]`, "Next-Range", next)(req)
		})
		_, err := collect(a, nil)
		if err != nil {
			require.ErrorIs(t, err, herokubuild.ErrUnexpectedResponse)
		}
		assert.LessOrEqual(t, len(asked), 3)
		for header, n := range asked {
			assert.Equal(t, 1, n, "%q", header)
		}
	})
}

// endless serves pages without an end, each with a Next-Range of its own.
func (a *api) endless(url string, page func(n int) string) {
	n := 0
	a.mock.RegisterResponder("GET", url, func(req *http.Request) (*http.Response, error) {
		n++
		return reply(206, page(n), "Next-Range", fmt.Sprintf("version ]%d..; max=20,order=desc", n))(req)
	})
}

// However a list goes on without an end, reading it has one.
func TestListsWithoutAnEnd(t *testing.T) {
	t.Parallel()
	id := func(n int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", n) }
	release := func(id string, version int) string {
		return fmt.Sprintf(`{"id":%q,"version":%d,"status":"succeeded"}`, id, version)
	}
	tests := map[string]struct {
		page func(n int) string
		most int
	}{
		"the same release":    {func(int) string { return "[" + release(id(1), 7) + "]" }, 2},
		"two in turn":         {func(n int) string { return "[" + release(id(n%2), 7+n%2) + "]" }, 3},
		"ever newer":          {func(n int) string { return "[" + release(id(n), n) + "]" }, 2},
		"new ids, no version": {func(n int) string { return "[" + release(id(n), 1) + "]" }, 2},
		"twice on a page":     {func(int) string { return "[" + release(id(1), 7) + "," + release(id(1), 7) + "]" }, 1},
		"empty":               {func(int) string { return "[]" }, 1},
		"ever older":          {func(n int) string { return "[" + release(id(n), 1<<30-n) + "]" }, 10_000},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t)
			a.endless(releasesURL, tt.page)
			_, err := a.Releases.Current(t.Context(), appName)
			require.ErrorIs(t, err, herokubuild.ErrUnexpectedResponse)
			assert.LessOrEqual(t, a.mock.GetTotalCallCount(), tt.most)
			a.mock.ZeroCallCounters()
			_, err = a.Releases.Previous(t.Context(), appName)
			require.ErrorIs(t, err, herokubuild.ErrUnexpectedResponse)
			assert.LessOrEqual(t, a.mock.GetTotalCallCount(), tt.most)
		})
	}
	for name, page := range map[string]func(n int) string{
		"the same":    func(int) string { return `[{"id":"` + buildID + `"}]` },
		"in turn":     func(n int) string { return `[{"id":"` + uuidOf(fmt.Sprint(n%5)) + `"}]` },
		"same fields": func(n int) string { return fmt.Sprintf(`[{"id":%q,"status":"%d"}]`, buildID, n) },
	} {
		t.Run("builds, "+name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t)
			a.endless(buildsURL, page)
			_, err := collect(a, nil)
			require.ErrorIs(t, err, herokubuild.ErrUnexpectedResponse)
			assert.LessOrEqual(t, a.mock.GetTotalCallCount(), 6)
		})
	}
}

// A list that is not in the order asked for would lead to the wrong item.
func TestListOutOfOrder(t *testing.T) {
	t.Parallel()
	item := func(digit, created string) string {
		return `{"id":"` + uuidOf(digit) + `","created_at":"` + created + `"}`
	}
	const early, late = "2026-01-02T03:04:05Z", "2026-01-02T03:04:06Z"
	tests := map[string]struct {
		opts *herokubuild.ListOptions
		body string
		ok   bool
	}{
		"descending":          {&herokubuild.ListOptions{SortBy: "created_at", Order: herokubuild.Descending}, item("1", late) + "," + item("2", early), true},
		"ascending":           {&herokubuild.ListOptions{SortBy: "created_at"}, item("1", early) + "," + item("2", late), true},
		"at once":             {&herokubuild.ListOptions{SortBy: "created_at"}, item("1", early) + "," + item("2", early), true},
		"wrong way":           {&herokubuild.ListOptions{SortBy: "created_at", Order: herokubuild.Descending}, item("1", early) + "," + item("2", late), false},
		"wrong way, cursor":   {&herokubuild.ListOptions{Cursor: "created_at ]x..; max=9, order=desc"}, item("1", early) + "," + item("2", late), false},
		"by something else":   {&herokubuild.ListOptions{SortBy: "started_at", Order: herokubuild.Descending}, item("1", early) + "," + item("2", late), true},
		"by nothing":          {nil, item("2", late) + "," + item("1", early), true},
		"of unknown creation": {&herokubuild.ListOptions{SortBy: "created_at"}, item("1", late) + `,{"id":"` + uuidOf("2") + `"}`, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t)
			a.on("GET", buildsURL, reply(200, "["+tt.body+"]"))
			page, err := a.Builds.ListPage(t.Context(), appName, tt.opts)
			if !tt.ok {
				require.ErrorIs(t, err, herokubuild.ErrUnexpectedResponse)
				return
			}
			require.NoError(t, err)
			assert.Len(t, page.Items, 2)
		})
	}
}

// An item that comes again on a later page, as one that has been updated meanwhile
// does, is yielded once.
func TestListYieldsEachItemOnce(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.pages(t, map[string]httpmock.Responder{"": page(second, "a", "b"), second: page(third, "b", "c"), third: page("", "c")})
	ids, err := collect(a, nil)
	require.NoError(t, err, "the last page has only what has changed meanwhile")
	assert.Equal(t, []string{"a", "b", "c"}, ids)

	a = newAPI(t)
	a.pages(t, map[string]httpmock.Responder{"": page("", "a", "a", "b")})
	ids, err = collect(a, nil)
	require.NoError(t, err)
	assert.Equal(t, []string{"a", "b"}, ids, "twice on one page")
}

// The error of a page that cannot be used hides what the platform repeats, and
// names the request if the response has no id.
func TestListErrorsNameTheRequest(t *testing.T) {
	t.Parallel()
	for _, sent := range []string{testToken, ""} {
		a := newAPI(t)
		a.pages(t, map[string]httpmock.Responder{"": page(second, "a"), second: reply(206, `[]`, "Next-Range", third, "Request-Id", sent)})
		_, err := collect(a, nil)
		var odd *herokubuild.ResponseError
		require.ErrorAs(t, err, &odd)
		assertErrorClean(t, err)
		assert.Equal(t, 206, odd.StatusCode)
		if sent == "" {
			assert.Equal(t, a.seen()[1].Header.Get("Request-Id"), odd.RequestID)
		}
	}
}

func TestListOfAnything(t *testing.T) {
	t.Parallel()
	type addon struct {
		ID   string
		Name string
	}
	a := newAPI(t)
	pages := []httpmock.Responder{
		reply(206, `[{"id":"1","name":"db"},{"id":"2","name":"cache"}]`, "Next-Range", "id ]2.."),
		reply(200, `[{"id":"2","name":"cache"},{"id":"3","name":"log"}]`),
	}
	a.on("GET", apiURL+"/apps/x/addons", append(pages, pages...)...)
	var names []string
	for one, err := range herokubuild.List[addon](t.Context(), a.Client, "/apps/x/addons", &herokubuild.ListOptions{PageSize: 2}) {
		require.NoError(t, err)
		names = append(names, one.Name)
	}
	assert.Equal(t, []string{"db", "cache", "log"}, names)
	assert.Equal(t, "id ..; max=2", a.seen()[0].Header.Get("Range"))
	assert.Equal(t, "id ]2..", a.seen()[1].Header.Get("Range"))
	n := 0
	for one, err := range herokubuild.List[map[string]any](t.Context(), a.Client, "/apps/x/addons", nil) {
		require.NoError(t, err)
		assert.Len(t, *one, 2)
		n++
	}
	assert.Equal(t, 3, n)
}

func TestListOfAnythingRefuses(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	last := func(items func(func(*any, error) bool)) (err error) {
		for _, err = range items {
		}
		return err
	}
	requireInvalid(t, last(herokubuild.List[any](t.Context(), a.Client, "apps", nil)), "path")
	requireInvalid(t, last(herokubuild.List[any](t.Context(), a.Client, "/../apps", nil)), "path")
	requireInvalid(t, last(herokubuild.List[any](t.Context(), a.Client, "/apps", &herokubuild.ListOptions{Limit: -1})), "ListOptions.Limit")
	requireInvalid(t, last(herokubuild.List[any](t.Context(), nil, "/apps", nil)), "Client")
	for _, err := range herokubuild.List[chan int](t.Context(), a.Client, "/apps", nil) {
		requireInvalid(t, err, "T")
	}
	assert.Zero(t, a.mock.GetTotalCallCount())
	for name, body := range map[string]string{"null": `[null]`, "not a list": `{}`, "of another type": `[[1]]`} {
		a := newAPI(t)
		a.on("GET", apiURL+"/x", reply(200, body))
		for _, err := range herokubuild.List[map[string]any](t.Context(), a.Client, "/x", nil) {
			require.ErrorIs(t, err, herokubuild.ErrUnexpectedResponse, name)
		}
	}
}
