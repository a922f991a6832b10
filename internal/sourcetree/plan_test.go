package sourcetree

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestBoundedListKeepsTheFirst(t *testing.T) {
	t.Parallel()
	l := boundedList[string]{limit: 100}
	for _, item := range []string{"a", "b", "c"} {
		l.add(item, 10)
	}
	assert.Equal(t, []string{"a", "b"}, l.items)
	assert.True(t, l.truncated)

	all := boundedList[string]{limit: unlimited}
	for i := range 1000 {
		all.add(fmt.Sprint(i), 1<<20)
	}
	assert.Len(t, all.items, 1000)
	assert.False(t, all.truncated)
}

func TestAddLargest(t *testing.T) {
	t.Parallel()
	var largest []File
	for i, size := range []int64{5, 0, 9, 5, 1, 2, 3, 4, 6, 7, 8, 9, 1} {
		largest = addLargest(largest, File{Path: fmt.Sprint(i), Size: size})
	}
	var got []string
	for _, f := range largest {
		got = append(got, fmt.Sprint(f.Path, ":", f.Size))
	}
	assert.Equal(t, []string{"2:9", "11:9", "10:8", "9:7", "8:6", "0:5", "3:5", "7:4", "6:3", "5:2"}, got)
}

func TestJudgeName(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]secrecy{
		".env": secretYes, "config/.ENV": secretYes, ".env.production": secretYes, ".env.example": secretNo, ".env.sample": secretNo, ".envrc": secretNo,
		"id_rsa": secretYes, "id_rsa.pub": secretNo, ".netrc": secretYes, "_netrc": secretYes, "app.p12": secretYes, "x.keystore": secretYes,
		"config/master.key": secretKey, "tls.key": secretMaybeKey, "ca.PEM": secretMaybeKey, "key.go": secretNo, "main.go": secretNo, "": secretNo,
	} {
		assert.Equal(t, want, judgeName(name), name)
	}
}

func TestPlanWarnings(t *testing.T) {
	t.Parallel()
	plan, err := openFS(t, mapFS("a", map[string]string{
		".slugignore": "!keep\n", ".env": "KEY=1", "empty/.env": "", "ca.pem": "-----BEGIN CERTIFICATE-----\n", "tls.pem": "-----BEGIN RSA PRIVATE KEY-----\n",
	}), Options{}).Plan(t.Context())
	require.NoError(t, err)
	var got []string
	for _, w := range plan.Warnings {
		assert.NotEmpty(t, w.Text)
		got = append(got, fmt.Sprint(w.Kind, " ", w.Path))
	}
	assert.Equal(t, []string{"slugignore .slugignore", "secret .env", "secret tls.pem", "no_procfile Procfile"}, got)
}

func TestPlanOmissions(t *testing.T) {
	t.Parallel()
	fsys := mapFS("a.o dist/x dist/y tmp/z", map[string]string{".gitignore": "*.o\ndist/\n", "Procfile": "web: x"})
	plan, err := openFS(t, fsys, Options{Exclude: []string{"tmp"}}).Plan(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []Omission{
		{Path: "a.o", Reason: ".gitignore:1: *.o"}, {Path: "dist/", Reason: ".gitignore:2: dist/"}, {Path: "tmp/", Reason: "Exclude:1: tmp"},
	}, plan.Omissions)
	assert.Equal(t, 2, plan.Files)
	assert.EqualValues(t, len("*.o\ndist/\n")+len("web: x"), plan.Bytes)
	assert.Empty(t, plan.Warnings)
	assert.False(t, plan.Truncated)
}

func TestTreeWithoutFilesIsInvalid(t *testing.T) {
	t.Parallel()
	_, err := openFS(t, mapFS("", nil), Options{}).Plan(t.Context())
	requireInput(t, err, "fsys")
	_, err = openFS(t, mapFS("a", nil), Options{Exclude: []string{"*"}}).Plan(t.Context())
	assert.Contains(t, requireInput(t, err, "fsys").Reason, "Exclude:1: *", "the reason for the first omission")
}
