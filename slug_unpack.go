package herokubuild

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path"
	"path/filepath"
	"runtime"
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
	// SkipLinks leaves out all symbolic links, wherever they lead: for systems
	// that do not permit them, such as Windows without developer mode.
	SkipLinks bool
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
// [ErrArchiveTooLarge] where it exceeds a limit, [ErrUnsupportedName] where this
// system has no such names, and [ErrLinksNotPermitted] where it permits no links;
// otherwise Err says what failed.
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
		return clip(text+": "+e.Reason, maxErrorText)
	}
	return text + ": " + causeText(e.Err)
}

// causeText leaves out the path, which is the entry's once more and as the archive
// has it, and escapes what a terminal would act on.
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
// two names apart, by case for example, an archive with both is refused, and so
// is one with a name that the system does not have, or would change, as Windows
// does with "aux.c", "a?b" and "name.".
//
// Symbolic links are made last. On Windows they need developer mode or an
// administrator's rights; SkipLinks does without them.
//
// Besides MaxFiles and MaxBytes there are fixed limits: a path has at most 255
// parts, and the names and targets of symbolic links take at most 64 MiB, since
// they are kept in memory.
//
// After an error nothing of the archive is left.
//
// Errors: an [*ArgumentError] for a directory that is not empty or cannot be
// used; an [*UnpackError] that names the entry, for an archive that is refused
// ([ErrUnsafeArchive], [ErrArchiveTooLarge], [ErrUnsupportedName],
// [ErrLinksNotPermitted]), damaged, cannot be read (it then wraps r's error,
// [ErrChecksumMismatch] for one) or written; the context's. The context is checked before
// each entry, between two reads of r, and while a large file is written.
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
	u := unpacker{
		ctx: ctx, root: root, left: limits, buf: make([]byte, 128<<10),
		dirs: map[nameKey]struct{}{keyOf("."): {}}, linked: map[nameKey]struct{}{},
	}
	err = u.archive(&contextReader{ctx: ctx, r: r})
	if err != nil {
		if cleared := u.clear("."); cleared != nil {
			reason := "what was unpacked cannot be removed: " + causeText(cleared)
			err = errors.Join(err, &UnpackError{Reason: reason, Err: cleared})
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
// Three things keep it there. os.Root refuses every path that leads out, links
// included. Everything is created, with calls that fail where there is something
// already: a path whose directories are all in dirs goes through no link, however
// the file system compares names. And symbolic links are created last, so that
// there is none while anything else is created.
type unpacker struct {
	ctx  context.Context
	root *os.Root
	left UnpackOptions
	// dirs are the directories that have been made, linked the names of links.
	dirs, linked map[nameKey]struct{}
	links        []symlink
	// linkText is how much the links take.
	linkText int
	buf      []byte
}

// nameKey stands for a path, which may be 4 KiB long: half a million of those do
// not belong in memory.
type nameKey [sha256.Size]byte

func keyOf(name string) nameKey { return sha256.Sum256([]byte(name)) }

// symlink is one to be made, in this system's notation.
type symlink struct{ name, target string }

const (
	// maxEntryName bounds a name, which may be a megabyte long.
	maxEntryName = 4096
	// maxPathDepth bounds how many directories are inside of each other: the time
	// that the system takes for a path grows with it.
	maxPathDepth = 255
	// maxLinkText bounds what is kept of symbolic links until they are made.
	maxLinkText = 64 << 20
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
		if err := u.canceled(); err != nil {
			return archiveError(header.Name, err)
		}
		if err := u.entry(tr, header); err != nil {
			return archiveError(header.Name, err)
		}
	}
	// Only the end shows that nothing is missing, and brings a checksum's error.
	if _, err := io.Copy(io.Discard, unpacked); err != nil {
		return archiveError("", err)
	}
	return u.makeLinks()
}

func (u *unpacker) canceled() error {
	if u.ctx.Err() != nil {
		return contextError(u.ctx)
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
	if err := u.free(name); err != nil {
		return err
	}
	switch header.Typeflag {
	case tar.TypeSymlink:
		return u.symlink(header, name)
	case tar.TypeLink:
		return u.link(header, name)
	}
	return u.file(content, header, name)
}

// free is an error where the archive has a symbolic link of that name, which is
// yet to be made.
func (u *unpacker) free(name string) error {
	if _, taken := u.linked[keyOf(name)]; taken {
		return unsafeEntry(quote(filepath.ToSlash(name)) + " is a link that the archive has had before")
	}
	return nil
}

// taken explains the failure to make what is there already.
func (u *unpacker) taken(name string, err error) error {
	if err == nil {
		return nil
	}
	if _, missing := u.root.Lstat(name); missing != nil && !errors.Is(err, fs.ErrExist) {
		return err
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
	name = path.Clean(name)
	if strings.Count(name, "/") >= maxPathDepth {
		return "", &UnpackError{Reason: fmt.Sprintf("a path of more than %d parts", maxPathDepth), Err: ErrArchiveTooLarge}
	}
	return localName(name)
}

// localName makes a path of this system of one that is clean and not absolute.
func localName(name string) (string, error) {
	windows := runtime.GOOS == "windows"
	local, err := filepath.Localize(name)
	switch {
	case err == nil && (!windows || !changedByWindows(name)):
		return local, nil
	case windows && !meantForWindows(name):
		return "", &UnpackError{Reason: "a name that Windows does not have", Err: ErrUnsupportedName}
	}
	return "", unsafeEntry("not a name that this system has")
}

// changedByWindows reports whether Windows refuses a part of the path, or makes
// another one of it: it drops dots and spaces at the end.
func changedByWindows(name string) bool {
	for part := range strings.SplitSeq(name, "/") {
		if strings.HasSuffix(part, ".") && part != "." || strings.HasSuffix(part, " ") || strings.ContainsFunc(part, func(r rune) bool {
			return r < ' ' || strings.ContainsRune(`<>:"|?*`, r)
		}) {
			return true
		}
	}
	return false
}

// meantForWindows reports whether a name has what is an ordinary character
// elsewhere, and on Windows leads somewhere else: a backslash, or a drive.
func meantForWindows(name string) bool {
	return strings.ContainsAny(name, "\\\x00") || len(name) > 1 && name[1] == ':'
}

// mkdir makes a directory and those above it. They count like entries: one name
// can stand for thousands.
func (u *unpacker) mkdir(name string) error {
	key := keyOf(name)
	if _, made := u.dirs[key]; made {
		return nil
	}
	if err := u.mkdir(filepath.Dir(name)); err != nil {
		return err
	}
	if err := u.count(); err != nil {
		return err
	}
	if err := u.free(name); err != nil {
		return err
	}
	if err := u.taken(name, u.root.Mkdir(name, 0o755)); err != nil {
		return err
	}
	// Not every system refuses to make the target of a link that leads nowhere.
	switch info, err := u.root.Lstat(name); {
	case err != nil:
		return err
	case !info.IsDir():
		return unsafeEntry(quote(filepath.ToSlash(name)) + " is not the directory that was made")
	}
	u.dirs[key] = struct{}{}
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
		return u.taken(name, err)
	}
	defer func() {
		if closed := f.Close(); err == nil {
			err = closed
		}
	}()
	// The buffer would go unused if the file copied by itself. A sparse file can
	// be long and take nothing to read.
	if _, err := io.CopyBuffer(struct{ io.Writer }{f}, &contextReader{ctx: u.ctx, r: content}, u.buf); err != nil {
		return err
	}
	return f.Chmod(0o600 | fs.FileMode(header.Mode)&0o755) //nolint:gosec // masked
}

// symlink checks a link and keeps it for the end.
func (u *unpacker) symlink(header *tar.Header, name string) error {
	if u.left.SkipLinks {
		return nil
	}
	text := header.Linkname
	// Where the slug runs, its directory "app" is /app.
	if below, ok := strings.CutPrefix(path.Clean(text)+"/", "/app/"); ok {
		text = strings.Repeat("../", depth(name)) + "app/" + below
	}
	target, inside, err := linkTarget(name, text)
	switch {
	case err != nil:
		return err
	case !inside && u.left.SkipOutsideLinks:
		return nil
	case !inside:
		return outside(header.Linkname)
	}
	if _, err := u.root.Lstat(name); err == nil {
		return u.taken(name, fs.ErrExist)
	}
	if u.linkText += len(name) + len(target); u.linkText > maxLinkText {
		return &UnpackError{Reason: "the names and targets of its links are too large", Err: ErrArchiveTooLarge}
	}
	u.linked[keyOf(name)] = struct{}{}
	u.links = append(u.links, symlink{name: strings.Clone(name), target: target})
	return nil
}

// maxLinkPasses bounds how often links wait for the links that they lead to.
const maxLinkPasses = 8

// makeLinks makes the links. Windows has two kinds, and takes the kind from what
// the link leads to at that moment: those come first that lead to something.
func (u *unpacker) makeLinks() error {
	passes := 0
	if runtime.GOOS == "windows" {
		passes = maxLinkPasses
	}
	links := u.links
	for ; len(links) > 0; passes-- {
		var later []symlink
		for _, l := range links {
			if passes > 0 && u.dangling(l) {
				later = append(later, l)
				continue
			}
			if err := u.makeLink(l); err != nil {
				return archiveError(filepath.ToSlash(l.name), err)
			}
		}
		if len(later) == len(links) {
			passes = 0
		}
		links = later
	}
	return nil
}

func (u *unpacker) dangling(l symlink) bool {
	_, err := u.root.Stat(filepath.Join(filepath.Dir(l.name), l.target))
	return err != nil
}

func (u *unpacker) makeLink(l symlink) error {
	if err := u.canceled(); err != nil {
		return err
	}
	err := u.taken(l.name, u.root.Symlink(l.target, l.name))
	if err != nil && linksNotPermitted(err) {
		return &UnpackError{Reason: "this system does not permit a symbolic link here", Err: fmt.Errorf("%w: %w", ErrLinksNotPermitted, err)}
	}
	return err
}

func depth(name string) int { return strings.Count(filepath.ToSlash(name), "/") }

// linkTarget makes a path of this system of the text of a symbolic link, if it
// cannot lead out. ".." is for its beginning only, where it climbs through
// directories that have been made: further on it might climb from where another
// link leads. From there it goes down, and every link that it meets obeys the
// same rule.
func linkTarget(name, text string) (target string, inside bool, err error) {
	if text == "" || len(text) > maxEntryName || path.IsAbs(text) || strings.Contains(text, "\x00") {
		return "", false, nil
	}
	var up, down []string
	for part := range strings.SplitSeq(text, "/") {
		switch {
		case part == "" || part == ".":
		case part != "..":
			down = append(down, part)
		case len(down) > 0 || len(up) == depth(name):
			return "", false, nil
		default:
			up = append(up, part)
		}
	}
	if len(down) > 0 {
		local, err := localName(strings.Join(down, "/"))
		if err != nil {
			return "", false, err
		}
		down = []string{local}
	}
	return filepath.Join(".", filepath.Join(append(up, down...)...)), true, nil
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
	return u.taken(name, u.root.Link(target, name))
}

// removeBatch is how many names of a directory are read at once.
const removeBatch = 256

// clear removes what is in a directory. It keeps none open, however deep they are.
func (u *unpacker) clear(dir string) error {
	for {
		entries, err := u.some(dir)
		if err != nil || len(entries) == 0 {
			return err
		}
		var failed error
		for _, e := range entries {
			name := filepath.Join(dir, e.Name())
			var err error
			if e.IsDir() {
				err = u.clear(name)
			}
			if err == nil {
				err = u.root.Remove(name)
			}
			if failed == nil {
				failed = err
			}
		}
		if failed != nil {
			return failed
		}
	}
}

func (u *unpacker) some(dir string) ([]fs.DirEntry, error) {
	f, err := u.root.Open(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	entries, err := f.ReadDir(removeBatch)
	if isEOF(err) {
		err = nil
	}
	return entries, err
}
