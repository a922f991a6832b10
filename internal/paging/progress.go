package paging

import (
	"errors"
	"fmt"

	"github.com/herokubuild/herokubuild/internal/clean"
)

// maxPages bounds an iteration: two million items at the default page size.
const maxPages = 10_000

var (
	// ErrInvalidNext reports a Next-Range header that cannot be requested.
	ErrInvalidNext = errors.New("Next-Range of the list is not a range")
	// ErrStuck reports a page whose Next-Range leads nowhere new.
	ErrStuck = errors.New("Next-Range of the list does not advance")
	// ErrTooLong reports a list with more pages than an iteration reads.
	ErrTooLong = fmt.Errorf("list has more than %d pages", maxPages)
	// ErrOutOfOrder reports items that are not sorted as requested.
	ErrOutOfOrder = errors.New("list is not in the requested order")
)

// CheckNext checks the Next-Range header of a page with this number of items. requested
// is the Range header of its request.
func CheckNext(requested, next string, items int) error {
	switch {
	case len(next) > maxNextBytes || !clean.IsPrintable(next):
		return ErrInvalidNext
	case next != "" && (next == requested || items == 0):
		return ErrStuck
	}
	return nil
}

// Progress has the cursors and the IDs of the items that an iteration has seen. The zero
// value is that of a new iteration.
type Progress[T any] struct {
	pages        int
	cursors, ids map[string]bool
}

// Advance checks that the next page advances the list, and returns its items without
// those of earlier pages. It reuses the memory of items.
func (p *Progress[T]) Advance(items []*T, next string) ([]*T, error) {
	p.pages++
	if p.pages == 1 && next == "" && len(items) < 2 {
		return items, nil
	}
	fresh := items[:0]
	for _, item := range items {
		if p.isNew(itemID(item)) {
			fresh = append(fresh, item)
		}
	}
	switch {
	case next == "":
		// All items of the last page may have moved there from earlier ones.
		return fresh, nil
	case len(fresh) == 0, !p.leadsTo(next):
		return nil, ErrStuck
	case p.pages == maxPages:
		return nil, ErrTooLong
	}
	return fresh, nil
}

// leadsTo records a cursor. It returns false for a cursor that has been followed before,
// since following it again would loop.
func (p *Progress[T]) leadsTo(next string) bool {
	if p.cursors == nil {
		p.cursors = map[string]bool{}
	}
	seen := p.cursors[next]
	p.cursors[next] = true
	return !seen
}

// isNew records an item. It returns false for one that has been seen before; an item
// without an ID is always new.
func (p *Progress[T]) isNew(id string) bool {
	if p.ids == nil {
		p.ids = map[string]bool{}
	}
	seen := id != "" && p.ids[id]
	p.ids[id] = true
	return !seen
}
