package identity

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// versionAt is the version of the release with this index, 0 for none.
func versionAt(releases []Release, index int) int {
	if index < 0 {
		return 0
	}
	return releases[index].Version
}

func TestReplacedByFindsTheReplacingRelease(t *testing.T) {
	t.Parallel()
	release := func(version int, code, description string) Release {
		return Release{Version: version, Code: code, Description: description}
	}
	deployed := release(5, "new", "Deploy")
	for name, tt := range map[string]struct {
		newer      []Release
		by         int
		rolledBack bool
	}{
		"no newer release":               {},
		"config vars":                    {newer: []Release{release(6, "new", "Set A config vars")}},
		"another deploy":                 {newer: []Release{release(6, "newer", "Deploy")}, by: 6},
		"another deploy, config vars":    {newer: []Release{release(6, "newer", "Deploy"), release(7, "newer", "Set A config vars")}, by: 6},
		"rolled back":                    {newer: []Release{release(6, "old", "Rollback to v4")}, by: 6, rolledBack: true},
		"rolled back, config vars":       {newer: []Release{release(6, "old", "Rollback to v4"), release(7, "old", "Set A config vars")}, by: 6, rolledBack: true},
		"rolled back, another deploy":    {newer: []Release{release(6, "old", "Rollback to v4"), release(7, "newer", "Deploy")}, by: 7},
		"rolled back to the same code":   {newer: []Release{release(6, "new", "Rollback to v4")}, by: 6, rolledBack: true},
		"rolled back to the release":     {newer: []Release{release(6, "newer", "Deploy"), release(7, "new", "Rollback to v5")}},
		"rolled back and forth":          {newer: []Release{release(6, "old", "Rollback to v4"), release(7, "new", "Rollback to v5")}},
		"the same code again":            {newer: []Release{release(6, "newer", "Deploy"), release(7, "new", "Promote")}},
		"rolled back to somebody else's": {newer: []Release{release(6, "newer", "Deploy"), release(7, "newest", "Deploy"), release(8, "newer", "Rollback to v6")}, by: 8},
		"a description of another kind":  {newer: []Release{release(6, "newer", "Rollback to v4 of the API")}, by: 6},
		"an image instead of a slug":     {newer: []Release{{Version: 6, Code: "image"}}, by: 6},
	} {
		by, rolledBack := ReplacedBy(deployed, tt.newer)
		assert.Equal(t, tt.by, versionAt(tt.newer, by), name)
		assert.Equal(t, tt.rolledBack, rolledBack, name)
	}
}

func TestSourceJudgesBuilds(t *testing.T) {
	t.Parallel()
	const (
		upload  = "https://storage.example.com/sources/1.tgz"
		archive = "https://git.example.com/archive.tgz"
	)
	uploaded := Source{Address: upload, Version: "v1", Checksum: "SHA256:1"}
	fetched := Source{
		Address: archive, Digest: Digest(archive + "?ref=two&token=a"), Version: "v1", Token: "0123456789ab", Before: []string{"earlier"},
	}
	build := func(id, url, description string) Build {
		return Build{ID: id, URL: url, Version: "v1", Description: description}
	}
	another := build("b", upload+"?Signature=x", "")
	another.Checksum = "SHA256:2"
	version := build("b", upload+"?Signature=x", "")
	version.Version = "v2"
	for name, tt := range map[string]struct {
		id    Source
		build Build
		want  Verdict
	}{
		"uploaded":                        {id: uploaded, build: build("b", upload+"?Signature=x", ""), want: Ours},
		"uploaded, without the signature": {id: uploaded, build: build("b", upload, ""), want: Ours},
		"uploaded, with a description":    {id: uploaded, build: build("b", upload, "fix"), want: Ours},
		"another upload":                  {id: uploaded, build: build("b", "https://storage.example.com/sources/2.tgz", ""), want: NotOurs},
		"another version":                 {id: uploaded, build: version, want: NotOurs},
		"another checksum":                {id: uploaded, build: another, want: NotOurs},
		"without a URL":                   {id: uploaded, build: build("b", "", ""), want: Unclear},
		"without a version":               {id: uploaded, build: Build{ID: "b", URL: upload}, want: Ours},
		"without any details":             {id: uploaded, build: Build{ID: "b"}, want: Unclear},
		"fetched, without any details":    {id: fetched, build: Build{ID: "b"}, want: Unclear},
		"fetched, without a version":      {id: fetched, build: Build{ID: "b", URL: archive}, want: Unclear},
		"earlier, without any details":    {id: fetched, build: Build{ID: "earlier"}, want: NotOurs},
		"another URL without a version":   {id: fetched, build: Build{ID: "b", URL: upload}, want: NotOurs},
		"with the token":                  {id: fetched, build: build("b", archive, "fix (deploy 0123456789ab)"), want: Ours},
		"with the token, without a URL":   {id: fetched, build: build("b", "", "(deploy 0123456789ab)"), want: Ours},
		"with another token":              {id: fetched, build: build("b", archive+"?ref=two", "fix (deploy ba9876543210)"), want: NotOurs},
		"with another description":        {id: fetched, build: build("b", archive+"?ref=two", "fix"), want: NotOurs},
		"same URL, another signature":     {id: fetched, build: build("b", archive+"?token=b&ref=two", ""), want: Ours},
		"same URL, without the query":     {id: fetched, build: build("b", archive, ""), want: Ours},
		"same URL, earlier build":         {id: fetched, build: build("earlier", archive+"?ref=two", ""), want: NotOurs},
		"another query":                   {id: fetched, build: build("b", archive+"?ref=one&token=a", ""), want: NotOurs},
		"fetched, without a URL":          {id: fetched, build: build("b", "", ""), want: Unclear},
	} {
		assert.Equal(t, tt.want, tt.id.Judge(tt.build), name)
	}
}

// Only the parameters that grant access are not part of a source's identity.
func TestDigestIgnoresSignatures(t *testing.T) {
	t.Parallel()
	same := func(a, b string) bool { return Digest(a) == Digest(b) }
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

func TestDescriptionsEndInTheToken(t *testing.T) {
	t.Parallel()
	assert.Equal(t, "fix (deploy 0123456789ab)", WithToken("fix", "deploy", "0123456789ab"))
	assert.Equal(t, "(deploy 0123456789ab)", WithToken("", "deploy", "0123456789ab"))
	assert.Equal(t, "fix", WithToken("fix", "deploy", ""))
	assert.Regexp(t, "^[0-9a-f]{12}$", NewToken())
	first, second := NewToken(), NewToken()
	assert.NotEqual(t, first, second)
}
