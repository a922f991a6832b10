package herokubuild_test

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
)

// A response of success that lacks what it must have, or has it in another form, is
// the platform's fault and not the caller's, and may have had its effect.
func TestResponsesThatNameNothing(t *testing.T) {
	t.Parallel()
	slugsURL := apiURL + "/apps/" + appName + "/slugs"
	with := func(fields string) string { return `{"id":"` + buildID + `","version":3,` + fields + `}` }
	blob := func(method, url string) string { return with(`"blob":{"method":"` + method + `","url":"` + url + `"}`) }
	source := func(get, put string) string {
		return `{"source_blob":{"get_url":"` + get + `","put_url":"` + put + `"}}`
	}
	noID := []string{`{}`, `{"id":""}`, `{"id":null}`, `{"id":"x"}`, `{"id":7}`, `{"id":"` + buildID + `x"}`, `{"id":"../` + buildID + `"}`, `{"version":3}`}
	badURLs := []string{"x", "/log", "http://example.com/log", "ftp://example.com/", "https:///x", "javascript:alert(1)", "https://h/%zz", `https://h/\u0000`, "file:///etc/passwd"}
	var badOutput, badBlob, badSource []string
	for _, u := range badURLs {
		badOutput = append(badOutput, with(`"output_stream_url":"`+u+`"`))
		badBlob = append(badBlob, blob("put", u))
		badSource = append(badSource, source(u, sourceURL), source(sourceURL, u))
	}
	refs := []string{with(`"app":{"id":"x"}`), with(`"slug":{"id":"x"}`)}
	versions := []string{`{"id":"` + releaseID + `"}`, `{"id":"` + releaseID + `","version":0}`, `{"id":"` + releaseID + `","version":-1}`, `{"id":"` + releaseID + `","version":99999999999999999999}`, `{"id":"` + releaseID + `","version":"3"}`}
	join := func(lists ...[]string) (all []string) {
		for _, l := range lists {
			all = append(all, l...)
		}
		return all
	}

	tests := map[string]struct {
		method, url string
		bodies      []string
		call        func(context.Context, *api) error
	}{
		"app": {"GET", apiURL + "/apps/" + appName, noID, func(ctx context.Context, a *api) error {
			_, err := a.Apps.Get(ctx, appName)
			return err
		}},
		"build": {"POST", buildsURL, join(noID, badOutput, refs, []string{with(`"release":{"id":"v3"}`)}), func(ctx context.Context, a *api) error {
			_, err := a.Builds.Create(ctx, appName, herokubuild.BuildCreateOptions{SourceBlob: herokubuild.SourceBlob{URL: sourceURL}})
			return err
		}},
		"build again": {"GET", buildURL, join(noID, badOutput, refs), func(ctx context.Context, a *api) error {
			_, err := a.Builds.Get(ctx, appName, buildID)
			return err
		}},
		"canceled build": {"DELETE", buildURL, join(noID, badOutput, refs), func(ctx context.Context, a *api) error {
			_, err := a.Builds.Cancel(ctx, appName, buildID)
			return err
		}},
		"release": {"POST", releasesURL, join(noID, badOutput, refs, versions, []string{with(`"artifacts":[{"type":"oci-image","id":"x"}]`)}), func(ctx context.Context, a *api) error {
			_, err := a.Releases.Create(ctx, appName, herokubuild.ReleaseCreateOptions{Slug: slugID})
			return err
		}},
		"release again": {"GET", releasesURL + "/3", join(noID, badOutput, refs, versions), func(ctx context.Context, a *api) error {
			_, err := a.Releases.Get(ctx, appName, "v3")
			return err
		}},
		"rollback": {"GET", releasesURL + "/3", join(noID, versions), func(ctx context.Context, a *api) error {
			_, err := a.Releases.Rollback(ctx, appName, "v3")
			return err
		}},
		"slug": {"POST", slugsURL, join(noID, badBlob, []string{with(`"size":null`), blob("get", slugURL), blob("", slugURL), blob("put", ""), with(`"size":-1`)}), func(ctx context.Context, a *api) error {
			_, err := a.Slugs.Create(ctx, appName, herokubuild.SlugCreateOptions{})
			return err
		}},
		"slug again": {"GET", slugsURL + "/" + slugID, join(noID, badBlob, []string{blob("put", slugURL), blob("", slugURL), with(`"size":-1`)}), func(ctx context.Context, a *api) error {
			_, err := a.Slugs.Get(ctx, appName, slugID)
			return err
		}},
		"source": {"POST", apiURL + "/sources", join(badSource, []string{`{}`, `{"source_blob":null}`, source("", sourceURL), source(sourceURL, "")}), func(ctx context.Context, a *api) error {
			_, err := a.Sources.Create(ctx)
			return err
		}},
		"list of builds": {"GET", buildsURL, join(noID, badOutput, refs, []string{"null", "7"}), func(ctx context.Context, a *api) error {
			_, err := a.Builds.ListPage(ctx, appName, nil)
			return err
		}},
		"list of releases": {"GET", releasesURL, join(noID, badOutput, refs, versions, []string{"null"}), func(ctx context.Context, a *api) error {
			_, err := a.Releases.Current(ctx, appName)
			return err
		}},
		"list of apps": {"GET", apiURL + "/apps", join(noID, []string{"null"}), func(ctx context.Context, a *api) error {
			_, err := a.Apps.ListPage(ctx, nil)
			return err
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, body := range tt.bodies {
				if strings.HasPrefix(name, "list") {
					body = "[" + body + "]"
				}
				a := newAPI(t, noRetry())
				a.on(tt.method, tt.url, reply(200, body, "Request-Id", "id-1"))
				err := tt.call(t.Context(), a)
				var odd *herokubuild.ResponseError
				require.ErrorAs(t, err, &odd, body)
				require.NotErrorIs(t, err, herokubuild.ErrInvalidArgument, body)
				assert.Equal(t, "id-1", odd.RequestID)
				changes := tt.method == "POST" && name != "source"
				assert.Equal(t, changes, odd.MaybeApplied, body)
				assert.Len(t, a.seen(), 1, body)
				assertErrorClean(t, err)
			}
		})
	}
}

// What may be missing is borne: what is not there yet, and what older responses do
// not have.
func TestResponsesWithLittle(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.on("GET", apiURL+"/apps/"+appName, reply(200, `{"id":"`+slugID+`"}`))
	a.on("GET", buildURL, reply(200, `{"id":"`+buildID+`","slug":{"id":null},"release":null,"output_stream_url":null,"status":"melting"}`))
	a.on("GET", releasesURL+"/1", reply(200, `{"id":"`+releaseID+`","version":1,"slug":null,"artifacts":[{"type":"slug","id":""}]}`))
	a.on("GET", apiURL+"/apps/"+appName+"/slugs/"+slugID, reply(200, `{"id":"`+slugID+`","blob":{"method":"","url":""},"deleted_at":"2026-01-02T03:04:05Z"}`))
	app, err := a.Apps.Get(t.Context(), appName)
	require.NoError(t, err)
	assert.Equal(t, slugID, app.ID)
	b, err := a.Builds.Get(t.Context(), appName, buildID)
	require.NoError(t, err)
	assert.Equal(t, herokubuild.Status("melting"), b.Status)
	r, err := a.Releases.Get(t.Context(), appName, "1")
	require.NoError(t, err)
	assert.Zero(t, r.Slug)
	slug, err := a.Slugs.Get(t.Context(), appName, slugID)
	require.NoError(t, err)
	assert.False(t, slug.DeletedAt.IsZero())
}

// An address is used as it is, in whatever characters it is written.
func TestResponseURLs(t *testing.T) {
	t.Parallel()
	for _, u := range []string{
		outputURL + outputSign, "https://h/a%2Fb?c=%41&d=e%20f", "https://h", "https://user@h/", "https://[::1]:8443/x", "https://h:443/x",
		"http://localhost:5000/log", "http://127.0.0.1/log", "HTTPS://H/x", "https://h/x#y", "https://bücher.example/x",
	} {
		a := newAPI(t)
		a.on("GET", buildURL, reply(200, `{"id":"`+buildID+`","output_stream_url":"`+u+`"}`))
		b, err := a.Builds.Get(t.Context(), appName, buildID)
		require.NoError(t, err, u)
		assert.Equal(t, u, b.OutputStreamURL.Reveal())
		s, err := a.Builds.Output(t.Context(), b, nil)
		require.NoError(t, err, u)
		require.NoError(t, s.Close())
	}
}
