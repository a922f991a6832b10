package herokubuild_test

import (
	"encoding/json"
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

// holders are the values of the package that carry signed URLs.
func holders(t *testing.T) map[string]any {
	t.Helper()
	u := herokubuild.SecretURL(sourceURL + fakeQuery)
	build := &herokubuild.Build{ID: buildID, OutputStreamURL: u, SourceBlob: herokubuild.SourceBlob{URL: u}}
	source := decodeSource(t, u.Reveal())
	slug := &herokubuild.Slug{ID: slugID, Blob: herokubuild.Blob{Method: "GET", URL: u}}
	release := &herokubuild.Release{ID: releaseID, OutputStreamURL: u}
	return map[string]any{
		"url": u, "pointer to url": &u, "list of urls": []herokubuild.SecretURL{u},
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
	values := holders(t)
	// Nothing asks the elements of a list, or the caller's own structs, how
	// they want to be logged as JSON.
	delete(values, "list of urls")
	delete(values, "create options")
	for name, v := range values {
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
	// Platform and checkpoints need all of it.
	blob := herokubuild.SourceBlob{URL: sourceURL + fakeQuery}
	b, err := json.Marshal(blob)
	require.NoError(t, err)
	var back herokubuild.SourceBlob
	require.NoError(t, json.Unmarshal(b, &back))
	assert.Equal(t, blob, back)
	assert.Equal(t, sourceURL+fakeQuery, back.URL.Reveal())
}
