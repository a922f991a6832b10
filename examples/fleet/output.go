package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
)

// offsetWriter writes each byte of a build's output at its offset in the output, so
// that bytes that are written twice, by a worker that was killed and by the next one,
// replace themselves.
type offsetWriter struct {
	w  io.WriterAt
	at atomic.Int64
}

func newOffsetWriter(w io.WriterAt, offset int64) *offsetWriter {
	o := &offsetWriter{w: w}
	o.at.Store(offset)
	return o
}

// Write implements io.Writer.
func (o *offsetWriter) Write(p []byte) (int, error) {
	n, err := o.w.WriteAt(p, o.at.Load())
	o.at.Add(int64(n))
	return n, err
}

// offset is how many bytes of the output have been written, by all workers.
func (o *offsetWriter) offset() int64 { return o.at.Load() }

// logFile is the file of a deploy's output in a directory that all workers share.
func logFile(dir, mark string) string {
	return filepath.Join(dir, strings.ReplaceAll(mark, "/", "-")+".log")
}

func openLog(dir, mark string) (*os.File, error) {
	return os.OpenFile(logFile(dir, mark), os.O_CREATE|os.O_WRONLY, 0o600)
}
