package sourcetree

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// paths returns the paths that a tree packs.
func paths(t *testing.T, tree *Tree) []string {
	t.Helper()
	var paths []string
	for e, err := range tree.Entries(t.Context()) {
		require.NoError(t, err)
		paths = append(paths, e.Path)
	}
	return paths
}

func openFS(t *testing.T, fsys fs.FS, opts Options) *Tree {
	t.Helper()
	tree, err := OpenFS(fsys, opts)
	require.NoError(t, err)
	return tree
}

// mapFS returns a file system of empty files, or of those with the given content.
func mapFS(names string, content map[string]string) fstest.MapFS {
	fsys := fstest.MapFS{}
	for name := range strings.FieldsSeq(names) {
		fsys[name] = &fstest.MapFile{}
	}
	for name, text := range content {
		fsys[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return fsys
}

func TestEntriesApplyTheRules(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		names   string
		content map[string]string
		opts    Options
		want    string
	}{
		"no rules":                   {names: "b a/c a/b", want: "a/b a/c b"},
		"order of bytes":             {names: "a/b a.b a0 a", want: "a a.b a0"},
		"directory among files":      {names: "a/b a.b a0", want: "a.b a/b a0"},
		".git at any level":          {names: "a .git/config sub/.git sub/x v/.GIT/y v/z", want: "a sub/x v/z"},
		"ignored":                    {names: "a.o b", content: map[string]string{".gitignore": "*.o\n"}, want: ".gitignore b"},
		"ignored below":              {names: "a.o s/a.o", content: map[string]string{"s/.gitignore": "*.o\n"}, want: "a.o s/.gitignore"},
		"exception below":            {names: "a.o s/a.o", content: map[string]string{".gitignore": "*.o\n", "s/.gitignore": "!a.o\n"}, want: ".gitignore s/.gitignore s/a.o"},
		"exception in an ignored":    {names: "d/a.o", content: map[string]string{".gitignore": "d/\n", "d/.gitignore": "!a.o\n"}, want: ".gitignore"},
		"included directory":         {names: "dist/a dist/b/c", content: map[string]string{".gitignore": "dist/\n"}, opts: Options{Include: []string{"dist/"}}, want: ".gitignore dist/a dist/b/c"},
		"included in an ignored":     {names: "m/a m/k/x", content: map[string]string{".gitignore": "m/\n"}, opts: Options{Include: []string{"/m/k/x"}}, want: ".gitignore m/k/x"},
		"excluded":                   {names: "a b/c", opts: Options{Exclude: []string{"b"}}, want: "a"},
		"exclude before include":     {names: "a b", opts: Options{Include: []string{"b"}, Exclude: []string{"b"}}, want: "a"},
		"slugignore":                 {names: "a.psd spec/x lib/spec/y", content: map[string]string{".slugignore": "*.psd\n/spec\n"}, want: ".slugignore lib/spec/y"},
		"slugignore before include":  {names: "a.psd b", content: map[string]string{".slugignore": "*.psd\n"}, opts: Options{Include: []string{"a.psd"}}, want: ".slugignore b"},
		"slugignore of a directory":  {names: "x", content: map[string]string{"lib/.slugignore": "y\n", "lib/y": ""}, want: "lib/.slugignore lib/y x"},
		".gitignore is a directory":  {names: ".gitignore/a b", want: ".gitignore/a b"},
		"a pattern of one directory": {names: "a/x x", content: map[string]string{".gitignore": "/x\n"}, want: ".gitignore a/x"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fsys := mapFS(tt.names, tt.content)
			if name == "order of bytes" {
				delete(fsys, "a/b")
			}
			tree := openFS(t, fsys, tt.opts)
			assert.Equal(t, strings.Fields(tt.want), paths(t, tree))
			plan, err := tree.Plan(t.Context())
			require.NoError(t, err)
			var planned []string
			for _, e := range plan.Entries {
				planned = append(planned, e.Path)
			}
			assert.Equal(t, strings.Fields(tt.want), planned)
		})
	}
}

func TestByPathGivesTheOrderOfWholePaths(t *testing.T) {
	t.Parallel()
	list := []dirEntry{{"a", fs.ModeDir}, {"a", 0}, {"a.b", 0}, {"a0", 0}, {"a-", fs.ModeDir}, {"b", 0}, {"é", fs.ModeDir}}
	slices.SortFunc(list, byPath)
	var whole []string
	for _, e := range list {
		if e.mode.IsDir() {
			e.name += "/x"
		}
		whole = append(whole, e.name)
	}
	assert.True(t, slices.IsSorted(whole), "%q", whole)
}

func TestArchivedNameIsThatOfTheIndex(t *testing.T) {
	t.Parallel()
	list := []dirEntry{{"dir", fs.ModeDir}, {"Both", fs.ModeDir}, {"both", fs.ModeDir}}
	for name, tt := range map[string]struct{ own, tracked, want string }{
		"same":                 {"dir/", "dir", "dir/"},
		"other case":           {"dir/", "Dir", "Dir/"},
		"both exist":           {"both/", "Both", "both/"},
		"below":                {"a/dir/", "a/Dir", "a/Dir/"},
		"parent of other case": {"A/dir/", "a/Dir", "A/dir/"},
	} {
		assert.Equal(t, tt.want, archivedName(tt.own, tt.tracked, list), name)
	}
}

func TestCheckoutPaths(t *testing.T) {
	t.Parallel()
	var none *checkout
	assert.Equal(t, "a/b", none.path("a/b"))
	within := &checkout{above: "services/web/"}
	assert.Equal(t, "services/web/a", within.path("a"))
	assert.Equal(t, "a", within.inTree("services/web/a"))
	submodule := &checkout{base: "vendor/lib/"}
	assert.Equal(t, "a", submodule.path("vendor/lib/a"))
	assert.Equal(t, "vendor/lib/a", submodule.inTree("a"))
}

func TestEntriesEndWithTheFirstError(t *testing.T) {
	t.Parallel()
	fsys := mapFS("a z", nil)
	fsys["m"] = &fstest.MapFile{Mode: fs.ModeNamedPipe}
	var seen []string
	var errs []error
	for e, err := range openFS(t, fsys, Options{}).Entries(t.Context()) {
		seen, errs = append(seen, e.Path), append(errs, err)
	}
	require.Len(t, errs, 2)
	assert.Equal(t, "a", seen[0])
	assert.Contains(t, requireInput(t, errs[1], "fsys").Reason, `"m"`)
}

func TestEntriesCanBeLeftAndRepeated(t *testing.T) {
	t.Parallel()
	tree := openFS(t, mapFS("a b c", nil), Options{})
	for e, err := range tree.Entries(t.Context()) {
		require.NoError(t, err)
		assert.Equal(t, "a", e.Path)
		break
	}
	assert.Equal(t, []string{"a", "b", "c"}, paths(t, tree))
}

func TestEntriesOfACanceledContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	tree := openFS(t, mapFS("a b c", nil), Options{})
	var last error
	for _, err := range tree.Entries(ctx) {
		cancel()
		last = err
	}
	require.ErrorIs(t, last, context.Canceled)
}

func TestSkippedFileIsNotAnEntry(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"a", "self"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
	}
	tree, err := OpenDir(dir, Options{})
	require.NoError(t, err)
	self, err := os.Stat(filepath.Join(dir, "self"))
	require.NoError(t, err)
	tree.Skip(self)
	assert.Equal(t, []string{"a"}, paths(t, tree))
}

func TestCheckDir(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	assert.Nil(t, CheckDir("Dir", dir))
	for _, bad := range []string{"", file, filepath.Join(file, "x"), "a\x00b"} {
		requireInput(t, CheckDir("Dir", bad), "Dir")
	}
	require.ErrorIs(t, CheckDir("Dir", filepath.Join(dir, "missing")), fs.ErrNotExist)
	_, err := OpenFS(nil, Options{})
	requireInput(t, err, "fsys")
}

func TestReadAheadEndsWithItsConsumer(t *testing.T) {
	t.Parallel()
	failure := errors.New("failure")
	endless := func(yield func(int, error) bool) {
		for i := 0; yield(i, nil); i++ {
		}
	}
	failing := func(yield func(int, error) bool) {
		_ = yield(1, nil) && yield(0, failure)
	}
	for _, size := range []int{0, 1, 10} {
		// The bubble fails if a goroutine is left.
		synctest.Test(t, func(t *testing.T) {
			var seen []int
			for i, err := range readAhead(endless, size) {
				require.NoError(t, err)
				if seen = append(seen, i); i == 5 {
					break
				}
			}
			assert.Equal(t, []int{0, 1, 2, 3, 4, 5}, seen)

			var errs []error
			for _, err := range readAhead(failing, size) {
				errs = append(errs, err)
			}
			assert.Equal(t, []error{nil, failure}, errs)
		})
	}
}

func TestIsProgram(t *testing.T) {
	t.Parallel()
	for start, want := range map[string]bool{"": false, "#": false, "#!/bin/sh": true, "\x7fELF\x02": true, "\x7fEL": false, "MZ": false, " #!": false} {
		assert.Equal(t, want, isProgram([]byte(start)), "%q", start)
	}
}

func TestSortEntriesPrefersTheFileOfTheVeryName(t *testing.T) {
	t.Parallel()
	list := sortEntries([]Entry{{Path: "b"}, {Path: "A", source: "/tree/a"}, {Path: "A"}, {Path: "a/b"}})
	assert.Equal(t, []Entry{{Path: "A"}, {Path: "a/b"}, {Path: "b"}}, list)
}
