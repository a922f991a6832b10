package paging

import "reflect"

// itemID returns the ID of the item that a pointer points to: its field ID, or the value
// of "id" in a map. It returns "" if the item has none.
func itemID(item any) string {
	v := reflect.ValueOf(item).Elem()
	switch {
	case v.Kind() == reflect.Struct:
		field, ok := v.Type().FieldByName("ID")
		if !ok {
			return ""
		}
		var err error
		if v, err = v.FieldByIndexErr(field.Index); err != nil {
			return ""
		}
	case v.Kind() == reflect.Map && v.Type().Key().Kind() == reflect.String:
		v = v.MapIndex(reflect.ValueOf("id").Convert(v.Type().Key()))
	default:
		return ""
	}
	if v.IsValid() && v.Kind() == reflect.Interface {
		v = v.Elem()
	}
	if !v.IsValid() || v.Kind() != reflect.String {
		return ""
	}
	return v.String()
}
