package herokubuild

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// UnpackOptions sets the limits of [UnpackSlug]. nil is the defaults.
type UnpackOptions struct {
	// MaxFiles is how many files, links and directories there may be, those
	// that the archive implies included. Default 500,000.
	MaxFiles int
	// MaxBytes is how many bytes the files may take in all. Default 4 GiB.
	MaxBytes int64
	// SkipOutsideLinks leaves out symbolic links that lead out of the
	// directory, such as bin/python to /usr/bin/python3, instead of refusing
	// the archive.
	SkipOutsideLinks bool
}

func (o *UnpackOptions) withDefaults() (UnpackOptions, error) {
	var d UnpackOptions
	if o != nil {
		d = *o
	}
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

// UnpackError is an archive that was not unpacked. It matches
// [ErrUnsafeArchive] where the archive does what none that is meant well does,
// and [ErrArchiveTooLarge] where it exceeds a limit; otherwise Err says what
// failed.
type UnpackError struct {
	// Entry is the name of the archive's entry that it is about, as the archive
	// has it; empty where it is about the archive as a whole.
	Entry string
	// Reason says what is wrong; empty where Err does.
	Reason string
	// Err is the category, or the cause.
	Err error
}

// Error implements error.
func (e *UnpackError) Error() string {
	text := "herokubuild: unpacking"
	if e.Entry != "" {
		text += " " + quote(e.Entry)
	}
	if e.Reason != "" {
		return text + ": " + e.Reason
	}
	return text + ": " + redactText(errorText(e.Err))
}

// Unwrap returns the category or cause.
func (e *UnpackError) Unwrap() error { return withoutEOF(e.Err) }

// UnpackSlug unpacks a gzipped tar archive, such as
// [SlugsService.Download] reads, into a directory. The directory is made if it
// does not exist, and must be empty if it does. The code of a slug is then in
// its subdirectory "app". The archive is read to its end.
//
// The archive need not be trusted: whatever is in it, nothing outside of the
// directory is written, linked to or read, and the limits of opts hold.
// Regular files, directories, and symbolic and hard links are unpacked. Run
// bits are kept; owners, times, and the bits that let others write or that
// change users are not. A symbolic link below /app, which is where the slug
// lies when it runs, becomes a relative one. Where the system does not tell
// two names apart, by case for example, an archive with both is refused.
//
// After an error nothing of the archive is left.
//
// Errors: an [*ArgumentError] for a directory that is not empty or cannot be
// used; an [*UnpackError] that names the entry, for an archive that is refused
// ([ErrUnsafeArchive], [ErrArchiveTooLarge]), damaged, cannot be read
// (it then wraps r's error, [ErrChecksum] for one) or written; the context's.
// The context is looked at between two reads of r.
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
		return &ArgumentError{Name: "dir", Reason: "the directory " + quote(dir) + " cannot be opened", Err: err}
	}
	u := unpacker{root: root, left: limits, dirs: map[string]bool{".": true}, buf: make([]byte, 128<<10)}
	err = u.archive(&contextReader{ctx: ctx, r: r})
	if err != nil {
		if cleared := u.clear(); cleared != nil {
			err = errors.Join(err, fmt.Errorf("herokubuild: removing what was unpacked: %w", cleared))
		}
	}
	_ = root.Close()
	if err != nil && made {
		_ = os.Remove(dir)
	}
	return err
}

// makeEmptyDir says whether it had to make the directory.
func makeEmptyDir(dir string) (made bool, err error) {
	if dir == "" {
		return false, &ArgumentError{Name: "dir", Reason: "a directory is needed"}
	}
	switch err := os.Mkdir(dir, 0o750); {
	case err == nil:
		return true, nil
	case !errors.Is(err, fs.ErrExist):
		return false, &ArgumentError{Name: "dir", Reason: "the directory " + quote(dir) + " cannot be made", Err: err}
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
	case isEOF(err):
		return false, nil
	case err != nil:
		return false, &ArgumentError{Name: "dir", Reason: "the directory " + quote(dir) + " cannot be read", Err: err}
	}
	return false, &ArgumentError{Name: "dir", Reason: "the directory " + quote(dir) + " is not empty"}
}

// unpacker writes one archive below root.
//
// Two things keep it there. os.Root refuses every path that leads out, links
// included. And everything is made anew, with calls that fail where there is
// something already: a path whose directories are all in dirs goes through no
// link, however the file system compares names.
type unpacker struct {
	root *os.Root
	left UnpackOptions
	// dirs are the directories that have been made.
	dirs map[string]bool
	buf  []byte
}

const (
	// maxEntryName bounds a name, which may be a megabyte long.
	maxEntryName = 4096
	// entryOverhead is what the headers of an entry may take. Most take 512
	// bytes, those with a long name or link some more.
	entryOverhead = 4 << 10
	// archiveSlack is for what else an archive has, such as the padding at its
	// end.
	archiveSlack = 1 << 20
)

func unsafeEntry(reason string) error {
	return &UnpackError{Reason: reason, Err: ErrUnsafeArchive}
}

func (u *unpacker) archive(r io.Reader) error {
	packed, err := gzip.NewReader(bufio.NewReaderSize(r, 64<<10))
	if err != nil {
		return &UnpackError{Err: withoutEOF(err)}
	}
	unpacked := &limitedReader{r: packed, left: u.mostUnpacked()}
	tr := tar.NewReader(unpacked)
	for {
		header, err := tr.Next()
		if isEOF(err) {
			break
		}
		if err != nil {
			return archiveError("", err)
		}
		if err := u.entry(tr, header); err != nil {
			return archiveError(header.Name, err)
		}
	}
	// Only the end shows that nothing is missing, and brings a checksum's error.
	if _, err := io.Copy(io.Discard, unpacked); err != nil {
		return archiveError("", err)
	}
	return nil
}

// mostUnpacked bounds what MaxFiles and MaxBytes do not see: headers, and what
// follows the last entry.
func (u *unpacker) mostUnpacked() int64 {
	files, bytes := int64(u.left.MaxFiles), u.left.MaxBytes
	if bytes > math.MaxInt64-archiveSlack || files > (math.MaxInt64-archiveSlack-bytes)/entryOverhead {
		return math.MaxInt64
	}
	return bytes + files*entryOverhead + archiveSlack
}

// archiveError names the entry that an error is about.
func archiveError(entry string, err error) error {
	var refused *UnpackError
	if errors.As(err, &refused) {
		if refused.Entry == "" {
			refused.Entry = clip(entry, maxHeaderText)
		}
		return refused
	}
	return &UnpackError{Entry: clip(entry, maxHeaderText), Err: withoutEOF(err)}
}

type limitedReader struct {
	r    io.Reader
	left int64
}

func (l *limitedReader) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, &UnpackError{Reason: "its headers or its end are too large", Err: ErrArchiveTooLarge}
	}
	n, err := l.r.Read(p[:min(int64(len(p)), l.left)])
	l.left -= int64(n)
	return n, err
}

func (u *unpacker) count() error {
	if u.left.MaxFiles--; u.left.MaxFiles < 0 {
		return &UnpackError{Reason: "more files and directories than allowed", Err: ErrArchiveTooLarge}
	}
	return nil
}

func (u *unpacker) entry(content io.Reader, header *tar.Header) error {
	switch header.Typeflag {
	case tar.TypeXGlobalHeader:
		return u.count()
	case tar.TypeDir, tar.TypeReg, tar.TypeGNUSparse, tar.TypeSymlink, tar.TypeLink:
	default:
		return unsafeEntry(fmt.Sprintf("a device, pipe or other special file (type %q)", header.Typeflag))
	}
	name, err := entryName(header.Name)
	if err != nil {
		return err
	}
	if header.Typeflag == tar.TypeDir {
		return u.mkdir(name)
	}
	if name == "." {
		return unsafeEntry("takes the place of the directory itself")
	}
	if err := u.mkdir(filepath.Dir(name)); err != nil {
		return err
	}
	if err := u.count(); err != nil {
		return err
	}
	switch header.Typeflag {
	case tar.TypeSymlink:
		err = u.symlink(header, name)
	case tar.TypeLink:
		err = u.link(header, name)
	default:
		err = u.file(content, header, name)
	}
	return u.taken(name, err)
}

// taken explains the failure to make what is there already.
func (u *unpacker) taken(name string, err error) error {
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	if info, err := u.root.Lstat(name); err == nil && info.Mode()&fs.ModeSymlink != 0 {
		return unsafeEntry(quote(filepath.ToSlash(name)) + " is a link that the archive has made before")
	}
	return unsafeEntry("the archive has " + quote(filepath.ToSlash(name)) + " twice, or under two names that this system does not tell apart")
}

// entryName makes a path of this system of a name in the archive. "..", even
// where it stays inside, is in no archive that is meant well.
func entryName(name string) (string, error) {
	switch {
	case name == "":
		return "", unsafeEntry("an empty name")
	case len(name) > maxEntryName:
		return "", unsafeEntry("a name that is too long")
	case path.IsAbs(name):
		return "", unsafeEntry("an absolute name")
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return "", unsafeEntry(`a name with ".."`)
		}
	}
	local, err := filepath.Localize(path.Clean(name))
	if err != nil {
		return "", unsafeEntry("not a name that this system has")
	}
	return local, nil
}

// mkdir makes a directory and those above it. They count like entries: one name
// can stand for thousands.
func (u *unpacker) mkdir(name string) error {
	if u.dirs[name] {
		return nil
	}
	if err := u.mkdir(filepath.Dir(name)); err != nil {
		return err
	}
	if err := u.count(); err != nil {
		return err
	}
	if err := u.taken(name, u.root.Mkdir(name, 0o755)); err != nil {
		return err
	}
	u.dirs[name] = true
	return nil
}

func (u *unpacker) file(content io.Reader, header *tar.Header, name string) (err error) {
	// Checked before anything is written: a sparse file says here what it
	// unfolds to.
	if header.Size > u.left.MaxBytes {
		return &UnpackError{Reason: "more bytes than allowed", Err: ErrArchiveTooLarge}
	}
	u.left.MaxBytes -= header.Size
	f, err := u.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	// The buffer would go unused if the file copied by itself.
	if _, err := io.CopyBuffer(struct{ io.Writer }{f}, struct{ io.Reader }{content}, u.buf); err != nil {
		return err
	}
	return f.Chmod(0o600 | fs.FileMode(header.Mode)&0o755) //nolint:gosec // masked
}

func (u *unpacker) symlink(header *tar.Header, name string) error {
	text := header.Linkname
	// Where the slug runs, its directory "app" is /app.
	if below, ok := strings.CutPrefix(path.Clean(text)+"/", "/app/"); ok {
		text = strings.Repeat("../", depth(name)) + "app/" + below
	}
	target, ok := linkTarget(name, text)
	switch {
	case ok:
		return u.root.Symlink(target, name)
	case u.left.SkipOutsideLinks:
		return nil
	}
	return outside(header.Linkname)
}

func depth(name string) int { return strings.Count(filepath.ToSlash(name), "/") }

// linkTarget makes a path of this system of the text of a symbolic link, if it
// cannot lead out. ".." is for its beginning only, where it climbs through
// directories that have been made: further on it might climb from where another
// link leads. From there it goes down, and every link that it meets obeys the
// same rule.
func linkTarget(name, text string) (target string, ok bool) {
	if text == "" || len(text) > maxEntryName || path.IsAbs(text) {
		return "", false
	}
	var up, down []string
	for part := range strings.SplitSeq(text, "/") {
		switch {
		case part == "" || part == ".":
		case part != "..":
			down = append(down, part)
		case len(down) > 0 || len(up) == depth(name):
			return "", false
		default:
			up = append(up, part)
		}
	}
	if len(down) > 0 {
		local, err := filepath.Localize(strings.Join(down, "/"))
		if err != nil {
			return "", false
		}
		down = []string{local}
	}
	return filepath.Join(".", filepath.Join(append(up, down...)...)), true
}

func outside(target string) error {
	return unsafeEntry("a link that leads out of the directory, to " + quote(target))
}

func (u *unpacker) link(header *tar.Header, name string) error {
	target, err := entryName(header.Linkname)
	if err != nil {
		return outside(header.Linkname)
	}
	// A hard link to a symbolic one would be a second name of it, with a
	// directory of its own to start from.
	if info, err := u.root.Lstat(target); err != nil || !info.Mode().IsRegular() {
		return unsafeEntry("a hard link to " + quote(header.Linkname) + ", which is not a file that the archive had before")
	}
	return u.root.Link(target, name)
}

// clear removes what has been unpacked.
func (u *unpacker) clear() error {
	names, err := fs.ReadDir(u.root.FS(), ".")
	if err != nil {
		return err
	}
	var errs []error
	for _, n := range names {
		errs = append(errs, u.root.RemoveAll(n.Name()))
	}
	return errors.Join(errs...)
}
