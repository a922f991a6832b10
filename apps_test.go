package herokubuild_test

import (
	"iter"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
)

func TestAppsGetDecodesAllFields(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.on("GET", apiURL+"/apps/example-app", replyFile(t, 200, "app.json"))
	app, err := a.Apps.Get(t.Context(), appName)
	require.NoError(t, err)
	r := a.requireCall(t, "GET", apiURL+"/apps/example-app", "")
	assert.Equal(t, accept, r.Header.Get("Accept"))
	assert.Equal(t, &herokubuild.App{
		ID: "01234567-89ab-cdef-0123-456789abcde0", Name: "example-app",
		Stack:      herokubuild.ResourceRef{ID: "6a2c9d3e-2a52-4c06-8f21-5b1fbf5b3a12", Name: "heroku-22"},
		BuildStack: herokubuild.ResourceRef{ID: "5b2b9d3e-2a52-4c06-8f21-5b1fbf5b3a11", Name: "heroku-24"},
		Generation: herokubuild.ResourceRef{ID: "6c9f4a1e-8f0e-4c64-9d2b-0d2f7f2b3c44", Name: "cedar"},
		Region:     herokubuild.ResourceRef{ID: "59accabd-516d-4f0e-83e6-6e3757701145", Name: "us"},
		Space:      herokubuild.ResourceRef{ID: "01234567-89ab-cdef-0123-456789abcde2", Name: "private-space"},

		BuildpackProvidedDescription: "Go", Maintenance: true, SlugSize: 7654321,
		WebURL:    "https://example-app-0123456789ab.herokuapp.com/",
		CreatedAt: at(t, "2024-01-01T12:00:00Z"), UpdatedAt: at(t, "2024-01-03T12:00:00Z"), ReleasedAt: at(t, "2024-01-02T12:00:00Z"),
	}, app)
}

func TestAppsGetChecksNames(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.mock.RegisterNoResponder(reply(200, `{"id":"`+slugID+`"}`))
	for _, valid := range []string{"abc", "a-1", "a" + strings.Repeat("b", 29), buildID, strings.ToUpper(buildID)} {
		_, err := a.Apps.Get(t.Context(), valid)
		require.NoError(t, err, valid)
	}
	calls := a.mock.GetTotalCallCount()
	for _, invalid := range []string{
		"", "ab", "1ab", "-ab", "ab-", "Abc", "a_b", "a b", "a/b", "..", "a.b", "abc\n", "a%2Fb", "a?b=c", "a" + strings.Repeat("b", 30),
		buildID + "0", "é" + strings.Repeat("b", 200),
	} {
		_, err := a.Apps.Get(t.Context(), invalid)
		argument := requireInvalid(t, err, "app")
		assert.Less(t, len(argument.Error()), 300)
		assert.NotContains(t, argument.Error(), "\n")
	}
	assert.Equal(t, calls, a.mock.GetTotalCallCount(), "an invalid name is not sent")
}

func TestAppsListFollowsPages(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	first := reply(206, `[{"id":"`+uuidOf("1")+`","name":"one"}]`, "Next-Range", "id ]1..")
	second := reply(200, `[{"id":"`+uuidOf("2")+`","name":"two"}]`)
	a.on("GET", apiURL+"/apps", first, second, first)
	a.on("GET", apiURL+"/teams/my-team/apps", first, second)
	for _, list := range []iter.Seq2[*herokubuild.App, error]{a.Apps.List(t.Context(), nil), a.Apps.ListForTeam(t.Context(), "my-team", nil)} {
		var names []string
		for app, err := range list {
			require.NoError(t, err)
			names = append(names, app.Name)
		}
		assert.Equal(t, []string{"one", "two"}, names)
	}
	assertCall(t, a.seen()[0], "GET", apiURL+"/apps", "")
	assertCall(t, a.seen()[2], "GET", apiURL+"/teams/my-team/apps", "")
	page, err := a.Apps.ListPage(t.Context(), nil)
	require.NoError(t, err)
	assert.Equal(t, "id ]1..", page.Next)
	for _, team := range []string{"", ".", "..", "a/b", "a b", "-x"} {
		for _, err := range a.Apps.ListForTeam(t.Context(), team, nil) {
			requireInvalid(t, err, "team")
		}
	}
}
