// Package identity recognizes what one deploy has started on a platform that other deploys
// use, too: its build by the source, and its release among those that followed.
package identity

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// NewToken returns a random token that identifies one rollout, or one build of a URL.
func NewToken() string {
	var b [6]byte
	_, _ = rand.Read(b[:]) // crypto/rand.Read never returns an error.
	return hex.EncodeToString(b[:])
}

// WithToken returns a description that ends in a token.
func WithToken(text, kind, token string) string {
	if token == "" {
		return text
	}
	return strings.TrimSpace(text + " (" + kind + " " + token + ")")
}

// Source identifies the build of a source.
type Source struct {
	// Address and Digest are those of its URL. An uploaded source, whose address is
	// unique, has no digest.
	Address, Digest   string
	Version, Checksum string
	// Token is in the description of the build, unless it is empty.
	Token string
	// Before are the IDs of builds that are certainly not the deploy's.
	Before []string
}

// Build is a build as the platform reports it. A response may lack everything but the ID.
type Build struct {
	ID, URL, Checksum, Version, Description string
}

// Verdict is whether a build is that of a source.
type Verdict int

// The verdicts. Unclear means that the response has too little of the build to decide.
const (
	NotOurs Verdict = iota
	Ours
	Unclear
)

// Judge decides whether a build is that of the source. A response may lack the
// description and the URL that were sent.
func (s Source) Judge(b Build) Verdict {
	described := s.Token != "" && b.Description != ""
	switch {
	case described && strings.HasSuffix(b.Description, s.Token+")"):
		return Ours
	case described, slices.Contains(s.Before, b.ID), b.Version != "" && b.Version != s.Version:
		return NotOurs
	case s.Checksum != "" && b.Checksum != "" && b.Checksum != s.Checksum:
		return NotOurs
	case b.URL != "" && !s.hasURL(b.URL):
		return NotOurs
	case b.URL == "", b.Version != s.Version && s.Token != "":
		return Unclear
	}
	return Ours
}

func (s Source) hasURL(u string) bool {
	if Address(u) != s.Address {
		return false
	}
	// A response may lack the query, which has the signature.
	parsed, err := url.Parse(u)
	return err == nil && (s.Digest == "" || parsed.RawQuery == "" || Digest(u) == s.Digest)
}

// Address is the URL of a source without its query.
func Address(u string) string {
	parsed, err := url.Parse(u)
	if err != nil {
		return ""
	}
	return parsed.Scheme + "://" + parsed.Host + parsed.EscapedPath()
}

// Digest is a hash of what identifies a source in its URL: everything except signatures
// and tokens, which change with each signing.
func Digest(u string) string {
	parsed, err := url.Parse(u)
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
	sum := sha256.Sum256([]byte(Address(u) + "?" + query.Encode()))
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

// Release is a release as the platform reports it. Code identifies what it runs.
type Release struct {
	Version           int
	Code, Description string
}

// RollbackText begins the description of a rollback; the version follows.
const RollbackText = "Rollback to v"

// rollbackTo returns the version that a release is a rollback to.
func (r Release) rollbackTo() (version int, ok bool) {
	number, ok := strings.CutPrefix(r.Description, RollbackText)
	version, err := strconv.Atoi(number)
	return version, ok && err == nil
}

// ReplacedBy follows what an app has run since a release. newer are the releases that
// succeeded since, in order. It returns the index of the one that replaced the release,
// -1 if none did, and whether that one was a rollback to what the app ran before. A
// release that changes only config vars or add-ons has the code of the one before.
func ReplacedBy(release Release, newer []Release) (by int, rolledBack bool) {
	by = -1
	runs := release.Code
	for i, r := range newer {
		to, isRollback := r.rollbackTo()
		switch {
		case isRollback && to < release.Version:
			by, rolledBack = i, true
		case isRollback && to == release.Version, r.Code != runs && r.Code == release.Code:
			by, rolledBack = -1, false
		case r.Code != runs:
			by, rolledBack = i, false
		}
		runs = r.Code
	}
	return by, rolledBack
}
