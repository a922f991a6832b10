package herokubuild

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"
)

// This file is how the types of this package are printed, logged and written as
// JSON.
//
// A [SecretURL] takes care of itself, but for one case: fmt, given a verb that does
// not suit a pointer inside another value ("%s" of a struct with a *Build), prints
// what it points to without asking the parts of that. So each type that holds one
// has a Format.

// format prints v, which is one of the types below without its methods.
func format(f fmt.State, verb rune, v any) {
	layout := "%v"
	if verb == 'v' {
		layout = fmt.FormatString(f, verb)
	}
	_, _ = fmt.Fprintf(f, layout, v)
}

// Format implements fmt.Formatter: all verbs print the fields as %v does, the
// URLs in them without their signatures.
func (b Build) Format(f fmt.State, verb rune) {
	type build Build
	format(f, verb, build(b))
}

// Format implements fmt.Formatter, as [Build.Format] does.
func (r Release) Format(f fmt.State, verb rune) {
	type release Release
	format(f, verb, release(r))
}

// Format implements fmt.Formatter, as [Build.Format] does.
func (s Slug) Format(f fmt.State, verb rune) {
	type slug Slug
	format(f, verb, slug(s))
}

// Format implements fmt.Formatter, as [Build.Format] does.
func (s Source) Format(f fmt.State, verb rune) {
	type source Source
	format(f, verb, source(s))
}

// Format implements fmt.Formatter, as [Build.Format] does.
func (b Blob) Format(f fmt.State, verb rune) {
	type blob Blob
	format(f, verb, blob(b))
}

// Format implements fmt.Formatter, as [Build.Format] does.
func (s SourceBlob) Format(f fmt.State, verb rune) {
	type sourceBlob SourceBlob
	format(f, verb, sourceBlob(s))
}

// Format implements fmt.Formatter, as [Build.Format] does.
func (o BuildCreateOptions) Format(f fmt.State, verb rune) {
	type options BuildCreateOptions
	format(f, verb, options(o))
}

// Format implements fmt.Formatter, as [Build.Format] does.
func (o BuildAndReleaseOptions) Format(f fmt.State, verb rune) {
	type options BuildAndReleaseOptions
	format(f, verb, options(o))
}

// Format prints the error's text for every verb, but for %#v its fields.
func (e *StorageError) Format(f fmt.State, verb rune) {
	type uploadError StorageError
	switch {
	case verb == 'v' && f.Flag('#'):
		_, _ = fmt.Fprintf(f, "&%#v", uploadError(*e))
	case strings.ContainsRune("vsqxX", verb):
		_, _ = fmt.Fprintf(f, fmt.FormatString(f, verb), e.Error())
	default:
		_, _ = fmt.Fprint(f, e.Error())
	}
}

// Format prints the archive's address for every verb, without the signature.
func (d *download) Format(f fmt.State, verb rune) { d.address().Format(f, verb) }

// LogValue makes slog print what String returns.
func (d *download) LogValue() slog.Value { return slog.StringValue(d.String()) }

// textAttr is an attribute of what the platform says.
func textAttr(key, value string) slog.Attr { return slog.String(key, clip(value, maxErrorText)) }

func errorAttr(err error) slog.Attr { return textAttr("error", redactText(err.Error())) }

// LogValue implements slog.LogValuer: what identifies the build, no secrets.
func (b Build) LogValue() slog.Value {
	return slog.GroupValue(
		textAttr("id", b.ID), textAttr("app", b.App.ID), textAttr("status", string(b.Status)),
		textAttr("version", b.SourceBlob.Version), textAttr("slug", b.Slug.ID), textAttr("release", b.Release.ID))
}

// LogValue implements slog.LogValuer: what identifies the release, no secrets.
func (r Release) LogValue() slog.Value {
	return slog.GroupValue(
		textAttr("id", r.ID), textAttr("app", r.App.Name), slog.Int("version", r.Version),
		textAttr("status", string(r.Status)), textAttr("description", r.Description), textAttr("slug", r.Slug.ID))
}

// LogValue implements slog.LogValuer: what identifies the slug, no secrets.
func (s Slug) LogValue() slog.Value {
	return slog.GroupValue(
		textAttr("id", s.ID), textAttr("commit", s.Commit), slog.Int64("size", s.Size),
		textAttr("checksum", s.Checksum), textAttr("stack", s.Stack.Name), slog.Any("blob", s.Blob))
}

// LogValue implements slog.LogValuer: the deploy in short, no secrets.
func (o BuildAndReleaseOptions) LogValue() slog.Value {
	apps := make([]string, len(o.ReleaseTo))
	for i, app := range o.ReleaseTo {
		apps[i] = clip(app, maxHeaderText)
	}
	return slog.GroupValue(
		textAttr("build_app", o.BuildApp), slog.Any("release_to", apps), textAttr("dir", o.Dir),
		slog.Any("source_url", o.SourceURL), textAttr("version", o.Version))
}

// LogValue implements slog.LogValuer: what is set of the event, no secrets.
func (e DeployEvent) LogValue() slog.Value {
	attrs := []slog.Attr{textAttr("kind", string(e.Kind)), textAttr("app", e.App)}
	if e.Phase != "" {
		attrs = append(attrs, textAttr("phase", string(e.Phase)))
	}
	if e.Total > 0 {
		attrs = append(attrs, slog.Int64("done", e.Done), slog.Int64("total", e.Total))
	}
	if e.Build != nil {
		attrs = append(attrs, slog.Any("build", e.Build))
	}
	if e.Release != nil {
		attrs = append(attrs, slog.Any("release", e.Release))
	}
	if e.Line != "" {
		attrs = append(attrs, textAttr("line", e.Line))
	}
	if e.Err != nil {
		attrs = append(attrs, errorAttr(e.Err))
	}
	return slog.GroupValue(attrs...)
}

// LogValue implements slog.LogValuer: the outcome in short, no secrets.
func (r DeployResult) LogValue() slog.Value {
	attrs := []slog.Attr{textAttr("slug", r.Slug), textAttr("version", r.Version)}
	if r.Build != nil {
		attrs = append(attrs, slog.Any("build", r.Build))
	}
	for _, rel := range r.Apps {
		attrs = append(attrs, slog.Any(clip(rel.App, maxHeaderText), rel))
	}
	return slog.GroupValue(attrs...)
}

// LogValue implements slog.LogValuer: the app's outcome, no secrets.
func (r AppResult) LogValue() slog.Value {
	attrs := []slog.Attr{textAttr("app", r.App)}
	if r.Release != nil {
		attrs = append(attrs, slog.Any("release", r.Release))
	}
	if r.Err != nil {
		attrs = append(attrs, errorAttr(r.Err))
	}
	return slog.GroupValue(attrs...)
}

// MarshalJSON writes the outcome in short: the app, the id, version and status of
// its release, the version that took it back, and the error's text. There is no
// way back.
func (r AppResult) MarshalJSON() ([]byte, error) {
	release := orZero(r.Release)
	out := struct {
		App        string `json:"app"`
		Release    string `json:"release_id,omitzero"`
		Version    int    `json:"version,omitzero"`
		Status     Status `json:"status,omitzero"`
		RolledBack int    `json:"rolled_back_by,omitzero"`
		Error      string `json:"error,omitzero"`
		Output     string `json:"output_error,omitzero"`
	}{
		App: r.App, Release: release.ID, Version: release.Version, Status: release.Status, RolledBack: orZero(r.RolledBack).Version,
		Error: shownError(r.Err), Output: shownError(r.OutputErr),
	}
	return json.Marshal(out)
}

// MarshalJSON writes the result for a report: what was built and released, and the
// checkpoint. There is no way back but for the checkpoint.
func (r DeployResult) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Version    string      `json:"version,omitzero"`
		Checksum   string      `json:"checksum,omitzero"`
		Slug       string      `json:"slug_id,omitzero"`
		Build      *Build      `json:"build,omitzero"`
		Releases   []AppResult `json:"releases,omitempty"`
		Output     string      `json:"output_error,omitzero"`
		Checkpoint Checkpoint  `json:"checkpoint"`
	}{
		Version: r.Version, Checksum: r.Checksum, Slug: r.Slug, Build: r.Build, Releases: r.Apps,
		Output: shownError(r.OutputErr), Checkpoint: r.Checkpoint,
	})
}

// shownError is the text of an error as JSON has it, empty if there is none.
func shownError(err error) string {
	if err == nil {
		return ""
	}
	return clip(redactText(err.Error()), maxErrorText)
}

// MarshalJSON writes what is set of the event, but for the archive; of Err the
// text. There is no way back but for the checkpoint.
func (e DeployEvent) MarshalJSON() ([]byte, error) {
	out := struct {
		Kind       DeployEventKind `json:"kind"`
		Time       time.Time       `json:"time"`
		Phase      DeployPhase     `json:"phase,omitzero"`
		App        string          `json:"app,omitzero"`
		Done       int64           `json:"done,omitzero"`
		Total      int64           `json:"total,omitzero"`
		Build      *Build          `json:"build,omitzero"`
		Release    *Release        `json:"release,omitzero"`
		Line       string          `json:"line,omitzero"`
		Quiet      float64         `json:"quiet_seconds,omitzero"`
		Error      string          `json:"error,omitzero"`
		Checkpoint Checkpoint      `json:"checkpoint"`
	}{e.Kind, e.Time, e.Phase, e.App, e.Done, e.Total, e.Build, e.Release, e.Line, e.Quiet.Seconds(), "", e.Checkpoint}
	out.Error = shownError(e.Err)
	return json.Marshal(out)
}

// MarshalJSON writes the options without the header's values.
func (o FetchArchiveOptions) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Header   []string `json:"header,omitempty"`
		MaxBytes int64    `json:"max_bytes,omitzero"`
		TempDir  string   `json:"temp_dir,omitzero"`
	}{slices.Sorted(maps.Keys(o.Header)), o.MaxBytes, o.TempDir})
}
