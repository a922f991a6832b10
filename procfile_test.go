package herokubuild_test

import (
	"errors"
	"maps"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
)

func TestParseProcfile(t *testing.T) {
	t.Parallel()
	type types = map[string]string
	for text, want := range map[string]types{
		"":                                    {},
		"\n \t\r\n# web: no\n  # nor this\n":  {},
		"web: bin/web":                        {"web": "bin/web"},
		"web: bin/web -p $PORT\nworker: w\n":  {"web": "bin/web -p $PORT", "worker": "w"},
		"web: a\r\nrelease: b\r\n":            {"web": "a", "release": "b"},
		" web : a # not a comment \t\n":       {"web": "a # not a comment"},
		"web:a":                               {"web": "a"},
		"web:\tbundle exec x:y -e \"a: b\"\n": {"web": `bundle exec x:y -e "a: b"`},
		"web: first\nweb: last":               {"web": "last"},
		"A-b_1: x\n2: y":                      {"A-b_1": "x", "2": "y"},
		"web: ünïcode\ttab":                   {"web": "ünïcode\ttab"},
		strings.Repeat("x", 128) + ": y":      {strings.Repeat("x", 128): "y"},
	} {
		got, err := herokubuild.ParseProcfile(strings.NewReader(text))
		require.NoError(t, err, "%q", text)
		assert.Equal(t, want, got, "%q", text)
	}
}

func TestParseProcfileRefuses(t *testing.T) {
	t.Parallel()
	for text, line := range map[string]string{
		"web: a\nworker b\n":                     `line 2 ("worker b")`,
		"web bundle exec":                        "line 1 ",
		"\n\nweb:":                               `line 3 ("web:") has no command`,
		"web:   \t":                              "line 1 ",
		": a":                                    "line 1 ",
		"we b: a":                                "line 1 ",
		"wéb: a":                                 "line 1 ",
		"web.1: a":                               "line 1 ",
		"<<<<<<< HEAD":                           "line 1 ",
		strings.Repeat("x", 129) + ": y":         "line 1 ",
		"web: a\x00":                             "line 1 ",
		"web: a\rworker: b":                      "line 1 ",
		"web: \xff":                              "line 1 ",
		"\ufeffweb: a":                           "line 1 ",
		"\xff\xfew\x00e\x00b\x00:\x00 \x00a\x00": "line 1 ",
		"web: " + strings.Repeat("x", 1<<20):     "larger than 1048576 bytes",
	} {
		got, err := herokubuild.ParseProcfile(strings.NewReader(text))
		assert.Nil(t, got)
		bad := requireInvalid(t, err, "Procfile")
		assert.Contains(t, bad.Reason, line, "%.100q", text)
		assert.Less(t, len(bad.Reason), 200)
	}
	_, err := herokubuild.ParseProcfile(nil)
	requireInvalid(t, err, "r")
	broken := errors.New("broken")
	_, err = herokubuild.ParseProcfile(iotest.ErrReader(broken))
	require.ErrorIs(t, err, broken)
	require.NotErrorIs(t, err, herokubuild.ErrInvalidArgument)
}

// What is parsed is what the API takes, and says the same when written down.
func FuzzParseProcfile(f *testing.F) {
	for _, seed := range []string{"web: a\nworker: b\r\n# c\n", " x : y ", "web:", "a:b:c", "\xff\xfe", "w\x00: x", "web: a\nweb: b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		types, err := herokubuild.ParseProcfile(strings.NewReader(text))
		if err != nil {
			require.ErrorIs(t, err, herokubuild.ErrInvalidArgument)
			return
		}
		var again strings.Builder
		for name, command := range types {
			require.Regexp(t, `^[-\w]{1,128}$`, name)
			require.NotEmpty(t, command)
			require.Equal(t, strings.Trim(command, " \t"), command)
			require.True(t, utf8.ValidString(command))
			require.NotContains(t, command, "\n")
			again.WriteString(name + ": " + command + "\n")
		}
		twice, err := herokubuild.ParseProcfile(strings.NewReader(again.String()))
		require.NoError(t, err)
		require.True(t, maps.Equal(types, twice))
	})
}
