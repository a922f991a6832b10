package herokubuild

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/herokubuild/herokubuild/internal/jsonlimit"
	"github.com/herokubuild/herokubuild/internal/paging"
)

// This file decodes responses: it limits them, and checks that they contain what they must.

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
)

// objectLimits are those of a single resource. Responses are limited after decompression.
func objectLimits() jsonlimit.Limits {
	return jsonlimit.Limits{Bytes: maxObjectBytes, Items: maxElements, Elements: maxElements, Values: maxElements}
}

// listLimits are those of a page with this number of items.
func listLimits(items int) jsonlimit.Limits {
	return jsonlimit.Limits{
		Bytes:    maxObjectBytes + int64(items)*maxItemBytes,
		Items:    items,
		Elements: maxElements,
		Values:   maxElements + items*maxItemValues,
	}
}

// anyLimits are those of a response of an unknown kind.
func anyLimits() jsonlimit.Limits {
	l := listLimits(maxPageSize)
	l.Items = maxElements
	return l
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

const maxPageSize = paging.MaxPageSize
