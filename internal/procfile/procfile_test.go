package procfile

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]map[string]string{
		"":                               {},
		"# web: no\n\nweb: a\r\nb-1:\tc": {"web": "a", "b-1": "c"},
		"web: first\nweb: last":          {"web": "last"},
		"web: \nworker: b":               nil,
		"web":                            nil,
		"wéb: a":                         nil,
		"web: a\x00":                     nil,
		strings.Repeat("#", maxSize+1):   nil,
	} {
		got, err := Parse(strings.NewReader(text))
		assert.Equal(t, want, got, "%.20q", text)
		var bad *Error
		assert.Equal(t, want == nil, errors.As(err, &bad), "%.20q", text)
		assert.False(t, bad != nil && bad.Missing, "%.20q", text)
	}
}

func TestParseReturnsTheErrorOfTheReader(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	_, err := Parse(iotest.ErrReader(broken))
	assert.Equal(t, broken, err)
}

func TestReadTakesTheProcfileOfTheDirectoryOnly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var missing *Error
	_, err := Read(dir)
	require.ErrorAs(t, err, &missing)
	assert.True(t, missing.Missing)
	require.ErrorIs(t, err, os.ErrNotExist)

	require.NoError(t, os.WriteFile(filepath.Join(dir, "Procfile"), []byte("web: a"), 0o600))
	types, err := Read(dir)
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"web": "a"}, types)

	for name, prepare := range map[string]func(dir string) error{
		"a directory": func(dir string) error { return os.Mkdir(filepath.Join(dir, "Procfile"), 0o700) },
		"a link outside": func(to string) error {
			return os.Symlink(filepath.Join(dir, "Procfile"), filepath.Join(to, "Procfile"))
		},
	} {
		other := t.TempDir()
		if err := prepare(other); err != nil {
			t.Log(err)
			continue
		}
		_, err = Read(other)
		require.ErrorAs(t, err, &missing, name)
		assert.True(t, missing.Missing, name)
	}
}
