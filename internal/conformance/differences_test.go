package conformance

import (
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
)

// differences are the places where the library or the embedded platform is
// not as the schema says, each with the reason why.
type differences struct {
	reasons map[string]string
	used    map[string]bool
}

// allow reports whether a difference is one of those that are meant.
func (d *differences) allow(name string) bool {
	_, ok := d.reasons[name]
	if ok {
		d.used[name] = true
	}
	return ok
}

// requireUsed fails for a difference that is none any more.
func (d *differences) requireUsed(t *testing.T) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(d.reasons)) {
		assert.True(t, d.used[name], "%s is no difference any more: take it off the list", name)
	}
}

// fieldDifferences are those of the types. A name ends in a property of the
// schema that the type has no field for, or in a JSON name of the type that the
// schema has no property for.
func fieldDifferences() *differences {
	const (
		notDeploys = "the app has it, builds and releases do not depend on it"
		ref        = "one type, Ref, stands for all references; a reference without a name decodes to one with an empty name"
	)
	return &differences{used: map[string]bool{}, reasons: map[string]string{
		"App.acm":              notDeploys,
		"App.archived_at":      notDeploys,
		"App.git_url":          notDeploys,
		"App.internal_routing": notDeploys,
		"App.owner":            notDeploys,
		"App.organization":     "the older name of team",
		"App.repo_size":        notDeploys,
		"App.space.shield":     notDeploys,

		"Build.app.name":     ref,
		"Build.release.name": ref,
		"Build.slug.name":    ref,
		"Release.slug.name":  ref,

		"ReleaseCreateOptions.slug is required": "a Fir app's release has an image instead, which the schema has as oci_image next to it",
	}}
}

// rangeDifferences are attributes that lists are sorted by although their
// endpoint does not name them.
func rangeDifferences() *differences {
	return &differences{used: map[string]bool{}, reasons: map[string]string{
		"build List by created_at": "the schema says started_at, which a build does not have; Heroku's own command line sorts by created_at",
		"release List by version":  "the schema has no ranges for it; Heroku's own command line sorts by version",
	}}
}

// uncalled are endpoints of the library's resources that it has no method for.
func uncalled() *differences {
	const apps = "making, changing and deleting apps is not this library's concern; Client.Do reaches it"
	return &differences{used: map[string]bool{}, reasons: map[string]string{
		"app Create":                      apps,
		"app Delete":                      apps,
		"app Update":                      apps,
		"app List Owned and Collaborated": apps,
		"app Enable ACM":                  apps,
		"app Disable ACM":                 apps,
		"app Refresh ACM":                 apps,
	}}
}
