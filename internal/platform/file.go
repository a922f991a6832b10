package platform

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
)

// writeFiles creates files with the given content, which only their owner may read, in
// a directory that exists.
func writeFiles(dir string, files map[string]string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close() //nolint:errcheck // only a handle
	for name, content := range files {
		if err := writeFile(root, name, 0o600, strings.NewReader(content)); err != nil {
			return err
		}
	}
	return nil
}

// writeFile creates a file in a tree that programs are run from.
//
// No process is started while the file is open. Otherwise the new process would have
// the file open for writing too until it executes its own program, and Unix systems
// refuse to execute a file that any process has open for writing (ETXTBSY, see
// https://go.dev/issue/22315).
func writeFile(root *os.Root, name string, mode fs.FileMode, content io.Reader) (err error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := io.Copy(f, content); err != nil {
		return err
	}
	return f.Chmod(mode) // unaffected by the umask
}
