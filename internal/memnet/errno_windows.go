package memnet

import "syscall"

// Package syscall lacks two of the errors of Windows' sockets.
const (
	errRefused = syscall.Errno(10061) // WSAECONNREFUSED
	errInUse   = syscall.Errno(10048) // WSAEADDRINUSE
	errReset   = syscall.WSAECONNRESET
	errBroken  = syscall.WSAECONNABORTED
)
