package herokubuild_test

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"

	"github.com/herokubuild/herokubuild"
)

// What is refused before anything is sent is what the schema's own patterns
// refuse.
func TestNamesAndIDs(t *testing.T) {
	t.Parallel()
	uuid := `[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}`
	uuidRE := regexp.MustCompile(`^(?:` + uuid + `)$`)
	appRE := regexp.MustCompile(`^(?:[a-z][a-z0-9-]{1,28}[a-z0-9]|` + uuid + `)$`)
	values := []string{
		"", "a", "ab", "abc", "a-c", "ab-", "-bc", "0bc", "9ab", "a b", "aBc", "abC", "ab\n", "\nabc", "a/c", "a.c", "äbc", "ab\x00",
		strings.Repeat("a", 30), strings.Repeat("a", 31), strings.Repeat("a", 29) + "-", "a" + strings.Repeat("-", 28) + "0",
		buildID, strings.ToUpper(buildID), strings.ReplaceAll(buildID, "-", "_"), buildID + "0", buildID[1:], "g" + buildID[1:],
		strings.Repeat("-", 36), strings.Repeat("0", 36), buildID[:35] + "\n", "`" + buildID[1:], "@" + buildID[1:], "/" + buildID[1:], ":" + buildID[1:],
	}
	// Every byte at every place of a good one.
	for _, good := range []string{"app-1", buildID} {
		for i := range len(good) {
			for c := range 256 {
				values = append(values, good[:i]+string([]byte{byte(c)})+good[i+1:])
			}
		}
	}
	a := newAPI(t)
	a.mock.RegisterNoResponder(reply(404, `{"id":"not_found","message":"no"}`))
	for _, v := range values {
		_, err := a.Apps.Get(t.Context(), v)
		if appRE.MatchString(v) {
			requireAPIError(t, err)
		} else {
			requireInvalid(t, err, "app")
		}
		_, err = a.Builds.Get(t.Context(), appName, v)
		if uuidRE.MatchString(v) {
			requireAPIError(t, err)
		} else {
			requireInvalid(t, err, "build")
		}
	}
}

// A long path is shortened in an error, but neither its start nor the name of
// the file is cut off, and no character is cut in two.
func TestLongValuesKeepTheirEnd(t *testing.T) {
	t.Parallel()
	for shift := range 4 {
		dir := "start-of-it" + strings.Repeat("x", shift) + strings.Repeat("/é日本", 500)
		_, err := herokubuild.OpenArchive(t.Context(), filepath.FromSlash(dir+"/the-source-of-it.tgz"))
		text := requireInvalid(t, err, "archive").Reason
		assert.True(t, utf8.ValidString(text), text)
		assert.NotContains(t, text, string(utf8.RuneError))
		assert.Contains(t, text, "start-of-it")
		assert.Contains(t, text, `the-source-of-it.tgz"`)
		assert.Less(t, len(text), 200)
	}

	// What is short is shown whole.
	short := strings.Repeat("x", 80)
	_, err := herokubuild.OpenArchive(t.Context(), short)
	assert.Contains(t, requireInvalid(t, err, "archive").Reason, `"`+short+`"`)
}
