package herokubuild_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/jarcoal/httpmock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
)

// Wherever a reader stops, the next one continues, and Offset is what has been
// delivered.
func TestStreamLinesContinue(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 70_000)
	text := "one\r\ntwo\nthree\n" + long + "\n\nfour\nfive"
	open := func(t *testing.T, responses ...httpmock.Responder) *herokubuild.OutputStream {
		return newAPI(t).output(t.Context(), t, nil, responses...)
	}
	t.Run("line by line", func(t *testing.T) {
		t.Parallel()
		s := open(t, reply(200, text))
		var got []string
		var offsets []int64
		for done := false; !done; {
			done = true
			for line, err := range s.Lines() {
				require.NoError(t, err)
				got, offsets = append(got, line), append(offsets, s.Offset())
				done = false
				break
			}
		}
		part := 64<<10 + 2
		assert.True(t, equal([]string{"one", "two", "three", long[:part], long[part:], "", "four", "five"}, got))
		n := int64(len(text))
		assert.Equal(t, []int64{5, 9, 15, 15 + int64(part), n - 10, n - 9, n - 4, n}, offsets)
	})
	t.Run("in all ways", func(t *testing.T) {
		t.Parallel()
		s := open(t, reply(200, text))
		next := func() (line string) {
			for line, err := range s.Lines() {
				require.NoError(t, err)
				return line
			}
			return ""
		}
		assert.Equal(t, "one", next())
		b := make([]byte, 2)
		_, err := io.ReadFull(s, b)
		require.NoError(t, err)
		assert.Equal(t, "tw", string(b))
		assert.EqualValues(t, 7, s.Offset())
		assert.Equal(t, "o", next())

		full := errors.New("the disk is full")
		n, err := s.WriteTo(writer(func(p []byte) (int, error) { return 4, full }))
		require.ErrorIs(t, err, full)
		assert.EqualValues(t, 4, n)
		assert.EqualValues(t, 13, s.Offset(), "what was not written is not lost")
		assert.Equal(t, "e", next())
		_, err = s.WriteTo(writer(func(p []byte) (int, error) { return len(p) + 1, nil }))
		require.Error(t, err, "no writer can write more than it is given")
		assert.EqualValues(t, 15, s.Offset())

		var rest strings.Builder
		n, err = s.WriteTo(&rest)
		require.NoError(t, err)
		assert.Equal(t, text[15:], rest.String())
		assert.EqualValues(t, len(text)-15, n)
		assert.EqualValues(t, len(text), s.Offset())
	})
	t.Run("an error is kept", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s := open(t, broken("a\nb"), fail(errDropped))
			for _, want := range []string{"a", "b"} {
				for line, err := range s.Lines() {
					require.NoError(t, err)
					assert.Equal(t, want, line)
					break
				}
			}
			for range 2 {
				var last error
				for line, err := range s.Lines() {
					assert.Empty(t, line)
					last = err
				}
				failed := requireStreamError(t, last)
				assert.EqualValues(t, 3, failed.Offset)
			}
		})
	})
}

// FuzzStreamLines reads lines in pieces of any size and breaks after any of them.
func FuzzStreamLines(f *testing.F) {
	f.Add("a\nb\r\n\nc", uint16(3), uint16(2))
	f.Add(strings.Repeat("x", 66_000)+"\n"+strings.Repeat("y\n", 40_000), uint16(1000), uint16(7))
	f.Fuzz(func(t *testing.T, text string, piece, pause uint16) {
		text = strings.ReplaceAll(text, "\x00", "")
		rest := text
		body := readerFunc(func(p []byte) (int, error) {
			if rest == "" {
				return 0, io.EOF
			}
			n := copy(p, rest[:min(len(rest), int(piece)+1)])
			rest = rest[n:]
			return n, nil
		})
		s := newAPI(t).output(t.Context(), t, nil, func(req *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(body), Request: req}, nil
		})
		var got strings.Builder
		for at := int64(-1); at != s.Offset(); {
			at = s.Offset()
			lines := 0
			for line, err := range s.Lines() {
				require.NoError(t, err)
				end := text[got.Len():s.Offset()]
				require.Contains(t, []string{line, line + "\n", line + "\r\n"}, end)
				got.WriteString(end)
				if lines++; lines > int(pause) {
					break
				}
			}
		}
		require.Equal(t, text, got.String())
	})
}
