package platform_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild/internal/platform"
)

func TestInlineBuild(t *testing.T) {
	t.Setenv("HEROKU_API_KEY", "HRKU-of-the-parent")
	r := start(t, platform.Options{})
	require.NoError(t, r.SetConfigVars("example-app", map[string]string{"GREETING": "hi there"}))
	archive := inline(t, `
echo "args $#"; cat "$3/GREETING"; echo
env | grep HEROKU_API_KEY || echo "no key"
echo "stack $STACK version $SOURCE_VERSION"
if [ -e "$2/seen" ]; then echo "cache hit"; fi; touch "$2/seen"
echo "to stderr" >&2
printf 'made' > "$1/made"; ln -s made "$1/link"
`, entry{name: "./Procfile", body: "web: ./serve\r\n# comment\n worker: yes\nno type\nclock-1:tick  \n"})
	sum := sha256.Sum256(archive)
	id := r.build("example-app", archive, "version", "0123456789abcdef", "version_description", "a commit", "checksum", "SHA256:"+hex.EncodeToString(sum[:]))
	build, out := r.built(id)
	require.Equal(t, "succeeded", build["status"], out)
	for _, line := range []string{"-----> Building on the Heroku-24 stack\n", "args 3\nhi there\nno key\nstack heroku-24 version 0123456789abcdef\nto stderr\n", "Procfile declares types -> clock-1, web, worker\n", "-----> Compressing...\n       Done: ", "       Released v3\n       http://127.0.0.1:", "/example-app/ deployed to Heroku\n"} {
		assert.Contains(t, out, line)
	}
	assert.NotContains(t, out, "cache hit")
	stored, err := r.Output(id)
	require.NoError(t, err)
	assert.Equal(t, string(stored), out)

	slug := r.api("GET", "/apps/example-app/slugs/"+build["slug"].(map[string]any)["id"].(string), "").json(t)
	assert.Equal(t, map[string]any{"web": "./serve", "clock-1": "tick", "worker": "yes"}, slug["process_types"])
	assert.Equal(t, "0123456789abcdef", slug["commit"])
	assert.Equal(t, "a commit", slug["commit_description"])
	blob := r.send("GET", slug["blob"].(map[string]any)["url"].(string), nil)
	require.Equal(t, 200, blob.status)
	assert.EqualValues(t, len(blob.body), slug["size"])
	sum = sha256.Sum256(blob.body)
	assert.Equal(t, "SHA256:"+hex.EncodeToString(sum[:]), slug["checksum"])

	release := r.api("GET", "/apps/example-app/releases/"+build["release"].(map[string]any)["id"].(string), "").json(t)
	assert.Equal(t, "succeeded", release["status"])
	assert.Equal(t, "Deploy 01234567", release["description"])
	assert.EqualValues(t, 3, release["version"])
	assert.Equal(t, true, release["current"])
	assert.Nil(t, release["output_stream_url"])
	assert.Equal(t, build["slug"], release["slug"])
	assert.Equal(t, []any{map[string]any{"type": "slug", "id": build["slug"].(map[string]any)["id"]}}, release["artifacts"])

	untar(t, blob.body, func(dir string) {
		made, err := os.ReadFile(filepath.Join(dir, "app", "link"))
		require.NoError(t, err)
		assert.Equal(t, "made", string(made))
		info, err := os.Stat(filepath.Join(dir, "app", "bin", "compile"))
		require.NoError(t, err)
		assert.NotZero(t, info.Mode()&0o100, "executable bit")
	})

	_, out = r.built(r.build("example-app", archive))
	assert.Contains(t, out, "cache hit")
	require.Equal(t, 202, r.api("DELETE", "/apps/example-app/build-cache", "").status)
	_, out = r.built(r.build("example-app", archive))
	assert.NotContains(t, out, "cache hit")

	infos := r.Builds("example-app")
	require.Len(t, infos, 3)
	assert.Equal(t, id, infos[0].ID)
	assert.Equal(t, "0123456789abcdef", infos[0].SourceVersion)
	assert.EqualValues(t, len(stored), infos[0].OutputBytes)
	assert.Len(t, r.api("GET", "/apps/example-app/builds", "", "Range", "started_at ..; order=desc").list(t), 3)
}

// untar unpacks an archive with the system's tar, which is GNU tar on Linux.
func untar(t *testing.T, archive []byte, check func(dir string)) {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command("tar", "-xzf", "-", "-C", dir)
	cmd.Stdin = bytes.NewReader(archive)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	assert.Empty(t, string(out))
	names, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, names, 1)
	check(dir)
}

func TestGoBuild(t *testing.T) {
	t.Parallel()
	needUnix(t)
	r := start(t, platform.Options{})
	// Archives from GitHub have a single top-level directory.
	archive := targz(t,
		entry{kind: tar.TypeXGlobalHeader, pax: map[string]string{"comment": "abc"}},
		entry{name: "repo-abc/", kind: tar.TypeDir, mode: 0o755},
		entry{name: "repo-abc/go.mod", body: "module example.com/hello\n\ngo 1.21\n"},
		entry{name: "repo-abc/main.go", body: "package main\n\nfunc main() { println(\"hello\") }\n"},
	)
	build, out := r.built(r.build("example-app", archive))
	require.Equal(t, "succeeded", build["status"], out)
	assert.Contains(t, out, "-----> Using buildpack: heroku/go\n-----> Go app detected\n-----> Using go1.")
	assert.Contains(t, out, "-----> Running: go build -v -o bin/ ./...\nexample.com/hello\n")
	assert.Contains(t, out, "Procfile declares types -> (none)\n       Default types for buildpack -> web\n")
	slug := r.api("GET", "/apps/example-app/slugs/"+build["slug"].(map[string]any)["id"].(string), "").json(t)
	assert.Equal(t, map[string]any{"web": "bin/hello"}, slug["process_types"])
	assert.Equal(t, "Go", slug["buildpack_provided_description"])
	untar(t, r.send("GET", slug["blob"].(map[string]any)["url"].(string), nil).body, func(dir string) {
		hello, err := exec.Command(filepath.Join(dir, "app", "bin", "hello")).CombinedOutput()
		require.NoError(t, err)
		assert.Equal(t, "hello\n", string(hello))
	})

	broken := targz(t, entry{name: "go.mod", body: "module example.com/hello\n\ngo 1.21\n"}, entry{name: "main.go", body: "package main\n\nfunc main() { nope }\n"})
	build, out = r.built(r.build("example-app", broken))
	assert.Equal(t, "failed", build["status"])
	assert.Nil(t, build["slug"])
	assert.Nil(t, build["release"])
	assert.Contains(t, out, "./main.go:3:15: undefined: nope\n !     Push rejected, failed to compile Go app.\n\n !     Push failed\n")
	assert.Len(t, r.Releases("example-app"), 3)
}

func TestBuildFailures(t *testing.T) {
	t.Parallel()
	r := start(t, platform.Options{MaxSourceBytes: 1 << 20, MaxSourceFiles: 50})
	good := entry{name: "bin/compile", body: "#!/bin/sh\n", mode: 0o755}
	missing := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(missing.Close)
	deep := strings.Repeat("d/", 60) + "f"
	for name, c := range map[string]struct {
		archive []byte
		want    string
	}{
		"nothing detected":     {targz(t, entry{name: "README", body: "x"}), " !     No default language could be detected for this app.\n\t\t\tHINT: This occurs when Heroku cannot detect the buildpack to use for this application automatically.\n\t\t\tSee https://devcenter.heroku.com/articles/buildpacks\n\n !     Push failed\n"},
		"compile fails":        {inline(t, "echo bad; exit 3"), "bad\n !     Push rejected, failed to compile Inline app.\n\n !     Push failed\n"},
		"no archive":           {[]byte("hello"), "not a gzip-compressed tar archive"},
		"empty":                {nil, "not a gzip-compressed tar archive"},
		"cut short":            {inline(t, "")[:60], "unexpected EOF"},
		"parent":               {targz(t, good, entry{name: "../x"}), `entry "../x": the name contains ".."`},
		"parent inside":        {targz(t, good, entry{name: "a/../x"}), `the name contains ".."`},
		"absolute":             {targz(t, good, entry{name: "/etc/x"}), `entry "/etc/x": the name is absolute`},
		"absolute link":        {targz(t, good, entry{name: "l", kind: tar.TypeSymlink, link: "/etc"}, entry{name: "l/x"}), `entry "l": symbolic link to "/etc" leaves the archive`},
		"link to parent":       {targz(t, good, entry{name: "l", kind: tar.TypeSymlink, link: "../.."}, entry{name: "l/x"}), `entry "l": symbolic link to "../.." leaves the archive`},
		"link by links":        {targz(t, good, entry{name: "p/q/up", kind: tar.TypeSymlink, link: "../.."}, entry{name: "l", kind: tar.TypeSymlink, link: "p/q/up/.."}), `symbolic link "l" leaves the archive`},
		"write by links":       {targz(t, good, entry{name: "p/q/up", kind: tar.TypeSymlink, link: "../.."}, entry{name: "l", kind: tar.TypeSymlink, link: "p/q/up/.."}, entry{name: "l/x", body: "x"}), `entry "l/x": `},
		"link out of the top":  {targz(t, entry{name: "top/bin/compile", body: "#!/bin/sh\n", mode: 0o755}, entry{name: "top/l", kind: tar.TypeSymlink, link: "../top/../x"}), `symbolic link "l" leaves the archive`},
		"hard link out":        {targz(t, good, entry{name: "h", kind: tar.TypeLink, link: "../h"}), `entry "h": hard link to "../h"`},
		"hard link absolute":   {targz(t, good, entry{name: "h", kind: tar.TypeLink, link: "/etc/passwd"}), `entry "h": hard link to "/etc/passwd"`},
		"hard link to nothing": {targz(t, good, entry{name: "h", kind: tar.TypeLink, link: "nope"}), `which is not a file of the archive`},
		"hard link to a link":  {targz(t, good, entry{name: "l", kind: tar.TypeSymlink, link: "x"}, entry{name: "h", kind: tar.TypeLink, link: "l"}), `which is not a file of the archive`},
		"device":               {targz(t, good, entry{name: "dev/null", kind: tar.TypeChar}), `entry "dev/null": entries of type '3' are not allowed`},
		"pipe":                 {targz(t, good, entry{name: "fifo", kind: tar.TypeFifo}), `entry "fifo": entries of type '6' are not allowed`},
		"bomb":                 {targz(t, good, entry{name: "zeros", body: strings.Repeat("\x00", 1<<20)}), `entry "zeros" makes the tree too large`},
		"too many entries":     {targz(t, append(many(60), good)...), "too many files and directories"},
		"too many parents":     {targz(t, good, entry{name: deep}), "too many files and directories"},
		"file as directory":    {targz(t, good, entry{name: "README"}, entry{name: "README/x"}), `entry "README/x": `},
	} {
		build, out := r.built(r.build("example-app", c.archive))
		assert.Equal(t, "failed", build["status"], name)
		assert.Contains(t, out, c.want, name)
		assert.True(t, strings.HasSuffix(out, "\n !     Push failed\n"), "%s: %s", name, out)
	}
	build, out := r.built(r.build("example-app", inline(t, ""), "checksum", "SHA256:00"))
	assert.Equal(t, "failed", build["status"])
	assert.Contains(t, out, " !     Checksum mismatch: the source is SHA256:")

	a := r.api("POST", "/apps/example-app/builds", `{"source_blob":{"url":"`+missing.URL+`/x?token=hidden"}}`)
	build, out = r.built(a.json(t)["id"].(string))
	assert.Equal(t, "failed", build["status"])
	assert.Contains(t, out, "Unable to fetch the source: the server responded with 404 Not Found")
	missing.Close()
	a = r.api("POST", "/apps/example-app/builds", `{"source_blob":{"url":"`+missing.URL+`/x?token=hidden"}}`)
	_, out = r.built(a.json(t)["id"].(string))
	assert.NotContains(t, out, "hidden")
	assert.Len(t, r.Releases("example-app"), 2)
}

// TestTopDirectoryOfArchive compares archives of a tree that has a single
// directory: one with an entry for the root, as "tar -C dir ." creates it, and
// one without, as GitHub creates it.
func TestTopDirectoryOfArchive(t *testing.T) {
	t.Parallel()
	script := entry{name: "bin/compile", body: "#!/bin/sh\necho compiled\n", mode: 0o755}
	needUnix(t)
	r := start(t, platform.Options{})
	inTop := script
	inTop.name = "repo-abc/bin/compile"
	dotted := script
	dotted.name = "./bin/compile"
	for name, c := range map[string]struct {
		entries []entry
		want    string
	}{
		"root and directory":  {[]entry{{name: "./", kind: tar.TypeDir, mode: 0o755}, {name: "./bin/", kind: tar.TypeDir, mode: 0o755}, dotted}, "succeeded"},
		"root without slash":  {[]entry{{name: ".", kind: tar.TypeDir, mode: 0o755}, script}, "succeeded"},
		"root at the end":     {[]entry{script, {name: "./", kind: tar.TypeDir, mode: 0o755}}, "succeeded"},
		"only a directory":    {[]entry{{name: "repo-abc/", kind: tar.TypeDir, mode: 0o755}, inTop}, "succeeded"},
		"directory, no entry": {[]entry{inTop}, "succeeded"},
		"root and repository": {[]entry{{name: "./", kind: tar.TypeDir, mode: 0o755}, inTop}, "failed"},
	} {
		build, out := r.built(r.build("example-app", targz(t, c.entries...)))
		assert.Equal(t, c.want, build["status"], "%s: %s", name, out)
	}
}

func many(n int) []entry {
	all := make([]entry, n)
	for i := range all {
		all[i].name = fmt.Sprint("f", i)
	}
	return all
}

func TestArchiveLinksInsideTree(t *testing.T) {
	t.Parallel()
	r := start(t, platform.Options{})
	build, out := r.built(r.build("example-app", inline(t, `
[ "$(cat first)" = new ]; [ "$(cat hard)" = old ]; [ "$(cat dir/link)" = new ]; [ "$(cat alias/file)" = in ]; [ -L nowhere ]; echo checked
`,
		entry{name: "first", body: "old"},
		entry{name: "hard", kind: tar.TypeLink, link: "./first"},
		entry{name: "first", body: "new"}, // replaces the file instead of writing through the hard link
		entry{name: "dir/link", kind: tar.TypeSymlink, link: "../first"},
		entry{name: "alias", kind: tar.TypeSymlink, link: "dir"},
		entry{name: "alias/file", body: "in"},
		entry{name: "nowhere", kind: tar.TypeSymlink, link: "dir/none"},
		entry{name: "./dir/", kind: tar.TypeDir},
	)))
	assert.Equal(t, "succeeded", build["status"], out)
	assert.Contains(t, out, "checked\n")
}

// TestGNUTarArchive builds an archive created by GNU tar with a long name, a hard
// link and a sparse file.
func TestGNUTarArchive(t *testing.T) {
	t.Parallel()
	needUnix(t)
	dir := t.TempDir()
	long := filepath.Join(dir, strings.Repeat("long/", 40))
	require.NoError(t, os.MkdirAll(long, 0o755))
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "bin"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "bin", "compile"), []byte("#!/bin/sh\nwc -c < sparse; cat "+strings.Repeat("long/", 40)+"f hard\n"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(long, "f"), []byte("deep "), 0o644))
	require.NoError(t, os.Link(filepath.Join(long, "f"), filepath.Join(dir, "hard")))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "sparse"), nil, 0o644))
	require.NoError(t, os.Truncate(filepath.Join(dir, "sparse"), 1<<20))
	flags := []string{"-czf", "-", "-C", dir}
	if runtime.GOOS == "linux" {
		flags = append([]string{"-S"}, flags...)
	}
	archive, err := exec.Command("tar", append(flags, ".")...).Output()
	require.NoError(t, err)
	r := start(t, platform.Options{})
	build, out := r.built(r.build("example-app", archive))
	assert.Equal(t, "succeeded", build["status"], out)
	assert.Contains(t, out, "1048576\ndeep deep ")
}

func TestBuildpacks(t *testing.T) {
	t.Parallel()
	r := start(t, platform.Options{})
	get := r.upload(inline(t, ""))
	for buildpack, status := range map[string]string{
		`{"name":"heroku/go"}`:                                    "failed",
		`{"name":"heroku/nodejs"}`:                                "failed",
		`{"url":"https://github.com/kr/heroku-buildpack-inline"}`: "succeeded",
	} {
		a := r.api("POST", "/apps/example-app/builds", `{"source_blob":{"url":"`+get+`"},"buildpacks":[`+buildpack+`]}`)
		require.Equal(t, 201, a.status)
		packs := a.json(t)["buildpacks"].([]any)
		require.Len(t, packs, 1)
		assert.NotEmpty(t, packs[0].(map[string]any)["url"])
		assert.NotEmpty(t, packs[0].(map[string]any)["name"])
		build, out := r.built(a.json(t)["id"].(string))
		assert.Equal(t, status, build["status"], out)
	}
}

// stepper is a Builder that waits for the test before it returns.
type stepper struct {
	began chan string
	step  chan error
}

func newStepper() *stepper { return &stepper{make(chan string, 100), make(chan error)} }

func (s *stepper) Build(ctx context.Context, j *platform.Job) error {
	s.began <- j.BuildID
	select {
	case err := <-s.step:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func TestBuildsOfOneAppQueue(t *testing.T) {
	t.Parallel()
	s := newStepper()
	r := start(t, platform.Options{Builder: s})
	archive := targz(t, entry{name: "a", body: "x"})
	first, second, third := r.build("example-app", archive), r.build("example-app", archive), r.build("example-app", archive)
	other := r.build("other-app", archive)
	assert.ElementsMatch(t, []string{first, other}, []string{<-s.began, <-s.began}, "builds of different apps must not wait for each other")

	// A build canceled in the queue never starts, and later ones still wait for
	// the first.
	a := r.api("DELETE", "/apps/example-app/builds/"+second, "", "Accept", accept+".cancel-build")
	require.Equal(t, 200, a.status)
	assert.Equal(t, "failed", a.json(t)["status"])
	_, out := r.built(second)
	assert.Contains(t, out, "Build canceled by user@example.com")
	assert.Empty(t, s.began)

	s.step <- nil
	s.step <- nil
	assert.Equal(t, third, <-s.began)
	s.step <- errors.New("simulated failure")
	build, out := r.built(third)
	assert.Equal(t, "failed", build["status"])
	assert.Contains(t, out, " !     simulated failure\n\n !     Push failed\n")
	assert.Equal(t, "succeeded", r.settled("/apps/example-app/builds/" + first)["status"])
	assert.Equal(t, 422, r.api("DELETE", "/apps/example-app/builds/"+first, "").status)
	assert.Equal(t, 422, r.api("DELETE", "/apps/example-app/builds/"+second, "").status)
}

func TestMaxConcurrentBuilds(t *testing.T) {
	t.Parallel()
	s := newStepper()
	r := start(t, platform.Options{Builder: s, MaxConcurrentBuilds: 1})
	archive := targz(t, entry{name: "a", body: "x"})
	first := r.build("example-app", archive)
	assert.Equal(t, first, <-s.began)
	second := r.build("other-app", archive)
	a := r.api("GET", "/apps/other-app/builds/"+second, "")
	assert.Equal(t, "pending", a.json(t)["status"])
	assert.Empty(t, s.began)
	s.step <- nil
	assert.Equal(t, second, <-s.began)
	s.step <- nil
	assert.Equal(t, "succeeded", r.settled("/apps/other-app/builds/" + second)["status"])
}

// hang is a script that starts a child, prints its process ID and never exits.
const hang = "sleep 1000 & echo child $!.; wait\n"

func (r *rig) child(id string) (pid string) {
	r.t.Helper()
	r.waitFor("the child's process ID", func() bool {
		out, err := r.Output(id)
		require.NoError(r.t, err)
		_, rest, _ := strings.Cut(string(out), "child ")
		var ok bool
		pid, _, ok = strings.Cut(rest, ".")
		return ok
	})
	return pid
}

func (r *rig) waitForExit(pid string) {
	r.t.Helper()
	r.waitFor("the child's exit", func() bool {
		if runtime.GOOS == "linux" { // ps may not be installed
			stat, err := os.ReadFile("/proc/" + pid + "/stat")
			return err != nil || strings.Contains(string(stat), ") Z ")
		}
		state, err := exec.Command("ps", "-o", "stat=", "-p", pid).Output()
		return err != nil || strings.HasPrefix(strings.TrimSpace(string(state)), "Z")
	})
}

func TestCancelKillsProcessGroup(t *testing.T) {
	t.Parallel()
	r := start(t, platform.Options{})
	id := r.build("example-app", inline(t, hang))
	pid := r.child(id)
	a := r.api("DELETE", "/apps/example-app/builds/"+id, "")
	assert.Equal(t, 200, a.status)
	r.waitForExit(pid)
	build, out := r.built(id)
	assert.Equal(t, "failed", build["status"])
	assert.Contains(t, out, "Build canceled by user@example.com\n")
	assert.Len(t, r.Releases("example-app"), 2)

	// A build that leaves child processes behind ends, and they are killed.
	id = r.build("example-app", inline(t, "sleep 1000 & echo child $!.\n"))
	build, _ = r.built(id)
	assert.Equal(t, "succeeded", build["status"])
	r.waitForExit(r.child(id))
}

func TestBuildTimeout(t *testing.T) {
	t.Parallel()
	r := start(t, platform.Options{BuildTimeout: 500 * time.Millisecond})
	build, out := r.built(r.build("example-app", inline(t, hang)))
	assert.Equal(t, "failed", build["status"])
	assert.Contains(t, out, " !     Build exceeded the limit of 500ms\n")
}

func TestCloseKillsBuild(t *testing.T) {
	before := runtime.NumGoroutine()
	r := start(t, platform.Options{})
	id := r.build("example-app", inline(t, hang))
	queued := r.build("example-app", inline(t, ""))
	pid := r.child(id)
	resp, err := r.http.Get(r.api("GET", "/apps/example-app/builds/"+queued, "").json(t)["output_stream_url"].(string))
	require.NoError(t, err)
	require.NoError(t, r.Close())
	_, _ = resp.Body.Read(make([]byte, 1))
	require.NoError(t, resp.Body.Close())
	r.waitForExit(pid)
	for _, b := range r.Builds("example-app") {
		assert.Equal(t, "failed", b.Status)
	}
	_, err = r.http.Get(r.URL())
	require.Error(t, err)
	require.NoError(t, r.Close(), "second call")
	r.http.CloseIdleConnections()
	r.waitFor("goroutines to end", func() bool { return runtime.NumGoroutine() <= before })
}

func TestBuilderCallsGoexit(t *testing.T) {
	t.Parallel()
	r := start(t, platform.Options{Builder: platform.BuilderFunc(func(context.Context, *platform.Job) error {
		runtime.Goexit()
		return nil
	})})
	archive := targz(t, entry{name: "a", body: "x"})
	for range 2 {
		build, _ := r.built(r.build("example-app", archive))
		assert.Equal(t, "failed", build["status"])
	}
}

func TestProgramThatCannotBeStartedIsReported(t *testing.T) {
	t.Parallel()
	needUnix(t)
	r := start(t, platform.Options{})
	build, out := r.built(r.build("example-app", targz(t, entry{name: "README"}, entry{name: "bin/compile", body: "#!/no/such/interpreter\n", mode: 0o755})))
	assert.Equal(t, "failed", build["status"])
	assert.Contains(t, out, "bin/compile: no such file or directory\n !     Push rejected, failed to compile Inline app.\n")
}

func TestBuilderFuncSetsProcessTypes(t *testing.T) {
	t.Parallel()
	needUnix(t)
	var dir string
	r := start(t, platform.Options{Builder: platform.BuilderFunc(func(ctx context.Context, j *platform.Job) error {
		dir = j.BuildDir
		j.ProcessTypes["web"], j.ProcessTypes["worker"] = "from builder", "work"
		return j.Run(ctx, []string{"MORE=1"}, "sh", "-c", "echo $MORE; mkdir locked; touch locked/f; chmod 0500 locked")
	})})
	build, out := r.built(r.build("example-app", targz(t, entry{name: "Procfile", body: "web: from file\n"}, entry{name: "x"})))
	require.Equal(t, "succeeded", build["status"], out)
	assert.Contains(t, out, "1\n-----> Discovering process types\n       Procfile declares types -> web\n       Default types for buildpack -> worker\n")
	slug := r.api("GET", "/apps/other-app/slugs/"+build["slug"].(map[string]any)["id"].(string), "").json(t)
	assert.Equal(t, map[string]any{"web": "from file", "worker": "work"}, slug["process_types"])
	r.waitForRemoval(dir)
}

func TestBuildCacheDeletedWhileInUse(t *testing.T) {
	t.Parallel()
	began, step := make(chan string), make(chan struct{})
	r := start(t, platform.Options{Builder: platform.BuilderFunc(func(_ context.Context, j *platform.Job) error {
		seen, err := filepath.Glob(filepath.Join(j.CacheDir, "*"))
		if err != nil {
			return err
		}
		began <- fmt.Sprintf("%s %d", j.CacheDir, len(seen))
		<-step
		return os.WriteFile(filepath.Join(j.CacheDir, "f"), nil, 0o600)
	})})
	archive := targz(t, entry{name: "a", body: "x"})
	var dirs []string
	for _, drop := range []bool{false, true, false, false} {
		id := r.build("example-app", archive)
		dirs = append(dirs, <-began)
		if drop {
			require.Equal(t, 202, r.api("DELETE", "/apps/example-app/build-cache", "").status)
		}
		step <- struct{}{}
		build, out := r.built(id)
		require.Equal(t, "succeeded", build["status"], out)
	}
	old, kept := strings.TrimSuffix(dirs[0], " 0"), strings.TrimSuffix(dirs[2], " 0")
	assert.Equal(t, []string{old + " 0", old + " 1", kept + " 0", kept + " 1"}, dirs)
	assert.NotEqual(t, old, kept)
	assert.NoDirExists(t, old)
}
