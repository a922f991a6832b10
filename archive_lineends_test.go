package herokubuild_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
)

// A commit gives the same archive whatever line ends git has checked out.
func TestArchiveIsTheSameWithConvertedLineEnds(t *testing.T) {
	isolateGit(t)
	for name, attributes := range map[string]string{"": "", "text=auto": "* text=auto\n", "macros": "[attr]source text\n*.go source\nbin/* text\n*.dat binary\n", "below": "sub/*.txt -text\n"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			source := repo(t)
			if attributes != "" {
				write(t, source, ".gitattributes", attributes)
			}
			write(t, source, "main.go", strings.Repeat("package main\n", 30_000))
			write(t, source, "bin/release", "#!/bin/sh\nexec true\n")
			write(t, source, "sub/b.txt", "one\ntwo\n")
			write(t, source, "sub/.gitattributes", "*.bat eol=crlf\n\"quo\\164ed.txt\" -text\n")
			write(t, source, "sub/c.bat", "one\ntwo\n")
			write(t, source, "sub/quoted.txt", "one\ntwo\n")
			write(t, source, "x.dat", "a\nb\x00\n")
			commit(t, source)
			lf, windows := filepath.Join(realDir(t), "lf"), filepath.Join(realDir(t), "crlf")
			git(t, source, "-c", "core.autocrlf=false", "clone", "-q", source, lf)
			git(t, source, "clone", "-q", "-c", "core.autocrlf=true", source, windows)
			b, err := os.ReadFile(filepath.Join(windows, "bin", "release"))
			require.NoError(t, err)
			require.Contains(t, string(b), "\r\n", "the checkout must have converted line ends")

			one, two := pack(t, lf), pack(t, windows)
			assert.Equal(t, version(t, lf), version(t, windows))
			assert.Equal(t, one.SHA256, two.SHA256)
			assert.Equal(t, one.Plan, two.Plan)
			plan, err := herokubuild.PlanArchive(t.Context(), windows, nil)
			require.NoError(t, err)
			assert.Equal(t, two.Plan, plan)
			_, byName := entries(t, two)
			assert.Equal(t, "#!/bin/sh\nexec true\n", byName["bin/release"].content)
			assert.Equal(t, "one\r\ntwo\r\n", byName["sub/c.bat"].content, "eol=crlf applies to every checkout")

			// What has been changed is packed as it is.
			write(t, windows, "bin/release", "#!/bin/sh\r\nexec false\r\n")
			_, byName = entries(t, pack(t, windows))
			assert.Equal(t, "#!/bin/sh\r\nexec false\r\n", byName["bin/release"].content)
			assert.Equal(t, head(t, windows)+"-dirty", version(t, windows))
		})
	}
}

// The version agrees with git status.
func TestTreeVersionAgreesWithGitStatus(t *testing.T) {
	isolateGit(t)
	const groups, each = 4, 15
	for group := range groups {
		t.Run(fmt.Sprint(group), func(t *testing.T) {
			t.Parallel()
			for seed := group * each; seed < (group+1)*each; seed++ {
				compareVersion(t, tricky{rand.New(rand.NewPCG(uint64(seed), 6))}, seed)
			}
		})
	}
}

// text returns content with all kinds of line ends.
func (r tricky) text() string {
	var b strings.Builder
	for range r.IntN(5) {
		b.WriteString(r.pick("a", "bb", "", "c\x00", "\r", "é", "\x1a", "\x01\x02") + r.pick("\n", "\n", "\r\n", "\r\n", "\r\r\n", ""))
	}
	return b.String()
}

func (r tricky) attributes() string {
	var b strings.Builder
	for range 1 + r.IntN(4) {
		b.WriteString(r.pick("*", "f*", "/fa", "d/*", "fb", "d/", "**/fc", "!fa", "\"f\\141\"", "[attr]m", "m", "#", "[f]a", "d/**", "") + " ")
		for range 1 + r.IntN(2) {
			b.WriteString(r.pick("text", "-text", "!text", "text=auto", "text=input", "text=odd", "crlf", "-crlf", "crlf=input", "eol=lf", "eol=crlf", "binary", "-binary", "m", "m=x", "-diff", "bad/name", "text=") + r.pick(" ", "\t"))
		}
		b.WriteString(r.pick("\n", "\r\n"))
	}
	return b.String()
}

func compareVersion(t *testing.T, r tricky, seed int) {
	t.Helper()
	dir := repo(t)
	names := []string{"fa", "fb", "fc", "d/fa", "d/fb", "d/e/fc"}
	for _, name := range names {
		write(t, dir, name, r.text())
	}
	for _, path := range []string{".gitattributes", "d/.gitattributes"} {
		if r.IntN(3) == 0 {
			write(t, dir, path, r.attributes())
		}
	}
	// git compares the content of files that changed in the same second as the
	// index, which this test avoids.
	old := time.Now().Add(-time.Hour)
	require.NoError(t, filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() && !strings.Contains(path, ".git"+string(filepath.Separator)) {
			err = os.Chtimes(path, old, old)
		}
		return err
	}))
	commit(t, dir)
	if r.IntN(3) == 0 {
		write(t, dir, ".git/info/attributes", r.attributes())
	}
	if r.IntN(2) == 0 {
		git(t, dir, "config", "core.autocrlf", r.pick("true", "input", "false"))
	}
	if r.IntN(3) == 0 {
		git(t, dir, "config", "core.eol", r.pick("lf", "crlf", "native"))
	}
	changed := names[r.IntN(len(names))]
	path := filepath.Join(dir, filepath.FromSlash(changed))
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	text := string(b)
	switch r.IntN(5) {
	case 0:
		text = strings.ReplaceAll(text, "\n", "\r\n")
	case 3:
		text = strings.Replace(text, "a\n", "\r\n", 1)
	case 1:
		text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\n", "\r\n")
	case 2:
		text = strings.ReplaceAll(text, "\r\n", "\n")
	}
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	later := time.Now().Add(time.Hour)
	require.NoError(t, os.Chtimes(path, later, later))
	got := version(t, dir)
	want := head(t, dir)
	// git prints warnings about odd attributes to standard error.
	status, err := gitCommand(t, dir, "status", "--porcelain").Output()
	require.NoError(t, err)
	if len(status) > 0 {
		want += "-dirty"
	}
	attributes, _ := os.ReadFile(filepath.Join(dir, ".gitattributes"))
	below, _ := os.ReadFile(filepath.Join(dir, "d", ".gitattributes"))
	own, _ := os.ReadFile(filepath.Join(dir, ".git", "info", "attributes"))
	config, _ := os.ReadFile(filepath.Join(dir, ".git", "config"))
	assert.Equal(t, want, got, "seed %d: %s %q is now %q; %q, %q, %q; %s", seed, changed, b, text, attributes, below, own, config)
}
