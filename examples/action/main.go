// Command action is the last step of the GitHub Action in this directory: it reads the
// report of the deploy program, and writes the outputs of the action and the summary of
// the job.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/herokubuild/herokubuild/examples/internal/terminal"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "Usage: action REPORT")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Getenv("GITHUB_OUTPUT"), os.Getenv("GITHUB_STEP_SUMMARY")); err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		os.Exit(1)
	}
}

// report is what this program uses of the deploy program's report.
type report struct {
	Outcome  string  `json:"outcome"`
	Seconds  float64 `json:"seconds"`
	Version  string  `json:"version"`
	BuildID  string  `json:"build_id"`
	SlugID   string  `json:"slug_id"`
	ImageID  string  `json:"image_id"`
	Apps     []app   `json:"apps"`
	Error    *failed `json:"error"`
	BuildApp string  `json:"app"`
}

type app struct {
	Name            string  `json:"app"`
	Outcome         string  `json:"outcome"`
	Version         int     `json:"release_version"`
	Seconds         float64 `json:"seconds"`
	Error           string  `json:"error"`
	RollbackVersion int     `json:"rollback_release_version"`
	RollbackError   string  `json:"rollback_error"`
}

type failed struct {
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

// run appends to the files that the runner has created. Without a report, because the
// deploy was never started, the outcome is "failed".
func run(path, outputs, summary string) error {
	r := report{Outcome: "failed", Error: &failed{Message: "The deploy was not started; its log says why."}}
	switch text, err := os.ReadFile(path); {
	case errors.Is(err, fs.ErrNotExist):
		path = ""
	case err != nil:
		return err
	default:
		r = report{}
		if err := json.Unmarshal(text, &r); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if r.Outcome == "running" {
			// The process was killed.
			r.Outcome = "interrupted"
		}
	}
	return errors.Join(
		appendTo(outputs, func(w io.Writer) { r.writeOutputs(w, path) }),
		appendTo(summary, r.writeSummary),
	)
}

// appendTo appends to a file, if it has a name.
func appendTo(name string, write func(io.Writer)) error {
	if name == "" {
		return nil
	}
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	var text strings.Builder
	write(&text)
	_, err = io.WriteString(f, text.String())
	return errors.Join(err, f.Close())
}

// writeOutputs writes a line for each output.
func (r *report) writeOutputs(w io.Writer, path string) {
	artifact := r.SlugID
	if artifact == "" {
		artifact = r.ImageID
	}
	release := ""
	for _, a := range r.Apps {
		if a.Name == r.BuildApp && a.Version > 0 {
			release = fmt.Sprint(a.Version)
		}
	}
	for _, output := range []struct{ name, value string }{
		{"outcome", r.Outcome}, {"build-id", r.BuildID}, {"slug-id", artifact}, {"version", r.Version},
		{"release-version", release}, {"report", path},
	} {
		fmt.Fprintf(w, "%s=%s\n", output.name, terminal.Line(output.value))
	}
}

// writeSummary writes Markdown with a table of the apps.
func (r *report) writeSummary(w io.Writer) {
	fmt.Fprintf(w, "### Heroku deploy: %s\n\n", markdown(r.Outcome))
	if len(r.Apps) > 0 {
		fmt.Fprint(w, "| app | outcome | release | time | reason |\n|---|---|---|---|---|\n")
	}
	for _, a := range r.Apps {
		fmt.Fprintf(w, "| %s | %s %s | %s | %s | %s |\n", markdown(a.Name), sign(a.Outcome), markdown(words(a.Outcome)), release(a), seconds(a.Seconds), markdown(reason(a)))
	}
	if len(r.Apps) > 0 {
		fmt.Fprintln(w)
	}
	if r.Error != nil {
		fmt.Fprintf(w, "> %s\n\n", markdown(r.Error.Message))
	}
	var facts []string
	for _, fact := range []struct{ name, value string }{
		{"Version", r.Version}, {"build", r.BuildID}, {"slug", r.SlugID}, {"image", r.ImageID},
	} {
		if fact.value != "" {
			facts = append(facts, fmt.Sprintf("%s `%s`", fact.name, strings.ReplaceAll(terminal.Line(fact.value), "`", "'")))
		}
	}
	if r.Seconds > 0 {
		facts = append(facts, "took "+seconds(r.Seconds))
	}
	if len(facts) > 0 {
		fmt.Fprintf(w, "%s.\n", strings.Join(facts, ", "))
	}
}

func sign(outcome string) string {
	switch outcome {
	case "released":
		return "✅"
	case "not_attempted", "pending":
		return "⚪"
	case "rolled_back":
		return "↩️"
	case "unknown":
		return "❔"
	default:
		return "❌"
	}
}

// words turns a word of the report into words for people.
func words(outcome string) string { return strings.ReplaceAll(outcome, "_", " ") }

// release returns the release of an app, and the one that it was rolled back with.
func release(a app) string {
	switch {
	case a.Version == 0:
		return "–"
	case a.RollbackVersion > 0:
		return fmt.Sprintf("v%d, rolled back with v%d", a.Version, a.RollbackVersion)
	default:
		return fmt.Sprintf("v%d", a.Version)
	}
}

func reason(a app) string {
	if a.RollbackError != "" {
		return a.Error + "; rollback: " + a.RollbackError
	}
	return a.Error
}

func seconds(s float64) string {
	if s <= 0 {
		return "–"
	}
	return fmt.Sprintf("%.1f s", s)
}

// markdown returns text as a line in which nothing has a meaning in Markdown or HTML, since
// it may come from a build or an app.
func markdown(text string) string {
	var b strings.Builder
	for _, r := range terminal.Line(text) {
		if strings.ContainsRune("\\`*_{}[]()<>#+!|~&$@:", r) {
			fmt.Fprintf(&b, "&#%d;", r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}
