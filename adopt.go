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

// once sends a request that must not take effect twice. If its outcome is not known,
// find searches for the result: a result that is found is adopted, and the request is
// sent again only if there is certainly none.
func once[T any](ctx context.Context, c *Client, send func() (*T, error), find func(context.Context) (*T, error)) (*T, error) {
	for attempt := 1; ; attempt++ {
		v, err := send()
		if err == nil || !errors.Is(err, ErrMaybeApplied) {
			return v, err
		}
		if ctx.Err() != nil {
			return nil, err
		}
		found, findErr := settle(ctx, c.api.settleTime, find)
		switch {
		case findErr != nil:
			// Both errors are kept: the outcome of the request is still unknown.
			return nil, fmt.Errorf("%w (searching for its effect: %w)", err, findErr)
		case found != nil:
			c.api.log.InfoContext(ctx, "herokubuild: recovered the result of a request whose response was lost")
			return found, nil
		case attempt >= c.api.retry.MaxAttempts || errors.Is(err, ErrUnexpectedResponse):
			// A 2xx response means success, even if it cannot be decoded.
			return nil, err
		}
	}
}

// settle searches until limit has passed, because a request without a response may
// still take effect. WithPollBackoff does not apply: the last search has to be at the
// end of that time.
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

// settledAt is when the last request of the call that created a checkpoint has taken
// effect, if ever.
func settledAt(c *Client, checkpoint Checkpoint) time.Time {
	if checkpoint.Settled || !checkpoint.started() {
		return time.Time{}
	}
	return time.Now().Add(c.api.settleTime)
}

// newest selects the part of a list that has what was just created.
func newest(by string) *ListOptions {
	return &ListOptions{SortBy: by, Order: Descending, PageSize: 50}
}

// newToken returns a random token that identifies one rollout, or one build of a
// SourceURL.
func newToken() string {
	var b [6]byte
	_, _ = rand.Read(b[:]) // crypto/rand.Read never returns an error.
	return hex.EncodeToString(b[:])
}

// withToken returns a description that ends in a token.
func withToken(text, kind, token string) string {
	if token == "" {
		return text
	}
	return strings.TrimSpace(text + " (" + kind + " " + token + ")")
}

// sourceIdentity is what identifies the build of a source.
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
	// perhapsOurs: the response has too little of the build to decide.
	perhapsOurs
)

// judge decides whether a build is that of the source. A response may lack the
// description and the URL that were sent.
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
	// A response may lack the query, which has the signature.
	parsed, err := url.Parse(u.Reveal())
	return err == nil && (id.digest == "" || parsed.RawQuery == "" || sourceDigest(u) == id.digest)
}

// findBuild returns the build with this identity in the list, or nil if there is none.
func findBuild(ctx context.Context, c *Client, app string, id sourceIdentity, list *ListOptions) (*Build, error) {
	page, err := c.Builds.ListPage(ctx, app, list)
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
		return nil, fmt.Errorf("build %s has an unknown source and may be that of this deploy: %w", unclear.ID, ErrMaybeApplied)
	}
	return nil, nil
}

// earlierBuilds returns the ids of the newest builds that could be mistaken for that
// of this deploy.
func earlierBuilds(ctx context.Context, c *Client, app string, id sourceIdentity) ([]string, error) {
	page, err := c.Builds.ListPage(ctx, app, newest("created_at"))
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

// sourceDigest is a hash of what identifies a source in its URL: everything except
// signatures and tokens, which change with each signing.
func sourceDigest(u SecretURL) string {
	parsed, err := url.Parse(u.Reveal())
	if err != nil {
		return ""
	}
	// The parser drops pairs that it cannot read, such as those with semicolons.
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

// rawQuery splits a query that the parser rejects.
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

// standing is whether an app runs the release of this deploy, and what replaced it if
// not.
type standing struct {
	// release is the newest release of the deploy, nil if there is none.
	release *Release
	// by is the release that replaced it, if any: a rollback to what the app ran
	// before, or somebody else's release.
	by         *Release
	rolledBack bool
	// awaited is a newer release that is pending and whose success would roll the app
	// back to this one, or from this one to what it ran before.
	awaited *Release
}

// version is that of the release, 0 if there is none.
func (s *standing) version() int { return orZero(s.release).Version }

// counts reports whether the app runs the release, or is about to.
func (s *standing) counts() bool {
	return s.release != nil && s.by == nil && s.release.Status != StatusFailed && s.release.Status != StatusExpired
}

// needsRelease reports whether the app needs a release: it has none, or one that failed
// or was rolled back.
func (s *standing) needsRelease() bool {
	return !s.counts() && (s.by == nil || s.rolledBack)
}

func (s *standing) superseded(app string) error {
	return fmt.Errorf("%s: v%d was %w by v%d", app, s.release.Version, ErrSuperseded, s.by.Version)
}

// findStanding returns the standing of a deploy's release on an app: of the release
// with the id, if there is one, or of the newest for which isOurs returns true.
func findStanding(ctx context.Context, c *Client, app, id string, isOurs func(*Release) bool) (*standing, error) {
	list := newest("version")
	if id == "" {
		// The release may be far back in the list.
		list.PageSize = maxPageSize
	}
	page, err := c.Releases.ListPage(ctx, app, list)
	if err != nil {
		return nil, err
	}
	s := new(standing)
	var newer []*Release
	for _, r := range page.Items {
		if r.ID == id || isOurs(r) {
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

// replace determines what has replaced the release. newer are the releases since, in
// order.
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

// replacedBy follows what an app has run since a release. newer are the releases that
// succeeded since, in order. A release that changes only config vars or add-ons has
// the code of the one before.
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
	return r.Artifact().String()
}

// rollbackTo returns the version that a release is a rollback to.
func rollbackTo(r *Release) (version int, ok bool) {
	number, ok := strings.CutPrefix(r.Description, rollbackText)
	version, err := strconv.Atoi(number)
	return version, ok && err == nil
}

const rollbackText = "Rollback to v"
