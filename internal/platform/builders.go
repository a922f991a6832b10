package platform

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// Builder compiles an unpacked source tree in place. What it prints to the
// output of the job is the output of the build; an error fails the build, and
// its text ends the output.
type Builder interface {
	Build(ctx context.Context, j *Job) error
}

// BuilderFunc is a function as a [Builder].
type BuilderFunc func(ctx context.Context, j *Job) error

// Build calls f.
func (f BuilderFunc) Build(ctx context.Context, j *Job) error { return f(ctx, j) }

// Job is one build, as a [Builder] sees it.
type Job struct {
	// AppName and AppID name the app, BuildID the build.
	AppName, AppID, BuildID string
	// Stack is the name of the stack.
	Stack string
	// Buildpacks are those that the client asked for, by name or URL.
	Buildpacks []string
	// BuildDir holds the source tree. What it holds afterwards is the slug.
	BuildDir string
	// CacheDir is kept from one build of an app to the next.
	CacheDir string
	// EnvDir holds a file for each config var of the app.
	EnvDir string
	// Output takes the output of the build.
	Output io.Writer
	// SourceVersion and SourceVersionDescription are what the client says of
	// the source.
	SourceVersion, SourceVersionDescription string
	// ProcessTypes may be filled by the builder. Those of a Procfile win.
	ProcessTypes map[string]string
	// BuildpackDescription may be set by the builder, to a language for one.
	BuildpackDescription string

	home, tmp string
}

// Run runs a program in BuildDir and sends what it prints to Output. Its
// environment is a minimal one of the build together with env. When the
// program or ctx ends, so does everything that the program has started.
func (j *Job) Run(ctx context.Context, env []string, name string, args ...string) error {
	all := append(baseEnv(j.home, j.tmp),
		"STACK="+j.Stack,
		"SOURCE_VERSION="+j.SourceVersion,
		"BUILD_DIR="+j.BuildDir,
		"CACHE_DIR="+j.CacheDir,
		"ENV_DIR="+j.EnvDir,
	)
	return run(ctx, j.BuildDir, append(all, env...), j.Output, name, args...)
}

func (j *Job) printf(format string, args ...any) {
	_, _ = fmt.Fprintf(j.Output, format, args...) // where it cannot be written, the build fails of itself
}

// errNoLanguage is what Heroku says of an app that no buildpack wants. The
// first line gets its mark from the platform.
var errNoLanguage = errors.New("No default language could be detected for this app.\n" + //nolint:staticcheck // a line of the output
	"\t\t\tHINT: This occurs when Heroku cannot detect the buildpack to use for this application automatically.\n" +
	"\t\t\tSee https://devcenter.heroku.com/articles/buildpacks")

// DefaultBuilder runs bin/compile of the app, if it has one, in the way of an
// inline buildpack. Otherwise it builds Go modules with the local go tool,
// offline.
func DefaultBuilder() Builder { return &detector{} }

type detector struct {
	mu     sync.Mutex
	goTool *goTool // found by the first build that needs it
}

func (d *detector) Build(ctx context.Context, j *Job) error {
	inline := runnable(filepath.Join(j.BuildDir, "bin", "compile"))
	module := regular(filepath.Join(j.BuildDir, "go.mod"))
	for _, name := range j.Buildpacks {
		inline = inline && strings.Contains(name, "inline")
		module = module && (name == "heroku/go" || strings.Contains(name, "heroku-buildpack-go"))
	}
	switch {
	case inline:
		return buildInline(ctx, j)
	case len(j.Buildpacks) > 0 && !module:
		return fmt.Errorf("App not compatible with buildpack: %s\n       More info: https://devcenter.heroku.com/articles/buildpacks#detection-failure", strings.Join(j.Buildpacks, ", ")) //nolint:staticcheck // a line of the output
	case module:
		tool, err := d.tool(ctx)
		if err != nil {
			return err
		}
		return tool.build(ctx, j)
	default:
		return errNoLanguage
	}
}

func regular(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

func buildInline(ctx context.Context, j *Job) error {
	j.printf("-----> Using buildpack: https://github.com/kr/heroku-buildpack-inline\n-----> Inline app detected\n")
	if err := j.Run(ctx, nil, filepath.Join(j.BuildDir, "bin", "compile"), j.BuildDir, j.CacheDir, j.EnvDir); err != nil {
		return fmt.Errorf("Push rejected, failed to compile Inline app.") //nolint:staticcheck // a line of the output
	}
	return nil
}

// goTool is the go command of this machine, with its caches: packages that it
// has compiled before need not be compiled again.
type goTool struct {
	path    string
	version string
	env     []string
}

func (d *detector) tool(ctx context.Context) (*goTool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.goTool != nil {
		return d.goTool, nil
	}
	path, err := exec.LookPath("go")
	if err != nil {
		return nil, errors.New("The go tool is not installed.") //nolint:staticcheck // a line of the output
	}
	vars := []string{"GOVERSION", "GOCACHE", "GOMODCACHE", "GOPATH", "CGO_ENABLED", "CC", "CXX"}
	cmd := exec.CommandContext(ctx, path, append([]string{"env"}, vars...)...)
	cmd.Dir = os.TempDir() // not in a module, whose go.mod could choose another toolchain
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go env: %w", err)
	}
	values := strings.Split(strings.TrimRight(string(out), "\r\n"), "\n")
	if len(values) != len(vars) {
		return nil, errors.New("go env: unexpected output")
	}
	t := &goTool{path: path, version: strings.TrimSpace(values[0])}
	for i, k := range vars[1:] {
		t.env = append(t.env, k+"="+strings.TrimSpace(values[i+1]))
	}
	t.env = append(t.env, "GOPROXY=off", "GOSUMDB=off", "GOTOOLCHAIN=local", "GOWORK=off")
	d.goTool = t
	return t, nil
}

func (t *goTool) build(ctx context.Context, j *Job) error {
	j.BuildpackDescription = "Go"
	j.printf("-----> Using buildpack: heroku/go\n-----> Go app detected\n-----> Using %s\n-----> Running: go build -v -o bin/ ./...\n", t.version)
	// The tree is not under version control, but where it lies may be.
	flags := "GOFLAGS=-buildvcs=false"
	if info, err := os.Stat(filepath.Join(j.BuildDir, "vendor")); err == nil && info.IsDir() {
		flags += " -mod=vendor"
	}
	// Without a home of its own the tool would leave a process behind there,
	// which counts how it is used.
	for _, dir := range []string{".config", "Library/Application Support"} {
		dir = filepath.Join(j.home, filepath.FromSlash(dir), "go", "telemetry")
		if err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, "mode"), []byte("off"), 0o600)); err != nil {
			return err
		}
	}
	before := programs(j)
	if err := j.Run(ctx, append(slices.Clone(t.env), flags), t.path, "build", "-v", "-o", "bin/", "./..."); err != nil {
		return fmt.Errorf("Push rejected, failed to compile Go app.") //nolint:staticcheck // a line of the output
	}
	built := slices.DeleteFunc(programs(j), func(name string) bool { return slices.Contains(before, name) })
	if len(built) == 1 && !regular(filepath.Join(j.BuildDir, "Procfile")) {
		j.ProcessTypes["web"] = "bin/" + built[0]
	}
	return nil
}

// programs lists the regular files in the bin directory of a build.
func programs(j *Job) []string {
	entries, err := os.ReadDir(filepath.Join(j.BuildDir, "bin"))
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		if e.Type()&fs.ModeType == 0 {
			names = append(names, e.Name())
		}
	}
	return names
}
