package transport

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestContentRange(t *testing.T) {
	t.Parallel()
	type result struct {
		start, total int64
		ok           bool
	}
	for header, want := range map[string]result{
		"bytes 0-99/100":                     {start: 0, total: 100, ok: true},
		"bytes 5-99/100":                     {start: 5, total: 100, ok: true},
		"bytes 5-99/*":                       {start: 5, total: -1, ok: true},
		"bytes 5-*/*":                        {start: 5, total: -1, ok: true},
		"bytes 5-/100":                       {start: 5, total: 100, ok: true},
		"bytes 100-/100":                     {start: 100, total: 100, ok: true},
		"bytes 101-/100":                     {},
		"":                                   {},
		"bytes */100":                        {},
		"bytes -1-99/100":                    {},
		"bytes 0-99":                         {},
		"items 0-99/100":                     {},
		"bytes 0-99/100 ":                    {},
		"bytes 0-99/1234567890123456789":     {},
		"bytes 1234567890123456789-/*":       {},
		"bytes 999999999999999999-/*":        {start: 999999999999999999, total: -1, ok: true},
		"bytes 0-99/999999999999999999":      {start: 0, total: 999999999999999999, ok: true},
		"bytes 0-99/100\r\nX-Injected: true": {},
	} {
		start, total, ok := ContentRange(header)
		assert.Equal(t, want, result{start: start, total: total, ok: ok}, "header %q", header)
	}
}
