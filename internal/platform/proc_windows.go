package platform

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"unsafe"
)

// group is a job object: a program with all its descendants.
type group struct{ job syscall.Handle }

// kernel32 provides functions that the syscall package lacks.
type kernel32 struct{ *syscall.LazyDLL }

func newKernel32() kernel32 { return kernel32{syscall.NewLazyDLL("kernel32.dll")} }

// call calls a function that returns 0 on failure.
func (k kernel32) call(name string, args ...uintptr) (uintptr, error) {
	r, _, err := k.NewProc(name).Call(args...)
	if r == 0 {
		return 0, os.NewSyscallError(name, err)
	}
	return r, nil
}

// newGroup creates a group for a program that has not been started. Its processes
// are killed when this process ends, at the latest.
func newGroup(*exec.Cmd) (group, error) {
	const extendedLimitInformation, killOnJobClose = 9, 0x2000
	job, err := newKernel32().call("CreateJobObjectW", 0, 0)
	if err != nil {
		return group{}, err
	}
	// JOBOBJECT_EXTENDED_LIMIT_INFORMATION.
	var limits struct {
		perProcessUserTime, perJobUserTime int64
		flags                              uint32
		minWorkingSet, maxWorkingSet       uintptr
		activeProcesses                    uint32
		affinity                           uintptr
		priorityClass, schedulingClass     uint32
		io                                 [6]uint64
		memory                             [4]uintptr
	}
	limits.flags = killOnJobClose
	if _, err := newKernel32().call("SetInformationJobObject", job, extendedLimitInformation,
		uintptr(unsafe.Pointer(&limits)), unsafe.Sizeof(limits)); err != nil { //nolint:gosec // the function takes a pointer as a uintptr
		_ = syscall.CloseHandle(syscall.Handle(job))
		return group{}, err
	}
	return group{syscall.Handle(job)}, nil
}

// started adds a program to the group. It must be called right after the start,
// since child processes started before are not added. A program that has already
// exited cannot be added and need not be.
func (g group) started(p *os.Process) {
	const setQuota = 0x0100
	process, err := syscall.OpenProcess(setQuota|syscall.PROCESS_TERMINATE, false, uint32(p.Pid)) //nolint:gosec // a process id
	if err != nil {
		return
	}
	_, _ = newKernel32().call("AssignProcessToJobObject", uintptr(g.job), uintptr(process))
	_ = syscall.CloseHandle(process)
}

func (g group) kill(p *os.Process) error {
	_, err := newKernel32().call("TerminateJobObject", uintptr(g.job), 1)
	_ = p.Kill() // adding it to the group may have failed
	return err
}

func (g group) close() { _ = syscall.CloseHandle(g.job) }

// command returns the command that runs a program: the shell for scripts, which
// Windows cannot run, and otherwise the program itself.
func command(name string, args []string) (string, []string, error) {
	switch {
	case name == "sh":
	case script(name):
		args = append([]string{name}, args...)
	default:
		return name, args, nil
	}
	shell, err := findShell()
	return shell, args, err
}

// findShell finds sh in PATH or in Git for Windows, which adds git to PATH but
// not its shell.
func findShell() (string, error) {
	shell, err := exec.LookPath("sh")
	if err == nil {
		return shell, nil
	}
	if git, gerr := exec.LookPath("git"); gerr == nil {
		for _, up := range []string{"..", filepath.Join("..", "..")} {
			if shell := filepath.Join(filepath.Dir(git), up, "bin", "sh.exe"); regular(shell) {
				return shell, nil
			}
		}
	}
	return "", fmt.Errorf("a POSIX shell is needed, such as the one of Git for Windows: %w", err)
}

// script reports whether a file starts with "#!".
func script(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close() //nolint:errcheck // only read
	var start [2]byte
	_, err = io.ReadFull(f, start[:])
	return err == nil && string(start[:]) == "#!"
}

// runnable reports whether a file is a program. Windows has no executable bit.
func runnable(path string) bool {
	return regular(path) && (script(path) || filepath.Ext(path) == ".exe")
}
