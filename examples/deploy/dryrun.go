package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/herokubuild/herokubuild"
	"github.com/herokubuild/herokubuild/examples/internal/terminal"
)

// maxExcluded limits the number of listed excluded paths.
const maxExcluded = 50

// dryRun prints which files would be packed, their version, and which paths are
// excluded and why.
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
	fmt.Fprintf(w, "%s: %d files, %s before compression\nversion: %s\n", terminal.Line(dir), plan.FileCount, terminal.Size(plan.TotalSize), version)
	fmt.Fprintln(w, "\nlargest files:")
	for _, e := range plan.Largest {
		fmt.Fprintf(w, "    %10s  %s\n", terminal.Size(e.Size), printable(e.Path))
	}
	if len(plan.Excluded) > 0 {
		fmt.Fprintln(w, "\nexcluded:")
		for _, out := range plan.Excluded[:min(len(plan.Excluded), maxExcluded)] {
			fmt.Fprintf(w, "    %s  (%s)\n", printable(out.Path), terminal.Line(out.Reason))
		}
		if more := len(plan.Excluded) - maxExcluded; more > 0 {
			fmt.Fprintf(w, "    and %d more\n", more)
		}
	}
	for _, warning := range plan.Warnings {
		fmt.Fprintln(w, "\nwarning: "+terminal.Line(warning.String()))
	}
	return nil
}

// printable quotes a name that contains unprintable characters.
func printable(name string) string {
	if strings.ContainsFunc(name, func(r rune) bool { return !strconv.IsPrint(r) }) {
		return strconv.Quote(name)
	}
	return name
}
