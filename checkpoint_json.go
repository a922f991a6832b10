package herokubuild

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"strings"
)

// This file encodes Checkpoints and what has changed between two of them. A whole
// Checkpoint is encoded as its update of the zero one.

// MarshalJSON implements json.Marshaler.
func (c Checkpoint) MarshalJSON() ([]byte, error) {
	text, err := c.UpdateSince(Checkpoint{})
	if text == nil && err == nil {
		return []byte("{}"), nil
	}
	return text, err
}

// UnmarshalJSON implements json.Unmarshaler. It replaces the whole Checkpoint.
func (c *Checkpoint) UnmarshalJSON(text []byte) error {
	if isNull(text) {
		return nil
	}
	decoded, err := Checkpoint{}.Apply(text)
	if err == nil {
		*c = decoded
	}
	return err
}

// String returns the JSON of the Checkpoint, which has no secrets.
func (c Checkpoint) String() string {
	text, err := c.MarshalJSON()
	if err != nil {
		return "Checkpoint(" + err.Error() + ")"
	}
	return string(text)
}

// UpdateSince returns what turns an earlier Checkpoint into c, for [Checkpoint.Apply]:
// the JSON merge patch (RFC 7396) of their JSON. It is nil if nothing has changed. If
// both are of the same call, it costs as much as has changed, however many apps there
// are: to store each Checkpoint of a large rollout, append its update to those before.
//
// The error is that of a Started that JSON does not support.
func (c Checkpoint) UpdateSince(earlier Checkpoint) (json.RawMessage, error) {
	patch := map[string]any{}
	before := reflect.ValueOf(earlier)
	for field, now := range c.fields() {
		value := now.Interface()
		switch {
		case reflect.DeepEqual(before.FieldByIndex(field.Index).Interface(), value):
		case now.IsZero():
			patch[jsonName(field)] = nil
		default:
			patch[jsonName(field)] = value
		}
	}
	for name := range c.apps.ChangedSince(earlier.apps) {
		patchApp(patch, name, earlier.App(name), c.App(name))
	}
	if len(patch) == 0 {
		return nil, nil
	}
	return json.Marshal(patch)
}

// fields iterates over the exported fields.
func (c *Checkpoint) fields() iter.Seq2[reflect.StructField, reflect.Value] {
	return func(yield func(reflect.StructField, reflect.Value) bool) {
		v := reflect.ValueOf(c).Elem()
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() && !yield(f, v.Field(i)) {
				return
			}
		}
	}
}

func jsonName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}

// The names in JSON of what a Checkpoint has of its apps. Each is an object keyed by app.
const (
	jsonApps      = "apps"
	jsonReleases  = "releases"
	jsonRollbacks = "rollbacks"
	jsonFailures  = "failures"
)

// patchApp adds to a merge patch what has changed of an app.
func patchApp(patch map[string]any, name string, before, now CheckpointApp) {
	set := func(field string, present bool, value any) {
		if !present {
			value = nil
		}
		apps, ok := patch[field].(map[string]any)
		if !ok {
			apps = map[string]any{}
			patch[field] = apps
		}
		apps[name] = value
	}
	if now.ID != before.ID {
		set(jsonApps, now.ID != "", now.ID)
	}
	if now.ReleaseID != before.ReleaseID {
		set(jsonReleases, now.ReleaseID != "", now.ReleaseID)
	}
	if now.RollingBack != before.RollingBack || now.RollbackID != before.RollbackID {
		set(jsonRollbacks, now.RollingBack, now.RollbackID)
	}
	if now.Failure != before.Failure {
		failure := map[string]any{"reason": now.Failure.Reason}
		if now.Failure.Verify || before.Failure.Verify {
			failure["verify"] = now.Failure.Verify
		}
		set(jsonFailures, !now.Failure.IsZero(), failure)
	}
}

// Apply returns the Checkpoint that an update of [Checkpoint.UpdateSince] leads to. An
// empty update changes nothing. The error is that of an update that is not such JSON;
// the Checkpoint is then zero.
func (c Checkpoint) Apply(update json.RawMessage) (Checkpoint, error) {
	if len(update) == 0 {
		return c, nil
	}
	var patch map[string]json.RawMessage
	err := json.Unmarshal(update, &patch)
	if err == nil && patch == nil {
		err = errors.New("not a JSON object")
	}
	if err == nil {
		err = c.apply(patch)
	}
	if err != nil {
		return Checkpoint{}, fmt.Errorf("checkpoint: %w", err)
	}
	return c, nil
}

func (c *Checkpoint) apply(patch map[string]json.RawMessage) error {
	for field, value := range c.fields() {
		text, ok := patch[jsonName(field)]
		if !ok {
			continue
		}
		decoded := reflect.New(field.Type)
		if err := json.Unmarshal(text, decoded.Interface()); err != nil {
			return err
		}
		value.Set(decoded.Elem())
	}
	return cmp.Or(
		applyApps(c, patch[jsonApps], func(a *CheckpointApp, id *string) { a.ID = orZero(id) }),
		applyApps(c, patch[jsonReleases], func(a *CheckpointApp, id *string) { a.ReleaseID = orZero(id) }),
		applyApps(c, patch[jsonRollbacks], func(a *CheckpointApp, id *string) { a.RollingBack, a.RollbackID = id != nil, orZero(id) }),
		applyApps(c, patch[jsonFailures], func(a *CheckpointApp, f *CheckpointFailure) { a.Failure = orZero(f) }),
	)
}

// applyApps applies the part of an update that is an object keyed by app. A null, which
// set gets as nil, removes a value; in place of the object it removes all values.
func applyApps[V any](c *Checkpoint, text json.RawMessage, set func(a *CheckpointApp, value *V)) error {
	if len(text) == 0 {
		return nil
	}
	var apps map[string]*V
	if err := json.Unmarshal(text, &apps); err != nil {
		return err
	}
	if apps == nil {
		for name := range c.Apps() {
			c.setApp(name, func(a *CheckpointApp) { set(a, nil) })
		}
	}
	for name, value := range apps {
		c.setApp(name, func(a *CheckpointApp) { set(a, value) })
	}
	return nil
}

func isNull(text []byte) bool { return string(bytes.TrimSpace(text)) == "null" }
