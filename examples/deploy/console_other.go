//go:build !windows

package main

import "io"

// styled reports whether w shows text that is styled by escape sequences.
func styled(io.Writer) bool { return true }
