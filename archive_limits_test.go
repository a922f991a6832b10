package herokubuild_test

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
)

// endsAfter is a context that ends after a number of calls of Err, which exposes
// loops that never check it.
type endsAfter struct {
	context.Context
	left atomic.Int64
}

func newEndsAfter(ctx context.Context, left int64) *endsAfter {
	c := &endsAfter{Context: ctx}
	c.left.Store(left)
	return c
}

func (c *endsAfter) Err() error {
	if c.left.Add(-1) < 0 {
		return context.Canceled
	}
	return nil
}

// Links through links are followed in a bounded number of steps.
func TestArchiveLinksThroughLinks(t *testing.T) {
	t.Parallel()
	dir := tree(t, file{"Procfile", "web: x"})
	pad := strings.Repeat("/x", 1900)
	const n = 200
	for i := range n {
		target := fmt.Sprintf("l%d%s", i+1, pad)
		if i == n-1 {
			target = "x"
		}
		symlink(t, target, filepath.Join(dir, fmt.Sprintf("l%d", i)))
	}
	plan, err := herokubuild.PlanArchive(t.Context(), dir, nil)
	require.NoError(t, err, "no system follows as many, so they are dangling")
	assert.Equal(t, n+1, plan.FileCount)

	// The context is checked while links are followed.
	few := tree(t, file{"Procfile", "web: x"})
	for i := range 30 {
		symlink(t, fmt.Sprintf("l%d%s", i+1, pad), filepath.Join(few, fmt.Sprintf("l%d", i)))
	}
	symlink(t, "x", filepath.Join(few, "l30"))
	_, err = herokubuild.PlanArchive(t.Context(), few, nil)
	require.NoError(t, err)
	_, err = herokubuild.PlanArchive(newEndsAfter(t.Context(), 5000), few, nil)
	require.ErrorIs(t, err, context.Canceled)
}

// A link that leads out only after many steps is refused.
func TestArchiveLinkThatLeadsOutAfterManySteps(t *testing.T) {
	t.Parallel()
	dir := tree(t, file{"a/b/c/d", "x"})
	symlink(t, "b/c", filepath.Join(dir, "a", "deeper"))
	symlink(t, "a/deeper/./../../../..", filepath.Join(dir, "out"))
	_, err := herokubuild.PlanArchive(t.Context(), dir, nil)
	assert.Contains(t, requireInvalid(t, err, "dir").Error(), `"out"`)
	require.NoError(t, os.Remove(filepath.Join(dir, "out")))
	symlink(t, "a/deeper/./../../..//.", filepath.Join(dir, "out"))
	_, err = herokubuild.PlanArchive(t.Context(), dir, nil)
	require.NoError(t, err)
}

// The heap stays small whatever the number of files.
func TestArchiveOfVeryManyFiles(t *testing.T) {
	const files = 400_000
	runtime.GC()
	stop, peak := make(chan struct{}), make(chan uint64)
	go func() {
		var most uint64
		for {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapAlloc)
			select {
			case <-stop:
				peak <- most
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	archive, err := herokubuild.PackFS(t.Context(), manyFiles(files), nil)
	close(stop)
	assert.Less(t, (<-peak)>>20, uint64(64), "MiB")
	require.NoError(t, err)
	t.Cleanup(func() { _ = archive.Close() })
	assert.Equal(t, files, archive.Plan.FileCount)
	assert.True(t, archive.Plan.Truncated)
	assert.NotEmpty(t, archive.Plan.Entries)

	plan, err := herokubuild.PlanArchive(t.Context(), tree(t, file{"a", ""}), nil)
	require.NoError(t, err)
	assert.False(t, plan.Truncated)
}

// manyFiles is a file system with that many empty files, 500 in a directory.
type manyFiles int

const perDirectory = 500

func (m manyFiles) Open(name string) (fs.File, error) {
	return fstest.MapFS{name: {}}.Open(name)
}

func (m manyFiles) Lstat(name string) (fs.FileInfo, error) {
	return fs.Lstat(fstest.MapFS{name: {}}, name)
}

func (m manyFiles) ReadLink(string) (string, error) { return "", fs.ErrInvalid }

func (m manyFiles) Stat(name string) (fs.FileInfo, error) {
	if name == ".slugignore" {
		return nil, fs.ErrNotExist
	}
	return m.Lstat(name)
}

func (m manyFiles) ReadDir(name string) ([]fs.DirEntry, error) {
	var list []fs.DirEntry
	if name == "." {
		for i := range int(m) / perDirectory {
			list = append(list, listed{fmt.Sprintf("packages-with-a-long-name-%06d", i), fs.ModeDir})
		}
		return list, nil
	}
	for i := range perDirectory {
		list = append(list, listed{fmt.Sprintf("file-with-a-rather-long-name-%06d.js", i), 0})
	}
	return list, nil
}

type listed struct {
	name string
	mode fs.FileMode
}

func (l listed) Name() string               { return l.name }
func (l listed) IsDir() bool                { return l.mode.IsDir() }
func (l listed) Type() fs.FileMode          { return l.mode.Type() }
func (l listed) Info() (fs.FileInfo, error) { return nil, fs.ErrInvalid }

// Too many rules, and files too large to be rules, are an error and not skipped.
func TestArchiveBoundsIgnoreFiles(t *testing.T) {
	t.Parallel()
	for name, content := range map[string]string{
		"many rules": strings.Repeat("a\n", 200_000), "long rules": strings.Repeat(strings.Repeat("b", 1<<20)+"\n", 4) + "c", "a large file": strings.Repeat("#\n", 3<<20),
	} {
		for _, file1 := range []string{".gitignore", ".slugignore", "sub/.gitignore"} {
			t.Run(name+" in "+file1, func(t *testing.T) {
				t.Parallel()
				_, err := herokubuild.PlanArchive(t.Context(), tree(t, file{file1, content}, file{"x", ""}, file{"sub/y", ""}), nil)
				assert.Contains(t, requireInvalid(t, err, "dir").Error(), file1)
			})
		}
	}
}

// The rules of all parent directories count together.
func TestArchiveBoundsNestedIgnoreFiles(t *testing.T) {
	t.Parallel()
	files := []file{{"x", ""}}
	for i := range 6 {
		files = append(files, file{strings.Repeat("d/", i) + ".gitignore", strings.Repeat("a\n", 20_000)})
	}
	_, err := herokubuild.PlanArchive(t.Context(), tree(t, files...), nil)
	requireInvalid(t, err, "dir")
}

func TestArchiveSlugIgnoreThatIsALink(t *testing.T) {
	isolateGit(t)
	elsewhere := tree(t, file{"rules", "*.psd\n"})
	for name, tt := range map[string]struct {
		target string
		want   []string
	}{
		"inside":           {"config/slugignore", []string{".slugignore", "a", "config/slugignore"}},
		"through a link":   {"link/slugignore", []string{".slugignore", "a", "config/slugignore", "link"}},
		"dangling":         {"nowhere", []string{".slugignore", "a", "a.psd", "config/slugignore"}},
		"to itself":        {".slugignore", []string{".slugignore", "a", "a.psd", "config/slugignore"}},
		"to a directory":   {"config", []string{".slugignore", "a", "a.psd", "config/slugignore"}},
		"out of the tree":  {filepath.Join(elsewhere, "rules"), nil},
		"out, and nowhere": {"../../no/such/file", nil},
	} {
		t.Run(name, func(t *testing.T) {
			dir := tree(t, file{"a", ""}, file{"a.psd", ""}, file{"config/slugignore", "*.psd\n"})
			symlink(t, filepath.FromSlash(tt.target), filepath.Join(dir, ".slugignore"))
			if strings.HasPrefix(tt.target, "link") {
				symlink(t, "config", filepath.Join(dir, "link"))
			}
			if tt.want == nil {
				_, err := herokubuild.PlanArchive(t.Context(), dir, nil)
				assert.Contains(t, requireInvalid(t, err, "dir").Error(), ".slugignore")
				return
			}
			assert.Equal(t, tt.want, namesOf(t, pack(t, dir)))
		})
	}
	// With FollowSymlinks, the target of the link applies.
	dir := tree(t, file{"a", ""}, file{"a.psd", ""})
	symlink(t, filepath.Join(elsewhere, "rules"), filepath.Join(dir, ".slugignore"))
	names := namesOf(t, packWith(t, dir, &herokubuild.PackOptions{FollowSymlinks: true}))
	assert.Equal(t, []string{".slugignore", "a"}, names)
}

// Links to directories that link to directories multiply.
func TestArchiveBoundsFollowedLinks(t *testing.T) {
	t.Parallel()
	outside := t.TempDir()
	const depth = 20
	for i := range depth {
		require.NoError(t, os.Mkdir(filepath.Join(outside, fmt.Sprint(i)), 0o755))
		for _, side := range []string{"a", "b"} {
			symlink(t, filepath.Join(outside, fmt.Sprint(i+1)), filepath.Join(outside, fmt.Sprint(i), side))
		}
	}
	require.NoError(t, os.Mkdir(filepath.Join(outside, fmt.Sprint(depth)), 0o755))
	dir := tree(t, file{"a", ""})
	symlink(t, filepath.Join(outside, "0"), filepath.Join(dir, "link"))
	_, err := herokubuild.PlanArchive(t.Context(), dir, &herokubuild.PackOptions{FollowSymlinks: true})
	requireInvalid(t, err, "dir")
}

// irregular is a file system with irregular entries, like junctions and online files
// on Windows.
type irregular struct{ fstest.MapFS }

func (f irregular) ReadDir(name string) ([]fs.DirEntry, error) {
	list, err := f.MapFS.ReadDir(name)
	for i, e := range list {
		if strings.HasPrefix(e.Name(), "odd") {
			list[i] = listed{e.Name(), fs.ModeIrregular}
		}
	}
	return list, err
}

func TestArchiveIrregularFiles(t *testing.T) {
	t.Parallel()
	fsys := irregular{fstest.MapFS{
		".gitignore": {Data: []byte("odd_modules/\n")}, "odd.txt": {Data: []byte("content")}, "odd/a": {}, "odd_modules/b": {}, "plain": {},
	}}
	archive, err := herokubuild.PackFS(t.Context(), fsys, nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = archive.Close() })
	names, byName := entries(t, archive)
	assert.Equal(t, []string{".gitignore", "odd.txt", "odd/a", "plain"}, names)
	assert.Equal(t, "content", byName["odd.txt"].content)
	fsys.MapFS["odd.txt"].Mode = fs.ModeIrregular
	_, err = herokubuild.PackFS(t.Context(), fsys, nil)
	assert.Contains(t, requireInvalid(t, err, "fsys").Error(), "odd.txt")
}
