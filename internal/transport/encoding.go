package transport

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// Requests for output and archives accept the identity encoding only, but some
// storage hosts send what they have stored, whatever the request accepts.

// Gzipped reports whether the content of a response is compressed with gzip. Its error
// is for any other encoding.
func Gzipped(h http.Header) (bool, error) {
	gzipped := false
	for coding := range strings.SplitSeq(strings.Join(h.Values("Content-Encoding"), ","), ",") {
		switch coding = strings.ToLower(strings.TrimSpace(coding)); {
		case coding == "" || coding == "identity":
		case (coding == "gzip" || coding == "x-gzip") && !gzipped:
			gzipped = true
		default:
			return false, fmt.Errorf("the content encoding %.80q is not supported", coding)
		}
	}
	return gzipped, nil
}

// ArchiveHead is how much of an archive [CompressedTwice] needs.
const ArchiveHead = 4 << 10

// CompressedTwice reports whether a response begins with a gzip archive that was
// compressed once more. Many hosts declare an archive's own compression as its content
// encoding, although that is none.
func CompressedTwice(head []byte) bool {
	zr, err := gzip.NewReader(bytes.NewReader(head))
	if err != nil {
		return false
	}
	var magic [3]byte
	_, err = io.ReadFull(zr, magic[:])
	return err == nil && magic == [3]byte{0x1f, 0x8b, 8}
}
