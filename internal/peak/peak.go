// Package peak says how much memory a process took.
package peak

import (
	"fmt"
	"os"
)

// MiB is the most MiB that an ended process, or one of its children, had in
// memory; "?" where that is not known. A process begins with the memory of the
// one that starts it, which therefore should have little.
func MiB(p *os.ProcessState) string {
	if n := memory(p); n > 0 {
		return fmt.Sprint(n >> 20)
	}
	return "?"
}
