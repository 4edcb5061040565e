package stack

import (
	"os"
	"syscall"
	"unsafe"
)

// inForeground tells whether this process belongs to the group that its terminal sends keyboard signals to.
func inForeground() bool {
	terminal, err := os.Open("/dev/tty")
	if err != nil {
		return false // there is no terminal
	}
	defer func() { _ = terminal.Close() }()
	var group int32
	_, _, failed := syscall.Syscall(syscall.SYS_IOCTL, terminal.Fd(), syscall.TIOCGPGRP, uintptr(unsafe.Pointer(&group)))
	return failed == 0 && int(group) == syscall.Getpgrp()
}
