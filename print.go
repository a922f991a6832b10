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

// format prints v, which is a value of one of the types below without its methods.
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
func (s SourceURLs) Format(f fmt.State, verb rune) {
	type sourceURLs SourceURLs
	format(f, verb, sourceURLs(s))
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

// Format prints the error's text for every verb except %#v, which prints its fields.
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

// textAttr returns an attribute with text from outside as a clean line.
func textAttr(key, value string) slog.Attr { return slog.String(key, clip(value, maxErrorText)) }

func errorAttr(err error) slog.Attr { return slog.String("error", shownError(err)) }

// LogValue implements slog.LogValuer: it logs what identifies the build.
func (b Build) LogValue() slog.Value {
	return slog.GroupValue(
		textAttr("id", b.ID), textAttr("app", b.App.ID), textAttr("status", string(b.Status)),
		textAttr("version", b.SourceBlob.Version), textAttr("slug", b.Slug.ID), textAttr("release", b.Release.ID))
}

// LogValue implements slog.LogValuer: it logs what identifies the release.
func (r Release) LogValue() slog.Value {
	return slog.GroupValue(
		textAttr("id", r.ID), textAttr("app", r.App.Name), slog.Int("version", r.Version),
		textAttr("status", string(r.Status)), textAttr("description", r.Description), textAttr("slug", r.Slug.ID))
}

// LogValue implements slog.LogValuer: it logs what identifies the slug.
func (s Slug) LogValue() slog.Value {
	return slog.GroupValue(
		textAttr("id", s.ID), textAttr("commit", s.Commit), slog.Int64("size", s.Size),
		textAttr("checksum", s.Checksum), textAttr("stack", s.Stack.Name), slog.Any("blob", s.Blob))
}

// LogValue implements slog.LogValuer: it logs a summary of the deploy.
func (o BuildAndReleaseOptions) LogValue() slog.Value {
	apps := make([]string, len(o.ReleaseTo))
	for i, app := range o.ReleaseTo {
		apps[i] = clip(app, maxHeaderText)
	}
	return slog.GroupValue(
		textAttr("build_app", o.BuildApp), slog.Any("release_to", apps), textAttr("dir", o.Dir),
		slog.Any("source_url", o.SourceURL), textAttr("version", o.Version))
}

// LogValue implements slog.LogValuer: it logs the fields that are set.
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

// LogValue implements slog.LogValuer: it logs a summary of the outcome.
func (r DeployResult) LogValue() slog.Value {
	attrs := []slog.Attr{textAttr("slug", r.Artifact.SlugID), textAttr("image", r.Artifact.ImageID), textAttr("version", r.Version)}
	if r.Build != nil {
		attrs = append(attrs, slog.Any("build", r.Build))
	}
	for _, rel := range r.Apps {
		attrs = append(attrs, slog.Any(clip(rel.App, maxHeaderText), rel))
	}
	return slog.GroupValue(attrs...)
}

// LogValue implements slog.LogValuer: it logs the app's outcome.
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

// MarshalJSON writes a summary: the app, its outcome in one word, the ID, version and
// status of its release, the version that rolled it back, the duration and the text
// of the error. It cannot be decoded again.
func (r AppResult) MarshalJSON() ([]byte, error) {
	release := orZero(r.Release)
	out := struct {
		App        string     `json:"app"`
		Outcome    AppOutcome `json:"outcome"`
		Release    string     `json:"release_id,omitzero"`
		Version    int        `json:"version,omitzero"`
		Status     Status     `json:"status,omitzero"`
		RolledBack int        `json:"rolled_back_by,omitzero"`
		Duration   float64    `json:"duration_seconds,omitzero"`
		Error      string     `json:"error,omitzero"`
		Output     string     `json:"output_error,omitzero"`
	}{
		App: r.App, Outcome: r.Outcome(), Duration: r.Duration.Seconds(), Release: release.ID, Version: release.Version, Status: release.Status, RolledBack: orZero(r.RolledBack).Version,
		Error: shownError(r.Err), Output: shownError(r.OutputErr),
	}
	return json.Marshal(out)
}

// MarshalJSON encodes the result for a report: what was built and released, and the
// checkpoint. Only the checkpoint can be decoded again.
func (r DeployResult) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Version    string      `json:"version,omitzero"`
		Checksum   string      `json:"checksum,omitzero"`
		Slug       string      `json:"slug_id,omitzero"`
		Image      string      `json:"image_id,omitzero"`
		Build      *Build      `json:"build,omitzero"`
		Apps       []AppResult `json:"apps,omitempty"`
		Output     string      `json:"output_error,omitzero"`
		Checkpoint Checkpoint  `json:"checkpoint"`
	}{
		Version: r.Version, Checksum: r.Checksum, Slug: r.Artifact.SlugID, Image: r.Artifact.ImageID, Build: r.Build, Apps: r.Apps,
		Output: shownError(r.OutputErr), Checkpoint: r.Checkpoint,
	})
}

// shownError returns the text of an error for JSON and logs; empty if there is none.
func shownError(err error) string {
	if err == nil {
		return ""
	}
	return clip(redactText(err.Error()), maxErrorText)
}

// MarshalJSON encodes the fields that are set, except for the archive; of Err it
// encodes the text. Only the checkpoint can be decoded again.
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

// MarshalJSON encodes the options without the values of the header.
func (o FetchArchiveOptions) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Header   []string `json:"header,omitempty"`
		MaxBytes int64    `json:"max_bytes,omitzero"`
		TempDir  string   `json:"temp_dir,omitzero"`
	}{slices.Sorted(maps.Keys(o.Header)), o.MaxBytes, o.TempDir})
}
