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

// Order is the direction of a list.
type Order string

// The two orders of a list.
const (
	Ascending  Order = "asc"
	Descending Order = "desc"
)

// ListOptions says which part of a list is wanted and in which order. nil and
// the zero value are the platform's defaults: everything, by id, ascending,
// 200 items a request.
type ListOptions struct {
	// SortBy is the attribute to sort by, such as "created_at" for builds or
	// "version" for releases. Default "id".
	SortBy string
	// Order is Ascending (the default) or Descending.
	Order Order
	// From and To bound the values of SortBy, both inclusive; empty is open.
	From, To string
	// PageSize is how many items one request asks for, 1 to 1000. Default:
	// the platform's, 200. A page of more items than were asked for is refused.
	PageSize int
	// Limit ends an iteration after this many items; 0 is no limit. It has no
	// effect on a ListPage call.
	Limit int
	// Cursor goes on where a [Page] ended: its Next, as it is. It carries the
	// order and page size; the fields above, but for Limit, must be zero.
	Cursor string
}

// Page is one answer of a list endpoint.
type Page[T any] struct {
	// Items are the page's, in the list's order.
	Items []*T
	// Next is the cursor of the next page, for [ListOptions].Cursor; empty
	// after the last one.
	Next string
	// Date is when the platform answered, by its own clock, or by ours if it
	// did not say: what CreatedAt and UpdatedAt of the items compare with.
	Date time.Time
}

const maxPageSize = 1000

// rangeHeader encodes the options as the API's Range header; "" asks for the
// platform's defaults. Source: the API's overview, "List ranges".
func (o *ListOptions) rangeHeader() (string, error) {
	if o == nil {
		return "", nil
	}
	bad := func(field, reason string) (string, error) {
		return "", &ArgumentError{Name: "ListOptions." + field, Reason: reason}
	}
	for _, f := range []struct{ name, value string }{{"SortBy", o.SortBy}, {"From", o.From}, {"To", o.To}} {
		if strings.ContainsFunc(f.value, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(";,[]", r) }) || strings.Contains(f.value, "..") {
			return bad(f.name, quote(f.value)+" cannot stand in a Range header")
		}
	}
	switch {
	case o.PageSize < 0 || o.PageSize > maxPageSize:
		return bad("PageSize", fmt.Sprintf("%d is not within 1 to %d", o.PageSize, maxPageSize))
	case o.Limit < 0:
		return bad("Limit", "is negative")
	case o.Order != "" && o.Order != Ascending && o.Order != Descending:
		return bad("Order", quote(string(o.Order))+" is neither asc nor desc")
	}
	if o.Cursor != "" {
		if *o != (ListOptions{Cursor: o.Cursor, Limit: o.Limit}) {
			return bad("Cursor", "stands together with fields that it already carries")
		}
		if !validHeader(o.Cursor) {
			return bad("Cursor", "is not a Next of an earlier page")
		}
		return o.Cursor, nil
	}

	if *o == (ListOptions{Limit: o.Limit}) {
		return "", nil
	}
	by := o.SortBy
	if by == "" {
		by = "id"
	}
	var params []string
	if o.PageSize > 0 {
		params = append(params, "max="+strconv.Itoa(o.PageSize))
	}
	if o.Order != "" {
		params = append(params, "order="+string(o.Order))
	}
	header := by + " " + o.From + ".." + o.To
	if len(params) > 0 {
		header += "; " + strings.Join(params, ",")
	}
	return header, nil
}

func validHeader(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}

// ErrPartialList reports that [Client.Do] got the first page of a list and that
// there are more. It is wrapped in an [*ResponseError]. [List] reads all pages.
var ErrPartialList = errors.New("the response is only the first page of a list")

var (
	errNextRange = errors.New("the list's Next-Range does not advance")
	errTooLong   = fmt.Errorf("the list has more than %d pages", maxPages)
)

const (
	nextRangeHeader = "Next-Range"
	// maxPages bounds an iteration: two million items at the platform's page size.
	maxPages = 10_000
)

// List iterates over any list endpoint of the API, page by page as needed, for
// those that have no method of their own in this package:
//
//	type addon struct{ ID, Name string }
//	for a, err := range herokubuild.List[addon](ctx, client, "/apps/my-app/addons", nil) {
//
// The path is as for [Client.Do], and a T is what one item is decoded into. An
// error ends the iteration; it comes with a nil item.
//
// An iteration always ends. A page that brings nothing new and is not the last one,
// or is out of the order that was asked for, is an [*ResponseError], as is a list of
// more than 10,000 pages. An item whose id has been yielded before is skipped:
// where a list is sorted by something that changes, such as updated_at, it can come
// twice.
//
// Errors: [*ArgumentError], [*APIError], [*RequestError], [*ResponseError].
func List[T any](ctx context.Context, c *Client, path string, opts *ListOptions) iter.Seq2[*T, error] {
	if err := checkPath(path); err != nil {
		return failed[T](err)
	}
	if !decodable(reflect.TypeFor[T]()) {
		return failed[T](&ArgumentError{Name: "T", Reason: reflect.TypeFor[T]().String() + " is not a type that JSON can be decoded into"})
	}
	return list[T](ctx, c, path, opts)
}

// items is a page of a list as it is decoded.
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
	client *Client
	path   string
	// size is how many items a page may have.
	size  int
	order order
	// latest is the response with the latest page.
	latest apiResponse
}

// listPages prepares to read a list. It returns the range of the first page too.
func listPages[T any](c *Client, path string, opts *ListOptions) (*pages[T], string, error) {
	first, err := opts.rangeHeader()
	if err != nil {
		return nil, "", err
	}
	order, size := parseRange(first)
	return &pages[T]{client: c, path: path, size: size, order: order}, first, nil
}

// get asks for a page of the list by its range.
func (p *pages[T]) get(ctx context.Context, asked string) (*Page[T], error) {
	a := apiCall{method: http.MethodGet, path: p.path, bounds: listBounds(p.size)}
	if asked != "" {
		a.header = http.Header{"Range": {asked}}
	}
	var got items[T]
	resp, err := p.client.call(ctx, a, &got)
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
		err = errors.New("its Next-Range is not a range")
	case page.Next != "" && (page.Next == asked || len(page.Items) == 0):
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

// listPage asks for one page of the list at path.
func listPage[T any](ctx context.Context, c *Client, path string, opts *ListOptions) (*Page[T], error) {
	p, first, err := listPages[T](c, path, opts)
	if err != nil {
		return nil, err
	}
	return p.get(ctx, first)
}

// list iterates over the pages of a list. It yields an error at most once, as
// the last thing.
func list[T any](ctx context.Context, c *Client, path string, opts *ListOptions) iter.Seq2[*T, error] {
	return func(yield func(*T, error) bool) {
		p, next, err := listPages[T](c, path, opts)
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

// advance checks that the nth page leads on, and removes the items that have been
// on an earlier one.
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
		// The last page may have nothing but items that have changed meanwhile.
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

// listed is what an iteration has seen.
type listed struct{ cursors, ids map[string]bool }

// leadsTo is false for a cursor that has been followed before, which would lead
// round in circles.
func (p *listed) leadsTo(next string) bool {
	if p.cursors == nil {
		p.cursors = map[string]bool{}
	}
	seen := p.cursors[next]
	p.cursors[next] = true
	return !seen
}

// isNew is false for an item that has been seen before. One without an id is taken
// for new.
func (p *listed) isNew(id string) bool {
	if p.ids == nil {
		p.ids = map[string]bool{}
	}
	seen := id != "" && p.ids[id]
	p.ids[id] = true
	return !seen
}

// itemID returns the id of an item, or nothing if it has none: its field ID, or the
// value of "id" in a map.
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

// order is the order of a list that has been asked for, and how far it has come.
type order struct {
	by   string
	desc bool
	last int64
	// begun says that last is known.
	begun bool
}

// parseRange reads the order and the page size of a Range header, in the form that
// this package and the platform give it.
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

// sorted is a type of items that knows its place in an order. It is false for an
// attribute that is not known, not set, or can change.
type sorted interface {
	place(by string) (place int64, strict, ok bool)
}

func (b *Build) place(by string) (place int64, strict, ok bool) {
	return b.CreatedAt.Unix(), false, by == "created_at" && !b.CreatedAt.IsZero()
}

func (r *Release) place(by string) (place int64, strict, ok bool) {
	if by == "version" {
		return int64(r.Version), true, true
	}
	return r.CreatedAt.Unix(), false, by == "created_at" && !r.CreatedAt.IsZero()
}

// check checks that an item is where it belongs: after the one before it.
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
		return fmt.Errorf("the list is not in the order of %s that was asked for", quote(o.by))
	}
	o.last, o.begun = place, true
	return nil
}
