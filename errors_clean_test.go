package herokubuild_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"strings"
	"testing"
	"testing/fstest"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
)

// unclean has control characters, which an app's name, a status or the name of a file
// may contain.
const unclean = "a\x1b[2J\u202eb\u009b\nc"

// The text of an error is one line without control characters.
func TestErrorsWithUncleanFieldsAreClean(t *testing.T) {
	t.Parallel()
	cause := errors.New(unclean)
	release := &herokubuild.Release{Status: unclean, ID: unclean}
	for _, err := range []error{
		&herokubuild.ArgumentError{Name: unclean, Reason: unclean},
		&herokubuild.APIError{Method: unclean, Path: unclean, ID: unclean, Message: unclean, URL: unclean, RequestID: unclean},
		&herokubuild.RequestError{Method: unclean, URL: unclean, Err: cause, RequestID: unclean, Last: cause},
		&herokubuild.ResponseError{Method: unclean, Path: unclean, Err: cause, RequestID: unclean},
		&herokubuild.StorageError{Method: unclean, URL: unclean, Code: unclean, Message: unclean},
		&herokubuild.StreamError{URL: unclean, Err: cause},
		&herokubuild.BuildError{App: unclean, Build: &herokubuild.Build{ID: unclean, Status: unclean}},
		&herokubuild.ReleaseError{App: unclean, Release: release},
		&herokubuild.ChecksumError{SlugID: unclean, Want: unclean, Got: unclean},
		&herokubuild.UnpackError{Entry: unclean, Err: cause},
		&herokubuild.UnpackError{Entry: unclean, Err: &fs.PathError{Op: unclean, Path: unclean, Err: cause}},
		&herokubuild.UnpackError{Entry: unclean, Reason: unclean},
		&herokubuild.GenerationError{App: unclean, Generation: unclean, Reason: unclean},
		&herokubuild.RollbackError{App: unclean, Release: release},
		&herokubuild.DeployError{App: unclean, Err: cause, CancelErr: cause},
		&herokubuild.RolloutError{Err: cause, Apps: []herokubuild.AppResult{{App: unclean, Err: cause}}},
	} {
		assertClean(t, err.Error())
	}
}

// unreadable is a file system in which one file cannot be opened.
type unreadable struct{ fstest.MapFS }

func (u unreadable) Open(name string) (fs.File, error) {
	if strings.Contains(name, "\x1b") {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
	}
	return u.MapFS.Open(name)
}

func TestErrorsOfPackingAreClean(t *testing.T) {
	t.Parallel()
	_, err := herokubuild.PackFS(t.Context(), unreadable{MapFS: fstest.MapFS{"x" + strings.ReplaceAll(unclean, "\n", ""): {}}}, nil)
	require.ErrorIs(t, err, fs.ErrPermission)
	assertClean(t, err.Error())
}

// An error of a callback must not match io.EOF, which callers treat as the end of a
// stream.
func TestErrorsOfCallbacksAreCleanAndNotEOF(t *testing.T) {
	t.Parallel()
	for _, cause := range []error{io.EOF, fmt.Errorf("disconnected: %w", io.EOF), fmt.Errorf("%s: %w", unclean, fs.ErrPermission)} {
		a := newAPI(t, herokubuild.WithTokenSource(herokubuild.TokenSourceFunc(func(context.Context) (string, error) { return "", cause })))
		_, tokenErr := a.Builds.Get(t.Context(), appName, buildID)
		errs := []error{tokenErr}
		if cause != io.EOF { //nolint:errorlint // io.EOF itself is the end of the file
			_, procfileErr := herokubuild.ParseProcfile(iotest.ErrReader(cause))
			errs = append(errs, procfileErr)
		}
		for _, err := range errs {
			want := io.ErrUnexpectedEOF
			if errors.Is(cause, fs.ErrPermission) {
				want = fs.ErrPermission
			}
			require.ErrorIs(t, err, want)
			require.NotErrorIs(t, err, io.EOF)
			assertClean(t, err.Error())
		}
	}
}

func TestLoggedValuesAreClean(t *testing.T) {
	t.Parallel()
	app := herokubuild.AppResult{App: unclean}
	for _, v := range []any{
		herokubuild.BuildAndReleaseOptions{BuildApp: unclean, ReleaseTo: []string{unclean}, Dir: unclean, Version: unclean},
		herokubuild.DeployEvent{App: unclean}, app, herokubuild.DeployResult{Apps: []herokubuild.AppResult{app}},
	} {
		var log strings.Builder
		slog.New(slog.NewJSONHandler(&log, nil)).Info("", "v", v)
		assertClean(t, strings.TrimSpace(log.String()))
		require.NotContains(t, log.String(), `\u001b`)
	}
}
