package redact_test

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild/internal/redact"
)

const known = "hunter2-hunter2"

func TestErrorsWithoutSecretsStayTheSame(t *testing.T) {
	t.Parallel()
	r := redact.New(known)
	require.NoError(t, r.Error(nil))
	for _, err := range []error{errors.New("lost"), fmt.Errorf("a: %w", fs.ErrNotExist)} {
		assert.Equal(t, err, r.Error(err))
	}
	lost := errors.New("lost")
	assert.Equal(t, lost, r.Error(&url.Error{Op: "Get", URL: "https://h/?key=x", Err: lost}), "the URL is dropped")
}

func TestErrorsWithSecretsAreReplaced(t *testing.T) {
	t.Parallel()
	type detailed struct{ *fs.PathError }
	r := redact.New(known)
	cause := errors.New("lost")
	for name, err := range map[string]error{
		"in the text":    fmt.Errorf("%s: %w", known, cause),
		"in a cause":     fmt.Errorf("a: %w", fmt.Errorf("%s: %w", known, cause)),
		"in one of many": errors.Join(errors.New(known), cause),
		"in a field":     detailed{&fs.PathError{Op: "open", Path: known, Err: cause}},
		"in a URL":       fmt.Errorf("a: %w", &url.Error{Op: "Get", URL: "https://h/?key=x", Err: cause}),
	} {
		got := r.Error(err)
		for _, verb := range []string{"%v", "%+v", "%#v", "%q"} {
			assert.NotContains(t, fmt.Sprintf(verb, got), known, name)
		}
		require.ErrorIs(t, got, cause, name)
		var original *fs.PathError
		assert.NotErrorAs(t, got, &original, name)
	}
}

func TestErrorsWithControlCharactersAreCleaned(t *testing.T) {
	t.Parallel()
	err := &fs.PathError{Op: "open", Path: "a\x1b[31m", Err: fs.ErrNotExist}
	for _, got := range []error{redact.CleanError(err), redact.New(known).Error(err)} {
		assert.NotContains(t, got.Error(), "\x1b")
		require.ErrorIs(t, got, fs.ErrNotExist)
		var original *fs.PathError
		require.ErrorAs(t, got, &original)
	}
	fine := errors.New("fine")
	assert.Equal(t, fine, redact.CleanError(fine))
}

func TestWithoutURL(t *testing.T) {
	t.Parallel()
	lost := errors.New("lost")
	nested := &url.Error{Op: "Get", URL: "https://h/", Err: fmt.Errorf("proxy: %w", &url.Error{Op: "Get", URL: "https://i/", Err: lost})}
	assert.Equal(t, lost, redact.WithoutURL(nested))
	assert.NoError(t, redact.WithoutURL(nil))
}

func TestTextsOfResponsesAreBounded(t *testing.T) {
	t.Parallel()
	r := redact.New(known)
	assert.Equal(t, "a REDACTED…", r.Line("a\n"+known+" and more", len("a REDACTED")))
	assert.Equal(t, "a\nREDACTED", r.Lines("a\n"+known, redact.MaxText))
	assert.Equal(t, "REDACTED", r.Header(http.Header{"X-A": {known}}, "X-A"))
}

func TestHoldsFindsSecretsThatJSONEncodes(t *testing.T) {
	t.Parallel()
	type secret string
	type inner struct{ S secret }
	type cycle struct {
		Next *cycle
		S    secret
	}
	around := &cycle{}
	around.Next = around
	is := func(s secret) bool { return s == "x" }
	for name, v := range map[string]any{
		"value": secret("x"), "pointer": &inner{"x"}, "list": []any{1, []secret{"y", "x"}}, "array": [1]secret{"x"}, "map": map[string]any{"a": inner{"x"}},
		"embedded": struct{ inner }{inner{"x"}}, "cycle": &cycle{Next: around, S: "x"},
	} {
		assert.True(t, redact.Holds(v, is), name)
	}
	for name, v := range map[string]any{
		"nil": nil, "another": secret("y"), "unexported": struct{ s secret }{"x"}, "bytes": []byte("x"), "cycle": around, "string": "x",
	} {
		assert.False(t, redact.Holds(v, is), name)
	}
}
