// Package ioutil has what the readers of the library have in common.
package ioutil

import (
	"context"
	"io"
	"time"
)

// IsEOF reports whether a reader has returned its end. A wrapped io.EOF is a failure of
// something below the reader.
func IsEOF(err error) bool {
	return err == io.EOF //nolint:errorlint // see above
}

// maxEmptyReads is how often in a row a reader may return nothing and no error.
const maxEmptyReads = 100

// Progress detects a reader that returns nothing and no error again and again. A loop
// over its reads would never end.
type Progress struct{ empty int }

// Check is called with the results of each read, and returns its error or
// io.ErrNoProgress.
func (p *Progress) Check(n int, err error) error {
	if n > 0 || err != nil {
		p.empty = 0
		return err
	}
	if p.empty++; p.empty < maxEmptyReads {
		return nil
	}
	return io.ErrNoProgress
}

// Sleep waits for d or the context, and reports whether d has passed.
func Sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
