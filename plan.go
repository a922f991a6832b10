package herokubuild

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// ArchivePlan says what is packed, what is not, and what is worth a second look.
type ArchivePlan struct {
	// Files is how many files and symbolic links there are, Bytes their content
	// before it is compressed.
	Files int
	Bytes int64
	// Largest are the largest files, at most ten, the largest first.
	Largest []ArchiveEntry
	// Entries are all files and links, in the order of the archive.
	Entries []ArchiveEntry
	// Out are the paths that are not packed, and why. Of a directory that is
	// left out as a whole the content is not listed.
	Out []ArchiveOmission
	// Warnings are what looks like a mistake.
	Warnings []ArchiveWarning
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

// ArchiveOmission is a path that is not packed.
type ArchiveOmission struct {
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

// PlanArchive says what [ArchiveDir] would pack, without packing it.
//
// Errors: those of ArchiveDir.
func PlanArchive(ctx context.Context, dir string, opts *ArchiveOptions) (*ArchivePlan, error) {
	w, err := newDirWalker(ctx, dir, opts)
	if err != nil {
		return nil, err
	}
	w.look = true
	if err := w.walk(); err != nil {
		return nil, packError(dir, err)
	}
	if len(w.entries) == 0 {
		return nil, w.nothing(dir)
	}
	return w.plan(), nil
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

// plan is what has been found.
func (w *walker) plan() *ArchivePlan {
	plan := &ArchivePlan{Files: len(w.entries), Out: w.out}
	plan.Entries = make([]ArchiveEntry, 0, len(w.entries))
	procfile := false
	for i := range w.entries {
		e := &w.entries[i]
		plan.Bytes += e.size
		plan.Entries = append(plan.Entries, ArchiveEntry{Path: e.name, Size: e.size, Link: e.link})
		procfile = procfile || e.name == "Procfile"
		if text := w.secret(e); text != "" {
			w.warn(WarnSecret, e.name, text)
		}
	}
	if !procfile {
		w.warn(WarnNoProcfile, "Procfile", "is not there: the app has only the processes that its buildpack knows of")
	}
	plan.Largest = largest(plan.Entries)
	plan.Warnings = w.warnings
	return plan
}

func largest(entries []ArchiveEntry) []ArchiveEntry {
	var top []ArchiveEntry
	for _, e := range entries {
		if e.Size == 0 || len(top) == mostLargest && e.Size <= top[mostLargest-1].Size {
			continue
		}
		at, _ := slices.BinarySearchFunc(top, e.Size, func(have ArchiveEntry, size int64) int {
			// Of files of one size the first stays first.
			return cmp.Or(cmp.Compare(size, have.Size), -1)
		})
		top = slices.Insert(top, at, e)
		top = top[:min(len(top), mostLargest)]
	}
	return top
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
	var f fs.File
	var err error
	if e.from != "" {
		f, err = openFile(e.from)
	} else {
		f, err = w.tree.open(e.name)
	}
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }()
	start, _ := io.ReadAll(io.LimitReader(f, keySearch))
	return bytes.Contains(start, []byte("PRIVATE KEY-----"))
}
