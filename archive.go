package herokubuild

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/herokubuild/herokubuild/internal/git"
)

// Archive is a gzipped tar archive that can be read as often as needed: an
// upload that has to be repeated opens it again. [PackDir], [OpenArchive]
// and [NewArchive] make one; a program may also fill in the fields itself.
type Archive struct {
	// Size is the archive's length in bytes.
	Size int64
	// SHA256 is its SHA-256.
	SHA256 [sha256.Size]byte
	// Open returns a reader of the whole archive from its start. It may be
	// called several times, and the readers used at the same time.
	Open func() (io.ReadCloser, error)
	// Plan says what is in it, and what is not and why. Its lists are limited;
	// see [ArchivePlan].Truncated. It is nil unless a directory or file system
	// was packed.
	Plan *ArchivePlan

	close func() error
}

// Checksum returns the SHA-256 as the API writes it: "SHA256:" and hex digits.
func (a *Archive) Checksum() string { return "SHA256:" + hex.EncodeToString(a.SHA256[:]) }

// Close removes what the archive keeps on disk. Archives of files and bytes
// keep nothing; closing them does nothing.
func (a *Archive) Close() error {
	if a == nil || a.close == nil {
		return nil
	}
	return a.close()
}

func (a *Archive) check() error {
	switch {
	case a == nil:
		return &ArgumentError{Name: "archive", Reason: "is nil"}
	case a.Size <= 0:
		return &ArgumentError{Name: "archive", Reason: "is empty"}
	case a.Open == nil:
		return &ArgumentError{Name: "archive", Reason: "has no Open function"}
	}
	return nil
}

// PackOptions sets how [PackDir] and [PackFS] pack. nil is the default.
type PackOptions struct {
	// Include are patterns of paths to pack although git ignores them, such as
	// "dist/"; Exclude are patterns of paths to leave out whatever git says.
	// They are lines as in a .gitignore file in the root, the case of letters
	// counts, and the last one that matches decides. Exclude and .slugignore
	// count more than Include. ".git" is never packed.
	Include, Exclude []string
	// FollowSymlinks packs what a symbolic link leads to in the place of a link
	// that leads out of the directory, which is an error otherwise. Links that
	// stay inside are kept as links. For [PackDir] only.
	FollowSymlinks bool
	// Prefix is a directory to put everything into, such as "./app", which is
	// where a slug has it. Default: none.
	Prefix string
	// TempDir is where the archive is spooled. Default: the system's
	// directory for temporary files.
	TempDir string
}

// PackDir packs a directory as a gzipped tar archive, the form in which the
// platform takes source code. The archive is spooled to a temporary file;
// [Archive.Close] removes it (on Unix nothing is left behind even if the program is
// killed).
//
// It packs the files that git would list: those that it tracks, as they are now,
// and those that no .gitignore, .git/info/exclude or core.excludesFile ignores,
// except what a .slugignore in the root names, which Heroku would remove before the
// build. git need not be installed. Its configuration is read with its includes and
// their conditions (gitdir, onbranch, hasconfig), and as by git a condition that is
// not known does not hold; what git refuses, and a condition that cannot be
// evaluated without git, is an error. Sparse checkouts follow the ignore files that
// are not checked out. A directory that is no repository, or is itself ignored by
// the one around it, is treated as a new one. ".git" is excluded at every level;
// submodules are packed as far as they are checked out, and other repositories
// inside are excluded. [PlanArchive] says what is packed and why a path is not;
// [Archive.Plan] keeps it.
//
// Executable bits and symbolic links are kept. Where the file system has no
// executable bits (Windows, core.fileMode=false), a tracked file has git's, and any
// other is executable if it begins with "#!" or as an ELF program does. Where git
// converts line ends (core.autocrlf, .gitattributes), a file that differs from the
// index in nothing else is packed with the line ends that are committed, unless
// eol=crlf asks for others everywhere; any other file is packed as it is. A
// .slugignore may be a link within the directory. On Windows a junction is packed as
// the directory that it leads to, and a file that is kept online as that file.
//
// Entries are sorted, and their times, owners and other modes fixed, so that the
// same tree, or commit, gives the same bytes on every machine that has the same
// version of this package and of its compressor. The format is GNU tar's.
//
// Memory stays below 64 MiB whatever the number and size of files, plus some 400
// bytes for each file that git tracks and each symbolic link, and another 200 for
// each file where core.ignoreCase or FollowSymlinks is set. The ignore rules that
// hold in one directory are limited to 100,000 and 4 MiB.
//
// Errors: an [*ArgumentError] that names it for a directory that does not exist, is
// not in the work tree of its repository or has nothing to pack, a link that leads
// out of the directory, a socket, device or pipe, an invalid pattern, and ignore
// files or a repository that cannot be read; one that matches [ErrArchiveChanged]
// for a file that changes its size while it is packed; the context's.
func PackDir(ctx context.Context, dir string, opts *PackOptions) (*Archive, error) {
	w, err := newDirWalker(ctx, dir, opts)
	if err != nil {
		return nil, err
	}
	return w.archive(dir)
}

// PackFS packs a file system as [PackDir] does a directory. A git repository
// in it does not count, only its .gitignore files: what they ignore is excluded even
// if it is tracked. Executable bits are those of the file system, on every system;
// an [embed.FS] has none. Links are kept if it is an [fs.ReadLinkFS].
//
// Errors: those of PackDir.
func PackFS(ctx context.Context, fsys fs.FS, opts *PackOptions) (*Archive, error) {
	w, err := newFSWalker(ctx, fsys, opts)
	if err != nil {
		return nil, err
	}
	return w.archive("the file system")
}

func checkDir(field, dir string) error {
	if dir == "" {
		return &ArgumentError{Name: field, Reason: "a directory is needed"}
	}
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &ArgumentError{Name: field, Reason: "the directory " + quote(dir) + " does not exist", Err: err}
	case err != nil:
		return argumentError(field, "the directory "+quote(dir)+" cannot be read", err)
	case !info.IsDir():
		return &ArgumentError{Name: field, Reason: quote(dir) + " is not a directory"}
	}
	return nil
}

// OpenArchive takes a gzipped tar archive that exists already. The file is read
// once, for its checksum, and to its end, so that one that was cut short is found
// out; and again for each upload. It must not change in between.
//
// Errors: an [*ArgumentError] for a file that does not exist, is empty, damaged
// or not a gzipped tar archive with at least one entry; the context's.
func OpenArchive(ctx context.Context, path string) (*Archive, error) {
	f, _, err := git.OpenFile(path)
	if errors.Is(err, git.ErrNotRegular) {
		return nil, &ArgumentError{Name: "archive", Reason: quote(path) + " is not a regular file", Err: err}
	}
	if err != nil {
		return nil, argumentError("archive", quote(path)+" cannot be opened", err)
	}
	defer func() { _ = f.Close() }()
	a, err := readArchive(&contextReader{ctx: ctx, r: f})
	if err != nil {
		if ctx.Err() != nil {
			return nil, withClean(fmt.Errorf("herokubuild: reading %s: %w", path, contextError(ctx)))
		}
		return nil, argumentError("archive", quote(path)+" is not a gzipped tar archive", err)
	}
	a.Open = func() (io.ReadCloser, error) {
		f, _, err := git.OpenFile(path)
		if err != nil {
			return nil, err
		}
		return f, nil
	}
	return a, nil
}

// NewArchive takes a gzipped tar archive from memory. The bytes are not
// copied and must not change. Errors: an [*ArgumentError] for bytes that are
// not a gzipped tar archive with at least one entry.
func NewArchive(b []byte) (*Archive, error) {
	a, err := readArchive(bytes.NewReader(b))
	if err != nil {
		return nil, argumentError("archive", "the bytes are not a gzipped tar archive", err)
	}
	a.Open = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
	return a, nil
}

// readArchive measures and hashes an archive, and reads it to its end: one that
// was cut short shows nowhere else.
func readArchive(r io.Reader) (*Archive, error) {
	hash := sha256.New()
	size := &countingWriter{w: hash}
	tee := io.TeeReader(r, size)
	zr, err := gzip.NewReader(bufio.NewReaderSize(tee, 64<<10))
	if err != nil {
		return nil, err
	}
	tr := tar.NewReader(zr)
	entries := 0
	for ; ; entries++ {
		if _, err := tr.Next(); isEOF(err) {
			break
		} else if err != nil {
			return nil, err
		}
	}
	if entries == 0 {
		return nil, errors.New("it has no entries")
	}
	// What follows is padding, and at its end a checksum.
	if _, err := io.Copy(io.Discard, zr); err != nil { //nolint:gosec // nothing of it is kept
		return nil, err
	}
	a := &Archive{Size: size.n}
	hash.Sum(a.SHA256[:0])
	return a, nil
}
