package herokubuild

import (
	"encoding/json"
	"fmt"
	"log/slog"
)

// This file is how the types that hold a [SecretURL] are printed and logged.
//
// slog's JSON handler would marshal them, and JSON carries the whole URL. And
// fmt, given a verb that does not suit a pointer inside another value ("%s" of
// a struct with a *Build), prints what it points to without asking anybody.

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

// LogValue implements slog.LogValuer: the cursor and what each item says of
// itself.
func (p Page[T]) LogValue() slog.Value {
	attrs := []slog.Attr{slog.Bool("more", p.Next != "")}
	for i, item := range p.Items {
		attrs = append(attrs, slog.Any(fmt.Sprint(i), item))
	}
	return slog.GroupValue(attrs...)
}

// LogValue implements slog.LogValuer: what identifies the build, no secrets.
func (b Build) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("id", b.ID), slog.String("app", b.App.ID), slog.String("status", string(b.Status)),
		slog.String("version", b.SourceBlob.Version), slog.String("slug", b.Slug.ID), slog.String("release", b.Release.ID))
}

// LogValue implements slog.LogValuer: what identifies the release, no secrets.
func (r Release) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("id", r.ID), slog.String("app", r.App.Name), slog.Int("version", r.Version),
		slog.String("status", string(r.Status)), slog.String("description", r.Description), slog.String("slug", r.Slug.ID))
}

// LogValue implements slog.LogValuer: what identifies the slug, no secrets.
func (s Slug) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("id", s.ID), slog.String("commit", s.Commit), slog.Int64("size", s.Size),
		slog.String("checksum", s.Checksum), slog.String("stack", s.Stack.Name), slog.Any("blob", s.Blob))
}

// LogValue implements slog.LogValuer; the URL is printed without its signature.
func (b Blob) LogValue() slog.Value {
	return slog.GroupValue(slog.String("method", b.Method), slog.Any("url", b.URL))
}

// LogValue implements slog.LogValuer; the URLs are printed without their
// signatures.
func (s Source) LogValue() slog.Value {
	return slog.GroupValue(slog.Any("get_url", s.SourceBlob.GetURL), slog.Any("put_url", s.SourceBlob.PutURL))
}

// LogValue implements slog.LogValuer; the URL is printed without its query.
func (s SourceBlob) LogValue() slog.Value {
	return slog.GroupValue(slog.Any("url", s.URL), slog.String("checksum", s.Checksum), slog.String("version", s.Version))
}

// LogValue implements slog.LogValuer; the source's URL is printed without its
// query.
func (o BuildCreateOptions) LogValue() slog.Value {
	return slog.GroupValue(slog.Any("source_blob", o.SourceBlob), slog.Any("buildpacks", o.Buildpacks))
}

// LogValue implements slog.LogValuer: the deploy in short, no secrets.
func (o BuildAndReleaseOptions) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("build_app", o.BuildApp), slog.Any("release_to", o.ReleaseTo), slog.String("dir", o.Dir),
		slog.Any("source_url", o.SourceURL), slog.String("version", o.Version))
}

// LogValue implements slog.LogValuer: what is set of the event, no secrets.
func (e Event) LogValue() slog.Value {
	attrs := []slog.Attr{slog.String("kind", string(e.Kind)), slog.String("app", e.App)}
	if e.Phase != "" {
		attrs = append(attrs, slog.String("phase", string(e.Phase)))
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
		attrs = append(attrs, slog.String("line", e.Line))
	}
	if e.Err != nil {
		attrs = append(attrs, slog.String("error", e.Err.Error()))
	}
	return slog.GroupValue(attrs...)
}

// LogValue implements slog.LogValuer: the outcome in short, no secrets.
func (r Result) LogValue() slog.Value {
	attrs := []slog.Attr{slog.String("slug", r.Slug), slog.String("version", r.Version)}
	if r.Build != nil {
		attrs = append(attrs, slog.Any("build", r.Build))
	}
	for _, rel := range r.Releases {
		attrs = append(attrs, slog.Any(rel.App, rel))
	}
	return slog.GroupValue(attrs...)
}

// LogValue implements slog.LogValuer: the app's outcome, no secrets.
func (r AppRelease) LogValue() slog.Value {
	attrs := []slog.Attr{slog.String("app", r.App)}
	if r.Release != nil {
		attrs = append(attrs, slog.Any("release", r.Release))
	}
	if r.Err != nil {
		attrs = append(attrs, slog.String("error", r.Err.Error()))
	}
	return slog.GroupValue(attrs...)
}

// MarshalJSON makes the outcome in short, no secrets: a list of them that is
// logged by slog's JSON handler is JSON. There is no way back.
func (r AppRelease) MarshalJSON() ([]byte, error) {
	release := orZero(r.Release)
	out := struct {
		App        string `json:"app"`
		Release    string `json:"release_id,omitzero"`
		Version    int    `json:"version,omitzero"`
		Status     Status `json:"status,omitzero"`
		RolledBack int    `json:"rolled_back_by,omitzero"`
		Error      string `json:"error,omitzero"`
	}{r.App, release.ID, release.Version, release.Status, orZero(r.RolledBack).Version, ""}
	if r.Err != nil {
		out.Error = r.Err.Error()
	}
	return json.Marshal(out)
}
