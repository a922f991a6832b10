//go:build unix

package main

import "syscall"

const canFreeze = true

// freeze stops a process, which does not notice; thaw continues it.
func freeze(pid int) error { return syscall.Kill(pid, syscall.SIGSTOP) }

func thaw(pid int) error { return syscall.Kill(pid, syscall.SIGCONT) }

// terminate requests the end of a process.
func terminate(pid int) error { return syscall.Kill(pid, syscall.SIGTERM) }
