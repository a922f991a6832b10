//go:build !linux && !darwin

package peak

import "os"

// memory returns 0, since the peak memory is unknown on this system.
func memory(*os.ProcessState) int64 { return 0 }
