package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// isolate clears the credentials and settings of the user who runs the tests.
func isolate(t *testing.T) {
	t.Helper()
	t.Setenv("HEROKU_API_KEY", "")
	t.Setenv("HEROKU_API_URL", "")
	t.Setenv("NETRC", filepath.Join(t.TempDir(), "none"))
}

func TestDeployIsOneTrace(t *testing.T) {
	isolate(t)
	var shown waterfall
	var output bytes.Buffer
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(&shown))
	if err := deploy(t.Context(), provider, "", filepath.Join("testdata", "app"), &output); err != nil {
		t.Fatal(err)
	}
	var tree bytes.Buffer
	shown.print(&tree)
	t.Log("\n" + tree.String())

	byID := map[trace.SpanID]sdktrace.ReadOnlySpan{}
	for _, s := range shown.spans {
		byID[s.SpanContext().SpanID()] = s
		if s.SpanContext().TraceID() != shown.spans[0].SpanContext().TraceID() {
			t.Errorf("%s belongs to another trace", s.Name())
		}
	}
	// want maps spans to their expected parents.
	want := map[string]string{
		"check": "deploy example-app", "pack": "deploy example-app", "upload": "deploy example-app",
		"build": "deploy example-app", "release": "deploy example-app",
		"GET /apps/other-app": "check", "POST /sources": "upload", "POST /apps/{id}/builds": "build",
		"POST /apps/{id}/releases": "release", "release example-app": "release", "release other-app": "release",
	}
	for _, s := range shown.spans {
		if parent, ok := want[s.Name()]; ok {
			delete(want, s.Name())
			if got := byID[s.Parent().SpanID()]; got == nil || got.Name() != parent {
				t.Errorf("the parent of %s is not %s", s.Name(), parent)
			}
		}
		if s.EndTime().IsZero() {
			t.Errorf("%s has not ended", s.Name())
		}
		if text := fmt.Sprint(s.Name(), s.Attributes(), s.Events(), s.Status()); strings.Contains(text, "Signature") || strings.Contains(text, "HRKU-") {
			t.Errorf("the span of %s contains a secret: %s", s.Name(), text)
		}
	}
	if len(want) > 0 {
		t.Errorf("no spans for %v", want)
	}
	if lines := strings.Count(tree.String(), "\n"); lines != len(shown.spans)+2 {
		t.Errorf("%d lines for %d spans", lines, len(shown.spans))
	}
}

func TestFailedDeploy(t *testing.T) {
	isolate(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "no-app"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	code := run(context.Background(), []string{dir}, &stdout, &stderr)
	t.Logf("stdout:\n%s\nstderr:\n%s", &stdout, &stderr)
	if code != 1 || !strings.Contains(stderr.String(), "Error: ") {
		t.Errorf("exit %d", code)
	}
	for _, span := range []string{"  deploy example-app  failed: ", "    build  failed: "} {
		if !strings.Contains(stdout.String(), span) {
			t.Errorf("no %q", span)
		}
	}
	if code := run(context.Background(), []string{"-nothing"}, &stdout, &stderr); code != 2 {
		t.Errorf("invalid usage: exit %d", code)
	}
}
