//go:build unix

package herokubuild

import "syscall"

// openFlags are for files that may not be what they were a moment ago.
const openFlags = syscall.O_NOFOLLOW | syscall.O_NONBLOCK

// errLink is the error of opening what has become a link.
const errLink = syscall.ELOOP

// noFollow is the part of openFlags that refuses links.
const noFollow = syscall.O_NOFOLLOW
