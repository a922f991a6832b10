// Package targz compresses, spools and checks gzipped tar archives.
package targz

import (
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"io/fs"
	"os"
)

// Spool is a temporary file that holds an archive. It hashes what is written to it.
type Spool struct {
	file *os.File
	// name is empty once the file has no name any more.
	name string
	hash hash.Hash
	size int64
}

// NewSpool creates a temporary file in a directory, "" for the system's.
func NewSpool(dir string) (*Spool, error) {
	f, err := os.CreateTemp(dir, "herokubuild-*.tar.gz")
	if err != nil {
		return nil, err
	}
	s := &Spool{file: f, name: f.Name(), hash: sha256.New()}
	// Where the system permits it, the file is removed while it is open, so that
	// not even a killed program leaves it behind.
	if os.Remove(s.name) == nil {
		s.name = ""
	}
	return s, nil
}

// Named returns a description of the file if it still has a name, so that a walk of
// its directory finds it; nil otherwise.
func (s *Spool) Named() (fs.FileInfo, error) {
	if s.name == "" {
		return nil, nil
	}
	return s.file.Stat()
}

// Write implements io.Writer.
func (s *Spool) Write(p []byte) (int, error) {
	n, err := s.file.Write(p)
	s.hash.Write(p[:n])
	s.size += int64(n)
	return n, err
}

// Size returns how many bytes have been written.
func (s *Spool) Size() int64 { return s.size }

// SHA256 returns the hash of what has been written.
func (s *Spool) SHA256() (sum [sha256.Size]byte) {
	s.hash.Sum(sum[:0])
	return sum
}

// Open returns a reader of what has been written. It is independent of other
// readers, and valid until the spool is closed.
func (s *Spool) Open() (io.ReadCloser, error) {
	return io.NopCloser(io.NewSectionReader(s.file, 0, s.size)), nil
}

// Close removes the file.
func (s *Spool) Close() error {
	err := s.file.Close()
	if s.name != "" {
		err = errors.Join(err, os.Remove(s.name))
	}
	return err
}
