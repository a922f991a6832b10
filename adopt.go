package herokubuild

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// This file makes sure that there is one build, and one release per app, even
// if the response to the request that starts it is lost.

// once sends a request that must not take effect twice. If its outcome is not
// known, find searches for the result: one that is found is adopted, and the
// request is only sent again if there is certainly none.
func once[T any](ctx context.Context, c *Client, send func() (*T, error), find func(context.Context) (*T, error)) (*T, error) {
	for attempt := 1; ; attempt++ {
		v, err := send()
		if err == nil || !errors.Is(err, ErrMaybeApplied) {
			return v, err
		}
		if ctx.Err() != nil {
			return nil, err
		}
		found, findErr := settle(ctx, c.retry.SettleTime, find)
		switch {
		case findErr != nil:
			// The caller has to know that the outcome is not certain.
			return nil, fmt.Errorf("%w (searching for its effect: %w)", err, findErr)
		case found != nil:
			c.log.InfoContext(ctx, "herokubuild: recovered the result of a request whose response was lost")
			return found, nil
		case attempt >= c.retry.MaxAttempts || errors.Is(err, ErrUnexpectedResponse):
			// A 2xx response that cannot be read still reports a success.
			return nil, err
		}
	}
}

// settle searches for some time, since a request without a response may still be
// under way. WithPollBackoff does not apply: the last search has to be at the end
// of that time.
func settle[T any](ctx context.Context, limit time.Duration, find func(context.Context) (*T, error)) (*T, error) {
	end := time.Now().Add(limit)
	for n := 1; ; n++ {
		last := !time.Now().Before(end)
		v, err := find(ctx)
		if v != nil || err != nil || last {
			return v, err
		}
		if err := sleep(ctx, min(DefaultPollBackoff(n), time.Until(end))); err != nil {
			return nil, err
		}
	}
}

// newest is the part of a list in which something just made is found.
func newest(by string) *ListOptions {
	return &ListOptions{SortBy: by, Order: Descending, PageSize: 50}
}

// newToken returns what tells one rollout, or one build of a SourceURL, from all
// others.
func newToken() string {
	var b [6]byte
	_, _ = rand.Read(b[:]) // It never fails; see crypto/rand.
	return hex.EncodeToString(b[:])
}

// withToken returns a description that ends in a token.
func withToken(text, kind, token string) string {
	if token == "" {
		return text
	}
	return strings.TrimSpace(text + " (" + kind + " " + token + ")")
}

// sourceIdentity tells the build of a source from all others.
type sourceIdentity struct {
	address, digest   string
	version, checksum string
	token             string
	before            []string
}

func identityOf(c Checkpoint) sourceIdentity {
	return sourceIdentity{
		address: c.Source, digest: c.SourceDigest, version: c.Version, checksum: c.Checksum,
		token: c.Token, before: c.Before,
	}
}

type verdict int

const (
	notOurs verdict = iota
	ours
	// perhapsOurs: the platform does not say enough of the build.
	perhapsOurs
)

// judge decides whether a build is that of the source. The platform returns the
// description and the URL that were sent, but need not.
func (id sourceIdentity) judge(b *Build) verdict {
	blob := b.SourceBlob
	described := id.token != "" && blob.VersionDescription != ""
	switch {
	case described && strings.HasSuffix(blob.VersionDescription, id.token+")"):
		return ours
	case described, slices.Contains(id.before, b.ID), blob.Version != "" && blob.Version != id.version:
		return notOurs
	case id.checksum != "" && blob.Checksum != "" && blob.Checksum != id.checksum:
		return notOurs
	case blob.URL != "" && !id.hasURL(blob.URL):
		return notOurs
	case blob.URL == "", blob.Version != id.version && id.token != "":
		return perhapsOurs
	}
	return ours
}

func (id sourceIdentity) hasURL(u SecretURL) bool {
	if sourceAddress(u) != id.address {
		return false
	}
	// The platform may leave out the query, of which the signature is a part.
	parsed, err := url.Parse(u.Reveal())
	return err == nil && (id.digest == "" || parsed.RawQuery == "" || sourceDigest(u) == id.digest)
}

// findBuild returns the build of this deploy among the newest, or nil if there is
// none.
func (d *deploy) findBuild(ctx context.Context, id sourceIdentity, list *ListOptions) (*Build, error) {
	page, err := d.client.Builds.ListPage(ctx, d.buildApp(), list)
	if err != nil {
		return nil, err
	}
	var unclear *Build
	for _, b := range page.Items {
		switch id.judge(b) {
		case ours:
			return b, nil
		case perhapsOurs:
			unclear = b
		case notOurs:
		}
	}
	if unclear != nil {
		return nil, fmt.Errorf("build %s may be that of this deploy, its source is not known: %w", unclear.ID, ErrMaybeApplied)
	}
	return nil, nil
}

// earlierBuilds returns the ids of the newest builds that would be taken for
// that of this deploy.
func (d *deploy) earlierBuilds(ctx context.Context, id sourceIdentity) ([]string, error) {
	page, err := d.client.Builds.ListPage(ctx, d.buildApp(), newest("created_at"))
	if err != nil {
		return nil, err
	}
	var before []string
	for _, b := range page.Items {
		if id.judge(b) != notOurs {
			before = append(before, b.ID)
		}
	}
	return before, nil
}

// sourceAddress is the URL of a source without its query.
func sourceAddress(u SecretURL) string {
	parsed, err := url.Parse(u.Reveal())
	if err != nil {
		return ""
	}
	return parsed.Scheme + "://" + parsed.Host + parsed.EscapedPath()
}

// sourceDigest is a hash of what identifies a source in its URL: all of it but
// signatures and tokens, which differ from one signing to the next.
func sourceDigest(u SecretURL) string {
	parsed, err := url.Parse(u.Reveal())
	if err != nil {
		return ""
	}
	// The parser leaves out what it cannot read, as semicolons.
	query, err := url.ParseQuery(parsed.RawQuery)
	if err != nil {
		query = rawQuery(parsed.RawQuery)
	}
	azure := query.Has("sig")
	for name := range query {
		if isSignature(name, azure) {
			query.Del(name)
		}
	}
	sum := sha256.Sum256([]byte(sourceAddress(u) + "?" + query.Encode()))
	return hex.EncodeToString(sum[:])
}

// rawQuery splits a query that the parser does not read as a whole.
func rawQuery(query string) url.Values {
	values := url.Values{}
	for part := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(part, "=")
		values.Add(name, value)
	}
	return values
}

// isSignature reports whether a parameter grants access instead of naming a
// source: those of signed URLs of S3, Google, CloudFront and Azure, and the
// common names of tokens.
func isSignature(name string, azure bool) bool {
	name = strings.ToLower(name)
	for _, prefix := range []string{"x-amz-", "x-goog-"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	switch name {
	case "signature", "expires", "awsaccesskeyid", "googleaccessid", "policy", "key-pair-id", "token", "access_token", "private_token", "job_token":
		return true
	case "sig", "se", "sp", "sv", "sr", "st", "spr", "sip", "ske", "skt", "sks", "skv", "skoid", "sktid":
		return azure
	}
	return false
}

// standing is how a release of this deploy stands on its app.
type standing struct {
	// release is the newest release of the deploy, nil if there is none.
	release *Release
	// by is the release that took its place, if that has happened: a rollback
	// to what was there before, or somebody else's.
	by         *Release
	rolledBack bool
	// awaited is a newer release that is pending and would take the app back to
	// this one, or from this one to what was there before.
	awaited *Release
}

// version is that of the release, 0 if there is none.
func (s *standing) version() int { return orZero(s.release).Version }

// counts reports whether the app runs the release, or is about to.
func (s *standing) counts() bool {
	return s.release != nil && s.by == nil && s.release.Status != StatusFailed && s.release.Status != StatusExpired
}

// wanting reports whether the app needs a release: it has none, or one that
// failed or was rolled back.
func (s *standing) wanting() bool {
	return !s.counts() && (s.by == nil || s.rolledBack)
}

func (s *standing) superseded(app string) error {
	return fmt.Errorf("%s: v%d was %w by v%d", app, s.release.Version, ErrSuperseded, s.by.Version)
}

// findStanding returns the standing of a deploy's release on an app: that with
// the id, if there is one, or the newest that ours is true for.
func findStanding(ctx context.Context, c *Client, app, id string, ours func(*Release) bool) (*standing, error) {
	list := newest("version")
	if id == "" {
		// Nothing says how long ago it was.
		list.PageSize = maxPageSize
	}
	page, err := c.Releases.ListPage(ctx, app, list)
	if err != nil {
		return nil, err
	}
	s := new(standing)
	var newer []*Release
	for _, r := range page.Items {
		if r.ID == id || ours(r) {
			s.release = r
			break
		}
		newer = append(newer, r)
	}
	if s.release == nil {
		if id == "" {
			return s, nil
		}
		if s.release, err = c.Releases.Get(ctx, app, id); err != nil {
			return nil, err
		}
	}
	pending := func(r *Release) bool { return r.Status == StatusPending }
	if s.release.Status == StatusSucceeded && (!s.release.Current || slices.ContainsFunc(newer, pending)) {
		slices.Reverse(newer)
		s.replace(newer)
	}
	return s, nil
}

// replace finds out what has taken the place of the release: newer are the
// releases since, in order.
func (s *standing) replace(newer []*Release) {
	var succeeded, expected []*Release
	var pending *Release
	for _, r := range newer {
		switch r.Status {
		case StatusSucceeded, "":
			succeeded, expected = append(succeeded, r), append(expected, r)
		case StatusPending:
			expected, pending = append(expected, r), r
		case StatusFailed, StatusExpired:
		}
	}
	s.by, s.rolledBack = replacedBy(s.release, succeeded)
	by, back := replacedBy(s.release, expected)
	if by == nil && s.by != nil || back && s.by == nil {
		s.awaited = pending
	}
}

// replacedBy follows what an app has run since a release: newer are the releases
// that succeeded since, in order. Those that change only config vars or add-ons
// have the code of the one before.
func replacedBy(release *Release, newer []*Release) (by *Release, rolledBack bool) {
	runs := codeOf(release)
	for _, r := range newer {
		to, isRollback := rollbackTo(r)
		code := codeOf(r)
		switch {
		case isRollback && to < release.Version:
			by, rolledBack = r, true
		case isRollback && to == release.Version, code != runs && code == codeOf(release):
			by, rolledBack = nil, false
		case code != runs:
			by, rolledBack = r, false
		}
		runs = code
	}
	return by, rolledBack
}

// codeOf identifies what a release runs.
func codeOf(r *Release) string {
	what, _ := r.Code()
	return what.Slug + what.OCIImage
}

// rollbackTo returns the version that a release is a rollback to.
func rollbackTo(r *Release) (version int, ok bool) {
	number, ok := strings.CutPrefix(r.Description, rollbackText)
	version, err := strconv.Atoi(number)
	return version, ok && err == nil
}

const rollbackText = "Rollback to v"
