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

// OpenFile opens a regular file, following symbolic links. Anything else, such
// as a pipe, is [ErrNotRegular]: opening it could block or have an effect.
func OpenFile(path string) (*os.File, fs.FileInfo, error) {
	info, err := os.Stat(path)
	return openRegular(path, info, err, openFlags)
}

// OpenFileNoFollow opens a regular file, but not by way of a symbolic link.
func OpenFileNoFollow(path string) (*os.File, fs.FileInfo, error) {
	info, err := os.Lstat(path)
	return openRegular(path, info, err, openFlags|noFollow)
}

// openRegular opens a file that has just been found to be regular, and makes
// sure that it still is.
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

// readSmall reads a regular file that has to be small.
func readSmall(path string, most int64) ([]byte, error) {
	f, info, err := OpenFile(path)
	if err != nil {
		if info != nil && info.Mode()&fs.ModeCharDevice != 0 {
			// /dev/null is how people say that there is no such file.
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

// missing reports whether an error says that there is no such file, which git
// treats as an empty one.
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

// isNetworkPath reports whether Windows would ask another machine for a path,
// and prove to it who the user is.
func isNetworkPath(path string) bool {
	path = strings.ReplaceAll(path, "/", `\`)
	return strings.HasPrefix(path, `\\`) && !strings.HasPrefix(path, `\\.\`) && !strings.HasPrefix(path, `\\?\`) || strings.HasPrefix(strings.ToUpper(path), `\\?\UNC\`)
}

// refusesPath reports whether a path out of a repository's own files is not to
// be opened: the repository may come from a stranger.
func refusesPath(path string) bool { return runtime.GOOS == "windows" && isNetworkPath(path) }

// RealPath returns the absolute path of a directory without symbolic links. Where
// the system cannot resolve it, as that of a directory below a Windows junction,
// the absolute path will do.
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
