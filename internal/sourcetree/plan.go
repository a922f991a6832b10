package sourcetree

import (
	"cmp"
	"context"
	"math"
	"slices"

	"github.com/herokubuild/herokubuild/internal/clean"
)

// Plan lists what is packed and what is not.
type Plan struct {
	// Files is the number of files and links, Bytes the size of their content.
	Files int
	Bytes int64
	// Largest are the largest files, at most ten, the largest first.
	Largest []File
	// Entries are all files and links, in the order of the archive.
	Entries []File
	// Omissions are the paths that are excluded.
	Omissions []Omission
	// Warnings are likely mistakes.
	Warnings []Warning
	// Truncated is set if a list reached its limit.
	Truncated bool
}

// File is a file or a link in a [Plan].
type File struct {
	Path string
	// Size is the file's size in bytes, 0 for a link.
	Size int64
	// Link is a link's target, empty for a file.
	Link string
}

// Omission is a path that is not packed. The path of a directory ends with a slash.
type Omission struct {
	Path, Reason string
}

// WarningKind is the subject of a [Warning].
type WarningKind string

// The kinds of warnings.
const (
	WarnSecret           WarningKind = "secret"
	WarnNoProcfile       WarningKind = "no_procfile"
	WarnSubmodule        WarningKind = "submodule"
	WarnNestedRepository WarningKind = "nested_repository"
	WarnSlugIgnore       WarningKind = "slugignore"
)

// Warning is a likely mistake in a tree. Text continues the sentence that Path
// begins.
type Warning struct {
	Kind       WarningKind
	Path, Text string
}

const (
	// maxListed is how many bytes of text each list of the plan of an archive
	// may have.
	maxListed = 4 << 20
	// unlimited is the limit of a plan that lists everything.
	unlimited = math.MaxInt
)

// boundedList is a list that is limited by the bytes of its text.
type boundedList[T any] struct {
	items       []T
	limit, used int
	truncated   bool
}

// add appends an item with so many bytes of text if it still fits.
func (l *boundedList[T]) add(item T, text int) {
	const overhead = 40
	if l.used += text + overhead; l.used > l.limit {
		l.truncated = true
		return
	}
	l.items = append(l.items, item)
}

// report is what a walk finds out besides the entries.
type report struct {
	omissions boundedList[Omission]
	warnings  boundedList[Warning]
}

func newReport(limit int) *report {
	return &report{omissions: boundedList[Omission]{limit: limit}, warnings: boundedList[Warning]{limit: limit}}
}

func (r *report) omit(path, reason string) {
	r.omissions.add(Omission{Path: path, Reason: reason}, len(path))
}

func (r *report) warn(kind WarningKind, path, text string) {
	r.warnings.add(Warning{Kind: kind, Path: path, Text: text}, len(path)+len(text))
}

// Plan returns what [Tree.WriteTar] would write. It lists every path, so its
// memory grows with the tree. It reads no file except those of which git may have
// converted the line ends, and possible private keys.
//
// Errors: those of WriteTar.
func (t *Tree) Plan(ctx context.Context) (*Plan, error) {
	w := newWalk(ctx, t, describeAll, unlimited)
	p := newPlanner(w, unlimited)
	for e, err := range readAhead(w.entries(), readAheadSize) {
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = w.measure(&e)
		}
		if err != nil {
			return nil, err
		}
		p.add(&e)
	}
	return p.finish()
}

// planner makes a plan from entries. The walk may be ahead of it.
type planner struct {
	walk        *walk
	plan        Plan
	hasProcfile bool
	entries     boundedList[File]
	secrets     boundedList[Warning]
}

func newPlanner(w *walk, limit int) *planner {
	return &planner{walk: w, entries: boundedList[File]{limit: limit}, secrets: boundedList[Warning]{limit: limit}}
}

func (p *planner) add(e *Entry) {
	file := File{Path: e.Path, Size: e.Size, Link: e.Link}
	p.plan.Files++
	p.plan.Bytes += e.Size
	p.plan.Largest = addLargest(p.plan.Largest, file)
	p.hasProcfile = p.hasProcfile || e.Path == "Procfile"
	p.entries.add(file, len(e.Path)+len(e.Link))
	if text := p.walk.secret(e); text != "" {
		p.secrets.add(Warning{Kind: WarnSecret, Path: e.Path, Text: text}, len(e.Path))
	}
}

// finish returns the plan once the walk has ended, or the error of an empty tree.
func (p *planner) finish() (*Plan, error) {
	report := p.walk.report
	if p.plan.Files == 0 {
		return nil, p.walk.tree.empty(report.omissions.items)
	}
	p.plan.Entries, p.plan.Omissions = p.entries.items, report.omissions.items
	p.plan.Warnings = slices.Concat(report.warnings.items, p.secrets.items)
	if !p.hasProcfile {
		p.plan.Warnings = append(p.plan.Warnings, Warning{
			Kind: WarnNoProcfile, Path: "Procfile",
			Text: "is missing: the app has only the processes that its buildpack defines",
		})
	}
	p.plan.Truncated = p.entries.truncated || p.secrets.truncated || report.omissions.truncated || report.warnings.truncated
	return &p.plan, nil
}

// empty returns the error of a tree without files.
func (t *Tree) empty(omissions []Omission) error {
	reason := t.label + " has no files to build"
	if len(omissions) > 0 {
		reason += ": all are excluded, the first by " + clean.Quote(omissions[0].Reason)
	}
	return &InputError{Field: t.field, Reason: reason}
}

// maxLargest is how many files a plan lists as the largest.
const maxLargest = 10

// addLargest adds a file to a list of the largest. Of files of one size the first
// stays first.
func addLargest(largest []File, f File) []File {
	if f.Size == 0 || len(largest) == maxLargest && f.Size <= largest[maxLargest-1].Size {
		return largest
	}
	at, _ := slices.BinarySearchFunc(largest, f.Size, func(have File, size int64) int {
		return cmp.Or(cmp.Compare(size, have.Size), -1)
	})
	largest = slices.Insert(largest, at, f)
	return largest[:min(len(largest), maxLargest)]
}
