// Package sample writes the sample app that a program embeds to a directory, so that the
// program also works where it was installed without its source.
package sample

import (
	"bytes"
	"errors"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
)

// Refuse returns an error if HEROKU_API_URL is not that of an emulator on this machine:
// whoever names an app and forgets the directory would replace what the app runs.
func Refuse() error {
	if api, err := url.Parse(os.Getenv("HEROKU_API_URL")); err == nil {
		if ip := net.ParseIP(api.Hostname()); api.Hostname() == "localhost" || ip != nil && ip.IsLoopback() {
			return nil
		}
	}
	return errors.New("name the directory to deploy to Heroku, such as \".\": without one the sample app would be deployed")
}

// Write writes the files of a sample app, which is in the directory testdata/app of the
// embedded files, to a new directory. remove removes that again.
//
// A file named go.mod.txt becomes go.mod, because a directory with a go.mod cannot be
// embedded. Scripts become executable, because embedded files have no such mode.
func Write(embedded fs.FS) (dir string, remove func(), err error) {
	app, err := fs.Sub(embedded, "testdata/app")
	if err != nil {
		return "", nil, err
	}
	dir, err = os.MkdirTemp("", "sample-app-")
	if err != nil {
		return "", nil, err
	}
	remove = func() { _ = os.RemoveAll(dir) }
	if err := write(app, dir); err != nil {
		remove()
		return "", nil, err
	}
	return dir, remove, nil
}

func write(app fs.FS, dir string) error {
	return fs.WalkDir(app, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		path := filepath.Join(dir, filepath.FromSlash(name))
		if entry.IsDir() {
			return os.MkdirAll(path, 0o700)
		}
		content, err := fs.ReadFile(app, name)
		if err != nil {
			return err
		}
		if filepath.Base(path) == "go.mod.txt" {
			path = filepath.Join(filepath.Dir(path), "go.mod")
		}
		mode := fs.FileMode(0o600)
		if bytes.HasPrefix(content, []byte("#!")) {
			mode = 0o700
		}
		return os.WriteFile(path, content, mode)
	})
}
