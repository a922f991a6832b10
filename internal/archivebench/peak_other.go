//go:build !linux && !darwin

package main

import "os"

// peakMemory is not known here.
func peakMemory(*os.ProcessState) string { return "?" }
