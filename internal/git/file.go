package git

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// ErrNotRegular reports that a path is neither a regular file nor a link to one.
var ErrNotRegular = errors.New("not a regular file")

// OpenFile opens a regular file, following symbolic links. For anything else, such
// as a pipe, it returns [ErrNotRegular], because opening it could block or have side
// effects.
func OpenFile(path string) (*os.File, fs.FileInfo, error) {
	info, err := os.Stat(path)
	return openRegular(path, info, err, openFlags)
}

// OpenFileNoFollow opens a regular file, and fails for a symbolic link.
func OpenFileNoFollow(path string) (*os.File, fs.FileInfo, error) {
	info, err := os.Lstat(path)
	return openRegular(path, info, err, openFlags|noFollow)
}

// openRegular opens a file of which info and err are the description, and verifies
// that it still is a regular file.
func openRegular(path string, info fs.FileInfo, err error, flags int) (*os.File, fs.FileInfo, error) {
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, info, &fs.PathError{Op: "open", Path: path, Err: ErrNotRegular}
	}
	f, err := os.OpenFile(path, os.O_RDONLY|flags, 0)
	if err != nil {
		return nil, nil, err
	}
	if info, err = f.Stat(); err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: path, Err: ErrNotRegular}
	}
	if err != nil {
		_ = f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

// readSmall reads a regular file, and fails if it has more than most bytes.
func readSmall(path string, most int64) ([]byte, error) {
	f, info, err := OpenFile(path)
	if err != nil {
		if info != nil && info.Mode()&fs.ModeCharDevice != 0 {
			// /dev/null stands for an empty file.
			return nil, nil
		}
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return readAll(f, info, most)
}

func readAll(f *os.File, info fs.FileInfo, most int64) ([]byte, error) {
	tooLarge := fmt.Errorf("%s is larger than %d bytes: %w", f.Name(), most, ErrFormat)
	if info.Size() > most {
		return nil, tooLarge
	}
	var b bytes.Buffer
	b.Grow(int(info.Size()) + bytes.MinRead)
	n, err := b.ReadFrom(io.LimitReader(f, most+1))
	switch {
	case err != nil:
		return nil, err
	case n > most:
		return nil, tooLarge
	}
	return b.Bytes(), nil
}

// missing reports whether an error is that of a missing file, which git treats as an
// empty one.
func missing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || notADirectory(err)
}

func inDir(dir, path string) string {
	path = filepath.FromSlash(path)
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// isNetworkPath reports whether Windows would access another machine for a path, and
// authenticate as the user.
func isNetworkPath(path string) bool {
	path = strings.ReplaceAll(path, "/", `\`)
	return strings.HasPrefix(path, `\\`) && !strings.HasPrefix(path, `\\.\`) && !strings.HasPrefix(path, `\\?\`) || strings.HasPrefix(strings.ToUpper(path), `\\?\UNC\`)
}

// refusesPath reports whether a path that a repository's own files name must not be
// opened, because the repository is not trusted.
func refusesPath(path string) bool { return runtime.GOOS == "windows" && isNetworkPath(path) }

// RealPath returns the absolute path of a directory without symbolic links. If the
// system cannot resolve it, as below a Windows junction, it returns the absolute
// path.
func RealPath(dir string) (string, error) { return realPath(dir, filepath.EvalSymlinks) }

func realPath(dir string, resolve func(string) (string, error)) (string, error) {
	real, err := resolve(dir)
	if err != nil {
		if _, statErr := os.Stat(dir); statErr != nil {
			return "", statErr
		}
		real = dir
	}
	return filepath.Abs(real)
}
