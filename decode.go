package herokubuild

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// This file decodes responses: it bounds them, and checks that they contain what they must.

// checkOut refuses what encoding/json cannot decode into. It is called before the request
// is sent, because its response would be lost.
func checkOut(out any) error {
	if out == nil {
		return nil
	}
	bad := func(reason string) error {
		return &ArgumentError{Name: "DoOptions.Out", Reason: fmt.Sprintf("%T %s", out, reason)}
	}
	v := reflect.ValueOf(out)
	switch {
	case v.Kind() != reflect.Pointer:
		return bad("is not a pointer")
	case v.IsNil():
		return bad("is a nil pointer")
	}
	if _, ok := out.(json.Unmarshaler); ok {
		return nil
	}
	if !decodable(v.Type().Elem()) {
		return bad("is not a type that JSON can be decoded into")
	}
	return nil
}

func decodable(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Chan, reflect.Func, reflect.Complex64, reflect.Complex128, reflect.UnsafePointer:
		return false
	case reflect.Interface:
		return t.NumMethod() == 0
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return decodable(t.Elem())
	default:
		return true
	}
}

// bounds limits a response, so that a few kilobytes on the network cannot become gigabytes
// of memory.
type bounds struct {
	// bytes limits the size after decompression.
	bytes int64
	// items limits the elements of the outermost array or object, values those of the
	// whole response.
	items, values int
}

const (
	// A build, release, slug or app is a few kilobytes.
	maxObjectBytes = 1 << 20
	// maxItemBytes is what each item adds to the size of a list: about eight times the
	// size of a build.
	maxItemBytes = 8 << 10
	// maxElements limits each array and object.
	maxElements = 10_000
	// maxItemValues is what each item adds to the values of a list. An app, the
	// largest type of this package, has about 60.
	maxItemValues = 256
	// maxDepth limits how deep arrays and objects are nested.
	maxDepth = 64
)

// objectBounds are those of a single resource.
func objectBounds() bounds {
	return bounds{bytes: maxObjectBytes, items: maxElements, values: maxElements}
}

// listBounds are those of a page with this number of items.
func listBounds(items int) bounds {
	return bounds{
		bytes:  maxObjectBytes + int64(items)*maxItemBytes,
		items:  items,
		values: maxElements + items*maxItemValues,
	}
}

// anyBounds are those of a response of an unknown kind.
func anyBounds() bounds {
	b := listBounds(maxPageSize)
	b.items = maxElements
	return b
}

var (
	errTooDeep       = errors.New("the response is nested more deeply than this package accepts")
	errEmptyResponse = errors.New("the response has no body")
)

// check counts the elements of JSON text before any of it is decoded. Text that is not JSON
// is an error of the decoder's, later.
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

// endOfString returns the index of the quote that ends the string starting at i.
func endOfString(content []byte, i int) int {
	for i++; i < len(content); i++ {
		n := bytes.IndexByte(content[i:], '"')
		if n < 0 {
			break
		}
		// An odd number of backslashes before the quote escapes it.
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

// checked is a response that can be validated.
type checked interface{ validate() error }

// validate checks a value that was decoded from a response. What is missing or has another
// form is an [ResponseError], so that later calls cannot fail with an [ArgumentError] about a
// value that the API chose.
func validate(v any) error {
	if c, ok := v.(checked); ok {
		return c.validate()
	}
	return nil
}

// requireID checks an id that must be set.
func requireID(field, id string) error {
	switch {
	case id == "":
		return fmt.Errorf("the response has no %s", field)
	case !isUUID(id):
		return fmt.Errorf("the response's %s %s is not a UUID", field, quote(id))
	}
	return nil
}

// optionalID checks an id that may be missing, such as that of a slug that does not exist
// yet.
func optionalID(field, id string) error {
	if id == "" {
		return nil
	}
	return requireID(field, id)
}

// requireURL checks a URL that this package is going to use.
func requireURL(field string, u SecretURL) error {
	if isPlainURL(u.Reveal()) {
		return nil
	}
	_, err := checkWebURL(field, u.Reveal())
	var bad *ArgumentError
	if errors.As(err, &bad) {
		return fmt.Errorf("the response's %s cannot be used: %s", bad.Name, bad.Reason)
	}
	return err
}

// isPlainURL reports whether a URL has the form that nearly all have: https, a host of
// letters, digits, dots and dashes, and printable characters. It spares lists the
// allocations of checkWebURL for every item.
func isPlainURL(s string) bool {
	rest, ok := strings.CutPrefix(s, "https://")
	host := strings.IndexByte(rest, '/')
	if !ok || host < 1 {
		return false
	}
	for i := range host {
		if !isHostByte(rest[i]) {
			return false
		}
	}
	for i := host; i < len(rest); i++ {
		if c := rest[i]; c <= ' ' || c > '~' || c == '%' && !isEscape(rest[i:]) {
			return false
		}
	}
	return true
}

func isHostByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.'
}

func isEscape(s string) bool {
	if len(s) < 3 {
		return false
	}
	_, err := strconv.ParseUint(s[1:3], 16, 8)
	return err == nil
}

func optionalURL(field string, u SecretURL) error {
	if u == "" {
		return nil
	}
	return requireURL(field, u)
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

const maxPageSize = 1000
