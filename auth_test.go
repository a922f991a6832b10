package herokubuild_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/jarcoal/httpmock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
)

// withoutCredentials hides the credentials of the person who runs the tests.
func withoutCredentials(t *testing.T) (home string) {
	t.Helper()
	home = t.TempDir()
	t.Setenv("HEROKU_API_KEY", "")
	t.Setenv("HEROKU_API_URL", "")
	t.Setenv("NETRC", "")
	t.Setenv("HOME", home)
	t.Setenv("USERPROFILE", home)
	return home
}

// sentKey creates a client from the environment and returns the key that it sends.
func sentKey(t *testing.T, opts ...herokubuild.Option) string {
	t.Helper()
	mock := httpmock.NewMockTransport()
	var sent string
	mock.RegisterNoResponder(func(req *http.Request) (*http.Response, error) {
		sent = req.Header.Get("Authorization")
		return httpmock.NewStringResponse(204, ""), nil
	})
	client, err := herokubuild.NewClient(append(opts, herokubuild.WithTransport(mock))...)
	require.NoError(t, err)
	require.NoError(t, do(t.Context(), client, "GET", "/account", nil))
	key, ok := strings.CutPrefix(sent, "Bearer ")
	require.True(t, ok, sent)
	return key
}

func writeNetrc(t testing.TB, path, content string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
}

func TestKeyFromEnvironment(t *testing.T) {
	withoutCredentials(t)
	t.Setenv("HEROKU_API_KEY", "from-the-environment")
	t.Setenv("NETRC", filepath.Join(t.TempDir(), "missing"))
	assert.Equal(t, "from-the-environment", sentKey(t))
	assert.Equal(t, "given", sentKey(t, herokubuild.WithToken("given")), "an option takes precedence over the environment")

	t.Setenv("HEROKU_API_KEY", testToken+"\nX-Header: x")
	_, err := herokubuild.NewClient()
	requireInvalid(t, err, "HEROKU_API_KEY")
	require.NotErrorIs(t, err, herokubuild.ErrNoCredential, "a key was found, and it is invalid")
}

func TestKeyFromNetrc(t *testing.T) {
	tests := map[string]struct{ content, base, want string }{
		"as heroku login writes it": {"machine api.heroku.com\n  login dev@example.com\n  password key-1\nmachine git.heroku.com\n  login dev@example.com\n  password key-2\n", apiURL, "key-1"},
		"on one line":               {"machine api.heroku.com login x password key-1", apiURL, "key-1"},
		"second of two":             {"machine example.com login x password other\nmachine api.heroku.com password key-1 login x\n", apiURL, "key-1"},
		"after a comment":           {"# password nobody\nmachine api.heroku.com login x password key-1\n", apiURL, "key-1"},
		"after a macro":             {"macdef init\ncd /tmp\n\nmachine api.heroku.com login x password key-1\n", apiURL, "key-1"},
		"default entry":             {"machine example.com login x password other\ndefault login x password key-1\n", apiURL, "key-1"},
		"entry before default":      {"machine api.heroku.com login x password key-1\ndefault login x password other\n", apiURL, "key-1"},
		"host of another base":      {"machine api.heroku.com login x password other\nmachine api.example.com login x password key-1\n", "https://api.example.com:8443/v3", "key-1"},
		"carriage returns":          {"machine api.heroku.com\r\n  login x\r\n  password key-1\r\n", apiURL, "key-1"},
		"byte order mark":           {"\ufeffmachine api.heroku.com login x password key-1\n", apiURL, "key-1"},
		"in quotes":                 {`machine "api.heroku.com" login x password "key\-1"`, apiURL, "key-1"},
		"within a macro":            {"macdef init\nmachine api.heroku.com password other\n\nmachine api.heroku.com login x password key-1\n", apiURL, "key-1"},
		"in capitals":               {"MACHINE API.HEROKU.COM LOGIN x PASSWORD key-1\n", apiURL, "key-1"},
		"default first":             {"default login x password key-1\nmachine api.heroku.com login x password other\n", apiURL, "key-1"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			withoutCredentials(t)
			path := filepath.Join(t.TempDir(), "credentials")
			writeNetrc(t, path, tt.content)
			t.Setenv("NETRC", path)
			assert.Equal(t, tt.want, sentKey(t, herokubuild.WithBaseURL(tt.base)))
		})
	}
}

func TestKeyFromNetrcInHome(t *testing.T) {
	home := withoutCredentials(t)
	name := ".netrc"
	if runtime.GOOS == "windows" {
		name = "_netrc"
	}
	writeNetrc(t, filepath.Join(home, name), "machine api.heroku.com login x password key-1\n")
	assert.Equal(t, "key-1", sentKey(t))
}

func TestNoCredential(t *testing.T) {
	tests := map[string]string{
		"no file":            "",
		"empty file":         " \n",
		"another machine":    "machine example.com login x password " + testToken + "\n",
		"no password":        "machine api.heroku.com login x\n",
		"password cut":       "machine api.heroku.com login x password",
		"host's start only":  "machine api.heroku.co login x password " + testToken + "\n",
		"password of no one": "password " + testToken,
		"commented out":      "machine api.heroku.com login x # password " + testToken,
	}
	for name, content := range tests {
		t.Run(name, func(t *testing.T) {
			home := withoutCredentials(t)
			if content != "" {
				path := filepath.Join(home, "credentials")
				writeNetrc(t, path, content)
				t.Setenv("NETRC", path)
			}
			client, err := herokubuild.NewClient()
			assert.Nil(t, client)
			require.ErrorIs(t, err, herokubuild.ErrNoCredential)
			require.NotErrorIs(t, err, herokubuild.ErrInvalidArgument)
			assert.Contains(t, err.Error(), "HEROKU_API_KEY", "the error names the variable to set")
		})
	}
	t.Run("no home", func(t *testing.T) {
		withoutCredentials(t)
		for _, name := range []string{"HOME", "HOMEDRIVE", "HOMEPATH", "USERPROFILE", "home"} {
			t.Setenv(name, "")
		}
		_, err := herokubuild.NewClient()
		require.ErrorIs(t, err, herokubuild.ErrNoCredential)
	})
}

func TestUnreadableNetrc(t *testing.T) {
	tests := map[string]string{
		"quote without an end": "machine api.heroku.com login x password \"" + testToken,
		"endless word":         "machine api.heroku.com login x password " + strings.Repeat(testToken, 10_000),
		"not a key":            "machine api.heroku.com login x password é" + testToken,
		"too large":            strings.Repeat("# "+testToken+"\n", 100_000),
	}
	for name, content := range tests {
		t.Run(name, func(t *testing.T) {
			withoutCredentials(t)
			path := filepath.Join(t.TempDir(), "credentials")
			writeNetrc(t, path, content)
			t.Setenv("NETRC", path)
			_, err := herokubuild.NewClient()
			require.ErrorIs(t, err, herokubuild.ErrInvalidArgument)
			assert.Contains(t, err.Error(), path)
			for e := err; e != nil; e = errors.Unwrap(e) {
				assertNoSecret(t, e.Error())
			}
		})
	}
	t.Run("a directory", func(t *testing.T) {
		t.Setenv("NETRC", withoutCredentials(t))
		_, err := herokubuild.NewClient()
		requireInvalid(t, err, "netrc")
	})
}

func TestNullDeviceIsNoNetrc(t *testing.T) {
	withoutCredentials(t)
	t.Setenv("NETRC", os.DevNull)
	_, err := herokubuild.NewClient()
	require.ErrorIs(t, err, herokubuild.ErrNoCredential)
}

func FuzzNetrc(f *testing.F) {
	f.Add("", "rest", "")
	f.Add("machine example.com login a password b\n", "x", "\ndefault login a")
	f.Add("macdef init\nbin\n\n", "x y", " password z")
	f.Add("default\n", "#", "\nmachine")
	f.Add("\"", "\\", "account")
	path := filepath.Join(f.TempDir(), "credentials")
	const marker = "xyzzy"
	f.Fuzz(func(t *testing.T, before, password, after string) {
		t.Setenv("HEROKU_API_KEY", "")
		t.Setenv("HEROKU_API_URL", "")
		t.Setenv("NETRC", path)
		writeNetrc(t, path, before+"machine api.heroku.com login me password "+marker+password+after)
		_, err := herokubuild.NewClient()
		if err == nil {
			return
		}
		if !errors.Is(err, herokubuild.ErrNoCredential) {
			require.ErrorIs(t, err, herokubuild.ErrInvalidArgument)
		}
		for e := err; e != nil; e = errors.Unwrap(e) {
			assert.NotContains(t, e.Error(), marker)
		}
	})
}

func TestTokenSource(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int32
		source := herokubuild.TokenSourceFunc(func(context.Context) (string, error) {
			if calls.Add(1) == 1 {
				return "first", nil
			}
			return "second", nil
		})
		a := newAPI(t, herokubuild.WithTokenSource(source))
		a.on("GET", apiURL+"/x", reply(503, ""), reply(204, ""))
		require.NoError(t, do(t.Context(), a.Client, "GET", "/x", nil))
		require.NoError(t, do(t.Context(), a.Client, "GET", "/x", nil))
		var keys []string
		for _, r := range a.seen() {
			keys = append(keys, r.Header.Get("Authorization"))
		}
		assert.Equal(t, []string{"Bearer first", "Bearer first", "Bearer second"}, keys)
	})
}

func TestTokenSourceFails(t *testing.T) {
	t.Parallel()
	broken := errors.New("the vault is sealed")
	a := newAPI(t, herokubuild.WithTokenSource(herokubuild.TokenSourceFunc(func(context.Context) (string, error) { return "", broken })))
	require.ErrorIs(t, do(t.Context(), a.Client, "GET", "/x", nil), broken)

	for _, key := range []string{"", testToken + "\r\n"} {
		a = newAPI(t, herokubuild.WithTokenSource(keySource{key}))
		requireInvalid(t, do(t.Context(), a.Client, "GET", "/x", nil), "token")
		assert.Zero(t, a.mock.GetTotalCallCount())
	}
}

func TestTokenSourceGetsTheContext(t *testing.T) {
	t.Parallel()
	a := newAPI(t, herokubuild.WithTokenSource(herokubuild.TokenSourceFunc(func(ctx context.Context) (string, error) {
		<-ctx.Done()
		return "", context.Cause(ctx)
	})))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, do(ctx, a.Client, "GET", "/x", nil), context.Canceled)
}
