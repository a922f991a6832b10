package herokubuild_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"

	"github.com/jarcoal/httpmock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
)

// errHungUp and errProxy are how a connection that was closed without a response
// reaches this package: bare, and wrapped by a transport that was handed in.
var (
	errHungUp = fail(io.EOF)
	errProxy  = fail(&net.OpError{Op: "proxy", Net: "tcp", Err: fmt.Errorf("tunnel: %w", io.EOF)})
)

// breaksOff answers 200 with some text, and then fails with err.
func breaksOff(text string, err error) httpmock.Responder {
	return func(req *http.Request) (*http.Response, error) {
		body := io.MultiReader(strings.NewReader(text), iotest.ErrReader(err))
		return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(body), Request: req}, nil
	}
}

// Output that could not be read to its end is never taken for whole, however it
// is read.
func TestStreamThatHangsUpIsNoEnd(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]httpmock.Responder{
		"bare": errHungUp, "wrapped": errProxy,
		"wrapped, in the body": breaksOff("", fmt.Errorf("tunnel: %w", io.EOF)),
	} {
		for how, read := range map[string]func(s *herokubuild.OutputStream) (string, error){
			"Read": func(s *herokubuild.OutputStream) (string, error) {
				b, err := io.ReadAll(s)
				return string(b), err
			},
			"WriteTo": func(s *herokubuild.OutputStream) (string, error) {
				var b strings.Builder
				_, err := io.Copy(&b, s)
				return b.String(), err
			},
			"Lines": func(s *herokubuild.OutputStream) (text string, last error) {
				for line, err := range s.Lines() {
					text, last = text+line, err
				}
				return text, last
			},
		} {
			t.Run(name+", "+how, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					got, err := read(newAPI(t).output(t.Context(), t, nil, broken("half"), answer))
					assert.Equal(t, "half", got)
					failed := requireStreamError(t, err)
					require.NotErrorIs(t, err, io.EOF)
					require.NotErrorIs(t, failed.Err, io.EOF)
					require.ErrorIs(t, err, io.ErrUnexpectedEOF)
					assert.EqualValues(t, 4, failed.Offset)
				})
			})
		}
	}
}

func TestDownloadThatHangsUpIsNoEnd(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]httpmock.Responder{
		"bare": errHungUp, "wrapped": errProxy,
		"wrapped, in the body": breaksOff("", fmt.Errorf("tunnel: %w", io.EOF)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a := newAPI(t)
				a.on("GET", slugURL, breaksOff("half", errDropped), answer)
				slug := &herokubuild.Slug{ID: slugID, Blob: herokubuild.Blob{Method: "GET", URL: slugURL + fakeQuery}}
				r, err := a.Slugs.Download(t.Context(), appName, slug, nil)
				require.NoError(t, err)
				got, err := io.ReadAll(r)
				assert.Equal(t, "half", string(got))
				var failed *herokubuild.RequestError
				require.ErrorAs(t, err, &failed)
				require.NotErrorIs(t, err, io.EOF)
				require.NotErrorIs(t, failed.Err, io.EOF)
				require.ErrorIs(t, err, io.ErrUnexpectedEOF)
				assertErrorClean(t, err)
				_, again := r.Read(make([]byte, 1))
				assert.Equal(t, err, again)
			})
		})
	}
}

func TestRequestsThatHangUp(t *testing.T) {
	t.Parallel()
	a := newAPI(t, noRetry())
	a.on("PUT", sourceURL, errHungUp)
	a.on("GET", sourceURL, errProxy)
	a.on("GET", buildURL, errHungUp)
	archive, _ := testArchive(t)
	_, fetched := a.FetchArchive(t.Context(), sourceURL+fakeQuery, nil)
	_, got := a.Builds.Get(t.Context(), appName, buildID)
	for _, err := range []error{a.Sources.Put(t.Context(), decodeSource(t, sourceURL+fakeQuery), archive, nil), fetched, got} {
		var failed *herokubuild.RequestError
		require.ErrorAs(t, err, &failed)
		require.NotErrorIs(t, err, io.EOF)
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	}
	var op *net.OpError
	require.ErrorAs(t, fetched, &op, "the cause is still there")

	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(io.EOF)
	_, err := a.Builds.Get(ctx, appName, buildID)
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, io.EOF)
}

// What is empty where an archive is expected is not an end, either.
func TestNothingWhereAnArchiveIsExpected(t *testing.T) {
	t.Parallel()
	a := newAPI(t, noRetry())
	a.on("GET", sourceURL, reply(200, ""))
	_, err := a.FetchArchive(t.Context(), sourceURL+fakeQuery, nil)
	require.ErrorIs(t, err, herokubuild.ErrUnexpectedResponse)
	require.NotErrorIs(t, err, io.EOF)

	_, err = herokubuild.NewArchive(nil)
	requireInvalid(t, err, "archive")
	require.NotErrorIs(t, err, io.EOF)

	// The reader's own failure, which happens to wrap io.EOF, before and after
	// the last entry.
	whole := slugOf(t, fileEntry("app/x", "x"))
	for _, n := range []int{0, 20, len(whole)} {
		r := io.MultiReader(bytes.NewReader(whole[:n]), failingReader{fmt.Errorf("the pipe: %w", io.EOF)})
		err = herokubuild.UnpackSlug(t.Context(), r, t.TempDir(), nil)
		var damaged *herokubuild.UnpackError
		require.ErrorAs(t, err, &damaged)
		require.NotErrorIs(t, err, io.EOF)
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	}
}

func TestErrorsMadeByHandAreNoEnd(t *testing.T) {
	t.Parallel()
	cause := errors.New("cause")
	for _, wrap := range []func(error) error{
		func(err error) error { return &herokubuild.ArgumentError{Err: err} },
		func(err error) error { return &herokubuild.ResponseError{Err: err} },
		func(err error) error { return &herokubuild.RequestError{Err: err} },
		func(err error) error { return &herokubuild.RequestError{Err: cause, Last: err} },
		func(err error) error { return &herokubuild.StreamError{Err: err} },
		func(err error) error { return &herokubuild.UnpackError{Err: err} },
	} {
		require.NotErrorIs(t, wrap(io.EOF), io.EOF)
		require.ErrorIs(t, wrap(io.EOF), io.ErrUnexpectedEOF)
		err := wrap(errors.Join(io.EOF, cause))
		require.NotErrorIs(t, err, io.EOF)
		require.ErrorIs(t, err, cause)
		require.ErrorIs(t, wrap(cause), cause)
	}
}
