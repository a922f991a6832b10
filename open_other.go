//go:build !unix

package herokubuild

import "syscall"

// openFlags are for files that may not be what they were a moment ago.
const openFlags = 0

// errLink is the error of opening what has become a link, which is not one here.
const errLink = syscall.Errno(0)

// noFollow is the part of openFlags that refuses links.
const noFollow = 0
