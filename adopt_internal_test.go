package herokubuild

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestReplacedByFindsTheReplacingRelease(t *testing.T) {
	t.Parallel()
	release := func(version int, slug, description string) *Release {
		return &Release{Version: version, Status: StatusSucceeded, Slug: ResourceRef{ID: slug}, Description: description}
	}
	deployed := release(5, "new", "Deploy")
	for name, tt := range map[string]struct {
		newer      []*Release
		by         int
		rolledBack bool
	}{
		"no newer release":               {},
		"config vars":                    {newer: []*Release{release(6, "new", "Set A config vars")}},
		"another deploy":                 {newer: []*Release{release(6, "newer", "Deploy")}, by: 6},
		"another deploy, config vars":    {newer: []*Release{release(6, "newer", "Deploy"), release(7, "newer", "Set A config vars")}, by: 6},
		"rolled back":                    {newer: []*Release{release(6, "old", "Rollback to v4")}, by: 6, rolledBack: true},
		"rolled back, config vars":       {newer: []*Release{release(6, "old", "Rollback to v4"), release(7, "old", "Set A config vars")}, by: 6, rolledBack: true},
		"rolled back, another deploy":    {newer: []*Release{release(6, "old", "Rollback to v4"), release(7, "newer", "Deploy")}, by: 7},
		"rolled back to the same code":   {newer: []*Release{release(6, "new", "Rollback to v4")}, by: 6, rolledBack: true},
		"rolled back to the release":     {newer: []*Release{release(6, "newer", "Deploy"), release(7, "new", "Rollback to v5")}},
		"rolled back and forth":          {newer: []*Release{release(6, "old", "Rollback to v4"), release(7, "new", "Rollback to v5")}},
		"the same code again":            {newer: []*Release{release(6, "newer", "Deploy"), release(7, "new", "Promote")}},
		"rolled back to somebody else's": {newer: []*Release{release(6, "newer", "Deploy"), release(7, "newest", "Deploy"), release(8, "newer", "Rollback to v6")}, by: 8},
		"a description of another kind":  {newer: []*Release{release(6, "newer", "Rollback to v4 of the API")}, by: 6},
		"an image instead of a slug":     {newer: []*Release{{Version: 6, Artifacts: []ReleaseArtifact{{ID: "image", Type: artifactImage}}}}, by: 6},
	} {
		by, rolledBack := replacedBy(deployed, tt.newer)
		assert.Equal(t, tt.by, orZero(by).Version, name)
		assert.Equal(t, tt.rolledBack, rolledBack, name)
	}
}

func TestSourceIdentityJudgesBuilds(t *testing.T) {
	t.Parallel()
	const (
		upload  = "https://storage.example.com/sources/1.tgz"
		archive = "https://git.example.com/archive.tgz"
	)
	uploaded := sourceIdentity{address: upload, version: "v1", checksum: "SHA256:1"}
	fetched := sourceIdentity{
		address: archive, digest: sourceDigest(archive + "?ref=two&token=a"), version: "v1", token: "0123456789ab", before: []string{"earlier"},
	}
	build := func(id, url, description string) *Build {
		return &Build{ID: id, SourceBlob: SourceBlob{URL: SecretURL(url), Version: "v1", VersionDescription: description}}
	}
	another := build("b", upload+"?Signature=x", "")
	another.SourceBlob.Checksum = "SHA256:2"
	version := build("b", upload+"?Signature=x", "")
	version.SourceBlob.Version = "v2"
	for name, tt := range map[string]struct {
		id    sourceIdentity
		build *Build
		want  verdict
	}{
		"uploaded":                        {id: uploaded, build: build("b", upload+"?Signature=x", ""), want: ours},
		"uploaded, without the signature": {id: uploaded, build: build("b", upload, ""), want: ours},
		"uploaded, with a description":    {id: uploaded, build: build("b", upload, "fix"), want: ours},
		"another upload":                  {id: uploaded, build: build("b", "https://storage.example.com/sources/2.tgz", ""), want: notOurs},
		"another version":                 {id: uploaded, build: version, want: notOurs},
		"another checksum":                {id: uploaded, build: another, want: notOurs},
		"without a URL":                   {id: uploaded, build: build("b", "", ""), want: perhapsOurs},
		"without a version":               {id: uploaded, build: &Build{ID: "b", SourceBlob: SourceBlob{URL: upload}}, want: ours},
		"without any details":             {id: uploaded, build: &Build{ID: "b"}, want: perhapsOurs},
		"fetched, without any details":    {id: fetched, build: &Build{ID: "b"}, want: perhapsOurs},
		"fetched, without a version":      {id: fetched, build: &Build{ID: "b", SourceBlob: SourceBlob{URL: archive}}, want: perhapsOurs},
		"earlier, without any details":    {id: fetched, build: &Build{ID: "earlier"}, want: notOurs},
		"another URL without a version":   {id: fetched, build: &Build{ID: "b", SourceBlob: SourceBlob{URL: upload}}, want: notOurs},
		"with the token":                  {id: fetched, build: build("b", archive, "fix (deploy 0123456789ab)"), want: ours},
		"with the token, without a URL":   {id: fetched, build: build("b", "", "(deploy 0123456789ab)"), want: ours},
		"with another token":              {id: fetched, build: build("b", archive+"?ref=two", "fix (deploy ba9876543210)"), want: notOurs},
		"with another description":        {id: fetched, build: build("b", archive+"?ref=two", "fix"), want: notOurs},
		"same URL, another signature":     {id: fetched, build: build("b", archive+"?token=b&ref=two", ""), want: ours},
		"same URL, without the query":     {id: fetched, build: build("b", archive, ""), want: ours},
		"same URL, earlier build":         {id: fetched, build: build("earlier", archive+"?ref=two", ""), want: notOurs},
		"another query":                   {id: fetched, build: build("b", archive+"?ref=one&token=a", ""), want: notOurs},
		"fetched, without a URL":          {id: fetched, build: build("b", "", ""), want: perhapsOurs},
	} {
		assert.Equal(t, tt.want, tt.id.judge(tt.build), name)
	}
}

// Only the parameters that grant access are not part of a source's identity.
func TestSourceDigestIgnoresSignatures(t *testing.T) {
	t.Parallel()
	same := func(a, b string) bool { return sourceDigest(SecretURL(a)) == sourceDigest(SecretURL(b)) }
	const u = "https://h.example.com/a.tgz"
	for _, signed := range []string{
		"X-Amz-Signature=1&X-Amz-Date=2", "AWSAccessKeyId=a&Signature=b&Expires=1", "X-Goog-Signature=1", "sig=1&se=2&sp=r&sv=3",
		"token=1", "private_token=1", "Policy=1&Key-Pair-Id=2&Signature=3",
	} {
		assert.True(t, same(u, u+"?"+signed), signed)
		assert.True(t, same(u+"?ref=1", u+"?"+signed+"&ref=1"), signed)
		assert.False(t, same(u+"?ref=1&"+signed, u+"?"+signed+"&ref=2"), signed)
	}
	assert.False(t, same(u+"?se=1", u+"?se=2"), "names of Azure's signature that have no signature with them")
	assert.False(t, same(u, u+"?sha=1"))
	assert.False(t, same(u+"?ref=1;x=1", u+"?ref=2;x=1"), "parameters that the parser omits")
	assert.False(t, same(u+"?ref=%zz1", u+"?ref=%zz2"))
	assert.True(t, same(u+"?ref=1;x=1&token=a", u+"?token=b&ref=1;x=1"))
	assert.False(t, same(u, "https://h.example.com/b.tgz"))
	assert.False(t, same(u, "https://i.example.com/a.tgz"))
}

// The reserve must stay below the full pool, or the first request would wait forever.
func TestReserveIsBounded(t *testing.T) {
	t.Parallel()
	assert.Equal(t, 32, reserveFor(16, 1000))
	assert.Equal(t, 6, reserveFor(1000, 3))
	assert.Equal(t, 450, reserveFor(2250, 40_000))
	assert.Zero(t, reserveFor(16, 0))
}

// The error names the apps that failed by themselves. It only counts those that were
// rolled back or skipped because of them.
func TestRolloutErrorNamesCauses(t *testing.T) {
	t.Parallel()
	e := new(RolloutError)
	for i := range 11 {
		app := fmt.Sprintf("app-%d", i+1)
		e.Apps = append(e.Apps, AppResult{App: app, Err: fmt.Errorf("%s: %w", app, ErrRolledBack)})
	}
	e.Apps = append(e.Apps,
		AppResult{App: "app-12", Err: fmt.Errorf("app-12: %w: %w", ErrVerifyFailed, errors.New("THE REASON"))},
		AppResult{App: "app-13", Err: ErrNotAttempted}, AppResult{App: "app-14"})
	assert.Equal(t, "released to 1 of 14 apps, 1 failed: app-12: verification failed: THE REASON (11 rolled back, 1 not attempted)", e.Error())
}
