package netrc_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild/internal/netrc"
)

const host = "127.0.0.1"

// likeCurl returns files with the password that every version of curl since 7.84
// finds in them.
func likeCurl() map[string]string {
	return map[string]string{
		"":                                  "",
		"machine HOST login l password KEY": "KEY",
		"machine HOST\n login l\n\tpassword KEY\n":        "KEY",
		"machine HOST\r\n  login l\r\n  password KEY\r\n": "KEY",
		"machine HOST password KEY login l":               "KEY",
		"machine HOST password KEY":                       "KEY",
		"MACHINE HOST Login l PassWord KEY":               "KEY",
		"machine HOST account a login l password KEY":     "KEY",
		"machine HOST login l odd password KEY":           "KEY",
		"machine HOST login password password KEY":        "KEY",
		"machine HOST login machine password KEY":         "KEY",
		"machine HOST login l password machine":           "machine",
		"machine HOST login default password KEY":         "KEY",
		"machine HOST password K1 password K2 login l":    "K2",
		"machine HOST login l password K1 password K2":    "K1",
		"password NO login l machine HOST":                "",

		"machine HOST login l password \"KEY\"":                                "KEY",
		"machine HOST login \"a b\" password \"K E Y\"":                        "K E Y",
		"machine \"HOST\" \"login\" l \"password\" KEY":                        "KEY",
		`machine HOST login l password "K\"E\\Y\z"`:                            `K"E\Yz`,
		`machine HOST login l password "K\tE"`:                                 "K\tE",
		`machine HOST login l password K"E"Y`:                                  `K"E"Y`,
		`machine HOST login l password K\"Y`:                                   `K\"Y`,
		"machine HOST login l password \"\"\nmachine HOST login m password NO": "",

		"# machine HOST password NO\nmachine HOST login l password KEY": "KEY",
		"  # c\nmachine HOST login l\n# password NO\npassword KEY":      "KEY",
		"machine HOST login l password KEY # comment":                   "KEY",
		"machine HOST login l password KEY#x":                           "KEY#x",

		"default login l password DEF":                                   "DEF",
		"machine HOST login l password KEY\ndefault login l password NO": "KEY",
		"default login l password DEF\nmachine HOST login l password NO": "DEF",
		"default\nmachine HOST login l password KEY":                     "KEY",
		"machine HOST login l\ndefault login d password DEF":             "DEF",
		"DEFAULT login l password DEF":                                   "DEF",

		"machine other login l password NO":                                     "",
		"machine other login l password NO\nmachine HOST login l password KEY":  "KEY",
		"machine HOST login l password KEY\nmachine other login l password NO":  "KEY",
		"machine HOST login a password KEY\nmachine HOST login b password NO":   "KEY",
		"machine HOST\nmachine other login l password NO":                       "",
		"machine HOST login l\nmachine other login l password NO":               "",
		"machine HOST login l\nmachine HOST login m password KEY":               "KEY",
		"machine HOST:1 login l password NO\nmachine HOST login l password KEY": "KEY",
		"machine HOST login":    "",
		"machine HOST password": "",
		"machine":               "",

		"macdef init\nmachine HOST login l password NO\n\nmachine HOST login l password KEY\n":                          "KEY",
		"machine other login l password NO\nmacdef init\nmachine HOST password NO\n\nmachine HOST login l password KEY": "KEY",
		"MacDef init\ncd \"\n\nmachine HOST login l password KEY":                                                       "KEY",
		"macdef init\n# machine HOST\ndefault login l password NO\n":                                                    "",
		"machine HOST macdef init\nlogin l password KEY\n":                                                              "KEY",
	}
}

func TestPassword(t *testing.T) {
	t.Parallel()
	cases := likeCurl()
	// For these, versions of curl differ from each other or from the intended
	// result.
	cases["machine HOST login l password #NO"] = ""
	cases["machine HOST login l # password NO"] = ""
	cases["macdef init\r\nmachine HOST password NO\r\n\r\nmachine HOST login l password KEY\r\n"] = "KEY"
	cases["macdef init \nmachine HOST password NO\n \t\nmachine HOST login l password KEY\n"] = "KEY"
	cases["machine HOST login l password \n KEY\n"] = "KEY"
	cases["machine HOST password KEY\ndefault login l password NO"] = "KEY"
	cases["machine HOST password KEY\nmachine HOST login m password NO"] = "KEY"
	cases["machine HOST password KEY\nmachine other login m password NO"] = "KEY"
	cases["\xef\xbb\xbfmachine HOST login l password KEY"] = "KEY"
	for text, want := range cases {
		got, err := netrc.Password([]byte(strings.ReplaceAll(text, "HOST", host)), host)
		require.NoError(t, err, "%q", text)
		assert.Equal(t, want, got, "%q", text)
	}
	got, err := netrc.Password([]byte("machine API.Heroku.com login l password KEY"), "api.heroku.com")
	require.NoError(t, err)
	assert.Equal(t, "KEY", got, "hosts are case-insensitive")
}

func TestMalformedFile(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"\nmachine HOST login l password \"KEY\n", "\nmachine other password \"KEY", "\nmachine HOST login l password \"KEY\\",
		"\nmachine HOST login l password " + strings.Repeat("KEY", 2000),
	} {
		got, err := netrc.Password([]byte(strings.ReplaceAll(text, "HOST", host)), host)
		require.ErrorContains(t, err, "line 2", "%.80q", text)
		assert.NotContains(t, err.Error(), "KEY")
		assert.Empty(t, got)
	}
	got, err := netrc.Password([]byte("machine "+host+" login l password KEY\n\""), host)
	require.NoError(t, err, "lines after the entry are not parsed")
	assert.Equal(t, "KEY", got)
}

// TestPasswordLikeCurl checks the table against curl.
func TestPasswordLikeCurl(t *testing.T) {
	t.Parallel()
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("curl is not installed")
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, password, _ := r.BasicAuth()
		_, _ = io.WriteString(w, password)
	}))
	t.Cleanup(server.Close)
	file := filepath.Join(t.TempDir(), "netrc")
	for text, want := range likeCurl() {
		require.NoError(t, os.WriteFile(file, []byte(strings.ReplaceAll(text, "HOST", host)), 0o600))
		cmd := exec.CommandContext(t.Context(), curl, "--disable", "--silent", "--show-error", "--noproxy", "*", "--netrc-file", file, server.URL)
		got, err := cmd.Output()
		require.NoError(t, err, "%q", text)
		assert.Equal(t, want, string(got), "%q", text)
	}
}

func TestFiles(t *testing.T) {
	t.Parallel()
	join := filepath.Join
	for name, tt := range map[string]struct {
		windows bool
		env     map[string]string
		want    []string
	}{
		"named":             {false, map[string]string{"NETRC": "n", "HOME": "h"}, []string{"n"}},
		"home":              {false, map[string]string{"HOME": "h", "USERPROFILE": "u"}, []string{join("h", ".netrc")}},
		"nothing":           {false, map[string]string{"USERPROFILE": "u"}, nil},
		"windows, named":    {true, map[string]string{"NETRC": "n", "HOME": "h"}, []string{"n"}},
		"windows, home":     {true, map[string]string{"HOME": "h", "HOMEDRIVE": "d", "HOMEPATH": "p", "USERPROFILE": "u"}, []string{join("h", "_netrc"), join("h", ".netrc")}},
		"windows, drive":    {true, map[string]string{"HOMEDRIVE": "d", "HOMEPATH": "p", "USERPROFILE": "u"}, []string{join("dp", "_netrc"), join("dp", ".netrc")}},
		"windows, no drive": {true, map[string]string{"HOMEPATH": "p", "USERPROFILE": "u"}, []string{join("u", "_netrc"), join("u", ".netrc")}},
		"windows, no path":  {true, map[string]string{"HOMEDRIVE": "d", "USERPROFILE": "u"}, []string{join("u", "_netrc"), join("u", ".netrc")}},
		"windows, nothing":  {true, nil, nil},
	} {
		assert.Equal(t, tt.want, netrc.Files(tt.windows, func(name string) string { return tt.env[name] }), name)
	}
}

func FuzzPassword(f *testing.F) {
	for text := range likeCurl() {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := netrc.Password([]byte(text), "HOST")
		if err != nil {
			assert.Empty(t, got)
			assert.Less(t, len(err.Error()), 60, "the error must not quote the file")
		}
	})
}
