//go:build linux || darwin

package peak

import (
	"os"
	"runtime"
	"syscall"
)

// memory is in bytes; 0 is not known.
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
