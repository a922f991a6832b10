package terminal

import (
	"crypto/rand"
	"io"
	"strings"

	"github.com/herokubuild/herokubuild"
)

// actions reports in the log of a GitHub workflow, with a group for each phase
// and annotations for warnings and errors. Everything is written to standard
// output, because the runner does not preserve the order of two streams, and
// the order is needed to keep the build's output from being parsed as workflow
// commands.
//
// See
// https://docs.github.com/actions/reference/workflow-commands-for-github-actions.
type actions struct {
	*plain
	grouped bool
	// token makes the runner process commands again; empty if it does.
	token string
	// lineOpen is set while the last line of the build's output has no newline.
	lineOpen bool
}

func newActions(w io.Writer, p *progress) *actions { return &actions{plain: newPlain(w, w, p)} }

// command prints a workflow command.
func (t *actions) command(name, properties, text string) {
	if properties != "" {
		name += " " + properties
	}
	t.printf("::%s::%s", name, strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A").Replace(text))
}

// stopCommands makes the runner treat the following lines as text.
func (t *actions) stopCommands() {
	t.token = rand.Text()
	t.command("stop-commands", "", t.token)
}

// resumeCommands makes the runner process commands again.
func (t *actions) resumeCommands() {
	if t.lineOpen {
		t.lineOpen = false
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
	t.resumeCommands()
	if t.grouped {
		t.command("endgroup", "", "")
		t.grouped = false
	}
}

func (t *actions) section(phase herokubuild.DeployPhase, title string) {
	t.group(title)
	if phase == herokubuild.PhaseBuild || phase == herokubuild.PhaseRelease {
		t.stopCommands()
	}
}

func (t *actions) output(p []byte, ended []step) error {
	if len(p) > 0 {
		t.lineOpen = p[len(p)-1] != '\n'
	}
	return t.plain.output(p, ended)
}

// note prints a line, after ending an open line of the build's output.
func (t *actions) note(text string) {
	if t.lineOpen {
		t.lineOpen = false
		t.printf("")
	}
	t.plain.note(text)
}

// warn prints an annotation, for which the runner must process commands.
func (t *actions) warn(text string) {
	stopped := t.token != ""
	t.resumeCommands()
	t.command("warning", "title=Deploy", text)
	if stopped {
		t.stopCommands()
	}
}

func (t *actions) quote(title, text string) {
	t.group(title)
	t.stopCommands()
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
