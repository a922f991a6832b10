package logstream

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTextGivesOutEachByteOnce(t *testing.T) {
	t.Parallel()
	want := logText(1, 300<<10)
	text := NewText(iotest.HalfReader(strings.NewReader(want)), 7)
	var got bytes.Buffer
	for line, err := range text.Lines() {
		require.NoError(t, err)
		got.WriteString(line + "\n")
		if got.Len() > 1000 {
			break
		}
	}
	p := make([]byte, 5)
	n, err := text.Read(p)
	require.NoError(t, err)
	got.Write(p[:n])
	assert.Equal(t, int64(7+got.Len()), text.Offset())

	// A writer that fails has what it accepted, and no more.
	full := errors.New("full")
	written, err := text.WriteTo(limited{&got, 3, full})
	assert.Equal(t, full, err)
	assert.Equal(t, int64(3), written)
	_, err = text.WriteTo(&got)
	require.NoError(t, err)
	require.Equal(t, len(want), got.Len())
	assert.Equal(t, -1, firstDifference(want, got.String()))
	assert.Equal(t, int64(7+len(want)), text.Offset())
	_, err = text.Read(p)
	assert.Equal(t, io.EOF, err)
}

// A text that is received in small parts takes little memory, and one that fills the buffer
// is received in large parts.
func TestTextGrowsItsBufferWhileReadsFillIt(t *testing.T) {
	t.Parallel()
	for name, give := range map[string]func(text *Text){
		"to a writer": func(text *Text) { _, _ = text.WriteTo(io.Discard) },
		"as lines": func(text *Text) {
			for range text.Lines() { //nolint:revive // reads all lines
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			slow := &roomReader{r: iotest.OneByteReader(strings.NewReader(logText(1, 64<<10)))}
			give(NewText(slow, 0))
			assert.LessOrEqual(t, slow.most, firstBuffer)
			fast := &roomReader{r: strings.NewReader(logText(1, 4<<20))}
			give(NewText(fast, 0))
			assert.GreaterOrEqual(t, fast.most, longLine/2)
			assert.LessOrEqual(t, fast.most, copyBuffer)
		})
	}
}

// roomReader notes the largest room that it was asked to fill.
type roomReader struct {
	r    io.Reader
	most int
}

func (r *roomReader) Read(p []byte) (int, error) {
	r.most = max(r.most, len(p))
	return r.r.Read(p)
}

// firstDifference keeps long texts out of the test's output.
func firstDifference(a, b string) int {
	for i := range len(a) {
		if a[i] != b[i] {
			return i
		}
	}
	return -1
}

type limited struct {
	w    io.Writer
	most int
	err  error
}

func (l limited) Write(p []byte) (int, error) {
	n, _ := l.w.Write(p[:min(len(p), l.most)])
	return n, l.err
}

func TestLines(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", longLine)
	for text, want := range map[string][]string{
		"":                  nil,
		"a\r\nb\n\nc":       {"a", "b", "", "c"},
		long + "y\nz":       {long, "y", "z"},
		long[2:] + "\r\nz":  {long[2:], "z"},
		long[1:] + "\nz\n":  {long[1:], "z"},
		"\r\n" + long[:100]: {"", long[:100]},
	} {
		var got []string
		for line, err := range NewText(iotest.OneByteReader(strings.NewReader(text)), 0).Lines() {
			require.NoError(t, err)
			got = append(got, line)
		}
		assert.True(t, assert.ObjectsAreEqual(want, got), "%.20q", text)
	}
}

func TestLinesEndWithTheError(t *testing.T) {
	t.Parallel()
	lost := errors.New("lost")
	var got []string
	var last error
	for line, err := range NewText(io.MultiReader(strings.NewReader("a\nb"), iotest.ErrReader(lost)), 0).Lines() {
		got, last = append(got, line), err
	}
	assert.Equal(t, []string{"a", "b", ""}, got)
	assert.Equal(t, lost, last)
}

func TestTailKeepsTheLastLines(t *testing.T) {
	t.Parallel()
	var all strings.Builder
	var tail Tail
	for i := range 2000 {
		line := strings.Repeat("x", i%50) + "\n"
		all.WriteString(line)
		tail.Add([]byte(line))
	}
	lines := strings.Split(strings.TrimRight(all.String(), "\n"), "\n")
	assert.Equal(t, strings.Join(lines[len(lines)-tailLines:], "\n"), tail.String())
	assert.LessOrEqual(t, len(tail.text), 2*tailBytes)

	tail = Tail{}
	tail.Add([]byte(strings.Repeat("y", tailBytes)))
	tail.Add([]byte("\nlast \xff\n"))
	assert.Equal(t, "last \uFFFD", tail.String(), "the incomplete first line is dropped")
	assert.Empty(t, new(Tail).String())
}
