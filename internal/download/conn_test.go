package download

import (
	"crypto/sha256"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestContentRange(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		status      int
		header      string
		length      int64
		from        int64
		start, size int64
		ok          bool
	}{
		"whole archive":                    {status: 200, length: 10, size: 10, ok: true},
		"whole archive, length not known":  {status: 200, length: -1, size: -1, ok: true},
		"whole archive, length of 0":       {status: 200, length: 0, size: -1, ok: true},
		"whole archive instead of a range": {status: 200, length: 10, from: 4, size: 10, ok: true},
		"range":                            {status: 206, header: "bytes 4-9/10", length: 6, from: 4, start: 4, size: 10, ok: true},
		"range of a size not known":        {status: 206, header: "bytes 4-9/*", length: 6, from: 4, start: 4, size: -1, ok: true},
		"range without an end":             {status: 206, header: "bytes 4-*/*", length: -1, from: 4, start: 4, size: -1, ok: true},
		"range from 0":                     {status: 206, header: "bytes 0-9/10", length: 10, size: 10, ok: true},
		"another range":                    {status: 206, header: "bytes 0-1/10", length: 2, from: 4},
		"range without a header":           {status: 206, length: 6, from: 4},
		"range with an invalid header":     {status: 206, header: "bytes 4-9/3", length: 6, from: 4},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			resp := &http.Response{StatusCode: tt.status, ContentLength: tt.length, Header: http.Header{}}
			resp.Header.Set("Content-Range", tt.header)
			start, size, ok := contentRange(resp, tt.from)
			require.Equal(t, tt.ok, ok)
			if ok {
				assert.Equal(t, tt.start, start)
				assert.Equal(t, tt.size, size)
			}
		})
	}
}

func TestIdentityAcceptsWhatAgrees(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		known identity
		total int64
		etag  string
		ok    bool
		want  identity
	}{
		"first response":          {known: identity{total: -1}, total: 10, etag: "a", ok: true, want: identity{total: 10, etag: "a"}},
		"first without anything":  {known: identity{total: -1}, total: -1, ok: true, want: identity{total: -1}},
		"same again":              {known: identity{total: 10, etag: "a"}, total: 10, etag: "a", ok: true, want: identity{total: 10, etag: "a"}},
		"later without anything":  {known: identity{total: 10, etag: "a"}, total: -1, ok: true, want: identity{total: 10, etag: "a"}},
		"size announced later":    {known: identity{total: -1, etag: "a"}, total: 10, ok: true, want: identity{total: 10, etag: "a"}},
		"ETag announced later":    {known: identity{total: 10}, total: 10, etag: "a", ok: true, want: identity{total: 10, etag: "a"}},
		"another size":            {known: identity{total: 10, etag: "a"}, total: 11, etag: "a", want: identity{total: 10, etag: "a"}},
		"another ETag":            {known: identity{total: 10, etag: "a"}, total: 10, etag: "b", want: identity{total: 10, etag: "a"}},
		"another ETag, no length": {known: identity{total: -1, etag: "a"}, total: -1, etag: "b", want: identity{total: -1, etag: "a"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := tt.known
			assert.Equal(t, tt.ok, got.accept(tt.total, tt.etag))
			assert.Equal(t, tt.want, got)
		})
	}
}

func TestRepeatedBytesAreDropped(t *testing.T) {
	t.Parallel()
	const archive = "0123456789"
	tests := map[string]struct {
		offset int64
		reads  []string
		want   string
		same   bool
	}{
		"nothing repeated":            {offset: 0, reads: []string{"0123", "456789"}, want: archive, same: true},
		"in one read":                 {offset: 4, reads: []string{archive}, want: "456789", same: true},
		"over several reads":          {offset: 4, reads: []string{"01", "", "23", "45", "6789"}, want: "456789", same: true},
		"a read across the offset":    {offset: 4, reads: []string{"01", "2345", "6789"}, want: "456789", same: true},
		"all of it repeated":          {offset: 10, reads: []string{archive, ""}, want: "", same: true},
		"ended before the offset":     {offset: 4, reads: []string{"01"}, want: "", same: true},
		"another beginning":           {offset: 4, reads: []string{"0x23", "456789"}, want: "", same: false},
		"another beginning, one read": {offset: 4, reads: []string{"0x23456789"}, want: "", same: false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			delivered := sha256.New()
			_, _ = io.WriteString(delivered, archive[:tt.offset])
			resp := &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(""))}
			c, err := newConn(resp, 0, tt.offset)
			require.NoError(t, err)
			got, allSame := "", true
			for _, read := range tt.reads {
				p := []byte(read)
				n, same := c.dropRepeated(p, delivered)
				got += string(p[:n])
				if allSame = same; !same {
					break
				}
			}
			assert.Equal(t, tt.want, got)
			assert.Equal(t, tt.same, allSame)
		})
	}
}
