package redact_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild/internal/redact"
)

func TestURL(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                      "",
		"https://h/p":           "https://h/p",
		"https://h/p?":          "https://h/p",
		"https://h/p?a=b":       "https://h/p?REDACTED",
		"https://h/p#a":         "https://h/p?REDACTED",
		"https://h/p?a=b#c":     "https://h/p?REDACTED",
		"https://me:pass@h/p":   "https://REDACTED@h/p",
		"https://token@h/p?a=b": "https://REDACTED@h/p?REDACTED",
		"data:secret":           "data:REDACTED",
		"https://h/%zz?a=b":     "REDACTED",
		"/path?a=b":             "/path?REDACTED",
		"https://h/a%2Fb":       "https://h/a%2Fb",
	} {
		assert.Equal(t, want, redact.URL(in), in)
	}
}

func TestLinkKeepsTheSectionOfAPage(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"https://h/p#ranges":                     "https://h/p#ranges",
		"http://h/p#error-responses_2.1":         "http://h/p#error-responses_2.1",
		"https://h/p?a=b#ranges":                 "https://h/p?REDACTED",
		"https://h/p#access_token=abc":           "https://h/p?REDACTED",
		"https://u:p@h/p#ranges":                 "https://REDACTED@h/p?REDACTED",
		"ftp://h/p#ranges":                       "ftp://h/p?REDACTED",
		"https://h/p#" + strings.Repeat("a", 64): "https://h/p#" + strings.Repeat("a", 64),
		"https://h/p#" + strings.Repeat("a", 65): "https://h/p?REDACTED",
		"https://h/%zz#ranges":                   "REDACTED",
		"https://h/p":                            "https://h/p",
		"":                                       "",
	} {
		assert.Equal(t, want, redact.Link(in), in)
	}
}

func TestTextRemovesQueriesAndKeys(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`Get "https://h/p?a=b": EOF`:              `Get "https://h/p?REDACTED": EOF`,
		"see https://h/p#ranges.":                 "see https://h/p#ranges.",
		"two: https://h/p?a=b http://i/q?c=d end": "two: https://h/p?REDACTED http://i/q?REDACTED end",
		"GET /p?a=b HTTP/1.1":                     "GET /p?REDACTED HTTP/1.1",
		"next=%2Fp%3Fa%3Db":                       "next=%2Fp%3FREDACTED",
		"X-Amz-Signature=abc&x":                   "REDACTED&x",
		"private_token=abc":                       "REDACTED",
		"key HRKU-01234567-89ab":                  "key REDACTED",
		"Authorization: Bearer 0123456789abcdef":  "Authorization: REDACTED",
		"Bearer authentication":                   "Bearer authentication",
		"What? a=b":                               "What? a=b",
		"://":                                     "REDACTED",
		"x=1&y=2":                                 "x=1&y=2",
		"100% of %d":                              "100% of %d",
	} {
		assert.Equal(t, want, redact.Text(in), in)
	}
}

func TestSecretsOfAURL(t *testing.T) {
	t.Parallel()
	for in, want := range map[string][]string{
		"https://h/p":                          nil,
		"https://h/p?Signature=abcdef&max=200": {"Signature=abcdef&max=200", "Signature=abcdef", "abcdef", "max=200"},
		"https://h/p?a=1;b=2":                  {"a=1;b=2"},
		"https://h/p#access_token":             {"access_token"},
		"https://me:hunter2-long@h/p":          {"me:hunter2-long", "hunter2-long", base64.StdEncoding.EncodeToString([]byte("me:hunter2-long"))},
		"https://h/%zz?Signature=abcdef":       {"Signature=abcdef", "abcdef"},
	} {
		assert.ElementsMatch(t, unique(want), unique(redact.OfURL(in)), in)
	}
}

func unique(list []string) []string {
	seen := map[string]bool{}
	var out []string
	for _, s := range list {
		if !seen[s] {
			out = append(out, s)
		}
		seen[s] = true
	}
	return out
}

func TestSecretsOfAHeader(t *testing.T) {
	t.Parallel()
	got := redact.OfHeader(http.Header{"Private-Token": {"glpat-0123"}, "Authorization": {"Basic c2VjcmV0OnBhc3N3b3Jk"}, "X": {"abc"}})
	assert.ElementsMatch(t, []string{"glpat-0123", "Basic c2VjcmV0OnBhc3N3b3Jk", "c2VjcmV0OnBhc3N3b3Jk", "secret:password", "password"}, got)
}

func TestSecretsOfRedirects(t *testing.T) {
	t.Parallel()
	request := func(raw string, cause *http.Response) *http.Response {
		u, err := url.Parse(raw)
		require.NoError(t, err)
		return &http.Response{Request: &http.Request{URL: u, Response: cause}}
	}
	got := redact.OfResponse(request("https://b/p?second=222222", request("https://a/p?first=111111", nil)))
	assert.Subset(t, got, []string{"111111", "222222"})
	assert.Empty(t, redact.OfResponse(request("https://b/p", nil)))
	assert.Empty(t, redact.OfResponse(nil))
	assert.Empty(t, redact.OfResponse(new(http.Response)))
}

// secret has what each kind of escape changes.
const secret = "aB3/xY+z7=9q&t"

// Every spelling of a secret is hidden, and the text around it is kept.
func TestRedactorFindsEverySpelling(t *testing.T) {
	t.Parallel()
	inJSON, err := json.Marshal(secret)
	require.NoError(t, err)
	for name, spelled := range map[string]string{
		"as it is":              secret,
		"upper case":            strings.ToUpper(secret),
		"lower case":            strings.ToLower(secret),
		"percent-encoded":       url.QueryEscape(secret),
		"percent-encoded twice": url.QueryEscape(url.QueryEscape(secret)),
		"plus as a space":       strings.ReplaceAll(secret, "+", " "),
		"HTML":                  html.EscapeString(secret),
		"HTML numbers":          strings.NewReplacer("/", "&#47;", "=", "&#x3D;").Replace(secret),
		"JSON":                  strings.Trim(string(inJSON), `"`),
		"JSON slashes":          strings.ReplaceAll(secret, "/", `\/`),
		"hex escapes":           strings.ReplaceAll(secret, "/", `\x2f`),
		"hex":                   hex.EncodeToString([]byte(secret)),
		"HEX":                   strings.ToUpper(hex.EncodeToString([]byte(secret))),
		"wrapped":               secret[:7] + "\r\n  " + secret[7:],
		"escaped line break":    secret[:7] + `\n` + secret[7:],
		"invisible characters":  secret[:7] + "\u200b\u00ad" + secret[7:],
		"NUL":                   secret[:7] + "\x00" + secret[7:],
	} {
		got := redact.New(secret).Text("before " + spelled + " after")
		assert.Equal(t, "before REDACTED after", got, name)
	}
}

func TestRedactorFindsBase64AtAnyPlace(t *testing.T) {
	t.Parallel()
	for before := range 6 {
		raw := []byte(strings.Repeat("x", before) + secret + "yz")
		for _, e := range []*base64.Encoding{base64.StdEncoding, base64.RawURLEncoding} {
			encoded := e.EncodeToString(raw)
			got := redact.New(secret).Text(encoded)
			assert.Contains(t, got, "REDACTED")
			for i := 8; i+8 < len(encoded)-8; i++ {
				assert.NotContains(t, got, encoded[i:i+8])
			}
		}
	}
}

func TestRedactorHidesSeveralSecrets(t *testing.T) {
	t.Parallel()
	r := redact.New("alpha-1").With("beta-22", "a-1beta").With()
	for in, want := range map[string]string{
		"alpha-1 and beta-22":             "REDACTED and REDACTED",
		"alpha-1beta-22":                  "REDACTED",
		"alpha-1, alpha-1":                "REDACTED, REDACTED",
		"alpha-2":                         "alpha-2",
		"alpha-1 of https://h/p?sig=9999": "REDACTED of https://h/p?REDACTED",
		"":                                "",
	} {
		assert.Equal(t, want, r.Text(in), in)
		assert.Equal(t, strings.Contains(in, "alpha-1"), r.Finds(in), in)
	}
	assert.NotContains(t, redact.New("alpha-1").Text("beta-22"), "REDACTED", "the Redactor that With extends does not change")
}

func TestZeroRedactorHidesQueriesOnly(t *testing.T) {
	t.Parallel()
	var r redact.Redactor
	assert.Equal(t, "alpha https://h/p?REDACTED", r.Text("alpha https://h/p?a=b"))
	assert.False(t, r.Finds("https://h/p?a=b"))
}

// The start of a long text may end in a part of a secret, which is not recognized.
func TestStartDropsTheEndOfALongText(t *testing.T) {
	t.Parallel()
	r := redact.New(secret)
	assert.Equal(t, "x REDACTED", r.Start("x "+secret))
	for cut := 1; cut < len(secret); cut++ {
		text := strings.Repeat("q", 64<<10-cut) + secret + " after"
		got := r.Start(text)
		assert.Equal(t, strings.Repeat("q", len(got)), got)
		assert.Greater(t, len(got), 40<<10)
	}
}

func TestPrintingARedactorShowsNoSecret(t *testing.T) {
	t.Parallel()
	holder := struct{ r redact.Redactor }{redact.New(secret)}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		assert.NotContains(t, fmt.Sprintf(verb, holder), secret)
		assert.NotContains(t, fmt.Sprintf(verb, &holder), hex.EncodeToString([]byte(secret)))
	}
}

// The text around a secret does not matter.
func FuzzRedactor(f *testing.F) {
	for _, around := range []string{"", " ", "%", "%4", "&#", "&amp", `\u00`, `\`, "?", "https://h/?", `"`, "a=", "\x1b", "\xff"} {
		f.Add(around, around)
	}
	r := redact.New(secret)
	f.Fuzz(func(t *testing.T, before, after string) {
		assert.NotContains(t, r.Text(before+secret+after), secret)
	})
}
