package herokubuild

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// ListOrder is the direction of a list.
type ListOrder string

// The directions of a list.
const (
	Ascending  ListOrder = "asc"
	Descending ListOrder = "desc"
)

// ListOptions selects a part of a list and its order. nil and the zero value mean Heroku's
// defaults: all items, by ID, ascending, 200 items per request.
type ListOptions struct {
	// SortBy is the attribute to sort by, such as "created_at" for builds or "version"
	// for releases. Default "id".
	SortBy string
	// Order is Ascending (the default) or Descending.
	Order ListOrder
	// From and To bound the values of SortBy, both inclusive; empty means no bound.
	From, To string
	// PageSize is the number of items to request at a time, 1 to 1000. Default:
	// Heroku's, 200. A page with more items than requested is an error.
	PageSize int
	// Limit ends an iteration after this many items; 0 means no limit. It has no effect
	// on a ListPage call.
	Limit int
	// Cursor continues after a [Page]: it is the page's Next, unchanged. It includes the
	// order and page size; the fields above, except Limit, must be zero.
	Cursor string
}

// Page is one response of a list endpoint.
type Page[T any] struct {
	// Items are the items of the page, in the list's order.
	Items []*T
	// Next is the cursor of the next page, for [ListOptions].Cursor; empty after the
	// last one.
	Next string
	// Date is when Heroku sent the response, by its own clock, or by the local clock if
	// the response has no date. It is comparable with CreatedAt and UpdatedAt of the
	// items.
	Date time.Time
}

// rangeHeader encodes the options as the API's Range header; "" requests the defaults.
// Source: the API's overview, "List ranges".
func (o *ListOptions) rangeHeader() (string, error) {
	if o == nil {
		return "", nil
	}
	if err := o.check(); err != nil {
		return "", err
	}
	if o.Cursor != "" {
		return o.Cursor, nil
	}
	if *o == (ListOptions{Limit: o.Limit}) {
		return "", nil
	}
	var params []string
	if o.PageSize > 0 {
		params = append(params, "max="+strconv.Itoa(o.PageSize))
	}
	if o.Order != "" {
		params = append(params, "order="+string(o.Order))
	}
	by := o.SortBy
	if by == "" {
		by = "id"
	}
	header := by + " " + o.From + ".." + o.To
	if len(params) > 0 {
		header += "; " + strings.Join(params, ",")
	}
	return header, nil
}

func (o *ListOptions) check() error {
	bad := func(field, reason string) error {
		return &ArgumentError{Name: "ListOptions." + field, Reason: reason}
	}
	for _, f := range []struct{ name, value string }{{"SortBy", o.SortBy}, {"From", o.From}, {"To", o.To}} {
		if !validRangePart(f.value) {
			return bad(f.name, quote(f.value)+" is not valid in a Range header")
		}
	}
	switch {
	case o.PageSize < 0 || o.PageSize > maxPageSize:
		return bad("PageSize", fmt.Sprintf("%d is not within 1 to %d", o.PageSize, maxPageSize))
	case o.Limit < 0:
		return bad("Limit", "is negative")
	case o.Order != "" && o.Order != Ascending && o.Order != Descending:
		return bad("Order", quote(string(o.Order))+" is neither asc nor desc")
	case o.Cursor == "":
		return nil
	case *o != (ListOptions{Cursor: o.Cursor, Limit: o.Limit}):
		return bad("Cursor", "is set together with fields that it includes")
	case !validHeader(o.Cursor):
		return bad("Cursor", "is not the Next of a page")
	}
	return nil
}

// validRangePart reports whether a value can be a part of a Range header.
func validRangePart(s string) bool {
	return validHeader(s) && !strings.ContainsAny(s, " ;,[]") && !strings.Contains(s, "..")
}

var (
	errNextRange = errors.New("Next-Range of the list does not advance")
	errTooLong   = fmt.Errorf("list has more than %d pages", maxPages)
)

const (
	// maxPages bounds an iteration: two million items at the default page size.
	maxPages = 10_000
)

// items are the items of a page as they are decoded.
type items[T any] []*T

func (l *items[T]) validate() error {
	for i, item := range *l {
		if item == nil {
			return fmt.Errorf("item %d of the list is null", i)
		}
		if err := validate(item); err != nil {
			return fmt.Errorf("item %d of the list: %w", i, err)
		}
	}
	return nil
}

// pages reads the pages of one list.
type pages[T any] struct {
	api  *apiClient
	path string
	opts []RequestOption
	// size is the largest permitted number of items of a page.
	size  int
	order order
	// latest is the response with the latest page.
	latest apiResponse
}

// listPages prepares to read a list. It also returns the range of the first page.
func listPages[T any](c *apiClient, path string, opts *ListOptions, requestOpts []RequestOption) (*pages[T], string, error) {
	first, err := opts.rangeHeader()
	if err != nil {
		return nil, "", err
	}
	if o, err := newRequestOptions(requestOpts); err != nil {
		return nil, "", err
	} else if o.header.Get("Range") != "" {
		return nil, "", &ArgumentError{Name: "RequestHeader", Reason: "the Range of a list is set by its ListOptions"}
	}
	order, size := parseRange(first)
	return &pages[T]{api: c, path: path, opts: requestOpts, size: size, order: order}, first, nil
}

// get requests a page of the list by its range.
func (p *pages[T]) get(ctx context.Context, requested string) (*Page[T], error) {
	a := apiCall{method: http.MethodGet, path: p.path, limits: listLimits(p.size)}
	if requested != "" {
		a.header = http.Header{"Range": {requested}}
	}
	var got items[T]
	resp, err := p.api.call(ctx, a, &got, p.opts...)
	if err != nil {
		return nil, err
	}
	p.latest = resp
	page := &Page[T]{Items: got, Next: resp.header.Get(nextRangeHeader), Date: time.Now()}
	if date, err := http.ParseTime(resp.header.Get("Date")); err == nil {
		page.Date = date
	}
	switch {
	case len(page.Next) > maxHeaderText || !validHeader(page.Next):
		err = errors.New("Next-Range of the list is not a range")
	case page.Next != "" && (page.Next == requested || len(page.Items) == 0):
		err = errNextRange
	}
	for i := 0; i < len(got) && err == nil; i++ {
		err = p.order.check(got[i])
	}
	if err != nil {
		return nil, resp.unexpected(err)
	}
	return page, nil
}

// listPage requests one page of the list at path.
func listPage[T any](ctx context.Context, c *apiClient, path string, opts *ListOptions, requestOpts ...RequestOption) (*Page[T], error) {
	p, first, err := listPages[T](c, path, opts, requestOpts)
	if err != nil {
		return nil, err
	}
	return p.get(ctx, first)
}

// list iterates over the pages of a list. An error is the last thing that it yields.
func list[T any](ctx context.Context, c *apiClient, path string, opts *ListOptions, requestOpts ...RequestOption) iter.Seq2[*T, error] {
	return func(yield func(*T, error) bool) {
		p, next, err := listPages[T](c, path, opts, requestOpts)
		if err != nil {
			yield(nil, err)
			return
		}
		limit, yielded := 0, 0
		if opts != nil {
			limit = opts.Limit
		}
		var progress listed
		for n := 1; ; n++ {
			page, err := p.get(ctx, next)
			if err == nil {
				err = p.advance(&progress, page, n)
			}
			if err != nil {
				yield(nil, err)
				return
			}
			for _, item := range page.Items {
				if !yield(item, nil) {
					return
				}
				if yielded++; yielded == limit {
					return
				}
			}
			if next = page.Next; next == "" {
				return
			}
		}
	}
}

// advance checks that the nth page advances the list, and removes the items of earlier
// pages.
func (p *pages[T]) advance(progress *listed, page *Page[T], n int) error {
	if n == 1 && page.Next == "" && len(page.Items) < 2 {
		return nil
	}
	fresh := page.Items[:0]
	for _, item := range page.Items {
		if progress.isNew(itemID(item)) {
			fresh = append(fresh, item)
		}
	}
	var err error
	switch {
	case page.Next == "":
		// All items of the last page may have moved there from earlier ones.
	case len(fresh) == 0, !progress.leadsTo(page.Next):
		err = errNextRange
	case n == maxPages:
		err = errTooLong
	}
	page.Items = fresh
	if err != nil {
		return p.latest.unexpected(err)
	}
	return nil
}

// listed has the cursors and the IDs of the items that an iteration has seen.
type listed struct{ cursors, ids map[string]bool }

// leadsTo records a cursor. It returns false for a cursor that has been followed before,
// since following it again would loop.
func (p *listed) leadsTo(next string) bool {
	if p.cursors == nil {
		p.cursors = map[string]bool{}
	}
	seen := p.cursors[next]
	p.cursors[next] = true
	return !seen
}

// isNew records an item. It returns false for one that has been seen before; an item
// without an ID is always new.
func (p *listed) isNew(id string) bool {
	if p.ids == nil {
		p.ids = map[string]bool{}
	}
	seen := id != "" && p.ids[id]
	p.ids[id] = true
	return !seen
}

// itemID returns the ID of an item: its field ID, or the value of "id" in a map. It
// returns "" if the item has none.
func itemID(item any) string {
	v := reflect.ValueOf(item).Elem()
	switch {
	case v.Kind() == reflect.Struct:
		field, ok := v.Type().FieldByName("ID")
		if !ok {
			return ""
		}
		var err error
		if v, err = v.FieldByIndexErr(field.Index); err != nil {
			return ""
		}
	case v.Kind() == reflect.Map && v.Type().Key().Kind() == reflect.String:
		v = v.MapIndex(reflect.ValueOf("id").Convert(v.Type().Key()))
	default:
		return ""
	}
	if v.IsValid() && v.Kind() == reflect.Interface {
		v = v.Elem()
	}
	if !v.IsValid() || v.Kind() != reflect.String {
		return ""
	}
	return v.String()
}

// order is the requested order of a list, and the position that it has reached.
type order struct {
	by   string
	desc bool
	last int64
	// begun is set when last is known.
	begun bool
}

// parseRange reads the order and the page size of a Range header in the form that this
// package and Heroku use.
func parseRange(header string) (order, int) {
	o, size := order{by: "id"}, maxPageSize
	span, params, _ := strings.Cut(header, ";")
	if by, _, ok := strings.Cut(strings.TrimSpace(span), " "); ok {
		o.by = by
	}
	for param := range strings.SplitSeq(params, ",") {
		switch name, value, _ := strings.Cut(strings.TrimSpace(param), "="); name {
		case "order":
			o.desc = value == string(Descending)
		case "max":
			if n, err := strconv.Atoi(value); err == nil && n > 0 && n <= maxPageSize {
				size = n
			}
		}
	}
	return o, size
}

// sorted is implemented by items with a place in an order. ok is false for an attribute
// that is not known, not set, or can change; strict means that no two items share a place.
type sorted interface {
	place(by string) (place int64, strict, ok bool)
}

// check checks that an item belongs after the one before it.
func (o *order) check(item any) error {
	s, ok := item.(sorted)
	if !ok {
		return nil
	}
	place, strict, ok := s.place(o.by)
	if !ok {
		return nil
	}
	if o.desc {
		place = -place
	}
	if o.begun && (place < o.last || strict && place == o.last) {
		return fmt.Errorf("list is not in the requested order by %s", quote(o.by))
	}
	o.last, o.begun = place, true
	return nil
}

// failed returns an iteration that ends with err at once.
func failed[T any](err error) iter.Seq2[*T, error] {
	return func(yield func(*T, error) bool) { yield(nil, err) }
}
