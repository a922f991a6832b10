package main

import (
	"context"
	"os/exec"
	"strings"
	"time"
)

// gitVersion is the commit that dir is a checkout of, with "-dirty" if the
// directory has changes; empty if it is none, or git is not installed.
func gitVersion(ctx context.Context, dir string) string {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	git := func(args ...string) (string, bool) {
		out, err := exec.CommandContext(ctx, "git", append([]string{"-C", dir}, args...)...).Output()
		return strings.TrimSpace(string(out)), err == nil
	}
	commit, ok := git("rev-parse", "--verify", "HEAD")
	if !ok {
		return ""
	}
	// A directory that git ignores, or knows nothing of, is not what was
	// committed.
	if files, ok := git("ls-tree", "--name-only", "HEAD", "."); !ok || files == "" {
		return ""
	}
	if changes, ok := git("status", "--porcelain", "--", "."); !ok || changes != "" {
		commit += "-dirty"
	}
	return commit
}
