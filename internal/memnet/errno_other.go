//go:build !windows

package memnet

import "syscall"

const (
	errRefused = syscall.ECONNREFUSED
	errInUse   = syscall.EADDRINUSE
	errReset   = syscall.ECONNRESET
	errBroken  = syscall.EPIPE
)
