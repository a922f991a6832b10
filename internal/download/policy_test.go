package download

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestClassify(t *testing.T) {
	t.Parallel()
	errLost := errors.New("connection reset")
	tests := map[string]struct {
		err              error
		canceled         bool
		delivered, total int64
		want             end
	}{
		"closed early":                         {err: io.EOF, delivered: 5, total: 10, want: broken},
		"lost early":                           {err: errLost, delivered: 5, total: 10, want: broken},
		"lost, size not known":                 {err: errLost, delivered: 5, total: -1, want: broken},
		"wrapped EOF, size not known":          {err: fmt.Errorf("read: %w", io.EOF), delivered: 5, total: -1, want: broken},
		"closed at the end":                    {err: io.EOF, delivered: 10, total: 10, want: drained},
		"lost at the end":                      {err: errLost, delivered: 10, total: 10, want: drained},
		"closed, size not known":               {err: io.EOF, delivered: 5, total: -1, want: drained},
		"closed without a byte, size unknown":  {err: io.EOF, total: -1, want: drained},
		"more than announced":                  {err: io.EOF, delivered: 11, total: 10, want: changed},
		"another beginning":                    {err: errChanged, delivered: 5, total: 10, want: changed},
		"another archive, size as announced":   {err: errChanged, delivered: 10, total: 10, want: changed},
		"context ended":                        {err: errLost, canceled: true, delivered: 5, total: 10, want: canceled},
		"context ended at the end":             {err: io.EOF, canceled: true, delivered: 10, total: 10, want: canceled},
		"context ended with a changed archive": {err: errChanged, canceled: true, delivered: 5, total: 10, want: canceled},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if tt.canceled {
				cancel()
			}
			assert.Equal(t, tt.want, classify(ctx, tt.err, tt.delivered, tt.total))
		})
	}
}

func TestVerify(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		checksum         string
		size             int64
		delivered, total int64
		want             verdict
	}{
		"checksum matches":                             {checksum: "aa", size: 10, delivered: 10, total: 10, want: complete},
		"checksum matches, another size":               {checksum: "aa", size: 11, delivered: 10, total: 10, want: complete},
		"checksum matches, no length announced":        {checksum: "aa", size: 11, delivered: 10, total: -1, want: complete},
		"checksum of an empty archive":                 {checksum: "aa", total: -1, want: complete},
		"another checksum":                             {checksum: "bb", size: 10, delivered: 10, total: 10, want: wrongChecksum},
		"another checksum and size":                    {checksum: "bb", size: 11, delivered: 10, total: 10, want: wrongChecksum},
		"another checksum, less than the size":         {checksum: "bb", size: 11, delivered: 10, total: -1, want: incomplete},
		"another checksum, size not known":             {checksum: "bb", delivered: 10, total: -1, want: wrongChecksum},
		"no checksum, the size":                        {size: 10, delivered: 10, total: 10, want: complete},
		"no checksum, less than the size, announced":   {size: 11, delivered: 10, total: 10, want: wrongSize},
		"no checksum, less than the size, unannounced": {size: 11, delivered: 10, total: -1, want: incomplete},
		"no checksum, more than the size":              {size: 9, delivered: 10, total: -1, want: wrongSize},
		"nothing known":                                {delivered: 10, total: -1, want: complete},
		"an announced length only":                     {delivered: 10, total: 10, want: complete},
		"nothing arrived":                              {total: -1, want: incomplete},
		"nothing arrived, as announced":                {total: 0, want: incomplete},
		"nothing arrived, with a checksum":             {checksum: "bb", total: 0, want: incomplete},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := &Config{SHA256: tt.checksum, Size: tt.size}
			assert.Equal(t, tt.want, cfg.verify("aa", tt.delivered, tt.total))
		})
	}
}

func TestOversizedWithoutAChecksum(t *testing.T) {
	t.Parallel()
	assert.False(t, (&Config{Size: 10}).oversized(10))
	assert.True(t, (&Config{Size: 10}).oversized(11))
	assert.False(t, (&Config{}).oversized(11), "the size is not known")
	assert.False(t, (&Config{Size: 10, SHA256: "aa"}).oversized(11), "the checksum decides")
}

func TestBreaksCountConnectionsWithoutProgress(t *testing.T) {
	t.Parallel()
	var b breaks
	for _, step := range []struct {
		offset int64
		want   int
	}{
		{offset: 0, want: 1},
		{offset: 10, want: 2},
		{offset: progressStep - 1, want: 3},
		// The bytes of several connections together are progress.
		{offset: progressStep, want: 0},
		{offset: progressStep, want: 1},
		{offset: 2*progressStep - 1, want: 2},
		{offset: 5 * progressStep, want: 0},
		{offset: 6 * progressStep, want: 0},
		{offset: 6*progressStep + 1, want: 1},
	} {
		assert.Equal(t, step.want, b.add(step.offset), "offset %d", step.offset)
	}
}
