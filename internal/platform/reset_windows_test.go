package platform_test

import "syscall"

const errReset = syscall.WSAECONNRESET
