package herokubuild

import (
	"strconv"
	"strings"

	"github.com/herokubuild/herokubuild/internal/sourcetree"
)

// ArchivePlan lists what is packed, what is not, and what is probably a mistake.
type ArchivePlan struct {
	// Files is the number of files and symbolic links, Bytes the size of their
	// content before compression.
	FileCount int
	TotalSize int64
	// Largest are the largest files, at most ten, the largest first.
	Largest []ArchiveEntry
	// Entries are all files and links, in the order of the archive.
	Entries []ArchiveEntry
	// Out are the paths that are not packed, and why. The content of an excluded
	// directory is not listed.
	Excluded []ExcludedPath
	// Warnings are likely mistakes.
	Warnings []ArchiveWarning
	// Truncated is set if Entries, Out or Warnings are incomplete because they
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
	WarnSecret = ArchiveWarningKind(sourcetree.WarnSecret)
	// WarnNoProcfile: there is no Procfile in the root, so that the app has
	// only the processes that its buildpack defines.
	WarnNoProcfile = ArchiveWarningKind(sourcetree.WarnNoProcfile)
	// WarnSubmodule: a submodule is not checked out.
	WarnSubmodule = ArchiveWarningKind(sourcetree.WarnSubmodule)
	// WarnNestedRepository: a nested repository that is not a submodule is
	// excluded.
	WarnNestedRepository = ArchiveWarningKind(sourcetree.WarnNestedRepository)
	// WarnSlugIgnore: a line of .slugignore has no effect.
	WarnSlugIgnore = ArchiveWarningKind(sourcetree.WarnSlugIgnore)
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
