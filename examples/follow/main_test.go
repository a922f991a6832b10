package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/herokubuild/herokubuild"
	"github.com/herokubuild/herokubuild/herokutest"
)

func follow(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, &out, &errs)
	t.Logf("follow %q: exit %d\nstdout:\n%s\nstderr:\n%s", args, code, &out, &errs)
	return code, out.String(), errs.String()
}

func TestInterruptedDeployIsResumed(t *testing.T) {
	code, stdout, stderr := follow(t)
	if code != exitOK {
		t.Errorf("exit %d", code)
	}
	for n, step := range []string{"Step 1 of", "Step 5 of", "Step 10 of"} {
		if strings.Count(stdout, step) != 1 {
			t.Errorf("%d: %q was printed %d times", n, step, strings.Count(stdout, step))
		}
	}
	if !strings.Contains(stderr, "Resuming build") || !strings.Contains(stderr, "Both parts together match") {
		t.Error(stderr)
	}
}

// start starts an emulator and releases a build on it.
func start(t *testing.T) (*herokutest.Server, *herokubuild.DeployResult) {
	t.Helper()
	srv := herokutest.NewServer(t, herokutest.Realistic())
	t.Setenv("HEROKU_API_URL", srv.URL())
	t.Setenv("HEROKU_API_KEY", srv.Token())
	client, err := herokubuild.NewClient()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{"Procfile": "web: x\nrelease: echo migrating\n", "bin/compile": "#!/bin/sh\necho compiling\n"} {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o700); err != nil { //nolint:gosec // a script
			t.Fatal(err)
		}
	}
	result, err := client.BuildAndRelease(t.Context(), herokubuild.BuildAndReleaseOptions{BuildApp: "example-app", Dir: dir, ReleaseTo: []string{"other-app"}})
	if err != nil {
		t.Fatal(err)
	}
	return srv, result
}

func TestFollowByID(t *testing.T) {
	srv, result := start(t)
	whole, err := srv.Output(result.Build.ID)
	if err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := follow(t, "-app", "example-app", "-build", result.Build.ID)
	if code != exitOK || stdout != whole || !strings.Contains(stderr, "succeeded") {
		t.Errorf("exit %d, %q, %q", code, stdout, stderr)
	}
	if _, stdout, _ = follow(t, "-app", "example-app", "-build", result.Build.ID, "-offset", "10"); stdout != whole[10:] {
		t.Errorf("%q", stdout)
	}
	code, stdout, stderr = follow(t, "-app", "other-app", "-release", "v3")
	if code != exitOK || stdout != "migrating\n" || !strings.Contains(stderr, "Release v3 of other-app succeeded.") {
		t.Errorf("exit %d, %q, %q", code, stdout, stderr)
	}
	if code, _, _ = follow(t, "-app", "other-app", "-release", "v99"); code != exitFailed {
		t.Errorf("exit %d", code)
	}

	file := filepath.Join(t.TempDir(), "deploy.json")
	text, err := json.Marshal(result.Checkpoint)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	before := len(srv.Releases("other-app"))
	code, _, stderr = follow(t, "-checkpoint", file)
	if code != exitOK || !strings.Contains(stderr, "Released: other-app v3") || len(srv.Releases("other-app")) != before {
		t.Errorf("exit %d, %q", code, stderr)
	}
}

func TestInvalidUsage(t *testing.T) {
	for _, args := range [][]string{
		{"-app", "a-b"}, {"-build", "x"}, {"-app", "a-b", "-build", "x", "-release", "1"}, {"surplus"}, {"-app", "a-b", "-build", "x", "y"}, {"-nonsense"},
	} {
		if code, _, _ := follow(t, args...); code != exitUsage {
			t.Errorf("%q: exit %d", args, code)
		}
	}
}

func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out, errs bytes.Buffer
	if code := run(ctx, nil, &out, &errs); code != exitInterrupted {
		t.Errorf("exit %d: %s", code, &errs)
	}
}
