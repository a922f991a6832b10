package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/herokubuild/herokubuild"
)

// mostOut is how many of the paths that are left out are listed.
const mostOut = 50

// dryRun says what would be packed, as which version, and what would not and
// why.
func dryRun(ctx context.Context, dir string, w io.Writer) error {
	plan, err := herokubuild.PlanArchive(ctx, dir, nil)
	if err != nil {
		return err
	}
	version, err := herokubuild.TreeVersion(ctx, dir)
	if err != nil {
		return err
	}
	if version == "" {
		version = "the archive's SHA-256"
	}
	fmt.Fprintf(w, "%s: %d files, %s before compression\nversion: %s\n", line(dir), plan.FileCount, size(plan.TotalSize), version)
	fmt.Fprintln(w, "\nthe largest:")
	for _, e := range plan.Largest {
		fmt.Fprintf(w, "    %10s  %s\n", size(e.Size), printable(e.Path))
	}
	if len(plan.Excluded) > 0 {
		fmt.Fprintln(w, "\nleft out:")
		for _, out := range plan.Excluded[:min(len(plan.Excluded), mostOut)] {
			fmt.Fprintf(w, "    %s  (%s)\n", printable(out.Path), line(out.Reason))
		}
		if more := len(plan.Excluded) - mostOut; more > 0 {
			fmt.Fprintf(w, "    and %d more\n", more)
		}
	}
	for _, warning := range plan.Warnings {
		fmt.Fprintln(w, "\nwarning: "+line(warning.String()))
	}
	return nil
}

// printable quotes a name that would do something to a terminal.
func printable(name string) string {
	if strings.ContainsFunc(name, func(r rune) bool { return !strconv.IsPrint(r) }) {
		return strconv.Quote(name)
	}
	return name
}
