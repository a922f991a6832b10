//go:build !windows

package untar

import (
	"errors"
	"io/fs"
)

// linksNotPermitted reports whether creating a symbolic link failed because the user
// or the file system does not permit one.
func linksNotPermitted(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, errors.ErrUnsupported)
}
