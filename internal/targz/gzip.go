package targz

import (
	"io"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/klauspost/pgzip"
)

const (
	// gzipLevel makes archives as small as those of tar and gzip.
	gzipLevel = 6
	// gzipBlock is what one core compresses at a time. The bytes of the archive
	// depend on it.
	gzipBlock = 512 << 10
	// maxGzipBlocks bounds the blocks in memory. The bytes of the archive do not
	// depend on it.
	maxGzipBlocks = 12
)

// Writer compresses on all cores. The same input gives the same output on every
// machine.
type Writer struct {
	zip *pgzip.Writer
	out *output
}

// NewWriter returns a Writer that compresses to w. It must be closed.
func NewWriter(w io.Writer) (*Writer, error) {
	out := &output{w: w}
	zip, err := pgzip.NewWriterLevel(out, gzipLevel)
	if err != nil {
		return nil, err
	}
	if err := zip.SetConcurrency(gzipBlock, min(2*runtime.GOMAXPROCS(0), maxGzipBlocks)); err != nil {
		return nil, err
	}
	// The header's time is 0 for 1970, and not for the zero time.
	zip.ModTime = time.Unix(0, 0)
	return &Writer{zip: zip, out: out}, nil
}

// Write implements io.Writer. It returns the error of the underlying writer for
// earlier data, too.
func (w *Writer) Write(p []byte) (int, error) {
	if w.out.failed.Load() {
		return 0, w.out.err
	}
	return w.zip.Write(p)
}

// Close writes what is left and returns the first error of the underlying writer,
// which it does not close. The goroutines of the Writer have ended when it returns.
func (w *Writer) Close() error {
	err := w.zip.Close()
	// Close only stops the goroutines; Reset waits for them.
	w.zip.Reset(io.Discard)
	if w.out.err != nil {
		return w.out.err
	}
	return err
}

// output keeps the first error to itself, because pgzip leaves a goroutine behind
// if its writer fails.
type output struct {
	w   io.Writer
	err error
	// failed is set after err.
	failed atomic.Bool
}

func (o *output) Write(p []byte) (int, error) {
	if o.err == nil {
		if _, o.err = o.w.Write(p); o.err != nil {
			o.failed.Store(true)
		}
	}
	return len(p), nil
}
