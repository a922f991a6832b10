//go:build !linux && !darwin

// Package peak says how much memory a process took.
package peak

import "os"

// Memory is not known here.
func Memory(*os.ProcessState) int64 { return 0 }
