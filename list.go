package herokubuild

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
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
	// the platform's, 200.
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

// errNextRange is a cursor that does not lead on.
var errNextRange = errors.New("the list's Next-Range does not advance")

// listPage asks for one page of the list at path.
func listPage[T any](ctx context.Context, c *Client, path string, opts *ListOptions) (*Page[T], error) {
	asked, err := opts.rangeHeader()
	if err != nil {
		return nil, err
	}
	a := apiCall{method: http.MethodGet, path: path}
	if asked != "" {
		a.header = http.Header{"Range": {asked}}
	}
	page := new(Page[T])
	header, err := c.call(ctx, a, &page.Items)
	if err != nil {
		return nil, err
	}
	for i, item := range page.Items {
		if item == nil {
			return nil, &AnswerError{Method: a.method, Path: path, StatusCode: http.StatusOK, Err: fmt.Errorf("item %d of the list is null", i)}
		}
	}
	page.Date = time.Now()
	if date, err := http.ParseTime(header.Get("Date")); err == nil {
		page.Date = date
	}
	page.Next = header.Get("Next-Range")
	switch {
	case len(page.Next) > maxHeaderText || !validHeader(page.Next):
		err = errors.New("its Next-Range is not a range")
	case page.Next != "" && (page.Next == asked || len(page.Items) == 0):
		err = errNextRange
	}
	if err != nil {
		return nil, &AnswerError{Method: a.method, Path: path, StatusCode: http.StatusPartialContent, Err: err}
	}
	return page, nil
}

// list iterates over the pages of a list. It yields an error at most once, as
// the last thing.
func list[T any](ctx context.Context, c *Client, path string, opts *ListOptions) iter.Seq2[*T, error] {
	return func(yield func(*T, error) bool) {
		var o ListOptions
		if opts != nil {
			o = *opts
		}
		yielded := 0
		// A cursor that comes again would go round for ever.
		seen := map[string]bool{}
		for {
			page, err := listPage[T](ctx, c, path, &o)
			if err == nil && seen[page.Next] {
				err = &AnswerError{Method: http.MethodGet, Path: path, StatusCode: http.StatusPartialContent, Err: errNextRange}
			}
			if err != nil {
				yield(nil, err)
				return
			}
			for _, item := range page.Items {
				if !yield(item, nil) {
					return
				}
				if yielded++; yielded == o.Limit {
					return
				}
			}
			if page.Next == "" {
				return
			}
			seen[page.Next] = true
			o = ListOptions{Cursor: page.Next, Limit: o.Limit}
		}
	}
}
