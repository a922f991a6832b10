//go:build unix

package platform

import (
	"os"
	"os/exec"
	"syscall"
)

// ownGroup puts a program into a process group of its own.
func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// killGroup kills a program with all its descendants that stayed in its group.
func killGroup(p *os.Process) error { return syscall.Kill(-p.Pid, syscall.SIGKILL) }
