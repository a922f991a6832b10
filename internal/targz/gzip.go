package targz

import (
	"io"
	"runtime"
	"sync"
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

// Writers creates Writers that use the buffers of those that have been closed. The
// garbage collector frees buffers that nobody uses. The zero value is ready, and safe for
// concurrent use.
type Writers struct {
	mu   sync.Mutex
	idle []*pgzip.Writer
}

func (p *Writers) take() *pgzip.Writer {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.idle) == 0 {
		return nil
	}
	last := len(p.idle) - 1
	zip := p.idle[last]
	p.idle = p.idle[:last]
	return zip
}

func (p *Writers) put(zip *pgzip.Writer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle = append(p.idle, zip)
}

// Writer compresses on all cores. The same input gives the same output on every
// machine.
type Writer struct {
	zip  *pgzip.Writer
	out  *output
	from *Writers
}

// NewWriter returns a Writer that compresses to w. It must be closed, once.
func (p *Writers) NewWriter(w io.Writer) (*Writer, error) {
	out := &output{w: w}
	zip := p.take()
	if zip == nil {
		var err error
		if zip, err = pgzip.NewWriterLevel(out, gzipLevel); err != nil {
			return nil, err
		}
	} else {
		zip.Reset(out)
	}
	if err := zip.SetConcurrency(gzipBlock, min(2*runtime.GOMAXPROCS(0), maxGzipBlocks)); err != nil {
		return nil, err
	}
	// The header's time is 0 for 1970, and not for the zero time.
	zip.ModTime = time.Unix(0, 0)
	return &Writer{zip: zip, out: out, from: p}, nil
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
	w.from.put(w.zip)
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
