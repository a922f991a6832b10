package logstream

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// logText is text without a period, in lines of all lengths.
func logText(seed uint64, size int) string {
	r := rand.New(rand.NewPCG(seed, 1))
	var b strings.Builder
	for n := 0; b.Len() < size; n++ {
		fmt.Fprintf(&b, "-----> %d é %s\n", n, strings.Repeat("x", r.IntN(60)))
	}
	return b.String()[:size]
}

// after returns a splicer that has received text.
func after(t *testing.T, text string) *splicer {
	t.Helper()
	s := newSplicer(0)
	require.NoError(t, s.begin(All, &Response{Content: Whole, Total: Unknown}, false))
	got, err := feed(s, text, len(text))
	require.NoError(t, err)
	require.Equal(t, strings.ReplaceAll(text, "\x00", ""), got)
	return s
}

// feed delivers text in pieces of a size.
func feed(s *splicer, text string, size int) (string, error) {
	var got strings.Builder
	for text != "" {
		n := min(max(size, 1), len(text))
		fresh, _, err := s.feed([]byte(text[:n]))
		got.Write(fresh)
		if err != nil {
			return got.String(), err
		}
		text = text[n:]
	}
	return got.String(), nil
}

func TestSplicerRequests(t *testing.T) {
	t.Parallel()
	text := logText(1, 1000)
	for name, tt := range map[string]struct {
		splicer *splicer
		plain   bool
		want    int64
	}{
		"the beginning":            {newSplicer(0), true, All},
		"the beginning, final":     {newSplicer(0), false, 0},
		"an offset without a tail": {newSplicer(500), true, 0},
		"after output":             {after(t, text), false, 1000 - overlapBytes},
		"after little output":      {after(t, text[:100]), false, 0},
		"after NULs":               {after(t, text+"\x00\x00"), false, 1000 - overlapBytes},
		"after periodic output":    {after(t, strings.Repeat("tick\n", 200)), false, 1000 - overlapBytes},
		"NULs, periodic output":    {after(t, strings.Repeat("tick\n", 200)+strings.Repeat("\x00", 5)), false, 0},
		"the whole":                {&splicer{position: 1000, tail: []byte("x"), fromStart: true}, false, 0},
		"no parts":                 {&splicer{position: 1000, tail: []byte("x"), fromStart: true, noOffsets: true}, false, All},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, tt.want, tt.splicer.from(tt.plain))
		})
	}
}

func TestSplicerBegin(t *testing.T) {
	t.Parallel()
	text := logText(1, 1000)
	zeros := strings.Repeat("0123456789\n", 200)[:1026]
	permanent := new(Error)
	for name, tt := range map[string]struct {
		read  string
		from  int64
		resp  Response
		final bool
		want  place
		err   error
	}{
		"part":                              {text, 744, Response{Content: Part, Start: 744, Total: Unknown}, false, inOverlap, nil},
		"another part":                      {text, 744, Response{Content: Part, Start: 737, Total: Unknown}, false, 0, errUnproven},
		"part of nothing":                   {text, 744, Response{Content: Part, Start: Unknown, Total: Unknown}, false, 0, errUnproven},
		"part that was not requested":       {text, All, Response{Content: Part, Start: 0, Total: Unknown, Status: 206}, false, 0, permanent},
		"part of a log that became shorter": {text, 744, Response{Content: Part, Start: 744, Total: 999}, true, 0, ErrTruncated},
		"part, shorter so far":              {text, 744, Response{Content: Part, Start: 744, Total: 999}, false, inOverlap, nil},
		"part from the beginning":           {text, 0, Response{Content: Part, Start: 0, Total: Unknown}, false, inReplay, nil},
		"whole":                             {text, All, Response{Content: Whole, Total: Unknown}, false, inReplay, nil},
		"whole, nothing read":               {"", 0, Response{Content: Whole, Total: Unknown}, false, atOffset, nil},
		"whole instead of a part":           {text, 744, Response{Content: Whole, Total: Unknown}, false, inEither, nil},
		"whole, cannot be recognized":       {zeros, 770, Response{Content: Whole, Total: Unknown}, false, 0, errUnproven},
		"compressed part":                   {text, 744, Response{Content: Part, Start: 744, Total: Unknown, Gzip: true}, false, 0, errUnproven},
		"compressed whole":                  {text, 744, Response{Content: Whole, Total: Unknown, Gzip: true}, false, 0, errUnproven},
		"nothing, all read":                 {"", 0, Response{Content: Nothing, Total: Unknown}, false, 0, errComplete},
		"nothing, but it has more":          {"", 0, Response{Content: Nothing, Total: 5}, false, 0, errUnproven},
		"nothing, not even the overlap":     {text, 744, Response{Content: Nothing, Total: Unknown}, false, 0, errUnproven},
		"nothing, became shorter":           {text, 744, Response{Content: Nothing, Total: 999}, false, 0, ErrTruncated},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := after(t, tt.read)
			err := s.begin(tt.from, &tt.resp, tt.final)
			switch {
			case tt.err == nil:
				require.NoError(t, err)
				assert.Equal(t, tt.want, s.place)
			case tt.err == error(permanent):
				require.ErrorAs(t, err, &permanent)
				assert.Equal(t, Permanent, permanent.Kind)
				assert.Equal(t, 206, permanent.Status)
			default:
				require.ErrorIs(t, err, tt.err)
			}
		})
	}
}

// However a response is split into reads, what is new is delivered once.
func TestSplicerContinues(t *testing.T) {
	t.Parallel()
	text := logText(2, 3000)
	spoilt := text[:1500] + "?" + text[1501:]
	for name, tt := range map[string]struct {
		read int
		from int64
		resp Response
		sent string
		want string
		err  error
	}{
		"a part":                  {1000, 744, Response{Content: Part, Start: 744, Total: 3000}, text[744:], text[1000:], nil},
		"a part with heartbeats":  {1000, 744, Response{Content: Part, Start: 744, Total: Unknown}, "\x00" + text[744:900] + "\x00\x00" + text[900:] + "\x00", text[1000:], nil},
		"a wrong part":            {1000, 744, Response{Content: Part, Start: 744, Total: Unknown}, text[743:], "", errUnproven},
		"the whole":               {1000, 0, Response{Content: Whole, Total: Unknown}, text, text[1000:], nil},
		"another log":             {1000, 0, Response{Content: Whole, Total: Unknown}, text[1:], "", ErrTruncated},
		"a log that has changed":  {2000, 0, Response{Content: Whole, Total: Unknown}, spoilt, "", ErrTruncated},
		"silently the part":       {1000, 744, Response{Content: Whole, Total: Unknown}, text[744:], text[1000:], nil},
		"silently the whole":      {1000, 744, Response{Content: Whole, Total: Unknown}, text, text[1000:], nil},
		"silently something else": {1000, 744, Response{Content: Whole, Total: Unknown}, text[700:], "", errUnproven},
		"silently a changed log":  {2000, 1744, Response{Content: Whole, Total: Unknown}, spoilt, "", errUnproven},
	} {
		for _, size := range []int{1, 7, 1000, 1 << 20} {
			t.Run(fmt.Sprintf("%s, in pieces of %d", name, size), func(t *testing.T) {
				t.Parallel()
				s := after(t, text[:tt.read])
				require.NoError(t, s.begin(tt.from, &tt.resp, false))
				got, err := feed(s, tt.sent, size)
				require.ErrorIs(t, err, tt.err)
				assert.Equal(t, tt.want, got)
				assert.EqualValues(t, tt.read+len(tt.want), s.position)
			})
		}
	}
}

func TestSplicerSkipsWhatAnotherReaderRead(t *testing.T) {
	t.Parallel()
	text := logText(3, 3000)
	s := newSplicer(1200)
	for _, upTo := range []int{1000, 2000, 3000} {
		require.NoError(t, s.begin(s.from(true), &Response{Content: Whole, Total: Unknown}, false))
		before := int(s.position)
		got, err := feed(s, text[:upTo], 100)
		require.NoError(t, err)
		assert.Equal(t, text[before:max(upTo, before)], got)
		s.fromStart = true
	}
}

func TestSplicerEnd(t *testing.T) {
	t.Parallel()
	text := logText(4, 1000)
	for name, tt := range map[string]struct {
		resp Response
		sent string
		want error
	}{
		"announced length":              {Response{Content: Part, Start: 744, Total: 1000}, text[744:], errComplete},
		"unknown length":                {Response{Content: Part, Start: 744, Total: Unknown}, text[744:], errClean},
		"before the end":                {Response{Content: Part, Start: 744, Total: 1001}, text[744:], io.ErrUnexpectedEOF},
		"NULs may be the output's":      {Response{Content: Part, Start: 744, Total: 1001}, text[744:] + "\x00", errClean},
		"in the overlap":                {Response{Content: Part, Start: 744, Total: Unknown}, text[744:999], io.ErrUnexpectedEOF},
		"before it is clear what comes": {Response{Content: Whole, Total: Unknown}, "-", io.ErrUnexpectedEOF},
		"in the replay":                 {Response{Content: Whole, Total: Unknown}, text[:900], io.ErrUnexpectedEOF},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := after(t, text)
			require.NoError(t, s.begin(744, &tt.resp, false))
			_, err := feed(s, tt.sent, 10)
			require.NoError(t, err)
			require.ErrorIs(t, s.end(), tt.want)
		})
	}
}

func TestSplicerRequestsEverythingFromAHostWithoutParts(t *testing.T) {
	t.Parallel()
	s := after(t, logText(5, 1000))
	unsupported := &Error{Kind: Unsupported, Status: 400, Err: io.EOF}
	require.ErrorIs(t, s.refused(744, unsupported), errUnproven)
	assert.EqualValues(t, All, s.from(false))
	require.ErrorIs(t, s.refused(All, unsupported), unsupported)
	missing := &Error{Kind: Missing, Err: io.EOF}
	require.ErrorIs(t, s.refused(744, missing), missing)
}

func TestPeriod(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{"": 0, "a": 1, "aa": 1, "ab": 2, "abab": 2, "ababa": 2, "abcab": 3, "aab": 3, "xyzzy": 5} {
		assert.Equal(t, want, period([]byte(text)), text)
	}
}

func TestDropNULs(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "\x00", "\x00\x00", "abc", "\x00abc", "abc\x00", "a\x00b\x00\x00c", strings.Repeat("a\x00", 100), strings.Repeat("text\xff", 20) + "\x00"} {
		p := []byte(text)
		assert.Equal(t, strings.ReplaceAll(text, "\x00", ""), string(p[:DropNULs(p)]))
	}
}

func FuzzDropNULs(f *testing.F) {
	f.Add([]byte("a\x00b"))
	f.Add(bytes.Repeat([]byte("\x00\xff"), 50))
	f.Fuzz(func(t *testing.T, text []byte) {
		p := bytes.Clone(text)
		n := DropNULs(p)
		require.True(t, bytes.Equal(bytes.ReplaceAll(text, []byte{0}, nil), p[:n]))
	})
}

// FuzzSplicer reads a log over connections that begin anywhere a host may begin and
// end anywhere. Whatever the splicer accepts is the log.
func FuzzSplicer(f *testing.F) {
	f.Add(uint64(1), []byte{0, 90, 1, 60, 2, 10, 3, 200})
	f.Add(uint64(2), []byte{4, 255, 1, 255, 2, 3})
	f.Fuzz(func(t *testing.T, seed uint64, script []byte) {
		text := logText(seed, 2000)
		switch seed % 3 {
		case 1:
			text = strings.Repeat("tick\n", 400)
		case 2:
			text = strings.Repeat("7", 2000)
		}
		s := newSplicer(0)
		var got strings.Builder
		for len(script) >= 2 {
			kind, after := script[0]%4, int(script[1])*9
			script = script[2:]
			from := s.from(got.Len() == 0)
			resp := &Response{Content: Part, Start: from, Total: Unknown}
			sent := text[max(from, 0):]
			switch {
			case kind == 0 || from < 0:
				resp.Content, sent = Whole, text
			case kind == 1: // the part, without saying so
				resp.Content = Whole
			case kind == 2:
				resp.Total = int64(len(text))
			}
			if err := s.begin(from, resp, false); err != nil {
				require.ErrorIs(t, err, errUnproven)
				s.fromStart = true
				continue
			}
			fresh, err := feed(s, sent[:min(after, len(sent))], after%50)
			got.WriteString(fresh)
			require.True(t, strings.HasPrefix(text, got.String()))
			require.EqualValues(t, got.Len(), s.position)
			if err != nil {
				require.ErrorIs(t, err, errUnproven)
				s.fromStart = true
			}
		}
	})
}
