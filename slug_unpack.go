package herokubuild

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/herokubuild/herokubuild/internal/ioutil"
	"github.com/herokubuild/herokubuild/internal/untar"
)

// UnpackOptions sets the limits of [UnpackSlug]. nil means the defaults.
type UnpackOptions struct {
	// MaxFiles bounds the number of files, links and directories, including
	// directories that the archive only implies. Default 500,000.
	MaxFiles int
	// MaxBytes bounds the total size of the files. Default 4 GiB.
	MaxBytes int64
	// SkipOutsideLinks skips symbolic links that lead out of the directory, such as
	// bin/python to /usr/bin/python3, instead of refusing the archive.
	SkipOutsideLinks bool
	// SkipLinks skips all symbolic links, wherever they lead. It is for systems that
	// do not permit them, such as Windows without developer mode.
	SkipLinks bool
}

func (o *UnpackOptions) withDefaults() (UnpackOptions, error) {
	d := orZero(o)
	switch {
	case d.MaxFiles < 0:
		return d, &ArgumentError{Name: "UnpackOptions.MaxFiles", Reason: "is negative"}
	case d.MaxBytes < 0:
		return d, &ArgumentError{Name: "UnpackOptions.MaxBytes", Reason: "is negative"}
	}
	if d.MaxFiles == 0 {
		d.MaxFiles = 500_000
	}
	if d.MaxBytes == 0 {
		d.MaxBytes = 4 << 30
	}
	return d, nil
}

// UnpackError reports that an archive was not unpacked. It matches
// [ErrUnsafeArchive] if the archive has what no well-meant archive has,
// [ErrArchiveTooLarge] if it exceeds a limit, [ErrUnsupportedName] if this system
// does not support a name, and [ErrLinksNotPermitted] if it does not permit links;
// otherwise Err is the cause.
type UnpackError struct {
	// Entry is the entry's name in the archive; empty if the error is about the
	// archive as a whole.
	Entry string
	// Reason describes the problem; empty if Err does.
	Reason string
	// Err is the category, or the cause.
	Err error
}

// Error implements error.
func (e *UnpackError) Error() string {
	text := "unpack archive"
	if e.Entry != "" {
		text += ": entry " + quote(e.Entry)
	}
	if e.Reason != "" {
		return clip(text+": "+e.Reason, maxErrorText)
	}
	return text + ": " + causeText(e.Err)
}

// causeText is the text of a cause without its path, which the entry's name already
// shows.
func causeText(err error) string {
	var path *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &path):
		err = fmt.Errorf("%s: %s", path.Op, errorText(path.Err)) //nolint:errorlint // for its text
	case errors.As(err, &link):
		err = fmt.Errorf("%s: %s", link.Op, errorText(link.Err)) //nolint:errorlint // for its text
	}
	return clip(redactText(strings.ReplaceAll(errorText(err), "\n", "; ")), maxErrorText)
}

// Unwrap returns the category or cause.
func (e *UnpackError) Unwrap() error { return withoutEOF(e.Err) }

// unpackError converts an error of untar.Unpack.
func unpackError(ctx context.Context, err error) error {
	var e *untar.EntryError
	if !errors.As(err, &e) {
		return err
	}
	unpacked := &UnpackError{Entry: clip(e.Entry, maxHeaderText), Reason: e.Reason, Err: withoutEOF(e.Err)}
	switch e.Kind {
	case untar.Unsafe:
		unpacked.Err = ErrUnsafeArchive
	case untar.TooLarge:
		unpacked.Err = ErrArchiveTooLarge
	case untar.UnsupportedName:
		unpacked.Err = ErrUnsupportedName
	case untar.LinksNotPermitted:
		unpacked.Err = fmt.Errorf("%w: %w", ErrLinksNotPermitted, e.Err)
	case untar.Canceled:
		unpacked.Err = withoutEOF(contextError(ctx))
	case untar.Failed:
	}
	if e.Cleanup == nil {
		return unpacked
	}
	reason := "the files that were unpacked cannot be removed: " + causeText(e.Cleanup)
	return errors.Join(unpacked, &UnpackError{Reason: reason, Err: e.Cleanup})
}

// UnpackSlug unpacks a gzipped tar archive, such as [SlugsService.Download] returns,
// into a directory. It creates the directory if it does not exist; an existing one
// must be empty. The code of a slug is then in the subdirectory "app". The archive is
// read to its end.
//
// The archive need not be trusted: whatever it contains, nothing outside of the
// directory is written, linked to or read, and the limits of opts hold. Regular
// files, directories, and symbolic and hard links are unpacked. Executable bits are
// kept; owners, times, and the bits that let others write or that change users are
// not. A symbolic link to a path below /app, which is where the slug lies when it
// runs, becomes a relative one. An archive with two names that the system treats as
// the same, for example because they differ only in case, is refused. So is an archive
// with a name that the system does not support or would change, as Windows does with
// "aux.c", "a?b" and "name.".
//
// Symbolic links are created last. On Windows they need developer mode or an
// administrator's rights; set SkipLinks to do without them.
//
// Besides MaxFiles and MaxBytes there are fixed limits: a path has at most 255 parts,
// and the names and targets of symbolic links take at most 64 MiB, since they are kept
// in memory.
//
// After an error, everything that was unpacked has been removed.
//
// Errors: an [*ArgumentError] for a directory that is not empty or cannot be used; an
// [*UnpackError] that names the entry, for an archive that is refused
// ([ErrUnsafeArchive], [ErrArchiveTooLarge], [ErrUnsupportedName],
// [ErrLinksNotPermitted]), damaged, cannot be read (it then wraps r's error, such as
// [ErrChecksumMismatch]) or cannot be written; and the context's error. The context is checked
// before each entry, between two reads of r, and while a large file is written.
func UnpackSlug(ctx context.Context, r io.Reader, dir string, opts *UnpackOptions) error {
	limits, err := opts.withDefaults()
	if err != nil {
		return err
	}
	if r == nil {
		return &ArgumentError{Name: "r", Reason: "is nil"}
	}
	made, err := makeEmptyDir(dir)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return &ArgumentError{Name: "dir", Reason: "cannot open directory " + quote(dir), Err: err}
	}
	err = untar.Unpack(ctx, r, root, untar.Options(limits))
	_ = root.Close()
	if err == nil {
		return nil
	}
	if made {
		_ = os.Remove(dir)
	}
	return unpackError(ctx, err)
}

// makeEmptyDir creates a directory, or checks that an existing one is empty. It
// reports whether it created the directory.
func makeEmptyDir(dir string) (made bool, err error) {
	if dir == "" {
		return false, &ArgumentError{Name: "dir", Reason: "directory is required"}
	}
	switch err := os.Mkdir(dir, 0o750); {
	case err == nil:
		return true, nil
	case !errors.Is(err, fs.ErrExist):
		return false, &ArgumentError{Name: "dir", Reason: "cannot create directory " + quote(dir), Err: err}
	}
	if err := checkDir("dir", dir); err != nil {
		return false, err
	}
	f, err := os.Open(dir)
	if err == nil {
		_, err = f.Readdirnames(1)
		_ = f.Close()
	}
	switch {
	case ioutil.IsEOF(err):
		return false, nil
	case err != nil:
		return false, &ArgumentError{Name: "dir", Reason: "cannot read directory " + quote(dir), Err: err}
	}
	return false, &ArgumentError{Name: "dir", Reason: "directory " + quote(dir) + " is not empty"}
}
