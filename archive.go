package herokubuild

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/herokubuild/herokubuild/internal/gate"
	"github.com/herokubuild/herokubuild/internal/git"
	"github.com/herokubuild/herokubuild/internal/ioutil"
	"github.com/herokubuild/herokubuild/internal/redact"
	"github.com/herokubuild/herokubuild/internal/sourcetree"
	"github.com/herokubuild/herokubuild/internal/targz"
)

// Archive is a gzipped tar archive that can be read as often as needed, because an
// upload that is retried reads it again. [PackDir], [PackFS], [OpenArchive],
// [NewArchive] and [Client.FetchArchive] return one; a program may also fill in
// the fields itself.
type Archive struct {
	// Size is the length of the archive in bytes.
	Size int64
	// SHA256 is the SHA-256 of the archive. If it is zero, the platform does not verify
	// what was uploaded.
	SHA256 [sha256.Size]byte
	// Open returns a reader of the whole archive from its start. It may be
	// called several times, and the readers used at the same time.
	Open func() (io.ReadCloser, error)
	// Plan lists what is in the archive, what is not, and why. Its lists are
	// limited; see [ArchivePlan].Truncated. It is nil unless a directory or file
	// system was packed.
	Plan *ArchivePlan

	close func() error
}

// Checksum returns the SHA-256 as the API writes it: "SHA256:" and hex digits. It is
// empty if SHA256 is zero.
func (a *Archive) Checksum() string {
	if a.SHA256 == [sha256.Size]byte{} {
		return ""
	}
	return "SHA256:" + hex.EncodeToString(a.SHA256[:])
}

// Close removes the temporary file of the archive. Archives of files and bytes have
// none; closing them does nothing.
func (a *Archive) Close() error {
	if a == nil || a.close == nil {
		return nil
	}
	return a.close()
}

// withoutPlan returns the archive without its plan, whose lists take memory.
func (a *Archive) withoutPlan() *Archive {
	plain := *a
	plain.Plan = nil
	return &plain
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
	// "dist/"; Exclude are patterns of paths to exclude regardless of git. They
	// are lines as in a .gitignore file in the root, the case of letters counts,
	// and the last one that matches decides. Exclude and .slugignore take
	// precedence over Include. ".git" is never packed.
	Include, Exclude []string
	// FollowSymlinks packs the target of a symbolic link that leads out of the
	// directory in place of the link. Such a link is an error otherwise. Links
	// that stay inside are kept as links. For [PackDir] only.
	FollowSymlinks bool
	// Prefix is a directory that precedes every path, such as "./app", which is
	// where a slug has its files. Default: none.
	Prefix string
	// TempDir is the directory of the temporary file that holds the archive.
	// Default: the system's directory for temporary files.
	TempDir string
}

// tree returns the options of the source tree.
func (o *PackOptions) tree() sourcetree.Options {
	if o == nil {
		return sourcetree.Options{}
	}
	return sourcetree.Options{Include: o.Include, Exclude: o.Exclude, FollowSymlinks: o.FollowSymlinks, Prefix: o.Prefix}
}

func (o *PackOptions) tempDir() string {
	if o == nil {
		return ""
	}
	return o.TempDir
}

// PackDir packs a directory as a gzipped tar archive, the format in which the
// platform accepts source code. The archive is in a temporary file, which
// [Archive.Close] removes. On Unix, not even a killed program leaves it behind.
//
// It packs the files that git would list: tracked files with their current content,
// and those that no .gitignore, .git/info/exclude or core.excludesFile ignores,
// minus anything matched by a .slugignore in the root, which Heroku would remove
// before the build. git need not be installed. Its configuration is read with its
// includes and their conditions (gitdir, onbranch, hasconfig); as in git, an unknown
// condition is false. Configuration that git refuses, and a condition that cannot be
// evaluated without git, is an error. In a sparse checkout, ignore files that are
// not checked out apply, too. A directory that is not in a repository, or that its
// repository ignores, is treated as a new repository. ".git" is excluded at every
// level. Submodules are packed if they are checked out; other nested repositories
// are excluded. [PlanArchive] returns what is packed and why a path is not, and so
// does [Archive.Plan].
//
// Executable bits and symbolic links are kept. Where the file system has no
// executable bits (Windows, core.fileMode=false), those of tracked files come from
// git, and any other file is executable if it begins with "#!" or an ELF header.
// Where git converts line ends (core.autocrlf, .gitattributes), a file that differs
// from the index only in line ends is packed with the committed line ends, unless it
// has eol=crlf; any other file is packed as it is. A .slugignore may be a link
// within the directory. On Windows a junction is packed as the directory that it
// leads to, and a file that is kept online as that file.
//
// Archives are reproducible: entries are sorted, and their times, owners and other
// modes fixed, so that the same tree or commit gives the same bytes on every machine
// with the same version of this package and of its compressor. The format is that of
// GNU tar.
//
// Memory stays below 64 MiB whatever the number and size of files, plus some 400
// bytes for each file that git tracks and each symbolic link, and another 200 for
// each file if core.ignoreCase or FollowSymlinks is set. The ignore rules that apply
// in one directory are limited to 100,000 and 4 MiB.
//
// Errors: an [*ArgumentError] for a directory that does not exist, is not in the
// work tree of its repository or has no files to pack, for a link that leads out of
// the directory, a socket, device or pipe, an invalid pattern, and ignore files or a
// repository that cannot be read; one that matches [ErrArchiveChanged] for a file
// that changes while it is packed; the context's.
func PackDir(ctx context.Context, dir string, opts *PackOptions) (*Archive, error) {
	return packDir(ctx, dir, opts, newPacking())
}

// packDir is PackDir.
func packDir(ctx context.Context, dir string, opts *PackOptions, p packing) (*Archive, error) {
	tree, err := sourcetree.OpenDir(dir, opts.tree())
	if err != nil {
		return nil, treeError(ctx, "pack "+dir, err)
	}
	return packTree(ctx, tree, opts.tempDir(), dir, p)
}

// packing is the packing of one archive.
type packing struct {
	// progress is called after each part that has been packed.
	progress func()
	writers  *targz.Writers
}

func newPacking() packing { return packing{progress: func() {}, writers: new(targz.Writers)} }

// packers are what the calls of a client that pack share.
type packers struct {
	// archives bounds the archives on disk, and compressing those that are packed.
	archives, compressing *gate.Gate
	writers               targz.Writers
}

const (
	// maxArchives is how many archives of a client are on disk at once.
	maxArchives = 32
	// gatePatience is how long a call keeps its place while it makes no progress.
	gatePatience = 10 * time.Second
)

// newPackers bounds how many archives are packed at once: one already takes all cores,
// and many would only take memory. While one reads its source, others compress. A source
// that hangs loses its place.
func newPackers() *packers {
	places := min(max(runtime.GOMAXPROCS(0), 2), 4)
	return &packers{archives: gate.New(maxArchives, gatePatience), compressing: gate.New(places, gatePatience)}
}

// run calls pack, which packs dir and needs nothing but the disk, once few enough others
// pack.
func (p *packers) run(ctx context.Context, dir string, pack func(packing) error) error {
	return p.compress(ctx, dir, func() {}, pack)
}

func (p *packers) compress(ctx context.Context, dir string, progress func(), pack func(packing) error) error {
	place, err := p.compressing.Enter(ctx)
	if err != nil {
		return packError(ctx, dir)
	}
	defer place.Leave()
	progress()
	return pack(packing{writers: &p.writers, progress: func() {
		place.Progress()
		progress()
	}})
}

// begin waits until few enough archives of other calls are on disk. The call must end once
// its own archive is not needed any more.
func (p *packers) begin(ctx context.Context, dir string) (*packJob, error) {
	place, err := p.archives.Enter(ctx)
	if err != nil {
		return nil, packError(ctx, dir)
	}
	return &packJob{packers: p, dir: dir, archive: place}, nil
}

func packError(ctx context.Context, dir string) error {
	return redact.CleanError(fmt.Errorf("pack %s: %w", dir, contextError(ctx)))
}

// packJob is a call that packs dir and has the archive on disk until its end.
type packJob struct {
	packers *packers
	dir     string
	archive *gate.Place
}

// run is packers.run.
func (j *packJob) run(ctx context.Context, pack func(packing) error) error {
	j.archive.Keep()
	return j.packers.compress(ctx, j.dir, j.progress, pack)
}

// progress reports that the archive is being packed or uploaded.
func (j *packJob) progress() { j.archive.Progress() }

// upload returns the options of the upload, whose progress goes to next, too, unless that
// is nil.
func (j *packJob) upload(next func(done, total int64)) *UploadOptions {
	return &UploadOptions{OnProgress: func(done, total int64) {
		j.progress()
		if next != nil {
			next(done, total)
		}
	}}
}

func (j *packJob) end() { j.archive.Leave() }

// PackFS packs a file system as [PackDir] does a directory. A git repository
// in it does not count, only its .gitignore files: what they ignore is excluded even
// if it is tracked. Executable bits are those of the file system, on every system;
// an [embed.FS] has none. Links are kept if it is an [fs.ReadLinkFS].
//
// Errors: those of PackDir.
func PackFS(ctx context.Context, fsys fs.FS, opts *PackOptions) (*Archive, error) {
	if opts != nil && opts.FollowSymlinks {
		return nil, &ArgumentError{Name: "PackOptions.FollowSymlinks", Reason: "is for PackDir only"}
	}
	tree, err := sourcetree.OpenFS(fsys, opts.tree())
	if err != nil {
		return nil, treeError(ctx, "pack the file system", err)
	}
	return packTree(ctx, tree, opts.tempDir(), "the file system", newPacking())
}

// packTree packs a tree, of which name is the name in errors.
func packTree(ctx context.Context, tree *sourcetree.Tree, tempDir, name string, p packing) (*Archive, error) {
	var plan *sourcetree.Plan
	a, err := spoolArchive(tempDir, func(spool *targz.Spool) error {
		// The spool may be in the tree.
		self, err := spool.Named()
		if err != nil {
			return spoolError(err)
		}
		tree.Skip(self)
		if plan, err = p.writeTar(ctx, tree, spool); err != nil {
			return treeError(ctx, "pack "+name, err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	a.Plan = newArchivePlan(plan)
	return a, nil
}

// writeTar writes a tree to w as a gzipped tar archive.
func (p packing) writeTar(ctx context.Context, tree *sourcetree.Tree, w io.Writer) (plan *sourcetree.Plan, err error) {
	zip, err := p.writers.NewWriter(w)
	if err != nil {
		return nil, err
	}
	defer func() {
		if closeErr := zip.Close(); closeErr != nil {
			err = closeErr
		}
	}()
	return tree.WriteTar(ctx, &progressWriter{w: zip, progress: p.progress})
}

// progressWriter reports each write.
type progressWriter struct {
	w        io.Writer
	progress func()
}

func (p *progressWriter) Write(b []byte) (int, error) {
	n, err := p.w.Write(b)
	p.progress()
	return n, err
}

// spoolArchive returns the archive that write writes to a temporary file.
func spoolArchive(tempDir string, write func(spool *targz.Spool) error) (a *Archive, err error) {
	spool, err := targz.NewSpool(tempDir)
	if err != nil {
		return nil, spoolError(err)
	}
	defer func() {
		if a == nil {
			_ = spool.Close()
		}
	}()
	if err := write(spool); err != nil {
		return nil, err
	}
	return &Archive{Size: spool.Size(), SHA256: spool.SHA256(), Open: spool.Open, close: spool.Close}, nil
}

func spoolError(err error) error {
	return redact.CleanError(fmt.Errorf("create a temporary file for the archive: %w", err))
}

// treeError converts an error of package sourcetree. what is the operation that
// failed.
func treeError(ctx context.Context, what string, err error) error {
	var bad *sourcetree.InputError
	switch {
	case errors.As(err, &bad):
		return invalidTree(bad)
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		err = contextError(ctx)
	}
	return redact.CleanError(fmt.Errorf("%s: %w", what, err))
}

func invalidTree(bad *sourcetree.InputError) error {
	return &ArgumentError{Name: bad.Field, Reason: bad.Reason, Err: bad.Err}
}

// checkDir returns an [*ArgumentError] of the given field for a path that is not a
// directory.
func checkDir(field, dir string) error {
	if bad := sourcetree.CheckDir(field, dir); bad != nil {
		return invalidTree(bad)
	}
	return nil
}

// OpenArchive returns an archive that exists as a file. The file is read to its end
// once, for its checksum and to detect one that was cut off, and again for each
// upload. It must not change in between.
//
// Errors: an [*ArgumentError] for a file that does not exist, is empty, damaged
// or not a gzipped tar archive with at least one entry; the context's.
func OpenArchive(ctx context.Context, path string) (*Archive, error) {
	f, _, err := git.OpenFile(path)
	if err != nil {
		return nil, badArchive("cannot open "+quote(path), err)
	}
	defer func() { _ = f.Close() }()
	size, sum, err := targz.Check(&ioutil.ContextReader{Context: ctx, Reader: f})
	if err != nil {
		if ctx.Err() != nil {
			return nil, redact.CleanError(fmt.Errorf("read %s: %w", path, contextError(ctx)))
		}
		return nil, badArchive(quote(path)+" is not a gzipped tar archive", err)
	}
	open := func() (io.ReadCloser, error) {
		f, _, err := git.OpenFile(path)
		if err != nil {
			return nil, err
		}
		return f, nil
	}
	return &Archive{Size: size, SHA256: sum, Open: open}, nil
}

// NewArchive returns an archive that is in memory. The bytes are not copied and
// must not change. Errors: an [*ArgumentError] for bytes that are not a gzipped tar
// archive with at least one entry.
func NewArchive(b []byte) (*Archive, error) {
	size, sum, err := targz.Check(bytes.NewReader(b))
	if err != nil {
		return nil, badArchive("not a gzipped tar archive", err)
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
	return &Archive{Size: size, SHA256: sum, Open: open}, nil
}

// badArchive returns the error of an archive that the caller passed.
func badArchive(reason string, err error) error {
	return &ArgumentError{Name: "archive", Reason: reason, Err: err}
}

// PlanArchive returns what [PackDir] would pack, without packing it. It lists
// every path, so that its memory grows with the tree. The only files that it reads
// are those of which git may have converted the line ends, and possible private
// keys.
//
// Errors: those of PackDir.
func PlanArchive(ctx context.Context, dir string, opts *PackOptions) (*ArchivePlan, error) {
	tree, err := sourcetree.OpenDir(dir, opts.tree())
	if err != nil {
		return nil, treeError(ctx, "plan the archive of "+dir, err)
	}
	plan, err := tree.Plan(ctx)
	if err != nil {
		return nil, treeError(ctx, "plan the archive of "+dir, err)
	}
	return newArchivePlan(plan), nil
}

// TreeVersion returns the commit of which a directory is a checkout, in hex. It
// appends "-dirty" if the directory has changes: files that were changed, added,
// deleted or staged since, or that git neither tracks nor ignores. Changes elsewhere
// in the repository do not count. The version is empty if there is no commit, or the
// commit does not have the directory. git need not be installed.
//
// The directory is unchanged if git considers it unchanged. A file with the size and time in git's
// index is unchanged; if only the time differs, the content is compared, with its
// line ends converted where core.autocrlf or .gitattributes have git convert them. A
// file that a filter such as Git LFS has written counts as changed once its time
// differs.
//
// Errors: an [*ArgumentError] for a directory that does not exist, cannot be read or
// is not in the work tree of its repository, and for a repository that cannot be
// read or has an unsupported format; the context's.
func TreeVersion(ctx context.Context, dir string) (string, error) {
	version, err := sourcetree.Version(ctx, dir)
	if err != nil {
		return "", treeError(ctx, "determine the version of "+dir, err)
	}
	return version, nil
}

// ArchivePlan lists what is packed, what is not, and what is probably a mistake.
type ArchivePlan struct {
	// FileCount is the number of files and symbolic links, TotalSize the size of their
	// content before compression.
	FileCount int
	TotalSize int64
	// Largest are the largest files, at most ten, the largest first.
	Largest []ArchiveEntry
	// Entries are all files and links, in the order of the archive.
	Entries []ArchiveEntry
	// Excluded are the paths that are not packed, and why. The content of an excluded
	// directory is not listed.
	Excluded []ExcludedPath
	// Warnings are likely mistakes.
	Warnings []ArchiveWarning
	// Truncated is set if Entries, Excluded or Warnings are incomplete because they
	// would take too much memory: each has the first 4 MiB of paths and texts,
	// some 40,000 files. [PlanArchive], which lists everything, never sets it.
	Truncated bool
}

// ArchiveEntry is a file or a symbolic link that is packed.
type ArchiveEntry struct {
	// Path is relative to the directory, with slashes.
	Path string
	// Size is the size of a file in bytes, 0 for a link.
	Size int64
	// Link is the target of a link, empty for a file.
	Link string
}

// ExcludedPath is a path that is not packed.
type ExcludedPath struct {
	// Path is relative to the directory, with slashes. The path of a directory
	// ends with a slash.
	Path string
	// Reason is for people, for example the ignore file, line and pattern.
	Reason string
}

// ArchiveWarningKind is the subject of an [ArchiveWarning].
type ArchiveWarningKind string

// The kinds of warnings. New ones may be added.
const (
	// WarnSecret: a file that is packed probably contains secrets.
	WarnSecret ArchiveWarningKind = "secret"
	// WarnNoProcfile: there is no Procfile in the root, so that the app has
	// only the processes that its buildpack defines.
	WarnNoProcfile ArchiveWarningKind = "no_procfile"
	// WarnSubmodule: a submodule is not checked out.
	WarnSubmodule ArchiveWarningKind = "submodule"
	// WarnNestedRepository: a nested repository that is not a submodule is
	// excluded.
	WarnNestedRepository ArchiveWarningKind = "nested_repository"
	// WarnSlugIgnore: a line of .slugignore has no effect.
	WarnSlugIgnore ArchiveWarningKind = "slugignore"
)

// ArchiveWarning is a likely mistake in a tree, which is packed all the same.
type ArchiveWarning struct {
	Kind ArchiveWarningKind
	// Path is the file or directory, relative to the directory that is packed.
	Path string
	// Text explains the warning. It continues the sentence that Path begins.
	Text string
}

// String returns path and explanation. A path with control characters is quoted.
func (w ArchiveWarning) String() string {
	path := w.Path
	if strings.ContainsFunc(path, func(r rune) bool { return !strconv.IsPrint(r) }) {
		path = strconv.Quote(path)
	}
	return path + " " + w.Text
}

func newArchivePlan(p *sourcetree.Plan) *ArchivePlan {
	return &ArchivePlan{
		FileCount: p.Files, TotalSize: p.Bytes, Truncated: p.Truncated,
		Largest:  convert(p.Largest, func(f sourcetree.File) ArchiveEntry { return ArchiveEntry(f) }),
		Entries:  convert(p.Entries, func(f sourcetree.File) ArchiveEntry { return ArchiveEntry(f) }),
		Excluded: convert(p.Omissions, func(o sourcetree.Omission) ExcludedPath { return ExcludedPath(o) }),
		Warnings: convert(p.Warnings, func(w sourcetree.Warning) ArchiveWarning {
			return ArchiveWarning{Kind: ArchiveWarningKind(w.Kind), Path: w.Path, Text: w.Text}
		}),
	}
}

// convert returns the converted elements of a list, nil for an empty one.
func convert[From, To any](list []From, element func(From) To) []To {
	if len(list) == 0 {
		return nil
	}
	converted := make([]To, len(list))
	for i := range list {
		converted[i] = element(list[i])
	}
	return converted
}

// dirty ends the version of a directory with changes.
const dirty = sourcetree.Dirty
