package main

import (
	"crypto/rand"
	"io"
	"strings"

	"github.com/herokubuild/herokubuild"
)

// actions tells in the log of a GitHub workflow: a group for each phase, and
// annotations for what is wrong. All of it goes to standard output, because the
// runner does not keep the order between two streams, and between these two lines
// it matters: what a build prints must not be taken for commands.
//
// See https://docs.github.com/actions/reference/workflow-commands-for-github-actions.
type actions struct {
	*plain
	grouped bool
	// token is what makes the runner listen to commands again; empty while it
	// does.
	token string
	// broken says that the last line has not ended.
	broken bool
}

func newActions(w io.Writer, p *progress) *actions { return &actions{plain: newPlain(w, w, p)} }

// command is a workflow command, in a line of its own.
func (t *actions) command(name, properties, text string) {
	if properties != "" {
		name += " " + properties
	}
	t.printf("::%s::%s", name, strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A").Replace(text))
}

// deafen makes the runner take what follows for text.
func (t *actions) deafen() {
	t.token = rand.Text()
	t.command("stop-commands", "", t.token)
}

func (t *actions) listen() {
	if t.broken {
		t.broken = false
		t.printf("")
	}
	if t.token != "" {
		t.command(t.token, "", "")
		t.token = ""
	}
}

func (t *actions) group(title string) {
	t.endGroup()
	t.command("group", "", title)
	t.grouped = true
}

func (t *actions) endGroup() {
	t.listen()
	if t.grouped {
		t.command("endgroup", "", "")
		t.grouped = false
	}
}

func (t *actions) section(phase herokubuild.DeployPhase, title string) {
	t.group(title)
	if phase == herokubuild.PhaseBuild || phase == herokubuild.PhaseRelease {
		t.deafen()
	}
}

func (t *actions) output(p []byte, ended []step) error {
	if len(p) > 0 {
		t.broken = p[len(p)-1] != '\n'
	}
	return t.plain.output(p, ended)
}

// note may have to end the line that the build has left open.
func (t *actions) note(text string) {
	if t.broken {
		t.broken = false
		t.printf("")
	}
	t.plain.note(text)
}

// warn is an annotation, which the runner has to listen to.
func (t *actions) warn(text string) {
	deaf := t.token != ""
	t.listen()
	t.command("warning", "title=Deploy", text)
	if deaf {
		t.deafen()
	}
}

func (t *actions) quote(title, text string) {
	t.group(title)
	t.deafen()
	t.printf("%s", indent(text))
	t.endGroup()
}

func (t *actions) fail(text string) {
	t.endGroup()
	t.command("error", "title=Deploy failed", text)
}

func (t *actions) close() {
	t.plain.close()
	t.endGroup()
}
