//go:build linux || darwin

package main

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
)

// peakMemory is the most that the process, or one of its children, had in
// memory.
func peakMemory(p *os.ProcessState) string {
	usage, ok := p.SysUsage().(*syscall.Rusage)
	if !ok {
		return "?"
	}
	unit := int64(1 << 10)
	if runtime.GOOS == "darwin" {
		unit = 1
	}
	return fmt.Sprintf("%.0f", float64(usage.Maxrss*unit)/(1<<20))
}
