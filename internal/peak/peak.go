// Package peak reports the peak memory of a process.
package peak

import (
	"fmt"
	"os"
)

// MiB returns the peak resident memory of a process that has exited, or of its
// children, in MiB, or "?" if it is unknown. A new process starts with the
// memory of its parent, which therefore should not use much.
func MiB(p *os.ProcessState) string {
	if n := memory(p); n > 0 {
		return fmt.Sprint(n >> 20)
	}
	return "?"
}
