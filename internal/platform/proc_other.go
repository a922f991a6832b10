//go:build !unix

package platform

import (
	"os"
	"os/exec"
)

// ownGroup does nothing: there are no process groups to kill.
func ownGroup(*exec.Cmd) {}

// killGroup kills a program, but not what it has started.
func killGroup(p *os.Process) error { return p.Kill() }
