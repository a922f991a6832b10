package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/herokubuild/herokubuild"
)

// told is what a view with these writers says of what happens in tell.
func told(t *testing.T, s *settings, tell func(v *view)) (stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	v := newView(&out, &errs, s)
	tell(v)
	v.close()
	t.Logf("stdout:\n%s\nstderr:\n%s", &out, &errs)
	return out.String(), errs.String()
}

func (v *view) tell(t *testing.T, e herokubuild.DeployEvent) {
	t.Helper()
	if err := v.event(context.Background(), e); err != nil {
		t.Error(err)
	}
}

func (v *view) print(t *testing.T, text string) {
	t.Helper()
	if _, err := v.Write([]byte(text)); err != nil {
		t.Error(err)
	}
}

// A build that says nothing is told of each minute, with what it is at and
// whether it is alive.
func TestSignOfLife(t *testing.T) {
	t.Setenv("GITHUB_ACTIONS", "")
	synctest.Test(t, func(t *testing.T) {
		stdout, stderr := told(t, &settings{app: "my-app", releaseTo: []string{"other-app"}}, func(v *view) {
			v.tell(t, herokubuild.DeployEvent{Kind: herokubuild.EventPhase, Phase: herokubuild.PhaseBuild})
			time.Sleep(5 * time.Second)
			v.print(t, "-----> Installing\x1b[1m dependen")
			v.print(t, "cies...\n       npm")
			time.Sleep(50 * time.Second)
			v.tell(t, herokubuild.DeployEvent{Kind: herokubuild.EventHeartbeat, Build: &herokubuild.Build{}, Quiet: 50 * time.Second})
			time.Sleep(66 * time.Second)
			v.print(t, " done\n-----> Launching\n")
			v.tell(t, herokubuild.DeployEvent{Kind: herokubuild.EventBuildDone, Build: &herokubuild.Build{ID: "b", Status: herokubuild.StatusSucceeded}})
			v.tell(t, herokubuild.DeployEvent{Kind: herokubuild.EventPhase, Phase: herokubuild.PhaseRelease})
			v.tell(t, herokubuild.DeployEvent{Kind: herokubuild.EventReleaseDone, App: "my-app", Release: &herokubuild.Release{Version: 3, Status: herokubuild.StatusSucceeded}})
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
			got = append(got, s.name+" "+s.took().String())
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

// tokens are different in every run.
var tokens = regexp.MustCompile(`[A-Z2-7]{26}`)

func TestGitHubActions(t *testing.T) {
	t.Setenv("GITHUB_ACTIONS", "true")
	stdout, stderr := told(t, &settings{app: "my-app"}, func(v *view) {
		v.tell(t, herokubuild.DeployEvent{Kind: herokubuild.EventPhase, Phase: herokubuild.PhasePack})
		v.tell(t, herokubuild.DeployEvent{Kind: herokubuild.EventWarning, Line: "100% of it\nis secret"})
		v.tell(t, herokubuild.DeployEvent{Kind: herokubuild.EventPhase, Phase: herokubuild.PhaseBuild})
		v.print(t, "::error::not a command\n")
		v.print(t, "half a line")
		v.tell(t, herokubuild.DeployEvent{Kind: herokubuild.EventOutputLost, App: "my-app", Err: errors.New("gone")})
		v.print(t, "::endgroup::")
		v.close()
		v.explain(&herokubuild.BuildError{App: "my-app", Build: &herokubuild.Build{}, Tail: "::set-output name=x::y\nlast"})
	})
	if stderr != "" {
		t.Errorf("stderr %q: the runner would not keep the order", stderr)
	}
	seen := map[string]bool{}
	for _, line := range strings.Split(stdout, "\n") {
		if token, ok := strings.CutPrefix(line, "::stop-commands::"); ok {
			if seen[token] {
				t.Errorf("the token %s, which the log shows, is used again", token)
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
::warning title=Deploy::the output of my-app is lost, waiting for the outcome: gone
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

// What goes to a file is the build's output, in a workflow, too.
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

// What builds, apps and errors say cannot steer the terminal; the build's output
// is passed on as it is.
func TestNothingSteersTheTerminal(t *testing.T) {
	t.Setenv("NO_COLOR", "1")
	const evil = "\x1b]0;title\a\x1b[31mred\x1b[0m\u009b2J\u202e\rend"
	failed := &herokubuild.DeployError{Result: &herokubuild.DeployResult{Apps: []herokubuild.AppResult{
		{App: evil, Err: &herokubuild.ReleaseError{Tail: "first\n" + evil}},
	}}, Err: errors.New(evil)}
	tell := func(v *view) {
		v.tell(t, herokubuild.DeployEvent{Kind: herokubuild.EventPhase, Phase: herokubuild.PhaseBuild})
		v.print(t, "-----> "+evil+"\n-----> next\n")
		v.tell(t, herokubuild.DeployEvent{Kind: herokubuild.EventBuildDone, Build: &herokubuild.Build{ID: evil, Status: evil}})
		v.tell(t, herokubuild.DeployEvent{Kind: herokubuild.EventWarning, Line: evil})
		v.tell(t, herokubuild.DeployEvent{Kind: herokubuild.EventPhase, Phase: herokubuild.PhaseRelease})
		v.tell(t, herokubuild.DeployEvent{Kind: herokubuild.EventReleaseOutput, App: evil, Line: evil})
		v.tell(t, herokubuild.DeployEvent{Kind: herokubuild.EventReleaseDone, App: evil, Release: &herokubuild.Release{Status: evil}})
		v.tell(t, herokubuild.DeployEvent{Kind: herokubuild.EventVerified, App: evil, Release: &herokubuild.Release{}, Err: errors.New(evil)})
		v.explain(failed)
		v.say(evil)
	}
	clean := func(t *testing.T, text string) {
		t.Helper()
		for _, bad := range []string{"\x1b", "\a", "\r", "\u009b", "\u202e", "[31m"} {
			if strings.Contains(text, bad) {
				t.Errorf("%q in %q", bad, text)
			}
		}
		wantContains(t, text, "    first\n    \uFFFD]0;title\uFFFDred\uFFFD end\n")
	}
	for _, mode := range []string{"", "true"} {
		t.Setenv("GITHUB_ACTIONS", mode)
		stdout, stderr := told(t, &settings{app: evil, dir: evil}, tell)
		output := "-----> " + evil + "\n-----> next\n"
		if !strings.Contains(stdout, output) {
			t.Errorf("the build's output is not what it was: %q", stdout)
		}
		if mode == "true" {
			stderr = strings.Replace(stdout, output, "", 1)
		}
		clean(t, stderr)
	}
	var out, errs screen
	p := newProgress()
	v := &view{teller: newLive(&out, &errs, p), progress: p, s: &settings{app: evil}}
	v.explain(failed)
	v.close()
	clean(t, errs.String())
}
