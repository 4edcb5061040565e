package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// withoutEcho keeps a terminal from showing ^C where a bar is drawn: the bar's next picture
// would begin behind it, and what is left of the one before would stay on the screen.
func withoutEcho(f *os.File) (restore func()) {
	before, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		return func() {} // it is no terminal after all
	}
	without := *before
	without.Lflag &^= unix.ECHOCTL
	_ = unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, &without) // the picture alone suffers
	return func() { _ = unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, before) }
}
