//go:build !windows

package terminal

import "io"

// styled reports whether w supports escape sequences for styled text.
func styled(io.Writer) bool { return true }
