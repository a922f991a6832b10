//go:build unix

package git

import (
	"errors"
	"syscall"
)

const (
	// openFlags keep an open from blocking on a pipe.
	openFlags = syscall.O_NONBLOCK
	// noFollow makes opening a symbolic link an error.
	noFollow = syscall.O_NOFOLLOW
)

func notADirectory(err error) bool { return errors.Is(err, syscall.ENOTDIR) }
