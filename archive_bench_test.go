package herokubuild_test

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/herokubuild/herokubuild"
)

// benchTree returns the directory in ARCHIVE_BENCH_TREE, or the Go source tree. For
// the comparison with tar and pigz see internal/archivebench.
func benchTree(b *testing.B) string {
	b.Helper()
	dir := os.Getenv("ARCHIVE_BENCH_TREE")
	if dir == "" {
		dir = filepath.Join(runtime.GOROOT(), "src") //nolint:staticcheck // any tree of sources will do
	}
	if _, err := os.Stat(dir); err != nil {
		b.Skip("there is no Go source tree: name another one with ARCHIVE_BENCH_TREE")
	}
	return dir
}

func BenchmarkArchiveDir(b *testing.B) {
	dir := benchTree(b)
	plan, err := herokubuild.PlanArchive(b.Context(), dir, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(plan.TotalSize)
	b.ReportAllocs()
	for b.Loop() {
		a, err := herokubuild.PackDir(b.Context(), dir, nil)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(a.Size)/float64(plan.TotalSize), "ratio")
		_ = a.Close()
	}
}

func BenchmarkArchivePlan(b *testing.B) {
	dir := benchTree(b)
	for b.Loop() {
		if _, err := herokubuild.PlanArchive(b.Context(), dir, nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkArchiveVersion(b *testing.B) {
	for b.Loop() {
		if _, err := herokubuild.TreeVersion(b.Context(), "."); err != nil {
			b.Fatal(err)
		}
	}
}
