package herokubuild

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"
)

// ArchivePlan says what is packed, what is not, and what is worth a second look.
type ArchivePlan struct {
	// Files is how many files and symbolic links there are, Bytes their content
	// before it is compressed.
	FileCount int
	TotalSize int64
	// Largest are the largest files, at most ten, the largest first.
	Largest []ArchiveEntry
	// Entries are all files and links, in the order of the archive.
	Entries []ArchiveEntry
	// Out are the paths that are not packed, and why. Of a directory that is
	// left out as a whole the content is not listed.
	Excluded []ExcludedPath
	// Warnings are what looks like a mistake.
	Warnings []ArchiveWarning
	// Truncated says that Entries, Out or Warnings do not have all there is,
	// because they would take too much memory: each has the first 4 MiB of
	// paths and texts, some 40,000 files. It is never set by [PlanArchive],
	// which lists everything.
	Truncated bool
}

// maxListed is how many bytes of paths and texts a list of a plan has.
const maxListed = 4 << 20

// listing counts what the lists of a plan take.
type listing struct {
	// all says that there is no bound.
	all                    bool
	entries, out, warnings int
	truncated              bool
}

// room reports whether an element with so many bytes of text still fits.
func (l *listing) room(used *int, text int) bool {
	const overhead = 40
	if *used += text + overhead; *used > maxListed && !l.all {
		l.truncated = true
		return false
	}
	return true
}

// ArchiveEntry is a file or a symbolic link that is packed.
type ArchiveEntry struct {
	// Path is relative to the directory, with slashes.
	Path string
	// Size is the file's in bytes, 0 for a link.
	Size int64
	// Link is a link's target, empty for a file.
	Link string
}

// ExcludedPath is a path that is not packed.
type ExcludedPath struct {
	// Path is relative to the directory, with slashes; a directory's has one at
	// its end.
	Path string
	// Reason is for people: the ignore file, line and pattern, for example.
	Reason string
}

// ArchiveWarningKind says what an [ArchiveWarning] is about.
type ArchiveWarningKind string

// The kinds of warnings. New ones may be added.
const (
	// WarnSecret: a file that is packed looks as if it had secrets in it.
	WarnSecret ArchiveWarningKind = "secret"
	// WarnNoProcfile: there is no Procfile in the root, so that the app has
	// only the processes that its buildpack knows of.
	WarnNoProcfile ArchiveWarningKind = "no_procfile"
	// WarnSubmodule: a submodule is not checked out.
	WarnSubmodule ArchiveWarningKind = "submodule"
	// WarnNestedRepository: a repository inside, which is no submodule, is
	// left out.
	WarnNestedRepository ArchiveWarningKind = "nested_repository"
	// WarnSlugIgnore: a line of .slugignore has no effect.
	WarnSlugIgnore ArchiveWarningKind = "slugignore"
)

// ArchiveWarning is something about a tree that looks like a mistake, and that
// is packed as it is.
type ArchiveWarning struct {
	Kind ArchiveWarningKind
	// Path is what it is about, relative to the directory.
	Path string
	// Text explains it; it goes on where the path ends.
	Text string
}

// String returns path and explanation. A path that would do something to a
// terminal is quoted.
func (w ArchiveWarning) String() string {
	path := w.Path
	if strings.ContainsFunc(path, func(r rune) bool { return !strconv.IsPrint(r) }) {
		path = strconv.Quote(path)
	}
	return path + " " + w.Text
}

// PlanArchive says what [PackDir] would pack, without packing it. It lists every
// path, so that its memory grows with the tree. Files are not read, except those of
// which git may have converted the line ends.
//
// Errors: those of PackDir.
func PlanArchive(ctx context.Context, dir string, opts *PackOptions) (*ArchivePlan, error) {
	w, err := newDirWalker(ctx, dir, opts)
	if err != nil {
		return nil, err
	}
	w.look = true
	w.listed.all = true
	p := planner{w: w}
	err = w.walk(func(e *packEntry) error {
		if w.ctx.Err() != nil {
			return contextError(w.ctx)
		}
		if err := w.measure(e); err != nil {
			return err
		}
		return p.add(e)
	})
	if err != nil {
		return nil, packError(dir, err)
	}
	if p.plan.FileCount == 0 {
		return nil, w.nothing(dir)
	}
	return p.finish(), nil
}

const (
	mostLargest = 10
	// keySearch is how much of a file is searched for a private key.
	keySearch = 8 << 10
)

// nothing is the error of a tree without files. what is its name.
func (w *walker) nothing(what string) error {
	reason := quote(what) + " has no files to build"
	if len(w.out) > 0 {
		reason += ": all are left out, the first because of " + quote(w.out[0].Reason)
	}
	return &ArgumentError{Name: w.arg, Reason: reason}
}

// planner makes a plan of the files as they come.
type planner struct {
	w        *walker
	plan     ArchivePlan
	procfile bool
	secrets  []ArchiveWarning
	// listed counts what the walker, which may be ahead, does not.
	listed listing
}

func (p *planner) add(e *packEntry) error {
	p.listed.all = p.w.listed.all
	plan, entry := &p.plan, ArchiveEntry{Path: e.name, Size: e.size, Link: e.link}
	plan.FileCount++
	plan.TotalSize += e.size
	plan.Largest = addLargest(plan.Largest, entry)
	p.procfile = p.procfile || e.name == "Procfile"
	if p.listed.room(&p.listed.entries, len(e.name)+len(e.link)) {
		plan.Entries = append(plan.Entries, entry)
	}
	if text := p.w.secret(e); text != "" && p.listed.room(&p.listed.warnings, len(e.name)) {
		p.secrets = append(p.secrets, ArchiveWarning{Kind: WarnSecret, Path: e.name, Text: text})
	}
	return nil
}

// finish returns the plan when the walk has ended.
func (p *planner) finish() *ArchivePlan {
	p.plan.Warnings = append(p.w.warnings, p.secrets...)
	if !p.procfile {
		p.plan.Warnings = append(p.plan.Warnings, ArchiveWarning{Kind: WarnNoProcfile, Path: "Procfile", Text: "is not there: the app has only the processes that its buildpack knows of"})
	}
	p.plan.Excluded = p.w.out
	p.plan.Truncated = p.w.listed.truncated || p.listed.truncated
	return &p.plan
}

func addLargest(top []ArchiveEntry, e ArchiveEntry) []ArchiveEntry {
	if e.Size == 0 || len(top) == mostLargest && e.Size <= top[mostLargest-1].Size {
		return top
	}
	at, _ := slices.BinarySearchFunc(top, e.Size, func(have ArchiveEntry, size int64) int {
		// Of files of one size the first stays first.
		return cmp.Or(cmp.Compare(size, have.Size), -1)
	})
	top = slices.Insert(top, at, e)
	return top[:min(len(top), mostLargest)]
}

// secret says why a file looks as if it should not be packed.
func (w *walker) secret(e *packEntry) string {
	if e.link != "" || e.size == 0 {
		return ""
	}
	name := strings.ToLower(path.Base(e.name))
	const holds = "looks as if it held secrets: leave it out (.gitignore, .slugignore or Exclude) and use config vars"
	switch name {
	case ".env", ".netrc", "_netrc", ".pgpass", ".git-credentials", ".htpasswd", ".pypirc", "id_rsa", "id_dsa", "id_ecdsa", "id_ed25519":
		return holds
	}
	if rest, ok := strings.CutPrefix(name, ".env."); ok {
		switch rest {
		case "example", "sample", "template", "dist", "defaults", "schema":
			return ""
		}
		return holds
	}
	switch path.Ext(name) {
	case ".p12", ".pfx", ".ppk", ".jks", ".keystore":
		return holds
	case ".pem", ".key":
		if w.hasPrivateKey(e) || name == "master.key" {
			return "is a private key: leave it out (.gitignore, .slugignore or Exclude) and use config vars"
		}
	}
	return ""
}

// hasPrivateKey looks into a file that may as well be a public certificate.
func (w *walker) hasPrivateKey(e *packEntry) bool {
	f, err := w.open(e)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return false
	}
	start, _ := io.ReadAll(io.LimitReader(f, keySearch))
	return bytes.Contains(start, []byte("PRIVATE KEY-----"))
}
