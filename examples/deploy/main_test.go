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

	"github.com/herokubuild/herokubuild/internal/platform"
)

// isolate keeps the credential and settings of whoever runs the tests out.
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

// sampleCopy is the sample app with one file replaced.
func sampleCopy(t *testing.T, file, content string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", "app"))); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestSampleAppIsReallyBuiltAndReleased(t *testing.T) {
	isolate(t)
	code, stdout, stderr := deploy(t)
	if code != exitOK {
		t.Errorf("exit %d", code)
	}
	wantContains(t, stdout, "-----> Go app detected", "\nexample.com/hello\n")
	wantContains(t, stderr, "example-app | Hello, release phase!", "other-app  v3  succeeded", "Released: example-app v3, other-app v3")
	if strings.Contains(stdout, "==>") || strings.Contains(stderr, "\x1b") {
		t.Error("the program's own words on stdout, or control codes without a terminal")
	}
}

func TestSyntaxErrorIsShownAndNothingReleased(t *testing.T) {
	isolate(t)
	code, stdout, stderr := deploy(t, "-local", sampleCopy(t, "main.go", "package main\n\nfunc main() { oops\n"))
	if code != exitFailed {
		t.Errorf("exit %d", code)
	}
	wantContains(t, stdout, "main.go:4:", "syntax error")
	wantContains(t, stderr, "syntax error", "Error: deploy of example-app, build: build ")
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
	wantContains(t, stderr, "cannot migrate", "release v3 of example-app failed")
}

func TestWrongUsage(t *testing.T) {
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
	wantContains(t, stdout, "files", "main.go", "noisy.log  (.gitignore:1: *.log)", "warning: .env probably contains secrets", `"two\nlines"`)
	if strings.Contains(stdout, "not-to-be-shown") {
		t.Error("a secret is shown")
	}
	if code, _, stderr := deploy(t, "-dry-run", t.TempDir()); code != exitUsage || !strings.Contains(stderr, "no files") {
		t.Errorf("an empty directory: exit %d, stderr %q", code, stderr)
	}
}

func TestHelpIsNotAFailure(t *testing.T) {
	isolate(t)
	code, _, stderr := deploy(t, "-h")
	if code != exitOK {
		t.Errorf("exit %d", code)
	}
	wantContains(t, stderr, "Usage: deploy", "-release-to")
}

func TestNoCredential(t *testing.T) {
	isolate(t)
	code, _, stderr := deploy(t, "-app", "my-app")
	if code != exitFailed {
		t.Errorf("exit %d", code)
	}
	wantContains(t, stderr, "HEROKU_API_KEY", "heroku login")
}

func TestAgainstAServer(t *testing.T) {
	isolate(t)
	p, err := platform.Start(platform.Options{Apps: []string{"my-app"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}()
	t.Setenv("HEROKU_API_URL", p.URL())
	t.Setenv("HEROKU_API_KEY", p.Token())
	code, _, stderr := deploy(t, "-app", "my-app", "-version", "v7")
	if code != exitOK {
		t.Errorf("exit %d", code)
	}
	wantContains(t, stderr, "Released: my-app v3")
	if version := p.Builds("my-app")[0].SourceVersion; version != "v7" {
		t.Errorf("version %q", version)
	}

	code, _, stderr = deploy(t, "-app", "no-such-app")
	if code != exitFailed {
		t.Errorf("exit %d", code)
	}
	wantContains(t, stderr, "Couldn't find that app", "Request-Id")
}

// signalWriter calls f at the first write.
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
	if err := os.WriteFile(filepath.Join(dir, "bin", "compile"), []byte("#!/bin/sh\necho compiling\nexec sleep 600\n"), 0o700); err != nil { //nolint:gosec // it is a program
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var stdout, stderr bytes.Buffer
	code := run(ctx, []string{"-local", dir}, &signalWriter{Writer: &stdout, f: cancel}, &stderr)
	t.Logf("stdout:\n%s\nstderr:\n%s", &stdout, &stderr)
	if code != exitInterrupted {
		t.Errorf("exit %d", code)
	}
	wantContains(t, stderr.String(), "Interrupted", "was canceled")
}
