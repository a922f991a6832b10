package sample

import (
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"testing/fstest"
)

func TestWritesModulesAndScripts(t *testing.T) {
	t.Parallel()
	dir, remove, err := Write(fstest.MapFS{
		"testdata/app/go.mod.txt":      {Data: []byte("module example.com/hello\n")},
		"testdata/app/main.go":         {Data: []byte("package main\n")},
		"testdata/app/bin/compile":     {Data: []byte("#!/bin/sh\n")},
		"testdata/app/data/go.mod.txt": {Data: []byte("module example.com/data\n")},
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"go.mod":      "module example.com/hello\n",
		"main.go":     "package main\n",
		"bin/compile": "#!/bin/sh\n",
		"data/go.mod": "module example.com/data\n",
	} {
		got, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
		if err != nil || string(got) != want {
			t.Errorf("%s: got %q, %v, want %q", name, got, err, want)
		}
	}
	info, err := os.Stat(filepath.Join(dir, "bin", "compile"))
	if err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS != "windows" && info.Mode()&0o100 == 0 {
		t.Errorf("a script has mode %v", info.Mode())
	}
	remove()
	if _, err := os.Stat(dir); err == nil {
		t.Error("the directory was not removed")
	}
}

func TestLeavesNothingIfAnAppCannotBeRead(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	if _, _, err := Write(unreadable{}); err == nil {
		t.Fatal("no error")
	}
	left, err := os.ReadDir(os.Getenv("TMPDIR"))
	if err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

func TestSampleIsNotDeployedToHeroku(t *testing.T) {
	for url, refused := range map[string]bool{
		"": true, "https://api.heroku.com": true, "https://127.0.0.1.example.com": true, "://": true,
		"http://127.0.0.1:5000": false, "http://localhost:5000": false, "http://[::1]:5000": false,
	} {
		t.Setenv("HEROKU_API_URL", url)
		if err := Refuse(); (err != nil) != refused {
			t.Errorf("%q: %v", url, err)
		}
	}
}

type unreadable struct{}

func (unreadable) Open(name string) (fs.File, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
}
