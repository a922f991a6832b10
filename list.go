package herokubuild

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"time"

	"github.com/herokubuild/herokubuild/internal/paging"
	"github.com/herokubuild/herokubuild/internal/wire"
)

// ListOrder is the direction of a list.
type ListOrder string

// The directions of a list.
const (
	Ascending  ListOrder = "asc"
	Descending ListOrder = "desc"
)

// ListOptions selects a part of a list and its order. nil is the default, which is
// Heroku's: all items, by ID, ascending, 200 items per request.
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
func (o *ListOptions) rangeHeader() (string, error) {
	if o == nil {
		return "", nil
	}
	header, err := paging.Options{
		SortBy: o.SortBy, Order: string(o.Order), From: o.From, To: o.To,
		PageSize: o.PageSize, Limit: o.Limit, Cursor: o.Cursor,
	}.Range()
	var bad *paging.OptionError
	if errors.As(err, &bad) {
		return "", &ArgumentError{Name: "ListOptions." + bad.Field, Reason: bad.Reason}
	}
	return header, err
}

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
	order paging.Order
	// latest is the response with the latest page.
	latest *wire.Response
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
	order, size := paging.ParseRange(first)
	return &pages[T]{api: c, path: path, opts: requestOpts, size: size, order: order}, first, nil
}

// get requests a page of the list by its range.
func (p *pages[T]) get(ctx context.Context, requested string) (*Page[T], error) {
	a := apiCall{method: http.MethodGet, path: p.path, limits: wire.ListLimits(p.size)}
	if requested != "" {
		a.header = http.Header{"Range": {requested}}
	}
	var got items[T]
	resp, err := p.api.call(ctx, a, &got, p.opts...)
	if err != nil {
		return nil, err
	}
	p.latest = resp
	page := &Page[T]{Items: got, Next: resp.NextRange(), Date: resp.Date()}
	if err := p.check(requested, page); err != nil {
		return nil, requestFailure(ctx, resp.Unusable(err))
	}
	return page, nil
}

// check checks the cursor of a page and the order of its items.
func (p *pages[T]) check(requested string, page *Page[T]) error {
	if err := paging.CheckNext(requested, page.Next, len(page.Items)); err != nil {
		return err
	}
	for _, item := range page.Items {
		if err := p.checkOrder(item); err != nil {
			return err
		}
	}
	return nil
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
		limit, yielded := orZero(opts).Limit, 0
		var progress paging.Progress[T]
		for {
			page, err := p.get(ctx, next)
			if err != nil {
				yield(nil, err)
				return
			}
			fresh, err := progress.Advance(page.Items, page.Next)
			if err != nil {
				yield(nil, requestFailure(ctx, p.latest.Unusable(err)))
				return
			}
			for _, item := range fresh {
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

// sorted is implemented by items with a place in an order. ok is false for an attribute
// that is not known, not set, or can change; strict means that no two items share a place.
type sorted interface {
	place(by string) (place int64, strict, ok bool)
}

// checkOrder checks that an item belongs after the one before it.
func (p *pages[T]) checkOrder(item any) error {
	s, ok := item.(sorted)
	if !ok {
		return nil
	}
	place, strict, ok := s.place(p.order.By)
	if !ok {
		return nil
	}
	return p.order.Check(place, strict)
}

// failed returns an iteration that ends with err at once.
func failed[T any](err error) iter.Seq2[*T, error] {
	return func(yield func(*T, error) bool) { yield(nil, err) }
}

const maxPageSize = paging.MaxPageSize
