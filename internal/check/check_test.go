package check

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const uuid = "01234567-89ab-cdef-0123-456789ABCDEF"

func TestChecksAcceptValidValuesOnly(t *testing.T) {
	t.Parallel()
	release := func(s string) string { _, reason := Release(s); return reason }
	webURL := func(s string) string { _, reason := WebURL(s); return reason }
	baseURL := func(s string) string { _, reason := BaseURL(s); return reason }
	for name, tt := range map[string]struct {
		check     func(string) string
		good, bad []string
	}{
		"app":          {App, []string{"abc", "a-0", uuid}, []string{"", "ab", "Abc", "ab-", "0ab", strings.Repeat("a", 31), uuid + "0"}},
		"UUID":         {UUID, []string{uuid}, []string{"", uuid[1:], strings.ReplaceAll(uuid, "-", "_"), "g" + uuid[1:]}},
		"team":         {Team, []string{"acme", "a.b-c", uuid}, []string{"", "-a", "a/b", strings.Repeat("a", 129)}},
		"image":        {Image, []string{uuid, "sha256:" + strings.Repeat("0", 64)}, []string{"", "sha256:0", strings.Repeat("0", 64)}},
		"release":      {release, []string{"v1", "V12", "12", uuid}, []string{"", "0", "v0", "v-1", "latest", "12345678901"}},
		"process type": {ProcessType, []string{"web", "a_b-1"}, []string{"", "a b", "wéb", strings.Repeat("a", 129)}},
		"checksum":     {Checksum, []string{"", "SHA256:" + strings.Repeat("0", 64)}, []string{"sha256:" + strings.Repeat("0", 64), "SHA256:0"}},
		"token":        {Token, []string{"HRKU-0"}, []string{"", "a b", "a\n", "ä"}},
		"variant":      {Variant, []string{"", "cancel-build", "a_1"}, []string{"A", "a.b", "a b"}},
		"URL": {
			webURL, []string{"https://example.com/a?b", "http://127.0.0.1:1/", "http://localhost/", "http://[::1]/"},
			[]string{"", "%", "/a", "https:///a", "https://:1/", "http://example.com/", "ftp://example.com/"},
		},
		"base URL": {
			baseURL, []string{"https://example.com", "https://example.com/a/"},
			[]string{"https://u@example.com", "https://example.com?a", "https://example.com?", "https://example.com#a"},
		},
		"path": {Path, []string{"/", "/apps/a%2Fb"}, []string{"", "apps", "//apps", "/a?b", "/a#b", `/a\b`, "/a/../b", "/./a", "/%2e%2e/a", "/%"}},
	} {
		for _, good := range tt.good {
			assert.Empty(t, tt.check(good), "%s %q", name, good)
		}
		for _, bad := range tt.bad {
			assert.NotEmpty(t, tt.check(bad), "%s %q", name, bad)
		}
	}
}

func TestReasonsHaveNoSecrets(t *testing.T) {
	t.Parallel()
	const secret = "hunter2"
	_, web := WebURL("http://example.com/?key=" + secret)
	_, base := BaseURL("https://u:" + secret + "@example.com/")
	for _, reason := range []string{
		web, base, Token("a " + secret), Path("/a?key=" + secret),
		Header(http.Header{"A": {secret + "\n"}}), Header(http.Header{"Host": {secret}}),
	} {
		assert.NotEmpty(t, reason)
		assert.NotContains(t, reason, secret)
	}
}

func TestHeadersThatAreReserved(t *testing.T) {
	t.Parallel()
	assert.Empty(t, Header(http.Header{"X-A": {"b\tc"}, "Accept": {"d"}}))
	for _, name := range []string{"Host", "content-length", "Accept", "", "a b", "a:b"} {
		assert.NotEmpty(t, Header(http.Header{name: {"x"}}, "Accept"), "%q", name)
	}
}

func TestReleasesAreIdentifiedAsTheAPIAccepts(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"v12": "12", "7": "7", uuid: uuid, "v0": ""} {
		identity, _ := Release(in)
		assert.Equal(t, want, identity, in)
	}
}

func TestBaseURLsHaveNoSlashAtTheirEnd(t *testing.T) {
	t.Parallel()
	u, reason := BaseURL("https://example.com/a%2Fb//")
	assert.Empty(t, reason)
	assert.Equal(t, "https://example.com/a%2Fb", u.String())
}

func TestResponsesHaveUsableIDsAndURLs(t *testing.T) {
	t.Parallel()
	for _, check := range []func(field, id string) error{RequiredID, OptionalID} {
		require.NoError(t, check("id", uuid))
		require.Error(t, check("id", "7"))
	}
	require.Error(t, RequiredID("id", ""))
	require.NoError(t, OptionalID("id", ""))
	for _, check := range []func(field, url string) error{RequiredURL, OptionalURL} {
		for _, good := range []string{"https://example.com/a?b=%20", "https://example.com", "http://localhost/"} {
			require.NoError(t, check("url", good), good)
		}
		for _, bad := range []string{"https://example.com/%zz", "https://example.com/a\n", "https://exa mple.com/", "http://example.com/", "/"} {
			require.Error(t, check("url", bad), bad)
		}
	}
	require.Error(t, RequiredURL("url", ""))
	require.NoError(t, OptionalURL("url", ""))
}
