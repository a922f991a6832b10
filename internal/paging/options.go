// Package paging builds the Range header of a list and checks that the pages of the list
// advance, in its order. Source: "List ranges" in the overview of Heroku's API.
package paging

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/herokubuild/herokubuild/internal/clean"
)

const (
	// MaxPageSize is the largest number of items of a page.
	MaxPageSize = 1000
	// maxNextBytes limits the size of a Next-Range header.
	maxNextBytes = 512

	ascending, descending = "asc", "desc"
	// defaultSort is the attribute that lists are sorted by.
	defaultSort = "id"
)

// Options selects a part of a list and its order. The zero value means Heroku's defaults.
type Options struct {
	// SortBy is the attribute to sort by.
	SortBy string
	// Order is "asc", "desc" or empty.
	Order string
	// From and To bound the values of SortBy.
	From, To string
	// PageSize is the number of items to request at a time.
	PageSize int
	// Limit is the number of items to list. It is checked, but not part of the range.
	Limit int
	// Cursor is the Next-Range of a page, which includes all of the above but Limit.
	Cursor string
}

// OptionError reports a field of [Options] that is not valid.
type OptionError struct {
	Field, Reason string
}

func (e *OptionError) Error() string { return e.Field + " " + e.Reason }

// Range returns the Range header of the first page; "" requests the defaults. The error
// is an [*OptionError].
func (o Options) Range() (string, error) {
	if err := o.check(); err != nil {
		return "", err
	}
	if o.Cursor != "" {
		return o.Cursor, nil
	}
	if o == (Options{Limit: o.Limit}) {
		return "", nil
	}
	by := o.SortBy
	if by == "" {
		by = defaultSort
	}
	var params []string
	if o.PageSize > 0 {
		params = append(params, "max="+strconv.Itoa(o.PageSize))
	}
	if o.Order != "" {
		params = append(params, "order="+o.Order)
	}
	header := by + " " + o.From + ".." + o.To
	if len(params) > 0 {
		header += "; " + strings.Join(params, ",")
	}
	return header, nil
}

func (o Options) check() error {
	for _, f := range []struct{ name, value string }{{"SortBy", o.SortBy}, {"From", o.From}, {"To", o.To}} {
		if !isRangePart(f.value) {
			return &OptionError{Field: f.name, Reason: clean.Quote(f.value) + " is not valid in a Range header"}
		}
	}
	switch {
	case o.PageSize < 0 || o.PageSize > MaxPageSize:
		return &OptionError{Field: "PageSize", Reason: fmt.Sprintf("%d is not within 1 to %d", o.PageSize, MaxPageSize)}
	case o.Limit < 0:
		return &OptionError{Field: "Limit", Reason: "is negative"}
	case o.Order != "" && o.Order != ascending && o.Order != descending:
		return &OptionError{Field: "Order", Reason: clean.Quote(o.Order) + " is neither asc nor desc"}
	case o.Cursor == "":
		return nil
	case o != (Options{Cursor: o.Cursor, Limit: o.Limit}):
		return &OptionError{Field: "Cursor", Reason: "is set together with fields that it includes"}
	case !clean.IsPrintable(o.Cursor):
		return &OptionError{Field: "Cursor", Reason: "is not the Next of a page"}
	}
	return nil
}

// isRangePart reports whether a value can be a part of a Range header.
func isRangePart(s string) bool {
	return clean.IsPrintable(s) && !strings.ContainsAny(s, " ;,[]") && !strings.Contains(s, "..")
}
