package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/herokubuild/herokubuild"
	"github.com/herokubuild/herokubuild/herokutest"
)

// server starts an emulator with apps, whose web processes are the handlers, and
// makes the program use it.
func server(t *testing.T, apps map[string]http.HandlerFunc) *herokutest.Server {
	t.Helper()
	isolate(t)
	srv := herokutest.NewServer(t, herokutest.Realistic())
	for app, handler := range apps {
		if err := srv.AddApp(app); err != nil {
			t.Fatal(err)
		}
		if _, err := srv.Serve(app, handler); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("HEROKU_API_URL", srv.URL())
	t.Setenv("HEROKU_API_KEY", srv.Token())
	return srv
}

func healthy(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }

func unhealthy(w http.ResponseWriter, _ *http.Request) {
	w.WriteHeader(http.StatusServiceUnavailable)
}

// scriptApp returns the directory of an app with these scripts.
func scriptApp(t *testing.T, compile, release string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "bin"), 0o750); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"bin/compile": "#!/bin/sh\n" + compile + "\n", "Procfile": "web: serve\nrelease: " + release + "\n"} {
		if err := os.WriteFile(filepath.Join(dir, filepath.FromSlash(name)), []byte(text), 0o700); err != nil { //nolint:gosec // a script
			t.Fatal(err)
		}
	}
	return dir
}

// reported runs the program with -json and returns its exit status and the report.
func reported(t *testing.T, args ...string) (int, report) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "report.json")
	code, _, _ := deploy(t, append([]string{"-json", file}, args...)...)
	r := readReport(t, file)
	if r.ExitStatus == nil || *r.ExitStatus != code {
		t.Errorf("the report has exit status %v, not %d", r.ExitStatus, code)
	}
	return code, r
}

func readReport(t *testing.T, file string) report {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("report:\n%s", text)
	return decodeReport(t, text)
}

func decodeReport(t *testing.T, text []byte) report {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	var r report
	if err := decoder.Decode(&r); err != nil {
		t.Fatal(err)
	}
	return r
}

// outcomes returns the outcomes of the apps as "app outcome".
func (r *report) outcomes() []string {
	var all []string
	for _, a := range r.Apps {
		all = append(all, a.App+" "+string(a.Outcome))
	}
	return all
}

func (r *report) want(t *testing.T, outcome, reason string, apps ...string) {
	t.Helper()
	if r.Outcome != outcome {
		t.Errorf("outcome %q, want %q", r.Outcome, outcome)
	}
	got := ""
	if r.Error != nil {
		got = r.Error.Reason
		if r.Error.Message == "" {
			t.Error("no message")
		}
	}
	if got != reason {
		t.Errorf("reason %q, want %q", got, reason)
	}
	if !slices.Equal(r.outcomes(), apps) {
		t.Errorf("apps %q, want %q", r.outcomes(), apps)
	}
}

func TestReportOfASuccess(t *testing.T) {
	srv := server(t, map[string]http.HandlerFunc{"shop-eu": healthy, "shop-us": healthy})
	dir := scriptApp(t, "echo compiling", "echo migrating")
	file := filepath.Join(t.TempDir(), "report.json")
	if err := os.WriteFile(file, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, stdout, _ := deploy(t, "-app", "shop-eu", "-release-to", "shop-us", "-version", "v7", "-json", file, dir)
	r := readReport(t, file)
	r.want(t, outcomeSucceeded, "", "shop-eu released", "shop-us released")
	build := srv.Builds("shop-eu")[0]
	if code != exitOK || r.BuildID != build.ID || r.BuildStatus != herokubuild.StatusSucceeded || r.SlugID == "" || r.Version != "v7" || r.Seconds <= 0 || r.PhaseSeconds["build"] <= 0 {
		t.Errorf("exit %d, %+v", code, r)
	}
	if other := r.Apps[1]; other.ReleaseVersion != 3 || other.ReleaseID != srv.Releases("shop-us")[2].ID || other.ReleaseStatus != herokubuild.StatusSucceeded || other.Seconds <= 0 {
		t.Errorf("%+v", other)
	}
	if strings.Contains(stdout, "outcome") {
		t.Error("the report was written to stdout")
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(file), "*")); err != nil || len(left) != 1 {
		t.Errorf("files %q, %v", left, err)
	}
}

func TestReportOfAFailure(t *testing.T) {
	srv := server(t, map[string]http.HandlerFunc{"shop-eu": healthy, "shop-us": healthy})
	good := scriptApp(t, "true", "true")
	token := srv.Token()
	for name, test := range map[string]struct {
		token  string
		args   []string
		code   int
		reason string
		apps   []string
		check  func(r report) bool
	}{
		"failed build": {
			args: []string{scriptApp(t, "exit 1", "true")}, code: exitFailed, reason: "build_failed",
			apps: []string{"shop-eu not_attempted", "shop-us not_attempted"},
			check: func(r report) bool {
				return r.BuildID != "" && r.BuildStatus == herokubuild.StatusFailed && r.Error.Phase == herokubuild.PhaseBuild
			},
		},
		"failed release phase": {
			args: []string{scriptApp(t, "true", "exit 1")}, code: exitFailed, reason: "release_failed",
			apps: []string{"shop-eu failed", "shop-us not_attempted"},
			check: func(r report) bool {
				return r.Apps[0].ReleaseVersion > 0 && r.Apps[0].ReleaseStatus == herokubuild.StatusFailed && r.Apps[0].Error != ""
			},
		},
		"timeout": {
			args: []string{"-timeout", "2s", scriptApp(t, "exec sleep 600", "true")}, code: exitFailed, reason: "timeout",
			apps:  []string{"shop-eu not_attempted", "shop-us not_attempted"},
			check: func(r report) bool { return r.BuildCanceled },
		},
		"wrong key": {
			token: "wrong", args: []string{good}, code: exitFailed, reason: "unauthorized",
			apps:  []string{"shop-eu not_attempted", "shop-us not_attempted"},
			check: func(r report) bool { return r.Error.HTTPStatus == 401 && r.Error.RequestID != "" && r.BuildID == "" },
		},
		"unknown app": {
			args: []string{"-release-to", "shop-asia", good}, code: exitFailed, reason: "not_found",
			apps:  []string{"shop-eu not_attempted", "shop-asia not_attempted"},
			check: func(r report) bool { return r.Error.Phase == herokubuild.PhaseCheck },
		},
		"invalid name": {
			args: []string{"-release-to", "No", good}, code: exitUsage, reason: "invalid_argument",
			apps: []string{"shop-eu not_attempted", "No not_attempted"}, check: func(r report) bool { return r.BuildID == "" },
		},
	} {
		t.Run(name, func(t *testing.T) {
			if test.token == "" {
				test.token = token
			}
			t.Setenv("HEROKU_API_KEY", test.token)
			code, r := reported(t, append([]string{"-app", "shop-eu", "-release-to", "shop-us"}, test.args...)...)
			if code != test.code {
				t.Errorf("exit %d, want %d", code, test.code)
			}
			r.want(t, outcomeFailed, test.reason, test.apps...)
			if !test.check(r) {
				t.Errorf("%+v", r)
			}
		})
	}
}

func TestReportWithoutCredential(t *testing.T) {
	isolate(t)
	code, r := reported(t, "-app", "shop-eu", t.TempDir())
	if code != exitFailed {
		t.Errorf("exit %d", code)
	}
	r.want(t, outcomeFailed, "no_credential", "shop-eu not_attempted")
}

// TestReportIsWrittenBeforeTheDeploy expects that a reader finds no earlier report
// after the program was killed.
func TestReportIsWrittenBeforeTheDeploy(t *testing.T) {
	isolate(t)
	file := filepath.Join(t.TempDir(), "report.json")
	dir := scriptApp(t, "echo compiling; exec sleep 600", "true")
	ctx, cancel := context.WithCancel(t.Context())
	var stdout, stderr bytes.Buffer
	var during report
	w := &signalWriter{Writer: &stdout, f: func() {
		during = readReport(t, file)
		cancel()
	}}
	code := run(ctx, []string{"-local", "-app", "shop-eu", "-json", file, dir}, w, &stderr)
	if code != exitInterrupted {
		t.Errorf("exit %d: %s", code, &stderr)
	}
	during.want(t, outcomeRunning, "", "shop-eu pending")
	r := readReport(t, file)
	r.want(t, outcomeInterrupted, "interrupted", "shop-eu not_attempted")
	if !r.BuildCanceled || r.BuildID == "" || *r.ExitStatus != exitInterrupted || during.ExitStatus != nil {
		t.Errorf("%+v", r)
	}
}

func TestReportHasNoSecretsAndStableFields(t *testing.T) {
	srv := server(t, map[string]http.HandlerFunc{"shop-eu": healthy, "shop-us": healthy, "shop-asia": unhealthy})
	file := filepath.Join(t.TempDir(), "report.json")
	args := []string{"-app", "shop-eu", "-release-to", "shop-us,shop-asia", scriptApp(t, "true", "true")}
	if code, _, _ := deploy(t, args...); code != exitOK {
		t.Fatalf("exit %d", code)
	}
	code, _, _ := deploy(t, append([]string{"-canaries", "1", "-rollback", "all", "-check", "/health?token=not-to-be-shown", "-check-timeout", "50ms", "-json", file}, args...)...)
	if code != exitFailed {
		t.Errorf("exit %d", code)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{srv.Token(), "Signature", "not-to-be-shown"} {
		if bytes.Contains(text, []byte(secret)) {
			t.Errorf("%q in\n%s", secret, text)
		}
	}
	var names []string
	for _, m := range regexp.MustCompile(`"(\w+)":`).FindAllSubmatch(text, -1) {
		names = append(names, string(m[1]))
	}
	slices.Sort(names)
	want := []string{
		"app", "apps", "build", "build_id", "build_status", "check", "checksum", "error", "exit_status", "message", "outcome", "pack", "phase", "phase_seconds",
		"reason", "release", "release_id", "release_status", "release_version", "rollback_release_id", "rollback_release_version",
		"seconds", "slug_id", "started_at", "upload", "version",
	}
	if names = slices.Compact(names); !slices.Equal(names, want) {
		t.Errorf("fields %q, want %q", names, want)
	}
}

func TestFailedCheckRollsBack(t *testing.T) {
	srv := server(t, map[string]http.HandlerFunc{"shop-eu": healthy, "shop-us": healthy, "shop-asia": unhealthy})
	args := []string{"-app", "shop-eu", "-release-to", "shop-us, shop-asia", scriptApp(t, "true", "true")}
	if code, _, _ := deploy(t, args...); code != exitOK {
		t.Fatalf("exit %d", code)
	}
	for policy, want := range map[string][]string{
		"none":   {"shop-eu released", "shop-us released", "shop-asia verify_failed"},
		"failed": {"shop-eu released", "shop-us released", "shop-asia rolled_back"},
		"all":    {"shop-eu released", "shop-us rolled_back", "shop-asia rolled_back"},
	} {
		t.Run(policy, func(t *testing.T) {
			code, r := reported(t, append([]string{"-check", "/health", "-check-timeout", "50ms", "-rollback", policy}, args...)...)
			if code != exitFailed {
				t.Errorf("exit %d", code)
			}
			r.want(t, outcomeFailed, "verify_failed", want...)
			releases := srv.Releases("shop-asia")
			if back := r.Apps[2].RollbackReleaseVersion; policy != "none" && (back != len(releases) || releases[back-1].ID != r.Apps[2].RollbackReleaseID) {
				t.Errorf("rolled back by v%d of %d", back, len(releases))
			}
		})
	}
}

func TestFailedCanaryKeepsTheOthersBack(t *testing.T) {
	server(t, map[string]http.HandlerFunc{"shop-eu": healthy, "shop-us": unhealthy, "shop-asia": healthy})
	_, r := reported(t, "-app", "shop-eu", "-release-to", "shop-us,shop-asia", "-canaries", "1", "-check", "/", "-check-timeout", "50ms", scriptApp(t, "true", "true"))
	r.want(t, outcomeFailed, "verify_failed", "shop-eu released", "shop-us verify_failed", "shop-asia not_attempted")
}

func TestFailedCheckOfTheBuildAppKeepsTheOthersBack(t *testing.T) {
	srv := server(t, map[string]http.HandlerFunc{"shop-eu": unhealthy, "shop-us": healthy})
	code, r := reported(t, "-app", "shop-eu", "-release-to", "shop-us", "-check", "/", "-check-timeout", "50ms", scriptApp(t, "true", "true"))
	if code != exitFailed {
		t.Errorf("exit %d", code)
	}
	r.want(t, outcomeFailed, "verify_failed", "shop-eu verify_failed", "shop-us not_attempted")
	if r.Apps[0].Error == "" || !strings.Contains(r.Error.Message, r.Apps[0].Error) {
		t.Errorf("the message does not contain the cause: %q", r.Error.Message)
	}
	if n := len(srv.Releases("shop-us")); n != 2 {
		t.Errorf("%d releases of shop-us", n)
	}
}

func TestFailedCheckOfTheBuildAppIsRepeated(t *testing.T) {
	var ill atomic.Bool
	srv := server(t, map[string]http.HandlerFunc{"shop-us": healthy, "shop-eu": func(w http.ResponseWriter, r *http.Request) {
		if ill.Load() {
			unhealthy(w, r)
		}
	}})
	file := filepath.Join(t.TempDir(), "deploy.json")
	for _, apps := range [][]string{{"-app", "shop-eu"}, {"-app", "shop-eu", "-release-to", "shop-us"}} {
		args := append(apps, "-check", "/", "-check-timeout", "50ms", "-checkpoint", file, scriptApp(t, "true", "true"))
		before := len(srv.Builds("shop-eu"))
		ill.Store(true)
		for range 2 {
			if code, r := reported(t, args...); code != exitFailed || r.Apps[0].Outcome != herokubuild.AppVerifyFailed {
				t.Errorf("exit %d, %+v", code, r)
			}
		}
		ill.Store(false)
		if code, _, _ := deploy(t, args...); code != exitOK {
			t.Errorf("exit %d", code)
		}
		if n := len(srv.Builds("shop-eu")) - before; n != 1 {
			t.Errorf("%d builds", n)
		}
	}
}

func TestChecksTheAppsOfTheEmulator(t *testing.T) {
	t.Parallel()
	code, _, stderr := deploy(t, "-local", "-app", "shop-eu", "-release-to", "shop-us", "-check", "/health", scriptApp(t, "true", "true"))
	if code != exitOK || !strings.Contains(stderr, "Released: shop-eu v3, shop-us v3") {
		t.Errorf("exit code %d\n%s", code, stderr)
	}
}

// The release has succeeded, but whether the app is healthy is not known.
func TestTimeoutDuringTheCheckIsAFailure(t *testing.T) {
	server(t, map[string]http.HandlerFunc{"shop-eu": unhealthy})
	code, r := reported(t, "-app", "shop-eu", "-check", "/", "-check-timeout", "1m", "-timeout", "3s", scriptApp(t, "true", "true"))
	if code != exitFailed || r.Error == nil || r.Error.Reason != "timeout" {
		t.Errorf("exit code %d, %+v", code, r.Error)
	}
}

func TestNamesTheProgramThatFollowsABuild(t *testing.T) {
	t.Parallel()
	const version = "v0.2.0"
	main := debug.Module{Path: "example.com/examples", Version: version}
	for _, c := range []struct {
		info      debug.BuildInfo
		installed bool
	}{
		{debug.BuildInfo{Main: main}, true},
		{debug.BuildInfo{Main: main, Settings: []debug.BuildSetting{{Key: "vcs", Value: "git"}}}, false},
		{debug.BuildInfo{Main: debug.Module{Path: "example.com/examples", Version: "(devel)"}}, false},
	} {
		if got := installed(&c.info); got != c.installed {
			t.Errorf("installed is %v for %+v", got, c.info)
		}
	}
}

func TestCheckWaitsForTheAppToStart(t *testing.T) {
	var requests atomic.Int32
	server(t, map[string]http.HandlerFunc{"shop-eu": func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1) == 1 || r.URL.Path != "/health" {
			unhealthy(w, r)
		}
	}})
	code, _, _ := deploy(t, "-app", "shop-eu", "-check", "/health", scriptApp(t, "true", "true"))
	if code != exitOK || requests.Load() != 2 {
		t.Errorf("exit %d after %d requests", code, requests.Load())
	}
}

func TestDetachedDeployIsContinued(t *testing.T) {
	srv := server(t, map[string]http.HandlerFunc{"shop-eu": healthy, "shop-us": healthy})
	file := filepath.Join(t.TempDir(), "deploy.json")
	args := []string{"-app", "shop-eu", "-release-to", "shop-us", "-check", "/", "-checkpoint", file, scriptApp(t, "echo compiling; sleep 1", "true")}
	code, stdout, stderr := deploy(t, append([]string{"-detach", "-json", "-"}, args...)...)
	r := decodeReport(t, []byte(stdout))
	r.want(t, outcomeDetached, "", "shop-eu pending", "shop-us pending")
	if code != exitOK || r.BuildID == "" || r.BuildStatus != herokubuild.StatusPending {
		t.Errorf("exit %d, %+v", code, r)
	}
	wantContains(t, stderr, "-build "+r.BuildID)
	code, stdout, stderr = deploy(t, args...)
	if code != exitOK || strings.Count(stdout, "compiling\n") != 1 {
		t.Errorf("exit %d, stdout %q", code, stdout)
	}
	wantContains(t, stderr, file, "Released: shop-eu v3, shop-us v3")
	if n := len(srv.Builds("shop-eu")); n != 1 {
		t.Errorf("%d builds", n)
	}
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("the checkpoint is left: %v", err)
	}
}

func TestFailedRolloutIsResumed(t *testing.T) {
	var ill atomic.Bool
	ill.Store(true)
	srv := server(t, map[string]http.HandlerFunc{"shop-eu": healthy, "shop-us": func(w http.ResponseWriter, r *http.Request) {
		if ill.Load() {
			unhealthy(w, r)
		}
	}})
	file := filepath.Join(t.TempDir(), "deploy.json")
	args := []string{"-app", "shop-eu", "-release-to", "shop-us", "-rollback", "all", "-check", "/", "-check-timeout", "50ms", "-checkpoint", file, scriptApp(t, "true", "true")}
	code, _, stderr := deploy(t, args...)
	if code != exitFailed {
		t.Errorf("exit %d", code)
	}
	wantContains(t, stderr, "resume from "+file)
	ill.Store(false)
	if code, _, _ = deploy(t, args...); code != exitOK {
		t.Errorf("exit %d", code)
	}
	if n := len(srv.Builds("shop-eu")); n != 1 {
		t.Errorf("%d builds", n)
	}

	// A checkpoint of another app is refused.
	c := herokubuild.Checkpoint{BuildApp: "shop-asia", BuildID: srv.Builds("shop-eu")[0].ID}
	if err := herokubuild.CheckpointFile(file).Save(c); err != nil {
		t.Fatal(err)
	}
	code, r := reported(t, args...)
	if code != exitUsage {
		t.Errorf("exit %d", code)
	}
	r.want(t, outcomeFailed, "checkpoint_mismatch", "shop-eu not_attempted", "shop-us not_attempted")
}

func TestInterruptRemovesTheCheckpointOfACanceledBuild(t *testing.T) {
	server(t, map[string]http.HandlerFunc{"shop-eu": healthy})
	file := filepath.Join(t.TempDir(), "deploy.json")
	ctx, cancel := context.WithCancel(t.Context())
	var stdout, stderr bytes.Buffer
	w := &signalWriter{Writer: &stdout, f: func() {
		if _, err := os.Stat(file); err != nil {
			t.Error(err)
		}
		cancel()
	}}
	code := run(ctx, []string{"-app", "shop-eu", "-checkpoint", file, scriptApp(t, "echo compiling; exec sleep 600", "true")}, w, &stderr)
	if _, err := os.Stat(file); code != exitInterrupted || !os.IsNotExist(err) {
		t.Errorf("exit %d, %v: %s", code, err, &stderr)
	}
}

func TestBadCombinationsAreRefusedBeforeAnythingIsSent(t *testing.T) {
	isolate(t)
	api := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("%s %s was sent", r.Method, r.URL) }))
	defer api.Close()
	t.Setenv("HEROKU_API_URL", api.URL)
	t.Setenv("HEROKU_API_KEY", "HRKU-test")
	dir, out := scriptApp(t, "true", "true"), t.TempDir()
	app := []string{"-app", "shop-eu"}
	others := []string{"-app", "shop-eu", "-release-to", "shop-us"}
	for _, args := range [][]string{
		{"-app", "shop-eu", "-json", "-"},
		{"-dry-run", "-json", filepath.Join(out, "r.json")},
		{"-local", "-detach"},
		{"-local", "-checkpoint", filepath.Join(out, "c.json")},
		append(others, "-detach"),
		append(app, "-detach", "-check", "/"),
		append(app, "-json", filepath.Join(dir, "r.json")),
		append(app, "-json", filepath.Join(dir, "bin", "r.json")),
		append(app, "-checkpoint", filepath.Join(dir, "c.json")),
		append(app, "-json", out),
		append(app, "-json", filepath.Join(out, "missing", "r.json")),
		append(app, "-json", filepath.Join(out, "f"), "-checkpoint", filepath.Join(out, "f")),
		append(app, "-canaries", "1"),
		append(others, "-canaries", "-1"),
		append(app, "-rollback", "all"),
		append(others, "-rollback", "failed"),
		append(others, "-rollback", "some"),
		append(app, "-check-timeout", "1s"),
		append(app, "-check", "/", "-check-timeout", "0s"),
		append(app, "-check", ""),
		append(app, "-check", "health"),
		append(app, "-check", "//example.com/"),
	} {
		code, stdout, stderr := deploy(t, append(slices.Clone(args), dir)...)
		if code != exitUsage || stdout != "" || stderr == "" {
			t.Errorf("%q: exit %d, stdout %q, stderr %q", args, code, stdout, stderr)
		}
	}
	if left, err := fs.Glob(os.DirFS(out), "*"); err != nil || len(left) > 0 {
		t.Errorf("files %q were written, %v", left, err)
	}
	if code, _, stderr := deploy(t, "-dry-run", dir); code != exitOK {
		t.Errorf("a dry run asks nobody: exit %d, %s", code, stderr)
	}
}

// TestReportIsNotWrittenOverTheOutput expects a report in the file of stdout to be
// refused.
func TestReportIsNotWrittenOverTheOutput(t *testing.T) {
	isolate(t)
	name := filepath.Join(t.TempDir(), "log")
	out, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = out.Close() }()
	var stderr bytes.Buffer
	if code := run(t.Context(), []string{"-local", "-json", name}, out, &stderr); code != exitUsage {
		t.Errorf("exit %d: %s", code, &stderr)
	}
}
