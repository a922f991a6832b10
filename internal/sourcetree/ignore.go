package sourcetree

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/herokubuild/herokubuild/internal/clean"
	"github.com/herokubuild/herokubuild/internal/git"
)

// filter are the patterns of the caller and of .slugignore. They apply regardless
// of git.
type filter struct {
	include, exclude, slug []git.Pattern
}

// parsePatterns parses the patterns of an option, one in each text.
func parsePatterns(field string, texts []string) ([]git.Pattern, error) {
	var patterns []git.Pattern
	for _, text := range texts {
		parsed := git.ParsePatterns([]byte(text), field, false)
		if len(parsed) != 1 || strings.ContainsAny(text, "\n\x00") {
			return nil, &InputError{Field: field, Reason: clean.Quote(text) + " is not a valid pattern"}
		}
		patterns = append(patterns, parsed[0])
	}
	return patterns, nil
}

// excludes returns the pattern that excludes a path, nil if none does.
func (f *filter) excludes(ctx context.Context, path string, dir bool) *git.Pattern {
	if p := git.Last(ctx, f.exclude, path, dir); p != nil && !p.Negated {
		return p
	}
	return git.Last(ctx, f.slug, path, dir)
}

// includes reports whether a path is packed even though git ignores it.
func (f *filter) includes(ctx context.Context, path string, dir bool) bool {
	p := git.Last(ctx, f.include, path, dir)
	return p != nil && !p.Negated
}

// splitSlugIgnore parses a .slugignore file. Heroku supports no exceptions in it:
// lines that begin with "!" have no effect.
func splitSlugIgnore(data []byte) (patterns, withoutEffect []git.Pattern) {
	for _, p := range git.ParsePatterns(data, slugIgnoreFile, false) {
		if p.Negated {
			withoutEffect = append(withoutEffect, p)
		} else {
			patterns = append(patterns, p)
		}
	}
	return patterns, withoutEffect
}

// readSlugIgnore adds the patterns of the root's .slugignore to the filter.
func (w *walk) readSlugIgnore() error {
	f, err := w.tree.files.slugIgnore(w.tree.follow)
	data, err := w.readRules(slugIgnoreFile, f, err)
	if err != nil {
		return err
	}
	patterns, withoutEffect := splitSlugIgnore(data)
	for _, p := range withoutEffect {
		w.warn(WarnSlugIgnore, slugIgnoreFile, fmt.Sprintf("line %d, %s: Heroku supports no exceptions in this file", p.Line, clean.Quote(p.Text)))
	}
	if _, err := (*git.Ignores)(nil).With("", patterns); err != nil {
		return w.unreadable(slugIgnoreFile, err)
	}
	w.filter.slug = patterns
	return nil
}

// addRules adds the .gitignore and .gitattributes files of a directory, of which
// list are the entries, to its scope.
func (w *walk) addRules(name string, list []dirEntry, s *scope) error {
	if s.ignored == "" {
		data, err := w.dirRules(name, ".gitignore", list, s.checkout)
		if err != nil {
			return err
		}
		patterns := git.ParsePatterns(data, name+".gitignore", s.checkout.foldsCase())
		if s.ignores, err = s.ignores.With(s.checkout.path(name), patterns); err != nil {
			return w.unreadable(name+".gitignore", err)
		}
	}
	if s.checkout == nil {
		return nil
	}
	data, err := w.dirRules(name, ".gitattributes", list, s.checkout)
	if err != nil {
		return err
	}
	if s.attributes, err = s.attributes.With(s.checkout.path(name), data); err != nil {
		return w.unreadable(name+".gitattributes", err)
	}
	return nil
}

// dirRules reads one of the rule files of a directory: the file itself or, if a
// sparse checkout lacks it, the one in the index.
func (w *walk) dirRules(name, file string, list []dirEntry, c *checkout) ([]byte, error) {
	for _, e := range list {
		same := e.name == file || c.foldsCase() && strings.EqualFold(e.name, file)
		if !same || !e.mode.IsRegular() {
			// Like git, this follows no link.
			continue
		}
		// If case is folded, only opening the file shows whether the file
		// system does the same.
		f, err := w.tree.files.open(name + file)
		if data, err := w.readRules(name+file, f, err); data != nil || err != nil {
			return data, err
		}
	}
	if c == nil {
		return nil, nil
	}
	data, err := c.index.Rules(c.path(name) + file)
	if err != nil {
		return nil, w.badRepository(c.repo.Root, err)
	}
	return data, nil
}

// readRules reads and closes a file of rules that was opened with the result err.
// One that does not exist or is not regular has no rules.
func (w *walk) readRules(name string, f fs.File, err error) ([]byte, error) {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errLink) {
		return nil, nil
	}
	if err != nil {
		return nil, w.unreadable(name, err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, w.unreadable(name, err)
	}
	if !info.Mode().IsRegular() {
		return nil, nil
	}
	data, err := io.ReadAll(io.LimitReader(&contextReader{ctx: w.ctx, r: f}, git.MaxIgnoreFile+1))
	switch {
	case w.ctx.Err() != nil:
		return nil, w.ctx.Err()
	case err != nil:
		return nil, w.unreadable(name, err)
	case len(data) > git.MaxIgnoreFile:
		return nil, w.unreadable(name, fmt.Errorf("larger than %d bytes", git.MaxIgnoreFile))
	}
	return data, nil
}

// contextReader is a reader that fails once its context has ended.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, c.ctx.Err()
	}
	return c.r.Read(p)
}
