//go:build !windows

package herokubuild

import (
	"errors"
	"io/fs"
)

// linksNotPermitted reports whether making a symbolic link failed because the
// user, or the file system, may have none.
func linksNotPermitted(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, errors.ErrUnsupported)
}
