package herokubuild

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"

	"github.com/herokubuild/herokubuild/internal/git"
	"github.com/herokubuild/herokubuild/internal/netrc"
)

// TokenSource supplies the API key. Token is called once for each request to the API (not
// for each attempt), possibly by several goroutines at once; a source that fetches the key
// should cache it. An error of it ends the call and is wrapped in the call's error.
type TokenSource interface {
	Token(ctx context.Context) (string, error)
}

// TokenSourceFunc is a function as a [TokenSource].
type TokenSourceFunc func(ctx context.Context) (string, error)

// Token calls the function.
func (f TokenSourceFunc) Token(ctx context.Context) (string, error) { return f(ctx) }

// staticToken keeps the key in a closure, because fmt prints the unexported fields of a
// struct, and so those of a client.
func staticToken(token string) TokenSource {
	return TokenSourceFunc(func(context.Context) (string, error) { return token, nil })
}

// tokenFromEnvironment reads the key from the places that the Heroku CLI and "curl -n" use:
// HEROKU_API_KEY, then the entry of the API's host in the netrc file.
func tokenFromEnvironment(host string) (TokenSource, error) {
	if token := os.Getenv("HEROKU_API_KEY"); token != "" {
		if err := checkToken("HEROKU_API_KEY", token); err != nil {
			return nil, err
		}
		return staticToken(token), nil
	}
	files := netrc.Files(runtime.GOOS == "windows", os.Getenv)
	if len(files) == 0 {
		return nil, noCredential("HEROKU_API_KEY is not set and there is no home directory that could have a netrc file")
	}
	token, err := tokenFromNetrc(files, host)
	if err != nil {
		return nil, err
	}
	return staticToken(token), nil
}

// maxNetrc is far more than the size of any real file.
const maxNetrc = 1 << 20

// tokenFromNetrc reads the first of the files that exists.
func tokenFromNetrc(files []string, host string) (string, error) {
	path := files[0]
	content, err := readSmallFile(path, maxNetrc)
	switch {
	case errors.Is(err, fs.ErrNotExist) && len(files) > 1:
		return tokenFromNetrc(files[1:], host)
	case errors.Is(err, fs.ErrNotExist):
		return "", noCredential("HEROKU_API_KEY is not set and there is no netrc file at " + path)
	case err != nil:
		return "", &ArgumentError{Name: "netrc", Reason: "cannot read " + path, Err: err}
	}
	password, err := netrc.Password(content, host)
	switch {
	case err != nil:
		return "", &ArgumentError{Name: "netrc", Reason: path + " is not a netrc file", Err: err}
	case password == "":
		return "", noCredential("HEROKU_API_KEY is not set and " + path + " has no password for " + host)
	}
	if err := checkToken("netrc ("+path+")", password); err != nil {
		return "", err
	}
	return password, nil
}

// readSmallFile reads a regular file. A pipe or device might block without an end.
func readSmallFile(path string, most int64) ([]byte, error) {
	if path == os.DevNull {
		return nil, nil // the usual way to configure that there is no such file
	}
	f, _, err := git.OpenFile(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(b)) > most {
		err = fmt.Errorf("it is larger than %d bytes", most)
	}
	return b, err
}

// noCredential is the error of an environment without an API key. It is not an invalid
// argument of the caller.
func noCredential(reason string) error {
	return withClean(fmt.Errorf("%w: %s", ErrNoCredential, reason))
}
