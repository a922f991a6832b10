package redact

import (
	"reflect"
	"unsafe"
)

// Holds reports whether v, or anything in it that JSON encodes, is a T for which secret
// returns true.
func Holds[T any](v any, secret func(T) bool) bool {
	return (&search[T]{secret: secret, seen: map[place]bool{}}).in(reflect.ValueOf(v))
}

// search has the values that have been searched, since some contain themselves.
type search[T any] struct {
	secret func(T) bool
	seen   map[place]bool
}

type place struct {
	at  unsafe.Pointer
	len int
	as  reflect.Type
}

// again reports whether v can be shared and has been searched before.
func (s *search[T]) again(v reflect.Value) bool {
	var key place
	switch v.Kind() {
	case reflect.Pointer, reflect.Map:
		key = place{at: v.UnsafePointer(), as: v.Type()}
	case reflect.Slice:
		key = place{at: v.UnsafePointer(), len: v.Len(), as: v.Type()}
	default:
		return false
	}
	seen := s.seen[key]
	s.seen[key] = true
	return seen
}

func (s *search[T]) in(v reflect.Value) bool {
	if !v.IsValid() || s.again(v) {
		return false
	}
	if v.CanInterface() {
		if u, ok := reflect.TypeAssert[T](v); ok {
			return s.secret(u)
		}
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		return s.in(v.Elem())
	case reflect.Struct:
		return s.inStruct(v)
	case reflect.Slice, reflect.Array:
		return s.inList(v)
	case reflect.Map:
		return s.inMap(v)
	default:
		return false
	}
}

func (s *search[T]) inStruct(v reflect.Value) bool {
	for i := range v.NumField() {
		// JSON has the fields of an embedded struct, too.
		if f := v.Type().Field(i); (f.IsExported() || f.Anonymous) && s.in(v.Field(i)) {
			return true
		}
	}
	return false
}

func (s *search[T]) inList(v reflect.Value) bool {
	if v.Type().Elem().Kind() < reflect.Array {
		return false // bytes and numbers
	}
	for i := range v.Len() {
		if s.in(v.Index(i)) {
			return true
		}
	}
	return false
}

func (s *search[T]) inMap(v reflect.Value) bool {
	for _, key := range v.MapKeys() {
		if s.in(v.MapIndex(key)) {
			return true
		}
	}
	return false
}
