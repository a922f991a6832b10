package untar

import (
	"errors"
	"io/fs"
	"syscall"
)

// errPrivilegeNotHeld is ERROR_PRIVILEGE_NOT_HELD.
const errPrivilegeNotHeld = syscall.Errno(1314)

// linksNotPermitted reports whether creating a symbolic link failed because the user
// or the file system does not permit one.
func linksNotPermitted(err error) bool {
	return errors.Is(err, errPrivilegeNotHeld) || errors.Is(err, fs.ErrPermission) || errors.Is(err, errors.ErrUnsupported)
}
