package herokubuild_test

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
)

// refusedWith returns the Body of the APIError for a response with this text.
func refusedWith(t *testing.T, token, body string) string {
	t.Helper()
	a := newAPI(t, noRetry(), herokubuild.WithToken(token))
	a.mock.RegisterNoResponder(reply(400, body))
	_, err := a.Builds.Get(t.Context(), appName, buildID)
	return requireAPIError(t, err).Body
}

// A host may repeat the whole request in base64 or hex.
func TestEncodedSecretsAreHidden(t *testing.T) {
	t.Parallel()
	for _, before := range []string{"", "Bearer ", "GET /x HTTP/1.1\r\nAuthorization: Bearer ", "ab", "abcd"} {
		raw := []byte(before + testToken + "\r\n\r\n")
		middle := base64.StdEncoding.EncodeToString(raw)
		middle = middle[(len(before)+2)/3*4:][:len(testToken)]
		for _, echo := range []string{
			base64.StdEncoding.EncodeToString(raw), base64.RawURLEncoding.EncodeToString(raw), url.QueryEscape(base64.StdEncoding.EncodeToString(raw)),
		} {
			got := refusedWith(t, testToken, "bad "+echo+" there")
			assert.NotContains(t, got, middle, before)
			assert.Contains(t, got, " there")
		}
		assert.NotContains(t, refusedWith(t, testToken, strings.ToUpper(hex.EncodeToString(raw))), strings.ToUpper(hex.EncodeToString([]byte(testToken))))
	}
}

// A text may be wrapped in the middle of the key.
func TestSplitSecretsAreHidden(t *testing.T) {
	t.Parallel()
	for name, between := range map[string]string{
		"line break": "\n", "indented": "\r\n    ", "space": " ", "NUL": "\x00", "soft hyphen": "\u00ad", "escaped line break": `\n`, "zero width": "\u200b", "HTML": "&#10;",
	} {
		assert.Equal(t, "bad key REDACTED there", refusedWith(t, testToken, "bad key "+testToken[:12]+between+testToken[12:]+" there"), name)
	}
}

// A long text may be cut in the middle of a key.
func TestSecretsAtTheEndOfLongTextsAreHidden(t *testing.T) {
	t.Parallel()
	const key = "01234567-89ab-cdef-0123-456789abcdef"
	head := "no https://h.example.com/?"
	for _, long := range []int{10, 20, 30} {
		body := head + strings.Repeat("q", 64<<10-len(head)-1-long) + " " + key + " there"
		assert.NotContains(t, refusedWith(t, key, body), key[:8])
	}
	assert.Len(t, strings.TrimSuffix(refusedWith(t, key, strings.Repeat("q", 1<<20)), "…"), 4<<10)
}

// hostError is an error that shows its URL for some verbs only.
type hostError struct{ url string }

func (hostError) Error() string { return "the host is gone" }

func TestSecretsInFieldsOfErrorsAreHidden(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{
		"a field": hostError{sourceURL + oddQuery},
		"joined":  errors.Join(errors.New("gone"), hostError{sourceURL + oddQuery}),
	} {
		errs, _ := everyError(t, oddQuery, func(*http.Request) (*http.Response, error) { return nil, err })
		delete(errs, "API")
		for call, got := range errs {
			assertHidden(t, shown(got), name+", "+call)
			require.ErrorIs(t, got, err, name+", "+call)
		}
	}
}
