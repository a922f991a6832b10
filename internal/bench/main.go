// Bench runs the benchmarks of the library and prints what they say as the table
// in docs/performance.md: each figure is what this package costs, divided by
// what the same work costs by hand, measured in the same run.
//
//	go run ./internal/bench
package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

func main() {
	count := flag.Int("count", 20, "how often each benchmark runs; the fastest of each counts")
	dir := flag.String("deploy", "", "deploy this `directory` (what the program calls itself with)")
	flag.Parse()
	do := func(ctx context.Context) error { return run(ctx, os.Stdout, *count) }
	if *dir != "" {
		do = func(ctx context.Context) error { return deploy(ctx, *dir) }
	}
	if err := do(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, w io.Writer, count int) error {
	// First: see peak.MiB.
	memory, err := deployMemory(ctx)
	if err != nil {
		return err
	}
	// Many short rounds, and the fastest of each benchmark: what else goes on on a
	// machine only ever makes it slower.
	text := ""
	for range count {
		round, err := command(ctx, "", "go", "test", "-run", "^$", "-bench", "Get|List|Stream", "-benchtime", "150ms", ".")
		if err != nil {
			return err
		}
		text += round
	}
	slow, err := command(ctx, "", "go", "test", "-run", "^$", "-bench", "FanOut", "-benchtime", "3x", ".")
	if err != nil {
		return err
	}
	results := parse(text + slow)
	flow, err := command(ctx, "", "go", "test", "-count", "1", "-v", "-run", "TestReleaseFollowsTheBuildAtOnce|TestRequestsOfALongBuild", ".")
	if err != nil {
		return err
	}
	cost, err := importCost(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "%s, %s/%s, %d processors, %s\n\n", time.Now().Format(time.DateOnly), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version())
	fmt.Fprintln(w, "| figure | reference | measured | bar |")
	fmt.Fprintln(w, "|---|---|---|---|")
	row := func(figure, reference, measured, bar string) {
		fmt.Fprintf(w, "| %s | %s | %s | %s |\n", figure, reference, measured, bar)
	}
	ratio := func(name, unit string) float64 {
		return results.fastest(name+"/impl=herokubuild", unit) / results.fastest(name+"/impl=bare", unit)
	}
	row("one GET, its JSON decoded: time", "net/http + encoding/json", fmt.Sprintf("%.2f times", ratio("Get", "ns/op")), "≤ 1.05")
	row("one GET: allocations", "the same", fmt.Sprintf("%+.0f", results.median("Get/impl=herokubuild", "allocs/op")-results.median("Get/impl=bare", "allocs/op")), "≤ +12")
	row("list of 1,000 builds: time", "one GET + decode", fmt.Sprintf("%.2f times", ratio("List", "ns/op")), "≤ 1.10")
	row("list of 1,000 builds: allocations", "the same", fmt.Sprintf("%.3f times", results.median("List/impl=herokubuild", "allocs/op")/results.median("List/impl=bare", "allocs/op")), "≤ 1.05")
	for _, beat := range []struct{ name, text string }{
		{"none", "no heartbeats"},
		{"every-4KB-chunks", "a heartbeat every 4 KB, as a chunk of its own"},
		{"every-2nd-byte-chunks", "a heartbeat a byte, each a chunk of its own"},
		{"every-4KB", "a heartbeat every 4 KB, all in one chunk"},
		{"every-2nd-byte", "a heartbeat a byte, all in one chunk"},
	} {
		row("output over loopback, "+beat.text, "io.Copy", fmt.Sprintf("%.2f of the throughput", ratio("StreamLoopback/heartbeats="+beat.name, "MB/s")), "≥ 0.97")
	}
	for _, beat := range []struct{ name, text, bar string }{
		{"none", "no heartbeats", "–"},
		{"every-4KB", "a heartbeat every 4 KB", "≥ 15 GB/s"},
		{"every-2nd-byte", "a heartbeat a byte", "≥ 2 GB/s"},
	} {
		row("output in memory, "+beat.text, "io.Copy: "+gigabytes(results.fastest("StreamMemory/heartbeats="+beat.name+"/impl=bare", "MB/s")),
			gigabytes(results.fastest("StreamMemory/heartbeats="+beat.name+"/impl=herokubuild", "MB/s")), beat.bar)
	}
	row("from the build's end to the release, at 0, 20 and 100 ms a request", "the three requests that the API forces", outcome(flow, "AtOnce", "+ 0 ms"), "≤ + 20 ms")
	row("requests in a ten-minute build that is silent but for heartbeats", "–", find(flow, `(\d+) requests:`), "≤ 12")
	row("deploy of a tree of 1 GiB: peak memory", "–", memory, "≤ 64 MiB")
	row("1,000 apps released at 50 ms a request, 16 at a time: time", "apps × 50 ms ÷ 16", fmt.Sprintf("%.2f times", results.median("FanOut", "x-floor")), "≤ 1.2")
	row("import: size of a hello-world", "the same with net/http", cost, "–")
	return nil
}

func gigabytes(megabytes float64) string { return fmt.Sprintf("%.1f GB/s", megabytes/1000) }

// outcome is what a test that asserts an exact figure says by passing.
func outcome(text, name, figure string) string {
	if strings.Contains(text, "--- PASS: TestReleaseFollowsTheBuild"+name) {
		return figure
	}
	return "not met"
}

func find(text, pattern string) string {
	if m := regexp.MustCompile(pattern).FindStringSubmatch(text); m != nil {
		return m[1]
	}
	return "?"
}

func command(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...) //nolint:gosec // this program's own commands
	cmd.Dir = dir
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s%s", name, strings.Join(args, " "), err, &out, &errs)
	}
	return out.String(), nil
}

// measurements are the values of benchmarks, by name and unit.
type measurements map[string][]float64

func parse(text string) measurements {
	m := measurements{}
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		name := strings.TrimPrefix(fields[0], "Benchmark")
		if i := strings.LastIndexByte(name, '-'); i > 0 {
			name = name[:i]
		}
		for i := 2; i+1 < len(fields); i += 2 {
			if v, err := strconv.ParseFloat(fields[i], 64); err == nil {
				key := name + " " + fields[i+1]
				m[key] = append(m[key], v)
			}
		}
	}
	return m
}

// fastest is the least of what is better if there is less of it, and the most of
// a throughput.
func (m measurements) fastest(name, unit string) float64 {
	values := m[name+" "+unit]
	switch {
	case len(values) == 0:
		return 0
	case unit == "MB/s":
		return slices.Max(values)
	}
	return slices.Min(values)
}

func (m measurements) median(name, unit string) float64 {
	values := slices.Sorted(slices.Values(m[name+" "+unit]))
	if len(values) == 0 {
		return 0
	}
	return values[len(values)/2]
}

// importCost builds a program that does nothing with the library and one that
// does nothing with net/http.
func importCost(ctx context.Context) (string, error) {
	root, err := command(ctx, "", "go", "list", "-m", "-f", "{{.Dir}}", "github.com/herokubuild/herokubuild")
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "import-cost-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary directory
	programs := map[string]string{
		"bare": "package main\n\nimport \"net/http\"\n\nfunc main() { _, _ = http.Get(\"https://h/\") }\n",
		"ours": "package main\n\nimport \"github.com/herokubuild/herokubuild\"\n\nfunc main() { c, _ := herokubuild.NewClient(); _, _ = c.BuildAndRelease(nil, herokubuild.BuildAndReleaseOptions{}) }\n",
	}
	size := map[string]int64{}
	modules := ""
	for name, text := range programs {
		at := filepath.Join(dir, name)
		mod := "module example.com/hello\n\ngo 1.25\n"
		if name == "ours" {
			mod += "\nrequire github.com/herokubuild/herokubuild v0.0.0\n\nreplace github.com/herokubuild/herokubuild => " + strings.TrimSpace(root) + "\n"
		}
		if err := errors.Join(os.Mkdir(at, 0o700), os.WriteFile(filepath.Join(at, "main.go"), []byte(text), 0o600), os.WriteFile(filepath.Join(at, "go.mod"), []byte(mod), 0o600)); err != nil {
			return "", err
		}
		for _, args := range [][]string{{"mod", "tidy"}, {"build", "-o", "hello", "."}} {
			cmd := append([]string{"GOWORK=off", "go"}, args...)
			if _, err := command(ctx, at, "env", cmd...); err != nil {
				return "", err
			}
		}
		info, err := os.Stat(filepath.Join(at, "hello"))
		if err != nil {
			return "", err
		}
		size[name] = info.Size()
		if name == "ours" {
			list, err := command(ctx, at, "env", "GOWORK=off", "go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", ".")
			if err != nil {
				return "", err
			}
			used := slices.Compact(slices.Sorted(strings.FieldsSeq(list)))
			used = slices.DeleteFunc(used, func(m string) bool {
				return strings.HasPrefix(m, "example.com") || strings.HasSuffix(m, "/herokubuild")
			})
			modules = strings.Join(used, ", ")
		}
	}
	return fmt.Sprintf("%+.1f MB; modules: %s", float64(size["ours"]-size["bare"])/1e6, modules), nil
}
