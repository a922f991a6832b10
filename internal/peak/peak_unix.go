//go:build linux || darwin

// Package peak says how much memory a process took.
package peak

import (
	"os"
	"runtime"
	"syscall"
)

// Memory is the most bytes that an ended process, or one of its children, had in
// memory; 0 where that is not known. A process begins with the memory of the one
// that starts it, which therefore should have little.
func Memory(p *os.ProcessState) int64 {
	usage, ok := p.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0
	}
	if runtime.GOOS == "darwin" {
		return int64(usage.Maxrss) //nolint:unconvert // an int32 on some systems
	}
	return int64(usage.Maxrss) << 10 //nolint:unconvert // as above
}
