package download

import (
	"context"
	"errors"

	"github.com/herokubuild/herokubuild/internal/ioutil"
)

// end is how a connection ended.
type end int

const (
	// broken: the connection failed, or closed before all of the archive arrived.
	broken end = iota
	// drained: everything that the storage host announced has arrived.
	drained
	// changed: the archive is not the one that the download began with.
	changed
	// canceled: the context ended.
	canceled
)

// classify returns how a connection ended after delivered bytes of an archive, whose
// size is total, or -1 if it is not known.
func classify(ctx context.Context, err error, delivered, total int64) end {
	switch {
	case ctx.Err() != nil:
		return canceled
	case errors.Is(err, errChanged), total >= 0 && delivered > total:
		return changed
	case delivered == total, ioutil.IsEOF(err) && total < 0:
		return drained
	}
	return broken
}

// verdict is what a drained connection means for the archive.
type verdict int

const (
	complete verdict = iota
	// incomplete means that something must be missing: the storage host did not
	// announce a length, and sent less than the archive's size.
	incomplete
	wrongSize
	wrongChecksum
)

// verify compares what has arrived with what is known of the archive. total is the size
// that the storage host announced, -1 if it did not.
func (c *Config) verify(sum string, delivered, total int64) verdict {
	switch {
	case c.SHA256 != "" && c.SHA256 == sum:
		return complete
	case delivered == 0, total < 0 && delivered < c.Size:
		return incomplete
	case c.SHA256 != "":
		return wrongChecksum
	case c.Size > 0 && c.Size != delivered:
		return wrongSize
	}
	return complete
}

// oversized reports whether more has arrived than the archive's size. With a checksum
// this is detected at the end; without one there may be no end.
func (c *Config) oversized(delivered int64) bool {
	return c.SHA256 == "" && c.Size > 0 && delivered > c.Size
}

// progressStep is how many bytes a connection must deliver to count as progress. It
// bounds the number of connections by the size of the archive.
const progressStep = 64 << 10

// breaks counts the connections in a row that delivered too little.
type breaks struct {
	count int
	// mark is the offset at which the count last became 0.
	mark int64
}

// add counts a connection that broke at an offset. It returns the count.
func (b *breaks) add(offset int64) int {
	if offset-b.mark >= progressStep {
		b.count, b.mark = 0, offset
		return 0
	}
	b.count++
	return b.count
}
