//go:build unix

package sourcetree

import "syscall"

const (
	// noFollow makes opening a symbolic link fail.
	noFollow = syscall.O_NOFOLLOW
	// openFlags are for files that may have been replaced since they were
	// listed: by a link, or by a pipe, on which an open would block.
	openFlags = noFollow | syscall.O_NONBLOCK
	// errLink is the error of opening a link with noFollow.
	errLink = syscall.ELOOP
)
