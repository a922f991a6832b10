//go:build !windows

package platform_test

import "syscall"

// errReset is the error of a connection that was reset by the peer.
const errReset = syscall.ECONNRESET
