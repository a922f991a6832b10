package targz

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"io"
)

// errNoEntries reports an archive without entries.
var errNoEntries = errors.New("archive has no entries")

// Check reads an archive to its end, which is the only way to detect one that was
// cut off, and returns its size and SHA-256. Its error is why r is not a gzipped
// tar archive with at least one entry, or is r's own.
func Check(r io.Reader) (size int64, sum [sha256.Size]byte, err error) {
	hash := sha256.New()
	count := &counter{w: hash}
	zip, err := gzip.NewReader(bufio.NewReaderSize(io.TeeReader(r, count), 64<<10))
	if err != nil {
		return 0, sum, err
	}
	archive := tar.NewReader(zip)
	entries := 0
	for ; ; entries++ {
		if _, err := archive.Next(); err == io.EOF { //nolint:errorlint // A wrapped io.EOF is r's failure.
			break
		} else if err != nil {
			return 0, sum, err
		}
	}
	if entries == 0 {
		return 0, sum, errNoEntries
	}
	// Padding follows, and a checksum that gzip verifies.
	if _, err := io.Copy(io.Discard, zip); err != nil { //nolint:gosec // Nothing is kept.
		return 0, sum, err
	}
	hash.Sum(sum[:0])
	return count.n, sum, nil
}

// counter counts what passes through it.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
