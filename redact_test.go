package herokubuild_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
)

// The signature has characters that each kind of escape changes.
const (
	oddSignature = "aB3%2FxY%2Bz7%3D9q"
	oddQuery     = "?Signature=" + oddSignature + "&Expires=1893456000"
)

// everyError returns the errors of requests to hosts that respond like this (API, upload,
// download, output and fetched archive), and the log.
func everyError(t *testing.T, query string, respond func(req *http.Request) (*http.Response, error)) (map[string]error, string) {
	t.Helper()
	var log strings.Builder
	a := newAPI(t, noRetry(), herokubuild.WithLogger(slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))),
		herokubuild.WithPollBackoff(func(int) time.Duration { return 0 }))
	a.mock.RegisterNoResponder(respond)
	archive, _ := testArchive(t)
	signed := herokubuild.SecretURL(sourceURL + query)
	errs := map[string]error{
		"upload": a.Sources.Put(t.Context(), decodeSource(t, signed.Reveal()), archive, nil),
		"query":  do(t.Context(), a.Client, "GET", "/x", &herokubuild.DoOptions{Query: url.Values{"Signature": {"aB3/xY+z7=9q"}}}),
	}
	_, errs["API"] = a.Builds.Get(t.Context(), appName, buildID)
	_, errs["body"] = a.Builds.Create(t.Context(), appName, herokubuild.BuildCreateOptions{SourceBlob: herokubuild.SourceBlob{URL: signed}})
	_, errs["download"] = a.Slugs.DownloadFrom(t.Context(), appName, &herokubuild.Slug{Blob: herokubuild.Blob{Method: "GET", URL: signed}}, nil)
	_, errs["fetch"] = a.FetchArchive(t.Context(), signed, &herokubuild.FetchArchiveOptions{Header: http.Header{"Private-Token": {"glpat-0123"}}})
	a.serveBuild(signed.Reveal())
	stream, err := a.Builds.Output(t.Context(), appName, buildID, nil)
	require.NoError(t, err)
	_, errs["output"] = io.ReadAll(stream)
	for name, err := range errs {
		require.Error(t, err, name)
	}
	return errs, log.String()
}

// walk calls f with err and every error that it wraps.
func walk(err error, f func(err error)) {
	if err == nil {
		return
	}
	f(err)
	switch e := err.(type) { //nolint:errorlint // one at a time
	case interface{ Unwrap() error }:
		walk(e.Unwrap(), f)
	case interface{ Unwrap() []error }:
		for _, cause := range e.Unwrap() {
			walk(cause, f)
		}
	}
}

// shown returns an error and every error that it wraps, as people and logs show them.
func shown(err error) string {
	var b strings.Builder
	walk(err, func(err error) {
		for _, verb := range []string{"%v", "%+v", "%#v", "%q"} {
			fmt.Fprintf(&b, verb+"\n", err)
		}
	})
	return b.String()
}

// However a host spells the request that it repeats, the secrets are hidden in every error
// and in the log.
func TestEchoedSecretsAreHidden(t *testing.T) {
	t.Parallel()
	plain, err := url.QueryUnescape(oddSignature)
	require.NoError(t, err)
	inJSON, err := json.Marshal(oddQuery)
	require.NoError(t, err)
	tests := map[string]string{
		"absolute":            "no " + sourceURL + oddQuery + " here",
		"relative":            "no /sources/1.tgz" + oddQuery,
		"without a scheme":    "no storage.example.com/sources/1.tgz" + oddQuery,
		"request line":        "GET /sources/1.tgz" + oddQuery + " HTTP/1.1",
		"HTML":                `<a href="/x` + html.EscapeString(oddQuery) + `">x</a>`,
		"HTML, numbers":       "/x" + strings.NewReplacer("&", "&#38;", "=", "&#x3D;", "%", "&#37;").Replace(oddQuery),
		"JSON":                string(inJSON),
		"JSON, slashes":       `{"message":"https:\/\/storage.example.com\/x` + strings.ReplaceAll(oddQuery, "&", `\u0026`) + `"}`,
		"percent-encoded":     "next=" + url.QueryEscape(sourceURL+oddQuery),
		"encoded twice":       "next=" + url.QueryEscape(url.QueryEscape(sourceURL+oddQuery)),
		"lower case":          strings.ToLower("no /x" + oddQuery),
		"the signature":       "signature " + oddSignature + " is wrong",
		"decoded":             "signature '" + plain + "' is wrong",
		"decoded, in HTML":    "signature " + html.EscapeString(plain) + " is wrong",
		"decoded, in JSON":    `{"id":"x","message":"` + strings.ReplaceAll(plain, "/", `\/`) + ` is wrong"}`,
		"a parameter":         "bad parameter Signature=" + oddSignature,
		"XML":                 "<Error><Code>" + plain + "</Code><Message>" + html.EscapeString(oddQuery) + "</Message></Error>",
		"API error":           `{"id":"` + testToken + `","message":"key ` + testToken + `","url":"https://h/x?` + testToken + `","resource":"` + testToken + `"}`,
		"the header":          "Authorization: Bearer " + testToken,
		"the key":             "<b>" + testToken + "</b>",
		"the key, in capital": strings.ToUpper(testToken),
		"in the middle":       strings.Repeat("x", 4090) + testToken + plain,
	}
	for name, body := range tests {
		for _, status := range []int{400, 500} {
			t.Run(fmt.Sprint(name, " ", status), func(t *testing.T) {
				t.Parallel()
				errs, log := everyError(t, oddQuery, reply(status, body, "Request-Id", "id "+testToken, "Warning-Message", "use "+testToken+oddQuery, "Warning-Id", testToken))
				// A request without a signature cannot recognize one.
				assert.NotContains(t, strings.ToLower(shown(errs["API"])), strings.ToLower(testToken))
				delete(errs, "API")
				for call, err := range errs {
					assertHidden(t, shown(err), call)
				}
				assertHidden(t, log, "log")
			})
		}
	}
}

func TestHeaderOfAFetchIsHidden(t *testing.T) {
	t.Parallel()
	for _, body := range []string{"PRIVATE-TOKEN: glpat-0123", "token glpat%2D0123 of bob, c2VjcmV0OnBhc3N3b3Jk or secret:password", "password"} {
		a := newAPI(t, noRetry())
		a.on("GET", sourceURL, reply(401, body))
		header := http.Header{"Private-Token": {"glpat-0123"}, "Authorization": {"Basic c2VjcmV0OnBhc3N3b3Jk"}}
		_, err := a.FetchArchive(t.Context(), sourceURL, &herokubuild.FetchArchiveOptions{Header: header})
		require.ErrorAs(t, err, new(*herokubuild.StorageError))
		for _, secret := range []string{"0123", "c2Vj", "password"} {
			assert.NotContains(t, shown(err), secret)
		}
	}
}

func assertHidden(t *testing.T, text, where string) {
	t.Helper()
	text = strings.ToLower(text)
	for _, secret := range []string{testToken, testToken[:12], "aB3%2Fx", "aB3%252F", "aB3/xY", `aB3\/xY`, "xY+z7", "z7=9q", "z7%3D9q", "glpat-0123"} {
		assert.NotContains(t, text, strings.ToLower(secret), where)
	}
}

// Errors of the network library and of transports may have secrets anywhere.
func TestTransportsSecretsAreHidden(t *testing.T) {
	t.Parallel()
	own := errors.New("a cause of its own")
	network := &net.OpError{Op: "read", Net: "tcp", Err: own}
	failing := func(err error) func(*http.Request) (*http.Response, error) {
		return func(req *http.Request) (*http.Response, error) {
			return nil, err
		}
	}
	tests := map[string]func(req *http.Request) (*http.Response, error){
		"a client as a transport": func(req *http.Request) (*http.Response, error) {
			inner := http.Client{Transport: transport(failing(network))}
			req = req.Clone(req.Context())
			req.RequestURI = ""
			return inner.Do(req)
		},
		"clients within clients": func(req *http.Request) (*http.Response, error) {
			return nil, &url.Error{Op: "Get", URL: req.URL.String(), Err: fmt.Errorf("retry: %w", &url.Error{Op: "Get", URL: req.URL.String(), Err: network})}
		},
		"joined": func(req *http.Request) (*http.Response, error) {
			return nil, errors.Join(errors.New("first"), &url.Error{Op: "Get", URL: req.URL.String(), Err: network})
		},
		"in text": func(req *http.Request) (*http.Response, error) {
			return nil, fmt.Errorf("proxy: %s with %s: %w", req.URL.RequestURI(), req.Header.Get("Authorization"), network)
		},
		"in the text of a typed cause": func(req *http.Request) (*http.Response, error) {
			return nil, &net.OpError{Op: "read", Net: "tcp " + req.URL.String(), Err: network}
		},
	}
	for name, respond := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			errs, log := everyError(t, oddQuery, respond)
			for call, err := range errs {
				assertHidden(t, shown(err), call)
				require.ErrorIs(t, err, own, call)
				var op *net.OpError
				require.ErrorAs(t, err, &op, call)
				walk(err, func(err error) {
					if ue := new(url.Error); errors.As(err, &ue) {
						assertHidden(t, ue.URL, call)
					}
				})
			}
			assertHidden(t, log, "log")
		})
	}
}

type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// multiline is an error with a type of its own and a text of two lines.
type multiline struct{ code int }

func (e *multiline) Error() string { return "first\nsecond" }

func TestTransportErrorsKeepTheirType(t *testing.T) {
	t.Parallel()
	errs, log := everyError(t, oddQuery, fail(fmt.Errorf("wrapped: %w", &multiline{7})))
	for call, err := range errs {
		var own *multiline
		require.ErrorAs(t, err, &own, call)
		assert.Equal(t, 7, own.code)
		assert.Contains(t, err.Error(), "first second", call)
		assert.NotContains(t, err.Error(), "\n", call)
	}
	assert.NotContains(t, log, `first\nsecond`)
}

// A redirect may lead to another signed URL.
func TestSecretsOfRedirectsAreHidden(t *testing.T) {
	t.Parallel()
	errs, log := everyError(t, "?first=0123456", func(req *http.Request) (*http.Response, error) {
		switch {
		case req.URL.Host == "api.heroku.com":
			return reply(400, "")(req)
		case req.URL.Host != "other.example.com":
			return reply(307, "", "Location", "https://other.example.com/second"+oddQuery)(req)
		}
		return reply(400, "signature aB3/xY+z7=9q of "+req.URL.RawQuery)(req)
	})
	for call, err := range errs {
		assertHidden(t, shown(err), call)
	}
	assertHidden(t, log, "log")

	errs, log = everyError(t, "?first=0123456", func(req *http.Request) (*http.Response, error) {
		if req.URL.Host != "other.example.com" {
			return reply(307, "", "Location", "https://other.example.com/second"+oddQuery)(req)
		}
		return nil, errors.New("no route with aB3/xY+z7=9q")
	})
	for call, err := range errs {
		assertHidden(t, shown(err), call)
	}
	assertHidden(t, log, "log")
}

// User information of a URL is sent as an Authorization header.
func TestUserInformationIsHidden(t *testing.T) {
	t.Parallel()
	const address = "https://me:hunter2-long@storage.example.com/a.tgz"
	a := newAPI(t, noRetry())
	for name, body := range map[string]string{
		"header":   "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("me:hunter2-long")),
		"password": "the password hunter2-long is wrong",
		"URL":      "no //me:hunter2-long@storage.example.com",
	} {
		a.mock.RegisterNoResponder(reply(401, body))
		_, err := a.FetchArchive(t.Context(), address, nil)
		require.Error(t, err)
		assert.NotContains(t, shown(err), "hunter2", name)
		assert.NotContains(t, shown(err), "bWU6aHVudGVyMi1sb25n", name)
	}
}

// Text that is not a secret of the request stays readable.
func TestTextWithoutSecretsIsKept(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"host not found", "expires in 86400 seconds", "What? a=b", "100% of %d", "a & b &amp; c", `C:\users\x`, "Bearer authentication required",
		"see https://devcenter.heroku.com/articles/platform-api-reference#ranges.", "a://b", "x=1&y=2",
	} {
		a := newAPI(t, noRetry())
		body, err := json.Marshal(map[string]string{"id": "x", "message": text})
		require.NoError(t, err)
		a.mock.RegisterNoResponder(reply(400, string(body)))
		err = do(t.Context(), a.Client, "GET", "/x", &herokubuild.DoOptions{Query: url.Values{"max": {"86400"}, "by": {"host"}}})
		assert.Equal(t, text, requireAPIError(t, err).Message)
	}
}

// A fragment is kept if it names a section of a page, and hidden if it may be a secret.
func TestLinksOfErrors(t *testing.T) {
	t.Parallel()
	const page = "https://devcenter.heroku.com/articles/x"
	for link, want := range map[string]string{
		page + "#ranges": page + "#ranges", page + "#error-responses_2.1": page + "#error-responses_2.1",
		page + "?a=b#ranges": page + "?REDACTED", page + "#access_token=abcdef": page + "?REDACTED",
		"https://u:p@h/x#ranges": "https://REDACTED@h/x?REDACTED", "ftp://h/x#ranges": "ftp://h/x?REDACTED", page + "#" + strings.Repeat("a", 65): page + "?REDACTED",
		page: page, "": "",
	} {
		a := newAPI(t, noRetry())
		a.on("GET", apiURL+"/x", reply(400, `{"id":"x","message":"see `+link+` now","url":"`+link+`"}`))
		refused := requireAPIError(t, do(t.Context(), a.Client, "GET", "/x", nil))
		assert.Equal(t, want, refused.URL)
		assert.Equal(t, "see "+want+" now", refused.Message)
	}
	assert.Equal(t, page+"?REDACTED", herokubuild.SecretURL(page+"#ranges").String(), "a SecretURL does not show its fragment")
}

// Text from outside can neither control a terminal nor add a line to a log.
func TestTextFromOutsideIsClean(t *testing.T) {
	t.Parallel()
	const evil = "\x1b]0;owned\x07\x1b[2J\r\nlevel=ERROR\u202e\u2066\u200f\u009b31m\u2028\u200b\x7f\xff end"
	asJSON, err := json.Marshal(evil)
	require.NoError(t, err)
	entities := "&#x9b;31m&#10;&#13;&#x202e;&#x2028;&#x200b; end"
	for name, body := range map[string]string{
		"text": evil, "JSON": `{"id":` + string(asJSON) + `,"message":` + string(asJSON) + `,"url":` + string(asJSON) + `,"resource":` + string(asJSON) + `}`,
		"XML": "<Error><Code>" + entities + "</Code><Message>" + entities + "</Message></Error>", "a value": `{"created_at":` + string(asJSON) + `}`,
	} {
		for _, status := range []int{200, 302, 400, 503} {
			t.Run(fmt.Sprint(name, " ", status), func(t *testing.T) {
				t.Parallel()
				if status == 200 && name != "a value" {
					status = 404
				}
				var log strings.Builder
				a := newAPI(t, noRetry(), herokubuild.WithLogger(slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))),
					herokubuild.WithPollBackoff(func(int) time.Duration { return 0 }))
				a.mock.RegisterNoResponder(reply(status, body, "Request-Id", evil, "Warning-Message", evil, "Warning-Id", evil, "Location", evil))
				archive, _ := testArchive(t)
				_, apiErr := a.Builds.Get(t.Context(), appName, buildID)
				errs := []error{apiErr}
				if status != 200 {
					errs = append(errs, a.Sources.Put(t.Context(), decodeSource(t, sourceURL+fakeQuery), archive, nil))
					a.serveBuild(outputURL + outputSign)
					s, err := a.Builds.Output(t.Context(), appName, buildID, nil)
					require.NoError(t, err)
					_, err = io.ReadAll(s)
					errs = append(errs, err)
				}
				for _, err := range errs {
					require.Error(t, err)
					walk(err, func(err error) { assertClean(t, err.Error()) })
				}
				for _, line := range strings.Split(strings.TrimSpace(log.String()), "\n") {
					var attrs map[string]any
					require.NoError(t, json.Unmarshal([]byte(line), &attrs))
					assertClean(t, fmt.Sprint(attrs))
				}
				var refused *herokubuild.APIError
				if errors.As(apiErr, &refused) {
					assertClean(t, strings.NewReplacer("\n", "", "\t", "").Replace(refused.Body))
					assertClean(t, refused.ID+refused.Message+refused.URL+refused.Resource+refused.RequestID)
				}
			})
		}
	}
}

func assertClean(t *testing.T, text string) {
	t.Helper()
	for _, bad := range []string{"\x1b", "\a", "\r", "\n", "\u202e", "\u2066", "\u200f", "\u009b", "\u2028", "\u200b", "\x7f", "\xff"} {
		assert.NotContains(t, text, bad)
	}
}

// Errors also have fields of builds and releases.
func TestErrorsAboutOddBuildsAreClean(t *testing.T) {
	t.Parallel()
	const evil = "x\x1b[31m\r\ny\u009b"
	build := &herokubuild.Build{ID: evil, Status: evil}
	release := &herokubuild.Release{ID: evil, Status: evil}
	for _, err := range []error{
		&herokubuild.BuildError{App: evil, Build: build}, &herokubuild.ReleaseError{App: evil, Release: release},
		&herokubuild.APIError{Message: evil}, &herokubuild.RequestError{Err: errors.New(evil)}, &herokubuild.ResponseError{Err: errors.New(evil)},
		&herokubuild.StorageError{Code: evil}, &herokubuild.StreamError{Err: errors.New(evil)}, &herokubuild.ArgumentError{Name: "x", Reason: evil},
		&herokubuild.UnpackError{Entry: evil, Err: errors.New(evil)}, &herokubuild.UnpackError{Reason: evil},
		&herokubuild.GenerationError{Generation: evil}, &herokubuild.RollbackError{Release: release},
		&herokubuild.HealthCheckError{URL: evil}, &herokubuild.HealthCheckError{Err: errors.New(evil)},
	} {
		assertClean(t, err.Error())
	}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("", "build", build, "release", release, "slug", herokubuild.Slug{ID: evil})
	assertClean(t, strings.TrimSpace(log.String()))
	assert.NotContains(t, log.String(), `\u001b`)
}

// The text shows what errors.Is matches.
func TestErrorTextShowsMaybeApplied(t *testing.T) {
	t.Parallel()
	want := herokubuild.ErrMaybeApplied.Error()
	for _, err := range []error{
		&herokubuild.APIError{MaybeApplied: true}, &herokubuild.RequestError{MaybeApplied: true}, &herokubuild.ResponseError{MaybeApplied: true},
	} {
		assert.Contains(t, err.Error(), want)
	}
	for _, err := range []error{&herokubuild.APIError{}, &herokubuild.RequestError{}, &herokubuild.ResponseError{}} {
		assert.NotContains(t, err.Error(), want)
	}
}

// The key and the signature are hidden whatever text is around them.
func FuzzEchoedSecrets(f *testing.F) {
	for _, around := range []string{"", " ", "%", "%4", "&#", "&amp", `\u00`, `\`, "?", "https://h/?", `"`, "<Error><Code>", `{"id":"x","message":"`, "a=", "\x1b"} {
		f.Add(around, around)
	}
	a := newAPI(f, noRetry())
	archive, _ := testArchive(f)
	f.Fuzz(func(t *testing.T, before, after string) {
		before = before[:min(len(before), 1000)]
		body := before + testToken + after + oddSignature + before + oddQuery + after
		a.mock.RegisterNoResponder(reply(400, body, "Request-Id", body))
		err := do(t.Context(), a.Client, "GET", "/x", &herokubuild.DoOptions{Query: url.Values{"Signature": {"aB3/xY+z7=9q"}}})
		upload := a.Sources.Put(t.Context(), decodeSource(t, sourceURL+oddQuery), archive, nil)
		for _, text := range []string{shown(err), shown(upload)} {
			assert.NotContains(t, text, oddSignature)
		}
		assert.NotContains(t, shown(err), testToken)
	})
}
