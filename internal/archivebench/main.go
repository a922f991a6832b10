// Command archivebench packs trees with the library, with "tar czf" and with
// "tar | pigz" where they are installed, and prints time, throughput, size and
// peak memory of each:
//
//	go run ./internal/archivebench                  # the Go source tree and a mixed tree of 512 MB
//	go run ./internal/archivebench -n 5 DIR...      # other directories, the best of five
//	go run ./internal/archivebench -mixed 2048      # a mixed tree of 2 GiB
//
// Each program runs in its own process, after the files have been read once.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/herokubuild/herokubuild"
	"github.com/herokubuild/herokubuild/internal/peak"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "archivebench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("archivebench", flag.ContinueOnError)
	times := flags.Int("n", 3, "runs of each program; the best counts")
	mixed := flags.Int("mixed", 0, "size in `MiB` of a mixed tree to pack")
	write := flags.String("write", "", "write the mixed tree to this `directory` (internal)")
	child := flags.String("pack", "", "pack this `directory` and print the size of the archive (internal)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	switch {
	case *child != "":
		return pack(ctx, *child)
	case *write != "":
		return writeMixed(*write, int64(*mixed)<<20)
	}
	dirs := flags.Args()
	if len(dirs) == 0 && *mixed == 0 {
		*mixed = 512
		dirs = []string{filepath.Join(runtime.GOROOT(), "src")} //nolint:staticcheck // any tree of sources will do
	}
	if *mixed > 0 {
		dir, err := os.MkdirTemp("", "archivebench-")
		if err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(dir) }()
		// A child process does it to keep the peak of this one low: see peak.MiB.
		cmd := exec.CommandContext(ctx, self(), "-write", dir, "-mixed", fmt.Sprint(*mixed))
		cmd.Stderr = os.Stderr
		if err := cmd.Run(); err != nil {
			return err
		}
		dirs = append(dirs, dir)
	}
	for _, dir := range dirs {
		if err := compare(ctx, dir, *times); err != nil {
			return err
		}
	}
	return nil
}

func pack(ctx context.Context, dir string) error {
	a, err := herokubuild.PackDir(ctx, dir, nil)
	if err != nil {
		return err
	}
	fmt.Println(a.Size)
	return a.Close()
}

// way is a way to pack a directory.
type way struct {
	name    string
	needs   string
	command func(ctx context.Context, dir, out string) *exec.Cmd
}

func ways() []way {
	shell := func(script string) func(context.Context, string, string) *exec.Cmd {
		return func(ctx context.Context, dir, out string) *exec.Cmd {
			return exec.CommandContext(ctx, "sh", "-c", script, "sh", dir, out)
		}
	}
	return []way{
		{"tar czf", "tar", shell(`tar czf "$2" -C "$1" --exclude .git .`)},
		{"tar | pigz", "pigz", shell(`tar cf - -C "$1" --exclude .git . | pigz >"$2"`)},
		{"herokubuild", "", func(ctx context.Context, dir, _ string) *exec.Cmd {
			return exec.CommandContext(ctx, self(), "-pack", dir)
		}},
	}
}

func self() string {
	path, err := os.Executable()
	if err != nil {
		return os.Args[0]
	}
	return path
}

func compare(ctx context.Context, dir string, times int) error {
	bytes, err := readAll(dir)
	if err != nil {
		return err
	}
	fmt.Printf("%s: %d MiB, GOMAXPROCS %d\n", dir, bytes>>20, runtime.GOMAXPROCS(0))
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "\tseconds\tMiB/s\ttimes tar\tsize\tof tar\tpeak MiB\t")
	var tarTime time.Duration
	var tarSize int64
	for _, w := range ways() {
		if _, err := exec.LookPath(w.needs); w.needs != "" && err != nil {
			fmt.Fprintf(table, "%s\tnot installed\t\t\t\t\t\t\n", w.name)
			continue
		}
		best, size, memory, err := measure(ctx, w, dir, times)
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		if tarTime == 0 {
			tarTime, tarSize = best, size
		}
		fmt.Fprintf(table, "%s\t%.2f\t%.0f\t%.2f\t%d\t%.3f\t%s\t\n", w.name, best.Seconds(),
			float64(bytes)/(1<<20)/best.Seconds(), tarTime.Seconds()/best.Seconds(), size, float64(size)/float64(tarSize), memory)
	}
	return table.Flush()
}

func measure(ctx context.Context, w way, dir string, times int) (best time.Duration, size int64, memory string, err error) {
	temp, err := os.MkdirTemp("", "archivebench-out-")
	if err != nil {
		return 0, 0, "", err
	}
	defer func() { _ = os.RemoveAll(temp) }()
	out := filepath.Join(temp, "a.tgz")
	for range times {
		cmd := w.command(ctx, dir, out)
		cmd.Stderr = os.Stderr
		var output strings.Builder
		cmd.Stdout = &output
		start := time.Now()
		if err := cmd.Run(); err != nil {
			return 0, 0, "", err
		}
		took := time.Since(start)
		if best == 0 || took < best {
			best = took
		}
		memory = peak.MiB(cmd.ProcessState)
		if _, err := fmt.Sscan(output.String(), &size); err == nil {
			continue
		}
		info, err := os.Stat(out)
		if err != nil {
			return 0, 0, "", err
		}
		size = info.Size()
	}
	return best, size, memory, nil
}

// readAll reads every file, so that all programs find them in the page cache.
func readAll(dir string) (bytes int64, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := os.Open(path) //nolint:gosec // the tree is not modified concurrently
		if err != nil {
			return err
		}
		n, err := io.Copy(io.Discard, f)
		bytes += n
		return errors.Join(err, f.Close())
	})
	return bytes, err
}

// writeMixed writes a tree like that of an app: sources, large repetitive text,
// programs, and files that cannot be compressed, such as pictures.
func writeMixed(dir string, bytes int64) error {
	r := rand.New(rand.NewPCG(1, 2))                                                   //nolint:gosec // any bytes, but always the same
	sources, err := filepath.Glob(filepath.Join(runtime.GOROOT(), "src", "*", "*.go")) //nolint:staticcheck // as above
	if err != nil {
		return err
	}
	programs, err := filepath.Glob(filepath.Join(runtime.GOROOT(), "bin", "*")) //nolint:staticcheck // as above
	if err != nil {
		return err
	}
	if len(sources) == 0 || len(programs) == 0 {
		return errors.New("no Go source tree to build a mixed tree from")
	}
	for n := 0; bytes > 0; n++ {
		path := filepath.Join(dir, fmt.Sprint("d", n%97), fmt.Sprint("f", n))
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			return err
		}
		var content []byte
		switch k := r.IntN(1000); {
		case k < 940:
			content, err = os.ReadFile(sources[r.IntN(len(sources))])
		case k < 970:
			content = randomBytes(r, 20<<10+r.IntN(300<<10))
		case k < 999:
			content = logLines(r, 1000+r.IntN(5000))
		default:
			content, err = os.ReadFile(programs[r.IntN(len(programs))])
		}
		if err != nil {
			return err
		}
		content = content[:min(int64(len(content)), bytes)]
		bytes -= int64(len(content))
		if err := os.WriteFile(path, content, 0o600); err != nil { //nolint:gosec // the directory is the caller's to name
			return err
		}
	}
	return nil
}

func randomBytes(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32()) //nolint:gosec // any of its bytes
	}
	return b
}

func logLines(r *rand.Rand, n int) []byte {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"time":"2024-01-02T03:%02d:%02dZ","level":"info","msg":"request","path":"/things/%d","status":%d,"ms":%d}`+"\n",
			i/60%60, i%60, r.IntN(100000), 200+r.IntN(5), r.IntN(900))
	}
	return []byte(b.String())
}
