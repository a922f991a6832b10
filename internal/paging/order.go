package paging

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/herokubuild/herokubuild/internal/clean"
)

// Order is the requested order of a list, and the position that it has reached.
type Order struct {
	// By is the attribute that the list is sorted by.
	By         string
	descending bool
	last       int64
	// begun is set when last is known.
	begun bool
}

// ParseRange reads the order and the page size of a Range header in the form that this
// package and Heroku use. What the header does not contain has its default.
func ParseRange(header string) (order Order, pageSize int) {
	order, pageSize = Order{By: defaultSort}, MaxPageSize
	span, params, _ := strings.Cut(header, ";")
	if by, _, ok := strings.Cut(strings.TrimSpace(span), " "); ok {
		order.By = by
	}
	for param := range strings.SplitSeq(params, ",") {
		switch name, value, _ := strings.Cut(strings.TrimSpace(param), "="); name {
		case "order":
			order.descending = value == descending
		case "max":
			if n, err := strconv.Atoi(value); err == nil && n > 0 && n <= MaxPageSize {
				pageSize = n
			}
		}
	}
	return order, pageSize
}

// Check checks that an item with this place belongs after the one before it. strict means
// that no two items share a place. The error matches [ErrOutOfOrder].
func (o *Order) Check(place int64, strict bool) error {
	if o.descending {
		place = -place
	}
	if o.begun && (place < o.last || strict && place == o.last) {
		return fmt.Errorf("%w by %s", ErrOutOfOrder, clean.Quote(o.By))
	}
	o.last, o.begun = place, true
	return nil
}
