//go:build !windows

package platform_test

import "syscall"

// errReset is the error of a connection that the other side has reset.
const errReset = syscall.ECONNRESET
