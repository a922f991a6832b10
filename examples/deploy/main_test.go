package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/herokubuild/herokubuild/examples/internal/sample"
	"github.com/herokubuild/herokubuild/herokutest"
)

// isolate clears the credentials and settings of the user who runs the tests.
func isolate(t *testing.T) {
	t.Helper()
	t.Setenv("HEROKU_API_KEY", "")
	t.Setenv("HEROKU_API_URL", "")
	t.Setenv("NETRC", filepath.Join(t.TempDir(), "none"))
	t.Setenv("GITHUB_ACTIONS", "")
}

func deploy(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, &out, &errs)
	t.Logf("deploy %q: exit %d\nstdout:\n%s\nstderr:\n%s", args, code, &out, &errs)
	return code, out.String(), errs.String()
}

func wantContains(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q is missing in:\n%s", part, text)
		}
	}
}

// sampleCopy copies the sample app with one file replaced and returns its
// directory.
func sampleCopy(t *testing.T, file, content string) string {
	t.Helper()
	dir, remove, err := sample.Write(sampleApp)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(remove)
	if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestSampleAppIsBuiltAndReleased(t *testing.T) {
	isolate(t)
	code, stdout, stderr := deploy(t)
	if code != exitOK {
		t.Errorf("exit %d", code)
	}
	wantContains(t, stdout, "-----> Go app detected", "\nexample.com/hello\n")
	wantContains(t, stderr, "example-app | Hello, release phase!", "other-app  v3  succeeded", "Released: example-app v3, other-app v3")
	if strings.Contains(stdout, "==>") || strings.Contains(stderr, "\x1b") {
		t.Error("progress on stdout, or control codes without a terminal")
	}
}

func TestSyntaxErrorIsShownAndNothingReleased(t *testing.T) {
	isolate(t)
	code, stdout, stderr := deploy(t, "-local", sampleCopy(t, "main.go", "package main\n\nfunc main() { oops\n"))
	if code != exitFailed {
		t.Errorf("exit %d", code)
	}
	wantContains(t, stdout, "main.go:4:", "syntax error")
	wantContains(t, stderr, "syntax error", "Error: ")
	if strings.Contains(stderr, "==> Releasing") {
		t.Error("a failed build was released")
	}
}

func TestFailedReleasePhase(t *testing.T) {
	isolate(t)
	code, _, stderr := deploy(t, "-local", sampleCopy(t, "Procfile", "release: echo cannot migrate; exit 1\n"))
	if code != exitFailed {
		t.Errorf("exit %d", code)
	}
	wantContains(t, stderr, "cannot migrate", "example-app  v3  failed", "Error: ")
}

func TestInvalidUsage(t *testing.T) {
	isolate(t)
	for _, args := range [][]string{{"-no-such-flag"}, {"a", "b"}, {"-local", "no-such-directory"}, {"-local", "-release-to", "Not_An_App"}} {
		if code, _, stderr := deploy(t, args...); code != exitUsage || stderr == "" {
			t.Errorf("%q: exit %d, stderr %q", args, code, stderr)
		}
	}
	t.Setenv("HEROKU_API_URL", "http://127.0.0.1:1")
	if code, _, stderr := deploy(t); code != exitUsage || !strings.Contains(stderr, "-app") {
		t.Errorf("a base URL without an app: exit %d, stderr %q", code, stderr)
	}
}

func TestDryRun(t *testing.T) {
	isolate(t)
	dir := sampleCopy(t, ".gitignore", "*.log\n")
	for name, content := range map[string]string{"noisy.log": "x", ".env": "KEY=not-to-be-shown", "two\nlines": "x"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	code, stdout, stderr := deploy(t, "-dry-run", dir)
	if code != exitOK || stderr != "" {
		t.Errorf("exit %d, stderr %q", code, stderr)
	}
	wantContains(t, stdout, "files", "main.go", "noisy.log  (.gitignore:1: *.log)", "warning: .env", `"two\nlines"`)
	if strings.Contains(stdout, "not-to-be-shown") {
		t.Error("a secret was printed")
	}
	if code, _, stderr := deploy(t, "-dry-run", t.TempDir()); code != exitUsage || !strings.Contains(stderr, "no files") {
		t.Errorf("an empty directory: exit %d, stderr %q", code, stderr)
	}
}

func TestHelp(t *testing.T) {
	isolate(t)
	code, _, stderr := deploy(t, "-h")
	if code != exitOK {
		t.Errorf("exit %d", code)
	}
	wantContains(t, stderr, "Usage: deploy", "-release-to")
}

func TestNoCredential(t *testing.T) {
	isolate(t)
	code, _, stderr := deploy(t, "-app", "my-app", t.TempDir())
	if code != exitFailed {
		t.Errorf("exit %d", code)
	}
	wantContains(t, stderr, "HEROKU_API_KEY", "heroku login")
}

// Variables of a script that are empty must not deploy something else, or elsewhere.
func TestWhatIsNotNamedIsNotDeployedToHeroku(t *testing.T) {
	isolate(t)
	for _, args := range [][]string{{"-app", "my-app"}, {"-app", "my-app", ""}, {"-app", "", "."}, {""}, {"-local", ""}} {
		if code, _, _ := deploy(t, args...); code != exitUsage {
			t.Errorf("%q: exit %d", args, code)
		}
	}
}

func TestDeployToServer(t *testing.T) {
	isolate(t)
	opts := herokutest.Realistic()
	opts.Apps = []string{"my-app"}
	srv := herokutest.NewServer(t, opts)
	t.Setenv("HEROKU_API_URL", srv.URL())
	t.Setenv("HEROKU_API_KEY", srv.Token())
	code, _, stderr := deploy(t, "-app", "my-app", "-version", "v7")
	if code != exitOK {
		t.Errorf("exit %d", code)
	}
	wantContains(t, stderr, "Released: my-app v3")
	if version := srv.Builds("my-app")[0].SourceVersion; version != "v7" {
		t.Errorf("version %q", version)
	}

	code, _, stderr = deploy(t, "-app", "no-such-app")
	if code != exitFailed {
		t.Errorf("exit %d", code)
	}
	wantContains(t, stderr, "Couldn't find that app", "Request-Id")
}

// signalWriter calls f on the first write.
type signalWriter struct {
	io.Writer
	once sync.Once
	f    func()
}

func (w *signalWriter) Write(p []byte) (int, error) {
	w.once.Do(w.f)
	return w.Writer.Write(p)
}

func TestInterruptCancelsTheBuild(t *testing.T) {
	isolate(t)
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "bin"), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "bin", "compile"), []byte("#!/bin/sh\necho compiling\nexec sleep 600\n"), 0o700); err != nil { //nolint:gosec // an executable
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var stdout, stderr bytes.Buffer
	code := run(ctx, []string{"-local", dir}, &signalWriter{Writer: &stdout, f: cancel}, &stderr)
	t.Logf("stdout:\n%s\nstderr:\n%s", &stdout, &stderr)
	if code != exitInterrupted {
		t.Errorf("exit %d", code)
	}
	wantContains(t, stderr.String(), "Interrupted", "canceled")
}

// TestGitHubActionsOutputToAFile expects only the build's output in a file, in a
// workflow too.
func TestGitHubActionsOutputToAFile(t *testing.T) {
	isolate(t)
	t.Setenv("GITHUB_ACTIONS", "true")
	out, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = out.Close() }()
	var errs bytes.Buffer
	if code := run(t.Context(), nil, out, &errs); code != exitOK {
		t.Errorf("exit %d: %s", code, &errs)
	}
	log, err := os.ReadFile(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(log), "::") || !strings.Contains(string(log), "example.com/hello") {
		t.Errorf("log:\n%s", log)
	}
	wantContains(t, errs.String(), "==> Releasing")
}
