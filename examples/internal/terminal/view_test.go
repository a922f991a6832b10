package terminal

import (
	"bytes"
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/herokubuild/herokubuild"
)

// report returns what a view prints for the events.
func report(t *testing.T, opts Options, events func(v *View)) (stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	v := New(&out, &errs, opts)
	events(v)
	v.Close()
	t.Logf("stdout:\n%s\nstderr:\n%s", &out, &errs)
	return out.String(), errs.String()
}

func (v *View) send(t *testing.T, e herokubuild.DeployEvent) {
	t.Helper()
	if err := v.Event(context.Background(), e); err != nil {
		t.Error(err)
	}
}

func (v *View) print(t *testing.T, text string) {
	t.Helper()
	if _, err := v.Write([]byte(text)); err != nil {
		t.Error(err)
	}
}

// TestPeriodicStatus expects a line each minute for a build without output,
// with the current step and whether the build is alive.
func TestPeriodicStatus(t *testing.T) {
	t.Setenv("GITHUB_ACTIONS", "")
	synctest.Test(t, func(t *testing.T) {
		stdout, stderr := report(t, Options{App: "my-app", ReleaseTo: []string{"other-app"}}, func(v *View) {
			v.send(t, herokubuild.DeployEvent{Kind: herokubuild.EventPhase, Phase: herokubuild.PhaseBuild})
			time.Sleep(5 * time.Second)
			v.print(t, "-----> Installing\x1b[1m dependen")
			v.print(t, "cies...\n       npm")
			time.Sleep(50 * time.Second)
			v.send(t, herokubuild.DeployEvent{Kind: herokubuild.EventHeartbeat, Build: &herokubuild.Build{}, Quiet: 50 * time.Second})
			time.Sleep(66 * time.Second)
			v.print(t, " done\n-----> Launching\n")
			v.send(t, herokubuild.DeployEvent{Kind: herokubuild.EventBuildDone, Build: &herokubuild.Build{ID: "b", Status: herokubuild.StatusSucceeded}})
			v.send(t, herokubuild.DeployEvent{Kind: herokubuild.EventPhase, Phase: herokubuild.PhaseRelease})
			v.send(t, herokubuild.DeployEvent{Kind: herokubuild.EventReleaseDone, App: "my-app", Release: &herokubuild.Release{Version: 3, Status: herokubuild.StatusSucceeded}})
			time.Sleep(60 * time.Second)
		})
		if want := "-----> Installing\x1b[1m dependencies...\n       npm done\n-----> Launching\n"; stdout != want {
			t.Errorf("stdout %q, want %q", stdout, want)
		}
		const want = `==> Building on my-app (interrupt to cancel)
    still building for 1m0s · quiet for 55s, build alive · 55s of Installing dependencies
    still building for 2m0s · quiet for 1m55s · 1m55s of Installing dependencies
    build b succeeded after 2m1s
       1m56s  Installing dependencies
==> Releasing
    my-app  v3  succeeded
    still releasing for 59s · waiting for other-app
`
		if stderr != want {
			t.Errorf("stderr:\n%s\nwant:\n%s", stderr, want)
		}
	})
}

func TestStatusNamesTheAppThatIsChecked(t *testing.T) {
	t.Setenv("GITHUB_ACTIONS", "")
	synctest.Test(t, func(t *testing.T) {
		release := &herokubuild.Release{Version: 3, Status: herokubuild.StatusSucceeded, Current: true}
		superseded := &herokubuild.Release{Version: 4, Status: herokubuild.StatusSucceeded}
		_, stderr := report(t, Options{App: "my-app", ReleaseTo: []string{"other-app", "last-app"}, Check: true}, func(v *View) {
			v.send(t, herokubuild.DeployEvent{Kind: herokubuild.EventPhase, Phase: herokubuild.PhaseRelease})
			v.send(t, herokubuild.DeployEvent{Kind: herokubuild.EventReleaseDone, App: "my-app", Release: release})
			time.Sleep(61 * time.Second)
			v.send(t, herokubuild.DeployEvent{Kind: herokubuild.EventVerified, App: "my-app", Release: release})
			v.send(t, herokubuild.DeployEvent{Kind: herokubuild.EventReleaseDone, App: "other-app", Release: superseded})
			time.Sleep(61 * time.Second)
			v.send(t, herokubuild.DeployEvent{Kind: herokubuild.EventRollback})
			v.send(t, herokubuild.DeployEvent{Kind: herokubuild.EventReleaseDone, App: "my-app", Release: release})
			time.Sleep(61 * time.Second)
		})
		const want = `==> Releasing
    my-app  v3  succeeded
    still releasing for 1m0s · checking my-app · waiting for other-app, last-app
    my-app  v3  verified
    other-app  v4  succeeded
    still releasing for 2m0s · waiting for last-app
    rolling back
    my-app  v3  succeeded
    still releasing for 3m0s · waiting for last-app
`
		if stderr != want {
			t.Errorf("stderr:\n%s\nwant:\n%s", stderr, want)
		}
	})
}

func TestLongestSteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProgress()
		p.begin("building")
		for i, name := range []string{"One", strings.Repeat("Two ", 1000), "Three", "Four", "Five"} {
			p.write([]byte("-----> " + name + "\n"))
			time.Sleep(time.Duration(i) * time.Second)
		}
		var got []string
		for _, s := range p.longest() {
			got = append(got, s.name+" "+s.duration().String())
		}
		if want := []string{"Five 4s", "Four 3s", "Three 2s"}; !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
		p.write([]byte("-----> " + strings.Repeat("x", 1<<20)))
		p.write([]byte("\n"))
		if status := p.status(); len(status) > 150 {
			t.Errorf("a status of %d bytes", len(status))
		}
	})
}

func TestStepNameKeepsDotsOfArguments(t *testing.T) {
	for in, want := range map[string]string{
		"Compressing...":             "Compressing",
		"Launching. ":                "Launching",
		"Running: go build ./...":    "Running: go build ./...",
		"Running: npm install ../..": "Running: npm install ../..",
		"...":                        "...",
		"":                           "",
	} {
		if got := stepName(in); got != want {
			t.Errorf("stepName(%q) = %q, want %q", in, got, want)
		}
	}
}

// tokens matches tokens, which differ in each run.
var tokens = regexp.MustCompile(`[A-Z2-7]{26}`)

func TestGitHubActions(t *testing.T) {
	t.Setenv("GITHUB_ACTIONS", "true")
	stdout, stderr := report(t, Options{App: "my-app"}, func(v *View) {
		v.send(t, herokubuild.DeployEvent{Kind: herokubuild.EventPhase, Phase: herokubuild.PhasePack})
		v.send(t, herokubuild.DeployEvent{Kind: herokubuild.EventWarning, Line: "100% of it\nis secret"})
		v.send(t, herokubuild.DeployEvent{Kind: herokubuild.EventPhase, Phase: herokubuild.PhaseBuild})
		v.print(t, "::error::not a command\n")
		v.print(t, "half a line")
		v.send(t, herokubuild.DeployEvent{Kind: herokubuild.EventOutputLost, App: "my-app", Err: errors.New("gone")})
		v.print(t, "::endgroup::")
		v.Close()
		v.Fail(&herokubuild.BuildError{App: "my-app", Build: &herokubuild.Build{}, Tail: "::set-output name=x::y\nlast"})
	})
	if stderr != "" {
		t.Errorf("stderr %q: the runner would not preserve the order", stderr)
	}
	seen := map[string]bool{}
	for _, line := range strings.Split(stdout, "\n") {
		if token, ok := strings.CutPrefix(line, "::stop-commands::"); ok {
			if seen[token] {
				t.Errorf("the token %s, which is in the log, is reused", token)
			}
			seen[token] = true
		}
	}
	if len(seen) != 3 {
		t.Errorf("%d tokens, want 3", len(seen))
	}
	const want = `::group::Packing 
::warning title=Deploy::100%25 of it%0Ais secret
::endgroup::
::group::Building on my-app (interrupt to cancel)
::stop-commands::TOKEN
::error::not a command
half a line
::TOKEN::
::warning title=Deploy::lost the output of my-app, still waiting for the result: gone
::stop-commands::TOKEN
::endgroup::
::TOKEN::
::endgroup::
::group::The build's output ended with:
::stop-commands::TOKEN
    ::set-output name=x::y
    last
::TOKEN::
::endgroup::
::error title=Deploy failed::`
	got := tokens.ReplaceAllString(stdout, "TOKEN")
	if !strings.HasPrefix(got, want) || strings.Count(got, "\n") != strings.Count(want, "\n")+1 {
		t.Errorf("stdout:\n%s\nwant:\n%s", got, want)
	}
}

// TestControlCharactersAreRemoved expects no control characters in texts of
// builds, apps and errors. The build's output is passed on unchanged.
func TestControlCharactersAreRemoved(t *testing.T) {
	t.Setenv("NO_COLOR", "1")
	const evil = "\x1b]0;title\a\x1b[31mred\x1b[0m\u009b2J\u202e\rend"
	failed := &herokubuild.DeployError{Result: &herokubuild.DeployResult{Apps: []herokubuild.AppResult{
		{App: evil, Err: &herokubuild.ReleaseError{Tail: "first\n" + evil}},
	}}, Err: errors.New(evil)}
	events := func(v *View) {
		v.send(t, herokubuild.DeployEvent{Kind: herokubuild.EventPhase, Phase: herokubuild.PhaseBuild})
		v.print(t, "-----> "+evil+"\n-----> next\n")
		v.send(t, herokubuild.DeployEvent{Kind: herokubuild.EventBuildDone, Build: &herokubuild.Build{ID: evil, Status: evil}})
		v.send(t, herokubuild.DeployEvent{Kind: herokubuild.EventWarning, Line: evil})
		v.send(t, herokubuild.DeployEvent{Kind: herokubuild.EventPhase, Phase: herokubuild.PhaseRelease})
		v.send(t, herokubuild.DeployEvent{Kind: herokubuild.EventReleaseOutput, App: evil, Line: evil})
		v.send(t, herokubuild.DeployEvent{Kind: herokubuild.EventReleaseDone, App: evil, Release: &herokubuild.Release{Status: evil}})
		v.send(t, herokubuild.DeployEvent{Kind: herokubuild.EventVerified, App: evil, Release: &herokubuild.Release{}, Err: errors.New(evil)})
		v.Fail(failed)
		v.Info(evil)
	}
	clean := func(t *testing.T, text string) {
		t.Helper()
		for _, bad := range []string{"\x1b", "\a", "\r", "\u009b", "\u202e", "[31m"} {
			if strings.Contains(text, bad) {
				t.Errorf("%q in %q", bad, text)
			}
		}
		if want := "    first\n    \uFFFD]0;title\uFFFDred\uFFFD end\n"; !strings.Contains(text, want) {
			t.Errorf("no %q in %q", want, text)
		}
	}
	for _, mode := range []string{"", "true"} {
		t.Setenv("GITHUB_ACTIONS", mode)
		stdout, stderr := report(t, Options{App: evil, Dir: evil}, events)
		output := "-----> " + evil + "\n-----> next\n"
		if !strings.Contains(stdout, output) {
			t.Errorf("the build's output has changed: %q", stdout)
		}
		if mode == "true" {
			stderr = strings.Replace(stdout, output, "", 1)
		}
		clean(t, stderr)
	}
	var out, errs screen
	p := newProgress()
	v := &View{reporter: newLive(&out, &errs, p), progress: p, opts: Options{App: evil}}
	v.Fail(failed)
	v.Close()
	clean(t, errs.String())
}
