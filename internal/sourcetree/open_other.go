//go:build !unix

package sourcetree

import "syscall"

const (
	// noFollow makes opening a symbolic link fail, where the system can.
	noFollow = 0
	// openFlags are for files that may have been replaced since they were
	// listed.
	openFlags = 0
	// errLink is the error of opening a link with noFollow. It is no error that
	// this system returns.
	errLink = syscall.Errno(0)
)
