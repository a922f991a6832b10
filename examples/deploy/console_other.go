//go:build !windows

package main

import "io"

// styled reports whether w supports escape sequences for styled text.
func styled(io.Writer) bool { return true }
