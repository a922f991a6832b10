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

// Builder compiles an unpacked source tree in place. It writes the build's
// output to the Job's Output. An error fails the build, and its text is printed
// at the end of the output.
type Builder interface {
	Build(ctx context.Context, j *Job) error
}

// BuilderFunc adapts a function to a [Builder].
type BuilderFunc func(ctx context.Context, j *Job) error

// Build calls f.
func (f BuilderFunc) Build(ctx context.Context, j *Job) error { return f(ctx, j) }

// Job describes a build to a [Builder].
type Job struct {
	// AppName and AppID identify the app, and BuildID the build.
	AppName, AppID, BuildID string
	// Stack is the name of the stack.
	Stack string
	// Buildpacks are the requested buildpacks, by name or URL. If there are none,
	// the Builder may set it to those that it detects.
	Buildpacks []string
	// BuildDir contains the source tree. The slug is packed from it after the
	// build.
	BuildDir string
	// CacheDir is preserved between the builds of an app.
	CacheDir string
	// EnvDir contains a file for each config var of the app.
	EnvDir string
	// Output receives the output of the build.
	Output io.Writer
	// SourceVersion and SourceVersionDescription are those of the request.
	SourceVersion, SourceVersionDescription string
	// ProcessTypes may be filled by the Builder. Those of a Procfile take
	// precedence.
	ProcessTypes map[string]string
	// BuildpackDescription may be set by the Builder, for example to the name
	// of a language.
	BuildpackDescription string

	home, tmp string
}

// Run runs a program in BuildDir and copies its output to Output. Its
// environment is a minimal one for the build, plus env. When the program exits
// or ctx ends, all processes that the program started are killed.
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
	_, _ = fmt.Fprintf(j.Output, format, args...) // if writing fails, so does the build itself
}

// errNoLanguage is Heroku's error for an app that no buildpack detects. The
// caller prefixes the first line with " !".
var errNoLanguage = errors.New("No default language could be detected for this app.\n" + //nolint:staticcheck // a line of the output
	"\t\t\tHINT: This occurs when Heroku cannot detect the buildpack to use for this application automatically.\n" +
	"\t\t\tSee https://devcenter.heroku.com/articles/buildpacks")

// DefaultBuilder returns a Builder that runs the app's bin/compile, if there is
// one, as an inline buildpack. Otherwise it builds Go modules offline with the
// local go tool.
func DefaultBuilder() Builder { return &detector{} }

type detector struct {
	mu     sync.Mutex
	goTool *goTool // set by the first build that needs it
}

func (d *detector) Build(ctx context.Context, j *Job) error {
	inline := runnable(filepath.Join(j.BuildDir, "bin", "compile"))
	module := regular(filepath.Join(j.BuildDir, "go.mod"))
	for _, name := range j.Buildpacks {
		inline = inline && strings.Contains(name, "inline")
		module = module && (name == "heroku/go" || strings.Contains(name, "heroku-buildpack-go"))
	}
	requested := len(j.Buildpacks) > 0
	switch {
	case inline:
		if !requested {
			j.Buildpacks = []string{inlineBuildpack}
		}
		return buildInline(ctx, j)
	case requested && !module:
		return fmt.Errorf("App not compatible with buildpack: %s\n       More info: https://devcenter.heroku.com/articles/buildpacks#detection-failure", strings.Join(j.Buildpacks, ", ")) //nolint:staticcheck // a line of the output
	case module:
		if !requested {
			j.Buildpacks = []string{"heroku/go"}
		}
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

const inlineBuildpack = "https://github.com/kr/heroku-buildpack-inline"

func buildInline(ctx context.Context, j *Job) error {
	j.printf("-----> Using buildpack: " + inlineBuildpack + "\n-----> Inline app detected\n")
	err := j.Run(ctx, nil, filepath.Join(j.BuildDir, "bin", "compile"), j.BuildDir, j.CacheDir, j.EnvDir)
	return j.rejected("Inline", err)
}

// rejected returns the error of a build whose compiler has failed with err, or nil. A
// cause other than the compiler's exit status is printed, since the output does not
// have it.
func (j *Job) rejected(kind string, err error) error {
	if err == nil {
		return nil
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		j.printf(" !     %v\n", err)
	}
	return fmt.Errorf("Push rejected, failed to compile %s app.", kind) //nolint:staticcheck // a line of the output
}

// goTool is the local go command with its caches, so that packages compiled
// before are not compiled again.
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
	cmd.Dir = os.TempDir() // outside of a module, whose go.mod could select another toolchain
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
	// The tree is not under version control, but a parent directory may be.
	flags := "GOFLAGS=-buildvcs=false"
	if info, err := os.Stat(filepath.Join(j.BuildDir, "vendor")); err == nil && info.IsDir() {
		flags += " -mod=vendor"
	}
	// With telemetry on, the go tool may leave a process running in the home
	// directory.
	for _, dir := range []string{".config", "Library/Application Support"} {
		dir = filepath.Join(j.home, filepath.FromSlash(dir), "go", "telemetry")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		if err := writeFiles(dir, map[string]string{"mode": "off"}); err != nil {
			return err
		}
	}
	before := programs(j)
	err := j.Run(ctx, append(slices.Clone(t.env), flags), t.path, "build", "-v", "-o", "bin/", "./...")
	if err := j.rejected("Go", err); err != nil {
		return err
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
