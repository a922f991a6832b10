//go:build unix

package platform

import (
	"os"
	"os/exec"
	"syscall"
)

// group is a program's process group.
type group struct{}

// newGroup configures a program to start in a process group of its own.
func newGroup(cmd *exec.Cmd) (group, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return group{}, nil
}

// started does nothing: the program is in its group from the start.
func (group) started(*os.Process) {}

func (group) kill(p *os.Process) error { return syscall.Kill(-p.Pid, syscall.SIGKILL) }

func (group) close() {}

// command returns the command that runs a program, which is the program itself.
func command(name string, args []string) (string, []string, error) { return name, args, nil }

// runnable reports whether a file is an executable regular file.
func runnable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}
