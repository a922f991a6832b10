// Package jsonlimit bounds JSON text before it is decoded, so that a few kilobytes on
// the network cannot become gigabytes of memory.
package jsonlimit

import (
	"bytes"
	"fmt"
)

// MaxDepth limits how deep arrays and objects are nested.
const MaxDepth = 64

// Limits bounds a JSON text.
type Limits struct {
	// Bytes limits the size of the text.
	Bytes int64
	// Items limits the elements of the outermost array or object.
	Items int
	// Elements limits the elements of each other array and object.
	Elements int
	// Values limits the elements of all arrays and objects together.
	Values int
}

// Bound is what a text exceeds.
type Bound int

// The bounds.
const (
	Bytes Bound = iota + 1
	Depth
	Elements
	Values
)

// Error reports a text that exceeds a bound.
type Error struct {
	Bound Bound
	Limit int64
}

func (e *Error) Error() string {
	switch e.Bound {
	case Bytes:
		return fmt.Sprintf("JSON text of more than %d bytes", e.Limit)
	case Depth:
		return fmt.Sprintf("JSON text that is nested more than %d levels deep", e.Limit)
	case Elements:
		return fmt.Sprintf("JSON text with an array or object of more than %d elements", e.Limit)
	default:
		return fmt.Sprintf("JSON text of more than %d values", e.Limit)
	}
}

// Check counts the elements of a text. The error is an [*Error]. Text that is not JSON
// is left to the decoder.
func (l Limits) Check(text []byte) error {
	if int64(len(text)) > l.Bytes {
		return &Error{Bound: Bytes, Limit: l.Bytes}
	}
	c := counter{limits: l}
	for i := 0; i < len(text); i++ {
		var err error
		switch text[i] {
		case '"':
			i = endOfString(text, i)
		case '{', '[':
			err = c.open()
		case '}', ']':
			c.depth = max(c.depth-1, 0)
		case ',':
			err = c.next()
		default:
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// counter counts the elements of the arrays and objects that are open.
type counter struct {
	limits        Limits
	elements      [MaxDepth + 1]int
	depth, values int
}

// open begins an array or object, which is counted as if it were not empty.
func (c *counter) open() error {
	if c.depth == MaxDepth {
		return &Error{Bound: Depth, Limit: MaxDepth}
	}
	c.depth++
	c.elements[c.depth] = 0
	return c.next()
}

// next begins an element of the innermost array or object.
func (c *counter) next() error {
	limit := c.limits.Elements
	if c.depth == 1 {
		limit = c.limits.Items
	}
	if c.elements[c.depth]++; c.elements[c.depth] > limit {
		return &Error{Bound: Elements, Limit: int64(limit)}
	}
	if c.values++; c.values > c.limits.Values {
		return &Error{Bound: Values, Limit: int64(c.limits.Values)}
	}
	return nil
}

// endOfString returns the index of the quote that ends the string starting at i.
func endOfString(text []byte, i int) int {
	for i++; i < len(text); i++ {
		n := bytes.IndexByte(text[i:], '"')
		if n < 0 {
			break
		}
		// An odd number of backslashes before the quote escapes it.
		end := i + n
		back := end
		for back > i && text[back-1] == '\\' {
			back--
		}
		if i = end; (end-back)%2 == 0 {
			return end
		}
	}
	return len(text)
}
