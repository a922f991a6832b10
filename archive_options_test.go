package herokubuild_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
)

func packWith(t testing.TB, dir string, opts *herokubuild.PackOptions) *herokubuild.Archive {
	t.Helper()
	a, err := herokubuild.PackDir(t.Context(), dir, opts)
	require.NoError(t, err)
	t.Cleanup(func() { _ = a.Close() })
	return a
}

func namesOf(t *testing.T, a *herokubuild.Archive) []string {
	t.Helper()
	names, _ := entries(t, a)
	return names
}

func TestArchiveIncludeExclude(t *testing.T) {
	t.Parallel()
	dir := tree(t, file{".gitignore", "dist/\n*.o\nnode_modules/\n"}, file{"a.go", ""}, file{"b.o", ""}, file{"dist/app.js", ""}, file{"dist/x/y.o", ""},
		file{"node_modules/m/index.js", ""}, file{"node_modules/m/keep.o", ""}, file{"docs/x.md", ""}, file{"docs/y.md", ""}, file{".git/x", ""})
	for name, tt := range map[string]struct {
		opts herokubuild.PackOptions
		want string
	}{
		"nothing":          {herokubuild.PackOptions{}, ".gitignore a.go docs/x.md docs/y.md"},
		"a directory":      {herokubuild.PackOptions{Include: []string{"dist/"}}, ".gitignore a.go dist/app.js dist/x/y.o docs/x.md docs/y.md"},
		"one file deep":    {herokubuild.PackOptions{Include: []string{"/node_modules/*/keep.o"}}, ".gitignore a.go docs/x.md docs/y.md node_modules/m/keep.o"},
		"names anywhere":   {herokubuild.PackOptions{Include: []string{"*.o"}}, ".gitignore a.go b.o dist/x/y.o docs/x.md docs/y.md node_modules/m/keep.o"},
		"an exception":     {herokubuild.PackOptions{Include: []string{"*.o", "!keep.o"}}, ".gitignore a.go b.o dist/x/y.o docs/x.md docs/y.md"},
		"excluded":         {herokubuild.PackOptions{Exclude: []string{"docs", ".gitignore"}}, "a.go"},
		"excluded but one": {herokubuild.PackOptions{Exclude: []string{"*.md", "!x.md"}}, ".gitignore a.go docs/x.md"},
		"exclude precedes": {herokubuild.PackOptions{Include: []string{"dist/"}, Exclude: []string{"*.o"}}, ".gitignore a.go dist/app.js docs/x.md docs/y.md"},
		"never .git":       {herokubuild.PackOptions{Include: []string{".git", ".git/x", "*"}, Exclude: []string{"node_modules", "dist", "*.o"}}, ".gitignore a.go docs/x.md docs/y.md"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, strings.Fields(tt.want), namesOf(t, packWith(t, dir, &tt.opts)))
		})
	}
	for _, bad := range []string{"", "# comment", "a\nb", "a\x00"} {
		_, err := herokubuild.PackDir(t.Context(), dir, &herokubuild.PackOptions{Include: []string{bad}})
		requireInvalid(t, err, "Include")
		_, err = herokubuild.PlanArchive(t.Context(), dir, &herokubuild.PackOptions{Exclude: []string{bad}})
		requireInvalid(t, err, "Exclude")
	}
}

func TestArchiveSlugIgnore(t *testing.T) {
	isolateGit(t)
	dir, _ := committed(t, file{".slugignore", "*.psd\n/spec\n!keep.psd\n"}, file{"a.psd", ""}, file{"keep.psd", ""}, file{"spec/a", ""}, file{"lib/spec/b", ""},
		file{"lib/.slugignore", "b\n"}, file{"main", ""})
	archive := packWith(t, dir, &herokubuild.PackOptions{Include: []string{"spec"}})
	assert.Equal(t, []string{".slugignore", "lib/.slugignore", "lib/spec/b", "main"}, namesOf(t, archive), "tracked or not, and without exceptions")
	requireWarning(t, archive.Plan, herokubuild.WarnSlugIgnore, ".slugignore")
	assert.Contains(t, archive.Plan.Excluded, herokubuild.ExcludedPath{Path: "spec/", Reason: ".slugignore:2: /spec"})
}

func TestArchivePrefix(t *testing.T) {
	t.Parallel()
	dir := tree(t, file{"Procfile", ""}, file{"bin/run", ""})
	for prefix, want := range map[string][]string{
		"./app": {"./app/Procfile", "./app/bin/run"}, "./app/": {"./app/Procfile", "./app/bin/run"}, "a/b": {"a/b/Procfile", "a/b/bin/run"}, ".": {"./Procfile", "./bin/run"},
	} {
		assert.Equal(t, want, namesOf(t, packWith(t, dir, &herokubuild.PackOptions{Prefix: prefix})))
	}
	for _, bad := range []string{"/app", "..", "a/../b", "a//b", `a\b`, "a\x00"} {
		_, err := herokubuild.PackDir(t.Context(), dir, &herokubuild.PackOptions{Prefix: bad})
		requireInvalid(t, err, "Prefix")
	}
}

// The rules of a repository apply in its directories, except in one that is itself
// ignored.
func TestArchiveDirBelowARepository(t *testing.T) {
	isolateGit(t)
	dir, _ := committed(t, file{".gitignore", "*.o\ndist/\n"}, file{"services/a/main.go", ""}, file{"services/a/x.o", ""}, file{"services/b/main.go", ""})
	write(t, dir, "dist/app.js", "")
	write(t, dir, "dist/app.o", "")
	assert.Equal(t, []string{"main.go"}, namesOf(t, pack(t, filepath.Join(dir, "services", "a"))))
	assert.Equal(t, []string{"app.js", "app.o"}, namesOf(t, pack(t, filepath.Join(dir, "dist"))))
	assert.Empty(t, version(t, filepath.Join(dir, "dist")))
}

// The user's settings apply outside of a repository, too.
func TestArchiveUserExcludes(t *testing.T) {
	isolateGit(t)
	home := os.Getenv("HOME")
	plain, repo := tree(t, file{"a", ""}, file{"a.swp", ""}, file{"b.bak", ""}), tree(t, file{"a", ""}, file{"a.swp", ""}, file{"b.bak", ""})
	git(t, repo, "init", "-q")
	both := func(want ...string) {
		t.Helper()
		assert.Equal(t, want, namesOf(t, pack(t, plain)))
		assert.Equal(t, want, namesOf(t, pack(t, repo)))
		assert.Equal(t, want, gitList(t, repo))
	}
	both("a", "a.swp", "b.bak")
	write(t, home, ".config/git/ignore", "*.swp\n")
	both("a", "b.bak")
	write(t, home, "more.gitconfig", "[core]\n\texcludesFile = ~/my\\ ignore\n")
	write(t, home, "my ignore", "*.bak\n")
	both("a", "b.bak")
	write(t, home, ".gitconfig", "[Core] # quotes, escapes and a comment\n\tEXCLUDESFILE = \"~/my ignore\" ; here\n")
	both("a", "a.swp")
	write(t, home, ".gitconfig", "[include]\n\tpath = other.gitconfig\n")
	write(t, home, "other.gitconfig", "[core]\n\texcludesFile = ~/my \\\nignore\n")
	both("a", "a.swp")
	write(t, home, ".gitconfig", "[core]\n\texcludesFile =\n")
	both("a", "a.swp", "b.bak")
}

func TestArchivePlan(t *testing.T) {
	t.Parallel()
	dir := tree(t, file{".gitignore", "*.o\n"}, file{"big", strings.Repeat("x", 3000)}, file{"small", "x"}, file{"mid", strings.Repeat("x", 200)}, file{"a.o", ""},
		file{".env", "KEY=1"}, file{".env.example", "KEY="}, file{"config/tls.pem", "-----BEGIN RSA PRIVATE KEY-----\n"}, file{"config/ca.pem", "-----BEGIN CERTIFICATE-----\n"},
		file{"config/master.key", "00112233"}, file{"id_ed25519", "x"}, file{"sub/Procfile", "web: x"})
	plan, err := herokubuild.PlanArchive(t.Context(), dir, nil)
	require.NoError(t, err)
	archive := pack(t, dir)
	assert.Equal(t, archive.Plan, plan, "what is planned is what is packed")
	var bytes int64
	var names []string
	for _, e := range plan.Entries {
		bytes += e.Size
		names = append(names, e.Path)
	}
	assert.Equal(t, bytes, plan.TotalSize)
	assert.Equal(t, len(names), plan.FileCount)
	assert.Equal(t, namesOf(t, archive), names)
	assert.Equal(t, []herokubuild.ExcludedPath{{Path: "a.o", Reason: ".gitignore:1: *.o"}}, plan.Excluded)
	require.Greater(t, len(plan.Largest), 3)
	assert.Equal(t, []herokubuild.ArchiveEntry{{Path: "big", Size: 3000}, {Path: "mid", Size: 200}}, plan.Largest[:2])
	assert.LessOrEqual(t, len(plan.Largest), 10)
	var secrets []string
	for _, w := range plan.Warnings {
		if w.Kind == herokubuild.WarnSecret {
			secrets = append(secrets, w.Path)
		}
		assert.NotContains(t, w.String(), "KEY=1")
	}
	assert.Equal(t, []string{".env", "config/master.key", "config/tls.pem", "id_ed25519"}, secrets)
	requireWarning(t, plan, herokubuild.WarnNoProcfile, "Procfile")

	quiet, err := herokubuild.PlanArchive(t.Context(), tree(t, file{"Procfile", "web: x"}), nil)
	require.NoError(t, err)
	assert.Empty(t, quiet.Warnings)

	_, err = herokubuild.PlanArchive(t.Context(), tree(t, file{".gitignore", "*\n"}), nil)
	assert.Contains(t, requireInvalid(t, err, "dir").Error(), ".gitignore:1: *", "the error has the reason of the first omission")
}

func TestArchiveFS(t *testing.T) {
	t.Parallel()
	fsys := fstest.MapFS{
		".gitignore": {Data: []byte("*.o\n")}, "main.go": {Data: []byte("package main\n")}, "x.o": {}, "bin/run": {Data: []byte("#!/bin/sh\n"), Mode: 0o755},
		".git/config": {}, "sub/.gitignore": {Data: []byte("!x.o\n")}, "sub/x.o": {}, "a.b": {}, "a/b": {},
	}
	archive, err := herokubuild.PackFS(t.Context(), fsys, &herokubuild.PackOptions{Prefix: "./app"})
	require.NoError(t, err)
	t.Cleanup(func() { _ = archive.Close() })
	names, byName := entries(t, archive)
	assert.Equal(t, []string{"./app/.gitignore", "./app/a.b", "./app/a/b", "./app/bin/run", "./app/main.go", "./app/sub/.gitignore", "./app/sub/x.o"}, names)
	assert.Equal(t, "package main\n", byName["./app/main.go"].content)
	if runtime.GOOS != "windows" {
		assert.EqualValues(t, 0o755, byName["./app/bin/run"].header.Mode)
	}
	_, err = herokubuild.PackFS(t.Context(), nil, nil)
	requireInvalid(t, err, "fsys")
	_, err = herokubuild.PackFS(t.Context(), fstest.MapFS{}, nil)
	requireInvalid(t, err, "fsys")

	// The same tree gives the same archive, from a directory or a file system.
	fromDir := pack(t, tree(t, file{"a", "1"}, file{"b/c", "2"}))
	fromFS, err := herokubuild.PackFS(t.Context(), fstest.MapFS{"a": {Data: []byte("1")}, "b/c": {Data: []byte("2")}}, nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = fromFS.Close() })
	assert.Equal(t, fromDir.Checksum(), fromFS.Checksum())
}

// Two clones of one commit give the same archive, whatever the umask and the
// number of cores.
func TestTwoClonesAreOneArchive(t *testing.T) {
	isolateGit(t)
	if runtime.GOOS == "windows" {
		t.Skip("there is no umask on Windows")
	}
	dir := tree(t, file{"big", random(3_000_000)}, file{"text", strings.Repeat("some text that continues\n", 200_000)}, file{"a/b", "x"}, file{"é/日本", "y"}, file{"run", "#!/bin/sh\n"})
	require.NoError(t, os.Chmod(filepath.Join(dir, "run"), 0o755))
	require.NoError(t, os.Symlink("a/b", filepath.Join(dir, "link")))
	git(t, dir, "init", "-q")
	git(t, dir, "add", ".")
	git(t, dir, "commit", "-q", "-m", "x")
	want := pack(t, dir).Checksum()
	for _, umask := range []string{"022", "077", "000", "027"} {
		clone := filepath.Join(t.TempDir(), "clone")
		out, err := exec.CommandContext(t.Context(), "sh", "-c", "umask "+umask+" && git clone -q \"$1\" \"$2\"", "sh", dir, clone).CombinedOutput()
		require.NoError(t, err, string(out))
		for _, cores := range []int{1, 2, 7} {
			before := runtime.GOMAXPROCS(cores)
			assert.Equal(t, want, pack(t, clone).Checksum(), "umask %s, %d cores", umask, cores)
			runtime.GOMAXPROCS(before)
		}
	}
}

// Where the file system keeps neither executable bits nor links, git's index
// decides.
func TestArchiveModesFromTheIndex(t *testing.T) {
	isolateGit(t)
	if runtime.GOOS == "windows" {
		t.Skip("needs a file system with links to compare with")
	}
	dir := tree(t, file{"tracked", "x"}, file{"plain", "#!/bin/sh\n"}, file{"target", "t"})
	require.NoError(t, os.Chmod(filepath.Join(dir, "tracked"), 0o755))
	require.NoError(t, os.Symlink("target", filepath.Join(dir, "link")))
	git(t, dir, "init", "-q")
	git(t, dir, "add", ".")
	git(t, dir, "commit", "-q", "-m", "x")
	want := pack(t, dir).Checksum()
	commit := head(t, dir)

	clone := filepath.Join(t.TempDir(), "clone")
	git(t, dir, "-c", "core.symlinks=false", "clone", "-q", "-c", "core.symlinks=false", "-c", "core.fileMode=false", dir, clone)
	info, err := os.Lstat(filepath.Join(clone, "link"))
	require.NoError(t, err)
	require.True(t, info.Mode().IsRegular())
	require.NoError(t, os.Chmod(filepath.Join(clone, "tracked"), 0o644))
	require.NoError(t, os.Chmod(filepath.Join(clone, "plain"), 0o755))
	assert.Equal(t, want, pack(t, clone).Checksum())
	assert.Equal(t, commit, version(t, clone))

	write(t, clone, "script", "#!/bin/sh\n")
	write(t, clone, "text", "# nothing\n")
	_, byName := entries(t, pack(t, clone))
	assert.EqualValues(t, 0o755, byName["script"].header.Mode, "an untracked script")
	assert.EqualValues(t, 0o644, byName["text"].header.Mode)
}

func TestArchiveFormat(t *testing.T) {
	t.Parallel()
	raw := contents(t, pack(t, tree(t, file{"a", "x"})))
	assert.Equal(t, []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0}, raw[:8], "no name, and no time")
	_, byName := entries(t, pack(t, tree(t, file{strings.Repeat("d/", 140) + strings.Repeat("é", 100), "x"})))
	for name, e := range byName {
		assert.Greater(t, len(name), 255)
		assert.Equal(t, tar.FormatGNU, e.header.Format)
	}
}

// The file of 9 GiB is sparse and takes no space.
func TestArchiveOfAFileOver8GiB(t *testing.T) {
	t.Parallel()
	if os.Getenv("ARCHIVE_HUGE") == "" {
		t.Skip("ARCHIVE_HUGE is not set: this packs 9 GiB")
	}
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "huge"))
	require.NoError(t, err)
	const size = 9 << 30
	require.NoError(t, f.Truncate(size))
	require.NoError(t, f.Close())
	r, err := pack(t, dir).Open()
	require.NoError(t, err)
	zr, err := gzip.NewReader(r)
	require.NoError(t, err)
	header, err := tar.NewReader(zr).Next()
	require.NoError(t, err)
	assert.EqualValues(t, size, header.Size)
}

func FuzzArchive(f *testing.F) {
	f.Add("a", "b/c", "content", uint32(0o755))
	f.Add(strings.Repeat("x", 120), "é/日本", "", uint32(0o600))
	f.Add("new\nline", "\xff\xfe/ x ", "\x00", uint32(0o4777))
	f.Add("-rf", "a\\b", strings.Repeat("y", 70000), uint32(0o111))
	f.Fuzz(func(t *testing.T, one, two, content string, mode uint32) {
		dir := t.TempDir()
		want := map[string]string{}
		for _, name := range []string{one, two} {
			local := filepath.FromSlash(name)
			if strings.Contains(strings.ToLower(name), ".git") || strings.Contains(name, ".slugignore") || !filepath.IsLocal(local) || filepath.Clean(local) != local {
				continue
			}
			path := filepath.Join(dir, local)
			if _, err := os.Lstat(path); filepath.ToSlash(local) != name || err == nil {
				continue // another name here, or one that is there in other letters
			}
			if os.MkdirAll(filepath.Dir(path), 0o755) != nil || os.WriteFile(path, []byte(content), 0o644) != nil {
				continue
			}
			if !reallyThere(dir, name) {
				require.NoError(t, os.Remove(path)) // the system has changed the name
				continue
			}
			if os.Chmod(path, os.FileMode(mode&0o777)|0o400) != nil {
				continue
			}
			want[name] = content
		}
		a, err := herokubuild.PackDir(t.Context(), dir, nil)
		if len(want) == 0 {
			requireInvalid(t, err, "dir")
			return
		}
		require.NoError(t, err)
		defer a.Close()
		_, byName := entries(t, a)
		require.Len(t, byName, len(want))
		for name, content := range want {
			require.Equal(t, content, byName[name].content)
			if runtime.GOOS == "windows" {
				continue
			}
			require.Equal(t, mode&0o111 != 0, byName[name].header.Mode == 0o755)
		}
		raw := contents(t, a)
		back, err := herokubuild.NewArchive(raw)
		require.NoError(t, err)
		require.Equal(t, a.SHA256, back.SHA256)
		require.True(t, bytes.HasPrefix(raw, []byte{0x1f, 0x8b}))
	})
}

func TestPackFSRejectsFollowSymlinks(t *testing.T) {
	t.Parallel()
	_, err := herokubuild.PackFS(t.Context(), fstest.MapFS{"a": {Data: []byte("a")}}, &herokubuild.PackOptions{FollowSymlinks: true})
	requireInvalid(t, err, "PackOptions.FollowSymlinks")
}
