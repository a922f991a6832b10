package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"

	"github.com/herokubuild/herokubuild/internal/jsonlimit"
	"github.com/herokubuild/herokubuild/internal/paging"
)

// decode decodes the content of a successful response into out, and validates it.
func (a *Call) decode(resp *Response, content []byte, out any) error {
	if a.Partial != nil && resp.NextRange() != "" {
		return a.Partial
	}
	switch trimmed := bytes.TrimSpace(content); {
	case len(trimmed) == 0 && a.MayBeEmpty:
		return nil
	case len(trimmed) == 0:
		return errors.New("the response has no body")
	case bytes.Equal(trimmed, []byte("null")):
		return errors.New("the response is null")
	}
	if err := a.Limits.Check(content); err != nil {
		return err
	}
	if err := json.Unmarshal(content, out); err != nil {
		return err
	}
	if a.Validate == nil {
		return nil
	}
	return a.Validate(out)
}

// Undecodable returns why encoding/json cannot decode into out; empty if it can. It is
// for a check before the request is sent, because the response would be lost.
func Undecodable(out any) string {
	v := reflect.ValueOf(out)
	switch {
	case v.Kind() != reflect.Pointer:
		return "is not a pointer"
	case v.IsNil():
		return "is a nil pointer"
	}
	if _, ok := out.(json.Unmarshaler); ok || Decodable(v.Type().Elem()) {
		return ""
	}
	return "is not a type that JSON can be decoded into"
}

// Decodable reports whether encoding/json can decode into a type.
func Decodable(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Chan, reflect.Func, reflect.Complex64, reflect.Complex128, reflect.UnsafePointer:
		return false
	case reflect.Interface:
		return t.NumMethod() == 0
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return Decodable(t.Elem())
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
	// largest type of the library, has about 60.
	maxItemValues = 256
)

// objectLimits are those of a single resource. Responses are limited after decompression.
func objectLimits() jsonlimit.Limits {
	return jsonlimit.Limits{Bytes: maxObjectBytes, Items: maxElements, Elements: maxElements, Values: maxElements}
}

// ListLimits are those of a page with this number of items.
func ListLimits(items int) jsonlimit.Limits {
	return jsonlimit.Limits{
		Bytes:    maxObjectBytes + int64(items)*maxItemBytes,
		Items:    items,
		Elements: maxElements,
		Values:   maxElements + items*maxItemValues,
	}
}

// AnyLimits are those of a response of an unknown kind.
func AnyLimits() jsonlimit.Limits {
	l := ListLimits(paging.MaxPageSize)
	l.Items = maxElements
	return l
}
