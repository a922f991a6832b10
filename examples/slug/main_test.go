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

	"github.com/herokubuild/herokubuild/herokutest"
)

// isolate clears the credentials and settings of the user who runs the tests.
func isolate(t *testing.T) {
	t.Helper()
	t.Setenv("HEROKU_API_KEY", "")
	t.Setenv("HEROKU_API_URL", "")
	t.Setenv("NETRC", filepath.Join(t.TempDir(), "none"))
}

func slugCommand(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, &out, &errs)
	t.Logf("slug %q: exit %d\nstdout:\n%s\nstderr:\n%s", args, code, &out, &errs)
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

// appDir returns a directory that contains only a Procfile.
func appDir(t *testing.T, procfile string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "Procfile"), []byte(procfile), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestSampleAppIsReleased(t *testing.T) {
	isolate(t)
	into := filepath.Join(t.TempDir(), "slug")
	code, stdout, stderr := slugCommand(t, "-unpack", into)
	if code != exitOK {
		t.Errorf("exit %d", code)
	}
	if stdout != "checking example-app\nHello from a slug without a build!\n" {
		t.Errorf("stdout %q", stdout)
	}
	wantContains(t, stderr, "SHA256:", "web: bin/web", "Released: example-app v3", "Unpacked: "+into)
	want, err := os.ReadFile(filepath.Join("testdata", "app", "bin", "web"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(into, "app", "bin", "web"))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("unpacked %q, %v", got, err)
	}
}

func TestFailedReleasePhase(t *testing.T) {
	isolate(t)
	code, stdout, stderr := slugCommand(t, "-local", appDir(t, "release: echo cannot migrate; exit 1\n"))
	if code != exitFailed || stdout != "cannot migrate\n" {
		t.Errorf("exit %d, stdout %q", code, stdout)
	}
	wantContains(t, stderr, "Release v3 of example-app", "Error: ")
}

func TestWithoutReleasePhase(t *testing.T) {
	isolate(t)
	code, stdout, stderr := slugCommand(t, "-local", "-app", "third-app", appDir(t, "web: ./run\n"))
	if code != exitOK || stdout != "" {
		t.Errorf("exit %d, stdout %q", code, stdout)
	}
	wantContains(t, stderr, "Released: third-app v3")
}

func TestInvalidUsage(t *testing.T) {
	isolate(t)
	for _, args := range [][]string{
		{"-no-such-flag"}, {"a", "b"}, {"-local", "no-such-directory"}, {"-local", "-app", "Not_An_App"},
		{"-local", t.TempDir()}, {"-local", appDir(t, "web\n")}, {"-unpack", appDir(t, "")},
	} {
		if code, _, stderr := slugCommand(t, args...); code != exitUsage || stderr == "" {
			t.Errorf("%q: exit %d, stderr %q", args, code, stderr)
		}
	}
	t.Setenv("HEROKU_API_URL", "http://127.0.0.1:1")
	if code, _, stderr := slugCommand(t); code != exitUsage || !strings.Contains(stderr, "-app") {
		t.Errorf("a base URL without an app: exit %d, stderr %q", code, stderr)
	}
}

func TestHelp(t *testing.T) {
	isolate(t)
	code, _, stderr := slugCommand(t, "-h")
	if code != exitOK {
		t.Errorf("exit %d", code)
	}
	wantContains(t, stderr, "Usage: slug", "-unpack")
}

func TestNoCredential(t *testing.T) {
	isolate(t)
	if code, _, _ := slugCommand(t, "-app", "my-app"); code != exitUsage {
		t.Errorf("without a directory: exit %d", code)
	}
	code, _, stderr := slugCommand(t, "-app", "my-app", appDir(t, "web: serve\n"))
	if code != exitFailed {
		t.Errorf("exit %d", code)
	}
	wantContains(t, stderr, "HEROKU_API_KEY", "heroku login")
}

func TestReleaseToServer(t *testing.T) {
	isolate(t)
	opts := herokutest.Realistic()
	opts.Apps, opts.FirApps = []string{"my-app"}, []string{"my-fir-app"}
	srv := herokutest.NewServer(t, opts)
	t.Setenv("HEROKU_API_URL", srv.URL())
	t.Setenv("HEROKU_API_KEY", srv.Token())
	code, _, stderr := slugCommand(t, "-app", "my-app", "-commit", "v7", "-stack", "heroku-22", "-v")
	if code != exitOK {
		t.Errorf("exit %d", code)
	}
	wantContains(t, stderr, "Released: my-app v3", "for heroku-22", "level=DEBUG")
	if strings.Contains(stderr, srv.Token()) || strings.Contains(stderr, "Signature=") {
		t.Error("a secret was printed")
	}
	if got := srv.Releases("my-app")[2].Description; got != "Deploy v7" {
		t.Errorf("description %q", got)
	}

	code, _, stderr = slugCommand(t, "-app", "no-such-app")
	if code != exitFailed {
		t.Errorf("exit %d", code)
	}
	wantContains(t, stderr, "Couldn't find that app", "Request-Id")
	code, _, stderr = slugCommand(t, "-app", "my-fir-app")
	if code != exitFailed {
		t.Errorf("exit %d", code)
	}
	wantContains(t, stderr, "Error: ", "my-fir-app")
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

func TestInterrupt(t *testing.T) {
	isolate(t)
	ctx, cancel := context.WithCancel(t.Context())
	var stdout, stderr bytes.Buffer
	code := run(ctx, []string{"-local", appDir(t, "release: echo waiting; exec sleep 600\n")}, &signalWriter{Writer: &stdout, f: cancel}, &stderr)
	t.Logf("stdout:\n%s\nstderr:\n%s", &stdout, &stderr)
	if code != exitInterrupted {
		t.Errorf("exit %d", code)
	}
	wantContains(t, stderr.String(), "context canceled")
}

func TestControlCharactersOfProcfileAreRemoved(t *testing.T) {
	isolate(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "Procfile"), []byte("web: echo \x1b[31mred\x1b[0m\a\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	run(t.Context(), []string{"-local", dir}, &out, &errs)
	if text := errs.String(); strings.ContainsAny(text, "\x1b\a") {
		t.Errorf("%q", text)
	}
}
