package herokubuild

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// Requests for output and archives ask for identity, but some storage hosts send
// what they have stored, whatever they are asked for.

// gzipEncoded reports whether a response is compressed. Its error is for
// encodings that this package does not decode.
func gzipEncoded(h http.Header) (bool, error) {
	gzipped := false
	for coding := range strings.SplitSeq(strings.Join(h.Values("Content-Encoding"), ","), ",") {
		switch coding = strings.ToLower(strings.TrimSpace(coding)); {
		case coding == "" || coding == "identity":
		case (coding == "gzip" || coding == "x-gzip") && !gzipped:
			gzipped = true
		default:
			return false, fmt.Errorf("the content encoding %s is not supported", quote(coding))
		}
	}
	return gzipped, nil
}

// archiveHead is how much of an archive compressedTwice needs.
const archiveHead = 4 << 10

// compressedTwice reports whether the start of a response is a gzip archive that
// was compressed once more. Many hosts call an archive's own compression its
// content encoding; that is none.
func compressedTwice(head []byte) bool {
	zr, err := gzip.NewReader(bytes.NewReader(head))
	if err != nil {
		return false
	}
	var magic [3]byte
	_, err = io.ReadFull(zr, magic[:])
	return err == nil && magic == [3]byte{0x1f, 0x8b, 8}
}

// maxEmptyReads is how often in a row a body may return nothing and no error.
const maxEmptyReads = 100

// progress makes an error of a body that returns nothing again and again: a loop
// over it would never end.
type progress struct{ empty int }

func (c *progress) check(n int, err error) error {
	if n > 0 || err != nil {
		c.empty = 0
		return err
	}
	if c.empty++; c.empty < maxEmptyReads {
		return nil
	}
	return io.ErrNoProgress
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
