//go:build linux || darwin

package peak

import (
	"os"
	"runtime"
	"syscall"
)

// memory returns the peak memory in bytes, or 0 if it is unknown.
func memory(p *os.ProcessState) int64 {
	usage, ok := p.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0
	}
	if runtime.GOOS == "darwin" {
		return int64(usage.Maxrss) //nolint:unconvert // an int32 on some systems
	}
	return int64(usage.Maxrss) << 10 //nolint:unconvert // as above
}
