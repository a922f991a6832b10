package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// isolate clears the credentials and settings of the user who runs the tests.
func isolate(t *testing.T) {
	t.Helper()
	t.Setenv("HEROKU_API_KEY", "")
	t.Setenv("HEROKU_API_URL", "")
	t.Setenv("NETRC", filepath.Join(t.TempDir(), "none"))
}

func promote(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, &out, &errs)
	t.Logf("promote %q: exit %d\nstdout:\n%s\nstderr:\n%s", args, code, &out, &errs)
	return code, out.String(), errs.String()
}

func want(t *testing.T, code, wanted int, text string, parts ...string) {
	t.Helper()
	if code != wanted {
		t.Errorf("exit %d, want %d", code, wanted)
	}
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q is missing in:\n%s", part, text)
		}
	}
}

func TestPromoteToAllApps(t *testing.T) {
	isolate(t)
	code, stdout, stderr := promote(t)
	want(t, code, exitOK, stdout, "app-1  v4  released\n", "app-5  v4  released\n")
	want(t, code, exitOK, stderr, "Promoting v4 of example-app to 5 apps.", "app-3        | migrating app-3\n")
	if strings.Index(stderr, "app-2 ") < strings.Index(stderr, "app-1        verified") {
		t.Error("an app was released before the canary was verified")
	}
}

func TestRollbackAll(t *testing.T) {
	isolate(t)
	code, stdout, stderr := promote(t, "-local", "-fail", "app-4", "-rollback", "all")
	want(t, code, exitFailed, stdout, "app-1  v4  released, rolled back by v5\n", "app-4  v4  failed verification, rolled back by v5\n")
	want(t, code, exitFailed, stderr, "app-4        verification failed: simulated", "Error: ")
}

func TestFailedCanaryStopsPromotion(t *testing.T) {
	isolate(t)
	file := filepath.Join(t.TempDir(), "promote.json")
	code, stdout, _ := promote(t, "-local", "-fail", "app-1", "-rollback", "failed", "-checkpoint", file)
	want(t, code, exitFailed, stdout, "app-1  v4  failed verification, rolled back by v5\n", "app-2  -   not attempted\n")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want(t, code, exitFailed, string(text), `"releases":{"app-1":"`)
}

func TestInvalidUsage(t *testing.T) {
	isolate(t)
	for _, args := range [][]string{
		{"-rollback", "some"}, {"-from", "a-b"}, {"-to", "a-b"}, {"surplus"}, {"-from", "a-b", "-to", "c-d", "-fail", "c-d"},
		{"-from", "a-b", "-to", "c-d", "-rollback", "failed"}, {"-nonsense"}, {"-rollback", "unverified"}, {"-from", "a-b", "-to", "c-d", "-check", "health"}, {"-from", "a-b", "-to", "c-d", "-check", "//host/"}, {"-local", "-canaries", "-1"}, {"-local", "-to", "A B"},
	} {
		if code, _, _ := promote(t, args...); code != exitUsage {
			t.Errorf("%q: exit %d", args, code)
		}
	}
}

func TestInterrupted(t *testing.T) {
	isolate(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out, errs bytes.Buffer
	if code := run(ctx, nil, &out, &errs); code != exitInterrupted {
		t.Errorf("exit %d: %s", code, &errs)
	}
}
