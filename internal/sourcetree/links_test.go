package sourcetree

import (
	"context"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// linksOf returns links from pairs of a path and a target.
func linksOf(pairs ...string) *links {
	l := &links{}
	for i := 0; i < len(pairs); i += 2 {
		l.add(pairs[i], pairs[i+1])
	}
	return l
}

func TestLinksThatLeave(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		link  string
		links *links
		want  bool
	}{
		"sibling":             {"a/link", linksOf("a/link", "file"), false},
		"parent":              {"a/link", linksOf("a/link", "../file"), false},
		"the root":            {"a/link", linksOf("a/link", ".."), false},
		"above the root":      {"a/link", linksOf("a/link", "../.."), true},
		"out and back":        {"link", linksOf("link", "../tree/file"), true},
		"absolute":            {"link", linksOf("link", "/etc/passwd"), true},
		"dangling":            {"link", linksOf("link", "missing/x/y"), false},
		"slashes and dots":    {"a/b/link", linksOf("a/b/link", ".//..///./../c"), false},
		"through a link":      {"a/b/out", linksOf("a/b/top", "../..", "a/b/out", "top/../secret"), true},
		"link below a link":   {"out", linksOf("deep", "a/b", "out", "deep/../../.."), true},
		"stays below a link":  {"in", linksOf("deep", "a/b", "in", "deep/../.."), false},
		"loop":                {"one", linksOf("one", "two", "two", "one"), false},
		"itself":              {"one", linksOf("one", "one/.."), false},
		"target of the other": {"one", linksOf("one", "two", "two", "../x"), true},
	} {
		got, err := tt.links.leaves(t.Context(), tt.link)
		require.NoError(t, err, name)
		assert.Equal(t, tt.want, got, name)
	}
}

func TestChainOfLinksIsBounded(t *testing.T) {
	t.Parallel()
	l := &links{}
	pad := strings.Repeat("/x", 1900)
	for i := range 60 {
		l.add(fmt.Sprint("l", i), fmt.Sprintf("l%d%s", i+1, pad))
	}
	l.add("l60", "/out")
	out, err := l.leaves(t.Context(), "l0")
	require.NoError(t, err)
	assert.True(t, out, "fewer links than any system follows")
	l.add("l60", "l61")
	for i := 61; i < 100; i++ {
		l.add(fmt.Sprint("l", i), fmt.Sprintf("l%d", i+1))
	}
	l.add("l100", "/out")
	out, err = l.leaves(t.Context(), "l0")
	require.NoError(t, err)
	assert.False(t, out, "no system follows as many")

	long := linksOf("a", strings.Repeat("x/", maxLinkParts+2))
	_, err = long.leaves(t.Context(), "a")
	require.ErrorIs(t, err, errLinkTooLong)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = l.leaves(ctx, "l0")
	require.ErrorIs(t, err, context.Canceled)
}

// A single link leaves if its cleaned target begins above the root.
func FuzzLinkLeaves(f *testing.F) {
	f.Add("a/b/link", "../../..")
	f.Add("link", "x/../y")
	f.Add("a/link", ".//.././z")
	f.Fuzz(func(t *testing.T, link, target string) {
		throughItself := slices.Contains(strings.Split(target, "/"), path.Base(link))
		if link == "." || !filepath.IsLocal(link) || path.Clean(link) != link || target == "" || len(target) > maxLink || throughItself {
			t.Skip()
		}
		got, err := linksOf(link, target).leaves(t.Context(), link)
		require.NoError(t, err)
		end := path.Join(path.Dir(link), target)
		want := isAbsolute(target) || end == ".." || strings.HasPrefix(end, "../")
		require.Equal(t, want, got)
	})
}
