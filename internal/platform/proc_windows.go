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

// kernel32 is what the syscall package lacks of it.
type kernel32 struct{ *syscall.LazyDLL }

func system() kernel32 { return kernel32{syscall.NewLazyDLL("kernel32.dll")} }

// call calls a function that returns 0 if it fails.
func (k kernel32) call(name string, args ...uintptr) (uintptr, error) {
	r, _, err := k.NewProc(name).Call(args...)
	if r == 0 {
		return 0, os.NewSyscallError(name, err)
	}
	return r, nil
}

// newGroup makes a group for a program that has not been started. The group
// ends with this process at the latest.
func newGroup(*exec.Cmd) (group, error) {
	const extendedLimitInformation, killOnJobClose = 9, 0x2000
	job, err := system().call("CreateJobObjectW", 0, 0)
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
	if _, err := system().call("SetInformationJobObject", job, extendedLimitInformation,
		uintptr(unsafe.Pointer(&limits)), unsafe.Sizeof(limits)); err != nil { //nolint:gosec // what the function takes
		_ = syscall.CloseHandle(syscall.Handle(job))
		return group{}, err
	}
	return group{syscall.Handle(job)}, nil
}

// started adds a program to the group. What the program has started before that
// is not in it, which is why it comes right after the start. A program that has
// ended already cannot be added, and need not be.
func (g group) started(p *os.Process) {
	const setQuota = 0x0100
	process, err := syscall.OpenProcess(setQuota|syscall.PROCESS_TERMINATE, false, uint32(p.Pid)) //nolint:gosec // a process id
	if err != nil {
		return
	}
	_, _ = system().call("AssignProcessToJobObject", uintptr(g.job), uintptr(process))
	_ = syscall.CloseHandle(process)
}

func (g group) kill(p *os.Process) error {
	_, err := system().call("TerminateJobObject", uintptr(g.job), 1)
	_ = p.Kill() // it may not be in the group
	return err
}

func (g group) close() { _ = syscall.CloseHandle(g.job) }

// command returns what runs a program: the shell runs itself and scripts, which
// Windows does not run.
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

// findShell finds sh where programs are, or in Git for Windows, which puts git
// there but not its shell.
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

// script reports whether a file begins as a script does.
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

// runnable reports whether a file is a program. Windows keeps no such bit.
func runnable(path string) bool {
	return regular(path) && (script(path) || filepath.Ext(path) == ".exe")
}
