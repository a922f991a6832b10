package herokubuild_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
)

func TestSecretURLText(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ raw, want string }{
		"signed":        {sourceURL + fakeQuery, sourceURL + "?REDACTED"},
		"no query":      {sourceURL, sourceURL},
		"bare question": {sourceURL + "?", sourceURL},
		"fragment":      {sourceURL + "#Signature=fake", sourceURL + "?REDACTED"},
		"user":          {"https://me:Signature=fake@h/p", "https://REDACTED@h/p"},
		"token as user": {"https://Signature=fake@h/p?a=b", "https://REDACTED@h/p?REDACTED"},
		"opaque":        {"data:Signature=fake", "data:REDACTED"},
		"unparsable":    {"https://h/%zz?Signature=fake", "REDACTED"},
		"empty":         {"", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := herokubuild.SecretURL(tt.raw)
			assert.Equal(t, tt.want, u.String())
			assert.Equal(t, tt.raw, u.Reveal())
			assert.Equal(t, tt.want, fmt.Sprint(u))
			assert.Equal(t, fmt.Sprintf("%q", tt.want), fmt.Sprintf("%q", u))
			assert.Equal(t, fmt.Sprintf("herokubuild.SecretURL(%q)", tt.want), fmt.Sprintf("%#v", u))
			for _, verb := range []string{"%s", "%v", "%+v", "%x", "%X", "%d", "%t", "%10s", "%.3s", "%-200v", "%08x"} {
				text := fmt.Sprintf(verb, u)
				assert.Contains(t, text, tt.want, verb)
				assertNoSecret(t, text)
			}
		})
	}
}

// holders returns the values of the package that have signed URLs.
func holders(t *testing.T) map[string]any {
	t.Helper()
	u := herokubuild.SecretURL(sourceURL + fakeQuery)
	build := &herokubuild.Build{ID: buildID, OutputStreamURL: u, SourceBlob: herokubuild.SourceBlob{URL: u}}
	source := decodeSource(t, u.Reveal())
	slug := &herokubuild.Slug{ID: slugID, Blob: herokubuild.Blob{Method: "GET", URL: u}}
	release := &herokubuild.Release{ID: releaseID, OutputStreamURL: u}
	cause := fmt.Errorf("GET %s: refused", u)
	outcome := herokubuild.AppResult{App: appName, Release: release, Err: &herokubuild.ReleaseError{App: appName, Release: release}}
	checkpoint := withRelease(t, herokubuild.Checkpoint{BuildApp: appName, Source: sourceURL, BuildID: buildID})
	result := &herokubuild.DeployResult{Build: build, Artifact: herokubuild.Artifact{SlugID: slugID}, Apps: []herokubuild.AppResult{outcome}, Checkpoint: checkpoint}
	client, err := herokubuild.NewClient(herokubuild.WithToken(testToken), herokubuild.WithBaseURL(apiURL))
	require.NoError(t, err)
	a := newAPI(t)
	a.serveBuild(u.Reveal())
	stream, err := a.Builds.Output(t.Context(), appName, buildID, nil)
	require.NoError(t, err)
	event := herokubuild.DeployEvent{Kind: herokubuild.EventReleaseDone, App: appName, Build: build, Release: release, Err: cause, Checkpoint: checkpoint}
	options := herokubuild.BuildAndReleaseOptions{BuildApp: appName, SourceURL: u, Checkpoint: checkpoint}
	return map[string]any{
		"client": client, "client by value": *client, "stream": stream,
		"outcome": outcome, "outcomes": []herokubuild.AppResult{outcome}, "result": result, "result by value": *result,
		"event": event, "events": []herokubuild.DeployEvent{event}, "deploy options": options, "checkpoint": checkpoint,
		"page":   &herokubuild.Page[herokubuild.Build]{Items: []*herokubuild.Build{build}},
		"builds": []*herokubuild.Build{build}, "map": map[string]*herokubuild.Slug{"a": slug},
		"deploy error":  &herokubuild.DeployError{Phase: herokubuild.PhaseBuild, Result: result, Checkpoint: checkpoint, Err: cause},
		"build error":   &herokubuild.BuildError{App: appName, Build: build},
		"release error": &herokubuild.ReleaseError{App: appName, Release: release},
		"upload error":  &herokubuild.StorageError{Method: "PUT", URL: u, StatusCode: 403},
		"stream error":  &herokubuild.StreamError{URL: u.String(), Err: errors.New("x " + u.Reveal())},
		"request error": &herokubuild.RequestError{Method: "GET", URL: apiURL, Err: errors.New("x " + u.Reveal())},
		"joined":        errors.Join(&herokubuild.StorageError{URL: u}, fmt.Errorf("wrapped: %w", &herokubuild.BuildError{Build: build})),
		"url":           u, "pointer to url": &u, "list of urls": []herokubuild.SecretURL{u},
		"build": build, "build by value": *build, "source": source, "source by value": *source,
		"slug": slug, "slug by value": *slug, "release": release, "release by value": *release,
		"create options": herokubuild.BuildCreateOptions{SourceBlob: herokubuild.SourceBlob{URL: u}},
	}
}

func TestPrintedValuesHideURLs(t *testing.T) {
	t.Parallel()
	for name, v := range holders(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
				assertNoSecret(t, fmt.Sprintf(verb, v))
			}
		})
	}
}

func TestLoggedValuesHideURLs(t *testing.T) {
	t.Parallel()
	for name, v := range holders(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var text, js strings.Builder
			slog.New(slog.NewTextHandler(&text, nil)).Info("text", "v", v)
			assertNoSecret(t, text.String())
			slog.New(slog.NewJSONHandler(&js, nil)).Info("json", "v", v)
			assertNoSecret(t, js.String())
		})
	}
}

func TestSecretURLInJSON(t *testing.T) {
	t.Parallel()
	b, err := json.Marshal(herokubuild.SourceBlob{URL: sourceURL + fakeQuery})
	require.NoError(t, err)
	assert.JSONEq(t, `{"url":"`+sourceURL+`?REDACTED"}`, string(b))

	var back herokubuild.SourceBlob
	require.NoError(t, json.Unmarshal([]byte(`{"url":"`+sourceURL+fakeQuery+`"}`), &back))
	assert.Equal(t, sourceURL+fakeQuery, back.URL.Reveal(), "decoding keeps the whole URL")
	var none herokubuild.SourceBlob
	require.NoError(t, json.Unmarshal([]byte(`{"url":null}`), &none))
	assert.Empty(t, none.URL)
	require.Error(t, json.Unmarshal([]byte(`{"url":7}`), &back))
}

type ring struct {
	A, B *ring
	embedded
}

type embedded struct{ URL herokubuild.SecretURL }

// A body may contain itself, and may have the URL in an embedded struct.
func TestSecretURLInABody(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	body := &ring{}
	body.A, body.B = body, body
	requireInvalid(t, do(t.Context(), a.Client, "POST", "/x", &herokubuild.DoOptions{Body: body}), "DoOptions.Body")
	for _, body := range []any{
		embedded{URL: sourceURL + fakeQuery}, ring{embedded: embedded{URL: sourceURL + fakeQuery}}, []*ring{nil, {A: &ring{embedded: embedded{URL: sourceURL + fakeQuery}}}},
	} {
		bad := requireInvalid(t, do(t.Context(), a.Client, "POST", "/x", &herokubuild.DoOptions{Body: body}), "DoOptions.Body")
		assert.Contains(t, bad.Reason, "SecretURL")
	}
	assert.Empty(t, a.seen())
}
