package paging

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRange(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		opts Options
		want string
	}{
		"zero":             {Options{}, ""},
		"limit only":       {Options{Limit: 5}, ""},
		"page size":        {Options{PageSize: 1000}, "id ..; max=1000"},
		"order":            {Options{Order: "desc"}, "id ..; order=desc"},
		"attribute":        {Options{SortBy: "created_at"}, "created_at .."},
		"all":              {Options{SortBy: "version", Order: "asc", From: "3", To: "9", PageSize: 10, Limit: 2}, "version 3..9; max=10,order=asc"},
		"from":             {Options{From: "a"}, "id a.."},
		"to":               {Options{SortBy: "created_at", To: "2024-05-01T10:00:00Z"}, "created_at ..2024-05-01T10:00:00Z"},
		"cursor":           {Options{Cursor: "]v 12..; max=10, order=desc"}, "]v 12..; max=10, order=desc"},
		"cursor and limit": {Options{Cursor: "id ]x..", Limit: 3}, "id ]x.."},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			header, err := tt.opts.Range()
			require.NoError(t, err)
			assert.Equal(t, tt.want, header)
		})
	}
}

func TestRangeOfInvalidOptions(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		opts  Options
		field string
	}{
		"negative page":     {Options{PageSize: -1}, "PageSize"},
		"page too large":    {Options{PageSize: 1001}, "PageSize"},
		"negative limit":    {Options{Limit: -1}, "Limit"},
		"order":             {Options{Order: "down"}, "Order"},
		"sort with space":   {Options{SortBy: "id .."}, "SortBy"},
		"sort with break":   {Options{SortBy: "id\r\nX: y"}, "SortBy"},
		"from with params":  {Options{From: "a;max=9"}, "From"},
		"from with a comma": {Options{From: "a,b"}, "From"},
		"from with a range": {Options{From: "a..b"}, "From"},
		"to with bracket":   {Options{To: "]a"}, "To"},
		"to beyond ASCII":   {Options{To: "é"}, "To"},
		"to with DEL":       {Options{To: "\x7f"}, "To"},
		"cursor and order":  {Options{Cursor: "id ..", Order: "asc"}, "Cursor"},
		"cursor and size":   {Options{Cursor: "id ..", PageSize: 5}, "Cursor"},
		"cursor and from":   {Options{Cursor: "id ..", From: "a"}, "Cursor"},
		"cursor with break": {Options{Cursor: "id ..\nX: y"}, "Cursor"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			header, err := tt.opts.Range()
			assert.Empty(t, header)
			var bad *OptionError
			require.ErrorAs(t, err, &bad)
			assert.Equal(t, tt.field, bad.Field)
			assert.NotEmpty(t, bad.Reason)
			assert.NotContains(t, err.Error(), "\n")
		})
	}
}

func TestParseRange(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		header     string
		by         string
		descending bool
		size       int
	}{
		"none":             {"", "id", false, 1000},
		"attribute":        {"created_at ..", "created_at", false, 1000},
		"own form":         {"version 3..9; max=10,order=desc", "version", true, 10},
		"form of Heroku":   {"version ]12..; max=20, order=desc", "version", true, 20},
		"order first":      {"id ..;order=asc , max=7", "id", false, 7},
		"only parameters":  {"; max=5", "id", false, 5},
		"size of 0":        {"id ..; max=0", "id", false, 1000},
		"negative size":    {"id ..; max=-3", "id", false, 1000},
		"size too large":   {"id ..; max=1001", "id", false, 1000},
		"size not numeric": {"id ..; max=many", "id", false, 1000},
		"unknown":          {"id ..; depth=3, max", "id", false, 1000},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			order, size := ParseRange(tt.header)
			assert.Equal(t, Order{By: tt.by, descending: tt.descending}, order)
			assert.Equal(t, tt.size, size)
		})
	}
}

// What Range builds, ParseRange reads.
func TestParseRangeOfRange(t *testing.T) {
	t.Parallel()
	for _, opts := range []Options{
		{SortBy: "created_at"}, {PageSize: 1}, {PageSize: MaxPageSize, Order: "desc"},
		{SortBy: "version", From: "1", To: "2", Order: "asc", PageSize: 3},
	} {
		header, err := opts.Range()
		require.NoError(t, err)
		order, size := ParseRange(header)
		if opts.SortBy != "" {
			assert.Equal(t, opts.SortBy, order.By, header)
		}
		if opts.PageSize > 0 {
			assert.Equal(t, opts.PageSize, size, header)
		}
		assert.Equal(t, opts.Order == "desc", order.descending, header)
	}
}

func TestOrder(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		header string
		strict bool
		places []int64
		// bad is the index of the first place that is out of order, or -1.
		bad int
	}{
		"ascending":                  {"x ..", true, []int64{-1, 0, 5}, -1},
		"descending":                 {"x ..; order=desc", true, []int64{5, 0, -1}, -1},
		"wrong direction":            {"x ..", true, []int64{5, 4}, 1},
		"wrong direction, desc":      {"x ..; order=desc", true, []int64{4, 5}, 1},
		"shared place":               {"x ..", false, []int64{1, 1, 2, 2}, -1},
		"shared place, strict":       {"x ..", true, []int64{1, 2, 2}, 2},
		"shared place, desc, strict": {"x ..; order=desc", true, []int64{3, 2, 2}, 2},
		"one item":                   {"x ..", true, []int64{0}, -1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			order, _ := ParseRange(tt.header)
			for i, place := range tt.places {
				err := order.Check(place, tt.strict)
				if i == tt.bad {
					require.ErrorIs(t, err, ErrOutOfOrder)
					return
				}
				require.NoError(t, err, i)
			}
			assert.Equal(t, -1, tt.bad)
		})
	}
}

func TestCheckNext(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		requested, next string
		items           int
		want            error
	}{
		"last page":        {"a", "", 3, nil},
		"empty last page":  {"a", "", 0, nil},
		"next page":        {"a", "b", 1, nil},
		"after first page": {"", "b", 1, nil},
		"the same page":    {"b", "b", 1, ErrStuck},
		"of no items":      {"a", "b", 0, ErrStuck},
		"at the limit":     {"a", strings.Repeat("x", maxNextBytes), 1, nil},
		"too long":         {"a", strings.Repeat("x", maxNextBytes+1), 1, ErrInvalidNext},
		"control":          {"a", "id \x00..", 1, ErrInvalidNext},
		"line break":       {"a", "id ..\r\nX: y", 1, ErrInvalidNext},
		"beyond ASCII":     {"a", "id é..", 1, ErrInvalidNext},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.ErrorIs(t, CheckNext(tt.requested, tt.next, tt.items), tt.want)
		})
	}
}

type item struct{ ID string }

func itemsOf(ids string) (items []*item) {
	for _, id := range strings.Fields(ids) {
		items = append(items, &item{ID: strings.Trim(id, "-")})
	}
	return items
}

func TestProgress(t *testing.T) {
	t.Parallel()
	// Each page is its IDs ("-" is an item without one), its cursor, and the new IDs.
	type page struct{ ids, next, fresh string }
	tests := map[string]struct {
		pages []page
		// last is the page after those, and want its error.
		last page
		want error
	}{
		"one page":                     {nil, page{"a b", "", "a b"}, nil},
		"one item":                     {nil, page{"a", "", "a"}, nil},
		"no item":                      {nil, page{"", "", ""}, nil},
		"twice on one page":            {nil, page{"a a b", "", "a b"}, nil},
		"three pages":                  {[]page{{"a b", "1", "a b"}, {"c", "2", "c"}}, page{"d", "", "d"}, nil},
		"item that has moved":          {[]page{{"a b", "1", "a b"}}, page{"b c", "2", "c"}, nil},
		"last page of old items":       {[]page{{"a b", "1", "a b"}}, page{"b", "", ""}, nil},
		"page of old items":            {[]page{{"a b", "1", "a b"}}, page{"a b", "2", ""}, ErrStuck},
		"cursor in a loop":             {[]page{{"a", "1", "a"}, {"b", "2", "b"}}, page{"c", "1", ""}, ErrStuck},
		"items without IDs":            {[]page{{"- -", "1", "- -"}}, page{"- -", "2", "- -"}, nil},
		"items without IDs, in a loop": {[]page{{"-", "1", "-"}}, page{"-", "1", ""}, ErrStuck},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var p Progress[item]
			advance := func(page page) error {
				fresh, err := p.Advance(itemsOf(page.ids), page.next)
				assert.ElementsMatch(t, itemsOf(page.fresh), fresh)
				return err
			}
			for _, page := range tt.pages {
				require.NoError(t, advance(page))
			}
			require.ErrorIs(t, advance(tt.last), tt.want)
		})
	}
}

func TestProgressEndsAfterTheLargestNumberOfPages(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		next string
		want error
	}{"last page": {"", nil}, "one more page": {"more", ErrTooLong}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var p Progress[item]
			for n := 1; n < maxPages; n++ {
				_, err := p.Advance([]*item{{ID: fmt.Sprint(n)}}, fmt.Sprint(n))
				require.NoError(t, err)
			}
			_, err := p.Advance([]*item{{ID: "last"}}, tt.next)
			require.ErrorIs(t, err, tt.want)
		})
	}
}

func TestItemID(t *testing.T) {
	t.Parallel()
	type key string
	type embedding struct{ *item }
	var anything any = map[string]any{"id": "a"}
	tests := map[string]struct {
		item any
		want string
	}{
		"struct":                   {&item{ID: "a"}, "a"},
		"embedded":                 {&embedding{&item{ID: "a"}}, "a"},
		"embedded, nil":            {&embedding{}, ""},
		"named type of string":     {&struct{ ID key }{"a"}, "a"},
		"ID of another type":       {&struct{ ID int }{7}, ""},
		"struct without an ID":     {&struct{ Name string }{"a"}, ""},
		"interface field":          {&struct{ ID any }{"a"}, "a"},
		"nil interface field":      {&struct{ ID any }{}, ""},
		"map of anything":          {&map[string]any{"id": "a"}, "a"},
		"map of strings":           {&map[string]string{"id": "a"}, "a"},
		"map of another key":       {&map[key]string{"id": "a"}, "a"},
		"map without an ID":        {&map[string]any{"name": "a"}, ""},
		"map with a null ID":       {&map[string]any{"id": nil}, ""},
		"map with a number":        {&map[string]any{"id": 7.0}, ""},
		"map of numbers":           {&map[int]string{7: "a"}, ""},
		"nil map":                  {new(map[string]any), ""},
		"string":                   {new(string), ""},
		"pointer to an interface":  {&anything, ""},
		"pointer to nil interface": {new(any), ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, tt.want, itemID(tt.item))
		})
	}
}
