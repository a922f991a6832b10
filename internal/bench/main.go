// Bench runs the benchmarks of the library and prints the table in
// docs/performance.md. Each figure is the cost of this package divided by the
// cost of the same work without it, measured in the same run.
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
	count := flag.Int("count", 20, "number of runs of each benchmark; the fastest counts")
	dir := flag.String("deploy", "", "deploy this `directory` (used internally)")
	calls := flag.Int("calls", 1, "number of deploys at once (used internally)")
	deploys := flag.Int("deploys", 1, "how many of the calls deploy (used internally)")
	memory := flag.Bool("memory", false, "measure only the memory of deploys")
	flag.Parse()
	do := func(ctx context.Context) error { return run(ctx, os.Stdout, *count) }
	switch {
	case *dir != "":
		do = func(ctx context.Context) error { return deploy(ctx, *dir, *calls, *deploys) }
	case *memory:
		do = func(ctx context.Context) error { return concurrentMemory(ctx, printRow(os.Stdout)) }
	}
	if err := do(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, w io.Writer, count int) error {
	// This comes first because of the limitation of peak.MiB.
	memory, _, err := deployMemory(ctx, load{tree: 1 << 30, calls: 1, deploys: 1})
	if err != nil {
		return err
	}
	var concurrent [][4]string
	if err := concurrentMemory(ctx, func(row ...string) { concurrent = append(concurrent, [4]string(row)) }); err != nil {
		return err
	}
	// Each benchmark runs many short rounds, of which the fastest counts, since
	// other load on the machine only makes a round slower.
	text := ""
	for range count {
		round, err := command(ctx, "", "go", "test", "-run", "^$", "-bench", "Get|List|Stream", "-benchtime", "150ms", ".")
		if err != nil {
			return err
		}
		text += round
	}
	slow, err := command(ctx, "", "go", "test", "-run", "^$", "-bench", "Rollout$", "-benchtime", "3x", ".")
	if err != nil {
		return err
	}
	growth, err := command(ctx, "", "go", "test", "-run", "^$", "-bench", "RolloutGrowth", "-benchtime", "3x", "-count", "5", ".")
	if err != nil {
		return err
	}
	results := parse(text + slow + growth)
	flow, err := command(ctx, "", "go", "test", "-count", "1", "-v", "-run", "TestReleaseFollowsBuildWithThreeRequests|TestLongBuildNeedsFewRequests", ".")
	if err != nil {
		return err
	}
	cost, err := importCost(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "%s, %s/%s, %d processors, %s\n\n", time.Now().Format(time.DateOnly), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version())
	fmt.Fprintln(w, "| figure | reference | measured | target |")
	fmt.Fprintln(w, "|---|---|---|---|")
	row := func(figure, reference, measured, target string) { printRow(w)(figure, reference, measured, target) }
	ratio := func(name, unit string) float64 {
		return results.fastest(name+"/impl=herokubuild", unit) / results.fastest(name+"/impl=bare", unit)
	}
	row("GET with decoded JSON: time", "net/http + encoding/json", fmt.Sprintf("%.2f×", ratio("Get", "ns/op")), "≤ 1.05×")
	row("GET with decoded JSON: allocations", "same", fmt.Sprintf("%+.0f", results.median("Get/impl=herokubuild", "allocs/op")-results.median("Get/impl=bare", "allocs/op")), "≤ +12")
	row("list of 1,000 builds: time", "one GET + decode", fmt.Sprintf("%.2f×", ratio("List", "ns/op")), "≤ 1.10×")
	row("list of 1,000 builds: allocations", "same", fmt.Sprintf("%.3f×", results.median("List/impl=herokubuild", "allocs/op")/results.median("List/impl=bare", "allocs/op")), "≤ 1.05×")
	for _, beat := range []struct{ name, text string }{
		{"none", "no heartbeats"},
		{"every-4KB-chunks", "heartbeat every 4 KB in a separate chunk"},
		{"every-2nd-byte-chunks", "heartbeat every 2nd byte in a separate chunk"},
		{"every-4KB", "heartbeat every 4 KB, one chunk"},
		{"every-2nd-byte", "heartbeat every 2nd byte, one chunk"},
	} {
		row("output over loopback, "+beat.text+": throughput", "io.Copy", fmt.Sprintf("%.2f×", ratio("StreamLoopback/heartbeats="+beat.name, "MB/s")), "≥ 0.97×")
	}
	for _, beat := range []struct{ name, text, target string }{
		{"none", "no heartbeats", "–"},
		{"every-4KB", "heartbeat every 4 KB", "≥ 15 GB/s"},
		{"every-2nd-byte", "heartbeat every 2nd byte", "≥ 0.5 GB/s"},
	} {
		row("output in memory, "+beat.text, "io.Copy: "+gigabytes(results.fastest("StreamMemory/heartbeats="+beat.name+"/impl=bare", "MB/s")),
			gigabytes(results.fastest("StreamMemory/heartbeats="+beat.name+"/impl=herokubuild", "MB/s")), beat.target)
	}
	row("delay from the end of the build to the release, at 0, 20 and 100 ms per request", "three requests, the API's minimum", outcome(flow, "TestReleaseFollowsBuildWithThreeRequests", "+0 ms"), "≤ +20 ms")
	row("requests during a ten-minute build without output", "–", find(flow, `(\d+) requests:`), "≤ 12")
	row("peak memory when deploying a 1 GiB tree", "–", memory, "≤ 64 MiB")
	for _, r := range concurrent {
		row(r[0], r[1], r[2], r[3])
	}
	row("time to release to 1,000 apps, 50 ms per request, 16 at a time", "apps × 50 ms ÷ 16", fmt.Sprintf("%.2f×", results.median("Rollout", "x-floor")), "≤ 1.2×")
	for _, apps := range []int{1_000, 10_000, 40_000} {
		name, target := fmt.Sprintf("RolloutGrowth/apps=%d", apps), "≤ 1.2×"
		if apps == 1_000 {
			target = "–"
		}
		time := results.fastest(name, "ns/app")
		row(fmt.Sprintf("each app of a rollout to %d, without delay: time, allocations, memory allocated", apps), "an app of 1,000",
			fmt.Sprintf("%.0f µs (%.2f×), %.0f, %.1f kB", time/1e3, time/results.fastest("RolloutGrowth/apps=1000", "ns/app"),
				results.median(name, "allocs/app"), results.median(name, "B/app")/1e3), target)
	}
	row("binary size of a hello-world program", "the same with net/http", cost, "–")
	return nil
}

func printRow(w io.Writer) func(row ...string) {
	return func(row ...string) { fmt.Fprintln(w, "|", strings.Join(row, " | "), "|") }
}

// concurrentMemory reports the peak memory of processes that deploy more and more at
// once.
func concurrentMemory(ctx context.Context, report func(row ...string)) error {
	for _, l := range []struct {
		load
		target string
	}{
		{load{calls: 1, deploys: 1}, "–"}, {load{calls: 10, deploys: 10}, "–"},
		{load{calls: 100, deploys: 100}, "≤ 256 MiB"}, {load{calls: 1000, deploys: 100}, "≤ 20 MiB more"},
	} {
		l.tree = 30 << 20
		measured, took, err := deployMemory(ctx, l.load)
		if err != nil {
			return err
		}
		text := fmt.Sprintf("peak memory of %d calls at once with one client, of which %d deploy 30 MiB each", l.calls, l.deploys)
		report(text, "–", fmt.Sprintf("%s; %.1f s", measured, took.Seconds()), l.target)
	}
	return nil
}

func gigabytes(megabytes float64) string { return fmt.Sprintf("%.1f GB/s", megabytes/1000) }

// outcome returns figure if the test that asserts it has passed.
func outcome(text, name, figure string) string {
	if strings.Contains(text, "--- PASS: "+name) {
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
	cmd := exec.CommandContext(ctx, name, args...) //nolint:gosec // the commands are constants
	cmd.Dir = dir
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s%s", name, strings.Join(args, " "), err, &out, &errs)
	}
	return out.String(), nil
}

// measurements maps the name and unit of a benchmark to its values.
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

// fastest returns the maximum of a throughput, and the minimum of other values.
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

// importCost compares the size of a minimal program that uses the library with
// one that uses net/http.
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
