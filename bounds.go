package herokubuild

import (
	"bytes"
	"errors"
	"fmt"
)

// This file bounds what a response of the API may be made of, so that a few
// kilobytes on the wire cannot become gigabytes of memory.

// bounds limits a response: its size once it is decompressed, and what it is
// made of.
type bounds struct {
	bytes int64
	// items limits the outermost array or object, values the whole response.
	items, values int
}

const (
	// A build, release, slug or app is a few kilobytes.
	maxObjectBytes = 1 << 20
	// maxItemBytes is what each item adds to the size of a list: about eight
	// times that of a build.
	maxItemBytes = 8 << 10
	// maxElements limits each array and object.
	maxElements = 10_000
	// maxItemValues is what each item adds to the values of a list. An app, the
	// largest of our types, has about 60.
	maxItemValues = 256
	// maxDepth limits how deep arrays and objects are nested.
	maxDepth = 64
)

// objectBounds are those of a single resource.
func objectBounds() bounds {
	return bounds{bytes: maxObjectBytes, items: maxElements, values: maxElements}
}

// listBounds are those of a page of so many items.
func listBounds(items int) bounds {
	return bounds{
		bytes:  maxObjectBytes + int64(items)*maxItemBytes,
		items:  items,
		values: maxElements + items*maxItemValues,
	}
}

// anyBounds are those of a response of which nothing is known.
func anyBounds() bounds {
	b := listBounds(maxPageSize)
	b.items = maxElements
	return b
}

var (
	// errTooLarge is what readBody returns for a body over its bound.
	errTooLarge = errors.New("the response is larger than this package accepts")
	errTooDeep  = errors.New("the response is nested more deeply than this package accepts")
)

// check counts what JSON text is made of before any of it is decoded. Text that is
// not JSON is left for the decoder to find.
func (b bounds) check(content []byte) error {
	var elements [maxDepth + 1]int
	depth, values := 0, 0
	for i := 0; i < len(content); i++ {
		switch content[i] {
		case '"':
			i = endOfString(content, i)
			continue
		case '{', '[':
			if depth++; depth > maxDepth {
				return errTooDeep
			}
			elements[depth] = 1
		case '}', ']':
			depth = max(depth-1, 0)
			continue
		case ',':
			elements[depth]++
		default:
			continue
		}
		limit := maxElements
		if depth == 1 {
			limit = b.items
		}
		if elements[depth] > limit {
			return fmt.Errorf("the response has an array or object of more than %d elements", limit)
		}
		if values++; values > b.values {
			return fmt.Errorf("the response has more than %d values", b.values)
		}
	}
	return nil
}

// endOfString returns where the string that starts at i ends.
func endOfString(content []byte, i int) int {
	for i++; i < len(content); i++ {
		n := bytes.IndexByte(content[i:], '"')
		if n < 0 {
			break
		}
		// An odd number of backslashes before it escapes the quote.
		end := i + n
		back := end
		for back > i && content[back-1] == '\\' {
			back--
		}
		if i = end; (end-back)%2 == 0 {
			return end
		}
	}
	return len(content)
}
