package conformance

import (
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
)

// differences are the intended deviations of the library or the emulator from the
// schema, each with a reason.
type differences struct {
	reasons map[string]string
	used    map[string]bool
}

// allow reports whether a difference is intended.
func (d *differences) allow(name string) bool {
	_, ok := d.reasons[name]
	if ok {
		d.used[name] = true
	}
	return ok
}

// requireUsed fails for each difference that no longer exists.
func (d *differences) requireUsed(t *testing.T) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(d.reasons)) {
		assert.True(t, d.used[name], "%s is no longer a difference: remove it from the list", name)
	}
}

// fieldDifferences returns the differences between types and schema. The name
// of a difference is the path of a property without a field, or of a field
// without a property.
func fieldDifferences() *differences {
	const (
		notDeploys = "a property of the app that does not affect builds and releases"
		ref        = "ResourceRef is the type of all references; its name is empty if the reference has none"
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

		"ReleaseCreateOptions.slug is required": "a release of a Fir app has an image instead, oci_image in the schema",
	}}
}

// valueDifferences returns the fields of the emulator's responses whose values do not
// match the pattern in the schema.
func valueDifferences() map[string]string {
	return map[string]string{
		"app.web_url": "a subdomain of herokuapp.com is a host on the internet, to which a test must not send anything",
	}
}

// rangeDifferences returns the attributes by which lists are sorted although the
// schema does not list them.
func rangeDifferences() *differences {
	return &differences{used: map[string]bool{}, reasons: map[string]string{
		"build List by created_at": "the schema lists started_at, which a build does not have; the Heroku CLI sorts by created_at",
		"release List by version":  "the schema lists no ranges for it; the Heroku CLI sorts by version",
	}}
}

// uncalledEndpoints returns the endpoints of the library's resources for which it
// has no method.
func uncalledEndpoints() *differences {
	const apps = "managing apps is out of scope; use Client.Do"
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

// missingResources returns the endpoints for which the emulator always responds
// with 404.
func missingResources() *differences {
	return &differences{used: map[string]bool{}, reasons: map[string]string{
		"pipeline-coupling Info By App": "no app is in a pipeline",
	}}
}
