//go:build unix

package platform

import (
	"os"
	"os/exec"
	"syscall"
)

// group is a program with all its descendants that stayed in its process group.
type group struct{}

// newGroup puts a program that has not been started into a group of its own.
func newGroup(cmd *exec.Cmd) (group, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return group{}, nil
}

// started has nothing to do here: the group begins with the program.
func (group) started(*os.Process) {}

func (group) kill(p *os.Process) error { return syscall.Kill(-p.Pid, syscall.SIGKILL) }

func (group) close() {}

// command returns what runs a program, which is the program itself.
func command(name string, args []string) (string, []string, error) { return name, args, nil }

// runnable reports whether a file is a program.
func runnable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}
