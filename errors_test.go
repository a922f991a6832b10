package herokubuild_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jarcoal/httpmock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
)

func TestAPIErrorMatchesSentinelOfStatus(t *testing.T) {
	t.Parallel()
	sentinels := []error{
		herokubuild.ErrUnauthorized, herokubuild.ErrPaymentRequired, herokubuild.ErrForbidden, herokubuild.ErrNotFound,
		herokubuild.ErrConflict, herokubuild.ErrUnprocessable, herokubuild.ErrRateLimited,
		herokubuild.ErrMaybeApplied, herokubuild.ErrInvalidArgument, herokubuild.ErrUnexpectedResponse,
	}
	tests := map[int]error{
		400: nil, 401: herokubuild.ErrUnauthorized, 402: herokubuild.ErrPaymentRequired, 403: herokubuild.ErrForbidden,
		404: herokubuild.ErrNotFound, 409: herokubuild.ErrConflict, 410: nil, 422: herokubuild.ErrUnprocessable,
		429: herokubuild.ErrRateLimited, 503: herokubuild.ErrMaybeApplied,
	}
	for status, want := range tests {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			a := newAPI(t, noRetry())
			a.on("POST", apiURL+"/x", reply(status, `{"id":"some_new_id","message":"Why."}`))
			err := do(t.Context(), a.Client, "POST", "/x", nil)
			apiErr := requireAPIError(t, err)
			assert.Equal(t, status, apiErr.StatusCode)
			assert.Equal(t, "some_new_id", apiErr.ID)
			for _, sentinel := range sentinels {
				assert.Equal(t, sentinel == want, errors.Is(err, sentinel), "%v", sentinel)
			}
		})
	}
}

func TestAPIErrorHasFieldsOfResponse(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.on("GET", apiURL+"/apps/example-app", reply(404, golden(t, "error_not_found.json"), "Request-Id", "id-1,id-2"))
	_, err := a.Apps.Get(t.Context(), appName)
	assert.Equal(t, herokubuild.APIError{
		Method: "GET", Path: "/apps/example-app", StatusCode: 404, ID: "not_found",
		Message: "Couldn't find that app.", Resource: "app", RequestID: "id-1,id-2", Attempts: 1,
		URL: "https://devcenter.heroku.com/articles/platform-api-reference#errors",
	}, *requireAPIError(t, err))
	assert.Equal(t, "GET /apps/example-app: 404 not_found: Couldn't find that app. "+
		"(see https://devcenter.heroku.com/articles/platform-api-reference#errors) [Request-Id id-1,id-2]", err.Error())
}

func TestAPIErrorOfUnusualBodies(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", 100_000)
	tests := map[string]struct {
		body string
		want herokubuild.APIError
		text string
	}{
		"html":             {body: "<html>\n<h1>Application error</h1>", want: herokubuild.APIError{Body: "<html>\n<h1>Application error</h1>"}, text: "422 Unprocessable Entity: <html>"},
		"empty":            {want: herokubuild.APIError{}, text: "422 Unprocessable Entity"},
		"other JSON":       {body: `{"error":"no"}`, want: herokubuild.APIError{Body: `{"error":"no"}`}, text: `: {"error":"no"}`},
		"a list":           {body: `[1]`, want: herokubuild.APIError{Body: `[1]`}, text: ": [1]"},
		"id only":          {body: `{"id":"bad_request"}`, want: herokubuild.APIError{ID: "bad_request"}, text: "422 bad_request"},
		"message only":     {body: `{"message":"No."}`, want: herokubuild.APIError{Message: "No."}, text: "422 Unprocessable Entity: No."},
		"odd types":        {body: `{"id":"x","message":"No.","url":5,"resource":{"a":1}}`, want: herokubuild.APIError{ID: "x", Message: "No."}, text: "422 x: No."},
		"null url":         {body: `{"id":"x","message":"No.","url":null}`, want: herokubuild.APIError{ID: "x", Message: "No."}, text: "422 x: No."},
		"signed URL":       {body: `{"id":"x","message":"Cannot get ` + sourceURL + fakeQuery + `, sorry."}`, want: herokubuild.APIError{ID: "x", Message: "Cannot get " + sourceURL + "?REDACTED sorry."}, text: "?REDACTED"},
		"signed URL, text": {body: "Cannot get '" + sourceURL + fakeQuery + "'.", want: herokubuild.APIError{Body: "Cannot get '" + sourceURL + "?REDACTED'."}, text: "?REDACTED'"},
		"two signed URLs":  {body: sourceURL + fakeQuery + " " + slugURL + fakeQuery, want: herokubuild.APIError{Body: sourceURL + "?REDACTED " + slugURL + "?REDACTED"}, text: "?REDACTED"},
		"long message":     {body: `{"id":"x","message":"` + long + `"}`, want: herokubuild.APIError{ID: "x", Message: long[:4096] + "…"}, text: "é…"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t)
			a.on("GET", apiURL+"/x", reply(422, tt.body, "Request-Id", "id-1"))
			err := do(t.Context(), a.Client, "GET", "/x", nil)
			tt.want.Method, tt.want.Path, tt.want.StatusCode, tt.want.Attempts, tt.want.RequestID = "GET", "/x", 422, 1, "id-1"
			assert.Equal(t, tt.want, *requireAPIError(t, err))
			assert.Contains(t, err.Error(), tt.text)
			assertErrorClean(t, err)
		})
	}
}

func FuzzAPIError(f *testing.F) {
	for _, seed := range []string{
		"", "null", "{}", "[]", `{"id":"x","message":"y"}`, `{"id":1,"message":["y"]}`, `{"id":"x","url":"https://h/?Signature=fake"}`,
		"<html>", "\xff\xfe", "https://h/p?Signature=fake", "://", "a://b://c", `{"message":"\ud800"}`, strings.Repeat("x", 5000),
	} {
		f.Add(400, seed)
	}
	a := newAPI(f, noRetry())
	f.Fuzz(func(t *testing.T, status int, body string) {
		status = 300 + (status%300+300)%300
		// The query of a URL is redacted in any context.
		body += " https://h.example.com/p" + fakeQuery + " "
		a.mock.RegisterResponder("GET", apiURL+"/x", reply(status, body))
		err := do(t.Context(), a.Client, "GET", "/x", nil)
		apiErr := requireAPIError(t, err)
		assert.Equal(t, status, apiErr.StatusCode)
		assert.NotContains(t, apiErr.Body+apiErr.Message+apiErr.Error(), "FAKEKEY")
		assert.Less(t, len(apiErr.Error()), 16<<10)
	})
}

func TestStorageErrorHasCodeAndMessageOfXML(t *testing.T) {
	t.Parallel()
	xml := golden(t, "storage_refusal.xml")
	code := strings.Index(xml, "</Code>")
	tests := map[string]struct {
		status        int
		body          string
		code, message string
		want          error
	}{
		"xml": {status: 403, body: xml, code: "SignatureDoesNotMatch", message: "The request signature we calculated does not match the signature you provided. Check your key and signing method.", want: herokubuild.ErrForbidden},
		"xml with a namespace": {
			status: 404, body: `<Error xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Code>NoSuchKey</Code></Error>`, code: "NoSuchKey", want: herokubuild.ErrNotFound,
		},
		"xml cut in the middle":   {status: 403, body: xml[:len(xml)-40], want: herokubuild.ErrForbidden},
		"xml cut at its start":    {status: 403, body: xml[:code], want: herokubuild.ErrForbidden},
		"xml of another encoding": {status: 403, body: strings.Replace(xml, "UTF-8", "ISO-8859-1", 1), want: herokubuild.ErrForbidden},
		"message with a URL":      {status: 400, body: "<Error><Code>X</Code><Message>at " + sourceURL + "?a=b&amp;Signature=fake</Message></Error>", code: "X", message: "at " + sourceURL + "?REDACTED"},
		"text":                    {status: 400, body: "bad " + sourceURL + fakeQuery},
		"empty":                   {status: 411},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t)
			a.on("PUT", sourceURL, reply(tt.status, tt.body))
			archive, _ := testArchive(t)
			err := a.Sources.Put(t.Context(), decodeSource(t, sourceURL+fakeQuery), archive, nil)
			var storageErr *herokubuild.StorageError
			require.ErrorAs(t, err, &storageErr)
			assert.Equal(t, tt.status, storageErr.StatusCode)
			assert.Equal(t, "PUT", storageErr.Method)
			assert.Equal(t, 1, storageErr.Attempts)
			if tt.code != "" {
				assert.Equal(t, tt.code, storageErr.Code)
				assert.Equal(t, tt.message, storageErr.Message)
				assert.Empty(t, storageErr.Body)
			}
			if tt.want != nil {
				require.ErrorIs(t, err, tt.want)
			}
			require.NotErrorIs(t, err, herokubuild.ErrMaybeApplied)
			assertErrorClean(t, err)
			assertNoSecret(t, storageErr.Body)
		})
	}
}

// Every type of error, with secrets in all of its fields.
func TestErrorsHaveNoSecrets(t *testing.T) {
	t.Parallel()
	signed := herokubuild.SecretURL(sourceURL + fakeQuery)
	build := &herokubuild.Build{ID: buildID, Status: "failed", OutputStreamURL: outputURL + outputSign, SourceBlob: herokubuild.SourceBlob{URL: signed}}
	release := &herokubuild.Release{ID: releaseID, Version: 3, Status: "expired", OutputStreamURL: outputURL + outputSign}
	network := errors.New(`Put "` + sourceURL + fakeQuery + `": http: ContentLength=3 with Body length 2`)
	tests := map[string]struct {
		err  error
		text string
		is   error
	}{
		"argument": {err: &herokubuild.ArgumentError{Name: "app", Reason: "is odd"}, text: "app: is odd", is: herokubuild.ErrInvalidArgument},
		"request": {
			err: &herokubuild.RequestError{Method: "PUT", URL: signed.String(), Attempts: 2, Err: network, Last: &herokubuild.StorageError{Method: "PUT", URL: signed, StatusCode: 503}},
			text: `PUT https://storage.example.com/sources/1.tgz?REDACTED: Put "https://storage.example.com/sources/1.tgz?REDACTED": http: ContentLength=3 with Body length 2` +
				` [2 attempts] (last response: PUT https://storage.example.com/sources/1.tgz?REDACTED: 503 Service Unavailable)`, is: network,
		},
		"response": {err: &herokubuild.ResponseError{Method: "GET", Path: "/x", StatusCode: 200, Err: io.ErrUnexpectedEOF}, text: "GET /x: unexpected response (status 200): unexpected EOF", is: herokubuild.ErrUnexpectedResponse},
		"storage": {
			err:  &herokubuild.StorageError{Method: "PUT", URL: signed, StatusCode: 403, Code: "AccessDenied", Message: "Request has expired", Attempts: 3},
			text: "PUT https://storage.example.com/sources/1.tgz?REDACTED: 403 AccessDenied: Request has expired [3 attempts]", is: herokubuild.ErrForbidden,
		},
		"stream": {
			err:  &herokubuild.StreamError{URL: "https://h/p", Offset: 7, Err: network},
			text: `output stream https://h/p, after 7 bytes: Put "https://storage.example.com/sources/1.tgz?REDACTED": http: ContentLength=3 with Body length 2`, is: network,
		},
		"build":   {err: &herokubuild.BuildError{App: appName, Build: build, Tail: "Signature=secret"}, text: "build " + buildID + " of example-app failed", is: herokubuild.ErrBuildFailed},
		"release": {err: &herokubuild.ReleaseError{App: appName, Release: release}, text: "release v3 of example-app expired", is: herokubuild.ErrReleaseFailed},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, tt.text, tt.err.Error())
			require.ErrorIs(t, tt.err, tt.is)
			require.NotErrorIs(t, tt.err, herokubuild.ErrMaybeApplied)
			for _, verb := range []string{"%v", "%+v", "%s", "%q"} {
				assertNoSecret(t, fmt.Sprintf(verb, tt.err))
			}
			var log strings.Builder
			slog.New(slog.NewJSONHandler(&log, nil)).Error("failed", "err", tt.err)
			slog.New(slog.NewTextHandler(&log, nil)).Error("failed", "err", tt.err)
			assertNoSecret(t, log.String())
		})
	}
}

// The errors of net/http contain the whole URL.
func TestNetworkErrorsHaveNoSecrets(t *testing.T) {
	t.Parallel()
	a := newAPI(t, noRetry())
	archive, _ := testArchive(t)
	signed := unreachable(t)
	client := newRealClient(t, noRetry(), herokubuild.WithPollBackoff(func(int) time.Duration { return 0 }))

	a.serveBuild("ftp://h/" + outputSign)
	_, outputErr := a.Builds.Output(t.Context(), appName, buildID, nil)
	transport := &http.Transport{}
	streaming := newAPI(t, herokubuild.WithTransport(roundTripper(func(req *http.Request) (*http.Response, error) {
		if req.URL.Host == "api.heroku.com" {
			return reply(200, buildJSON("succeeded", signed))(req)
		}
		return transport.RoundTrip(req)
	})), herokubuild.WithPollBackoff(func(int) time.Duration { return 0 }))
	stream, err := streaming.Builds.Output(t.Context(), appName, buildID, nil)
	require.NoError(t, err)
	_, readErr := io.ReadAll(stream)
	_, slugErr := client.Slugs.DownloadFrom(t.Context(), appName, &herokubuild.Slug{Blob: herokubuild.Blob{Method: "GET", URL: herokubuild.SecretURL(signed)}}, nil)
	for name, err := range map[string]error{
		"upload":                     client.Sources.Put(t.Context(), decodeSource(t, signed), archive, nil),
		"download":                   slugErr,
		"stream":                     readErr,
		"stream URL":                 outputErr,
		"upload URL":                 a.Sources.Put(t.Context(), decodeSource(t, "http://storage.example.com/"+fakeQuery), archive, nil),
		"URL with control character": a.Sources.Put(t.Context(), decodeSource(t, "https://storage.example.com/\n"+fakeQuery), archive, nil),
		"query of a call":            do(t.Context(), client, "GET", "/x", &herokubuild.DoOptions{Query: map[string][]string{"Signature": {"fake"}}}),
	} {
		t.Run(name, func(t *testing.T) {
			require.Error(t, err)
			assertErrorClean(t, err)
			for e := err; e != nil; e = errors.Unwrap(e) {
				assertNoSecret(t, e.Error())
			}
		})
	}
}

func TestDeployErrorNamesAppPhaseAndBuild(t *testing.T) {
	t.Parallel()
	created := &herokubuild.DeployResult{Build: &herokubuild.Build{ID: buildID}}
	cause := errors.New("the cause")
	for name, tt := range map[string]struct {
		err  *herokubuild.DeployError
		text string
	}{
		"failed":        {err: &herokubuild.DeployError{Result: created}},
		"canceled":      {err: &herokubuild.DeployError{Result: created, Canceled: true}, text: " (build " + buildID + " was canceled)"},
		"maybe running": {err: &herokubuild.DeployError{Result: created, CancelErr: errDropped}, text: " (build " + buildID + " may still be running: canceling it: " + errDropped.Error() + ")"},
		"maybe started": {err: &herokubuild.DeployError{CancelErr: errDropped}, text: " (a build may have been started: " + errDropped.Error() + ")"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tt.err.App, tt.err.Phase, tt.err.Err = appName, herokubuild.PhaseBuild, cause
			assert.Equal(t, "deploy example-app: build: the cause"+tt.text, tt.err.Error())
			require.ErrorIs(t, tt.err, cause)
		})
	}
}

// newRealClient returns a client with a real transport, for an API that is
// unreachable.
func newRealClient(t *testing.T, opts ...herokubuild.Option) *herokubuild.Client {
	t.Helper()
	base, _, _ := strings.Cut(unreachable(t), "?")
	client, err := herokubuild.NewClient(append([]herokubuild.Option{
		herokubuild.WithToken(testToken), herokubuild.WithBaseURL(base),
		herokubuild.WithTransport(&http.Transport{}),
	}, opts...)...)
	require.NoError(t, err)
	return client
}

// A test of a program may create an error with only some of its fields.
func TestErrorsWithoutFieldsHaveText(t *testing.T) {
	t.Parallel()
	for _, err := range []error{
		&herokubuild.ArgumentError{}, &herokubuild.APIError{}, &herokubuild.RequestError{}, &herokubuild.ResponseError{},
		&herokubuild.StorageError{}, &herokubuild.StreamError{}, &herokubuild.BuildError{}, &herokubuild.ReleaseError{},
		&herokubuild.RollbackError{}, &herokubuild.GenerationError{}, &herokubuild.RolloutError{}, &herokubuild.ChecksumError{},
		&herokubuild.UnpackError{}, &herokubuild.DeployError{}, &herokubuild.DeployError{Canceled: true, CancelErr: errDropped},
		&herokubuild.RolloutError{Apps: []herokubuild.AppResult{{}}},
	} {
		assert.NotEmpty(t, err.Error(), "%T", err)
		require.NotErrorIs(t, err, herokubuild.ErrMaybeApplied, "%T", err)
		require.NotErrorIs(t, err, herokubuild.ErrArtifactExpired, "%T", err)
	}
	for _, err := range []error{
		&herokubuild.APIError{MaybeApplied: true}, &herokubuild.RequestError{MaybeApplied: true}, &herokubuild.ResponseError{MaybeApplied: true},
	} {
		require.ErrorIs(t, err, herokubuild.ErrMaybeApplied, "%T", err)
	}
}

// The errors of a custom transport may contain the whole URL.
func TestTransportErrorsHaveNoSecrets(t *testing.T) {
	t.Parallel()
	a := newAPI(t, noRetry())
	a.mock.RegisterNoResponder(httpmock.NewErrorResponder(errors.New("proxy: no route to " + sourceURL + fakeQuery)))
	archive, _ := testArchive(t)
	err := a.Sources.Put(t.Context(), decodeSource(t, sourceURL+fakeQuery), archive, nil)
	assert.Contains(t, err.Error(), "proxy: no route to "+sourceURL+"?REDACTED")
	assertErrorClean(t, err)
}

// The text of an ArgumentError ends with its cause, once and without a second prefix.
func TestArgumentErrorShowsItsCause(t *testing.T) {
	t.Parallel()
	for want, err := range map[string]*herokubuild.ArgumentError{
		"app: is nil":                             {Name: "app", Reason: "is nil"},
		"dir: cannot be read: permission denied":  {Name: "dir", Reason: "cannot be read", Err: &fs.PathError{Op: "open", Path: "x", Err: errors.New("permission denied")}},
		"body: is odd: no JSON":                   {Name: "body", Reason: "is odd", Err: errors.New("no\nJSON")},
		"a: is b: c: d":                           {Name: "a", Reason: "is b", Err: &herokubuild.ArgumentError{Name: "c", Reason: "d"}},
		"URL: is bad: parse https://h/x?REDACTED": {Name: "URL", Reason: "is bad", Err: errors.New("parse https://h/x?Signature=abcdef")},
	} {
		require.EqualError(t, err, want)
	}
	missing := filepath.Join(t.TempDir(), "missing")
	_, err := herokubuild.PackDir(t.Context(), missing, nil)
	requireInvalid(t, err, "dir")
	_, cause := os.Lstat(missing)
	var path *fs.PathError
	require.ErrorAs(t, cause, &path)
	assert.Equal(t, 1, strings.Count(err.Error(), path.Err.Error()), err.Error())
}
