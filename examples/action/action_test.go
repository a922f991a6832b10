//go:build unix

package main

import (
	"context"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/herokubuild/herokubuild/herokutest"
)

// workflow is a run of the action's steps, as the runner of a workflow makes them.
type workflow struct {
	t   *testing.T
	dir string
	env []string
}

// newWorkflow compiles the programs of the action in a directory of its own.
func newWorkflow(t *testing.T, srv *herokutest.Server) *workflow {
	t.Helper()
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("bash is not installed, which the runners of workflows have")
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	w := &workflow{t: t, dir: t.TempDir()}
	w.env = append(os.Environ(),
		"RUNNER_TEMP="+w.dir, "GITHUB_ACTION_PATH="+here, "GITHUB_ACTIONS=true",
		"GITHUB_OUTPUT="+filepath.Join(w.dir, "outputs"), "GITHUB_STEP_SUMMARY="+filepath.Join(w.dir, "summary.md"),
		"HEROKU_API_URL="+srv.URL(), "HEROKU_API_KEY=", "INPUT_API_KEY="+srv.Token(),
	)
	if out, err := w.step("compile"); err != nil || !strings.Contains(out, "::add-mask::"+srv.Token()) {
		t.Fatalf("compile: %v\n%s", err, out)
	}
	return w
}

func (w *workflow) step(name string, inputs ...string) (output string, err error) {
	cmd := exec.CommandContext(w.t.Context(), "bash", "action.sh", name)
	cmd.Env = append(w.env, inputs...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// run makes the steps deploy and report, and returns what they have written.
func (w *workflow) run(inputs ...string) (log string, outputs map[string]string, summary string, failed bool) {
	w.t.Helper()
	for _, name := range []string{"outputs", "summary.md"} {
		if err := os.Remove(filepath.Join(w.dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			w.t.Fatal(err)
		}
	}
	log, deployErr := w.step("deploy", inputs...)
	if text, err := w.step("report"); err != nil {
		w.t.Fatalf("report: %v\n%s", err, text)
	}
	outputs = map[string]string{}
	for line := range strings.Lines(w.read("outputs")) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		outputs[name] = value
	}
	summary = w.read("summary.md")
	w.t.Logf("%s\n%v\n%s", log, outputs, summary)
	return log, outputs, summary, deployErr != nil
}

func (w *workflow) read(name string) string {
	w.t.Helper()
	text, err := os.ReadFile(filepath.Join(w.dir, name))
	if err != nil {
		w.t.Fatal(err)
	}
	return string(text)
}

// row returns the cells of an app in the table of a summary.
func row(t *testing.T, summary, app string) []string {
	t.Helper()
	for line := range strings.Lines(summary) {
		if strings.HasPrefix(line, "| "+app+" |") {
			cells := strings.Split(line, " | ")
			return cells[1:]
		}
	}
	t.Fatalf("%s is missing in %s", app, summary)
	return nil
}

func TestActionReportsHowTheDeployEnded(t *testing.T) {
	t.Parallel()
	opts := &herokutest.Options{
		Apps: []string{"builder", "shop-eu", "shop-us"},
		Build: func(_ context.Context, b *herokutest.BuildJob) error {
			if b.SourceVersion == "bad-build" {
				b.Printf("main.go:7: undefined: run <b>|</b>\n")
				return errors.New("does not compile")
			}
			return nil
		},
		ReleasePhase: func(_ context.Context, r *herokutest.ReleaseJob) error {
			if r.App == "shop-us" && r.Env["BROKEN"] != "" {
				return errors.New("migration failed")
			}
			return nil
		},
	}
	srv := herokutest.NewServer(t, opts)
	healthy := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }
	for _, app := range opts.Apps {
		if _, err := srv.Serve(app, http.HandlerFunc(healthy)); err != nil {
			t.Fatal(err)
		}
	}
	source := t.TempDir()
	if err := os.WriteFile(filepath.Join(source, "Procfile"), []byte("web: ./serve\nrelease: ./migrate\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w := newWorkflow(t, srv)
	inputs := []string{"INPUT_APP=builder", "INPUT_RELEASE_TO=shop-eu,shop-us", "INPUT_DIRECTORY=" + source}
	with := func(more ...string) []string { return append(append([]string(nil), inputs...), more...) }

	log, outputs, summary, failed := w.run(with("INPUT_VERSION=v1", "INPUT_CANARIES=1", "INPUT_HEALTH_CHECK=/health")...)
	build := srv.Builds("builder")[0]
	if failed || outputs["outcome"] != "succeeded" || outputs["build-id"] != build.ID || outputs["slug-id"] != build.ArtifactID ||
		outputs["version"] != "v1" || outputs["release-version"] != "3" || outputs["report"] == "" {
		t.Errorf("success: failed %v, outputs %v", failed, outputs)
	}
	if cells := row(t, summary, "shop-eu"); !strings.HasSuffix(cells[0], "released") || cells[1] != "v3" {
		t.Errorf("%q", cells)
	}
	if strings.Contains(log+summary+w.read("herokubuild/report.json"), srv.Token()) {
		t.Error("the key is printed")
	}

	_, outputs, summary, failed = w.run(with("INPUT_VERSION=bad-build")...)
	if !failed || outputs["outcome"] != "failed" || outputs["slug-id"] != "" {
		t.Errorf("failed build: failed %v, outputs %v", failed, outputs)
	}
	if cells := row(t, summary, "shop-us"); !strings.HasSuffix(cells[0], "not attempted") {
		t.Errorf("%q", cells)
	}

	if err := srv.SetConfigVars("shop-us", map[string]string{"BROKEN": "1"}); err != nil {
		t.Fatal(err)
	}
	_, outputs, summary, failed = w.run(with("INPUT_VERSION=v2")...)
	if !failed || outputs["outcome"] != "failed" {
		t.Errorf("failed release phase: failed %v, outputs %v", failed, outputs)
	}
	if cells := row(t, summary, "shop-us"); !strings.HasSuffix(cells[0], "failed") || cells[1] != "v4" {
		t.Errorf("%q", cells)
	}
	if err := srv.SetConfigVars("shop-us", map[string]string{"BROKEN": ""}); err != nil {
		t.Fatal(err)
	}

	if _, err := srv.Serve("shop-us", http.NotFoundHandler()); err != nil {
		t.Fatal(err)
	}
	_, outputs, summary, failed = w.run(with("INPUT_VERSION=v3", "INPUT_HEALTH_CHECK=/health", "INPUT_HEALTH_CHECK_TIMEOUT=100ms", "INPUT_ROLLBACK=failed")...)
	if !failed || outputs["outcome"] != "failed" {
		t.Errorf("failed health check: failed %v, outputs %v", failed, outputs)
	}
	if cells := row(t, summary, "shop-us"); !strings.Contains(cells[1], "rolled back with v") {
		t.Errorf("%q", cells)
	}
	if cells := row(t, summary, "shop-eu"); !strings.HasSuffix(cells[0], "released") {
		t.Errorf("%q", cells)
	}
}

// Where the deploy did not start, because of an invalid input, there is a summary too.
func TestActionReportsADeployThatDidNotStart(t *testing.T) {
	t.Parallel()
	w := newWorkflow(t, herokutest.NewServer(t, nil))
	_, outputs, summary, failed := w.run("INPUT_APP=example-app", "INPUT_CANARIES=many")
	if !failed || outputs["outcome"] != "failed" || outputs["report"] != "" || summary == "" {
		t.Errorf("failed %v, outputs %v, summary %q", failed, outputs, summary)
	}
}

func TestTextFromOutsideMeansNothingInTheSummary(t *testing.T) {
	t.Parallel()
	r := report{Outcome: "failed", Apps: []app{{Name: "shop-eu", Outcome: "failed", Error: "a|b\n| <img src=x> [x](http://x) `x` \x1b[31m::error::"}}}
	var text strings.Builder
	r.writeSummary(&text)
	for _, bad := range []string{"<img", "](", "\x1b", "`x`", "a|b"} {
		if strings.Contains(text.String(), bad) {
			t.Errorf("%q is in %q", bad, text.String())
		}
	}
}
