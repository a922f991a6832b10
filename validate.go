package herokubuild

import (
	"cmp"

	"github.com/herokubuild/herokubuild/internal/check"
	"github.com/herokubuild/herokubuild/internal/clean"
)

// invalid converts the reason of package check: it is nil for an empty one.
func invalid(name, reason string) error {
	if reason == "" {
		return nil
	}
	return &ArgumentError{Name: name, Reason: reason}
}

func checkApp(field, app string) error { return invalid(field, check.App(app)) }

func checkUUID(field, id string) error { return invalid(field, check.UUID(id)) }

func checkAppAndID(app, field, id string) error {
	return cmp.Or(checkApp("app", app), checkUUID(field, id))
}

func checkChecksum(field, sum string) error { return invalid(field, check.Checksum(sum)) }

func checkWebURL(field, raw string) error {
	_, reason := check.WebURL(raw)
	return invalid(field, reason)
}

func isUUID(s string) bool { return check.IsUUID(s) }

// quote returns a caller's own value for an error, clipped to a readable length.
func quote(s string) string { return clean.Quote(s) }
