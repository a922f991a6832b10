package herokubuild

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// This file is what a response of success must have to be one. What is missing
// or of another form makes an [ResponseError] of it, so that later calls cannot
// fail with an [ArgumentError] about a value that the platform chose.

// checked is a type of responses that can say what is wrong with one.
type checked interface{ validate() error }

// validate checks a value that has been decoded from a response, of whatever type.
func validate(v any) error {
	if c, ok := v.(checked); ok {
		return c.validate()
	}
	return nil
}

// requireID is an id that must be there.
func requireID(field, id string) error {
	switch {
	case id == "":
		return fmt.Errorf("the response has no %s", field)
	case !isUUID(id):
		return fmt.Errorf("the response's %s %s is not a UUID", field, quote(id))
	}
	return nil
}

// optionalID is an id that may be missing: as that of a slug that is not there
// yet.
func optionalID(field, id string) error {
	if id == "" {
		return nil
	}
	return requireID(field, id)
}

// requireURL is an address that this package is going to use.
func requireURL(field string, u SecretURL) error {
	if isPlainURL(u.Reveal()) {
		return nil
	}
	_, err := checkWebURL(field, u.Reveal())
	var bad *ArgumentError
	if errors.As(err, &bad) {
		return fmt.Errorf("the response's %s cannot be used: %s", bad.Name, bad.Reason)
	}
	return err
}

// isPlainURL is true for what nearly every address looks like: https, a host of
// letters, digits, dots and dashes, and printable characters. It is for lists, of
// which every item has an address: checkWebURL allocates.
func isPlainURL(s string) bool {
	rest, ok := strings.CutPrefix(s, "https://")
	host := strings.IndexByte(rest, '/')
	if !ok || host < 1 {
		return false
	}
	for i := range host {
		if c := rest[i]; (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '.' {
			return false
		}
	}
	for i := host; i < len(rest); i++ {
		if c := rest[i]; c <= ' ' || c > '~' || c == '%' && !isEscape(rest[i:]) {
			return false
		}
	}
	return true
}

func isEscape(s string) bool {
	if len(s) < 3 {
		return false
	}
	_, err := strconv.ParseUint(s[1:3], 16, 8)
	return err == nil
}

func optionalURL(field string, u SecretURL) error {
	if u == "" {
		return nil
	}
	return requireURL(field, u)
}

func (a *App) validate() error { return requireID("id", a.ID) }

func (b *Build) validate() error {
	return firstError(
		requireID("id", b.ID),
		optionalID("app.id", b.App.ID),
		optionalID("slug.id", b.Slug.ID),
		optionalID("release.id", b.Release.ID),
		optionalURL("output_stream_url", b.OutputStreamURL),
	)
}

func (r *Release) validate() error {
	if r.Version < 1 {
		return fmt.Errorf("the response's version is %d", r.Version)
	}
	for _, a := range r.Artifacts {
		if err := optionalID("artifacts.id", a.ID); err != nil {
			return err
		}
	}
	return firstError(
		requireID("id", r.ID),
		optionalID("app.id", r.App.ID),
		optionalID("slug.id", r.Slug.ID),
		optionalURL("output_stream_url", r.OutputStreamURL),
	)
}

func (s *Slug) validate() error {
	if s.Size < 0 {
		return fmt.Errorf("the response's size is %d", s.Size)
	}
	return firstError(
		requireID("id", s.ID),
		optionalURL("blob.url", s.Blob.URL),
	)
}

// newSlug is a slug just created, whose archive is uploaded next.
type newSlug struct{ Slug }

func (s *newSlug) validate() error {
	return firstError(
		s.Slug.validate(),
		requireURL("blob.url", s.Blob.URL),
		blobMethod(s.Blob, http.MethodPut, http.MethodPost),
	)
}

// storedSlug is a slug whose archive is there to be downloaded, unless the
// platform has destroyed it.
type storedSlug struct{ Slug }

func (s *storedSlug) validate() error {
	err := s.Slug.validate()
	if err == nil && s.Blob.URL != "" {
		err = blobMethod(s.Blob, http.MethodGet)
	}
	return err
}

func blobMethod(b Blob, want ...string) error {
	if slices.Contains(want, strings.ToUpper(b.Method)) {
		return nil
	}
	return fmt.Errorf("the response's blob.method is %s, not %s", quote(b.Method), strings.Join(want, " or "))
}

func (s *Source) validate() error {
	return firstError(
		requireURL("source_blob.get_url", s.SourceBlob.GetURL),
		requireURL("source_blob.put_url", s.SourceBlob.PutURL),
	)
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
